/* herd.c: see herd.h.
 *
 * Early refresh is XFetch (Vattani, Chierichetti, Lowenstein: "Optimal Probabilistic Cache Stampede
 * Prevention", VLDB 2015, with beta = 1): each use draws a time of the order of the fetch's, exponentially
 * distributed, and renews the response when no more than that is left. Seldom used responses expire as ever;
 * much used ones are renewed about one fetch before their end, the earlier the more they are used, and nobody
 * waits.
 *
 * The fetch's time is kept as a power of two in four bits, 1 ms to 4 s. Two bounds keep the dear part away
 * from nearly all hits: nothing is drawn before the last CACHE_EARLY_WINDOW times that time (a draw as large
 * comes once in nine million), nor in the first half of the life, which makes the kept time smaller where a
 * response is fresh for little longer than it takes to make. Rejected: a timer per object, and a lock that
 * the first of a second takes. */
#include "cache/herd.h"

#include <math.h>

#include "core/random.h"

uint8_t cache_early_code(dur_ms_t fetch_ms, dur_ms_t fresh_ms)
{
    unsigned code = 1;
    while (code < CACHE_EARLY_CODE_MAX && cache_early_ms(code) < fetch_ms)
        code++;
    while (code > 0 && cache_early_ms(code) * CACHE_EARLY_WINDOW * 2 > fresh_ms)
        code--;
    return (uint8_t)code;
}

bool cache_early_wins(unsigned code, dur_ms_t left_ms, uint64_t random)
{
    dur_ms_t fetch_ms = cache_early_ms(code);
    return left_ms < fetch_ms * CACHE_EARLY_WINDOW &&
           -(double)fetch_ms * log(random_share(random)) >= (double)left_ms;
}

void cache_ttl_jitter(struct cache_freshness *f, int percent, uint64_t random)
{
    dur_ms_t left_ms = f->lifetime_ms - f->corrected_initial_ms;
    if (left_ms > 0)
        f->lifetime_ms -= (dur_ms_t)((double)left_ms * random_share(random) * percent / 100);
}
