/* evict.c: see evict.h. The ghost queue is a fixed table of small sets: a set drops its oldest fingerprint,
 * which approximates a FIFO without memory per ghost. The table is sized in bytes, before anyone knows how
 * large objects are; so a ghost also bears the time it was made, on a clock that counts ghosts, and is
 * forgotten when more came after it than there are objects. Remembering longer costs hits: what
 * comes back late is taken for a regular.
 *
 * At the door. Comers are a stack that is taken as a whole, linked by the node that no queue uses yet.
 * Leavers still are in their queue, and have no room for another link, so they get one of some slots. Their
 * slots are read before the stack is: who leaves came before. Rejected: looking again after each drop of the
 * lock, a fence for each store, so that nothing stays at the door; what does is few, and let in by the next
 * who stores or looks at the statistics.
 *
 * Rejected: LRU (a lock or a write per hit); a linked ghost queue (allocates while memory is short); one hit
 * instead of two for the way into main (docs/hit-ratio.md, "What was tried"). */
#include "cache/evict.h"

#include <stdlib.h>

#include "core/panic.h"

#define GHOST_WAYS        8
#define GHOST_OBJECT_SIZE 2048 /* one ghost per so many bytes of the limit */
#define GHOST_TICKS       8192 /* of the ghost clock, while as many ghosts are made as the table has room for */
#define SMALL_SHARE       10   /* small gets 1/10 of the bytes */
#define PICK_STEPS_MAX                                                                                       \
    256 /* objects looked at under one hold of the lock; then the next in main goes, hot or not */

bool cache_evict_open(struct cache_evict *e, size_t limit_bytes)
{
    size_t sets = 64;
    while (sets * GHOST_WAYS * GHOST_OBJECT_SIZE < limit_bytes && sets < ((size_t)1 << 20))
        sets *= 2;
    e->ghosts = cache_memory_alloc(sets * GHOST_WAYS * sizeof(struct cache_ghost));
    if (e->ghosts == NULL)
        return false;
    memset(e->ghosts, 0, sets * GHOST_WAYS * sizeof(struct cache_ghost));
    e->ghost_sets = sets;
    list_init(&e->small);
    list_init(&e->main);
    e->small_bytes = e->main_bytes = e->objects = 0;
    e->ghosts_made = 0;
    atomic_init(&e->comers, NULL);
    for (unsigned i = 0; i < CACHE_EVICT_LEAVERS; i++)
        atomic_init(&e->leavers[i], NULL);
    atomic_init(&e->leavers_ever, 0);
    atomic_init(&e->has_leavers, false);
    lock_init(&e->lock, LOCK_CACHE_EVICT);
    return true;
}

void cache_evict_close(struct cache_evict *e)
{
    ASSERT(list_empty(&e->small) && list_empty(&e->main) && atomic_load(&e->comers) == NULL &&
           !atomic_load(&e->has_leavers));
    free(e->ghosts);
    lock_destroy(&e->lock);
}

size_t cache_evict_bytes(const struct cache_evict *e)
{
    return cache_memory_rounded(e->ghost_sets * GHOST_WAYS * sizeof(struct cache_ghost));
}

static struct cache_ghost *ghost_set(const struct cache_evict *e, uint64_t hash, uint16_t *mark)
{
    *mark = (uint16_t)(hash >> 48) | 1;
    return &e->ghosts[(size_t)(hash & (e->ghost_sets - 1)) * GHOST_WAYS];
}

/* A tick is so many ghosts. The clock comes round after 8 times as many as the table holds: by then every set
 * has been filled anew. */
static size_t ghost_tick(const struct cache_evict *e)
{
    return MAX(e->ghost_sets * GHOST_WAYS / GHOST_TICKS, 1);
}

static uint16_t ghost_clock(const struct cache_evict *e)
{
    return (uint16_t)(e->ghosts_made / ghost_tick(e));
}

static void ghost_add_locked(struct cache_evict *e, uint64_t hash)
{
    uint16_t mark;
    struct cache_ghost *set = ghost_set(e, hash, &mark);
    memmove(set + 1, set, (GHOST_WAYS - 1) * sizeof *set);
    e->ghosts_made++;
    set[0] = (struct cache_ghost){mark, ghost_clock(e)};
}

static bool ghost_take_locked(struct cache_evict *e, uint64_t hash, bool forget)
{
    uint16_t mark;
    struct cache_ghost *set = ghost_set(e, hash, &mark);
    for (unsigned i = 0; i < GHOST_WAYS; i++) {
        if (set[i].mark == mark) {
            size_t since = (uint16_t)(ghost_clock(e) - set[i].left) * ghost_tick(e);
            if (forget)
                set[i].mark = 0;
            return since <= e->objects;
        }
    }
    return false;
}

/* The one setter between queues: `place` and the sums move together. `bytes` is the charge of the object,
 * which is final: known before the lock is taken, where that is possible. */
