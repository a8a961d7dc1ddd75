/* h2_conn.c: see h2_conn.h: the session of a connection, fed, drained and ended.
 *
 * One run reads, lets the exchanges that have something to do go on, and writes, until nothing is left to do
 * or the socket is full; then it waits for the socket, and reads nothing meanwhile. Whatever adds to a
 * session in between (an instance's bytes, a deadline) has it run at the end of the turn, so frames of one
 * turn leave together. Rejected: writing at once; many small answers of one turn are then as many system
 * calls. */
#include "proxy/h2_conn.h"

#include <stdlib.h>

#include "cache/cache.h"
#include "core/metrics.h"
#include "core/panic.h"
#include "core/rcu.h"
#include "proxy/client.h"
#include "proxy/client_tls.h"
#include "proxy/h2_guard.h"
#include "proxy/h2_reply.h"
#include "proxy/h2_stream.h"
#include "proxy/listener.h"
#include "proxy/phase.h"

#define ROUNDS_PER_TURN 16
#define WATCH_MS        2500
#define LOOK_MS         1000 /* of silence, after which it is looked at */
#define DRAIN_NOTICE_MS 1000 /* between saying that the end comes and the end of new requests */

void h2_tally_unref(struct h2_tally **t)
{
    if (--(*t)->refs == 0)
        free(*t);
    *t = NULL;
}

/* ---- life ---- */

/* A stop has something to say to each connection, in one turn: those that are idle sleep again before the
 * next one wakes, or all would have their memory for TLS back at once. */
static void doze(struct client_conn *c)
{
    if (c->state == CLIENT_H2 && c->tls != NULL && c->h2->stream_count == 0 && c->left == NULL)
        client_tls_doze(c);
}

static void h2_conn_on_turn_end(struct turn_hook *hook)
{
    struct client_conn *c = CONTAINER_OF(hook, struct h2_conn, turn)->client;
    h2_server_run(c);
    if (UNLIKELY(c->pw->draining))
        doze(c);
}

static bool submit_settings(struct h2_conn *h)
{
    const struct config_listen *l = h->client->listener->config;
    const nghttp2_settings_entry entries[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, (uint32_t)l->h2_max_streams},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, H2_WINDOW_UNREAD},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)l->max_header_bytes},
        {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
        {NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1}, /* the last */
    };
    return nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, entries,
                                   ARRAY_LEN(entries) - !h->tunnels) == 0;
}

static struct h2_conn *h2_conn_new(struct client_conn *c)
{
    struct h2_scratch *scratch = h2_scratch_of(c->pw);
    struct h2_conn *h = scratch != NULL ? calloc(1, sizeof *h) : NULL;
    if (h == NULL)
        return NULL;
    h->client = c;
    list_init(&h->streams);
    list_init(&h->wake);
    list_init(&h->texts);
    list_init(&h->turn.node);
    h->turn.on_turn_end = h2_conn_on_turn_end;
    h->tunnels = c->pw->view->shared->allows_websocket;
    h->begun_ms = h->idle_since_ms = worker_now_ms(c->pw->worker);
    h2_guard_begin(h);
    h->tally = calloc(1, sizeof *h->tally);
    if (h->tally != NULL)
        h->tally->refs = 1;
    if (h->tally == NULL || h2_session_make(h, scratch->callbacks, scratch->option, &scratch->mem) != 0 ||
        !submit_settings(h)) {
        h2_conn_free(h);
        return NULL;
    }
    return h;
}

void h2_conn_free(struct h2_conn *h)
{
    h2_session_free(h);
    if (h->tally != NULL)
        h2_tally_unref(&h->tally);
    h2_scratch_drop(&h->cut_head);
    size_pool_free(h->text, &h->client->pw->h2->mem.pool);
    free(h);
}

void h2_server_begin(struct client_conn *c)
{
    c->h2 = h2_conn_new(c);
    if (c->h2 == NULL) {
        client_conn_close(c, CLOSE_NO_MEMORY);
        return;
    }
    client_conn_set_state(c, CLIENT_H2);
    proxy_count(c->pw, METRIC_H2_CONNECTIONS, 1);
    h2_server_run(c);
}

