/* test_policy_two.c: the moving average of latencies, and the better of two: slow, busy, unknown, failing. */
#include "tests/unit/balancer/policy_fixture.h"

/* ---- latency.h ---- */

static void test_latency_jumps_up_and_sinks_slowly(void **state)
{
    UNUSED(state);
    latency_t l = 0;
    assert_int_equal(latency_us(&l, 123456), 0);
    latency_observe(&l, 1000, 1000);
    assert_int_equal(latency_us(&l, 1000), 1000);
    latency_observe(&l, 9000, 1000); /* at once */
    assert_int_equal(latency_us(&l, 1000), 9000);
    latency_observe(&l, 1000, 1000); /* no time has passed */
    assert_int_equal(latency_us(&l, 1000), 9000);
    latency_observe(&l, 1000, 1000 + LATENCY_HALF_MS); /* half of the way */
    assert_int_equal(latency_us(&l, 1000 + LATENCY_HALF_MS), 5000);
}

static void test_latency_is_forgotten(void **state)
{
    UNUSED(state);
    latency_t l = 0;
    latency_observe(&l, 8000, 5000);
    assert_int_equal(latency_us(&l, 5000 + LATENCY_HALF_MS), 4000);
    assert_int_equal(latency_us(&l, 5000 + LATENCY_HALF_MS / 2), 6000);
    assert_int_equal(latency_us(&l, 5000 + 3 * LATENCY_HALF_MS), 1000);
    assert_int_equal(latency_us(&l, 5000 + 40 * LATENCY_HALF_MS), 0);
}

static void test_latency_at_the_ends_of_its_range(void **state)
{
    UNUSED(state);
    latency_t l = 0;
    latency_observe(&l, -5, UINT32_MAX); /* a clock that stood still; the time is cut to 32 bits */
    assert_int_equal(latency_us(&l, UINT32_MAX), 1);
    latency_observe(&l, INT64_MAX, (mono_ms_t)UINT32_MAX + 10);
    assert_int_equal(latency_us(&l, (mono_ms_t)UINT32_MAX + 10), UINT32_MAX);
}

/* ---- the policy ---- */

/* `rounds` picks, one every ms, each answered at once by what `us` says of the instance. */
static void run(struct policy_view *v, unsigned rounds, const mono_us_t *us, unsigned *counts)
{
    for (unsigned n = 0; n < rounds; n++) {
        mono_ms_t now_ms = 1000 + n;
        struct instance *i = crowd_pick(v, n, 0, now_ms);
        counts[crowd_number(i)]++;
        latency_observe(&i->latency, us[crowd_number(i)], now_ms);
    }
}

static void test_equals_share(void **state)
{
    UNUSED(state);
    unsigned counts[4] = {0};
    struct policy_view *v = crowd_build(&policy_two, NULL, 4);
    run(v, 40000, (mono_us_t[]){5000, 5000, 5000, 5000}, counts);
    for (size_t i = 0; i < 4; i++)
        assert_in_range(counts[i], 9700, 10300);
    policy_two.destroy(v);
}

static void test_a_slow_one_is_avoided(void **state)
{
    UNUSED(state);
    unsigned counts[4] = {0};
    struct policy_view *v = crowd_build(&policy_two, NULL, 4);
    run(v, 20000, (mono_us_t[]){5000, 5000, 200000, 5000}, counts);
    assert_true(counts[2] >= 1);  /* it was tried */
    assert_true(counts[2] <= 20); /* 1 in 1000 */
    policy_two.destroy(v);
}

/* With two both are always compared; the slow one is tried again every now and then. */
static void test_one_of_two_is_slow(void **state)
{
    UNUSED(state);
    unsigned counts[2] = {0};
    struct policy_view *v = crowd_build(&policy_two, NULL, 2);
    run(v, 100000, (mono_us_t[]){2000, 100000}, counts);
    assert_in_range(counts[1], 2, 20);
    policy_two.destroy(v);
}

