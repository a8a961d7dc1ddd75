/* tunnel.c: see tunnel.h.
 *
 * Bytes pass through the worker's relay buffer, at most TUNNEL_STEP at a time; what the other side's socket
 * does not take is kept (`unsent`, `left`), and until it is out, nothing more is read. So an idle tunnel owns
 * no buffer. An end is passed on when all before it is out, and only then: each direction ends by itself
 * (RFC 6455 section 7.1.1, and protocols that go on half-closed). A broken connection is passed on as broken.
 *
 * Sockets are read until they are empty, not until a read came up short: a reset right behind the last bytes
 * makes no event of its own, and a tunnel may have no other event for an hour.
 *
 * Rejected: splice(2), which needs two pipes per tunnel and gains nothing for messages of this size; an
 * object of its own that takes both connections over and outlives the exchange: a second way for requests to
 * end. */
#include "proxy/tunnel.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "core/metrics.h"
#include "core/net.h"
#include "core/panic.h"
#include "core/websocket_key.h"
#include "proxy/affinity.h"
#include "proxy/client.h"
#include "proxy/client_tls.h"
#include "proxy/fetch_timeout.h"
#include "proxy/forward.h"
#include "proxy/phase.h"
#include "proxy/proxy_worker.h"
#include "proxy/tunnel_client.h"
#include "proxy/upgrade.h"
#include "proxy/upstream_conn.h"

#define STEPS_PER_TURN 16 /* then other connections get their turn */

/* One direction: OPEN -> ENDED -> SHUT, or OPEN -> SHUT when its reader is gone. */
enum tunnel_way {
    WAY_OPEN,
    WAY_ENDED, /* its source sends no more; what was read may still be on its way */
    WAY_SHUT   /* its reader knows */
};

/* In the exchange's arena. */
struct tunnel {
    slice_t offer; /* protocols the instance was offered */
    char *key;     /* of a WebSocket that a client of HTTP/2 asked for: Sec-WebSocket-Key, ours; else NULL */
    bool open;
    bool instance_broke;            /* sending to it failed, before its end was read */
    uint8_t to_instance, to_client; /* enum tunnel_way, way_set */
    uint8_t first_end;              /* enum close_reason: which side ended first */
    uint8_t over;                   /* enum close_reason, CLOSE_OPEN until decided */
    mono_ms_t moved_ms;             /* the last byte passed */
    mono_ms_t taken_ms;             /* the client took the last byte, or nothing waits for it */
    dur_ms_t half_open_ms;          /* how long one side may be silent when the other has ended */
};

static void way_set(uint8_t *way, enum tunnel_way to)
{
    ASSERT(to > *way);
    *way = (uint8_t)to;
}

/* ---- the request, and the answer to it ---- */

/* No such field comes by HTTP/2 but for what core/h2_head.h makes of CONNECT. */
bool tunnel_is_connect(const struct exchange *x)
{
    return x->http2 && http_head_has(&x->req, HTTP_FIELD_UPGRADE);
}

bool tunnel_is_refused(const struct exchange *x)
{
    return tunnel_is_connect(x) && (!x->route->config->websocket || x->route->http2_pool);
}

bool tunnel_prepare(struct exchange *x)
{
    char list[UPGRADE_OFFER_MAX];
    size_t len = upgrade_offer(&x->req, list);
    if (len == 0 || x->req.method != HTTP_GET || x->body_state != BODY_ABSENT || x->client == NULL ||
        !x->route->config->websocket)
        return true;
    ASSERT(x->flight == NULL); /* cache_request_usable lets no such request in */
    struct tunnel *t = arena_calloc(&x->arena, sizeof *t);
    slice_t offer = arena_copy(&x->arena, slice_make(list, len));
    if (t == NULL || offer.ptr == NULL)
        return false;
    t->offer = offer;
    if (tunnel_is_connect(x)) {
        t->key = arena_alloc(&x->arena, WEBSOCKET_KEY_BYTES);
        if (t->key == NULL)
            return false;
        websocket_key_make(t->key);
    }
    x->tunnel = t;
    x->fresh_only = true; /* so that it never meets the end of an idle connection: it is not sent twice */
    return true;
}

