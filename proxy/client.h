/* client.h: what the phases ask of whoever made the request, whatever the wire.
 *
 * An exchange knows its client by two pointers: the connection (`client`: address, TLS, listener), and this
 * interface, which takes the exchange itself. Bytes for the client are pieces; whoever adds some asks
 * client_ready first and client_flush afterwards. While client_is_blocked nothing may be added, and
 * exchange_on_client_writable says when it no longer is. Bodies of requests are pulled by client_read_body,
 * and exchange_on_client_readable says that there may be more. A client that leaves is told by
 * exchange_client_gone; then `client` is NULL and nothing here may be called.
 *
 * Inline, and a branch at most: these are on the path of each hit. */
#ifndef PROXY_CLIENT_H
#define PROXY_CLIENT_H

#include "proxy/client_conn.h"
#include "proxy/client_out.h"
#include "proxy/exchange.h"
#include "proxy/proxy_worker.h"

/* Nothing can be sent any more. */
static inline bool client_is_broken(const struct exchange *x)
{
    return x->client->broken;
}

/* From here on it is. The phases go on to their end by themselves. */
static inline void client_break(struct exchange *x)
{
    x->client->broken = true;
}

/* What was added waits for the client. */
static inline bool client_is_blocked(const struct exchange *x)
{
    return client_out_is_blocked(x->client);
}

/* So many pieces, and so many bytes of text, can be added without a flush between them. false: blocked or
 * broken. */
static inline bool client_ready(struct exchange *x, unsigned pieces, size_t scratch)
{
    return client_out_ready(x->client, pieces, scratch);
}

/* A piece that stays valid until the flush; `owner` is the object it lies in, or NULL. */
static inline bool client_add(struct exchange *x, const void *ptr, size_t bytes, struct cache_object *owner)
{
    return client_out_add(x->client, ptr, bytes, owner);
}

/* true: the exchange need not keep anything of what was added. false: blocked or broken. */
static inline bool client_flush(struct exchange *x)
{
    return client_out_flush(x->client);
}

/* What waits no longer lies in stored objects. false: no memory. */
static inline bool client_own(struct exchange *x)
{
    return client_out_own(x->client);
}

/* A whole interim (1xx) head; lost when there is no room for it. */
static inline void client_interim(struct exchange *x, slice_t text)
{
    if (client_out_add(x->client, text.ptr, text.len, NULL))
        client_out_flush(x->client);
}

/* The response ends here and must not look complete. false: blocked, come again. */
static inline bool client_cut(struct exchange *x)
{
    x->client->reset_on_close = x->out_framing == FRAME_CLOSE || !x->head_sent;
    return client_out_flush(x->client) || x->client->broken;
}

/* Ends it at once, as exchange_client_gone; `x` may be gone on return. */
static inline void client_abort(struct exchange *x, enum close_reason why)
{
    client_conn_close(x->client, why);
}

/* The exchange, which may be gone by now, has nothing more to say. */
static inline void client_exchange_done(struct client_conn *c, bool keep_alive)
{
    client_conn_exchange_done(c, keep_alive);
}

/* ---- the body of the request
 * ---------------------------------------------------------------------------------------------- */

static inline enum h1_body_read client_read_body(struct exchange *x, slice_t *piece)
{
    return h1_server_read_body(x->client, x, piece);
}

/* Something of it is there, or may be. */
static inline bool client_has_input(const struct exchange *x)
{
    return x->client->in_len > 0 || x->client->readable;
}

/* All that is there was read: from here on it is the client who keeps us waiting. */
static inline void client_expects_body(struct exchange *x)
{
    client_conn_arm(x->client);
}

/* Until now it was not. */
static inline void client_was_not_slow(struct exchange *x)
{
    x->client->rate_since_ms = worker_now_ms(x->pw->worker);
}

#endif
