/* tunnel.h: a request that asks for another protocol (Upgrade), and the tunnel it becomes when an instance
 * answers 101: bytes go both ways as they are, until both sides have ended.
 *
 *   FETCH -> DELIVER (the head of the 101) -> TUNNEL -> LOG
 *
 * A client of HTTP/2 asks for a WebSocket by CONNECT (RFC 8441), which has become the same request
 * (core/h2_head.h); only its key is made here, and the 101 is a 200 to it. Its tunnel is one stream of its
 * connection: tunnel_client.h.
 *
 * The exchange stays until the end, so there is one line in the access log, written then. Any other answer
 * than 101 is an ordinary response, but for a 2xx to CONNECT, which would say that the tunnel is there. What
 * lies between the two sockets is bounded: a side that takes nothing stops the reading of the other. Worker
 * thread. */
#ifndef PROXY_TUNNEL_H
#define PROXY_TUNNEL_H

#include "core/http_msg.h"
#include "core/outcome.h"
#include "core/text.h"

struct exchange;

/* Is this a client of HTTP/2 that asked for a WebSocket? It must get no 2xx but that of the tunnel. */
bool tunnel_is_connect(const struct exchange *x);
/* And its route allows none. Such a client would take whatever else it is answered for the WebSocket. */
bool tunnel_is_refused(const struct exchange *x);

/* Before the first try, of a request with Upgrade: sets `tunnel` if it is one that may go on to another
 * protocol. false: out of memory. */
bool tunnel_prepare(struct exchange *x);
/* The Upgrade and Connection fields of the request to the instance; UPGRADE_OFFER_MAX and 90 bytes. */
void tunnel_put_fields(struct text *t, const struct exchange *x);
/* Was what this 101 says asked for? */
bool tunnel_is_agreed(const struct exchange *x, const struct http_head *head);
/* Of a request with `tunnel`: the final head is none that its client may get. It was answered, and `x` may be
 * gone. */
bool tunnel_is_declined(struct exchange *x, const struct http_head *head);

/* ---- in phase TUNNEL; `x` may be gone on return ---- */

void tunnel_on_deadline(struct exchange *x);
/* Of a stream: what waited for the client is out. */
void tunnel_on_client_writable(struct exchange *x);
/* Ends it from our side; its connection is closed or about to be, its stream ended. */
void tunnel_close(struct exchange *x, enum close_reason why);
/* Of a stream that has ended both ways: what came last goes to the instance, however slow that is. `x` is
 * there still. */
void tunnel_take_rest(struct exchange *x);
/* The client is gone. true: all was said, and goes on without it until the instance has it. */
bool tunnel_outlives_client(struct exchange *x);

#endif
