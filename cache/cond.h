/* cond.h: validators and conditional requests (RFC 9110 section 13, RFC 9111 section 4.3), pure. */
#ifndef CACHE_COND_H
#define CACHE_COND_H

#include "core/clock.h"
#include "core/http_msg.h"

/* Borrowed from a stored head or a parsed one. */
struct cache_validators {
    slice_t etag;             /* with quotes and W/; empty = none */
    slice_t last_modified;    /* as text; empty = none */
    wall_s_t last_modified_s; /* 0 = none or not a date */
};
void cache_validators_from_head(const struct http_head *response, wall_s_t now_s,
                                struct cache_validators *out);

enum cache_cond {
    CACHE_COND_NONE,         /* no condition, or it lets the response through: answer in full */
    CACHE_COND_NOT_MODIFIED, /* answer 304 */
    CACHE_COND_FAILED        /* answer 412 */
};

/* Precedence of RFC 9110 section 13.2.2 for GET and HEAD on a stored 200: If-Match, If-Unmodified-Since,
 * If-None-Match (weak comparison, lists, `*`), If-Modified-Since. */
enum cache_cond cache_cond_evaluate(const struct http_head *request, const struct cache_validators *stored,
                                    wall_s_t now_s);

/* Weak comparison of two entity tags (RFC 9110 section 8.8.3.2). */
bool cache_etag_weak_eq(slice_t a, slice_t b);

/* True for the fields that a 304 carries: Date, ETag, Cache-Control, Content-Location, Expires, Vary,
 * Last-Modified, and the like (RFC 9110 section 15.4.5); representation metadata such as Content-Length,
 * Content-Type and Content-Encoding is left out. */
bool cache_field_in_304(const struct http_field *f);
/* True for fields of a 304 from an instance that replace those of the stored response (RFC 9111 section 3.2):
 * all but those that are not storable (cache_field_is_storable), those that the stored body depends on
 * (Content-Length, Content-Encoding, Content-Range, ETag), and digests of the content, which a 304 has none
 * of.
 */
bool cache_field_updates_stored(const struct http_head *not_modified, const struct http_field *f);

#endif
