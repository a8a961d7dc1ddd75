/* test_origin.c: the line to change. */
#include "config_test.h"

#include "core/hash.h"

static void test_own_line_else_that_of_cache(void **state)
{
    static const char text[] =
        "[pool app]\nserver = 127.0.0.1:1\n[cache]\nstore = off\nmax_object_size = 1M\n"
        "[route a]\npath = /a\nttl = 5s\n[route b]\nmax_object_size = 2M\n";
    (void)state;
    struct config_problems problems = {0};
    struct config *c = config_load_text("x.ini", text, sizeof text - 1, &problems);
    assert_non_null(c);
    hash_seed_fixed(12345); /* as the start does, once the configuration is there */
    static const struct {
        size_t route;
        const char *key;
        int line; /* 0: none */
    } cases[] = {{0, "ttl", 8},
                 {1, "ttl", 0},
                 {0, "max_object_size", 5},
                 {1, "max_object_size", 10},
                 {0, "cache", 0},
                 {0, "path", 7},
                 {0, "store", 4}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct config_origin at = config_route_origin(c, &c->routes[cases[i].route], cases[i].key);
        assert_int_equal(at.line, cases[i].line);
        if (cases[i].line == 0)
            assert_null(at.file);
        else
            assert_string_equal(at.file, "x.ini");
    }
    config_unref(c);
    config_problems_free(&problems);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_own_line_else_that_of_cache)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
