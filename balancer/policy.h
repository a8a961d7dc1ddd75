/* policy.h: how a pool chooses among its usable instances: a small vtable, one file per policy.
 *
 * `build` turns candidates into an immutable view on the control thread whenever the set of usable instances
 * or a weight changes; `pick` reads the view, and at most the load and latency figures of the instances, on
 * any number of workers at once and writes nothing: what must be counted per pick is the turn, which the pool
 * raises. So no policy needs a lock, or state of its own per worker, and the same turn, key, clock and
 * figures always give the same instance. */
#ifndef BALANCER_POLICY_H
#define BALANCER_POLICY_H

#include "balancer/balancer.h"

struct instance;
struct policy;

struct policy_candidate {
    struct instance *instance; /* borrowed: whoever owns the view keeps it alive */
    unsigned weight;           /* at least 1 */
};

/* What one pick goes by. */
struct policy_turn {
    uint64_t number;                      /* one more for each pick of the pool */
    const struct pool_affinity *affinity; /* or NULL */
    mono_ms_t now_ms;                     /* 0 unless the policy is `timed` */
    struct instance *const *tried;        /* left out */
    size_t tried_count;
};

/* First member of every policy's own view. */
struct policy_view {
    const struct policy *policy;
};

struct policy {
    const char *name; /* as in `balance = ` */
    bool timed;       /* goes by the time, and by instance.latency, which is then to be kept */
    /* Control thread. NULL when out of memory; no candidates is legal. */
    struct policy_view *(*build)(const struct policy_candidate *candidates, size_t count);
    /* Any thread. The instance whose turn it is; NULL when none is left. */
    struct instance *(*pick)(const struct policy_view *view, const struct policy_turn *t);
    void (*destroy)(struct policy_view *view); /* NULL is ignored by the caller, not here */
};

/* Longest schedule of round robin, unless there are more candidates than this. */
#define POLICY_RR_MAX_TURNS 4096
extern const struct policy policy_rr, policy_least, policy_two, policy_hash;

/* Requests in flight up to which the hash policy leaves an instance alone whatever the others have. */
#define POLICY_HASH_FREE 8

/* The policy of config_pool.balance. */
static inline const struct policy *policy_of_balance(enum config_balance balance)
{
    static const struct policy *const all[] = {
        [CONFIG_BALANCE_ROUND_ROBIN] = &policy_rr,
        [CONFIG_BALANCE_LEAST_CONNECTIONS] = &policy_least,
        [CONFIG_BALANCE_TWO_CHOICES] = &policy_two,
        [CONFIG_BALANCE_HASH] = &policy_hash,
    };
    return all[balance];
}

static inline bool policy_was_tried(const struct instance *i, const struct policy_turn *t)
{
    for (size_t n = 0; n < t->tried_count; n++)
        if (t->tried[n] == i)
            return true;
    return false;
}

#endif
