/* h1_framing.c: what a parsed HTTP/1 head says about its target and about the length of its body
 * (RFC 9112 sections 3.2, 6 and 9.3).
 *
 * This is where smuggling is decided, so each doubt is an error: two lengths, a length beside a coding,
 * a coding other than one `chunked`. Pure; any thread. Rejected: repairing such messages, as RFC 9112
 * section 6.3 allows; the next server might repair them differently. */
#include "core/h1_parse.h"

#include "core/http_field.h"

#define LENGTH_MAX_DIGITS 19

static void split_query(slice_t s, struct h1_target *out)
{
    size_t mark = slice_find(s, '?', 0);
    out->path = mark == SIZE_MAX ? s : slice_make(s.ptr, mark);
    out->query = mark == SIZE_MAX ? slice_make(NULL, 0) : slice_make(s.ptr + mark + 1, s.len - mark - 1);
}

/* "http://authority[/path][?query]"; other schemes are not ours to serve. */
static enum h1_error split_absolute(slice_t target, struct h1_target *out)
{
    size_t colon = slice_find(target, ':', 0);
    if (colon == SIZE_MAX ||
        !slice_starts(slice_make(target.ptr + colon, target.len - colon), SLICE_LIT("://")))
        return H1_ERR_TARGET_FORM;
    out->scheme = slice_make(target.ptr, colon);
    if (!slice_ieq(out->scheme, SLICE_LIT("http")) && !slice_ieq(out->scheme, SLICE_LIT("https")))
        return H1_ERR_TARGET_FORM;
    slice_t rest = slice_make(target.ptr + colon + 3, target.len - colon - 3);
    size_t end = 0;
    while (end < rest.len && rest.ptr[end] != '/' && rest.ptr[end] != '?')
        end++;
    out->authority = slice_make(rest.ptr, end);
    split_query(slice_make(rest.ptr + end, rest.len - end), out);
    if (out->path.len == 0)
        out->path = SLICE_LIT("/");
    return http_host_is_valid(out->authority) ? H1_OK : H1_ERR_HOST_INVALID;
}

/* "host:port"; the port is not optional here (RFC 9112 section 3.2.3). */
static enum h1_error split_authority(slice_t target, struct h1_target *out)
{
    size_t n = target.len;
    while (n > 0 && target.ptr[n - 1] >= '0' && target.ptr[n - 1] <= '9')
        n--;
    if (n == target.len || n == 0 || target.ptr[n - 1] != ':')
        return H1_ERR_TARGET_FORM;
    out->authority = target;
    return http_host_is_valid(target) ? H1_OK : H1_ERR_HOST_INVALID;
}

enum h1_error h1_target_split(const struct http_head *head, struct h1_target *out)
{
    slice_t target = head->target;
    *out = (struct h1_target){SLICE_EMPTY, SLICE_EMPTY, SLICE_EMPTY, {NULL, 0}};
    if (head->method == HTTP_CONNECT)
        return split_authority(target, out);
    if (target.len > 0 && target.ptr[0] == '/') {
        split_query(target, out);
        return H1_OK;
    }
    if (!slice_eq(target, SLICE_LIT("*")))
        return split_absolute(target, out);
    out->path = target;
    return head->method == HTTP_OPTIONS ? H1_OK : H1_ERR_TARGET_FORM;
}

/* RFC 9112 section 9.3. An HTTP/1.0 peer has to ask for it; one of HTTP/1.1 has to decline. */
static bool wants_keep_alive(const struct http_head *head)
{
    bool keep = head->version_minor > 0;
    if (LIKELY(!http_head_has(head, HTTP_FIELD_CONNECTION)))
        return keep;
    if (http_head_has_token(head, HTTP_FIELD_CONNECTION, SLICE_LIT("close")))
        return false;
    return keep || http_head_has_token(head, HTTP_FIELD_CONNECTION, SLICE_LIT("keep-alive"));
}

/* Digits only. What does not fit a signed 64-bit offset would wrap in somebody's arithmetic. */
static bool length_value(slice_t s, uint64_t *out)
{
    return s.len <= LENGTH_MAX_DIGITS && slice_to_u64(s, out) && *out <= INT64_MAX;
}

