/* pool.c: see pool.h.
 *
 * Picking is the hot path: enter RCU, load the view, raise the turn by one (the one write shared by all
 * workers, on a cache line of its own), index, raise the instance's in-flight count. States are not looked
 * at: an instance that stops being usable is left out of the next view, and the pick that still sees the old
 * one is the pick that came a moment earlier.
 *
 * Rejected: a mutex and per-instance current weights (a lock per request), and a private schedule per worker
 * (workers in step send the same instance bursts, and two instances do not visibly take turns). */
#include "balancer/pool.h"

#include <stdlib.h>

#include "core/log.h"
#include "core/panic.h"

static void pool_view_free(void *obj)
{
    struct pool_view *v = obj;
    if (v->normal != NULL)
        v->normal->policy->destroy(v->normal);
    if (v->backup != NULL)
        v->backup->policy->destroy(v->backup);
    for (size_t i = 0; i < v->count; i++)
        instance_unref(v->instances[i]);
    free(v);
}

static struct policy_view *pool_build_half(const struct pool *p, struct pool_view *v, bool backup,
                                           struct policy_candidate *candidates)
{
    size_t count = 0;
    for (size_t m = 0; m < p->member_count; m++) {
        const struct member *member = &p->members[m];
        if (member->config->backup != backup || member->config->weight <= 0 ||
            !instance_is_usable(member->instance))
            continue;
        candidates[count++] = (struct policy_candidate){member->instance, (unsigned)member->config->weight};
        v->instances[v->count++] = instance_ref(member->instance);
    }
    return p->policy->build(candidates, count);
}

static struct pool_view *pool_build_view(const struct pool *p)
{
    struct policy_candidate *candidates = calloc(p->member_count + 1, sizeof *candidates);
    struct pool_view *v = calloc(1, sizeof *v + p->member_count * sizeof v->instances[0]);
    if (candidates != NULL && v != NULL) {
        v->normal = pool_build_half(p, v, false, candidates);
        v->backup = pool_build_half(p, v, true, candidates);
    }
    free(candidates);
    if (v != NULL && (v->normal == NULL || v->backup == NULL)) {
        pool_view_free(v);
        return NULL;
    }
    return v;
}

bool pool_rebuild(struct pool *p)
{
    CHECK_MAGIC(p, POOL_MAGIC);
    struct pool_view *v = pool_build_view(p);
    p->stale = v == NULL;
    if (v == NULL) {
        log_error("pool %s: out of memory, still using the old list of instances", p->config->name);
        return false;
    }
    struct pool_view *old = atomic_exchange_explicit(&p->view, v, memory_order_acq_rel);
    if (old != NULL)
        rcu_free_later(&old->grave, pool_view_free, old);
    return true;
}

struct pool *pool_create(struct instance_registry *r, const struct config_pool *config)
{
    struct pool *p = aligned_alloc(CACHE_LINE, sizeof *p);
    if (p == NULL)
        return NULL;
    *p = (struct pool){.magic = POOL_MAGIC, .config = config, .registry = r};
    p->policy = policy_of_balance(config->balance);
    p->members = calloc(config->server_count + 1, sizeof *p->members);
    for (size_t m = 0; p->members != NULL && m < config->server_count; m++) {
        if (!member_init(&p->members[m], p, &config->servers[m]))
            break;
        p->member_count++;
    }
    if (p->member_count < config->server_count || p->members == NULL) {
        pool_destroy(p);
        return NULL;
    }
    return p;
}

void pool_destroy(struct pool *p)
{
    CHECK_MAGIC(p, POOL_MAGIC);
    struct pool_view *v = atomic_load_explicit(&p->view, memory_order_acquire);
    if (v != NULL)
        pool_view_free(v);
    for (size_t m = 0; m < p->member_count; m++)
        member_clear(&p->members[m]);
    free(p->members);
    p->magic = 0;
    free(p);
}

struct member *pool_member_of(struct pool *p, const struct instance *i)
{
    for (size_t m = 0; m < p->member_count; m++)
        if (p->members[m].instance == i)
            return &p->members[m];
    return NULL;
}

const struct config_pool *pool_config(const struct pool *p)
{
    CHECK_MAGIC(p, POOL_MAGIC);
    return p->config;
}

static struct instance *pool_choose(const struct pool_view *v, uint64_t turn, struct instance *const *tried,
                                    size_t tried_count)
{
    const struct policy_view *halves[2] = {v->normal, v->backup};
    for (unsigned again = 0; again < (tried_count > 0 ? 2 : 1); again++) {
        for (unsigned h = 0; h < 2; h++) {
            size_t avoid = again ? 0 : tried_count;
            struct instance *i = halves[h]->policy->pick(halves[h], turn, tried, avoid);
            if (i != NULL)
                return i;
        }
    }
    return NULL;
}

struct instance *pool_pick(struct pool *p, struct instance *const *tried, size_t tried_count)
{
    CHECK_MAGIC(p, POOL_MAGIC);
    uint64_t turn = atomic_fetch_add_explicit(&p->turn, 1, memory_order_relaxed);
    rcu_enter();
    const struct pool_view *v = atomic_load_explicit(&p->view, memory_order_acquire);
    struct instance *i = v != NULL ? pool_choose(v, turn, tried, tried_count) : NULL;
    if (i != NULL)
        instance_lease(i);
    rcu_leave();
    return i;
}
