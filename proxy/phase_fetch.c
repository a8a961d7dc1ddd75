/* phase_fetch.c: getting the response: pick an instance, connect or reuse, send, and try again where that is
 * safe.
 *
 * Reading the response is the upstream connection's work; what to do with its head is decided in
 * phase_store.c. The request body is pulled from the client only when an instance is connected, so a refused
 * connection costs nothing; of an idempotent request the first EXCHANGE_REPLAY_MAX bytes are kept for another
 * try. */
#include "core/log.h"
#include "core/metrics.h"
#include "core/panic.h"
#include "proxy/calm_page.h"
#include "proxy/client.h"
#include "proxy/compress.h"
#include "proxy/fetch_queue.h"
#include "proxy/fetch_timeout.h"
#include "proxy/forward.h"
#include "proxy/grpc.h"
#include "proxy/hedge.h"
#include "proxy/mirror.h"
#include "proxy/own_fetch.h"
#include "proxy/phase.h"
#include "proxy/root_fetch.h"
#include "proxy/proxy_worker.h"
#include "proxy/stale.h"
#include "proxy/tunnel.h"
#include "proxy/upstream.h"
#include "proxy/upstream_tls.h"

/* How long an instance may take to answer Expect: 100-continue before the body is sent anyway. */
#define CONTINUE_MS 1000

static bool fetch_is_idempotent(const struct exchange *x)
{
    return http_method_is_idempotent((enum http_method)x->req.method) || x->keyed;
}

static const struct config_pool *fetch_pool_config(const struct exchange *x)
{
    return pool_config(x->route->pool);
}

/* What it does not implement, or not in this version, another instance would not either. */
static bool fetch_is_failure(unsigned status)
{
    return status >= 500 && status != 501 && status != 505;
}

void phase_fetch_release(struct exchange *x, enum fetch_error outcome)
{
    if (UNLIKELY(x->hedge != NULL))
        hedge_stop(x);
    if (x->upstream != NULL)
        upstream_leave(x);
    if (x->instance == NULL)
        return;
    if (x->last_instance != NULL)
        instance_unref(x->last_instance);
    x->last_instance = instance_ref(x->instance);
    if (UNLIKELY(x->status >= 500) && outcome == FETCH_NONE && fetch_is_failure(x->status))
        outcome = FETCH_ERROR_STATUS;
    instance_release(x->instance, outcome);
    x->instance = NULL;
}

/* ---- request body ---- */

/* A call of HTTP/2, or what is sent behind a handshake that the instance has yet to judge (TLS 1.3). */
static bool may_turn_out_unprocessed(const struct exchange *x)
{
    const struct upstream_conn *u = x->upstream;
    return x->call != NULL || (u != NULL && u->tls != NULL && !u->reused && !u->tls->accepted);
}

static void replay_record(struct exchange *x, slice_t piece)
{
    if (x->replay_lost || (!fetch_is_idempotent(x) && !may_turn_out_unprocessed(x))) {
        x->replay_lost = true;
        return;
    }
    if (x->replay.ptr == NULL)
        x->replay = slice_make(arena_alloc(&x->arena, EXCHANGE_REPLAY_MAX), 0);
    if (x->replay.ptr == NULL || x->replay.len + piece.len > EXCHANGE_REPLAY_MAX) {
        x->replay_lost = true;
        return;
    }
    memcpy((char *)(uintptr_t)x->replay.ptr + x->replay.len, piece.ptr, piece.len);
    x->replay.len += piece.len;
}

static bool fetch_send_body_end(struct exchange *x)
{
    slice_t fields = SLICE_EMPTY;
    if (x->trailers.len > 2) {
        struct h1_parser p = {0};
        struct http_head head = {.fields = x->pw->fields};
        const struct h1_limits limits = {x->trailers.len, 0, x->pw->field_capacity};
        if (h1_parse_fields(&p, x->trailers.ptr, x->trailers.len, &head, &limits) == H1_DONE)
            fields = forward_trailers(x, &head, true);
    }
    return upstream_send_end(x, fields);
}

