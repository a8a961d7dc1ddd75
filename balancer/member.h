/* member.h: one `server` line of a pool: its weight, the addresses of its name, and the lookups that keep
 * them true. The instances it stands on are seats of the pool (pool.h). Control thread only. */
#ifndef BALANCER_MEMBER_H
#define BALANCER_MEMBER_H

#include "balancer/instance.h"
#include "balancer/order.h"
#include "config/config.h"
#include "core/dns_lookup.h"

/* Between lookups of a name: as long as its addresses hold (their TTL), within these. */
#define MEMBER_RESOLVE_MIN_MS   1000
#define MEMBER_RESOLVE_MAX_MS   30000
#define MEMBER_RESOLVE_AGAIN_MS 2000 /* at most, of one that does not resolve or has no usable instance */

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
    size_t seat_count;         /* of the pool's; 0 only until it was looked up first */
    const struct order *order; /* about it, or NULL */
    bool active;               /* of the active set: probed and looked up again */
    bool retired;              /* taken out of the pool, which requests of an older set still use */
    /* What the name stands for, IPv4 first; owned. It is used in groups, one at a time: with `resolve = one`
     * each address is one, else all of a family. */
    struct net_addr *addresses;
    size_t address_count;
    size_t group_at; /* the first address of the group in use */
    size_t untried;  /* groups that a starting server may still move on to */
    dur_ms_t ttl_ms;
    mono_ms_t due_ms; /* of an older set's member: when the next lookup was due; 0: nothing was */
    bool lookup_failed;
    struct dns_lookup *lookup;
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

/* Are its instances given new requests, as long as they are usable? */
static inline bool member_is_taking(const struct member *m)
{
    return member_weight(m) > 0 && !member_is_drained(m);
}

/* Of a name all addresses of which are used. */
static inline bool member_has_several(const struct member *m)
{
    return m->is_name && !m->config->resolve_one;
}

/* With a seat for a literal address, none yet for a name. False: out of memory. */
bool member_init(struct member *m, struct pool *p, const struct config_server *config);
void member_clear(struct member *m);

/* For a set that is being built, or is not the active one. */
void member_copy_addresses(struct member *m, const struct member *from); /* same server in another set */
void member_start_lookup(struct member *m);                              /* answered in the loop, or: */
bool member_wait_lookup(struct member *m, mono_ms_t until_ms); /* false: out of memory for an instance */

void member_activate(struct member *m);
/* Stops looking up; the probes are the caller's, who knows whether another set goes on with them. */
void member_deactivate(struct member *m);

/* Its pool speaks TLS in another way: so do its probes from their next questions on. */
void member_renew_probe(struct member *m);

/* One of its instances, starting or down, cannot be reached. When none can, it moves on to the next group of
 * addresses, if there is one. */
void member_on_unreachable(struct member *m);

#endif
