/* inval_log.c: see inval_log.h.
 *
 * Why a reader needs no lock while a generation is being emptied: the floor is raised first, each slot is
 * cleared with release, and the reader looks at the floor last. So a reader that misses an entry because it
 * was cleared sees the raised floor. The head moves last: who knows a head finds all up to it. Rejected: a
 * table under a mutex; each purge would send every hit on every key through it once. */
#include "cache/inval_log.h"

#include <stdlib.h>
#include <string.h>

#include "cache/account.h"
#include "cache/key.h"
#include "cache/no_vary.h"
#include "core/panic.h"

static size_t generation_bytes(size_t mask)
{
    return (mask + 1) * sizeof(struct cache_inval_entry);
}

bool cache_inval_open(struct cache_inval_log *log, size_t capacity)
{
    ASSERT(capacity > 0);
    size_t slots = 4;
    while (slots < capacity * 2)
        slots *= 2;
    *log = (struct cache_inval_log){.mask = slots - 1, .capacity = capacity};
    for (unsigned g = 0; g < 2; g++) {
        log->gen[g].entries = cache_memory_alloc(generation_bytes(log->mask));
        if (log->gen[g].entries == NULL) {
            free(log->gen[0].entries);
            return false;
        }
        memset(log->gen[g].entries, 0, generation_bytes(log->mask));
    }
    lock_init(&log->lock, LOCK_INVAL);
    return true;
}

void cache_inval_close(struct cache_inval_log *log)
{
    free(log->gen[0].entries);
    free(log->gen[1].entries);
    cache_inval_pattern_close(&log->patterns);
    lock_destroy(&log->lock);
}

size_t cache_inval_bytes(const struct cache_inval_log *log)
{
    return 2 * cache_memory_rounded(generation_bytes(log->mask));
}

/* ---- writing ---- */

#define KIND_PATH ((enum cache_purge_kind)CACHE_PURGE_KINDS) /* of some exact URL that was purged */

/* The kinds share a table, so each has its own offset. Zero means an empty slot. */
static uint64_t kind_fingerprint(enum cache_purge_kind kind, uint64_t hash)
{
    uint64_t fp = hash + (uint64_t)kind * 0x9e3779b97f4a7c15u;
    return fp == 0 ? 1 : fp;
}

static slice_t url_without_query(slice_t url)
{
    return slice_make(url.ptr, MIN(slice_find(url, '?', 0), url.len));
}

/* "name[:port]" of "scheme://name[:port]/path". */
static slice_t url_host(slice_t url)
{
    size_t colon = slice_find(url, ':', 0);
    if (colon == SIZE_MAX || url.len - colon < 3)
        return SLICE_EMPTY;
    slice_t rest = slice_make(url.ptr + colon + 3, url.len - colon - 3);
    return slice_make(rest.ptr, MIN(slice_find(rest, '/', 0), rest.len));
}

static uint64_t text_fingerprint(enum cache_purge_kind kind, slice_t text)
{
    return kind_fingerprint(kind, hash_bytes(text.ptr, text.len).lo);
}

/* A purge of a page concerns it by either scheme, so here all URLs are http. */
static uint64_t url_hash(slice_t url)
{
    if (LIKELY(!slice_starts(url, SLICE_LIT("https://"))))
        return hash_bytes(url.ptr, url.len).lo;
    return hash_joined(SLICE_LIT("http"), cache_url_past_scheme(url)).lo;
}

static uint64_t path_fingerprint(enum cache_purge_kind kind, slice_t url)
{
    return kind_fingerprint(kind, url_hash(url_without_query(url)));
}

/* The key's entry, or the empty one where it belongs. There always is one: a generation is at most half full.
 */
static struct cache_inval_entry *generation_find(const struct cache_inval_log *log, unsigned g, uint64_t fp,
                                                 bool *found)
{
    for (size_t i = (size_t)(fp & log->mask);; i = (i + 1) & log->mask) {
        struct cache_inval_entry *e = &log->gen[g].entries[i];
        uint64_t at = atomic_load_explicit(&e->fingerprint, memory_order_acquire);
        if (at == fp || at == 0) {
            *found = at == fp;
            return e;
        }
    }
}

static void log_empty_locked(struct cache_inval_log *log, unsigned g)
{
    struct cache_inval_generation *gen = &log->gen[g];
    atomic_store_explicit(&gen->newest_id, 0, memory_order_release);
    for (size_t i = 0; i <= log->mask; i++) {
        struct cache_inval_entry *e = &gen->entries[i];
        atomic_store_explicit(&e->fingerprint, 0, memory_order_release);
        atomic_store_explicit(&e->id[CACHE_INVAL_HARD], 0, memory_order_release);
        atomic_store_explicit(&e->id[CACHE_INVAL_SOFT], 0, memory_order_release);
    }
    gen->count = 0;
    gen->last_id[CACHE_INVAL_HARD] = gen->last_id[CACHE_INVAL_SOFT] = 0;
}

