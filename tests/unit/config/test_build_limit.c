/* test_build_limit.c: rate_limit of a route, by its parts and by what is said of wrong ones. */
#include "config_test.h"

#define LIMIT(text) APP "[route a]\nrate_limit = " text "\n"
#define PLACE       "t.ini:4: [route a] rate_limit: "

static void expect_limit(const char *text, int64_t amount, int per_s, int64_t burst, const char *header,
                         bool shared)
{
    char ini[256];
    snprintf(ini, sizeof ini, LIMIT("%s") "[redis]\n", text);
    struct config *c = load_ok(ini);
    const struct config_rate_limit *l = &c->routes[0].rate_limit;
    assert_true(l->amount == amount && l->per_s == per_s && l->burst == burst && l->shared == shared);
    assert_string_equal(l->header, header);
    assert_string_equal(l->text, text);
    config_unref(c);
}

static void test_parts(void **state)
{
    UNUSED(state);
    expect_limit("50/s", 50, 1, 50, "", false);
    expect_limit("600/m", 600, 60, 600, "", false);
    expect_limit("5/h burst=2", 5, 3600, 2, "", false);
    expect_limit("50/s burst=100 by=client_ip", 50, 1, 100, "", false);
    expect_limit("50/s by=header:X-Api-Key burst=100", 50, 1, 100, "X-Api-Key", false);
    expect_limit("50/s shared by=header:X-Api-Key", 50, 1, 50, "X-Api-Key", true);
    expect_limit("50/s burst=100 by=client_ip shared", 50, 1, 100, "", true);
    expect_limit("1000000000/s", 1000000000, 1, 1000000000, "", false);
    expect_limit("1/h burst=8760", 1, 3600, 8760, "", false);
}

static void test_none(void **state)
{
    UNUSED(state);
    struct config *c = load_ok(APP "[route a]\n");
    assert_int_equal(c->routes[0].rate_limit.amount, 0);
    assert_false(c->routes[0].rate_limit.shared);
    config_unref(c);
}

static void test_wrong_rates(void **state)
{
    static const char *const none[] = {"50",  "/s",    "s",   "-5/s",    "50/d",
                                       "50/", "5 0/s", "50s", "burst=5", "50/S"};
    char ini[256];
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(none); i++) {
        snprintf(ini, sizeof ini, LIMIT("%s"), none[i]);
        expect_error(ini, "is no rate; begin with one, such as 50/s, 600/m or 100/h");
    }
    expect_error(LIMIT("0/s"), PLACE "\"0/s\" lets nothing pass; write at least 1");
    expect_error(LIMIT("1000000001/h"),
                 PLACE "\"1000000001/h\" is out of range; write a rate from 1 to 1000000000");
    expect_error(LIMIT("99999999999999999999/s"), "is no rate; ");
}

static void test_wrong_parts(void **state)
{
    UNUSED(state);
    expect_error(LIMIT("50/s burst="), PLACE "burst= is no number from 1 to 1000000000; ");
    expect_error(LIMIT("50/s burst=-1"), "burst=-1 is no number");
    expect_error(LIMIT("50/s burst=1000000001"), "burst=1000000001 is no number");
    expect_error(LIMIT("50/s by=ip"),
                 PLACE "by=ip is nothing to count by; write by=client_ip or by=header:NAME");
    expect_error(LIMIT("50/s by=header:"), "by=header: is nothing to count by");
    expect_error(LIMIT("50/s by=header:a:b"), "by=header:a:b is nothing");
    expect_error(LIMIT("50/s bursts=5"),
                 PLACE "there is no \"bursts=5\" for a rate; did you mean \"burst\"?");
    expect_error(LIMIT("50/s burst"), "there is no \"burst\" for a rate; there are burst=100");
    expect_error(LIMIT("50/s share"), "did you mean \"shared\"?");
    expect_error(LIMIT("50/s nodelay"), "there is no \"nodelay\" for a rate; there are");
    expect_error(LIMIT("50/s burst=5 burst=6"), PLACE "\"burst=6\" is the second of its kind; write one");
    expect_error(LIMIT("50/s by=client_ip by=client_ip"), "is the second of its kind");
    expect_error(LIMIT("50/s shared shared") "[redis]\n", "is the second of its kind");
    expect_error(LIMIT("1/h burst=8761"),
                 PLACE "burst=8761 takes more than a year to come back at this rate; ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_none),
        cmocka_unit_test(test_wrong_rates),
        cmocka_unit_test(test_wrong_parts),
    };
    return cmocka_run_group_tests_name("config/build_limit", tests, NULL, NULL);
}
