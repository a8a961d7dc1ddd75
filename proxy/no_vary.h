/* no_vary.h: No-Vary-Search (draft-ietf-httpbis-no-vary-search) on the way of a request: its key by the rule
 * that is known for the path, and what becomes of a response that states another (cache/no_vary.h).
 *
 * A response is stored under the key of the rule that it states itself, whatever it was asked for by. A route
 * that says itself which parameters count (key_query), or `no_vary_search = no`, heeds no rule. Worker's
 * thread. */
#ifndef PROXY_NO_VARY_H
#define PROXY_NO_VARY_H

#include "cache/no_vary_table.h"
#include "proxy/exchange.h"

/* Of a key that was made by a rule; in the exchange's arena. */
struct no_vary_use {
    const struct no_vary_rule *rule;
    struct cache_key exact; /* what the key would be without */
};

/* The key that was just made of a GET or HEAD, by the rule for its path, if one is known and heeded. */
void no_vary_apply(struct exchange *x, struct cache *c);
/* The same once more: rules may have changed while it waited. */
void no_vary_apply_again(struct exchange *x);
/* Back to the key of exactly this query. */
void no_vary_leave(struct exchange *x);
/* For a background fetch with the key of `of`. false without memory. */
bool no_vary_copy(struct exchange *x, const struct exchange *of);
/* Nothing is stored by the rule: what was stored for exactly this query before it was known, or NULL. If
 * there is something, that is the exchange's key from now on. Inside rcu_enter. */
struct cache_object *no_vary_find_exact(struct exchange *x, enum no_store_reason *pass);

/* Is there a rule to be looked at, of the key or of the response? */
static inline bool no_vary_concerns(const struct exchange *x, const struct http_head *head)
{
    return UNLIKELY(x->no_vary != NULL || http_head_has(head, HTTP_FIELD_NO_VARY_SEARCH));
}
/* Before a response is stored: notes what it states, and moves flight and key to where it belongs. false with
 * the flight ended: it is this client's alone. */
bool no_vary_settle(struct exchange *x, const struct http_head *head, enum no_store_reason *why);
/* Of the head that a 304 makes of what is stored: true when it belongs where it is; else what is stored goes,
 * and the flight has ended. */
bool no_vary_confirms(struct exchange *x, const struct http_head *merged);
/* The response cannot be stored. True when it says nothing about the other queries that its flight stands
 * for: who waits must not go by it. */
bool no_vary_is_own(struct exchange *x, const struct http_head *head);

#endif