void tunnel_put_fields(struct text *t, const struct exchange *x)
{
    TEXT_LIT(t, "Connection: Upgrade\r\nUpgrade: ");
    text_put(t, x->tunnel->offer);
    TEXT_LIT(t, "\r\n");
    if (x->tunnel->key == NULL)
        return;
    TEXT_LIT(t, "Sec-WebSocket-Key: ");
    text_put(t, slice_make(x->tunnel->key, WEBSOCKET_KEY_BYTES));
    TEXT_LIT(t, "\r\n");
}

static bool key_is_answered(const char *key, const struct http_head *head)
{
    char accept[WEBSOCKET_ACCEPT_BYTES];
    const struct http_field *f = http_head_find(head, SLICE_LIT("sec-websocket-accept"));
    websocket_key_answer(key, accept);
    return f != NULL && slice_eq(f->value, slice_make(accept, sizeof accept));
}

bool tunnel_is_agreed(const struct exchange *x, const struct http_head *head)
{
    const struct tunnel *t = x->tunnel;
    return t != NULL && x->client != NULL && upgrade_accepted(head, t->offer).len > 0 &&
           (t->key == NULL || key_is_answered(t->key, head));
}

bool tunnel_is_declined(struct exchange *x, const struct http_head *head)
{
    if (x->tunnel->key == NULL || head->status / 100 != 2)
        return false;
    phase_fetch_release(x, FETCH_NONE);
    phase_answer_error(x, 502, "the instance answered, and did not go over to WebSocket");
    phase_run(x);
    return true;
}

/* RFC 8441 section 5: to a client of HTTP/2 the 101 is a 200, and no key was answered. */
static struct http_head as_connected(struct exchange *x, const struct http_head *head)
{
    struct http_head to = *head;
    to.status = 200;
    to.reason = SLICE_EMPTY;
    to.field_count = 0;
    for (unsigned i = 0; i < head->field_count; i++) {
        if (!slice_ieq(head->fields[i].name, SLICE_LIT("sec-websocket-accept")))
            to.fields[to.field_count++] = head->fields[i];
    }
    x->req.present &= ~(HTTP_BIT(IF_MATCH) | HTTP_BIT(IF_NONE_MATCH) | HTTP_BIT(IF_MODIFIED_SINCE) |
                        HTTP_BIT(IF_UNMODIFIED_SINCE) | HTTP_BIT(RANGE)); /* none is about a tunnel */
    return to;
}

void exchange_on_switch(struct exchange *x, const struct http_head *head)
{
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    ASSERT(x->phase == PHASE_FETCH);
    const bool connect = x->tunnel->key != NULL;
    slice_t protocol = upgrade_accepted(head, x->tunnel->offer);
    const struct http_head to = connect ? as_connected(x, head) : *head;
    slice_t fields = forward_response_head(x, &to, false);
    x->first_byte_us = x->pw->worker->now_us;
    x->status = to.status;
    x->source = SOURCE_TUNNEL;
    x->keep_alive = false;
    x->response_head = fields;
    if (fields.ptr != NULL && !connect)
        x->response_head = arena_printf(&x->arena, SLICE_FMT "Upgrade: " SLICE_FMT "\r\n", SLICE_ARG(fields),
                                        SLICE_ARG(protocol));
    if (UNLIKELY(x->affinity != NULL))
        affinity_pin(x, &to);
    phase_set(x, PHASE_DELIVER);
    phase_run(x);
}

/* ---- what stays of the exchange ---- */

static void keep_field(struct exchange *x, struct http_head *kept, enum http_field_id id)
{
    const struct http_field *f = http_head_get(&x->req, id);
    if (f == NULL)
        return;
    kept->fields[kept->field_count++] = (struct http_field){http_field_name(id), f->value, (uint8_t)id};
    kept->present |= (uint64_t)1 << id;
}

/* Heads take several times as much as all else that an open tunnel owns: only what the log will need stays.
 * Nothing, if it does not fit here, or others keep something in the arena. */
