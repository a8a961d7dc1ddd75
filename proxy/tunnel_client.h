/* tunnel_client.h: the client's side of a tunnel, whatever the wire: a connection of HTTP/1.1 that is the
 * tunnel as a whole, or one stream of HTTP/2 (RFC 8441). The tunnel (tunnel.c) decides, this does.
 *
 * A connection is read and written here, and what it does not take is kept as for any response. Of a stream,
 * bytes come and go by its connection; its end is END_STREAM, and whatever breaks it ends the exchange by
 * exchange_client_gone. Worker thread. */
#ifndef PROXY_TUNNEL_CLIENT_H
#define PROXY_TUNNEL_CLIENT_H

#include "core/slice.h"

struct exchange;

#define TUNNEL_STEP (32 * KB) /* bytes read at once */

/* From here on it is a tunnel. */
void tunnel_client_begin(struct exchange *x);

enum tunnel_read {
    TUNNEL_READ_BYTES,   /* `piece`, valid until the relay buffer is used again, or the next call */
    TUNNEL_READ_NOTHING, /* now; exchange_on_tunnel follows */
    TUNNEL_READ_END,
    TUNNEL_READ_BROKEN
};
enum tunnel_read tunnel_client_read(struct exchange *x, slice_t *piece);
/* Nothing more will be read now, or, unless `open`, ever. false: it broke while nobody looked. */
bool tunnel_client_rest(struct exchange *x, bool open);

/* Goes on with what waits for the client. true: some of it is out. */
bool tunnel_client_resume(struct exchange *x);
/* Something waits still. */
bool tunnel_client_waits(const struct exchange *x);
/* How much is worth having at once for it. */
size_t tunnel_client_room(const struct exchange *x);
void tunnel_client_send(struct exchange *x, const char *data, size_t n);
/* No more bytes follow; nothing waits. */
void tunnel_client_end(struct exchange *x);

/* Has the tunnel look at its client again, after others had their turn. */
void tunnel_client_again(struct exchange *x);
/* The tunnel is over. `broken`: not as it should be, and the client is to see that. */
void tunnel_client_over(struct exchange *x, bool broken);

#endif
