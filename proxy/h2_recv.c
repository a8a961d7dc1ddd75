/* h2_recv.c: what comes from a client by HTTP/2: heads become exchanges, DATA their bodies.
 *
 * All of this runs inside nghttp2_session_mem_recv. A request without a body is worked on right here, from
 * the memory its head was decoded into; one with a body once the input is through, when its first bytes, and
 * often all of them, are there. What is malformed ends its stream and nobody else hears of it. */
#include <stdlib.h>

#include "core/log.h"
#include "core/metrics.h"
#include "core/panic.h"
#include "proxy/client.h"
#include "proxy/h2_conn.h"
#include "proxy/h2_guard.h"
#include "proxy/h2_stream.h"
#include "proxy/listener.h"
#include "proxy/phase.h"

#define HEAD_DECODED_TIMES                                                                                   \
    4                   /* max_header_size or max_headers, decoded: beyond that it is no mistake any more */
#define PSEUDO_FIELDS 5 /* and :protocol is the last; they are no headers */

static struct h1_limits limits_of(const struct h2_conn *h)
{
    const struct config_listen *l = h->client->listener->config;
    return (struct h1_limits){.max_head_bytes = (size_t)l->max_header_bytes,
                              .max_target_bytes = (size_t)l->max_target_bytes,
                              .max_fields = MIN((unsigned)l->max_headers, h->client->pw->field_capacity)};
}

static struct h2_stream *stream_of(nghttp2_session *session, int32_t id)
{
    return nghttp2_session_get_stream_user_data(session, id);
}

