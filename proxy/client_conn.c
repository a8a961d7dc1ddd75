/* client_conn.c: the life of a client connection: events, deadlines, input buffer, closing.
 *
 * Read once before it is registered, since the request is often there already: one that is answered and
 * closed at once never meets the loop. Registered once, edge-triggered for both directions; `readable` and
 * `writable` remember edges not yet used up. What the bytes mean is h1_server.c's business. */
#include "proxy/client_conn.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/log.h"
#include "core/metrics.h"
#include "core/panic.h"
#include "core/rcu.h"
#include "proxy/client_out.h"
#include "proxy/client_peer.h"
#include "proxy/client_tls.h"
#include "proxy/exchange.h"
#include "proxy/h2_conn.h"
#include "proxy/listener.h"
#include "proxy/server.h"
#include "proxy/tunnel.h"
#include "proxy/upstream.h"

#define LINGER_MS        2000
#define LINGER_MAX_BYTES (256 * KB)
#define RATE_WINDOW_MS   10000
#define LOOK_MS          1000 /* of silence, after which the connection of a request is looked at */
#define HALF_CLOSED_MS   2000 /* likewise, of a client that has ended its side: then it is taken for gone */

static void client_conn_on_deadline(struct deadline *d);
static void client_conn_on_turn_end(struct turn_hook *h);

void client_conn_set_state(struct client_conn *c, enum client_state s)
{
    static const uint16_t legal[] = {
        [CLIENT_IDLE] = 1u << CLIENT_HEAD | 1u << CLIENT_EXCHANGE | 1u << CLIENT_HANDSHAKE |
                        1u << CLIENT_PROXY_HEADER | 1u << CLIENT_H2 | 1u << CLIENT_LINGER |
                        1u << CLIENT_CLOSED,
        [CLIENT_HEAD] = 1u << CLIENT_EXCHANGE | 1u << CLIENT_H2 | 1u << CLIENT_LINGER | 1u << CLIENT_CLOSED,
        [CLIENT_EXCHANGE] =
            1u << CLIENT_IDLE | 1u << CLIENT_LINGER | 1u << CLIENT_TUNNEL | 1u << CLIENT_CLOSED,
        [CLIENT_HANDSHAKE] = 1u << CLIENT_IDLE | 1u << CLIENT_EXCHANGE | 1u << CLIENT_CLOSED,
        [CLIENT_PROXY_HEADER] = 1u << CLIENT_IDLE | 1u << CLIENT_CLOSED,
        [CLIENT_H2] = 1u << CLIENT_LINGER | 1u << CLIENT_CLOSED,
        [CLIENT_LINGER] = 1u << CLIENT_CLOSED,
        [CLIENT_TUNNEL] = 1u << CLIENT_IDLE | 1u << CLIENT_CLOSED,
        [CLIENT_CLOSED] = 0,
    };
    ASSERT((legal[c->state] >> s) & 1);
    c->state = (uint8_t)s;
    c->waited_for = CLIENT_WAIT_NOTHING;
}

slice_t client_conn_ip(const struct client_conn *c)
{
    return slice_make(c->ip_text, c->ip_text_len);
}

struct client_conn *client_conn_open(struct proxy_worker *pw, struct listener *l, int fd,
                                     const struct net_addr *peer, bool counted_by_ip)
{
    struct client_conn *c = calloc(1, sizeof *c);
    if (c == NULL) {
        close(fd);
        return NULL;
    }
    c->magic = CLIENT_CONN_MAGIC;
    c->fd = fd;
    c->pw = pw;
    c->listener = l;
    c->counted_by_ip = counted_by_ip;
    client_peer_set(c, peer);
    deadline_init(&c->deadline, client_conn_on_deadline);
    list_init(&c->again.node);
    c->again.on_turn_end = client_conn_on_turn_end;
    event_assign(&c->event, pw->worker->base, fd, EV_READ | EV_WRITE | EV_CLOSED | EV_ET | EV_PERSIST,
                 l->tls != NULL || l->config->proxy_protocol ? client_tls_on_event : client_conn_on_event, c);
    c->readable = c->writable = true;
    listener_ref(l);
    list_push_back(&pw->conns, &c->node);
    pw->conn_count++;
    proxy_count(pw, METRIC_CLIENT_ACCEPTED, 1);
    proxy_count(pw, METRIC_CLIENT_OPEN, 1);
    return c;
}

