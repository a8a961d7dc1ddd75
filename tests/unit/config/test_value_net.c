/* test_value_net.c: addresses, hosts and path patterns: what is taken and what is advised. */
#include "config_test.h"

#include "config/value.h"

static void test_listen_address(void **state)
{
    struct net_addr a;
    static const struct {
        const char *text, *part;
    } bad[] = {{"8080", "colon before the port"},
               {"localhost:80", "numeric"},
               {"127.0.0.1", "no port"},
               {"*:80", "numeric"},
               {"127.0.0.1:99999", "no port"},
               {"unix:", "socket path"},
               {"[::1]", "no port"},
               {"1.2.3:80", "numeric"},
               {"", "no port"}};
    static const char *const good[] = {"127.0.0.1:80", "[::1]:80", ":80", "unix:/tmp/x", "0.0.0.0:0"};
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_null(value_parse_listen_address(slice_str(good[i]), &a));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        const char *why = value_parse_listen_address(slice_str(bad[i].text), &a);
        if (why == NULL || strstr(why, bad[i].part) == NULL)
            fail_msg("%s: %s", bad[i].text, why);
    }
}

static void test_server_address(void **state)
{
    slice_t host;
    static const struct {
        const char *text, *host;
    } good[] = {{"127.0.0.1:3001", "127.0.0.1"},
                {"app.internal:80", "app.internal"},
                {"[::1]:80", "[::1]"},
                {"unix:/run/app.sock", "localhost"},
                {"app_1:80", "app_1"}};
    static const char *const bad[] = {"127.0.0.1", "app",    "http://app:80", "app:0", "app:99999",
                                      ":80",       "::1:80", "a b:80",        "unix:", "999.1.1.1:80",
                                      "a..b:80",   "-a:80",  "[app]:80",      "a/b:80"};
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        assert_null(value_parse_server_address(slice_str(good[i].text), &host));
        assert_true(slice_eq(host, slice_str(good[i].host)));
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        if (value_parse_server_address(slice_str(bad[i]), &host) == NULL)
            fail_msg("%s", bad[i]);
    }
}

static void test_hosts(void **state)
{
    static const char *const good[] = {"example.com", "*.example.com", "127.0.0.1", "[::1]", "localhost"};
    static const char *const bad[] = {
        "",         "*",     "*example.com", "a.*.com",   "*.",   "example.com:80", "a b",
        "http://a", "1.2.3", "::1",          "[1.2.3.4]", "[::1", "[::/1]"};
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_null(value_parse_host_pattern(slice_str(good[i])));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        if (value_parse_host_pattern(slice_str(bad[i])) == NULL)
            fail_msg("%s", bad[i]);
    }
    assert_non_null(strstr(value_parse_host(SLICE_LIT("a.example:80")), "port"));
    assert_non_null(value_parse_host(SLICE_LIT("*.example.com")));
}

static void test_paths(void **state)
{
    struct config_path p;
    static const char *const bad[] = {"",   "*",    "a",    "api/*", "/api*", "/a/*/b", "*.tar*", "*png",
                                      "*.", "*./x", "/a?b", "/a#b",  "/a b",  "**",     "*/x"};
    UNUSED(state);
    assert_null(value_parse_path_pattern(SLICE_LIT("/a"), &p));
    assert_true(p.match == CONFIG_PATH_EXACT && p.len == 2);
    assert_null(value_parse_path_pattern(SLICE_LIT("/a/*"), &p));
    assert_true(p.match == CONFIG_PATH_PREFIX && slice_eq(slice_make(p.text, p.len), SLICE_LIT("/a/")));
    assert_null(value_parse_path_pattern(SLICE_LIT("/*"), &p));
    assert_true(p.match == CONFIG_PATH_PREFIX && p.len == 1);
    assert_null(value_parse_path_pattern(SLICE_LIT("*.tar.gz"), &p));
    assert_true(p.match == CONFIG_PATH_SUFFIX && slice_eq(slice_make(p.text, p.len), SLICE_LIT(".tar.gz")));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        if (value_parse_path_pattern(slice_str(bad[i]), &p) == NULL)
            fail_msg("%s", bad[i]);
    }
}

static void test_cidr(void **state)
{
    struct net_cidr c;
    UNUSED(state);
    assert_null(value_parse_cidr(SLICE_LIT("10.0.0.0/8"), &c));
    assert_int_equal(c.bits, 104);
    assert_null(value_parse_cidr(SLICE_LIT("unix"), &c));
    assert_true(c.is_unix);
    assert_non_null(value_parse_cidr(SLICE_LIT("10.0.0.0/33"), &c));
    assert_non_null(value_parse_cidr(SLICE_LIT("example.com"), &c));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_listen_address), cmocka_unit_test(test_server_address),
        cmocka_unit_test(test_hosts),          cmocka_unit_test(test_paths),
        cmocka_unit_test(test_cidr),
    };
    return cmocka_run_group_tests_name("config/value_net", tests, NULL, NULL);
}
