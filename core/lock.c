/* lock.c: see lock.h. The order check keeps a bit per rank held by this thread: two locks of one rank are
 * never held together, which the check also enforces.
 *
 * Takes are counted in a row of counters that few threads share, by and large none, so that counting makes no
 * lock of one shard meet those of another. Rejected: a counter per lock, which leaves with its lock; counters
 * per thread, which leave with their thread. */
#include "core/lock.h"

#include <errno.h>
#include <sched.h>

#include "core/clock.h"
#include "core/panic.h"
#include "core/rcu.h"

#define TAKE_ROWS 64

static struct take_row {
    _Alignas(CACHE_LINE) _Atomic uint64_t takes[LOCK_RANKS];
} take_rows[TAKE_ROWS];
static _Atomic unsigned take_rows_given;
static _Thread_local struct take_row *take_row_of_thread;

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

static void lock_count_take(unsigned rank)
{
    if (take_row_of_thread == NULL) {
        unsigned n = atomic_fetch_add_explicit(&take_rows_given, 1, memory_order_relaxed);
        take_row_of_thread = &take_rows[n % TAKE_ROWS];
    }
    atomic_fetch_add_explicit(&take_row_of_thread->takes[rank], 1, memory_order_relaxed);
}

void lock_take(struct lock *l)
{
    ASSERT((lock_held_ranks >> l->rank) == 0);
    lock_count_take(l->rank);
    if (pthread_mutex_trylock(&l->mutex) != 0) {
        atomic_fetch_add_explicit(&lock_waits[l->rank], 1, memory_order_relaxed);
        ASSERT(pthread_mutex_lock(&l->mutex) == 0);
    }
    lock_held_ranks |= 1u << l->rank;
}

bool lock_try(struct lock *l)
{
    ASSERT((lock_held_ranks >> l->rank) == 0);
    if (pthread_mutex_trylock(&l->mutex) != 0)
        return false;
    lock_count_take(l->rank);
    lock_held_ranks |= 1u << l->rank;
    return true;
}

static bool mutex_take_until(pthread_mutex_t *m, mono_us_t until_us)
{
#ifdef RCU_TSAN /* gcc's ThreadSanitizer does not know pthread_mutex_clocklock */
    while (pthread_mutex_trylock(m) != 0) {
        if (clock_mono_us() >= until_us)
            return false;
        sched_yield();
    }
    return true;
#else
    const struct timespec until = {until_us / 1000000, until_us % 1000000 * 1000};
    int failed = pthread_mutex_clocklock(m, CLOCK_MONOTONIC, &until);
    ASSERT(failed == 0 || failed == ETIMEDOUT);
    return failed == 0;
#endif
}

bool lock_take_within(struct lock *l, unsigned wait_us)
{
    if (LIKELY(lock_try(l)))
        return true;
    atomic_fetch_add_explicit(&lock_waits[l->rank], 1, memory_order_relaxed);
    if (!mutex_take_until(&l->mutex, clock_mono_us() + wait_us))
        return false;
    lock_count_take(l->rank);
    lock_held_ranks |= 1u << l->rank;
    return true;
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

uint64_t lock_taken(enum lock_rank rank)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < TAKE_ROWS; i++)
        sum += atomic_load_explicit(&take_rows[i].takes[rank], memory_order_relaxed);
    return sum;
}

uint64_t lock_contended(enum lock_rank rank)
{
    return atomic_load_explicit(&lock_waits[rank], memory_order_relaxed);
}

const char *lock_rank_name(enum lock_rank rank)
{
    static const char *const names[LOCK_RANKS] = {
        "config", "auth",  "pool",    "cache_shard", "cache_fill", "cache_evict", "inval",
        "stream", "spill", "tickets", "page_places", "metrics",    "log"};
    ASSERT((unsigned)rank < LOCK_RANKS);
    return names[rank];
}
