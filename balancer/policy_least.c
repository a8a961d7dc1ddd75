/* policy_least.c: the instance with the fewest requests in flight for its weight.
 *
 * On an idle pool all are equal, and whoever listed them first would get everything. So ties go by turns, in
 * the order that smooth weighted round robin would have; when the one whose turn it is has more to do, chance
 * decides among the least loaded by their weights, since giving its turn to its neighbour would load that one
 * twice.
 *
 * The figures are read without order while other workers change them: a pick may be late by the few requests
 * that workers pick at the same moment, and the next pick sees them. Rejected: a heap by load, which is a
 * lock per request; a pool has few instances, and looking at each costs less. */
#include <stdlib.h>

#include "balancer/instance.h"
#include "balancer/policy.h"
#include "core/random.h"

struct policy_least_view {
    struct policy_view base;
    struct policy_view *order; /* of policy_rr */
    size_t count;
    struct policy_candidate items[];
};

static struct policy_view *policy_least_build(const struct policy_candidate *candidates, size_t count)
{
    struct policy_least_view *view = malloc(sizeof *view + count * sizeof view->items[0]);
    if (view == NULL)
        return NULL;
    *view = (struct policy_least_view){.base.policy = &policy_least, .count = count};
    if (count > 0)
        memcpy(view->items, candidates, count * sizeof view->items[0]);
    view->order = policy_rr.build(candidates, count);
    if (view->order != NULL)
        return &view->base;
    free(view);
    return NULL;
}

static struct instance *policy_least_pick(const struct policy_view *base, const struct policy_turn *t)
{
    const struct policy_least_view *view = CONTAINER_OF(base, struct policy_least_view, base);
    struct instance *turn = policy_rr.pick(view->order, t), *chosen = NULL;
    uint64_t least = 0, weight = 1, tied = 0, random = t->number;
    bool turn_is_least = false;
    for (size_t n = 0; turn != NULL && n < view->count; n++) {
        const struct policy_candidate *c = &view->items[n];
        if (policy_was_tried(c->instance, t))
            continue;
        uint64_t load = instance_in_flight(c->instance);
        if (chosen != NULL && load * weight > least * c->weight)
            continue;
        if (chosen == NULL || load * weight < least * c->weight) {
            least = load;
            weight = c->weight;
            tied = 0;
            turn_is_least = false;
        }
        tied += c->weight;
        turn_is_least |= c->instance == turn;
        if (random_next(&random) % tied < c->weight)
            chosen = c->instance;
    }
    return turn_is_least ? turn : chosen;
}

static void policy_least_destroy(struct policy_view *base)
{
    struct policy_least_view *view = CONTAINER_OF(base, struct policy_least_view, base);
    policy_rr.destroy(view->order);
    free(view);
}

const struct policy policy_least = {
    .name = "least_connections",
    .build = policy_least_build,
    .pick = policy_least_pick,
    .destroy = policy_least_destroy,
};
