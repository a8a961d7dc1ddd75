/* lock.c: see lock.h. The order check keeps a bit per rank held by this thread: two locks of one rank are
 * never held together, which the check also enforces. */
#include "core/lock.h"

#include "core/panic.h"

static _Thread_local uint32_t lock_held_ranks;
static _Atomic uint64_t lock_waits[LOCK_RANKS];

void lock_init(struct lock *l, enum lock_rank rank)
{
    ASSERT(pthread_mutex_init(&l->mutex, NULL) == 0);
    l->rank = (uint8_t)rank;
}

void lock_destroy(struct lock *l)
{
    ASSERT(pthread_mutex_destroy(&l->mutex) == 0);
}

void lock_take(struct lock *l)
{
    ASSERT((lock_held_ranks >> l->rank) == 0);
    if (pthread_mutex_trylock(&l->mutex) != 0) {
        atomic_fetch_add_explicit(&lock_waits[l->rank], 1, memory_order_relaxed);
        ASSERT(pthread_mutex_lock(&l->mutex) == 0);
    }
    lock_held_ranks |= 1u << l->rank;
}

void lock_drop(struct lock *l)
{
    lock_assert_held(l);
    lock_held_ranks &= ~(1u << l->rank);
    ASSERT(pthread_mutex_unlock(&l->mutex) == 0);
}

void lock_assert_held(const struct lock *l)
{
    ASSERT(((lock_held_ranks >> l->rank) & 1) != 0);
}

uint64_t lock_contended(enum lock_rank rank)
{
    return atomic_load_explicit(&lock_waits[rank], memory_order_relaxed);
}

const char *lock_rank_name(enum lock_rank rank)
{
    static const char *const names[LOCK_RANKS] = {
        "config", "pool", "cache_shard", "cache_fill", "cache_evict", "inval", "spill", "metrics", "log"};
    ASSERT((unsigned)rank < LOCK_RANKS);
    return names[rank];
}
