/* link_field.c: see link_field.h. Strict: what two readers could take for different links is no link, and
 * ends the list. */
#include "core/link_field.h"

#include "core/http_field.h"

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

static void skip_space(slice_t s, size_t *at)
{
    while (*at < s.len && is_space(s.ptr[*at]))
        ++*at;
}

static slice_t take_token(slice_t s, size_t *at)
{
    const size_t from = *at;
    while (*at < s.len && http_is_tchar((unsigned char)s.ptr[*at]))
        ++*at;
    return slice_make(s.ptr + from, *at - from);
}

/* What stands between the quotes, escapes left in. false: it has no end. */
static bool take_quoted(slice_t s, size_t *at, slice_t *value)
{
    const size_t from = ++*at;
    while (*at < s.len && s.ptr[*at] != '"')
        *at += s.ptr[*at] == '\\' ? 2 : 1;
    if (*at >= s.len)
        return false;
    *value = slice_make(s.ptr + from, *at - from);
    ++*at;
    return true;
}

/* token BWS [ "=" BWS ( token / quoted-string ) ], or nothing at all. */
static bool take_param(slice_t s, size_t *at, struct link_value *out)
{
    slice_t value = SLICE_EMPTY;
    const slice_t name = take_token(s, at);
    skip_space(s, at);
    if (*at < s.len && s.ptr[*at] == '=' && name.len > 0) {
        ++*at;
        skip_space(s, at);
        if (*at < s.len && s.ptr[*at] == '"') {
            if (!take_quoted(s, at, &value))
                return false;
        } else {
            value = take_token(s, at);
        }
        skip_space(s, at);
    }
    if (out->rel.len == 0 && slice_ieq(name, SLICE_LIT("rel")))
        out->rel = value;
    return true;
}

bool link_next(slice_t *rest, struct link_value *out)
{
    const slice_t s = *rest;
    size_t at = 0;
    while (at < s.len && (is_space(s.ptr[at]) || s.ptr[at] == ','))
        at++;
    const size_t from = at, close = slice_find(s, '>', at);
    if (at == s.len || s.ptr[at] != '<' || close >= s.len)
        return false;
    *out = (struct link_value){.rel = SLICE_EMPTY};
    at = close + 1;
    skip_space(s, &at);
    while (at < s.len && s.ptr[at] == ';') {
        at++;
        skip_space(s, &at);
        if (!take_param(s, &at, out))
            return false;
    }
    if (at < s.len && s.ptr[at] != ',')
        return false;
    out->text = slice_trim(slice_make(s.ptr + from, at - from));
    *rest = slice_make(s.ptr + at, s.len - at);
    return true;
}

bool link_rel_has(slice_t rel, slice_t type)
{
    for (size_t at = 0; at < rel.len;) {
        skip_space(rel, &at);
        const size_t end = MIN(slice_find(rel, ' ', at), rel.len);
        if (slice_ieq(slice_make(rel.ptr + at, end - at), type))
            return true;
        at = end;
    }
    return false;
}
