/* access_text.c: see access_text.h.
 *
 * Nearly all text needs no escape, so sixteen bytes are tested and copied at once, and only a group that has
 * something special goes byte by byte. The last group overlaps the one before it instead of a loop over
 * single bytes. Written with the vector extension of gcc and clang, so it needs no variant per machine. */
#include "proxy/access_text.h"

#define ONES  0x0101010101010101u
#define HIGHS 0x8080808080808080u

typedef uint8_t bytes16 __attribute__((vector_size(16)));
typedef uint64_t words2 __attribute__((vector_size(16)));

static const char access_hex[] = "0123456789abcdef";
static const char access_hex_upper[] = "0123456789ABCDEF";

/* Special: below 0x20, above 0x7e, a quote or a backslash. The first special byte is found exactly; what lies
 * above it in the word does not matter. */
static bool word_special(uint64_t w)
{
    uint64_t quote = w ^ (ONES * '"'), backslash = w ^ (ONES * '\\');
    uint64_t special = w | (w + ONES) | (w - ONES * 0x20) | (quote - ONES) | (backslash - ONES);
    return (special & HIGHS) != 0;
}

static bool group_special(bytes16 v)
{
    words2 special = (words2)((v < 0x20) | (v > 0x7e) | (v == '"') | (v == '\\'));
    return (special[0] | special[1]) != 0;
}

/* Length of the valid UTF-8 sequence at p (RFC 3629: no overlong forms, no surrogates), 0 when there is none.
 */
static size_t utf8_length(const unsigned char *p, size_t left)
{
    static const unsigned char second_min[] = {[0x60] = 0xa0, [0x70] = 0x90};
    unsigned char c = p[0];
    size_t n = c >= 0xc2 && c <= 0xdf ? 2 : (c & 0xf0) == 0xe0 ? 3 : c >= 0xf0 && c <= 0xf4 ? 4 : 0;
    if (n == 0 || n > left)
        return 0;
    unsigned char low = 0x80, high = 0xbf;
    if (c == 0xe0 || c == 0xf0)
        low = second_min[c & 0x7f];
    if (c == 0xed)
        high = 0x9f;
    if (c == 0xf4)
        high = 0x8f;
    if (p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    }
    return n;
}

struct unit {
    uint8_t in, out; /* bytes taken and written */
    char text[ACCESS_ESCAPE_WORST];
};

static struct unit unit_u00(unsigned char c, uint8_t in)
{
    return (struct unit){in, 6, {'\\', 'u', '0', '0', access_hex[c >> 4], access_hex[c & 15]}};
}

static struct unit unit_json(const unsigned char *p, size_t left)
{
    unsigned char c = p[0];
    if (c == '"' || c == '\\')
        return (struct unit){1, 2, {'\\', (char)c}};
    if (c < 0x20 || c == 0x7f)
        return unit_u00(c, 1);
    if (c < 0x7f)
        return (struct unit){1, 1, {(char)c}};
    size_t n = utf8_length(p, left);
    if (n == 0)
        return unit_u00(c, 1);
    if (c == 0xc2 && p[1] < 0xa0) /* C1 controls drive terminals */
        return unit_u00(p[1], 2);
    struct unit u = {(uint8_t)n, (uint8_t)n, {0}};
    memcpy(u.text, p, n);
    return u;
}

static struct unit unit_hex(const unsigned char *p)
{
    unsigned char c = p[0];
    if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\')
        return (struct unit){1, 1, {(char)c}};
    return (struct unit){1, 4, {'\\', 'x', access_hex_upper[c >> 4], access_hex_upper[c & 15]}};
}

static struct unit unit_at(slice_t s, size_t i, enum access_escape how)
{
    const unsigned char *p = (const unsigned char *)s.ptr + i;
    return how == ACCESS_ESCAPE_JSON ? unit_json(p, s.len - i) : unit_hex(p);
}

/* Without its loop for eight bytes, from `i` up to `until` (a sequence may reach beyond). */
static size_t put_units(char **to, slice_t s, size_t i, size_t until, enum access_escape how)
{
    while (i < until) {
        unsigned char c = (unsigned char)s.ptr[i];
        if (LIKELY(c >= 0x20 && c < 0x7f && c != '"' && c != '\\')) {
            *(*to)++ = (char)c;
            i++;
            continue;
        }
        struct unit u = unit_at(s, i, how);
        memcpy(*to, u.text, sizeof u.text);
        *to += u.out;
        i += u.in;
    }
    return i;
}

/* Fewer than sixteen bytes. */
static char *put_short(char *to, slice_t s, enum access_escape how)
{
    if (s.len >= 8) {
        uint64_t first, last;
        memcpy(&first, s.ptr, 8);
        memcpy(&last, s.ptr + s.len - 8, 8);
        if (LIKELY(!word_special(first) && !word_special(last))) {
            memcpy(to, &first, 8);
            memcpy(to + s.len - 8, &last, 8);
            return to + s.len;
        }
    } else if (s.len >= 4) {
        uint32_t first, last;
        memcpy(&first, s.ptr, 4);
        memcpy(&last, s.ptr + s.len - 4, 4);
        if (LIKELY(!word_special(first | (uint64_t)last << 32))) {
            memcpy(to, &first, 4);
            memcpy(to + s.len - 4, &last, 4);
            return to + s.len;
        }
    }
    put_units(&to, s, 0, s.len, how);
    return to;
}

char *access_text_put(char *to, slice_t s, enum access_escape how)
{
    bytes16 v;
    if (s.len < sizeof v)
        return put_short(to, s, how);
    size_t i = 0;
    while (s.len - i >= sizeof v) {
        memcpy(&v, s.ptr + i, sizeof v);
        if (LIKELY(!group_special(v))) {
            memcpy(to, &v, sizeof v);
            to += sizeof v;
            i += sizeof v;
        } else {
            i = put_units(&to, s, i, i + sizeof v, how);
        }
    }
    size_t rest = s.len - i;
    if (rest == 0)
        return to;
    /* The last sixteen bytes again: what overlaps is plain, so it was written as it is and ends at `to`. */
    memcpy(&v, s.ptr + s.len - sizeof v, sizeof v);
    if (LIKELY(!group_special(v))) {
        memcpy(to + rest - sizeof v, &v, sizeof v);
        return to + rest;
    }
    put_units(&to, s, i, s.len, how);
    return to;
}

size_t access_text_length(slice_t s, enum access_escape how, size_t enough)
{
    size_t n = 0;
    for (size_t i = 0; i < s.len && n <= enough;) {
        struct unit u = unit_at(s, i, how);
        n += u.out;
        i += u.in;
    }
    return n;
}

char *access_text_put_cut(char *to, slice_t s, enum access_escape how, size_t limit)
{
    size_t n = 0, fits = 0;
    for (size_t i = 0; i < s.len;) {
        struct unit u = unit_at(s, i, how);
        n += u.out;
        i += u.in;
        if (n <= limit - 3)
            fits = i;
        if (n > limit) {
            to = access_text_put(to, slice_make(s.ptr, fits), how);
            memcpy(to, "...", 3);
            return to + 3;
        }
    }
    return access_text_put(to, s, how);
}
