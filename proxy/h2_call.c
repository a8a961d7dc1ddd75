/* h2_call.c: see h2_call.h.
 *
 * The head is the text that an instance gets by HTTP/1.1, read line by line, so whatever edits it knows one
 * form only. Its :scheme is the connection's own, since instances compare the two; the client's is told by
 * X-Forwarded-Proto as ever.
 *
 * An instance that is silent for response_timeout fails the call. If it was silent on the whole connection,
 * that takes no more calls: it may have gone without a word. */
#include "proxy/h2_call.h"

#include <stdlib.h>

#include "balancer/balancer.h"
#include "core/http_field.h"
#include "core/metrics.h"
#include "core/panic.h"
#include "proxy/deliver.h"
#include "proxy/exchange.h"
#include "proxy/h2_client.h"
#include "proxy/h2_scratch.h"
#include "proxy/phase.h"
#include "proxy/proxy_worker.h"
#include "proxy/upstream.h"

static struct proxy_worker *worker_of(const struct h2_call *c)
{
    return c->client->conn->pw;
}

static dur_ms_t response_timeout_ms(const struct h2_call *c)
{
    return pool_config(c->exchange->route->pool)->response_timeout_ms;
}

/* ---- life ---- */

void h2_call_expect(struct h2_call *c)
{
    struct worker *w = worker_of(c)->worker;
    if (c->exchange != NULL)
        deadline_set(w, &c->deadline, worker_now_ms(w) + response_timeout_ms(c));
}

static void call_on_deadline(struct deadline *d)
{
    struct h2_call *c = CONTAINER_OF(d, struct h2_call, deadline);
    CHECK_MAGIC(c, H2_CALL_MAGIC);
    /* We are the ones who wait: for the client, whose own timeout rules. */
    if (c->paused || c->in_ended || upstream_awaits_body(c->exchange)) {
        h2_call_expect(c);
        return;
    }
    const mono_ms_t since_ms = worker_now_ms(worker_of(c)->worker) - response_timeout_ms(c);
    if (c->client->heard_ms <= since_ms)
        h2_client_leave(c->client);
    h2_call_fail(c, FETCH_RESPONSE_TIMEOUT);
}

enum fetch_error h2_call_place(struct exchange *x, dur_ms_t max_idle_ms)
{
    enum fetch_error e = FETCH_NO_MEMORY;
    const struct config_pool *cfg = pool_config(x->route->pool);
    struct h2_client *h = h2_client_for(x, cfg->connect_timeout_ms, max_idle_ms, &e);
    if (h == NULL)
        return e;
    struct h2_call *c = calloc(1, sizeof *c);
    if (c == NULL) {
        h2_client_schedule(h);
        return FETCH_NO_MEMORY;
    }
    c->magic = H2_CALL_MAGIC;
    c->client = h;
    c->exchange = x;
    c->reused = h2_client_is_ready(h);
    list_init(&c->wake_node);
    list_push_back(&h->calls, &c->node);
    deadline_init(&c->deadline, call_on_deadline);
    h->call_count++;
    h->idle_timeout_ms = cfg->idle_timeout_ms;
    x->call = c;
    x->upstream = h->conn;
    proxy_count(x->pw, METRIC_UPSTREAM_REUSES, c->reused);
    return FETCH_NONE;
}

static void call_bury_me(void *arg)
{
    h2_call_free(arg);
}

void h2_call_free(struct h2_call *c)
{
    byte_queue_free(&c->out);
    byte_queue_free(&c->in);
    free(c->out_trailers);
    free(c->in_trailers);
    c->magic = 0;
    free(c);
}

/* Neither exchange nor stream. */
static void call_end(struct h2_call *c)
{
    struct proxy_worker *pw = worker_of(c);
    list_remove(&c->node);
    c->client->call_count--;
    h2_client_schedule(c->client);
    worker_bury(pw->worker, &c->grave, call_bury_me, c);
}

static void call_part(struct h2_call *c)
{
    struct exchange *x = c->exchange;
    x->call = NULL;
    x->upstream = NULL;
    c->exchange = NULL;
    deadline_clear(worker_of(c)->worker, &c->deadline);
    list_remove(&c->wake_node);
    if (c->id == 0 || c->closed || c->client->broken)
        call_end(c);
}

void h2_call_leave(struct exchange *x)
{
    struct h2_call *c = x->call;
    CHECK_MAGIC(c, H2_CALL_MAGIC);
    if (c->id > 0 && !c->closed)
        nghttp2_submit_rst_stream(c->client->session, NGHTTP2_FLAG_NONE, c->id,
                                  c->bad ? NGHTTP2_PROTOCOL_ERROR : NGHTTP2_CANCEL);
    h2_client_schedule(c->client);
    call_part(c);
}

struct exchange *h2_call_release(struct h2_call *c)
{
    struct exchange *x = c->exchange;
    nghttp2_session *session = c->client->session;
    if (!c->closed && nghttp2_session_get_stream_local_close(session, c->id) == 0)
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, c->id, NGHTTP2_CANCEL); /* it wants no more */
    h2_client_schedule(c->client);
    call_part(c);
    return x;
}

