/* sf.c: see sf.h. Pure; any thread; no memory of its own.
 *
 * Follows the parsing algorithms of RFC 9651 section 4.2, which are strict: one mistake anywhere, and the
 * field counts as absent. Each taker below takes what it names from the front of the text, or says false.
 * Values of types that nobody asks for are checked and not decoded, so that escapes in a display string need
 * not form UTF-8. Rejected: a tree of members and parameters. Who reads a dictionary wants a handful of known
 * keys. */
#include "core/sf.h"

#include "core/http_field.h"

#define INTEGER_DIGITS_MAX 15
#define DECIMAL_WHOLE_MAX  12
#define DECIMAL_PART_MAX   3

static void skip(slice_t *s, size_t n)
{
    *s = slice_make(s->ptr + n, s->len - n);
}

static bool take_char(slice_t *s, char c)
{
    if (s->len == 0 || s->ptr[0] != c)
        return false;
    skip(s, 1);
    return true;
}

static void skip_sp(slice_t *s)
{
    while (take_char(s, ' '))
        ;
}

static void skip_ows(slice_t *s)
{
    while (take_char(s, ' ') || take_char(s, '\t'))
        ;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_lower(char c)
{
    return c >= 'a' && c <= 'z';
}

static bool is_key_char(char c)
{
    return is_lower(c) || is_digit(c) || c == '_' || c == '-' || c == '.' || c == '*';
}

static bool take_key(slice_t *s, slice_t *key)
{
    size_t n = 0;
    if (s->len == 0 || !(is_lower(s->ptr[0]) || s->ptr[0] == '*'))
        return false;
    while (n < s->len && is_key_char(s->ptr[n]))
        n++;
    *key = slice_make(s->ptr, n);
    skip(s, n);
    return true;
}

static size_t take_digits(slice_t *s, int64_t *value)
{
    size_t n = 0;
    *value = 0;
    while (n < s->len && is_digit(s->ptr[n])) {
        if (n < INTEGER_DIGITS_MAX)
            *value = *value * 10 + (s->ptr[n] - '0');
        n++;
    }
    skip(s, n);
    return n;
}

static bool take_number(slice_t *s, struct sf_member *out)
{
    int64_t part;
    bool negative = take_char(s, '-');
    size_t digits = take_digits(s, &out->integer);
    out->type = SF_INTEGER;
    if (negative)
        out->integer = -out->integer;
    if (digits == 0 || digits > INTEGER_DIGITS_MAX)
        return false;
    if (!take_char(s, '.'))
        return true;
    out->type = SF_DECIMAL;
    out->integer = 0;
    size_t part_digits = take_digits(s, &part);
    return digits <= DECIMAL_WHOLE_MAX && part_digits >= 1 && part_digits <= DECIMAL_PART_MAX;
}

static bool take_string(slice_t *s, struct sf_member *out)
{
    skip(s, 1);
    const char *begin = s->ptr;
    while (s->len > 0) {
        unsigned char c = (unsigned char)s->ptr[0];
        skip(s, 1);
        if (c == '"') {
            out->text = slice_make(begin, (size_t)(s->ptr - begin) - 1);
            return true;
        }
        if (c < 0x20 || c >= 0x7f)
            return false;
        if (c == '\\' && !take_char(s, '"') && !take_char(s, '\\'))
            return false;
    }
    return false;
}

static bool is_lower_hex(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'f');
}

static bool take_display_string(slice_t *s)
{
    skip(s, 1);
    if (!take_char(s, '"'))
        return false;
    while (s->len > 0) {
        unsigned char c = (unsigned char)s->ptr[0];
        skip(s, 1);
        if (c == '"')
            return true;
        if (c < 0x20 || c >= 0x7f)
            return false;
        if (c != '%')
            continue;
        if (s->len < 2 || !is_lower_hex(s->ptr[0]) || !is_lower_hex(s->ptr[1]))
            return false;
        skip(s, 2);
    }
    return false;
}

static void take_token(slice_t *s)
{
    size_t n = 1;
    while (n < s->len && (http_is_tchar((unsigned char)s->ptr[n]) || s->ptr[n] == ':' || s->ptr[n] == '/'))
        n++;
    skip(s, n);
}

