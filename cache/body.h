/* body.h: the body of a larger object, or of one whose length was not announced: a list of chunks that grows
 * while it is filled and is shared, by reference, by all objects that a 304 makes from it.
 *
 * One filler (the flight's leader) appends; any number of readers read what is below `filled`. Chunks grow
 * from 16 KB to 1 MB with what has come, so an announced 1 MB is four pieces. A body that outgrew the limits
 * is read through a sliding window: cache_body_trim drops the chunks below the slowest reader. Readers walk
 * the list inside an RCU section, so trimming needs no lock against them; offsets stay absolute. */
#ifndef CACHE_BODY_H
#define CACHE_BODY_H

#include <stdatomic.h>
#include <sys/uio.h>

#include "cache/account.h"
#include "core/rcu.h"

#define CACHE_CHUNK_MIN (16 * KB)
#define CACHE_CHUNK_MAX (1 * MB)

/* FILLING -> COMPLETE | CUT, set by the filler. */
enum cache_fill_state { CACHE_FILLING = 0, CACHE_COMPLETE = 1, CACHE_CUT = 2 };

/* Owned by the list; data is a block of its own so that it fills the allocator's size classes exactly. */
struct cache_chunk {
    _Atomic(struct cache_chunk *) next;
    char *data;
    uint64_t start; /* offset of data[0] in the body */
    size_t bytes;   /* capacity */
    size_t charge;  /* with the rounding, this struct included */
    struct rcu_grave grave;
};

/* Lives until the last reference goes. */
struct cache_body {
    /* set once */
    int64_t announced_bytes; /* -1 unknown */
    uint8_t account;
    /* filler */
    struct cache_chunk *last;
    /* atomic */
    _Atomic uint32_t refs;
    _Atomic uint8_t state; /* enum cache_fill_state */
    _Atomic(struct cache_chunk *) first;
    _Atomic uint64_t filled;
    _Atomic size_t charge; /* all chunks and this struct */
};

/* One reference; NULL when out of memory. Takes over the charge of cache_body_base_bytes(), which the caller
 * has reserved. */
struct cache_body *cache_body_create(struct cache_account *a, int64_t announced_bytes);
size_t cache_body_base_bytes(void);
struct cache_body *cache_body_ref(struct cache_body *b);
void cache_body_unref(struct cache_body **b);

/* Filler: unused room at the end, 0 when a new chunk is needed. */
char *cache_body_room(struct cache_body *b, size_t *room);
/* The size a new chunk should have, and what it will cost. */
size_t cache_body_next_chunk(const struct cache_body *b, size_t *charge);
/* Appends a chunk whose charge the caller has reserved; false when out of memory (the reservation stays his).
 */
bool cache_body_add_chunk(struct cache_body *b, size_t bytes, size_t charge);
void cache_body_commit(struct cache_body *b, size_t n);
/* Nothing will come but the `more` bytes that are there and not committed yet: gives back what the last chunk
 * has too much, where the allocator can. */
void cache_body_seal(struct cache_body *b, size_t more);
/* Ends the filling. */
void cache_body_end(struct cache_body *b, enum cache_fill_state state);
/* Drops whole chunks below `offset`, never the one being filled. Filler or readers, under the flight's lock.
 */
void cache_body_trim(struct cache_body *b, uint64_t offset);

/* Any thread holding a reference or inside an RCU section. */
size_t cache_body_iov(const struct cache_body *b, uint64_t offset, struct iovec *iov, size_t max);

#endif
