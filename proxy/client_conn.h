/* client_conn.h: one client connection and HTTP/1.1 as its server speaks it.
 *
 *   (PROXY_HEADER ->) (HANDSHAKE ->) IDLE -> HEAD -> EXCHANGE -> IDLE ... -> LINGER -> CLOSED
 *                                       '--> H2 ----------------------------'
 *
 *   EXCHANGE -> TUNNEL -> IDLE, to be closed
 *
 * PROXY_HEADER: is awaited (client_peer.h). HANDSHAKE: of TLS (client_tls.h). IDLE: between requests, owns no
 * buffer. HEAD: part of a head has come. EXCHANGE: a request is being worked on. H2: it speaks HTTP/2
 * (h2_conn.h), many exchanges at a time. LINGER: the answer is out, the connection is shut for writing, and
 * unread input is drained for a moment so that the kernel does not reset what the client has not read yet.
 * TUNNEL: what comes is no HTTP any more (tunnel.h). Of HTTP/1.1 one exchange at a time; pipelined requests
 * wait in the input and are answered in order.
 *
 * Input: `in_ptr, in_len` is what was read and not yet consumed. It lies in the worker's read buffer while
 * the connection is being worked on and is copied to the heap only if something remains when another
 * connection needs the buffer. Output goes through the worker's batch (client_out.h). */
#ifndef PROXY_CLIENT_CONN_H
#define PROXY_CLIENT_CONN_H

#include <event2/event_struct.h>

#include "core/h1_parse.h"
#include "core/net.h"
#include "core/outcome.h"
#include "core/worker.h"

struct client_tls;
struct exchange;
struct h2_conn;
struct listener;
struct out_left;
struct proxy_worker;

/* Up to EXCHANGE it is h1_server_run's. */
enum client_state {
    CLIENT_IDLE,
    CLIENT_HEAD,
    CLIENT_EXCHANGE,
    CLIENT_HANDSHAKE,
    CLIENT_PROXY_HEADER,
    CLIENT_H2, /* h2_server_run's */
    CLIENT_LINGER,
    CLIENT_TUNNEL,
    CLIENT_CLOSED
};

/* What the deadline was set for by h1_server_run. */
enum client_wait { CLIENT_WAIT_NOTHING, CLIENT_WAIT_REQUEST, CLIENT_WAIT_BODY, CLIENT_WAIT_TAKE };

#define CLIENT_CONN_MAGIC 0x434c434eu
#define CLIENT_IP_TEXT    40 /* the longest IPv6 address has 39 */

/* Owned by its worker. Ends through client_conn_close and the graveyard. */
struct client_conn {
    uint32_t magic;
    /* set once */
    int fd;
    /* before the first request: client_peer.h */
    uint16_t peer_port;
    uint8_t ip_text_len;
    bool peer_is_v4, peer_is_unix, peer_trusted;
    bool counted_by_ip;           /* see admission.h */
    uint8_t peer_ip[16];          /* IPv4 as mapped IPv6 */
    char ip_text[CLIENT_IP_TEXT]; /* for logs and forwarding; not terminated */
    /* owner thread */
    uint8_t state;        /* enum client_state, client_conn_set_state */
    uint8_t close_reason; /* enum close_reason, CLOSE_OPEN until decided */
    uint8_t waited_for;   /* enum client_wait, since the state changed last */
    bool readable, writable;
    bool hup;            /* FIN or worse is in the socket, perhaps behind unread data */
    bool eof;            /* the client will send no more */
    bool broken;         /* reading or writing failed: nothing can be sent any more */
    bool running;        /* inside h1_server_run: it goes on by itself */
    bool close_after;    /* close when the output is out */
    bool reset_on_close; /* the end of the connection must not look like the end of a body */
    uint32_t requests;
    struct proxy_worker *pw; /* set once, as is the listener */
    struct listener *listener;
    struct client_tls *tls; /* NULL: plain */
    struct h2_conn *h2;     /* NULL: HTTP/1.1 */
    struct exchange *exchange;
    struct event event;
    struct turn_hook again; /* more pipelined requests are there, but others come first */
    struct deadline deadline;
    struct list node;
    const char *in_ptr;
    size_t in_len;
    char *rest; /* heap copy of the input, when there is one */
    struct h1_parser parser;
    struct out_left *left; /* output the kernel did not take */
    mono_ms_t
        rate_since_ms;   /* min_rate window: start, and bytes moved in it. Or of a client that has ended */
    uint64_t rate_bytes; /* its side and waits: bytes_out when it was looked at last */
    uint64_t bytes_out;
    struct grave grave;
};
/* An idle connection is little more than this, and the allocator's next class has 512 bytes. */
_Static_assert(sizeof(struct client_conn) <= 448, "a connection that is idle takes 64 bytes more");

