/* policy_fixture.h: what the tests of policies share: a crowd of instances that are nothing but a name and
 * figures, and a pool reduced to its turns. Static functions, for one test program each. */
#ifndef TESTS_UNIT_BALANCER_POLICY_FIXTURE_H
#define TESTS_UNIT_BALANCER_POLICY_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "balancer/instance.h"
#include "balancer/policy.h"

#define CROWD 64

static struct instance crowd[CROWD];
static char crowd_names[CROWD][16];

static inline int crowd_reset(void **state)
{
    UNUSED(state);
    memset(crowd, 0, sizeof crowd);
    for (size_t i = 0; i < CROWD; i++) {
        snprintf(crowd_names[i], sizeof crowd_names[i], "10.0.0.%zu:80", i);
        crowd[i].name = crowd[i].shown = crowd_names[i];
    }
    return 0;
}

static inline size_t crowd_number(const struct instance *i)
{
    assert_true(i >= crowd && i < crowd + CROWD);
    return (size_t)(i - crowd);
}

static inline void crowd_set_in_flight(size_t i, uint64_t n)
{
    atomic_store(&crowd[i].refs, n << 32 | 1);
}

static inline void crowd_lease(struct instance *i)
{
    atomic_fetch_add(&i->refs, UINT64_C(1) << 32);
}

static inline void crowd_release(struct instance *i)
{
    atomic_fetch_sub(&i->refs, UINT64_C(1) << 32);
}

/* `weights` NULL: 1 each. Those with weight 0 are left out, as a pool does. */
static inline struct policy_view *crowd_build(const struct policy *p, const unsigned *weights, size_t count)
{
    struct policy_candidate c[CROWD];
    size_t n = 0;
    for (size_t i = 0; i < count; i++)
        if (weights == NULL || weights[i] > 0)
            c[n++] = (struct policy_candidate){&crowd[i], weights != NULL ? weights[i] : 1};
    struct policy_view *v = p->build(c, n);
    assert_non_null(v);
    assert_ptr_equal(v->policy, p);
    return v;
}

static inline struct instance *crowd_pick(const struct policy_view *v, uint64_t turn, uint64_t key,
                                          mono_ms_t now_ms)
{
    const struct pool_affinity a = {.key = key};
    return v->policy->pick(v, &(struct policy_turn){.number = turn, .affinity = &a, .now_ms = now_ms});
}

/* What every policy promises of the tried ones, and of an empty pool. */
static inline void crowd_check_tried(const struct policy *p)
{
    struct policy_view *v = crowd_build(p, NULL, 3), *none = crowd_build(p, NULL, 0);
    struct instance *tried[3] = {&crowd[0], &crowd[2], &crowd[1]};
    for (uint64_t turn = 0; turn < 300; turn++) {
        const struct pool_affinity a = {.key = turn * 77};
        struct policy_turn t = {.number = turn, .affinity = &a, .tried = tried, .tried_count = 1};
        assert_ptr_not_equal(p->pick(v, &t), &crowd[0]);
        t.tried_count = 2;
        assert_ptr_equal(p->pick(v, &t), &crowd[1]);
        t.tried_count = 3;
        assert_null(p->pick(v, &t));
        assert_null(crowd_pick(none, turn, 5, 0));
    }
    p->destroy(none);
    p->destroy(v);
}

#endif
