/* policy.h: what may stand between a trace and its misses: which objects a cache of so many bytes keeps.
 *
 * Each is one file. `trace_run` counts; a policy only says hit or miss, request by request. An object that is
 * larger than the cache is never kept. */
#ifndef BENCH_TRACE_POLICY_H
#define BENCH_TRACE_POLICY_H

#include "bench/trace/trace.h"

struct trace_policy {
    const char *name;
    void *(*open)(const struct trace *t, uint64_t capacity_bytes);
    /* Request number `at`, each once and in order: true when it is a hit; a miss is kept from then on. */
    bool (*request)(void *policy, size_t at);
    void (*close)(void *policy);
};

extern const struct trace_policy trace_policy_millpond; /* cache/evict.c itself */
extern const struct trace_policy trace_policy_lru, trace_policy_fifo;
/* Lets go what is needed again latest, and may not keep the new one at all. With even sizes no policy hits
 * more often; with uneven ones it is only a good guess, for it does not weigh one large object against many.
 */
extern const struct trace_policy trace_policy_belady;

/* Shares of all requests, the first for each object included, that were hits: by number and by bytes. */
struct trace_hit_ratio {
    double objects, bytes;
};
struct trace_hit_ratio trace_run(const struct trace_policy *p, const struct trace *t,
                                 uint64_t capacity_bytes);

#endif
