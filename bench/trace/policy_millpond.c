/* policy_millpond.c: the real thing: cache/evict.c over real objects and a real account, put together as
 * cache_reserve does it. Only index and bodies are left out: an object is found by its number, and its body
 * is charged but not allocated, so that a trace of 100 GB fits a small machine. */
#include <stdlib.h>

#include "bench/trace/policy.h"
#include "cache/evict.h"
#include "core/panic.h"

#define NOW_MS ((wall_ms_t)1700000000000)

struct millpond {
    const struct trace *trace;
    struct cache_account account;
    struct cache_evict evict;
    struct cache_object **objects; /* by key number; holds the index's reference */
};

static void *millpond_open(const struct trace *t, uint64_t capacity_bytes)
{
    struct millpond *m = aligned_alloc(CACHE_LINE, sizeof *m);
    ASSERT(m != NULL);
    m->trace = t;
    m->objects = trace_alloc(t->key_count, sizeof m->objects[0]);
    ASSERT(cache_account_open(&m->account, capacity_bytes));
    ASSERT(cache_evict_open(&m->evict, capacity_bytes));
    return m;
}

static struct cache_object *object_make(struct millpond *m, uint32_t key)
{
    struct cache_fill fill = {
        .status = 200, .fresh = {.response_ms = NOW_MS, .lifetime_ms = 3600000}, .head = SLICE_EMPTY};
    struct cache_object_parts parts = {.hash = hash_bytes(&key, sizeof key).lo,
                                       .key = slice_make((const char *)&key, sizeof key),
                                       .primary_bytes = sizeof key,
                                       .vary_names = SLICE_EMPTY,
                                       .fill = &fill,
                                       .body_bytes = -1};
    struct cache_object *o = cache_object_create(&m->account, &parts, NULL);
    ASSERT(o != NULL);
    size_t bytes = m->trace->bytes[key], base = cache_object_charge(o, true);
    ASSERT(bytes >= base);
    atomic_fetch_add(&o->body->charge, bytes - base);
    return o;
}

static uint32_t object_key(const struct cache_object *o)
{
    uint32_t key;
    memcpy(&key, cache_object_key(o).ptr, sizeof key);
    return key;
}

static size_t evict_batch(struct millpond *m, size_t bytes)
{
    struct cache_object *victims[CACHE_EVICT_BATCH];
    size_t n = cache_evict_pick(&m->evict, bytes, NOW_MS, victims);
    for (size_t i = 0; i < n; i++) {
        cache_object_unref(&m->objects[object_key(victims[i])]);
        cache_object_unref(&victims[i]);
    }
    return n;
}

static bool millpond_request(void *policy, size_t at)
{
    struct millpond *m = policy;
    uint32_t key = m->trace->requests[at];
    if (m->objects[key] != NULL) {
        cache_object_touch(m->objects[key]);
        return true;
    }
    size_t bytes = m->trace->bytes[key], limit = atomic_load(&m->account.limit);
    if (bytes > limit)
        return false;
    while (!cache_account_try(&m->account, bytes))
        ASSERT(evict_batch(m, atomic_load(&m->account.used) + bytes - limit) > 0);
    m->objects[key] = object_make(m, key);
    cache_evict_add(&m->evict, m->objects[key]);
    return false;
}

static void millpond_close(void *policy)
{
    struct millpond *m = policy;
    while (evict_batch(m, SIZE_MAX) > 0)
        continue;
    cache_evict_close(&m->evict);
    cache_account_close(&m->account);
    free(m->objects);
    free(m);
}

const struct trace_policy trace_policy_millpond = {"Millpond", millpond_open, millpond_request,
                                                   millpond_close};
