/* h1_client.c: turns bytes of an instance into one response: heads (interim and final), body by its framing,
 * trailers.
 *
 * Bytes go from the socket straight into the stored object when the response is being cached and not chunked;
 * otherwise through the worker's relay buffer. What is not yet understood (half a head) waits in `rest`. A
 * response that breaks framing ends as FETCH_BAD_RESPONSE, one that stops early as FETCH_CUT_SHORT: never as
 * complete. */
#include "proxy/h1_client.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "balancer/balancer.h"
#include "core/metrics.h"
#include "core/panic.h"
#include "core/tls_conn.h"
#include "proxy/exchange.h"
#include "proxy/proxy_worker.h"
#include "proxy/tunnel.h"

#define RESPONSE_HEAD_MAX (64 * KB)
#define INTERIM_MAX       16 /* 1xx responses before the final one; all of them RESPONSE_HEAD_MAX at most */
#define READS_PER_EVENT   16 /* then other connections get their turn */

/* What a step made of the input. */
enum step {
    STEP_GO,   /* consumed something: look again */
    STEP_MORE, /* needs more bytes */
    STEP_OVER  /* the exchange is done with this connection, or it was closed: touch nothing */
};

struct input {
    char *ptr;
    size_t len;
};

static enum step client_fail(struct upstream_conn *u, enum fetch_error e)
{
    exchange_on_upstream_error(u->exchange, e);
    return STEP_OVER;
}

/* The response is complete: the connection goes back to the pool or is closed before the exchange is told. */
static struct exchange *client_release(struct upstream_conn *u, const struct input *in)
{
    struct exchange *x = u->exchange;
    const struct config_pool *cfg = pool_config(x->route->pool);
    bool request_over = x->body_state == BODY_ABSENT || x->body_state == BODY_DONE;
    bool reusable = u->framing.keep_alive && in->len == 0 && request_over && u->unsent == NULL && !u->hup &&
                    cfg->send_proxy_protocol == PROXY_HEADER_OFF;
    x->upstream = NULL;
    u->reading = UPSTREAM_READ_DONE;
    if (reusable) {
        upstream_conn_set_idle(u);
        upstream_pool_put(u->pw, u, (unsigned)cfg->max_idle, cfg->idle_timeout_ms);
    } else {
        upstream_conn_close(&u);
    }
    return x;
}

static enum step client_end(struct upstream_conn *u, const struct input *in, const struct http_head *trailers)
{
    struct exchange *x = client_release(u, in);
    exchange_on_response_end(x, trailers);
    return STEP_OVER;
}

/* A 408 with which a kept-alive connection ends is about the time before our request: the two have crossed
 * (RFC 9110 section 15.5.9). Behind an interim response it is an answer like any other. */
static bool client_was_too_late(struct upstream_conn *u)
{
    return u->reused && u->interim_count == 0 && exchange_on_request_timeout(u->exchange);
}

static enum step client_begin_body(struct upstream_conn *u, struct input *in, const struct http_head *head)
{
    struct exchange *x = u->exchange;
    const struct h1_framing framing = u->framing;
    bool empty = framing.kind == H1_BODY_NONE || (framing.kind == H1_BODY_LENGTH && framing.length == 0);
    if (UNLIKELY(http_head_has(head, HTTP_FIELD_KEEP_ALIVE)))
        instance_on_keep_alive(u->instance, http_head_get(head, HTTP_FIELD_KEEP_ALIVE)->value);
    if (UNLIKELY(!framing.keep_alive) && head->status == 408 && client_was_too_late(u))
        return STEP_OVER;
    if (empty) {
        client_release(u, in);
        exchange_on_response_head(x, head, &framing);
        return STEP_OVER;
    }
    u->reading = UPSTREAM_READ_BODY;
    u->body_left = framing.length;
    u->chunked = (struct h1_chunked){0};
    u->parser = (struct h1_parser){0};
    exchange_on_response_head(x, head, &framing);
    return u->exchange == NULL ? STEP_OVER : STEP_GO;
}

static bool client_keep_rest(struct upstream_conn *u, const struct input *in);

/* What was read behind the head is no HTTP any more. */
__attribute__((noinline)) static enum step client_switch(struct upstream_conn *u, const struct input *in,
                                                         const struct http_head *head)
{
    if (!client_keep_rest(u, in))
        return client_fail(u, FETCH_NO_MEMORY);
    upstream_conn_switch(u);
    exchange_on_switch(u->exchange, head);
    return STEP_OVER;
}

