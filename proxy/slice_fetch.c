/* slice_fetch.c: the fetch of one slice (slices.h). Worker's thread.
 *
 * An exchange without a client, as for renewals (stale.c): the head of the request for which it was begun,
 * but with the Range of exactly this slice and none of the client's conditions. It leads the flight of the
 * slice's key, so that there is one for all, whichever request it was begun for, and goes on when that has
 * left, if others wait or it is being stored.
 *
 * A 206 is stored if it is just this slice, with a strong validator by which slices of one version are known,
 * and fresh for more than the moment. Any other answer is no slice. It is that of the client for whose
 * request the slice was asked for: where that has sent nothing yet, it is given the whole fetch, which goes
 * on as if it had been its own from the beginning, under the key of the whole. So an error page is the
 * instance's, and a wrong guess (a 200 of an instance that knows no ranges, a 404, a redirect) costs no
 * second request. Who waits for the slice meanwhile gets none of that: if it may be stored it is found under
 * the key of the whole; otherwise he asks for himself. Only a server error that was not made for a client
 * with cookies or credentials is everybody's, as on other routes.
 *
 * Rejected: If-Range with what is known of other slices. It would bring the whole of a new version when all
 * that is needed is to see that it is one. And asking without the client's cookies: who may see a film, only
 * the application knows. */
#include "core/http_date.h"
#include "core/metrics.h"
#include "core/panic.h"
#include "proxy/forward.h"
#include "proxy/no_vary.h"
#include "proxy/proxy_worker.h"
#include "proxy/slices.h"

#define FETCHES_MAX 1024   /* per worker, but for those without which a response would be cut */
#define REFUSED_MS  120000 /* how long what may not be stored is fetched without queueing */
#define BACK_OFF_MS 1000   /* after a failure, before the next renewal for nobody who waits */

static struct slice_fetch *fetch_of(const struct exchange *x)
{
    ASSERT(slice_fetch_is(x));
    return CONTAINER_OF(x->partial, struct slice_fetch, partial);
}

bool slice_fetch_is_crowded(const struct exchange *x)
{
    return x->pw->slice_fetch_count >= FETCHES_MAX || x->pw->draining;
}

/* An exchange for it that may be run, or NULL. */
static struct exchange *fetch_new(struct exchange *x, const struct cache_key *key, uint64_t index,
                                  struct slice_reader *reader)
{
    const uint64_t slice_bytes = x->route->rules.slice_bytes;
    struct exchange *b = exchange_new_background(x);
    if (b == NULL)
        return NULL;
    if (b->phase != PHASE_FETCH)
        phase_set(b, PHASE_FETCH); /* other nodes have no slices */
    struct slice_fetch *f = arena_alloc(&b->arena, sizeof *f);
    const slice_t text = arena_copy(&b->arena, key->text);
    if (f == NULL || text.ptr == NULL) {
        exchange_free(b);
        return NULL;
    }
    *f = (struct slice_fetch){
        .partial = {.kind = PARTIAL_SLICE, .rest = slicing_range(slice_bytes, index)},
        .whole = b->key,
        .slice_bytes = slice_bytes,
        .index = index,
        .reader = reader,
    };
    b->partial = &f->partial;
    b->key = (struct cache_key){text, key->hash};
    if (b->req.method != HTTP_GET) {
        b->req.method = HTTP_GET;
        b->req.method_text = SLICE_LIT("GET");
    }
    return b;
}

void slice_fetch_begin(struct exchange *x, struct cache_flight **flight, const struct cache_key *key,
                       uint64_t index, struct cache_object *stale, struct slice_reader *reader)
{
    struct exchange *b = fetch_new(x, key, index, reader);
    if (b == NULL) {
        cache_flight_fail(flight, FETCH_CANCELLED);
        return;
    }
    b->flight = *flight;
    *flight = NULL;
    exchange_host_as_keyed(b);
    b->verdict = stale != NULL ? VERDICT_EXPIRED : VERDICT_MISS;
    if (stale != NULL)
        b->stale = cache_object_ref(stale);
    b->pw->slice_fetch_count++;
    proxy_count(b->pw, METRIC_CACHE_SLICE_FETCHES, 1);
    if (reader != NULL)
        reader->fetch = b;
    b->client = x->client; /* the fields that tell of the client */
    phase_fetch_prepare(b);
    b->client = NULL;
    phase_run(b);
}

void slice_fetch_leave(struct exchange *fetch, const struct exchange *x)
{
    fetch_of(fetch)->reader = NULL;
    if (phase_fetch_is_wanted(fetch))
        exchange_count_with(fetch, x); /* until now that counted for both */
    else
        exchange_abandon(fetch);
}

void slice_fetch_put_fields(struct text *t, const struct exchange *x)
{
    const struct cache_range r = x->partial->rest;
    TEXT_LIT(t, "Range: bytes=");
    text_put_u64(t, r.start);
    TEXT_LIT(t, "-");
    text_put_u64(t, r.end - 1);
    TEXT_LIT(t, "\r\n");
}

