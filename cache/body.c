/* body.c: see body.h. Rejected: one growing buffer (realloc moves bytes that readers are sending), and fixed
 * 16 KB chunks (64 iovecs per megabyte; IOV_MAX and the walk both hurt). */
#include "cache/body.h"

#include <stdlib.h>

#include "cache/body_memory.h"
#include "core/panic.h"

size_t cache_body_base_bytes(void)
{
    return cache_memory_rounded(sizeof(struct cache_body));
}

struct cache_body *cache_body_create(struct cache_account *a, int64_t announced_bytes)
{
    struct cache_body *b = cache_memory_alloc(sizeof *b);
    if (b == NULL)
        return NULL;
    *b = (struct cache_body){.announced_bytes = announced_bytes, .account = a->id};
    atomic_init(&b->refs, 1);
    atomic_init(&b->charge, cache_body_base_bytes());
    return b;
}

struct cache_body *cache_body_ref(struct cache_body *b)
{
    uint32_t before = atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
    ASSERT(before > 0);
    return b;
}

static void chunk_free(void *obj)
{
    struct cache_chunk *k = obj;
    body_memory_free(k->data);
    free(k);
}

void cache_body_unref(struct cache_body **bp)
{
    struct cache_body *b = *bp;
    *bp = NULL;
    if (b == NULL || atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) != 1)
        return;
    cache_account_release(cache_account_of(b->account), atomic_load(&b->charge));
    struct cache_chunk *k = atomic_load(&b->first);
    while (k != NULL) {
        struct cache_chunk *next = atomic_load(&k->next);
        chunk_free(k);
        k = next;
    }
    free(b);
}

char *cache_body_room(struct cache_body *b, size_t *room)
{
    struct cache_chunk *k = b->last;
    uint64_t filled = atomic_load_explicit(&b->filled, memory_order_relaxed);
    size_t used = k == NULL ? 0 : (size_t)(filled - k->start);
    *room = k == NULL ? 0 : k->bytes - used;
    return *room == 0 ? NULL : k->data + used;
}

size_t cache_body_next_chunk(const struct cache_body *b, size_t *charge)
{
    uint64_t filled = atomic_load_explicit(&b->filled, memory_order_relaxed);
    uint64_t least = CACHE_CHUNK_MIN, bytes;
    if (b->announced_bytes > (int64_t)filled) {
        least = 8 * CACHE_CHUNK_MIN;
        bytes = MIN(MAX(filled, least), CACHE_CHUNK_MAX);
        bytes = MIN(bytes, (uint64_t)b->announced_bytes - filled);
    } else {
        bytes = 0;
        for (uint64_t b2 = least; b2 <= MIN(MAX(filled, least), CACHE_CHUNK_MAX); b2 *= 2)
            bytes = b2; /* a power of two: the allocator has a class of exactly that size */
    }
    *charge = cache_memory_rounded((size_t)bytes) + cache_memory_rounded(sizeof(struct cache_chunk));
    return (size_t)bytes;
}

bool cache_body_add_chunk(struct cache_body *b, size_t bytes, size_t charge)
{
    struct cache_chunk *k = cache_memory_alloc(sizeof *k);
    char *data = body_memory_alloc(bytes);
    if (k == NULL || data == NULL) {
        free(k);
        body_memory_free(data);
        return false;
    }
    *k = (struct cache_chunk){.data = data, .bytes = bytes, .charge = charge};
    k->start = atomic_load_explicit(&b->filled, memory_order_relaxed);
    atomic_fetch_add_explicit(&b->charge, charge, memory_order_relaxed);
    struct cache_chunk *last = b->last;
    b->last = k;
    if (last != NULL)
        atomic_store_explicit(&last->next, k, memory_order_release);
    else
        atomic_store_explicit(&b->first, k, memory_order_release);
    return true;
}

void cache_body_commit(struct cache_body *b, size_t n)
{
    uint64_t filled = atomic_load_explicit(&b->filled, memory_order_relaxed) + n;
    ASSERT(b->last != NULL && filled <= b->last->start + b->last->bytes);
    atomic_store_explicit(&b->filled, filled, memory_order_release);
}

void cache_body_seal(struct cache_body *b, size_t more)
{
    struct cache_chunk *k = b->last;
    if (k == NULL)
        return;
    size_t used = (size_t)(atomic_load_explicit(&b->filled, memory_order_relaxed) - k->start) + more;
    if (used == 0 || k->bytes < CACHE_CHUNK_MIN)
        return;
    size_t before = cache_memory_rounded(k->bytes);
    size_t after = body_memory_shrink(k->data, k->bytes, MAX(used, CACHE_CHUNK_MIN));
    if (after >= before)
        return;
    k->charge -= before - after; /* k->bytes stays: readers look at it, and `filled` bounds them anyway */
    atomic_fetch_sub_explicit(&b->charge, before - after, memory_order_relaxed);
    cache_account_release(cache_account_of(b->account), before - after);
}

void cache_body_end(struct cache_body *b, enum cache_fill_state state)
{
    ASSERT(atomic_load_explicit(&b->state, memory_order_relaxed) == CACHE_FILLING && state != CACHE_FILLING);
    atomic_store_explicit(&b->state, (uint8_t)state, memory_order_release);
}

void cache_body_trim(struct cache_body *b, uint64_t offset)
{
    for (;;) {
        struct cache_chunk *k = atomic_load_explicit(&b->first, memory_order_relaxed);
        struct cache_chunk *next = k == NULL ? NULL : atomic_load_explicit(&k->next, memory_order_acquire);
        if (next == NULL || k->start + k->bytes > offset)
            return;
        atomic_store_explicit(&b->first, next, memory_order_release);
        atomic_fetch_sub_explicit(&b->charge, k->charge, memory_order_relaxed);
        cache_account_release(cache_account_of(b->account), k->charge);
        body_memory_free(
            k->data); /* no reader's offset is below it; only the list node may still be walked over */
        k->data = NULL;
        rcu_free_later(&k->grave, chunk_free, k);
    }
}

size_t cache_body_iov(const struct cache_body *b, uint64_t offset, struct iovec *iov, size_t max)
{
    uint64_t filled = atomic_load_explicit(&b->filled, memory_order_acquire);
    size_t n = 0;
    rcu_enter();
    const struct cache_chunk *k = atomic_load_explicit(&b->first, memory_order_acquire);
    ASSERT(k == NULL || offset >= filled || offset >= k->start);
    for (; k != NULL && n < max && k->start < filled;
         k = atomic_load_explicit(&k->next, memory_order_acquire)) {
        uint64_t end = MIN(k->start + k->bytes, filled);
        if (end <= offset)
            continue;
        size_t skip = offset > k->start ? (size_t)(offset - k->start) : 0;
        iov[n++] = (struct iovec){k->data + skip, (size_t)(end - k->start) - skip};
    }
    rcu_leave();
    return n;
}
