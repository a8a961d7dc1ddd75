/* http_field.c: field values: lists, parameters, connection options, and what is hop-by-hop.
 *
 * Pure functions over slices; any thread. It knows the syntax that fields share, not what any one of
 * them means: Cache-Control, Vary and the rest are read by whoever obeys them.
 * Rejected: splitting a list into an array first. It would need memory and a limit; the iterator needs
 * neither. */
#include "core/http_field.h"

#include "core/panic.h"

#include <arpa/inet.h>

#define TCHAR 1 /* RFC 9110 section 5.6.2 */
#define HOSTC 2 /* unreserved and sub-delims, RFC 3986 section 3.2.2 */
#define BOTH  (TCHAR | HOSTC)

static const uint8_t char_class[256] = {
    ['!'] = BOTH,         ['#'] = TCHAR,        ['$'] = BOTH,         ['%'] = TCHAR, ['&'] = BOTH,
    ['\''] = BOTH,        ['('] = HOSTC,        [')'] = HOSTC,        ['*'] = BOTH,  ['+'] = BOTH,
    [','] = HOSTC,        ['-'] = BOTH,         ['.'] = BOTH,         [';'] = HOSTC, ['='] = HOSTC,
    ['^'] = TCHAR,        ['_'] = BOTH,         ['`'] = TCHAR,        ['|'] = TCHAR, ['~'] = BOTH,
    ['0' ... '9'] = BOTH, ['a' ... 'z'] = BOTH, ['A' ... 'Z'] = BOTH,
};

bool http_is_tchar(unsigned char c)
{
    return (char_class[c] & TCHAR) != 0;
}

bool http_is_token(slice_t s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (!(char_class[(unsigned char)s.ptr[i]] & TCHAR))
            return false;
    }
    return s.len > 0;
}

bool http_is_field_value(slice_t s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

/* Index of the first comma outside a quoted string, or the length. A quoted string that does not end
 * swallows the rest, so that no half of it is taken for an element. */
static size_t list_element_end(slice_t s)
{
    bool quoted = false;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (c == '"')
            quoted = !quoted;
        else if (c == '\\' && quoted)
            i++;
        else if (c == ',' && !quoted)
            return i;
    }
    return s.len;
}

bool http_list_next(slice_t *rest, slice_t *element)
{
    while (rest->len > 0) {
        size_t end = list_element_end(*rest);
        size_t skip = end < rest->len ? end + 1 : end;
        *element = slice_trim(slice_make(rest->ptr, end));
        *rest = slice_make(rest->ptr + skip, rest->len - skip);
        if (element->len > 0)
            return true;
    }
    return false;
}

bool http_param_split(slice_t element, slice_t *name, slice_t *value)
{
    size_t eq = slice_find(element, '=', 0);
    *value = slice_make(NULL, 0);
    *name = element;
    if (eq == SIZE_MAX)
        return slice_find(element, '"', 0) == SIZE_MAX;
    *name = slice_make(element.ptr, eq);
    *value = slice_make(element.ptr + eq + 1, element.len - eq - 1);
    if (slice_find(*name, '"', 0) != SIZE_MAX)
        return false;
    if (value->len == 0 || value->ptr[0] != '"')
        return slice_find(*value, '"', 0) == SIZE_MAX;
    size_t i = 1;
    while (i < value->len && value->ptr[i] != '"')
        i += value->ptr[i] == '\\' ? 2 : 1;
    if (i + 1 != value->len)
        return false;
    *value = slice_make(value->ptr + 1, value->len - 2);
    return true;
}

/* "0.85" in thousandths; 0 for what is no weight. */
static unsigned weight_parse(slice_t s)
{
    if (s.len == 0 || s.len > 5 || s.ptr[0] < '0' || s.ptr[0] > '1' || (s.len > 1 && s.ptr[1] != '.'))
        return 0;
    unsigned v = (unsigned)(s.ptr[0] - '0') * 1000;
    for (size_t i = 2, unit = 100; i < s.len; i++, unit /= 10) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return 0;
        v += (unsigned)(s.ptr[i] - '0') * (unsigned)unit;
    }
    return MIN(v, 1000);
}

slice_t http_weighted_split(slice_t element, unsigned *weight)
{
    size_t semicolon = slice_find(element, ';', 0);
    *weight = 1000;
    if (semicolon == SIZE_MAX)
        return element;
    slice_t q = slice_trim(slice_make(element.ptr + semicolon + 1, element.len - semicolon - 1));
    if (q.len < 2 || ascii_lower(q.ptr[0]) != 'q' || q.ptr[1] != '=')
        *weight = 0;
    else
        *weight = weight_parse(slice_make(q.ptr + 2, q.len - 2));
    return slice_trim(slice_make(element.ptr, semicolon));
}

bool http_head_has_token(const struct http_head *h, enum http_field_id id, slice_t token)
{
    if (!http_head_has(h, id))
        return false;
    for (unsigned i = 0; i < h->field_count; i++) {
        if (h->fields[i].id != id)
            continue;
        slice_t rest = h->fields[i].value, element;
        while (http_list_next(&rest, &element)) {
            if (slice_ieq(element, token))
                return true;
        }
    }
    return false;
}

#define HOP_BY_HOP                                                                                           \
    (HTTP_BIT(CONNECTION) | HTTP_BIT(KEEP_ALIVE) | HTTP_BIT(PROXY_CONNECTION) | HTTP_BIT(TE) |               \
     HTTP_BIT(TRANSFER_ENCODING) | HTTP_BIT(UPGRADE) | HTTP_BIT(PROXY_AUTHENTICATE) |                        \
     HTTP_BIT(PROXY_AUTHORIZATION) | HTTP_BIT(HTTP2_SETTINGS))

