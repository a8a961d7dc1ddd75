/* pool_info.c: what people are shown of a pool's instances. Control thread; the figures are those of the
 * moment and not of one moment. */
#include <stdio.h>

#include "balancer/pool.h"

#define POOL_REASON_BYTES (INSTANCE_REASON_BYTES + ORDER_WHO_BYTES + 64)

/* What is learned counts only where it is less than the pool's own idle_timeout. */
static void info_idle(struct instance_info *info, const struct pool *p, const struct instance *i)
{
    static const char *const names[] = {
        [IDLE_LIMIT_UNKNOWN] = "", [IDLE_LIMIT_TOLD] = "announced", [IDLE_LIMIT_SEEN] = "observed"};
    mono_ms_t now_ms = worker_current_ms();
    dur_ms_t ms = idle_limit_ms(&i->idle_limit, now_ms);
    bool counts = ms < p->config->idle_timeout_ms;
    info->idle_ms = counts ? ms : 0;
    info->idle_from = counts ? names[idle_limit_from(&i->idle_limit, now_ms)] : "";
}

static struct instance_info info_of(const struct pool *p, const struct seat *s, char *reason)
{
    const struct member *m = s->member;
    struct instance *i = s->instance;
    bool drained = member_is_drained(m);
    if (drained)
        snprintf(reason, POOL_REASON_BYTES, "by %s; it is %s: %s", m->order->who,
                 instance_state_name(instance_state(i)), i->reason);
    return (struct instance_info){
        .pool = p->config->name,
        .name = i->shown,
        .server = m->config->name,
        .address = i->addr.len > 0 ? i->addr_text : m->config->address,
        .state = drained ? INSTANCE_DRAINING : instance_state(i),
        .reason = drained ? reason : i->reason,
        .since_ms = drained ? m->order->drained_ms : i->since_ms,
        .weight = member_weight(m),
        .configured_weight = m->config->weight,
        .backup = m->config->backup,
        .added = m->config->added,
        .max_connections = m->config->max_connections,
        .waiting = queue_length(i->queue),
        .in_flight = instance_in_flight(i),
        .requests = atomic_load_explicit(&i->requests, memory_order_relaxed),
        .failures = atomic_load_explicit(&i->failures, memory_order_relaxed),
        .probes_ok = i->probes_ok,
        .probes_failed = i->probes_failed,
        .ejections = i->passive.ejections,
        .balance = p->policy->name,
        .sticky_cookie = p->config->sticky_cookie,
        .share_percent = pool_share_percent(p, i),
        .spared = passive_spared_text(i->passive.spared),
    };
}

void pool_each_instance(const struct pool *p, void (*each)(void *arg, const struct instance_info *info),
                        void *arg)
{
    const bool some_leave = instance_leaving(p->registry, NULL, NULL) > 0; /* hardly ever */
    for (size_t n = 0; n < p->seats.count; n++) {
        char reason[POOL_REASON_BYTES];
        struct instance_info info = info_of(p, &p->seats.items[n], reason);
        info_idle(&info, p, p->seats.items[n].instance);
        info.leaving = some_leave ? instance_leaving(p->registry, info.pool, info.server) : 0;
        each(arg, &info);
    }
}
