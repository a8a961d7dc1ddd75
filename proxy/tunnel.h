/* tunnel.h: a request that asks for another protocol (Upgrade), and the tunnel it becomes when an instance
 * answers 101: bytes go both ways as they are, until both sides have ended.
 *
 *   FETCH -> DELIVER (the head of the 101) -> TUNNEL -> LOG
 *
 * The exchange stays until the end, so there is one line in the access log, written then. Any other answer
 * than 101 is an ordinary response. What lies between the two sockets is bounded: a side that takes nothing
 * stops the reading of the other. Worker thread. */
#ifndef PROXY_TUNNEL_H
#define PROXY_TUNNEL_H

#include "core/http_msg.h"
#include "core/outcome.h"
#include "core/text.h"

struct client_conn;
struct exchange;

/* Before the first try, of a request with Upgrade: sets `tunnel` if it is one that may go on to another
 * protocol. false: out of memory. */
bool tunnel_prepare(struct exchange *x);
/* The Upgrade and Connection fields of the request to the instance; UPGRADE_OFFER_MAX and 40 bytes. */
void tunnel_put_fields(struct text *t, const struct exchange *x);
/* Was what this 101 says asked for? */
bool tunnel_is_agreed(const struct exchange *x, const struct http_head *head);

/* The client connection's deadline; its state is TUNNEL. May end the connection. */
void tunnel_on_client_deadline(struct client_conn *c);
/* Ends it from our side: the exchange is gone on return, and its connection closed or about to be. */
void tunnel_close(struct exchange *x, enum close_reason why);
/* The client connection is gone: the figures. */
void tunnel_abandoned(struct exchange *x);

#endif