void client_conn_begin(struct client_conn *c)
{
    if (c->listener->tls == NULL)
        h1_server_run(c);
    else if (client_tls_open(c, c->listener->tls))
        client_tls_step(c);
    else
        client_conn_close(c, CLOSE_NO_MEMORY);
}

void client_conn_start(struct client_conn *c)
{
    if (UNLIKELY(c->listener->config->proxy_protocol))
        client_peer_await(c);
    else
        client_conn_begin(c);
    if (c->state != CLIENT_CLOSED && event_add(&c->event, NULL) != 0)
        client_conn_close(c, CLOSE_NO_MEMORY);
}

static void client_conn_free(void *arg)
{
    struct client_conn *c = arg;
    if (c->tls != NULL)
        client_tls_free(c);
    if (c->h2 != NULL)
        h2_conn_free(c->h2);
    free(c);
}

void client_conn_close(struct client_conn *c, enum close_reason why)
{
    CHECK_MAGIC(c, CLIENT_CONN_MAGIC);
    if (c->state == CLIENT_CLOSED)
        return;
    struct proxy_worker *pw = c->pw;
    if (c->close_reason == CLOSE_OPEN)
        c->close_reason = (uint8_t)why;
    metrics_count_close(pw->worker->metrics, (enum close_reason)c->close_reason);
    if (c->tls != NULL)
        client_tls_end(c);
    client_conn_set_state(c, CLIENT_CLOSED);
    struct exchange *x = c->exchange;
    c->exchange = NULL;
    if (x != NULL)
        exchange_client_gone(x, c->close_reason);
    if (c->h2 != NULL)
        h2_server_closed(c);
    client_out_discard(c);
    if (pw->read_owner == c)
        pw->read_owner = NULL;
    free(c->rest);
    c->rest = NULL;
    c->in_len = 0;
    deadline_clear(pw->worker, &c->deadline);
    list_remove(&c->again.node);
    event_del(&c->event);
    if (c->reset_on_close)
        net_reset_on_close(c->fd);
    close(c->fd);
    list_remove(&c->node);
    pw->conn_count--;
    proxy_count(pw, METRIC_CLIENT_OPEN, -1);
    server_connection_closed(pw->server, c);
    listener_unref(c->listener);
    listener_resume_all(pw);
    worker_bury(pw->worker, &c->grave, client_conn_free, c);
    proxy_worker_check_done(pw);
}

void client_conn_close_gracefully(struct client_conn *c, enum close_reason why)
{
    if (c->close_reason == CLOSE_OPEN)
        c->close_reason = (uint8_t)why;
    /* A client that asked for the end sends nothing more (RFC 9112 9.6): there is nothing to drain. */
    bool last = c->close_reason == CLOSE_NO_KEEP_ALIVE && c->in_len == 0 && !c->readable;
    if (c->broken || c->eof || c->reset_on_close || last) {
        client_conn_close(c, why);
        return;
    }
    if (c->tls != NULL)
        client_tls_end(c);
    shutdown(c->fd, SHUT_WR);
    client_conn_set_state(c, CLIENT_LINGER);
    free(c->rest);
    c->rest = NULL;
    c->in_len = 0;
    if (c->pw->read_owner == c)
        c->pw->read_owner = NULL;
    c->rate_bytes = 0;
    client_conn_arm(c);
}

static void client_conn_linger(struct client_conn *c)
{
    while (c->readable) {
        ssize_t n = read(c->fd, c->pw->relay_buffer, READ_BUFFER_BYTES);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            c->readable = false;
            return;
        }
        c->rate_bytes += n > 0 ? (uint64_t)n : 0;
        if (n <= 0 || c->rate_bytes > LINGER_MAX_BYTES) {
            client_conn_close(c, c->close_reason);
            return;
        }
    }
}

void client_conn_on_event(evutil_socket_t fd, short what, void *arg)
{
    UNUSED(fd);
    struct client_conn *c = arg;
    CHECK_MAGIC(c, CLIENT_CONN_MAGIC);
    ASSERT(c->pw->out.conn == NULL); /* whoever added to the batch flushed it */
    worker_refresh_clock(c->pw->worker);
    if (what & EV_READ)
        c->readable = true;
    if (what & EV_WRITE)
        c->writable = true;
    if (what & EV_CLOSED)
        c->hup = c->readable = true;
    if (LIKELY(c->state <= CLIENT_EXCHANGE))
        h1_server_run(c);
    else if (c->state == CLIENT_TUNNEL)
        exchange_on_tunnel(c->exchange);
    else if (c->state == CLIENT_H2)
        h2_server_run(c);
    else if (c->state == CLIENT_LINGER)
        client_conn_linger(c);
    else if (c->state == CLIENT_HANDSHAKE)
        client_tls_step(c);
    else if (c->state == CLIENT_PROXY_HEADER)
        client_peer_step(c);
}

