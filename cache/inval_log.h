/* inval_log.h: the ordered log of invalidations: a head id, bounded tables of what was
 * purged last at which id, and floors.
 *
 * Every event gets the next id: (wall clock ms, number) in one word, which grows also when the clock steps
 * back. What was fetched at id N is valid when no event after N concerns it. Exact URLs, URLs with any query,
 * hosts and tags are fingerprints in a table of two generations: when the younger is full, the older is
 * emptied and the floor rises to the last id it held. Prefixes and globs are a bounded list of patterns
 * (inval_pattern.h). What is older than the floor counts as purged: too little is never purged, at worst too
 * much. Fingerprints are seeded 64-bit hashes; a collision purges too much.
 *
 * Each event is hard (gone) or soft (stale from now on); each has its own last id and its own floor.
 *
 * Readers take no lock and write nothing; writers take LOCK_INVAL. Readers run inside an RCU section. */
#ifndef CACHE_INVAL_LOG_H
#define CACHE_INVAL_LOG_H

#include <stdatomic.h>

#include "cache/inval_pattern.h"
#include "cache/purge.h"
#include "core/clock.h"
#include "core/lock.h"

#define CACHE_INVAL_SEQ_BITS 20
#define CACHE_INVAL_ID_MAX   (((uint64_t)1 << 63) - 1)

/* When the event happened. */
static inline wall_ms_t cache_inval_ms(uint64_t id)
{
    return (wall_ms_t)(id >> CACHE_INVAL_SEQ_BITS);
}

enum cache_inval_force { CACHE_INVAL_HARD, CACHE_INVAL_SOFT, CACHE_INVAL_FORCES };

struct cache_inval_entry {
    _Atomic uint64_t fingerprint; /* 0 = empty */
    _Atomic uint64_t id[CACHE_INVAL_FORCES];
};

struct cache_inval_generation {
    struct cache_inval_entry *entries;
    size_t count;                         /* under the lock */
    uint64_t last_id[CACHE_INVAL_FORCES]; /* under the lock */
    _Atomic uint64_t newest_id;           /* of both: a reader who knows it skips the table */
};

/* Owned by the cache. */
struct cache_inval_log {
    _Alignas(CACHE_LINE) _Atomic uint64_t
        head; /* id of the last event; all that readers see in the steady state */
    _Atomic uint64_t floor[CACHE_INVAL_FORCES];
    _Atomic uint64_t kind_id[CACHE_PURGE_KINDS]; /* of the last event of each kind */
    /* set once */
    _Alignas(CACHE_LINE) size_t mask;
    size_t capacity; /* events per generation */
    struct cache_inval_generation gen[2];
    struct cache_inval_patterns patterns;
    /* under the lock */
    struct lock lock;
    unsigned young;     /* index of the generation that takes new events */
    uint64_t overflows; /* times a floor rose for want of room */
    /* atomic */
    _Atomic uint64_t paths_id; /* from here on exact URLs are also kept by their path; 0: they are not */
};

/* `capacity` events per generation are kept at least. false when out of memory. */
bool cache_inval_open(struct cache_inval_log *log, size_t capacity);
void cache_inval_close(struct cache_inval_log *log);
size_t cache_inval_bytes(const struct cache_inval_log *log);

static inline uint64_t cache_inval_head(const struct cache_inval_log *log)
{
    return atomic_load_explicit(&log->head, memory_order_acquire);
}

/* Appends the events, whose texts are valid, as one: every event passes here, with its text. When it returns
 * every reader sees all of them. Returns the id of the last. Where memory for a pattern is short, everything
 * is purged in its place. */
uint64_t cache_inval_append(struct cache_inval_log *log, wall_ms_t now_ms, const struct cache_purge *events,
                            size_t count);

/* From now on what is purged by an exact URL is also found by who heeds any query (no_vary.h); fetches that
 * began before have a smaller id than cache_inval_paths_id. Once is enough. */
void cache_inval_keep_paths(struct cache_inval_log *log, wall_ms_t now_ms);
static inline uint64_t cache_inval_paths_id(const struct cache_inval_log *log)
{
    return atomic_load_explicit(&log->paths_id, memory_order_acquire);
}

/* What events may concern. `tags` are joined by one space. */
struct cache_inval_subject {
    bool any_query; /* it serves other queries of its path as well: no_vary.h */
    slice_t url;
    uint64_t url_fingerprint; /* low half of the hash of `url`, as if it were http */
    slice_t tags;
};
/* Of a primary key (whose hash has this low half) and its tags. */
struct cache_inval_subject cache_inval_subject(slice_t primary, uint64_t primary_hash, slice_t tags);

/* The last hard and the last soft event after `since_id` that concerns the subject, 0 where there is none.
 * The caller has read the head before; events up to that head are seen for certain, later ones perhaps. */
struct cache_inval_found {
    uint64_t hard, soft;
};
struct cache_inval_found cache_inval_find(const struct cache_inval_log *log,
                                          const struct cache_inval_subject *subject, uint64_t since_id);

/* Half of what the tables hold is newer than `id`: time to move everything stored past it (sweep.h), so that
 * a floor that rises later concerns nothing. */
bool cache_inval_is_crowded(struct cache_inval_log *log, uint64_t id);

#endif
