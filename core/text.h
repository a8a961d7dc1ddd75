/* text.h: appending text to a buffer of known size. What does not fit sets `overflow` and is left out whole,
 * so a caller checks once at the end. Owns nothing. */
#ifndef CORE_TEXT_H
#define CORE_TEXT_H

#include "core/slice.h"

struct text {
    char *start, *at, *end;
    bool overflow;
};

static inline struct text text_make(char *buf, size_t bytes)
{
    return (struct text){buf, buf, buf + bytes, false};
}

static inline void text_put(struct text *t, slice_t s)
{
    if ((size_t)(t->end - t->at) < s.len) {
        t->overflow = true;
        return;
    }
    memcpy(t->at, s.ptr, s.len);
    t->at += s.len;
}

#define TEXT_LIT(t, s) text_put((t), SLICE_LIT(s))

static inline void text_put_char(struct text *t, char c)
{
    text_put(t, slice_make(&c, 1));
}

static inline void text_put_u64(struct text *t, uint64_t v)
{
    char digits[20];
    text_put(t, slice_make(digits, slice_put_u64(digits, v)));
}

/* Writes `v` as 16 hexadecimal digits. */
static inline void text_put_hex16(char *to, uint64_t v)
{
    for (int i = 15; i >= 0; i--, v >>= 4)
        to[i] = "0123456789abcdef"[v & 15];
}

static inline slice_t text_slice(const struct text *t)
{
    return slice_make(t->start, (size_t)(t->at - t->start));
}

#endif
