/* assets.h: the route option keep_assets: files whose names change with their content, while deploys replace
 * one instance after the other. Worker's thread. */
#ifndef PROXY_ASSETS_H
#define PROXY_ASSETS_H

#include "core/http_msg.h"
#include "core/text.h"

struct exchange;

/* The head of a 404 has come, on such a route. When another instance is asked, or what is stored is served,
 * runs the exchange on and returns true; it may be gone then. */
bool assets_not_found(struct exchange *x);

/* stale.c: x->object is served although no instance has it. For CACHE_MISSING_ASSET_MS this worker then does
 * not ask for it again; LOOKUP, which found it stale, learns that from the second. */
void assets_keep(struct exchange *x);
bool assets_is_kept(struct exchange *x);

/* Which fields of a response's head go no further, since caches in front of us must not keep it for long: a
 * 404 or 410 on such a route. A Cache-Control that is stricter anyway (no-store, no-cache, private) stays.
 * With CACHE_CONTROL among them, assets_put_missing puts a short lifetime in their place. Pure. */
uint64_t assets_missing_drops(const struct exchange *x, const struct http_head *head);
void assets_put_missing(struct text *t, const struct http_head *head);

#endif
