/* test_check.c: rules across keys: what can not work, and what is surely not meant. */
#include "config_test.h"

static void test_nothing_to_do(void **state)
{
    UNUSED(state);
    expect_error("",
                 "t.ini: there is no pool and no route that answers by itself; the smallest useful file is");
    expect_error("[log]\nlevel = info\n", "[pool app]\n    server = 127.0.0.1:3001");
    expect_no_problem("[route a]\nrespond = 200 ok\n");
    expect_error("[route a]\nhost = a\nrespond = 200\n[route b]\n",
                 "t.ini:4: [route b]: there is no pool to answer it");
}

static void test_pool_without_server(void **state)
{
    UNUSED(state);
    expect_error(APP "protocol = h2\nsend_proxy_protocol = v2\n",
                 "[pool app] protocol: connections by HTTP/2 are shared by clients");
    expect_error("[pool app]\n", "t.ini:1: [pool app]: the pool has no server; write at least one");
    expect_error(APP "[pool b]\nretries = 1\n[route b]\npool = b\nhost = b\n[route rest]\n",
                 "t.ini:3: [pool b]: the pool has no server");
    /* A refused server is one complaint, not two. */
    expect_error("[pool app]\nserver = nonsense\n", "\"nonsense\" has no port; write host:port");
    expect_error("[pool app]\nserver = a:99999\n", "has no port from 1 to 65535; write host:port");
    expect_error("[pool app]\nserver = a:1/x\n", "\"a:1/x\" has a path; write host:port alone");
    expect_error("[pool app]\nserver = \"a:1\"\n", "stands in quotes; write it without them");
}

static void test_weights(void **state)
{
    UNUSED(state);
    expect_warning("[pool app]\nserver = a:1 weight=0\nserver = b:1 weight=0\n", "every server has weight=0");
    expect_warning("[pool app]\nserver = a:1 backup\n", "every server is a backup");
    expect_no_problem("[pool app]\nserver = a:1 weight=0\nserver = b:1\n");
}

static void test_ways_to_balance(void **state)
{
    UNUSED(state);
    expect_error(APP "balance = hash\n", "t.ini:3: [pool app] balance: hash needs something to go by");
    expect_warning(APP "hash_on = path\n",
                   "t.ini:3: [pool app] hash_on: it does nothing without balance = hash");
    expect_warning(APP "balance = hash\nhash_on = path\nsticky_cookie = a\n", "it counts before hash_on");
    expect_warning(APP "eject_errors = 0\neject_time = 1s\n", "it does nothing with eject_errors = 0");
    expect_warning(APP "sticky_cookie = a\n[pool b]\nserver = b:1\nsticky_cookie = a\n"
                       "[route b]\nhost = b\npool = b\n[route a]\n",
                   "t.ini:6: [pool b] sticky_cookie: [pool app] has a cookie of the same name");
    expect_no_problem(APP "balance = hash\nhash_on = client_ip\neject_time = 1s\n");
    expect_no_problem(APP "sticky_cookie = a\n[pool b]\nserver = b:1\nsticky_cookie = b\n"
                          "[route b]\nhost = b\npool = b\n[route a]\n");
}

static void test_pool_nobody_uses(void **state)
{
    UNUSED(state);
    expect_warning(APP "[pool b]\nserver = b:1\n", "t.ini:3: [pool b]: no route uses this pool");
    expect_no_problem(APP "[pool b]\nserver = b:1\n[route a]\nhost = a\n[route b]\npool = b\n");
}

static void test_addresses_twice(void **state)
{
    UNUSED(state);
    expect_error(APP "[listen a]\naddress = :80\n[listen b]\naddress = :81\naddress = :82, :80\n",
                 "t.ini:7: [listen b] address: [::]:80 is already taken by [listen a]");
    expect_error(APP "[listen a]\naddress = 127.0.0.1:80, 127.0.0.1:80\n", "t.ini:4: [listen a] address");
    expect_error(APP "[listen a]\naddress = :80\n[listen b]\naddress = 0.0.0.0:80\n", "already taken");
    expect_error(APP "[listen a]\naddress = unix:/x\n[listen b]\naddress = unix:/x\n",
                 "unix:/x is already taken");
    expect_error(APP "[listen a]\n[listen b]\n",
                 "t.ini:4: [listen b] address: 0.0.0.0:8080 is already taken by [listen a]");
    expect_no_problem(
        APP "[listen a]\naddress = 127.0.0.1:80, [::1]:80, 127.0.0.1:81, 127.0.0.1:0, 127.0.0.1:0\n");
}

