/* h2_client.h: HTTP/2 towards an instance (RFC 9113): what an upstream connection of a pool with `protocol =
 * h2` has besides.
 *
 *   exchange - h2_call (one request) - h2_client (session) - upstream_conn (bytes, TLS, events)
 *
 * A worker's connections are shared by its exchanges. nghttp2 is fed and drained in h2_client_run alone,
 * never from inside its callbacks, where exchanges may go on, and submit; frames of one turn leave by one
 * write. A connection takes no more calls once the instance says goodbye (GOAWAY) or seems to have gone
 * silently, and ends with its last.
 *
 * Worker thread. Owned by its connection. */
#ifndef PROXY_H2_CLIENT_H
#define PROXY_H2_CLIENT_H

#include <nghttp2/nghttp2.h>

#include "core/h2_head.h"
#include "core/outcome.h"
#include "core/worker.h"

struct exchange;
struct h2_call;
struct instance;
struct pool;
struct proxy_worker;
struct upstream_conn;

#define H2_CLIENT_CALLS       100 /* on one connection, before another is opened; fewer if the instance says so */
#define H2_CLIENT_CONNECTIONS 8 /* of one worker to one instance; what is beyond waits in their sessions */

struct h2_client {
    struct upstream_conn *conn;
    nghttp2_session *session; /* NULL: not connected yet */
    struct list node;         /* pw->upstreams.shared */
    struct list calls;        /* h2_call.node */
    struct list wake;         /* h2_call.wake_node: something is to be done for them */
    unsigned call_count;
    struct h2_call *open; /* whose client's head is in the worker's batch: the next call must not add to it */
    struct h2_head *cut_head; /* of a header block that has not come whole; NULL: none */
    bool in_head;             /* a header block is under way */
    bool running;             /* in h2_client_run */
    bool leaving;             /* takes no more calls */
    bool broken;              /* nothing more comes or goes */
    struct turn_hook turn;
    dur_ms_t idle_timeout_ms;
    mono_ms_t opened_ms, heard_ms, idle_since_ms;
};

/* A connection to the exchange's instance that has room for one more call, or is being opened for it; NULL
 * and why. With `max_idle_ms` > 0 none that was idle for longer (upstream_pool.h). */
struct h2_client *h2_client_for(struct exchange *x, dur_ms_t connect_timeout_ms, dur_ms_t max_idle_ms,
                                enum fetch_error *e);

static inline bool h2_client_is_ready(const struct h2_client *h)
{
    return h->session != NULL;
}

/* ---- for the connection ---- */

/* By whose settings it is being opened; NULL: nobody wants it any more. */
const struct pool *h2_client_pool(const struct h2_client *h);
/* Connected, with everything that comes before HTTP. May close it, as the next three. */
void h2_client_begin(struct h2_client *h);
void h2_client_run(struct h2_client *h);
/* It could not be made. */
void h2_client_failed(struct h2_client *h, enum fetch_error e);
void h2_client_on_deadline(struct h2_client *h);
/* The worker ends: says goodbye and closes. */
void h2_client_end(struct h2_client *h);
/* It is being closed; no exchange waits for it any more. */
void h2_client_closed(struct h2_client *h);
void h2_client_free(struct h2_client *h);

/* ---- for the calls, and h2_client_recv.c ---- */

/* Something is to be sent, or done: at the end of this turn, unless it is being run. */
void h2_client_schedule(struct h2_client *h);
/* No new calls; it closes after the last. */
void h2_client_leave(struct h2_client *h);
/* `next` goes on now, NULL: nobody: what another has added to the batch leaves first. */
void h2_client_pass_on(struct h2_client *h, const struct h2_call *next);
void h2_client_callbacks(nghttp2_session_callbacks *cb);

#endif
