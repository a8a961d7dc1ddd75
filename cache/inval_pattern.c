/* inval_pattern.c: see inval_pattern.h. A reader that finds a place taken over sees a newer event there,
 * which does no harm, and the raised floor in place of the one it missed. Rejected: a table by prefix; a walk
 * of some short compares, once per object and event, is less than what building it costs. */
#include "cache/inval_pattern.h"

#include <stdlib.h>

#include "cache/account.h"
#include "cache/glob.h"
#include "cache/key.h"

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

/* Whether the pattern fits the path followed by '?' and anything, or a bit more: cut where that '?' would be,
 * or within a star. */
static bool glob_may_match_query(slice_t glob, slice_t path)
{
    for (size_t i = 0; i < glob.len; i++) {
        size_t cut = glob.ptr[i] == '*' ? i + 1 : i;
        if ((glob.ptr[i] == '*' || glob.ptr[i] == '?') && cache_glob_matches(slice_make(glob.ptr, cut), path))
            return true;
    }
    return cache_glob_matches(glob, path);
}

static bool may_match_query(const struct cache_inval_pattern *q, slice_t text, slice_t url)
{
    slice_t path = slice_make(url.ptr, MIN(slice_find(url, '?', 0), url.len));
    if (q->glob)
        return glob_may_match_query(text, path);
    return slice_eq(slice_make(text.ptr, MIN(slice_find(text, '?', 0), text.len)), path);
}

static bool pattern_matches(const struct cache_inval_pattern *q, slice_t text, slice_t url, bool any_query)
{
    if (q->glob ? cache_glob_matches(text, url) : slice_starts(url, text))
        return true;
    return UNLIKELY(any_query) && may_match_query(q, text, url);
}

/* A pattern that begins with a scheme is about the other one, too. */
void cache_inval_pattern_find(const struct cache_inval_patterns *ps, slice_t url, bool any_query,
                              uint64_t since_id, uint64_t *hard, uint64_t *soft)
{
    uint64_t made = atomic_load_explicit(&ps->made, memory_order_acquire);
    for (uint64_t n = 0; n < MIN(made, CACHE_INVAL_PATTERNS); n++) {
        const struct cache_inval_pattern *q =
            atomic_load_explicit(place_of(ps, made - 1 - n), memory_order_acquire);
        if (q->id <= since_id)
            return;
        slice_t text = slice_make(q->text, q->bytes), rest = cache_url_past_scheme(text);
        if (!pattern_matches(q, rest, rest.len < text.len ? cache_url_past_scheme(url) : url, any_query))
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
