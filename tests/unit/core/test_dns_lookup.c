/* test_dns_lookup.c: lookups against a name server of the test's own, well or ill, and where nobody is asked.
 */
#include "tests/support/names.h"
#include "tests/unit/balancer/fixture.h"

#include "core/dns_lookup.h"
#include "tests/unit/core/fake_dns.h"

#include <event2/event.h>
#include <poll.h>

struct env {
    struct worker *w;
    struct names *s;
    struct dns_servers servers;
    struct dns_lookup *lookup;
    unsigned answers;
    char text[4096]; /* addresses with blanks, or "! " and why there are none */
    size_t count;
    dur_ms_t ttl_ms;
};
static struct env env;

static void note(const struct dns_answer *answer)
{
    char addr[NET_ADDR_TEXT];
    env.answers++;
    env.count = answer->count;
    env.ttl_ms = answer->ttl_ms;
    assert_int_equal(answer->count == 0, answer->error != NULL);
    snprintf(env.text, sizeof env.text, "%s%s", answer->error != NULL ? "! " : "",
             answer->error != NULL ? answer->error : "");
    for (size_t i = 0; i < answer->count; i++) {
        net_addr_format(&answer->addresses[i], addr);
        snprintf(env.text + strlen(env.text), sizeof env.text - strlen(env.text), "%s%s", i > 0 ? " " : "",
                 addr);
    }
}

static void on_done(void *arg, const struct dns_answer *answer)
{
    assert_ptr_equal(arg, &env);
    env.lookup = NULL;
    note(answer);
}

static int setup(void **state)
{
    support_setup(state);
    fake_dns_clear();
    env = (struct env){.w = worker_create(-1), .s = names_start()};
    dns_files.resolv_conf = support_path("resolv.conf");
    dns_files.hosts = support_path("hosts");
    dns_files.port = (uint16_t)names_port(env.s);
    env.servers.count = 1;
    assert_true(net_addr_parse(slice_str(textf("127.0.0.1:%d", names_port(env.s))), &env.servers.items[0]));
    return 0;
}

static int teardown(void **state)
{
    dns_cancel(&env.lookup);
    worker_drain(env.w);
    assert_int_equal(env.w->wheel_count, 0);
    worker_destroy(env.w);
    return support_teardown(state);
}

static bool answered(void *arg)
{
    UNUSED(arg);
    return env.answers > 0;
}

static void start(const char *host, bool own)
{
    worker_refresh_clock(env.w);
    env.answers = 0;
    env.lookup = dns_start(env.w, slice_str(host), 80, own ? &env.servers : NULL, on_done, &env);
    assert_non_null(env.lookup);
    assert_int_equal(env.answers, 0);
}

/* By the loop, and by waiting. */
static void expect(const char *host, bool own, const char *want)
{
    struct dns_answer answer;
    start(host, own);
    fixture_run_until(env.w, answered, NULL);
    assert_string_equal(env.text, want);
    start(host, own);
    assert_true(dns_wait(&env.lookup, clock_mono_ms() + FIXTURE_GIVE_UP_MS, &answer));
    assert_null(env.lookup);
    note(&answer);
    free(answer.addresses);
    assert_string_equal(env.text, want);
}

static void test_addresses(void **state)
{
    UNUSED(state);
    names_set(env.s, "app.test", 7, "2001:db8::1 10.0.0.2 10.0.0.1");
    expect("app.test", true, "10.0.0.2:80 10.0.0.1:80 [2001:db8::1]:80");
    assert_int_equal(env.ttl_ms, 7000);
    names_set(env.s, "www.test", 3, "=app.test");
    expect("www.test", true, "10.0.0.2:80 10.0.0.1:80 [2001:db8::1]:80");
    assert_int_equal(env.ttl_ms, 3000);
    names_set(env.s, "six.test", 9, "2001:db8::2");
    expect("six.test", true, "[2001:db8::2]:80");
    names_set(env.s, "none.test", 9, "");
    expect("none.test", true, "! name has no IP address");
    expect("other.test", true, "! there is no such name");
}

