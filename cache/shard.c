/* shard.c: see shard.h.
 *
 * Making room never holds two locks of a rank: victims are taken from the queues (LOCK_CACHE_EVICT) with a
 * reference, then unlinked one by one under their own shard's lock, if nobody else did so meanwhile. They are
 * in no queue by then and never enter one again, so that who unlinks them needs that lock no more.
 *
 * A store waits for the lock of a shard, but not for LOCK_CACHE_EVICT: evict.h, evict.c. */
#include "cache/shard.h"

#include "cache/validity.h"
#include "cache/variants.h"
#include "core/panic.h"

#define SWEEP_SLOTS  32               /* looked at per reservation that finds no room */
#define CLEAR_SLOTS  256              /* unlinked under one hold of the lock, at the end */
#define UNLINK_BATCH CACHE_EVICT_SOME /* unlinked under one hold of the lock */
/* Memory that waits for a grace period is outside the limit; beyond this much no new object is begun. */
#define DOOMED_SLACK (8 * MB)
#define DOOMED_SHARE 8

#define GIVE_WAY_TIMES 8 /* as much as failed: a few more than the next one shall succeed */

bool cache_variant_key(struct arena *scratch, slice_t primary, slice_t names, const struct http_head *request,
                       struct cache_key *out)
{
    slice_t secondary = cache_vary_key(scratch, names, request);
    if (secondary.ptr == NULL)
        return false;
    size_t bytes = primary.len + 1 + secondary.len;
    char *text = arena_alloc(scratch, bytes);
    if (text == NULL)
        return false;
    memcpy(text, primary.ptr, primary.len);
    text[primary.len] = '\0';
    if (secondary.len > 0)
        memcpy(text + primary.len + 1, secondary.ptr, secondary.len);
    out->text = slice_make(text, bytes);
    out->hash = hash_bytes(text, bytes);
    return true;
}

static slice_t object_primary(const struct cache_object *o)
{
    return slice_make(o->text, o->primary_bytes);
}

static hash128_t object_primary_hash(const struct cache_object *o)
{
    return hash_bytes(o->text, o->primary_bytes);
}

/* What remains to do once its slot no longer holds the object. */
static void shard_forget_locked(struct cache *c, struct cache_shard *sh, struct cache_object *o)
{
    sh->objects--;
    cache_evict_retire(&c->evict, o);
}

static void shard_drop_variants_locked(struct cache *c, struct cache_shard *sh, struct cache_marker *m)
{
    for (uint32_t i = 0; i < m->count; i++) {
        ASSERT(cache_index_remove(&sh->index, cache_entry_of_object(m->variants[i])));
        shard_forget_locked(c, sh, m->variants[i]);
    }
    m->count = 0;
}

/* Frees what a slot held before it was taken over. */
static void shard_dispose_locked(struct cache *c, struct cache_shard *sh, cache_entry_t old)
{
    struct cache_marker *m = cache_entry_marker(old);
    if (m != NULL) {
        shard_drop_variants_locked(c, sh, m);
        cache_marker_retire(m);
    } else if (old != 0) {
        shard_forget_locked(c, sh, cache_entry_object(old));
    }
}

struct cache_marker *cache_shard_mark_locked(struct cache *c, struct cache_shard *sh, uint64_t primary_hash,
                                             slice_t primary, slice_t names)
{
    lock_assert_held(&sh->lock);
    struct cache_marker *m = cache_entry_marker(cache_index_find(&sh->index, primary_hash, primary));
    if (m != NULL && slice_eq(cache_marker_names(m), names))
        return m;
    m = cache_marker_create(&c->account, primary_hash, primary, names);
    if (m == NULL)
        return NULL;
    cache_entry_t old;
    if (!cache_index_put(&sh->index, cache_entry_of_marker(m), &old)) {
        cache_marker_retire(m);
        return NULL;
    }
    shard_dispose_locked(c, sh, old);
    return m;
}

