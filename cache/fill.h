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
/* Under the flight's lock, so that nobody comes between the check and the news, once the response's tags are
 * known: who joined after a purge that concerns it began after that purge, and looks again. */
void cache_flight_turn_late_away_locked(struct cache_flight *fl, struct cache_mails *mails);
/* Into the index and out of the table, in one step, in which the flight's own object becomes COMPLETE for its
 * readers. A purge after the fetch began keeps it out, or (304) one of `stale`, else NULL, since that was
 * found valid. So does having left the table to another flight: cache_invalidate_url relies on seeing all
 * that may be stored. */
enum no_store_reason cache_flight_store(struct cache_flight *fl, struct cache_object *o,
                                        struct cache_object *stale);
/* The last step of every end: state, followers, the leader's reference. The flight has left the table. Nulls
 * the pointer. */
void cache_flight_end(struct cache_flight **flp, enum cache_flight_state state, enum fetch_error error,
                      enum cache_event to_waiting, enum cache_event to_armed);

#endif
