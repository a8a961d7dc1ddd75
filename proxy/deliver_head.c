/* deliver_head.c: the head of the response as this client gets it.
 *
 * A stored head is sent from where it lies, followed by the few lines that differ per request: Age,
 * Cache-Status, framing, Connection. Only 304s, routes that edit fields, and our own pages build theirs. */
#include "core/http_date.h"
#include "core/panic.h"
#include "core/text.h"
#include "proxy/browser_ttl.h"
#include "proxy/client.h"
#include "proxy/deliver.h"
#include "proxy/deliver_range.h"
#include "proxy/forward.h"
#include "proxy/grpc.h"
#include "proxy/hsts.h"
#include "proxy/phase.h"
#include "proxy/proxy_worker.h"
#include "proxy/tags.h"
#include "proxy/fetch_queue.h"

#define TAIL_MAX       512
#define KEY_MAX        4096 /* a longer one is not shown */
#define LOCAL_HEAD_MAX 1280 /* but for Location and the request id */

bool head_text_next(slice_t *rest, slice_t *name, slice_t *value)
{
    if (slice_starts(*rest, SLICE_LIT("HTTP/1.1 "))) {
        size_t nl = slice_find(*rest, '\n', 0);
        *rest = slice_make(rest->ptr + nl + 1, rest->len - nl - 1);
    }
    const char *const end = rest->ptr + rest->len;
    if (rest->len == 0 || rest->ptr[0] == '\r')
        return false;
    const char *const colon = memchr(rest->ptr, ':', rest->len);
    const char *const nl = colon != NULL ? memchr(colon, '\n', (size_t)(end - colon)) : NULL;
    if (nl == NULL)
        return false;
    *name = slice_make(rest->ptr, (size_t)(colon - rest->ptr));
    *value = slice_make(colon + 2, (size_t)(nl - 1 - (colon + 2)));
    *rest = slice_make(nl + 1, (size_t)(end - (nl + 1)));
    return true;
}

slice_t head_text_field(slice_t head, enum http_field_id id)
{
    slice_t name, value;
    while (head_text_next(&head, &name, &value)) {
        if (http_field_lookup(name) == id)
            return value;
    }
    return SLICE_EMPTY;
}

/* RFC 9211 section 2.3: the status is the one of the answer that is not shown. */
static void put_failed_fetch(struct text *t, const struct exchange *x)
{
    TEXT_LIT(t, "fwd=stale; ");
    if (x->other_status != 0) {
        TEXT_LIT(t, "fwd-status=");
        text_put_u64(t, x->other_status);
        TEXT_LIT(t, "; ");
    }
    TEXT_LIT(t, "ttl=");
}

static void put_confirmed(struct text *t, const struct exchange *x)
{
    text_put(t,
             x->client_refused ? SLICE_LIT("fwd=request; fwd-status=") : SLICE_LIT("fwd=stale; fwd-status="));
    text_put_u64(t, x->other_status != 0 ? x->other_status : 304);
    TEXT_LIT(t, "; ttl=");
}

/* In the store that nodes share. */
static void put_found(struct text *t, const struct exchange *x)
{
    const dur_ms_t left_ms = cache_freshness_left_ms(&x->info.fresh, x->pw->worker->now_wall_ms);
    TEXT_LIT(t, "hit; ttl=");
    text_put_u64(t, (uint64_t)MAX(left_ms, 0) / 1000);
    TEXT_LIT(t, "; detail=redis");
}

/* Do they want to know the key? They ask by a Cache-Status of their own, from where purges are taken. */
static bool wants_key(const struct exchange *x)
{
    return UNLIKELY(http_head_has(&x->req, HTTP_FIELD_CACHE_STATUS)) && x->key.text.ptr != NULL &&
           x->key.text.len <= KEY_MAX && exchange_client_in(x, &x->view->shared->config->cache.purge_from);
}