static void test_ill_servers(void **state)
{
    UNUSED(state);
    static const struct {
        enum names_manner manner;
        const char *want;
    } cases[] = {
        {NAMES_SERVFAIL, "! no answer from the name servers"},
        {NAMES_REFUSED, "! no answer from the name servers"},
        {NAMES_GARBAGE, "! no answer from the name servers"},
        {NAMES_WRONG_ID, "10.0.0.1:80 [2001:db8::1]:80"},
        {NAMES_OTHER, "10.0.0.1:80 [2001:db8::1]:80"},
        {NAMES_NO_EDNS, "10.0.0.1:80 [2001:db8::1]:80"},
        {NAMES_FORMERR, "! no answer from the name servers"},
        {NAMES_V4_ONLY, "10.0.0.1:80"},
        {NAMES_V6_ONLY, "! no answer from the name servers"},
        {NAMES_CUT, "! the answer is too long"},
        {NAMES_LATE, "10.0.0.1:80 [2001:db8::1]:80"},
    };
    support_write_file(dns_files.resolv_conf, "options timeout:1 attempts:2\n");
    names_set(env.s, "app.test", 7, "2001:db8::1 10.0.0.1");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        names_behave(env.s, cases[i].manner);
        expect("app.test", true, cases[i].want);
    }
    names_behave(env.s, NAMES_V4_ONLY); /* and it has none of that family */
    names_set(env.s, "six.test", 7, "2001:db8::1");
    expect("six.test", true, "! no answer from the name servers");
}

static void test_many_addresses(void **state)
{
    UNUSED(state);
    char text[4096] = "";
    for (unsigned n = 0; n < 60; n++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "10.0.0.%u ", n);
    names_set(env.s, "app.test", 7, text); /* more than fit into 512 bytes: EDNS */
    start("app.test", true);
    fixture_run_until(env.w, answered, NULL);
    assert_int_equal(env.count, 60);
    for (unsigned n = 60; n < 100; n++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "10.0.0.%u ", n);
    names_set(env.s, "app.test", 7, text);
    start("app.test", true); /* cut: what came is used, as there is nobody else to ask */
    fixture_run_until(env.w, answered, NULL);
    assert_int_equal(env.count, RESOLVE_MAX_ADDRESSES);
}

/* Each family has room, and both together have not. */
static void test_many_of_both_families(void **state)
{
    UNUSED(state);
    char text[4096] = "";
    for (unsigned n = 0; n < 40; n++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "10.0.0.%u 2001:db8::%x ", n, n + 1);
    names_set(env.s, "app.test", 7, text);
    start("app.test", true);
    fixture_run_until(env.w, answered, NULL);
    assert_int_equal(env.count, RESOLVE_MAX_ADDRESSES);
    assert_non_null(strstr(env.text, "10.0.0.39:80 [2001:db8::1]:80 "));
    assert_non_null(strstr(env.text, " [2001:db8::18]:80"));
    assert_null(strstr(env.text, "[2001:db8::19]"));
}

/* The second server is asked when the first is not there, or fails. */
static void test_two_servers(void **state)
{
    UNUSED(state);
    struct names *second = names_start();
    names_set(second, "app.test", 7, "10.0.0.9");
    names_behave(env.s, NAMES_SERVFAIL);
    env.servers.count = 2;
    assert_true(net_addr_parse(slice_str(textf("127.0.0.1:%d", names_port(second))), &env.servers.items[1]));
    expect("app.test", true, "10.0.0.9:80");
    names_stop(env.s); /* nobody listens there any more */
    expect("app.test", true, "10.0.0.9:80");
}

/* A server that the test plays, in place of the last one. */
static int play_server(void)
{
    struct net_addr a;
    assert_true(net_addr_parse(SLICE_LIT("127.0.0.1:0"), &a));
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0 && bind(fd, &a.sa, a.len) == 0 && net_local_addr(fd, &a));
    env.servers.items[env.servers.count - 1] = a;
    return fd;
}

