/* no_vary_table.h: for which paths which rule of No-Vary-Search was last stated (no_vary.h).
 *
 * A hint, of bounded size, and lossy: keys hold the text of the rule they were made by, so a rule that is
 * forgotten, or found for the wrong path, costs a fetch and nothing else. Nothing exists until the first rule
 * is stated. From then on purges of exact URLs reach what lies under rules (inval_log.h), also while the
 * rules themselves are forgotten. */
#ifndef CACHE_NO_VARY_TABLE_H
#define CACHE_NO_VARY_TABLE_H

#include <stdatomic.h>

#include "cache/no_vary.h"

struct cache;
struct cache_flight;
struct cache_no_vary_table;

/* Some cache of the process has learned a rule: what a hit has to look at. */
extern _Atomic bool cache_no_vary_stated;
static inline bool cache_no_vary_is_used(void)
{
    return UNLIKELY(atomic_load_explicit(&cache_no_vary_stated, memory_order_relaxed));
}

/* The rule for the path of a key's URL, or NULL. Lives as long as the cache. Takes no lock. Any thread. */
const struct no_vary_rule *cache_no_vary_find(struct cache *c, slice_t key);
/* Notes the rule of this text for the path, and returns it: the same for the same text. NULL when there is no
 * room for another one. Any thread. */
const struct no_vary_rule *cache_no_vary_learn(struct cache *c, slice_t key, slice_t text);
void cache_no_vary_forget(struct cache *c, slice_t key);

/* Whether the response of this flight may lie under a rule: not when the fetch began before purges reached
 * that. Leader's thread. */
bool cache_no_vary_may_move(const struct cache_flight *fl);

/* Nobody uses the cache any more. */
void cache_no_vary_close(struct cache *c);

#endif
