/* policy_two.c: the better one of two instances drawn by chance.
 *
 * Better is: less of (how long it takes to answer) x (requests in flight, this one included) for its weight.
 * Taking the best of all would send every worker's next request to the same instance until the figures have
 * caught up; the better of two avoids the worst and still spreads. With two instances both are looked at each
 * time, and the slow one is tried again when its latency, which nobody renews, has come down (latency.h).
 *
 * Of an instance whose latency is not known only the requests in flight are compared: a new one gets its
 * share, not everything. "Chance" is a mix of the turn's number, so a pick can be repeated in a test. */
#include <stdlib.h>

#include "balancer/instance.h"
#include "balancer/policy.h"
#include "core/random.h"

struct policy_two_view {
    struct policy_view base;
    size_t count;
    struct policy_candidate items[];
};

static struct policy_view *policy_two_build(const struct policy_candidate *candidates, size_t count)
{
    struct policy_two_view *view = malloc(sizeof *view + count * sizeof view->items[0]);
    if (view == NULL)
        return NULL;
    *view = (struct policy_two_view){.base.policy = &policy_two, .count = count};
    if (count > 0)
        memcpy(view->items, candidates, count * sizeof view->items[0]);
    return &view->base;
}

/* The n-th of those that were not tried. */
static const struct policy_candidate *policy_two_nth(const struct policy_two_view *view,
                                                     const struct policy_turn *t, size_t n)
{
    const struct policy_candidate *c = view->items;
    if (t->tried_count == 0)
        return c + n;
    for (;; c++)
        if (!policy_was_tried(c->instance, t) && n-- == 0)
            return c;
}

static size_t policy_two_untried(const struct policy_two_view *view, const struct policy_turn *t)
{
    size_t count = view->count;
    for (size_t n = 0; t->tried_count > 0 && n < view->count; n++)
        count -= policy_was_tried(view->items[n].instance, t);
    return count;
}

static bool policy_two_is_better(const struct policy_candidate *a, const struct policy_candidate *b,
                                 mono_ms_t now_ms)
{
    double a_us = latency_us(&a->instance->latency, now_ms), b_us = latency_us(&b->instance->latency, now_ms);
    if (a_us == 0 || b_us == 0)
        a_us = b_us = 1;
    double a_load = a_us * (double)(instance_in_flight(a->instance) + 1);
    double b_load = b_us * (double)(instance_in_flight(b->instance) + 1);
    return a_load * b->weight < b_load * a->weight;
}

static struct instance *policy_two_pick(const struct policy_view *base, const struct policy_turn *t)
{
    const struct policy_two_view *view = CONTAINER_OF(base, struct policy_two_view, base);
    size_t count = policy_two_untried(view, t);
    uint64_t random = t->number;
    if (count == 0)
        return NULL;
    size_t first = random_next(&random) % count;
    const struct policy_candidate *a = policy_two_nth(view, t, first), *b = a;
    if (count > 1)
        b = policy_two_nth(view, t, (first + 1 + random_next(&random) % (count - 1)) % count);
    return policy_two_is_better(b, a, t->now_ms) ? b->instance : a->instance;
}

static void policy_two_destroy(struct policy_view *base)
{
    free(CONTAINER_OF(base, struct policy_two_view, base));
}

const struct policy policy_two = {
    .name = "two_choices",
    .timed = true,
    .build = policy_two_build,
    .pick = policy_two_pick,
    .destroy = policy_two_destroy,
};
