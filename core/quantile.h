/* quantile.h: below which time lately 19 of 20 values lay: a running 95th percentile that many threads feed.
 *
 * A histogram with eight steps per power of two, so that the answer is within an eighth; when it holds
 * QUANTILE_WINDOW values, all counts are halved, so that what is old counts less and less. Without locks: two
 * threads may overwrite each other's counts while they are halved, which an estimate can bear. */
#ifndef CORE_QUANTILE_H
#define CORE_QUANTILE_H

#include <stdatomic.h>

#include "core/clock.h"

#define QUANTILE_BUCKETS (8 * 29) /* up to 2^31 us, more than half an hour */
#define QUANTILE_LEAST   100      /* values without which it says nothing */
#define QUANTILE_WINDOW  2048

/* Any thread. Zero it before use. */
struct quantile {
    _Atomic uint32_t p95_us; /* as of the last time it was looked for; 0: not enough values */
    _Atomic uint32_t count;
    _Atomic uint32_t buckets[QUANTILE_BUCKETS];
};

void quantile_observe(struct quantile *q, mono_us_t us);
static inline mono_us_t quantile_p95_us(const struct quantile *q)
{
    return atomic_load_explicit(&q->p95_us, memory_order_relaxed);
}

#endif