static void log_raise_floor_locked(struct cache_inval_log *log, enum cache_inval_force force, uint64_t id)
{
    if (id > atomic_load_explicit(&log->floor[force], memory_order_relaxed))
        atomic_store_explicit(&log->floor[force], id, memory_order_release);
}

static void log_rotate_locked(struct cache_inval_log *log)
{
    unsigned old = log->young ^ 1;
    log->overflows += log->gen[old].count > 0;
    for (unsigned f = 0; f < CACHE_INVAL_FORCES; f++)
        log_raise_floor_locked(log, f, log->gen[old].last_id[f]);
    log_empty_locked(log, old);
    log->young = old;
}

static void log_put_fingerprint_locked(struct cache_inval_log *log, uint64_t fp, enum cache_inval_force force,
                                       uint64_t id)
{
    bool found;
    struct cache_inval_entry *e = generation_find(log, log->young, fp, &found);
    if (!found && log->gen[log->young].count >= log->capacity) {
        log_rotate_locked(log);
        e = generation_find(log, log->young, fp, &found);
    }
    struct cache_inval_generation *gen = &log->gen[log->young];
    atomic_store_explicit(&e->id[force], id, memory_order_release);
    if (!found) {
        atomic_store_explicit(&e->fingerprint, fp, memory_order_release);
        gen->count++;
    }
    gen->last_id[force] = id;
    atomic_store_explicit(&gen->newest_id, id, memory_order_release);
}

static void log_put_pattern_locked(struct cache_inval_log *log, const struct cache_purge *p,
                                   enum cache_inval_force force, uint64_t id)
{
    const struct cache_inval_pattern *oldest = cache_inval_pattern_oldest(&log->patterns);
    if (oldest != NULL)
        log_raise_floor_locked(log, oldest->soft ? CACHE_INVAL_SOFT : CACHE_INVAL_HARD, oldest->id);
    log->overflows += oldest != NULL;
    if (!cache_inval_pattern_add(&log->patterns, p, id))
        log_raise_floor_locked(log, force, id);
}

static void log_put_locked(struct cache_inval_log *log, const struct cache_purge *p, uint64_t id)
{
    enum cache_inval_force force = p->soft ? CACHE_INVAL_SOFT : CACHE_INVAL_HARD;
    switch (p->kind) {
    case CACHE_PURGE_URL:
        if (UNLIKELY(atomic_load_explicit(&log->paths_id, memory_order_relaxed) != 0))
            log_put_fingerprint_locked(log, path_fingerprint(KIND_PATH, p->text), force, id);
        log_put_fingerprint_locked(log, kind_fingerprint(p->kind, url_hash(p->text)), force, id);
        break;
    case CACHE_PURGE_TAG:
    case CACHE_PURGE_HOST:
        log_put_fingerprint_locked(log, text_fingerprint(p->kind, p->text), force, id);
        break;
    case CACHE_PURGE_URL_ANY_QUERY:
        log_put_fingerprint_locked(log, path_fingerprint(p->kind, p->text), force, id);
        break;
    case CACHE_PURGE_PREFIX:
    case CACHE_PURGE_GLOB:
        log_put_pattern_locked(log, p, force, id);
        break;
    case CACHE_PURGE_ALL:
    case CACHE_PURGE_KINDS:
        log_raise_floor_locked(log, force, id);
        break;
    }
    atomic_store_explicit(&log->kind_id[p->kind], id, memory_order_release);
}

uint64_t cache_inval_append(struct cache_inval_log *log, wall_ms_t now_ms, const struct cache_purge *events,
                            size_t count)
{
    lock_take(&log->lock);
    uint64_t id = atomic_load_explicit(&log->head, memory_order_relaxed);
    bool emptied = false;
    for (size_t i = 0; i < count; i++) {
        id = MAX(id + 1, (uint64_t)MAX(now_ms, 0) << CACHE_INVAL_SEQ_BITS);
        log_put_locked(log, &events[i], id);
        emptied = emptied || (events[i].kind == CACHE_PURGE_ALL && !events[i].soft);
    }
    ASSERT(id < CACHE_INVAL_ID_MAX);
    atomic_store_explicit(&log->head, id, memory_order_seq_cst);
    if (emptied && count == 1) { /* the floor says it all */
        log_empty_locked(log, 0);
        log_empty_locked(log, 1);
    }
    lock_drop(&log->lock);
    return id;
}

void cache_inval_keep_paths(struct cache_inval_log *log, wall_ms_t now_ms)
{
    lock_take(&log->lock);
    uint64_t id = atomic_load_explicit(&log->head, memory_order_relaxed);
    id = MAX(id + 1, (uint64_t)MAX(now_ms, 0) << CACHE_INVAL_SEQ_BITS);
    if (atomic_load_explicit(&log->paths_id, memory_order_relaxed) == 0) {
        atomic_store_explicit(&log->paths_id, id, memory_order_release);
        atomic_store_explicit(&log->head, id, memory_order_seq_cst);
    }
    lock_drop(&log->lock);
}

