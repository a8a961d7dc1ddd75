/* fill.c: how the leader of a flight begins an object and brings its bytes (cache.h, "flights and filling").
 * The ends are in fill_end.c, the 304 in fill_refresh.c.
 *
 * Only the leader's thread changes the object and the flight's state, so it reads both without lock; the
 * locks are for the table (who may still join) and the followers (who must be told). */
#include "cache/fill.h"

#include "cache/validity.h"
#include "core/panic.h"

static bool flight_is_purged(const struct cache_flight *fl)
{
    return cache_flight_overtaken_by(fl, fl->object).hard != 0;
}

/* The whole key and Vary names of the response; false with *why. */
static bool fill_key(const struct cache_flight *fl, const struct cache_fill *fill, struct arena *scratch,
                     struct cache_object_parts *parts, enum no_store_reason *why)
{
    bool star = false;
    parts->vary_names = cache_vary_names(scratch, fill->response, &star);
    if (star || parts->vary_names.ptr == NULL) {
        *why = star ? NO_STORE_VARY_STAR : NO_STORE_VARY_TOO_LARGE;
        return false;
    }
    struct cache_key whole = {cache_flight_primary(fl), fl->primary_hash};
    if (parts->vary_names.len > 0 &&
        !cache_variant_key(scratch, whole.text, parts->vary_names, fill->request, &whole)) {
        *why = NO_STORE_VARY_TOO_LARGE;
        return false;
    }
    parts->key = whole.text;
    parts->hash = whole.hash.lo;
    parts->primary_bytes = fl->primary_bytes;
    parts->shard = (unsigned)(fl->shard - fl->cache->shards);
    parts->fill = fill;
    parts->body_bytes = fill->body_bytes;
    if (cache_object_parts_fit(parts))
        return true;
    *why = NO_STORE_TOO_LARGE;
    return false;
}

/* What is stored under the URL would go if a marker took its place, and may still be needed: stale, while the
 * new response is on its way, or should that fail. */
static bool fill_would_displace(const struct cache_flight *fl, slice_t vary_names)
{
    cache_entry_t e = cache_index_find(&fl->shard->index, fl->primary_hash.lo, cache_flight_primary(fl));
    const struct cache_marker *m = cache_entry_marker(e);
    return m != NULL ? m->count > 0 && !slice_eq(cache_marker_names(m), vary_names) : e != 0;
}

/* What was loaded is as old as its record: it is judged by all that came since, before anybody gets it. A
 * soft purge stays in its word; what comes after is asked for from the flight's start on, as ever. The id of
 * a node that is ahead of this one is brought down, so that what is still to arrive here counts. */
static bool fill_admit_loaded_locked(const struct cache_flight *fl, const struct cache_fill *fill,
                                     struct cache_object *o)
{
    uint64_t head = cache_inval_head(&fl->cache->inval), id = fill->checked_id & ~CACHE_STALE_BIT;
    atomic_store_explicit(&o->checked_id, MIN(id, head) | (fill->checked_id & CACHE_STALE_BIT),
                          memory_order_relaxed);
    return !cache_object_check(&fl->cache->inval, o, fl->primary_hash.lo, head);
}

/* Publishes the marker, or puts that off until the object is stored, and moves the flight under the variant's
 * key. *same: the followers there are wait for just this key. false with *why. */
static bool fill_publish_key(struct cache_flight *fl, const struct cache_object_parts *parts,
                             struct cache_object *o, bool *same, enum no_store_reason *why)
{
    struct cache_key whole = {parts->key, {parts->hash, 0}};
    *same = slice_eq(parts->key, slice_make(fl->key, fl->key_bytes));
    if (LIKELY(*same && parts->vary_names.len == 0 && !parts->fill->loaded))
        return true; /* the table holds it under its key already */
    lock_take(&fl->shard->lock);
    bool ok = true;
    if (UNLIKELY(parts->fill->loaded) && !fill_admit_loaded_locked(fl, parts->fill, o)) {
        *why = NO_STORE_PURGED;
        lock_drop(&fl->shard->lock);
        return false;
    }
    bool joinable = !list_empty(&fl->node);
    if (joinable && parts->vary_names.len > 0 && fill_would_displace(fl, parts->vary_names))
        fl->varies = o;
    else if (joinable && parts->vary_names.len > 0)
        ok = cache_shard_mark_locked(fl->cache, fl->shard, fl->primary_hash.lo, cache_flight_primary(fl),
                                     parts->vary_names) != NULL;
    if (ok && !*same)
        ok = cache_flight_rekey_locked(fl, &whole);
    if (!ok)
        fl->varies = NULL;
    lock_drop(&fl->shard->lock);
    /* Without Vary the response is for everybody, also for those who waited under a secondary key. */
    *same = *same || parts->vary_names.len == 0;
    return ok;
}

