/* percent.c: see percent.h. Any thread. */
#include "cache/percent.h"

/* RFC 3986 section 2.3 */
static const bool unreserved[256] = {
    ['0' ... '9'] = true, ['A' ... 'Z'] = true, ['a' ... 'z'] = true, ['-'] = true,
    ['.'] = true,         ['_'] = true,         ['~'] = true,
};

/* Value of a hexadecimal digit, or -1. */
static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Of the escape at `i`, or -1 where there is none. */
static int escape_value(slice_t s, size_t i)
{
    int high = s.ptr[i] == '%' && s.len - i > 2 ? hex_value(s.ptr[i + 1]) : -1;
    int low = high >= 0 ? hex_value(s.ptr[i + 2]) : -1;
    return low >= 0 ? high << 4 | low : -1;
}

char *cache_percent_put(char *out, slice_t s)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t i = 0;
    while (i < s.len) {
        if (s.ptr[i] != '%') {
            *out++ = s.ptr[i++];
            continue;
        }
        int c = escape_value(s, i);
        if (c < 0) {
            memcpy(out, s.ptr + i, s.len - i);
            return out + (s.len - i);
        }
        if (unreserved[c]) {
            *out++ = (char)c;
        } else {
            *out++ = '%';
            *out++ = digits[c >> 4];
            *out++ = digits[c & 15];
        }
        i += 3;
    }
    return out;
}

unsigned char cache_percent_byte(slice_t s, size_t *at)
{
    int c = escape_value(s, *at);
    *at += c >= 0 ? 3 : 1;
    return c >= 0 ? (unsigned char)c : (unsigned char)s.ptr[*at - 1];
}
