/* account.c: see account.h. Rejected: asking malloc_usable_size after the fact; a charge must be known before
 * the room for it is made, and the allocator's size classes are a pure function of the size. */
#include "cache/account.h"

#include <limits.h>
#include <stdlib.h>
#ifdef MILLPOND_JEMALLOC
#include <jemalloc/jemalloc.h>

/* Sizes of objects and small bodies from slabs of 16 pages: jemalloc keeps 128 bytes per slab, which is 32
 * bytes per 1 KB body with its usual slabs of one page. Read by jemalloc at start; MALLOC_CONF still
 * overrides it. Freed pages go back to the system within a twentieth of a second, by a thread of its own, so
 * that a cache that turns over does not hold twice its memory_size. */
const char *malloc_conf = "slab_sizes:256-4096:16,dirty_decay_ms:50,muzzy_decay_ms:0,background_thread:true";
#endif

#include "core/panic.h"

static _Atomic(struct cache_account *) account_table[CACHE_ACCOUNTS];
static _Atomic long memory_fail_after = -1, memory_fail_times;

bool cache_account_open(struct cache_account *a, size_t limit_bytes)
{
    atomic_init(&a->used, 0);
    atomic_init(&a->doomed, 0);
    atomic_init(&a->limit, limit_bytes);
    atomic_init(&a->live_objects, 0);
    for (unsigned i = 0; i < CACHE_ACCOUNTS; i++) {
        struct cache_account *free_slot = NULL;
        if (atomic_compare_exchange_strong(&account_table[i], &free_slot, a)) {
            a->id = (uint8_t)i;
            return true;
        }
    }
    return false;
}

void cache_account_close(struct cache_account *a)
{
    ASSERT(atomic_load(&a->used) == 0 && atomic_load(&a->doomed) == 0 && atomic_load(&a->live_objects) == 0);
    atomic_store(&account_table[a->id], NULL);
}

struct cache_account *cache_account_of(uint8_t id)
{
    struct cache_account *a = atomic_load_explicit(&account_table[id], memory_order_acquire);
    ASSERT(a != NULL);
    return a;
}

bool cache_account_try(struct cache_account *a, size_t bytes)
{
    size_t limit = atomic_load_explicit(&a->limit, memory_order_relaxed);
    size_t used = atomic_load_explicit(&a->used, memory_order_relaxed);
    do {
        if (bytes > limit || used > limit - bytes)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&a->used, &used, used + bytes, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}

void cache_account_charge(struct cache_account *a, size_t bytes)
{
    atomic_fetch_add_explicit(&a->used, bytes, memory_order_relaxed);
}

void cache_account_release(struct cache_account *a, size_t bytes)
{
    size_t before = atomic_fetch_sub_explicit(&a->used, bytes, memory_order_relaxed);
    ASSERT(before >= bytes);
}

void cache_account_doom(struct cache_account *a, size_t bytes)
{
    atomic_fetch_add_explicit(&a->doomed, bytes, memory_order_relaxed);
    cache_account_release(a, bytes);
}

void cache_account_undoom(struct cache_account *a, size_t bytes)
{
    cache_account_charge(a, bytes);
    size_t before = atomic_fetch_sub_explicit(&a->doomed, bytes, memory_order_relaxed);
    ASSERT(before >= bytes);
}

size_t cache_memory_rounded(size_t bytes)
{
#ifdef MILLPOND_JEMALLOC
    return bytes == 0 ? 0 : nallocx(bytes, 0);
#else
    if (bytes == 0)
        return 0;
    if (bytes >= 128 * KB) /* glibc maps these: whole pages and a header */
        return (bytes + 16 + 4095) & ~(size_t)4095;
    return MAX((bytes + 8 + 15) & ~(size_t)15, 32);
#endif
}

bool cache_memory_should_fail(void)
{
    if (LIKELY(atomic_load_explicit(&memory_fail_after, memory_order_relaxed) < 0) ||
        atomic_fetch_sub(&memory_fail_after, 1) > 0)
        return false;
    const bool last = atomic_fetch_sub(&memory_fail_times, 1) == 1;
    atomic_store(&memory_fail_after, last ? -1 : 0);
    return true;
}

void *cache_memory_alloc(size_t bytes)
{
    return cache_memory_should_fail() ? NULL : malloc(bytes);
}

void cache_memory_fail_times(long calls, long times)
{
    atomic_store(&memory_fail_times, times);
    atomic_store(&memory_fail_after, calls);
}

void cache_memory_fail_after(long calls)
{
    cache_memory_fail_times(calls, LONG_MAX);
}
