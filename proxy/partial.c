/* partial.c: see partial.h. Worker's thread.
 *
 * By far the most ranges are served from whole stored responses, and a miss fetches the whole. Two things are
 * better done in part. A range far from the beginning, or counted from the end, would have to wait for all
 * that comes before it: it is asked for as it is, and the 206 is stored. And what follows need not fetch
 * these bytes again: any request that the part does not answer has the rest fetched, under If-Range, and the
 * two become one whole object, which is served like any other while it is filled. So a part costs one request
 * at most, and the cache knows no lists of parts. Rejected: growing parts and holes, which would need a body
 * that is not one run of bytes, and pays only where `size` is beyond max_object_size.
 *
 * Parts are combined by the same strong validator only (RFC 9111 section 3.4), and never when the old one has
 * been purged, evicted or replaced since. The old bytes are copied, at once, and so not more than
 * PARTIAL_COPY_MAX.
 *
 * A 206 whose length is not what its Content-Range says is given again only to who sends the same Range: that
 * much is true of any response. The stored head then has the request's Range as its last line, which
 * never leaves the cache. */
#include "proxy/partial.h"

#include "core/http_date.h"
#include "core/rcu.h"
#include "proxy/deliver.h"
#include "proxy/forward.h"
#include "proxy/merge_head.h"
#include "proxy/phase.h"
#include "proxy/proxy_worker.h"
#include "proxy/slices.h"

#define PARTIAL_FAR_BYTES (1 * MB) /* from here on, a range is not worth waiting for the bytes before it */
#define PARTIAL_COPY_MAX  (8 * MB) /* some milliseconds */
#define CONDITIONS                                                                                           \
    (HTTP_BIT(IF_MATCH) | HTTP_BIT(IF_NONE_MATCH) | HTTP_BIT(IF_MODIFIED_SINCE) |                            \
     HTTP_BIT(IF_UNMODIFIED_SINCE) | HTTP_BIT(IF_RANGE))

static wall_s_t now_s(const struct exchange *x)
{
    return x->pw->worker->now_wall_ms / 1000;
}

static bool range_is(struct cache_range r, uint64_t start, uint64_t end)
{
    return r.start == start && r.end == end;
}

/* ---- what is stored ---- */

static wall_s_t head_date_s(slice_t head, wall_s_t now_s)
{
    wall_s_t date_s = 0;
    return http_date_parse(head_text_field(head, HTTP_FIELD_DATE), now_s, &date_s) ? date_s : 0;
}

/* What a stored part says it has. */
static bool part_parse(const struct cache_object_info *part, struct cache_range *held, uint64_t *size)
{
    return cache_content_range_parse(head_text_field(part->head, HTTP_FIELD_CONTENT_RANGE), held, size);
}

static bool part_is_exact(const struct cache_object_info *part, const struct cache_range *held)
{
    return part->body_bytes == (int64_t)(held->end - held->start);
}

enum partial_use partial_use(const struct http_head *request, const struct cache_object_info *part,
                             wall_s_t now_s, struct cache_range *held, uint64_t *size)
{
    const struct http_field *range = http_head_get(request, HTTP_FIELD_RANGE);
    struct cache_range_set set;
    *held = (struct cache_range){0, 0};
    if (!part_parse(part, held, size) || range == NULL || request->method != HTTP_GET ||
        http_head_count(request, HTTP_FIELD_RANGE) != 1 ||
        !cache_if_range_holds(request, &part->validators, head_date_s(part->head, now_s), now_s))
        return PARTIAL_NOTHING;
    bool exact = part_is_exact(part, held);
    enum cache_range_verdict v = cache_range_parse(range->value, *size, &set);
    if (exact && v == CACHE_RANGE_UNSATISFIABLE)
        return PARTIAL_CUT;
    if (v != CACHE_RANGE_PARTS || set.count != 1 || set.parts[0].start < held->start ||
        set.parts[0].end > held->end)
        return PARTIAL_NOTHING;
    if (exact)
        return PARTIAL_CUT;
    return slice_eq(head_text_field(part->head, HTTP_FIELD_RANGE), range->value) ? PARTIAL_AS_IS
                                                                                 : PARTIAL_NOTHING;
}

bool partial_fits(const struct exchange *x, const struct cache_object_info *part)
{
    struct cache_range held;
    uint64_t size;
    return partial_use(&x->req, part, now_s(x), &held, &size) != PARTIAL_NOTHING;
}

slice_t partial_strong_validator(const struct exchange *x, const struct cache_object_info *part)
{
    const struct cache_validators *v = &part->validators;
    if (v->etag.len > 0)
        return slice_starts(v->etag, SLICE_LIT("\"")) ? v->etag : SLICE_EMPTY;
    bool strong = v->last_modified_s != 0 && v->last_modified_s < head_date_s(part->head, now_s(x));
    return strong ? v->last_modified : SLICE_EMPTY;
}

/* ---- what to fetch ---- */

