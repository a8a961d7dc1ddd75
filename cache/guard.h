/* guard.h: what must not be shared because the ini file, not the response, makes it storable; pure.
 *
 * RFC 9111 lets a response say for whom it is. A route's ttl overrides how long it is kept, and nothing else:
 * docs/leak-guard.md has the whole table. Called after cache_response_storable and cache_request_usable. */
#ifndef CACHE_GUARD_H
#define CACHE_GUARD_H

#include "cache/deception.h"
#include "cache/freshness.h"
#include "core/outcome.h"

/* What this request has that others have not, and that the route's key does not tell apart:
 * NO_STORE_AUTHORIZATION; NO_STORE_CERTIFICATE (`certified`: its client showed one); NO_STORE_COOKIE, on a
 * route where the ini file may give freshness; or NO_STORE_STORED for nothing. */
enum no_store_reason guard_credentials(const struct http_head *request, const struct cache_rules *rules,
                                       bool certified);

/* May a request with these credentials be answered by a stored response of that freshness? */
static inline bool guard_allows(enum no_store_reason credentials, const struct cache_freshness *stored)
{
    return credentials == NO_STORE_STORED || !freshness_is_ours(stored->source);
}

/* Is it something else than its path looks like? */
bool guard_sees_deception(slice_t path, const struct http_head *response, const struct cache_control *cc,
                          const struct cache_freshness *f, const struct cache_rules *rules);

/* May a response that was made for a request with `credentials` be stored? `path` is the request's, raw,
 * without query; `f` and `cc` are the response's. */
static inline enum no_store_reason guard_response(enum no_store_reason credentials, slice_t path,
                                                  const struct http_head *response,
                                                  const struct cache_control *cc,
                                                  const struct cache_freshness *f,
                                                  const struct cache_rules *rules)
{
    if (!guard_allows(credentials, f))
        return credentials;
    if (UNLIKELY(credentials == NO_STORE_CERTIFICATE) && !cache_control_shares_personal(cc))
        return credentials;
    bool plain = !freshness_is_ours(f->source) && !deception_matters(path, rules->by_extension);
    if (LIKELY(plain) || !rules->deception_guard || !guard_sees_deception(path, response, cc, f, rules))
        return NO_STORE_STORED;
    return NO_STORE_DECEPTION;
}

#endif
