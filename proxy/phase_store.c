/* phase_store.c: the final response head has come: into the cache, straight to the client, or a confirmation
 * of what is stored. Also takes the body bytes from the upstream connection and its end. */
#include "cache/guard.h"
#include "cache/herd.h"
#include "cache/storable.h"
#include "core/http_date.h"
#include "core/http_field.h"
#include "core/metrics.h"
#include "core/panic.h"
#include "core/random.h"
#include "core/text.h"
#include "proxy/affinity.h"
#include "proxy/assets.h"
#include "proxy/client.h"
#include "proxy/compress.h"
#include "proxy/deliver.h"
#include "proxy/forward.h"
#include "proxy/hedge.h"
#include "proxy/invalidate.h"
#include "proxy/merge_head.h"
#include "proxy/mirror.h"
#include "proxy/no_vary.h"
#include "proxy/own_fetch.h"
#include "proxy/partial.h"
#include "proxy/phase.h"
#include "proxy/proxy_worker.h"
#include "proxy/slices.h"
#include "proxy/stale.h"
#include "proxy/tags.h"
#include "proxy/tunnel.h"
#include "proxy/upstream.h"

/* How long a key whose response may not be shared is fetched without queueing; after 429, and where an asset
 * is missing. */
#define PASS_MEMORY_MS         120000
#define PASS_MEMORY_LIMITED_MS 1000

static dur_ms_t pass_memory_ms(const struct exchange *x, enum no_store_reason why, unsigned status)
{
    if (why == NO_STORE_NO_MEMORY || status >= 500)
        return 0;
    return status == 429 || x->asset_missing ? PASS_MEMORY_LIMITED_MS : PASS_MEMORY_MS;
}

/* Finds a field's value inside a head we built of `from`, so that the slice lives as long as that text. */
static slice_t head_text_value(slice_t head, const struct http_head *from, enum http_field_id id)
{
    slice_t name, value;
    if (!http_head_has(from, id))
        return SLICE_EMPTY;
    while (head_text_next(&head, &name, &value)) {
        if (http_field_lookup(name) == id)
            return value;
    }
    return SLICE_EMPTY;
}

static void fill_set_head(struct exchange *x, struct cache_fill *fill, slice_t head, unsigned status)
{
    fill->request = &x->req;
    fill->head = head;
    fill->status = (uint16_t)status;
    fill->status_line_bytes = (uint16_t)(slice_find(head, '\n', 0) + 1);
    fill->max_object_bytes = x->route->rules.max_object_bytes;
    fill->etag = head_text_value(head, fill->response, HTTP_FIELD_ETAG);
    fill->last_modified = head_text_value(head, fill->response, HTTP_FIELD_LAST_MODIFIED);
    wall_s_t lm = 0;
    if (fill->last_modified.len > 0 &&
        http_date_parse(fill->last_modified, x->pw->worker->now_wall_ms / 1000, &lm))
        fill->last_modified_s = lm;
}

static enum no_store_reason store_guard(const struct exchange *x, const struct http_head *head,
                                        const struct cache_control *cc, const struct cache_freshness *f)
{
    return guard_response((enum no_store_reason)x->credentials, x->target.path, head, cc, f,
                          &x->route->rules);
}

/* What the instance sends now may not be shared, so what it sent before is no longer to be used either, and
 * does not stand in the way of remembering that. A cookie is another matter: the next visitor's response may
 * do. */
static bool store_supersedes(const struct exchange *x, const struct http_head *head, enum no_store_reason why)
{
    return head->status < 400 && why != NO_STORE_SET_COOKIE && why != NO_STORE_NO_MEMORY &&
           !exchange_is_personal(x);
}

/* Not storable. When that is because of this request's credentials, the next one may do better: who waits
 * looks again, and the key is remembered for requests with credentials only. */
static void store_release(struct exchange *x, enum no_store_reason why, dur_ms_t pass_ms)
{
    if (x->credentials == NO_STORE_STORED || why != (enum no_store_reason)x->credentials) {
        cache_flight_release(&x->flight, why, pass_ms);
        return;
    }
    cache_remember_personal(x->pw->cache, &x->key, PASS_MEMORY_MS);
    cache_flight_fail(&x->flight, FETCH_CANCELLED);
}

