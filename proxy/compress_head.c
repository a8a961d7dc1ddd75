/* compress_head.c: see compress_head.h, and compress_request of compress.h.
 *
 * The ETag of what is compressed is the application's made weak (RFC 9110 section 8.8.3.3): what is
 * compressed twice need not be the same bytes, since where it is flushed depends on when it came. So nobody
 * joins ranges of it, which are not offered either (Accept-Ranges: none). If-None-Match compares weakly, here
 * and at the instance; If-Match never does, so a weak tag that goes to the instance with a PUT becomes strong
 * again: there it stands for what the application said. Rejected: a suffix to the tag, which would promise
 * the same bytes. */
#include "proxy/compress_head.h"

#include "cache/cache_control.h"
#include "core/http_field.h"
#include "core/panic.h"
#include "core/text.h"
#include "proxy/compress.h"
#include "proxy/deliver.h"
#include "proxy/exchange.h"

/* ---- requests ---- */

/* A range is wanted of what there is plain: of what is compressed there are none. What was said under a date,
 * or a weak tag, may have been said of that, and is then answered in full. */
static bool wants_range(const struct http_head *req)
{
    const struct http_field *condition = http_head_get(req, HTTP_FIELD_IF_RANGE);
    return http_head_has(req, HTTP_FIELD_RANGE) &&
           (condition == NULL || slice_starts(condition->value, SLICE_LIT("\"")));
}

/* Where the name stands in the value, so that the field still lies in the head's own bytes; `.ptr` is NULL
 * when it does not (`*`). */
static slice_t find_name(slice_t value, slice_t name)
{
    for (size_t i = 0; i + name.len <= value.len; i++) {
        const slice_t here = slice_make(value.ptr + i, name.len);
        if (slice_ieq(here, name))
            return here;
    }
    return (slice_t){NULL, 0};
}

static bool any_names(const struct http_head *req, slice_t name)
{
    for (unsigned i = 0; i < req->field_count; i++) {
        if (req->fields[i].id == HTTP_FIELD_ACCEPT_ENCODING &&
            find_name(req->fields[i].value, name).ptr != NULL)
            return true;
    }
    return false;
}

/* The name that the field does not say, since it is `*`: into the bytes of its own name, so that the head
 * stays in one piece (exchange_own_head). */
static slice_t write_name(struct http_field *f, slice_t name)
{
    char *at = (char *)(uintptr_t)f->name.ptr;
    ASSERT(name.len <= f->name.len);
    memcpy(at, name.ptr, name.len);
    f->name = SLICE_LIT("Accept-Encoding");
    return slice_make(at, name.len);
}

/* One line of Accept-Encoding, which says `c` alone, or none. */
static void accept_only(struct exchange *x, enum coding c)
{
    struct http_head *req = &x->req;
    const slice_t name = coding_name(c);
    const bool named = c != CODING_IDENTITY && any_names(req, name);
    bool kept = c == CODING_IDENTITY;
    unsigned count = 0;
    if (!kept && !named && x->pw != NULL && !exchange_own_head(x))
        return;
    for (unsigned i = 0; i < req->field_count; i++) {
        struct http_field f = req->fields[i];
        if (f.id == HTTP_FIELD_ACCEPT_ENCODING) {
            const slice_t value = named ? find_name(f.value, name) : name;
            if (kept || value.ptr == NULL)
                continue;
            f.value = named || x->pw == NULL ? value : write_name(&f, name);
            kept = true;
        }
        req->fields[count++] = f;
    }
    req->field_count = (uint16_t)count;
    if (c == CODING_IDENTITY)
        req->present &= ~HTTP_BIT(ACCEPT_ENCODING);
}

/* Each W/ before a tag goes; what stands between quotes is the tag's. */
static void strengthen(struct exchange *x, struct http_field *f)
{
    char *buf = arena_alloc(&x->arena, f->value.len);
    size_t n = 0;
    bool quoted = false;
    if (buf == NULL)
        return;
    for (size_t i = 0; i < f->value.len; i++) {
        const slice_t rest = slice_make(f->value.ptr + i, f->value.len - i);
        if (!quoted && slice_starts(rest, SLICE_LIT("W/\"")))
            i += 2;
        quoted ^= f->value.ptr[i] == '"';
        buf[n++] = f->value.ptr[i];
    }
    f->value = slice_make(buf, n);
}

