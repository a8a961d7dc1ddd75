/* http_msg.h: an HTTP message head as parsed, whatever the wire: method, target, status and the field
 * table (RFC 9110 sections 5, 9, 15). Slices point into the buffer the head was parsed from, which must
 * outlive it. Known field names are recognised once, at parse time, so later code compares a byte. */
#ifndef CORE_HTTP_MSG_H
#define CORE_HTTP_MSG_H

#include "core/base.h"
#include "core/slice.h"

/* X(id, text, safe, idempotent): RFC 9110 section 9.2. */
#define HTTP_METHODS(X)                                                                                      \
    X(GET, "GET", true, true)                                                                                \
    X(HEAD, "HEAD", true, true)                                                                              \
    X(POST, "POST", false, false)                                                                            \
    X(PUT, "PUT", false, true)                                                                               \
    X(DELETE, "DELETE", false, true)                                                                         \
    X(OPTIONS, "OPTIONS", true, true)                                                                        \
    X(TRACE, "TRACE", true, true)                                                                            \
    X(CONNECT, "CONNECT", false, false)                                                                      \
    X(PATCH, "PATCH", false, false)                                                                          \
    X(PURGE, "PURGE", false, true)                                                                           \
    X(PURGEKEYS, "PURGEKEYS", false, true)                                                                   \
    X(BAN, "BAN", false, true)

enum http_method {
    HTTP_METHOD_OTHER = 0, /* a legal token that is none of the table's; text is in method_text */
#define X(id, text, safe, idem) HTTP_##id,
    HTTP_METHODS(X)
#undef X
        HTTP_METHOD_COUNT
};

/* X(id, lower-case name). At most 63 entries: `present` below is a 64-bit set. */
#define HTTP_FIELDS(X)                                                                                       \
    X(ACCEPT, "accept")                                                                                      \
    X(ACCEPT_ENCODING, "accept-encoding")                                                                    \
    X(ACCEPT_LANGUAGE, "accept-language")                                                                    \
    X(ACCEPT_RANGES, "accept-ranges")                                                                        \
    X(AGE, "age")                                                                                            \
    X(AUTHORIZATION, "authorization")                                                                        \
    X(CACHE_CONTROL, "cache-control")                                                                        \
    X(CACHE_GROUPS, "cache-groups")                                                                          \
    X(CACHE_STATUS, "cache-status")                                                                          \
    X(CACHE_TAG, "cache-tag")                                                                                \
    X(CDN_CACHE_CONTROL, "cdn-cache-control")                                                                \
    X(CONNECTION, "connection")                                                                              \
    X(CONTENT_ENCODING, "content-encoding")                                                                  \
    X(CONTENT_LENGTH, "content-length")                                                                      \
    X(CONTENT_LOCATION, "content-location")                                                                  \
    X(CONTENT_RANGE, "content-range")                                                                        \
    X(CONTENT_TYPE, "content-type")                                                                          \
    X(COOKIE, "cookie")                                                                                      \
    X(DATE, "date")                                                                                          \
    X(ETAG, "etag")                                                                                          \
    X(EXPECT, "expect")                                                                                      \
    X(EXPIRES, "expires")                                                                                    \
    X(FASTLY_DEBUG, "fastly-debug")                                                                          \
    X(FORWARDED, "forwarded")                                                                                \
    X(HOST, "host")                                                                                          \
    X(HTTP2_SETTINGS, "http2-settings")                                                                      \
    X(IF_MATCH, "if-match")                                                                                  \
    X(IF_MODIFIED_SINCE, "if-modified-since")                                                                \
    X(IF_NONE_MATCH, "if-none-match")                                                                        \
    X(IF_RANGE, "if-range")                                                                                  \
    X(IF_UNMODIFIED_SINCE, "if-unmodified-since")                                                            \
    X(KEEP_ALIVE, "keep-alive")                                                                              \
    X(LAST_MODIFIED, "last-modified")                                                                        \
    X(LINK, "link")                                                                                          \
    X(LOCATION, "location")                                                                                  \
    X(MAX_FORWARDS, "max-forwards")                                                                          \
    X(MILLPOND_CACHE_CONTROL, "millpond-cache-control")                                                      \
    X(NO_VARY_SEARCH, "no-vary-search")                                                                      \
    X(PRAGMA, "pragma")                                                                                      \
    X(PROXY_AUTHENTICATE, "proxy-authenticate")                                                              \
    X(PROXY_AUTHORIZATION, "proxy-authorization")                                                            \
    X(PROXY_CONNECTION, "proxy-connection")                                                                  \
    X(RANGE, "range")                                                                                        \
    X(REFERER, "referer")                                                                                    \
    X(RETRY_AFTER, "retry-after")                                                                            \
    X(SERVER, "server")                                                                                      \
    X(SET_COOKIE, "set-cookie")                                                                              \
    X(SURROGATE_CONTROL, "surrogate-control")                                                                \
    X(SURROGATE_KEY, "surrogate-key")                                                                        \
    X(TE, "te")                                                                                              \
    X(TRAILER, "trailer")                                                                                    \
    X(TRANSFER_ENCODING, "transfer-encoding")                                                                \
    X(UPGRADE, "upgrade")                                                                                    \
    X(USER_AGENT, "user-agent")                                                                              \
    X(VARY, "vary")                                                                                          \
    X(VIA, "via")                                                                                            \
    X(WARNING, "warning")                                                                                    \
    X(X_FORWARDED_FOR, "x-forwarded-for")                                                                    \
    X(X_FORWARDED_HOST, "x-forwarded-host")                                                                  \
    X(X_FORWARDED_PROTO, "x-forwarded-proto")                                                                \
    X(X_REQUEST_ID, "x-request-id")                                                                          \
    X(XKEY, "xkey")

