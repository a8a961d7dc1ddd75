/* own_fetch.c: see own_fetch.h. Worker's thread.
 *
 * What outgrew max_object_size is read through a window (cache/window.c), and a client that takes less than
 * others must leave it. Its response has begun, so whatever follows must be of the same one. With a strong
 * validator the instance is asked for the rest, under If-Range. Otherwise, or when it sends the whole all the
 * same, the whole is read and what the client has is left out, provided that it is the same, byte for byte:
 * the window kept a digest of what went through it. A head that says anything else about the content, too
 * few bytes, or other ones: the client's response is cut, which it can tell; never is it put together from
 * two versions.
 *
 * The fetch begins only when the client has taken what it was given, so one that has stopped reading costs
 * an instance nothing, and ends by write_timeout or min_rate like any other. Until then what waits for it is
 * copied, since the window drops it: at most one step of delivery (deliver_step).
 *
 * The client that led the shared fetch leaves it like any other: the fetch goes on in an exchange without a
 * client (exchange_new_heir). What was compressed here would not be the same bytes again, so its reader is
 * cut. Rejected: ranges, also of what is completed from parts. They get this far only when their length was
 * announced and memory is short, and are cut. */
#include "proxy/own_fetch.h"

#include "cache/range.h"
#include "core/metrics.h"
#include "core/panic.h"
#include "proxy/client.h"
#include "proxy/compress.h"
#include "proxy/deliver.h"
#include "proxy/deliver_range.h"
#include "proxy/partial.h"
#include "proxy/phase.h"
#include "proxy/proxy_worker.h"
#include "proxy/upstream_conn.h"

/* ---- leaving the shared one ---- */

/* The flight goes on without this reader. false: no memory. */
static bool leave_flight(struct exchange *x)
{
    struct exchange *heir = NULL;
    if (x->flight != NULL && (heir = exchange_new_heir(x)) == NULL)
        return false;
    cache_follower_close(&x->follower);
    x->object = NULL;
    x->partial = NULL;
    if (heir != NULL && !phase_fetch_is_wanted(heir))
        exchange_abandon(heir); /* who waited for this reader left at the same time */
    return true;
}

/* What must be known of the response to go on with it. false: it cannot be done. */
static bool remember_response(struct exchange *x, struct own_fetch *own)
{
    if (x->range != NULL || x->info.status == 206 || compress_is_ours(x, x->info.head))
        return false;
    own->status = x->info.status;
    own->offset = x->offset;
    own->head = arena_copy(&x->arena, x->info.head);
    own->validator =
        own->status == 200 ? arena_copy(&x->arena, partial_strong_validator(x, &x->info)) : SLICE_EMPTY;
    own->has_value = cache_follower_digest(x->follower, x->offset, own->value);
    return own->head.ptr != NULL && own->validator.ptr != NULL && (own->has_value || own->validator.len > 0);
}

/* Nothing of the response is out (earlier ones wait for the client): as if it had never been shared. */
static bool begin_anew(struct exchange *x)
{
    if (!leave_flight(x))
        return false;
    x->source = SOURCE_NONE;
    x->verdict = x->collapsed ? VERDICT_MISS : x->verdict;
    x->collapsed = false;
    phase_set(x, PHASE_FETCH);
    return true;
}

static bool begin_rest(struct exchange *x, struct own_fetch *own, bool possible)
{
    const bool all_given = x->range != NULL && deliver_range_is_done(x->range);
    if (!client_own(x) || !leave_flight(x))
        return false;
    x->own_fetch = all_given ? NULL : own;
    x->source = SOURCE_RELAY;
    x->body_cut = !possible && !all_given;
    x->upstream_done = all_given;
    return true;
}

/* It has caught up, or there is nobody left to hold up. */
static bool may_stay(const struct exchange *x)
{
    return x->source != SOURCE_FOLLOW || !client_is_blocked(x) || cache_object_is_complete(x->object) ||
           cache_follower_is_cut(x->follower);
}

void own_fetch_begin(struct exchange *x)
{
    if (may_stay(x)) {
        phase_run(x);
        return;
    }
    struct own_fetch *own = arena_calloc(&x->arena, sizeof *own);
    const bool possible = own != NULL && remember_response(x, own);
    if (may_stay(x)) { /* the shared fetch ended just now, and its digest with it */
        phase_run(x);
        return;
    }
    proxy_count(x->pw, METRIC_CACHE_LEFT_BEHIND, 1);
    x->no_store = NO_STORE_TOO_LARGE;
    if (own != NULL && (x->head_sent ? begin_rest(x, own, possible) : begin_anew(x)))
        phase_run(x);
    else
        client_abort(x, CLOSE_NO_MEMORY);
}

/* ---- the own one ---- */

bool own_fetch_is_due(struct exchange *x)
{
    if (x->own_fetch->state != OWN_FETCH_WAITS)
        return false;
    x->own_fetch->state = OWN_FETCH_FETCHES;
    phase_set(x, PHASE_FETCH);
    return true;
}

