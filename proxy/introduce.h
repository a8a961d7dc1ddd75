/* introduce.h: the PROXY header (core/proxy_header.h) by which an instance learns whose request a new
 * connection is for: `send_proxy_protocol` of its pool.
 *
 * Such a connection belongs to one client, so it is used for one request and closed: phase_fetch.c takes none
 * that was used, h1_client.c keeps none. A fetch that nobody waits for at its client's end (a refresh in the
 * background) is our own: LOCAL, or UNKNOWN in version 1, which has no other word. Worker thread. */
#ifndef PROXY_INTRODUCE_H
#define PROXY_INTRODUCE_H

#include "core/proxy_header.h"
#include "proxy/upstream_conn.h"

/* Sends it, as the first bytes on a fresh connection; the kernel holds them back until more follows. false
 * when the connection broke. */
bool introduce_client(struct upstream_conn *u, enum proxy_header_version version);

#endif
