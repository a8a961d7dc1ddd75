/* upstream.h: what the phases ask of the instance they fetch from, whatever the wire: the other end of
 * client.h.
 *
 * A try has a connection (`upstream` of the exchange), and, if that speaks HTTP/2, a call on it (`call`),
 * from when it is placed until its response has been read or nobody wants it any more. It is open when the
 * request may be sent; exchange_on_connected says so. What is sent is taken as a whole; while it is blocked
 * nothing more of the body may follow, and exchange_on_upstream_writable says when it no longer is. The
 * response comes by exchange_on_response_*, unless exchange_wants_pause; then upstream_resume has it go on.
 * Everything here takes an exchange whose `upstream` is there.
 *
 * Inline, and a branch at most: these are on the path of each request that is forwarded. */
#ifndef PROXY_UPSTREAM_H
#define PROXY_UPSTREAM_H

#include "proxy/exchange.h"
#include "proxy/h1_client.h"
#include "proxy/h2_call.h"
#include "proxy/upstream_conn.h"

/* The request may be sent. */
static inline bool upstream_is_open(const struct exchange *x)
{
    return UNLIKELY(x->call != NULL) ? h2_call_is_open(x->call) : x->upstream->state == UPSTREAM_ACTIVE;
}

/* What was sent waits for the instance. */
static inline bool upstream_is_blocked(const struct exchange *x)
{
    return UNLIKELY(x->call != NULL) ? h2_call_is_blocked(x->call) : upstream_conn_is_blocked(x->upstream);
}

/* What came of the request's body has gone to the instance, and more is to come: the client's time runs
 * (body_timeout, min_rate), not the instance's. A call of gRPC has no such limits, so its silence is
 * everybody's. */
static inline bool upstream_awaits_body(const struct exchange *x)
{
    if (x->client == NULL || x->grpc != NULL || !upstream_is_open(x) ||
        (x->body_state != BODY_UNREAD && x->body_state != BODY_READING))
        return false;
    return x->call != NULL ? byte_queue_bytes(&x->call->out) == 0 : !upstream_conn_is_blocked(x->upstream);
}

/* It has served others, and has not brought a byte of this response. */
static inline bool upstream_is_reused(const struct exchange *x)
{
    if (UNLIKELY(x->call != NULL))
        return x->call->reused && !x->call->bytes_seen;
    return x->upstream->reused && !x->upstream->response_bytes_seen;
}

/* ---- the request; false: it broke, though an early answer may still be read ---- */

/* `upstream_head`. */
static inline bool upstream_send_head(struct exchange *x)
{
    if (UNLIKELY(x->call != NULL))
        return h2_call_send_head(x);
    const struct iovec head = {(void *)(uintptr_t)x->upstream_head.ptr, x->upstream_head.len};
    return upstream_conn_send(x->upstream, &head, 1);
}

static inline bool upstream_send_body(struct exchange *x, slice_t piece)
{
    return UNLIKELY(x->call != NULL) ? h2_call_send_body(x->call, piece) : h1_client_send_body(x, piece);
}

/* The body is over; `trailers` are field lines without the blank one. */
static inline bool upstream_send_end(struct exchange *x, slice_t trailers)
{
    return UNLIKELY(x->call != NULL) ? h2_call_send_end(x->call, trailers) : h1_client_send_end(x, trailers);
}

/* ---- the response ---- */

/* It reads no further, since the exchange could not take more. */
static inline bool upstream_is_paused(const struct exchange *x)
{
    return UNLIKELY(x->call != NULL) ? x->call->paused : x->upstream->paused;
}

/* The exchange can take more again, or wants to know about the connection. */
static inline void upstream_resume(struct exchange *x)
{
    if (UNLIKELY(x->call != NULL))
        h2_call_resume(x->call);
    else
        upstream_conn_resume(x->upstream);
}

/* Nobody wants the response any more. `upstream` is NULL afterwards. */
static inline void upstream_leave(struct exchange *x)
{
    if (UNLIKELY(x->call != NULL))
        h2_call_leave(x);
    else
        upstream_conn_close(&x->upstream);
}

/* The rest of the response is for `to`. */
static inline void upstream_hand_over(struct exchange *from, struct exchange *to)
{
    to->upstream = from->upstream;
    to->call = from->call;
    if (to->call != NULL)
        to->call->exchange = to;
    else
        to->upstream->exchange = to;
    from->upstream = NULL;
    from->call = NULL;
}

#endif
