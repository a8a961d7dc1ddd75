/* index.h: the table of one shard: whole key -> stored object or Vary marker.
 *
 * An open-addressing array of 64-bit slots: a pointer, its kind in the low bits, and 16 bits of the hash in
 * the high ones, so that a probe that goes wrong reads no foreign memory: a look-up touches one line of slots
 * and then the entry itself. Readers probe inside an RCU section, without lock; writers hold the shard's
 * lock. Growing, shrinking and sweeping out tombstones is one operation, a move to a new array: each change
 * takes some slots along, so that no change holds the lock for long, however large the table is. Readers see
 * the new array when it is complete, by one store; the old one is freed after a grace period. Keys are
 * compared whole. Rejected: liburcu's lock-free hash table (a node per entry, two more cache lines per
 * look-up, and nothing that ThreadSanitizer can follow); moving all at once, which held the lock for 0.6 ms
 * with 16,000 entries. */
#ifndef CACHE_INDEX_H
#define CACHE_INDEX_H

#include "cache/marker.h"
#include "cache/object.h"

/* What a slot holds; 0 is nothing. */
typedef uint64_t cache_entry_t;
enum cache_entry_kind { CACHE_ENTRY_OBJECT = 0, CACHE_ENTRY_MARKER = 1 };

static inline cache_entry_t cache_entry_of_object(struct cache_object *o)
{
    return (uint64_t)(uintptr_t)o | CACHE_ENTRY_OBJECT;
}

static inline cache_entry_t cache_entry_of_marker(struct cache_marker *m)
{
    return (uint64_t)(uintptr_t)m | CACHE_ENTRY_MARKER;
}

static inline struct cache_object *cache_entry_object(cache_entry_t e)
{
    return e == 0 || (e & 7) != CACHE_ENTRY_OBJECT ? NULL : (struct cache_object *)(uintptr_t)e;
}

static inline struct cache_marker *cache_entry_marker(cache_entry_t e)
{
    return (e & 7) != CACHE_ENTRY_MARKER ? NULL : (struct cache_marker *)(uintptr_t)(e & ~(uint64_t)7);
}

/* Owned by its shard. */
struct cache_index {
    _Alignas(CACHE_LINE) _Atomic uint64_t table; /* array | log2(slots) << 48 */
    _Atomic uint32_t moves;                      /* to another array, ever; written before `table` */
    /* under the shard's lock */
    _Alignas(CACHE_LINE) struct cache_account *account;
    size_t live, tombs;
    uint64_t next; /* where the table moves to, a word like `table`; 0: nowhere */
    /* While it moves: slots of the next array that were cleared; slots of the array that were taken over;
     * tombstones in the next one. It holds what lies in the slots that were taken over, and nothing else. */
    size_t cleared, moved, next_tombs;
};

bool cache_index_open(struct cache_index *ix, struct cache_account *a);
/* Must be empty. */
void cache_index_close(struct cache_index *ix);

/* RCU section or the shard's lock. */
cache_entry_t cache_index_find(const struct cache_index *ix, uint64_t hash, slice_t key);
/* Under the lock: stores `e` under its own hash and key, in place of what was there (*old, 0 = nothing).
 * false (and nothing done) when out of memory. */
bool cache_index_put(struct cache_index *ix, cache_entry_t e, cache_entry_t *old);
/* Under the lock: takes out exactly `e`; false when it is not there. */
bool cache_index_remove(struct cache_index *ix, cache_entry_t e);
/* RCU section or the lock: the entries of at most `max` slots from slot *cursor on; *cursor moves on and is 0
 * after the last. It belongs to the array that it began with: another has its entries elsewhere. */
size_t cache_index_scan(const struct cache_index *ix, size_t *cursor, cache_entry_t *out, size_t max);

/* RCU section or the lock. Grows with each new array; the same before a scan and after a later one: both read
 * the same array. */
static inline uint32_t cache_index_moves(const struct cache_index *ix)
{
    return atomic_load_explicit(&ix->moves, memory_order_acquire);
}

#endif
