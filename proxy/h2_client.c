/* h2_client.c: see h2_client.h: the session of a connection to an instance, found, opened, fed, drained and
 * ended.
 *
 * The window of a stream bounds what is held here for a client that does not read (h2_call.h); the
 * connection's window is wide and opens at once, so that such a client holds up no other.
 *
 * Rejected: one connection per instance for all workers. Streams would have to be handed between threads, and
 * an instance of any use takes a connection per worker gladly. */
#include "proxy/h2_client.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "balancer/balancer.h"
#include "core/metrics.h"
#include "core/panic.h"
#include "core/tls_conn.h"
#include "proxy/exchange.h"
#include "proxy/h2_call.h"
#include "proxy/h2_scratch.h"
#include "proxy/proxy_worker.h"
#include "proxy/upstream_conn.h"
#include "proxy/upstream_tls.h"

#define ROUNDS_PER_TURN 16
#define WINDOW_TOGETHER (4 * MB)
#define RESPONSE_HEAD   (64 * KB) /* as of HTTP/1.1: h1_client.c */
#define FRESH_MS        1000      /* after another broke, only one opened since */

/* ---- finding and opening ---- */

static void client_on_turn_end(struct turn_hook *hook)
{
    h2_client_run(CONTAINER_OF(hook, struct h2_client, turn));
}

static struct h2_client *client_open(struct exchange *x, dur_ms_t connect_timeout_ms, enum fetch_error *e)
{
    struct h2_client *h = calloc(1, sizeof *h);
    struct upstream_conn *u =
        h != NULL ? upstream_conn_open(x->pw, x->instance, x, connect_timeout_ms, e) : NULL;
    if (u == NULL) {
        *e = h != NULL ? *e : FETCH_NO_MEMORY;
        free(h);
        return NULL;
    }
    u->exchange = NULL;
    u->h2 = h;
    h->conn = u;
    h->opened_ms = worker_now_ms(x->pw->worker);
    list_init(&h->calls);
    list_init(&h->wake);
    list_init(&h->turn.node);
    h->turn.on_turn_end = client_on_turn_end;
    list_push_back(&x->pw->upstreams.shared, &h->node);
    return h;
}

static unsigned calls_at_once(const struct h2_client *h)
{
    if (!h2_client_is_ready(h))
        return H2_CLIENT_CALLS;
    return MIN((unsigned)H2_CLIENT_CALLS,
               nghttp2_session_get_remote_settings(h->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS));
}

static bool is_idle(const struct h2_client *h, mono_ms_t since_ms)
{
    return h->call_count == 0 && h->idle_since_ms > 0 && h->idle_since_ms <= since_ms;
}

/* Is it one that this exchange may use? */
static bool client_suits(struct h2_client *h, const struct exchange *x, dur_ms_t max_idle_ms)
{
    const mono_ms_t now_ms = worker_now_ms(x->pw->worker);
    if (h->conn->instance != x->instance || h->leaving || h->conn->target != pool_tls(x->route->pool))
        return false;
    if (!h2_client_is_ready(h))
        return true;
    if (max_idle_ms > 0 && is_idle(h, now_ms - max_idle_ms - 1)) {
        h2_client_leave(h);
        return false;
    }
    return !x->fresh_only || h->opened_ms >= now_ms - FRESH_MS;
}

struct h2_client *h2_client_for(struct exchange *x, dur_ms_t connect_timeout_ms, dur_ms_t max_idle_ms,
                                enum fetch_error *e)
{
    struct h2_client *least = NULL;
    unsigned count = 0;
    LIST_FOREACH (n, &x->pw->upstreams.shared) {
        struct h2_client *h = CONTAINER_OF(n, struct h2_client, node);
        if (!client_suits(h, x, max_idle_ms))
            continue;
        if (h->call_count < calls_at_once(h))
            return h;
        count++;
        if (least == NULL || h->call_count < least->call_count)
            least = h;
    }
    return count < H2_CLIENT_CONNECTIONS ? client_open(x, connect_timeout_ms, e) : least;
}

const struct pool *h2_client_pool(const struct h2_client *h)
{
    LIST_FOREACH (n, &h->calls) {
        const struct h2_call *c = CONTAINER_OF(n, struct h2_call, node);
        if (c->exchange != NULL)
            return c->exchange->route->pool;
    }
    return NULL;
}

/* ---- beginning and ending ---- */

static bool submit_settings(nghttp2_session *session)
{
    const nghttp2_settings_entry entries[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, H2_CALL_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, RESPONSE_HEAD},
    };
    return nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, entries, ARRAY_LEN(entries)) == 0 &&
           nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0, WINDOW_TOGETHER) == 0;
}

