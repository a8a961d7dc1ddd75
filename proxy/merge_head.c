/* merge_head.c: see merge_head.h. Worker's thread.
 *
 * It is done in two steps, because either side may name a field of the other in no-cache="..." or
 * private="...": first all lines that are left of both become one head, which is parsed; then that head says
 * which of its fields are stored. */
#include "proxy/merge_head.h"

#include "cache/hidden.h"
#include "cache/storable.h"
#include "core/h1_parse.h"
#include "core/http_field.h"
#include "core/panic.h"
#include "core/text.h"
#include "proxy/deliver.h"
#include "proxy/exchange.h"
#include "proxy/proxy_worker.h"

bool merge_confirms(const struct exchange *x, const struct http_head *not_modified)
{
    const struct cache_validators stored = cache_object_info(x->stale).validators;
    const struct http_field *etag = http_head_get(not_modified, HTTP_FIELD_ETAG);
    return etag == NULL || stored.etag.len == 0 || stored.last_modified.len == 0 ||
           cache_etag_weak_eq(etag->value, stored.etag);
}

bool merge_head_confirms(const struct exchange *x, const struct http_head *ok)
{
    const struct cache_object_info stored = cache_object_info(x->stale);
    const struct http_field *etag = http_head_get(ok, HTTP_FIELD_ETAG);
    const struct http_field *modified = http_head_get(ok, HTTP_FIELD_LAST_MODIFIED);
    if (etag == NULL && modified == NULL)
        return false;
    if (etag != NULL && !slice_eq(etag->value, stored.validators.etag))
        return false;
    if (modified != NULL && !slice_eq(modified->value, stored.validators.last_modified))
        return false;
    const struct h1_framing *f = &x->response_framing;
    return !f->has_length || (int64_t)f->length == stored.body_bytes;
}

static void put_line(struct text *t, const struct http_field *f)
{
    text_put(t, f->name);
    TEXT_LIT(t, ": ");
    text_put(t, f->value);
    TEXT_LIT(t, "\r\n");
}

/* What a stored part says of itself, and not of the whole. */
static bool is_of_part(slice_t name)
{
    enum http_field_id id = http_field_lookup(name);
    return id == HTTP_FIELD_CONTENT_RANGE || id == HTTP_FIELD_RANGE ||
           (id == HTTP_FIELD_OTHER &&
            (slice_ieq(name, SLICE_LIT("content-digest")) || slice_ieq(name, SLICE_LIT("content-md5"))));
}

static bool is_replaced(const struct http_head *update, slice_t name)
{
    const struct http_field *f = http_head_find(update, name);
    return (f != NULL && cache_field_updates_stored(update, f)) ||
           (update->status == 206 && is_of_part(name));
}

static void put_stored_lines(struct text *t, slice_t rest, const struct http_head *update)
{
    slice_t name, value;
    while (head_text_next(&rest, &name, &value)) {
        if (!is_replaced(update, name))
            text_put(t, slice_make(name.ptr, (size_t)(value.ptr + value.len - name.ptr) + 2));
    }
}

/* Step one. */
static slice_t all_lines(struct exchange *x, const struct http_head *update)
{
    const struct cache_object_info old = cache_object_info(x->stale);
    const slice_t whole = SLICE_LIT("HTTP/1.1 200 OK\r\n");
    size_t bound = whole.len + old.head.len + old.hidden_bytes + 2;
    for (unsigned i = 0; i < update->field_count; i++)
        bound += update->fields[i].name.len + update->fields[i].value.len + 4;
    char *buf = arena_alloc(&x->arena, bound);
    if (buf == NULL)
        return (slice_t){NULL, 0};
    struct text t = text_make(buf, bound);
    text_put(&t, update->status == 206 ? whole : slice_make(old.head.ptr, old.status_line_bytes));
    put_stored_lines(&t, old.head, update);
    put_stored_lines(&t, cache_object_info_hidden(&old), update);
    for (unsigned i = 0; i < update->field_count; i++) {
        const struct http_field *f = &update->fields[i];
        if (f->id == HTTP_FIELD_AGE || (cache_field_updates_stored(update, f) && f->id != HTTP_FIELD_VIA))
            put_line(&t, f);
    }
    TEXT_LIT(&t, "\r\n");
    return t.overflow ? (slice_t){NULL, 0} : text_slice(&t);
}

/* Step two, but for what is hidden. */
static slice_t stored_lines(struct exchange *x, slice_t all, const struct http_head *merged)
{
    char *buf = arena_alloc(&x->arena, all.len);
    if (buf == NULL)
        return (slice_t){NULL, 0};
    struct text t = text_make(buf, all.len);
    text_put(&t, slice_make(all.ptr, slice_find(all, '\n', 0) + 1));
    for (unsigned i = 0; i < merged->field_count; i++) {
        const struct http_field *f = &merged->fields[i];
        const uint64_t elsewhere = HTTP_BIT(AGE) | CACHE_CONTROL_HIDDEN;
        if ((f->id == HTTP_FIELD_OTHER || ((elsewhere >> f->id) & 1) == 0) &&
            cache_field_is_storable(merged, f))
            put_line(&t, f);
    }
    ASSERT(!t.overflow);
    return text_slice(&t);
}

bool merge_stored_head(struct exchange *x, const struct http_head *update, struct http_head *merged,
                       slice_t *text)
{
    slice_t all = all_lines(x, update);
    struct h1_parser p = {0};
    const struct h1_limits limits = {all.len, 0, x->pw->field_capacity};
    *merged =
        (struct http_head){.fields = arena_alloc(&x->arena, sizeof *merged->fields * limits.max_fields)};
    if (all.ptr == NULL || merged->fields == NULL ||
        h1_parse_response(&p, all.ptr, all.len, merged, &limits) != H1_DONE)
        return false;
    *text = stored_lines(x, all, merged);
    if (text->ptr != NULL)
        *text = merge_hide_fields(x, *text, merged);
    return text->ptr != NULL;
}

slice_t merge_hide_fields(struct exchange *x, slice_t shown, const struct http_head *response)
{
    if (LIKELY((response->present & CACHE_CONTROL_HIDDEN) == 0))
        return shown;
    size_t bound = shown.len + CACHE_HIDDEN_SEAL;
    for (unsigned i = 0; i < response->field_count; i++)
        bound += response->fields[i].name.len + response->fields[i].value.len + 4;
    char *buf = arena_alloc(&x->arena, bound);
    if (buf == NULL)
        return (slice_t){NULL, 0};
    struct text t = text_make(buf, bound);
    text_put(&t, shown);
    for (unsigned i = 0; i < response->field_count; i++) {
        const struct http_field *f = &response->fields[i];
        if (f->id != HTTP_FIELD_OTHER && ((CACHE_CONTROL_HIDDEN >> f->id) & 1))
            put_line(&t, f);
    }
    size_t hidden = text_slice(&t).len - shown.len;
    if (hidden > UINT16_MAX) /* such a head is not stored anyway */
        return (slice_t){NULL, 0};
    cache_hidden_seal(t.at, hidden);
    return slice_make(buf, text_slice(&t).len + CACHE_HIDDEN_SEAL);
}
