/* test_herd.c: who renews early, and how lifetimes are spread. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cache/herd.h"
#include "core/random.h"

static void test_code_covers_the_fetch_up_to_four_seconds(void **state)
{
    UNUSED(state);
    static const struct {
        dur_ms_t fetch_ms, fresh_ms;
        unsigned want;
    } rows[] = {
        {0, 3600000, 1},
        {1, 3600000, 1},
        {2, 3600000, 2},
        {3, 3600000, 2},
        {4, 3600000, 3},
        {100, 3600000, 7},
        {127, 3600000, 7},
        {128, 3600000, 8},
        {4095, 3600000, 12},
        {4096, 3600000, 12},
        {999999, 3600000, 12},
        /* never in the first half of the life */
        {100, 1000, 5},
        {100, 4063, 6},
        {100, 4064, 7},
        {1, 32, 1},
        {1, 31, 0},
        {1, 0, 0},
        {100, -5, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        unsigned code = cache_early_code(rows[i].fetch_ms, rows[i].fresh_ms);
        if (code != rows[i].want)
            fail_msg("row %zu: %u", i, code);
        assert_true(cache_early_ms(code) * CACHE_EARLY_WINDOW <= CACHE_EARLY_MOST_MS);
    }
}

/* P(renewed) = exp(-left / fetch), and nothing outside of the window. */
static void test_chance_grows_towards_the_end(void **state)
{
    UNUSED(state);
    enum { DRAWS = 100000 };
    const unsigned code = 7;
    uint64_t random = 1;
    for (dur_ms_t left_ms = 0; left_ms <= 5 * cache_early_ms(code); left_ms += 50) {
        unsigned wins = 0;
        for (unsigned i = 0; i < DRAWS; i++)
            wins += cache_early_wins(code, left_ms, random_next(&random));
        double want = exp(-(double)left_ms / (double)cache_early_ms(code));
        double sigma = sqrt(want * (1 - want) / DRAWS);
        if (fabs((double)wins / DRAWS - want) > 6 * sigma + 1e-9)
            fail_msg("%d ms left: %u of %u", (int)left_ms, wins, DRAWS);
    }
    assert_true(cache_early_wins(code, 1, 0)); /* the luckiest draw */
    assert_true(cache_early_wins(code, cache_early_ms(code) * CACHE_EARLY_WINDOW - 1, 0));
    assert_false(cache_early_wins(code, cache_early_ms(code) * CACHE_EARLY_WINDOW, 0));
    assert_false(cache_early_wins(0, 0, 0));
    assert_false(cache_early_wins(code, 1, UINT64_MAX));
}

static void test_jitter_only_shortens(void **state)
{
    UNUSED(state);
    uint64_t random = 2;
    dur_ms_t shortest = 100000, longest = 0;
    for (unsigned i = 0; i < 10000; i++) {
        struct cache_freshness f = {.corrected_initial_ms = 20000, .lifetime_ms = 120000};
        cache_ttl_jitter(&f, 10, random_next(&random));
        assert_int_equal(f.corrected_initial_ms, 20000);
        assert_true(f.lifetime_ms <= 120000);
        shortest = MIN(shortest, f.lifetime_ms - 20000);
        longest = MAX(longest, f.lifetime_ms - 20000);
    }
    assert_in_range(shortest, 90000, 90100);
    assert_in_range(longest, 99900, 100000);
    struct cache_freshness expired = {.corrected_initial_ms = 5000, .lifetime_ms = 5000};
    cache_ttl_jitter(&expired, 90, 1);
    assert_int_equal(expired.lifetime_ms, 5000);
    struct cache_freshness kept = {.lifetime_ms = 1000};
    cache_ttl_jitter(&kept, 0, 1);
    assert_int_equal(kept.lifetime_ms, 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_code_covers_the_fetch_up_to_four_seconds),
        cmocka_unit_test(test_chance_grows_towards_the_end),
        cmocka_unit_test(test_jitter_only_shortens),
    };
    return cmocka_run_group_tests_name("cache/herd", tests, NULL, NULL);
}
