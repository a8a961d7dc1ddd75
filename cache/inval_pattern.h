/* inval_pattern.h: the last prefixes and globs that were purged, newest first to whoever looks: a bounded
 * ring.
 *
 * Readers walk it inside an RCU section, without lock. The log's lock covers everything else. */
#ifndef CACHE_INVAL_PATTERN_H
#define CACHE_INVAL_PATTERN_H

#include <stdatomic.h>

#include "cache/purge.h"
#include "core/rcu.h"

#define CACHE_INVAL_PATTERNS 256

/* One event. Set once; freed after a grace period when its place is taken. */
struct cache_inval_pattern {
    struct rcu_grave grave;
    uint64_t id;
    bool glob, soft;
    uint32_t bytes;
    char text[];
};

struct cache_inval_patterns {
    _Atomic uint64_t made; /* ever; the newest is in place made - 1 */
    _Atomic(struct cache_inval_pattern *) ring[CACHE_INVAL_PATTERNS];
};

/* Under the log's lock. The event whose place the next one takes, NULL when the place is free. */
const struct cache_inval_pattern *cache_inval_pattern_oldest(const struct cache_inval_patterns *ps);
/* Under the log's lock, the floor having risen to the oldest's id. false when out of memory. */
bool cache_inval_pattern_add(struct cache_inval_patterns *ps, const struct cache_purge *p, uint64_t id);
/* How many are newer than `id`. Under the log's lock. */
size_t cache_inval_pattern_newer(const struct cache_inval_patterns *ps, uint64_t id);
/* The newest hard and soft pattern after `since_id` that fits `url`, or (`any_query`) may fit it with another
 * query; RCU section. */
void cache_inval_pattern_find(const struct cache_inval_patterns *ps, slice_t url, bool any_query,
                              uint64_t since_id, uint64_t *hard, uint64_t *soft);
/* No reader is left. */
void cache_inval_pattern_close(struct cache_inval_patterns *ps);

#endif
