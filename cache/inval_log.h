/* inval_log.h: the ordered log of invalidations (DESIGN.md section 6): a head id, a bounded table "key ->
 * last purge id", and a floor.
 *
 * Every event gets the next id. What was fetched at id N is valid when no event after N names its key. Two
 * generations of an insert-only table hold the last events; when the younger is full, the older is emptied
 * and the floor rises to the last id it held: what is older than the floor counts as purged, so too little is
 * never purged. Keys are 64-bit seeded fingerprints; a collision purges too much, never too little.
 *
 * Readers take no lock and write nothing; writers take LOCK_INVAL. */
#ifndef CACHE_INVAL_LOG_H
#define CACHE_INVAL_LOG_H

#include <stdatomic.h>

#include "core/base.h"
#include "core/lock.h"

struct cache_inval_entry {
    _Atomic uint64_t fingerprint; /* 0 = empty */
    _Atomic uint64_t id;
};

struct cache_inval_generation {
    struct cache_inval_entry *entries;
    size_t count;     /* under the lock */
    uint64_t last_id; /* under the lock */
};

/* Owned by the cache. */
struct cache_inval_log {
    _Alignas(
        CACHE_LINE) _Atomic uint64_t head; /* id of the last event; readers' only word in the steady state */
    _Atomic uint64_t floor;
    /* set once */
    _Alignas(CACHE_LINE) size_t mask;
    size_t capacity; /* events per generation */
    struct cache_inval_generation gen[2];
    /* under the lock */
    struct lock lock;
    unsigned young; /* index of the generation that takes new events */
};

/* `capacity` events per generation are kept at least. false when out of memory. */
bool cache_inval_open(struct cache_inval_log *log, size_t capacity);
void cache_inval_close(struct cache_inval_log *log);
size_t cache_inval_bytes(const struct cache_inval_log *log);

static inline uint64_t cache_inval_head(const struct cache_inval_log *log)
{
    return atomic_load_explicit(&log->head, memory_order_acquire);
}

/* Appends "purge this key"; when it returns every reader sees it. Returns the id. */
uint64_t cache_inval_purge(struct cache_inval_log *log, uint64_t fingerprint);
/* Everything up to now is purged. */
uint64_t cache_inval_purge_all(struct cache_inval_log *log);

/* True when an event after `since_id` concerns the key. The caller has read the head before, and may then
 * take what it read as checked. */
bool cache_inval_is_purged(const struct cache_inval_log *log, uint64_t fingerprint, uint64_t since_id);

#endif
