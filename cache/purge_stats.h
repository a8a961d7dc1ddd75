/* purge_stats.h: how full the log of invalidations is and what came last, for people and dashboards. */
#ifndef CACHE_PURGE_STATS_H
#define CACHE_PURGE_STATS_H

#include "cache/purge.h"
#include "core/clock.h"

struct cache_purge_stats {
    uint64_t events;                           /* since the start */
    uint64_t last_id, last[CACHE_PURGE_KINDS]; /* of the last event, of all and by kind; 0: none */
    wall_ms_t last_ms;                         /* when that was */
    uint64_t swept_id;                         /* the memory of what older events name is free */
    uint64_t entries, entries_limit;           /* URLs, tags and hosts that are remembered one by one */
    uint64_t patterns, patterns_limit;         /* prefixes and globs */
    uint64_t overflows; /* times the oldest were given up for newer ones: what is stored since before them and
                           was not looked at since counts as purged */
};

/* Any thread. */
void cache_purge_get_stats(struct cache *c, struct cache_purge_stats *out);

#endif