static enum step client_read_head(struct upstream_conn *u, struct input *in)
{
    struct proxy_worker *pw = u->pw;
    const struct h1_limits limits = {RESPONSE_HEAD_MAX, 0, pw->field_capacity};
    struct http_head head = {.fields = pw->response_fields};
    enum h1_status st = h1_parse_response(&u->parser, in->ptr, in->len, &head, &limits);
    if (st == H1_MORE)
        return in->len < RESPONSE_HEAD_MAX ? STEP_MORE : client_fail(u, FETCH_BAD_RESPONSE);
    if (st == H1_FAIL || (UNLIKELY(head.status == 101) && !tunnel_is_agreed(u->exchange, &head)) ||
        h1_response_framing(&head, (enum http_method)u->exchange->req.method, &u->framing) != H1_OK)
        return client_fail(u, FETCH_BAD_RESPONSE);
    in->ptr += u->parser.head_bytes;
    in->len -= u->parser.head_bytes;
    if (head.status >= 200)
        return client_begin_body(u, in, &head);
    if (head.status == 101)
        return client_switch(u, in, &head);
    u->interim_bytes = (u->interim_count == 0 ? 0 : u->interim_bytes) + (uint32_t)u->parser.head_bytes;
    u->parser = (struct h1_parser){0};
    if (++u->interim_count > INTERIM_MAX || u->interim_bytes > RESPONSE_HEAD_MAX)
        return client_fail(u, FETCH_BAD_RESPONSE);
    if (head.status == 100)
        exchange_on_continue(u->exchange);
    else
        exchange_on_interim(u->exchange, &head);
    return u->exchange == NULL ? STEP_OVER : STEP_GO;
}

static enum step client_read_trailers(struct upstream_conn *u, struct input *in)
{
    const struct h1_limits limits = {RESPONSE_HEAD_MAX, 0, u->pw->field_capacity};
    struct http_head trailers = {.fields = u->pw->response_fields};
    enum h1_status st = h1_parse_fields(&u->parser, in->ptr, in->len, &trailers, &limits);
    if (st == H1_MORE)
        return in->len < RESPONSE_HEAD_MAX ? STEP_MORE : client_fail(u, FETCH_BAD_RESPONSE);
    if (st == H1_FAIL)
        return client_fail(u, FETCH_BAD_RESPONSE);
    in->ptr += u->parser.head_bytes;
    in->len -= u->parser.head_bytes;
    return client_end(u, in, &trailers);
}

static enum step client_read_chunked(struct upstream_conn *u, struct input *in)
{
    slice_t data;
    size_t consumed = 0;
    const size_t piece = exchange_piece_room(u->exchange, in->len), rest = in->len - piece;
    enum h1_chunk ev = h1_chunked_next(&u->chunked, in->ptr, piece, &consumed, &data);
    in->ptr += consumed;
    in->len -= consumed;
    switch (ev) {
    case H1_CHUNK_MORE:
        return rest > 0 && consumed > 0 ? STEP_GO : STEP_MORE;
    case H1_CHUNK_DATA:
        exchange_on_response_body(u->exchange, data.ptr, data.len);
        return u->exchange == NULL ? STEP_OVER : STEP_GO;
    case H1_CHUNK_TRAILERS:
        u->reading = UPSTREAM_READ_TRAILERS;
        u->parser = (struct h1_parser){0};
        return STEP_GO;
    case H1_CHUNK_FAIL:
        break;
    }
    return client_fail(u, FETCH_BAD_RESPONSE);
}

static enum step client_read_body(struct upstream_conn *u, struct input *in)
{
    if (u->framing.kind == H1_BODY_CHUNKED)
        return client_read_chunked(u, in);
    size_t n = exchange_piece_room(u->exchange, in->len);
    if (u->framing.kind == H1_BODY_LENGTH) {
        n = (size_t)MIN((uint64_t)n, u->body_left);
        u->body_left -= n;
    }
    char *data = in->ptr;
    in->ptr += n;
    in->len -= n;
    exchange_on_response_body(u->exchange, data, n);
    if (u->exchange == NULL)
        return STEP_OVER;
    if (u->framing.kind == H1_BODY_LENGTH && u->body_left == 0)
        return client_end(u, in, NULL);
    return STEP_GO;
}

static bool client_keep_rest(struct upstream_conn *u, const struct input *in)
{
    char *copy = NULL;
    if (in->len > 0) {
        copy = malloc(in->len);
        if (copy == NULL)
            return false;
        memcpy(copy, in->ptr, in->len);
    }
    free(u->rest);
    u->rest = copy;
    u->rest_len = in->len;
    return true;
}

static bool client_should_pause(struct upstream_conn *u)
{
    u->paused = u->reading != UPSTREAM_READ_HEAD && exchange_wants_pause(u->exchange);
    return u->paused;
}

/* Works through the input. STEP_MORE: all that could be used was used; the rest was kept. */
static enum step client_feed(struct upstream_conn *u, struct input *in)
{
    enum step s = STEP_GO;
    while (s == STEP_GO && in->len > 0 && !client_should_pause(u)) {
        switch ((enum upstream_reading)u->reading) {
        case UPSTREAM_READ_HEAD:
            s = client_read_head(u, in);
            break;
        case UPSTREAM_READ_BODY:
            s = client_read_body(u, in);
            break;
        case UPSTREAM_READ_TRAILERS:
            s = client_read_trailers(u, in);
            break;
        case UPSTREAM_READ_DONE:
            PANIC("reading behind the end of a response");
        }
    }
    if (s == STEP_OVER)
        return s;
    return client_keep_rest(u, in) ? STEP_MORE : client_fail(u, FETCH_NO_MEMORY);
}

