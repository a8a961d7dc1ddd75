/* upstream_conn.c: the life of a connection to an instance: connect, send, deadlines, close. Reading
 * responses is h1_client.c. Registered with the loop once, edge-triggered for both directions. */
#include "proxy/upstream_conn.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "balancer/balancer.h"
#include "core/metrics.h"
#include "core/net.h"
#include "core/panic.h"
#include "proxy/exchange.h"
#include "proxy/h1_client.h"
#include "proxy/h2_client.h"
#include "proxy/introduce.h"
#include "proxy/proxy_worker.h"
#include "proxy/upstream.h"
#include "proxy/upstream_tls.h"

#define LOOK_MS 100

static void upstream_conn_set_state(struct upstream_conn *u, enum upstream_state s)
{
    static const uint8_t legal[] = {
        [UPSTREAM_CONNECTING] =
            1u << UPSTREAM_HANDSHAKE | 1u << UPSTREAM_ACTIVE | 1u << UPSTREAM_H2 | 1u << UPSTREAM_CLOSED,
        [UPSTREAM_HANDSHAKE] = 1u << UPSTREAM_ACTIVE | 1u << UPSTREAM_H2 | 1u << UPSTREAM_CLOSED,
        [UPSTREAM_ACTIVE] = 1u << UPSTREAM_IDLE | 1u << UPSTREAM_TUNNEL | 1u << UPSTREAM_CLOSED,
        [UPSTREAM_TUNNEL] = 1u << UPSTREAM_CLOSED,
        [UPSTREAM_H2] = 1u << UPSTREAM_CLOSED,
        [UPSTREAM_IDLE] = 1u << UPSTREAM_ACTIVE | 1u << UPSTREAM_CLOSED,
        [UPSTREAM_CLOSED] = 0,
    };
    ASSERT((legal[u->state] >> s) & 1);
    u->state = (uint8_t)s;
}

static dur_ms_t response_timeout_ms(const struct upstream_conn *u)
{
    return pool_config(u->exchange->route->pool)->response_timeout_ms;
}

void upstream_conn_expect_bytes(struct upstream_conn *u)
{
    if (UNLIKELY(u->h2 != NULL)) /* each call for itself */
        return;
    deadline_set(u->pw->worker, &u->deadline, worker_now_ms(u->pw->worker) + response_timeout_ms(u));
}

/* A reset that came right behind the bytes is in the same event, and the event library does not tell it from
 * bytes. To ask the kernel after each read that did not fill the buffer would be a system call for each; a
 * look after a moment of silence costs next to nothing. */
void upstream_conn_look_later(struct upstream_conn *u)
{
    deadline_set(u->pw->worker, &u->deadline,
                 worker_now_ms(u->pw->worker) +
                     (UNLIKELY(u->h2 != NULL) ? LOOK_MS : MIN(LOOK_MS, response_timeout_ms(u))));
}

static void upstream_conn_on_deadline(struct deadline *d)
{
    struct upstream_conn *u = CONTAINER_OF(d, struct upstream_conn, deadline);
    CHECK_MAGIC(u, UPSTREAM_CONN_MAGIC);
    struct upstream_conn *self = u;
    if (u->state == UPSTREAM_IDLE) {
        upstream_conn_close(&self);
        return;
    }
    if (u->h2 != NULL) {
        if (u->look_due) { /* the socket is asked again, though it was empty when it was read last */
            u->look_due = false;
            u->readable = true;
            tls_conn_on_event(u->tls, false);
        }
        h2_client_on_deadline(u->h2);
        return;
    }
    if (u->state == UPSTREAM_TUNNEL) {
        exchange_on_tunnel_deadline(u->exchange);
        return;
    }
    if (u->look_due && u->state == UPSTREAM_ACTIVE && !u->paused) {
        u->look_due = false;
        upstream_conn_expect_bytes(u);
        upstream_conn_resume(u);
        return;
    }
    /* We are the ones who wait: for the client, whose own timeout rules. */
    if (u->paused || (u->state == UPSTREAM_ACTIVE && upstream_awaits_body(u->exchange))) {
        upstream_conn_expect_bytes(u);
        return;
    }
    exchange_on_upstream_error(u->exchange,
                               u->state < UPSTREAM_ACTIVE ? FETCH_CONNECT_TIMEOUT : FETCH_RESPONSE_TIMEOUT);
}

