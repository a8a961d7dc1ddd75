/* test_check_leak.c: warnings of combinations that may give one visitor what was made for another, and that
 * ordinary files get none of them. */
#include "config_test.h"

static void test_ttl_for_every_page(void **state)
{
    UNUSED(state);
    expect_warning(APP "[route a]\nttl = 5s\n",
                   "t.ini:4: [route a] ttl: it is for every page, also for those made for one visitor; name");
    expect_warning(APP "[route a]\npath = /*\nttl = 5s\n", "t.ini:5: [route a] ttl: it is for every page");
    expect_warning(APP "[route a]\nmin_ttl = 5s\n", "[route a] min_ttl: it is for every page");
    expect_no_problem(APP "[route a]\npath = /assets/*\nttl = 5s\n");
    expect_no_problem(APP "[route a]\nhost = static.example.com\nttl = 5s\n");
    expect_no_problem(APP "[route a]\nttl = 0\n");
    expect_no_problem(APP "[route a]\nmax_ttl = 5s\nttl_404 = 5s\n");
    expect_no_problem(APP "[route a]\nttl = 5s\ncache = bypass_if=cookie:session\n");
    expect_no_problem(APP "[cache]\ndefault_ttl = 60s\n[route a]\n"); /* the guard sees to it */
}

static void test_ttl_that_credentials_undo(void **state)
{
    UNUSED(state);
    expect_warning(APP "[route a]\nheader = Authorization\nttl = 5s\n",
                   "t.ini:5: [route a] ttl: it does nothing: responses to requests with Authorization");
    expect_warning(APP "[route a]\nheader = cookie\nttl = 5s\n",
                   "responses to requests with cookies are shared only if they say so");
    expect_no_problem(APP "[route a]\nheader = Cookie\nttl = 5s\nremove_cookies = all\npath = /a\n");
    expect_no_problem(APP "[route a]\nheader = Authorization\n");
}

static void test_cookies(void **state)
{
    UNUSED(state);
    expect_warning(APP "[route a]\nignore_set_cookie = yes\n",
                   "t.ini:4: [route a] ignore_set_cookie: it is for every page, also for those that log");
    expect_warning(APP "[route a]\nhost = www.example.com\nignore_set_cookie = yes\n", "for every page");
    expect_no_problem(APP "[route a]\npath = /news/*\nignore_set_cookie = yes\n");
    expect_warning(APP "[route a]\nremove_cookies = all\n",
                   "t.ini:4: [route a] remove_cookies: no page knows who is logged in");
    expect_no_problem(APP "[route a]\nremove_cookies = _ga*, _fbp\n");
    expect_no_problem(APP "[route a]\npath = /assets/*\nremove_cookies = all\n");
    expect_no_problem(APP "[route a]\nremove_cookies = all\ncache = bypass_if=cookie:session\n");
    expect_warning(APP "[route a]\nremove_cookies = all\ncache = off\n",
                   "remove_cookies: it does nothing while the route has cache = off");
}

static void test_deception_guard(void **state)
{
    UNUSED(state);
    expect_warning(APP "[route a]\npath = *.css\nttl = 5s\ndeception_guard = no\n",
                   "t.ini:6: [route a] deception_guard: without it a page that is asked for as");
    expect_no_problem(APP "[route a]\npath = *.css\ndeception_guard = no\n");
    expect_no_problem(APP "[route a]\npath = /wiki/*\nttl = 5s\ndeception_guard = no\n");
}

static void test_identities(void **state)
{
    UNUSED(state);
    static const char warning[] = "only a proxy in trusted_proxies can say that; Millpond itself says";
    expect_warning(APP "[route a]\nheader = X-SSL-Client-Verify: SUCCESS\n[route b]\n", warning);
    expect_warning(APP "[route a]\nkey_headers = X-SSL-Client-S-DN\n",
                   "t.ini:4: [route a] key_headers: only a proxy");
    expect_warning(APP "[route a]\ncache = bypass_if=header:Client-Cert\n", warning);
    expect_warning(APP "[route a]\nrate_limit = 5/s by=header:x-ssl-client-sha256\n", warning);
    expect_no_problem(APP "[route a]\nheader = X-Forwarded-Port: 1\n[route b]\n");
    expect_no_problem(APP "[route a]\nset_request_header = X-SSL-Client-Verify: NONE\n");
}

static void test_kept_fields(void **state)
{
    UNUSED(state);
    expect_no_problem(APP "[route a]\nkeep_request_header = X-Forwarded-Prefix, x-http-method-override\n");
    expect_warning(
        APP "[route a]\nkeep_request_header = X-Forwarded-Prefx\n",
        "t.ini:4: [route a] keep_request_header: X-Forwarded-Prefx is passed on anyway, and is not "
        "part of the key; did you mean x-forwarded-prefix?");
    expect_warning(APP "[route a]\nkeep_request_header = Accept-Language\n", "remove it here");
}

static void test_trusting_everybody(void **state)
{
    UNUSED(state);
    expect_warning("[millpond]\ntrusted_proxies = 10.0.0.0/8, 0.0.0.0/0\n" APP,
                   "t.ini:2: [millpond] trusted_proxies: every client is believed");
    expect_warning("[millpond]\ntrusted_proxies = ::/0\n" APP, "every client is believed");
    expect_no_problem("[millpond]\ntrusted_proxies = 10.0.0.0/8, fd00::/8, 2001:db8::/96, unix\n" APP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ttl_for_every_page),
        cmocka_unit_test(test_ttl_that_credentials_undo),
        cmocka_unit_test(test_cookies),
        cmocka_unit_test(test_deception_guard),
        cmocka_unit_test(test_identities),
        cmocka_unit_test(test_kept_fields),
        cmocka_unit_test(test_trusting_everybody),
    };
    return cmocka_run_group_tests_name("config/check_leak", tests, NULL, NULL);
}
