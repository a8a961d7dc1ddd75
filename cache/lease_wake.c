/* lease_wake.c: see lease_wake.h. A table of lists by hash. Who is woken is moved to a list of those who are
 * due and taken from there one by one, because what one does then may take any other off. */
#include "cache/lease_wake.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/hash.h"
#include "core/panic.h"

#define CACHE_WAKES_MAGIC 0x77616b65u
#define BUCKETS           1024

/* Owned by who opened it; one worker's thread. */
struct cache_wakes {
    uint32_t magic;
    /* set once */
    struct worker *worker;
    size_t waiters_max;
    slice_t channel;
    struct redis_subscription *subscription;
    /* worker's thread */
    struct cache_wakes_figures figures;
    struct grave grave;
    struct list buckets[BUCKETS];
    char channel_text[];
};

static const slice_t names[] = {
#define X(id, name) SLICE_LIT(name),
    CACHE_WAKES(X)
#undef X
};

const char *cache_wake_name(enum cache_wake wake)
{
    ASSERT((size_t)wake < ARRAY_LEN(names));
    return names[wake].ptr;
}

bool cache_wake_parse(slice_t payload, slice_t *hash, enum cache_wake *wake)
{
    if (payload.len <= CACHE_LEASE_TOKEN || payload.ptr[CACHE_LEASE_TOKEN] != ' ')
        return false;
    *hash = slice_make(payload.ptr, CACHE_LEASE_TOKEN);
    const slice_t outcome =
        slice_make(payload.ptr + CACHE_LEASE_TOKEN + 1, payload.len - CACHE_LEASE_TOKEN - 1);
    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        if (slice_eq(outcome, names[i])) {
            *wake = (enum cache_wake)i;
            return true;
        }
    }
    return false;
}

static struct list *wakes_bucket(struct cache_wakes *t, slice_t hash)
{
    return &t->buckets[hash_bytes(hash.ptr, hash.len).lo % BUCKETS];
}

/* Those of the bucket with this hash; with an empty one all. */
static void wakes_collect(struct list *bucket, slice_t hash, struct list *due)
{
    LIST_FOREACH_SAFE (n, next, bucket) {
        if (hash.len > 0 && !slice_eq(CONTAINER_OF(n, struct cache_waiter, node)->hash, hash))
            continue;
        list_remove(n);
        list_push_back(due, n);
    }
}

static void wakes_tell(struct cache_wakes *t, struct list *due, enum cache_wake wake)
{
    struct list *n;
    while ((n = list_pop_front(due)) != NULL) {
        struct cache_waiter *waiter = CONTAINER_OF(n, struct cache_waiter, node);
        list_push_back(wakes_bucket(t, waiter->hash), n);
        waiter->on_wake(waiter, wake);
    }
}

static void wakes_on_message(void *arg, slice_t channel, slice_t payload)
{
    struct cache_wakes *t = arg;
    CHECK_MAGIC(t, CACHE_WAKES_MAGIC);
    UNUSED(channel);
    slice_t hash;
    enum cache_wake wake;
    struct list due;
    t->figures.heard++;
    if (!cache_wake_parse(payload, &hash, &wake)) {
        t->figures.not_understood++;
        return;
    }
    list_init(&due);
    wakes_collect(wakes_bucket(t, hash), hash, &due);
    t->figures.for_us += !list_empty(&due);
    wakes_tell(t, &due, wake);
}

static void wakes_on_up(void *arg)
{
    struct cache_wakes *t = arg;
    t->figures.up = true;
}

static void wakes_on_down(void *arg, const char *reason)
{
    struct cache_wakes *t = arg;
    CHECK_MAGIC(t, CACHE_WAKES_MAGIC);
    UNUSED(reason);
    struct list due;
    t->figures.up = false;
    t->figures.gaps++;
    list_init(&due);
    for (size_t i = 0; i < BUCKETS; i++)
        wakes_collect(&t->buckets[i], SLICE_EMPTY, &due);
    wakes_tell(t, &due, CACHE_WAKE_MISSED);
}

struct cache_wakes *cache_wakes_open(struct worker *w, struct redis *r, slice_t prefix, size_t waiters_max)
{
    static const char suffix[] = "wake";
    struct cache_wakes *t = calloc(1, sizeof *t + prefix.len + sizeof suffix);
    if (t == NULL)
        return NULL;
    t->magic = CACHE_WAKES_MAGIC;
    t->worker = w;
    t->waiters_max = waiters_max;
    memcpy(t->channel_text, prefix.ptr, prefix.len);
    memcpy(t->channel_text + prefix.len, suffix, sizeof suffix);
    t->channel = slice_make(t->channel_text, prefix.len + sizeof suffix - 1);
    for (size_t i = 0; i < BUCKETS; i++)
        list_init(&t->buckets[i]);
    const struct redis_subscriber s = {.channels = &t->channel,
                                       .channel_count = 1,
                                       .on_message = wakes_on_message,
                                       .on_up = wakes_on_up,
                                       .on_down = wakes_on_down,
                                       .arg = t};
    t->subscription = redis_subscribe(r, &s);
    if (t->subscription == NULL) {
        free(t);
        return NULL;
    }
    return t;
}

void cache_wakes_close(struct cache_wakes **tp)
{
    struct cache_wakes *t = *tp;
    *tp = NULL;
    if (t == NULL)
        return;
    CHECK_MAGIC(t, CACHE_WAKES_MAGIC);
    ASSERT(t->figures.waiters == 0);
    redis_unsubscribe(&t->subscription);
    t->magic = 0;
    worker_bury(t->worker, &t->grave, free, t);
}

bool cache_wakes_add(struct cache_wakes *t, struct cache_waiter *waiter)
{
    CHECK_MAGIC(t, CACHE_WAKES_MAGIC);
    ASSERT(list_empty(&waiter->node));
    if (t->figures.waiters >= t->waiters_max)
        return false;
    list_push_back(wakes_bucket(t, waiter->hash), &waiter->node);
    t->figures.waiters++;
    return true;
}

void cache_wakes_remove(struct cache_wakes *t, struct cache_waiter *waiter)
{
    CHECK_MAGIC(t, CACHE_WAKES_MAGIC);
    if (list_empty(&waiter->node))
        return;
    list_remove(&waiter->node);
    t->figures.waiters--;
}

bool cache_wakes_is_up(const struct cache_wakes *t)
{
    return t->figures.up;
}

slice_t cache_wakes_channel(const struct cache_wakes *t)
{
    return t->channel;
}

struct cache_wakes_figures cache_wakes_get_figures(const struct cache_wakes *t)
{
    return t->figures;
}
