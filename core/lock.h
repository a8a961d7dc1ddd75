/* lock.h: the few mutexes of the program, with their order, and counters of takes and waits.
 *
 * Order (a thread that holds one takes only locks further down):
 *   LOCK_CONFIG  LOCK_AUTH  LOCK_POOL  LOCK_CACHE_SHARD  LOCK_CACHE_FILL  LOCK_CACHE_EVICT
 *   LOCK_INVAL  LOCK_STREAM  LOCK_SPILL  LOCK_TICKETS  LOCK_PAGE_PLACES  LOCK_METRICS  LOCK_LOG
 *
 * No lock is held across I/O or a callback. `x_locked` functions expect the caller to hold the lock. */
#ifndef CORE_LOCK_H
#define CORE_LOCK_H

#include <pthread.h>
#include <stdatomic.h>

#include "core/base.h"

enum lock_rank {
    LOCK_CONFIG,
    LOCK_AUTH,
    LOCK_POOL,
    LOCK_CACHE_SHARD,
    LOCK_CACHE_FILL,
    LOCK_CACHE_EVICT,
    LOCK_INVAL,
    LOCK_STREAM,
    LOCK_SPILL,
    LOCK_TICKETS,
    LOCK_PAGE_PLACES,
    LOCK_METRICS,
    LOCK_LOG,
    LOCK_RANKS
};

struct lock {
    pthread_mutex_t mutex;
    uint8_t rank;
};

void lock_init(struct lock *l, enum lock_rank rank);
void lock_destroy(struct lock *l);
/* Asserts the order above. Each take is counted under its rank, and each that had to wait. */
void lock_take(struct lock *l);
/* The same without waiting: false, and not counted, while another thread holds it. */
bool lock_try(struct lock *l);
/* Waits so long at most; false then. */
bool lock_take_within(struct lock *l, unsigned wait_us);
void lock_drop(struct lock *l);
void lock_assert_held(const struct lock *l);

/* How often locks of this rank were taken, and how often a take had to wait; whole process. */
uint64_t lock_taken(enum lock_rank rank);
uint64_t lock_contended(enum lock_rank rank);
const char *lock_rank_name(enum lock_rank rank);

#endif
