/* addresses.c: clients and instances at IPv6 addresses and unix sockets: what the application and the log are
 * told of such clients, rules about them, probes, reuse, bodies, and instances that go and come back. The
 * instance is another Millpond in front of an origin, which can listen on anything. */
#include <sys/socket.h>
#include <sys/un.h>

#include "tests/support/millpond.h"
#include "tests/support/tls.h"

#define GET_Q "GET /q HTTP/1.1\r\nHost: test\r\n\r\n"

static struct origin *app;

static void echo(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(arg);
    origin_respond(c, 200, "Cache-Control: no-store\r\n", request->body_len > 0 ? request->body : "app");
}

static struct millpond *start(const char *listen, const char *rest)
{
    app = origin_start(echo, NULL);
    return millpond_start(.main = "workers = 2\n", .listen = listen,
                          .rest = textf("%s%s", pool_lines("app", 1, app), rest));
}

static char *told(const char *name)
{
    const char *value = message_field(origin_request(app, origin_requests(app) - 1), name);
    return textf("%s", value != NULL ? value : "nothing");
}

static struct proc_result curl(const char *url, const char *a, const char *b)
{
    const char *argv[] = {"curl", "-sS", "-o", "-", "-w", "%{http_code}", url, a, b, NULL};
    struct proc_result r = proc_run(argv);
    EXPECT(r.exit_code == 0, "curl %s: %s", url, r.err);
    return r;
}

/* ---- clients ---- */

static void clients_come_by_ipv6(void **state)
{
    UNUSED(state);
    struct millpond *m = start("address = [::1]:0", "[route denied]\npath = /denied\ndeny = ::/64\n"
                                                    "[route limited]\npath = /limited\nrate_limit = 1/h\n"
                                                    "[route all]\n");
    char *at = textf("http://[::1]:%d", m->port);
    assert_string_equal(curl(textf("%s/q", at), NULL, NULL).out, "app200");
    assert_string_equal(told("X-Forwarded-For"), "::1");
    assert_string_equal(told("Forwarded"), textf("for=\"[::1]\";proto=http;host=\"[::1]:%d\"", m->port));
    assert_string_equal(told("Host"), textf("[::1]:%d", m->port));
    millpond_access_line(m, "\"client\":\"::1\"");
    expect_in(curl(textf("%s/denied", at), NULL, NULL).out, "403");
    assert_string_equal(curl(textf("%s/limited", at), NULL, NULL).out, "app200");
    expect_in(curl(textf("%s/limited", at), NULL, NULL).out, "429");
    millpond_stop(m);
}

static void one_address_takes_both_families(void **state)
{
    UNUSED(state);
    struct millpond *m = start("address = :0", "[route denied]\npath = /denied\ndeny = 127.0.0.0/8\n"
                                               "[route all]\n");
    assert_string_equal(curl(textf("http://[::1]:%d/denied", m->port), NULL, NULL).out, "app200");
    assert_string_equal(told("X-Forwarded-For"), "::1");
    expect_body(client_get(m->port, "/q", ""), "app");
    assert_string_equal(told("X-Forwarded-For"), "127.0.0.1"); /* not ::ffff:127.0.0.1 */
    expect_in(told("Forwarded"), "for=127.0.0.1;");
    expect_status(client_get(m->port, "/denied", ""), 403);
    millpond_stop(m);
}

static void clients_come_by_a_unix_socket(void **state)
{
    UNUSED(state);
    char *path = support_path("web.sock");
    struct millpond *m =
        start(textf("address = unix:%s\naddress = 127.0.0.1:0\nmax_connections_per_ip = 1", path),
              "[route inside]\npath = /inside\nallow = unix\n"
              "[route outside]\npath = /outside\ndeny = unix\n[route all]\n");
    struct client *c[8];
    for (unsigned i = 0; i < ARRAY_LEN(c); i++) { /* there is no address to count them by */
        c[i] = client_open_unix(path);
        client_send(c[i], GET_Q);
        expect_body(client_read(c[i]), "app");
    }
    assert_string_equal(told("Forwarded"), "for=unknown;proto=http;host=\"test\"");
    millpond_wait_access(m, "\"client\":\"unix\"", ARRAY_LEN(c));
    const char *body = text_repeat('b', 2000000);
    client_send(c[0], "POST /q HTTP/1.1\r\nHost: test\r\nContent-Length: 2000000\r\n\r\n%s", body);
    expect_body(client_read(c[0]), body);
    client_send(c[0],
                "GET /inside HTTP/1.1\r\nHost: test\r\n\r\nGET /outside HTTP/1.1\r\nHost: test\r\n\r\n");
    expect_status(client_read(c[0]), 200);
    expect_status(client_read(c[0]), 403);
    assert_string_equal(curl("http://test/q", "--unix-socket", path).out, "app200");
    millpond_stop(m);
    assert_int_equal(access(path, F_OK), -1);
}