/* ---- sending ---- */

bool upstream_conn_is_blocked(const struct upstream_conn *u)
{
    return u->unsent != NULL || !u->writable;
}

/* Keeps all but the first `skip` bytes, behind what waits already. */
static bool upstream_keep_unsent(struct upstream_conn *u, const struct iovec *iov, int count, size_t skip)
{
    size_t bytes = 0, waiting = u->unsent_len - u->unsent_pos;
    for (int i = 0; i < count; i++)
        bytes += iov[i].iov_len;
    if (bytes <= skip)
        return true;
    char *kept = malloc(waiting + bytes - skip);
    if (kept == NULL)
        return false;
    if (waiting > 0)
        memcpy(kept, u->unsent + u->unsent_pos, waiting);
    free(u->unsent);
    u->unsent = kept;
    u->unsent_len = waiting + bytes - skip;
    u->unsent_pos = 0;
    char *at = kept + waiting;
    for (int i = 0; i < count; i++) {
        size_t gone = MIN(skip, iov[i].iov_len);
        memcpy(at, (char *)iov[i].iov_base + gone, iov[i].iov_len - gone);
        at += iov[i].iov_len - gone;
        skip -= gone;
    }
    return true;
}

/* Without memory for what waits, nothing may follow it: the request would arrive with a hole in it. */
static bool upstream_keep_or_break(struct upstream_conn *u, const struct iovec *iov, int count, size_t skip)
{
    bool kept = upstream_keep_unsent(u, iov, count, skip);
    if (!kept)
        shutdown(u->fd, SHUT_WR);
    return kept;
}

static ssize_t upstream_write(struct upstream_conn *u, const struct iovec *iov, int count)
{
    if (UNLIKELY(u->tls != NULL))
        return upstream_tls_write(u, iov, count);
    ssize_t n = net_send(u->fd, iov, (size_t)count, 0);
    if (n >= 0)
        proxy_count(u->pw, METRIC_UPSTREAM_BYTES_OUT, n);
    return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) ? 0 : n;
}

bool upstream_conn_send(struct upstream_conn *u, const struct iovec *iov, int count)
{
    CHECK_MAGIC(u, UPSTREAM_CONN_MAGIC);
    ASSERT(u->state == UPSTREAM_ACTIVE || u->state == UPSTREAM_TUNNEL || u->state == UPSTREAM_H2);
    if (u->unsent != NULL) /* a request's head and the kept part of its body come one after the other */
        return upstream_keep_or_break(u, iov, count, 0);
    size_t bytes = 0;
    for (int i = 0; i < count; i++)
        bytes += iov[i].iov_len;
    ssize_t n = upstream_write(u, iov, count);
    if (n < 0)
        return false;
    upstream_conn_expect_bytes(u);
    if ((size_t)n == bytes)
        return true;
    u->writable = false;
    return upstream_keep_or_break(u, iov, count, (size_t)n);
}

bool upstream_conn_send_rest(struct upstream_conn *u)
{
    struct iovec iov = {u->unsent + u->unsent_pos, u->unsent_len - u->unsent_pos};
    ssize_t n = upstream_write(u, &iov, 1);
    if (n < 0)
        return false;
    u->unsent_pos += (size_t)n;
    if (n > 0)
        upstream_conn_expect_bytes(u);
    if (u->unsent_pos < u->unsent_len) {
        u->writable = false;
        return true;
    }
    free(u->unsent);
    u->unsent = NULL;
    u->unsent_len = u->unsent_pos = 0;
    return true;
}

