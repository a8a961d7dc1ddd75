/* h2_head.c: see h2_head.h.
 *
 * Names that we know are not copied, values are, one behind the other, so that an exchange can take the whole
 * as one stretch as it does with HTTP/1.1; the method has its place in front, since it need not come first.
 * Rejected: writing an HTTP/1.1 head and parsing that. It would be twice the work, and what must not be
 * mistaken for a line end is better looked at while it is still a field. */
#include "core/h2_head.h"

#include <stdlib.h>

#include "core/h1_scan.h"
#include "core/http_field.h"

#define TEXT_LEAST   1024
#define FIELDS_LEAST 32
#define LINE_EXTRA   4 /* ": " and CRLF */

static slice_t moved(slice_t s, const char *from, char *to, size_t bytes)
{
    if (s.ptr >= from && s.ptr <= from + bytes)
        s.ptr = to + (s.ptr - from);
    return s;
}

static void text_move(struct h2_head *h, char *to)
{
    memcpy(to, h->text, h->text_used);
    for (unsigned i = 0; i < h->field_count; i++) {
        h->fields[i].name = moved(h->fields[i].name, h->text, to, h->text_used);
        h->fields[i].value = moved(h->fields[i].value, h->text, to, h->text_used);
    }
    for (unsigned i = 0; i < H2_PSEUDO_COUNT; i++)
        h->pseudo[i] = moved(h->pseudo[i], h->text, to, h->text_used);
}

static NOINLINE bool text_grow(struct h2_head *h, size_t bytes)
{
    size_t room = MAX(h->text_room, TEXT_LEAST);
    while (room < h->text_used + bytes)
        room *= 2;
    char *text = malloc(room);
    if (text == NULL)
        return false;
    if (h->text != NULL)
        text_move(h, text);
    free(h->text);
    h->text = text;
    h->text_room = room;
    return true;
}

static inline bool text_reserve(struct h2_head *h, size_t bytes)
{
    return LIKELY(h->text_used + bytes <= h->text_room) || text_grow(h, bytes);
}

/* There is room. */
static slice_t text_put_copy(struct h2_head *h, slice_t s)
{
    char *at = h->text + h->text_used;
    memcpy(at, s.ptr, s.len);
    h->text_used += s.len;
    return slice_make(at, s.len);
}

static NOINLINE bool fields_grow(struct h2_head *h)
{
    const unsigned room = MAX(2 * h->field_room, FIELDS_LEAST);
    struct http_field *fields = realloc(h->fields, room * sizeof *fields);
    if (fields == NULL)
        return false;
    h->fields = fields;
    h->field_room = room;
    return true;
}

static inline bool field_push(struct h2_head *h, const struct http_field *f)
{
    if (UNLIKELY(h->field_count == h->field_room) && !fields_grow(h))
        return false;
    h->fields[h->field_count++] = *f;
    return true;
}

bool h2_head_begin(struct h2_head *h, enum h2_head_kind kind, const struct h1_limits *limits)
{
    h->text_used = H2_HEAD_METHOD_MAX;
    h->field_count = h->decoded_fields = h->crumbs = 0;
    h->decoded_bytes = 0;
    h->kind = kind;
    h->limits = *limits;
    memset(h->pseudo, 0, sizeof h->pseudo);
    h->priority = (struct h2_priority){.urgency = H2_URGENCY_DEFAULT};
    h->content_length = -1;
    h->malformed = NULL;
    h->refused = H1_OK;
    return text_reserve(h, 0);
}

void h2_head_free(struct h2_head *h)
{
    free(h->text);
    free(h->fields);
    *h = (struct h2_head){0};
}

/* ---- fields ---- */

/* RFC 9113 section 8.2.1, and what RFC 9110 section 5.5 takes out of values. */
static bool value_is_sound(slice_t v)
{
    if (v.len == 0)
        return true;
    const char first = v.ptr[0], last = v.ptr[v.len - 1];
    return first != ' ' && first != '\t' && last != ' ' && last != '\t' &&
           h1_scan_control(v.ptr, v.ptr, v.ptr + v.len) == v.ptr + v.len;
}

static bool name_is_lower_token(slice_t name)
{
    for (size_t i = 0; i < name.len; i++) {
        if (name.ptr[i] >= 'A' && name.ptr[i] <= 'Z')
            return false;
    }
    return http_is_token(name);
}

#define IS(name, lit) (memcmp((name).ptr, lit, sizeof(lit) - 1) == 0)

