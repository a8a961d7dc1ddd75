/* cond.c: see cond.h. Pure; any thread.
 *
 * Entity tags are read strictly. A list with anything wrong in it matches nothing, so that If-None-Match is
 * answered in full and If-Match with 412: both are safe. It still counts as present, and switches off the
 * date condition beside it (RFC 9110 sections 13.1.3 and 13.1.4). The list iterator of http_field.h is not
 * used: entity tags have no escapes, so in them `"a\"` is whole.
 *
 * A stored response without Last-Modified ignores If-Modified-Since; RFC 9111 section 4.3.2 would let Date
 * stand in, but answering in full is never wrong. */
#include "cache/cond.h"

#include "cache/storable.h"
#include "core/http_date.h"
#include "core/http_field.h"

static bool is_etagc(unsigned char c)
{
    return c == 0x21 || (c >= 0x23 && c <= 0x7e) || c >= 0x80;
}

/* Length of the entity-tag at the front of `s`, 0 when there is none (RFC 9110 section 8.8.3). */
static size_t etag_length(slice_t s)
{
    size_t i = slice_starts(s, SLICE_LIT("W/")) ? 2 : 0;
    if (i >= s.len || s.ptr[i] != '"')
        return 0;
    i++;
    while (i < s.len && is_etagc((unsigned char)s.ptr[i]))
        i++;
    return i < s.len && s.ptr[i] == '"' ? i + 1 : 0;
}

static bool etag_is_weak(slice_t etag)
{
    return slice_starts(etag, SLICE_LIT("W/"));
}

static slice_t etag_opaque(slice_t etag)
{
    return etag_is_weak(etag) ? slice_make(etag.ptr + 2, etag.len - 2) : etag;
}

bool cache_etag_weak_eq(slice_t a, slice_t b)
{
    return a.len > 0 && b.len > 0 && slice_eq(etag_opaque(a), etag_opaque(b));
}

static bool etag_strong_eq(slice_t a, slice_t b)
{
    return a.len > 0 && !etag_is_weak(a) && !etag_is_weak(b) && slice_eq(a, b);
}

void cache_validators_from_head(const struct http_head *response, wall_s_t now_s,
                                struct cache_validators *out)
{
    const struct http_field *etag = http_head_get(response, HTTP_FIELD_ETAG);
    const struct http_field *modified = http_head_get(response, HTTP_FIELD_LAST_MODIFIED);
    *out = (struct cache_validators){.etag = SLICE_EMPTY, .last_modified = SLICE_EMPTY, .last_modified_s = 0};
    if (etag != NULL && etag->value.len > 0 && etag_length(etag->value) == etag->value.len)
        out->etag = etag->value;
    if (modified == NULL)
        return;
    out->last_modified = modified->value;
    if (!http_date_parse(modified->value, now_s, &out->last_modified_s))
        out->last_modified_s = 0;
}

typedef bool (*etag_eq)(slice_t, slice_t);

/* One line of an entity-tag list. false when it is malformed; empty elements are skipped. */
static bool line_matches(slice_t s, slice_t stored, etag_eq eq, bool *matched)
{
    bool separated = true;
    while (s.len > 0) {
        size_t n = 1;
        if (s.ptr[0] == ',') {
            separated = true;
        } else if (s.ptr[0] != ' ' && s.ptr[0] != '\t') {
            n = etag_length(s);
            if (n == 0 || !separated)
                return false;
            *matched |= eq(slice_make(s.ptr, n), stored);
            separated = false;
        }
        s = slice_make(s.ptr + n, s.len - n);
    }
    return true;
}

/* All lines of If-Match or If-None-Match against the stored tag; `*` matches, since there is a response. */
static bool list_matches(const struct http_head *request, enum http_field_id id, slice_t stored, etag_eq eq)
{
    bool matched = false;
    const struct http_field *first = http_head_get(request, id);
    if (slice_eq(first->value, SLICE_LIT("*")))
        return http_head_count(request, id) == 1;
    for (unsigned i = 0; i < request->field_count; i++) {
        if (request->fields[i].id == id && !line_matches(request->fields[i].value, stored, eq, &matched))
            return false;
    }
    return matched;
}

