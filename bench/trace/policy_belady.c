/* policy_belady.c: the one who knows the future (Belady, 1966): lets go what is needed again latest. A heap
 * of the kept objects by the number of their next request, latest on top. */
#include <stdlib.h>

#include "bench/trace/policy.h"

#define NEVER UINT32_MAX /* as a next request */
#define OUT   UINT32_MAX /* as a place in the heap */

struct belady {
    const struct trace *trace;
    uint64_t free_bytes, capacity_bytes;
    uint32_t *next;  /* by request: the next one for the same key */
    uint32_t *until; /* by key, while kept: its next request */
    uint32_t *place; /* by key: in the heap, or OUT */
    uint32_t *heap;  /* key numbers */
    uint32_t count;
};

static void *belady_open(const struct trace *t, uint64_t capacity_bytes)
{
    struct belady *b = trace_alloc(1, sizeof *b);
    *b = (struct belady){.trace = t, .free_bytes = capacity_bytes, .capacity_bytes = capacity_bytes};
    b->next = trace_alloc(t->request_count, sizeof *b->next);
    b->until = trace_alloc(t->key_count, sizeof *b->until);
    b->place = trace_alloc(t->key_count, sizeof *b->place);
    b->heap = trace_alloc(t->key_count, sizeof *b->heap);
    for (size_t key = 0; key < t->key_count; key++) {
        b->until[key] = NEVER;
        b->place[key] = OUT;
    }
    for (size_t i = t->request_count; i-- > 0;) {
        b->next[i] = b->until[t->requests[i]];
        b->until[t->requests[i]] = (uint32_t)i;
    }
    return b;
}

static void belady_close(void *policy)
{
    struct belady *b = policy;
    free(b->next);
    free(b->until);
    free(b->place);
    free(b->heap);
    free(b);
}

static void heap_put(struct belady *b, uint32_t at, uint32_t key)
{
    b->heap[at] = key;
    b->place[key] = at;
}

static void heap_up(struct belady *b, uint32_t at, uint32_t key)
{
    while (at > 0 && b->until[b->heap[(at - 1) / 2]] < b->until[key]) {
        heap_put(b, at, b->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    heap_put(b, at, key);
}

static void heap_pop(struct belady *b)
{
    uint32_t key = b->heap[--b->count], at = 0;
    b->place[b->heap[0]] = OUT;
    if (b->count == 0)
        return;
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child + 1 < b->count && b->until[b->heap[child + 1]] > b->until[b->heap[child]])
            child++;
        if (child >= b->count || b->until[b->heap[child]] <= b->until[key])
            break;
        heap_put(b, at, b->heap[child]);
        at = child;
    }
    heap_put(b, at, key);
}

static bool belady_request(void *policy, size_t at)
{
    struct belady *b = policy;
    uint32_t key = b->trace->requests[at];
    bool hit = b->place[key] != OUT;
    b->until[key] = b->next[at];
    if (hit) {
        heap_up(b, b->place[key], key); /* its next request is later than this one was */
    } else if (b->trace->bytes[key] <= b->capacity_bytes && b->next[at] != NEVER) {
        heap_up(b, b->count++, key);
        while (b->free_bytes < b->trace->bytes[key] && b->heap[0] != key) {
            b->free_bytes += b->trace->bytes[b->heap[0]];
            heap_pop(b);
        }
        if (b->free_bytes < b->trace->bytes[key])
            heap_pop(b); /* the new one itself is needed latest */
        else
            b->free_bytes -= b->trace->bytes[key];
    }
    return hit;
}

const struct trace_policy trace_policy_belady = {"Belady", belady_open, belady_request, belady_close};
