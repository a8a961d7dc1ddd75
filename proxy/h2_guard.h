/* h2_guard.h: what a client of HTTP/2 may do that costs us and not it: counted, and ended when it is too
 * much.
 *
 * Noise are frames that bring nothing: SETTINGS, PING, PRIORITY, WINDOW_UPDATE, empty DATA, what nobody
 * knows, whatever is for a stream that is over; and heads, which are paid for by the request that each
 * begins. DATA that has bytes is some when nghttp2 throws it away: 64 frames count as one, since a client
 * that streams small messages may have thousands on their way when its stream ends without its doing.
 *
 * They are counted before nghttp2 sees them (core/h2_walk.h), and held against what the client may
 * say when it has: so a read buffer of them is worked on before the connection ends. A client may make some
 * for each request and each piece of a body that it is sent, and a few hundred besides, in ten seconds.
 *
 * Resets are streams that ended before their time by the client's doing, whether it sent the RST_STREAM or
 * made us send it. Too much of either ends the connection with ENHANCE_YOUR_CALM. */
#ifndef PROXY_H2_GUARD_H
#define PROXY_H2_GUARD_H

#include "proxy/h2_conn.h"

void h2_guard_begin(struct h2_conn *h);
/* What lets a client say more. */
void h2_guard_request(struct h2_conn *h);
/* A DATA frame; `all`: of all that there was, so that it is not the window that made it small. */
void h2_guard_sent_data(struct h2_conn *h, size_t bytes, bool all);
/* What it said. May end the connection. */
void h2_guard_noise(struct h2_conn *h, unsigned frames);
/* nghttp2 has shown a frame of DATA that has bytes: it is for a stream that is not over. */
void h2_guard_data(struct h2_conn *h);
/* All that came has been worked on, and so much of it was noise that was counted before. May end the
 * connection. */
void h2_guard_came(struct h2_conn *h, unsigned noise);
void h2_guard_reset(struct h2_conn *h);

#endif
