/* evict.h: S3-FIFO (Yang et al., SOSP 2023): which objects leave when room is needed.
 *
 * Three queues for the whole cache: small (a tenth of the bytes; new objects), main, and ghost (fingerprints
 * of what left small last, as many as there are objects). An object hit at least twice while in small moves
 * to main; one that is not leaves, and if it comes back while its ghost is there it enters main. Main is a
 * clock: each hit (counted up to 3) is worth one more round. A hit only bumps a counter in the object,
 * without lock; an expired object gets no second chance.
 *
 * One set of queues, not one per shard: with few large objects a shard's share would hold one or two of them
 * and the order would be no order at all. The lock (LOCK_CACHE_EVICT) is held for a few stores per insertion
 * and once per batch of victims, and never by a hit.
 *
 * Who stores does not wait for it: he who has it may have lost his processor. What is stored or replaced
 * meanwhile is left at the door, and whoever takes the lock next sees to it first. */
#ifndef CACHE_EVICT_H
#define CACHE_EVICT_H

#include "cache/object.h"
#include "core/lock.h"

#define CACHE_EVICT_BATCH 16

/* An object that left small. */
struct cache_ghost {
    uint16_t mark; /* of its hash; 0 is none */
    uint16_t left; /* when, on the ghost clock */
};

/* Replaced objects that may be at the door. */
#define CACHE_EVICT_LEAVERS 128

/* Owned by the cache. */
struct cache_evict {
    struct lock lock;
    /* atomic: at the door */
    _Atomic(struct list *) comers; /* the newest `queue`, linked by `next`; each is in no queue yet */
    _Atomic(struct cache_object *) leavers[CACHE_EVICT_LEAVERS];
    _Atomic unsigned leavers_ever;
    _Atomic bool has_leavers;
    /* under the lock */
    struct list small, main; /* newest first */
    size_t small_bytes, main_bytes, objects;
    struct cache_ghost *ghosts; /* sets of GHOST_WAYS, newest first */
    size_t ghost_sets;
    uint64_t ghosts_made; /* ever */
};

/* `limit_bytes` sizes the ghost table (0.2% of it, enough for objects of 2 KB). false when out of memory. */
bool cache_evict_open(struct cache_evict *e, size_t limit_bytes);
void cache_evict_close(struct cache_evict *e);
size_t cache_evict_bytes(const struct cache_evict *e);

/* The object, indexed and complete, enters small or (when its ghost is there) main. Does not wait for the
 * lock. */
void cache_evict_add(struct cache_evict *e, struct cache_object *o);
/* Of what was added and is in the index no more: out of its queue, if it still is in one, and retired. Waits
 * for the lock only when very many were left at the door. */
void cache_evict_retire(struct cache_evict *e, struct cache_object *o);
/* The same for a few, under one hold of the lock; `waits`: and nothing is left at the door. */
#define CACHE_EVICT_SOME 8
void cache_evict_retire_some(struct cache_evict *e, struct cache_object *const *all, size_t n, bool waits);
/* Sees to what was left at the door; waits for the lock. */
void cache_evict_settle(struct cache_evict *e);
/* Takes up to CACHE_EVICT_BATCH victims out of the queues, with a reference each: of together at least
 * `bytes` (if there are), with those who had left at the door, whose room counts before anybody is picked.
 * The caller unlinks them from the index if they still are there; who does so retires them himself. Waits for
 * the lock. 0: there is none, or none is needed. */
size_t cache_evict_pick(struct cache_evict *e, size_t bytes, wall_ms_t now_ms,
                        struct cache_object *out[CACHE_EVICT_BATCH]);
enum cache_evict_try {
    CACHE_EVICT_BUSY,    /* the lock was not to be had within CACHE_EVICT_PATIENCE_US */
    CACHE_EVICT_NOTHING, /* is left that could make room */
    CACHE_EVICT_ROOM     /* *n victims; with none, who had left made it */
};
#define CACHE_EVICT_PATIENCE_US 200
enum cache_evict_try cache_evict_try_pick(struct cache_evict *e, size_t bytes, wall_ms_t now_ms,
                                          struct cache_object *out[CACHE_EVICT_BATCH], size_t *n);
/* True when the key's ghost is there (tests). */
bool cache_evict_has_ghost(struct cache_evict *e, uint64_t hash);

#endif
