/* rate.c: see rate.h.
 *
 * A set is two cache lines: seven entries of a tag (half of the key's hash) and a theoretical arrival time,
 * and a lock for changing tags. Who finds its tag moves the time by compare-and-swap and takes no lock. Who
 * does not takes the lock, looks once more, so that no key gets two entries, and claims the entry with the
 * earliest time: it swaps the time for CLAIMED, writes the tag, then a new time.
 *
 * Nobody charges an entry that has just become another's: the time is read first, then the tag, and the swap
 * fails unless the time is still the one that was read. Only where an entry was ahead of now when it was
 * claimed could its new time come to be the same to the nanosecond; then one request counts for the wrong
 * key.
 *
 * Rejected: a mutex for each shard, since all requests of one busy client meet in it; and tables of each
 * worker, which would multiply the limit by the workers. */
#include "core/rate.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "core/panic.h"

#define CLAIMED       INT64_MAX
#define LOCK_TRIES    4096
#define LOCK_SPINS    64
#define RATE_LINES    2
#define RATE_NOT_HERE ((enum rate_verdict)(RATE_OVER + 1))

struct rate_entry {
    _Atomic uint64_t tag; /* 0 = never used; changed under the set's lock, while the time is CLAIMED */
    _Atomic rate_ns_t tat_ns;
};

struct rate_set {
    _Alignas(RATE_LINES *CACHE_LINE) struct rate_entry entries[RATE_WAYS];
    _Atomic uint32_t locked;
};
_Static_assert(sizeof(struct rate_set) == RATE_LINES * CACHE_LINE, "as many lines as the essay says");

/* Owned by who made it; set once but for the sets. */
struct rate_table {
    size_t mask, bytes;
    struct rate_set *sets; /* pages that nobody has used take no memory */
};

struct rate_table *rate_table_new(size_t sets)
{
    ASSERT(sets > 0 && (sets & (sets - 1)) == 0);
    struct rate_table *t = malloc(sizeof *t);
    if (t == NULL)
        return NULL;
    *t = (struct rate_table){.mask = sets - 1, .bytes = sets * sizeof(struct rate_set)};
    void *pages = mmap(NULL, t->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) {
        free(t);
        return NULL;
    }
    t->sets = pages;
    return t;
}

void rate_table_free(struct rate_table *t)
{
    if (t == NULL)
        return;
    munmap(t->sets, t->bytes);
    free(t);
}

static struct rate_set *rate_set_of(struct rate_table *t, hash128_t key)
{
    return &t->sets[key.lo & t->mask];
}

static uint64_t rate_tag(hash128_t key)
{
    return key.hi != 0 ? key.hi : 1;
}

/* The time of the entry, if it is the tag's and will be for as long as it has that time. */
static bool rate_read(struct rate_entry *e, uint64_t tag, rate_ns_t *tat_ns)
{
    *tat_ns = atomic_load_explicit(&e->tat_ns, memory_order_acquire);
    return *tat_ns != CLAIMED && atomic_load_explicit(&e->tag, memory_order_acquire) == tag;
}

static bool rate_swap(struct rate_entry *e, rate_ns_t from_ns, rate_ns_t to_ns)
{
    return atomic_compare_exchange_strong_explicit(&e->tat_ns, &from_ns, to_ns, memory_order_acq_rel,
                                                   memory_order_relaxed);
}

static enum rate_verdict rate_charge(struct rate_set *s, uint64_t tag, const struct rate_limit *l,
                                     rate_ns_t now_ns, rate_ns_t *wait_ns)
{
    for (size_t i = 0; i < RATE_WAYS; i++) {
        rate_ns_t tat_ns;
        while (rate_read(&s->entries[i], tag, &tat_ns)) {
            const rate_ns_t next_ns = MAX(tat_ns, now_ns) + l->step_ns;
            if (next_ns - now_ns > l->room_ns) {
                *wait_ns = next_ns - now_ns - l->room_ns;
                return RATE_OVER;
            }
            if (rate_swap(&s->entries[i], tat_ns, next_ns))
                return RATE_PASSED;
        }
    }
    return RATE_NOT_HERE;
}

/* The entry with the earliest time becomes the tag's. */
static enum rate_verdict rate_claim_locked(struct rate_set *s, uint64_t tag, const struct rate_limit *l,
                                           rate_ns_t now_ns)
{
    for (;;) {
        struct rate_entry *first = NULL;
        rate_ns_t first_ns = CLAIMED;
        for (size_t i = 0; i < RATE_WAYS; i++) {
            const rate_ns_t tat_ns = atomic_load_explicit(&s->entries[i].tat_ns, memory_order_relaxed);
            if (tat_ns < first_ns) {
                first_ns = tat_ns;
                first = &s->entries[i];
            }
        }
        ASSERT(first != NULL);
        if (!rate_swap(first, first_ns, CLAIMED))
            continue;
        atomic_store_explicit(&first->tag, tag, memory_order_relaxed);
        atomic_store_explicit(&first->tat_ns, now_ns + l->step_ns, memory_order_release);
        return first_ns > now_ns ? RATE_PASSED_FORGOT : RATE_PASSED;
    }
}

/* It is held for tens of instructions; but the thread that holds it may be waiting for a processor. */
static bool rate_lock(struct rate_set *s)
{
    for (unsigned i = 0; i < LOCK_TRIES; i++) {
        uint32_t no = 0;
        if (atomic_compare_exchange_weak_explicit(&s->locked, &no, 1, memory_order_acquire,
                                                  memory_order_relaxed))
            return true;
        if (i % LOCK_SPINS == LOCK_SPINS - 1)
            sched_yield();
    }
    return false;
}

enum rate_verdict rate_take(struct rate_table *t, hash128_t key, const struct rate_limit *l, rate_ns_t now_ns,
                            rate_ns_t *wait_ns)
{
    ASSERT(l->step_ns > 0 && l->room_ns >= l->step_ns);
    struct rate_set *s = rate_set_of(t, key);
    enum rate_verdict v = rate_charge(s, rate_tag(key), l, now_ns, wait_ns);
    if (LIKELY(v != RATE_NOT_HERE))
        return v;
    if (!rate_lock(s))
        return RATE_UNCOUNTED;
    v = rate_charge(s, rate_tag(key), l, now_ns, wait_ns);
    if (v == RATE_NOT_HERE)
        v = rate_claim_locked(s, rate_tag(key), l, now_ns);
    atomic_store_explicit(&s->locked, 0, memory_order_release);
    return v;
}

void rate_learn(struct rate_table *t, hash128_t key, const struct rate_limit *l, rate_ns_t now_ns,
                rate_ns_t used_ns, bool refused)
{
    struct rate_set *s = rate_set_of(t, key);
    const rate_ns_t back_ns = refused ? l->step_ns : 0;
    for (size_t i = 0; i < RATE_WAYS; i++) {
        rate_ns_t tat_ns;
        while (rate_read(&s->entries[i], rate_tag(key), &tat_ns)) {
            const rate_ns_t next_ns = MAX(tat_ns - back_ns, now_ns + MIN(used_ns, l->room_ns));
            if (next_ns == tat_ns || rate_swap(&s->entries[i], tat_ns, next_ns))
                return;
        }
    }
}