/* H2_PSEUDO_COUNT: none of them. */
static unsigned pseudo_lookup(slice_t name)
{
    switch (name.len) {
    case 5:
        return IS(name, ":path") ? H2_PSEUDO_PATH : H2_PSEUDO_COUNT;
    case 7:
        return IS(name, ":method")   ? H2_PSEUDO_METHOD
               : IS(name, ":scheme") ? H2_PSEUDO_SCHEME
               : IS(name, ":status") ? H2_PSEUDO_STATUS
                                     : H2_PSEUDO_COUNT;
    case 9:
        return IS(name, ":protocol") ? H2_PSEUDO_PROTOCOL : H2_PSEUDO_COUNT;
    case 10:
        return IS(name, ":authority") ? H2_PSEUDO_AUTHORITY : H2_PSEUDO_COUNT;
    default:
        return H2_PSEUDO_COUNT;
    }
}

static const char *add_pseudo(struct h2_head *h, slice_t name, slice_t value)
{
    const unsigned i = pseudo_lookup(name);
    if (h->kind == H2_HEAD_TRAILERS)
        return "a pseudo field among the trailers";
    if (i == H2_PSEUDO_COUNT || (i == H2_PSEUDO_STATUS) != (h->kind == H2_HEAD_RESPONSE))
        return "an unknown pseudo field";
    if (h->field_count > 0)
        return "a pseudo field behind others";
    if (h->pseudo[i].ptr != NULL)
        return "a pseudo field twice";
    h->pseudo[i] = text_put_copy(h, value);
    return NULL;
}

/* RFC 9113 section 8.2.2. */
static bool belongs_to_connection(uint8_t id, slice_t value)
{
    const uint64_t never = HTTP_BIT(CONNECTION) | HTTP_BIT(KEEP_ALIVE) | HTTP_BIT(PROXY_CONNECTION) |
                           HTTP_BIT(TRANSFER_ENCODING) | HTTP_BIT(UPGRADE);
    if (id == HTTP_FIELD_TE)
        return !slice_ieq(value, SLICE_LIT("trailers"));
    return id != HTTP_FIELD_OTHER && ((never >> id) & 1);
}

/* Why the field is malformed. */
static const char *check_field(slice_t name, slice_t value, uint8_t id)
{
    if (id == HTTP_FIELD_OTHER ? !name_is_lower_token(name)
                               : !slice_eq(name, http_field_name((enum http_field_id)id)))
        return "a field name that is no token of lower case";
    if (!value_is_sound(value))
        return "a field value with control characters or white space around it";
    return belongs_to_connection(id, value) ? "a field that belongs to a connection of HTTP/1.1" : NULL;
}

/* What HTTP/2 itself needs to know of a request. Why the field is malformed. */
static const char *note_field(struct h2_head *h, slice_t name, slice_t value, uint8_t id)
{
    uint64_t length;
    if (id == HTTP_FIELD_COOKIE) {
        h->crumbs++;
    } else if (id == HTTP_FIELD_CONTENT_LENGTH && h->kind == H2_HEAD_REQUEST) {
        if (h->content_length >= 0 || !slice_to_u64(value, &length) || length > INT64_MAX)
            return "a Content-Length that is none, or twice";
        h->content_length = (int64_t)length;
    } else if (id == HTTP_FIELD_OTHER && slice_eq(name, SLICE_LIT("priority"))) {
        h2_priority_take(&h->priority, value);
    }
    return NULL;
}

bool h2_head_add(struct h2_head *h, slice_t name, slice_t value)
{
    h->decoded_bytes += name.len + value.len + LINE_EXTRA;
    h->decoded_fields++;
    if (h->malformed != NULL || h->refused != H1_OK)
        return true;
    if (h->decoded_bytes > h->limits.max_head_bytes) {
        h->refused = H1_ERR_HEAD_TOO_LARGE;
        return true;
    }
    if (!text_reserve(h, name.len + value.len))
        return false;
    if (name.len > 0 && name.ptr[0] == ':') {
        h->malformed = add_pseudo(h, name, value);
        return true;
    }
    const uint8_t id = (uint8_t)http_field_lookup(name);
    h->malformed = check_field(name, value, id);
    if (h->malformed == NULL)
        h->malformed = note_field(h, name, value, id);
    if (h->malformed != NULL)
        return true;
    if (h->field_count == h->limits.max_fields) {
        h->refused = H1_ERR_TOO_MANY_FIELDS;
        return true;
    }
    const slice_t kept =
        id != HTTP_FIELD_OTHER ? http_field_name((enum http_field_id)id) : text_put_copy(h, name);
    return field_push(h, &(struct http_field){.name = kept, .value = text_put_copy(h, value), .id = id});
}

/* ---- the end ---- */

