/* redis_conn.h: one connection to a Redis server: commands go out, replies come back in the same order.
 *
 * hiredis reads and writes the protocol (RESP2), a bufferevent the bytes, over TCP, a unix socket or TLS. The
 * connection logs in by itself (AUTH, SELECT) and is ready once a PING was answered, so that a server that is
 * still loading, that refuses us, or that is not the master it should be, never counts as one. It does not
 * reconnect and does not choose: that is its owner's (redis_node.h). Each call has a deadline of its own; the
 * reply to a call that was given up is dropped when it comes. Everything happens on one worker's thread; no
 * callback runs from inside redis_conn_open or redis_conn_call. */
#ifndef CORE_REDIS_CONN_H
#define CORE_REDIS_CONN_H

#include "core/net.h"
#include "core/worker.h"

struct redisReply;
struct ssl_ctx_st;
struct redis_conn;

/* How a call ends: X(id, name, what it means). */
#define REDIS_OUTCOMES(X)                                                                                    \
    X(ANSWERED, "answered", "Redis answered")                                                                \
    X(REFUSED, "refused", "Redis answered with an error")                                                    \
    X(TIMEOUT, "timeout", "no answer in time")                                                               \
    X(LOST, "lost", "the connection broke before the answer")                                                \
    X(PROTOCOL, "protocol", "what came is not the Redis protocol, or is too large")

enum redis_outcome {
#define X(id, name, text) REDIS_##id,
    REDIS_OUTCOMES(X)
#undef X
        REDIS_OUTCOME_COUNT
};
const char *redis_outcome_name(enum redis_outcome o);

#define REDIS_CALLS_MAX   1024      /* under way per connection */
#define REDIS_UNSENT_MAX  (16 * MB) /* waiting for the socket per connection */
#define REDIS_REPLY_MAX   (4 * MB)  /* one reply */
#define REDIS_ARGC_MAX    64        /* words of a command */
#define REDIS_REASON_TEXT 160

/* How to log in. Borrowed by connections for their whole life. */
struct redis_login {
    struct ssl_ctx_st *tls; /* NULL = plain */
    const char *tls_name;   /* what the certificate must be for; NULL = the host that is connected to */
    slice_t username, password;
    unsigned database;
};

/* Borrowed while a connection is being opened, but for the login. */
struct redis_endpoint {
    struct net_addr addr;
    slice_t host; /* for the certificate */
    const struct redis_login *login;
};

/* A command as it goes over the wire; whoever may have to send it once more keeps a reference. One thread. */
struct redis_command;

/* Embedded in who asks; must outlive the call, which ends with on_reply or redis_call_cancel. Starts as zeros
 * but for what is marked as the caller's. */
struct redis_call {
    struct redis_conn *conn; /* NULL = not under way */
    unsigned slot;
    unsigned hops;                 /* redirections followed */
    struct redis_command *command; /* NULL unless the connection keeps commands */
    mono_ms_t until_ms;
    struct deadline deadline;
    dur_ms_t timeout_ms; /* caller's: for calls through a node, 0 = what is usual there */
    /* Caller's. `reply` is there when Redis ANSWERED or REFUSED, and lives during the callback. */
    void (*on_reply)(struct redis_call *call, enum redis_outcome outcome, const struct redisReply *reply);
};

struct redis_conn_settings {
    dur_ms_t connect_timeout_ms; /* until it is ready, login included */
    dur_ms_t stall_timeout_ms; /* calls are under way and next to nothing comes: the connection is given up */
    bool master_only;          /* not ready unless ROLE says so */
    bool keep_commands;        /* of calls under way, for redis_conn_call_again */
    void (*on_ready)(void *arg); /* calls are taken from now on */
    /* It broke, or never became ready; every call under way has ended before. `reason` lives during the call.
     * The owner closes it, now or later. */
    void (*on_down)(void *arg, const char *reason);
    /* Each call that was not cancelled, before its on_reply. True: it goes on elsewhere, on_reply does not
     * run. May be NULL. */
    bool (*on_outcome)(void *arg, struct redis_call *call, enum redis_outcome o, const struct redisReply *r);
    /* What was published on a channel this connection has subscribed to. NULL: that is a PROTOCOL error. */
    void (*on_message)(void *arg, slice_t channel, slice_t payload);
    void *arg;
};

/* NULL (errno) when there is no memory or descriptor. */
struct redis_conn *redis_conn_open(struct worker *w, const struct redis_endpoint *e,
                                   const struct redis_conn_settings *s);
/* Calls under way end as LOST before this returns; on_down does not run. Nulls; NULL is fine. */
void redis_conn_close(struct redis_conn **c);
bool redis_conn_is_ready(const struct redis_conn *c);
/* Calls under way. */
size_t redis_conn_load(const struct redis_conn *c);

/* Sends a command of `argc` words (1 .. REDIS_ARGC_MAX), copied. `call->on_reply` is set by the caller, or
 * `call` is NULL: whatever comes back is dropped. false, and nothing done, when the connection is not ready
 * or has its fill. */
bool redis_conn_call(struct redis_conn *c, struct redis_call *call, dur_ms_t timeout_ms, const slice_t *argv,
                     size_t argc);
/* From on_outcome of a connection that keeps commands: the same command over this connection, within what is
 * left of its time; `asking`: with ASKING before it. false, and nothing done, as above. */
bool redis_conn_call_again(struct redis_conn *c, struct redis_call *call, bool asking);
/* on_reply will not run. Fine for a call that is not under way. */
void redis_call_cancel(struct redis_call *call);

#endif