/* A String of RFC 9651 section 3.3.3: a key with anything else in it is left out. */
static void put_key(struct text *t, slice_t key)
{
    for (size_t i = 0; i < key.len; i++) {
        if (key.ptr[i] < 0x20 || key.ptr[i] > 0x7e)
            return;
    }
    TEXT_LIT(t, "; key=\"");
    for (size_t i = 0; i < key.len; i++) {
        if (key.ptr[i] == '"' || key.ptr[i] == '\\')
            text_put_char(t, '\\');
        text_put_char(t, key.ptr[i]);
    }
    text_put_char(t, '"');
}

static void put_cache_status(struct text *t, const struct exchange *x, bool with_key)
{
    const enum cache_verdict v = (enum cache_verdict)x->verdict;
    if (!x->view->shared->config->cache.cache_status || v == VERDICT_NONE)
        return;
    TEXT_LIT(t, "Cache-Status: millpond; ");
    switch (v) {
    case VERDICT_HIT:
    case VERDICT_STALE:
    case VERDICT_REVALIDATED: {
        const struct cache_freshness *f = &x->info.fresh;
        int64_t left_s = (f->lifetime_ms - cache_freshness_age_ms(f, x->pw->worker->now_wall_ms)) / 1000;
        if (v == VERDICT_REVALIDATED)
            put_confirmed(t, x);
        else if (x->stale_on_error)
            put_failed_fetch(t, x);
        else
            TEXT_LIT(t, "hit; ttl=");
        if (left_s < 0)
            text_put_char(t, '-');
        text_put_u64(t, (uint64_t)(left_s < 0 ? -left_s : left_s));
        if (x->stale_on_error)
            text_put(t,
                     x->asset_kept ? SLICE_LIT("; detail=asset_kept") : SLICE_LIT("; detail=stale_if_error"));
        else if (x->stale_renewed)
            TEXT_LIT(t, "; detail=stale_while_revalidate");
        else if (x->source == SOURCE_SLICES)
            TEXT_LIT(t, "; detail=slice");
        break;
    }
    case VERDICT_REDIS:
        put_found(t, x);
        break;
    case VERDICT_COLLAPSED:
        TEXT_LIT(t, "fwd=miss; collapsed");
        break;
    case VERDICT_EXPIRED:
    case VERDICT_REFRESHED:
    case VERDICT_MISS:
    case VERDICT_PARTIAL:
        if (x->no_store == NO_STORE_ONLY_IF_CACHED) { /* it did not go forward */
            TEXT_LIT(t, "detail=only_if_cached");
            break;
        }
        text_put(t, v == VERDICT_EXPIRED     ? SLICE_LIT("fwd=stale")
                    : v == VERDICT_REFRESHED ? SLICE_LIT("fwd=request")
                    : x->vary_miss           ? SLICE_LIT("fwd=vary-miss")
                    : v == VERDICT_PARTIAL   ? SLICE_LIT("fwd=partial")
                                             : SLICE_LIT("fwd=uri-miss"));
        if (x->source == SOURCE_FOLLOW && x->status != x->info.status) {
            TEXT_LIT(t, "; fwd-status=");
            text_put_u64(t, x->info.status);
        }
        if (x->source == SOURCE_FOLLOW || x->source == SOURCE_SLICES) {
            TEXT_LIT(t, "; stored");
        } else if (x->no_store != NO_STORE_STORED) {
            TEXT_LIT(t, "; detail=");
            text_put(t, slice_str(outcome_no_store_name((enum no_store_reason)x->no_store)));
        }
        break;
    case VERDICT_LIMITED: /* it neither hit nor went forward */
    case VERDICT_UNAUTHORIZED:
        TEXT_LIT(t, "detail=");
        text_put(t, slice_str(outcome_no_store_name((enum no_store_reason)x->no_store)));
        break;
    default:
        text_put(t, x->no_store == NO_STORE_METHOD ? SLICE_LIT("fwd=method; detail=")
                                                   : SLICE_LIT("fwd=bypass; detail="));
        text_put(t, slice_str(outcome_no_store_name((enum no_store_reason)x->no_store)));
        break;
    }
    if (UNLIKELY(with_key))
        put_key(t, x->key.text);
    TEXT_LIT(t, "\r\n");
}