static void tunnel_shed(struct exchange *x)
{
    char copy[1024];
    struct text text = text_make(copy, sizeof copy);
    struct http_field fields[2];
    struct http_head kept = {
        .fields = fields, .version_minor = x->req.version_minor, .method = x->req.method};
    keep_field(x, &kept, HTTP_FIELD_REFERER);
    keep_field(x, &kept, HTTP_FIELD_USER_AGENT);
    slice_t *const slices[] = {&fields[0].value, &fields[1].value, &x->req.method_text, &x->req.target,
                               &x->host,         &x->client_ip,    &x->request_id};
    for (size_t i = kept.field_count; i < 2; i++)
        fields[i].value = SLICE_EMPTY;
    for (size_t i = 0; i < ARRAY_LEN(slices); i++)
        text_put(&text, *slices[i]);
    if (text.overflow || x->limit != NULL || x->remote != NULL || x->no_vary != NULL)
        return;
    const struct tunnel tunnel = *x->tunnel;
    if (x->timeout != NULL)
        fetch_timeout_end(x);
    x->affinity = NULL;
    arena_reset(&x->arena);
    char *at = arena_alloc(&x->arena, sizeof copy);
    kept.fields = arena_alloc(&x->arena, sizeof fields);
    x->tunnel = arena_alloc(&x->arena, sizeof tunnel);
    ASSERT(at != NULL && kept.fields != NULL && x->tunnel != NULL); /* in the exchange's own block */
    memcpy(at, copy, text_slice(&text).len);
    for (size_t i = 0; i < ARRAY_LEN(slices); at += slices[i]->len, i++)
        slices[i]->ptr = at;
    kept.method_text = x->req.method_text;
    kept.target = x->req.target;
    memcpy(kept.fields, fields, sizeof fields);
    *x->tunnel = tunnel;
    x->tunnel->offer = SLICE_EMPTY;
    x->tunnel->key = NULL;
    x->req = kept;
    x->identity_fields = 0;
    x->target = (struct h1_target){.path = SLICE_EMPTY};
    x->upstream_head = x->response_head = x->key.text = SLICE_EMPTY;
    if (x->peer != NULL) /* the connection has it, too, and stays until the log is written */
        x->peer = x->client->tls->conn.peer;
}

/* ---- beginning and end ---- */

static struct tunnel *tunnel_open(struct exchange *x)
{
    tunnel_shed(x);
    struct tunnel *t = x->tunnel;
    t->open = true;
    t->moved_ms = t->taken_ms = worker_now_ms(x->pw->worker);
    t->half_open_ms = x->listen->idle_timeout_ms;
    tunnel_client_begin(x);
    net_keep_alive(x->upstream->fd);
    proxy_count(x->pw, METRIC_TUNNELS, 1);
    proxy_count(x->pw, METRIC_TUNNELS_OPEN, 1);
    proxy_count(x->pw, METRIC_EXCHANGES_OPEN, -1);
    proxy_count(x->pw, METRIC_FETCHES_OPEN, -(int)x->fetch_counted);
    x->fetch_counted = false;
    return t;
}

/* From here on it counts as a request again, like any that is about to end. */
static void tunnel_uncount(struct exchange *x)
{
    x->response_end_us = x->pw->worker->now_us;
    proxy_count(x->pw, METRIC_TUNNELS_OPEN, -1);
    proxy_count(x->pw, METRIC_EXCHANGES_OPEN, 1);
}

bool tunnel_outlives_client(struct exchange *x)
{
    const struct tunnel *t = x->tunnel;
    if (t->to_client == WAY_SHUT && t->to_instance == WAY_ENDED) {
        phase_run(x);
        return true;
    }
    net_reset_on_close(x->upstream->fd);
    tunnel_uncount(x);
    return false;
}

/* The end says nothing about the instance's health, which answered well when it was asked. */
static enum phase_result tunnel_end(struct exchange *x)
{
    const struct client_conn *c = x->client;
    x->close_reason = x->tunnel->over;
    if (c != NULL && x->stream == NULL && c->broken && !c->eof)
        net_reset_on_close(x->upstream->fd);
    if (c != NULL)
        tunnel_client_over(x, x->tunnel->over == CLOSE_UPSTREAM_CUT);
    deadline_lapse(&x->wait_deadline);
    tunnel_uncount(x);
    phase_fetch_release(x, FETCH_NONE);
    phase_set(x, PHASE_LOG);
    return PHASE_MORE;
}

static void client_broke(struct exchange *x)
{
    x->client->broken = true;
    x->tunnel->over = x->client->eof ? x->tunnel->first_end : CLOSE_CLIENT_RESET;
}

static void instance_broke(struct exchange *x, enum fetch_error e)
{
    proxy_count(x->pw, METRIC_UPSTREAM_ERRORS, 1);
    x->fetch_error = (uint8_t)e;
    x->tunnel->over = CLOSE_UPSTREAM_CUT;
}

/* ---- moving bytes ---- */

static void tunnel_moved(struct exchange *x)
{
    x->tunnel->moved_ms = worker_now_ms(x->pw->worker);
}

