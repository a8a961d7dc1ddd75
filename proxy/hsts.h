/* hsts.h: Strict-Transport-Security (RFC 6797) on the responses of a listener with TLS. Worker's thread. */
#ifndef PROXY_HSTS_H
#define PROXY_HSTS_H

#include "proxy/exchange.h"

/* Adds the field behind the head `base`, unless there is one or the route has a say in it; `*bytes` grows.
 * false: out of memory, or the client is gone. */
bool hsts_deliver_field(struct exchange *x, slice_t base, size_t *bytes);

static inline bool hsts_deliver(struct exchange *x, slice_t base, size_t *bytes)
{
    return LIKELY(x->listen->hsts == CONFIG_HSTS_OFF) || hsts_deliver_field(x, base, bytes);
}

#endif
