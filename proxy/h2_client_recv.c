/* h2_client_recv.c: what comes from an instance by HTTP/2: heads, DATA and trailers become the responses of
 * exchanges.
 *
 * All of this runs inside nghttp2_session_mem_recv, and exchanges go on in it. What RFC 9113 section 8 calls
 * malformed, and what is more than is taken from an instance by HTTP/1.1, ends the stream with an error, and
 * is a bad response to its exchange; the connection goes on. */
#include <stdlib.h>

#include "core/log.h"
#include "core/metrics.h"
#include "core/panic.h"
#include "proxy/exchange.h"
#include "proxy/h2_call.h"
#include "proxy/h2_client.h"
#include "proxy/h2_scratch.h"
#include "proxy/proxy_worker.h"
#include "proxy/upstream_conn.h"

#define RESPONSE_HEAD_MAX  (64 * KB) /* as of HTTP/1.1: h1_client.c */
#define INTERIM_MAX        16
#define HEAD_DECODED_TIMES 4 /* beyond that it is not even decoded to its end */

static struct h2_call *call_of(nghttp2_session *session, int32_t id)
{
    return id > 0 ? nghttp2_session_get_stream_user_data(session, id) : NULL;
}

static struct h1_limits limits_of(const struct h2_client *h)
{
    return (struct h1_limits){.max_head_bytes = RESPONSE_HEAD_MAX, .max_fields = h->conn->pw->field_capacity};
}

static void malformed(struct h2_call *c, const char *why)
{
    log_debug("HTTP/2: a malformed response: %s", why);
    c->bad = true;
    h2_call_fail(c, FETCH_BAD_RESPONSE);
}

/* ---- heads ---- */

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct h2_client *h = arg;
    const struct h2_call *c = call_of(session, frame->hd.stream_id);
    h2_client_pass_on(h, c);
    h->in_head = true;
    const struct h1_limits limits = limits_of(h);
    return h2_head_begin(&h->conn->pw->h2->head,
                         c != NULL && c->head_seen ? H2_HEAD_TRAILERS : H2_HEAD_RESPONSE, &limits)
               ? 0
               : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_bytes, const uint8_t *value, size_t value_bytes, uint8_t flags, void *arg)
{
    struct h2_client *h = arg;
    struct h2_head *head = &h->conn->pw->h2->head;
    UNUSED(flags);
    if (!h2_head_add(head, slice_make((const char *)name, name_bytes),
                     slice_make((const char *)value, value_bytes)))
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    if (head->decoded_bytes <= HEAD_DECODED_TIMES * head->limits.max_head_bytes)
        return 0;
    struct h2_call *c = call_of(session, frame->hd.stream_id);
    if (c != NULL)
        c->bad = true;
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

/* nghttp2 would leave such a field out, and go on. */
static int on_invalid_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                             size_t name_bytes, const uint8_t *value, size_t value_bytes, uint8_t flags,
                             void *arg)
{
    struct h2_call *c = call_of(session, frame->hd.stream_id);
    UNUSED(name);
    UNUSED(name_bytes);
    UNUSED(value);
    UNUSED(value_bytes);
    UNUSED(flags);
    UNUSED(arg);
    if (c != NULL)
        c->bad = true;
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

/* How its end is known to the rest of us: by HTTP/1.1's words. */
static bool frame_response(struct h2_call *c, const struct http_head *head, bool ended)
{
    struct h1_framing *f = &c->framing;
    if (head->status == 101 ||
        h1_response_framing(head, (enum http_method)c->exchange->req.method, f) != H1_OK)
        return false;
    f->keep_alive = true;
    if (f->kind == H1_BODY_UNTIL_CLOSE)
        f->kind = H1_BODY_CHUNKED;
    if (f->kind == H1_BODY_LENGTH && f->length > 0 && ended)
        return false;
    if (ended && f->kind == H1_BODY_CHUNKED)
        f->kind = H1_BODY_NONE;
    c->body_left = f->kind == H1_BODY_LENGTH ? f->length : f->kind == H1_BODY_CHUNKED ? UINT64_MAX : 0;
    return true;
}

static void on_interim(struct h2_call *c, const struct http_head *head, bool ended)
{
    if (ended || head->status == 101 || ++c->interim_count > INTERIM_MAX)
        malformed(c, "an interim response out of place");
    else if (head->status == 100)
        exchange_on_continue(c->exchange);
    else
        exchange_on_interim(c->exchange, head);
}

static void on_response(struct h2_call *c, bool ended)
{
    struct h2_head *head = &c->client->conn->pw->h2->head;
    struct http_head response;
    if (h2_head_end_response(head, &response) != H2_HEAD_OK) {
        malformed(c, head->malformed != NULL ? head->malformed : "its head is too large");
        return;
    }
    if (response.status < 200) {
        on_interim(c, &response, ended);
        return;
    }
    if (!frame_response(c, &response, ended)) {
        malformed(c, "a Content-Length that is none, or not that of the body");
        return;
    }
    c->head_seen = true;
    c->in_ended = ended;
    const struct h1_framing framing = c->framing;
    struct exchange *x = ended ? h2_call_release(c) : c->exchange;
    c->client->open = c;
    exchange_on_response_head(x, &response, &framing);
    h2_call_wake(c, H2_CALL_WAKE_READ);
}

static void on_trailers(struct h2_call *c)
{
    const struct h2_head *head = &c->client->conn->pw->h2->head;
    if (head->malformed != NULL || head->refused != H1_OK) {
        malformed(c, head->malformed != NULL ? head->malformed : "its trailers are too large");
        return;
    }
    c->in_trailers = malloc(h2_head_trailers_bytes(head));
    if (c->in_trailers == NULL) {
        h2_call_fail(c, FETCH_NO_MEMORY);
        return;
    }
    c->in_trailers_bytes = h2_head_trailers(head, c->in_trailers).len;
}

/* false: there is less of the body than Content-Length said. */
static bool on_end(struct h2_call *c)
{
    if (c->framing.kind == H1_BODY_LENGTH && c->body_left > 0)
        return false;
    h2_call_on_end(c);
    return true;
}

static void on_headers(struct h2_client *h, struct h2_call *c, bool ended)
{
    h->in_head = false;
    if (c == NULL || c->exchange == NULL || c->in_ended)
        return;
    c->bytes_seen = true;
    h->conn->reused = true;
    h2_call_expect(c);
    if (!c->head_seen) {
        on_response(c, ended);
        return;
    }
    if (!ended) {
        malformed(c, "a second head");
        return;
    }
    on_trailers(c);
    if (c->exchange != NULL && !on_end(c))
        malformed(c, "less of the body than its Content-Length");
}

/* ---- the rest ---- */

/* What was not sent yet is not worth waiting with: no new stream is allowed any more (section 6.8). */
static void on_goaway(struct h2_client *h)
{
    h2_client_leave(h);
    LIST_FOREACH (n, &h->calls) {
        struct h2_call *c = CONTAINER_OF(n, struct h2_call, node);
        if (c->exchange != NULL && c->id > 0 && !c->head_out)
            h2_call_wake(c, H2_CALL_WAKE_REFUSED);
    }
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct h2_client *h = arg;
    struct h2_call *c = call_of(session, frame->hd.stream_id);
    const bool ended = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    h2_client_pass_on(h, c);
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        on_headers(h, c, ended);
        break;
    case NGHTTP2_DATA:
        if (ended && c != NULL && c->exchange != NULL && c->head_seen && !on_end(c))
            malformed(c, "less of the body than its Content-Length");
        break;
    case NGHTTP2_RST_STREAM:
        if (c != NULL)
            c->reset_by_peer = true;
        break;
    case NGHTTP2_GOAWAY:
        on_goaway(h);
        break;
    default:
        break;
    }
    return 0;
}