void own_fetch_put_fields(struct text *t, const struct exchange *x)
{
    const struct own_fetch *own = x->own_fetch;
    if (own->validator.len == 0 || own->offset == 0)
        return;
    TEXT_LIT(t, "Range: bytes=");
    text_put_u64(t, own->offset);
    TEXT_LIT(t, "-\r\nIf-Range: ");
    text_put(t, own->validator);
    TEXT_LIT(t, "\r\n");
}

static bool says_the_same(const struct own_fetch *own, const struct http_head *head, enum http_field_id id)
{
    const struct http_field *f = http_head_get(head, id);
    return http_head_count(head, id) <= 1 &&
           slice_eq(f != NULL ? f->value : SLICE_EMPTY, head_text_field(own->head, id));
}

/* Its length, if the client was told one. */
static bool fits_framing(const struct exchange *x, uint64_t size)
{
    return x->out_framing != FRAME_LENGTH || size == (uint64_t)x->response_length;
}

static bool is_the_rest(const struct exchange *x, const struct http_head *head)
{
    const struct own_fetch *own = x->own_fetch;
    const struct http_field *range = http_head_get(head, HTTP_FIELD_CONTENT_RANGE);
    const bool by_tag = slice_starts(own->validator, SLICE_LIT("\""));
    struct cache_range part;
    uint64_t size;
    return head->status == 206 && own->validator.len > 0 && own->offset > 0 && range != NULL &&
           http_head_count(head, HTTP_FIELD_CONTENT_RANGE) == 1 &&
           cache_content_range_parse(range->value, &part, &size) && part.start == own->offset &&
           part.end == size && x->response_framing.has_length &&
           x->response_framing.length == part.end - part.start && fits_framing(x, size) &&
           says_the_same(own, head, by_tag ? HTTP_FIELD_ETAG : HTTP_FIELD_LAST_MODIFIED) &&
           (!http_head_has(head, HTTP_FIELD_CONTENT_ENCODING) ||
            says_the_same(own, head, HTTP_FIELD_CONTENT_ENCODING));
}

/* It looks like it; its first bytes have the last word. */
static bool may_be_the_whole(const struct exchange *x, const struct http_head *head)
{
    const struct own_fetch *own = x->own_fetch;
    const struct h1_framing *f = &x->response_framing;
    return head->status == own->status && own->has_value && says_the_same(own, head, HTTP_FIELD_ETAG) &&
           says_the_same(own, head, HTTP_FIELD_LAST_MODIFIED) &&
           says_the_same(own, head, HTTP_FIELD_CONTENT_TYPE) &&
           says_the_same(own, head, HTTP_FIELD_CONTENT_ENCODING) &&
           (x->out_framing != FRAME_LENGTH || (f->has_length && fits_framing(x, f->length)));
}

static void cut(struct exchange *x, enum fetch_error e)
{
    phase_fetch_release(x, FETCH_CANCELLED); /* the instance is not to blame */
    x->fetch_error = (uint8_t)e;
    x->body_cut = true;
}

void own_fetch_on_head(struct exchange *x, const struct http_head *head)
{
    struct own_fetch *own = x->own_fetch;
    if (fetch_retry_on_status(x, head->status))
        return;
    if (is_the_rest(x, head)) {
        own->state = OWN_FETCH_RELAYS;
    } else if (may_be_the_whole(x, head) && (own->skipped = digest_new()) != NULL) {
        own->state = OWN_FETCH_SKIPS;
        own->left = own->offset;
    } else {
        cut(x, head->status >= 500 ? FETCH_ERROR_STATUS : FETCH_CHANGED);
    }
    phase_set(x, PHASE_DELIVER);
    if (!x->body_cut && x->upstream == NULL)
        exchange_finish_response(x, NULL);
    phase_run(x);
}

/* All that the client has came again: was it that? */
static bool is_the_same(struct own_fetch *own)
{
    uint8_t value[DIGEST_BYTES];
    return digest_end(&own->skipped, value) && memcmp(value, own->value, sizeof value) == 0;
}

void own_fetch_on_body(struct exchange *x, const char *data, size_t n)
{
    struct own_fetch *own = x->own_fetch;
    size_t part = 0;
    if (own->state == OWN_FETCH_SKIPS) {
        part = (size_t)MIN((uint64_t)n, own->left);
        digest_add(own->skipped, data, part);
        own->left -= part;
        if (own->left > 0)
            return;
        if (!is_the_same(own)) {
            cut(x, FETCH_CHANGED);
            phase_run(x);
            return;
        }
        own->state = OWN_FETCH_RELAYS;
    }
    deliver_relay(x, data + part, n - part);
}

void own_fetch_on_end(struct exchange *x)
{
    if (x->own_fetch->state != OWN_FETCH_SKIPS)
        return;
    x->fetch_error = FETCH_CHANGED; /* it has less than the client was given */
    x->body_cut = true;
}

void own_fetch_failed(struct exchange *x, enum fetch_error e)
{
    x->fetch_error = (uint8_t)e;
    x->body_cut = true;
    phase_set(x, PHASE_DELIVER);
}

void own_fetch_free(struct exchange *x)
{
    digest_free(&x->own_fetch->skipped);
}
