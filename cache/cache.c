/* cache.c: the facade (cache.h): create, find, join, purge, figures. Filling is in fill*.c, readers in
 * follower.c, purging in purge.c.
 *
 * cache_find is the hot path: one word per shard, one line of index slots, the object; a marker adds a second
 * probe. */
#include "cache/cache.h"

#include <stdlib.h>

#include "cache/follower.h"
#include "cache/no_vary_table.h"
#include "cache/validity.h"
#include "core/panic.h"

/* Events kept precisely per generation of the log: one per 8 KB of memory_bytes, within these. */
#define INVAL_EVENTS_MIN 256
#define INVAL_EVENTS_MAX 32768

static bool cache_open_tables(struct cache *c, size_t memory_bytes)
{
    c->pass = aligned_alloc(CACHE_LINE, sizeof *c->pass);
    if (c->pass == NULL)
        return false;
    memset(c->pass, 0, sizeof *c->pass);
    size_t events = MIN(MAX(memory_bytes / (8 * KB), INVAL_EVENTS_MIN), INVAL_EVENTS_MAX);
    if (!cache_inval_open(&c->inval, events))
        return false;
    if (!cache_evict_open(&c->evict, memory_bytes)) {
        cache_inval_close(&c->inval);
        return false;
    }
    for (unsigned i = 0; i < CACHE_SHARDS; i++) {
        if (cache_index_open(&c->shards[i].index, &c->account))
            continue;
        while (i-- > 0)
            cache_index_close(&c->shards[i].index);
        cache_inval_close(&c->inval);
        cache_evict_close(&c->evict);
        return false;
    }
    return true;
}

static unsigned settings_max_variants(const struct cache_settings *s)
{
    unsigned max = s->max_variants == 0 ? CACHE_MARKER_VARIANTS : s->max_variants;
    return MIN(MAX(max, 2), CACHE_MARKER_VARIANTS);
}

struct cache *cache_create(const struct cache_settings *s)
{
    struct cache *c = aligned_alloc(CACHE_LINE, sizeof *c);
    if (c == NULL)
        return NULL;
    memset(c, 0, sizeof *c);
    c->magic = CACHE_MAGIC;
    if (!cache_account_open(&c->account, s->memory_bytes)) {
        free(c);
        return NULL;
    }
    if (!cache_open_tables(c, s->memory_bytes)) {
        cache_account_close(&c->account);
        free(c->pass);
        free(c);
        return NULL;
    }
    for (unsigned i = 0; i < CACHE_SHARDS; i++) {
        lock_init(&c->shards[i].lock, LOCK_CACHE_SHARD);
        for (unsigned b = 0; b < CACHE_FLIGHT_BUCKETS; b++)
            list_init(&c->shards[i].flights[b]);
    }
    c->fixed_bytes =
        sizeof *c + sizeof *c->pass + cache_inval_bytes(&c->inval) + cache_evict_bytes(&c->evict);
    cache_account_charge(&c->account, c->fixed_bytes);
    atomic_init(&c->max_waiters, s->max_waiters);
    atomic_init(&c->max_variants, settings_max_variants(s));
    if (!cache_sweeper_start(c)) {
        cache_destroy(c);
        return NULL;
    }
    return c;
}

void cache_set_settings(struct cache *c, const struct cache_settings *s)
{
    CHECK_MAGIC(c, CACHE_MAGIC);
    atomic_store(&c->account.limit, s->memory_bytes);
    atomic_store(&c->max_waiters, s->max_waiters);
    atomic_store(&c->max_variants, settings_max_variants(s));
    cache_shrink(c);
}

void cache_destroy(struct cache *c)
{
    if (c == NULL)
        return;
    CHECK_MAGIC(c, CACHE_MAGIC);
    cache_sweeper_stop(c);
    cache_clear(c);
    cache_evict_settle(&c->evict);
    rcu_flush();
    for (unsigned i = 0; i < CACHE_SHARDS; i++) {
        ASSERT(c->shards[i].objects == 0);
        cache_index_close(&c->shards[i].index);
        lock_destroy(&c->shards[i].lock);
    }
    ASSERT(atomic_load(&c->flights_now) == 0 && atomic_load(&c->followers_now) == 0);
    cache_evict_close(&c->evict);
    cache_inval_close(&c->inval);
    cache_no_vary_close(c);
    cache_account_release(&c->account, c->fixed_bytes);
    cache_account_close(&c->account);
    c->magic = 0;
    free(c->pass);
    free(c);
}