struct cache_object *cache_fill_begin(struct cache_flight *fl, const struct cache_fill *fill,
                                      enum no_store_reason *why)
{
    CHECK_MAGIC(fl, FLIGHT_MAGIC);
    ASSERT(fl->state == FLIGHT_FETCHING);
    *why = NO_STORE_TOO_LARGE;
    size_t limit = atomic_load_explicit(&fl->cache->account.limit, memory_order_relaxed);
    if (fill->body_bytes > fill->max_object_bytes ||
        (fill->body_bytes > 0 && (uint64_t)fill->body_bytes > limit))
        return NULL;
    char block[FILL_SCRATCH_FIRST];
    struct arena scratch;
    arena_init(&scratch, block, sizeof block, FILL_SCRATCH_MAX);
    struct cache_object_parts parts;
    struct cache_object *o = NULL;
    bool same = true;
    if (!fill_key(fl, fill, &scratch, &parts, why))
        goto out;
    *why = NO_STORE_NO_MEMORY;
    o = cache_fill_create_object(fl->cache, &parts, NULL);
    if (o == NULL)
        goto out;
    if (!fill_publish_key(fl, &parts, o, &same, why)) {
        cache_object_unref(&o);
        goto out;
    }
    *why = NO_STORE_STORED;
    fl->max_object_bytes = fill->max_object_bytes;
    struct cache_mails mails = {NULL};
    lock_take(&fl->lock);
    fl->object = o;
    cache_flight_set_state_locked(fl, FLIGHT_FILLING);
    if (UNLIKELY(cache_inval_head(&fl->cache->inval) != fl->start_id))
        cache_flight_turn_late_away_locked(fl, &mails);
    fl->head_held = fill->body_bytes == 0 || fill->look_again;
    fl->loaded = fill->loaded;
    fl->look_again = fill->look_again;
    if (!same || !fl->head_held)
        cache_flight_tell_locked(fl, same ? CACHE_EVENT_OBJECT : CACHE_EVENT_RETRY, CACHE_EVENT_PROGRESS,
                                 &mails);
    lock_drop(&fl->lock);
    cache_mails_post(&mails);
out:
    arena_reset(&scratch);
    return o;
}

struct cache_follower *cache_flight_follow(struct cache_flight *fl, struct worker *w,
                                           void (*on_event)(void *arg, enum cache_event event), void *arg)
{
    CHECK_MAGIC(fl, FLIGHT_MAGIC);
    ASSERT(fl->object != NULL);
    struct cache_follower *f = cache_follower_create(fl->cache, fl, w, on_event, arg);
    if (f == NULL)
        return NULL;
    struct cache_mails mails = {NULL};
    lock_take(&fl->lock);
    cache_follower_attach_locked(f, true, &mails);
    lock_drop(&fl->lock);
    return f;
}

/* The object is not going to be stored: nobody may join any more, the key of one that is too large is
 * remembered, the window opens. */
static void fill_open_window(struct cache_flight *fl, enum no_store_reason why)
{
    if (why == NO_STORE_TOO_LARGE)
        cache_pass_remember_why(fl->cache->pass, fl->primary_hash.lo, cache_flight_now_ms(),
                                CACHE_PASS_OVERSIZE_MS, why, fl->status);
    fl->window_why = (uint8_t)why;
    cache_flight_leave_table(fl);
    struct cache_mails mails = {NULL};
    lock_take(&fl->lock);
    cache_flight_set_state_locked(fl, FLIGHT_WINDOW);
    cache_flight_open_window_locked(fl);
    cache_flight_slide_locked(fl, &mails);
    lock_drop(&fl->lock);
    cache_mails_post(&mails);
}