/* So that not all who use it notice its end at once. */
static void fill_spread_end(struct exchange *x, struct cache_fill *fill)
{
    const struct cache_rules *rules = &x->route->rules;
    if (rules->ttl_jitter_percent > 0)
        cache_ttl_jitter(&fill->fresh, rules->ttl_jitter_percent, random_next(&x->pw->random));
    if (rules->early_refresh)
        fill->early_code = cache_early_code((dur_ms_t)(x->first_byte_us - x->connected_us) / 1000,
                                            fill->fresh.lifetime_ms - fill->fresh.corrected_initial_ms);
}

static const struct http_head *head_for_vary(struct exchange *x, const struct http_head *head)
{
    const struct cache_key_rules *k = &x->route->rules.key;
    return LIKELY(k->custom == NULL) ? head : cache_key_rules_vary(&x->arena, k, head);
}

/* ---- 304: the stored response is confirmed ---- */

/* The cookies that came with the confirmation are this client's, and are not kept. */
static void put_confirmed_cookies(struct exchange *x, const struct http_head *not_modified)
{
    size_t bound = x->info.head.len;
    for (unsigned i = 0; i < not_modified->field_count; i++)
        bound += not_modified->fields[i].value.len + sizeof "Set-Cookie: \r\n";
    char *buf = arena_alloc(&x->arena, bound);
    if (buf == NULL)
        return;
    struct text t = text_make(buf, bound);
    text_put(&t, x->info.head);
    for (unsigned i = 0; i < not_modified->field_count; i++) {
        if (not_modified->fields[i].id != HTTP_FIELD_SET_COOKIE)
            continue;
        TEXT_LIT(&t, "Set-Cookie: ");
        text_put(&t, not_modified->fields[i].value);
        TEXT_LIT(&t, "\r\n");
    }
    x->response_head = text_slice(&t);
}

static void serve_confirmed(struct exchange *x, const struct http_head *not_modified,
                            enum no_store_reason why)
{
    if (x->object == NULL) /* not kept under the new head, but confirmed: still right for this client */
        x->object = cache_object_ref(x->stale);
    x->object_held = true;
    exchange_set_object(x, x->object, SOURCE_OBJECT);
    if (UNLIKELY(http_head_has(not_modified, HTTP_FIELD_SET_COOKIE)))
        put_confirmed_cookies(x, not_modified);
    x->verdict = VERDICT_REVALIDATED;
    x->no_store = (uint8_t)why;
    x->stored = why == NO_STORE_STORED;
    if (UNLIKELY(x->pw->remote != NULL) && x->stored)
        phase_remote_save(x);
    proxy_count(x->pw, METRIC_CACHE_REVALIDATIONS, 1);
}

/* false: no memory for the new head; the flight goes on. */
static bool store_refresh(struct exchange *x, const struct http_head *update)
{
    struct http_head merged, as_get = x->req; /* what a HEAD confirms answers GET */
    slice_t text;
    if (!merge_stored_head(x, update, &merged, &text))
        return false;
    const unsigned status = merged.status;
    if (status == 206)
        merged.status = 200; /* a part is judged as the whole */
    struct cache_control cc;
    struct cache_fill fill = {.response = head_for_vary(x, &merged),
                              .body_bytes = cache_object_info(x->stale).body_bytes};
    cache_control_parse(&merged, &cc);
    cache_freshness_compute(&merged, &cc, &x->route->rules, x->sent_wall_ms, x->pw->worker->now_wall_ms,
                            &fill.fresh);
    fill_spread_end(x, &fill);
    fill_set_head(x, &fill, text, status);
    as_get.method = HTTP_GET;
    enum no_store_reason why =
        cache_response_storable(&as_get, &merged, &cc, &fill.fresh, &x->route->rules, fill.body_bytes);
    if (why == NO_STORE_STORED)
        why = store_guard(x, &merged, &cc, &fill.fresh);
    else
        cache_forget(x->pw->cache, x->stale); /* nor may what it confirms be used by others */
    if (why == NO_STORE_STORED && http_head_has(update, HTTP_FIELD_SET_COOKIE) &&
        !x->route->rules.ignore_set_cookie)
        why = NO_STORE_SET_COOKIE;
    if (why == NO_STORE_STORED)
        why = tags_of_response(x, update, &merged, &fill.tags);
    if (why == NO_STORE_STORED && no_vary_concerns(x, &merged) && !no_vary_confirms(x, &merged))
        why = NO_STORE_OTHER_QUERIES;
    if (why == NO_STORE_STORED)
        x->object = cache_flight_refresh(&x->flight, x->stale, &fill);
    else if (x->flight != NULL)
        store_release(x, why, 0);
    serve_confirmed(x, update, why);
    return true;
}

