/* policy_hash.c: the same key goes to the same instance, as long as that one can take it.
 *
 * Rendezvous hashing: each instance has a score for the key, from a hash of both, scaled by its weight; the
 * best score wins. When an instance goes, only its keys move, each to where it scored second, and they come
 * back with it; shares follow the weights exactly. Names are hashed, without a seed: the choice is the same
 * after a restart, on another node, and when the one address changes that a server has; where it has several,
 * they are hashed with the name.
 *
 * Bounded load (Mirrokni, Thorup, Zadimoghaddam: Consistent Hashing with Bounded Loads): an instance that has
 * a quarter more than the average in flight is passed over for the next best score, so a key that everybody
 * asks for cannot sink one instance. Up to POLICY_HASH_FREE requests in flight are left alone: with little to
 * do one request more is a quarter above the average, and being sent elsewhere would cost more than it saves.
 *
 * Rejected: a ring of points. It is faster for hundreds of instances, which these pools do not have; its
 * shares are uneven by chance, and changing a weight moves more than it must. */
#include <math.h>
#include <stdlib.h>

#include "balancer/instance.h"
#include "balancer/policy.h"
#include "core/hash.h"
#include "core/random.h"

#define POLICY_HASH_BOUND 1.25 /* of the average load */

struct policy_hash_item {
    struct instance *instance;
    double weight;
    uint64_t name;
};

struct policy_hash_view {
    struct policy_view base;
    double weight; /* of all */
    size_t count;
    struct policy_hash_item items[];
};

static struct policy_view *policy_hash_build(const struct policy_candidate *candidates, size_t count)
{
    struct policy_hash_view *view = malloc(sizeof *view + count * sizeof view->items[0]);
    if (view == NULL)
        return NULL;
    *view = (struct policy_hash_view){.base.policy = &policy_hash, .count = count};
    for (size_t n = 0; n < count; n++) {
        const char *name = candidates[n].instance->shown;
        view->items[n] = (struct policy_hash_item){candidates[n].instance, candidates[n].weight,
                                                   hash_bytes_unseeded(name, strlen(name)).lo};
        view->weight += candidates[n].weight;
    }
    return &view->base;
}

/* The smaller the better: exponentially distributed, so the shares of the smallest are as the weights. */
static double policy_hash_score(const struct policy_hash_item *item, uint64_t key)
{
    uint64_t state = key ^ item->name;
    return -log(random_share(random_next(&state))) / item->weight;
}

/* The best one that was not tried and, with a `total` of requests, is not above its bound. */
static const struct policy_hash_item *
policy_hash_best(const struct policy_hash_view *view, const struct policy_turn *t, uint64_t key, double total)
{
    const struct policy_hash_item *best = NULL;
    double best_score = 0;
    for (size_t n = 0; n < view->count; n++) {
        const struct policy_hash_item *item = &view->items[n];
        if (policy_was_tried(item->instance, t))
            continue;
        double score = policy_hash_score(item, key);
        if (best != NULL && score >= best_score)
            continue;
        double bound = MAX(POLICY_HASH_FREE, ceil(POLICY_HASH_BOUND * total * item->weight / view->weight));
        if (total > 0 && (double)instance_in_flight(item->instance) >= bound)
            continue;
        best = item;
        best_score = score;
    }
    return best;
}

static struct instance *policy_hash_pick(const struct policy_view *base, const struct policy_turn *t)
{
    const struct policy_hash_view *view = CONTAINER_OF(base, struct policy_hash_view, base);
    uint64_t random = t->number, key = t->affinity != NULL ? t->affinity->key : 0;
    if (key == 0)
        key = random_next(&random);
    const struct policy_hash_item *best = policy_hash_best(view, t, key, 0), *other = NULL;
    if (best == NULL)
        return NULL;
    if (UNLIKELY(instance_in_flight(best->instance) >= POLICY_HASH_FREE)) {
        double total = 1;
        for (size_t n = 0; n < view->count; n++)
            total += (double)instance_in_flight(view->items[n].instance);
        other = policy_hash_best(view, t, key, total);
    }
    return other != NULL ? other->instance : best->instance;
}

static void policy_hash_destroy(struct policy_view *base)
{
    free(CONTAINER_OF(base, struct policy_hash_view, base));
}

const struct policy policy_hash = {
    .name = "hash",
    .build = policy_hash_build,
    .pick = policy_hash_pick,
    .destroy = policy_hash_destroy,
};