static void put_age(struct text *t, const struct exchange *x)
{
    if (x->source != SOURCE_OBJECT && x->source != SOURCE_SLICES &&
        (x->source != SOURCE_FOLLOW || x->response_head.ptr != NULL))
        return; /* the instance's own head has the Age it sent */
    const struct cache_freshness *f = &x->info.fresh;
    bool from_cache = x->source == SOURCE_OBJECT || x->collapsed || x->verdict == VERDICT_REDIS ||
                      (x->source == SOURCE_SLICES && x->verdict != VERDICT_MISS);
    if (!from_cache && f->corrected_initial_ms < 1000)
        return;
    TEXT_LIT(t, "Age: ");
    text_put_u64(t, (uint64_t)cache_freshness_age_ms(f, x->pw->worker->now_wall_ms) / 1000);
    TEXT_LIT(t, "\r\n");
}

/* Decides how the end of the body will be marked, and says so. */
static void put_framing(struct text *t, struct exchange *x)
{
    bool bodyless_status = x->status == 204 || x->status == 304 || x->status < 200;
    x->body_suppressed = x->req.method == HTTP_HEAD || bodyless_status;
    if (x->response_length >= 0 && !(bodyless_status && x->source != SOURCE_RELAY) && x->status != 204) {
        TEXT_LIT(t, "Content-Length: ");
        text_put_u64(t, (uint64_t)x->response_length);
        TEXT_LIT(t, "\r\n");
    }
    if (x->body_suppressed) {
        x->out_framing = FRAME_NONE;
    } else if (x->response_length >= 0) {
        x->out_framing = FRAME_LENGTH;
    } else if (UNLIKELY(x->stream != NULL)) {
        x->out_framing = FRAME_STREAM;
    } else if (x->req.version_minor >= 1) {
        x->out_framing = FRAME_CHUNKED;
        TEXT_LIT(t, "Transfer-Encoding: chunked\r\n");
    } else {
        x->out_framing = FRAME_CLOSE;
        x->keep_alive = false;
        if (x->close_reason == CLOSE_OPEN)
            x->close_reason = CLOSE_RESPONSE_CLOSE;
    }
}

static void put_connection(struct text *t, struct exchange *x)
{
    const struct client_conn *c = x->client;
    unsigned limit = (unsigned)x->listen->max_requests_per_connection;
    if (x->pw->draining || (limit > 0 && c->requests + 1 >= limit))
        x->keep_alive = false;
    if (x->body_state != BODY_ABSENT &&
        x->body_state != BODY_DONE) { /* whether it will be read is not known */
        x->keep_alive = false;
        if (x->close_reason == CLOSE_OPEN)
            x->close_reason = CLOSE_BODY_UNREAD;
    }
    if (!x->keep_alive)
        text_put(t, x->source == SOURCE_TUNNEL ? SLICE_LIT("Connection: Upgrade\r\n")
                                               : SLICE_LIT("Connection: close\r\n"));
    else if (x->req.version_minor == 0)
        TEXT_LIT(t, "Connection: keep-alive\r\n");
}

/* RFC 6585 section 4, RFC 9110 section 10.2.3. A route may answer 429 by itself. */
static void put_retry_after(struct text *t, const struct exchange *x)
{
    const uint64_t retry_after_s = phase_limit_retry_after_s(x) + fetch_queue_retry_after_s(x);
    if (retry_after_s == 0)
        return;
    TEXT_LIT(t, "Retry-After: ");
    text_put_u64(t, retry_after_s);
    TEXT_LIT(t, "\r\n");
}

