/* reference.h: what a Location or Content-Location of a response refers to, as a URL, pure (RFC 3986 section
 * 5.2). Only references within the origin of the request resolve: what another origin stores here is
 * none of its business (RFC 9111 section 4.4). */
#ifndef CACHE_REFERENCE_H
#define CACHE_REFERENCE_H

#include "cache/key.h"

/* Bytes of the buffer for cache_reference_url. */
size_t cache_reference_bound(slice_t host, slice_t path, slice_t reference);
/* `host` and `path` are those of the request. false for another origin, another scheme than http and https,
 * and for the request's own URI (an empty reference). The slices of `out` lie in `buf` and the arguments. */
bool cache_reference_url(char *buf, slice_t host, slice_t path, slice_t reference, struct cache_url *out);

#endif
