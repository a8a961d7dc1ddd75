/* tags.h: the tags of a response on their way into the cache and, for who may see them, to the client.
 *
 * Surrogate-Key, Cache-Tag and xkey are not for clients. One that asks with `Fastly-Debug` (any value) from
 * an address in purge_from gets them, which is how a deployment is looked into. */
#ifndef PROXY_TAGS_H
#define PROXY_TAGS_H

#include "proxy/exchange.h"

/* Of a response about to be stored; *out is empty before. Where that renews or completes x->stale, which has
 * the old tags, `response` is the head that came, and `groups` what it made of the stored one; else both are
 * the response's head. NO_STORE_STORED or why it can not be stored. */
enum no_store_reason tags_collect(struct exchange *x, const struct http_head *response,
                                  const struct http_head *groups, struct cache_tags *out);
static inline enum no_store_reason tags_of_response(struct exchange *x, const struct http_head *response,
                                                    const struct http_head *groups, struct cache_tags *out)
{
    if (LIKELY(x->stale == NULL && x->route->rules.tags.len == 0 &&
               (response->present & CACHE_TAGS_PRESENT) == 0))
        return NO_STORE_STORED;
    return tags_collect(x, response, groups, out);
}

bool tags_are_shown(const struct exchange *x);
/* Adds the lines to what the client gets, in front of the blank line; *bytes grows. false: it can take no
 * more. */
bool tags_deliver(struct exchange *x, size_t *bytes);

#endif
