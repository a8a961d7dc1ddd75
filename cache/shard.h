/* shard.h: the parts of a cache and how they move together: index, markers, eviction queues and flights of a
 * shard.
 *
 * struct cache is seen by the cache's own files only. A URL, all its variants, its marker and its flights
 * live in one shard (chosen by the primary key's hash), so one lock covers whatever is decided about a URL.
 * The `_locked` functions expect that lock. */
#ifndef CACHE_SHARD_H
#define CACHE_SHARD_H

#include "cache/evict.h"
#include "cache/index.h"
#include "cache/inval_log.h"
#include "cache/pass.h"
#include "cache/sweep.h"

#define CACHE_SHARDS         (1u << CACHE_SHARD_BITS)
#define CACHE_FLIGHT_BUCKETS 64

/* Owned by the cache. */
struct cache_shard {
    struct cache_index index;
    struct lock lock;
    /* under the lock */
    struct list flights[CACHE_FLIGHT_BUCKETS]; /* by the primary key's hash; those that may be joined */
    size_t objects;
    uint64_t inserts, evictions;
    /* atomic */
    _Atomic size_t sweep_cursor; /* where those who make room look next */
    _Atomic uint64_t swept;      /* what they found dead; with `evictions`, all that made room */
};

struct cache_no_vary_table;
struct cache_stream_queue;

struct cache {
    /* set once */
    uint32_t magic;
    size_t fixed_bytes; /* tables that exist as long as the cache */
    struct cache_pass *pass;
    struct cache_stream_queue *stream; /* events go there as well; NULL: nowhere. Borrowed */
    /* atomic */
    _Atomic size_t max_waiters;
    _Atomic unsigned max_variants;
    _Atomic mono_ms_t variants_warned_ms; /* variants.h */
    _Atomic unsigned sweep_shard;
    _Atomic uint64_t flights_now, followers_now, purges;
    _Atomic bool keys_have_parts; /* some key was more than a URL: an exact URL may name several */
    _Atomic(struct cache_no_vary_table *) no_vary;   /* no_vary_table.h; NULL until a rule is stated */
    _Atomic(const struct cache_purge_watch *) watch; /* borrowed; NULL: nobody */
    struct cache_sweeper sweeper;
    struct cache_account account;
    struct cache_inval_log inval;
    struct cache_evict evict;
    struct cache_shard shards[CACHE_SHARDS];
};

#define CACHE_MAGIC 0x63616368u

static inline struct cache_shard *cache_shard_of(struct cache *c, hash128_t primary)
{
    return &c->shards[primary.hi % CACHE_SHARDS];
}

static inline struct list *cache_shard_flights(struct cache_shard *sh, hash128_t primary)
{
    return &sh->flights[(primary.hi >> 32) % CACHE_FLIGHT_BUCKETS];
}

/* The whole key of a variant: primary, NUL, secondary key of `request` under `names`, in `scratch`. false
 * when it is too large or memory is short. */
bool cache_variant_key(struct arena *scratch, slice_t primary, slice_t names, const struct http_head *request,
                       struct cache_key *out);

/* Makes the object findable (complete, or CACHE_ID_UNSHOWN), in place of what had its key; creates or
 * replaces the marker when it is a variant. The index takes a reference of its own. STORED or NO_MEMORY. */
enum no_store_reason cache_shard_insert_locked(struct cache *c, struct cache_shard *sh,
                                               struct cache_object *o);
/* Puts a marker with these names at the primary key, unless it is there; what else was there is freed. The
 * marker may be without variants: cache_shard_tidy_locked ends that. NULL when out of memory. */
struct cache_marker *cache_shard_mark_locked(struct cache *c, struct cache_shard *sh, uint64_t primary_hash,
                                             slice_t primary, slice_t names);
/* Takes the object out of index, marker and queue; false when it no longer is in the index. */
bool cache_shard_unlink_locked(struct cache *c, struct cache_shard *sh, struct cache_object *o);
/* No lock held, in the RCU section in which they were found: the same for those of them that still are in the
 * index, a few under each hold of a lock. Who waits for the lock of the shard waits for the index alone.
 * Without `waits` it stops where the lock of the shard is not to be had. Returns how many. */
size_t cache_shard_unlink_some(struct cache *c, struct cache_shard *sh, struct cache_object *const *all,
                               size_t n, bool waits);
/* Removes what is stored for a URL, all variants; returns how many objects. */
size_t cache_shard_drop_url_locked(struct cache *c, struct cache_shard *sh, uint64_t primary_hash,
                                   slice_t primary);
/* Moves what is stored for a URL, all variants, up to the log's head; returns how many objects there are. */
size_t cache_shard_check_url_locked(struct cache *c, struct cache_shard *sh, uint64_t primary_hash,
                                    slice_t primary);
/* Removes the URL's marker when it has no variants and no flight of the URL can be joined. */
void cache_shard_tidy_locked(struct cache *c, struct cache_shard *sh, hash128_t primary_hash,
                             slice_t primary);
/* A flight of this URL is in the table (flight.c). */
bool cache_flight_is_in_table_locked(struct cache_shard *sh, hash128_t primary_hash, slice_t primary);

/* No lock held: charges `bytes`, making room for them when needed: a few slots of the index are swept for
 * purged and expired objects, then S3-FIFO. false when that is not possible; *busy (may be NULL): it may be
 * in a moment, since another thread makes room, or much memory is on its way through a grace period. */
bool cache_reserve(struct cache *c, size_t bytes, bool *busy);
/* No lock held: an allocation of `bytes` failed although the account has room. Evicts some, so that whoever
 * comes after the grace period finds memory. */
void cache_give_way(struct cache *c, size_t bytes);
/* No lock held: evicts until the account is within its limit. */
void cache_shrink(struct cache *c);
/* No lock held: removes everything. */
void cache_clear(struct cache *c);

#endif