static void put_local_head(struct text *t, struct exchange *x)
{
    const char *server = x->view->shared->config->main.server_header;
    char date[HTTP_DATE_LEN];
    http_date_write(date, x->pw->worker->now_wall_ms / 1000);
    TEXT_LIT(t, "HTTP/1.1 ");
    text_put_u64(t, x->status);
    TEXT_LIT(t, " ");
    text_put(t, http_status_reason(x->status));
    TEXT_LIT(t, "\r\nDate: ");
    text_put(t, slice_make(date, sizeof date));
    TEXT_LIT(t, "\r\n");
    if (server[0] != '\0') {
        TEXT_LIT(t, "Server: ");
        text_put(t, slice_str(server));
        TEXT_LIT(t, "\r\n");
    }
    if (x->local_type.len > 0) {
        TEXT_LIT(t, "Content-Type: ");
        text_put(t, x->local_type);
        TEXT_LIT(t, "\r\n");
    }
    if (x->location.len > 0) {
        TEXT_LIT(t, "Location: ");
        text_put(t, x->location);
        TEXT_LIT(t, "\r\n");
    }
    if (x->route != NULL && x->route->config->root[0] != '\0' && x->status == 405)
        TEXT_LIT(t, "Allow: GET, HEAD\r\n");
    else if (x->status == 405 || x->req.method == HTTP_OPTIONS)
        TEXT_LIT(t, "Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n");
    if (x->range != NULL)
        deliver_range_put_fields(t, x);
    if (x->status == 429 || x->status == 503)
        put_retry_after(t, x);
    if (UNLIKELY(x->auth != NULL))
        phase_auth_put_challenge(t, x);
    if (UNLIKELY(x->grpc != NULL))
        grpc_put_fields(t, x);
    if (x->status >= 400)
        TEXT_LIT(t, "Cache-Control: no-store\r\n");
    TEXT_LIT(t, "X-Request-Id: ");
    text_put(t, exchange_request_id(x));
    TEXT_LIT(t, "\r\n");
}

/* The base head filtered by the route's edits, or down to what a 304 carries, or as a 206. */
static slice_t filtered_head(struct exchange *x, slice_t base, bool not_modified)
{
    const struct config_route *r = x->route->config;
    const bool partial = x->range != NULL && x->status == 206;
    const bool for_browsers = x->source != SOURCE_LOCAL && browser_ttl_applies(x, base);
    size_t bound = base.len + forward_edits_bound(x, r->response_edits, r->response_edit_count) + 64 +
                   DELIVER_RANGE_FIELDS_MAX + (for_browsers ? browser_ttl_bound(base) : 0);
    char *buf = arena_alloc(&x->arena, bound);
    if (buf == NULL)
        return (slice_t){NULL, 0};
    struct text t = text_make(buf, bound);
    slice_t rest = base, name, value;
    if (not_modified)
        TEXT_LIT(&t, "HTTP/1.1 304 Not Modified\r\n");
    else if (partial)
        TEXT_LIT(&t, "HTTP/1.1 206 Partial Content\r\n");
    else
        text_put(&t, slice_make(base.ptr, slice_find(base, '\n', 0) + 1));
    while (head_text_next(&rest, &name, &value)) {
        const struct http_field f = {.name = name, .value = value, .id = (uint8_t)http_field_lookup(name)};
        if (not_modified && !cache_field_in_304(&f))
            continue;
        if ((partial && deliver_range_drops(x, &f)) || f.id == HTTP_FIELD_RANGE)
            continue;
        if (forward_is_edited(r->response_edits, r->response_edit_count, name) ||
            (for_browsers && browser_ttl_replaces(&f)))
            continue;
        text_put(&t, slice_make(name.ptr, (size_t)(value.ptr + value.len - name.ptr) + 2));
    }
    if (for_browsers && !forward_is_edited(r->response_edits, r->response_edit_count,
                                           http_field_name(HTTP_FIELD_CACHE_CONTROL)))
        browser_ttl_put(&t, x, base);
    forward_put_edits(&t, x, r->response_edits, r->response_edit_count);
    if (partial)
        deliver_range_put_fields(&t, x);
    return t.overflow ? (slice_t){NULL, 0} : text_slice(&t);
}

/* The client's own conditions against what we are about to send. A relayed response was judged by the
 * instance. */
static enum cache_cond deliver_condition(const struct exchange *x)
{
    if (LIKELY((x->req.present & DELIVER_CONDITIONS) == 0) ||
        (x->status != 200 && (x->status != 206 || x->source == SOURCE_RELAY)))
        return CACHE_COND_NONE;
    if (x->req.method != HTTP_GET && x->req.method != HTTP_HEAD)
        return CACHE_COND_NONE;
    wall_s_t now_s = x->pw->worker->now_wall_ms / 1000;
    if (x->source == SOURCE_RELAY)
        return x->conditions_dropped ? cache_cond_evaluate(&x->req, &x->validators, now_s) : CACHE_COND_NONE;
    return cache_cond_evaluate(&x->req, &x->info.validators, now_s);
}

