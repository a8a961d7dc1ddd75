/* redis.h: Redis as the rest of the program uses it, whether it is one server, a group that Sentinels watch,
 * or a Cluster.
 *
 * A command goes to the server its key belongs to, or is refused at once: while that server is not known, not
 * up, behind an open circuit breaker, or has its fill. Nothing queues and nothing is tried twice (but for the
 * redirections of a Cluster): whoever asks can do without, and knows better whether a command may be
 * repeated. A call that was taken ends within its time. An object belongs to one worker and its thread. */
#ifndef CORE_REDIS_H
#define CORE_REDIS_H

#include "core/redis_node.h"

enum redis_mode { REDIS_STANDALONE, REDIS_SENTINEL, REDIS_CLUSTER };

/* All that is pointed to is borrowed until redis_close. */
struct redis_settings {
    enum redis_mode mode;
    const slice_t *servers; /* see redis_server_is_valid: the server, the Sentinels, or some of the Cluster */
    size_t server_count;    /* 1 when standalone, at most REDIS_SENTINELS_MAX Sentinels */
    const struct redis_login *login;
    slice_t sentinel_name;                    /* with Sentinels: what they call the master */
    const struct redis_login *sentinel_login; /* with Sentinels */
    struct redis_limits limits;
    /* A server takes calls; it takes none any more. One server at a time, but in a Cluster. May be NULL. */
    void (*on_up)(void *arg, const char *server);
    void (*on_down)(void *arg, const char *server, const char *reason);
    void *arg;
};

struct redis;

/* NULL when out of memory. */
struct redis *redis_open(struct worker *w, const struct redis_settings *s);
/* Not from inside a callback of it. Calls under way end as LOST before this returns; callbacks of the
 * settings do not run any more, and subscriptions must have ended. Calls that are made meanwhile are refused.
 * Nulls; NULL is fine. */
void redis_close(struct redis **r);

/* A command of `argc` words (1 .. REDIS_ARGC_MAX), copied, to the server of `key` (which counts in a Cluster
 * only; all keys of one command belong to one slot). `call` is embedded in who asks, all zeros but for
 * on_reply and timeout_ms, and ends once: with on_reply, never from inside this function, or with
 * redis_call_cancel; NULL: whatever comes back is dropped. false, and nothing done, when it is refused. */
bool redis_call(struct redis *r, struct redis_call *call, slice_t key, const slice_t *argv, size_t argc);
/* The same right behind `first`, which was taken a moment ago for the same key: over the same connection, so
 * that it is carried out after that. In a Cluster only as long as neither is redirected (hops is 0). */
bool redis_call_behind(struct redis *r, struct redis_call *call, const struct redis_call *first, slice_t key,
                       const slice_t *argv, size_t argc);
/* Whether a call for this key would be taken now, if there is room. */
bool redis_is_up(const struct redis *r, slice_t key);

/* ---- publish, subscribe ---- */

struct redis_subscription;

struct redis_subscriber {
    const slice_t *channels; /* borrowed until redis_unsubscribe; at least one */
    size_t channel_count;
    void (*on_message)(void *arg, slice_t channel, slice_t payload);
    void (*on_up)(void *arg);                       /* what is published from now on comes; may be NULL */
    void (*on_down)(void *arg, const char *reason); /* something may have been missed; may be NULL */
    void (*on_refused)(void *arg, slice_t reason);  /* by Redis; it is asked again; may be NULL */
    void *arg;
};

/* Over a connection of its own to the server of the first channel, wherever that moves. PUBLISH is an
 * ordinary call. NULL when out of memory. */
struct redis_subscription *redis_subscribe(struct redis *r, const struct redis_subscriber *s);
/* Not from inside a callback of it. Nulls; NULL is fine. */
void redis_unsubscribe(struct redis_subscription **s);

/* ---- figures ---- */

struct redis_figures {
    uint64_t refused_unknown; /* calls for a key whose server was not known; others see the servers' */
    uint64_t moves;           /* to another master (Sentinels) */
    uint64_t demotions;       /* a master said that it is none (Sentinels) */
    uint64_t refreshes;       /* of the map of slots (Cluster) */
    uint64_t redirects;       /* followed (Cluster) */
    unsigned slots;           /* whose server is known (Cluster) */
    size_t servers;
    const char *trouble; /* why no server is known, or the map is old; "" = all is well; static text */
};
struct redis_figures redis_get_figures(const struct redis *r);
/* Of the `i`th server; false behind the last. Figures end with the server they belong to. */
bool redis_get_server_figures(const struct redis *r, size_t i, struct redis_node_figures *out);
/* Likewise of who is asked where the servers are: Sentinels, and the seeds of a Cluster while it has no
 * server that is up. */
bool redis_get_guide_figures(const struct redis *r, size_t i, struct redis_node_figures *out);

#endif
