/* stale.h: for how long a response may be used once it is no longer fresh (RFC 5861), pure.
 *
 * The response's own stale-while-revalidate and stale-if-error come before the route's options. Both are zero
 * for what may never be used without asking (RFC 9111 section 4.2.4): no-cache, must-revalidate,
 * proxy-revalidate, s-maxage; no option overrides that. Nor do options count for a response without any
 * freshness that does not say `public`: it is kept to be asked about for each client. With keep_assets, that
 * is the least that stale-if-error allows. */
#ifndef CACHE_STALE_H
#define CACHE_STALE_H

#include "cache/cache.h"

struct cache_stale {
    dur_ms_t while_revalidate_ms, if_error_ms; /* counted from the end of the freshness lifetime */
};

struct cache_stale cache_stale_compute(const struct cache_freshness *f, const struct cache_control *cc,
                                       const struct cache_rules *rules);
/* What the Cache-Control, or the targeted field in its place, of a stored response said. false: it has more
 * lines of it than are looked at. */
bool cache_control_of_stored(const struct cache_object_info *stored, struct cache_control *out);
/* The same for a stored response, by the Cache-Control of its stored head. */
struct cache_stale cache_stale_of_stored(const struct cache_object_info *stored,
                                         const struct cache_rules *rules);

/* The longer of both as struct cache_freshness keeps it: 0 for none, n for at most 2^(n-1) seconds. */
uint8_t cache_stale_keep_code(const struct cache_stale *s);

#endif
