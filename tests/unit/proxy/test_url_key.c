/* test_url_key.c: the keys of a URL without a request: by the routes a GET for it may take. */
#include "fixture.h"
#include "proxy/url_key.h"

static const char ini[] =
    FIX_APP "[route write]\nmethod = POST\nkey_query = none\n"
            "[route beta]\npath = /mixed/*\nheader = X-Beta\nkey_query = only: id\n"
            "[route gamma]\npath = /mixed/*\nheader = X-Gamma\nkey_query = only: id\n"
            "[route mixed]\npath = /mixed/*, /a%20b\nmethod = GET, HEAD\nkey_query = except: utm_*\n"
            "[route shop]\nhost = shop.example\nkey_query = none\nkey_device = yes\n"
            "[route late]\nhost = shop.example\nkey_sort = no\n"
            "[route form]\npath = /form\nheader = X-Form\n[route rest]\npath = /form, /rest\n"
            "[route keep]\npath = /keep\nkeep_request_header = X-Forwarded-Prefix\n";

static void expect_keys(const char *url, const char *first, const char *second, bool first_goes_on)
{
    struct proxy_fix f;
    struct arena arena;
    struct cache_url parts;
    struct proxy_url_key *keys;
    fix_start(&f, ini, false);
    arena_init(&arena, NULL, 0, 64 * KB);
    assert_true(cache_url_split(slice_str(url), &parts));
    size_t count = proxy_url_keys(f.snapshot, &parts, &arena, &keys);
    if (count != 1 + (second != NULL))
        fail_msg("%s: %zu keys", url, count);
    if (!slice_eq(keys[0].key.text, slice_str(first)))
        fail_msg("%s: " SLICE_FMT, url, SLICE_ARG(keys[0].key.text));
    assert_int_equal(keys[0].goes_on, first_goes_on);
    if (second != NULL && !slice_eq(keys[1].key.text, slice_str(second)))
        fail_msg("%s: " SLICE_FMT, url, SLICE_ARG(keys[1].key.text));
    arena_reset(&arena);
    fix_end(&f);
}

static void test_by_route(void **state)
{
    UNUSED(state);
    expect_keys("http://h/mixed/x?id=1&utm_a=2&b=3", "http://h/mixed/x?id=1", "http://h/mixed/x?b=3&id=1",
                true);
    expect_keys("http://h/mixed/x?utm_a=2&id=1", "http://h/mixed/x?id=1", NULL, true);
    expect_keys("http://h/%6dixed/../mixed/x?id=1", "http://h/mixed/../mixed/x?id=1", NULL, true);
    expect_keys("http://h/a%20b?utm_x", "http://h/a%20b", NULL, true);
    expect_keys("http://SHOP.example:80?b&a", "http://shop.example/", NULL, true);
    expect_keys("http://h/form?b&a", "http://h/form?a&b", NULL, true);
    expect_keys("http://h/rest?b&a", "http://h/rest?a&b", NULL, false);
    expect_keys("http://h/keep?b&a", "http://h/keep?a&b", NULL, true);
    expect_keys("http://h/none?b&a", "http://h/none?a&b", NULL, false); /* no route: the default rules */
}

static void test_refused(void **state)
{
    UNUSED(state);
    struct proxy_fix f;
    struct arena arena;
    struct proxy_url_key *keys;
    const struct cache_url url = {SLICE_LIT("http"), SLICE_LIT("h"), SLICE_LIT("/"), SLICE_EMPTY};
    fix_start(&f, ini, false);
    arena_init(&arena, NULL, 0, 0);
    assert_int_equal(proxy_url_keys(f.snapshot, &url, &arena, &keys), 0);
    arena_reset(&arena);
    fix_end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_by_route), cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests_name("proxy/url_key", tests, NULL, NULL);
}
