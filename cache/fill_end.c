/* fill_end.c: how a flight ends (cache.h, "flights and filling"), and what its beginning shares with that.
 *
 * Order within each end: what is decided about the index and the table happens in one hold of the shard's
 * lock, so that a purge comes wholly before or wholly after it; then the followers are told, all together. */
#include "cache/fill.h"

#include "cache/validity.h"
#include "core/panic.h"

void cache_flight_end(struct cache_flight **flp, enum cache_flight_state state, enum fetch_error error,
                      enum cache_event to_waiting, enum cache_event to_armed)
{
    struct cache_flight *fl = *flp;
    struct cache_mails mails = {NULL};
    lock_take(&fl->lock);
    cache_flight_set_state_locked(fl, state);
    fl->error = (uint8_t)error;
    if (fl->room == ROOM_WANTED)
        fl->room = ROOM_NONE;
    if (UNLIKELY(fl->digest != NULL))
        digest_free(&fl->digest);
    cache_flight_tell_locked(fl, to_waiting, to_armed, &mails);
    lock_drop(&fl->lock);
    cache_mails_post(&mails);
    fl->leader_gone = true;
    cache_flight_unref(flp);
}

void cache_flight_tell_locked(struct cache_flight *fl, enum cache_event to_waiting, enum cache_event to_armed,
                              struct cache_mails *mails)
{
    LIST_FOREACH_SAFE (n, tmp, &fl->followers) {
        struct cache_follower *f = CONTAINER_OF(n, struct cache_follower, node);
        if (f->state == FOLLOWER_WAITING)
            cache_follower_call_locked(f, to_waiting, mails);
        else
            cache_follower_wake_locked(f, to_armed, mails);
    }
}

void cache_flight_turn_late_away_locked(struct cache_flight *fl, struct cache_mails *mails)
{
    const struct cache_inval_found found = cache_flight_overtaken_by(fl, fl->object);
    if ((found.hard | found.soft) == 0)
        return;
    LIST_FOREACH_SAFE (n, tmp, &fl->followers) {
        struct cache_follower *f = CONTAINER_OF(n, struct cache_follower, node);
        if (f->state == FOLLOWER_WAITING && f->join_id != fl->start_id)
            cache_follower_call_locked(f, CACHE_EVENT_RETRY, mails);
    }
}

void cache_flight_leave_table(struct cache_flight *fl)
{
    lock_take(&fl->shard->lock);
    cache_flight_leave_locked(fl);
    cache_shard_tidy_locked(fl->cache, fl->shard, fl->primary_hash, cache_flight_primary(fl));
    lock_drop(&fl->shard->lock);
}

struct cache_object *cache_fill_create_object(struct cache *c, const struct cache_object_parts *parts,
                                              struct cache_body *body)
{
    size_t cost = cache_object_cost(parts, body != NULL);
    if (!cache_reserve(c, cost, NULL))
        return NULL;
    struct cache_object *o = cache_object_create(&c->account, parts, body);
    if (o == NULL)
        cache_account_release(&c->account, cost);
    return o;
}

static struct cache_fill fill_of_object(const struct cache_object *o, const struct cache_object_info *i)
{
    return (struct cache_fill){.head = i->head,
                               .status = i->status,
                               .status_line_bytes = i->status_line_bytes,
                               .body_bytes = i->body_bytes,
                               .fresh = i->fresh,
                               .early_code = o->early_code,
                               .etag = i->validators.etag,
                               .last_modified = i->validators.last_modified,
                               .last_modified_s = i->validators.last_modified_s,
                               .tags = cache_object_tag_fields(o)};
}

/* A body of unknown length sits in a 16 KB chunk that readers may be looking at. When it came out small, a
 * twin of the right size is what is stored; the first goes with its readers. NULL: store the first. */
