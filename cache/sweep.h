/* sweep.h: takes the memory of purged objects back, in a thread of its own, behind the log of invalidations.
 *
 * A pass looks at every stored object once, without lock, evaluates the events it has not seen and unlinks
 * what is gone, a few at a time under their shard's lock, so that nobody waits for it longer than that takes.
 * What stays is moved up to the log's head, so that neither later look-ups nor a floor that rises concern it.
 * Nothing depends on passes but memory: a purged object is not served whether it was swept or not. */
#ifndef CACHE_SWEEP_H
#define CACHE_SWEEP_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "core/base.h"

struct cache;

/* Owned by the cache. */
struct cache_sweeper {
    pthread_t thread;
    sem_t wake;
    bool runs; /* control thread */
    /* atomic */
    _Atomic bool stop;
    _Atomic uint64_t wanted_id; /* events up to here are to be swept */
    _Atomic uint64_t swept_id;  /* what was stored before is checked up to here */
};

/* Control thread. false when there can be no thread. */
bool cache_sweeper_start(struct cache *c);
/* Idempotent. Tests that step by hand stop it first. */
void cache_sweeper_stop(struct cache *c);

/* Events up to `id` have made objects unusable. Any thread. */
void cache_sweep_ask(struct cache *c, uint64_t id);

/* A pass, step by step; begin with all zero but `target_id`, the log's head. */
struct cache_sweep {
    uint64_t target_id;
    unsigned shard, restarts;
    size_t cursor;
    uint32_t moves; /* of the index, when the cursor began */
};
/* Looks at some slots; false when the pass has come to its end. On a thread registered with RCU. */
bool cache_sweep_step(struct cache *c, struct cache_sweep *s);

#endif
