/* test_net.c: addresses and networks from text and back, and sockets opened from them. */
#include "core/net.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static void test_addr_round_trip(void **state)
{
    UNUSED(state);
    static const struct {
        const char *text, *back, *ip;
        uint16_t port;
    } rows[] = {
        {"1.2.3.4:80", NULL, "1.2.3.4", 80},
        {"0.0.0.0:0", NULL, "0.0.0.0", 0},
        {"255.255.255.255:65535", NULL, "255.255.255.255", 65535},
        {"[::1]:80", NULL, "::1", 80},
        {"[2001:DB8:0::1]:443", "[2001:db8::1]:443", "2001:db8::1", 443},
        {"[::ffff:1.2.3.4]:80", "1.2.3.4:80", "1.2.3.4", 80},
        {":8080", "[::]:8080", "::", 8080},
        {"unix:/run/x.sock", NULL, "unix", 0},
        {"unix:relative", NULL, "unix", 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct net_addr a;
        char buf[NET_ADDR_TEXT];
        assert_true(net_addr_parse(slice_str(rows[i].text), &a));
        assert_string_equal(net_addr_format(&a, buf).ptr, rows[i].back != NULL ? rows[i].back : rows[i].text);
        assert_string_equal(net_addr_format_ip(&a, buf).ptr, rows[i].ip);
        assert_int_equal(net_addr_port(&a), rows[i].port);
    }
}

static void test_addr_refused(void **state)
{
    UNUSED(state);
    static const char *const bad[] = {"",
                                      "1.2.3.4",
                                      "1.2.3.4:",
                                      "1.2.3.4:65536",
                                      "1.2.3.4:-1",
                                      "1.2.3.4:+1",
                                      "1.2.3.4: 80",
                                      "1.2.3:80",
                                      "1.2.3.4.5:80",
                                      "01.2.3.4:80",
                                      "256.1.1.1:80",
                                      "::1:80",
                                      "[::1]",
                                      "[::1]80",
                                      "[]:80",
                                      "[::1:80",
                                      "::1]:80",
                                      "[1.2.3.4]:80",
                                      "[::g]:80",
                                      "[::1%lo]:80",
                                      "localhost:80",
                                      "1.2.3.4:8a",
                                      "unix:",
                                      "UNIX:/x",
                                      "1.2.3.4:99999999999999999999",
                                      "[[::1]]:80",
                                      "*:80"};
    struct net_addr a;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        if (net_addr_parse(slice_str(bad[i]), &a))
            fail_msg("%s was taken", bad[i]);
    }
    assert_false(net_addr_parse(slice_make("1.2.3.4\0:80", 11), &a));
    assert_false(net_addr_parse(slice_make("unix:/a\0b", 9), &a));
}

static void test_unix_path_limit(void **state)
{
    UNUSED(state);
    char text[200] = "unix:", buf[NET_ADDR_TEXT];
    struct net_addr a;
    const size_t most = sizeof a.un.sun_path - 1;
    memset(text + 5, 'x', sizeof text - 6);
    assert_true(net_addr_parse(slice_make(text, 5 + most), &a));
    assert_int_equal(net_addr_format(&a, buf).len, 5 + most);
    assert_false(net_addr_parse(slice_make(text, 5 + most + 1), &a));
    struct net_addr unnamed = {.len = sizeof(sa_family_t)}; /* as accept reports a peer */
    unnamed.sa.sa_family = AF_UNIX;
    assert_string_equal(net_addr_format(&unnamed, buf).ptr, "unix:");
}

static void test_addr_eq(void **state)
{
    UNUSED(state);
    static const char *const all[] = {"1.2.3.4:80",          "1.2.3.4:81", "1.2.3.5:80", "[::1]:80",
                                      "[::ffff:1.2.3.4]:80", "unix:/a",    "unix:/b",    "unix:/ab"};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        for (size_t k = 0; k < ARRAY_LEN(all); k++) {
            struct net_addr a, b;
            assert_true(net_addr_parse(slice_str(all[i]), &a) && net_addr_parse(slice_str(all[k]), &b));
            assert_int_equal(net_addr_eq(&a, &b), i == k);
        }
    }
}

