/* inval_pattern.c: see inval_pattern.h. A reader that finds a place taken over sees a newer event there,
 * which does no harm, and the raised floor in place of the one it missed. Rejected: a table by prefix; a walk
 * of some short compares, once per object and event, is less than what building it costs. */
#include "cache/inval_pattern.h"

#include <stdlib.h>

#include "cache/account.h"
#include "cache/glob.h"

static _Atomic(struct cache_inval_pattern *) *place_of(const struct cache_inval_patterns *ps, uint64_t n)
{
    return (_Atomic(struct cache_inval_pattern *) *)(uintptr_t)&ps->ring[n % CACHE_INVAL_PATTERNS];
}

const struct cache_inval_pattern *cache_inval_pattern_oldest(const struct cache_inval_patterns *ps)
{
    return atomic_load_explicit(place_of(ps, atomic_load_explicit(&ps->made, memory_order_relaxed)),
                                memory_order_relaxed);
}

bool cache_inval_pattern_add(struct cache_inval_patterns *ps, const struct cache_purge *p, uint64_t id)
{
    struct cache_inval_pattern *q = cache_memory_alloc(sizeof *q + p->text.len);
    if (q == NULL)
        return false;
    *q = (struct cache_inval_pattern){
        .id = id, .glob = p->kind == CACHE_PURGE_GLOB, .soft = p->soft, .bytes = (uint32_t)p->text.len};
    memcpy(q->text, p->text.ptr, p->text.len);
    uint64_t made = atomic_load_explicit(&ps->made, memory_order_relaxed);
    struct cache_inval_pattern *old = atomic_load_explicit(place_of(ps, made), memory_order_relaxed);
    atomic_store_explicit(place_of(ps, made), q, memory_order_release);
    atomic_store_explicit(&ps->made, made + 1, memory_order_release);
    if (old != NULL)
        rcu_free_later(&old->grave, free, old);
    return true;
}

size_t cache_inval_pattern_newer(const struct cache_inval_patterns *ps, uint64_t id)
{
    size_t n = 0;
    uint64_t made = atomic_load_explicit(&ps->made, memory_order_relaxed);
    while (n < MIN(made, CACHE_INVAL_PATTERNS)) {
        const struct cache_inval_pattern *q =
            atomic_load_explicit(place_of(ps, made - 1 - n), memory_order_relaxed);
        if (q->id <= id)
            break;
        n++;
    }
    return n;
}

void cache_inval_pattern_find(const struct cache_inval_patterns *ps, slice_t url, uint64_t since_id,
                              uint64_t *hard, uint64_t *soft)
{
    uint64_t made = atomic_load_explicit(&ps->made, memory_order_acquire);
    for (uint64_t n = 0; n < MIN(made, CACHE_INVAL_PATTERNS); n++) {
        const struct cache_inval_pattern *q =
            atomic_load_explicit(place_of(ps, made - 1 - n), memory_order_acquire);
        if (q->id <= since_id)
            return;
        slice_t text = slice_make(q->text, q->bytes);
        if (q->glob ? !cache_glob_matches(text, url) : !slice_starts(url, text))
            continue;
        uint64_t *into = q->soft ? soft : hard;
        *into = MAX(*into, q->id);
    }
}

void cache_inval_pattern_close(struct cache_inval_patterns *ps)
{
    for (uint64_t n = 0; n < CACHE_INVAL_PATTERNS; n++)
        free(atomic_load_explicit(place_of(ps, n), memory_order_relaxed));
}
