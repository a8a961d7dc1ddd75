/* request_rules.h: what a client asks of a cache (RFC 9111 section 5.2.1, and Pragma by section 5.4), pure.
 *
 * Only for routes that obey clients (ignore_client_cache_control = no), and only for requests that carry one
 * of the two fields, which the parser knows of each head: all others never get here. */
#ifndef CACHE_REQUEST_RULES_H
#define CACHE_REQUEST_RULES_H

#include "cache/freshness.h"

/* Is there anything to obey? One test of a bit set, for the hot path. */
static inline bool cache_request_directs(const struct http_head *request, const struct cache_rules *rules)
{
    const uint64_t fields = HTTP_BIT(CACHE_CONTROL) | HTTP_BIT(PRAGMA);
    return UNLIKELY((request->present & fields) != 0) && rules->obey_client;
}

/* The directives of a request; `Pragma: no-cache` counts where there is no Cache-Control. */
void cache_request_control(const struct http_head *request, struct cache_control *out);

enum cache_use {
    CACHE_USE_FRESH,   /* the client takes it, and it is fresh */
    CACHE_USE_STALE,   /* it is not fresh, but max-stale takes it */
    CACHE_USE_EXPIRED, /* it is not fresh */
    CACHE_USE_REFUSED  /* it is fresh, but not for this client: no-cache, max-age or min-fresh */
};

/* May this stored response be used without asking the instance? */
enum cache_use cache_request_use(const struct cache_control *request, const struct cache_freshness *stored,
                                 wall_ms_t now_ms);

/* The client reloads (max-age) without insisting on an answer of the instance (no-cache): a response that is
 * fresh and immutable does for it (RFC 8246 section 2.1). */
bool cache_request_takes_immutable(const struct cache_control *request);

/* The client wants to be told something newer than may be known here, so that it is not served by a fetch
 * that began before it asked. */
bool cache_request_insists(const struct cache_control *request);

#endif
