/* http_msg.c: the tables behind http_msg.h: field names, methods, reason phrases, and look-ups in a head.
 *
 * A field name is recognised by a perfect hash over its length and three of its letters, followed by one
 * compare of whole words. The hash table is laid out by the compiler: each name states its letters in
 * FIELD_SLOTS, and two names in one slot are a compile error (-Woverride-init, -Winitializer-overrides);
 * letters that do not fit the name fail the unit test, which looks up every name. Nothing here keeps
 * state, so any thread may call anything.
 * Rejected: gperf (a generator to install for 62 names) and a switch over length and letter (two
 * indirect jumps, each of them mispredicted when the fields of different clients alternate). */
#include "core/http_msg.h"

#include "core/panic.h"

#define FIELD_NAME_MAX  22
#define FIELD_NAME_ROOM 24 /* whole words, so that a compare may load 8 bytes at a time */

#define FIELD_HASH(len, first, middle, last)                                                                 \
    (uint8_t)((unsigned)(len)*7u + ((unsigned)(first) + (unsigned)(last)) * 25u + (unsigned)(middle))

/* X(id, length, first, middle (at length / 2) and last letter of the name) */
#define FIELD_SLOTS(X)                                                                                       \
    X(ACCEPT, 6, 'a', 'e', 't')                                                                              \
    X(ACCEPT_ENCODING, 15, 'a', 'e', 'g')                                                                    \
    X(ACCEPT_LANGUAGE, 15, 'a', 'l', 'e')                                                                    \
    X(ACCEPT_RANGES, 13, 'a', '-', 's')                                                                      \
    X(AGE, 3, 'a', 'g', 'e')                                                                                 \
    X(AUTHORIZATION, 13, 'a', 'i', 'n')                                                                      \
    X(CACHE_CONTROL, 13, 'c', 'c', 'l')                                                                      \
    X(CACHE_GROUPS, 12, 'c', 'g', 's')                                                                       \
    X(CACHE_STATUS, 12, 'c', 's', 's')                                                                       \
    X(CACHE_TAG, 9, 'c', 'e', 'g')                                                                           \
    X(CDN_CACHE_CONTROL, 17, 'c', 'e', 'l')                                                                  \
    X(CONNECTION, 10, 'c', 'c', 'n')                                                                         \
    X(CONTENT_ENCODING, 16, 'c', 'e', 'g')                                                                   \
    X(CONTENT_LENGTH, 14, 'c', '-', 'h')                                                                     \
    X(CONTENT_LOCATION, 16, 'c', 'l', 'n')                                                                   \
    X(CONTENT_RANGE, 13, 'c', 't', 'e')                                                                      \
    X(CONTENT_TYPE, 12, 'c', 't', 'e')                                                                       \
    X(COOKIE, 6, 'c', 'k', 'e')                                                                              \
    X(DATE, 4, 'd', 't', 'e')                                                                                \
    X(ETAG, 4, 'e', 'a', 'g')                                                                                \
    X(EXPECT, 6, 'e', 'e', 't')                                                                              \
    X(EXPIRES, 7, 'e', 'i', 's')                                                                             \
    X(FASTLY_DEBUG, 12, 'f', '-', 'g')                                                                       \
    X(FORWARDED, 9, 'f', 'a', 'd')                                                                           \
    X(HOST, 4, 'h', 's', 't')                                                                                \
    X(HTTP2_SETTINGS, 14, 'h', 'e', 's')                                                                     \
    X(IF_MATCH, 8, 'i', 'a', 'h')                                                                            \
    X(IF_MODIFIED_SINCE, 17, 'i', 'i', 'e')                                                                  \
    X(IF_NONE_MATCH, 13, 'i', 'e', 'h')                                                                      \
    X(IF_RANGE, 8, 'i', 'a', 'e')                                                                            \
    X(IF_UNMODIFIED_SINCE, 19, 'i', 'f', 'e')                                                                \
    X(KEEP_ALIVE, 10, 'k', 'a', 'e')                                                                         \
    X(LAST_MODIFIED, 13, 'l', 'o', 'd')                                                                      \
    X(LINK, 4, 'l', 'n', 'k')                                                                                \
    X(LOCATION, 8, 'l', 't', 'n')                                                                            \
    X(MAX_FORWARDS, 12, 'm', 'r', 's')                                                                       \
    X(MILLPOND_CACHE_CONTROL, 22, 'm', 'c', 'l')                                                             \
    X(NO_VARY_SEARCH, 14, 'n', '-', 'h')                                                                     \
    X(PRAGMA, 6, 'p', 'g', 'a')                                                                              \
    X(PROXY_AUTHENTICATE, 18, 'p', 'h', 'e')                                                                 \
    X(PROXY_AUTHORIZATION, 19, 'p', 'h', 'n')                                                                \
    X(PROXY_CONNECTION, 16, 'p', 'n', 'n')                                                                   \
    X(RANGE, 5, 'r', 'n', 'e')                                                                               \
    X(REFERER, 7, 'r', 'e', 'r')                                                                             \
    X(RETRY_AFTER, 11, 'r', '-', 'r')                                                                        \
    X(SERVER, 6, 's', 'v', 'r')                                                                              \
    X(SET_COOKIE, 10, 's', 'o', 'e')                                                                         \
    X(SURROGATE_CONTROL, 17, 's', 'e', 'l')                                                                  \
    X(SURROGATE_KEY, 13, 's', 'a', 'y')                                                                      \
    X(TE, 2, 't', 'e', 'e')                                                                                  \
    X(TRAILER, 7, 't', 'i', 'r')                                                                             \
    X(TRANSFER_ENCODING, 17, 't', '-', 'g')                                                                  \
    X(UPGRADE, 7, 'u', 'r', 'e')                                                                             \
    X(USER_AGENT, 10, 'u', 'a', 't')                                                                         \
    X(VARY, 4, 'v', 'r', 'y')                                                                                \
    X(VIA, 3, 'v', 'i', 'a')                                                                                 \
    X(WARNING, 7, 'w', 'n', 'g')                                                                             \
    X(X_FORWARDED_FOR, 15, 'x', 'r', 'r')                                                                    \
    X(X_FORWARDED_HOST, 16, 'x', 'd', 't')                                                                   \
    X(X_FORWARDED_PROTO, 17, 'x', 'd', 'o')                                                                  \
    X(X_REQUEST_ID, 12, 'x', 'e', 'd')                                                                       \
    X(XKEY, 4, 'x', 'e', 'y')