static void marker_remove_if_empty_locked(struct cache *c, struct cache_shard *sh, struct cache_marker *m,
                                          hash128_t primary_hash)
{
    UNUSED(c);
    if (m->count > 0 || cache_flight_is_in_table_locked(sh, primary_hash, cache_marker_key(m)))
        return;
    ASSERT(cache_index_remove(&sh->index, cache_entry_of_marker(m)));
    cache_marker_retire(m);
}

void cache_shard_tidy_locked(struct cache *c, struct cache_shard *sh, hash128_t primary_hash, slice_t primary)
{
    struct cache_marker *m = cache_entry_marker(cache_index_find(&sh->index, primary_hash.lo, primary));
    if (m != NULL)
        marker_remove_if_empty_locked(c, sh, m, primary_hash);
}

/* Out of index and marker; false when it no longer is there. Its queue and the index's reference are the
 * caller's business then, and nobody else's: who looks finds it no more, and the evictor only takes it out of
 * the queue. */
static bool shard_detach_locked(struct cache *c, struct cache_shard *sh, struct cache_object *o)
{
    lock_assert_held(&sh->lock);
    if (!cache_index_remove(&sh->index, cache_entry_of_object(o)))
        return false;
    if (cache_object_is_variant(o)) {
        hash128_t primary = object_primary_hash(o);
        struct cache_marker *m =
            cache_entry_marker(cache_index_find(&sh->index, primary.lo, object_primary(o)));
        ASSERT(m != NULL);
        cache_marker_forget(m, o);
        marker_remove_if_empty_locked(c, sh, m, primary);
    }
    return true;
}

bool cache_shard_unlink_locked(struct cache *c, struct cache_shard *sh, struct cache_object *o)
{
    if (!shard_detach_locked(c, sh, o))
        return false;
    shard_forget_locked(c, sh, o);
    return true;
}

size_t cache_shard_unlink_some(struct cache *c, struct cache_shard *sh, struct cache_object *const *all,
                               size_t n, bool waits)
{
    size_t sum = 0;
    for (size_t i = 0; i < n;) {
        struct cache_object *out[UNLINK_BATCH];
        size_t count = 0;
        if (waits)
            lock_take(&sh->lock);
        else if (!lock_try(&sh->lock))
            break;
        for (size_t end = MIN(i + UNLINK_BATCH, n); i < end; i++) {
            if (shard_detach_locked(c, sh, all[i])) /* else somebody was faster */
                out[count++] = all[i];
        }
        sh->objects -= count;
        lock_drop(&sh->lock);
        cache_evict_retire_some(&c->evict, out, count, waits);
        sum += count;
    }
    return sum;
}

/* The marker with a free place for `o`; a variant of the same key is out of it already. */
static bool shard_join_marker_locked(struct cache *c, struct cache_shard *sh, struct cache_object *o)
{
    slice_t names = slice_make(o->text + o->key_bytes, o->vary_bytes);
    struct cache_marker *m =
        cache_shard_mark_locked(c, sh, object_primary_hash(o).lo, object_primary(o), names);
    if (m == NULL)
        return false;
    const unsigned max = atomic_load_explicit(&c->max_variants, memory_order_relaxed);
    if (UNLIKELY(m->count >= max))
        cache_variants_note_full(c, m);
    while (m->count >= max)
        ASSERT(cache_shard_unlink_locked(c, sh, m->variants[0]));
    return cache_marker_add(m, o);
}