static bool open_session(struct h2_client *h)
{
    struct h2_scratch *s = h2_scratch_of(h->conn->pw);
    if (s == NULL || nghttp2_session_client_new2(&h->session, s->client_callbacks, h, s->client_option) != 0)
        return false;
    if (submit_settings(h->session))
        return true;
    nghttp2_session_del(h->session);
    h->session = NULL;
    return false;
}

void h2_client_begin(struct h2_client *h)
{
    if (!open_session(h)) {
        h2_client_failed(h, FETCH_NO_MEMORY);
        return;
    }
    h->heard_ms = worker_now_ms(h->conn->pw->worker);
    upstream_conn_set_ready(h->conn);
    LIST_FOREACH_SAFE (n, next, &h->calls) {
        struct h2_call *c = CONTAINER_OF(n, struct h2_call, node);
        if (c->exchange != NULL)
            h2_call_wake(c, H2_CALL_WAKE_BEGIN);
    }
    h2_client_run(h);
}

/* All that wait for something to come; exchanges try again elsewhere. */
static void fail_calls(struct h2_client *h, enum fetch_error e)
{
    struct list all;
    h->leaving = true;
    list_init(&all);
    list_splice(&all, &h->calls);
    while (!list_empty(&all)) {
        struct h2_call *c = CONTAINER_OF(all.next, struct h2_call, node);
        list_remove(&c->node);
        list_push_back(&h->calls, &c->node);
        if (c->exchange != NULL && !c->in_ended)
            h2_call_fail(c, e);
    }
}

void h2_client_failed(struct h2_client *h, enum fetch_error e)
{
    struct upstream_conn *u = h->conn;
    h->running = true;
    fail_calls(h, e);
    h->running = false;
    upstream_conn_close(&u);
}

void h2_client_leave(struct h2_client *h)
{
    h->leaving = true;
    h2_client_schedule(h);
}

/* RFC 9113 section 6.8. The worker's last exchange may end in the middle of h2_client_run, where the session
 * must not be asked to send: so the frame is written by hand. Instances begin no streams, so none was
 * processed. */
void h2_client_end(struct h2_client *h)
{
    static const unsigned char goaway[] = {0, 0, 8, NGHTTP2_GOAWAY, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    struct upstream_conn *u = h->conn;
    if (u->state == UPSTREAM_H2 && !h->broken && u->unsent == NULL) {
        const struct iovec frame = {(void *)(uintptr_t)goaway, sizeof goaway};
        upstream_conn_send(u, &frame, 1);
        u->reading = UPSTREAM_READ_DONE; /* nothing is cut */
    }
    upstream_conn_close(&u);
}

void h2_client_closed(struct h2_client *h)
{
    h->broken = true; /* perhaps in the middle of h2_client_run: with its last exchange the worker ends */
    list_remove(&h->turn.node);
    list_remove(&h->node);
    LIST_FOREACH (n, &h->calls) {
        ASSERT(CONTAINER_OF(n, struct h2_call, node)->exchange == NULL);
    }
}

void h2_client_free(struct h2_client *h)
{
    struct list *n;
    nghttp2_session_del(h->session);
    while ((n = list_pop_front(&h->calls)) != NULL)
        h2_call_free(CONTAINER_OF(n, struct h2_call, node));
    h2_scratch_drop(&h->cut_head);
    free(h);
}

void h2_client_on_deadline(struct h2_client *h)
{
    if (!h2_client_is_ready(h))
        h2_client_failed(h, FETCH_CONNECT_TIMEOUT);
    else if (is_idle(h, worker_now_ms(h->conn->pw->worker) - h->idle_timeout_ms))
        h2_client_leave(h);
    else
        h2_client_run(h);
}

void h2_client_schedule(struct h2_client *h)
{
    if (!h->running && h->conn->state != UPSTREAM_CLOSED)
        worker_at_turn_end(h->conn->pw->worker, &h->turn);
}

/* ---- input ---- */

void h2_client_pass_on(struct h2_client *h, const struct h2_call *next)
{
    struct h2_call *c = h->open;
    if (c == NULL || c == next)
        return;
    h->open = NULL;
    if (c->exchange != NULL)
        exchange_on_upstream_rested(c->exchange);
}

static void client_feed(struct h2_client *h, const char *bytes, size_t n)
{
    struct h2_scratch *s = h->conn->pw->h2;
    h->in_head = h->cut_head != NULL;
    h2_scratch_restore(s, &h->cut_head);
    if (nghttp2_session_mem_recv(h->session, (const uint8_t *)bytes, n) < 0)
        h->broken = true; /* no frames at all, or a flood of them; nghttp2 has said what it could */
    h2_client_pass_on(h, NULL);
    if (h->in_head && !h2_scratch_put_aside(s, &h->cut_head))
        h->broken = true;
}

/* false: nothing came. */
static bool client_read(struct h2_client *h)
{
    struct upstream_conn *u = h->conn;
    char *to = u->pw->relay_buffer;
    ssize_t n;
    if (!u->readable || h->broken)
        return false;
    do
        n = LIKELY(u->tls == NULL) ? recv(u->fd, to, READ_BUFFER_BYTES, 0)
                                   : tls_conn_read(u->tls, to, READ_BUFFER_BYTES);
    while (n < 0 && errno == EINTR);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        u->readable = false;
        return false;
    }
    if (n <= 0) {
        h->broken = true;
        return false;
    }
    proxy_count(u->pw, METRIC_UPSTREAM_BYTES_IN, n);
    h->heard_ms = worker_now_ms(u->pw->worker);
    u->look_due = u->tls != NULL; /* which, unlike the socket, was not asked whether there is more */
    client_feed(h, to, (size_t)n);
    return true;
}

