/* purge_twin.h: while one process takes the place of another, each answers from a cache of its own: what is
 * purged in one is purged in the other, before whoever asked for it hears that it is done (promise 2).
 *
 * The other then purges everything: it need not know what our keys mean, and its cache is either new or of no
 * use much longer. */
#ifndef PROXY_PURGE_TWIN_H
#define PROXY_PURGE_TWIN_H

#include <stdatomic.h>

#include "cache/purge.h"
#include "core/clock.h"

struct purge_twin {
    /* set before `tells` */
    struct cache_purge_watch watch;
    struct cache *cache; /* NULL: none */
    int fd;              /* the channel (core/handover.h), borrowed */
    mono_ms_t until_ms;  /* 0: to the end */
    /* atomic */
    atomic_bool tells;
    _Atomic unsigned inside;
    _Atomic mono_ms_t waits_from_ms; /* the other was too slow, and is not waited for until then */
};

/* From now on. `for_ms`, if not 0: how long the other answers requests from its cache at most. Control
 * thread, as the rest. */
void purge_twin_begin(struct purge_twin *t, struct cache *c, int fd, dur_ms_t for_ms);
/* No thread uses the channel any more. Also of one that has not begun. */
void purge_twin_end(struct purge_twin *t);
/* The other has purged something. */
void purge_twin_hear(const struct purge_twin *t);

#endif
