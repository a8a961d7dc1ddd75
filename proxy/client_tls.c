/* client_tls.c: see client_tls.h. Rejected: refusing new handshakes when there are too many. Those who hold
 * the places are then the ones who never finish. */
#include "proxy/client_tls.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>

#include "core/log.h"
#include "core/metrics.h"
#include "core/panic.h"
#include "proxy/client_out.h"
#include "proxy/h2_conn.h"
#include "proxy/listener.h"
#include "proxy/server.h"
#include "proxy/tls_site.h"

#define HANDSHAKES_LEAST 16
#define HANDSHAKES_US    3000 /* of a turn, and the rest of a step: a millisecond with an RSA key */

/* To fall asleep and wake costs as much as a request of a kilobyte or two. */
#define AWAKE_MS       5000
#define AWAKE_IDLE_MAX 8 /* of the time that a connection may be idle, so large a part at most */

static unsigned handshakes_max(const struct proxy_worker *pw)
{
    /* Not of max_connections: descriptors may allow fewer. */
    const unsigned share = atomic_load_explicit(&pw->server->admission.max_total, memory_order_relaxed) / 4;
    return MAX(share / (unsigned)MAX(pw->server->worker_count, 1), HANDSHAKES_LEAST);
}

static void handshake_done(struct client_conn *c)
{
    list_remove(&c->tls->node);
    c->pw->handshake_count--;
    proxy_count(c->pw, METRIC_TLS_HANDSHAKES_OPEN, -1);
}

/* The oldest that waits for its client, not for us. */
static struct client_conn *handshake_to_give_up(const struct proxy_worker *pw)
{
    for (struct list *n = pw->handshakes.next; n != &pw->handshakes; n = n->next) {
        const struct client_tls *t = CONTAINER_OF(n, struct client_tls, node);
        if (!t->is_due)
            return t->client;
    }
    return CONTAINER_OF(pw->handshakes.next, struct client_tls, node)->client;
}

/* ---- sleep ---- */

static void client_tls_on_rest(struct deadline *d)
{
    struct client_conn *c = CONTAINER_OF(d, struct client_tls, rest)->client;
    CHECK_MAGIC(c, CLIENT_CONN_MAGIC);
    c->tls->sleeps = tls_conn_sleep(&c->tls->conn);
    if (c->tls->sleeps && c->state == CLIENT_H2)
        h2_session_sleep(c->h2);
    proxy_count(c->pw, METRIC_TLS_ASLEEP, c->tls->sleeps);
}

static void wake(struct client_conn *c)
{
    proxy_count(c->pw, METRIC_TLS_ASLEEP, -c->tls->sleeps);
    c->tls->sleeps = false;
}

void client_tls_used(struct client_conn *c)
{
    const dur_ms_t awake_ms = MIN(AWAKE_MS, c->listener->config->idle_timeout_ms / AWAKE_IDLE_MAX);
    if (UNLIKELY(c->tls->sleeps))
        wake(c);
    deadline_set(c->pw->worker, &c->tls->rest, worker_now_ms(c->pw->worker) + awake_ms);
}

void client_tls_doze(struct client_conn *c)
{
    if (c->tls->sleeps)
        return;
    deadline_clear(c->pw->worker, &c->tls->rest);
    client_tls_on_rest(&c->tls->rest);
}

/* ---- begin and end ---- */

bool client_tls_open(struct client_conn *c, struct tls_site *site)
{
    struct proxy_worker *pw = c->pw;
    struct client_tls *t = malloc(sizeof *t);
    if (pw->tls_out == NULL)
        pw->tls_out = calloc(1, sizeof *pw->tls_out);
    struct tls_server *server = tls_site_get(site);
    bool ok = t != NULL && pw->tls_out != NULL && tls_conn_open(&t->conn, server, c->fd, pw->tls_out);
    tls_server_unref(server);
    if (!ok) {
        free(t);
        return false;
    }
    t->client = c;
    t->is_due = true;
    t->sleeps = false;
    deadline_init(&t->rest, client_tls_on_rest);
    c->tls = t;
    tls_conn_on_event(&t->conn, c->hup); /* seen while a PROXY header was awaited */
    client_conn_set_state(c, CLIENT_HANDSHAKE);
    list_push_back(&pw->handshakes, &t->node);
    pw->handshake_count++;
    proxy_count(pw, METRIC_TLS_HANDSHAKES_OPEN, 1);
    client_conn_arm(c);
    if (pw->handshake_count > handshakes_max(pw))
        client_conn_close(handshake_to_give_up(pw), CLOSE_TLS_CROWDED);
    return true;
}

void client_tls_free(struct client_conn *c)
{
    deadline_clear(c->pw->worker, &c->tls->rest);
    tls_conn_free(&c->tls->conn);
    free(c->tls);
    c->tls = NULL;
}

/* ---- handshake ---- */

static void handshakes_on_turn_end(struct turn_hook *h)
{
    CONTAINER_OF(h, struct proxy_worker, handshake_hook)->handshakes_us = 0;
}

/* What it takes counts against this turn. Others have clients that are served; most of what a flood of them
 * asks for is over in microseconds, so that it is time which is counted, not steps. */
static enum tls_step handshake_step(struct proxy_worker *pw, struct tls_conn *t)
{
    const mono_us_t begun_us = clock_mono_us();
    const enum tls_step step = tls_conn_handshake(t);
    pw->handshakes_us += clock_mono_us() - begun_us;
    pw->handshake_hook.on_turn_end = handshakes_on_turn_end;
    worker_at_turn_end(pw->worker, &pw->handshake_hook);
    return step;
}