static void evict_place_locked(struct cache_evict *e, struct cache_object *o, enum cache_object_place place,
                               size_t bytes)
{
    if (o->place == CACHE_PLACE_SMALL)
        e->small_bytes -= bytes;
    else if (o->place == CACHE_PLACE_MAIN)
        e->main_bytes -= bytes;
    else
        ASSERT(o->place == CACHE_PLACE_NONE);
    e->objects += (place != CACHE_PLACE_NONE) - (o->place != CACHE_PLACE_NONE);
    list_remove(&o->queue);
    o->place = (uint8_t)place;
    if (place == CACHE_PLACE_SMALL) {
        e->small_bytes += bytes;
        list_push_front(&e->small, &o->queue);
    } else if (place == CACHE_PLACE_MAIN) {
        e->main_bytes += bytes;
        list_push_front(&e->main, &o->queue);
    }
}

static void evict_enter_locked(struct cache_evict *e, struct cache_object *o, size_t bytes)
{
    bool known = ghost_take_locked(e, o->hash, true);
    evict_place_locked(e, o, known ? CACHE_PLACE_MAIN : CACHE_PLACE_SMALL, bytes);
}

static void evict_leave_locked(struct cache_evict *e, struct cache_object *o, size_t bytes)
{
    if (o->place != CACHE_PLACE_NONE) /* else it was picked */
        evict_place_locked(e, o, CACHE_PLACE_NONE, bytes);
}

/* ---- the door ---- */

static void door_push_comer(struct cache_evict *e, struct cache_object *o)
{
    struct list *first = atomic_load_explicit(&e->comers, memory_order_relaxed);
    do {
        o->queue.next = first;
    } while (!atomic_compare_exchange_weak_explicit(&e->comers, &first, &o->queue, memory_order_release,
                                                    memory_order_relaxed));
}

/* false when its slot is taken. */
static bool door_put_leaver(struct cache_evict *e, struct cache_object *o)
{
    unsigned at = atomic_fetch_add_explicit(&e->leavers_ever, 1, memory_order_relaxed) % CACHE_EVICT_LEAVERS;
    struct cache_object *none = NULL;
    if (!atomic_compare_exchange_strong_explicit(&e->leavers[at], &none, o, memory_order_release,
                                                 memory_order_relaxed))
        return false;
    atomic_store(&e->has_leavers, true);
    return true;
}

static size_t door_take_leavers(struct cache_evict *e, struct cache_object *out[CACHE_EVICT_LEAVERS])
{
    size_t n = 0;
    atomic_store(&e->has_leavers, false);
    for (unsigned i = 0; i < CACHE_EVICT_LEAVERS; i++) {
        struct cache_object *o = atomic_exchange_explicit(&e->leavers[i], NULL, memory_order_acquire);
        if (o != NULL)
            out[n++] = o;
    }
    return n;
}

static void door_let_comers_in_locked(struct cache_evict *e)
{
    struct list *n = atomic_exchange_explicit(&e->comers, NULL, memory_order_acquire), *oldest = NULL;
    while (n != NULL) {
        struct list *older = n->next;
        n->next = oldest;
        oldest = n;
        n = older;
    }
    while (oldest != NULL) {
        struct cache_object *o = CONTAINER_OF(oldest, struct cache_object, queue);
        oldest = oldest->next;
        list_init(&o->queue);
        evict_enter_locked(e, o, cache_object_charge(o, true));
    }
}

__attribute__((noinline)) static size_t door_settle_locked(struct cache_evict *e)
{
    struct cache_object *leavers[CACHE_EVICT_LEAVERS];
    size_t n = door_take_leavers(e, leavers), freed = 0;
    door_let_comers_in_locked(e);
    for (size_t i = 0; i < n; i++) {
        evict_leave_locked(e, leavers[i], cache_object_charge(leavers[i], true));
        freed += cache_object_retire(leavers[i]);
    }
    return freed;
}

/* Each hold of the lock begins with this. Returns the room that those have made who leave. */
static inline size_t evict_settle_locked(struct cache_evict *e)
{
    if (UNLIKELY(atomic_load_explicit(&e->comers, memory_order_relaxed) != NULL ||
                 atomic_load_explicit(&e->has_leavers, memory_order_relaxed)))
        return door_settle_locked(e);
    return 0;
}

void cache_evict_settle(struct cache_evict *e)
{
    lock_take(&e->lock);
    evict_settle_locked(e);
    lock_drop(&e->lock);
}

bool cache_evict_has_ghost(struct cache_evict *e, uint64_t hash)
{
    lock_take(&e->lock);
    evict_settle_locked(e);
    bool has = ghost_take_locked(e, hash, false);
    lock_drop(&e->lock);
    return has;
}

/* ---- in and out ---- */

void cache_evict_add(struct cache_evict *e, struct cache_object *o)
{
    size_t bytes = cache_object_charge(o, true);
    if (UNLIKELY(!lock_try(&e->lock))) {
        door_push_comer(e, o);
        return;
    }
    evict_settle_locked(e);
    evict_enter_locked(e, o, bytes);
    lock_drop(&e->lock);
}

