/* pool.h: a pool of one snapshot: its members, and the view that workers pick from. */
#ifndef BALANCER_POOL_H
#define BALANCER_POOL_H

#include "balancer/balancer.h"
#include "balancer/instance.h"
#include "balancer/member.h"
#include "balancer/policy.h"
#include "balancer/pool_tls.h"
#include "balancer/retry.h"
#include "balancer/seat.h"
#include "core/rcu.h"

#define POOL_MAGIC 0x504f4f4cu

/* Where the visitors go that have this cookie. */
struct pool_pin {
    uint32_t id;               /* of the instance: the pin of pool_affinity */
    struct instance *instance; /* NULL: takes no visitors, not even its own */
    char value[STICKY_CHARS];
};

/* What may be picked. Immutable; holds a reference on every instance it names; freed by RCU. */
struct pool_view {
    struct rcu_grave grave;
    struct policy_view *normal, *backup;
    struct pool_pin *pins; /* as many; NULL without sticky_cookie */
    size_t count;
    struct instance *instances[];
};

/* Owned by its set; made and changed on the control thread. */
struct pool {
    uint32_t magic;
    /* set once */
    const struct config_pool *config; /* of the set's snapshot */
    const struct policy *policy;
    bool timed;   /* as the policy is */
    bool limited; /* there is a server with max_connections */
    struct instance_registry *registry;
    struct pool_tls tls; /* locks itself */
    struct member *members;
    size_t member_count;
    const struct sticky_key *sticky_key; /* known with sticky_cookie; outlives the pool */
    /* control thread */
    struct seats seats;  /* the instances of the members */
    bool stale;          /* a view could not be built for want of memory */
    bool ramping;        /* an instance has less than its share, since it came back: slow_start */
    struct queue *queue; /* its instances'; set before the first view, NULL without any */
    /* atomic; read under RCU */
    _Atomic(struct pool_view *) view;
    /* atomic, written by every worker */
    _Alignas(CACHE_LINE) _Atomic uint64_t turn;
    _Alignas(CACHE_LINE) struct retry_budget budget;
};

/* Names are not looked up yet, and there is no view: pool_rebuild comes after the members have instances.
 * NULL when out of memory. */
struct pool *pool_create(struct instance_registry *r, const struct config_pool *config,
                         const struct sticky_key *key);
/* No worker uses it any more. */
void pool_destroy(struct pool *p);
/* Builds the view anew from states and weights. False: out of memory; the old view stays and `stale` says so.
 */
bool pool_rebuild(struct pool *p);
/* Tells its instances, as those of the active set, what they take, and gives them to those who wait. */
void pool_open(struct pool *p);
/* Between two rebuilds of a pool that is `ramping`. */
dur_ms_t pool_ramp_step_ms(const struct pool *p);
/* Percent of its weight that an instance has now. */
unsigned pool_share_percent(const struct pool *p, const struct instance *i);
/* As balancer_each_instance. */
void pool_each_instance(const struct pool *p, void (*each)(void *arg, const struct instance_info *info),
                        void *arg);
/* The seat of this instance, or NULL; and its member. */
struct seat *pool_seat_of(struct pool *p, const struct instance *i);
struct member *pool_member_of(struct pool *p, const struct instance *i);

#endif
