/* index.c: see index.h. A move begins when 13/16 of the slots are used, tombstones included, or less than 1/8
 * hold an entry; the new array has at least 8/5 slots per entry.
 *
 * A move ends in time: N slots are cleared and taken over within N/32 + N/256 changes, and until the array is
 * full there is room for 3N/16 more; one that shrinks ends before the last of its N/8 entries is removed, so
 * what is left of an empty index is small. */
#include "cache/index.h"

#include <stdlib.h>

#include "core/panic.h"

#define INDEX_MIN_LOG2 4
#define INDEX_TOMB     ((uint64_t)4)
#define INDEX_PTR_MASK (((uint64_t)1 << 48) - 1)
/* What each change does for a move. */
#define MOVE_CLEAR 512
#define MOVE_SLOTS 32

struct index_table {
    struct rcu_grave grave;
    _Alignas(CACHE_LINE) _Atomic uint64_t slots[];
};

static struct index_table *table_of(uint64_t word)
{
    return (struct index_table *)(uintptr_t)(word & INDEX_PTR_MASK);
}

static size_t table_slots(uint64_t word)
{
    return (size_t)1 << (word >> 48);
}

static size_t table_bytes(size_t slots)
{
    return sizeof(struct index_table) + slots * sizeof(uint64_t);
}

/* Its slots are not cleared. */
static uint64_t table_create(unsigned log2)
{
    size_t bytes = table_bytes((size_t)1 << log2);
    struct index_table *t = cache_memory_alloc(bytes + CACHE_LINE);
    if (t == NULL)
        return 0;
    /* malloc aligns to 16: the array is moved up to a line, the distance is kept in front of it by freeing
     * `obj`. */
    struct index_table *aligned =
        (struct index_table *)(((uintptr_t)t + CACHE_LINE - 1) & ~(uintptr_t)(CACHE_LINE - 1));
    aligned->grave.obj = t;
    ASSERT(((uint64_t)(uintptr_t)aligned & ~INDEX_PTR_MASK) == 0);
    return (uint64_t)(uintptr_t)aligned | (uint64_t)log2 << 48;
}

static size_t table_charge(uint64_t word)
{
    return cache_memory_rounded(table_bytes(table_slots(word)) + CACHE_LINE);
}

bool cache_index_open(struct cache_index *ix, struct cache_account *a)
{
    uint64_t word = table_create(INDEX_MIN_LOG2);
    atomic_init(&ix->table, word);
    atomic_init(&ix->moves, 0);
    ix->account = a;
    ix->live = ix->tombs = ix->cleared = ix->moved = ix->next_tombs = 0;
    ix->next = 0;
    if (word == 0)
        return false;
    memset(table_of(word)->slots, 0, table_slots(word) * sizeof(uint64_t));
    cache_account_charge(a, table_charge(word));
    return true;
}

void cache_index_close(struct cache_index *ix)
{
    uint64_t word = atomic_load(&ix->table);
    if (word == 0)
        return;
    ASSERT(ix->live == 0);
    cache_account_release(ix->account, table_charge(word));
    free(table_of(word)->grave.obj);
    if (ix->next == 0)
        return;
    cache_account_release(ix->account, table_charge(ix->next));
    free(table_of(ix->next)->grave.obj);
}

static uint64_t entry_hash(cache_entry_t e)
{
    const struct cache_marker *m = cache_entry_marker(e);
    return m != NULL ? m->hash : cache_entry_object(e)->hash;
}

static slice_t entry_key(cache_entry_t e)
{
    const struct cache_marker *m = cache_entry_marker(e);
    return m != NULL ? cache_marker_key(m) : cache_object_key(cache_entry_object(e));
}

static uint64_t slot_of(cache_entry_t e, uint64_t hash)
{
    return e | (hash & ~INDEX_PTR_MASK);
}

static bool slot_is_entry(uint64_t slot)
{
    return slot != 0 && (slot & INDEX_PTR_MASK) != INDEX_TOMB;
}

static inline __attribute__((always_inline)) bool slot_matches(uint64_t slot, uint64_t hash, slice_t key)
{
    if (((slot ^ hash) & ~INDEX_PTR_MASK) != 0 || (slot & INDEX_PTR_MASK) == INDEX_TOMB)
        return false;
    cache_entry_t e = slot & INDEX_PTR_MASK;
    return entry_hash(e) == hash && slice_eq(entry_key(e), key);
}

cache_entry_t cache_index_find(const struct cache_index *ix, uint64_t hash, slice_t key)
{
    uint64_t word = atomic_load_explicit(&ix->table, memory_order_acquire);
    const struct index_table *t = table_of(word);
    size_t mask = table_slots(word) - 1;
    for (size_t i = (size_t)hash & mask;; i = (i + 1) & mask) {
        uint64_t slot = atomic_load_explicit(&t->slots[i], memory_order_acquire);
        if (slot == 0)
            return 0;
        if (slot_matches(slot, hash, key))
            return slot & INDEX_PTR_MASK;
    }
}

