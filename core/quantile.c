/* quantile.c: see quantile.h. Looking for the percentile walks all buckets, so it is done once for every
 * LOOK_EVERY values. */
#include "core/quantile.h"

#include "core/base.h"

#define LOOK_EVERY 20 /* QUANTILE_LEAST and QUANTILE_WINDOW / 2 are multiples of it, or near enough */

/* Values below 16 have a bucket each; from there on eight share a power of two. */
static unsigned bucket_of(uint32_t us)
{
    if (us < 16)
        return us;
    unsigned octave = 31 - (unsigned)__builtin_clz(us);
    return MIN(16 + (octave - 4) * 8 + ((us >> (octave - 3)) & 7), QUANTILE_BUCKETS - 1);
}

/* The largest value of a bucket. */
static uint32_t bucket_end_us(unsigned bucket)
{
    if (bucket < 16)
        return bucket;
    unsigned octave = (bucket - 16) / 8 + 4, step = (bucket - 16) % 8;
    return (uint32_t)(((UINT64_C(9) + step) << (octave - 3)) - 1);
}

static void look(struct quantile *q)
{
    uint64_t total = 0, seen = 0;
    unsigned b = 0;
    for (unsigned i = 0; i < QUANTILE_BUCKETS; i++)
        total += atomic_load_explicit(&q->buckets[i], memory_order_relaxed);
    while (b < QUANTILE_BUCKETS - 1) {
        seen += atomic_load_explicit(&q->buckets[b], memory_order_relaxed);
        if (seen * 20 >= total * 19)
            break;
        b++;
    }
    atomic_store_explicit(&q->p95_us, MAX(bucket_end_us(b), 1), memory_order_relaxed);
}

static void halve(struct quantile *q)
{
    for (unsigned i = 0; i < QUANTILE_BUCKETS; i++) {
        uint32_t n = atomic_load_explicit(&q->buckets[i], memory_order_relaxed);
        if (n > 0)
            atomic_store_explicit(&q->buckets[i], n / 2, memory_order_relaxed);
    }
}

void quantile_observe(struct quantile *q, mono_us_t us)
{
    uint32_t value = (uint32_t)MIN(MAX(us, 0), INT32_MAX);
    atomic_fetch_add_explicit(&q->buckets[bucket_of(value)], 1, memory_order_relaxed);
    uint32_t n = atomic_fetch_add_explicit(&q->count, 1, memory_order_relaxed) + 1;
    if (n >= QUANTILE_LEAST && n % LOOK_EVERY == 0)
        look(q);
    if (n == QUANTILE_WINDOW) {
        atomic_store_explicit(&q->count, n / 2, memory_order_relaxed);
        halve(q);
    }
}