slice_t compress_explain(const struct exchange *x)
{
    const enum coding c = coding_choose(&x->req, &x->route->config->compress);
    if (!http_head_has(&x->req, HTTP_FIELD_ACCEPT_ENCODING))
        return SLICE_LIT("none: the request has no Accept-Encoding");
    if (wants_range(&x->req))
        return SLICE_LIT("none: the request is for a range, and those are of the plain content");
    if (c == CODING_IDENTITY)
        return SLICE_LIT(
            "none: Accept-Encoding takes none that compress names, or would rather have it plain");
    return coding_name(c);
}

void compress_request(struct exchange *x)
{
    struct http_head *req = &x->req;
    if (http_head_has(req, HTTP_FIELD_ACCEPT_ENCODING))
        accept_only(x, wants_range(req) ? CODING_IDENTITY : coding_choose(req, &x->route->config->compress));
    if (LIKELY(!http_head_has(req, HTTP_FIELD_IF_MATCH)) || req->method == HTTP_GET ||
        req->method == HTTP_HEAD)
        return;
    if (x->pw != NULL && !exchange_own_head(x))
        return;
    for (unsigned i = 0; i < req->field_count; i++) {
        if (req->fields[i].id == HTTP_FIELD_IF_MATCH)
            strengthen(x, &req->fields[i]);
    }
}

/* What is compressed has no ranges, so what such a request would get is a part of something else. Where the
 * response may be stored it is asked for without a range, and judged when it is there. */
void compress_fetch(struct exchange *x)
{
    compress_request(x);
    if (x->flight == NULL && http_head_has(&x->req, HTTP_FIELD_ACCEPT_ENCODING))
        http_head_drop(&x->req, HTTP_BIT(RANGE) | HTTP_BIT(IF_RANGE));
}

/* ---- responses ---- */

bool compress_is_ours(const struct exchange *x, slice_t head)
{
    return x->route->compresses && head_text_field(head, HTTP_FIELD_CONTENT_ENCODING).len > 0 &&
           slice_eq(head_text_field(head, HTTP_FIELD_ACCEPT_RANGES), SLICE_LIT("none"));
}

static bool status_has_content(unsigned status)
{
    return (status >= 200 && status <= 203) || status == 206 || status == 207 || status >= 400;
}

static bool forbids_change(const struct http_head *head)
{
    struct cache_control cc;
    cache_control_init(&cc);
    for (unsigned i = 0; i < head->field_count; i++) {
        if (head->fields[i].id == HTTP_FIELD_CACHE_CONTROL)
            cache_control_parse_value(head->fields[i].value, &cc);
    }
    return (cc.flags & CC_NO_TRANSFORM) != 0;
}

/* What is stored, and confirmed by a 304, varies by the coding; and shall go on to, whatever the 304 says. */
static bool stored_varies(const struct exchange *x)
{
    slice_t head, name, value, element;
    if (x->stale == NULL)
        return false;
    head = cache_object_info(x->stale).head;
    while (head_text_next(&head, &name, &value)) {
        while (http_field_lookup(name) == HTTP_FIELD_VARY && http_list_next(&value, &element)) {
            if (slice_ieq(element, SLICE_LIT("accept-encoding")))
                return true;
        }
    }
    return false;
}

/* A 304 for the client itself, who has what was compressed for it: it says the tag as it was made weak. */
static bool is_told_weakly(const struct exchange *x, const struct http_head *head)
{
    const struct http_field *etag = http_head_get(head, HTTP_FIELD_ETAG);
    if (head->status != 304 || x->stale != NULL || etag == NULL ||
        !slice_starts(etag->value, SLICE_LIT("\"")))
        return false;
    for (unsigned i = 0; i < x->req.field_count; i++) {
        slice_t rest = x->req.fields[i].value;
        for (; x->req.fields[i].id == HTTP_FIELD_IF_NONE_MATCH && rest.len > 2; rest.ptr++, rest.len--) {
            if (slice_starts(rest, SLICE_LIT("W/")) &&
                slice_starts(slice_make(rest.ptr + 2, rest.len - 2), etag->value))
                return true;
        }
    }
    return false;
}