static void test_one_that_recovers_is_used_again(void **state)
{
    UNUSED(state);
    unsigned counts[2] = {0};
    struct policy_view *v = crowd_build(&policy_two, NULL, 2);
    latency_observe(&crowd[1].latency, 500000, 1000);
    run(v, 80000, (mono_us_t[]){5000, 5000}, counts);
    memset(counts, 0, sizeof counts);
    run(v, 10000, (mono_us_t[]){5000, 5000}, counts);
    assert_in_range(counts[1], 4000, 6000);
    policy_two.destroy(v);
}

static void test_failing_fast_is_not_fast(void **state)
{
    UNUSED(state);
    unsigned counts[3] = {0};
    struct policy_view *v = crowd_build(&policy_two, NULL, 3);
    run(v, 20000, (mono_us_t[]){20000, LATENCY_OF_FAILURE_US, 20000}, counts);
    assert_true(counts[1] <= 20);
    policy_two.destroy(v);
}

/* Nothing is known of it: by requests in flight alone, so that it does not get everything at once. */
static void test_an_unknown_one_gets_its_share(void **state)
{
    UNUSED(state);
    unsigned counts[2] = {0};
    struct policy_view *v = crowd_build(&policy_two, NULL, 2);
    latency_observe(&crowd[0].latency, 50000, 1000);
    for (uint64_t turn = 0; turn < 40; turn++) {
        struct instance *i = crowd_pick(v, turn, 0, 1000);
        crowd_lease(i);
        counts[crowd_number(i)]++;
    }
    assert_in_range(counts[1], 19, 21);
    policy_two.destroy(v);
}

static void test_in_flight_counts(void **state)
{
    UNUSED(state);
    struct policy_view *v = crowd_build(&policy_two, NULL, 2);
    latency_observe(&crowd[0].latency, 10000, 1000);
    latency_observe(&crowd[1].latency, 30000, 1000);
    for (uint64_t turn = 0; turn < 20; turn++) {
        crowd_set_in_flight(0, 1); /* 2 x 10 against 1 x 30 */
        assert_int_equal(crowd_number(crowd_pick(v, turn, 0, 1000)), 0);
        crowd_set_in_flight(0, 3); /* 4 x 10 against 1 x 30 */
        assert_int_equal(crowd_number(crowd_pick(v, turn, 0, 1000)), 1);
    }
    policy_two.destroy(v);
}

static void test_weights_count(void **state)
{
    UNUSED(state);
    struct policy_view *v = crowd_build(&policy_two, (unsigned[]){300, 100}, 2);
    for (uint64_t turn = 0; turn < 400; turn++)
        crowd_lease(crowd_pick(v, turn, 0, 1000));
    assert_in_range(instance_in_flight(&crowd[0]), 295, 305);
    policy_two.destroy(v);
}

static void test_tried_and_none(void **state)
{
    UNUSED(state);
    assert_true(policy_two.timed);
    crowd_check_tried(&policy_two);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_latency_jumps_up_and_sinks_slowly),
        cmocka_unit_test(test_latency_is_forgotten),
        cmocka_unit_test(test_latency_at_the_ends_of_its_range),
        cmocka_unit_test_setup(test_equals_share, crowd_reset),
        cmocka_unit_test_setup(test_a_slow_one_is_avoided, crowd_reset),
        cmocka_unit_test_setup(test_one_of_two_is_slow, crowd_reset),
        cmocka_unit_test_setup(test_one_that_recovers_is_used_again, crowd_reset),
        cmocka_unit_test_setup(test_failing_fast_is_not_fast, crowd_reset),
        cmocka_unit_test_setup(test_an_unknown_one_gets_its_share, crowd_reset),
        cmocka_unit_test_setup(test_in_flight_counts, crowd_reset),
        cmocka_unit_test_setup(test_weights_count, crowd_reset),
        cmocka_unit_test_setup(test_tried_and_none, crowd_reset),
    };
    return cmocka_run_group_tests_name("balancer/policy_two", tests, NULL, NULL);
}
