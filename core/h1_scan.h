/* h1_scan.h: find the first byte of a kind in a stretch of a head, 16 bytes at a time where there is SSE2.
 *
 * Private to the HTTP/1 parser and its tests. Each search exists twice, portable and SSE2, and the tests
 * hold one against the other; H1_SCAN_PORTABLE leaves the SSE2 ones unused. Nothing outside [low, end) is
 * read: what is left behind the last full 16 bytes is looked at again together with bytes before it
 * that are known (down to `low`), or one by one when there are too few of those.
 * Rejected: AVX2 and run-time dispatch; most names and values are shorter than one 16-byte step. */
#ifndef CORE_H1_SCAN_H
#define CORE_H1_SCAN_H

#include "core/base.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* HTAB is the only control character that field values may hold (RFC 9110 section 5.5). */
static inline bool h1_is_control(unsigned char c)
{
    return (c < 0x20 && c != '\t') || c == 0x7f;
}

/* Visible ASCII but '#': a fragment is never sent (RFC 9112 section 3.2). */
static inline bool h1_is_target_char(unsigned char c)
{
    return c > 0x20 && c < 0x7f && c != '#';
}

/* First control character other than HTAB in [p, end), or end. */
static inline const char *h1_scan_control_portable(const char *p, const char *end)
{
    while (p < end && !h1_is_control((unsigned char)*p))
        p++;
    return p;
}

/* First byte in [p, end) that no request target may hold, or end. */
static inline const char *h1_scan_target_portable(const char *p, const char *end)
{
    while (p < end && h1_is_target_char((unsigned char)*p))
        p++;
    return p;
}

/* First ':' in [p, end), or end. */
static inline const char *h1_scan_colon_portable(const char *p, const char *end)
{
    while (p < end && *p != ':')
        p++;
    return p;
}

#ifdef __SSE2__
static inline unsigned h1_mask_control(__m128i v)
{
    __m128i low = _mm_cmpeq_epi8(_mm_min_epu8(v, _mm_set1_epi8(0x1f)), v);
    __m128i tab = _mm_cmpeq_epi8(v, _mm_set1_epi8('\t'));
    __m128i del = _mm_cmpeq_epi8(v, _mm_set1_epi8(0x7f));
    return (unsigned)_mm_movemask_epi8(_mm_or_si128(_mm_andnot_si128(tab, low), del));
}

/* The compare is signed, so it finds 0x80-0xff together with what is below '!'. */
static inline unsigned h1_mask_target(__m128i v)
{
    __m128i low = _mm_cmplt_epi8(v, _mm_set1_epi8('!'));
    __m128i hash = _mm_cmpeq_epi8(v, _mm_set1_epi8('#'));
    __m128i del = _mm_cmpeq_epi8(v, _mm_set1_epi8(0x7f));
    return (unsigned)_mm_movemask_epi8(_mm_or_si128(_mm_or_si128(low, hash), del));
}

static inline unsigned h1_mask_colon(__m128i v)
{
    return (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(v, _mm_set1_epi8(':')));
}

#define H1_SCAN_SSE2(kind)                                                                                   \
    static inline const char *h1_scan_##kind##_sse2(const char *low, const char *p, const char *end)         \
    {                                                                                                        \
        unsigned hits;                                                                                       \
        for (; end - p >= 16; p += 16) {                                                                     \
            hits = h1_mask_##kind(_mm_loadu_si128((const __m128i *)(const void *)p));                        \
            if (hits != 0)                                                                                   \
                return p + __builtin_ctz(hits);                                                              \
        }                                                                                                    \
        if (end - low < 16)                                                                                  \
            return h1_scan_##kind##_portable(p, end);                                                        \
        hits = h1_mask_##kind(_mm_loadu_si128((const __m128i *)(const void *)(end - 16)));                   \
        hits = hits >> (16 - (end - p)) << (16 - (end - p));                                                 \
        return hits != 0 ? end - 16 + __builtin_ctz(hits) : end;                                             \
    }
H1_SCAN_SSE2(control)
H1_SCAN_SSE2(target)
H1_SCAN_SSE2(colon)
#undef H1_SCAN_SSE2
#endif

#if defined(__SSE2__) && !defined(H1_SCAN_PORTABLE)
#define h1_scan_control(low, p, end) h1_scan_control_sse2(low, p, end)
#define h1_scan_target(low, p, end)  h1_scan_target_sse2(low, p, end)
#define h1_scan_colon(low, p, end)   h1_scan_colon_sse2(low, p, end)
#else
#define h1_scan_control(low, p, end) (UNUSED(low), h1_scan_control_portable(p, end))
#define h1_scan_target(low, p, end)  (UNUSED(low), h1_scan_target_portable(p, end))
#define h1_scan_colon(low, p, end)   (UNUSED(low), h1_scan_colon_portable(p, end))
#endif

#endif
