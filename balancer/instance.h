/* instance.h: one address of a pool's server: its health, load, and the registry that keeps it across
 * reloads.
 *
 * An instance is the same as long as pool name, server name and address are, and whether the server may have
 * more than one; weight and backup belong to the pool's entry. References: members, views, idle upstream
 * connections and mail in flight hold one each; a lease is counted in the same word (upper half), so picking
 * costs one atomic addition. */
#ifndef BALANCER_INSTANCE_H
#define BALANCER_INSTANCE_H

#include "balancer/balancer.h"
#include "balancer/health_passive.h"
#include "balancer/health_share.h"
#include "balancer/idle_limit.h"
#include "balancer/latency.h"
#include "balancer/queue.h"
#include "core/list.h"
#include "core/metrics.h"

#define INSTANCE_MAGIC        0x494e5354u
#define INSTANCE_REASON_BYTES 160

/* What may be given to it: queue.h. */
#define INSTANCE_TAKES_PINNED 1u /* who is pinned to it */
#define INSTANCE_TAKES_ANY    2u

enum instance_event {
    INSTANCE_EVENT_USABLE,      /* became usable or stopped being so */
    INSTANCE_EVENT_LOST,        /* behind USABLE: by failed probes */
    INSTANCE_EVENT_UNREACHABLE, /* a probe could not connect, and it is starting or down */
    INSTANCE_EVENT_SEATED,      /* its server stands on other instances than before; this is one of them */
    INSTANCE_EVENT_FAILING      /* it is up, and as many requests as `eject_after` failed in a row */
};

/* Control thread; lives in the balancer. */
struct instance_registry {
    struct worker *control;
    pthread_t control_thread;
    struct list instances;
    struct health_probers probers;
    uint32_t last_id;
    /* Runs inside the change. It may unwatch `i` and drop references: what dies on this thread is freed at
     * the end of the turn. */
    void (*on_event)(struct instance_registry *r, struct instance *i, enum instance_event e);
};

struct instance {
    uint32_t magic;
    /* set once */
    uint32_t id;
    uint16_t label;
    struct instance_registry *registry;
    char *title; /* "pool/shown"; one allocation with the three below */
    const char *pool_name, *name;
    const char *shown; /* the name, or "name@address" when it is `of_several` */
    bool of_several;
    struct net_addr addr; /* len 0: the name does not resolve */
    char addr_text[NET_ADDR_TEXT];
    struct queue *queue; /* of all instances of the pool; a reference */
    /* control thread */
    struct list node;
    struct health_share probe;
    int rise, fall;
    unsigned oks_in_row, fails_in_row;
    bool unreached; /* the last probe could not connect */
    uint64_t probes_ok, probes_failed;
    wall_ms_t since_ms;
    char reason[INSTANCE_REASON_BYTES];
    uint64_t watch_round; /* of the activation that watched it last */
    struct passive passive;
    mono_ms_t back_ms; /* when it came back; 0: it was never away. For slow_start */
    struct grave grave;
    /* atomic */
    _Atomic uint8_t state;        /* enum instance_state; written by instance_set_state only */
    _Atomic uint32_t watch_fall;  /* refusals in a row that mean down; 0: not probed, tell nobody */
    _Atomic uint32_t eject_after; /* failures in a row that are told; 0: none are */
    _Atomic uint8_t last_failure; /* enum fetch_error */
    _Atomic uint8_t takes;        /* INSTANCE_TAKES_..., by the active set */
    _Atomic bool mail_posted;
    struct idle_limit idle_limit;
    struct mail mail;                           /* trouble seen by a worker; holds a reference while posted */
    struct mail death_mail;                     /* the last reference went on another thread */
    _Alignas(CACHE_LINE) _Atomic uint64_t refs; /* leases << 32 | references */
    _Atomic uint32_t max_in_flight;             /* max_connections; 0: no limit */
    _Atomic uint64_t requests, failures;
    _Atomic uint32_t failures_in_row, refusals_in_row; /* a refusal is a failure, too */
    latency_t latency;                                 /* kept for policies that are `timed` */
};

void instance_registry_init(struct instance_registry *r, struct worker *control,
                            void (*on_event)(struct instance_registry *r, struct instance *i,
                                             enum instance_event e));

/* Counts it in the figures of the control thread, where there are any. */
void instance_registry_count(const struct instance_registry *r, enum metric_id id);

/* The instance of that identity with a reference for the caller, made when there is none. `addr` NULL: the
 * name does not resolve; the instance is down. `of_several`: its server may have more addresses, so it is
 * shown with this one. NULL when out of memory. */
struct instance *instance_get(struct instance_registry *r, const char *pool_name, const char *name,
                              const struct net_addr *addr, bool of_several);

/* Starts or changes the probing. With CONFIG_HEALTH_OFF it is up, whatever it was, and stays so. */
void instance_watch(struct instance *i, const struct health_settings *settings);
/* Stops probing; the state stays. */
void instance_unwatch(struct instance *i);
/* The same for one that no pool in use stands on any more: its idle connections are not used again, and are
 * closed when workers look (instance_is_retired). Watching it again ends that. */
void instance_retire(struct instance *i);
/* How many requests are under way at retired instances of that server; of all servers, with `pool_name` NULL.
 */
uint64_t instance_leaving(const struct instance_registry *r, const char *pool_name, const char *name);
/* It is new in a pool that works: slow_start begins. */
void instance_begin_slowly(struct instance *i);
/* `i` takes over from `from`, another address of the same name: failed probes go on counting, and when that
 * one was down this one is too, since then, until its own probes succeed. */
void instance_inherit(struct instance *i, const struct instance *from);

/* The one setter: asserts a legal predecessor (see INSTANCE_STATES), keeps the reason, logs and tells the
 * registry. */
void instance_set_state(struct instance *i, enum instance_state to, const char *fmt, ...) PRINTF_LIKE(3, 4);
bool instance_state_may_follow(enum instance_state from, enum instance_state to);

/* What it fails at, for people: "3 failures in a row, the last: ...". Control thread. */
const char *instance_failures_text(const struct instance *i, char *buf, size_t bytes);

/* Worker, inside the RCU section that found it: raises in-flight count and request count. */
void instance_lease(struct instance *i);
/* The same, unless it has as many as max_in_flight allows. Any thread that holds a reference, too. */
bool instance_lease_within_limit(struct instance *i);
/* One probe's answer, as health_probe reports it. Exposed for tests. */
void instance_on_probe(struct instance *i, const struct health_result *result);

static inline bool instance_is_full(const struct instance *i)
{
    uint32_t most = atomic_load_explicit(&i->max_in_flight, memory_order_relaxed);
    return most > 0 && atomic_load(&i->refs) >> 32 >= most; /* in one order with queue_enter */
}

static inline uint64_t instance_in_flight(const struct instance *i)
{
    return atomic_load_explicit(&i->refs, memory_order_relaxed) >> 32;
}

#endif