bool cache_inval_is_crowded(struct cache_inval_log *log, uint64_t id)
{
    lock_take(&log->lock);
    const struct cache_inval_generation *old = &log->gen[log->young ^ 1];
    bool crowded = cache_inval_pattern_newer(&log->patterns, id) >= CACHE_INVAL_PATTERNS / 2 ||
                   (log->gen[log->young].count >= log->capacity / 2 &&
                    MAX(old->last_id[CACHE_INVAL_HARD], old->last_id[CACHE_INVAL_SOFT]) > id);
    lock_drop(&log->lock);
    return crowded;
}

/* ---- reading ---- */

struct cache_inval_subject cache_inval_subject(slice_t primary, uint64_t primary_hash, slice_t tags)
{
    slice_t url = cache_key_url(primary);
    bool whole = url.len == primary.len, secure = slice_starts(url, SLICE_LIT("https://"));
    return (struct cache_inval_subject){
        .any_query = !whole && cache_no_vary_is_part_of(primary, url),
        .url = url,
        .url_fingerprint = whole && !secure ? primary_hash : url_hash(url),
        .tags = tags,
    };
}

static void find_fingerprint(const struct cache_inval_log *log, uint64_t fp, uint64_t since_id,
                             struct cache_inval_found *into)
{
    for (unsigned g = 0; g < 2; g++) {
        if (atomic_load_explicit(&log->gen[g].newest_id, memory_order_acquire) <= since_id)
            continue;
        bool found;
        const struct cache_inval_entry *e = generation_find(log, g, fp, &found);
        if (!found)
            continue;
        into->hard = MAX(into->hard, atomic_load_explicit(&e->id[CACHE_INVAL_HARD], memory_order_acquire));
        into->soft = MAX(into->soft, atomic_load_explicit(&e->id[CACHE_INVAL_SOFT], memory_order_acquire));
    }
}

static void find_tags(const struct cache_inval_log *log, slice_t tags, uint64_t since_id,
                      struct cache_inval_found *into)
{
    while (tags.len > 0) {
        size_t end = MIN(slice_find(tags, ' ', 0), tags.len);
        find_fingerprint(log, text_fingerprint(CACHE_PURGE_TAG, slice_make(tags.ptr, end)), since_id, into);
        size_t skip = MIN(end + 1, tags.len);
        tags = slice_make(tags.ptr + skip, tags.len - skip);
    }
}

static bool kind_is_newer(const struct cache_inval_log *log, enum cache_purge_kind kind, uint64_t since_id)
{
    return atomic_load_explicit(&log->kind_id[kind], memory_order_acquire) > since_id;
}

struct cache_inval_found cache_inval_find(const struct cache_inval_log *log,
                                          const struct cache_inval_subject *s, uint64_t since_id)
{
    struct cache_inval_found f = {0, 0};
    if (kind_is_newer(log, CACHE_PURGE_URL, since_id))
        find_fingerprint(log, kind_fingerprint(CACHE_PURGE_URL, s->url_fingerprint), since_id, &f);
    if (UNLIKELY(s->any_query) && kind_is_newer(log, CACHE_PURGE_URL, since_id))
        find_fingerprint(log, path_fingerprint(KIND_PATH, s->url), since_id, &f);
    if (kind_is_newer(log, CACHE_PURGE_URL_ANY_QUERY, since_id))
        find_fingerprint(log, path_fingerprint(CACHE_PURGE_URL_ANY_QUERY, s->url), since_id, &f);
    if (kind_is_newer(log, CACHE_PURGE_HOST, since_id))
        find_fingerprint(log, text_fingerprint(CACHE_PURGE_HOST, url_host(s->url)), since_id, &f);
    if (s->tags.len > 0 && kind_is_newer(log, CACHE_PURGE_TAG, since_id))
        find_tags(log, s->tags, since_id, &f);
    if (kind_is_newer(log, CACHE_PURGE_PREFIX, since_id) || kind_is_newer(log, CACHE_PURGE_GLOB, since_id)) {
        rcu_enter();
        cache_inval_pattern_find(&log->patterns, s->url, s->any_query, since_id, &f.hard, &f.soft);
        rcu_leave();
    }
    f.hard = MAX(f.hard, atomic_load_explicit(&log->floor[CACHE_INVAL_HARD], memory_order_acquire));
    f.soft = MAX(f.soft, atomic_load_explicit(&log->floor[CACHE_INVAL_SOFT], memory_order_acquire));
    f.hard = f.hard > since_id ? f.hard : 0;
    f.soft = f.soft > since_id ? f.soft : 0;
    return f;
}
