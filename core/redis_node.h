/* redis_node.h: one Redis server as a worker uses it: a few connections, kept up, and a circuit breaker.
 *
 * Connections that break are made anew after a pause that doubles from REDIS_PAUSE_FIRST_MS to
 * REDIS_PAUSE_MAX_MS, with jitter. When REDIS_FAILURES_MAX calls in a row got no answer, the breaker opens:
 * calls are refused at once, so that a server that hangs costs nobody a timeout, until a PING of the node's
 * own is answered. Which server to talk to is decided elsewhere. One worker's thread. */
#ifndef CORE_REDIS_NODE_H
#define CORE_REDIS_NODE_H

#include "core/redis_conn.h"

#define REDIS_CONNECTIONS_MAX 16
#define REDIS_FAILURES_MAX    5
#define REDIS_PAUSE_FIRST_MS  50
#define REDIS_PAUSE_MAX_MS    5000

struct redis_node;

struct redis_node_settings {
    unsigned connections;                           /* 1 .. REDIS_CONNECTIONS_MAX */
    dur_ms_t timeout_ms;                            /* of a call */
    dur_ms_t connect_timeout_ms;                    /* login included */
    void (*on_up)(void *arg);                       /* calls are taken, after a time without; may be NULL */
    void (*on_down)(void *arg, const char *reason); /* no call is taken any more; may be NULL */
    void *arg;
};

struct redis_node_figures {
    bool up;
    unsigned connected;
    uint64_t calls, refused_at_once, outcomes[REDIS_OUTCOME_COUNT], reconnects, breaks;
    const char *last_reason; /* why it went down last, "" = never; lives as long as the node */
};

/* Connects. The endpoint is borrowed until redis_node_close. NULL when out of memory. */
struct redis_node *redis_node_open(struct worker *w, const struct redis_endpoint *e,
                                   const struct redis_node_settings *s);
/* Calls under way end as LOST before this returns; no callback of the settings runs. Nulls; NULL is fine. */
void redis_node_close(struct redis_node **n);

/* As redis_conn_call, over the connection with the fewest calls under way. */
bool redis_node_call(struct redis_node *n, struct redis_call *call, const slice_t *argv, size_t argc);
bool redis_node_is_up(const struct redis_node *n);
struct redis_node_figures redis_node_get_figures(const struct redis_node *n);

#endif