/* The answer to a HEAD that leads a flight, since something stale is stored: either that is confirmed, or the
 * flight ends, and who waits for it looks again. */
static bool store_head_answer(struct exchange *x, const struct http_head *head)
{
    const bool may_confirm = head->status == 200 && x->stale != NULL;
    if (may_confirm && merge_head_confirms(x, head) && store_refresh(x, head)) {
        x->other_status = 200;
        return true;
    }
    if (may_confirm && x->client_refused) /* still fresh by its own head, but known to be old */
        cache_forget(x->pw->cache, x->stale);
    cache_flight_fail(&x->flight, FETCH_CANCELLED);
    return false;
}

/* ---- 200 and the rest ---- */

/* Fields for this client alone, which are not stored. */
static inline bool has_own_fields(const struct http_head *head, const struct cache_control *cc)
{
    return (cc->flags & (CC_PRIVATE_FIELDS | CC_NO_CACHE_FIELDS)) != 0 ||
           http_head_has(head, HTTP_FIELD_SET_COOKIE);
}

/* phase_store_fill, inlined where a miss passes. */
static inline __attribute__((always_inline)) bool store_fill(struct exchange *x, const struct http_head *head,
                                                             const struct http_head *came, slice_t text,
                                                             int64_t body_bytes, enum no_store_reason *why)
{
    struct cache_control cc;
    struct cache_fill fill = {.response = head_for_vary(x, head), .body_bytes = body_bytes};
    cache_control_parse(head, &cc);
    cache_freshness_compute(head, &cc, &x->route->rules, x->sent_wall_ms, x->pw->worker->now_wall_ms,
                            &fill.fresh);
    fill_spread_end(x, &fill);
    *why = cache_response_storable(&x->req, head, &cc, &fill.fresh, &x->route->rules, body_bytes);
    if (*why == NO_STORE_STORED)
        *why = store_guard(x, head, &cc, &fill.fresh);
    if (*why == NO_STORE_STORED)
        *why = tags_of_response(x, came, head, &fill.tags);
    if (*why != NO_STORE_STORED)
        return false;
    unsigned status = head->status;
    if (LIKELY(text.ptr == NULL)) {
        text = forward_response_head(x, head, true);
        if (UNLIKELY((head->present & CACHE_CONTROL_HIDDEN) != 0) && text.ptr != NULL)
            text = merge_hide_fields(x, text, head);
    } else {
        *why = NO_STORE_PARTIAL;
        if (has_own_fields(head, &cc)) /* of which response would they be? */
            return false;
        status = slice_starts(text, SLICE_LIT("HTTP/1.1 206")) ? 206 : status;
    }
    *why = NO_STORE_NO_MEMORY;
    if (text.ptr == NULL || (no_vary_concerns(x, head) && !no_vary_settle(x, head, why)))
        return false;
    fill_set_head(x, &fill, text, status);
    x->object = cache_fill_begin(x->flight, &fill, why);
    if (x->object == NULL)
        return false;
    if (x->client != NULL) {
        x->follower = cache_flight_follow(x->flight, x->pw->worker, phase_wait_on_event, x);
        if (x->follower == NULL) {
            cache_fill_abort(&x->flight);
            x->object = NULL;
            *why = NO_STORE_NO_MEMORY;
            return false;
        }
    }
    exchange_set_object(x, x->object, SOURCE_FOLLOW);
    if (has_own_fields(head, &cc))
        x->response_head =
            forward_response_head(x, head, false); /* what is not shared is still this client's */
    x->filling = true;
    x->no_store = NO_STORE_STORED;
    return true;
}

