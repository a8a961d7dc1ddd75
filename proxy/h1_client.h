/* h1_client.h: HTTP/1.1 towards an instance: reading one response for the connection's exchange, and
 * framing its request. */
#ifndef PROXY_H1_CLIENT_H
#define PROXY_H1_CLIENT_H

#include "proxy/upstream_conn.h"

/* Reads as much as there is and the exchange can take. The caller must not touch `u` or the exchange
 * afterwards. */
void h1_client_run(struct upstream_conn *u);

/* A piece of the request's body, and what comes behind it, framed as the head said. false: it broke. */
bool h1_client_send_body(struct exchange *x, slice_t piece);
bool h1_client_send_end(struct exchange *x, slice_t trailers);

#endif