static void test_admin_address(void **state)
{
    UNUSED(state);
    expect_error(
        APP "[admin]\naddress = 0.0.0.0:8080\nallowed_hosts = a\n",
        "t.ini:4: [admin] address: 0.0.0.0:8080 is already taken by [listen default]; choose another port");
    expect_error(APP "[listen x]\naddress = 127.0.0.1:81\n[admin]\naddress = 127.0.0.1:81\n",
                 "already taken by [listen x]");
    expect_warning(APP "[admin]\naddress = :8081\n", "name the hosts in allowed_hosts");
    expect_no_problem(APP "[admin]\naddress = 127.0.0.1:8081\n");
}

static void test_limits_that_exclude_each_other(void **state)
{
    UNUSED(state);
    expect_error(APP "[listen a]\nmax_target = 64K\n",
                 "t.ini:4: [listen a] max_target: a target as long as the whole head");
    expect_error(APP "[listen a]\nmax_header_size = 8K\n", "smaller than max_header_size");
    expect_error(APP "[route a]\nmin_ttl = 2m\nmax_ttl = 1m\n",
                 "t.ini:4: [route a] min_ttl: it is longer than max_ttl");
    expect_warning(APP "[cache]\nmemory_size = 1M\nmax_object_size = 2M\n", "larger than memory_size");
    expect_no_problem(APP "[cache]\nmemory_size = 32M\n");
}

static void test_proxy_protocol_of_nobody(void **state)
{
    UNUSED(state);
    expect_error(APP "[listen a]\nproxy_protocol = required\n",
                 "t.ini:4: [listen a] proxy_protocol: nobody could connect, since trusted_proxies in");
    expect_no_problem(APP "[listen a]\nproxy_protocol = off\n");
    expect_no_problem(APP "[listen a]\nproxy_protocol = required\n[millpond]\ntrusted_proxies = unix\n");
}

static void test_one_answer_per_route(void **state)
{
    UNUSED(state);
    expect_error(APP "[route a]\npool = app\nrespond = 200\n",
                 "t.ini:5: [route a] respond: pool on line 4 answers already");
    expect_error("[route a]\nredirect = 301 /x\nrespond = 200\n",
                 "keep one of pool, split, root, redirect and respond");
    expect_error(APP "[route a]\nroot = /srv\npool = app\n",
                 "t.ini:5: [route a] pool: root on line 4 answers already");
    expect_no_problem("[route a]\nroot = /srv\nttl = 5s\n"); /* no pool is needed */
}

static void test_user(void **state)
{
    UNUSED(state);
    expect_warning(APP "[route a]\nset_request_header = X: $remote_user\n",
                   "t.ini:4: [route a] set_request_header: $remote_user is always empty");
    expect_no_problem(APP "[route a]\nbasic_auth = /f\nset_request_header = X: $remote_user\n");
}

static void test_mirrors(void **state)
{
    UNUSED(state);
    expect_warning(APP "[route a]\nmirror = app\n", "the instances get each request twice");
    expect_warning(APP "[route a]\nrespond = 200\nmirror = app\n[route b]\n", "nothing is copied");
    expect_no_problem(APP "[pool next]\nserver = a:1\n[route a]\nmirror = next\n");
    expect_no_problem(APP "[route a]\ncache = off\nkeep_assets = 1d\n"); /* others are asked all the same */
}

static void test_ttl_that_does_nothing(void **state)
{
    UNUSED(state);
    expect_warning(APP "[route a]\nttl = 5s\ncache = off\n",
                   "t.ini:4: [route a] ttl: it does nothing while the route has cache = off");
    expect_warning(APP "[cache]\nstore = off\n[route a]\nmax_ttl = 5s\n", "while [cache] has store = off");
    expect_warning(APP "[route a]\ncache = off\nbrowser_ttl = 5s\n", "while the route has cache = off");
    expect_warning("[route a]\nrespond = 200\nttl = 5s\n", "answers by itself and stores nothing");
    expect_no_problem(APP "[route a]\npath = /a\nttl = 5s\n");
}

static void test_slices(void **state)
{
    UNUSED(state);
    expect_no_problem(APP "[route a]\npath = /a\ncompress = br\n[route b]\nslice = 1M\n");
    expect_error(APP "[route a]\ncompress = br\nslice = 1M\n",
                 "t.ini:4: [route a] compress: slices are ranges of the plain content");
    expect_warning("[route a]\nrespond = 200\ncompress = gzip\n", "which is not compressed");
    expect_no_problem(APP "[route a]\nslice = 1M\n");
    expect_no_problem(APP "[route a]\nslice = 1M\nmax_object_size = 1M\n");
    expect_error(APP "[route a]\nslice = 2M\nmax_object_size = 1M\n",
                 "t.ini:4: [route a] slice: it is larger than max_object_size");
    expect_warning(APP "[route a]\ncache = off\nslice = 1M\n", "while the route has cache = off");
    expect_warning(APP "[cache]\nstore = off\n[route a]\nslice = 1M\n", "while [cache] has store = off");
    expect_warning("[route a]\nrespond = 200\nslice = 1M\n", "answers by itself and stores nothing");
    expect_warning(APP "[cache]\nmemory_size = 64M\n[route a]\nslice = 16M\n", "few slices are kept");
    expect_warning(APP "[cache]\nstore = redis\n[redis]\nurl = redis://127.0.0.1\n[route a]\nslice = 1M\n",
                   "it does nothing with store = redis");
}