bool partial_found(struct exchange *x)
{
    struct partial *p = arena_alloc(&x->arena, sizeof *p);
    struct cache_range held;
    if (p == NULL)
        return false;
    *p = (struct partial){.kind = PARTIAL_USELESS};
    x->partial = p;
    if (!part_parse(&x->info, &held, &p->size) || !part_is_exact(&x->info, &held))
        return true;
    p->rest = held.start == 0 ? (struct cache_range){held.end, p->size} : (struct cache_range){0, held.start};
    bool one_run = held.start == 0 || held.end == p->size;
    if (one_run && held.end - held.start <= PARTIAL_COPY_MAX && partial_strong_validator(x, &x->info).len > 0)
        p->kind = PARTIAL_REST;
    return true;
}

void partial_ask(struct exchange *x)
{
    struct cache_range_set set;
    if ((x->req.present & CONDITIONS) != 0 || http_head_count(&x->req, HTTP_FIELD_RANGE) != 1)
        return;
    slice_t value = http_head_get(&x->req, HTTP_FIELD_RANGE)->value;
    /* Of an endless body: what counts from the end is far, too. */
    if (cache_range_parse(value, UINT64_MAX, &set) != CACHE_RANGE_PARTS || set.count != 1 ||
        set.parts[0].start < PARTIAL_FAR_BYTES)
        return;
    x->partial = arena_alloc(&x->arena, sizeof *x->partial);
    if (x->partial != NULL)
        *x->partial = (struct partial){.kind = PARTIAL_ASKED};
}

void partial_put_fields(struct text *t, const struct exchange *x)
{
    if (x->partial->kind == PARTIAL_SLICE)
        slice_fetch_put_fields(t, x);
    if (x->stale == NULL || x->partial->kind != PARTIAL_REST)
        return;
    const struct cache_object_info part = cache_object_info(x->stale);
    const struct partial *p = x->partial;
    TEXT_LIT(t, "Range: bytes=");
    text_put_u64(t, p->rest.start);
    TEXT_LIT(t, "-");
    if (p->rest.end < p->size)
        text_put_u64(t, p->rest.end - 1);
    TEXT_LIT(t, "\r\nIf-Range: ");
    text_put(t, partial_strong_validator(x, &part));
    TEXT_LIT(t, "\r\n");
}

/* ---- what came ---- */

/* Which bytes a 206 brings; `exact`: and its length agrees. */
static bool arrived_part(const struct exchange *x, const struct http_head *head, struct cache_range *part,
                         uint64_t *size, bool *exact)
{
    const struct http_field *f = http_head_get(head, HTTP_FIELD_CONTENT_RANGE);
    if (f == NULL || http_head_count(head, HTTP_FIELD_CONTENT_RANGE) != 1 || x->response_length <= 0 ||
        !cache_content_range_parse(f->value, part, size))
        return false;
    *exact = part->end - part->start == (uint64_t)x->response_length;
    return true;
}

static bool same_validator(const struct exchange *x, const struct http_head *head)
{
    const struct cache_object_info part = cache_object_info(x->stale);
    enum http_field_id id = part.validators.etag.len > 0 ? HTTP_FIELD_ETAG : HTTP_FIELD_LAST_MODIFIED;
    return http_head_count(head, id) == 1 &&
           slice_eq(http_head_get(head, id)->value, partial_strong_validator(x, &part));
}

/* With If-Range an instance need not repeat it (RFC 9110 section 15.3.7); but some give the compressed form
 * the tag of the plain one. */
static bool same_coding(const struct exchange *x, const struct http_head *head)
{
    const struct http_field *f = http_head_get(head, HTTP_FIELD_CONTENT_ENCODING);
    return f == NULL ||
           slice_eq(f->value, head_text_field(cache_object_info(x->stale).head, HTTP_FIELD_CONTENT_ENCODING));
}

/* Not purged, evicted or replaced since it was found: what is made of it may be stored. */
static bool still_stored(struct exchange *x)
{
    enum no_store_reason pass;
    rcu_enter();
    bool same = cache_find(x->pw->cache, &x->key, &x->req, &x->arena, &pass) == x->stale;
    rcu_leave();
    return same;
}

/* What `stale` has, into the object that is being filled. */
static bool put_stored_bytes(struct exchange *x)
{
    struct iovec iov[16];
    const uint64_t end = cache_object_filled(x->stale);
    for (uint64_t at = 0; at < end;) {
        size_t n = cache_object_iov(x->stale, at, iov, ARRAY_LEN(iov));
        for (size_t i = 0; i < n; i++) {
            if (!phase_store_put(x, iov[i].iov_base, iov[i].iov_len))
                return false;
            at += iov[i].iov_len;
        }
    }
    return true;
}

