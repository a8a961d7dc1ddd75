/* upstream_tls.h: a connection to an instance over TLS: what upstream_conn.c and h1_client.c do differently
 * then. `tls` of such a connection is NULL for a plain one, which is all that those ask.
 *
 * The handshake is part of connecting, in time, too. Idle connections stay with their worker: what the spill
 * hands around is descriptors. Those made with other settings, before a reload, are not used again. Worker
 * thread. */
#ifndef PROXY_UPSTREAM_TLS_H
#define PROXY_UPSTREAM_TLS_H

#include "core/outcome.h"
#include "core/tls_conn.h"
#include "proxy/upstream_conn.h"

/* Begins the handshake of a fresh connection that has a target. false: out of memory, or the instance is no
 * longer one of the pool's. */
bool upstream_tls_open(struct upstream_conn *u);
/* Goes on with it, and then with the connection, by upstream_conn_ready; or tells the exchange that it
 * failed. `u` may be closed on return. */
void upstream_tls_step(struct upstream_conn *u);
/* The connection broke before a response: FETCH_RESET, or FETCH_TLS_FAILED when the instance does not like
 * our certificate, which with TLS 1.3 it says once we take the handshake for done; it has seen no request
 * then. */
enum fetch_error upstream_tls_judge(struct upstream_conn *u);
/* As upstream_conn_on_event, for connections that speak TLS once they are made. */
void upstream_tls_on_event(evutil_socket_t fd, short what, void *arg);
/* Sends what it can; how much of the pieces is out, or -1. */
ssize_t upstream_tls_write(struct upstream_conn *u, const struct iovec *iov, int count);
void upstream_tls_free(struct upstream_conn *u);

#endif
