/* test_random.c: known values, and an even spread. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base.h"
#include "core/random.h"

static void test_sequence_is_splitmix64(void **state)
{
    UNUSED(state);
    uint64_t seed = 0;
    assert_true(random_next(&seed) == 0xe220a8397b1dcdafu);
    assert_true(random_next(&seed) == 0x6e789e6aa1b965f4u);
}

static void test_share_is_above_zero_and_even(void **state)
{
    UNUSED(state);
    assert_true(random_share(0) > 0);
    assert_true(random_share(UINT64_MAX) == 1.0);
    uint64_t seed = 3;
    unsigned tenth[10] = {0};
    for (unsigned i = 0; i < 100000; i++)
        tenth[(unsigned)(random_share(random_next(&seed)) * 9.999999)]++;
    for (unsigned i = 0; i < 10; i++)
        assert_in_range(tenth[i], 9400, 10600);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sequence_is_splitmix64),
        cmocka_unit_test(test_share_is_above_zero_and_even),
    };
    return cmocka_run_group_tests_name("core/random", tests, NULL, NULL);
}
