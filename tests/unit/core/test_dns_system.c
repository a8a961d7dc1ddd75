/* test_dns_system.c: resolv.conf and hosts files, good ones and odd ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "core/dns_system.h"

static struct dns_system s;

static void parse(const char *text)
{
    dns_system_parse(slice_str(text), 53, &s);
}

static void expect_text(const struct net_addr *a, const char *want)
{
    char text[NET_ADDR_TEXT];
    net_addr_format(a, text);
    assert_string_equal(text, want);
}

static void test_resolv_conf(void **state)
{
    UNUSED(state);
    parse("# comment\nnameserver 10.0.0.1\nnameserver\t2001:db8::1   ; another\r\nnameserver fe80::1%eth0\n"
          "nameserver unix:/x\nnameserver unix\nnameserver\nsearch a.test b.test\ndomain old.test\nsearch "
          "c.test d.test .\n"
          "options ndots:5 timeout:1 attempts:3 rotate edns0\nsortlist 10.0.0.0");
    assert_int_equal(s.servers.count, 2);
    expect_text(&s.servers.items[0], "10.0.0.1:53");
    expect_text(&s.servers.items[1], "[2001:db8::1]:53");
    assert_int_equal(s.search_count, 2);
    assert_string_equal(s.search[0], "c.test");
    assert_string_equal(s.search[1], "d.test");
    assert_int_equal(s.ndots, 5);
    assert_int_equal(s.timeout_ms, 1000);
    assert_int_equal(s.attempts, 3);
}

static void test_limits(void **state)
{
    UNUSED(state);
    char text[4096] = "";
    for (unsigned n = 0; n < 20; n++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "nameserver 10.0.0.%u\n", n);
    strcat(text, "search");
    for (unsigned n = 0; n < 20; n++)
        snprintf(text + strlen(text), sizeof text - strlen(text), " s%u.test", n);
    strcat(text, "\noptions ndots:99 timeout:99 attempts:99\noptions ndots: timeout:x attempts:-1 timeout:0");
    parse(text);
    assert_int_equal(s.servers.count, DNS_SERVERS);
    assert_int_equal(s.search_count, DNS_SEARCH);
    assert_int_equal(s.ndots, 15);
    assert_int_equal(s.timeout_ms, 1000);
    assert_int_equal(s.attempts, 5);
}

static void test_empty_and_missing(void **state)
{
    UNUSED(state);
    parse("");
    assert_int_equal(s.servers.count, 0);
    assert_int_equal(s.ndots, 1);
    assert_int_equal(s.attempts, DNS_ATTEMPTS);
    assert_int_equal(s.timeout_ms, DNS_TIMEOUT_MS);
    dns_files.resolv_conf = "/nonexistent/resolv.conf";
    dns_system_read(&s);
    assert_int_equal(s.servers.count, 0);
    dns_files.resolv_conf = "/"; /* can be opened, not read */
    dns_system_read(&s);
    assert_int_equal(s.servers.count, 0);
}

static void test_hosts(void **state)
{
    UNUSED(state);
    static const slice_t text =
        SLICE_LIT("::1 app.test six\n10.0.0.1\tapp.test  web # app2\n#10.0.0.9 app.test\n"
                  "10.0.0.2 web APP.test app.test\nbroken app.test\n10.0.0.3");
    struct net_addr found[8];
    assert_int_equal(dns_hosts_parse(text, SLICE_LIT("App.test."), 80, found, 8), 3);
    expect_text(&found[0], "10.0.0.1:80");
    expect_text(&found[1], "10.0.0.2:80");
    expect_text(&found[2], "[::1]:80");
    assert_int_equal(dns_hosts_parse(text, SLICE_LIT("app.test"), 80, found, 1), 1);
    assert_int_equal(dns_hosts_parse(text, SLICE_LIT("app2"), 80, found, 8), 0);
    assert_int_equal(dns_hosts_parse(text, SLICE_LIT("app"), 80, found, 8), 0);
    assert_int_equal(dns_hosts_parse(SLICE_EMPTY, SLICE_LIT("app"), 80, found, 8), 0);
}

static void test_localhost(void **state)
{
    UNUSED(state);
    struct net_addr found[8];
    dns_files.hosts = "/nonexistent/hosts";
    static const char *const local[] = {"localhost", "LocalHost.", "app.localhost"};
    for (size_t i = 0; i < ARRAY_LEN(local); i++) {
        assert_int_equal(dns_hosts_find(slice_str(local[i]), 80, found, 8), 2);
        expect_text(&found[0], "127.0.0.1:80");
        expect_text(&found[1], "[::1]:80");
    }
    assert_int_equal(dns_hosts_find(SLICE_LIT("mylocalhost"), 80, found, 8), 0);
    assert_int_equal(dns_hosts_find(SLICE_LIT("localhost.test"), 80, found, 8), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_resolv_conf),       cmocka_unit_test(test_limits),
        cmocka_unit_test(test_empty_and_missing), cmocka_unit_test(test_hosts),
        cmocka_unit_test(test_localhost),
    };
    return cmocka_run_group_tests_name("core/dns_system", tests, NULL, NULL);
}
