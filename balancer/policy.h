/* policy.h: how a pool chooses among its usable instances: a small vtable, one file per policy.
 *
 * A policy is pure. `build` turns candidates into an immutable view on the control thread whenever the set of
 * usable instances or a weight changes; `pick` reads the view on any number of workers at once and writes
 * nothing: what must be counted per pick is the turn, which the pool raises. So no policy needs a lock. */
#ifndef BALANCER_POLICY_H
#define BALANCER_POLICY_H

#include "core/base.h"

struct instance;
struct policy;

struct policy_candidate {
    struct instance *instance; /* borrowed: whoever owns the view keeps it alive */
    unsigned weight;           /* at least 1 */
};

/* First member of every policy's own view. */
struct policy_view {
    const struct policy *policy;
};

struct policy {
    const char *name; /* as in `balance = ` */
    /* Control thread. NULL when out of memory; no candidates is legal. */
    struct policy_view *(*build)(const struct policy_candidate *candidates, size_t count);
    /* Any thread. The instance whose turn it is, those in `tried` left out; NULL when that leaves none. */
    struct instance *(*pick)(const struct policy_view *view, uint64_t turn, struct instance *const *tried,
                             size_t tried_count);
    void (*destroy)(struct policy_view *view); /* NULL is ignored by the caller, not here */
};

/* Longest schedule of round robin, unless there are more candidates than this. */
#define POLICY_RR_MAX_TURNS 4096
extern const struct policy policy_rr;

/* The policy of config_pool.balance. */
const struct policy *policy_of_balance(int balance);

static inline bool policy_was_tried(const struct instance *i, struct instance *const *tried,
                                    size_t tried_count)
{
    for (size_t t = 0; t < tried_count; t++)
        if (tried[t] == i)
            return true;
    return false;
}

#endif