/* ---- events ---- */

static enum fetch_error connect_error(int error)
{
    if (error == ECONNREFUSED || error == ENOENT)
        return FETCH_CONNECT_REFUSED;
    if (error == EMFILE || error == ENFILE || error == ENOMEM || error == ENOBUFS)
        return FETCH_NO_MEMORY;
    return error == ETIMEDOUT ? FETCH_CONNECT_TIMEOUT : FETCH_CONNECT_FAILED;
}

const struct pool *upstream_conn_pool(const struct upstream_conn *u)
{
    return UNLIKELY(u->h2 != NULL) ? h2_client_pool(u->h2) : u->exchange->route->pool;
}

void upstream_conn_failed(struct upstream_conn *u, enum fetch_error e)
{
    if (u->h2 != NULL)
        h2_client_failed(u->h2, e);
    else
        exchange_on_upstream_error(u->exchange, e);
}

void upstream_conn_set_ready(struct upstream_conn *u)
{
    upstream_conn_set_state(u, UPSTREAM_H2);
}

void upstream_conn_ready(struct upstream_conn *u)
{
    if (UNLIKELY(u->h2 != NULL)) {
        h2_client_begin(u->h2);
        return;
    }
    upstream_conn_set_state(u, UPSTREAM_ACTIVE);
    upstream_conn_expect_bytes(u);
    exchange_on_connected(u->exchange);
}

static void upstream_on_connect(struct upstream_conn *u)
{
    int error = net_socket_error(u->fd);
    if (error != 0) {
        upstream_conn_failed(u, connect_error(error));
        return;
    }
    const struct pool *pool = upstream_conn_pool(u);
    if (UNLIKELY(pool == NULL)) {
        upstream_conn_close(&u);
        return;
    }
    enum proxy_header_version header = pool_config(pool)->send_proxy_protocol;
    if (UNLIKELY((header != PROXY_HEADER_OFF && !introduce_client(u, header)) ||
                 (u->target != NULL && !upstream_tls_open(u)))) {
        upstream_conn_failed(u, FETCH_CONNECT_FAILED);
        return;
    }
    if (LIKELY(u->target == NULL)) {
        upstream_conn_ready(u);
        return;
    }
    upstream_conn_set_state(u, UPSTREAM_HANDSHAKE);
    upstream_tls_step(u);
}

void upstream_conn_on_event(evutil_socket_t fd, short what, void *arg)
{
    UNUSED(fd);
    struct upstream_conn *u = arg;
    CHECK_MAGIC(u, UPSTREAM_CONN_MAGIC);
    ASSERT(u->pw->out.conn == NULL);
    worker_refresh_clock(u->pw->worker);
    if (what & (EV_READ | EV_CLOSED))
        u->readable = true;
    if (what & EV_CLOSED)
        u->hup = true;
    if (what & EV_WRITE)
        u->writable = true;
    switch ((enum upstream_state)u->state) {
    case UPSTREAM_CLOSED:
    case UPSTREAM_HANDSHAKE:
        return;
    case UPSTREAM_IDLE: /* bytes or an end that nobody asked for: it cannot be used any more */
        if (u->readable) {
            proxy_count(u->pw, METRIC_UPSTREAM_IDLE_CLOSED, 1);
            instance_on_idle_close(u->instance, worker_now_ms(u->pw->worker) - u->idle_since_ms);
            upstream_conn_close(&u);
        }
        return;
    case UPSTREAM_TUNNEL:
        exchange_on_tunnel(u->exchange);
        return;
    case UPSTREAM_H2:
        h2_client_run(u->h2);
        return;
    case UPSTREAM_CONNECTING:
        if (u->writable || u->hup)
            upstream_on_connect(u);
        if (u->state != UPSTREAM_ACTIVE)
            return;
        break;
    case UPSTREAM_ACTIVE:
        if (u->writable && u->unsent != NULL && !upstream_conn_send_rest(u))
            u->readable = true; /* an early answer may be there; otherwise reading reports the break */
        else if (u->writable && u->unsent == NULL)
            exchange_on_upstream_writable(u->exchange);
        break;
    }
    if (u->state == UPSTREAM_ACTIVE && u->exchange != NULL)
        h1_client_run(u);
}

