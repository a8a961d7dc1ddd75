/* slice.h: a borrowed view of bytes (pointer and length), and strict number parsing from it.
 *
 * A slice owns nothing; whoever hands one out says how long the bytes live. It need not be
 * NUL-terminated and may contain any byte. Comparison ignoring case is ASCII only, as field names
 * and hosts are (RFC 9110 section 5.1). All functions are pure. */
#ifndef CORE_SLICE_H
#define CORE_SLICE_H

#include "core/base.h"

#include <string.h>

typedef struct slice {
    const char *ptr;
    size_t len;
} slice_t;

#define SLICE_LIT(s) ((slice_t){"" s, sizeof(s) - 1})
#define SLICE_EMPTY  ((slice_t){"", 0})
#define SLICE_FMT    "%.*s"
#define SLICE_ARG(s) (int)(s).len, (s).ptr

static inline slice_t slice_make(const char *ptr, size_t len)
{
    return (slice_t){ptr, len};
}

static inline slice_t slice_str(const char *s)
{
    return (slice_t){s, s != NULL ? strlen(s) : 0};
}

static inline bool slice_eq(slice_t a, slice_t b)
{
    return a.len == b.len && memcmp(a.ptr, b.ptr, a.len) == 0;
}

static inline bool slice_starts(slice_t s, slice_t prefix)
{
    return s.len >= prefix.len && memcmp(s.ptr, prefix.ptr, prefix.len) == 0;
}

static inline bool slice_ends(slice_t s, slice_t suffix)
{
    return s.len >= suffix.len && memcmp(s.ptr + s.len - suffix.len, suffix.ptr, suffix.len) == 0;
}

static inline char ascii_lower(char c)
{
    return (c >= 'A' && c <= 'Z') ? (char)(c | 0x20) : c;
}

/* Equal, ASCII letters compared without case. */
bool slice_ieq(slice_t a, slice_t b);

/* Without leading and trailing SP and HTAB (OWS, RFC 9110 section 5.6.3). */
static inline slice_t slice_trim(slice_t s)
{
    while (s.len > 0 && (s.ptr[0] == ' ' || s.ptr[0] == '\t')) {
        s.ptr++;
        s.len--;
    }
    while (s.len > 0 && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t'))
        s.len--;
    return s;
}

/* Index of the first `c` at or after `from`, or SIZE_MAX. */
size_t slice_find(slice_t s, char c, size_t from);

/* Decimal digits only, the whole slice, at least one; false on anything else or on overflow of 64 bits. */
bool slice_to_u64(slice_t s, uint64_t *out);

/* Hexadecimal digits only, the whole slice, at most 16; false otherwise. */
bool slice_hex_to_u64(slice_t s, uint64_t *out);

/* Decimal text of `v` into `buf` (at least 20 bytes, not terminated); returns its length. */
size_t slice_put_u64(char *buf, uint64_t v);

#endif