/* gRPC has codings of its own, and its trailers must stay. */
enum compress_case compress_head_case(const struct exchange *x, const struct http_head *head)
{
    const struct h1_framing *f = &x->response_framing;
    const struct http_field *type = http_head_get(head, HTTP_FIELD_CONTENT_TYPE);
    if (head->status == 304)
        return stored_varies(x) || is_told_weakly(x, head) ? COMPRESS_VARY : COMPRESS_NOTHING;
    if (x->grpc != NULL || !status_has_content(head->status) ||
        http_head_has(head, HTTP_FIELD_CONTENT_ENCODING) || type == NULL ||
        http_head_count(head, HTTP_FIELD_CONTENT_TYPE) > 1 || !coding_helps(type->value) ||
        forbids_change(head))
        return COMPRESS_NOTHING;
    if (head->status == 206)
        return COMPRESS_VARY;
    const bool short_one = f->has_length ? f->length < COMPRESS_LEAST_BYTES
                                         : f->kind == H1_BODY_NONE && x->req.method != HTTP_HEAD;
    return short_one || http_head_has(head, HTTP_FIELD_CONTENT_RANGE) ? COMPRESS_NOTHING : COMPRESS_BODY;
}

/* What says something about the bytes before they were coded. */
static bool is_of_plain(const struct http_field *f)
{
    static const slice_t others[] = {
        {"content-digest", 14}, {"repr-digest", 11}, {"content-md5", 11}, {"digest", 6}, {"trailer", 7}};
    if (f->id != HTTP_FIELD_OTHER)
        return f->id == HTTP_FIELD_CONTENT_LENGTH || f->id == HTTP_FIELD_ACCEPT_RANGES ||
               f->id == HTTP_FIELD_TRAILER;
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        if (slice_ieq(f->name, others[i]))
            return true;
    }
    return false;
}

static void add(struct http_head *head, enum http_field_id id, slice_t name, slice_t value)
{
    head->fields[head->field_count++] = (struct http_field){.name = name, .value = value, .id = (uint8_t)id};
    head->present |= (uint64_t)1 << id;
}

/* "a" becomes W/"a". false: no memory. */
static bool weaken(struct exchange *x, struct http_field *f)
{
    if (!slice_starts(f->value, SLICE_LIT("\"")))
        return true;
    char *buf = arena_alloc(&x->arena, f->value.len + 2);
    if (buf == NULL)
        return false;
    struct text t = text_make(buf, f->value.len + 2);
    TEXT_LIT(&t, "W/");
    text_put(&t, f->value);
    f->value = text_slice(&t);
    return true;
}

const struct http_head *compress_head_change(struct exchange *x, const struct http_head *head, enum coding c)
{
    struct http_head *to = arena_alloc(&x->arena, sizeof *to);
    struct http_field *fields = arena_alloc(&x->arena, sizeof *fields * (head->field_count + 3u));
    if (to == NULL || fields == NULL)
        return NULL;
    *to = *head;
    to->fields = fields;
    to->field_count = 0;
    const bool confirms =
        head->status == 304 && x->stale != NULL && compress_is_ours(x, cache_object_info(x->stale).head);
    const bool coded = c != CODING_IDENTITY || confirms;
    const bool weak = c != CODING_IDENTITY || is_told_weakly(x, head);
    for (unsigned i = 0; i < head->field_count; i++) {
        struct http_field f = head->fields[i];
        if (coded && is_of_plain(&f))
            continue;
        if (weak && f.id == HTTP_FIELD_ETAG && !weaken(x, &f))
            return NULL;
        fields[to->field_count++] = f;
    }
    if (coded)
        to->present &= ~(HTTP_BIT(CONTENT_LENGTH) | HTTP_BIT(ACCEPT_RANGES) | HTTP_BIT(TRAILER));
    if (!http_head_has_token(head, HTTP_FIELD_VARY, SLICE_LIT("accept-encoding")) &&
        !http_head_has_token(head, HTTP_FIELD_VARY, SLICE_LIT("*")))
        add(to, HTTP_FIELD_VARY, SLICE_LIT("Vary"), SLICE_LIT("Accept-Encoding"));
    if (c == CODING_IDENTITY)
        return to;
    add(to, HTTP_FIELD_CONTENT_ENCODING, SLICE_LIT("Content-Encoding"), coding_name(c));
    add(to, HTTP_FIELD_ACCEPT_RANGES, SLICE_LIT("Accept-Ranges"), SLICE_LIT("none"));
    return to;
}