/* Other connections come first. false: it may go on. */
static bool turn_is_over(struct exchange *x, unsigned *steps)
{
    if ((*steps)-- > 0)
        return false;
    *steps = 0;
    tunnel_client_again(x);
    return true;
}

static void way_ends(struct exchange *x, uint8_t *way, enum close_reason whose)
{
    way_set(way, WAY_ENDED);
    tunnel_moved(x);
    if (x->tunnel->first_end == CLOSE_OPEN)
        x->tunnel->first_end = (uint8_t)whose;
}

/* It takes no more; what it has sent before may still be there to be read. */
static void instance_refuses(struct exchange *x)
{
    way_set(&x->tunnel->to_instance, WAY_SHUT);
    x->tunnel->instance_broke = true;
    x->upstream->readable = true;
}

static void send_to_instance(struct exchange *x, const char *data, size_t n)
{
    struct iovec piece = {(void *)(uintptr_t)data, n};
    x->body_read += n;
    tunnel_moved(x);
    if (!upstream_conn_send(x->upstream, &piece, 1))
        instance_refuses(x);
}

static bool instance_takes(struct exchange *x)
{
    struct upstream_conn *u = x->upstream;
    if (u->unsent != NULL && u->writable && x->tunnel->to_instance != WAY_SHUT) {
        tunnel_moved(x);
        if (!upstream_conn_send_rest(u))
            instance_refuses(x);
    }
    return !upstream_conn_is_blocked(u);
}

/* Bytes of the client, or its end. false: there is nothing now, or it broke. */
static bool move_to_instance(struct exchange *x)
{
    slice_t piece;
    switch (tunnel_client_read(x, &piece)) {
    case TUNNEL_READ_BYTES:
        send_to_instance(x, piece.ptr, piece.len);
        return true;
    case TUNNEL_READ_END:
        way_ends(x, &x->tunnel->to_instance, CLOSE_TUNNEL_CLIENT);
        return true;
    case TUNNEL_READ_BROKEN:
        client_broke(x);
        break;
    case TUNNEL_READ_NOTHING:
        break;
    }
    return false;
}

static void pump_to_instance(struct exchange *x, unsigned *steps)
{
    struct tunnel *t = x->tunnel;
    while (instance_takes(x) && t->to_instance == WAY_OPEN) {
        if (turn_is_over(x, steps) || !move_to_instance(x))
            return;
    }
    if (t->to_instance == WAY_ENDED && x->upstream->unsent == NULL) {
        if (x->upstream->tls != NULL)
            tls_conn_close(x->upstream->tls);
        shutdown(x->upstream->fd, SHUT_WR);
        way_set(&t->to_instance, WAY_SHUT);
    }
    if (x->client != NULL && !tunnel_client_rest(x, t->to_instance == WAY_OPEN))
        client_broke(x);
}

void tunnel_take_rest(struct exchange *x)
{
    struct tunnel *t = x->tunnel;
    while (t->to_instance == WAY_OPEN && move_to_instance(x))
        continue;
}

static bool client_takes(struct exchange *x)
{
    const bool moved = tunnel_client_resume(x), waits = tunnel_client_waits(x);
    if (!waits || moved)
        x->tunnel->taken_ms = worker_now_ms(x->pw->worker);
    if (moved)
        tunnel_moved(x);
    return !waits && !client_is_broken(x);
}

static void send_to_client(struct exchange *x, const char *data, size_t n)
{
    x->response_bytes += n;
    tunnel_moved(x);
    tunnel_client_send(x, data, n);
}

/* 0 and less as recv(2). */
static ssize_t instance_take(struct upstream_conn *u, char *buf, size_t room)
{
    ssize_t n;
    do
        n = u->tls == NULL ? recv(u->fd, buf, room, 0) : tls_conn_read(u->tls, buf, room);
    while (n < 0 && errno == EINTR);
    if (n > 0)
        proxy_count(u->pw, METRIC_UPSTREAM_BYTES_IN, n);
    else
        u->readable = n < 0 && errno == EAGAIN && u->tls != NULL && !u->tls->drained;
    return n;
}