static void fetch_body_refused(struct exchange *x, unsigned status, const char *detail)
{
    phase_fetch_release(x, FETCH_CANCELLED);
    x->keep_alive = false;
    if (x->phase != PHASE_FETCH) { /* the response has begun: it can only be cut */
        x->body_cut = true;
        x->close_reason = CLOSE_BAD_REQUEST;
        phase_run(x);
        return;
    }
    x->close_reason = CLOSE_BAD_REQUEST;
    phase_answer_error(x, status, detail);
    phase_run(x);
}

static void fetch_body_broken(struct exchange *x)
{
    struct client_conn *c = x->client;
    if (c->eof || c->broken) {
        c->broken = true;
        phase_run(x);
        if (!c->running)
            client_conn_close(c, CLOSE_CLIENT_ABORTED);
        return;
    }
    fetch_body_refused(x, 400, "the request body broke its framing");
}

void fetch_pump_body(struct exchange *x)
{
    slice_t piece;
    if (x->awaits_continue && (x->client == NULL || !client_has_input(x)))
        return;
    x->awaits_continue = false;
    while (x->upstream != NULL && x->client != NULL && upstream_is_open(x) && x->body_state != BODY_DONE &&
           x->body_state != BODY_ABSENT && !upstream_is_blocked(x)) {
        bool sent = true;
        switch (client_read_body(x, &piece)) {
        case H1_BODY_PIECE:
            if (UNLIKELY(x->mirror != NULL))
                mirror_record(x, piece);
            replay_record(x, piece);
            sent = upstream_send_body(x, piece);
            break;
        case H1_BODY_END:
            if (UNLIKELY(x->timeout != NULL))
                fetch_timeout_on_body(x);
            sent = fetch_send_body_end(x);
            if (UNLIKELY(x->mirror != NULL))
                mirror_send(x);
            break;
        case H1_BODY_WAIT:
            client_expects_body(x);
            return;
        case H1_BODY_TOO_BIG:
            fetch_body_refused(x, 413, "the request body is larger than max_body_size");
            return;
        case H1_BODY_BROKEN:
            fetch_body_broken(x);
            return;
        }
        if (!sent) { /* an early answer may still be there to be read */
            upstream_resume(x);
            return;
        }
    }
}

/* ---- tries ---- */

static bool fetch_send_request(struct exchange *x)
{
    x->sent_wall_ms = x->pw->worker->now_wall_ms;
    x->connected_us = x->pw->worker->now_us;
    x->request_sent = upstream_send_head(x);
    if (!x->request_sent)
        return false;
    if (x->replay.len > 0 && !upstream_send_body(x, x->replay))
        return false;
    x->awaits_continue = x->expects_continue;
    if (x->awaits_continue)
        deadline_set(x->pw->worker, &x->wait_deadline, worker_now_ms(x->pw->worker) + CONTINUE_MS);
    return x->body_state != BODY_DONE || fetch_send_body_end(x);
}

/* An idle connection that began with TLS by these settings; with a PROXY header each is used once. */
static struct upstream_conn *fetch_take_prefaced(struct exchange *x, const struct config_pool *cfg,
                                                 bool repeatable)
{
    if (x->fresh_only || cfg->send_proxy_protocol != PROXY_HEADER_OFF)
        return NULL;
    return upstream_pool_take_tls(x->pw, x->instance, pool_tls(x->route->pool), repeatable);
}

static enum fetch_error fetch_place_call(struct exchange *x, bool repeatable)
{
    const enum fetch_error e = h2_call_place(x, instance_idle_ms(x->instance, repeatable));
    return e != FETCH_NONE || !upstream_is_open(x) || fetch_send_request(x) ? e : FETCH_RESET;
}

/* With x->instance: FETCH_NONE, or why it failed at once. */
static inline enum fetch_error fetch_try_instance(struct exchange *x)
{
    enum fetch_error e = FETCH_NONE;
    const struct config_pool *cfg = fetch_pool_config(x);
    if (UNLIKELY(x->route->hedges) && x->tries == 0)
        hedge_begin(x);
    x->request_sent = false;
    x->tried[x->tries++ % EXCHANGE_MAX_TRIES] = x->instance;
    bool repeatable = fetch_is_idempotent(x);
    if (UNLIKELY(cfg->prefaced) && cfg->protocol == CONFIG_UPSTREAM_H2)
        return fetch_place_call(x, repeatable);
    if (UNLIKELY(cfg->prefaced))
        x->upstream = fetch_take_prefaced(x, cfg, repeatable);
    else
        x->upstream = x->fresh_only ? NULL : upstream_pool_take(x->pw, x->instance, repeatable);
    if (x->upstream == NULL) {
        x->upstream = upstream_conn_open(x->pw, x->instance, x, cfg->connect_timeout_ms, &e);
        return x->upstream == NULL ? e : FETCH_NONE;
    }
    proxy_count(x->pw, METRIC_UPSTREAM_REUSES, 1);
    upstream_conn_assign(x->upstream, x);
    return fetch_send_request(x) ? FETCH_NONE : FETCH_RESET;
}

