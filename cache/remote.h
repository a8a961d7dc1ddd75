/* remote.h: the store that nodes share: Redis, as one worker uses it.
 *
 * A response is looked for there (remote_load.h) when memory has nothing to answer with and before an
 * instance is asked, and put there (remote_save.h) once a client has it. Nothing depends on it: whatever goes
 * wrong is a miss, or a response that is not kept there, and is counted. What was purged meanwhile is turned
 * down by its stamp (stream_map.h); while the stream of purges is not followed, nothing is believed and
 * nothing is written.
 *
 * A worker remembers for CACHE_REMOTE_ABSENT_MS under which keys nothing was found, so that a crowd after
 * cold pages that cannot be stored does not ask again and again. The table is fixed, and a lost or false
 * entry costs one question or one fetch. */
#ifndef CACHE_REMOTE_H
#define CACHE_REMOTE_H

#include "cache/record.h"
#include "core/redis.h"

#define CACHE_REMOTE_PREFIX_MAX     64
#define CACHE_REMOTE_NAME_BYTES     (CACHE_REMOTE_PREFIX_MAX + CACHE_RECORD_NAME_BYTES)
#define CACHE_REMOTE_ABSENT_MS      1000
#define CACHE_REMOTE_ABSENT_ENTRIES 1024

/* All that is pointed to is borrowed until cache_remote_close. */
struct cache_remote_settings {
    struct worker *worker; /* with metrics */
    struct cache *cache;
    struct redis *redis;
    slice_t prefix; /* of all names, at most CACHE_REMOTE_PREFIX_MAX bytes, without braces */
    const struct cache_stream_map *map;
    dur_ms_t timeout_ms;     /* of a look-up, however many commands it takes */
    size_t max_object_bytes; /* of a body */
};

struct cache_remote_absent {
    uint64_t hash; /* low half, of a whole key; 0: none */
    mono_ms_t until_ms;
};

#define CACHE_REMOTE_MAGIC 0x72656d6fu

/* Owned by who opened it; one worker's thread. */
struct cache_remote {
    uint32_t magic;
    /* set once */
    struct cache_remote_settings settings;
    /* worker's thread */
    struct list loads; /* under way */
    size_t load_bytes; /* of bodies they make room for */
    struct list saves, waiting_saves;
    size_t save_bytes; /* of bodies of both */
    unsigned save_count, active_saves;
    struct turn_hook save_hook;
    uint64_t random; /* core/random.h */
    struct grave grave;
    struct cache_remote_absent absent[CACHE_REMOTE_ABSENT_ENTRIES];
};

/* NULL when out of memory. */
struct cache_remote *cache_remote_open(const struct cache_remote_settings *s);
/* Not from inside a callback of it, and before its Redis is closed. Look-ups under way end, with their
 * callback, as UNAVAILABLE; what is on its way to Redis is given up. Nulls; NULL is fine. */
void cache_remote_close(struct cache_remote **r);

/* ---- between the files of the remote store
 * ----------------------------------------------------------------------------------- */

bool cache_remote_is_absent(const struct cache_remote *r, uint64_t hash);
void cache_remote_remember_absent(struct cache_remote *r, uint64_t hash);
void cache_remote_forget_absent(struct cache_remote *r, uint64_t hash);

#endif
