/* seat.h: the instances that the servers of a pool stand on: one for an address, as many as a name has
 * addresses, and one without an address for a name that does not resolve yet. Control thread only; workers
 * see what pool_rebuild makes of them. */
#ifndef BALANCER_SEAT_H
#define BALANCER_SEAT_H

#include "balancer/sticky.h"
#include "core/net.h"

struct instance;
struct member;
struct pool;

struct seat {
    struct member *member;
    struct instance *instance;  /* a reference */
    bool fresh;                 /* the last change of its member brought it */
    char pin[STICKY_CHARS + 1]; /* the cookie's value; "" without sticky_cookie */
};

/* Lies in its pool; in the order of the members. */
struct seats {
    struct seat *items;
    size_t count;
};

/* From now on `m` stands on these addresses; without any on an instance that is down. `left`: the seats it
 * has lost, for seats_clear. False: out of memory; nothing has changed. */
bool seats_change(struct pool *p, struct member *m, const struct net_addr *addresses, size_t count,
                  struct seats *left);
void seats_clear(struct seats *s);

/* The first seat of a member, and the next one; NULL: there is none. */
struct seat *seats_first(const struct seats *s, const struct member *m);
struct seat *seats_next(const struct seats *s, const struct seat *seat);

#endif
