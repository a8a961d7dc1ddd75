/* h2_call.h: one request to an instance by HTTP/2: a stream, and the upstream side of one exchange. See
 * upstream.h for what is asked of it.
 *
 * What is sent of the request's body waits here until flow control lets it go; with more than H2_CALL_HOLDS
 * the exchange waits. What comes of the response goes to the exchange at once, or waits here while that can
 * take no more; the instance's window opens as it goes, so H2_CALL_WINDOW bounds it.
 *
 * A call leaves its exchange when the response has ended or nobody wants it, and ends when nghttp2 has closed
 * its stream, or with its connection. */
#ifndef PROXY_H2_CALL_H
#define PROXY_H2_CALL_H

#include <nghttp2/nghttp2.h>

#include "core/byte_queue.h"
#include "core/h1_parse.h"
#include "core/outcome.h"
#include "core/worker.h"

struct exchange;
struct h2_client;

#define H2_CALL_MAGIC  0x48324341u
#define H2_CALL_HOLDS  (16 * KB)
#define H2_CALL_WINDOW (64 * KB)

enum h2_call_wake {
    H2_CALL_WAKE_BEGIN = 1,   /* the connection is ready */
    H2_CALL_WAKE_WRITE = 2,   /* there is room for more of the body */
    H2_CALL_WAKE_READ = 4,    /* something came, or can be taken again */
    H2_CALL_WAKE_REFUSED = 8, /* it was not sent, and will not be */
    H2_CALL_WAKE_LOST = 16    /* there was no memory for a part of its body */
};

struct h2_call {
    uint32_t magic;
    int32_t id; /* 0: not submitted */
    struct h2_client *client;
    struct exchange *exchange;   /* NULL: it has left */
    struct list node, wake_node; /* of the client */
    uint8_t wake;                /* set of enum h2_call_wake */
    bool reused;                 /* the connection had been ready before */
    bool closed;                 /* nghttp2 has closed the stream */
    bool bad;                    /* what came is malformed */
    bool reset_by_peer;
    struct deadline deadline; /* response_timeout */
    /* request */
    bool head_out; /* HEADERS were written: the instance may have seen it */
    bool out_ended, deferred;
    bool out_lost; /* a part of the body: nothing may follow it */
    struct byte_queue out;
    char *out_trailers;
    size_t out_trailers_bytes;
    /* response */
    bool bytes_seen; /* any of it */
    bool head_seen;  /* the final one */
    bool in_ended;   /* all of it is here */
    bool paused;     /* the exchange can take no more now */
    uint8_t interim_count;
    struct h1_framing framing;
    uint64_t body_left;
    struct byte_queue in;
    char *in_trailers;
    size_t in_trailers_bytes;
    struct grave grave;
};

/* Places a call for the exchange, which has an instance; `upstream` and `call` of it are set. Anything but
 * FETCH_NONE: why not. It may be ready at once (upstream_is_open). */
enum fetch_error h2_call_place(struct exchange *x, dur_ms_t max_idle_ms);

/* ---- for the exchange (upstream.h) ---- */

bool h2_call_is_open(const struct h2_call *c);
static inline bool h2_call_is_blocked(const struct h2_call *c)
{
    return byte_queue_bytes(&c->out) > H2_CALL_HOLDS;
}
bool h2_call_send_head(struct exchange *x);
bool h2_call_send_body(struct h2_call *c, slice_t piece);
bool h2_call_send_end(struct h2_call *c, slice_t trailers);
void h2_call_resume(struct h2_call *c);
/* `call` and `upstream` of the exchange are NULL afterwards. */
void h2_call_leave(struct exchange *x);

/* ---- for h2_client.c and h2_client_recv.c ---- */

void h2_call_wake(struct h2_call *c, enum h2_call_wake why);
/* Does what it was woken for. */
void h2_call_work(struct h2_call *c);
/* Gives body bytes to the exchange, or keeps them. false: no memory. */
bool h2_call_take(struct h2_call *c, const char *bytes, size_t n);
/* The exchange is told, and has left it on return. */
void h2_call_fail(struct h2_call *c, enum fetch_error e);
/* nghttp2 has closed its stream. */
void h2_call_on_close(struct h2_call *c, uint32_t code);
/* All of the response is here; the exchange gets its end when it has taken the rest. */
void h2_call_on_end(struct h2_call *c);
void h2_call_expect(struct h2_call *c);
/* The response is complete: the exchange leaves before it is told. Returns it. */
struct exchange *h2_call_release(struct h2_call *c);
void h2_call_free(struct h2_call *c);

#endif
