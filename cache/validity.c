/* validity.c: see validity.h.
 *
 * An object's word moves by compare-and-swap, and only up: two look-ups that know different heads cannot undo
 * each other, so a soft purge that one has noted is not lost to the other. The word never passes the head
 * that was read before the tables were. */
#include "cache/validity.h"

static struct cache_inval_subject object_subject(const struct cache_object *o, uint64_t primary)
{
    return cache_inval_subject(slice_make(o->text, o->primary_bytes), primary, cache_object_tags(o));
}

/* Somebody may have its last byte before the index says COMPLETE: it is being shown this moment, under the
 * lock. */
static uint64_t object_await_shown(struct cache_object *o)
{
    struct cache *c = CONTAINER_OF(cache_account_of(o->account), struct cache, account);
    lock_take(&c->shards[o->shard].lock);
    lock_drop(&c->shards[o->shard].lock);
    return atomic_load_explicit(&o->checked_id, memory_order_acquire);
}

bool cache_object_check(const struct cache_inval_log *log, struct cache_object *o, uint64_t primary,
                        uint64_t head)
{
    uint64_t checked = atomic_load_explicit(&o->checked_id, memory_order_acquire);
    if (UNLIKELY(checked == CACHE_ID_UNSHOWN))
        checked = object_await_shown(o);
    const struct cache_inval_subject subject = object_subject(o, primary);
    for (;;) {
        uint64_t since = checked & ~CACHE_STALE_BIT;
        if (since >= head)
            return false;
        const struct cache_inval_found found = cache_inval_find(log, &subject, since);
        if (found.hard != 0)
            return true;
        if (checked & CACHE_STALE_BIT)
            return false;
        uint64_t next = found.soft != 0 ? MIN(found.soft, head) | CACHE_STALE_BIT : head;
        if (atomic_compare_exchange_weak_explicit(&o->checked_id, &checked, next, memory_order_relaxed,
                                                  memory_order_relaxed))
            return false;
    }
}

struct cache_inval_found cache_flight_check(const struct cache_flight *fl, const struct cache_object *o)
{
    const struct cache_inval_subject subject =
        cache_inval_subject(slice_make(fl->key, fl->primary_bytes), fl->primary_hash.lo,
                            o != NULL ? cache_object_tags(o) : SLICE_EMPTY);
    return cache_inval_find(&fl->cache->inval, &subject, fl->start_id);
}

bool cache_flight_is_overtaken(struct cache_flight *fl)
{
    if (LIKELY(cache_inval_head(&fl->cache->inval) == fl->start_id))
        return false;
    lock_take(&fl->lock);
    const struct cache_inval_found found = cache_flight_overtaken_by(fl, fl->object);
    lock_drop(&fl->lock);
    return (found.hard | found.soft) != 0;
}

bool cache_was_purged_since(const struct cache *c, const struct cache_key *primary, slice_t tags,
                            uint64_t checked_id)
{
    struct cache_inval_found found = {0, 0};
    rcu_enter();
    if (cache_inval_head(&c->inval) > checked_id) {
        const struct cache_inval_subject subject = cache_inval_subject(primary->text, primary->hash.lo, tags);
        found = cache_inval_find(&c->inval, &subject, checked_id);
    }
    rcu_leave();
    return (found.hard | found.soft) != 0;
}

bool cache_flight_result_is_valid(const struct cache_flight *fl, struct cache_object *o,
                                  struct cache_object *stale, uint64_t *checked_id)
{
    const struct cache_inval_log *log = &fl->cache->inval;
    uint64_t head = *checked_id = cache_inval_head(log);
    struct cache_inval_found found = cache_flight_overtaken_by(fl, o);
    if (found.hard != 0)
        return false;
    if (stale != NULL) {
        if (cache_object_is_purged(log, stale, fl->primary_hash.lo))
            return false;
        const struct cache_inval_subject subject = object_subject(stale, fl->primary_hash.lo);
        const struct cache_inval_found of_stale = cache_inval_find(log, &subject, fl->start_id);
        found.soft = MAX(found.soft, of_stale.soft);
    }
    if (found.soft != 0)
        *checked_id = MIN(found.soft, head) | CACHE_STALE_BIT;
    uint64_t loaded = atomic_load_explicit(&o->checked_id, memory_order_relaxed);
    if (UNLIKELY(loaded & CACHE_STALE_BIT)) /* was stale when it was loaded, and since then */
        *checked_id = loaded;
    return true;
}