void upstream_conn_resume(struct upstream_conn *u)
{
    CHECK_MAGIC(u, UPSTREAM_CONN_MAGIC);
    if (u->state != UPSTREAM_ACTIVE)
        return;
    u->paused = false;
    u->readable = true;
    event_active(&u->event, EV_READ, 0);
}

/* Made active inside the loop, the event would run before the loop looks at any other descriptor, and before
 * this turn's deadlines and mail; made active after the turn, it takes its place among the next turn's. */
static void upstream_conn_on_turn_end(struct turn_hook *h)
{
    struct upstream_conn *u = CONTAINER_OF(h, struct upstream_conn, again);
    CHECK_MAGIC(u, UPSTREAM_CONN_MAGIC);
    event_active(&u->event, EV_READ, 0);
}

bool upstream_conn_is_quiet(struct upstream_conn *u)
{
    char byte;
    ssize_t n =
        u->tls != NULL ? tls_conn_read(u->tls, &byte, 1) : recv(u->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

/* ---- opening and closing ---- */

static struct upstream_conn *upstream_conn_new(struct proxy_worker *pw, int fd, struct instance *i,
                                               enum upstream_state state, event_callback_fn on_event)
{
    struct upstream_conn *u = calloc(1, sizeof *u);
    if (u == NULL)
        return NULL;
    u->magic = UPSTREAM_CONN_MAGIC;
    u->fd = fd;
    u->pw = pw;
    u->state = (uint8_t)state;
    list_init(&u->node);
    list_init(&u->again.node);
    u->again.on_turn_end = upstream_conn_on_turn_end;
    deadline_init(&u->deadline, upstream_conn_on_deadline);
    event_assign(&u->event, pw->worker->base, fd, EV_READ | EV_WRITE | EV_CLOSED | EV_ET | EV_PERSIST,
                 on_event, u);
    if (event_add(&u->event, NULL) != 0) {
        free(u);
        return NULL;
    }
    u->instance = i;
    proxy_count(pw, METRIC_UPSTREAM_OPEN, i != NULL);
    return u;
}

struct upstream_conn *upstream_conn_open(struct proxy_worker *pw, struct instance *i, struct exchange *x,
                                         dur_ms_t connect_timeout_ms, enum fetch_error *error)
{
    struct net_addr addr = *instance_addr(i);
    *error = FETCH_NO_MEMORY;
    if (addr.len == 0) {
        *error = FETCH_CONNECT_FAILED;
        return NULL;
    }
    int fd = net_connect(&addr);
    if (fd < 0) {
        *error = connect_error(errno);
        return NULL;
    }
    struct upstream_conn *u =
        upstream_conn_new(pw, fd, i, UPSTREAM_CONNECTING,
                          pool_tls(x->route->pool) != NULL ? upstream_tls_on_event : upstream_conn_on_event);
    if (u == NULL) {
        close(fd);
        return NULL;
    }
    instance_ref(i);
    u->exchange = x;
    u->target = pool_tls_get(x->route->pool);
    proxy_count(pw, METRIC_UPSTREAM_CONNECTS, 1);
    deadline_set(pw->worker, &u->deadline, worker_now_ms(pw->worker) + connect_timeout_ms);
    return u;
}

struct upstream_conn *upstream_conn_open_file(struct proxy_worker *pw, struct exchange *x,
                                              void (*on_event)(evutil_socket_t, short, void *))
{
    struct upstream_conn *u = upstream_conn_new(pw, -1, NULL, UPSTREAM_ACTIVE, on_event);
    if (u == NULL)
        return NULL;
    u->exchange = x;
    event_active(&u->event, EV_READ, 0);
    return u;
}

struct upstream_conn *upstream_conn_adopt(struct proxy_worker *pw, int fd, struct instance *i)
{
    struct upstream_conn *u = upstream_conn_new(pw, fd, i, UPSTREAM_IDLE, upstream_conn_on_event);
    if (u == NULL) {
        close(fd);
        instance_unref(i);
        return NULL;
    }
    u->reused = u->writable = true;
    return u;
}

static void upstream_conn_free(void *arg)
{
    struct upstream_conn *u = arg;
    upstream_tls_free(u);
    if (u->h2 != NULL)
        h2_client_free(u->h2);
    free(u);
}

/* Everything but the descriptor and the instance. */
static void upstream_conn_drop(struct upstream_conn *u)
{
    if (u->state == UPSTREAM_IDLE)
        upstream_pool_forget(u->pw, u);
    if (u->tls != NULL && (u->state == UPSTREAM_IDLE || u->reading == UPSTREAM_READ_DONE))
        tls_conn_close(u->tls);
    upstream_conn_set_state(u, UPSTREAM_CLOSED);
    if (u->h2 != NULL)
        h2_client_closed(u->h2);
    deadline_clear(u->pw->worker, &u->deadline);
    event_del(&u->event);
    list_remove(&u->again.node);
    free(u->rest);
    free(u->unsent);
    u->rest = u->unsent = NULL;
    u->exchange = NULL;
    proxy_count(u->pw, METRIC_UPSTREAM_OPEN, -(u->instance != NULL));
    worker_bury(u->pw->worker, &u->grave, upstream_conn_free, u);
}

int upstream_conn_detach(struct upstream_conn *u, struct instance **i)
{
    ASSERT(u->state == UPSTREAM_IDLE && u->tls == NULL);
    int fd = u->fd;
    *i = u->instance;
    upstream_conn_drop(u);
    return fd;
}

/* It was opened or taken for a request whose response has not been read to its end. */
static bool is_under_way(const struct upstream_conn *u)
{
    const unsigned states = 1u << UPSTREAM_CONNECTING | 1u << UPSTREAM_HANDSHAKE | 1u << UPSTREAM_ACTIVE;
    return (states & 1u << u->state) != 0 && u->reading != UPSTREAM_READ_DONE && u->instance != NULL;
}

void upstream_conn_close(struct upstream_conn **up)
{
    struct upstream_conn *u = *up;
    *up = NULL;
    CHECK_MAGIC(u, UPSTREAM_CONN_MAGIC);
    if (u->state == UPSTREAM_CLOSED)
        return;
    struct instance *i = u->instance;
    if (is_under_way(u) && !u->hup)
        net_reset_on_close(u->fd);
    upstream_conn_drop(u);
    if (u->fd >= 0)
        close(u->fd);
    if (i != NULL)
        instance_unref(i);
}

void upstream_conn_set_idle(struct upstream_conn *u)
{
    u->exchange = NULL;
    if (UNLIKELY(u->rest != NULL)) { /* the beginning of what has been read since, if that came in pieces */
        free(u->rest);
        u->rest = NULL;
        u->rest_len = 0;
    }
    list_remove(&u->again.node);
    upstream_conn_set_state(u, UPSTREAM_IDLE);
}

void upstream_conn_switch(struct upstream_conn *u)
{
    upstream_conn_set_state(u, UPSTREAM_TUNNEL);
    u->look_due = false;
    deadline_lapse(&u->deadline);
}

void upstream_conn_assign(struct upstream_conn *u, struct exchange *x)
{
    ASSERT(u->state == UPSTREAM_IDLE);
    upstream_conn_set_state(u, UPSTREAM_ACTIVE);
    u->exchange = x;
    u->reused = true;
    u->reading = UPSTREAM_READ_HEAD;
    u->response_bytes_seen = u->paused = u->look_due = false;
    u->interim_count = 0;
    u->parser = (struct h1_parser){0};
    upstream_conn_expect_bytes(u);
}
