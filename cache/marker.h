/* marker.h: the index entry of a URL whose responses vary: the names that its Vary field lists (RFC 9111
 * section 4.1).
 *
 * It lies under the primary key; the variants lie under primary key, NUL, secondary key, in the same shard.
 * The marker knows its variants so that a purge, a new list of names, or a response without Vary frees them
 * at once. One more than [cache] max_variants drops the oldest.
 *
 * Names and key are set once; readers see them inside an RCU section. The list is under the shard's lock.
 * Ends when the last variant left and no flight of the URL is under way. */
#ifndef CACHE_MARKER_H
#define CACHE_MARKER_H

#include "cache/account.h"
#include "core/rcu.h"
#include "core/slice.h"

#define CACHE_MARKER_VARIANTS 256 /* the most that max_variants may be */

struct cache_object;

struct cache_marker {
    uint64_t hash; /* low half, of the primary key */
    uint16_t key_bytes, names_bytes;
    uint8_t account;
    bool warned; /* variants.h */
    uint32_t count, room;
    struct cache_object **variants; /* oldest first */
    struct rcu_grave grave;
    char text[]; /* key, names */
};

/* NULL when out of memory. Charges itself. */
struct cache_marker *cache_marker_create(struct cache_account *a, uint64_t hash, slice_t key, slice_t names);
/* After it left the index; it must have no variants. */
void cache_marker_retire(struct cache_marker *m);

/* false when out of memory; the caller has seen to the limit. */
bool cache_marker_add(struct cache_marker *m, struct cache_object *o);
void cache_marker_forget(struct cache_marker *m, const struct cache_object *o);

static inline slice_t cache_marker_key(const struct cache_marker *m)
{
    return slice_make(m->text, m->key_bytes);
}

static inline slice_t cache_marker_names(const struct cache_marker *m)
{
    return slice_make(m->text + m->key_bytes, m->names_bytes);
}

#endif