static void table_free(void *obj)
{
    free(obj);
}

/* ---- the move ---- */

/* The slot that holds exactly this; NULL when none does. */
static _Atomic uint64_t *table_locate_exact(uint64_t word, uint64_t hash, uint64_t held)
{
    struct index_table *t = table_of(word);
    size_t mask = table_slots(word) - 1;
    for (size_t i = (size_t)hash & mask;; i = (i + 1) & mask) {
        uint64_t slot = atomic_load_explicit(&t->slots[i], memory_order_relaxed);
        if (slot == held)
            return &t->slots[i];
        if (slot == 0)
            return NULL;
    }
}

/* What is not there yet. */
static void next_add(struct cache_index *ix, uint64_t hash, uint64_t slot)
{
    struct index_table *t = table_of(ix->next);
    size_t mask = table_slots(ix->next) - 1;
    for (size_t i = (size_t)hash & mask;; i = (i + 1) & mask) {
        uint64_t held = atomic_load_explicit(&t->slots[i], memory_order_relaxed);
        if (slot_is_entry(held))
            continue;
        ix->next_tombs -= held != 0;
        atomic_store_explicit(&t->slots[i], slot, memory_order_relaxed);
        return;
    }
}

/* What slot `at` of the array held and holds now (0: nothing); its hash is the same. */
static void move_follow(struct cache_index *ix, const _Atomic uint64_t *at, uint64_t hash, uint64_t was,
                        uint64_t is)
{
    const struct index_table *t = table_of(atomic_load_explicit(&ix->table, memory_order_relaxed));
    if (LIKELY(ix->next == 0) || (size_t)(at - t->slots) >= ix->moved)
        return;
    if (was == 0) {
        next_add(ix, hash, is);
        return;
    }
    _Atomic uint64_t *slot = table_locate_exact(ix->next, hash, was);
    ASSERT(slot != NULL);
    ix->next_tombs += is == 0;
    atomic_store_explicit(slot, is == 0 ? INDEX_TOMB : is, memory_order_relaxed);
}

/* Nothing happens when memory is short. */
static void move_begin(struct cache_index *ix)
{
    size_t slots = table_slots(atomic_load_explicit(&ix->table, memory_order_relaxed));
    /* As changes go on meanwhile, a quarter is the least, also when a smaller array could not be had before.
     */
    size_t want = MAX(ix->live + 1, slots / 8);
    unsigned log2 = INDEX_MIN_LOG2;
    while (((size_t)5 << log2) < want * 8)
        log2++;
    ix->next = table_create(log2);
    ix->cleared = ix->moved = ix->next_tombs = 0;
    if (ix->next != 0)
        cache_account_charge(ix->account, table_charge(ix->next));
}

static void move_end(struct cache_index *ix)
{
    uint64_t word = atomic_load_explicit(&ix->table, memory_order_relaxed);
    cache_account_release(ix->account, table_charge(word));
    const uint32_t moves = atomic_load_explicit(&ix->moves, memory_order_relaxed);
    atomic_store_explicit(&ix->moves, moves + 1, memory_order_relaxed);
    atomic_store_explicit(&ix->table, ix->next, memory_order_release);
    ix->tombs = ix->next_tombs;
    ix->next = 0;
    rcu_free_later(&table_of(word)->grave, table_free, table_of(word)->grave.obj);
}

static void move_slots(struct cache_index *ix, const struct index_table *from, size_t end)
{
    for (size_t i = ix->moved; i < end; i++) /* their hashes are not in this processor's cache */
        __builtin_prefetch(
            (const void *)(uintptr_t)(atomic_load_explicit(&from->slots[i], memory_order_relaxed) &
                                      INDEX_PTR_MASK & ~(uint64_t)7));
    for (; ix->moved < end; ix->moved++) {
        uint64_t slot = atomic_load_explicit(&from->slots[ix->moved], memory_order_relaxed);
        if (slot_is_entry(slot))
            next_add(ix, entry_hash(slot & INDEX_PTR_MASK), slot);
    }
}

static void move_on(struct cache_index *ix)
{
    size_t clear = MIN(table_slots(ix->next) - ix->cleared, MOVE_CLEAR);
    memset(&table_of(ix->next)->slots[ix->cleared], 0, clear * sizeof(uint64_t));
    ix->cleared += clear;
    if (ix->cleared < table_slots(ix->next))
        return;
    uint64_t word = atomic_load_explicit(&ix->table, memory_order_relaxed);
    move_slots(ix, table_of(word), MIN(ix->moved + MOVE_SLOTS, table_slots(word)));
    if (ix->moved == table_slots(word))
        move_end(ix);
}