enum no_store_reason cache_shard_insert_locked(struct cache *c, struct cache_shard *sh,
                                               struct cache_object *o)
{
    lock_assert_held(&sh->lock);
    ASSERT(cache_object_is_complete(o) || atomic_load(&o->checked_id) == CACHE_ID_UNSHOWN);
    bool variant = cache_object_is_variant(o);
    if (variant) {
        cache_entry_t same = cache_index_find(&sh->index, o->hash, cache_object_key(o));
        if (same != 0)
            ASSERT(cache_shard_unlink_locked(c, sh, cache_entry_object(same)));
        if (!shard_join_marker_locked(c, sh, o))
            return NO_STORE_NO_MEMORY;
    }
    cache_object_ref(o);
    cache_entry_t old;
    if (!cache_index_put(&sh->index, cache_entry_of_object(o), &old)) {
        struct cache_object *mine = o;
        cache_object_unref(&mine);
        if (variant)
            cache_marker_forget(cache_entry_marker(cache_index_find(&sh->index, object_primary_hash(o).lo,
                                                                    object_primary(o))),
                                o);
        return NO_STORE_NO_MEMORY;
    }
    cache_evict_add(&c->evict, o);
    sh->objects++;
    sh->inserts++;
    shard_dispose_locked(c, sh, old);
    return NO_STORE_STORED;
}

size_t cache_shard_drop_url_locked(struct cache *c, struct cache_shard *sh, uint64_t primary_hash,
                                   slice_t primary)
{
    lock_assert_held(&sh->lock);
    size_t before = sh->objects;
    cache_entry_t e = cache_index_find(&sh->index, primary_hash, primary);
    if (e != 0) {
        ASSERT(cache_index_remove(&sh->index, e));
        shard_dispose_locked(c, sh, e);
    }
    return before - sh->objects;
}

size_t cache_shard_check_url_locked(struct cache *c, struct cache_shard *sh, uint64_t primary_hash,
                                    slice_t primary)
{
    lock_assert_held(&sh->lock);
    cache_entry_t e = cache_index_find(&sh->index, primary_hash, primary);
    struct cache_object *o = cache_entry_object(e);
    struct cache_marker *m = cache_entry_marker(e);
    struct cache_object **all = m != NULL ? m->variants : &o;
    size_t n = m != NULL ? m->count : o != NULL, valid = 0;
    for (size_t i = 0; i < n; i++)
        valid += !cache_object_is_purged(&c->inval, all[i], primary_hash);
    return valid;
}

static bool object_is_dead(struct cache *c, struct cache_object *o, wall_ms_t now_ms)
{
    uint64_t primary = cache_object_is_variant(o) ? object_primary_hash(o).lo : o->hash;
    if (cache_object_is_purged(&c->inval, o, primary))
        return true;
    /* A spent object that is still asked for is about to be revalidated: it is given one more look. */
    struct cache_freshness f = cache_object_freshness(o);
    if (!cache_freshness_is_spent(&f, now_ms))
        return false;
    return atomic_exchange_explicit(&o->freq, 0, memory_order_relaxed) == 0;
}

/* Removes what lies in some slots; false after the shard's last one. */
static bool shard_clear_some(struct cache *c, struct cache_shard *sh, size_t *cursor)
{
    cache_entry_t found[CLEAR_SLOTS];
    lock_take(&sh->lock);
    size_t n = cache_index_scan(&sh->index, cursor, found, CLEAR_SLOTS);
    for (size_t i = 0; i < n; i++) {
        struct cache_object *o = cache_entry_object(found[i]);
        if (o != NULL)
            cache_shard_unlink_locked(c, sh, o);
    }
    lock_drop(&sh->lock);
    return *cursor != 0;
}

void cache_clear(struct cache *c)
{
    for (unsigned i = 0; i < CACHE_SHARDS; i++) {
        /* Removing may rebuild the table under the cursor; it is only ever made smaller then, so start over
         * until a pass from the first to the last slot removed nothing. */
        size_t before;
        do {
            lock_take(&c->shards[i].lock);
            before = c->shards[i].objects;
            lock_drop(&c->shards[i].lock);
            size_t cursor = 0;
            while (shard_clear_some(c, &c->shards[i], &cursor))
                continue;
            lock_take(&c->shards[i].lock);
            before -= MIN(before, c->shards[i].objects);
            lock_drop(&c->shards[i].lock);
        } while (before > 0);
    }
}

