/* test_quantile.c: how near the running percentile comes to the true one, from when on it says something, and
 * that it follows when times change. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "core/base.h"
#include "core/quantile.h"

static struct quantile *quantile_new(void)
{
    struct quantile *q = calloc(1, sizeof *q);
    assert_non_null(q);
    return q;
}

static void test_nothing_before_enough_values(void **state)
{
    UNUSED(state);
    struct quantile *q = quantile_new();
    for (int i = 1; i < QUANTILE_LEAST; i++) {
        quantile_observe(q, 1000);
        assert_int_equal(quantile_p95_us(q), 0);
    }
    quantile_observe(q, 1000);
    assert_in_range(quantile_p95_us(q), 1000, 1125);
    free(q);
}

/* Of 1 to 1000 times `unit`, in an order that jumps about. */
static void test_within_an_eighth(void **state)
{
    UNUSED(state);
    static const mono_us_t units[] = {1, 7, 100, 3000, 100000};
    for (size_t u = 0; u < ARRAY_LEN(units); u++) {
        struct quantile *q = quantile_new();
        for (int i = 0; i < 1000; i++)
            quantile_observe(q, (i * 377 % 1000 + 1) * units[u]);
        assert_in_range(quantile_p95_us(q), 950 * units[u], 950 * units[u] * 9 / 8);
        free(q);
    }
}

static void test_values_beyond_all_bounds(void **state)
{
    UNUSED(state);
    struct quantile *q = quantile_new();
    for (int i = 0; i < 200; i++)
        quantile_observe(q, i % 2 == 0 ? INT64_MAX : -5);
    assert_in_range(quantile_p95_us(q), INT32_MAX / 2, UINT32_MAX);
    free(q);
}

static void test_it_follows(void **state)
{
    UNUSED(state);
    struct quantile *q = quantile_new();
    for (int i = 0; i < 100000; i++)
        quantile_observe(q, 20000);
    for (int i = 0; i < QUANTILE_WINDOW * 5; i++)
        quantile_observe(q, 500);
    assert_in_range(quantile_p95_us(q), 500, 563);
    for (int i = 0; i < QUANTILE_WINDOW; i++)
        quantile_observe(q, i % 10 == 0 ? 80000 : 500);
    assert_in_range(quantile_p95_us(q), 80000, 90000);
    free(q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_before_enough_values),
        cmocka_unit_test(test_within_an_eighth),
        cmocka_unit_test(test_values_beyond_all_bounds),
        cmocka_unit_test(test_it_follows),
    };
    return cmocka_run_group_tests_name("core/quantile", tests, NULL, NULL);
}