/* The missing bytes come: the whole begins to be stored. */
static bool whole_begin(struct exchange *x, const struct http_head *head)
{
    struct http_head merged;
    enum no_store_reason why;
    slice_t text;
    if (!merge_stored_head(x, head, &merged, &text) ||
        !phase_store_fill(x, &merged, head, text, (int64_t)x->partial->size, &why))
        return false;
    if (x->partial->rest.start == 0) {
        x->partial->kind = PARTIAL_FIRST;
    } else if (!put_stored_bytes(x)) {
        cache_fill_abort(&x->flight);
        phase_fetch_release(x, FETCH_NO_MEMORY);
        x->body_cut = true;
    }
    return true;
}

static enum partial_taken take_rest(struct exchange *x, const struct http_head *head)
{
    const struct partial *p = x->partial;
    struct cache_range part;
    uint64_t size;
    bool exact;
    if (head->status == 304 || head->status == 416)
        return PARTIAL_AGAIN;
    if (head->status != 206)
        return PARTIAL_OTHER;
    if (!arrived_part(x, head, &part, &size, &exact) || !exact || size != p->size ||
        !range_is(part, p->rest.start, p->rest.end) || !same_validator(x, head) || !same_coding(x, head) ||
        http_head_has(head, HTTP_FIELD_SET_COOKIE) || !still_stored(x))
        return PARTIAL_AGAIN;
    return whole_begin(x, head) ? PARTIAL_FILLING : PARTIAL_AGAIN;
}

/* The stored head of a part. */
static slice_t part_text(struct exchange *x, const struct http_head *head, bool exact)
{
    slice_t text = forward_response_head(x, head, true);
    if (text.ptr == NULL)
        return text;
    if (exact)
        return merge_hide_fields(x, text, head);
    slice_t asked = http_head_get(&x->req, HTTP_FIELD_RANGE)->value;
    size_t bound = text.len + asked.len + 16;
    char *buf = arena_alloc(&x->arena, bound);
    struct text t = text_make(buf, buf == NULL ? 0 : bound);
    text_put(&t, text);
    TEXT_LIT(&t, "Range: ");
    text_put(&t, asked);
    TEXT_LIT(&t, "\r\n");
    return t.overflow ? (slice_t){NULL, 0} : merge_hide_fields(x, text_slice(&t), head);
}

slice_t partial_stored_text(struct exchange *x, const struct http_head *head)
{
    return part_text(x, head, true);
}

/* A 206 that has all of it is a 200 but for its name. */
static bool drop_content_range(struct exchange *x, struct http_head *head)
{
    struct http_field *fields = arena_alloc(&x->arena, sizeof *fields * head->field_count);
    uint16_t kept = 0;
    if (fields == NULL)
        return false;
    for (unsigned i = 0; i < head->field_count; i++) {
        if (head->fields[i].id != HTTP_FIELD_CONTENT_RANGE)
            fields[kept++] = head->fields[i];
    }
    head->fields = fields;
    head->field_count = kept;
    head->present &= ~HTTP_BIT(CONTENT_RANGE);
    head->reason = SLICE_EMPTY;
    return true;
}

static bool part_begin(struct exchange *x, const struct http_head *head, enum no_store_reason *why)
{
    struct http_head judged = *head; /* whether and for how long it may be stored: as the 200 it is part of */
    struct cache_range part;
    uint64_t size;
    bool exact;
    *why = NO_STORE_PARTIAL;
    if (!arrived_part(x, head, &part, &size, &exact) || http_head_has(head, HTTP_FIELD_RANGE))
        return false;
    judged.status = 200;
    if (exact && range_is(part, 0, size))
        return drop_content_range(x, &judged) &&
               phase_store_fill(x, &judged, &judged, (slice_t){NULL, 0}, x->response_length, why);
    slice_t text = part_text(x, head, exact);
    return text.ptr != NULL && phase_store_fill(x, &judged, &judged, text, x->response_length, why);
}

static enum partial_taken take_asked(struct exchange *x, const struct http_head *head,
                                     enum no_store_reason *why)
{
    *why = NO_STORE_STATUS;
    if (head->status != 206 && head->status != 416)
        return PARTIAL_OTHER;
    if (head->status == 206 && part_begin(x, head, why))
        return PARTIAL_FILLING;
    /* It says nothing of the whole: who waits looks again, and the key is not remembered. */
    if (x->flight != NULL && (head->status == 416 || *why == NO_STORE_PARTIAL))
        cache_flight_fail(&x->flight, FETCH_CANCELLED);
    return PARTIAL_RELAY;
}

enum partial_taken partial_take(struct exchange *x, const struct http_head *head, enum no_store_reason *why)
{
    switch (x->partial->kind) {
    case PARTIAL_ASKED:
        return take_asked(x, head, why);
    case PARTIAL_REST:
        return take_rest(x, head);
    case PARTIAL_SLICE:
        return slice_fetch_take(x, head, why);
    case PARTIAL_FIRST:
    case PARTIAL_USELESS:
        break;
    }
    return PARTIAL_OTHER;
}

bool partial_finish(struct exchange *x)
{
    return x->partial->kind != PARTIAL_FIRST || put_stored_bytes(x);
}