/* false: it has nothing more now, or will not have. */
static bool move_to_client(struct exchange *x)
{
    struct upstream_conn *u = x->upstream;
    if (u->rest != NULL) { /* read ahead, with the answer */
        send_to_client(x, u->rest, u->rest_len);
        free(u->rest);
        u->rest = NULL;
        u->rest_len = 0;
        return true;
    }
    if (!u->readable)
        return false;
    ssize_t n = instance_take(u, x->pw->relay_buffer, tunnel_client_room(x));
    if (n > 0)
        send_to_client(x, x->pw->relay_buffer, (size_t)n);
    else if (n == 0 && !x->tunnel->instance_broke)
        way_ends(x, &x->tunnel->to_client, CLOSE_TUNNEL_INSTANCE);
    else if (n == 0 || errno != EAGAIN)
        instance_broke(x, FETCH_CUT_SHORT);
    return n > 0;
}

static void pump_to_client(struct exchange *x, unsigned *steps)
{
    struct tunnel *t = x->tunnel;
    while (client_takes(x) && t->to_client == WAY_OPEN) {
        if (turn_is_over(x, steps) || !move_to_client(x))
            break;
    }
    if (t->to_client != WAY_OPEN && x->upstream->readable) { /* it has ended: is it gone altogether? */
        x->upstream->readable = false;
        if (t->to_instance != WAY_SHUT && net_broke(x->upstream->fd))
            way_set(&t->to_instance, WAY_SHUT);
    }
    if (t->to_client == WAY_ENDED && !tunnel_client_waits(x) && !client_is_broken(x)) {
        tunnel_client_end(x);
        way_set(&t->to_client, WAY_SHUT);
    }
    if (x->stream == NULL && x->client->broken)
        client_broke(x);
}

/* ---- deadlines ---- */

/* When one side has ended, the other has no more than an idle connection is given. */
static mono_ms_t silence_ends_ms(const struct exchange *x)
{
    const struct tunnel *t = x->tunnel;
    dur_ms_t ms = x->route->config->tunnel_timeout_ms;
    if (t->first_end != CLOSE_OPEN)
        ms = MIN(ms, t->half_open_ms);
    return t->moved_ms + ms;
}

/* Of a stream, h2_stream_watch looks after this. */
static mono_ms_t client_stall_ends_ms(const struct exchange *x)
{
    if (x->client == NULL || x->stream != NULL || x->client->left == NULL)
        return INT64_MAX;
    return x->tunnel->taken_ms + x->listen->write_timeout_ms;
}

static void tunnel_arm(struct exchange *x)
{
    deadline_set(x->pw->worker, &x->wait_deadline, MIN(silence_ends_ms(x), client_stall_ends_ms(x)));
}

void tunnel_on_deadline(struct exchange *x)
{
    mono_ms_t now_ms = worker_now_ms(x->pw->worker);
    if (now_ms >= client_stall_ends_ms(x)) {
        x->client->broken = true;
        tunnel_close(x, CLOSE_WRITE_TIMEOUT);
    } else if (now_ms >= silence_ends_ms(x)) {
        tunnel_close(x, CLOSE_TUNNEL_TIMEOUT);
    } else {
        tunnel_arm(x);
    }
}

void exchange_on_tunnel_deadline(struct exchange *x)
{
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    if (x->phase != PHASE_TUNNEL || x->upstream->unsent == NULL)
        return;
    instance_broke(x, FETCH_RESPONSE_TIMEOUT);
    phase_run(x);
}

/* ---- the phase ---- */

void tunnel_close(struct exchange *x, enum close_reason why)
{
    ASSERT(x->phase == PHASE_TUNNEL);
    x->tunnel->over = (uint8_t)why;
    phase_run(x);
}

void exchange_on_tunnel(struct exchange *x)
{
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    phase_run(x);
}

void tunnel_on_client_writable(struct exchange *x)
{
    tunnel_moved(x);
    phase_run(x);
}

enum phase_result phase_tunnel(struct exchange *x)
{
    struct tunnel *t = x->tunnel;
    unsigned steps = STEPS_PER_TURN;
    if (!t->open)
        t = tunnel_open(x);
    if (t->over == CLOSE_OPEN)
        pump_to_instance(x, &steps);
    steps = STEPS_PER_TURN;
    if (t->over == CLOSE_OPEN && x->client != NULL)
        pump_to_client(x, &steps);
    if (t->over == CLOSE_OPEN && t->to_instance == WAY_SHUT && t->to_client == WAY_SHUT)
        t->over = t->first_end;
    if (t->over != CLOSE_OPEN)
        return tunnel_end(x);
    tunnel_arm(x);
    return PHASE_PARK;
}