/* The instance closed, or the connection broke. */
static enum step client_read_end(struct upstream_conn *u, int error)
{
    if (UNLIKELY(u->tls != NULL) && u->reading == UPSTREAM_READ_HEAD && !u->response_bytes_seen)
        return client_fail(u, exchange_judge_break(u->exchange));
    if (u->reading == UPSTREAM_READ_HEAD)
        return client_fail(u, FETCH_RESET);
    if (u->reading == UPSTREAM_READ_BODY && u->framing.kind == H1_BODY_UNTIL_CLOSE && error == 0)
        return client_end(u, &(struct input){NULL, 0}, NULL);
    return client_fail(u, FETCH_CUT_SHORT);
}

/* Bytes that can go straight into the object: no framing between them. */
static char *client_direct_buffer(struct upstream_conn *u, size_t *room)
{
    if (u->reading != UPSTREAM_READ_BODY || u->framing.kind == H1_BODY_CHUNKED || u->rest_len > 0)
        return NULL;
    char *to = exchange_body_buffer(u->exchange, room);
    if (to != NULL && u->framing.kind == H1_BODY_LENGTH)
        *room = (size_t)MIN((uint64_t)*room, u->body_left);
    return to;
}

static enum step client_read_once(struct upstream_conn *u)
{
    size_t room = exchange_relay_room(u->exchange, READ_BUFFER_BYTES - u->rest_len);
    char *to = client_direct_buffer(u, &room);
    bool direct = to != NULL;
    if (!direct) {
        if (u->rest_len > 0)
            memcpy(u->pw->relay_buffer, u->rest, u->rest_len);
        to = u->pw->relay_buffer + u->rest_len;
    }
    ssize_t n;
    do
        n = LIKELY(u->tls == NULL) ? recv(u->fd, to, room, 0) : tls_conn_read(u->tls, to, room);
    while (n < 0 && errno == EINTR);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        u->readable = false;
        return STEP_MORE;
    }
    if (n <= 0)
        return client_read_end(u, n < 0 ? errno : 0);
    proxy_count(u->pw, METRIC_UPSTREAM_BYTES_IN, n);
    u->response_bytes_seen = true;
    if (UNLIKELY(u->tls != NULL) ? tls_conn_is_dry(u->tls) : (size_t)n < room && !u->hup) {
        u->readable = false;
        u->look_due = true;
    }
    upstream_conn_expect_bytes(u);
    if (direct) {
        exchange_on_body_filled(u->exchange, (size_t)n);
        u->body_left -= u->framing.kind == H1_BODY_LENGTH ? (uint64_t)n : 0;
        if (u->framing.kind == H1_BODY_LENGTH && u->body_left == 0)
            return client_end(u, &(struct input){NULL, 0}, NULL);
        return STEP_GO;
    }
    struct input in = {u->pw->relay_buffer, u->rest_len + (size_t)n};
    return client_feed(u, &in);
}

void h1_client_run(struct upstream_conn *u)
{
    CHECK_MAGIC(u, UPSTREAM_CONN_MAGIC);
    if (u->rest_len > 0 && u->reading != UPSTREAM_READ_HEAD && !client_should_pause(u)) {
        struct input in = {u->pw->relay_buffer, u->rest_len};
        memcpy(in.ptr, u->rest, in.len);
        if (client_feed(u, &in) == STEP_OVER)
            return;
    }
    unsigned reads = 0;
    while (u->readable && !client_should_pause(u)) {
        if (++reads > READS_PER_EVENT) {
            worker_at_turn_end(u->pw->worker, &u->again);
            break;
        }
        if (client_read_once(u) == STEP_OVER)
            return;
    }
    if (u->look_due)
        upstream_conn_look_later(u);
    if (u->reading != UPSTREAM_READ_HEAD)
        exchange_on_upstream_rested(u->exchange);
}

/* ---- the request ---- */

bool h1_client_send_body(struct exchange *x, slice_t piece)
{
    char head[24];
    struct iovec iov[3];
    int n = 0;
    if (x->framing.kind == H1_BODY_CHUNKED)
        iov[n++] = (struct iovec){head, h1_chunk_head(head, piece.len)};
    iov[n++] = (struct iovec){(void *)(uintptr_t)piece.ptr, piece.len};
    if (x->framing.kind == H1_BODY_CHUNKED)
        iov[n++] = (struct iovec){"\r\n", 2};
    return upstream_conn_send(x->upstream, iov, n);
}

bool h1_client_send_end(struct exchange *x, slice_t trailers)
{
    struct iovec iov[3] = {{"0\r\n", 3}, {(void *)(uintptr_t)trailers.ptr, trailers.len}, {"\r\n", 2}};
    return x->framing.kind != H1_BODY_CHUNKED || upstream_conn_send(x->upstream, iov, 3);
}
