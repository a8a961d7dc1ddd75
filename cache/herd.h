/* herd.h: what keeps many from noticing at once that a response has come to its end, pure. */
#ifndef CACHE_HERD_H
#define CACHE_HERD_H

#include "cache/freshness.h"

#define CACHE_EARLY_CODE_MAX 12
#define CACHE_EARLY_WINDOW   16 /* times the fetch's time before the end: see herd.c */

/* What a code of four bits stands for: how long a fetch took, up to 4 s. */
static inline dur_ms_t cache_early_ms(unsigned code)
{
    return ((dur_ms_t)1 << code) - 1;
}

#define CACHE_EARLY_MOST_MS (cache_early_ms(CACHE_EARLY_CODE_MAX) * CACHE_EARLY_WINDOW)

/* The code of what will be fresh for `fresh_ms`; 0, which is never, when that is too short. */
uint8_t cache_early_code(dur_ms_t fetch_ms, dur_ms_t fresh_ms);

/* Whether a use with `left_ms` of freshness left renews it. `random` is evenly distributed. */
bool cache_early_wins(unsigned code, dur_ms_t left_ms, uint64_t random);

/* Takes a random share of at most `percent` off what is left of the freshness, so that responses that were
 * stored together do not expire together. Never adds; Age stays as it is. */
void cache_ttl_jitter(struct cache_freshness *f, int percent, uint64_t random);

#endif