static void a_unix_socket_and_ipv6_speak_tls_too(void **state)
{
    UNUSED(state);
    char *path = support_path("tls.sock");
    struct tls_cert *cert = tls_cert_make("cert", .names = "localhost");
    struct millpond *m =
        start("", textf("[listen local]\naddress = unix:%s\n%s[listen six]\naddress = [::1]:0\n%s", path,
                        tls_cert_lines(cert), tls_cert_lines(cert)));
    const char *local[] = {
        "curl", "-sS", "--cacert", cert->file, "--unix-socket", path, "https://localhost/q", NULL};
    struct proc_result r = proc_run(local);
    EXPECT(r.exit_code == 0, "curl: %s", r.err);
    assert_string_equal(r.out, "app");
    assert_string_equal(told("X-Forwarded-Proto"), "https");
    int port = millpond_port(m, "six");
    r = curl(textf("https://localhost:%d/q", port), "-6", "-k");
    assert_string_equal(r.out, "app200");
    millpond_stop(m);
}

/* ---- instances ---- */

/* Another Millpond that listens there, and one in front of it that probes it. */
static struct millpond *behind_start(const char *listen)
{
    return millpond_start(.name = "behind", .listen = textf("address = %s", listen), .main = "workers = 1\n",
                          .rest = pool_lines("app", 1, app));
}

static struct millpond *front_start(const char *server)
{
    return millpond_start(.name = "front", .main = "workers = 1\n",
                          .rest = textf("[pool app]\nserver = %s\nhealth_interval = 20ms\n"
                                        "retries = 0\n",
                                        server));
}

static void expect_served(struct millpond *front)
{
    unsigned before = (unsigned)millpond_figure(front, "upstream_connects");
    const char *body = text_repeat('b', 2000000);
    struct client *c = client_open(front->port);
    for (unsigned i = 0; i < 3; i++) {
        client_send(c, GET_Q);
        expect_body(client_read(c), "app");
    }
    client_send(c, "PUT /q HTTP/1.1\r\nHost: test\r\nContent-Length: 2000000\r\n\r\n%s", body);
    expect_body(client_read(c), body);
    assert_int_equal(millpond_figure(front, "upstream_connects"), before + 1);
}

static void instances_are_at_ipv6_addresses(void **state)
{
    UNUSED(state);
    app = origin_start(echo, NULL);
    struct millpond *behind = behind_start("[::1]:0");
    struct millpond *front = front_start(textf("[::1]:%d", behind->port));
    millpond_wait_log(front, textf("app/[::1]:%d: starting -> up: first probe succeeded", behind->port), 1);
    expect_served(front);
    expect_in(millpond_cli(front, "status", NULL).out, textf("[::1]:%d", behind->port));
    bool probed = false;
    for (unsigned i = 0; i < origin_requests(app); i++) /* the Host of a probe has its brackets */
        probed = probed ||
                 strcmp(message_field(origin_request(app, i), "Host"), textf("[::1]:%d", behind->port)) == 0;
    assert_true(probed);
    millpond_stop(front);
    millpond_stop(behind);
}

static void instances_are_at_unix_sockets(void **state)
{
    UNUSED(state);
    app = origin_start(echo, NULL);
    char *path = support_path("app.sock");
    struct millpond *behind = behind_start(textf("unix:%s", path));
    struct millpond *front = front_start(textf("unix:%s name=local", path));
    millpond_wait_log(front, "app/local: starting -> up: first probe succeeded", 1);
    expect_served(front);
    millpond_stop(behind); /* the socket is gone with it */
    millpond_wait_log(front, "app/local: up -> down: connect", 1);
    millpond_wait_state(front, "local", "down");
    expect_status(client_get(front->port, "/q", ""), 503);
    behind = behind_start(textf("unix:%s", path));
    millpond_wait_log(front, "app/local: down -> up", 1);
    expect_served(front);
    millpond_stop(front);
    millpond_stop(behind);
}

/* A socket file that nobody listens on any more: refused at once, and the next instance is asked. */
static void a_dead_socket_is_passed_over(void **state)
{
    UNUSED(state);
    app = origin_start(echo, NULL);
    struct sockaddr_un dead = {.sun_family = AF_UNIX};
    snprintf(dead.sun_path, sizeof dead.sun_path, "%s", support_path("dead.sock"));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&dead, sizeof dead), 0);
    close(fd);
    struct millpond *m =
        millpond_start(.main = "workers = 1\n",
                       .rest = textf("[pool app]\nhealth_check = off\nserver = unix:%s name=dead\n"
                                     "server = 127.0.0.1:%d\nretry_budget = 100%%\n",
                                     dead.sun_path, origin_port(app)));
    for (unsigned i = 0; i < 4; i++)
        expect_body(client_get(m->port, "/q", ""), "app");
    millpond_wait_log(m, "app/dead: the instance refused the connection; trying again", 2);
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(clients_come_by_ipv6),
        E2E_TEST(one_address_takes_both_families),
        E2E_TEST(clients_come_by_a_unix_socket),
        E2E_TEST(a_unix_socket_and_ipv6_speak_tls_too),
        E2E_TEST(instances_are_at_ipv6_addresses),
        E2E_TEST(instances_are_at_unix_sockets),
        E2E_TEST(a_dead_socket_is_passed_over),
    };
    return E2E_RUN("addresses", tests);
}