static mono_ms_t cache_now_ms(void)
{
    struct worker *w = worker_current();
    return w != NULL ? worker_now_ms(w) : clock_mono_ms();
}

/* What is stored for this request, or NULL; `whole` becomes the key under which it is or would be. false in
 * *known when the variant cannot be told (too large, no memory). */
static struct cache_object *cache_lookup(struct cache *c, struct cache_shard *sh, const struct cache_key *key,
                                         const struct http_head *request, struct arena *scratch,
                                         struct cache_key *whole, bool *known)
{
    cache_entry_t e = cache_index_find(&sh->index, key->hash.lo, key->text);
    struct cache_marker *m = cache_entry_marker(e);
    *whole = *key;
    *known = true;
    if (UNLIKELY(m != NULL)) {
        *known = cache_variant_key(scratch, key->text, cache_marker_names(m), request, whole);
        if (!*known)
            return NULL;
        e = cache_index_find(&sh->index, whole->hash.lo, whole->text);
    }
    struct cache_object *o = cache_entry_object(e);
    return o == NULL || cache_object_is_purged(&c->inval, o, key->hash.lo) ? NULL : o;
}

struct cache_object *cache_find(struct cache *c, const struct cache_key *key, const struct http_head *request,
                                struct arena *scratch, enum no_store_reason *pass)
{
    struct cache_key whole;
    bool known;
    struct cache_object *o =
        cache_lookup(c, cache_shard_of(c, key->hash), key, request, scratch, &whole, &known);
    *pass = NO_STORE_STORED;
    if (o != NULL)
        cache_object_touch(o);
    else
        *pass = cache_pass_says(c->pass, key->hash.lo, cache_now_ms());
    return o;
}

struct cache_object *cache_look(struct cache *c, const struct cache_key *key, const struct http_head *request,
                                struct arena *scratch)
{
    struct cache_key whole;
    bool known;
    return cache_lookup(c, cache_shard_of(c, key->hash), key, request, scratch, &whole, &known);
}

/* A flight that may be joined: one that a purge has overtaken is left to those it already has. `whole`
 * becomes that of the variant when a flight has just told of a new Vary. */
static struct cache_flight *join_find_flight_locked(struct cache_shard *sh, const struct cache_key *key,
                                                    const struct http_head *request, struct arena *scratch,
                                                    struct cache_key *whole)
{
    if (LIKELY(list_empty(cache_shard_flights(sh, key->hash))))
        return NULL;
    struct cache_flight *fl = cache_flight_find_locked(sh, key->hash, whole->text, whole->hash.lo);
    const struct cache_flight *varying = fl != NULL ? NULL : cache_flight_find_varying_locked(sh, key);
    if (UNLIKELY(varying != NULL) &&
        cache_variant_key(scratch, key->text, cache_object_info(varying->varies).vary_names, request, whole))
        fl = cache_flight_find_locked(sh, key->hash, whole->text, whole->hash.lo);
    if (fl == NULL || !cache_flight_is_overtaken(fl))
        return fl;
    cache_flight_leave_locked(fl);
    return NULL;
}

static struct cache_join_result join_as_follower(struct cache *c, struct cache_flight *fl, struct worker *w,
                                                 void (*on_event)(void *arg, enum cache_event event),
                                                 void *arg, bool surely)
{
    struct cache_join_result r = {.what = CACHE_PASS, .why = NO_STORE_WAIT_LIMIT};
    struct cache_mails mails = {NULL};
    lock_take(&fl->lock);
    bool room = surely || fl->follower_count - fl->own_count <
                              atomic_load_explicit(&c->max_waiters, memory_order_relaxed);
    if (room) {
        r.follower = cache_follower_create(c, fl, w, on_event, arg);
        r.why = NO_STORE_NO_MEMORY;
    }
    if (r.follower != NULL) {
        r.what = CACHE_FOLLOW;
        cache_follower_attach_locked(r.follower, false, &mails);
    }
    lock_drop(&fl->lock);
    cache_mails_post(&mails);
    return r;
}