/* The date of a condition; false when it is to be ignored: absent, repeated or no date. */
static bool condition_date(const struct http_head *request, enum http_field_id id, wall_s_t now_s,
                           wall_s_t *out)
{
    const struct http_field *f = http_head_get(request, id);
    return f != NULL && http_head_count(request, id) == 1 && http_date_parse(f->value, now_s, out);
}

enum cache_cond cache_cond_evaluate(const struct http_head *request, const struct cache_validators *stored,
                                    wall_s_t now_s)
{
    const uint64_t conditions = HTTP_BIT(IF_MATCH) | HTTP_BIT(IF_UNMODIFIED_SINCE) | HTTP_BIT(IF_NONE_MATCH) |
                                HTTP_BIT(IF_MODIFIED_SINCE);
    bool dated = stored->last_modified_s != 0;
    wall_s_t date_s;
    if (LIKELY((request->present & conditions) == 0))
        return CACHE_COND_NONE;

    if (http_head_has(request, HTTP_FIELD_IF_MATCH)) {
        if (!list_matches(request, HTTP_FIELD_IF_MATCH, stored->etag, etag_strong_eq))
            return CACHE_COND_FAILED;
    } else if (dated && condition_date(request, HTTP_FIELD_IF_UNMODIFIED_SINCE, now_s, &date_s) &&
               stored->last_modified_s > date_s) {
        return CACHE_COND_FAILED;
    }
    if (http_head_has(request, HTTP_FIELD_IF_NONE_MATCH)) {
        bool matched = list_matches(request, HTTP_FIELD_IF_NONE_MATCH, stored->etag, cache_etag_weak_eq);
        return matched ? CACHE_COND_NOT_MODIFIED : CACHE_COND_NONE;
    }
    if (dated && condition_date(request, HTTP_FIELD_IF_MODIFIED_SINCE, now_s, &date_s) &&
        stored->last_modified_s <= date_s)
        return CACHE_COND_NOT_MODIFIED;
    return CACHE_COND_NONE;
}

/* Describe a body, which a 304 has none of. */
#define REPRESENTATION                                                                                       \
    (HTTP_BIT(CONTENT_LENGTH) | HTTP_BIT(CONTENT_TYPE) | HTTP_BIT(CONTENT_ENCODING) | HTTP_BIT(CONTENT_RANGE))
/* What the stored body depends on. Its type is not among them: nothing was done to the body by it. */
#define BODY_BOUND                                                                                           \
    (HTTP_BIT(CONTENT_LENGTH) | HTTP_BIT(CONTENT_ENCODING) | HTTP_BIT(CONTENT_RANGE) | HTTP_BIT(ETAG))

static bool name_is_one_of(slice_t name, const slice_t *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (slice_ieq(name, names[i]))
            return true;
    }
    return false;
}

bool cache_field_in_304(const struct http_field *f)
{
    static const slice_t others[] = {
        {"content-language", 16}, {"content-disposition", 19}, {"content-digest", 14},
        {"repr-digest", 11},      {"content-md5", 11},         {"digest", 6},
    };
    if (f->id != HTTP_FIELD_OTHER)
        return !http_field_is_hop_by_hop(f->id) && f->id != HTTP_FIELD_TRAILER &&
               !((REPRESENTATION >> f->id) & 1);
    return !name_is_one_of(f->name, others, ARRAY_LEN(others));
}

bool cache_field_updates_stored(const struct http_head *not_modified, const struct http_field *f)
{
    static const slice_t of_content[] = {{"content-digest", 14}, {"content-md5", 11}};
    if (f->id != HTTP_FIELD_OTHER ? (BODY_BOUND >> f->id) & 1
                                  : name_is_one_of(f->name, of_content, ARRAY_LEN(of_content)))
        return false;
    return cache_field_is_storable(not_modified, f);
}
