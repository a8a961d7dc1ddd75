/* redis_sentinel.h: the master of a group that Sentinels watch, followed wherever it goes.
 *
 * Each Sentinel is asked where the master is: at the beginning, each REDIS_SENTINEL_POLL_MS, at once when it
 * publishes +switch-master, and when the master fails. What most of those that answer say is believed; each
 * connection to it counts only after ROLE said "master", and ROLE is asked again with each poll. A master
 * that says otherwise, or answers READONLY, is left at that moment, and taken back only as a master. When no
 * Sentinel answers, the last master is kept. The user of the login must be allowed ROLE. Not covered: a
 * master that is cut off together with us goes on until the network is whole, unless its
 * min-replicas-to-write stops it; and what is only read may come from a master that was demoted by hand,
 * without Sentinel, until the next poll. One worker's thread. */
#ifndef CORE_REDIS_SENTINEL_H
#define CORE_REDIS_SENTINEL_H

#include "core/redis_node.h"

#define REDIS_SENTINELS_MAX       16
#define REDIS_SENTINEL_POLL_MS    1000
#define REDIS_SENTINEL_TIMEOUT_MS 1000 /* of its answer, and until it is logged in to */

struct redis_sentinel;

/* All that is pointed to is borrowed until redis_sentinel_close. */
struct redis_sentinel_settings {
    const slice_t *sentinels; /* as redis_node_open takes them */
    size_t sentinel_count;    /* 1 .. REDIS_SENTINELS_MAX */
    slice_t master_name;
    const struct redis_login *sentinel_login;
    const struct redis_login *login; /* to the master */
    struct redis_limits limits;      /* of the master */
    /* The master takes calls; it takes none any more; it is another one, or none (those under way have ended
     * as LOST). None of these may close the object. */
    void (*on_up)(void *arg, const char *server);
    void (*on_down)(void *arg, const char *server, const char *reason);
    void (*on_moved)(void *arg);
    void *arg;
};

struct redis_sentinel_figures {
    uint64_t answers;       /* of Sentinels */
    uint64_t announcements; /* of another master, by Sentinels */
    uint64_t moves;         /* to another master, the first included */
    uint64_t demotions;     /* the master said that it is none */
    const char *trouble;    /* why there is no master; "" when there is one; static */
};

/* NULL when out of memory. */
struct redis_sentinel *redis_sentinel_open(struct worker *w, const struct redis_sentinel_settings *s);
/* Calls under way end as LOST before this returns; no callback runs any more. Nulls; NULL is fine. */
void redis_sentinel_close(struct redis_sentinel **s);
/* NULL = not known (yet). Good until control returns to the event loop. */
struct redis_node *redis_sentinel_master(const struct redis_sentinel *s);
/* The `i`th Sentinel, NULL behind the last. */
const struct redis_node *redis_sentinel_watcher(const struct redis_sentinel *s, size_t i);
struct redis_sentinel_figures redis_sentinel_get_figures(const struct redis_sentinel *s);

#endif
