/* merge_head.h: the head of a stored response updated by what confirms it (RFC 9111 sections 3.2 and 4.3.4).
 */
#ifndef PROXY_MERGE_HEAD_H
#define PROXY_MERGE_HEAD_H

#include "core/http_msg.h"

struct exchange;

/* False when a 304 has another ETag than x->stale, and the instance was also asked by date: one that looks at
 * nothing else tells by the tag that something changed (RFC 9111 section 4.3.4). Where the tag was all that
 * it was asked by, a 304 confirms it whatever tag comes with it; the public tests want so. */
bool merge_confirms(const struct exchange *x, const struct http_head *not_modified);
/* The same for the 200 that answers a HEAD, which must prove what a 304 says by itself (section 4.3.5): it
 * has a validator, and no validator or length that differs. */
bool merge_head_confirms(const struct exchange *x, const struct http_head *ok);

/* x->stale's head with the fields of `update` in place of its own: parsed (an Age of the update included) in
 * *merged, and in *text as cache_fill takes it. With a 206, which brings the rest of a stored part, it is the
 * head of the whole (section 3.4). In the arena; false when that is full. */
bool merge_stored_head(struct exchange *x, const struct http_head *update, struct http_head *merged,
                       slice_t *text);

/* `shown`, a head to be stored, with the hidden fields of `response` behind it (cache/hidden.h). `.ptr` is
 * NULL without memory. */
slice_t merge_hide_fields(struct exchange *x, slice_t shown, const struct http_head *response);

#endif
