/* policy_queue.c: LRU and FIFO: one queue; they differ in whether a hit moves the object to its front. */
#include <stdlib.h>

#include "bench/trace/policy.h"
#include "core/list.h"

struct queue {
    const struct trace *trace;
    uint64_t free_bytes, capacity_bytes;
    bool moves_on_hit;
    struct list order;   /* newest first */
    struct list nodes[]; /* by key number */
};

static struct queue *queue_open(const struct trace *t, uint64_t capacity_bytes, bool moves_on_hit)
{
    struct queue *q = trace_alloc(1, sizeof *q + t->key_count * sizeof q->nodes[0]);
    *q = (struct queue){t, capacity_bytes, capacity_bytes, moves_on_hit, {0}};
    list_init(&q->order);
    for (size_t i = 0; i < t->key_count; i++)
        list_init(&q->nodes[i]);
    return q;
}

static void *lru_open(const struct trace *t, uint64_t capacity_bytes)
{
    return queue_open(t, capacity_bytes, true);
}

static void *fifo_open(const struct trace *t, uint64_t capacity_bytes)
{
    return queue_open(t, capacity_bytes, false);
}

static bool queue_request(void *policy, size_t at)
{
    struct queue *q = policy;
    uint32_t key = q->trace->requests[at];
    struct list *node = &q->nodes[key];
    if (!list_empty(node)) {
        if (q->moves_on_hit) {
            list_remove(node);
            list_push_front(&q->order, node);
        }
        return true;
    }
    if (q->trace->bytes[key] > q->capacity_bytes)
        return false;
    while (q->free_bytes < q->trace->bytes[key]) {
        struct list *oldest = q->order.prev;
        list_remove(oldest);
        q->free_bytes += q->trace->bytes[oldest - q->nodes];
    }
    q->free_bytes -= q->trace->bytes[key];
    list_push_front(&q->order, node);
    return false;
}

const struct trace_policy trace_policy_lru = {"LRU", lru_open, queue_request, free};
const struct trace_policy trace_policy_fifo = {"FIFO", fifo_open, queue_request, free};
