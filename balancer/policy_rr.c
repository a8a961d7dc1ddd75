/* policy_rr.c: smooth weighted round robin (the default policy).
 *
 * The well-known smooth algorithm raises every current weight, takes the highest and lowers it by the total;
 * weights 5, 1, 1 give a a b a c a a, never five of a in a row. Run per request it needs a lock or per-worker
 * state; with per-worker state two workers are in step and hit the same instance twice. Its sequence repeats
 * after total/gcd picks, so the whole of it is computed once per change and workers only index it with the
 * shared turn.
 *
 * The schedule is bounded: weights whose sum is beyond POLICY_RR_MAX_TURNS are scaled down, each staying at
 * least 1, which bends the shares by less than one turn in four thousand. */
#include "balancer/policy.h"

#include <stdlib.h>

#include "core/panic.h"

struct policy_rr_view {
    struct policy_view base;
    size_t length;
    struct instance *turns[];
};

static unsigned policy_rr_gcd(unsigned a, unsigned b)
{
    while (b != 0) {
        unsigned rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* Smallest weights in the same proportion; returns their sum. */
static size_t policy_rr_reduce(const struct policy_candidate *candidates, size_t count, int64_t *weights)
{
    unsigned gcd = 0;
    size_t total = 0, scaled = 0;
    for (size_t i = 0; i < count; i++) {
        ASSERT(candidates[i].weight > 0);
        gcd = policy_rr_gcd(candidates[i].weight, gcd);
    }
    for (size_t i = 0; i < count; i++) {
        weights[i] = candidates[i].weight / gcd;
        total += (size_t)weights[i];
    }
    if (total <= POLICY_RR_MAX_TURNS)
        return total;
    for (size_t i = 0; i < count; i++) {
        weights[i] = MAX(1, weights[i] * POLICY_RR_MAX_TURNS / (int64_t)total);
        scaled += (size_t)weights[i];
    }
    return scaled;
}

static void policy_rr_fill(struct policy_rr_view *view, const struct policy_candidate *candidates,
                           size_t count, const int64_t *weights, int64_t *current)
{
    for (size_t turn = 0; turn < view->length; turn++) {
        size_t best = 0;
        for (size_t i = 0; i < count; i++) {
            current[i] += weights[i];
            if (current[i] > current[best])
                best = i;
        }
        current[best] -= (int64_t)view->length;
        view->turns[turn] = candidates[best].instance;
    }
}

static struct policy_view *policy_rr_build(const struct policy_candidate *candidates, size_t count)
{
    int64_t *weights = calloc(2 * count + 1, sizeof *weights);
    if (weights == NULL)
        return NULL;
    size_t length = policy_rr_reduce(candidates, count, weights);
    struct policy_rr_view *view = malloc(sizeof *view + length * sizeof view->turns[0]);
    if (view != NULL) {
        view->base.policy = &policy_rr;
        view->length = length;
        policy_rr_fill(view, candidates, count, weights, weights + count);
    }
    free(weights);
    return view != NULL ? &view->base : NULL;
}

static struct instance *policy_rr_pick(const struct policy_view *base, const struct policy_turn *t)
{
    const struct policy_rr_view *view = CONTAINER_OF(base, struct policy_rr_view, base);
    if (view->length == 0)
        return NULL;
    size_t at = (size_t)(t->number % view->length);
    for (size_t n = 0; n < view->length; n++) {
        struct instance *i = view->turns[at];
        if (!policy_was_tried(i, t))
            return i;
        at = at + 1 == view->length ? 0 : at + 1;
    }
    return NULL;
}

static void policy_rr_destroy(struct policy_view *base)
{
    free(CONTAINER_OF(base, struct policy_rr_view, base));
}

const struct policy policy_rr = {
    .name = "round_robin",
    .build = policy_rr_build,
    .pick = policy_rr_pick,
    .destroy = policy_rr_destroy,
};
