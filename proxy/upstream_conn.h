/* upstream_conn.h: one connection to an instance, and HTTP/1.1 as its client speaks it.
 *
 *   CONNECTING (-> HANDSHAKE) -> ACTIVE <-> IDLE,  ACTIVE -> TUNNEL,  any -> CLOSED
 *                             -> H2
 *
 * The connection turns bytes into a response for its exchange (exchange_on_response_*), and sends the request
 * head and body that the exchange gives it. It never decides about retries or caching. It dies through the
 * graveyard. */
#ifndef PROXY_UPSTREAM_CONN_H
#define PROXY_UPSTREAM_CONN_H

#include <event2/event_struct.h>
#include <sys/uio.h>

#include "core/h1_parse.h"
#include "core/outcome.h"
#include "core/worker.h"

struct exchange;
struct h2_client;
struct instance;
struct proxy_worker;
struct tls_conn;
struct tls_target;

enum upstream_state {
    UPSTREAM_CONNECTING,
    UPSTREAM_HANDSHAKE, /* of TLS: upstream_tls.h */
    UPSTREAM_ACTIVE,
    UPSTREAM_TUNNEL, /* what comes is no HTTP any more: tunnel.h */
    UPSTREAM_H2,     /* shared by calls: h2_client.h */
    UPSTREAM_IDLE,
    UPSTREAM_CLOSED
};

/* What part of the response is being read. */
enum upstream_reading { UPSTREAM_READ_HEAD, UPSTREAM_READ_BODY, UPSTREAM_READ_TRAILERS, UPSTREAM_READ_DONE };

#define UPSTREAM_CONN_MAGIC 0x5550434eu

/* Owned by its worker: by its exchange while ACTIVE, by the worker's pool while IDLE. */
struct upstream_conn {
    uint32_t magic;
    /* set once */
    int fd;
    struct proxy_worker *pw;
    struct instance *instance; /* a reference; NULL: it is a file, see root_fetch.c */
    struct tls_target *target; /* by which it speaks TLS, a reference; NULL: plain */
    /* owner thread */
    struct tls_conn *tls;    /* NULL: plain */
    struct h2_client *h2;    /* its session; NULL: HTTP/1.1 */
    uint8_t state;           /* enum upstream_state, upstream_conn_set_state */
    uint8_t reading;         /* enum upstream_reading */
    bool readable, writable; /* edges seen and not yet used up */
    bool reused;             /* at least one response was read on it before; HTTP/2: is, or was */
    bool paused;             /* the exchange cannot take more now */
    bool hup;                /* FIN or worse is in the socket, perhaps behind unread data */
    bool look_due;           /* bytes have come, and perhaps an end with them: upstream_conn_look_later */
    uint8_t interim_count;
    uint32_t interim_bytes;   /* if interim_count > 0 */
    bool response_bytes_seen; /* any byte of the current response */
    struct exchange *exchange;
    struct event event;
    struct deadline deadline;
    struct turn_hook again; /* more may be readable, but others come first */
    struct list node;       /* in the pool while IDLE */
    mono_ms_t idle_since_ms, idle_until_ms;
    struct h1_parser parser;
    struct h1_framing framing;
    struct h1_chunked chunked;
    uint64_t body_left;
    char *rest; /* input not yet understood: an unfinished head or trailer section; heap */
    size_t rest_len;
    const char *file_text; /* of root_fetch.c: the body, if it is no file's; static */
    uint64_t file_at;      /* the next byte of it, or of the file */
    char *unsent;          /* output the kernel did not take; heap */
    size_t unsent_len, unsent_pos;
    struct grave grave;
};

/* Starts connecting for `x`; NULL with *error when it failed at once. Takes its own reference on `i`. */
struct upstream_conn *upstream_conn_open(struct proxy_worker *pw, struct instance *i, struct exchange *x,
                                         dur_ms_t connect_timeout_ms, enum fetch_error *error);
/* What stands for one where `x` is answered by a file (root_fetch.c): ACTIVE, without a socket, and never to
 * be written to. `on_event` is called soon, and whenever it is resumed; `fd` is its own to set. NULL: no
 * memory. */
struct upstream_conn *upstream_conn_open_file(struct proxy_worker *pw, struct exchange *x,
                                              void (*on_event)(evutil_socket_t, short, void *));
/* Wraps a connected descriptor (from the spill) for this worker, IDLE. Consumes the reference on `i`. */
struct upstream_conn *upstream_conn_adopt(struct proxy_worker *pw, int fd, struct instance *i);
/* Unbinds an IDLE plain one from the loop: the descriptor stays open and is the caller's, with the reference.
 */
int upstream_conn_detach(struct upstream_conn *u, struct instance **i);

void upstream_conn_on_event(evutil_socket_t fd, short what, void *arg);
/* It is connected, with everything that comes before the request. */
void upstream_conn_ready(struct upstream_conn *u);
/* CONNECTING or HANDSHAKE -> H2. */
void upstream_conn_set_ready(struct upstream_conn *u);
/* It could not be made. */
void upstream_conn_failed(struct upstream_conn *u, enum fetch_error e);
/* By whose settings it is being opened; NULL: nobody waits for it any more. */
const struct pool *upstream_conn_pool(const struct upstream_conn *u);
/* Whether nobody said anything on a connection that nothing is expected on, not even its end. */
bool upstream_conn_is_quiet(struct upstream_conn *u);

/* An IDLE connection starts serving `x`. */
void upstream_conn_assign(struct upstream_conn *u, struct exchange *x);

/* Sends pieces (request head, body); what the kernel does not take is kept (copied). false when the
 * connection broke. */
bool upstream_conn_send(struct upstream_conn *u, const struct iovec *iov, int count);
bool upstream_conn_is_blocked(const struct upstream_conn *u); /* output is waiting */
/* Goes on with what waits; false when the connection broke. Done by itself while ACTIVE. */
bool upstream_conn_send_rest(struct upstream_conn *u);
/* ACTIVE -> TUNNEL: only writing and the descriptor are the connection's business now. */
void upstream_conn_switch(struct upstream_conn *u);

/* The response was read: the connection belongs to nobody until upstream_pool_put. */
void upstream_conn_set_idle(struct upstream_conn *u);
/* Moves the deadline: something is expected from the instance within response_timeout. */
void upstream_conn_expect_bytes(struct upstream_conn *u);
/* In the middle of a response: sees after a moment whether the connection broke right behind the last bytes.
 */
void upstream_conn_look_later(struct upstream_conn *u);

/* The exchange can take more again. */
void upstream_conn_resume(struct upstream_conn *u);

/* Closes it, in any state; the exchange is not called. Nulls the pointer. In the middle of a response it is
 * broken (RST): the instance is told at once that nobody waits, and the kernel keeps no port for it, of which
 * clients that ask and leave would take all there are. */
void upstream_conn_close(struct upstream_conn **u);

#endif
