/* peek.h: what the cache knows of a URL, for `explain`: looked at without being used.
 *
 * Nothing changes: no use is counted for eviction, nothing is fetched, joined or moved. */
#ifndef CACHE_PEEK_H
#define CACHE_PEEK_H

#include "cache/cache.h"
#include "cache/pass.h"

#define CACHE_PEEK_VARIANTS 16 /* listed; all are counted */

struct cache_peek_variant {
    slice_t secondary; /* "name: value\n" for each name of Vary; lives as long as the object */
    const struct cache_object *object;
};

struct cache_peek {
    const struct cache_object *object; /* what cache_find would give this request; NULL: nothing */
    bool varies, variant_known;        /* responses for the URL vary; this request's variant can be told */
    slice_t vary_names, secondary;     /* of the URL; of this request, in the arena */
    size_t variant_count;
    struct cache_peek_variant variants[CACHE_PEEK_VARIANTS];
    bool fetching; /* a fetch is under way that this request would wait for */
    bool passing;  /* the key is remembered as one whose response could not be stored */
    struct cache_pass_memory pass;
    /* When the last purge was: a soft one of `object`, or where there is none, one that concerned the URL.
     * 0: none is remembered. */
    wall_ms_t purged_ms;
};

/* Inside rcu_enter, as long as the result is used. Any thread; takes the lock of one shard for a moment. */
void cache_peek(struct cache *c, const struct cache_key *key, const struct http_head *request,
                struct arena *arena, struct cache_peek *out);

/* How many stored keys differ from this one by their query alone, and the URL of one of them (valid inside
 * the RCU section). Looks at no more than `max_slots` of the tables. */
size_t cache_peek_queries(struct cache *c, const struct cache_key *key, size_t max_slots, slice_t *example);

#endif
