/* test_build_split.c: split of a route, by its parts and by what is said of wrong ones. */
#include "config_test.h"

#define POOLS       APP "[pool new]\nserver = 127.0.0.1:3002\n"
#define SPLIT(text) POOLS "[route a]\nsplit = " text "\n"
#define PLACE       "t.ini:6: [route a] split: "

static void expect_split(const char *text, int stable, int canary, enum config_split_by by, const char *name)
{
    char ini[256];
    snprintf(ini, sizeof ini, SPLIT("%s"), text);
    struct config *c = load_ok(ini);
    const struct config_route *r = &c->routes[0];
    assert_int_equal(r->pool, 0);
    assert_true(r->split.pools[0] == 0 && r->split.pools[1] == 1 && r->split.weights[0] == stable &&
                r->split.weights[1] == canary && r->split.by == by);
    assert_string_equal(r->split.name, name);
    assert_string_equal(r->split.text, text);
    assert_true(r->split_samples == 100 && r->split_max_errors_percent == 5 &&
                r->split_max_latency_percent == 100);
    config_unref(c);
}

static void test_parts(void **state)
{
    UNUSED(state);
    expect_split("app=95 new=5", 95, 5, CONFIG_SPLIT_CLIENT_IP, "");
    expect_split("app=1000 new=0 by=client_ip", 1000, 0, CONFIG_SPLIT_CLIENT_IP, "");
    expect_split("app=0 new=1 by=cookie:sid", 0, 1, CONFIG_SPLIT_COOKIE, "sid");
    expect_split("app=1 new=1 by=header:X-Side", 1, 1, CONFIG_SPLIT_HEADER, "X-Side");
}

static void test_none(void **state)
{
    UNUSED(state);
    struct config *c = load_ok(APP "[route a]\n");
    assert_string_equal(c->routes[0].split.text, "");
    config_unref(c);
}

static void test_both_pools_are_used(void **state)
{
    const char *text = SPLIT("app=95 new=5");
    struct config_problems p;
    UNUSED(state);
    struct config *c = config_load_text("t.ini", text, strlen(text), &p);
    print_problems(&p);
    assert_true(c != NULL && p.count == 0);
    config_problems_free(&p);
    config_unref(c);
}

static void test_stable_is_the_pool(void **state)
{
    UNUSED(state);
    struct config *c = load_ok(SPLIT("new=1 app=1"));
    assert_int_equal(c->routes[0].pool, 1);
    config_unref(c);
}

static void test_wrong_ones(void **state)
{
    static const struct {
        const char *text, *said;
    } rows[] = {
        {"app=95", "\"\" is no pool with a weight from 0 to 1000; write two, such as stable=95"},
        {"app new", "\"app\" is no pool with a weight"},
        {"app=95 =5", "\"=5\" is no pool with a weight"},
        {"app=1001 new=5", "\"app=1001\" is no pool with a weight"},
        {"app=-1 new=5", "\"app=-1\" is no pool with a weight"},
        {"app=95 mew=5", "there is no pool \"mew\"; did you mean \"new\"?"},
        {"app=95 elsewhere=5", "there is no pool \"elsewhere\"; write a section [pool elsewhere]"},
        {"app=95 app=5", "both sides are the same pool; write two"},
        {"app=0 new=0", "both weights are 0; write how much"},
        {"app=95 new=5 by=me", "\"by=me\" does not say who stays where; write by=client_ip"},
        {"app=95 new=5 by=cookie:", "\"by=cookie:\" does not say"},
        {"app=95 new=5 by=client_ip x", "\"x\" is too much; write two pools"},
    };
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char ini[256], said[256];
        snprintf(ini, sizeof ini, SPLIT("%s"), rows[i].text);
        snprintf(said, sizeof said, PLACE "%s", rows[i].said);
        expect_error(ini, said);
    }
    expect_error(SPLIT("app=1 new=1") "pool = app\n", "keep one of pool, split, root, redirect and respond");
    expect_error(SPLIT("app=1 new=1") "respond = 200 a\n",
                 "keep one of pool, split, root, redirect and respond");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_none),
        cmocka_unit_test(test_both_pools_are_used),
        cmocka_unit_test(test_stable_is_the_pool),
        cmocka_unit_test(test_wrong_ones),
    };
    return cmocka_run_group_tests_name("config/build_split", tests, NULL, NULL);
}