static struct cache_object *fill_small_twin(struct cache_flight *fl)
{
    struct cache_object *o = fl->object;
    uint64_t bytes = cache_object_filled(o);
    if (o->kind != CACHE_BODY_SHARED || o->body->announced_bytes >= 0 || bytes > CACHE_SMALL_BODY_MAX)
        return NULL;
    struct cache_object_info info = cache_object_info(o);
    info.body_bytes = (int64_t)bytes;
    struct cache_fill fill = fill_of_object(o, &info);
    fill.head = cache_object_whole_head(o);
    struct cache_object_parts parts = {.hash = o->hash,
                                       .shard = (unsigned)o->shard,
                                       .key = cache_object_key(o),
                                       .primary_bytes = o->primary_bytes,
                                       .vary_names = info.vary_names,
                                       .fill = &fill,
                                       .body_bytes = (int64_t)bytes};
    if (cache_object_cost(&parts, false) >= cache_object_charge(o, true))
        return NULL;
    struct cache_object *twin = cache_fill_create_object(fl->cache, &parts, NULL);
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

enum no_store_reason cache_flight_store(struct cache_flight *fl, struct cache_object *o,
                                        struct cache_object *stale)
{
    enum no_store_reason why = NO_STORE_PURGED;
    lock_take(&fl->shard->lock);
    uint64_t checked_id;
    bool valid = cache_flight_result_is_valid(fl, o, stale, &checked_id);
    atomic_store_explicit(&o->checked_id, CACHE_ID_UNSHOWN, memory_order_relaxed);
    if (valid && list_empty(&fl->node))
        why = NO_STORE_SUPERSEDED;
    else if (valid)
        why = cache_shard_insert_locked(fl->cache, fl->shard, o);
    if (why == NO_STORE_STORED)
        cache_pass_forget(fl->cache->pass, fl->primary_hash.lo);
    if (fl->object != NULL) /* never before the two above: who has the last byte may ask again at once */
        cache_object_show(fl->object, fl->held);
    atomic_store_explicit(&o->checked_id, checked_id, memory_order_release);
    cache_flight_leave_locked(fl);
    cache_shard_tidy_locked(fl->cache, fl->shard, fl->primary_hash, cache_flight_primary(fl));
    lock_drop(&fl->shard->lock);
    return why;
}

enum no_store_reason cache_fill_finish(struct cache_flight **flp)
{
    struct cache_flight *fl = *flp;
    CHECK_MAGIC(fl, FLIGHT_MAGIC);
    struct cache_object *o = fl->object;
    ASSERT(o->kind != CACHE_BODY_SHARED || o->body->announced_bytes < 0 ||
           (uint64_t)o->body->announced_bytes == cache_object_filled(o) + fl->held);
    enum no_store_reason why = (enum no_store_reason)fl->window_why;
    if (fl->state == FLIGHT_WINDOW) {
        cache_object_show(o, fl->held);
    } else {
        struct cache_object *twin = fill_small_twin(fl);
        cache_object_seal(o, fl->held);
        why = cache_flight_store(fl, twin != NULL ? twin : o, NULL);
        cache_object_unref(&twin);
    }
    cache_flight_end(flp, FLIGHT_COMPLETE, FETCH_NONE,
                     fl->look_again ? CACHE_EVENT_RETRY : CACHE_EVENT_OBJECT, CACHE_EVENT_PROGRESS);
    return why;
}

static void flight_cut(struct cache_flight **flp, enum fetch_error e)
{
    struct cache_flight *fl = *flp;
    cache_object_end(fl->object, CACHE_CUT);
    cache_flight_leave_table(fl);
    cache_flight_end(flp, FLIGHT_CUT, e, CACHE_EVENT_FAILED, CACHE_EVENT_FAILED);
}

void cache_fill_abort(struct cache_flight **flp)
{
    CHECK_MAGIC(*flp, FLIGHT_MAGIC);
    flight_cut(flp, FETCH_CUT_SHORT);
}

void cache_flight_answered(struct cache_flight *fl, unsigned status)
{
    CHECK_MAGIC(fl, FLIGHT_MAGIC);
    fl->status = (uint16_t)status;
}

void cache_flight_supersede(struct cache_flight *fl)
{
    CHECK_MAGIC(fl, FLIGHT_MAGIC);
    lock_take(&fl->shard->lock);
    struct cache_object *o = NULL;
    if (!list_empty(&fl->node)) /* else something newer may be stored */
        o = cache_entry_object(
            cache_index_find(&fl->shard->index, fl->hash, slice_make(fl->key, fl->key_bytes)));
    if (o != NULL)
        cache_shard_unlink_locked(fl->cache, fl->shard, o);
    lock_drop(&fl->shard->lock);
}

void cache_flight_release(struct cache_flight **flp, enum no_store_reason why, dur_ms_t pass_ms)
{
    struct cache_flight *fl = *flp;
    CHECK_MAGIC(fl, FLIGHT_MAGIC);
    ASSERT(why != NO_STORE_STORED && fl->state == FLIGHT_FETCHING);
    if (pass_ms > 0)
        cache_pass_remember_why(fl->cache->pass, fl->primary_hash.lo, cache_flight_now_ms(), pass_ms, why,
                                fl->status);
    cache_flight_leave_table(fl);
    cache_flight_end(flp, FLIGHT_RELEASED, FETCH_NONE, CACHE_EVENT_PASS, CACHE_EVENT_PASS);
}

void cache_flight_fail(struct cache_flight **flp, enum fetch_error e)
{
    struct cache_flight *fl = *flp;
    CHECK_MAGIC(fl, FLIGHT_MAGIC);
    if (fl->state != FLIGHT_FETCHING) {
        flight_cut(flp, e);
        return;
    }
    cache_flight_leave_table(fl);
    cache_flight_end(flp, FLIGHT_FAILED, e, CACHE_EVENT_FAILED, CACHE_EVENT_FAILED);
}

void cache_flight_fail_status(struct cache_flight **flp, unsigned status)
{
    CHECK_MAGIC(*flp, FLIGHT_MAGIC);
    lock_take(&(*flp)->lock);
    (*flp)->failed_status = (uint16_t)status;
    lock_drop(&(*flp)->lock);
    cache_flight_fail(flp, FETCH_ERROR_STATUS);
}