static bool take_bytes(slice_t *s)
{
    size_t end = slice_find(*s, ':', 1);
    if (end == SIZE_MAX)
        return false;
    for (size_t i = 1; i < end; i++) {
        char c = s->ptr[i];
        if (!is_lower(ascii_lower(c)) && !is_digit(c) && c != '+' && c != '/' && c != '=')
            return false;
    }
    skip(s, end + 1);
    return true;
}

static bool take_boolean(slice_t *s, struct sf_member *out)
{
    skip(s, 1);
    if (take_char(s, '1'))
        out->integer = 1;
    else if (!take_char(s, '0'))
        return false;
    return true;
}

/* Section 4.2.3.1. */
static bool take_bare_item(slice_t *s, struct sf_member *out)
{
    char c = s->len > 0 ? s->ptr[0] : '\0';
    out->integer = 0;
    out->text = SLICE_EMPTY;
    if (c == '-' || is_digit(c))
        return take_number(s, out);
    if (c == '*' || is_lower(ascii_lower(c))) {
        out->type = SF_TOKEN;
        take_token(s);
        return true;
    }
    switch (c) {
    case '"':
        out->type = SF_STRING;
        return take_string(s, out);
    case ':':
        out->type = SF_BYTES;
        return take_bytes(s);
    case '?':
        out->type = SF_BOOLEAN;
        return take_boolean(s, out);
    case '@':
        skip(s, 1);
        if (!take_number(s, out) || out->type != SF_INTEGER)
            return false;
        out->type = SF_DATE;
        return true;
    case '%':
        out->type = SF_DISPLAY_STRING;
        return take_display_string(s);
    default:
        return false;
    }
}

static bool take_parameters(slice_t *s)
{
    slice_t key;
    struct sf_member value;
    while (take_char(s, ';')) {
        skip_sp(s);
        if (!take_key(s, &key) || (take_char(s, '=') && !take_bare_item(s, &value)))
            return false;
    }
    return true;
}

/* Its items are in *text then, and known to be valid. */
static bool take_inner_list(slice_t *s, slice_t *text)
{
    struct sf_member item;
    skip(s, 1);
    const char *begin = s->ptr;
    while (s->len > 0) {
        skip_sp(s);
        if (take_char(s, ')')) {
            *text = slice_make(begin, (size_t)(s->ptr - begin) - 1);
            return take_parameters(s);
        }
        if (!take_bare_item(s, &item) || !take_parameters(s))
            return false;
        if (s->len == 0 || (s->ptr[0] != ' ' && s->ptr[0] != ')'))
            return false;
    }
    return false;
}

static bool take_item_or_inner_list(slice_t *s, struct sf_member *out)
{
    if (s->len > 0 && s->ptr[0] == '(') {
        out->type = SF_INNER_LIST;
        out->integer = 0;
        return take_inner_list(s, &out->text);
    }
    return take_bare_item(s, out) && take_parameters(s);
}

static bool take_member(slice_t *s, struct sf_member *out)
{
    *out = (struct sf_member){.type = SF_BOOLEAN, .integer = 1};
    if (!take_key(s, &out->key))
        return false;
    if (!take_char(s, '='))
        return take_parameters(s);
    return take_item_or_inner_list(s, out);
}

/* What may stand between the members of dictionaries and lists. */
static enum sf_step end_member(slice_t *rest)
{
    skip_ows(rest);
    if (rest->len == 0)
        return SF_MEMBER;
    if (!take_char(rest, ','))
        return SF_BROKEN;
    skip_ows(rest);
    return rest->len > 0 ? SF_MEMBER : SF_BROKEN; /* a comma at the end is a mistake too */
}

enum sf_step sf_dictionary_next(slice_t *rest, struct sf_member *out)
{
    if (rest->len == 0)
        return SF_END;
    return take_member(rest, out) ? end_member(rest) : SF_BROKEN;
}

enum sf_step sf_list_next(slice_t *rest, struct sf_member *out)
{
    *out = (struct sf_member){.key = SLICE_EMPTY};
    if (rest->len == 0)
        return SF_END;
    return take_item_or_inner_list(rest, out) ? end_member(rest) : SF_BROKEN;
}

enum sf_step sf_inner_list_next(slice_t *rest, struct sf_member *out)
{
    *out = (struct sf_member){.key = SLICE_EMPTY};
    skip_sp(rest);
    if (rest->len == 0)
        return SF_END;
    return take_bare_item(rest, out) && take_parameters(rest) ? SF_MEMBER : SF_BROKEN;
}