/* RFC 9113 section 8.2.3. In the place of the first crumb; there is room. */
static void join_crumbs(struct h2_head *h)
{
    unsigned kept = 0;
    struct http_field *cookie = NULL;
    const char *from = h->text + h->text_used;
    for (unsigned i = 0; i < h->field_count; i++) {
        struct http_field f = h->fields[i];
        if (f.id != HTTP_FIELD_COOKIE || cookie == NULL) {
            if (f.id == HTTP_FIELD_COOKIE)
                cookie = &h->fields[kept];
            h->fields[kept++] = f;
        }
        if (f.id != HTTP_FIELD_COOKIE)
            continue;
        if (h->text + h->text_used > from)
            text_put_copy(h, SLICE_LIT("; "));
        text_put_copy(h, f.value);
    }
    cookie->value = slice_make(from, (size_t)(h->text + h->text_used - from));
    h->field_count = kept;
}

/* Takes Host out of the fields. false: there are several. */
static bool take_host(struct h2_head *h, slice_t *host)
{
    unsigned kept = 0;
    *host = (slice_t){NULL, 0};
    for (unsigned i = 0; i < h->field_count; i++) {
        if (h->fields[i].id != HTTP_FIELD_HOST) {
            h->fields[kept++] = h->fields[i];
            continue;
        }
        if (host->ptr != NULL)
            return false;
        *host = h->fields[i].value;
    }
    h->field_count = kept;
    return true;
}

/* That of one head is mostly that of the last. */
static bool host_is_valid(struct h2_head *h, slice_t host)
{
    if (LIKELY(host.len > 0 && host.len == h->host_bytes && memcmp(host.ptr, h->host, host.len) == 0))
        return true;
    if (!http_host_is_valid(host))
        return false;
    h->host_bytes = host.len <= sizeof h->host ? (uint8_t)host.len : 0;
    memcpy(h->host, host.ptr, h->host_bytes);
    return true;
}

/* RFC 9113 section 8.3.1. Host becomes the last field, and the last bytes. There is room for it. */
static const char *settle_host(struct h2_head *h)
{
    slice_t host, authority = h->pseudo[H2_PSEUDO_AUTHORITY];
    if (!take_host(h, &host))
        return "Host twice";
    if (authority.ptr == NULL && host.ptr == NULL)
        return "neither :authority nor Host";
    if (authority.ptr != NULL && host.ptr != NULL && !slice_ieq(authority, host))
        return "a Host that is not the :authority";
    if (authority.ptr == NULL)
        authority = host;
    if (!host_is_valid(h, authority))
        return "an :authority or Host that is none";
    const struct http_field f = {http_field_name(HTTP_FIELD_HOST), text_put_copy(h, authority),
                                 HTTP_FIELD_HOST};
    return field_push(h, &f) ? NULL : "out of memory";
}

static bool path_is_sound(slice_t path, uint8_t method)
{
    if (path.len == 0 || (path.ptr[0] != '/' && !(method == HTTP_OPTIONS && slice_eq(path, SLICE_LIT("*")))))
        return false;
    return h1_scan_target(path.ptr, path.ptr, path.ptr + path.len) == path.ptr + path.len;
}

/* What asks for a WebSocket in HTTP/1.1, in the place of an extended CONNECT. */
static const char *settle_websocket(struct h2_head *h, struct http_head *out)
{
    static const struct http_field asks[] = {
        {{"connection", 10}, {"upgrade", 7}, HTTP_FIELD_CONNECTION},
        {{"upgrade", 7}, {"websocket", 9}, HTTP_FIELD_UPGRADE},
    };
    unsigned kept = 0;
    for (unsigned i = 0; i < h->field_count; i++) {
        if (h->fields[i].id == HTTP_FIELD_CONTENT_LENGTH)
            return "a CONNECT with Content-Length";
        if (!slice_ieq(h->fields[i].name, SLICE_LIT("sec-websocket-key")))
            h->fields[kept++] = h->fields[i];
    }
    h->field_count = kept;
    memcpy(h->text, "GET", 3);
    out->method_text = slice_make(h->text, 3);
    out->method = HTTP_GET;
    return field_push(h, &asks[0]) && field_push(h, &asks[1]) ? NULL : "out of memory";
}