/* See upstream_conn_on_turn_end. */
static void client_conn_on_turn_end(struct turn_hook *h)
{
    event_active(&CONTAINER_OF(h, struct client_conn, again)->event, EV_READ, 0);
}

/* ---- deadlines ---- */

/* What the connection waits for the client to do. */
static dur_ms_t client_conn_patience_ms(const struct client_conn *c)
{
    const struct config_listen *cfg = c->listener->config;
    const struct exchange *x = c->exchange;
    if (c->left != NULL)
        return cfg->min_rate_bytes_s > 0 ? MIN(cfg->write_timeout_ms, RATE_WINDOW_MS) : cfg->write_timeout_ms;
    switch ((enum client_state)c->state) {
    case CLIENT_IDLE:
        return c->requests == 0 ? MAX(cfg->header_timeout_ms, 1) : cfg->idle_timeout_ms;
    case CLIENT_HEAD:
    case CLIENT_HANDSHAKE:
    case CLIENT_PROXY_HEADER:
        return cfg->header_timeout_ms;
    case CLIENT_LINGER:
        return LINGER_MS;
    case CLIENT_EXCHANGE:
        if (x != NULL && x->body_state == BODY_READING)
            return MIN(cfg->body_timeout_ms, LOOK_MS);
        return c->hup ? HALF_CLOSED_MS : LOOK_MS;
    case CLIENT_TUNNEL:
    case CLIENT_H2: /* has several, see h2_conn.c */
    case CLIENT_CLOSED:
        break;
    }
    return 0;
}

void client_conn_arm(struct client_conn *c)
{
    if (c->state >= CLIENT_TUNNEL) /* which sets its own */
        return;
    dur_ms_t ms = client_conn_patience_ms(c);
    if (ms > 0)
        deadline_set(c->pw->worker, &c->deadline, worker_now_ms(c->pw->worker) + ms);
    else
        deadline_lapse(&c->deadline);
}

/* The client is slow: is it slower than min_rate, or did it do nothing at all for its timeout? */
static bool client_conn_too_slow(struct client_conn *c, dur_ms_t timeout_ms, enum close_reason stalled,
                                 enum close_reason *why)
{
    const struct config_listen *cfg = c->listener->config;
    dur_ms_t window_ms = worker_now_ms(c->pw->worker) - c->rate_since_ms;
    uint64_t expected = (uint64_t)(cfg->min_rate_bytes_s * window_ms / 1000);
    *why = stalled;
    if (window_ms >= timeout_ms && c->rate_bytes == 0)
        return true;
    *why = CLOSE_MIN_RATE;
    if (cfg->min_rate_bytes_s > 0 && window_ms >= RATE_WINDOW_MS && c->rate_bytes < expected &&
        timeout_ms > RATE_WINDOW_MS)
        return true;
    if (window_ms >= RATE_WINDOW_MS && c->rate_bytes > 0) {
        c->rate_since_ms = worker_now_ms(c->pw->worker);
        c->rate_bytes = 0;
    }
    return false;
}

/* Nothing could be sent to it for so long, since its instance has not answered: it is not worth one any
 * longer. What it is sent meanwhile would have been answered with a reset. */
static void client_conn_look_at_half_closed(struct client_conn *c)
{
    if (!c->hup || c->exchange == NULL)
        return;
    if (h1_server_has_waited(c))
        client_conn_close(c, CLOSE_CLIENT_ABORTED);
    else
        client_conn_arm(c);
}

