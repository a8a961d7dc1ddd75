/* client_tls.h: a client connection over TLS: what client_conn.c and client_out.c do differently then.
 *
 * `tls` of a client connection is NULL for a plain one, which is all that those ask. A handshake has
 * header_timeout, from the first byte of the connection on and as a whole. Beyond a quarter of
 * max_connections, handshakes under way end, first the oldest that wait for their clients, and a worker
 * computes for a few milliseconds per turn, so a flood of them neither takes the places of those who get on
 * with theirs nor the time of those who are through. A connection that was not used for a while sleeps
 * (core/tls_sleep.h), whatever it waits for. Worker thread. */
#ifndef PROXY_CLIENT_TLS_H
#define PROXY_CLIENT_TLS_H

#include "core/tls_conn.h"
#include "proxy/client_conn.h"

struct tls_site;

/* Owned by its connection. */
struct client_tls {
    struct tls_conn conn;
    struct client_conn *client;
    struct list node;     /* in proxy_worker.handshakes, oldest first, while it is one */
    struct deadline rest; /* when it may sleep; set while it is established and awake */
    bool is_due;          /* the handshake waits for the worker, not for its client */
    bool sleeps;
};

/* In state HANDSHAKE from here on. May end the connection whose handshake is the oldest. false when out of
 * memory. */
bool client_tls_open(struct client_conn *c, struct tls_site *site);
/* Goes on with the handshake, and then with the connection, which may be closed on return. */
void client_tls_step(struct client_conn *c);
/* The connection is being closed, or shut for writing: says so to the client, unless something is cut. */
void client_tls_end(struct client_conn *c);
void client_tls_free(struct client_conn *c);

/* As client_conn_on_event. */
void client_tls_on_event(evutil_socket_t fd, short what, void *arg);

/* The TLS sides of client_conn_read (into the worker's read buffer, which is the connection's) and of the
 * write in client_out.c. */
enum client_read client_tls_read(struct client_conn *c);
/* Before bytes come or go: it stays awake for now. */
void client_tls_used(struct client_conn *c);
/* It has said what it had to, and expects nothing: asleep at once, if it can. */
void client_tls_doze(struct client_conn *c);
ssize_t client_tls_write(struct client_conn *c, const struct iovec *iov, unsigned count);

#endif
