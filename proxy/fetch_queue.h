/* fetch_queue.h: the wait for an instance of a pool with max_connections. Worker's thread. */
#ifndef PROXY_FETCH_QUEUE_H
#define PROXY_FETCH_QUEUE_H

#include "proxy/exchange.h"

/* Takes an instance into x->instance. Or none is free, and FETCH_NONE is said all the same: then x->queued is
 * set, and phase_fetch_granted or phase_fetch_failed follows. */
enum fetch_error fetch_queue_pick(struct exchange *x);

/* It waits no longer, if it did: its client has left, or the time is over. */
void fetch_queue_leave(struct exchange *x);

/* Its wait_deadline came while it waited: FETCH_NONE when it goes on waiting, else why it does not any more.
 */
enum fetch_error fetch_queue_expire(struct exchange *x);
/* Seconds after which a client for whom no instance was to be had may try again; 0: that was not what
 * happened. */
uint64_t fetch_queue_retry_after_s(const struct exchange *x);

#endif