/* Of the request line. */
static const char *settle_line(struct h2_head *h, struct http_head *out)
{
    const slice_t method = h->pseudo[H2_PSEUDO_METHOD], path = h->pseudo[H2_PSEUDO_PATH];
    const slice_t scheme = h->pseudo[H2_PSEUDO_SCHEME], authority = h->pseudo[H2_PSEUDO_AUTHORITY];
    const slice_t protocol = h->pseudo[H2_PSEUDO_PROTOCOL];
    if (method.ptr == NULL || !http_is_token(method) || method.len > H2_HEAD_METHOD_MAX)
        return "a :method that is none";
    memcpy(h->text, method.ptr, method.len);
    out->method_text = slice_make(h->text, method.len);
    out->method = (uint8_t)http_method_lookup(out->method_text);
    if (protocol.ptr != NULL && out->method != HTTP_CONNECT)
        return "a :protocol without CONNECT";
    if (protocol.ptr != NULL && !http_is_token(protocol))
        return "a :protocol that is none";
    if (out->method == HTTP_CONNECT && protocol.ptr == NULL) {
        out->target = authority;
        h->content_length = -1; /* it says nothing there (RFC 9110 section 9.3.6) */
        return authority.ptr == NULL || path.ptr != NULL || scheme.ptr != NULL
                   ? "CONNECT with a :path or :scheme"
                   : NULL;
    }
    if (!slice_ieq(scheme, SLICE_LIT("https")) && !slice_ieq(scheme, SLICE_LIT("http")))
        return "a :scheme that is none of ours";
    if (path.len > h->limits.max_target_bytes)
        h->refused = H1_ERR_TARGET_TOO_LONG;
    else if (!path_is_sound(path, out->method))
        return "a :path that is none";
    else
        out->target = path;
    if (protocol.ptr == NULL || h->refused != H1_OK)
        return NULL;
    if (slice_ieq(protocol, SLICE_LIT("websocket")))
        return settle_websocket(h, out);
    h->refused = H1_ERR_PROTOCOL_UNKNOWN;
    return NULL;
}

/* What of it is known all the same. */
static enum h2_verdict refused(struct http_head *out)
{
    if (out->method_text.ptr == NULL)
        out->method_text = SLICE_LIT("-");
    out->target = SLICE_LIT("-");
    return H2_HEAD_REFUSED;
}

static void give_fields(const struct h2_head *h, struct http_head *out)
{
    out->fields = h->fields;
    out->field_count = (uint16_t)h->field_count;
    for (unsigned i = 0; i < h->field_count; i++) {
        if (h->fields[i].id != HTTP_FIELD_OTHER)
            out->present |= (uint64_t)1 << h->fields[i].id;
    }
}

enum h2_verdict h2_head_end(struct h2_head *h, struct http_head *out)
{
    *out = (struct http_head){.version_minor = 1};
    /* For Host and the joined cookie: nothing moves from here on. */
    if (h->malformed == NULL && h->refused == H1_OK && !text_reserve(h, h->decoded_bytes))
        h->refused = H1_ERR_HEAD_TOO_LARGE;
    if (h->malformed == NULL && h->refused == H1_OK)
        h->malformed = settle_line(h, out);
    if (h->malformed == NULL && h->refused == H1_OK && h->crumbs > 1)
        join_crumbs(h);
    if (h->malformed == NULL && h->refused == H1_OK)
        h->malformed = settle_host(h);
    if (h->malformed != NULL)
        return H2_HEAD_MALFORMED;
    if (h->refused != H1_OK)
        return refused(out);
    give_fields(h, out);
    return H2_HEAD_OK;
}

enum h2_verdict h2_head_end_response(struct h2_head *h, struct http_head *out)
{
    const slice_t status = h->pseudo[H2_PSEUDO_STATUS];
    uint64_t number = 0;
    *out = (struct http_head){.version_minor = 1};
    if (h->malformed == NULL && (status.len != 3 || !slice_to_u64(status, &number) || number < 100))
        h->malformed = "a :status that is none";
    if (h->malformed != NULL)
        return H2_HEAD_MALFORMED;
    if (h->refused != H1_OK)
        return H2_HEAD_REFUSED;
    out->status = (uint16_t)number;
    give_fields(h, out);
    return H2_HEAD_OK;
}

size_t h2_head_trailers_bytes(const struct h2_head *h)
{
    size_t bytes = 2;
    for (unsigned i = 0; i < h->field_count; i++)
        bytes += h->fields[i].name.len + h->fields[i].value.len + LINE_EXTRA;
    return bytes;
}

slice_t h2_head_trailers(const struct h2_head *h, char *buf)
{
    char *at = buf;
    for (unsigned i = 0; i < h->field_count; i++) {
        const struct http_field *f = &h->fields[i];
        memcpy(at, f->name.ptr, f->name.len);
        at += f->name.len;
        memcpy(at, ": ", 2);
        memcpy(at + 2, f->value.ptr, f->value.len);
        at += 2 + f->value.len;
        memcpy(at, "\r\n", 2);
        at += 2;
    }
    memcpy(at, "\r\n", 2);
    return slice_make(buf, (size_t)(at + 2 - buf));
}
