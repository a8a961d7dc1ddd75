/* fill_refresh.c: a stored response was confirmed (304): a new object with the new head and the old body, in
 * the old one's place (cache.h, cache_flight_refresh). */
#include "cache/fill.h"

#include "core/panic.h"

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
    struct cache_object *o = cache_fill_create_object(fl->cache, &parts, body);
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
    ASSERT(slice_eq(cache_flight_primary(fl), slice_make(stale->text, stale->primary_bytes)));
    struct cache_object *o = refresh_object(fl, stale, fill);
    bool same = slice_eq(cache_object_key(stale), slice_make(fl->key, fl->key_bytes));
    bool stored = false;
    if (o != NULL && same && !refresh_changes_vary(stale, fill->response)) {
        /* Softly purged since the fetch began: stored as stale, and who waits looks for himself. */
        stored = cache_flight_store(fl, o, stale) == NO_STORE_STORED &&
                 !(atomic_load_explicit(&o->checked_id, memory_order_relaxed) & CACHE_STALE_BIT);
    } else {
        lock_take(&fl->shard->lock);
        if (o != NULL)
            cache_shard_unlink_locked(fl->cache, fl->shard, stale);
        cache_flight_leave_locked(fl);
        cache_shard_tidy_locked(fl->cache, fl->shard, fl->primary_hash, cache_flight_primary(fl));
        lock_drop(&fl->shard->lock);
    }
    if (!stored) {
        cache_flight_end(flp, FLIGHT_RETRIED, FETCH_NONE, CACHE_EVENT_RETRY, CACHE_EVENT_RETRY);
        return o;
    }
    fl->object = cache_object_ref(o);
    cache_flight_end(flp, FLIGHT_COMPLETE, FETCH_NONE, CACHE_EVENT_OBJECT, CACHE_EVENT_PROGRESS);
    return o;
}
