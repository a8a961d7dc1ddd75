/* client.h: what the phases ask of whoever made the request, whatever the wire.
 *
 * An exchange has the connection (`client`: address, TLS, listener), and, if that speaks HTTP/2, a stream of
 * it (`stream`). This interface takes the exchange itself. Bytes for the client are pieces; whoever adds some
 * asks client_ready first and client_flush afterwards. While client_is_blocked nothing may be added, and
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
#include "proxy/h2_stream.h"
#include "proxy/proxy_worker.h"

/* Nothing can be sent any more. */
static inline bool client_is_broken(const struct exchange *x)
{
    return UNLIKELY(x->stream != NULL) ? h2_stream_is_broken(x->stream) : x->client->broken;
}

/* From here on it is. The phases go on to their end by themselves. */
static inline void client_break(struct exchange *x)
{
    if (x->stream != NULL)
        h2_stream_break(x->stream);
    else
        x->client->broken = true;
}

/* What was added waits for the client. */
static inline bool client_is_blocked(const struct exchange *x)
{
    return UNLIKELY(x->stream != NULL) ? x->stream->full : client_out_is_blocked(x->client);
}

/* So many pieces, and so many bytes of text, can be added without a flush between them. false: blocked or
 * broken. */
static inline bool client_ready(struct exchange *x, unsigned pieces, size_t scratch)
{
    if (UNLIKELY(x->stream != NULL))
        return h2_stream_ready(x->stream);
    return client_out_ready(x->client, pieces, scratch);
}

/* A piece that stays valid until the flush; `owner` is the object it lies in, or NULL. */
static inline bool client_add(struct exchange *x, const void *ptr, size_t bytes, struct cache_object *owner)
{
    if (UNLIKELY(x->stream != NULL))
        return h2_stream_add(x->stream, ptr, bytes, owner);
    return client_out_add(x->client, ptr, bytes, owner);
}

/* true: the exchange need not keep anything of what was added. false: blocked or broken. */
static inline bool client_flush(struct exchange *x)
{
    return UNLIKELY(x->stream != NULL) ? h2_stream_flush(x->stream) : client_out_flush(x->client);
}

/* What waits no longer lies in stored objects. false: no memory. */
static inline bool client_own(struct exchange *x)
{
    return x->stream != NULL || client_out_own(x->client); /* a stream has none */
}

/* A whole interim (1xx) head; lost when there is no room for it. */
static inline void client_interim(struct exchange *x, slice_t text)
{
    if (x->stream != NULL)
        h2_stream_interim(x->stream, text);
    else if (client_out_add(x->client, text.ptr, text.len, NULL))
        client_out_flush(x->client);
}

/* The response ends here and must not look complete. false: blocked, come again. */
static inline bool client_cut(struct exchange *x)
{
    if (x->stream != NULL)
        return true; /* h2_stream_exchange_done sees that its end was not marked */
    x->client->reset_on_close = x->out_framing == FRAME_CLOSE || !x->head_sent;
    return client_out_flush(x->client) || x->client->broken;
}

/* Ends it at once, as exchange_client_gone; `x` may be gone on return. */
static inline void client_abort(struct exchange *x, enum close_reason why)
{
    if (x->stream != NULL)
        h2_stream_abort(x->stream, why);
    else
        client_conn_close(x->client, why);
}

/* ---- the body of the request ---- */

static inline enum h1_body_read client_read_body(struct exchange *x, slice_t *piece)
{
    return x->stream != NULL ? h2_stream_read_body(x->stream, x, piece)
                             : h1_server_read_body(x->client, x, piece);
}

/* Something of it is there, or may be. */
static inline bool client_has_input(const struct exchange *x)
{
    return x->stream != NULL ? h2_stream_has_input(x->stream) : x->client->in_len > 0 || x->client->readable;
}

/* All that is there was read: from here on it is the client who keeps us waiting. */
static inline void client_expects_body(struct exchange *x)
{
    if (x->stream != NULL)
        h2_stream_expects_body(x->stream);
    else
        client_conn_arm(x->client);
}

/* Until now it was not. */
static inline void client_was_not_slow(struct exchange *x)
{
    if (x->stream != NULL)
        h2_stream_was_not_slow(x->stream);
    else
        x->client->rate_since_ms = worker_now_ms(x->pw->worker);
}

#endif
