/* upstream_pool.h: idle keep-alive connections to instances: per worker first, then a shared spill.
 *
 * A worker keeps its idle connections in a list, most recently used first, and reuses its own before anybody
 * else's. When it holds more than its share for an instance, the surplus goes to the spill: descriptors
 * bound to no event loop, under one lock, from which any worker that has none may take one. So reuse does not
 * fall as workers are added, and the lock is touched only when the own list is empty or full. */
#ifndef PROXY_UPSTREAM_POOL_H
#define PROXY_UPSTREAM_POOL_H

#include "core/clock.h"
#include "core/list.h"
#include "core/lock.h"

struct instance;
struct tls_target;
struct proxy_worker;
struct upstream_conn;

/* Idle connections of one worker. Owner thread only. */
struct upstream_pool {
    struct list idle; /* struct upstream_conn, most recently used first */
    unsigned count;
    struct list shared; /* h2_client.node: those by HTTP/2, idle or not */
};

/* The shared part; owned by the server. */
struct upstream_spill;
struct upstream_spill *upstream_spill_create(void);
void upstream_spill_destroy(struct upstream_spill *s); /* closes what is left */

void upstream_pool_init(struct upstream_pool *p);

/* An idle plain connection to `i`, registered with this worker's loop, or NULL: one that the instance surely
 * keeps (instance_idle_ms). For a request that is not `repeatable` it has just been looked at. */
struct upstream_conn *upstream_pool_take(struct proxy_worker *pw, struct instance *i, bool repeatable);
/* The same of those that speak TLS by these settings. */
struct upstream_conn *upstream_pool_take_tls(struct proxy_worker *pw, struct instance *i,
                                             const struct tls_target *tls, bool repeatable);
/* Keeps `u` (whose exchange is over) for later, or closes it when `max_idle` is reached or the worker drains.
 */
void upstream_pool_put(struct proxy_worker *pw, struct upstream_conn *u, unsigned max_idle,
                       dur_ms_t idle_timeout_ms);
/* `u` leaves the pool because it is being closed. */
void upstream_pool_forget(struct proxy_worker *pw, struct upstream_conn *u);
void upstream_pool_close_all(struct proxy_worker *pw);
/* The idle ones to instances that are not used any more (instance_is_retired), those in the spill too; who is
 * shared takes no more calls. */
void upstream_pool_close_retired(struct proxy_worker *pw);

#endif