/* A freshly accepted and admitted descriptor. Takes it over also on failure (NULL: out of memory). */
struct client_conn *client_conn_open(struct proxy_worker *pw, struct listener *l, int fd,
                                     const struct net_addr *peer, bool counted_by_ip);
/* Serves what has come already, then waits for events. `c` may be closed on return. */
void client_conn_start(struct client_conn *c);
/* With TLS or HTTP, whatever the listener speaks: whose connection it is is known. `c` may be closed on
 * return.
 */
void client_conn_begin(struct client_conn *c);

/* Ends it at once: its exchange, if any, is told that the client left. Safe to call twice. */
void client_conn_close(struct client_conn *c, enum close_reason why);
/* Ends it once the output is out; lingers when input may be unread. */
void client_conn_close_gracefully(struct client_conn *c, enum close_reason why);

void client_conn_set_state(struct client_conn *c, enum client_state s);
void client_conn_on_event(evutil_socket_t fd, short what, void *arg);
slice_t client_conn_ip(const struct client_conn *c);

/* The exchange is over and gone; `keep_alive` tells whether another request may follow. */
void client_conn_exchange_done(struct client_conn *c, bool keep_alive);

/* Arms the deadline that fits the state. */
void client_conn_arm(struct client_conn *c);

/* ---- input ---- */

enum client_read { CLIENT_READ_DATA, CLIENT_READ_NOTHING, CLIENT_READ_END, CLIENT_READ_FULL };
/* Reads more input behind what there is. FULL: the buffer holds as much as it can. */
enum client_read client_conn_read(struct client_conn *c);
void client_conn_consume(struct client_conn *c, size_t n);
/* Makes the worker's read buffer hold this connection's input, at its start. */
void client_conn_claim_buffer(struct client_conn *c);
/* Moves unread input out of the worker's read buffer (heap); false when out of memory. */
bool client_conn_save_input(struct client_conn *c);

/* ---- HTTP/1 (h1_server.c) ---- */

/* Goes on with whatever the connection can do now. The caller must not touch `c` afterwards. */
void h1_server_run(struct client_conn *c);
/* In EXCHANGE, of a client that has ended its side: nothing was sent to it since it was looked at last, and
 * the answer depends on an instance. */
bool h1_server_has_waited(struct client_conn *c);

/* Answers a request that has no exchange (it could not be parsed or did not come whole) and closes. */
void h1_server_refuse(struct client_conn *c, unsigned status, const char *detail, enum close_reason why);
/* The body of the request under way stopped coming: 408 if nothing was answered yet, and close. */
void h1_server_body_too_slow(struct client_conn *c, enum close_reason why);

enum h1_body_read {
    H1_BODY_PIECE,   /* `piece` is valid until the next call */
    H1_BODY_WAIT,    /* nothing now; the exchange will be called when more has come */
    H1_BODY_END,     /* all of it was read; trailers, if any, are in exchange.trailers */
    H1_BODY_TOO_BIG, /* beyond max_body_size */
    H1_BODY_BROKEN   /* framing error or the client left */
};
/* Pulls the next piece of the request body. */
enum h1_body_read h1_server_read_body(struct client_conn *c, struct exchange *x, slice_t *piece);

#endif