static void release_spent(struct h2_scratch *s)
{
    for (unsigned i = 0; i < s->spent_count; i++)
        cache_object_unref(&s->spent[i]);
    s->spent_count = 0;
}

static void end_streams(struct h2_conn *h)
{
    while (!list_empty(&h->streams))
        h2_stream_end(CONTAINER_OF(h->streams.next, struct h2_stream, node));
}

void h2_server_closed(struct client_conn *c)
{
    struct h2_conn *h = c->h2;
    client_out_discard(c);
    end_streams(h);
    ASSERT(h->copied_over == 0 && h->uploads == 0 && list_empty(&h->texts));
    release_spent(c->pw->h2);
    list_remove(&h->turn.node);
}

void h2_conn_schedule(struct h2_conn *h)
{
    if (!h->client->running && h->client->state == CLIENT_H2)
        worker_at_turn_end(h->client->pw->worker, &h->turn);
}

void h2_conn_fail(struct h2_conn *h, uint32_t code, enum close_reason why)
{
    struct client_conn *c = h->client;
    if (c->close_reason == CLOSE_OPEN)
        c->close_reason = (uint8_t)why;
    h->failed = true;
    h2_session_wake(h);
    nghttp2_session_terminate_session(h->session, code);
    h2_conn_schedule(h);
}

/* ---- output ---- */

bool h2_conn_flush(struct h2_conn *h)
{
    const bool out = client_out_flush(h->client);
    release_spent(h->client->pw->h2);
    return out;
}

void h2_conn_spend(struct h2_conn *h, struct cache_object *o)
{
    struct h2_scratch *s = h->client->pw->h2;
    if (h->client->pw->out.conn != h->client) { /* nothing of it is in the batch */
        cache_object_unref(&o);
        return;
    }
    if (s->spent_count == OUT_MAX_IOV)
        h2_conn_flush(h);
    s->spent[s->spent_count++] = o;
}

/* Drains the session into the socket. false: the socket is full, or it broke. */
static bool h2_send(struct h2_conn *h)
{
    struct client_conn *c = h->client;
    for (;;) {
        const uint8_t *data;
        /* The largest frame that is not DATA must fit: it cannot be given back. */
        if (!client_out_ready(c, 1, 16 * KB + H2_FRAME_HEAD))
            break;
        ssize_t n = nghttp2_session_mem_send(h->session, &data);
        c->broken |= n < 0;
        if (n <= 0)
            break;
        h2_reply_send(h, data, (size_t)n);
    }
    return h2_conn_flush(h);
}

/* ---- input ---- */

static bool is_flood(ssize_t error)
{
    return error == NGHTTP2_ERR_FLOODED || error == NGHTTP2_ERR_TOO_MANY_CONTINUATIONS;
}

/* false: nothing came. */
static bool h2_read(struct h2_conn *h)
{
    struct client_conn *c = h->client;
    if (h->failed || (c->in_len == 0 && client_conn_read(c) != CLIENT_READ_DATA))
        return false;
    const slice_t in = slice_make(c->in_ptr, c->in_len);
    const unsigned noise = h2_walk(&h->walk, in);
    char *rest = c->rest;
    c->rest = NULL;
    c->in_len = 0;
    h2_scratch_restore(c->pw->h2, &h->cut_head);
    const ssize_t n = nghttp2_session_mem_recv(h->session, (const uint8_t *)in.ptr, in.len);
    free(rest);
    if (n >= 0) {
        h2_guard_came(h, noise);
    } else { /* what is no frame at all: nghttp2 has said what it could */
        h->failed = true;
        if (c->close_reason == CLOSE_OPEN)
            c->close_reason = is_flood(n) ? CLOSE_H2_FLOOD : CLOSE_H2_ERROR;
        nghttp2_session_terminate_session(h->session,
                                          is_flood(n) ? NGHTTP2_ENHANCE_YOUR_CALM : NGHTTP2_PROTOCOL_ERROR);
    }
    if (h->in_head && !h2_scratch_put_aside(c->pw->h2, &h->cut_head))
        c->broken = true;
    return true;
}

