/* remote.h: the store that nodes share: Redis, as one worker uses it.
 *
 * A response is looked for there (remote_load.h) when memory has nothing to answer with and before an
 * instance is asked, and put there (remote_save.h) once a client has it. Nothing depends on it: whatever goes
 * wrong is a miss, or a response that is not kept there, and is counted. What was purged meanwhile is turned
 * down by its stamp (stream_map.h); while the stream of purges is not followed, nothing is believed and
 * nothing is written.
 *
 * Of all nodes one fetches what is not there: who looks is given the lease of the key (lease.h), or waits for
 * who has it. Whatever is put there is put by who holds the lease, so nothing old comes after what is newer.
 */
#ifndef CACHE_REMOTE_H
#define CACHE_REMOTE_H

#include "cache/lease.h"
#include "cache/record_pack.h"

#define CACHE_REMOTE_PREFIX_MAX  64
#define CACHE_REMOTE_NAME_BYTES  (CACHE_REMOTE_PREFIX_MAX + CACHE_RECORD_NAME_BYTES)
#define CACHE_REMOTE_LEASE_MS    3000 /* so long after the end of a node its fetches are taken up by others */
#define CACHE_REMOTE_WAITERS_MAX 10000 /* of a worker, for other nodes' fetches */

/* All that is pointed to is borrowed until cache_remote_close. */
struct cache_remote_settings {
    struct worker *worker; /* with metrics */
    struct cache *cache;
    struct redis *redis;
    slice_t prefix; /* of all names, at most CACHE_REMOTE_PREFIX_MAX bytes, without braces */
    const struct cache_stream_map *map;
    dur_ms_t timeout_ms;     /* of a look-up, however many commands it takes */
    size_t max_object_bytes; /* of a body */
    bool pack;               /* what is written, where that is worth it (record_pack.h) */
    bool alone;              /* memory keeps nothing (store = redis): remote_save.h */
};

#define CACHE_REMOTE_MAGIC 0x72656d6fu

/* Owned by who opened it; one worker's thread. */
struct cache_remote {
    uint32_t magic;
    /* set once */
    struct cache_remote_settings settings;
    struct cache_leases *leases;
    struct cache_packer *packer;
    /* worker's thread */
    struct list loads; /* under way */
    size_t load_bytes; /* of bodies they make room for */
    struct list peeks;
    struct list saves, waiting_saves;
    size_t save_bytes; /* of bodies of both */
    unsigned save_count, active_saves;
    struct turn_hook save_hook;
    uint64_t random; /* core/random.h */
    struct grave grave;
};

/* NULL when out of memory. */
struct cache_remote *cache_remote_open(const struct cache_remote_settings *s);
/* Not from inside a callback of it, and before its Redis is closed; what it gave leases of is over. Look-ups
 * under way end, with their callback, as UNAVAILABLE; what is on its way to Redis is given up. Nulls; NULL is
 * fine. */
void cache_remote_close(struct cache_remote **r);

#endif
