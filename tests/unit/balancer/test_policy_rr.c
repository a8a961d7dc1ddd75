/* test_policy_rr.c: exact sequences, shares over a whole schedule, bounds, and leaving out what was tried. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "balancer/policy.h"

/* A policy never looks into an instance: addresses of bytes will do. */
static char names[5000];

static struct instance *named(size_t i)
{
    return (struct instance *)(void *)&names[i];
}

static struct instance *pick(const struct policy_view *v, uint64_t turn, struct instance *const *tried,
                             size_t tried_count)
{
    return policy_rr.pick(v,
                          &(struct policy_turn){.number = turn, .tried = tried, .tried_count = tried_count});
}

static size_t number(const struct instance *i)
{
    return (size_t)((const char *)(const void *)i - names);
}

static struct policy_view *build(const unsigned *weights, size_t count)
{
    struct policy_candidate *c = calloc(count + 1, sizeof *c);
    assert_non_null(c);
    for (size_t i = 0; i < count; i++)
        c[i] = (struct policy_candidate){named(i), weights[i]};
    struct policy_view *v = policy_rr.build(c, count);
    assert_non_null(v);
    free(c);
    return v;
}

static void expect_sequence(const unsigned *weights, size_t count, const char *sequence)
{
    struct policy_view *v = build(weights, count);
    size_t length = strlen(sequence);
    for (size_t turn = 0; turn < 3 * length; turn++) {
        struct instance *i = pick(v, turn, NULL, 0);
        assert_int_equal('a' + (int)number(i), sequence[turn % length]);
    }
    policy_rr.destroy(v);
}

static void test_smooth_sequences(void **state)
{
    UNUSED(state);
    expect_sequence((unsigned[]){5, 1, 1}, 3, "aabacaa");
    expect_sequence((unsigned[]){1, 1}, 2, "ab");
    expect_sequence((unsigned[]){1, 1, 1}, 3, "abc");
    expect_sequence((unsigned[]){3, 1}, 2, "aaba");
    expect_sequence((unsigned[]){2, 3}, 2, "babab");
    expect_sequence((unsigned[]){7}, 1, "a");
    expect_sequence((unsigned[]){4, 2, 1}, 3, "abacaba");
}

static void test_common_divisor_is_taken_out(void **state)
{
    UNUSED(state);
    expect_sequence((unsigned[]){500, 100, 100}, 3, "aabacaa");
    expect_sequence((unsigned[]){1000, 1000}, 2, "ab");
}

static void test_shares_follow_weights(void **state)
{
    UNUSED(state);
    unsigned weights[] = {7, 13, 1, 29, 50};
    unsigned counts[ARRAY_LEN(weights)] = {0};
    struct policy_view *v = build(weights, ARRAY_LEN(weights));
    for (uint64_t turn = 12345; turn < 12345 + 100 * 3; turn++)
        counts[number(pick(v, turn, NULL, 0))]++;
    for (size_t i = 0; i < ARRAY_LEN(weights); i++)
        assert_int_equal(counts[i], 3 * weights[i]);
    policy_rr.destroy(v);
}

/* Half of all turns are one instance's: never twice in a row, never two others more between. */
static void test_heavy_one_is_spread(void **state)
{
    UNUSED(state);
    unsigned weights[] = {10, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    struct policy_view *v = build(weights, ARRAY_LEN(weights));
    char turns[21] = {0};
    for (uint64_t turn = 0; turn < 20; turn++)
        turns[turn] = number(pick(v, turn, NULL, 0)) == 0 ? 'a' : '.';
    assert_null(strstr(turns, "aa"));
    assert_null(strstr(turns, "..."));
    policy_rr.destroy(v);
}

static void test_long_schedules_are_bounded(void **state)
{
    UNUSED(state);
    static unsigned weights[100], counts[100];
    for (size_t i = 0; i < 100; i++)
        weights[i] = i == 0 ? 1 : 901 + (unsigned)i;
    struct policy_view *v = build(weights, 100);
    for (uint64_t turn = 0; turn < 2 * POLICY_RR_MAX_TURNS; turn++)
        counts[number(pick(v, turn, NULL, 0))]++;
    assert_true(counts[0] >= 1 && counts[0] <= 3);
    for (size_t i = 1; i < 100; i++)
        assert_in_range(counts[i], 70, 100);
    policy_rr.destroy(v);
}

static void test_more_instances_than_turns(void **state)
{
    UNUSED(state);
    static unsigned weights[5000];
    static bool seen[5000];
    for (size_t i = 0; i < 5000; i++)
        weights[i] = 1 + (unsigned)(i % 2) * 999;
    struct policy_view *v = build(weights, 5000);
    for (uint64_t turn = 0; turn < 20000; turn++)
        seen[number(pick(v, turn, NULL, 0))] = true;
    for (size_t i = 0; i < 5000; i++)
        assert_true(seen[i]);
    policy_rr.destroy(v);
}

static void test_none(void **state)
{
    UNUSED(state);
    struct policy_view *v = build(NULL, 0);
    assert_null(pick(v, 0, NULL, 0));
    assert_null(pick(v, UINT64_MAX, NULL, 0));
    policy_rr.destroy(v);
}

static void test_tried_are_left_out(void **state)
{
    UNUSED(state);
    struct policy_view *v = build((unsigned[]){100, 1, 1}, 3);
    struct instance *tried[3] = {named(0), named(2), named(1)};
    for (uint64_t turn = 0; turn < 204; turn++) {
        assert_int_not_equal(number(pick(v, turn, tried, 1)), 0);
        assert_int_equal(number(pick(v, turn, tried, 2)), 1);
        assert_null(pick(v, turn, tried, 3));
    }
    policy_rr.destroy(v);
}

static void test_turn_at_the_end_of_its_range(void **state)
{
    UNUSED(state);
    struct policy_view *v = build((unsigned[]){1, 1, 1}, 3);
    struct instance *tried[1] = {pick(v, UINT64_MAX, NULL, 0)};
    assert_non_null(tried[0]);
    assert_non_null(pick(v, UINT64_MAX, tried, 1));
    policy_rr.destroy(v);
}

static void test_table(void **state)
{
    UNUSED(state);
    static const char *const names_of[] = {"round_robin", "least_connections", "two_choices", "hash"};
    for (int b = CONFIG_BALANCE_ROUND_ROBIN; b <= CONFIG_BALANCE_HASH; b++)
        assert_string_equal(policy_of_balance((enum config_balance)b)->name, names_of[b]);
    assert_ptr_equal(policy_of_balance(CONFIG_BALANCE_ROUND_ROBIN), &policy_rr);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_smooth_sequences),
        cmocka_unit_test(test_common_divisor_is_taken_out),
        cmocka_unit_test(test_shares_follow_weights),
        cmocka_unit_test(test_heavy_one_is_spread),
        cmocka_unit_test(test_long_schedules_are_bounded),
        cmocka_unit_test(test_more_instances_than_turns),
        cmocka_unit_test(test_none),
        cmocka_unit_test(test_tried_are_left_out),
        cmocka_unit_test(test_turn_at_the_end_of_its_range),
        cmocka_unit_test(test_table),
    };
    return cmocka_run_group_tests_name("balancer/policy_rr", tests, NULL, NULL);
}
