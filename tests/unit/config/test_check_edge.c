/* test_check_edge.c: protocols that nobody can choose, and cookies that browsers or the cache stumble over.
 */
#include "config_test.h"

#define LISTEN APP "[listen x]\n"
#define TLS    "tls_certificate = /c.pem\ntls_key = /k.pem\n"
#define STICKY "[pool app]\nserver = 127.0.0.1:3001\nsticky_cookie = "

static void test_protocols(void **state)
{
    UNUSED(state);
    expect_no_problem(LISTEN "protocols = http/1.1\n");
    expect_no_problem(LISTEN "protocols = h2, http/1.1\n");
    expect_no_problem(LISTEN "protocols = h2c\n");
    expect_no_problem(LISTEN TLS "protocols = h2\n");
    expect_warning(LISTEN "protocols = h2\n", "t.ini:4: [listen x] protocols: h2 is agreed on in the TLS");
    expect_warning(LISTEN TLS "protocols = h2c\n", "t.ini:6: [listen x] protocols: h2c is HTTP/2 in clear");
}

static void test_limits_of_h2(void **state)
{
    UNUSED(state);
    expect_no_problem(LISTEN "protocols = h2c\nh2_max_streams = 5\nh2_max_resets = 5/m\n");
    expect_no_problem(LISTEN TLS "h2_max_streams = 5\n");
    expect_warning(LISTEN "h2_max_streams = 5\n", "[listen x] h2_max_streams: it does nothing without h2c");
    expect_warning(LISTEN TLS "protocols = http/1.1\nh2_max_resets = 5/m\n",
                   "[listen x] h2_max_resets: it does nothing without h2 in");
}

static void test_cookie_names(void **state)
{
    UNUSED(state);
    expect_warning(STICKY "__Secure-at\n",
                   "t.ini:3: [pool app] sticky_cookie: browsers take a cookie of such a name over https");
    expect_warning(STICKY "__Host-at\n[listen x]\n" TLS "[listen y]\naddress = :8081\n",
                   "[listen y] is without");
    expect_no_problem(STICKY "__Host-at\n[listen x]\n" TLS
                             "[listen y]\naddress = :8081\nredirect_to_https = yes\n");
    expect_no_problem(STICKY "at\n");
}

static void test_cookies_of_the_cache(void **state)
{
    UNUSED(state);
    expect_warning(STICKY "at\n[route r]\nkey_cookies = theme, at\n",
                   "t.ini:5: [route r] key_cookies: the pool's sticky_cookie is among them");
    expect_warning(STICKY "at\n[route r]\ncache = bypass_if=cookie:at\n",
                   "t.ini:5: [route r] cache: the pool gives every visitor this cookie");
    expect_no_problem(STICKY "at\n[route r]\nkey_cookies = theme\n");
    expect_no_problem(STICKY "at\n[route r]\ncache = bypass_if=cookie:session\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_protocols),
        cmocka_unit_test(test_limits_of_h2),
        cmocka_unit_test(test_cookie_names),
        cmocka_unit_test(test_cookies_of_the_cache),
    };
    return cmocka_run_group_tests_name("config/check_edge", tests, NULL, NULL);
}