static void test_host_port_split(void **state)
{
    UNUSED(state);
    slice_t host;
    uint16_t port;
    assert_true(net_host_port_split(SLICE_LIT("app.internal:3000"), &host, &port));
    assert_true(slice_eq(host, SLICE_LIT("app.internal")) && port == 3000);
    assert_true(net_host_port_split(SLICE_LIT("[::1]:1"), &host, &port));
    assert_true(slice_eq(host, SLICE_LIT("[::1]")));
    assert_false(net_host_port_split(SLICE_LIT("app"), &host, &port));
    assert_false(net_host_port_split(SLICE_LIT("app:"), &host, &port));
    assert_false(net_host_port_split(SLICE_LIT("app:http"), &host, &port));
    assert_false(net_host_port_split(SLICE_LIT("app:65536"), &host, &port));
    assert_false(net_host_port_split(SLICE_EMPTY, &host, &port));
}

static void test_cidr_match(void **state)
{
    UNUSED(state);
    static const struct {
        const char *net, *addr;
        bool in;
    } rows[] = {
        {"10.0.0.0/8", "10.255.0.1:1", true},
        {"10.0.0.0/8", "11.0.0.1:1", false},
        {"10.0.0.0/8", "[::ffff:10.1.2.3]:1", true},
        {"10.0.0.0/8", "[::10.1.2.3]:1", false},
        {"10.9.9.9/8", "10.1.1.1:1", true}, /* host bits do not matter */
        {"1.2.3.4", "1.2.3.4:9", true},
        {"1.2.3.4", "1.2.3.5:9", false},
        {"1.2.3.4/32", "1.2.3.4:9", true},
        {"1.2.3.4/31", "1.2.3.5:9", true},
        {"1.2.3.4/31", "1.2.3.6:9", false},
        {"192.168.0.0/17", "192.168.127.255:1", true},
        {"192.168.0.0/17", "192.168.128.0:1", false},
        {"0.0.0.0/0", "203.0.113.5:1", true},
        {"0.0.0.0/0", "[2001:db8::1]:1", false}, /* all of IPv4, not of IPv6 */
        {"::/0", "[2001:db8::1]:1", true},
        {"::/0", "203.0.113.5:1", true},
        {"2001:db8::/32", "[2001:db8:ffff::1]:1", true},
        {"2001:db8::/32", "[2001:db9::1]:1", false},
        {"2001:db8::/33", "[2001:db8:8000::]:1", false},
        {"2001:db8::/33", "[2001:db8:7fff::]:1", true},
        {"::1", "[::1]:1", true},
        {"::1/128", "[::2]:1", false},
        {"::ffff:10.0.0.0/104", "10.1.2.3:1", true},
        {"::ffff:10.0.0.0/104", "11.1.2.3:1", false},
        {"unix", "unix:/x", true},
        {"unix", "1.2.3.4:1", false},
        {"::/0", "unix:/x", false},
        {"0.0.0.0/0", "unix:/x", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct net_cidr net;
        struct net_addr addr;
        assert_true(net_cidr_parse(slice_str(rows[i].net), &net));
        assert_true(net_addr_parse(slice_str(rows[i].addr), &addr));
        if (net_cidr_match(&net, 1, &addr) != rows[i].in)
            fail_msg("%s in %s", rows[i].addr, rows[i].net);
        assert_false(net_cidr_match(&net, 0, &addr));
    }
}

static void test_cidr_list(void **state)
{
    UNUSED(state);
    struct net_cidr list[3];
    struct net_addr addr;
    assert_true(net_cidr_parse(SLICE_LIT("unix"), &list[0]) &&
                net_cidr_parse(SLICE_LIT("10.0.0.0/8"), &list[1]) &&
                net_cidr_parse(SLICE_LIT("::1"), &list[2]));
    assert_true(net_addr_parse(SLICE_LIT("[::1]:5"), &addr));
    assert_true(net_cidr_match(list, 3, &addr));
    assert_false(net_cidr_match(list, 2, &addr));
}

static void test_cidr_refused(void **state)
{
    UNUSED(state);
    static const char *const bad[] = {"",
                                      "/8",
                                      "10.0.0.0/",
                                      "10.0.0.0/33",
                                      "10.0.0.0/-1",
                                      "::/129",
                                      "10.0.0/8",
                                      "10.0.0.0/8/8",
                                      "10.0.0.0/ 8",
                                      "[::1]",
                                      "[::1]/64",
                                      "localhost",
                                      "10.0.0.0/8a",
                                      "Unix",
                                      "unix/8",
                                      "unix:/x",
                                      "::/999999999999999999999",
                                      "::/18446744073709551615",
                                      "10.0.0.0/18446744073709551615",
                                      "10.0.0.0/18446744073709551600"};
    struct net_cidr net;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        if (net_cidr_parse(slice_str(bad[i]), &net))
            fail_msg("%s was taken", bad[i]);
    }
    assert_false(net_cidr_parse(slice_make("10.0.0.1\0x", 10), &net));
}

