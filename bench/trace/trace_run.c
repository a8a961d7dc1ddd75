/* trace_run.c: one policy over one trace, counted. */
#include "bench/trace/policy.h"

struct trace_hit_ratio trace_run(const struct trace_policy *p, const struct trace *t, uint64_t capacity_bytes)
{
    void *policy = p->open(t, capacity_bytes);
    uint64_t hits = 0, hit_bytes = 0, all_bytes = 0;
    for (size_t i = 0; i < t->request_count; i++) {
        uint32_t bytes = t->bytes[t->requests[i]];
        bool hit = p->request(policy, i);
        hits += hit;
        hit_bytes += hit ? bytes : 0;
        all_bytes += bytes;
    }
    p->close(policy);
    return (struct trace_hit_ratio){(double)hits / (double)t->request_count,
                                    (double)hit_bytes / (double)all_bytes};
}