void h2_call_fail(struct h2_call *c, enum fetch_error e)
{
    struct exchange *x = c->exchange;
    if (x == NULL)
        return;
    if (!c->head_out || e == FETCH_TLS_FAILED) { /* the instance has not seen it */
        x->request_sent = false;
        c->reused |= e == FETCH_RESET && h2_client_is_ready(c->client);
    }
    exchange_on_upstream_error(x, e);
}

void h2_call_on_close(struct h2_call *c, uint32_t code)
{
    c->closed = true;
    if (c->exchange == NULL) {
        call_end(c);
        return;
    }
    if (c->in_ended)
        return;
    if (c->bad)
        h2_call_fail(c, FETCH_BAD_RESPONSE);
    else if (code == NGHTTP2_REFUSED_STREAM && c->reset_by_peer && !c->bytes_seen) {
        c->exchange->request_sent = false;
        h2_call_fail(c, FETCH_REFUSED);
    } else {
        c->head_out &= code != NGHTTP2_REFUSED_STREAM || c->bytes_seen; /* above the last of a GOAWAY */
        h2_call_fail(c, FETCH_RESET);
    }
}

/* ---- the request ---- */

bool h2_call_is_open(const struct h2_call *c)
{
    return h2_client_is_ready(c->client);
}

static void call_go_on(struct h2_call *c)
{
    if (c->deferred && nghttp2_session_resume_data(c->client->session, c->id) == 0)
        c->deferred = false;
    h2_call_expect(c);
    h2_client_schedule(c->client);
}

/* The request would arrive with a hole in it. */
static bool call_lose(struct h2_call *c)
{
    c->out_lost = true;
    h2_call_wake(c, H2_CALL_WAKE_LOST);
    return false;
}

bool h2_call_send_body(struct h2_call *c, slice_t piece)
{
    if (c->closed || c->out_lost)
        return false;
    if (!byte_queue_put(&c->out, piece.ptr, piece.len))
        return call_lose(c);
    call_go_on(c);
    return true;
}

bool h2_call_send_end(struct h2_call *c, slice_t trailers)
{
    if (c->closed || c->out_lost)
        return false;
    if (trailers.len > 0) {
        c->out_trailers = malloc(trailers.len);
        if (c->out_trailers == NULL)
            return call_lose(c);
        memcpy(c->out_trailers, trailers.ptr, trailers.len);
        c->out_trailers_bytes = trailers.len;
    }
    c->out_ended = true;
    call_go_on(c);
    return true;
}

static bool submit_trailers(struct h2_call *c)
{
    struct h2_scratch *s = worker_of(c)->h2;
    h2_nv_begin(&s->nv);
    return h2_nv_add_lines(&s->nv, slice_make(c->out_trailers, c->out_trailers_bytes)) && s->nv.count > 0 &&
           nghttp2_submit_trailer(c->client->session, c->id, s->nv.pair, s->nv.count) == 0;
}

static ssize_t on_read(nghttp2_session *session, int32_t id, uint8_t *buf, size_t room, uint32_t *flags,
                       nghttp2_data_source *source, void *arg)
{
    struct h2_call *c = source->ptr;
    const slice_t out = byte_queue_front(&c->out);
    const size_t n = MIN(room, out.len);
    const bool was_blocked = h2_call_is_blocked(c);
    UNUSED(session);
    UNUSED(id);
    UNUSED(arg);
    CHECK_MAGIC(c, H2_CALL_MAGIC);
    if (c->exchange == NULL || (n == 0 && !c->out_ended)) {
        c->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    if (n > 0)
        memcpy(buf, out.ptr, n);
    byte_queue_drop(&c->out, n);
    if (c->out_ended && n == out.len) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        if (c->out_trailers != NULL && submit_trailers(c))
            *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
    }
    if (was_blocked && !h2_call_is_blocked(c))
        h2_call_wake(c, H2_CALL_WAKE_WRITE);
    if (n > 0)
        h2_call_expect(c);
    return (ssize_t)n;
}

/* What HTTP/2 says otherwise, or not at all (RFC 9113 section 8.2.2). */
static bool line_travels(enum http_field_id id)
{
    return id != HTTP_FIELD_HOST && !http_field_is_hop_by_hop(id);
}