void cache_evict_retire(struct cache_evict *e, struct cache_object *o)
{
    size_t bytes = cache_object_charge(o, true);
    if (UNLIKELY(!lock_try(&e->lock))) {
        if (door_put_leaver(e, o))
            return;
        lock_take(&e->lock);
    }
    evict_settle_locked(e);
    evict_leave_locked(e, o, bytes);
    lock_drop(&e->lock);
    cache_object_retire(o);
}

void cache_evict_retire_some(struct cache_evict *e, struct cache_object *const *all, size_t n, bool waits)
{
    size_t bytes[CACHE_EVICT_SOME];
    ASSERT(n <= CACHE_EVICT_SOME);
    for (size_t i = 0; i < n; i++)
        bytes[i] = cache_object_charge(all[i], true);
    if (waits) {
        lock_take(&e->lock);
    } else if (!lock_try(&e->lock)) {
        for (size_t i = 0; i < n; i++)
            cache_evict_retire(e, all[i]);
        return;
    }
    evict_settle_locked(e);
    for (size_t i = 0; i < n; i++) { /* neighbours are strangers, anywhere in memory */
        __builtin_prefetch(all[i]->queue.prev, 1);
        __builtin_prefetch(all[i]->queue.next, 1);
    }
    for (size_t i = 0; i < n; i++)
        evict_leave_locked(e, all[i], bytes[i]);
    lock_drop(&e->lock);
    for (size_t i = 0; i < n; i++)
        cache_object_retire(all[i]);
}

static bool object_is_spent(const struct cache_object *o, wall_ms_t now_ms)
{
    struct cache_freshness f = cache_object_freshness(o);
    return cache_freshness_is_spent(&f, now_ms);
}

/* The oldest of small: a victim, or moved to main (NULL). */
static struct cache_object *evict_small_locked(struct cache_evict *e, wall_ms_t now_ms)
{
    struct cache_object *o = CONTAINER_OF(e->small.prev, struct cache_object, queue);
    uint8_t freq = atomic_load_explicit(&o->freq, memory_order_relaxed);
    if (freq > 1 && !object_is_spent(o, now_ms)) {
        atomic_store_explicit(&o->freq, 0, memory_order_relaxed);
        evict_place_locked(e, o, CACHE_PLACE_MAIN, cache_object_charge(o, true));
        return NULL;
    }
    ghost_add_locked(e, o->hash);
    return o;
}

static struct cache_object *evict_main_locked(struct cache_evict *e, wall_ms_t now_ms, bool forced)
{
    struct cache_object *o = CONTAINER_OF(e->main.prev, struct cache_object, queue);
    uint8_t freq = atomic_load_explicit(&o->freq, memory_order_relaxed);
    if (freq > 0 && !forced && !object_is_spent(o, now_ms)) {
        atomic_store_explicit(&o->freq, (uint8_t)(freq - 1), memory_order_relaxed);
        evict_place_locked(e, o, CACHE_PLACE_MAIN, cache_object_charge(o, true));
        return NULL;
    }
    return o;
}

static size_t evict_pick_locked(struct cache_evict *e, size_t bytes, wall_ms_t now_ms,
                                struct cache_object *out[CACHE_EVICT_BATCH])
{
    size_t n = 0, sum = evict_settle_locked(e), steps = 0;
    while (n < CACHE_EVICT_BATCH && sum < bytes && !(list_empty(&e->small) && list_empty(&e->main))) {
        bool small_is_over = e->small_bytes * SMALL_SHARE >= e->small_bytes + e->main_bytes;
        bool from_small =
            !list_empty(&e->small) && (list_empty(&e->main) || (small_is_over && steps < PICK_STEPS_MAX));
        struct cache_object *o = from_small ? evict_small_locked(e, now_ms)
                                            : evict_main_locked(e, now_ms, steps >= PICK_STEPS_MAX);
        steps++;
        if (o == NULL)
            continue;
        size_t charge = cache_object_charge(o, true);
        sum += charge;
        evict_place_locked(e, o, CACHE_PLACE_NONE, charge);
        out[n++] = cache_object_ref(o);
    }
    return n;
}

size_t cache_evict_pick(struct cache_evict *e, size_t bytes, wall_ms_t now_ms,
                        struct cache_object *out[CACHE_EVICT_BATCH])
{
    lock_take(&e->lock);
    size_t n = evict_pick_locked(e, bytes, now_ms, out);
    lock_drop(&e->lock);
    return n;
}

enum cache_evict_try cache_evict_try_pick(struct cache_evict *e, size_t bytes, wall_ms_t now_ms,
                                          struct cache_object *out[CACHE_EVICT_BATCH], size_t *n)
{
    *n = 0;
    if (!lock_take_within(&e->lock, CACHE_EVICT_PATIENCE_US))
        return CACHE_EVICT_BUSY;
    *n = evict_pick_locked(e, bytes, now_ms, out);
    const bool nothing = *n == 0 && list_empty(&e->small) && list_empty(&e->main);
    lock_drop(&e->lock);
    return nothing ? CACHE_EVICT_NOTHING : CACHE_EVICT_ROOM;
}