struct shadow_case {
    const char *wide, *narrow;
    bool shadowed;
};

static void test_keys_that_share_little(void **state)
{
    UNUSED(state);
    expect_warning(APP "[route a]\nkey_headers = X-A, Cookie\n",
                   "t.ini:4: [route a] key_headers: a Cookie is each visitor's own");
    expect_warning(APP "[route a]\nkey_headers = user-agent\n", "use key_device");
    expect_warning(APP "[route a]\nkey_headers = Accept-Language\n", "languages you have in key_language");
    expect_warning(APP "[route a]\nkey_query = none\ncache = off\n", "key_query: it does nothing while");
    expect_no_problem(APP "[route a]\nkey_headers = X-A\nkey_cookies = a\nkey_query = none\n");
    expect_no_problem(
        APP "[route a]\nkey_language = en\ncache = off\n"); /* the application is told all the same */
}

static void test_probes_that_see_no_body(void **state)
{
    UNUSED(state);
    expect_no_problem(APP "health_body = up\n");
    expect_no_problem(APP "protocol = h2\n");
    expect_warning(APP "health_check = tcp\nhealth_body = up\n",
                   "[pool app] health_body: only HTTP probes see a body");
    expect_no_problem(APP "protocol = h2\nhealth_body = up\n");
    expect_no_problem(APP "send_proxy_protocol = v2\n");
    expect_warning(APP "send_proxy_protocol = v2\nmax_idle = 5\n",
                   "t.ini:4: [pool app] max_idle: it does nothing with send_proxy_protocol");
    expect_no_problem(APP "[route r]\nwebsocket = yes\ntunnel_timeout = 5s\n");
    expect_warning(APP "[route r]\nwebsocket = no\ntunnel_timeout = 5s\n",
                   "t.ini:5: [route r] tunnel_timeout: it does nothing with websocket = no");
}

static void test_shadowed_routes(void **state)
{
    static const struct shadow_case pairs[] = {
        {"", "path = /a\n", true},
        {"path = /a\n", "", false},
        {"path = /a/*\n", "path = /a/b, /a/c/*\n", true},
        {"path = /a/*\n", "path = /a/b, /c\n", false},
        {"path = /a/*\n", "path = /a\n", false},
        {"path = /*\n", "path = *.css\n", true},
        {"path = *.css\n", "path = /x/y.css, *.min.css\n", true},
        {"path = *.css\n", "path = /x.css/*\n", false},
        {"path = /a\n", "path = /a\n", true},
        {"path = /a\n", "path = /a/*\n", false},
        {"host = *.example\n", "host = a.example, *.b.example\n", true},
        {"host = *.example\n", "host = example\n", false},
        {"host = a.example\n", "host = *.example\n", false},
        {"host = a.example\n", "path = /a\n", false},
        {"method = GET, HEAD\n", "method = HEAD\n", true},
        {"method = GET\n", "method = GET, POST\n", false},
        {"header = X-A\n", "header = x-a: 1\npath = /b\n", true},
        {"header = X-A: 1\n", "header = X-A: 2\n", false},
        {"header = X-A: 1\n", "header = X-A\n", false},
        {"header = X-A\nheader = X-B\n", "header = X-A\n", false},
    };
    char text[512];
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        snprintf(text, sizeof text, APP "[route wide]\n%s[route narrow]\n%s", pairs[i].wide, pairs[i].narrow);
        if (pairs[i].shadowed)
            expect_warning(text, "[route narrow]: the route is never used, since [route wide] above takes "
                                 "all of its requests");
        else
            expect_no_problem(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_to_do),
        cmocka_unit_test(test_pool_without_server),
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_ways_to_balance),
        cmocka_unit_test(test_pool_nobody_uses),
        cmocka_unit_test(test_addresses_twice),
        cmocka_unit_test(test_admin_address),
        cmocka_unit_test(test_limits_that_exclude_each_other),
        cmocka_unit_test(test_proxy_protocol_of_nobody),
        cmocka_unit_test(test_one_answer_per_route),
        cmocka_unit_test(test_user),
        cmocka_unit_test(test_mirrors),
        cmocka_unit_test(test_ttl_that_does_nothing),
        cmocka_unit_test(test_slices),
        cmocka_unit_test(test_keys_that_share_little),
        cmocka_unit_test(test_probes_that_see_no_body),
        cmocka_unit_test(test_shadowed_routes),
    };
    return cmocka_run_group_tests_name("config/check", tests, NULL, NULL);
}