/* ---- heads ---- */

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct h2_conn *h = arg;
    struct h2_head *head = &h->client->pw->h2->head;
    const struct config_listen *l = h->client->listener->config;
    const bool trailers = frame->headers.cat != NGHTTP2_HCAT_REQUEST;
    const struct h1_limits limits = limits_of(h);
    if (!h2_head_begin(head, trailers ? H2_HEAD_TRAILERS : H2_HEAD_REQUEST, &limits))
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    if (!trailers &&
        h->tally->live >= (unsigned)l->h2_max_streams) { /* streams are over, what they began is not */
        proxy_count(h->client->pw, METRIC_H2_REFUSED, 1);
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_REFUSED_STREAM);
        h->headed = NULL;
        return 0;
    }
    h->in_head = true;
    h->head_since_ms = worker_now_ms(h->client->pw->worker);
    if (trailers) {
        h->headed = stream_of(session, frame->hd.stream_id);
        return 0;
    }
    h->headed = h2_stream_new(h, frame->hd.stream_id);
    if (h->headed == NULL)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, h->headed);
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_bytes, const uint8_t *value, size_t value_bytes, uint8_t flags, void *arg)
{
    struct h2_conn *h = arg;
    struct h2_head *head = &h->client->pw->h2->head;
    UNUSED(session);
    UNUSED(frame);
    UNUSED(flags);
    if (!h->in_head) /* of a stream that was refused */
        return 0;
    if (!h2_head_add(head, slice_make((const char *)name, name_bytes),
                     slice_make((const char *)value, value_bytes)))
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    if (head->decoded_bytes > HEAD_DECODED_TIMES * head->limits.max_head_bytes ||
        head->decoded_fields > HEAD_DECODED_TIMES * head->limits.max_fields + PSEUDO_FIELDS) {
        h2_conn_fail(h, NGHTTP2_ENHANCE_YOUR_CALM, CLOSE_H2_FLOOD);
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    return 0;
}

static struct exchange *begin_exchange(struct h2_stream *s, const struct http_head *req)
{
    struct h2_conn *h = s->conn;
    struct exchange *x = exchange_new(h->client->pw, h->client);
    if (x == NULL) {
        h2_stream_reset(s, NGHTTP2_INTERNAL_ERROR, CLOSE_NO_MEMORY);
        return NULL;
    }
    s->exchange = x;
    x->stream = s;
    x->http2 = true;
    x->tally = h->tally;
    h->tally->refs++;
    h->tally->live++;
    x->req = *req;
    x->head_bytes = (uint32_t)MIN(h->client->pw->h2->head.decoded_bytes, UINT32_MAX);
    h->client->requests++;
    h2_guard_request(h);
    return x;
}

/* Well-formed, but more than is wanted. */
static void refuse(struct h2_stream *s, const struct http_head *req, enum h1_error why)
{
    struct exchange *x = begin_exchange(s, req);
    if (x == NULL)
        return;
    slice_t method = arena_copy(&x->arena, req->method_text);
    proxy_count(x->pw, METRIC_BAD_REQUESTS, 1);
    x->req.method_text = method.ptr != NULL ? method : SLICE_LIT("-");
    x->head_owned = true;
    x->close_reason = CLOSE_BAD_REQUEST;
    phase_answer_error(x, h1_error_status(why), h1_error_text(why));
    phase_run(x);
}

static void malformed(struct h2_stream *s, const char *why)
{
    log_debug("HTTP/2: a malformed request: %s", why);
    proxy_count(s->conn->client->pw, METRIC_BAD_REQUESTS, 1);
    h2_stream_reset(s, NGHTTP2_PROTOCOL_ERROR, CLOSE_BAD_REQUEST);
}

/* RFC 9218; a PRIORITY_UPDATE that came before is overruled. */
static void set_priority(struct h2_stream *s, const struct h2_priority *p)
{
    const nghttp2_extpri as = {.urgency = p->urgency, .inc = p->incremental};
    nghttp2_session_change_extpri_stream_priority(s->conn->session, s->id, &as, 0);
}

/* What a head promises and the rest of the request, as far as it has come, does not keep. NULL: nothing. */
static const char *broken_promise(const struct h2_stream *s, const struct h2_head *head)
{
    if (head->pseudo[H2_PSEUDO_PROTOCOL].ptr != NULL && !s->conn->tunnels)
        return "a :protocol that was not offered"; /* RFC 8441 section 3 */
    return s->in_ended && s->in_left > 0 ? "less DATA than Content-Length says" : NULL;
}

static void on_request(struct h2_stream *s)
{
    struct h2_head *head = &s->conn->client->pw->h2->head;
    struct http_head req;
    const enum h2_verdict verdict = h2_head_end(head, &req);
    s->in_left = head->content_length;
    const char *broken = verdict == H2_HEAD_MALFORMED ? head->malformed : broken_promise(s, head);
    if (broken != NULL) {
        malformed(s, broken);
        return;
    }
    if (head->priority.said)
        set_priority(s, &head->priority);
    switch (verdict) {
    case H2_HEAD_MALFORMED:
    case H2_HEAD_REFUSED:
        refuse(s, &req, head->refused);
        return;
    case H2_HEAD_OK:
        break;
    }
    struct exchange *x = begin_exchange(s, &req);
    if (x == NULL)
        return;
    if (s->in_ended)
        phase_run(x);
    else if (exchange_own_head(x))
        h2_stream_wake(s, H2_WAKE_BEGIN);
    else
        h2_stream_reset(s, NGHTTP2_INTERNAL_ERROR, CLOSE_NO_MEMORY);
}

static void on_trailers(struct h2_stream *s)
{
    const struct h2_head *head = &s->conn->client->pw->h2->head;
    if (head->malformed != NULL || head->refused != H1_OK) {
        malformed(s, head->malformed != NULL ? head->malformed : "its trailers are too large");
        return;
    }
    if (!s->in_ended || s->in_left > 0) {
        malformed(s, s->in_ended ? "less DATA than Content-Length says" : "trailers that do not end it");
        return;
    }
    const size_t bytes = h2_head_trailers_bytes(head);
    s->in_trailers = malloc(bytes);
    if (s->in_trailers == NULL) {
        h2_stream_reset(s, NGHTTP2_INTERNAL_ERROR, CLOSE_NO_MEMORY);
        return;
    }
    s->in_trailers_bytes = h2_head_trailers(head, s->in_trailers).len;
}

static void on_headers(struct h2_conn *h, struct h2_stream *s, const nghttp2_frame *frame)
{
    h->in_head = false;
    if (s == NULL || s->cut)
        return;
    if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0)
        h2_stream_input_ended(s);
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
        on_request(s);
        return;
    }
    on_trailers(s);
    if (!s->cut)
        h2_stream_wake(s, H2_WAKE_READ);
}

/* ---- the rest ---- */

