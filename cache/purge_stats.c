/* purge_stats.c: see purge_stats.h. Apart from the log's own file, which every look-up reads and nothing here
 * concerns. */
#include "cache/purge_stats.h"

#include "cache/shard.h"
#include "core/panic.h"

void cache_purge_get_stats(struct cache *c, struct cache_purge_stats *out)
{
    CHECK_MAGIC(c, CACHE_MAGIC);
    struct cache_inval_log *log = &c->inval;
    *out = (struct cache_purge_stats){
        .events = atomic_load_explicit(&c->purges, memory_order_relaxed),
        .swept_id = atomic_load_explicit(&c->sweeper.swept_id, memory_order_relaxed),
        .entries_limit = 2 * log->capacity,
        .patterns =
            MIN(atomic_load_explicit(&log->patterns.made, memory_order_relaxed), CACHE_INVAL_PATTERNS),
        .patterns_limit = CACHE_INVAL_PATTERNS,
    };
    lock_take(&log->lock);
    out->last_id = cache_inval_head(log);
    out->entries = log->gen[0].count + log->gen[1].count;
    out->overflows = log->overflows;
    lock_drop(&log->lock);
    out->last_ms = cache_inval_ms(out->last_id);
    for (unsigned k = 0; k < CACHE_PURGE_KINDS; k++)
        out->last[k] = atomic_load_explicit(&log->kind_id[k], memory_order_relaxed);
}
