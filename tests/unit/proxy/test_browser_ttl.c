/* test_browser_ttl.c: Cache-Control as browsers get it, by what is stored. */
#include "proxy/browser_ttl.h"

#include "fixture.h"

#define HEAD(fields) "HTTP/1.1 200 OK\r\nA: b\r\n" fields
#define CC(value)    "Cache-Control: " value "\r\n"

static void test_rewrites(void **state)
{
    static const struct {
        const char *head, *want;
    } rows[] = {
        {HEAD(""), CC("max-age=70")},
        {HEAD(CC("max-age=5")), CC("max-age=70")},
        {HEAD(CC("Public , S-MaxAge=5,MAX-AGE = 9") "b: c\r\ncache-control: no-transform\r\n"),
         CC("max-age=70, Public, no-transform")},
        {HEAD(CC("immutable, x=\"max-age=5, y\", max-ages=1")),
         CC("max-age=70, immutable, x=\"max-age=5, y\", max-ages=1")},
        {HEAD(CC("a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a")),
         CC("max-age=70, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, "
            "a, "
            "a, a, a, a, a, a, a, a, a, a, a")},
        {HEAD(CC("x=\"open")), CC("max-age=70, x=\"open")},
        /* held back */
        {HEAD(CC("no-store")), NULL},
        {HEAD(CC("public") CC("no-cache")), NULL},
        {HEAD(CC("private, max-age=5")), NULL},
    };
    struct proxy_fix f;
    struct exchange x = {.source = SOURCE_OBJECT};
    UNUSED(state);
    fix_start(&f, FIX_APP "[route r]\nbrowser_ttl = 1m\n", false);
    assert_true(f.snapshot->routes[0].edits_response);
    x.pw = f.pw;
    x.route = &f.snapshot->routes[0];
    x.info = (struct cache_object_info){.status = 200,
                                        .fresh = {.response_ms = 1000, .corrected_initial_ms = 4000}};
    f.worker->now_wall_ms = 7000;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char buf[1024];
        slice_t head = slice_str(rows[i].head);
        assert_int_equal(browser_ttl_applies(&x, head), rows[i].want != NULL);
        if (rows[i].want == NULL)
            continue;
        assert_true(browser_ttl_bound(head) <= sizeof buf);
        struct text t = text_make(buf, browser_ttl_bound(head));
        browser_ttl_put(&t, &x, head);
        assert_false(t.overflow);
        if (!slice_eq(text_slice(&t), slice_str(rows[i].want)))
            fail_msg("row %zu: " SLICE_FMT, i, SLICE_ARG(text_slice(&t)));
    }
    x.source = SOURCE_RELAY;
    assert_false(browser_ttl_applies(&x, slice_str(HEAD(""))));
    x.source = SOURCE_FOLLOW;
    assert_true(browser_ttl_applies(&x, slice_str(HEAD(""))));
    x.info.status = 404;
    assert_false(browser_ttl_applies(&x, slice_str(HEAD(""))));
    fix_end(&f);
    fix_start(&f, FIX_APP "[route r]\nttl = 1m\n", false);
    assert_false(f.snapshot->routes[0].edits_response);
    fix_end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rewrites),
    };
    return cmocka_run_group_tests_name("proxy/browser_ttl", tests, fix_group_setup, fix_group_teardown);
}