static void handshake_failed(struct client_conn *c)
{
    char ip[CLIENT_IP_TEXT + 1] = "";
    memcpy(ip, c->ip_text, c->ip_text_len);
    log_debug("TLS handshake with %s failed: %s", ip, c->tls->conn.why);
    client_conn_close(c, CLOSE_TLS_FAILED);
}

/* Someone wrote http:// in front of the address; a person may read the answer. */
static void refuse_plain(struct client_conn *c)
{
    int first = c->tls->conn.first_byte;
    handshake_done(c);
    client_tls_free(c);
    if (first < 'A' || first > 'Z') {
        client_conn_set_state(c, CLIENT_IDLE);
        client_conn_close(c, CLOSE_TLS_FAILED);
        return;
    }
    h1_server_refuse(c, 400, "this port speaks TLS: write https:// in front of the address",
                     CLOSE_BAD_REQUEST);
}

static void handshake_succeeded(struct client_conn *c)
{
    handshake_done(c);
    proxy_count(c->pw, METRIC_TLS_HANDSHAKES, 1);
    proxy_count(c->pw, METRIC_TLS_RESUMED, tls_conn_is_resumed(&c->tls->conn));
    client_conn_set_state(c, CLIENT_IDLE);
    client_tls_used(c);
    if (tls_conn_protocol(&c->tls->conn) == TLS_PROTOCOL_HTTP_2)
        h2_server_begin(c);
    else
        h1_server_run(c);
}

void client_tls_step(struct client_conn *c)
{
    ASSERT(c->state == CLIENT_HANDSHAKE);
    c->tls->is_due = c->pw->handshakes_us > HANDSHAKES_US;
    if (c->tls->is_due) {
        worker_at_turn_end(c->pw->worker, &c->again);
        return;
    }
    switch (handshake_step(c->pw, &c->tls->conn)) {
    case TLS_STEP_DONE:
        handshake_succeeded(c);
        return;
    case TLS_STEP_WAIT:
        if (net_is_gone(c->fd))
            client_conn_close(c, CLOSE_CLIENT_RESET);
        return;
    case TLS_STEP_ENDED:
        client_conn_close(c, CLOSE_CLIENT_CLOSED);
        return;
    case TLS_STEP_NO_TLS:
        refuse_plain(c);
        return;
    case TLS_STEP_FAILED:
        handshake_failed(c);
        return;
    }
}

/* ---- the rest of its life ---- */

void client_tls_on_event(evutil_socket_t fd, short what, void *arg)
{
    struct client_conn *c = arg;
    CHECK_MAGIC(c, CLIENT_CONN_MAGIC);
    if (c->tls != NULL) {
        tls_conn_on_event(&c->tls->conn, (what & EV_CLOSED) != 0);
        if (what & EV_WRITE)
            tls_conn_resume(&c->tls->conn);
    }
    client_conn_on_event(fd, what, arg);
}

/* To say the last word one must be awake. Who slept gives all back before the next one does, since a stop
 * ends very many in one turn; no call of OpenSSL is under way then that would miss it. */
void client_tls_end(struct client_conn *c)
{
    const bool slept = c->tls->sleeps;
    if (c->state == CLIENT_HANDSHAKE)
        handshake_done(c);
    else if (c->exchange == NULL && c->left == NULL && !c->broken && !c->reset_on_close)
        tls_conn_close(&c->tls->conn);
    deadline_clear(c->pw->worker, &c->tls->rest);
    wake(c);
    if (slept && c->exchange == NULL && c->h2 == NULL)
        tls_conn_free(&c->tls->conn);
}

enum client_read client_tls_read(struct client_conn *c)
{
    struct proxy_worker *pw = c->pw;
    struct tls_conn *t = &c->tls->conn;
    client_tls_used(c);
    ssize_t n = tls_conn_read(t, pw->read_buffer + c->in_len, READ_BUFFER_BYTES - c->in_len);
    if (n > 0) {
        c->readable = !tls_conn_is_dry(t);
        c->in_len += (size_t)n;
        c->rate_bytes += (uint64_t)n;
        proxy_count(pw, METRIC_CLIENT_BYTES_IN, n);
        return CLIENT_READ_DATA;
    }
    c->readable = n < 0 && errno == EAGAIN && !t->drained;
    if (n < 0 && errno == EAGAIN) {
        c->broken |= c->state <= CLIENT_HEAD && net_is_gone(c->fd); /* behind a part of a record */
        return CLIENT_READ_NOTHING;
    }
    c->eof = n == 0;
    c->broken = n < 0;
    if (c->broken && c->close_reason == CLOSE_OPEN)
        c->close_reason = CLOSE_CLIENT_RESET;
    return CLIENT_READ_END;
}

ssize_t client_tls_write(struct client_conn *c, const struct iovec *iov, unsigned count)
{
    struct tls_conn *t = &c->tls->conn;
    uint64_t before = t->wire_bytes;
    client_tls_used(c);
    ssize_t n = tls_conn_write(t, iov, count, worker_now_ms(c->pw->worker));
    uint64_t sent = t->wire_bytes - before;
    proxy_count(c->pw, METRIC_CLIENT_BYTES_OUT, (int64_t)sent);
    c->bytes_out += sent;
    return n;
}