bool phase_store_fill(struct exchange *x, const struct http_head *head, const struct http_head *came,
                      slice_t text, int64_t body_bytes, enum no_store_reason *why)
{
    return store_fill(x, head, came, text, body_bytes, why);
}

/* What conditions of the client are judged by. That is when the client is ready, and `head` may be gone. */
static NOINLINE void store_validators(struct exchange *x, const struct http_head *head)
{
    cache_validators_from_head(head, x->pw->worker->now_wall_ms / 1000, &x->validators);
    if (x->validators.etag.len > 0)
        x->validators.etag = head_text_value(x->response_head, head, HTTP_FIELD_ETAG);
}

static void store_relay(struct exchange *x, const struct http_head *head)
{
    x->source = SOURCE_RELAY;
    x->response_head = forward_response_head(x, head, false);
    if (UNLIKELY(x->affinity != NULL))
        affinity_pin(x, head);
    if (UNLIKELY((x->req.present & DELIVER_CONDITIONS) != 0))
        store_validators(x, head);
}

/* The whole of something that may not be stored, for a client that wants a range, from an instance that
 * serves ranges: asked for again as its followers do, with what was left out of the request. Its key being
 * remembered, the next requests are so from the start. */
static bool store_wants_range(const struct exchange *x, const struct http_head *head)
{
    if (x->partial != NULL && x->partial->kind == PARTIAL_ASKED)
        return false; /* it has seen the range */
    return UNLIKELY(http_head_has(&x->req, HTTP_FIELD_RANGE)) && x->conditions_dropped &&
           head->status == 200 && x->req.method == HTTP_GET && x->client != NULL && x->response_length != 0 &&
           http_head_has_token(head, HTTP_FIELD_ACCEPT_RANGES, SLICE_LIT("bytes"));
}

/* Without what the instance was asked conditionally for, or with what the client wants of it. */
static void store_ask_again(struct exchange *x)
{
    if (x->compress != NULL)
        compress_free(x);
    if (x->stale != NULL)
        cache_object_unref(&x->stale);
    phase_fetch_release(x, FETCH_NONE);
    x->upstream_head = (slice_t){NULL, 0};
    x->conditions_dropped = false;
    if (!slice_fetch_is(x))
        x->partial = NULL;
    x->tries = 0;
    phase_run(x);
}

bool phase_store_response(struct exchange *x, const struct http_head *head)
{
    enum no_store_reason why = (enum no_store_reason)x->no_store;
    const struct h1_framing *f = &x->response_framing;
    if (UNLIKELY(x->req.method != HTTP_GET))
        invalidate_after(x, head);
    x->status = head->status;
    x->response_length = f->has_length ? (int64_t)f->length : -1;
    if (f->kind == H1_BODY_NONE && x->req.method != HTTP_HEAD && head->status != 304)
        x->response_length = 0;
    if (x->flight != NULL)
        cache_flight_answered(x->flight, head->status);
    enum partial_taken taken = PARTIAL_OTHER;
    if (UNLIKELY(x->partial != NULL) && x->flight != NULL) {
        taken = partial_take(x, head, &why);
        if (taken == PARTIAL_FILLING)
            return true;
        if (taken == PARTIAL_AGAIN)
            store_ask_again(x);
        if (taken == PARTIAL_AGAIN || taken == PARTIAL_GIVEN)
            return false;
    }
    if (x->flight != NULL && x->stale != NULL && head->status == 304) {
        if (!store_refresh(x, head)) { /* the client, who asked no condition, must not get the 304 */
            cache_flight_release(&x->flight, NO_STORE_NO_MEMORY, 0);
            serve_confirmed(x, head, NO_STORE_NO_MEMORY);
        }
        return true;
    }
    if (UNLIKELY(x->req.method == HTTP_HEAD) && x->flight != NULL) {
        if (store_head_answer(x, head))
            return true;
    } else if (taken == PARTIAL_OTHER && x->flight != NULL &&
               store_fill(x, head, head, (slice_t){NULL, 0}, x->response_length, &why)) {
        return true;
    }
    x->no_store = (uint8_t)why;
    const bool personal = x->credentials != NO_STORE_STORED && why == (enum no_store_reason)x->credentials;
    if (UNLIKELY(x->no_vary != NULL) && x->flight != NULL && no_vary_is_own(x, head) && !personal)
        cache_flight_fail(&x->flight, FETCH_CANCELLED);
    else if (x->flight != NULL && head->status >= 500 && !exchange_is_personal(x))
        cache_flight_fail_status(&x->flight, head->status);
    else if (x->flight != NULL) {
        if (store_supersedes(x, head, why))
            cache_flight_supersede(x->flight);
        store_release(x, why, pass_memory_ms(x, why, head->status));
    }
    if (store_wants_range(x, head)) {
        store_ask_again(x);
        return false;
    }
    store_relay(x, head);
    return true;
}

