/* client_peer.h: who is at the other end of a client connection: the peer of the socket or, where
 * `proxy_protocol = required`, who the peer says in a PROXY header (core/proxy_header.h) before anything
 * else.
 *
 * Only peers in trusted_proxies may say it; everybody else is turned away, since a header that anyone may
 * send is an address that anyone may choose. The address that was given is then the client's in all respects.
 * It is itself in trusted_proxies or not, which decides about X-Forwarded-For and its like; where the header
 * gives none, these are not believed either, since nobody knows who wrote them. Worker thread. */
#ifndef PROXY_CLIENT_PEER_H
#define PROXY_CLIENT_PEER_H

#include "proxy/client_conn.h"

/* What is known of the client, from now on. Does not touch the counts per address. */
void client_peer_set(struct client_conn *c, const struct net_addr *peer);

/* A fresh connection of a listener that wants a PROXY header: goes on with client_conn_begin once it is
 * there. The header has header_timeout as a whole. `c` may be closed on return. */
void client_peer_await(struct client_conn *c);
/* In state PROXY_HEADER: more of it may have come. */
void client_peer_step(struct client_conn *c);

#endif
