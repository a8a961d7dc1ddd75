/* resolve.h: host names to addresses without ever blocking a loop.
 *
 * A lookup is one getaddrinfo on a short-lived thread of its own, answered by mail to the worker that asked,
 * on whose thread all functions are called. */
#ifndef CORE_RESOLVE_H
#define CORE_RESOLVE_H

#include "core/net.h"
#include "core/slice.h"
#include "core/worker.h"

#define RESOLVE_MAX_ADDRESSES 64

/* Borrowed during the callback; the taker of resolve_wait owns `addresses`. */
struct resolve_answer {
    struct net_addr *addresses; /* IPv4 first, else in the order of the system; malloc */
    size_t count;               /* 0: see `error` */
    const char *error;          /* static text, NULL when there are addresses */
};

struct resolve_job;

/* Starts a lookup. `on_done` runs on that thread unless the job is cancelled or waited for first.
 * NULL when no thread or memory is to be had. */
struct resolve_job *resolve_start(struct worker *worker, slice_t host, uint16_t port,
                                  void (*on_done)(void *arg, const struct resolve_answer *answer), void *arg);
/* Blocks until the answer is there or the clock shows `until_ms`. True: `answer` is set, the job is gone
 * (nulled) and on_done will not run. False: it goes on. */
bool resolve_wait(struct resolve_job **job, mono_ms_t until_ms, struct resolve_answer *answer);
/* The lookup may go on unseen; on_done will not run. Nulls; NULL is fine. */
void resolve_cancel(struct resolve_job **job);

#endif
