/* phase_log.c: the last phase, always run: metrics, access log, slow log, and the end of the exchange. */
#include "core/http_field.h"
#include "core/log.h"
#include "core/metrics.h"
#include "core/panic.h"
#include "proxy/client.h"
#include "proxy/client_tls.h"
#include "proxy/hedge.h"
#include "proxy/mirror.h"
#include "proxy/phase.h"
#include "proxy/proxy_worker.h"
#include "proxy/slices.h"
#include "proxy/split.h"
#include "proxy/stale.h"

static int64_t span_us(mono_us_t from, mono_us_t to)
{
    return from == 0 || to == 0 ? -1 : to - from;
}

static slice_t request_field(const struct exchange *x, enum http_field_id id)
{
    const struct http_field *f = http_head_has(&x->req, id) ? http_head_get(&x->req, id) : NULL;
    return f == NULL ? SLICE_EMPTY : f->value;
}

static int64_t record_age_s(const struct exchange *x)
{
    if (x->object == NULL || (x->source == SOURCE_FOLLOW && x->follower == NULL))
        return -1;
    if (x->verdict != VERDICT_HIT && x->verdict != VERDICT_REDIS && x->verdict != VERDICT_STALE &&
        x->verdict != VERDICT_REVALIDATED)
        return -1;
    return cache_freshness_age_ms(&x->info.fresh, x->pw->worker->now_wall_ms) / 1000;
}

static void fill_tls(const struct exchange *x, struct access_record *r)
{
    struct tls_conn *t = &x->client->tls->conn;
    r->tls = slice_str(tls_conn_version(t));
    r->tls_cipher = slice_str(tls_conn_cipher(t));
    r->tls_client = x->peer != NULL ? x->peer->subject : SLICE_EMPTY;
}

static void fill_record(struct exchange *x, struct access_record *r)
{
    const struct config_pool *pool =
        x->route != NULL && x->route->pool != NULL && x->fetch_us != 0 ? pool_config(x->route->pool) : NULL;
    *r = (struct access_record){
        .wall_ms = x->start_wall_ms,
        .client = x->client_ip,
        .scheme = exchange_scheme(x),
        .method = x->req.method_text,
        .host = x->host.ptr != NULL ? x->host : SLICE_EMPTY,
        .target = x->req.target,
        .version = x->http2                    ? SLICE_LIT("HTTP/2")
                   : x->req.version_minor == 0 ? SLICE_LIT("HTTP/1.0")
                                               : SLICE_LIT("HTTP/1.1"),
        .status = x->head_sent ? x->status : 0,
        .request_bytes = x->head_bytes + x->body_read,
        .response_bytes = x->response_head_bytes + x->response_bytes,
        .duration_us = x->end_us - x->start_us,
        .wait_us = x->wait_us == 0 ? -1 : MAX(0, (x->fetch_us != 0 ? x->fetch_us : x->end_us) - x->wait_us),
        .connect_us = x->tries > 0 ? span_us(x->fetch_us, x->connected_us) : -1,
        .first_byte_us = span_us(x->connected_us, x->first_byte_us),
        .upstream_us = span_us(x->fetch_us, x->response_end_us),
        .cache = x->verdict,
        .no_store = x->verdict == VERDICT_NONE || x->verdict == VERDICT_HIT ? -1 : x->no_store,
        .age_s = record_age_s(x),
        .route = x->route != NULL ? slice_str(x->route->config->name) : SLICE_EMPTY,
        .pool = pool != NULL ? slice_str(pool->name) : SLICE_EMPTY,
        .instance = x->last_instance != NULL ? slice_str(instance_name(x->last_instance)) : SLICE_EMPTY,
        .tries = (uint64_t)x->tries + x->reuse_races,
        .retries = x->tries + x->reuse_races > 1 ? (uint64_t)x->tries + x->reuse_races - 1 : 0,
        .hedge = hedge_text(x),
        .fetch_error = x->fetch_error,
        .close = x->close_reason,
        .request_id = x->request_id.ptr != NULL ? x->request_id : SLICE_EMPTY,
        .referer = request_field(x, HTTP_FIELD_REFERER),
        .user_agent = request_field(x, HTTP_FIELD_USER_AGENT),
    };
    if (x->client != NULL && x->client->tls != NULL)
        fill_tls(x, r);
}