/* What the exchanges of some streams waited for has happened. */
static void h2_work(struct h2_conn *h)
{
    struct list work;
    list_init(&work);
    list_splice(&work, &h->wake);
    while (!list_empty(&work)) {
        struct h2_stream *s = CONTAINER_OF(work.next, struct h2_stream, wake_node);
        const uint8_t wake = s->wake;
        list_remove(&s->wake_node);
        s->wake = 0;
        if (wake & H2_WAKE_BREAK)
            h2_stream_reset(s, NGHTTP2_INTERNAL_ERROR, CLOSE_NO_MEMORY);
        if (s->exchange != NULL && (wake & H2_WAKE_BEGIN))
            phase_run(s->exchange);
        else if (s->exchange != NULL && (wake & H2_WAKE_READ))
            exchange_on_client_readable(s->exchange);
        if (s->exchange != NULL && (wake & H2_WAKE_WRITE))
            exchange_on_client_writable(s->exchange);
    }
}

/* ---- one turn ---- */

static void h2_keep(struct h2_conn *h)
{
    LIST_FOREACH (n, &h->streams) {
        h2_stream_keep(CONTAINER_OF(n, struct h2_stream, node));
    }
}

static void earlier(mono_ms_t *at_ms, bool counts, mono_ms_t other_ms)
{
    if (counts && other_ms < *at_ms)
        *at_ms = other_ms;
}

static dur_ms_t idle_timeout_ms(const struct client_conn *c)
{
    const struct config_listen *l = c->listener->config;
    return c->requests == 0 ? l->header_timeout_ms : l->idle_timeout_ms;
}

/* When it is time to look at it again. */
static void h2_arm(struct client_conn *c)
{
    struct h2_conn *h = c->h2;
    const struct config_listen *l = c->listener->config;
    const mono_ms_t now_ms = worker_now_ms(c->pw->worker);
    mono_ms_t at_ms = now_ms + l->idle_timeout_ms;
    if (h->watch_ms <= now_ms)
        h->watch_ms = now_ms + MIN(WATCH_MS, MIN(l->write_timeout_ms, l->body_timeout_ms));
    earlier(&at_ms, h->stream_count > 0, h->watch_ms);
    earlier(&at_ms, h->stream_count == 0, h->idle_since_ms + idle_timeout_ms(c));
    earlier(&at_ms, h->in_head, h->head_since_ms + l->header_timeout_ms);
    earlier(&at_ms, !h->acknowledged, h->begun_ms + l->header_timeout_ms);
    earlier(&at_ms, h->look_due, now_ms + LOOK_MS);
    earlier(&at_ms, h->goaway_noticed && !h->goaway_sent, h->goaway_ms);
    deadline_set(c->pw->worker, &c->deadline, MAX(at_ms, now_ms + 1));
}

static void h2_settle(struct client_conn *c)
{
    struct h2_conn *h = c->h2;
    if (c->state != CLIENT_H2)
        return;
    if (c->broken) {
        client_conn_close(c, h->stream_count > 0 ? CLOSE_CLIENT_ABORTED : CLOSE_CLIENT_RESET);
        return;
    }
    if (c->left == NULL && !nghttp2_session_want_read(h->session) &&
        !nghttp2_session_want_write(h->session)) {
        end_streams(h);
        client_conn_close_gracefully(c, c->close_reason != CLOSE_OPEN ? (enum close_reason)c->close_reason
                                                                      : CLOSE_CLIENT_CLOSED);
        return;
    }
    if (c->eof && c->left == NULL) {
        client_conn_close(c, h->stream_count > 0 ? CLOSE_CLIENT_ABORTED : CLOSE_CLIENT_CLOSED);
        return;
    }
    const mono_ms_t now_ms = worker_now_ms(c->pw->worker);
    if (h->stream_count > 0)
        h->idle_since_ms = 0;
    else if (h->idle_since_ms == 0)
        h->idle_since_ms = now_ms;
    client_conn_save_input(c);
    if (c->left == NULL) /* else write_timeout has begun: what the client sends does not put it off */
        h2_arm(c);
}