/* Routing, framing, identity, caching and conditions hang on these: "Connection: authorization" or
 * "Connection: x-forwarded-for" from a client must not make them vanish on the way to the application. */
#define KEPT_ALWAYS                                                                                          \
    (HTTP_BIT(HOST) | HTTP_BIT(CONTENT_LENGTH) | HTTP_BIT(CONTENT_TYPE) | HTTP_BIT(CONTENT_ENCODING) |       \
     HTTP_BIT(CONTENT_LOCATION) | HTTP_BIT(CONTENT_RANGE) | HTTP_BIT(CACHE_CONTROL) |                        \
     HTTP_BIT(CDN_CACHE_CONTROL) | HTTP_BIT(MILLPOND_CACHE_CONTROL) | HTTP_BIT(CACHE_STATUS) |               \
     HTTP_BIT(CACHE_TAG) | HTTP_BIT(SURROGATE_CONTROL) | HTTP_BIT(SURROGATE_KEY) | HTTP_BIT(AUTHORIZATION) | \
     HTTP_BIT(COOKIE) | HTTP_BIT(SET_COOKIE) | HTTP_BIT(DATE) | HTTP_BIT(AGE) | HTTP_BIT(EXPIRES) |          \
     HTTP_BIT(ETAG) | HTTP_BIT(LAST_MODIFIED) | HTTP_BIT(VARY) | HTTP_BIT(VIA) | HTTP_BIT(FORWARDED) |       \
     HTTP_BIT(X_FORWARDED_FOR) | HTTP_BIT(X_FORWARDED_HOST) | HTTP_BIT(X_FORWARDED_PROTO) |                  \
     HTTP_BIT(X_REQUEST_ID) | HTTP_BIT(IF_MATCH) | HTTP_BIT(IF_MODIFIED_SINCE) | HTTP_BIT(IF_NONE_MATCH) |   \
     HTTP_BIT(IF_RANGE) | HTTP_BIT(IF_UNMODIFIED_SINCE) | HTTP_BIT(RANGE) | HTTP_BIT(ACCEPT) |               \
     HTTP_BIT(ACCEPT_ENCODING) | HTTP_BIT(ACCEPT_LANGUAGE) | HTTP_BIT(LOCATION) | HTTP_BIT(PRAGMA) |         \
     HTTP_BIT(EXPECT) | HTTP_BIT(MAX_FORWARDS))

bool http_field_is_hop_by_hop(enum http_field_id id)
{
    ASSERT((unsigned)id < HTTP_FIELD_COUNT);
    return (HOP_BY_HOP >> id) & 1;
}

bool http_field_named_by_connection(const struct http_head *h, const struct http_field *f)
{
    if (!http_head_has(h, HTTP_FIELD_CONNECTION) || ((KEPT_ALWAYS >> f->id) & 1))
        return false;
    return http_head_has_token(h, HTTP_FIELD_CONNECTION, f->name);
}

void http_head_drop_named_by_connection(struct http_head *h)
{
    uint16_t kept = 0;
    for (unsigned i = 0; i < h->field_count; i++) {
        const struct http_field f = h->fields[i];
        if (!http_field_is_hop_by_hop(f.id) && http_field_named_by_connection(h, &f))
            h->present &= f.id == HTTP_FIELD_OTHER ? UINT64_MAX : ~(UINT64_C(1) << f.id);
        else
            h->fields[kept++] = f;
    }
    h->field_count = kept;
}

static bool is_hex(char c)
{
    c = ascii_lower(c);
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

/* `s` begins with '['; sets *end to the index behind ']'. Zone ids and IPvFuture are refused: neither
 * means anything to a server that did not hand them out. */
static bool ipv6_literal(slice_t s, size_t *end)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr address;
    size_t close = slice_find(s, ']', 1);
    if (close == SIZE_MAX || close - 1 >= sizeof text)
        return false;
    memcpy(text, s.ptr + 1, close - 1);
    text[close - 1] = '\0';
    *end = close + 1;
    return memchr(text, '\0', close - 1) == NULL && inet_pton(AF_INET6, text, &address) == 1;
}

/* An IPv4 address is a reg-name too, so this takes both. */
static bool reg_name(slice_t s, size_t *end)
{
    size_t i = 0;
    while (i < s.len && s.ptr[i] != ':') {
        if (char_class[(unsigned char)s.ptr[i]] & HOSTC)
            i++;
        else if (s.ptr[i] == '%' && s.len - i > 2 && is_hex(s.ptr[i + 1]) && is_hex(s.ptr[i + 2]))
            i += 3;
        else
            return false;
    }
    *end = i;
    return i > 0;
}

bool http_host_is_valid(slice_t host)
{
    size_t end;
    if (host.len == 0 || !(host.ptr[0] == '[' ? ipv6_literal(host, &end) : reg_name(host, &end)))
        return false;
    if (end == host.len)
        return true;
    if (host.ptr[end] != ':' || host.len - end - 1 > 5)
        return false;
    if (end + 1 == host.len) /* "host:", RFC 3986 section 3.2.3 */
        return true;
    uint64_t port;
    return slice_to_u64(slice_make(host.ptr + end + 1, host.len - end - 1), &port) && port <= UINT16_MAX;
}

void http_head_drop(struct http_head *head, uint64_t fields)
{
    unsigned n = 0;
    if ((head->present & fields) == 0)
        return;
    for (unsigned i = 0; i < head->field_count; i++) {
        if (head->fields[i].id == HTTP_FIELD_OTHER || ((fields >> head->fields[i].id) & 1) == 0)
            head->fields[n++] = head->fields[i];
    }
    head->field_count = (uint16_t)n;
    head->present &= ~(fields & ~HTTP_BIT(OTHER));
}