void slice_fetch_done(struct exchange *x)
{
    struct slice_fetch *f = fetch_of(x);
    x->pw->slice_fetch_count--;
    if (f->reader != NULL && x->fetch_error != FETCH_NONE)
        slice_reader_tell(f->reader, SLICE_ERROR, NO_STORE_FETCH_FAILED, (enum fetch_error)x->fetch_error,
                          x->other_status);
    if (f->reader != NULL)
        f->reader->fetch = NULL;
    if (x->fetch_error != FETCH_NONE && !x->stored && x->verdict != VERDICT_REVALIDATED)
        cache_back_off(x->pw->cache, &x->key, BACK_OFF_MS);
}

/* ---- what came ---- */

/* A tag, or a date that is at least a second older than the response (RFC 9110 section 8.8.2.2). */
static bool has_strong_validator(const struct exchange *x, const struct http_head *head)
{
    const struct http_field *date = http_head_get(head, HTTP_FIELD_DATE);
    const wall_s_t now_s = x->pw->worker->now_wall_ms / 1000;
    struct cache_validators v;
    wall_s_t date_s = 0;
    cache_validators_from_head(head, now_s, &v);
    if (v.etag.len > 0)
        return http_head_count(head, HTTP_FIELD_ETAG) == 1 && slice_starts(v.etag, SLICE_LIT("\""));
    return v.last_modified_s != 0 && date != NULL && http_date_parse(date->value, now_s, &date_s) &&
           v.last_modified_s < date_s;
}

static bool stays_fresh(const struct exchange *x, const struct http_head *as_whole)
{
    const wall_ms_t now_ms = x->pw->worker->now_wall_ms;
    struct cache_control cc;
    struct cache_freshness fresh;
    cache_control_parse(as_whole, &cc);
    cache_freshness_compute(as_whole, &cc, &x->route->rules, x->sent_wall_ms, now_ms, &fresh);
    return cache_freshness_is_fresh(&fresh, now_ms);
}

/* Just this slice, in a form that slices can be told to belong together by. */
static bool is_the_slice(const struct exchange *x, const struct http_head *head)
{
    const struct slice_fetch *f = fetch_of(x);
    const struct http_field *range = http_head_get(head, HTTP_FIELD_CONTENT_RANGE);
    struct cache_range part;
    uint64_t size;
    return range != NULL && http_head_count(head, HTTP_FIELD_CONTENT_RANGE) == 1 &&
           cache_content_range_parse(range->value, &part, &size) &&
           slicing_is_slice(part, size, f->slice_bytes, f->index) &&
           x->response_length == (int64_t)(part.end - part.start) && !http_head_has(head, HTTP_FIELD_RANGE) &&
           ((part.start == 0 && part.end == size) || has_strong_validator(x, head));
}

/* To who began it. */
static void tell_reader(const struct exchange *x, enum slice_failure failure, enum no_store_reason why,
                        unsigned status)
{
    struct slice_reader *r = fetch_of(x)->reader;
    if (r != NULL)
        slice_reader_tell(r, failure, why, status != 0 ? FETCH_ERROR_STATUS : FETCH_NONE, status);
}

/* Does the answer say something of the URL, whoever asks? */
static bool is_for_all(const struct exchange *x, const struct http_head *head)
{
    return !exchange_is_personal(x) && !http_head_has(head, HTTP_FIELD_VARY);
}

/* The slice's flight ends without one. Who waits for it looks again when the answer is another client's own;
 * otherwise he goes on without slices. */
static void end_flight(struct exchange *x, bool own)
{
    if (own)
        cache_flight_fail(&x->flight, FETCH_CANCELLED);
    else
        cache_flight_release(&x->flight, NO_STORE_NOT_SLICEABLE, 0);
}

/* A 206 that cannot be kept. Where that is since it may not be stored at all, the whole is not fetched in
 * order to find that out again. */
static enum partial_taken refuse(struct exchange *x, const struct http_head *head, enum no_store_reason why)
{
    const struct slice_fetch *f = fetch_of(x);
    const bool own = exchange_is_personal(x);
    if (why == NO_STORE_NO_MEMORY) { /* there may be some again */
        end_flight(x, true);
        return PARTIAL_RELAY;
    }
    tell_reader(x, why == NO_STORE_NOT_SLICEABLE ? SLICE_UNSLICED : SLICE_ALONE, why, 0);
    if (x->credentials != NO_STORE_STORED && why == (enum no_store_reason)x->credentials)
        cache_remember_personal(x->pw->cache, &f->whole, REFUSED_MS);
    else
        slices_remember(x, &f->whole, is_for_all(x, head));
    if (!own && x->stale != NULL)
        cache_forget(x->pw->cache, x->stale);
    if (!own && why != NO_STORE_NOT_SLICEABLE) {
        struct cache_flight *whole = cache_flight_beside(x->flight, &f->whole, &x->req, &x->arena);
        if (whole != NULL)
            cache_flight_release(&whole, why, REFUSED_MS);
    }
    end_flight(x, own);
    return PARTIAL_RELAY;
}

