/* account.h: who pays for the memory of the cache: one account per cache, in bytes as the allocator takes
 * them.
 *
 * `used` is everything reachable or pinned: objects, bodies, the index, filling flights. `doomed` is what was
 * unlinked and waits for an RCU grace period (some 10 ms): its charge leaves `used` at once, so that making
 * room makes room, and comes back for an instant when the grace period ends, so that an object which a slow
 * reader still holds is paid for until it is freed. Objects carry an 8-bit account number instead of a
 * pointer.
 *
 * Threads: any; all figures are atomic. Open and close: control thread. */
#ifndef CACHE_ACCOUNT_H
#define CACHE_ACCOUNT_H

#include <stdatomic.h>

#include "core/base.h"

/* Owned by its cache; lives until cache_account_close. */
struct cache_account {
    _Alignas(CACHE_LINE) _Atomic size_t used;
    _Atomic size_t doomed;
    _Atomic size_t limit;
    _Atomic uint64_t live_objects;
    uint8_t id; /* set once */
};

/* Registers the account; false when CACHE_ACCOUNTS are open. */
#define CACHE_ACCOUNTS 64
bool cache_account_open(struct cache_account *a, size_t limit_bytes);
/* Nothing may be charged any more (asserted). */
void cache_account_close(struct cache_account *a);
struct cache_account *cache_account_of(uint8_t id);

/* Charges `bytes` if the limit allows it. */
bool cache_account_try(struct cache_account *a, size_t bytes);
/* Charges in any case; for what cannot be refused any more. */
void cache_account_charge(struct cache_account *a, size_t bytes);
void cache_account_release(struct cache_account *a, size_t bytes);
/* Unlinked: out of `used`, into `doomed`; and back when the grace period is over. */
void cache_account_doom(struct cache_account *a, size_t bytes);
void cache_account_undoom(struct cache_account *a, size_t bytes);

/* What the allocator really takes for a request of `bytes`. */
size_t cache_memory_rounded(size_t bytes);
/* malloc, with a switch for tests: after cache_memory_fail_after(n) the n+1st call and all later ones return
 * NULL; -1 switches it off. Freed by free(). */
void *cache_memory_alloc(size_t bytes);
void cache_memory_fail_after(long calls);
/* Only the n+1st and so many in all. */
void cache_memory_fail_times(long calls, long times);
/* For the other allocators of the cache: is this call to fail? Counts it. */
bool cache_memory_should_fail(void);

#endif
