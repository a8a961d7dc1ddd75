/* pool.h: a pool of one snapshot: its members, and the view that workers pick from. */
#ifndef BALANCER_POOL_H
#define BALANCER_POOL_H

#include "balancer/balancer.h"
#include "balancer/instance.h"
#include "balancer/member.h"
#include "balancer/policy.h"
#include "balancer/retry.h"
#include "core/rcu.h"

#define POOL_MAGIC 0x504f4f4cu

/* What may be picked. Immutable; holds a reference on every instance it names; freed by RCU. */
struct pool_view {
    struct rcu_grave grave;
    struct policy_view *normal, *backup;
    size_t count;
    struct instance *instances[];
};

/* Owned by its set; made and changed on the control thread. */
struct pool {
    uint32_t magic;
    /* set once */
    const struct config_pool *config; /* of the set's snapshot */
    const struct policy *policy;
    struct instance_registry *registry;
    struct member *members;
    size_t member_count;
    /* control thread */
    bool stale; /* a view could not be built for want of memory */
    /* atomic; read under RCU */
    _Atomic(struct pool_view *) view;
    /* atomic, written by every worker */
    _Alignas(CACHE_LINE) _Atomic uint64_t turn;
    _Alignas(CACHE_LINE) struct retry_budget budget;
};

/* Names are not looked up yet, and there is no view: pool_rebuild comes after the members have instances.
 * NULL when out of memory. */
struct pool *pool_create(struct instance_registry *r, const struct config_pool *config);
/* No worker uses it any more. */
void pool_destroy(struct pool *p);
/* Builds the view anew from states and weights. False: out of memory; the old view stays and `stale` says so.
 */
bool pool_rebuild(struct pool *p);
/* The member that stands on this instance, or NULL. */
struct member *pool_member_of(struct pool *p, const struct instance *i);

#endif
