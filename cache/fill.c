/* fill.c: what the leader of a flight does: begin, bytes, end (cache.h, "flights and filling").
 *
 * Only the leader's thread changes the object and the flight's state, so it reads both without lock; the
 * locks are for the table (who may still join) and the followers (who must be told). Order within each end of
 * a flight: what is decided about the index and the table happens in one hold of the shard's lock, so that a
 * purge comes wholly before or wholly after it; then the followers are told, all together. */
#include <stdlib.h>

#include "cache/follower.h"
#include "core/panic.h"

#define FILL_SCRATCH_FIRST (8 * KB)
#define FILL_SCRATCH_MAX   (64 * KB)

static bool flight_is_purged(const struct cache_flight *fl)
{
    return cache_inval_is_purged(&fl->cache->inval, fl->primary_hash.lo, fl->start_id);
}

static slice_t flight_primary(const struct cache_flight *fl)
{
    return slice_make(fl->key, fl->primary_bytes);
}

static mono_ms_t fill_now_ms(void)
{
    struct worker *w = worker_current();
    return w != NULL ? worker_now_ms(w) : clock_mono_ms();
}

/* Tells everybody that waits, or reads and is armed. */
static void flight_tell_locked(struct cache_flight *fl, enum cache_event to_waiting,
                               enum cache_event to_armed, struct cache_mails *mails)
{
    LIST_FOREACH_SAFE (n, tmp, &fl->followers) {
        struct cache_follower *f = CONTAINER_OF(n, struct cache_follower, node);
        if (f->state == FOLLOWER_WAITING)
            cache_follower_call_locked(f, to_waiting, mails);
        else
            cache_follower_wake_locked(f, to_armed, mails);
    }
}

/* The last step of every end: state, followers, the leader's reference. The flight has left the table. */
static void flight_end(struct cache_flight **flp, enum cache_flight_state state, enum fetch_error error,
                       enum cache_event to_waiting, enum cache_event to_armed)
{
    struct cache_flight *fl = *flp;
    struct cache_mails mails = {NULL};
    lock_take(&fl->lock);
    cache_flight_set_state_locked(fl, state);
    fl->error = (uint8_t)error;
    if (fl->room == ROOM_WANTED)
        fl->room = ROOM_NONE;
    flight_tell_locked(fl, to_waiting, to_armed, &mails);
    lock_drop(&fl->lock);
    cache_mails_post(&mails);
    fl->leader_gone = true;
    cache_flight_unref(flp);
}

