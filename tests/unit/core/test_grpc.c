/* test_grpc.c: which requests are gRPC's, how long they have, and what our statuses are to them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/grpc.h"

static void test_content_type(void **state)
{
    static const char *const yes[] = {"application/grpc", "application/grpc+proto", "Application/GRPC; a=b"};
    static const char *const no[] = {"", "application/grp", "application/grpc-web", "application/grpcs", "a"};
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(yes); i++)
        assert_true(grpc_is_content_type(slice_str(yes[i])));
    for (size_t i = 0; i < ARRAY_LEN(no); i++)
        assert_false(grpc_is_content_type(slice_str(no[i])));
}

static void test_timeout(void **state)
{
    static const struct {
        const char *text;
        dur_ms_t ms;
    } good[] = {{"1H", 3600000},
                {"2M", 120000},
                {"3S", 3000},
                {"4m", 4},
                {"5u", 1},
                {"6n", 1},
                {"0m", 0},
                {"1000000n", 1},
                {"1000001n", 2},
                {"2000u", 2},
                {"99999999H", 99999999 * INT64_C(3600000)}};
    static const char *const bad[] = {"", "1", "S", "100000000S", "1s", "-1S", "1 S", " 1S", "1.5S", "1SS"};
    dur_ms_t ms;
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        assert_true(grpc_timeout_parse(slice_str(good[i].text), &ms));
        assert_int_equal(ms, good[i].ms);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(grpc_timeout_parse(slice_str(bad[i]), &ms));
}

static void test_status(void **state)
{
    UNUSED(state);
    for (unsigned s = 502; s <= 504; s++)
        assert_int_equal(grpc_status_of(s), GRPC_UNAVAILABLE);
    assert_int_equal(grpc_status_of(413), 8);
    assert_int_equal(grpc_status_of(500), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_content_type), cmocka_unit_test(test_timeout),
                                       cmocka_unit_test(test_status)};
    return cmocka_run_group_tests_name("core/grpc", tests, NULL, NULL);
}
