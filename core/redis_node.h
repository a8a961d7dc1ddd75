/* redis_node.h: one Redis server as a worker uses it: a few connections, kept up, and a circuit breaker.
 *
 * Connections that break are made anew after a pause that doubles from REDIS_PAUSE_FIRST_MS to
 * REDIS_PAUSE_MAX_MS, with jitter; a name is looked up each time. When REDIS_FAILURES_MAX calls in a row got
 * no answer, the breaker opens: calls are refused at once, so that a server that hangs costs nobody a
 * timeout, until a PING of the node's own is answered. Which server to talk to is decided elsewhere. One
 * worker's thread. */
#ifndef CORE_REDIS_NODE_H
#define CORE_REDIS_NODE_H

#include "core/redis_conn.h"
#include "core/redis_reply.h"

#define REDIS_CONNECTIONS_MAX 16
#define REDIS_FAILURES_MAX    5
#define REDIS_PAUSE_FIRST_MS  50
#define REDIS_PAUSE_MAX_MS    5000

struct redis_node;

/* Per server. */
struct redis_limits {
    unsigned connections;        /* 1 .. REDIS_CONNECTIONS_MAX */
    size_t calls_max;            /* under way; more are refused at once */
    dur_ms_t timeout_ms;         /* of a call that says nothing else */
    dur_ms_t connect_timeout_ms; /* login included, looking a name up not */
    /* Calls are under way and not a byte comes: that connection is given up. More than a blocking command may
     * take; 0 = ten times timeout_ms, at least a second. */
    dur_ms_t stall_timeout_ms;
};

struct redis_node_settings {
    struct redis_limits limits;
    const struct redis_login *login; /* borrowed until redis_node_close */
    bool master_only;                /* connections to anything else count for nothing */
    bool keep_commands;
    void (*on_up)(void *arg); /* calls are taken, after a time without; may be NULL, as all of these */
    void (*on_down)(void *arg, const char *reason); /* no call is taken any more */
    /* See redis_conn.h. These two may close the node. */
    bool (*on_outcome)(void *arg, struct redis_call *call, enum redis_outcome o, const struct redisReply *r);
    void (*on_message)(void *arg, slice_t channel, slice_t payload);
    void *arg;
};

struct redis_node_figures {
    const char *server; /* as the two texts: lives as long as the node */
    bool up;
    bool broken; /* the breaker is not closed */
    unsigned connected;
    uint64_t calls, refused_at_once, outcomes[REDIS_OUTCOME_COUNT], reconnects, breaks;
    const char *last_reason; /* why it went down last, "" = never */
};

/* Whether `server` can be opened: "1.2.3.4:6379", "[::1]:6379", "name:6379" or "unix:/path". */
bool redis_server_is_valid(slice_t server);
/* Connects to a valid `server` (copied). NULL when out of memory. */
struct redis_node *redis_node_open(struct worker *w, slice_t server, const struct redis_node_settings *s);
/* Calls under way end as LOST before this returns; no callback of the settings runs any more. Nulls; NULL is
 * fine. */
void redis_node_close(struct redis_node **n);

/* As redis_conn_call, over the connection with the fewest calls under way. */
bool redis_node_call(struct redis_node *n, struct redis_call *call, const slice_t *argv, size_t argc);
/* Over the connection of `first`, a call under way. */
bool redis_node_call_behind(struct redis_node *n, struct redis_call *call, const struct redis_call *first,
                            const slice_t *argv, size_t argc);
/* As redis_conn_call_again. */
bool redis_node_call_again(struct redis_node *n, struct redis_call *call, bool asking);
bool redis_node_is_up(const struct redis_node *n);
size_t redis_node_load(const struct redis_node *n); /* calls under way */
const char *redis_node_server(const struct redis_node *n);
struct redis_node_figures redis_node_get_figures(const struct redis_node *n);

#endif
