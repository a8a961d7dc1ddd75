/* invalidate.h: what a response to an unsafe method makes of what is stored (RFC 9111 section 4.4). */
#ifndef PROXY_INVALIDATE_H
#define PROXY_INVALIDATE_H

#include "proxy/exchange.h"

/* The final head has come and nothing of it was sent to the client yet: when this returns, no request that
 * starts afterwards gets what was stored, or fetched from before, of the URLs concerned. Not for GET. */
void invalidate_after(struct exchange *x, const struct http_head *response);

#endif
