/* record_text.c: see record_text.h. Any thread. */
#include "cache/record_text.h"

#include "cache/hidden.h"
#include "cache/key.h"
#include "core/http_field.h"

/* Framing and age are written anew for each client; cookies are one client's. */
#define NEVER_STORED                                                                                         \
    (HTTP_BIT(CONTENT_LENGTH) | HTTP_BIT(TRANSFER_ENCODING) | HTTP_BIT(CONNECTION) | HTTP_BIT(AGE) |         \
     HTTP_BIT(SET_COOKIE) | HTTP_BIT(KEEP_ALIVE) | HTTP_BIT(UPGRADE) | HTTP_BIT(TRAILER))

/* Takes a line without its CRLF; false when there is none, or it holds a CR, LF or NUL. */
static bool line_next(slice_t *rest, slice_t *line)
{
    size_t end = slice_find(*rest, '\n', 0);
    if (end == SIZE_MAX || end == 0 || rest->ptr[end - 1] != '\r')
        return false;
    *line = slice_make(rest->ptr, end - 1);
    *rest = slice_make(rest->ptr + end + 1, rest->len - end - 1);
    return slice_find(*line, '\r', 0) == SIZE_MAX && slice_find(*line, '\0', 0) == SIZE_MAX;
}

static bool fields_are_ok(slice_t rest)
{
    slice_t line;
    while (rest.len > 0) {
        if (!line_next(&rest, &line))
            return false;
        size_t colon = slice_find(line, ':', 0);
        if (colon == SIZE_MAX || colon + 1 == line.len || line.ptr[colon + 1] != ' ')
            return false;
        slice_t name = slice_make(line.ptr, colon);
        enum http_field_id id = http_field_lookup(name);
        if (!http_is_token(name) || (id != HTTP_FIELD_OTHER && ((NEVER_STORED >> id) & 1)))
            return false;
    }
    return true;
}

bool cache_record_head_is_ok(slice_t head, unsigned status, size_t status_line_bytes)
{
    const slice_t whole = head;
    slice_t line, version = SLICE_LIT("HTTP/1.1 ");
    uint64_t digits;
    uint16_t hidden = cache_hidden_take(&head);
    if (whole.len > 0 && whole.ptr[whole.len - 1] == '\0' && whole.len == head.len)
        return false;
    if (!fields_are_ok(slice_make(head.ptr + head.len, hidden)) || !line_next(&head, &line))
        return false;
    return line.len + 2 == status_line_bytes && line.len > version.len + 3 && slice_starts(line, version) &&
           line.ptr[version.len + 3] == ' ' && slice_to_u64(slice_make(line.ptr + version.len, 3), &digits) &&
           digits == status && status >= 200 && fields_are_ok(head);
}

static bool slice_less(slice_t a, slice_t b)
{
    int order = memcmp(a.ptr, b.ptr, MIN(a.len, b.len));
    return order < 0 || (order == 0 && a.len < b.len);
}

static bool is_lower(slice_t s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (ascii_lower(s.ptr[i]) != s.ptr[i])
            return false;
    }
    return true;
}

/* A line "name" or "name: value" of a secondary key. */
static bool secondary_line_next(slice_t *rest, slice_t name)
{
    size_t end = slice_find(*rest, '\n', 0);
    if (end == SIZE_MAX || !slice_starts(*rest, name) || (end != name.len && end < name.len + 2))
        return false;
    if (end > name.len && (rest->ptr[name.len] != ':' || rest->ptr[name.len + 1] != ' '))
        return false;
    *rest = slice_make(rest->ptr + end + 1, rest->len - end - 1);
    return true;
}

bool cache_record_key_is_ok(slice_t key, size_t primary_bytes, slice_t names)
{
    if (primary_bytes == 0 || primary_bytes > key.len ||
        slice_find(slice_make(key.ptr, primary_bytes), '\0', 0) != SIZE_MAX)
        return false;
    if (names.len == 0)
        return primary_bytes == key.len;
    const bool marker = primary_bytes == key.len;
    if (!marker && key.ptr[primary_bytes] != '\0')
        return false;
    slice_t rest =
        marker ? SLICE_EMPTY : slice_make(key.ptr + primary_bytes + 1, key.len - primary_bytes - 1);
    slice_t last = SLICE_EMPTY;
    for (unsigned count = 0; names.len > 0; count++) {
        size_t end = MIN(slice_find(names, ',', 0), names.len);
        slice_t name = slice_make(names.ptr, end);
        if (count == CACHE_VARY_MAX_FIELDS || end + 1 == names.len || !http_is_token(name) ||
            !is_lower(name) || !slice_less(last, name) || (!marker && !secondary_line_next(&rest, name)))
            return false;
        last = name;
        size_t skip = MIN(end + 1, names.len);
        names = slice_make(names.ptr + skip, names.len - skip);
    }
    return rest.len == 0;
}

bool cache_record_tags_are_ok(const struct cache_tags *t)
{
    size_t count = 0, bound = 0;
    if (t->text.len > CACHE_TAGS_BYTES_MAX || (t->text.len > 0 && t->text.ptr[0] == ' '))
        return false;
    for (size_t i = 0; i < t->text.len; i++) {
        char c = t->text.ptr[i];
        count += c == ' ';
        if (c == '\0' || c == '\r' || c == '\n' || (c == ' ' && t->text.ptr[i - 1] == ' '))
            return false;
    }
    for (unsigned f = 0; f < CACHE_TAG_FIELDS; f++) {
        bound += t->bytes[f];
        if (bound > t->text.len || (bound > 0 && t->text.ptr[bound - 1] != ' '))
            return false;
    }
    return count <= CACHE_TAGS_MAX && (t->text.len == 0 || t->text.ptr[t->text.len - 1] == ' ');
}

slice_t cache_record_head_field(slice_t head, enum http_field_id id)
{
    for (size_t end; (end = slice_find(head, '\n', 0)) != SIZE_MAX;) {
        size_t colon = slice_find(head, ':', 0);
        if (colon < end && http_field_lookup(slice_make(head.ptr, colon)) == id)
            return slice_trim(slice_make(head.ptr + colon + 1, end - 1 - colon - 1));
        head = slice_make(head.ptr + end + 1, head.len - end - 1);
    }
    return SLICE_EMPTY;
}