/* ---- changes ---- */

/* The slot that holds the key, or NULL with *free_slot where it would go. */
static inline __attribute__((always_inline)) _Atomic uint64_t *
index_locate(struct cache_index *ix, uint64_t hash, slice_t key, _Atomic uint64_t **free_slot)
{
    uint64_t word = atomic_load_explicit(&ix->table, memory_order_relaxed);
    struct index_table *t = table_of(word);
    size_t mask = table_slots(word) - 1;
    *free_slot = NULL;
    for (size_t i = (size_t)hash & mask;; i = (i + 1) & mask) {
        uint64_t slot = atomic_load_explicit(&t->slots[i], memory_order_relaxed);
        if (slot == 0 || (slot & INDEX_PTR_MASK) == INDEX_TOMB) {
            if (*free_slot == NULL)
                *free_slot = &t->slots[i];
            if (slot == 0)
                return NULL;
        } else if (slot_matches(slot, hash, key)) {
            return &t->slots[i];
        }
    }
}

/* Without memory for a larger array the old one is used up, but for the one empty slot that ends a probe. If
 * there is memory again only then, there is no room left for changes that take some slots along each. Where
 * the key goes now; NULL: nowhere. */
__attribute__((noinline)) static _Atomic uint64_t *move_at_once(struct cache_index *ix, uint64_t hash,
                                                                slice_t key)
{
    _Atomic uint64_t *free_slot = NULL;
    if (ix->next == 0)
        return NULL;
    while (ix->next != 0)
        move_on(ix);
    index_locate(ix, hash, key, &free_slot);
    return free_slot;
}

bool cache_index_put(struct cache_index *ix, cache_entry_t e, cache_entry_t *old)
{
    uint64_t hash = entry_hash(e);
    _Atomic uint64_t *free_slot;
    _Atomic uint64_t *slot = index_locate(ix, hash, entry_key(e), &free_slot);
    *old = 0;
    if (slot != NULL) {
        uint64_t was = atomic_load_explicit(slot, memory_order_relaxed);
        *old = was & INDEX_PTR_MASK;
        atomic_store_explicit(slot, slot_of(e, hash), memory_order_release);
        move_follow(ix, slot, hash, was, slot_of(e, hash));
        return true;
    }
    size_t slots = table_slots(atomic_load_explicit(&ix->table, memory_order_relaxed));
    if (ix->next == 0 && (ix->live + ix->tombs + 1) * 16 > slots * 13)
        move_begin(ix);
    bool was_tomb = atomic_load_explicit(free_slot, memory_order_relaxed) != 0;
    if (UNLIKELY(!was_tomb && ix->live + ix->tombs + 2 > slots)) {
        free_slot = move_at_once(ix, hash, entry_key(e));
        if (free_slot == NULL)
            return false;
        was_tomb = atomic_load_explicit(free_slot, memory_order_relaxed) != 0;
    }
    ix->tombs -= was_tomb;
    atomic_store_explicit(free_slot, slot_of(e, hash), memory_order_release);
    ix->live++;
    move_follow(ix, free_slot, hash, 0, slot_of(e, hash));
    if (UNLIKELY(ix->next != 0))
        move_on(ix);
    return true;
}

bool cache_index_remove(struct cache_index *ix, cache_entry_t e)
{
    uint64_t hash = entry_hash(e), word = atomic_load_explicit(&ix->table, memory_order_relaxed);
    _Atomic uint64_t *slot = table_locate_exact(word, hash, slot_of(e, hash));
    if (slot == NULL)
        return false;
    atomic_store_explicit(slot, INDEX_TOMB, memory_order_release);
    ix->live--;
    ix->tombs++;
    move_follow(ix, slot, hash, slot_of(e, hash), 0);
    size_t slots = table_slots(word);
    if (ix->next == 0 && slots > ((size_t)1 << INDEX_MIN_LOG2) && ix->live * 8 < slots)
        move_begin(ix);
    if (ix->next != 0)
        move_on(ix);
    return true;
}

size_t cache_index_scan(const struct cache_index *ix, size_t *cursor, cache_entry_t *out, size_t max)
{
    uint64_t word = atomic_load_explicit(&ix->table, memory_order_acquire);
    const struct index_table *t = table_of(word);
    size_t slots = table_slots(word), n = 0, i = *cursor;
    for (size_t seen = 0; i < slots && seen < max; i++, seen++) {
        uint64_t slot = atomic_load_explicit(&t->slots[i], memory_order_acquire);
        if (slot_is_entry(slot))
            out[n++] = slot & INDEX_PTR_MASK;
    }
    *cursor = i >= slots ? 0 : i;
    return n;
}
