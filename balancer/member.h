/* member.h: one `server` line of a pool: the weight, the addresses of its name, and the instance it stands on
 * now. Control thread only; the instance is read by pool_rebuild. */
#ifndef BALANCER_MEMBER_H
#define BALANCER_MEMBER_H

#include "balancer/instance.h"
#include "balancer/order.h"
#include "core/resolve.h"
#include "config/config.h"

#define MEMBER_RESOLVE_MS       30000 /* between lookups of a name that resolves */
#define MEMBER_RESOLVE_AGAIN_MS 2000  /* of one that does not, or whose instance is down */

struct pool;

/* Lies in its pool. */
struct member {
    /* set once */
    struct pool *pool;
    const struct config_server *config; /* of the set's snapshot */
    bool is_name;                       /* `address` has a host name: looked up */
    slice_t host;
    uint16_t port;
    /* control thread */
    struct instance *instance;  /* a reference */
    const struct order *order;  /* about it, or NULL */
    bool active;                /* of the active set: probed and looked up again */
    bool retired;               /* taken out of the pool, which requests of an older set still use */
    struct net_addr *addresses; /* of the name; owned */
    size_t address_count, address_at;
    size_t untried; /* addresses that a starting instance may still move on to */
    bool lookup_failed;
    struct resolve_job *job;
    struct deadline resolve_at;
};

static inline bool member_is_drained(const struct member *m)
{
    return m->retired || (m->order != NULL && m->order->drained);
}

static inline int member_weight(const struct member *m)
{
    bool ordered = m->order != NULL && m->order->weight != ORDER_WEIGHT_CONFIGURED;
    return ordered ? m->order->weight : m->config->weight;
}

/* Is it given new requests, as long as its instance is usable? */
static inline bool member_is_taking(const struct member *m)
{
    return member_weight(m) > 0 && !member_is_drained(m);
}

/* With the instance of a literal address, or of one that does not resolve yet. False: out of memory. */
bool member_init(struct member *m, struct pool *p, const struct config_server *config);
void member_clear(struct member *m);

/* For a set that is being built. */
void member_copy_addresses(struct member *m, const struct member *from); /* same server in an older set */
void member_start_lookup(struct member *m);                              /* answered by mail, or: */
bool member_wait_lookup(struct member *m, mono_ms_t until_ms); /* false: out of memory for an instance */

void member_activate(struct member *m);
/* Stops looking up; the instance's probe is the caller's, who knows whether another set goes on with it. */
void member_deactivate(struct member *m);

/* Its pool speaks TLS in another way: so does the probe from its next question on. */
void member_renew_probe(struct member *m);

/* Its instance, starting or down, cannot be reached: stand on the name's next address, if there is one. */
void member_on_unreachable(struct member *m);

#endif
