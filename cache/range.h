/* range.h: which bytes of a stored response a request with Range wants (RFC 9110 section 14), pure.
 *
 * Serving a range is optional for every server, so whatever is invalid, unknown or too much to be meant well
 * is answered in full. What is left needs no further check by whoever sends it: parts are not empty, lie
 * inside the body, and share no byte, so that no answer is larger than the body it is cut from. */
#ifndef CACHE_RANGE_H
#define CACHE_RANGE_H

#include "cache/cond.h"

#define CACHE_RANGE_PARTS_MAX    16 /* after joining; more: the whole body */
#define CACHE_RANGE_SPECS_MAX    64 /* as written */
#define CACHE_RANGE_OVERLAPS_MAX 2  /* RFC 9110 section 14.2: more than two is not meant well */

struct cache_range {
    uint64_t start, end; /* start <= byte < end */
};

enum cache_range_verdict {
    CACHE_RANGE_WHOLE,        /* no range, or one to be ignored: 200 */
    CACHE_RANGE_PARTS,        /* 206 */
    CACHE_RANGE_UNSATISFIABLE /* 416 */
};

/* In the order of the request; those that overlap or touch are joined where the first of them stood. */
struct cache_range_set {
    unsigned count;
    struct cache_range parts[CACHE_RANGE_PARTS_MAX];
};

/* The value of one Range field against a body of `size` bytes. `out` is set for CACHE_RANGE_PARTS only. */
enum cache_range_verdict cache_range_parse(slice_t value, uint64_t size, struct cache_range_set *out);

/* The value of one Content-Range field of a 206 (RFC 9110 section 14.4): "bytes first-last/size", `part` not
 * empty and inside `size`. false when it is anything else, an unknown size ("*") included. */
bool cache_content_range_parse(slice_t value, struct cache_range *part, uint64_t *size);

/* Does If-Range, if there is one, let the Range stand (RFC 9110 section 13.1.5)? An entity tag by strong
 * comparison; a date that is exactly Last-Modified, when that is a strong validator: at least a second before
 * `date_s`, the response's Date (0 = none). */
bool cache_if_range_holds(const struct http_head *request, const struct cache_validators *stored,
                          wall_s_t date_s, wall_s_t now_s);

#endif
