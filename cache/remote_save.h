/* remote_save.h: stored responses on their way to the store that nodes share.
 *
 * The client comes first: a response is queued when it has become whole, and the queue is looked at when the
 * turn of the loop is over. It is kept referenced, not copied, and each part is encoded when it is sent.
 * Chunks go first, then the head record, so that whoever finds that finds all; of a variant, the marker of
 * its URL last. Head records are written by who holds the lease of their key (lease.h), chunks while he does:
 * the lease under which the response was fetched, or one that is asked for now, and if another node has that,
 * his response will do. What goes wrong costs the record, and nothing else. Each part expires when the
 * response is of no more use.
 *
 * Where Redis is the only store, memory is the place where responses wait until they are there: from the
 * moment one is whole everybody finds it, and memory lets go of it when it is saved, or will not be.
 * Rejected: not putting it into the index at all. Between the last byte to a client and the answer of Redis
 * nobody would find it, and who asks in between would fetch it again. */
#ifndef CACHE_REMOTE_SAVE_H
#define CACHE_REMOTE_SAVE_H

#include "cache/remote.h"
#include "core/outcome.h"

#define CACHE_REMOTE_SAVES_MAX      1024      /* of a worker at a time; more are dropped */
#define CACHE_REMOTE_SAVE_BYTES_MAX (32 * MB) /* of their bodies, unless it is one alone */
#define CACHE_REMOTE_SAVES_ACTIVE   8         /* with commands under way */
#define CACHE_REMOTE_SAVES_PACKING  2         /* the same where they are packed, which takes time */
#define CACHE_REMOTE_SAVE_WINDOW    2         /* chunks of one under way */

/* Queues a complete object that is in the index; takes a reference of its own. `lease` is what the object was
 * fetched under, held, or NULL; it is taken over, *lease nulled, and ended whatever happens. Counts what
 * becomes of it. */
void cache_remote_save(struct cache_remote *r, struct cache_object *o, struct cache_lease **lease);
/* A response of which that much is known will not be kept there. */
bool cache_remote_is_unfit(const struct cache_remote *r, const struct cache_object_info *i);

/* An object in the index that is in Redis already, or not to go there: unless memory keeps objects, it is no
 * longer found. Who reads it goes on. */
void cache_remote_let_go(const struct cache_remote *r, struct cache_object *o);

/* remote.c: gives up all that are queued or under way. */
void cache_remote_end_saves(struct cache_remote *r);

#endif
