/* test_pass.c: what is remembered of keys whose response could not be stored. */
#include "fixture.h"

#include "cache/pass.h"

static struct cache_pass *table(void)
{
    struct cache_pass *p = aligned_alloc(CACHE_LINE, sizeof *p);
    assert_non_null(p);
    memset(p, 0, sizeof *p);
    return p;
}

static void test_reason_status_and_times(void **state)
{
    UNUSED(state);
    struct cache_pass *p = table();
    struct cache_pass_memory m;
    assert_false(cache_pass_get(p, 7, 1000, &m));
    for (unsigned why = 0; why < NO_STORE_COUNT; why++) {
        cache_pass_remember_why(p, 7, 1000, 120000, (enum no_store_reason)why, 599);
        assert_true(cache_pass_get(p, 7, 13000, &m));
        assert_int_equal(cache_pass_says(p, 7, 13000),
                         why == NO_STORE_STORED ? NO_STORE_PASS_REMEMBERED : NO_STORE_REMEMBERED + why);
        assert_int_equal(m.why, why);
        assert_int_equal(m.status, 599);
        assert_int_equal(m.ago_ms, 12000);
        assert_int_equal(m.left_ms, 108000);
    }
    assert_true(cache_pass_has(p, 7, 120999));
    assert_false(cache_pass_has(p, 7, 121000));
    assert_false(cache_pass_get(p, 7, 121000, &m));
    assert_int_equal(cache_pass_says(p, 7, 121000), NO_STORE_STORED);
    cache_pass_remember(p, 7, 200000, 1000);
    assert_true(cache_pass_get(p, 7, 200000, &m));
    assert_int_equal(m.why, NO_STORE_STORED); /* nobody said */
    cache_pass_forget(p, 7);
    assert_false(cache_pass_has(p, 7, 200000));
    free(p);
}

/* A machine that has been up for ten years, and a time that is longer than what is kept of it. */
static void test_far_away_times(void **state)
{
    UNUSED(state);
    struct cache_pass *p = table();
    struct cache_pass_memory m;
    mono_ms_t years = INT64_C(10) * 366 * 86400 * 1000;
    cache_pass_remember_why(p, 9, years, 3600000, NO_STORE_PRIVATE, 200);
    assert_true(cache_pass_get(p, 9, years + 3599999, &m));
    assert_int_equal(m.why, NO_STORE_PRIVATE);
    assert_int_equal(m.left_ms, 1);
    assert_true(m.ago_ms >= 0);
    assert_false(cache_pass_has(p, 9, years + 3600000));
    free(p);
}

/* The set is full: the one that expires first makes room. */
static void test_the_oldest_makes_room(void **state)
{
    UNUSED(state);
    struct cache_pass *p = table();
    for (uint64_t i = 1; i <= CACHE_PASS_WAYS + 1; i++)
        cache_pass_remember_why(p, i, 0, (dur_ms_t)(i * 1000), NO_STORE_PRIVATE, 200);
    assert_false(cache_pass_has(p, 1, 0));
    for (uint64_t i = 2; i <= CACHE_PASS_WAYS + 1; i++)
        assert_true(cache_pass_has(p, i, 0));
    free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reason_status_and_times),
        cmocka_unit_test(test_far_away_times),
        cmocka_unit_test(test_the_oldest_makes_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
