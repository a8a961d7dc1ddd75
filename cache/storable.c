/* storable.c: see storable.h. Pure; any thread.
 *
 * The order of the checks is the order in which a reason helps most: what the operator or the method rules
 * out first, then what would leak (Cache-Control, Authorization, Set-Cookie, Vary), then size, then
 * freshness. A route's ttl settles freshness only; it opens none of the checks that keep one client's
 * response from another.
 *
 * A response that cannot be used without asking the instance is kept when asking is cheap, that is, when it
 * has a validator. Not so for errors: one that may never be used would push out a good response that may.
 * Rejected: returning all reasons at once. The log and the metrics want one, and `explain` can run this
 * again. */
#include "cache/storable.h"

#include "cache/cond.h"
#include "cache/tags.h"
#include "core/http_field.h"

/* `Cookie: a=1; name=2` has a cookie of that name (RFC 6265 section 4.2.1). */
static bool has_cookie(const struct http_head *request, slice_t name)
{
    for (unsigned i = 0; i < request->field_count; i++) {
        if (request->fields[i].id != HTTP_FIELD_COOKIE)
            continue;
        slice_t rest = request->fields[i].value;
        while (rest.len > 0) {
            size_t end = MIN(slice_find(rest, ';', 0), rest.len);
            slice_t pair = slice_make(rest.ptr, end);
            pair.len = MIN(slice_find(pair, '=', 0), pair.len);
            if (slice_eq(slice_trim(pair), name))
                return true;
            size_t skip = MIN(end + 1, rest.len);
            rest = slice_make(rest.ptr + skip, rest.len - skip);
        }
    }
    return false;
}

static bool bypass_matches(const struct http_head *request, const struct cache_rules *rules)
{
    if (rules->bypass_cookie.len > 0 && http_head_has(request, HTTP_FIELD_COOKIE) &&
        has_cookie(request, rules->bypass_cookie))
        return true;
    return rules->bypass_header.len > 0 && http_head_find(request, rules->bypass_header) != NULL;
}

enum no_store_reason cache_request_usable(const struct http_head *request, bool has_body,
                                          const struct cache_rules *rules)
{
    bool method_ok = request->method == HTTP_GET || request->method == HTTP_HEAD;
    bool special = (request->present & HTTP_BIT(UPGRADE)) != 0;
    bool bypass = (rules->bypass_cookie.len | rules->bypass_header.len) != 0;
    if (LIKELY(rules->enabled & method_ok & !has_body & !special & !bypass))
        return NO_STORE_STORED;

    if (!rules->enabled)
        return NO_STORE_CACHE_OFF;
    if (!method_ok)
        return NO_STORE_METHOD;
    if (has_body)
        return NO_STORE_REQUEST_BODY;
    /* Upgrade means something only when Connection names it (RFC 9110 section 7.8). */
    if (http_head_has(request, HTTP_FIELD_UPGRADE) &&
        http_head_has_token(request, HTTP_FIELD_CONNECTION, SLICE_LIT("upgrade")))
        return NO_STORE_UPGRADE;
    if (bypass && bypass_matches(request, rules))
        return NO_STORE_BYPASS_RULE;
    return NO_STORE_STORED;
}

/* Status codes whose caching requirements are known, for must-understand: those of RFC 9110 section 15 but
 * for 206, and for 407, which is about this hop. */
static const uint16_t understood[] = {200, 201, 202, 203, 204, 205, 300, 301, 302, 303, 307, 308, 400,
                                      401, 402, 403, 404, 405, 406, 408, 409, 410, 411, 412, 413, 414,
                                      415, 416, 417, 421, 422, 426, 500, 501, 502, 503, 504, 505};
/* Never stored, whatever they say (RFC 6585 sections 3 to 6): they are about one client, or its network. */
static const uint16_t never_stored[] = {428, 429, 431, 511};

static bool status_is_one_of(unsigned status, const uint16_t *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (list[i] == status)
            return true;
    }
    return false;
}

static enum no_store_reason status_reason(unsigned status, const struct cache_control *cc)
{
    if (status == 206)
        return NO_STORE_PARTIAL;
    if (LIKELY(status == 200))
        return NO_STORE_STORED;
    if (status < 200 || status > 599 || status == 304 ||
        status_is_one_of(status, never_stored, ARRAY_LEN(never_stored)))
        return NO_STORE_STATUS;
    if ((cc->flags & CC_MUST_UNDERSTAND) && !status_is_one_of(status, understood, ARRAY_LEN(understood)))
        return NO_STORE_STATUS;
    return NO_STORE_STORED;
}

/* Is the field written for each client or request anew, whatever the client sent? */
static bool is_written_for_each(slice_t name, const struct cache_rules *rules)
{
    for (size_t i = 0; i < rules->request_edit_count; i++) {
        const struct config_field_edit *e = &rules->request_edits[i];
        if (slice_ieq(name, slice_str(e->name)))
            return e->value != NULL &&
                   (strstr(e->value, "$client_ip") != NULL || strstr(e->value, "$request_id") != NULL ||
                    strstr(e->value, "$remote_user") != NULL);
    }
    return slice_ieq(name, SLICE_LIT("x-forwarded-for")) || slice_ieq(name, SLICE_LIT("forwarded")) ||
           slice_ieq(name, SLICE_LIT("x-request-id")) ||
           (name.len > 13 && slice_ieq(slice_make(name.ptr, 13), SLICE_LIT("x-ssl-client-")));
}