static void flight_leave_table(struct cache_flight *fl)
{
    lock_take(&fl->shard->lock);
    cache_flight_leave_locked(fl);
    cache_shard_tidy_locked(fl->cache, fl->shard, fl->primary_hash, flight_primary(fl));
    lock_drop(&fl->shard->lock);
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
    struct cache_key whole = {flight_primary(fl), fl->primary_hash};
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

static struct cache_object *fill_create_object(struct cache *c, const struct cache_object_parts *parts,
                                               struct cache_body *body)
{
    size_t cost = cache_object_cost(parts, body != NULL);
    if (!cache_reserve(c, cost))
        return NULL;
    struct cache_object *o = cache_object_create(&c->account, parts, body);
    if (o == NULL)
        cache_account_release(&c->account, cost);
    return o;
}

/* Publishes the marker and moves the flight under the variant's key. *same: the followers there are wait for
 * just this key. false when out of memory. */
static bool fill_publish_key(struct cache_flight *fl, const struct cache_object_parts *parts, bool *same)
{
    struct cache_key whole = {parts->key, {parts->hash, 0}};
    lock_take(&fl->shard->lock);
    bool ok = true;
    *same = slice_eq(parts->key, slice_make(fl->key, fl->key_bytes));
    bool joinable = !list_empty(&fl->node);
    if (joinable && parts->vary_names.len > 0)
        ok = cache_shard_mark_locked(fl->cache, fl->shard, fl->primary_hash.lo, flight_primary(fl),
                                     parts->vary_names) != NULL;
    if (ok && !*same)
        ok = cache_flight_rekey_locked(fl, &whole);
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
    o = fill_create_object(fl->cache, &parts, NULL);
    if (o == NULL)
        goto out;
    if (!fill_publish_key(fl, &parts, &same)) {
        cache_object_unref(&o);
        goto out;
    }
    *why = NO_STORE_STORED;
    fl->max_object_bytes = fill->max_object_bytes;
    struct cache_mails mails = {NULL};
    lock_take(&fl->lock);
    fl->object = o;
    cache_flight_set_state_locked(fl, FLIGHT_FILLING);
    flight_tell_locked(fl, same ? CACHE_EVENT_OBJECT : CACHE_EVENT_RETRY, CACHE_EVENT_PROGRESS, &mails);
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

/* The object is not going to be stored: nobody may join any more, the key is remembered, the window opens. */
static void fill_open_window(struct cache_flight *fl)
{
    cache_pass_remember(fl->cache->pass, fl->primary_hash.lo, fill_now_ms(), CACHE_PASS_OVERSIZE_MS);
    flight_leave_table(fl);
    struct cache_mails mails = {NULL};
    lock_take(&fl->lock);
    cache_flight_set_state_locked(fl, FLIGHT_WINDOW);
    cache_flight_slide_locked(fl, &mails);
    lock_drop(&fl->lock);
    cache_mails_post(&mails);
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
    size_t charge;
    size_t bytes = cache_body_next_chunk(o->body, &charge);
    bool reserved = fl->state == FLIGHT_FILLING && cache_reserve(fl->cache, charge);
    if (fl->state == FLIGHT_FILLING && !reserved)
        fill_open_window(fl);
    if (fl->state == FLIGHT_WINDOW) { /* at most the window and a chunk per stream, whatever the limit */
        bytes = MIN(bytes, 4 * CACHE_CHUNK_MIN);
        charge = cache_memory_rounded(bytes) + cache_memory_rounded(sizeof(struct cache_chunk));
        cache_account_charge(&fl->cache->account, charge);
    }
    if (!cache_body_add_chunk(o->body, bytes, charge)) {
        cache_account_release(&fl->cache->account, charge);
        return NULL;
    }
    return cache_body_room(o->body, room);
}

void cache_fill_commit(struct cache_flight *fl, size_t n)
{
    CHECK_MAGIC(fl, FLIGHT_MAGIC);
    ASSERT(fl->state == FLIGHT_FILLING || fl->state == FLIGHT_WINDOW);
    if (n == 0)
        return;
    struct cache_object *o = fl->object;
    if (o->kind == CACHE_BODY_SHARED)
        cache_body_commit(o->body, n);
    else
        cache_object_commit_small(o, n);
    if (fl->state == FLIGHT_FILLING && cache_object_filled(o) > (uint64_t)fl->max_object_bytes)
        fill_open_window(fl);
    struct cache_mails mails = {NULL};
    lock_take(&fl->lock);
    flight_tell_locked(fl, CACHE_EVENT_OBJECT, CACHE_EVENT_PROGRESS, &mails);
    cache_flight_slide_locked(fl, &mails);
    lock_drop(&fl->lock);
    cache_mails_post(&mails);
}

bool cache_fill_should_pause(struct cache_flight *fl, void (*on_room)(void *arg), void *arg, struct worker *w)
{
    CHECK_MAGIC(fl, FLIGHT_MAGIC);
    if (fl->state != FLIGHT_WINDOW)
        return false;
    lock_take(&fl->lock);
    bool pause = cache_object_filled(fl->object) - cache_flight_slowest_locked(fl) > CACHE_WINDOW_BYTES;
    if (pause && fl->room != ROOM_POSTED) {
        fl->room = ROOM_WANTED;
        fl->on_room = on_room;
        fl->room_arg = arg;
        fl->room_mail.to = w;
    }
    lock_drop(&fl->lock);
    return pause;
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

static struct cache_fill fill_of_object(const struct cache_object_info *i)
{
    return (struct cache_fill){.head = i->head,
                               .status = i->status,
                               .status_line_bytes = i->status_line_bytes,
                               .body_bytes = i->body_bytes,
                               .fresh = i->fresh,
                               .etag = i->validators.etag,
                               .last_modified = i->validators.last_modified,
                               .last_modified_s = i->validators.last_modified_s};
}

/* A body of unknown length sits in a 16 KB chunk that readers may be looking at. When it came out small, a
 * twin of the right size is what is stored; the first goes with its readers. NULL: store the first. */
static struct cache_object *fill_small_twin(struct cache_flight *fl)
{
    struct cache_object *o = fl->object;
    uint64_t bytes = cache_object_filled(o);
    if (o->kind != CACHE_BODY_SHARED || bytes > CACHE_SMALL_BODY_MAX)
        return NULL;
    struct cache_object_info info = cache_object_info(o);
    info.body_bytes = (int64_t)bytes;
    struct cache_fill fill = fill_of_object(&info);
    struct cache_object_parts parts = {.hash = o->hash,
                                       .shard = (unsigned)o->shard,
                                       .key = cache_object_key(o),
                                       .primary_bytes = o->primary_bytes,
                                       .vary_names = info.vary_names,
                                       .fill = &fill,
                                       .body_bytes = (int64_t)bytes};
    if (cache_object_cost(&parts, false) >= cache_object_charge(o, true))
        return NULL;
    struct cache_object *twin = fill_create_object(fl->cache, &parts, NULL);
    struct iovec iov;
    if (twin == NULL)
        return NULL;
    if (bytes > 0) {
        ASSERT(cache_object_iov(o, 0, &iov, 1) == 1 && iov.iov_len == bytes);
        memcpy(cache_object_small_body(twin), iov.iov_base, bytes);
        cache_object_commit_small(twin, bytes);
    }
    cache_object_end(twin, CACHE_COMPLETE);
    return twin;
}

/* Into the index and out of the table, in one step. A purge after start_id keeps it out. So does having left
 * the table to another flight: cache_invalidate_url relies on seeing all that may be stored. */
static enum no_store_reason flight_store(struct cache_flight *fl, struct cache_object *o, uint64_t valid_id)
{
    enum no_store_reason why = NO_STORE_PURGED;
    lock_take(&fl->shard->lock);
    uint64_t head = cache_inval_head(&fl->cache->inval);
    bool purged = cache_inval_is_purged(&fl->cache->inval, fl->primary_hash.lo, MIN(fl->start_id, valid_id));
    if (!purged && list_empty(&fl->node)) {
        why = NO_STORE_SUPERSEDED;
    } else if (!purged) {
        atomic_store_explicit(&o->checked_id, head, memory_order_relaxed);
        why = cache_shard_insert_locked(fl->cache, fl->shard, o);
    }
    cache_flight_leave_locked(fl);
    cache_shard_tidy_locked(fl->cache, fl->shard, fl->primary_hash, flight_primary(fl));
    lock_drop(&fl->shard->lock);
    if (why == NO_STORE_STORED)
        cache_pass_forget(fl->cache->pass, fl->primary_hash.lo);
    return why;
}

enum no_store_reason cache_fill_finish(struct cache_flight **flp)
{
    struct cache_flight *fl = *flp;
    CHECK_MAGIC(fl, FLIGHT_MAGIC);
    struct cache_object *o = fl->object;
    ASSERT(o->kind != CACHE_BODY_SHARED || o->body->announced_bytes < 0 ||
           (uint64_t)o->body->announced_bytes == cache_object_filled(o));
    enum no_store_reason why = NO_STORE_TOO_LARGE;
    if (fl->state == FLIGHT_WINDOW) {
        cache_object_end(o, CACHE_COMPLETE);
    } else {
        struct cache_object *twin = fill_small_twin(fl);
        cache_object_end(o, CACHE_COMPLETE);
        why = flight_store(fl, twin != NULL ? twin : o, fl->start_id);
        cache_object_unref(&twin);
    }
    flight_end(flp, FLIGHT_COMPLETE, FETCH_NONE, CACHE_EVENT_OBJECT, CACHE_EVENT_PROGRESS);
    return why;
}

static void flight_cut(struct cache_flight **flp, enum fetch_error e)
{
    struct cache_flight *fl = *flp;
    cache_object_end(fl->object, CACHE_CUT);
    flight_leave_table(fl);
    flight_end(flp, FLIGHT_CUT, e, CACHE_EVENT_FAILED, CACHE_EVENT_FAILED);
}

void cache_fill_abort(struct cache_flight **flp)
{
    CHECK_MAGIC(*flp, FLIGHT_MAGIC);
    flight_cut(flp, FETCH_CUT_SHORT);
}

void cache_flight_release(struct cache_flight **flp, enum no_store_reason why, dur_ms_t pass_ms)
{
    struct cache_flight *fl = *flp;
    CHECK_MAGIC(fl, FLIGHT_MAGIC);
    ASSERT(why != NO_STORE_STORED && fl->state == FLIGHT_FETCHING);
    if (pass_ms > 0)
        cache_pass_remember(fl->cache->pass, fl->primary_hash.lo, fill_now_ms(), pass_ms);
    flight_leave_table(fl);
    flight_end(flp, FLIGHT_RELEASED, FETCH_NONE, CACHE_EVENT_PASS, CACHE_EVENT_PASS);
}

void cache_flight_fail(struct cache_flight **flp, enum fetch_error e)
{
    struct cache_flight *fl = *flp;
    CHECK_MAGIC(fl, FLIGHT_MAGIC);
    if (fl->state != FLIGHT_FETCHING) {
        flight_cut(flp, e);
        return;
    }
    flight_leave_table(fl);
    flight_end(flp, FLIGHT_FAILED, e, CACHE_EVENT_FAILED, CACHE_EVENT_FAILED);
}

/* A new object with the new head and the stale one's body and key. */
static struct cache_object *refresh_object(struct cache_flight *fl, struct cache_object *stale,
                                           const struct cache_fill *fill)
{
    struct cache_object_parts parts = {.hash = stale->hash,
                                       .shard = (unsigned)stale->shard,
                                       .key = cache_object_key(stale),
                                       .primary_bytes = stale->primary_bytes,
                                       .vary_names =
                                           slice_make(stale->text + stale->key_bytes, stale->vary_bytes),
                                       .fill = fill,
                                       .body_bytes = (int64_t)cache_object_filled(stale)};
    if (!cache_object_parts_fit(&parts))
        return NULL;
    struct cache_body *body = stale->kind == CACHE_BODY_SHARED ? stale->body : NULL;
    struct cache_object *o = fill_create_object(fl->cache, &parts, body);
    if (o == NULL || body != NULL)
        return o;
    struct iovec iov;
    if (cache_object_iov(stale, 0, &iov, 1) == 1) {
        memcpy(cache_object_small_body(o), iov.iov_base, iov.iov_len);
        cache_object_commit_small(o, iov.iov_len);
    }
    cache_object_end(o, CACHE_COMPLETE);
    return o;
}

/* The 304 lists other Vary names than the stored response: the old choice of variants no longer holds. */
static bool refresh_changes_vary(const struct cache_object *stale, const struct http_head *response)
{
    if (response == NULL || !http_head_has(response, HTTP_FIELD_VARY))
        return false;
    char block[FILL_SCRATCH_FIRST];
    struct arena scratch;
    arena_init(&scratch, block, sizeof block, FILL_SCRATCH_MAX);
    bool star = false;
    slice_t names = cache_vary_names(&scratch, response, &star);
    bool changed = star || names.ptr == NULL ||
                   !slice_eq(names, slice_make(stale->text + stale->key_bytes, stale->vary_bytes));
    arena_reset(&scratch);
    return changed;
}

struct cache_object *cache_flight_refresh(struct cache_flight **flp, struct cache_object *stale,
                                          const struct cache_fill *fill)
{
    struct cache_flight *fl = *flp;
    CHECK_MAGIC(fl, FLIGHT_MAGIC);
    ASSERT(fl->state == FLIGHT_FETCHING && cache_object_is_complete(stale));
    ASSERT(slice_eq(flight_primary(fl), slice_make(stale->text, stale->primary_bytes)));
    struct cache_object *o = refresh_object(fl, stale, fill);
    bool same = slice_eq(cache_object_key(stale), slice_make(fl->key, fl->key_bytes));
    bool stored = false;
    if (o != NULL && same && !refresh_changes_vary(stale, fill->response)) {
        /* What was purged since the stale object was last found valid does not come back by a 304. */
        uint64_t valid_id = atomic_load_explicit(&stale->checked_id, memory_order_relaxed);
        stored = flight_store(fl, o, valid_id) == NO_STORE_STORED;
    } else {
        lock_take(&fl->shard->lock);
        if (o != NULL)
            cache_shard_unlink_locked(fl->cache, fl->shard, stale);
        cache_flight_leave_locked(fl);
        cache_shard_tidy_locked(fl->cache, fl->shard, fl->primary_hash, flight_primary(fl));
        lock_drop(&fl->shard->lock);
    }
    if (!stored) {
        flight_end(flp, FLIGHT_RETRIED, FETCH_NONE, CACHE_EVENT_RETRY, CACHE_EVENT_RETRY);
        return o;
    }
    fl->object = cache_object_ref(o);
    flight_end(flp, FLIGHT_COMPLETE, FETCH_NONE, CACHE_EVENT_OBJECT, CACHE_EVENT_PROGRESS);
    return o;
}
