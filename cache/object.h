/* object.h: one stored response as the cache's own files see it. The proxy sees cache.h only.
 *
 * One allocation: this struct, then key, Vary names, head, tags (when it has any), and (when that wastes less
 * in the allocator's size classes) a body of announced length up to 16 KB. Otherwise such a body is one block
 * of its own, and any other body is a cache_body. The struct is packed to 96 bytes because a 1 KB object may
 * cost at most 420 bytes beyond its body.
 *
 * Life: created by the leader of a flight (refs 1, his); filled; linked into the index, which then holds one
 * reference; unlinked; after an RCU grace period the index's reference goes. So inside an RCU section an
 * object that was found has refs >= 1. Freed with the last reference. */
#ifndef CACHE_OBJECT_H
#define CACHE_OBJECT_H

#include "cache/body.h"
#include "cache/cache.h"
#include "core/list.h"
#include "core/rcu.h"

enum cache_body_kind {
    CACHE_BODY_INLINE, /* behind the head */
    CACHE_BODY_OWNED,  /* one block, this object's */
    CACHE_BODY_SHARED  /* struct cache_body */
};

/* Where an object stands between index and eviction queues; under LOCK_CACHE_EVICT for SMALL and MAIN;
 * otherwise his who puts it into the index, under the shard's lock, or took it out of there.  NONE -> SMALL |
 * MAIN -> NONE -> GONE | GONE_BODY;  SMALL <-> MAIN. */
enum cache_object_place {
    CACHE_PLACE_NONE, /* not in the index yet, or just taken out of a queue */
    CACHE_PLACE_SMALL,
    CACHE_PLACE_MAIN,
    CACHE_PLACE_GONE,     /* unlinked, waiting for the grace period */
    CACHE_PLACE_GONE_BODY /* the same, and its body's charge went with it */
};

/* checked_id of an object that is being put into the index but not COMPLETE yet, under the shard's lock. */
#define CACHE_ID_UNSHOWN UINT64_MAX

#define CACHE_SMALL_BODY_MAX (16 * KB) /* INLINE or OWNED up to here, announced */
#define CACHE_FREQ_MAX       3
#define CACHE_SHARD_BITS     6

/* In checked_id: a soft purge concerned the object. The id is then that event's and stays, because it says
 * since when the object is stale; later events are looked for each time. */
#define CACHE_STALE_BIT ((uint64_t)1 << 63)

struct cache_object {
    _Atomic uint32_t refs;
    _Atomic uint32_t small_filled; /* INLINE, OWNED: bytes so far | enum cache_fill_state << 30 */
    uint64_t hash;                 /* low half of the hash of the whole key; set once */
    union {
        struct list queue;   /* LOCK_CACHE_EVICT; evict.c */
        struct rcu_head rcu; /* GONE */
    };
    _Atomic uint64_t checked_id; /* valid against invalidation events up to here | CACHE_STALE_BIT */
    union {                      /* set once */
        char *owned;
        struct cache_body *body;
    };
    /* set once */
    uint64_t response_ms : 42, status : 10, source : 3, revalidate_always : 1, never_stale : 1, kind : 2,
        early_code : 4;
    uint64_t corrected_initial_ms : 42, head_bytes : 16, shard : CACHE_SHARD_BITS;
    uint64_t lifetime_ms : 42, key_bytes : 16, keep_code : 5, has_tags : 1;
    uint32_t last_modified_s;
    uint32_t small_bytes; /* INLINE, OWNED: announced length */
    uint16_t primary_bytes, vary_bytes;
    uint16_t etag_at, etag_bytes, last_modified_at; /* in the head */
    uint16_t status_line_bytes;
    uint8_t last_modified_bytes, account;
    _Atomic uint8_t freq; /* hits since the last look of the evictor, at most CACHE_FREQ_MAX */
    uint8_t place;        /* enum cache_object_place */
    char text[];
};
_Static_assert(sizeof(struct cache_object) == 96, "the memory target per object depends on it");

/* What an object is made of; borrowed, copied. */
struct cache_object_parts {
    uint64_t hash;
    unsigned shard;
    slice_t key; /* whole: primary, and for a variant NUL and the secondary key */
    size_t primary_bytes;
    slice_t vary_names;
    const struct cache_fill *fill;
    int64_t body_bytes; /* announced, -1 unknown */
};

/* False when a part does not fit the packed form (head, key or names of 64 KB and more): such are not stored.
 */
bool cache_object_parts_fit(const struct cache_object_parts *p);
/* What it will cost before the first body chunk; with `body` shared from another object when `shares_body`.
 */
size_t cache_object_cost(const struct cache_object_parts *p, bool shares_body);
/* One reference. Takes over the charge of cache_object_cost(), which the caller has reserved. `body` (may be
 * NULL) is shared: a reference is taken. NULL when out of memory; the reservation then stays the caller's. */
struct cache_object *cache_object_create(struct cache_account *a, const struct cache_object_parts *p,
                                         struct cache_body *body);
/* What it costs now, its body only when no other object shares it. */
size_t cache_object_charge(const struct cache_object *o, bool with_body);

/* The small body's room (INLINE, OWNED). */
char *cache_object_small_body(struct cache_object *o);
void cache_object_commit_small(struct cache_object *o, size_t n);
/* The filler, at the end: nothing comes but `more` bytes that are there and not committed. The charge is
 * final then. */
void cache_object_seal(struct cache_object *o, size_t more);
/* Commits them and makes it COMPLETE. */
void cache_object_show(struct cache_object *o, size_t more);
/* FILLING -> `state`, for either kind; the filler, once. */
void cache_object_end(struct cache_object *o, enum cache_fill_state state);
enum cache_fill_state cache_object_state(const struct cache_object *o);

static inline slice_t cache_object_key(const struct cache_object *o)
{
    return slice_make(o->text, o->key_bytes);
}

static inline bool cache_object_is_variant(const struct cache_object *o)
{
    return o->key_bytes != o->primary_bytes;
}

/* The stored head with its hidden lines and their seal, as cache_fill takes it. */
static inline slice_t cache_object_whole_head(const struct cache_object *o)
{
    return slice_make(o->text + o->key_bytes + o->vary_bytes, o->head_bytes);
}

/* As it was stored; after a soft purge as if it had arrived at that moment with no lifetime left. */
struct cache_freshness cache_object_freshness(const struct cache_object *o);

/* Counts a use; writes nothing once the object is hot. */
static inline void cache_object_touch(struct cache_object *o)
{
    uint8_t f = atomic_load_explicit(&o->freq, memory_order_relaxed);
    if (f < CACHE_FREQ_MAX)
        atomic_store_explicit(&o->freq, (uint8_t)(f + 1), memory_order_relaxed);
}

/* After it left index and queue, by who took it out of the index: hands the index's reference to the
 * reclaimer. Returns what leaves `used` of its account. */
size_t cache_object_retire(struct cache_object *o);

#endif
