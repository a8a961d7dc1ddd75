/* h2_lines.h: the field lines of a head's text, one after the other. Not byte by byte, as head_text_next
 * does.
 */
#ifndef PROXY_H2_LINES_H
#define PROXY_H2_LINES_H

#include "core/h1_scan.h"
#include "core/slice.h"

struct h2_lines {
    const char *low, *at, *end;
};

/* Where the CRLF of a line is whose value begins at `at`. Other control characters are none of its end. */
static inline const char *h2_line_end(const char *low, const char *at, const char *end)
{
    at = h1_scan_control(low, at, end);
    while (at < end && *at != '\r')
        at = h1_scan_control(low, at + 1, end);
    return at;
}

/* `text` is whole lines; a status line at its begin and an empty one at its end are none. */
static inline struct h2_lines h2_lines_of(slice_t text)
{
    struct h2_lines l = {text.ptr, text.ptr, text.ptr + text.len};
    if (slice_starts(text, SLICE_LIT("HTTP/1.1 ")))
        l.at = h2_line_end(l.low, l.at, l.end) + 2;
    return l;
}

/* false: that was the last. */
static inline bool h2_lines_next(struct h2_lines *l, slice_t *name, slice_t *value)
{
    if (l->at >= l->end)
        return false;
    const char *const colon = h1_scan_colon(l->low, l->at, l->end);
    if (l->end - colon < 4) /* ": " and CRLF: what is left is the line that ends the head */
        return false;
    const char *const cr = h2_line_end(l->low, colon + 2, l->end);
    *name = slice_make(l->at, (size_t)(colon - l->at));
    *value = slice_trim(slice_make(colon + 2, (size_t)(cr - (colon + 2))));
    l->at = cr + 2;
    return true;
}

#endif