/* ---- sockets ---- */

static void expect_flags(int fd)
{
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

static void expect_connects(const struct net_addr *to, int listener)
{
    int fd = net_connect(to), on = 0;
    socklen_t len = sizeof on;
    assert_true(fd >= 0);
    expect_flags(fd);
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    assert_int_equal(poll(&p, 1, 10000), 1);
    assert_int_equal(net_socket_error(fd), 0);
    if (to->sa.sa_family != AF_UNIX) {
        assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, &len), 0);
        assert_true(on);
        assert_int_equal(getsockopt(listener, IPPROTO_TCP, TCP_DEFER_ACCEPT, &on, &len), 0);
        assert_true(on > 0);
        assert_int_equal(write(fd, "x", 1), 1); /* for its sake: what the listener waits for */
    }
    struct pollfd l = {.fd = listener, .events = POLLIN};
    assert_int_equal(poll(&l, 1, 10000), 1);
    int accepted = accept(listener, NULL, NULL);
    assert_true(accepted >= 0);
    close(accepted);
    close(fd);
}

static void test_listen_and_connect(void **state)
{
    UNUSED(state);
    struct net_addr any, bound;
    assert_true(net_addr_parse(SLICE_LIT("127.0.0.1:0"), &any));
    int fd = net_listen(&any, 5, true);
    assert_true(fd >= 0);
    expect_flags(fd);
    assert_true(net_local_addr(fd, &bound));
    assert_true(net_addr_port(&bound) != 0);
    expect_connects(&bound, fd);
    int second = net_listen(&bound, 5, true); /* a worker more */
    assert_true(second >= 0);
    close(second);
    errno = 0;
    assert_int_equal(net_listen(&bound, 5, false), -1);
    assert_int_equal(errno, EADDRINUSE);
    close(fd);
}

/* ":port" is both families on one socket. */
static void test_listen_dual_stack(void **state)
{
    UNUSED(state);
    struct net_addr any, bound, v4;
    char text[64];
    assert_true(net_addr_parse(SLICE_LIT(":0"), &any));
    int fd = net_listen(&any, 5, false);
    if (fd < 0 && errno == EAFNOSUPPORT)
        skip(); /* a machine without IPv6 */
    assert_true(fd >= 0);
    assert_true(net_local_addr(fd, &bound));
    snprintf(text, sizeof text, "127.0.0.1:%u", net_addr_port(&bound));
    assert_true(net_addr_parse(slice_str(text), &v4));
    expect_connects(&v4, fd);
    close(fd);
}

