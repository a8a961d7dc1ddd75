/* fill.h: what the files that fill an object and end a flight share (fill.c, fill_end.c, fill_refresh.c). All
 * on the leader's thread. */
#ifndef CACHE_FILL_H
#define CACHE_FILL_H

#include "cache/follower.h"

#define FILL_SCRATCH_FIRST (8 * KB)
#define FILL_SCRATCH_MAX   (64 * KB)

static inline slice_t cache_flight_primary(const struct cache_flight *fl)
{
    return slice_make(fl->key, fl->primary_bytes);
}

static inline bool cache_flight_is_purged_since(const struct cache_flight *fl, uint64_t id)
{
    const struct cache_inval_log *log = &fl->cache->inval;
    return cache_inval_head(log) != id &&
           cache_inval_is_purged(log, cache_key_url_hash(cache_flight_primary(fl), fl->primary_hash.lo), id);
}

static inline mono_ms_t cache_flight_now_ms(void)
{
    struct worker *w = worker_current();
    return w != NULL ? worker_now_ms(w) : clock_mono_ms();
}

/* Reserves its cost; one reference. NULL when there is no room. */
struct cache_object *cache_fill_create_object(struct cache *c, const struct cache_object_parts *parts,
                                              struct cache_body *body);
/* Under the flight's lock: tells everybody that waits, or reads and is armed. */
void cache_flight_tell_locked(struct cache_flight *fl, enum cache_event to_waiting, enum cache_event to_armed,
                              struct cache_mails *mails);
/* Nobody may join any more. */
void cache_flight_leave_table(struct cache_flight *fl);
/* Into the index and out of the table, in one step. A purge after start_id or `valid_id` keeps it out. So
 * does having left the table to another flight: cache_invalidate_url relies on seeing all that may be stored.
 */
enum no_store_reason cache_flight_store(struct cache_flight *fl, struct cache_object *o, uint64_t valid_id);
/* The last step of every end: state, followers, the leader's reference. The flight has left the table. Nulls
 * the pointer. */
void cache_flight_end(struct cache_flight **flp, enum cache_flight_state state, enum fetch_error error,
                      enum cache_event to_waiting, enum cache_event to_armed);

#endif