static void client_work(struct h2_client *h)
{
    struct list work;
    list_init(&work);
    list_splice(&work, &h->wake);
    while (!list_empty(&work)) {
        struct h2_call *c = CONTAINER_OF(work.next, struct h2_call, wake_node);
        list_remove(&c->wake_node);
        h2_call_work(c);
    }
}

/* ---- output ---- */

/* false: nothing may follow now. */
static bool client_write(struct h2_client *h, const void *data, size_t n)
{
    const struct iovec out = {(void *)(uintptr_t)data, n};
    if (n > 0 && !h->broken && !upstream_conn_send(h->conn, &out, 1))
        h->broken = true;
    return !h->broken && h->conn->unsent == NULL;
}

/* Drains the session into the socket. */
static void client_send(struct h2_client *h)
{
    struct upstream_conn *u = h->conn;
    char *to = u->pw->relay_buffer; /* what came in it has been read */
    size_t used = 0;
    if (h->broken || (u->unsent != NULL && !u->writable))
        return;
    if (u->unsent != NULL && !upstream_conn_send_rest(u))
        h->broken = true;
    if (h->broken || u->unsent != NULL)
        return;
    for (;;) {
        const uint8_t *data;
        const ssize_t n = nghttp2_session_mem_send(h->session, &data);
        h->broken |= n < 0;
        if (n <= 0)
            break;
        if (used + (size_t)n > READ_BUFFER_BYTES) {
            if (!client_write(h, to, used)) { /* this piece cannot be given back */
                client_write(h, data, (size_t)n);
                return;
            }
            used = 0;
        }
        memcpy(to + used, data, (size_t)n);
        used += (size_t)n;
    }
    client_write(h, to, used);
}

/* ---- one turn ---- */

static bool is_over(struct h2_client *h)
{
    if (h->broken)
        return true;
    if (!nghttp2_session_want_read(h->session) && !nghttp2_session_want_write(h->session))
        return h->conn->unsent == NULL;
    return h->call_count == 0 && (h->leaving || h->conn->pw->draining);
}

static void say_goodbye(struct h2_client *h)
{
    nghttp2_session_terminate_session(h->session, NGHTTP2_NO_ERROR);
    client_send(h);
    h->conn->reading = UPSTREAM_READ_DONE; /* nothing is cut */
}

/* Exchanges that have yet to take what came may do so; then it closes. */
static void client_settle(struct h2_client *h)
{
    struct upstream_conn *u = h->conn;
    const mono_ms_t now_ms = worker_now_ms(u->pw->worker);
    if (is_over(h)) {
        if (!h->broken && h->call_count == 0)
            say_goodbye(h);
        const enum fetch_error e = h->broken ? upstream_tls_judge(u) : FETCH_RESET;
        h->broken = true;
        h->running = true;
        fail_calls(h, e);
        h->running = false;
        if (h2_client_pool(h) == NULL)
            upstream_conn_close(&u);
        return;
    }
    h->idle_since_ms = h->call_count > 0 ? 0 : h->idle_since_ms > 0 ? h->idle_since_ms : now_ms;
    if (u->look_due)
        upstream_conn_look_later(u);
    else if (h->call_count > 0)
        deadline_clear(u->pw->worker, &u->deadline);
    else
        deadline_set(u->pw->worker, &u->deadline, h->idle_since_ms + h->idle_timeout_ms);
}

void h2_client_run(struct h2_client *h)
{
    struct upstream_conn *u = h->conn;
    if (h->running || u->state == UPSTREAM_CLOSED)
        return;
    if (!h2_client_is_ready(h)) {
        if (h->call_count == 0) /* nobody waits for it any more */
            upstream_conn_close(&u);
        return;
    }
    bool more = true;
    h->running = true;
    for (unsigned rounds = 0; more && rounds < ROUNDS_PER_TURN; rounds++) {
        const bool came = client_read(h);
        client_work(h);
        client_send(h);
        more = !h->broken && (came || !list_empty(&h->wake));
    }
    h->running = false;
    if (u->state == UPSTREAM_CLOSED)
        return;
    if (more)
        worker_at_turn_end(u->pw->worker, &u->again);
    client_settle(h);
}