NOINLINE enum fetch_error phase_fetch_try(struct exchange *x)
{
    return fetch_try_instance(x);
}

/* Starts one try. FETCH_NONE, or why it failed at once; or it waits (x->queued). */
static enum fetch_error fetch_try(struct exchange *x)
{
    if (UNLIKELY(x->route->limits_pool)) {
        enum fetch_error e = fetch_queue_pick(x);
        if (e != FETCH_NONE || x->queued != NULL)
            return e;
    } else {
        x->instance = pool_pick(x->route->pool, x->affinity, x->tried, x->tries);
        if (x->instance == NULL)
            return FETCH_NO_INSTANCE;
    }
    return fetch_try_instance(x);
}

/* On a kept-alive connection that has not brought a byte of this response. */
static bool fetch_on_reused(const struct exchange *x)
{
    return x->upstream != NULL && upstream_is_reused(x);
}

/* No instance was asked, perhaps for want of memory to wait for one, or the last try has been ended already.
 */
static bool fetch_is_without_try(const struct exchange *x, enum fetch_error e)
{
    return x->tries == 0 || e == FETCH_NO_INSTANCE || e == FETCH_QUEUE_FULL || e == FETCH_QUEUE_TIMEOUT ||
           e == FETCH_QUEUE_SHED || e == FETCH_TIMEOUT;
}

static bool fetch_may_retry(struct exchange *x, enum fetch_error e, unsigned status, bool reused)
{
    if (fetch_is_without_try(x, e) || x->tries >= EXCHANGE_MAX_TRIES ||
        (x->client == NULL && x->flight == NULL))
        return false;
    const struct retry_context ctx = {
        .tries_done = x->tries,
        .status = status,
        .idempotent = fetch_is_idempotent(x) && x->tunnel == NULL,
        .body_replayable = x->body_state == BODY_ABSENT || x->body_state == BODY_UNREAD || !x->replay_lost,
        .request_sent = x->request_sent,
        .response_started = x->head_sent && x->own_fetch == NULL,
        .reused_connection = reused,
    };
    return pool_may_retry(x->route->pool, e, &ctx);
}

/* Ends the failed try; true when another one may follow. */
static bool fetch_try_failed(struct exchange *x, enum fetch_error e)
{
    bool reused = e == FETCH_RESET && fetch_on_reused(x);
    bool retry = fetch_may_retry(x, e, 0, fetch_on_reused(x));
    x->fetch_error = (uint8_t)e;
    proxy_count(x->pw, METRIC_UPSTREAM_ERRORS, !fetch_is_without_try(x, e));
    if (retry)
        proxy_count(x->pw, METRIC_UPSTREAM_RETRIES, 1);
    if (x->instance != NULL && !reused)
        log_warn("instance %s/%s: %s%s", fetch_pool_config(x)->name, instance_name(x->instance),
                 outcome_fetch_text(e), retry ? "; trying again" : "");
    if (UNLIKELY(reused)) {
        proxy_count(x->pw, METRIC_UPSTREAM_REUSE_RACES, retry);
        if (x->call == NULL) /* HTTP/2 says it by GOAWAY */
            instance_on_idle_close(x->instance, x->connected_us / 1000 - x->upstream->idle_since_ms);
    }
    phase_fetch_release(x, reused ? FETCH_CANCELLED : e); /* which says nothing about the instance */
    if (retry && reused) { /* the instance is fine, the connection was old: once more on a fresh one */
        x->fresh_only = true;
        x->tries--;
        x->reuse_races++;
    }
    return retry && x->reuse_races < EXCHANGE_MAX_TRIES;
}

