/* latency.h: how long an instance takes to answer: a moving average that jumps up at once and comes down
 * slowly (peak EWMA), in one word that all workers read and write.
 *
 * A slower answer than the average becomes the average; a faster one pulls it down by as much as the time
 * since the last one is worth, half of the way every LATENCY_HALF_MS. Without answers it comes down by
 * itself, so that an instance that nobody picks for its slowness is tried again some time. Two workers may
 * write at the same moment and one of the answers be lost: it is an estimate. */
#ifndef BALANCER_LATENCY_H
#define BALANCER_LATENCY_H

#include <stdatomic.h>

#include "core/clock.h"

#define LATENCY_HALF_MS 4096
/* What a failed request counts as: an instance that fails fast must not look like a fast one. */
#define LATENCY_OF_FAILURE_US 1000000

/* Microseconds, above the time of the last answer in milliseconds, both cut to 32 bits; 0: nothing is known.
 */
typedef _Atomic uint64_t latency_t;

/* What is left of `us` after `ms`. */
static inline uint32_t latency_decay(uint32_t us, uint32_t ms)
{
    uint32_t halvings = ms / LATENCY_HALF_MS, rest = ms % LATENCY_HALF_MS;
    us = halvings < 32 ? us >> halvings : 0;
    return us - (uint32_t)((uint64_t)us * rest / (2 * LATENCY_HALF_MS));
}

/* Any thread. 0: nothing is known, or not any more. */
static inline uint32_t latency_us(const latency_t *l, mono_ms_t now_ms)
{
    uint64_t word = atomic_load_explicit(l, memory_order_relaxed);
    return latency_decay((uint32_t)(word >> 32), (uint32_t)now_ms - (uint32_t)word);
}

/* Any thread. An answer took `us`. */
static inline void latency_observe(latency_t *l, mono_us_t us, mono_ms_t now_ms)
{
    uint64_t word = atomic_load_explicit(l, memory_order_relaxed);
    uint32_t sample = (uint32_t)MIN(MAX(us, 1), UINT32_MAX), old = (uint32_t)(word >> 32);
    uint32_t ms = (uint32_t)now_ms - (uint32_t)word;
    if (sample < old && ms == 0)
        return; /* no time has passed: nothing to pull it down by, and no line to write */
    if (sample < old)
        sample += latency_decay(old - sample, ms);
    atomic_store_explicit(l, (uint64_t)sample << 32 | (uint32_t)now_ms, memory_order_relaxed);
}

#endif