/* `*`, or what comes to the same: by what clients sent, the right variant cannot be told. */
static bool varies_for_each(const struct http_head *response, const struct cache_rules *rules)
{
    for (unsigned i = 0; http_head_has(response, HTTP_FIELD_VARY) && i < response->field_count; i++) {
        slice_t rest = response->fields[i].value, name;
        while (response->fields[i].id == HTTP_FIELD_VARY && http_list_next(&rest, &name)) {
            if (slice_eq(name, SLICE_LIT("*")) || is_written_for_each(name, rules))
                return true;
        }
    }
    return false;
}

/* What keeps the response from being shared. */
static enum no_store_reason sharing_reason(const struct http_head *request, const struct http_head *response,
                                           const struct cache_control *cc, const struct cache_rules *rules)
{
    /* must-understand with a status that is understood takes no-store back (RFC 9111 section 5.2.2.3). */
    if ((cc->flags & CC_NO_STORE) && !(cc->flags & CC_MUST_UNDERSTAND))
        return NO_STORE_NO_STORE;
    if (cc->flags & CC_PRIVATE)
        return NO_STORE_PRIVATE;
    if (http_head_has(request, HTTP_FIELD_AUTHORIZATION) && !cache_control_shares_personal(cc))
        return NO_STORE_AUTHORIZATION;
    if (http_head_has(response, HTTP_FIELD_SET_COOKIE) && !rules->ignore_set_cookie &&
        !cache_control_names_field(response, SLICE_LIT("set-cookie")))
        return NO_STORE_SET_COOKIE;
    if (varies_for_each(response, rules))
        return NO_STORE_VARY_STAR;
    return NO_STORE_STORED;
}

/* May be kept only to ask the instance whether it still holds. */
static bool worth_revalidating(const struct http_head *response, const struct cache_control *cc,
                               const struct cache_freshness *f)
{
    struct cache_validators v;
    if (response->status >= 400)
        return false;
    /* RFC 9111 section 3, last item: something must allow storing at all. */
    if (f->source == FRESHNESS_NONE && !cache_status_is_heuristic(response->status) &&
        !(cc->flags & CC_PUBLIC))
        return false;
    cache_validators_from_head(response, f->response_ms / 1000, &v);
    return v.etag.len > 0 || v.last_modified_s != 0;
}

/* Out of date on arrival, but the response itself says that it may be used for a while nevertheless (RFC
 * 5861). */
static bool usable_stale(const struct http_head *response, const struct cache_control *cc,
                         const struct cache_freshness *f)
{
    int64_t said_s = MAX(cc->stale_while_revalidate_s, cc->stale_if_error_s);
    return response->status < 400 && f->source != FRESHNESS_NONE && !f->revalidate_always &&
           !f->never_stale && f->corrected_initial_ms < f->lifetime_ms + said_s * 1000;
}

static enum no_store_reason freshness_reason(const struct http_head *response, const struct cache_control *cc,
                                             const struct cache_freshness *f)
{
    if (f->source == FRESHNESS_ROUTE_TTL && f->lifetime_ms <= 0)
        return NO_STORE_TTL_ZERO;
    if (!f->revalidate_always && f->corrected_initial_ms < f->lifetime_ms)
        return NO_STORE_STORED;
    if (worth_revalidating(response, cc, f) || usable_stale(response, cc, f))
        return NO_STORE_STORED;
    if (f->corrected_initial_ms >= CACHE_AGE_UNKNOWN_MS)
        return NO_STORE_AGE_INVALID;
    return f->source == FRESHNESS_NONE && !f->revalidate_always ? NO_STORE_NO_FRESHNESS
                                                                : NO_STORE_ALREADY_EXPIRED;
}

/* A media type with its parameters. Not inlined: few responses have it, and few have no length. */
__attribute__((noinline)) static bool is_event_stream(const struct http_field *f)
{
    static const slice_t type = SLICE_LIT("text/event-stream");
    if (f == NULL || f->value.len < type.len || !slice_ieq(slice_make(f->value.ptr, type.len), type))
        return false;
    return f->value.len == type.len || strchr(" \t;,", f->value.ptr[type.len]) != NULL;
}

bool cache_request_wants_events(const struct http_head *request)
{
    return is_event_stream(http_head_get(request, HTTP_FIELD_ACCEPT));
}

enum no_store_reason cache_response_storable(const struct http_head *request,
                                             const struct http_head *response, const struct cache_control *cc,
                                             const struct cache_freshness *f, const struct cache_rules *rules,
                                             int64_t body_bytes)
{
    enum no_store_reason why;
    if (!rules->enabled)
        return NO_STORE_CACHE_OFF;
    if (request->method != HTTP_GET)
        return NO_STORE_METHOD;
    if ((why = status_reason(response->status, cc)) != NO_STORE_STORED)
        return why;
    if ((why = sharing_reason(request, response, cc, rules)) != NO_STORE_STORED)
        return why;
    if (UNLIKELY(body_bytes < 0) && is_event_stream(http_head_get(response, HTTP_FIELD_CONTENT_TYPE)))
        return NO_STORE_EVENT_STREAM;
    if (body_bytes > rules->max_object_bytes)
        return NO_STORE_TOO_LARGE;
    return freshness_reason(response, cc, f);
}

bool cache_field_is_storable(const struct http_head *response, const struct http_field *f)
{
    return f->id != HTTP_FIELD_SET_COOKIE && f->id != HTTP_FIELD_WARNING &&
           cache_tag_field_of(f) == CACHE_TAG_FIELDS && !http_field_is_hop_by_hop(f->id) &&
           !http_field_named_by_connection(response, f) && !cache_control_names_field(response, f->name);
}
