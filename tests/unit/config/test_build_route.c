/* test_build_route.c: conditions, answers and field edits of [route]. */
#include "config_test.h"

static void test_members(void **state)
{
    UNUSED(state);
    struct config *c = load_ok(
        APP
        "[pool b]\nserver = a:1\n[route r]\nhost = A.Example, *.b.example\npath = /x, /y/*\npath = *.css\n"
        "method = GET, HEAD\nheader = X-Beta: 1, 2\nheader = X-Any\npool = b\ncache = off\n"
        "ttl = 1s\nttl_404 = 2s\nttl_5xx = 0\nmin_ttl = 3s\nmax_ttl = 4s\nbrowser_ttl = 5s\nmax_object_size "
        "= 5K\n"
        "tags = a, b\ntags = c:d\n"
        "allow = 10.0.0.0/8\ndeny = 10.1.0.0/16, ::1\n"
        "set_request_header = X-Ip: $client_ip:$host\nset_request_header = X-E:\n"
        "remove_request_header = Cookie, X-Z\nset_response_header = X-R: a, b\n"
        "remove_response_header = Server\n"
        "websocket = no\nearly_hints = learn\ntunnel_timeout = 6s\nkeep_assets = 7s\ntimeout = 7s\n"
        "retry_idempotency_key = yes\nhedge = 250ms\ncalm_page = /calm.html\nslice = 64K\n[route last]\n");
    const struct config_route *r = &c->routes[0];
    assert_int_equal(c->route_count, 2);
    assert_int_equal(r->id, 0);
    assert_int_equal(c->routes[1].id, 1);
    assert_int_equal(c->routes[1].pool, 0);
    assert_int_equal(r->origin.line, 5);
    assert_int_equal(r->hosts.count, 2);
    assert_string_equal(r->hosts.items[0], "a.example");
    assert_string_equal(r->hosts.items[1], "*.b.example");
    assert_int_equal(r->path_count, 3);
    assert_true(r->paths[0].match == CONFIG_PATH_EXACT && r->paths[1].match == CONFIG_PATH_PREFIX);
    assert_string_equal(r->paths[1].text, "/y/");
    assert_int_equal(r->paths[1].len, 3);
    assert_string_equal(r->paths[2].text, ".css");
    assert_int_equal(r->methods.count, 2);
    assert_string_equal(r->methods.items[1], "HEAD");
    assert_int_equal(r->header_count, 2);
    assert_string_equal(r->headers[0].name, "X-Beta");
    assert_string_equal(r->headers[0].value, "1, 2");
    assert_string_equal(r->headers[1].value, "");
    assert_int_equal(r->pool, 1);
    assert_int_equal(r->cache, CONFIG_CACHE_OFF);
    assert_int_equal(r->ttl_ms, 1000);
    assert_int_equal(r->ttl_404_ms, 2000);
    assert_int_equal(r->ttl_5xx_ms, 0);
    assert_string_equal(r->tags, "a b c:d");
    assert_string_equal(c->routes[1].tags, "");
    assert_int_equal(r->min_ttl_ms, 3000);
    assert_int_equal(r->max_ttl_ms, 4000);
    assert_int_equal(r->browser_ttl_ms, 5000);
    assert_int_equal(r->max_object_bytes, 5120);
    assert_int_equal(r->allow.count, 1);
    assert_int_equal(r->deny.count, 2);
    assert_int_equal(r->request_edit_count, 4);
    assert_string_equal(r->request_edits[0].value, "$client_ip:$host");
    assert_string_equal(r->request_edits[1].value, "");
    assert_string_equal(r->request_edits[3].name, "X-Z");
    assert_null(r->request_edits[3].value);
    assert_int_equal(r->response_edit_count, 2);
    assert_string_equal(r->response_edits[0].value, "a, b");
    assert_null(r->response_edits[1].value);
    assert_string_equal(r->calm_page, "/calm.html");
    assert_true(!r->websocket && c->routes[1].websocket);
    assert_true(r->early_hints == CONFIG_EARLY_HINTS_LEARN &&
                c->routes[1].early_hints == CONFIG_EARLY_HINTS_PASS);
    assert_int_equal(r->tunnel_timeout_ms, 6000);
    assert_int_equal(c->routes[1].tunnel_timeout_ms, 3600 * 1000);
    assert_int_equal(r->keep_assets_ms, 7000);
    assert_int_equal(c->routes[1].keep_assets_ms, 0);
    assert_true(r->timeout_ms == 7000 && c->routes[1].timeout_ms == 0);
    assert_true(r->hedge_ms == 250 && c->routes[1].hedge_ms == 0);
    assert_true(r->slice_bytes == 64 << 10 && c->routes[1].slice_bytes == 0);
    assert_true(r->retry_idempotency_key && !c->routes[1].retry_idempotency_key);
    config_unref(c);
}

