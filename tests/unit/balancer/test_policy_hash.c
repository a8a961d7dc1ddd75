/* test_policy_hash.c: who has which key: stable, even, by weight; what moves when an instance goes, comes or
 * changes its weight; and how much one may have more than the average. */
#include "tests/unit/balancer/policy_fixture.h"

#include "core/hash.h"

#define KEYS 20000

static uint64_t key_of(size_t n)
{
    return hash_bytes_unseeded(&n, sizeof n).lo;
}

static void assign(const unsigned *weights, size_t count, uint8_t owners[KEYS])
{
    struct policy_view *v = crowd_build(&policy_hash, weights, count);
    for (size_t k = 0; k < KEYS; k++)
        owners[k] = (uint8_t)crowd_number(crowd_pick(v, k * 31, key_of(k), 0));
    policy_hash.destroy(v);
}

static unsigned owned(const uint8_t owners[KEYS], size_t who)
{
    unsigned n = 0;
    for (size_t k = 0; k < KEYS; k++)
        n += owners[k] == who;
    return n;
}

static unsigned moved(const uint8_t a[KEYS], const uint8_t b[KEYS])
{
    unsigned n = 0;
    for (size_t k = 0; k < KEYS; k++)
        n += a[k] != b[k];
    return n;
}

static uint8_t before[KEYS], after[KEYS];

/* Whatever the turn: and the same in every process, so that known keys have known owners. */
static void test_the_same_key_the_same_instance(void **state)
{
    UNUSED(state);
    assign(NULL, 5, before);
    assign(NULL, 5, after);
    assert_int_equal(moved(before, after), 0);
    struct policy_view *v = crowd_build(&policy_hash, NULL, 5);
    for (uint64_t turn = 0; turn < 100; turn++)
        assert_int_equal(crowd_number(crowd_pick(v, turn, key_of(1), 0)), before[1]);
    policy_hash.destroy(v);
    static const uint8_t known[] = {1, 4, 3, 2, 4, 3, 4, 0};
    for (size_t k = 0; k < ARRAY_LEN(known); k++)
        assert_int_equal(before[k], known[k]);
}

static void test_shares_are_even(void **state)
{
    UNUSED(state);
    assign(NULL, 8, before);
    for (size_t i = 0; i < 8; i++)
        assert_in_range(owned(before, i), KEYS / 8 * 93 / 100, KEYS / 8 * 107 / 100);
}

static void test_shares_follow_weights(void **state)
{
    UNUSED(state);
    assign((unsigned[]){100, 200, 500}, 3, before);
    assert_in_range(owned(before, 0), KEYS / 8 * 93 / 100, KEYS / 8 * 107 / 100);
    assert_in_range(owned(before, 1), KEYS / 4 * 95 / 100, KEYS / 4 * 105 / 100);
}

/* Of N, the keys of the one that goes move, which are 1/N of them, and no other. */
static void test_removing_one_moves_its_keys_only(void **state)
{
    UNUSED(state);
    for (size_t count = 2; count <= 12; count += 5) {
        assign(NULL, count, before);
        for (size_t gone = 0; gone < count; gone++) {
            unsigned weights[CROWD], to[CROWD] = {0};
            for (size_t i = 0; i < count; i++)
                weights[i] = i != gone;
            assign(weights, count, after);
            assert_int_equal(moved(before, after), owned(before, gone));
            assert_true(moved(before, after) <= KEYS / count + KEYS / 20); /* 1/N + 5% */
            for (size_t k = 0; k < KEYS; k++)
                to[after[k]] += before[k] == gone;
            for (size_t i = 0; i < count; i++) /* and the others share them */
                assert_true(i == gone || to[i] * (count - 1) >= owned(before, gone) * 7 / 10);
        }
    }
}

static void test_a_weight_that_grows_takes_only_keys(void **state)
{
    UNUSED(state);
    assign((unsigned[]){100, 100, 20}, 3, before);
    assign((unsigned[]){100, 100, 100}, 3, after);
    for (size_t k = 0; k < KEYS; k++)
        assert_true(after[k] == before[k] || after[k] == 2);
}