/* Of the text that instances get by HTTP/1.1. */
static bool nv_of_request(struct h2_nv *v, const struct exchange *x)
{
    slice_t text = x->upstream_head, name, value;
    const size_t method_bytes = slice_find(text, ' ', 0), line_bytes = slice_find(text, '\n', 0);
    const size_t path_bytes = line_bytes - method_bytes - sizeof " HTTP/1.1\r";
    const slice_t scheme = pool_tls(x->route->pool) != NULL ? SLICE_LIT("https") : SLICE_LIT("http");
    h2_nv_begin(v);
    bool ok = h2_nv_add_pseudo(v, SLICE_LIT(":method"), slice_make(text.ptr, method_bytes)) &&
              h2_nv_add_pseudo(v, SLICE_LIT(":scheme"), scheme) &&
              h2_nv_add_pseudo(v, SLICE_LIT(":path"), slice_make(text.ptr + method_bytes + 1, path_bytes));
    text = slice_make(text.ptr + line_bytes + 1, text.len - line_bytes - 1);
    const slice_t authority = head_text_field(text, HTTP_FIELD_HOST);
    ok = ok && (authority.len == 0 || h2_nv_add_pseudo(v, SLICE_LIT(":authority"), authority));
    while (ok && head_text_next(&text, &name, &value)) {
        if (line_travels(http_field_lookup(name)))
            ok = h2_nv_add(v, name, slice_trim(value));
    }
    if (http_head_has_token(&x->req, HTTP_FIELD_TE, SLICE_LIT("trailers")))
        ok = ok && h2_nv_add(v, SLICE_LIT("te"), SLICE_LIT("trailers"));
    return ok;
}

bool h2_call_send_head(struct exchange *x)
{
    struct h2_call *c = x->call;
    struct h2_scratch *s = x->pw->h2;
    const nghttp2_data_provider body = {.source.ptr = c, .read_callback = on_read};
    if (!nv_of_request(&s->nv, x))
        return false;
    c->id = nghttp2_submit_request(c->client->session, NULL, s->nv.pair, s->nv.count,
                                   x->body_state == BODY_ABSENT ? NULL : &body, c);
    if (c->id < 0) { /* no numbers left: others go elsewhere */
        c->id = 0;
        h2_client_leave(c->client);
        return false;
    }
    h2_call_expect(c);
    h2_client_schedule(c->client);
    return true;
}

/* ---- the response ---- */

void h2_call_wake(struct h2_call *c, enum h2_call_wake why)
{
    if (c->exchange == NULL)
        return;
    c->wake |= (uint8_t)why;
    if (list_empty(&c->wake_node))
        list_push_back(&c->client->wake, &c->wake_node);
    h2_client_schedule(c->client);
}

void h2_call_resume(struct h2_call *c)
{
    c->paused = false;
    h2_call_wake(c, H2_CALL_WAKE_READ);
}

/* How many of them the exchange took. */
static size_t call_give(struct h2_call *c, const char *bytes, size_t n)
{
    size_t given = 0;
    while (c->exchange != NULL && given < n) {
        struct exchange *x = c->exchange;
        c->paused = exchange_wants_pause(x);
        if (c->paused)
            break;
        const size_t step = exchange_relay_room(x, n - given);
        if (!c->closed)
            nghttp2_session_consume_stream(c->client->session, c->id, step);
        exchange_on_response_body(x, bytes + given, step);
        given += step;
    }
    h2_client_schedule(c->client);
    return given;
}

bool h2_call_take(struct h2_call *c, const char *bytes, size_t n)
{
    size_t given = 0;
    if (byte_queue_bytes(&c->in) == 0)
        given = call_give(c, bytes, n);
    h2_call_wake(c, H2_CALL_WAKE_READ);
    return c->exchange == NULL || byte_queue_put(&c->in, bytes + given, n - given);
}

static void call_finish(struct h2_call *c)
{
    struct proxy_worker *pw = worker_of(c);
    struct h1_parser p = {0};
    struct http_head trailers = {.fields = pw->response_fields};
    const struct h1_limits limits = {c->in_trailers_bytes, 0, pw->field_capacity};
    const bool some = c->in_trailers != NULL && h1_parse_fields(&p, c->in_trailers, c->in_trailers_bytes,
                                                                &trailers, &limits) == H1_DONE;
    struct exchange *x = h2_call_release(c);
    exchange_on_response_end(x, some ? &trailers : NULL);
}

static void call_read(struct h2_call *c)
{
    const slice_t in = byte_queue_front(&c->in);
    const size_t given = in.len > 0 ? call_give(c, in.ptr, in.len) : 0;
    byte_queue_drop(&c->in, given);
    if (c->exchange == NULL || !c->head_seen)
        return;
    if (c->in_ended && byte_queue_bytes(&c->in) == 0)
        call_finish(c);
    else
        exchange_on_upstream_rested(c->exchange);
}

void h2_call_on_end(struct h2_call *c)
{
    c->in_ended = true;
    h2_call_wake(c, H2_CALL_WAKE_READ);
}

void h2_call_work(struct h2_call *c)
{
    const uint8_t wake = c->wake;
    c->wake = 0;
    if (wake & H2_CALL_WAKE_REFUSED)
        h2_call_fail(c, FETCH_RESET);
    if (wake & H2_CALL_WAKE_LOST)
        h2_call_fail(c, FETCH_NO_MEMORY);
    if (c->exchange != NULL && (wake & H2_CALL_WAKE_BEGIN))
        exchange_on_connected(c->exchange);
    if (c->exchange != NULL && (wake & H2_CALL_WAKE_WRITE))
        exchange_on_upstream_writable(c->exchange);
    if (c->exchange != NULL && (wake & H2_CALL_WAKE_READ))
        call_read(c);
}
