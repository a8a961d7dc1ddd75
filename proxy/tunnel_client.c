/* tunnel_client.c: see tunnel_client.h. */
#include "proxy/tunnel_client.h"

#include <errno.h>
#include <sys/socket.h>

#include "core/metrics.h"
#include "core/net.h"
#include "core/panic.h"
#include "proxy/client.h"
#include "proxy/client_out.h"
#include "proxy/client_tls.h"

void tunnel_client_begin(struct exchange *x)
{
    net_keep_alive(x->client->fd);
    if (x->stream != NULL) {
        h2_stream_tunnel_begin(x->stream);
        return;
    }
    client_conn_set_state(x->client, CLIENT_TUNNEL);
    deadline_lapse(&x->client->deadline); /* the tunnel has its own */
}

/* ---- reading ---- */

/* As recv(2). */
static ssize_t conn_take(struct client_conn *c, char *buf)
{
    struct tls_conn *t = c->tls != NULL ? &c->tls->conn : NULL;
    ssize_t n = -1;
    errno = EAGAIN;
    if (t != NULL)
        client_tls_used(c);
    while (c->readable &&
           (n = t == NULL ? recv(c->fd, buf, TUNNEL_STEP, 0) : tls_conn_read(t, buf, TUNNEL_STEP)) < 0 &&
           errno == EINTR)
        continue;
    if (n < 0 && errno == EAGAIN && t != NULL && c->readable && net_broke(c->fd))
        errno = ECONNRESET;
    if (n <= 0)
        c->readable = n < 0 && errno == EAGAIN && t != NULL && !t->drained;
    return n;
}

static enum tunnel_read conn_read(struct client_conn *c, char *buf, slice_t *piece)
{
    ssize_t n;
    if (c->in_len > 0) { /* read ahead, with the request */
        n = (ssize_t)c->in_len;
        memcpy(buf, c->in_ptr, c->in_len);
        client_conn_consume(c, c->in_len);
    } else {
        n = conn_take(c, buf);
        proxy_count(c->pw, METRIC_CLIENT_BYTES_IN, n > 0 ? n : 0);
    }
    if (n < 0)
        return errno == EAGAIN ? TUNNEL_READ_NOTHING : TUNNEL_READ_BROKEN;
    c->eof = n == 0;
    *piece = slice_make(buf, (size_t)n);
    return n == 0 ? TUNNEL_READ_END : TUNNEL_READ_BYTES;
}

enum tunnel_read tunnel_client_read(struct exchange *x, slice_t *piece)
{
    if (x->stream == NULL)
        return conn_read(x->client, x->pw->relay_buffer, piece);
    *piece = h2_stream_take_input(x->stream);
    if (piece->len > 0)
        return TUNNEL_READ_BYTES;
    return x->stream->in_ended ? TUNNEL_READ_END : TUNNEL_READ_NOTHING;
}

bool tunnel_client_rest(struct exchange *x, bool open)
{
    struct client_conn *c = x->client;
    if (x->stream != NULL)
        return true;
    if (c->readable && net_broke(c->fd))
        return false;
    c->readable &= open;
    return true;
}

/* ---- writing ---- */

bool tunnel_client_resume(struct exchange *x)
{
    struct client_conn *c = x->client;
    const uint64_t before = c->bytes_out;
    if (x->stream != NULL)
        return false; /* tunnel_on_client_writable says so */
    if (c->left != NULL && c->writable)
        client_out_resume(c);
    return c->bytes_out != before;
}

bool tunnel_client_waits(const struct exchange *x)
{
    return x->stream != NULL ? x->stream->full : x->client->left != NULL;
}

size_t tunnel_client_room(const struct exchange *x)
{
    return exchange_relay_room(x, TUNNEL_STEP);
}

void tunnel_client_send(struct exchange *x, const char *data, size_t n)
{
    client_add(x, data, n, NULL);
    client_flush(x);
}

void tunnel_client_end(struct exchange *x)
{
    struct client_conn *c = x->client;
    if (x->stream != NULL) {
        h2_stream_finish(x->stream, SLICE_EMPTY);
        return;
    }
    if (c->tls != NULL)
        tls_conn_close(&c->tls->conn);
    shutdown(c->fd, SHUT_WR);
}

/* ---- the rest ---- */

void tunnel_client_again(struct exchange *x)
{
    if (x->stream != NULL)
        h2_stream_wake(x->stream, H2_WAKE_READ);
    else
        worker_at_turn_end(x->pw->worker, &x->client->again);
}

void tunnel_client_over(struct exchange *x, bool broken)
{
    if (x->stream != NULL)
        h2_stream_tunnel_over(x->stream, broken);
    else
        x->client->reset_on_close |= broken;
}
