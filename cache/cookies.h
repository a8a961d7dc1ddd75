/* cookies.h: the Cookie field of a request (RFC 6265 section 4.2), pure. */
#ifndef CACHE_COOKIES_H
#define CACHE_COOKIES_H

#include "cache/rules.h"
#include "core/http_msg.h"

/* Iterates the pairs of one Cookie value, empty ones skipped; `name` ends before the first '='. Start with a
 * copy of the value in `*rest`. */
bool cookies_next(slice_t *rest, slice_t *name, slice_t *pair);

/* Takes the cookies that the route's remove_cookies names out of the request; a Cookie line that has none
 * left goes too. Writes into the bytes of the values, which only become shorter: no memory is needed. */
void cookies_remove(struct http_head *request, const struct cache_rules *rules);
/* The same with names as remove_cookies takes them. */
void cookies_remove_named(struct http_head *request, const struct config_strings *patterns);

/* Iterates the cookies of the request that the key does not tell apart: their names. Start with all zero. */
struct cookies_cursor {
    unsigned field;
    slice_t rest; /* of its value */
};
bool cookies_next_unaccounted(const struct http_head *request, const struct cache_rules *rules,
                              struct cookies_cursor *at, slice_t *name);
/* True when the request has a cookie by which the key does not tell requests apart. */
bool cookies_unaccounted(const struct http_head *request, const struct cache_rules *rules);

#endif
