/* hedge.h: a route's `hedge`: when an instance is slow to answer a GET or HEAD, another one is asked the
 * same.
 *
 * The head that comes first wins; the other try is cancelled, its connection closed, and it counts as neither
 * success nor failure of its instance. The second try has an exchange of its own, which is on the wire's side
 * only: it has no client, no flight and no phase but FETCH, and lives no longer than the one it is for. What
 * the upstream connection reports for it comes to the hooks below. */
#ifndef PROXY_HEDGE_H
#define PROXY_HEDGE_H

#include "core/clock.h"
#include "core/outcome.h"
#include "core/slice.h"

struct exchange;
struct route;

/* How long the first instance has, now, on a route that hedges; 0: not enough heads have been seen. */
mono_us_t hedge_after_us(const struct route *r);

/* The first try begins: from now on the time runs, if this request may be hedged at all. Of routes that
 * hedge. */
void hedge_begin(struct exchange *x);

/* All below: x->hedge is not NULL. */

/* A head with this status has come for `x`: the exchange that goes on with it, or NULL when it is not wanted,
 * and the other try goes on. */
struct exchange *hedge_on_head(struct exchange *x, unsigned status);
/* The try of `x` has failed: true when that was all, since the other one goes on. */
bool hedge_on_failure(struct exchange *x, enum fetch_error e);
/* The second try under way beside `x`, or NULL. */
struct exchange *hedge_second(const struct exchange *x);
/* The fetch of `x` is over, whatever it came to: no second try any more. */
void hedge_stop(struct exchange *x);
/* The exchange ends. */
void hedge_free(struct exchange *x);

/* For the access log: "won" when the second try answered, "lost" when there was one, "" otherwise. */
slice_t hedge_text(const struct exchange *x);

#endif