/* Paths are compared decoded and resolved: a pattern must be both, or it would guard nothing. */
static void test_paths_are_decoded(void **state)
{
    UNUSED(state);
    static const struct {
        const char *written, *kept;
    } good[] = {
        {"/a%20b", "/a b"}, {"/%61/%2A/*", "/a/*/"}, {"*.%63ss", ".css"},         {"/a%2Fb%00", "/a/b%00"},
        {"/a%2", "/a%2"},   {"/a%zz%41", "/a%zzA"},  {"/.../..a/*", "/.../..a/"}, {"/*", "/"}};
    static const char *const bad[] = {"//a",   "/a//*", "/./a",      "/a/../*",
                                      "/a/..", "/a/.",  "/%2e%2E/a", "/a/%2e"};
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        char text[256];
        snprintf(text, sizeof text, APP "[route r]\npath = %s\n", good[i].written);
        struct config *c = load_ok(text);
        const struct config_path *path = &c->routes[0].paths[0];
        if (!slice_eq(slice_make(path->text, path->len), slice_str(good[i].kept)))
            fail_msg("%s became %.*s", good[i].written, (int)path->len, path->text);
        config_unref(c);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char text[256];
        snprintf(text, sizeof text, APP "[route r]\npath = %s\n", bad[i]);
        expect_errors(text, strlen(text), 1, "matches nothing");
    }
}

static void test_answers(void **state)
{
    UNUSED(state);
    struct config *c =
        load_ok("[route a]\nhost = a.example\nredirect = 308 https://$host$uri\n[route b]\nrespond = 404\n");
    assert_int_equal(c->routes[0].redirect_status, 308);
    assert_string_equal(c->routes[0].redirect_target, "https://$host$uri");
    assert_int_equal(c->routes[0].pool, -1);
    assert_int_equal(c->routes[1].respond_status, 404);
    assert_string_equal(c->routes[1].respond_text, "");
    assert_string_equal(c->routes[1].redirect_target, "");
    assert_int_equal(c->pool_count, 0);
    config_unref(c);
    expect_error("[route a]\nredirect = 301\n", "is no target");
    expect_error("[route a]\nredirect = 200 https://a\n", "no status of a redirect");
    expect_error("[route a]\nredirect = 301 /a b\n", "percent-encoded");
    expect_error("[route a]\nredirect = 301 /$client_ip\n", "there are $uri and $host");
    expect_error("[route a]\nrespond = 0200 x\n", "is no status code");
}

static void test_cache_condition(void **state)
{
    UNUSED(state);
    struct config *c = load_ok(APP "[route a]\ncache = bypass_if=cookie:sid\n");
    assert_int_equal(c->routes[0].cache, CONFIG_CACHE_BYPASS_IF);
    assert_string_equal(c->routes[0].bypass_cookie, "sid");
    assert_string_equal(c->routes[0].bypass_header, "");
    config_unref(c);
    c = load_ok(APP "[route a]\ncache = bypass_if=header:Authorization, cookie:sid\n");
    assert_string_equal(c->routes[0].bypass_header, "Authorization");
    assert_string_equal(c->routes[0].bypass_cookie, "sid");
    config_unref(c);
    expect_error(APP "[route a]\ncache = bypass_if=cookie:a, cookie:b\n", "two cookies");
    expect_error(APP "[route a]\ncache = bypass_if=\n", "is no condition");
}

static void test_fields_of_the_connection_are_not_edited(void **state)
{
    static const char *const names[] = {"Content-Length", "transfer-encoding", "CONNECTION", "Upgrade", "TE"};
    char text[256];
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        snprintf(text, sizeof text, APP "[route a]\nset_request_header = %s: x\n", names[i]);
        expect_error(text, "belongs to the connection");
        snprintf(text, sizeof text, APP "[route a]\nremove_response_header = %s\n", names[i]);
        expect_error(text, "belongs to the connection");
    }
}

static void test_defaults(void **state)
{
    UNUSED(state);
    struct config *c =
        load_ok(APP "[cache]\nmax_object_size = 3M\nstale_while_revalidate = 5s\nearly_refresh = no\n"
                    "[route a]\n[route b]\nstale_while_revalidate = 6s\nstale_if_error = 0\n"
                    "early_refresh = yes\nttl_jitter = 20%\n");
    const struct config_route *r = &c->routes[0];
    assert_int_equal(r->pool, 0);
    assert_int_equal(r->cache, CONFIG_CACHE_ON);
    assert_true(r->ttl_ms == CONFIG_TTL_UNSET && r->ttl_404_ms == CONFIG_TTL_UNSET &&
                r->ttl_5xx_ms == CONFIG_TTL_UNSET && r->min_ttl_ms == CONFIG_TTL_UNSET &&
                r->max_ttl_ms == CONFIG_TTL_UNSET && r->browser_ttl_ms == CONFIG_TTL_UNSET);
    assert_int_equal(r->max_object_bytes, 3 << 20);
    assert_true(r->stale_while_revalidate_ms == 5000 && r->stale_if_error_ms == 3600000);
    assert_true(r[1].stale_while_revalidate_ms == 6000 && r[1].stale_if_error_ms == 0);
    assert_true(!r->early_refresh && r[1].early_refresh);
    assert_true(r->ttl_jitter_percent == 0 && r[1].ttl_jitter_percent == 20);
    assert_int_equal(r->hosts.count + r->path_count + r->methods.count + r->header_count, 0);
    assert_int_equal(r->redirect_status + r->respond_status, 0);
    config_unref(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_members),
        cmocka_unit_test(test_paths_are_decoded),
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_cache_condition),
        cmocka_unit_test(test_fields_of_the_connection_are_not_edited),
        cmocka_unit_test(test_defaults),
    };
    return cmocka_run_group_tests_name("config/build_route", tests, NULL, NULL);
}