static struct cache_join_result join_as_leader_locked(struct cache *c, struct cache_shard *sh,
                                                      const struct cache_key *key,
                                                      const struct cache_key *whole)
{
    struct cache_join_result r = {.what = CACHE_PASS, .why = NO_STORE_NO_MEMORY};
    r.flight = cache_flight_create(c, sh, key, whole);
    if (r.flight == NULL)
        return r;
    cache_flight_enter_locked(r.flight);
    r.what = CACHE_LEAD;
    return r;
}

static struct cache_join_result join_retry(struct cache *c, struct worker *w,
                                           void (*on_event)(void *arg, enum cache_event event), void *arg)
{
    struct cache_join_result r = {.what = CACHE_PASS, .why = NO_STORE_NO_MEMORY};
    r.follower = cache_follower_create(c, NULL, w, on_event, arg);
    if (r.follower == NULL)
        return r;
    r.what = CACHE_FOLLOW;
    cache_follower_call_retry(r.follower);
    return r;
}

static inline __attribute__((always_inline)) struct cache_join_result
join(struct cache *c, const struct cache_key *key, const struct http_head *request, struct arena *scratch,
     const struct cache_object *stale, struct worker *w, void (*on_event)(void *arg, enum cache_event event),
     void *arg, bool surely)
{
    CHECK_MAGIC(c, CACHE_MAGIC);
    struct cache_join_result r = {.what = CACHE_PASS, .why = NO_STORE_VARY_TOO_LARGE};
    struct cache_shard *sh = cache_shard_of(c, key->hash);
    if (key->text.len > UINT16_MAX) {
        r.why = NO_STORE_TOO_LARGE;
        return r;
    }
    struct cache_key whole;
    bool known;
    lock_take(&sh->lock);
    const struct cache_object *o = cache_lookup(c, sh, key, request, scratch, &whole, &known);
    if (known && o != NULL && o != stale) {
        r = join_retry(c, w, on_event, arg);
    } else if (known) {
        struct cache_flight *fl = join_find_flight_locked(sh, key, request, scratch, &whole);
        r = fl != NULL ? join_as_follower(c, fl, w, on_event, arg, surely)
                       : join_as_leader_locked(c, sh, key, &whole);
        r.varies = whole.text.ptr != key->text.ptr;
    }
    lock_drop(&sh->lock);
    return r;
}

struct cache_join_result cache_join(struct cache *c, const struct cache_key *key,
                                    const struct http_head *request, struct arena *scratch,
                                    const struct cache_object *stale, struct worker *w,
                                    void (*on_event)(void *arg, enum cache_event event), void *arg)
{
    return join(c, key, request, scratch, stale, w, on_event, arg, false);
}

struct cache_join_result cache_join_surely(struct cache *c, const struct cache_key *key,
                                           const struct http_head *request, struct arena *scratch,
                                           const struct cache_object *stale, struct worker *w,
                                           void (*on_event)(void *arg, enum cache_event event), void *arg)
{
    return join(c, key, request, scratch, stale, w, on_event, arg, true);
}

/* Make other entries of the same key's. */
#define PERSONAL UINT64_C(0x9e3779b97f4a7c15)
#define BACK_OFF UINT64_C(0xc2b2ae3d27d4eb4f)
#define UNSLICED UINT64_C(0x165667b19e3779f9)

struct cache_flight *cache_lead(struct cache *c, const struct cache_key *key, const struct http_head *request,
                                struct arena *scratch, const struct cache_object *stale)
{
    CHECK_MAGIC(c, CACHE_MAGIC);
    struct cache_shard *sh = cache_shard_of(c, key->hash);
    struct cache_flight *fl = NULL;
    struct cache_key whole;
    bool known;
    mono_ms_t now_ms = cache_now_ms();
    if (cache_pass_has(c->pass, key->hash.lo, now_ms) ||
        cache_pass_has(c->pass, key->hash.lo ^ BACK_OFF, now_ms))
        return NULL;
    lock_take(&sh->lock);
    if (cache_lookup(c, sh, key, request, scratch, &whole, &known) == stale && known &&
        join_find_flight_locked(sh, key, request, scratch, &whole) == NULL)
        fl = join_as_leader_locked(c, sh, key, &whole).flight;
    lock_drop(&sh->lock);
    return fl;
}

