/* stream_map.h: what an id of the stream means on this node, and the other way round.
 *
 * Two kinds of ids. Objects in memory and flights know LOCAL ids (inval_log.h): each event that is applied on
 * this node gets the next one. STREAM ids (stream_id.h) order events over all nodes. Clocks of nodes need not
 * agree, since neither is ever compared with the other.
 *
 * A response that is kept in Redis carries a stamp: the stream id up to which it is known to be valid. It is
 * made of the local id up to which the object was checked (cache_stream_map_stamp), and made a local id again
 * where it is loaded (cache_stream_map_locate): events after that are asked for, as for any object. Both must
 * err to the old side. Too old an id asks for events that the object has outlived, which at worst costs a
 * fetch; too young a one hides a purge.
 *
 * The map is a ring of steps. A step (S, stored, loaded) says: all events of the stream up to S have local
 * ids up to `stored`; all others have local ids after `loaded`. So
 *
 *   stamp of local id L    the last S with stored <= L
 *   local id of stamp C    `loaded` of the last step with S <= C
 *
 * A stamp after the last step is that of a node which is ahead of this one: what it has seen in addition is
 * asked for again when it comes here. A stamp before the first step is older than what was read when this
 * node joined, and the object counts as purged, as does one of another epoch.
 *
 * Any step may be left out: stamps and ids that fell to it fall to the one before, which is the old side. So
 * when the ring is full, old steps are thinned out: of those that lie close together, compared with how long
 * ago that was by Redis' clock, some are dropped, and the first one, where this node joined, never is. A
 * hundred events a second for days leave precise steps for the last seconds, and one for every few seconds of
 * some hours ago: a response that was stored right after a purge of its own may then count as purged.
 * Rejected: to forget the oldest steps. All that was stored before them would be lost within minutes.
 *
 * Pending events. An event made here is applied at once, at local id p, and is pending until it comes back
 * through the stream, at S. In the meantime others' events (S1 < S) are applied here with local ids after p.
 * An object that another node stamps with S1 has not seen ours; yet the step of S1 says that all up to a
 * local id after p is done with, and our own purge would be forgotten for it. Hence two rules. While anything
 * is pending, no object is believed beyond the local id before the oldest pending one. And when ours comes
 * back, `loaded` of all earlier steps is lowered to before p for good: stamps before S will never include it.
 * Then it need not be applied a second time, which would throw away what was fetched since. Rejected: to
 * apply it a second time. It saves the lowering, and costs each node a second fetch of each page it purged.
 *
 * Epoch. Ids grow in one stream, but a stream can go: Redis restarted empty, the key evicted, an older
 * snapshot restored. Ids of what came before and after cannot be compared, even less so if Redis' clock was
 * set back. So each stream has a random epoch (stream_follow.h), and stamps carry it.
 *
 * Readers, any thread, take no lock: a sequence number tells them that the map changed under them. Writers
 * take turns by the lock of stream_queue.h. */
#ifndef CACHE_STREAM_MAP_H
#define CACHE_STREAM_MAP_H

#include <stdatomic.h>

#include "cache/stream_id.h"

#define CACHE_STREAM_NOTHING_PENDING UINT64_MAX

/* What a stored response carries. */
struct cache_stream_stamp {
    uint64_t epoch; /* never 0 */
    struct cache_stream_id id;
};

struct cache_stream_step {
    _Atomic uint64_t ms, seq, stored, loaded;
};

/* Owned by the cache. */
struct cache_stream_map {
    /* set once */
    struct cache_stream_step *steps;
    uint64_t mask;
    /* written by one at a time, read by all */
    _Alignas(CACHE_LINE) _Atomic uint64_t sequence; /* odd while the rest changes */
    _Atomic uint64_t epoch;                         /* 0: nothing is believed */
    _Atomic uint64_t first, next;                   /* steps first .. next - 1, each at its number & mask */
    _Atomic uint64_t pending_before; /* the local id before the oldest pending event, or NOTHING_PENDING */
};

/* Has room for `steps` steps at least; 32 bytes each. false when out of memory. */
bool cache_stream_map_open(struct cache_stream_map *m, size_t steps);
void cache_stream_map_close(struct cache_stream_map *m);

/* ---- reading: any thread ---- */

/* The stamp of an object that was checked up to local id `checked_id`. false when there is none: nothing is
 * to be written. */
bool cache_stream_map_stamp(const struct cache_stream_map *m, uint64_t checked_id,
                            struct cache_stream_stamp *out);
/* The local id up to which an object with this stamp is valid here. false: it counts as purged. */
bool cache_stream_map_locate(const struct cache_stream_map *m, const struct cache_stream_stamp *stamp,
                             uint64_t *checked_id);

/* ---- writing: one at a time ---- */

/* Forgets all steps: from here on the stream is followed; all that came before is purged, at `local_id`. The
 * epoch becomes 0. `pending_before` as below. */
void cache_stream_map_restart(struct cache_stream_map *m, struct cache_stream_id id, uint64_t local_id,
                              uint64_t pending_before);
/* Stamps of this epoch are made and believed from now on; 0: none are. */
void cache_stream_map_set_epoch(struct cache_stream_map *m, uint64_t epoch);

/* The stream was followed up to `id`: what came since the last step has local ids up to `local_id`, or less
 * than before when nothing was applied. Own events that came back have ended: `ended_before` is the local id
 * before the oldest of them, `pending_before` that before the oldest that is still pending
 * (CACHE_STREAM_NOTHING_PENDING: none). */
void cache_stream_map_advance(struct cache_stream_map *m, struct cache_stream_id id, uint64_t local_id,
                              uint64_t ended_before, uint64_t pending_before);
#endif