/* At most the window and a chunk per stream, whatever the limit. */
static bool fill_add_to_window(struct cache_flight *fl, size_t bytes)
{
    const size_t charge = cache_memory_rounded(bytes) + cache_memory_rounded(sizeof(struct cache_chunk));
    cache_account_charge(&fl->cache->account, charge);
    if (cache_body_add_chunk(fl->object->body, bytes, charge))
        return true;
    cache_account_release(&fl->cache->account, charge);
    return false;
}

/* Where there is less memory than memory_size promises, allocations fail before the account is full: then
 * what is stored gives way for those who come next, and these bytes pass through the smallest of windows. */
static bool fill_add_chunk(struct cache_flight *fl)
{
    size_t charge, bytes = cache_body_next_chunk(fl->object->body, &charge);
    bool busy;
    if (fl->state == FLIGHT_FILLING && !cache_reserve(fl->cache, charge, &busy))
        fill_open_window(fl, busy ? NO_STORE_NO_MEMORY : NO_STORE_TOO_LARGE);
    if (fl->state == FLIGHT_WINDOW && fill_add_to_window(fl, MIN(bytes, 4 * CACHE_CHUNK_MIN)))
        return true;
    if (fl->state == FLIGHT_FILLING) {
        if (cache_body_add_chunk(fl->object->body, bytes, charge))
            return true;
        cache_account_release(&fl->cache->account, charge);
        fill_open_window(fl, NO_STORE_NO_MEMORY);
    }
    cache_give_way(fl->cache, bytes);
    return fill_add_to_window(fl, MIN(bytes, CACHE_CHUNK_MIN));
}

char *cache_fill_buffer(struct cache_flight *fl, size_t *room)
{
    CHECK_MAGIC(fl, FLIGHT_MAGIC);
    struct cache_object *o = fl->object;
    if (o->kind != CACHE_BODY_SHARED) {
        uint64_t filled = cache_object_filled(o);
        *room = o->small_bytes - (size_t)filled;
        ASSERT(*room > 0);
        return cache_object_small_body(o) + filled;
    }
    char *p = cache_body_room(o->body, room);
    if (p != NULL)
        return p;
    return fill_add_chunk(fl) ? cache_body_room(o->body, room) : NULL;
}

/* A client that has the last byte may ask again on another connection, and shall hit: these bytes are shown
 * when the object is in the index, or known not to get there. */
static bool fill_is_end(const struct cache_object *o, size_t n)
{
    int64_t announced = o->kind == CACHE_BODY_SHARED ? o->body->announced_bytes : o->small_bytes;
    return announced >= 0 && cache_object_filled(o) + n == (uint64_t)announced;
}

void cache_fill_commit(struct cache_flight *fl, size_t n)
{
    CHECK_MAGIC(fl, FLIGHT_MAGIC);
    ASSERT(fl->state == FLIGHT_FILLING || fl->state == FLIGHT_WINDOW);
    if (n == 0)
        return;
    struct cache_object *o = fl->object;
    ASSERT(fl->held == 0);
    if (fill_is_end(o, n)) {
        fl->held = n;
        return;
    }
    if (o->kind == CACHE_BODY_SHARED)
        cache_body_commit(o->body, n);
    else
        cache_object_commit_small(o, n);
    if (fl->state == FLIGHT_FILLING && cache_object_filled(o) > (uint64_t)fl->max_object_bytes)
        fill_open_window(fl, NO_STORE_TOO_LARGE);
    struct cache_mails mails = {NULL};
    lock_take(&fl->lock);
    if (!fl->head_held)
        cache_flight_tell_locked(fl, CACHE_EVENT_OBJECT, CACHE_EVENT_PROGRESS, &mails);
    cache_flight_slide_locked(fl, &mails);
    lock_drop(&fl->lock);
    cache_mails_post(&mails);
}

bool cache_fill_is_unwanted(struct cache_flight *fl)
{
    CHECK_MAGIC(fl, FLIGHT_MAGIC);
    lock_take(&fl->lock);
    bool read = fl->follower_count > 0;
    lock_drop(&fl->lock);
    return !read && (fl->state == FLIGHT_WINDOW || flight_is_purged(fl));
}

bool cache_flight_has_followers(struct cache_flight *fl)
{
    CHECK_MAGIC(fl, FLIGHT_MAGIC);
    lock_take(&fl->lock);
    bool others = fl->follower_count > fl->own_count;
    lock_drop(&fl->lock);
    return others;
}
