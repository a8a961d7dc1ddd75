/* redis_view.h: how Redis looks: what each worker sees of it, and all of them together.
 *
 * A worker takes its report on its own thread; then it is the control thread's, which adds them up. Texts
 * that servers chose are made printable ASCII when they are taken. No report holds a user or password. */
#ifndef PROXY_REDIS_VIEW_H
#define PROXY_REDIS_VIEW_H

#include <jansson.h>

#include "config/config.h"
#include "core/redis.h"

/* One server, as one worker sees it, or as all do: counts are summed, as far as the server goes back. */
struct redis_sight {
    char server[REDIS_SERVER_TEXT];
    char
        reason[REDIS_REASON_TEXT]; /* why it is not up, for one of those for whom it is not; "" = not known */
    bool is_guide;                 /* a Sentinel, or a seed of a Cluster */
    unsigned workers, workers_up, workers_broken; /* who see it; up; behind an open circuit breaker */
    unsigned connected;                           /* connections */
    uint64_t calls, refused_at_once, outcomes[REDIS_OUTCOME_COUNT], reconnects, breaks;
    wall_ms_t since_ms; /* when it was last seen to come up or go down; filled in by redis_watch.c */
};

/* Owned by who made it; zeroed at first. */
struct redis_report {
    unsigned workers;            /* that have a client */
    struct redis_figures totals; /* `trouble` only if all have one, `slots` the fewest of any */
    struct redis_sight *sights;
    size_t count, room;
};

/* Replaces what it holds by what this client sees; NULL: nothing. Short of memory it is incomplete. The
 * client's thread. */
void redis_report_take(struct redis_report *out, const struct redis *r);
/* Adds one worker's report to those of others, which `into` holds. */
void redis_report_add(struct redis_report *into, const struct redis_report *from);
void redis_report_free(struct redis_report *r);

/* The "redis" object of the status. */
json_t *redis_report_json(const struct redis_report *sum, const struct config_redis *c);

#endif