/* All elements of one Content-Length line; `*seen` counts them over all lines. */
static enum h1_error read_length_line(slice_t rest, unsigned *seen, bool *differs, uint64_t *length)
{
    for (;;) {
        size_t comma = slice_find(rest, ',', 0);
        size_t end = comma == SIZE_MAX ? rest.len : comma;
        uint64_t v;
        if (!length_value(slice_trim(slice_make(rest.ptr, end)), &v))
            return H1_ERR_LENGTH_INVALID;
        *differs |= (*seen)++ > 0 && v != *length;
        *length = v;
        if (comma == SIZE_MAX)
            return H1_OK;
        rest = slice_make(rest.ptr + comma + 1, rest.len - comma - 1);
    }
}

/* RFC 9110 section 8.6. Equal repeats are taken from an origin, where proxies on the way are known to
 * double the field; a client has no such excuse. */
static enum h1_error read_length(const struct http_head *head, bool repeats_ok, uint64_t *length)
{
    unsigned seen = 0;
    bool differs = false;
    for (unsigned i = 0; i < head->field_count; i++) {
        if (head->fields[i].id != HTTP_FIELD_CONTENT_LENGTH)
            continue;
        enum h1_error e = read_length_line(head->fields[i].value, &seen, &differs, length);
        if (e != H1_OK)
            return e;
    }
    return differs || (seen > 1 && !repeats_ok) ? H1_ERR_LENGTH_DIFFERS : H1_OK;
}

/* RFC 9112 section 6.1: `chunked`, once, and nothing else. Elements are cut at each comma, quoted or not:
 * a parameter is refused anyway. */
static enum h1_error check_coding(const struct http_head *head)
{
    bool chunked = false;
    if (head->version_minor == 0)
        return H1_ERR_CODING_IN_HTTP_1_0;
    if (http_head_has(head, HTTP_FIELD_CONTENT_LENGTH))
        return H1_ERR_LENGTH_AND_CODING;
    for (unsigned i = 0; i < head->field_count; i++) {
        if (head->fields[i].id != HTTP_FIELD_TRANSFER_ENCODING)
            continue;
        slice_t rest = head->fields[i].value, coding;
        while (http_list_next(&rest, &coding)) {
            if (chunked)
                return H1_ERR_CODING_NOT_FINAL;
            if (!slice_ieq(coding, SLICE_LIT("chunked")))
                return H1_ERR_CODING_UNKNOWN;
            chunked = true;
        }
    }
    return chunked ? H1_OK : H1_ERR_CODING_NOT_FINAL;
}

/* The fields common to both directions. Leaves `kind` at NONE when neither is there. */
static enum h1_error read_framing(const struct http_head *head, bool repeats_ok, struct h1_framing *out)
{
    *out = (struct h1_framing){.kind = H1_BODY_NONE, .keep_alive = wants_keep_alive(head)};
    if (LIKELY((head->present & (HTTP_BIT(TRANSFER_ENCODING) | HTTP_BIT(CONTENT_LENGTH))) == 0))
        return H1_OK;
    if (http_head_has(head, HTTP_FIELD_TRANSFER_ENCODING)) {
        out->kind = H1_BODY_CHUNKED;
        return check_coding(head);
    }
    out->kind = H1_BODY_LENGTH;
    out->has_length = true;
    return read_length(head, repeats_ok, &out->length);
}

enum h1_error h1_request_framing(const struct http_head *head, struct h1_framing *out)
{
    return read_framing(head, false, out);
}

enum h1_error h1_response_framing(const struct http_head *head, enum http_method request_method,
                                  struct h1_framing *out)
{
    unsigned status = head->status;
    enum h1_error e = read_framing(head, true, out);
    if (e != H1_OK)
        return e;
    if (status == 101 || (request_method == HTTP_CONNECT && status / 100 == 2)) {
        out->kind = H1_BODY_NONE;
        out->keep_alive = false;
    } else if (status == 204) {
        out->keep_alive &= out->kind != H1_BODY_CHUNKED && out->length == 0;
        out->kind = H1_BODY_NONE;
    } else if (status / 100 == 1 || status == 304 || request_method == HTTP_HEAD) {
        out->kind = H1_BODY_NONE;
    } else if (out->kind == H1_BODY_NONE) {
        out->kind = H1_BODY_UNTIL_CLOSE;
        out->keep_alive = false;
    }
    return H1_OK;
}
