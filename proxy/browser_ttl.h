/* browser_ttl.h: the route option browser_ttl: how long browsers may keep what is served from the cache.
 * Pure. */
#ifndef PROXY_BROWSER_TTL_H
#define PROXY_BROWSER_TTL_H

#include "core/http_msg.h"
#include "core/text.h"

struct exchange;

/* Does it apply to this response: the route has the option, the response is from the cache and no error, and
 * its Cache-Control (in `head`, a head we built) holds nothing back from browsers' caches (no-store,
 * no-cache, private)? */
bool browser_ttl_applies(const struct exchange *x, slice_t head);
/* The fields that it replaces: Cache-Control, Expires, Pragma. */
bool browser_ttl_replaces(const struct http_field *f);
/* Room for browser_ttl_put, beside that of the lines it replaces. */
static inline size_t browser_ttl_bound(slice_t head)
{
    return head.len + 64;
}
/* Cache-Control with the directives of `head` but for lifetimes, and a max-age that is over browser_ttl from
 * now: that of the response plus its Age, which browsers take off. */
void browser_ttl_put(struct text *t, const struct exchange *x, slice_t head);

#endif