static enum partial_taken take_slice(struct exchange *x, const struct http_head *head,
                                     enum no_store_reason *why)
{
    struct http_head judged = *head; /* whether and for how long it may be stored: as the 200 it is part of */
    judged.status = 200;
    *why = NO_STORE_NOT_SLICEABLE;
    if (!is_the_slice(x, head) || !stays_fresh(x, &judged) || http_head_has(head, HTTP_FIELD_NO_VARY_SEARCH))
        return refuse(x, head, *why);
    const slice_t text = partial_stored_text(x, head);
    *why = NO_STORE_NO_MEMORY;
    if (text.ptr != NULL && phase_store_fill(x, &judged, &judged, text, x->response_length, why))
        return PARTIAL_FILLING;
    return x->flight != NULL ? refuse(x, head, *why) : PARTIAL_RELAY;
}

/* No slice is left of the fetch: for those who wait, `shared` is whether they find the answer elsewhere. */
static void end_answered(struct exchange *x, unsigned status, bool shared)
{
    if (status >= 500 && !shared && !exchange_is_personal(x))
        cache_flight_fail_status(&x->flight, status);
    else
        end_flight(x, !shared && (status != 200 || exchange_is_personal(x)));
}

/* The request that the slice was asked for goes on with the answer, as its own. This exchange ends. */
static void give(struct exchange *x, const struct http_head *head)
{
    struct slice_fetch *f = fetch_of(x);
    struct slice_reader *r = f->reader;
    struct exchange *to = r->x;
    f->reader = NULL;
    r->fetch = NULL;
    slices_take(r);
    exchange_take_fetch(to, x);
    if (to->req.method == HTTP_GET) /* else there is nothing to be stored */
        to->flight = cache_flight_beside(x->flight, &f->whole, &to->req, &to->arena);
    const bool answered = phase_store_response(to, head);
    end_answered(x, head->status, answered && to->filling);
    exchange_abandon(x);
    if (answered)
        phase_store_go_on(to);
}

/* Nobody can be given the answer: it goes on as that to a request for the whole, where it may be stored. */
static enum partial_taken take_answer(struct exchange *x, const struct http_head *head)
{
    struct slice_fetch *f = fetch_of(x);
    struct cache_flight *whole = NULL;
    if (head->status < 500)
        whole = cache_flight_beside(x->flight, &f->whole, &x->req, &x->arena);
    end_answered(x, head->status, whole != NULL && !exchange_is_personal(x));
    if (x->stale != NULL)
        cache_object_unref(&x->stale);
    x->key = f->whole;
    x->flight = whole;
    return whole != NULL ? PARTIAL_OTHER : PARTIAL_RELAY;
}

/* It will not be in the middle of the next response that this is found out. */
static void refuse_reader(struct exchange *x, const struct http_head *head)
{
    struct slice_fetch *f = fetch_of(x);
    if (head->status >= 500) {
        tell_reader(x, SLICE_ERROR, NO_STORE_STATUS, head->status);
        return;
    }
    tell_reader(x, SLICE_UNSLICED, NO_STORE_STATUS, 0);
    if ((head->status == 404 || head->status == 410) && !exchange_is_personal(x))
        slices_forget_first(f->reader->x);
    else if (head->status != 200)
        slices_remember(x, &f->whole, false);
}

/* The answer to a request without Range, too. */
static enum partial_taken take_other(struct exchange *x, const struct http_head *head)
{
    const struct slice_fetch *f = fetch_of(x);
    const struct slice_reader *r = f->reader;
    if (head->status == 200)
        slices_remember(x, &f->whole, is_for_all(x, head));
    if (r != NULL && slices_may_take(r) && (head->status < 500 || !slice_reader_may_stand_in(r))) {
        give(x, head);
        return PARTIAL_GIVEN;
    }
    if (r != NULL)
        refuse_reader(x, head);
    return take_answer(x, head);
}

enum partial_taken slice_fetch_take(struct exchange *x, const struct http_head *head,
                                    enum no_store_reason *why)
{
    const unsigned status = head->status;
    if (status == 206)
        return take_slice(x, head, why);
    if (status == 304)
        return PARTIAL_OTHER; /* of `stale`, or refused already */
    *why = NO_STORE_NOT_SLICEABLE;
    if (status != 416)
        return take_other(x, head);
    if (fetch_of(x)->index == 0)
        return refuse(x, head, *why); /* an empty whole has no ranges */
    tell_reader(x, SLICE_ERROR, NO_STORE_STATUS, status);
    if (exchange_is_personal(x))
        end_flight(x, true);
    else
        cache_flight_fail_status(&x->flight, status);
    return PARTIAL_RELAY;
}