struct query {
    uint8_t bytes[512];
    ssize_t len;
    struct sockaddr_in from;
};

/* They come as A and AAAA. */
static void take_queries(int fd, struct query q[2])
{
    for (unsigned i = 0; i < 2; i++) {
        socklen_t len = sizeof q[i].from;
        q[i].len = recvfrom(fd, q[i].bytes, sizeof q[i].bytes, 0, (struct sockaddr *)&q[i].from, &len);
        assert_true(q[i].len > 12);
    }
}

/* One address, of as many bytes. */
static void reply(int fd, const struct query *q, const void *address, uint8_t n)
{
    const uint8_t record[] = {0xc0, 12, 0, n == 4 ? 1 : 28, 0, 1, 0, 0, 0, 7, 0, n};
    uint8_t out[600];
    size_t len = (size_t)q->len - 11; /* without EDNS */
    memcpy(out, q->bytes, len);
    memcpy(out + 2, "\x81\x80\0\1\0\1\0\0\0\0", 10);
    memcpy(out + len, record, sizeof record);
    memcpy(out + len + sizeof record, address, n);
    len += sizeof record + n;
    assert_int_equal(sendto(fd, out, len, 0, (const struct sockaddr *)&q->from, sizeof q->from), len);
}

/* Whoever forges a reply must guess a port and a number, each time anew (RFC 5452 section 9). */
static void test_queries_cannot_be_guessed(void **state)
{
    UNUSED(state);
    enum { TRIES = 8 };
    struct query q[2 * TRIES];
    unsigned same_id = 0, same_port = 0;
    const int fd = play_server();
    for (unsigned i = 0; i < TRIES; i++) {
        start("app.test", true);
        take_queries(fd, q + 2 * i);
        dns_cancel(&env.lookup);
    }
    for (unsigned i = 0; i < 2 * TRIES; i++) {
        for (unsigned k = 0; k < i; k++) {
            same_id += memcmp(q[i].bytes, q[k].bytes, 2) == 0;
            same_port += i / 2 != k / 2 && q[i].from.sin_port == q[k].from.sin_port;
        }
    }
    assert_true(same_id <= 3); /* of 120 pairs */
    assert_true(same_port <= 4 * 7);
    close(fd);
}

/* What failed at one server is open at the next, though the other answer comes first there. */
static void test_each_try_is_new(void **state)
{
    UNUSED(state);
    struct query q[2];
    support_write_file(dns_files.resolv_conf, "options timeout:5 attempts:1\n");
    names_behave(env.s, NAMES_SERVFAIL);
    env.servers.count = 2;
    const int fd = play_server();
    start("app.test", true);
    for (struct pollfd p = {.fd = fd, .events = POLLIN}; poll(&p, 1, 1) == 0;)
        event_base_loop(env.w->base, EVLOOP_NONBLOCK);
    take_queries(fd, q);
    reply(fd, &q[0], "\x0a\0\0\1", 4);
    for (unsigned i = 0; i < 10; i++)
        event_base_loop(env.w->base, EVLOOP_NONBLOCK);
    worker_drain(env.w);
    reply(fd, &q[1], "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1", 16);
    fixture_run_until(env.w, answered, NULL);
    assert_string_equal(env.text, "10.0.0.1:80 [2001:db8::1]:80");
    close(fd);
}

/* ---- the system's ---- */

static void test_hosts_first(void **state)
{
    UNUSED(state);
    support_write_file(dns_files.hosts, "10.0.0.5 app.test\n");
    support_write_file(dns_files.resolv_conf, "nameserver 127.0.0.1\n");
    names_set(env.s, "app.test", 7, "10.0.0.1");
    expect("app.test", false, "10.0.0.5:80");
    assert_int_equal(env.ttl_ms, DNS_TTL_UNKNOWN);
    expect("app.test", true, "10.0.0.5:80");
    expect("localhost", true, "127.0.0.1:80 [::1]:80");
    assert_int_equal(names_asked(env.s, "app.test") + names_asked(env.s, "localhost"), 0);
}

