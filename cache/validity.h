/* validity.h: what the log of invalidations means for stored objects and for fetches under way.
 *
 * A stored object was valid when it was last looked at; only events after that are asked for, and it is moved
 * up. A fetch is as old as its start: what its response carries counts from there, although its tags are
 * known only with its head. RCU section, or the shard's lock. */
#ifndef CACHE_VALIDITY_H
#define CACHE_VALIDITY_H

#include "cache/flight.h"

/* True when the object is gone for whoever looks now; else notes what was checked, and whether it is stale
 * from some soft purge on. `primary` is the low half of the primary key's hash. */
bool cache_object_check(const struct cache_inval_log *log, struct cache_object *o, uint64_t primary,
                        uint64_t head);
static inline bool cache_object_is_purged(const struct cache_inval_log *log, struct cache_object *o,
                                          uint64_t primary)
{
    uint64_t head = cache_inval_head(log);
    return UNLIKELY(atomic_load_explicit(&o->checked_id, memory_order_acquire) != head) &&
           cache_object_check(log, o, primary, head);
}

/* What came after the fetch began, for its URL and (may be NULL) the object made of its response. */
struct cache_inval_found cache_flight_check(const struct cache_flight *fl, const struct cache_object *o);
static inline struct cache_inval_found cache_flight_overtaken_by(const struct cache_flight *fl,
                                                                 const struct cache_object *o)
{
    if (LIKELY(cache_inval_head(&fl->cache->inval) == fl->start_id))
        return (struct cache_inval_found){0, 0};
    return cache_flight_check(fl, o);
}
/* Nobody who comes now may join: a purge came after it began, a soft one included. Takes the flight's lock.
 */
bool cache_flight_is_overtaken(struct cache_flight *fl);

/* Of what is not an object here yet: has a purge, hard or soft, that concerned it come after `checked_id`?
 * Takes its own RCU section. */
bool cache_was_purged_since(const struct cache *c, const struct cache_key *primary, slice_t tags,
                            uint64_t checked_id);

/* Under the shard's lock, before `o`, the response of this flight, is stored: false when a hard purge came
 * after the fetch began; else `*checked_id` is for the object: checked up to now, and stale from a soft purge
 * on. `stale` is the object that a 304 confirmed (else NULL): what was purged since it was last found valid
 * does not come back by a 304. */
bool cache_flight_result_is_valid(const struct cache_flight *fl, struct cache_object *o,
                                  struct cache_object *stale, uint64_t *checked_id);

#endif