enum http_field_id {
    HTTP_FIELD_OTHER = 0,
#define X(id, name) HTTP_FIELD_##id,
    HTTP_FIELDS(X)
#undef X
        HTTP_FIELD_COUNT
};
_Static_assert(HTTP_FIELD_COUNT <= 64, "http_head.present is a 64-bit set");

#define HTTP_BIT(id) ((uint64_t)1 << HTTP_FIELD_##id)

struct http_field {
    slice_t name;  /* as received, case kept */
    slice_t value; /* without surrounding OWS */
    uint8_t id;    /* enum http_field_id */
};

/* A parsed head. Plain data, owned by whoever declared it; `fields` is the caller's array. */
struct http_head {
    uint64_t present;          /* set of enum http_field_id that occur */
    struct http_field *fields; /* in received order */
    uint16_t field_count;
    uint8_t version_minor; /* HTTP/1.0 or HTTP/1.1; 1 for HTTP/2 */
    uint8_t method;        /* enum http_method; requests */
    uint16_t status;       /* responses */
    slice_t method_text;
    slice_t target; /* request-target as received (RFC 9112 section 3.2) */
    slice_t reason;
};

static inline bool http_head_has(const struct http_head *h, enum http_field_id id)
{
    return (h->present >> id) & 1;
}

/* The known field that `name` (any case) is, or HTTP_FIELD_OTHER. No allocation, one compare. */
enum http_field_id http_field_lookup(slice_t name);
slice_t http_field_name(enum http_field_id id);

/* First field of that id, or NULL. */
const struct http_field *http_head_get(const struct http_head *h, enum http_field_id id);
/* First field of that name, ASCII case ignored, known or not; NULL if absent. */
const struct http_field *http_head_find(const struct http_head *h, slice_t name);
/* Number of fields with that id. */
unsigned http_head_count(const struct http_head *h, enum http_field_id id);

enum http_method http_method_lookup(slice_t text); /* case-sensitive, RFC 9110 section 9.1 */
slice_t http_method_name(enum http_method m);
bool http_method_is_safe(enum http_method m);
bool http_method_is_idempotent(enum http_method m); /* HTTP_METHOD_OTHER is neither */

/* Standard reason phrase ("Not Found"); "Unknown" for a status without one. */
slice_t http_status_reason(unsigned status);

#endif