static void count_requests(struct client_conn *c)
{
    const unsigned most = (unsigned)c->listener->config->max_requests_per_connection;
    if ((most == 0 || c->requests < most) && !c->pw->draining)
        return;
    if (c->close_reason == CLOSE_OPEN)
        c->close_reason = c->pw->draining ? CLOSE_SHUTDOWN : CLOSE_MAX_REQUESTS;
    h2_server_drain(c);
}

void h2_server_run(struct client_conn *c)
{
    CHECK_MAGIC(c, CLIENT_CONN_MAGIC);
    struct h2_conn *h = c->h2;
    if (c->running || c->state != CLIENT_H2)
        return;
    c->running = true;
    h2_session_wake(h);
    rcu_enter();
    unsigned rounds = 0;
    bool more = c->left == NULL || (c->writable && client_out_resume(c));
    while (more && rounds++ < ROUNDS_PER_TURN) {
        const bool came = h2_read(h);
        h->look_due |= came;
        if (!h->failed)
            h2_work(h);
        count_requests(c);
        more = h2_send(h) && !h->failed && (came || !list_empty(&h->wake));
    }
    if (more)
        worker_at_turn_end(c->pw->worker, &c->again);
    h2_keep(h);
    rcu_leave();
    c->running = false;
    h2_settle(c);
}

/* ---- the end ---- */

/* A first GOAWAY says that the end comes, a second one, when what was on its way has come, which requests
 * were still taken (RFC 9113 section 6.8). */
void h2_server_drain(struct client_conn *c)
{
    struct h2_conn *h = c->h2;
    const mono_ms_t now_ms = worker_now_ms(c->pw->worker);
    if (h->goaway_sent || h->failed)
        return;
    h2_session_wake(h);
    if (!h->goaway_noticed) {
        h->goaway_noticed = true;
        h->goaway_ms = now_ms + DRAIN_NOTICE_MS;
        nghttp2_submit_shutdown_notice(h->session);
    } else if (now_ms >= h->goaway_ms) {
        h->goaway_sent = true;
        nghttp2_submit_goaway(h->session, NGHTTP2_FLAG_NONE,
                              nghttp2_session_get_last_proc_stream_id(h->session), NGHTTP2_NO_ERROR, NULL, 0);
    }
    h2_conn_schedule(h);
}

void h2_server_on_deadline(struct client_conn *c)
{
    struct h2_conn *h = c->h2;
    const struct config_listen *l = c->listener->config;
    const mono_ms_t now_ms = worker_now_ms(c->pw->worker);
    if (h->failed) { /* it does not take what was said to it */
        client_conn_close(c, (enum close_reason)c->close_reason);
        return;
    }
    if (h->look_due && net_is_gone(c->fd)) {
        client_conn_close(c, h->stream_count > 0 ? CLOSE_CLIENT_ABORTED : CLOSE_CLIENT_RESET);
        return;
    }
    h->look_due = false;
    if (h->in_head && now_ms - h->head_since_ms >= l->header_timeout_ms)
        h2_conn_fail(h, NGHTTP2_ENHANCE_YOUR_CALM, CLOSE_HEADER_TIMEOUT);
    else if (!h->acknowledged && now_ms - h->begun_ms >= l->header_timeout_ms)
        h2_conn_fail(h, NGHTTP2_SETTINGS_TIMEOUT, CLOSE_HEADER_TIMEOUT);
    else if (h->stream_count == 0 && now_ms - h->idle_since_ms >= idle_timeout_ms(c))
        h2_conn_fail(h, NGHTTP2_NO_ERROR, CLOSE_IDLE_TIMEOUT);
    if (h->goaway_noticed)
        h2_server_drain(c);
    h->watch_ms = now_ms + WATCH_MS;
    LIST_FOREACH_SAFE (n, next, &h->streams) {
        const mono_ms_t due_ms = h2_stream_watch(CONTAINER_OF(n, struct h2_stream, node));
        h->watch_ms = MIN(h->watch_ms, due_ms);
    }
    h2_server_run(c);
}