static void evict_victims(struct cache *c, struct cache_object **victims, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct cache_shard *sh = &c->shards[victims[i]->shard];
        lock_take(&sh->lock);
        if (shard_detach_locked(c, sh, victims[i])) {
            sh->objects--;
            sh->evictions++;
            cache_object_retire(victims[i]);
        }
        lock_drop(&sh->lock);
        cache_object_unref(&victims[i]);
    }
}

static size_t bytes_over(struct cache *c, size_t bytes)
{
    size_t limit = atomic_load_explicit(&c->account.limit, memory_order_relaxed);
    size_t want = atomic_load_explicit(&c->account.used, memory_order_relaxed) + bytes;
    return want > limit ? want - limit : 0;
}

/* Two that look at the same slots are in nobody's way. */
static void sweep_some(struct cache *c, wall_ms_t now_ms)
{
    unsigned shard = atomic_fetch_add_explicit(&c->sweep_shard, 1, memory_order_relaxed) % CACHE_SHARDS;
    struct cache_shard *sh = &c->shards[shard];
    cache_entry_t found[SWEEP_SLOTS];
    struct cache_object *dead[SWEEP_SLOTS];
    size_t dead_count = 0;
    rcu_enter();
    size_t cursor = atomic_load_explicit(&sh->sweep_cursor, memory_order_relaxed);
    size_t n = cache_index_scan(&sh->index, &cursor, found, SWEEP_SLOTS);
    atomic_store_explicit(&sh->sweep_cursor, cursor, memory_order_relaxed);
    for (size_t i = 0; i < n; i++) {
        struct cache_object *o = cache_entry_object(found[i]);
        if (o != NULL && object_is_dead(c, o, now_ms))
            dead[dead_count++] = o;
    }
    size_t gone = cache_shard_unlink_some(c, sh, dead, dead_count, false);
    rcu_leave();
    atomic_fetch_add_explicit(&sh->swept, gone, memory_order_relaxed);
}

/* There is no room yet. */
static bool make_room(struct cache *c, size_t bytes, bool *busy)
{
    wall_ms_t now_ms = clock_wall_ms();
    sweep_some(c, now_ms);
    while (!cache_account_try(&c->account, bytes)) {
        struct cache_object *victims[CACHE_EVICT_BATCH];
        size_t n;
        const enum cache_evict_try found =
            cache_evict_try_pick(&c->evict, MAX(bytes_over(c, bytes), 1), now_ms, victims, &n);
        *busy = found == CACHE_EVICT_BUSY;
        if (found != CACHE_EVICT_ROOM)
            return cache_account_try(&c->account, bytes);
        evict_victims(c, victims, n);
    }
    return true;
}

static bool doomed_is_much(const struct cache *c)
{
    size_t limit = atomic_load_explicit(&c->account.limit, memory_order_relaxed);
    return atomic_load_explicit(&c->account.doomed, memory_order_relaxed) >
           limit / DOOMED_SHARE + DOOMED_SLACK;
}

bool cache_reserve(struct cache *c, size_t bytes, bool *busy)
{
    bool unasked;
    busy = busy != NULL ? busy : &unasked;
    *busy = false;
    size_t limit = atomic_load_explicit(&c->account.limit, memory_order_relaxed);
    if (bytes > limit)
        return false;
    if (cache_account_try(&c->account, bytes))
        return true;
    *busy = doomed_is_much(c);
    return !*busy && make_room(c, bytes, busy);
}

void cache_give_way(struct cache *c, size_t bytes)
{
    struct cache_object *victims[CACHE_EVICT_BATCH];
    size_t n;
    if (!doomed_is_much(c) &&
        cache_evict_try_pick(&c->evict, GIVE_WAY_TIMES * bytes, clock_wall_ms(), victims, &n))
        evict_victims(c, victims, n);
}

void cache_shrink(struct cache *c)
{
    wall_ms_t now_ms = clock_wall_ms();
    struct cache_object *victims[CACHE_EVICT_BATCH];
    size_t over, n;
    while ((over = bytes_over(c, 0)) > 0 && (n = cache_evict_pick(&c->evict, over, now_ms, victims)) > 0)
        evict_victims(c, victims, n);
}