static void test_search_list(void **state)
{
    UNUSED(state);
    support_write_file(dns_files.resolv_conf, "nameserver 127.0.0.1\nsearch one.test two.test\n");
    names_set(env.s, "app.two.test", 7, "10.0.0.2");
    names_set(env.s, "web.app.two.test", 7, "10.0.0.3");
    expect("app", false, "10.0.0.2:80");
    expect("web.app", false, "10.0.0.3:80");
    assert_int_equal(names_asked(env.s, "web.app"), 2); /* it has a dot: first as it is */
    assert_int_equal(names_asked(env.s, "app"), 0);
    expect("app", true, "! there is no such name"); /* servers of one's own: as it is written */
}

static void test_system_where_servers_cannot_tell(void **state)
{
    UNUSED(state);
    fake_dns_set("app.test", "10.0.0.8", NULL, NULL);
    expect("app.test", false, "10.0.0.8:80"); /* no resolv.conf */
    assert_int_equal(env.ttl_ms, DNS_TTL_UNKNOWN);
    support_write_file(dns_files.resolv_conf, "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n");
    expect("app.test", false, "10.0.0.8:80"); /* NXDOMAIN */
    names_set(env.s, "app.test", 7, "10.0.0.1");
    expect("app.test", false, "10.0.0.1:80");
    static const enum names_manner ill[] = {NAMES_SILENT, NAMES_CUT, NAMES_SERVFAIL, NAMES_V6_ONLY};
    for (size_t i = 0; i < ARRAY_LEN(ill); i++) {
        names_behave(env.s, ill[i]);
        expect("app.test", false, "10.0.0.8:80");
    }
}

/* ---- ends ---- */

static void test_cancelled_anywhere(void **state)
{
    UNUSED(state);
    names_behave(env.s, NAMES_SILENT);
    start("app.test", true); /* asking */
    dns_cancel(&env.lookup);
    assert_null(env.lookup);
    dns_cancel(&env.lookup);
    start("localhost", true); /* ready, not told */
    dns_cancel(&env.lookup);
    fake_dns_set("app.test", "10.0.0.8", NULL, NULL);
    fake_dns_hold("app.test", true);
    start("app.test", false); /* the system is being asked */
    fake_dns_wait_for_lookup("app.test", 1);
    dns_cancel(&env.lookup);
    fake_dns_hold("app.test", false);
    start("localhost", true);
    fixture_run_until(env.w, answered, NULL);
    assert_int_equal(env.answers, 1);
}

static void test_wait_gives_up_and_it_goes_on(void **state)
{
    UNUSED(state);
    struct dns_answer answer;
    support_write_file(dns_files.resolv_conf, "options timeout:1\n");
    names_set(env.s, "app.test", 7, "10.0.0.1");
    names_behave(env.s, NAMES_LATE);
    start("app.test", true);
    assert_false(dns_wait(&env.lookup, clock_mono_ms(), &answer));
    assert_non_null(env.lookup);
    fixture_run_until(env.w, answered, NULL);
    assert_string_equal(env.text, "10.0.0.1:80");
}

static void test_no_name(void **state)
{
    UNUSED(state);
    expect("a..b", true, "! this cannot be a name");
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_addresses),
        T(test_ill_servers),
        T(test_many_addresses),
        T(test_many_of_both_families),
        T(test_two_servers),
        T(test_queries_cannot_be_guessed),
        T(test_each_try_is_new),
        T(test_hosts_first),
        T(test_search_list),
        T(test_system_where_servers_cannot_tell),
        T(test_cancelled_anywhere),
        T(test_wait_gives_up_and_it_goes_on),
        T(test_no_name),
    };
    return cmocka_run_group_tests_name("core/dns_lookup", tests, NULL, NULL);
}