static void log_lines(struct exchange *x, bool slow)
{
    const struct snapshot *s = x->view->shared;
    struct access_record r;
    fill_record(x, &r);
    if (s->access_format != NULL) {
        char *line = log_ring_reserve(x->pw->worker->log, LOG_CHANNEL_ACCESS, ACCESS_LINE_MAX);
        if (line != NULL)
            log_ring_commit(x->pw->worker->log,
                            access_format_write(s->access_format, &r, line, ACCESS_LINE_MAX));
        worker_at_turn_end(x->pw->worker, &x->pw->turn_hook);
    }
    if (slow) {
        char text[1024];
        proxy_count(x->pw, METRIC_SLOW_REQUESTS, 1);
        access_slow_line(&r, text, sizeof text);
        log_warn("slow request: %s", text);
    }
}

static inline void count_fetch(struct exchange *x)
{
    if (x->fetch_error != FETCH_NONE)
        metrics_count_fetch_error(x->pw->worker->metrics, (enum fetch_error)x->fetch_error);
    if (x->fetch_counted) {
        proxy_count(x->pw, METRIC_FETCHES_OPEN, -1);
        if (UNLIKELY(x->route->split != NULL))
            split_count(x);
    }
}

static void count(struct exchange *x, uint64_t duration_us)
{
    struct proxy_worker *pw = x->pw;
    uint16_t instance = x->last_instance != NULL ? instance_label(x->last_instance) : 0;
    struct metrics_series *s = metrics_series(pw->worker->metrics, x->route != NULL ? x->route->label : 0,
                                              (enum cache_verdict)x->verdict, instance);
    if (s != NULL)
        metrics_series_record(s, x->head_sent ? x->status : 0, duration_us, x->response_bytes);
    proxy_count(pw, METRIC_REQUESTS, 1);
    if (x->verdict != VERDICT_NONE && x->verdict != VERDICT_HIT) {
        metrics_count_no_store(pw->worker->metrics, (enum no_store_reason)x->no_store);
        if (s != NULL)
            metrics_series_count_reason(s, (enum no_store_reason)x->no_store);
    }
    count_fetch(x);
}

static NOINLINE enum phase_result log_stream_end(struct exchange *x)
{
    struct h2_stream *s = x->stream;
    struct proxy_worker *pw = x->pw;
    exchange_free(x);
    h2_stream_exchange_done(s);
    proxy_worker_check_done(pw);
    return PHASE_DONE;
}

enum phase_result phase_log(struct exchange *x)
{
    struct client_conn *c = x->client;
    struct proxy_worker *pw = x->pw;
    if (x->background) {
        if (x->is_mirror)
            mirror_end(x);
        else
            count_fetch(x);
        if (slice_fetch_is(x))
            slice_fetch_done(x);
        else if (!x->is_mirror && !x->inherited)
            stale_refresh_done(x);
        exchange_free(x);
        proxy_worker_check_done(pw);
        return PHASE_DONE;
    }
    if (x->end_us == 0)
        x->end_us = clock_mono_us();
    /* Of a tunnel, what it took to open it. */
    const mono_us_t answered_us = UNLIKELY(x->source == SOURCE_TUNNEL) ? x->first_byte_us : x->end_us;
    const uint64_t duration_us = (uint64_t)(answered_us - x->start_us);
    count(x, duration_us);
    const struct snapshot *s = x->view->shared;
    bool slow = s->slow_request_us > 0 && duration_us >= s->slow_request_us;
    if (s->access_format != NULL || slow)
        log_lines(x, slow);
    if (UNLIKELY(x->stream != NULL))
        return log_stream_end(x);
    bool body_read = x->body_state == BODY_ABSENT || x->body_state == BODY_DONE;
    bool keep_alive = x->keep_alive && !x->body_cut && body_read;
    if (c != NULL && x->close_reason != CLOSE_OPEN && c->close_reason == CLOSE_OPEN)
        c->close_reason = x->close_reason;
    if (c != NULL && !body_read && c->close_reason == CLOSE_OPEN)
        c->close_reason = CLOSE_BODY_UNREAD;
    exchange_free(x);
    if (c != NULL)
        client_conn_exchange_done(c, keep_alive);
    proxy_worker_check_done(pw);
    return PHASE_DONE;
}