static enum phase_result fetch_give_up(struct exchange *x, enum fetch_error e)
{
    if (UNLIKELY(x->own_fetch != NULL)) {
        own_fetch_failed(x, e);
        return PHASE_MORE;
    }
    if (UNLIKELY(x->remote != NULL))
        phase_remote_cancel(x);
    if (x->flight != NULL) /* whoever follows a request with credentials tries for himself */
        cache_flight_fail(&x->flight,
                          x->credentials != NO_STORE_STORED || x->asset_missing ? FETCH_CANCELLED : e);
    if (x->client != NULL && stale_instead_of_error(x))
        return PHASE_MORE;
    if (x->client == NULL) {
        phase_set(x, PHASE_LOG);
        return PHASE_MORE;
    }
    if (x->no_store == NO_STORE_STORED) /* it was on its way into the cache */
        x->no_store = NO_STORE_FETCH_FAILED;
    if (UNLIKELY(x->asset_missing) && !fetch_is_without_try(x, e))
        return phase_answer_error(x, 404, "the instances that could be asked do not have it");
    return calm_page_or_error(x, e, outcome_fetch_status(e));
}

static enum phase_result fetch_start(struct exchange *x)
{
    for (;;) {
        enum fetch_error e = fetch_try(x);
        if (e == FETCH_NONE)
            break;
        if (!fetch_try_failed(x, e))
            return fetch_give_up(x, e);
    }
    if (UNLIKELY(x->queued != NULL))
        return PHASE_PARK;
    if (upstream_is_open(x))
        fetch_pump_body(x);
    return PHASE_PARK;
}

static bool has_idempotency_key(const struct exchange *x)
{
    for (unsigned i = 0; i < x->req.field_count; i++) {
        if (slice_ieq(x->req.fields[i].name, SLICE_LIT("Idempotency-Key")))
            return x->req.fields[i].value.len > 0;
    }
    return false;
}

/* What the route says about its tries. false: no memory. */
static NOINLINE bool fetch_guard_tries(struct exchange *x)
{
    const struct config_route *r = x->route->config;
    x->keyed = r->retry_idempotency_key && has_idempotency_key(x);
    return r->timeout_ms == 0 || fetch_timeout_begin(x);
}

bool phase_fetch_prepare(struct exchange *x)
{
    x->fetch_us = x->pw->worker->now_us;
    if (LIKELY(x->route->pool != NULL))
        pool_count_request(x->route->pool);
    x->conditions_dropped = x->flight != NULL || UNLIKELY(x->own_fetch != NULL);
    if (UNLIKELY(http_head_has(&x->req, HTTP_FIELD_UPGRADE)) && !x->route->http2_pool && !tunnel_prepare(x))
        return false;
    if (UNLIKELY(x->route->http2_pool) && !grpc_begin(x))
        return false;
    if (UNLIKELY(x->route->compresses))
        compress_fetch(x);
    if (exchange_own_head(x))
        x->upstream_head = forward_request_head(x);
    if (x->upstream_head.ptr == NULL)
        return false;
    if (UNLIKELY(x->route->guards_tries) && !fetch_guard_tries(x))
        return false;
    proxy_count(x->pw, METRIC_FETCHES_OPEN, !x->fetch_counted);
    x->fetch_counted = true;
    if (UNLIKELY(x->route->mirror != NULL))
        mirror_begin(x);
    return true;
}

enum phase_result phase_fetch(struct exchange *x)
{
    if (x->instance != NULL || UNLIKELY(x->queued != NULL))
        return PHASE_PARK; /* a try is under way */
    if (x->upstream_head.ptr == NULL) {
        if (UNLIKELY(http_head_has(&x->req, HTTP_FIELD_UPGRADE)) && tunnel_is_refused(x))
            return phase_answer_error(x, 403, "this route allows no WebSocket");
        if (!phase_fetch_prepare(x))
            return fetch_give_up(x, FETCH_NO_MEMORY);
    }
    if (UNLIKELY(x->route->pool == NULL))
        return root_fetch(x);
    enum phase_result r = fetch_start(x);
    if (UNLIKELY(x->mirror != NULL) && x->body_state == BODY_ABSENT)
        mirror_send(x);
    return r;
}

void phase_fetch_failed(struct exchange *x, enum fetch_error e)
{
    ASSERT(x->phase == PHASE_FETCH);
    if (UNLIKELY(x->hedge != NULL) && hedge_on_failure(x, e))
        return;
    if (!fetch_try_failed(x, e))
        fetch_give_up(x, e);
    phase_run(x);
}

