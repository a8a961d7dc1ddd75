/* order.h: what operators order about servers while the program runs: that one gets nothing new, or has
 * another weight than the ini file says.
 *
 * An order is about a server of a pool by their names, so it outlives reloads and changes of the server's
 * address; it ends when it is taken back, when the configuration no longer has the server, or with the
 * process. It is apart from the health of instances, which goes on being judged: who is taken back into use
 * is in the state that its probes have found meanwhile. Control thread only. */
#ifndef BALANCER_ORDER_H
#define BALANCER_ORDER_H

#include "core/clock.h"
#include "core/list.h"

struct pool;

#define ORDER_WHO_BYTES         64
#define ORDER_WEIGHT_CONFIGURED (-1)

/* Owned by the list; members of every set that still lives point to it, so it stays until the end. */
struct order {
    struct list node;
    bool drained;
    int weight; /* or ORDER_WEIGHT_CONFIGURED */
    wall_ms_t drained_ms;
    char who[ORDER_WHO_BYTES]; /* drained it */
    const char *server;        /* behind `pool`, in the same allocation */
    char pool[];
};

/* The order about that server, made when there is none. NULL when out of memory. */
struct order *order_obtain(struct list *orders, const char *pool, const char *server);
/* Lets the members of `p` find what was ordered about them. Who picks from it is rebuilt by the caller. */
void orders_apply(const struct list *orders, struct pool *p);
/* Takes back what concerns servers that none of these pools has. */
void orders_keep_known(struct list *orders, struct pool *const *pools, size_t count);
void orders_free(struct list *orders);

#endif