struct cache_flight *cache_flight_beside(const struct cache_flight *of, const struct cache_key *key,
                                         const struct http_head *request, struct arena *scratch)
{
    struct cache_flight *fl = NULL;
    struct cache *c = of->cache;
    CHECK_MAGIC(of, FLIGHT_MAGIC);
    struct cache_shard *sh = cache_shard_of(c, key->hash);
    struct cache_key whole;
    bool known;
    lock_take(&sh->lock);
    cache_lookup(c, sh, key, request, scratch, &whole, &known);
    if (known && key->text.len <= UINT16_MAX &&
        join_find_flight_locked(sh, key, request, scratch, &whole) == NULL)
        fl = join_as_leader_locked(c, sh, key, &whole).flight;
    if (fl != NULL) {
        fl->start_id = of->start_id; /* what was purged since then concerns it */
        fl->status = of->status;
    }
    lock_drop(&sh->lock);
    return fl;
}

bool cache_flight_move(struct cache_flight **flp, const struct cache_key *key,
                       const struct http_head *request, struct arena *scratch)
{
    struct cache_flight *fl = cache_flight_beside(*flp, key, request, scratch);
    cache_flight_fail(flp, FETCH_CANCELLED);
    *flp = fl;
    return fl != NULL;
}

enum no_store_reason cache_remembered(struct cache *c, const struct cache_key *key)
{
    CHECK_MAGIC(c, CACHE_MAGIC);
    const enum no_store_reason said = cache_pass_says(c->pass, key->hash.lo, cache_now_ms());
    return said != NO_STORE_STORED ? said : NO_STORE_PASS_REMEMBERED;
}

void cache_remember_personal(struct cache *c, const struct cache_key *key, dur_ms_t ms)
{
    CHECK_MAGIC(c, CACHE_MAGIC);
    cache_pass_remember(c->pass, key->hash.lo ^ PERSONAL, cache_now_ms(), ms);
}

bool cache_is_personal(struct cache *c, const struct cache_key *key)
{
    return cache_pass_has(c->pass, key->hash.lo ^ PERSONAL, cache_now_ms());
}

void cache_remember_unsliced(struct cache *c, const struct cache_key *key, uint64_t who, dur_ms_t ms)
{
    CHECK_MAGIC(c, CACHE_MAGIC);
    cache_pass_remember(c->pass, key->hash.lo ^ UNSLICED ^ who, cache_now_ms(), ms);
}

bool cache_is_unsliced(struct cache *c, const struct cache_key *key, uint64_t who)
{
    return cache_pass_has(c->pass, key->hash.lo ^ UNSLICED ^ who, cache_now_ms());
}

void cache_back_off(struct cache *c, const struct cache_key *key, dur_ms_t ms)
{
    CHECK_MAGIC(c, CACHE_MAGIC);
    cache_pass_remember(c->pass, key->hash.lo ^ BACK_OFF, cache_now_ms(), ms);
}

void cache_forget(struct cache *c, struct cache_object *o)
{
    CHECK_MAGIC(c, CACHE_MAGIC);
    struct cache_shard *sh = &c->shards[o->shard];
    lock_take(&sh->lock);
    cache_shard_unlink_locked(c, sh, o);
    lock_drop(&sh->lock);
}

void cache_get_stats(struct cache *c, struct cache_stats *out)
{
    CHECK_MAGIC(c, CACHE_MAGIC);
    cache_evict_settle(&c->evict); /* what was left at its door when the last thread stored is in no figure */
    *out = (struct cache_stats){
        .bytes_used = atomic_load_explicit(&c->account.used, memory_order_relaxed),
        .bytes_limit = atomic_load_explicit(&c->account.limit, memory_order_relaxed),
        .flights_now = atomic_load_explicit(&c->flights_now, memory_order_relaxed),
        .followers_now = atomic_load_explicit(&c->followers_now, memory_order_relaxed),
        .purges = atomic_load_explicit(&c->purges, memory_order_relaxed),
        .live_objects = atomic_load_explicit(&c->account.live_objects, memory_order_acquire),
    };
    for (unsigned i = 0; i < CACHE_SHARDS; i++) {
        struct cache_shard *sh = &c->shards[i];
        lock_take(&sh->lock);
        out->objects += sh->objects;
        out->inserts += sh->inserts;
        out->evictions += sh->evictions + atomic_load_explicit(&sh->swept, memory_order_relaxed);
        lock_drop(&sh->lock);
    }
}
