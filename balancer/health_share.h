/* health_share.h: one prober for all instances that stand for the same address and ask it the same.
 *
 * An address that is in many pools is then probed as often as it would be for one. Only pools that mean the
 * very same question share, interval and all: an answer to another one would say something else. Each
 * instance judges the answers by its own rise and fall. Control thread only. */
#ifndef BALANCER_HEALTH_SHARE_H
#define BALANCER_HEALTH_SHARE_H

#include "balancer/health_probe.h"
#include "core/list.h"

struct health_prober;

/* Of the process; lives in the registry of instances. */
struct health_probers {
    struct worker *control;
    struct list all;
};

/* One who wants to know; lies in its instance. */
struct health_share {
    /* set once */
    struct health_probers *probers;
    const struct net_addr *addr;
    void (*on_result)(struct health_share *s, const struct health_result *result);
    /* while it is started */
    struct health_prober *prober; /* NULL: it is not */
    struct list node;             /* in the prober's */
    struct health_settings settings;
    uint64_t told; /* the prober's result it has heard last */
};

void health_probers_init(struct health_probers *all, struct worker *control);
/* `on_result` may start and stop any share, its own too. */
void health_share_init(struct health_share *s, struct health_probers *probers, const struct net_addr *addr,
                       void (*on_result)(struct health_share *s, const struct health_result *result));
/* As health_probe_start; false: out of memory, and it is not started. */
bool health_share_start(struct health_share *s, const struct health_settings *settings, dur_ms_t delay_ms);
void health_share_stop(struct health_share *s);
void health_share_hurry(struct health_share *s);
/* For tests; NULL when it is not started. */
struct health_probe *health_share_probe(const struct health_share *s);

#endif