/* What follows from the head, once phase_store_response has decided. */
static inline __attribute__((always_inline)) void store_go_on(struct exchange *x)
{
    if (UNLIKELY(x->remote != NULL))
        phase_remote_settle(x);
    if (x->source == SOURCE_RELAY && x->client == NULL)
        phase_fetch_release(x, FETCH_CANCELLED);
    phase_set(x, PHASE_DELIVER);
    if (x->upstream == NULL)
        exchange_finish_response(x, NULL);
    else if (x->filling)
        return; /* what else was read comes first: one write for the head and the body's beginning */
    phase_run(x);
}

void phase_store_go_on(struct exchange *x)
{
    store_go_on(x);
}

/* ---- called by the upstream connection ---- */

void exchange_on_response_head(struct exchange *x, const struct http_head *head,
                               const struct h1_framing *framing)
{
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    ASSERT(x->phase == PHASE_FETCH);
    if (UNLIKELY(x->hedge != NULL) && (x = hedge_on_head(x, head->status)) == NULL)
        return;
    x->first_byte_us = x->pw->worker->now_us;
    x->response_framing = *framing;
    if (UNLIKELY(x->route->times_pool) && x->body_state == BODY_ABSENT)
        instance_observe(x->instance, x->first_byte_us - x->connected_us);
    if (UNLIKELY(x->is_mirror)) {
        mirror_on_head(x, head);
        return;
    }
    if (head->status == 304 && x->conditions_dropped && x->stale == NULL) {
        phase_fetch_failed(x, FETCH_BAD_RESPONSE); /* it confirms what nobody asked about */
        return;
    }
    if (UNLIKELY(x->own_fetch != NULL)) {
        own_fetch_on_head(x, head);
        return;
    }
    if (UNLIKELY(x->tunnel != NULL) && tunnel_is_declined(x, head))
        return;
    if (head->status == 304 && x->stale != NULL && !merge_confirms(x, head)) {
        if (x->client_refused) /* still fresh by its own head, but known to be old */
            cache_forget(x->pw->cache, x->stale);
        store_ask_again(x);
        return;
    }
    if (UNLIKELY(head->status == 404) && x->route->rules.keep_assets_ms > 0 && assets_not_found(x))
        return;
    if (fetch_retry_on_status(x, head->status) || stale_instead_of_status(x, head->status))
        return;
    if (UNLIKELY(x->route->compresses))
        head = compress_response(x, head);
    if (phase_store_response(x, head))
        store_go_on(x);
}

char *exchange_body_buffer(struct exchange *x, size_t *room)
{
    return x->filling && x->compress == NULL ? cache_fill_buffer(x->flight, room) : NULL;
}

void exchange_on_body_filled(struct exchange *x, size_t n)
{
    cache_fill_commit(x->flight, n);
    if (UNLIKELY(x->remote != NULL))
        phase_remote_on_body(x);
}

bool phase_store_put(struct exchange *x, const char *data, size_t n)
{
    while (n > 0) {
        size_t room = 0;
        char *to = cache_fill_buffer(x->flight, &room);
        if (to == NULL)
            return false;
        size_t part = MIN(room, n);
        memcpy(to, data, part);
        cache_fill_commit(x->flight, part);
        data += part;
        n -= part;
    }
    return true;
}