static NOINLINE char *tail_room(struct exchange *x, size_t room)
{
    return arena_alloc(&x->arena, room);
}

static NOINLINE bool tail_to_stream(struct exchange *x, slice_t tail)
{
    return h2_stream_head(x->stream, tail, x->body_suppressed || x->response_length == 0);
}

/* What differs per request, behind a base head that was added already. */
static bool deliver_tail(struct exchange *x, size_t base_bytes)
{
    const bool with_key = wants_key(x);
    size_t room = TAIL_MAX + (UNLIKELY(with_key) ? 2 * x->key.text.len : 0);
    char *buf = LIKELY(x->stream == NULL) ? client_out_reserve(x->client, room) : tail_room(x, room);
    if (buf == NULL)
        return false;
    struct text t = text_make(buf, room);
    put_age(&t, x);
    put_cache_status(&t, x, with_key);
    put_framing(&t, x);
    if (LIKELY(x->stream == NULL))
        put_connection(&t, x);
    TEXT_LIT(&t, "\r\n");
    ASSERT(!t.overflow);
    x->response_head_bytes = (uint32_t)(base_bytes + text_slice(&t).len);
    if (UNLIKELY(x->stream != NULL))
        return tail_to_stream(x, text_slice(&t));
    client_out_commit(x->client, text_slice(&t).len);
    return true;
}

static bool deliver_local_head(struct exchange *x)
{
    size_t bound = LOCAL_HEAD_MAX + x->location.len + exchange_request_id(x).len;
    char *buf = arena_alloc(&x->arena, bound);
    if (buf == NULL)
        return false;
    struct text t = text_make(buf, bound);
    put_local_head(&t, x);
    ASSERT(!t.overflow);
    slice_t base = text_slice(&t);
    if (x->route != NULL && x->route->config->response_edit_count > 0)
        base = filtered_head(x, base, false);
    return base.ptr != NULL && client_add(x, base.ptr, base.len, NULL) && hsts_deliver(x, base, &base.len) &&
           deliver_tail(x, base.len);
}

bool deliver_head(struct exchange *x)
{
    x->head_sent = true;
    if (x->source == SOURCE_LOCAL)
        return deliver_local_head(x);
    struct cache_object *owner = x->source == SOURCE_RELAY ? NULL : x->object;
    slice_t base = x->response_head;
    if (owner != NULL) {
        if (base.ptr == NULL)
            base = x->info.head;
        else
            owner = NULL;
        x->status = x->info.status;
        x->response_length = cache_object_is_complete(x->object) ? (int64_t)cache_object_filled(x->object)
                                                                 : x->info.body_bytes;
    }
    enum cache_cond cond = deliver_condition(x);
    if (cond == CACHE_COND_FAILED)
        deliver_refuse(x, 412, "a condition of the request does not hold");
    else if (UNLIKELY(http_head_has(&x->req, HTTP_FIELD_RANGE)) && cond == CACHE_COND_NONE)
        deliver_range_begin(x, base);
    if (UNLIKELY(x->source == SOURCE_LOCAL))
        return deliver_local_head(x);
    if (cond == CACHE_COND_NOT_MODIFIED)
        x->status = 304;
    if (cond == CACHE_COND_NOT_MODIFIED || x->range != NULL || x->route->edits_response ||
        (x->status == 206 && x->source != SOURCE_RELAY)) {
        base = filtered_head(x, base, cond == CACHE_COND_NOT_MODIFIED);
        owner = NULL;
    }
    if (cond == CACHE_COND_NOT_MODIFIED)
        x->response_length = -1;
    if (base.ptr == NULL || !client_add(x, base.ptr, base.len, owner))
        return false;
    size_t bytes = base.len;
    if (UNLIKELY(http_head_has(&x->req, HTTP_FIELD_FASTLY_DEBUG)) && !tags_deliver(x, &bytes))
        return false;
    if (!hsts_deliver(x, base, &bytes))
        return false;
    return deliver_tail(x, bytes);
}