/* A byte of the response is there: what follows is on its way, too, perhaps. */
static bool fetch_has_heard(const struct exchange *x)
{
    return x->call != NULL ? x->call->bytes_seen : x->upstream->response_bytes_seen;
}

void phase_fetch_lost(struct exchange *x)
{
    if (x->phase != PHASE_FETCH || x->upstream == NULL || fetch_has_heard(x))
        return;
    if (UNLIKELY(x->hedge != NULL) && hedge_on_failure(x, FETCH_RESET))
        return;
    if (!pool_has_untried(x->route->pool, x->tried, MIN(x->tries, EXCHANGE_MAX_TRIES)) ||
        !fetch_may_retry(x, FETCH_RESET, 0, false))
        return;
    x->fetch_error = FETCH_RESET;
    proxy_count(x->pw, METRIC_UPSTREAM_ERRORS, 1);
    proxy_count(x->pw, METRIC_UPSTREAM_RETRIES, 1);
    log_warn("%s/%s: went down before it answered; trying again", fetch_pool_config(x)->name,
             instance_name(x->instance));
    phase_fetch_release(x, FETCH_RESET);
    phase_run(x);
}

void phase_fetch_granted(struct exchange *x, struct instance *i)
{
    ASSERT(x->phase == PHASE_FETCH && x->instance == NULL);
    x->instance = i;
    enum fetch_error e = fetch_try_instance(x);
    if (e != FETCH_NONE)
        phase_fetch_failed(x, e);
    else if (upstream_is_open(x))
        fetch_pump_body(x);
}

bool fetch_retry_on_status(struct exchange *x, unsigned status)
{
    if (status != 502 && status != 503 && status != 504)
        return false;
    if (!fetch_may_retry(x, FETCH_NONE, status, false))
        return false;
    proxy_count(x->pw, METRIC_UPSTREAM_RETRIES, 1);
    log_warn("%s/%s: answered %u; trying again", fetch_pool_config(x)->name, instance_name(x->instance),
             status);
    phase_fetch_release(x, FETCH_ERROR_STATUS);
    phase_run(x);
    return true;
}

bool fetch_retry_elsewhere(struct exchange *x)
{
    if (x->tries >= EXCHANGE_MAX_TRIES || (x->client == NULL && x->flight == NULL) ||
        x->route->pool == NULL || !pool_has_untried(x->route->pool, x->tried, x->tries))
        return false;
    proxy_count(x->pw, METRIC_UPSTREAM_RETRIES, 1);
    proxy_count(x->pw, METRIC_ASSET_RETRIES, 1);
    phase_fetch_release(x, FETCH_NONE);
    phase_run(x);
    return true;
}

/* ---- called by the upstream connection ---- */

enum fetch_error exchange_judge_break(struct exchange *x)
{
    const enum fetch_error e = x->upstream != NULL ? upstream_tls_judge(x->upstream) : FETCH_RESET;
    x->request_sent &= e != FETCH_TLS_FAILED;
    return e;
}

void exchange_on_connected(struct exchange *x)
{
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    if (!fetch_send_request(x)) {
        phase_fetch_failed(x, exchange_judge_break(x));
        return;
    }
    fetch_pump_body(x);
}

/* What a reset there would be, but for this: the instance says that it did not receive the request, so any
 * method may be repeated, if its body is still all here. */
bool exchange_on_request_timeout(struct exchange *x)
{
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    const bool was_sent = x->request_sent;
    if (x->phase != PHASE_FETCH) /* own_fetch.h */
        return false;
    x->request_sent = false;
    if (!fetch_may_retry(x, FETCH_RESET, 0, true)) {
        x->request_sent = was_sent;
        return false;
    }
    x->upstream->response_bytes_seen = false;
    phase_fetch_failed(x, FETCH_RESET);
    return true;
}

void exchange_on_continue(struct exchange *x)
{
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    x->awaits_continue = false;
    fetch_pump_body(x);
}

void exchange_on_upstream_writable(struct exchange *x)
{
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    if (x->client != NULL) /* until now the instance was slow, not the client */
        client_was_not_slow(x);
    fetch_pump_body(x);
}
