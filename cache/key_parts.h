/* key_parts.h: what a route adds to a key behind the URL, pure: values of request fields and cookies, and the
 * classes of key_fold.h.
 *
 *   http://h/p?q rules:9f86d081884c7d65 x-currency=EUR cookie:theme=dark device:mobile language:de
 *
 * The tag of the rules comes first (key_rules.h). Values are normalised as for Vary, and percent-encoded
 * where they hold a space, a control character, '%' or a byte beyond ASCII, so that no value can look like
 * several parts. A field that is absent has no part; an empty one ends in '='. A cookie that occurs several
 * times has as many parts, in the request's order. */
#ifndef CACHE_KEY_PARTS_H
#define CACHE_KEY_PARTS_H

#include "cache/key.h"
#include "cache/key_rules.h"
#include "core/text.h"

#define CACHE_KEY_PARTS_MAX 4096 /* bytes */

/* A space and the parts; empty when the rules add none. `.ptr` is NULL when they are too long (`*too_long`)
 * or memory is short. */
slice_t cache_key_parts(struct arena *arena, const struct cache_key_rules *rules,
                        const struct http_head *request, bool *too_long);

/* Writes a value as it stands in a part: at most three times as long. */
void cache_key_put_value(struct text *t, slice_t value);

/* The whole primary key of a request for `url` by a route's rules, in the arena. false as above. */
bool cache_key_of_request(struct arena *arena, const struct cache_key_rules *rules,
                          const struct cache_url *url, const struct http_head *request, struct cache_key *out,
                          bool *too_long);

#endif