static const char field_names[HTTP_FIELD_COUNT][FIELD_NAME_ROOM] = {
#define X(id, name) [HTTP_FIELD_##id] = name,
    HTTP_FIELDS(X)
#undef X
};

static const uint8_t field_lens[HTTP_FIELD_COUNT] = {
#define X(id, name) [HTTP_FIELD_##id] = sizeof(name) - 1,
    HTTP_FIELDS(X)
#undef X
};

#define X(id, name) _Static_assert(sizeof(name) - 1 <= FIELD_NAME_MAX, "FIELD_NAME_MAX is too small");
HTTP_FIELDS(X)
#undef X

static const uint8_t field_slots[256] = {
#define X(id, len, first, middle, last) [FIELD_HASH(len, first, middle, last)] = HTTP_FIELD_##id,
    FIELD_SLOTS(X)
#undef X
};

static inline uint64_t load_64(const char *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline uint32_t load_32(const char *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* Bits that differ when the case of letters does not count. `lower` is from a known name, which has only
 * a-z, digits and '-': bit 6 tells its letters from the rest, and only at a letter may bit 5 differ. */
static inline uint64_t word_differs(uint64_t seen, uint64_t lower)
{
    return (seen | (lower & UINT64_C(0x4040404040404040)) >> 1) ^ lower;
}

static inline uint32_t half_differs(uint32_t seen, uint32_t lower)
{
    return (seen | (lower & UINT32_C(0x40404040)) >> 1) ^ lower;
}

/* Overlapping loads, so that nothing beyond `len` is read of either. */
static inline bool name_is(const char *seen, const char *lower, size_t len)
{
    if (len >= 8) {
        uint64_t diff = word_differs(load_64(seen + len - 8), load_64(lower + len - 8));
        for (size_t i = 0; i + 8 < len; i += 8)
            diff |= word_differs(load_64(seen + i), load_64(lower + i));
        return diff == 0;
    }
    if (len >= 4)
        return (half_differs(load_32(seen), load_32(lower)) |
                half_differs(load_32(seen + len - 4), load_32(lower + len - 4))) == 0;
    for (size_t i = 0; i < len; i++) {
        if (ascii_lower(seen[i]) != lower[i])
            return false;
    }
    return true;
}

enum http_field_id http_field_lookup(slice_t name)
{
    if (name.len - 1 >= FIELD_NAME_MAX)
        return HTTP_FIELD_OTHER;
    unsigned first = (unsigned char)name.ptr[0] | 0x20u;
    unsigned middle = (unsigned char)name.ptr[name.len / 2] | 0x20u;
    unsigned last = (unsigned char)name.ptr[name.len - 1] | 0x20u;
    unsigned id = field_slots[FIELD_HASH(name.len, first, middle, last)];
    if (field_lens[id] != name.len || !name_is(name.ptr, field_names[id], name.len))
        return HTTP_FIELD_OTHER;
    return (enum http_field_id)id;
}

slice_t http_field_name(enum http_field_id id)
{
    ASSERT((unsigned)id < HTTP_FIELD_COUNT);
    return slice_make(field_names[id], field_lens[id]);
}

const struct http_field *http_head_get(const struct http_head *h, enum http_field_id id)
{
    if (!http_head_has(h, id))
        return NULL;
    for (unsigned i = 0; i < h->field_count; i++) {
        if (h->fields[i].id == id)
            return &h->fields[i];
    }
    return NULL;
}

const struct http_field *http_head_find(const struct http_head *h, slice_t name)
{
    enum http_field_id id = http_field_lookup(name);
    if (id != HTTP_FIELD_OTHER)
        return http_head_get(h, id);
    for (unsigned i = 0; i < h->field_count; i++) {
        if (h->fields[i].id == HTTP_FIELD_OTHER && slice_ieq(h->fields[i].name, name))
            return &h->fields[i];
    }
    return NULL;
}

unsigned http_head_count(const struct http_head *h, enum http_field_id id)
{
    unsigned n = 0;
    if (!http_head_has(h, id))
        return 0;
    for (unsigned i = 0; i < h->field_count; i++)
        n += h->fields[i].id == id;
    return n;
}

struct method {
    slice_t text;
    bool safe, idempotent;
};

static const struct method methods[HTTP_METHOD_COUNT] = {[HTTP_METHOD_OTHER] = {{"", 0}, false, false},
#define X(id, text, safe, idem) [HTTP_##id] = {{text, sizeof(text) - 1}, safe, idem},
                                                         HTTP_METHODS(X)
#undef X
};

/* Ordered by how often a method is seen; the lengths differ early enough that this beats a hash. */
enum http_method http_method_lookup(slice_t text)
{
    for (unsigned m = HTTP_METHOD_OTHER + 1; m < HTTP_METHOD_COUNT; m++) {
        if (slice_eq(methods[m].text, text))
            return (enum http_method)m;
    }
    return HTTP_METHOD_OTHER;
}

slice_t http_method_name(enum http_method m)
{
    ASSERT((unsigned)m < HTTP_METHOD_COUNT);
    return methods[m].text;
}

bool http_method_is_safe(enum http_method m)
{
    ASSERT((unsigned)m < HTTP_METHOD_COUNT);
    return methods[m].safe;
}

bool http_method_is_idempotent(enum http_method m)
{
    ASSERT((unsigned)m < HTTP_METHOD_COUNT);
    return methods[m].idempotent;
}

/* X(status, reason): RFC 9110 section 15 and the IANA registry. */
#define STATUS_REASONS(X)                                                                                    \
    X(100, "Continue")                                                                                       \
    X(101, "Switching Protocols")                                                                            \
    X(102, "Processing")                                                                                     \
    X(103, "Early Hints")                                                                                    \
    X(200, "OK")                                                                                             \
    X(201, "Created")                                                                                        \
    X(202, "Accepted")                                                                                       \
    X(203, "Non-Authoritative Information")                                                                  \
    X(204, "No Content")                                                                                     \
    X(205, "Reset Content")                                                                                  \
    X(206, "Partial Content")                                                                                \
    X(207, "Multi-Status")                                                                                   \
    X(208, "Already Reported")                                                                               \
    X(226, "IM Used")                                                                                        \
    X(300, "Multiple Choices")                                                                               \
    X(301, "Moved Permanently")                                                                              \
    X(302, "Found")                                                                                          \
    X(303, "See Other")                                                                                      \
    X(304, "Not Modified")                                                                                   \
    X(305, "Use Proxy")                                                                                      \
    X(307, "Temporary Redirect")                                                                             \
    X(308, "Permanent Redirect")                                                                             \
    X(400, "Bad Request")                                                                                    \
    X(401, "Unauthorized")                                                                                   \
    X(402, "Payment Required")                                                                               \
    X(403, "Forbidden")                                                                                      \
    X(404, "Not Found")                                                                                      \
    X(405, "Method Not Allowed")                                                                             \
    X(406, "Not Acceptable")                                                                                 \
    X(407, "Proxy Authentication Required")                                                                  \
    X(408, "Request Timeout")                                                                                \
    X(409, "Conflict")                                                                                       \
    X(410, "Gone")                                                                                           \
    X(411, "Length Required")                                                                                \
    X(412, "Precondition Failed")                                                                            \
    X(413, "Content Too Large")                                                                              \
    X(414, "URI Too Long")                                                                                   \
    X(415, "Unsupported Media Type")                                                                         \
    X(416, "Range Not Satisfiable")                                                                          \
    X(417, "Expectation Failed")                                                                             \
    X(421, "Misdirected Request")                                                                            \
    X(422, "Unprocessable Content")                                                                          \
    X(423, "Locked")                                                                                         \
    X(424, "Failed Dependency")                                                                              \
    X(425, "Too Early")                                                                                      \
    X(426, "Upgrade Required")                                                                               \
    X(428, "Precondition Required")                                                                          \
    X(429, "Too Many Requests")                                                                              \
    X(431, "Request Header Fields Too Large")                                                                \
    X(451, "Unavailable For Legal Reasons")                                                                  \
    X(500, "Internal Server Error")                                                                          \
    X(501, "Not Implemented")                                                                                \
    X(502, "Bad Gateway")                                                                                    \
    X(503, "Service Unavailable")                                                                            \
    X(504, "Gateway Timeout")                                                                                \
    X(505, "HTTP Version Not Supported")                                                                     \
    X(506, "Variant Also Negotiates")                                                                        \
    X(507, "Insufficient Storage")                                                                           \
    X(508, "Loop Detected")                                                                                  \
    X(511, "Network Authentication Required")

slice_t http_status_reason(unsigned status)
{
    switch (status) {
#define X(number, reason)                                                                                    \
    case number:                                                                                             \
        return SLICE_LIT(reason);
        STATUS_REASONS(X)
#undef X
    default:
        return SLICE_LIT("Unknown");
    }
}