/* One key that everybody asks for, and others: nobody has more than a quarter above the average. */
static void test_bounded_load(void **state)
{
    UNUSED(state);
    for (unsigned hot_percent = 0; hot_percent <= 100; hot_percent += 50) {
        crowd_reset(NULL);
        struct policy_view *v = crowd_build(&policy_hash, NULL, 5);
        for (size_t n = 0; n < 1000; n++) {
            bool hot = n % 100 < hot_percent;
            crowd_lease(crowd_pick(v, n, hot ? key_of(7) : key_of(n), 0));
            size_t bound = (5 * (n + 1) + 19) / 20; /* 1.25 x (n + 1) / 5, rounded up */
            for (size_t i = 0; i < 5; i++)
                assert_true(instance_in_flight(&crowd[i]) <= MAX(bound, POLICY_HASH_FREE));
        }
        for (size_t i = 0; i < 5; i++)
            assert_true(instance_in_flight(&crowd[i]) <= 250); /* 1.25 x 200 */
        policy_hash.destroy(v);
    }
}

static void test_bound_is_by_weight(void **state)
{
    UNUSED(state);
    struct policy_view *v = crowd_build(&policy_hash, (unsigned[]){300, 100}, 2);
    for (size_t n = 0; n < 1000; n++)
        crowd_lease(crowd_pick(v, n, key_of(3), 0));
    assert_true(instance_in_flight(&crowd[0]) <= 938);
    assert_true(instance_in_flight(&crowd[1]) <= 313);
    policy_hash.destroy(v);
}

/* What is passed over is the busy one only; its keys come back when it has less to do. */
static void test_overflow_comes_back(void **state)
{
    UNUSED(state);
    struct policy_view *v = crowd_build(&policy_hash, NULL, 3);
    size_t home = crowd_number(crowd_pick(v, 0, key_of(5), 0));
    crowd_set_in_flight(home, POLICY_HASH_FREE - 1); /* few enough to be left alone */
    assert_int_equal(crowd_number(crowd_pick(v, 0, key_of(5), 0)), home);
    crowd_set_in_flight(home, 100);
    size_t second = crowd_number(crowd_pick(v, 0, key_of(5), 0));
    assert_int_not_equal(second, home);
    for (uint64_t turn = 0; turn < 20; turn++)
        assert_int_equal(crowd_number(crowd_pick(v, turn, key_of(5), 0)), second);
    crowd_set_in_flight(home, 3);
    assert_int_equal(crowd_number(crowd_pick(v, 0, key_of(5), 0)), home);
    policy_hash.destroy(v);
}

static void test_without_a_key_anywhere(void **state)
{
    UNUSED(state);
    unsigned counts[4] = {0};
    struct policy_view *v = crowd_build(&policy_hash, NULL, 4);
    for (uint64_t turn = 0; turn < 8000; turn++)
        counts[crowd_number(crowd_pick(v, turn, 0, 0))]++;
    for (size_t i = 0; i < 4; i++)
        assert_in_range(counts[i], 1800, 2200);
    policy_hash.destroy(v);
}

static void test_tried_and_none(void **state)
{
    UNUSED(state);
    crowd_check_tried(&policy_hash);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_the_same_key_the_same_instance, crowd_reset),
        cmocka_unit_test_setup(test_shares_are_even, crowd_reset),
        cmocka_unit_test_setup(test_shares_follow_weights, crowd_reset),
        cmocka_unit_test_setup(test_removing_one_moves_its_keys_only, crowd_reset),
        cmocka_unit_test_setup(test_a_weight_that_grows_takes_only_keys, crowd_reset),
        cmocka_unit_test_setup(test_bounded_load, crowd_reset),
        cmocka_unit_test_setup(test_bound_is_by_weight, crowd_reset),
        cmocka_unit_test_setup(test_overflow_comes_back, crowd_reset),
        cmocka_unit_test_setup(test_without_a_key_anywhere, crowd_reset),
        cmocka_unit_test_setup(test_tried_and_none, crowd_reset),
    };
    return cmocka_run_group_tests_name("balancer/policy_hash", tests, NULL, NULL);
}
