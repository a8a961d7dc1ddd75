/* index.c: see index.h. The load is at most 3/4, tombstones included; a new array has room for twice the
 * entries. */
#include "cache/index.h"

#include <stdlib.h>

#include "core/panic.h"

#define INDEX_MIN_LOG2 4
#define INDEX_TOMB     ((uint64_t)4)
#define INDEX_PTR_MASK (((uint64_t)1 << 48) - 1)

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
    memset(aligned, 0, bytes);
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
    ix->account = a;
    ix->live = ix->tombs = 0;
    if (word != 0)
        cache_account_charge(a, table_charge(word));
    return word != 0;
}

void cache_index_close(struct cache_index *ix)
{
    uint64_t word = atomic_load(&ix->table);
    if (word == 0)
        return;
    ASSERT(ix->live == 0);
    cache_account_release(ix->account, table_charge(word));
    free(table_of(word)->grave.obj);
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

static bool slot_matches(uint64_t slot, uint64_t hash, slice_t key)
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

static bool index_rebuild(struct cache_index *ix, size_t want)
{
    unsigned log2 = INDEX_MIN_LOG2;
    while (((size_t)5 << log2) < want * 8)
        log2++;
    uint64_t fresh = table_create(log2);
    if (fresh == 0)
        return false;
    uint64_t word = atomic_load_explicit(&ix->table, memory_order_relaxed);
    struct index_table *from = table_of(word), *to = table_of(fresh);
    size_t mask = table_slots(fresh) - 1;
    for (size_t i = 0; i < table_slots(word); i++) {
        uint64_t slot = atomic_load_explicit(&from->slots[i], memory_order_relaxed);
        if (slot == 0 || (slot & INDEX_PTR_MASK) == INDEX_TOMB)
            continue;
        size_t at = (size_t)entry_hash(slot & INDEX_PTR_MASK) & mask;
        while (atomic_load_explicit(&to->slots[at], memory_order_relaxed) != 0)
            at = (at + 1) & mask;
        atomic_store_explicit(&to->slots[at], slot, memory_order_relaxed);
    }
    cache_account_charge(ix->account, table_charge(fresh));
    cache_account_release(ix->account, table_charge(word));
    atomic_store_explicit(&ix->table, fresh, memory_order_release);
    ix->tombs = 0;
    rcu_free_later(&from->grave, table_free, from->grave.obj);
    return true;
}

/* The slot that holds the key, or NULL with *free_slot where it would go. */
static _Atomic uint64_t *index_locate(struct cache_index *ix, uint64_t hash, slice_t key,
                                      _Atomic uint64_t **free_slot)
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

bool cache_index_put(struct cache_index *ix, cache_entry_t e, cache_entry_t *old)
{
    uint64_t hash = entry_hash(e);
    _Atomic uint64_t *free_slot;
    _Atomic uint64_t *slot = index_locate(ix, hash, entry_key(e), &free_slot);
    *old = 0;
    if (slot != NULL) {
        *old = atomic_load_explicit(slot, memory_order_relaxed) & INDEX_PTR_MASK;
        atomic_store_explicit(slot, slot_of(e, hash), memory_order_release);
        return true;
    }
    size_t slots = table_slots(atomic_load_explicit(&ix->table, memory_order_relaxed));
    if ((ix->live + ix->tombs + 1) * 16 > slots * 13) {
        /* Without memory for a larger array the old one is used up, but for the one empty slot that ends a
         * probe. */
        if (!index_rebuild(ix, ix->live + 1) && ix->live + ix->tombs + 2 > slots)
            return false;
        index_locate(ix, hash, entry_key(e), &free_slot);
    }
    if (atomic_load_explicit(free_slot, memory_order_relaxed) != 0)
        ix->tombs--;
    atomic_store_explicit(free_slot, slot_of(e, hash), memory_order_release);
    ix->live++;
    return true;
}

bool cache_index_remove(struct cache_index *ix, cache_entry_t e)
{
    _Atomic uint64_t *free_slot;
    _Atomic uint64_t *slot = index_locate(ix, entry_hash(e), entry_key(e), &free_slot);
    if (slot == NULL || (atomic_load_explicit(slot, memory_order_relaxed) & INDEX_PTR_MASK) != e)
        return false;
    atomic_store_explicit(slot, INDEX_TOMB, memory_order_release);
    ix->live--;
    ix->tombs++;
    size_t slots = table_slots(atomic_load_explicit(&ix->table, memory_order_relaxed));
    if (slots > ((size_t)1 << INDEX_MIN_LOG2) && ix->live * 8 < slots)
        index_rebuild(ix, ix->live);
    return true;
}

size_t cache_index_scan(const struct cache_index *ix, size_t *cursor, cache_entry_t *out, size_t max)
{
    uint64_t word = atomic_load_explicit(&ix->table, memory_order_acquire);
    const struct index_table *t = table_of(word);
    size_t slots = table_slots(word), n = 0, i = *cursor;
    for (size_t seen = 0; i < slots && seen < max; i++, seen++) {
        uint64_t slot = atomic_load_explicit(&t->slots[i], memory_order_acquire);
        if (slot != 0 && (slot & INDEX_PTR_MASK) != INDEX_TOMB)
            out[n++] = slot & INDEX_PTR_MASK;
    }
    *cursor = i >= slots ? 0 : i;
    return n;
}