static int on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int error, void *arg)
{
    struct h2_client *h = arg;
    struct h2_call *c = call_of(session, frame->hd.stream_id);
    UNUSED(error);
    if (frame->hd.type == NGHTTP2_HEADERS)
        h->in_head = false;
    if (c != NULL)
        c->bad = true;
    return 0;
}

static int on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                         size_t bytes, void *arg)
{
    struct h2_call *c = call_of(session, id);
    UNUSED(flags);
    h2_client_pass_on(arg, c);
    nghttp2_session_consume_connection(session, bytes);
    if (c == NULL || c->exchange == NULL || !c->head_seen)
        return 0;
    if (bytes > c->body_left) {
        malformed(c, "more of the body than its head allows");
        return 0;
    }
    c->body_left -= c->framing.kind == H1_BODY_LENGTH ? bytes : 0;
    h2_call_expect(c);
    if (!h2_call_take(c, (const char *)data, bytes))
        h2_call_fail(c, FETCH_NO_MEMORY);
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *arg)
{
    struct h2_call *c = call_of(session, id);
    h2_client_pass_on(arg, c);
    if (c == NULL)
        return 0;
    nghttp2_session_set_stream_user_data(session, id, NULL);
    h2_call_on_close(c, code);
    return 0;
}

static int on_frame_sent(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    UNUSED(arg);
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
        struct h2_call *c = call_of(session, frame->hd.stream_id);
        if (c != NULL)
            c->head_out = true;
    }
    return 0;
}

void h2_client_callbacks(nghttp2_session_callbacks *cb)
{
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_invalid_header_callback(cb, on_invalid_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cb, on_invalid_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data_chunk);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_sent);
}
