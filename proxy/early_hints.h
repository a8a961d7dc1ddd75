/* early_hints.h: interim responses on their way to the client, and 103 (Early Hints, RFC 8297) of our own. */
#ifndef PROXY_EARLY_HINTS_H
#define PROXY_EARLY_HINTS_H

#include "proxy/exchange.h"

/* A fetch is due although a response is stored, `x->info`, which this client could have been given while it
 * was fresh: what that told to preload and to connect to is said at once, where the route has
 * `early_hints = learn`. */
void early_hints_learn(struct exchange *x);

#endif