static void on_data(struct h2_conn *h, struct h2_stream *s, const nghttp2_frame *frame)
{
    const bool ended = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (frame->hd.length > 0)
        h2_guard_data(h);
    if (frame->data.padlen > 0 && frame->hd.length == frame->data.padlen && !ended)
        h2_guard_noise(h, 1); /* empty, too */
    if (s == NULL || s->cut || !ended)
        return;
    if (s->in_left > 0) {
        malformed(s, "less DATA than Content-Length says");
        return;
    }
    h2_stream_input_ended(s);
    h2_stream_wake(s, H2_WAKE_READ);
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct h2_conn *h = arg;
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        on_headers(h, h->headed, frame);
        break;
    case NGHTTP2_DATA:
        on_data(h, stream_of(session, frame->hd.stream_id), frame);
        break;
    case NGHTTP2_RST_STREAM:
        h2_guard_reset(h);
        break;
    case NGHTTP2_SETTINGS:
        if ((frame->hd.flags & NGHTTP2_FLAG_ACK) != 0 && !h->acknowledged) {
            h->acknowledged = true;
            nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0, H2_WINDOW_TOGETHER);
            nghttp2_session_consume_connection(session, h->withheld);
            h->withheld = 0;
        }
        break;
    default:
        break;
    }
    return 0;
}

static int on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int error, void *arg)
{
    struct h2_conn *h = arg;
    UNUSED(session);
    UNUSED(error);
    if (frame->hd.type == NGHTTP2_HEADERS)
        h->in_head = false;
    proxy_count(h->client->pw, METRIC_BAD_REQUESTS, 1);
    return 0;
}

/* Against Content-Length, also when nobody wants the bytes any more. false: the stream is over. */
static bool count_in(struct h2_stream *s, size_t bytes)
{
    if (s->in_left < 0)
        return true;
    if (bytes > (uint64_t)s->in_left) {
        malformed(s, "more DATA than Content-Length says");
        return false;
    }
    s->in_left -= (int64_t)bytes;
    return true;
}

static int on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                         size_t bytes, void *arg)
{
    struct h2_conn *h = arg;
    struct h2_stream *s = stream_of(session, id);
    UNUSED(flags);
    const bool wanted = s != NULL && !s->cut && s->exchange != NULL;
    if (h->acknowledged || !wanted)
        nghttp2_session_consume_connection(session, bytes);
    else
        h->withheld += bytes;
    if (s != NULL && !s->cut && !count_in(s, bytes))
        return 0;
    if (!wanted)
        return 0;
    if (!h2_stream_take(s, data, bytes))
        h2_stream_reset(s, NGHTTP2_INTERNAL_ERROR, CLOSE_NO_MEMORY);
    else
        h2_stream_wake(s, H2_WAKE_READ);
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *arg)
{
    struct h2_stream *s = stream_of(session, id);
    UNUSED(code);
    UNUSED(arg);
    if (s != NULL)
        h2_stream_end(s); /* nghttp2 forgets it, too, as soon as this returns */
    return 0;
}

/* The answer is out and the request is not all here: the rest is not wanted (RFC 9113 section 8.1). */
static NOINLINE void stop_upload(nghttp2_session *session, const nghttp2_frame *frame)
{
    const struct h2_stream *s = stream_of(session, frame->hd.stream_id);
    if (s != NULL && !s->in_ended && !s->cut && !s->tunnel)
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_NO_ERROR);
}

/* INTERNAL_ERROR is our own trouble, or an instance's. */
static bool is_clients_fault(nghttp2_session *session, const nghttp2_frame *frame)
{
    const struct h2_stream *s = stream_of(session, frame->hd.stream_id);
    const uint32_t code = frame->rst_stream.error_code;
    return code != NGHTTP2_NO_ERROR && code != NGHTTP2_INTERNAL_ERROR && (s == NULL || !s->faultless);
}

static int on_frame_sent(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    const struct h2_conn *h = arg;
    if (frame->hd.type == NGHTTP2_RST_STREAM) {
        if (is_clients_fault(session, frame))
            h2_guard_reset(arg);
    } else if (frame->hd.type == NGHTTP2_GOAWAY) {
        struct client_conn *c = h->client;
        if (frame->goaway.error_code != NGHTTP2_NO_ERROR && c->close_reason == CLOSE_OPEN)
            c->close_reason = CLOSE_H2_ERROR;
    } else if ((frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) &&
               (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0 && h->uploads > 0) {
        stop_upload(session, frame);
    }
    return 0;
}

void h2_recv_callbacks(nghttp2_session_callbacks *cb)
{
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cb, on_invalid_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data_chunk);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_sent);
}