static void test_unix_socket(void **state)
{
    UNUSED(state);
    char folder[] = "/tmp/test_net_XXXXXX", text[64];
    struct net_addr a, missing, bound;
    assert_non_null(mkdtemp(folder));
    snprintf(text, sizeof text, "unix:%s/s", folder);
    assert_true(net_addr_parse(slice_str(text), &a));
    int fd = net_listen(&a, 5, true);
    assert_true(fd >= 0);
    expect_connects(&a, fd);
    close(fd);
    fd = net_listen(&a, 5, true); /* the file of a dead process is replaced */
    assert_true(fd >= 0);
    assert_true(net_local_addr(fd, &bound));
    assert_string_equal(bound.un.sun_path, a.un.sun_path);
    expect_connects(&a, fd);
    close(fd);
    errno = 0;
    assert_int_equal(net_connect(&a), -1);
    assert_int_equal(errno, ECONNREFUSED);
    unlink(a.un.sun_path);
    rmdir(folder);
    snprintf(text, sizeof text, "unix:%s/none", folder);
    assert_true(net_addr_parse(slice_str(text), &missing));
    errno = 0;
    assert_int_equal(net_connect(&missing), -1);
    assert_int_equal(errno, ENOENT);
    assert_int_equal(net_listen(&missing, 5, false), -1);
}

static void test_refused_connection(void **state)
{
    UNUSED(state);
    struct net_addr any, bound;
    assert_true(net_addr_parse(SLICE_LIT("127.0.0.1:0"), &any));
    int keep = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(keep >= 0 && bind(keep, &any.sa, any.len) == 0);
    assert_true(net_local_addr(keep, &bound)); /* bound, nobody listens */
    int fd = net_connect(&bound);
    if (fd >= 0) {
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        assert_int_equal(poll(&p, 1, 10000), 1);
        assert_int_equal(net_socket_error(fd), ECONNREFUSED);
        assert_int_equal(net_socket_error(fd), 0); /* told once */
        close(fd);
    } else {
        assert_int_equal(errno, ECONNREFUSED);
    }
    close(keep);
    assert_int_equal(net_socket_error(-1), EBADF);
    assert_false(net_local_addr(-1, &bound));
}

static void expect_sent(const struct iovec *iov, size_t count, size_t bytes)
{
    static char seen[256 * 1024];
    int pair[2], big = sizeof seen;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &big, sizeof big);
    assert_int_equal(net_send(pair[0], iov, count, 0), bytes);
    size_t got = 0;
    while (got < bytes) {
        ssize_t n = read(pair[1], seen + got, sizeof seen - got);
        assert_true(n > 0);
        got += (size_t)n;
    }
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        assert_memory_equal(seen + at, iov[i].iov_base, iov[i].iov_len);
        at += iov[i].iov_len;
    }
    assert_int_equal(at, got);
    close(pair[1]);
    assert_int_equal(net_send(pair[0], iov, count, 0), -1); /* and no signal */
    assert_int_equal(errno, EPIPE);
    close(pair[0]);
}

static void test_pieces_are_sent_as_one(void **state)
{
    UNUSED(state);
    static char big[64 * 1024];
    memset(big, 'b', sizeof big);
    struct iovec small[3] = {{"head", 4}, {big, 4088}, {"tail", 4}};
    expect_sent(small, 1, 4);
    expect_sent(small, 3, 4096);
    small[1].iov_len = 4089; /* one byte more than is gathered */
    expect_sent(small, 3, 4097);
    small[1].iov_len = sizeof big;
    expect_sent(small, 3, sizeof big + 8);
    expect_sent(small + 1, 1, sizeof big);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addr_round_trip),
        cmocka_unit_test(test_addr_refused),
        cmocka_unit_test(test_unix_path_limit),
        cmocka_unit_test(test_addr_eq),
        cmocka_unit_test(test_host_port_split),
        cmocka_unit_test(test_cidr_match),
        cmocka_unit_test(test_cidr_list),
        cmocka_unit_test(test_cidr_refused),
        cmocka_unit_test(test_listen_and_connect),
        cmocka_unit_test(test_listen_dual_stack),
        cmocka_unit_test(test_unix_socket),
        cmocka_unit_test(test_refused_connection),
        cmocka_unit_test(test_pieces_are_sent_as_one),
    };
    return cmocka_run_group_tests_name("core/net", tests, NULL, NULL);
}
