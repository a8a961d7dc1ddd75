/* test_policy_least.c: the least loaded for its weight, turns among equals, and instances of unequal speed.
 */
#include "tests/unit/balancer/policy_fixture.h"

static void expect_turns(const unsigned *weights, size_t count, const char *sequence)
{
    struct policy_view *v = crowd_build(&policy_least, weights, count);
    for (size_t turn = 0; turn < 3 * strlen(sequence); turn++)
        assert_int_equal('a' + (int)crowd_number(crowd_pick(v, turn, 0, 0)),
                         sequence[turn % strlen(sequence)]);
    policy_least.destroy(v);
}

static void test_equals_take_turns(void **state)
{
    UNUSED(state);
    expect_turns((unsigned[]){1, 1}, 2, "ab");
    expect_turns((unsigned[]){1, 1, 1}, 3, "abc");
    expect_turns((unsigned[]){5, 1, 1}, 3, "aabacaa");
    for (size_t i = 0; i < 3; i++)
        crowd_set_in_flight(i, 7);
    expect_turns((unsigned[]){1, 1, 1}, 3, "abc");
}

static void test_the_least_loaded(void **state)
{
    UNUSED(state);
    struct policy_view *v = crowd_build(&policy_least, NULL, 3);
    crowd_set_in_flight(0, 5);
    crowd_set_in_flight(1, 4);
    crowd_set_in_flight(2, 6);
    for (uint64_t turn = 0; turn < 10; turn++)
        assert_int_equal(crowd_number(crowd_pick(v, turn, 0, 0)), 1);
    policy_least.destroy(v);
}

/* 6 of weight 3 is as much as 2 of weight 1. */
static void test_load_is_by_weight(void **state)
{
    UNUSED(state);
    struct policy_view *v = crowd_build(&policy_least, (unsigned[]){3, 1}, 2);
    crowd_set_in_flight(0, 5);
    crowd_set_in_flight(1, 2);
    assert_int_equal(crowd_number(crowd_pick(v, 3, 0, 0)), 0);
    crowd_set_in_flight(0, 7);
    assert_int_equal(crowd_number(crowd_pick(v, 0, 0, 0)), 1);
    policy_least.destroy(v);
}

/* The turns of a busy one are shared by all that are idle, not inherited by its neighbour. */
static void test_turns_of_a_busy_one(void **state)
{
    UNUSED(state);
    unsigned counts[3] = {0};
    struct policy_view *v = crowd_build(&policy_least, NULL, 3);
    crowd_set_in_flight(2, 1);
    for (uint64_t turn = 0; turn < 30000; turn++)
        counts[crowd_number(crowd_pick(v, turn, 0, 0))]++;
    assert_in_range(counts[0], 14700, 15300);
    assert_int_equal(counts[2], 0);
    policy_least.destroy(v);
}

/* 12 requests at a time; the first instance needs four times as long for one as the others. */
static void test_unequal_speeds(void **state)
{
    UNUSED(state);
    struct {
        struct instance *i;
        uint64_t until;
    } busy[12] = {{NULL, 0}};
    unsigned counts[3] = {0};
    struct policy_view *v = crowd_build(&policy_least, NULL, 3);
    uint64_t turn = 0;
    for (uint64_t now = 1; now <= 10000; now++) {
        for (size_t n = 0; n < ARRAY_LEN(busy); n++) {
            if (busy[n].until > now)
                continue;
            if (busy[n].i != NULL)
                crowd_release(busy[n].i);
            busy[n].i = crowd_pick(v, turn++, 0, 0);
            crowd_lease(busy[n].i);
            counts[crowd_number(busy[n].i)]++;
            busy[n].until = now + (busy[n].i == &crowd[0] ? 40 : 10);
            for (size_t k = 0; k < 3; k++)
                assert_true(instance_in_flight(&crowd[k]) <= 5);
        }
    }
    /* Each has 4 in flight all the time: the slow one answers 1000, the others 4000 each. */
    assert_in_range(counts[0], 950, 1150);
    assert_in_range(counts[1], 3800, 4200);
    assert_in_range(counts[2], 3800, 4200);
    policy_least.destroy(v);
}

static void test_tried_and_none(void **state)
{
    UNUSED(state);
    crowd_check_tried(&policy_least);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_equals_take_turns, crowd_reset),
        cmocka_unit_test_setup(test_the_least_loaded, crowd_reset),
        cmocka_unit_test_setup(test_load_is_by_weight, crowd_reset),
        cmocka_unit_test_setup(test_turns_of_a_busy_one, crowd_reset),
        cmocka_unit_test_setup(test_unequal_speeds, crowd_reset),
        cmocka_unit_test_setup(test_tried_and_none, crowd_reset),
    };
    return cmocka_run_group_tests_name("balancer/policy_least", tests, NULL, NULL);
}
