/* stale.h: stale stored responses in place of a wait or of an error (RFC 5861), and the fetches in the
 * background that renew them, or what is about to be stale. How long they may be used is cache/stale.h's
 * business. */
#ifndef PROXY_STALE_H
#define PROXY_STALE_H

#include "proxy/exchange.h"

/* LOOKUP found a stale object (exchange_set_object): when it may be used while it is renewed, sees to that,
 * sets phase DELIVER and returns true. */
bool stale_while_revalidate(struct exchange *x);
/* LOOKUP found an object that is fresh for no more than CACHE_EARLY_MOST_MS: perhaps begins a fetch in the
 * background that renews it. */
void stale_renew_early(struct exchange *x, dur_ms_t left_ms);
/* The fetch this request led, did for itself or waited for has failed for good: when a stale response may
 * stand in for the error, sets phase DELIVER and returns true. Its flight has ended. */
bool stale_instead_of_error(struct exchange *x);
/* The same for the head of a 500, 502, 503 or 504 that will not be tried elsewhere: ends flight and upstream
 * connection, runs the exchange on and returns true; it may be gone then. */
bool stale_instead_of_bad_status(struct exchange *x, unsigned status);
static inline bool stale_instead_of_status(struct exchange *x, unsigned status)
{
    return UNLIKELY(status >= 500) && stale_instead_of_bad_status(x, status);
}

/* The same for a 404 on a route with keep_assets. */
bool stale_instead_of_missing(struct exchange *x);

/* LOG of such a fetch: figures, and a pause after a failure. */
void stale_refresh_done(struct exchange *x);

#endif