void exchange_on_response_body(struct exchange *x, const char *data, size_t n)
{
    if (UNLIKELY(x->compress != NULL) && !compress_body(x, &data, &n))
        exchange_on_upstream_error(x, FETCH_NO_MEMORY);
    else if (UNLIKELY(x->own_fetch != NULL))
        own_fetch_on_body(x, data, n);
    else if (!x->filling)
        deliver_relay(x, data, n);
    else if (!phase_store_put(x, data, n))
        exchange_on_upstream_error(x, FETCH_NO_MEMORY);
    else if (UNLIKELY(x->remote != NULL))
        phase_remote_on_body(x);
}

void exchange_finish_response(struct exchange *x, const struct http_head *trailers)
{
    x->upstream_done = true;
    x->response_end_us = x->pw->worker->now_us;
    phase_fetch_release(x, FETCH_NONE);
    if (UNLIKELY(x->partial != NULL) && x->flight != NULL && !partial_finish(x)) {
        x->no_store = NO_STORE_INCOMPLETE;
        cache_fill_abort(&x->flight);
        x->body_cut = true;
    } else if (x->flight != NULL) {
        enum no_store_reason why = cache_fill_finish(&x->flight);
        x->no_store = (uint8_t)why;
        x->stored = why == NO_STORE_STORED;
        proxy_count(x->pw, METRIC_CACHE_STORED, x->stored);
        if (UNLIKELY(x->pw->remote != NULL) && x->stored)
            phase_remote_save(x);
        if (UNLIKELY(x->remote != NULL))
            phase_remote_settle(x);
    } else if (x->source == SOURCE_RELAY && trailers != NULL && trailers->field_count > 0) {
        x->trailers = forward_trailers(x, trailers, false);
    } else {
        x->trailers = SLICE_EMPTY;
    }
    if (UNLIKELY(x->own_fetch != NULL))
        own_fetch_on_end(x);
}

void exchange_on_response_end(struct exchange *x, const struct http_head *trailers)
{
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    if (UNLIKELY(x->compress != NULL)) {
        trailers = NULL; /* what they say may be of the plain content */
        if (!compress_end(x)) {
            exchange_on_upstream_error(x, FETCH_NO_MEMORY);
            return;
        }
    }
    exchange_finish_response(x, trailers);
    phase_run(x);
}

void exchange_on_upstream_error(struct exchange *x, enum fetch_error e)
{
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    if (x->phase == PHASE_FETCH) {
        phase_fetch_failed(x, e);
        return;
    }
    proxy_count(x->pw, METRIC_UPSTREAM_ERRORS, 1);
    x->fetch_error = (uint8_t)(e == FETCH_RESET ? FETCH_CUT_SHORT : e);
    if (UNLIKELY(x->compress != NULL))
        compress_free(x);
    phase_fetch_release(x, e);
    if (UNLIKELY(x->remote != NULL))
        phase_remote_cancel(x);
    if (x->no_store == NO_STORE_STORED) /* otherwise it would not have been stored whole either */
        x->no_store = e == FETCH_NO_MEMORY ? NO_STORE_NO_MEMORY : NO_STORE_INCOMPLETE;
    if (x->flight != NULL)
        cache_fill_abort(&x->flight);
    x->body_cut = true;
    phase_run(x);
}

void exchange_on_upstream_rested(struct exchange *x)
{
    if (x->phase != PHASE_DELIVER)
        return;
    if (UNLIKELY(x->compress != NULL))
        compress_rested(x);
    if (x->client == NULL && !phase_fetch_is_wanted(x)) {
        exchange_abandon(x); /* it outgrew the limit and its last reader has left */
        return;
    }
    if (!x->filling && x->client != NULL && (client_flush(x) || !client_is_broken(x)))
        return; /* a head whose body has not come yet is out */
    phase_run(x);
}

static void exchange_on_fill_room(void *arg)
{
    struct exchange *x = arg;
    if (x->upstream != NULL)
        upstream_resume(x);
}

bool exchange_wants_pause(struct exchange *x)
{
    if (!x->filling && x->client != NULL && client_is_blocked(x))
        return true;
    if (x->filling && x->flight != NULL &&
        cache_fill_should_pause(x->flight, exchange_on_fill_room, x, x->pw->worker))
        return true;
    return UNLIKELY(x->compress != NULL) && compress_wants_pause(x);
}
