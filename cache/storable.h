/* storable.h: may this request be looked up, may this response be stored (RFC 9111 section 3), pure. */
#ifndef CACHE_STORABLE_H
#define CACHE_STORABLE_H

#include "cache/freshness.h"
#include "core/outcome.h"

/* NO_STORE_STORED when the cache may be asked; else why not (method, request body, Upgrade, bypass rule,
 * cache off). `has_body` as framed. What the client's Cache-Control says is judged in request_rules.h;
 * Authorization alone does not prevent a look-up. */
enum no_store_reason cache_request_usable(const struct http_head *request, bool has_body,
                                          const struct cache_rules *rules);

/* It asks for a stream of events (Server-Sent Events), as EventSource does: nobody can wait for its end. */
bool cache_request_wants_events(const struct http_head *request);

/* NO_STORE_STORED when the response may be stored and shared; else the one reason. `f` was computed from the
 * same response. `body_bytes` is the announced length, -1 when unknown. */
enum no_store_reason cache_response_storable(const struct http_head *request,
                                             const struct http_head *response, const struct cache_control *cc,
                                             const struct cache_freshness *f, const struct cache_rules *rules,
                                             int64_t body_bytes);

/* False for response fields that are not kept in a stored response: hop-by-hop ones, those named by
 * Connection, those a private="..." or no-cache="..." list names, Set-Cookie whatever else is said,
 * Warning, which is obsolete (RFC 9111 section 5.5), and those whose content is kept as tags (tags.h). */
bool cache_field_is_storable(const struct http_head *response, const struct http_field *f);

#endif