static void client_conn_on_deadline(struct deadline *d)
{
    struct client_conn *c = CONTAINER_OF(d, struct client_conn, deadline);
    CHECK_MAGIC(c, CLIENT_CONN_MAGIC);
    const struct config_listen *cfg = c->listener->config;
    enum close_reason why = CLOSE_IDLE_TIMEOUT;
    if (c->left != NULL) {
        if (!client_conn_too_slow(c, cfg->write_timeout_ms, CLOSE_WRITE_TIMEOUT, &why)) {
            client_conn_arm(c);
            return;
        }
        client_conn_close(c, why);
        return;
    }
    switch ((enum client_state)c->state) {
    case CLIENT_IDLE:
        client_conn_close(c, CLOSE_IDLE_TIMEOUT);
        return;
    case CLIENT_HEAD:
        h1_server_refuse(c, 408, "the request head took too long", CLOSE_HEADER_TIMEOUT);
        return;
    case CLIENT_EXCHANGE:
        if (net_is_gone(c->fd)) {
            client_conn_close(c, CLOSE_CLIENT_ABORTED);
            return;
        }
        if (c->exchange == NULL || c->exchange->body_state != BODY_READING) {
            client_conn_look_at_half_closed(c);
            return;
        }
        if (c->exchange->queued != NULL ||
            (c->exchange->upstream != NULL && upstream_is_blocked(c->exchange))) {
            c->rate_since_ms = worker_now_ms(c->pw->worker); /* the instance is slow, not the client */
            client_conn_arm(c);
            return;
        }
        if (!client_conn_too_slow(c, cfg->body_timeout_ms, CLOSE_BODY_TIMEOUT, &why)) {
            client_conn_arm(c);
            return;
        }
        h1_server_body_too_slow(c, why);
        return;
    case CLIENT_HANDSHAKE:
        client_conn_close(c, CLOSE_TLS_TIMEOUT);
        return;
    case CLIENT_PROXY_HEADER:
        client_conn_close(c, CLOSE_PROXY_TIMEOUT);
        return;
    case CLIENT_H2:
        h2_server_on_deadline(c);
        return;
    case CLIENT_LINGER:
        client_conn_close(c, c->close_reason);
        return;
    case CLIENT_TUNNEL:
    case CLIENT_CLOSED:
        return;
    }
}

/* ---- input ---- */

bool client_conn_save_input(struct client_conn *c)
{
    struct proxy_worker *pw = c->pw;
    if (pw->read_owner != c)
        return true;
    pw->read_owner = NULL;
    if (c->in_len == 0) {
        c->in_ptr = NULL;
        return true;
    }
    char *copy = malloc(c->in_len);
    if (copy == NULL) {
        c->in_len = 0;
        c->broken = true;
        return false;
    }
    memcpy(copy, c->in_ptr, c->in_len);
    ASSERT(c->rest == NULL);
    c->rest = copy;
    c->in_ptr = copy;
    return true;
}

void client_conn_claim_buffer(struct client_conn *c)
{
    struct proxy_worker *pw = c->pw;
    if (pw->read_owner != NULL && pw->read_owner != c)
        client_conn_save_input(pw->read_owner);
    pw->read_owner = c;
    if (c->in_len > 0 && c->in_ptr != pw->read_buffer)
        memmove(pw->read_buffer, c->in_ptr, c->in_len);
    free(c->rest);
    c->rest = NULL;
    c->in_ptr = pw->read_buffer;
}

enum client_read client_conn_read(struct client_conn *c)
{
    struct proxy_worker *pw = c->pw;
    if (c->broken || c->eof)
        return CLIENT_READ_END;
    if (!c->readable)
        return CLIENT_READ_NOTHING;
    if (c->in_len >= READ_BUFFER_BYTES)
        return CLIENT_READ_FULL;
    client_conn_claim_buffer(c);
    if (UNLIKELY(c->tls != NULL))
        return client_tls_read(c);
    size_t room = READ_BUFFER_BYTES - c->in_len;
    ssize_t n;
    do
        n = recv(c->fd, pw->read_buffer + c->in_len, room, 0); /* read(2) passes through more layers */
    while (n < 0 && errno == EINTR);
    if (n > 0) {
        if ((size_t)n < room && !c->hup)
            c->readable = false; /* edge used up: a later byte or FIN makes a new one */
        c->in_len += (size_t)n;
        c->rate_bytes += (uint64_t)n;
        proxy_count(pw, METRIC_CLIENT_BYTES_IN, n);
        return CLIENT_READ_DATA;
    }
    c->readable = false;
    if (n == 0) {
        c->eof = true;
        return CLIENT_READ_END;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK)
        return CLIENT_READ_NOTHING;
    c->broken = true;
    if (c->close_reason == CLOSE_OPEN)
        c->close_reason = CLOSE_CLIENT_RESET;
    return CLIENT_READ_END;
}

void client_conn_consume(struct client_conn *c, size_t n)
{
    ASSERT(n <= c->in_len);
    c->in_ptr += n;
    c->in_len -= n;
    if (c->in_len == 0 && c->rest != NULL) {
        free(c->rest);
        c->rest = NULL;
        c->in_ptr = NULL;
    }
}
