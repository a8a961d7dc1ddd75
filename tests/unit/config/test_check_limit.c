/* test_check_limit.c: what rate_limit needs elsewhere in the file, and limits that are surely not meant. */
#include "config_test.h"

#define LIMIT(text) APP "[route a]\nrate_limit = " text "\n"
#define PLACE       "t.ini:4: [route a] rate_limit: "

static void test_shared_takes_redis(void **state)
{
    UNUSED(state);
    expect_error(LIMIT("5/s shared"), PLACE "shared counts in Redis, and there is no [redis]; ");
    expect_no_problem(LIMIT("5/s shared") "[redis]\n"); /* nor is that called useless */
    expect_warning(LIMIT("5/s") "[redis]\n", "store = memory keeps nothing in Redis");
}

static void test_nonsense(void **state)
{
    UNUSED(state);
    expect_warning(LIMIT("5/s burst=0"), PLACE "burst=0 is taken as burst=1");
    expect_warning(LIMIT("2000000/s"), PLACE "no client is that fast");
    expect_warning(LIMIT("20000/s shared") "[redis]\n",
                   PLACE "Redis is asked for each of that many requests");
    expect_warning(LIMIT("5/s by=header:x-forwarded-for"), PLACE "a client may write what it likes there");
    expect_warning(LIMIT("5/s by=header:X-Real-IP"), "write by=client_ip");
    expect_no_problem(LIMIT("1000000/s burst=1"));
    expect_no_problem(LIMIT("60000000/m"));
    expect_no_problem(LIMIT("10000/s shared") "[redis]\n");
    expect_no_problem(LIMIT("5/s by=header:X-Api-Key"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shared_takes_redis),
        cmocka_unit_test(test_nonsense),
    };
    return cmocka_run_group_tests_name("config/check_limit", tests, NULL, NULL);
}
