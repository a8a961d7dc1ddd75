/* proxy_protocol_out.c: instances that are told by a PROXY header whose connection it is: what HAProxy and
 * another Millpond make of it, whom it names, and that no connection serves two clients. */
#include <arpa/inet.h>
#include <sys/socket.h>

#include "tests/support/app.h"
#include "tests/support/gate.h"
#include "tests/support/millpond.h"

/* An instance that answers with what the header said, much as version 1 would put it, and the number of the
 * request on this connection. "/gate" waits and may be cached; "/s" is stale at once, and renewed in the
 * background. */
static struct gate *gate;

static bool read_bytes(struct wire *w, size_t n)
{
    while (w->len < n) {
        if (!wire_more(w, support_wait_ms()))
            return false;
    }
    return true;
}

static void say_ip(char *to, int family, const void *from)
{
    inet_ntop(family, from, to, INET6_ADDRSTRLEN);
}

/* false: it is not understood, or nothing came. */
static bool read_header(struct wire *w, char *said, size_t room)
{
    char line[128], a[INET6_ADDRSTRLEN], b[INET6_ADDRSTRLEN], family[8];
    unsigned p, q;
    if (!read_bytes(w, 15))
        return false;
    snprintf(said, room, "none");
    if (w->buf[0] == 'G')
        return true;
    if (w->buf[0] == 'P') {
        if (!wire_take_line(w, line, sizeof line))
            return false;
        if (sscanf(line, "PROXY %7s %45s %45s %u %u", family, a, b, &p, &q) == 5)
            snprintf(said, room, "%s %s %s %s", family, a, b, p > 0 && q > 0 ? "ports" : "no port");
        else
            snprintf(said, room, "%s", line);
        return true;
    }
    if (!read_bytes(w, 16) || memcmp(w->buf, "\r\n\r\n\0\r\nQUIT\n", 12) != 0)
        return false;
    size_t more = (size_t)(unsigned char)w->buf[14] << 8 | (unsigned char)w->buf[15];
    if (!read_bytes(w, 16 + more))
        return false;
    const char *block = w->buf + 16;
    bool v6 = w->buf[13] == 0x21;
    size_t ip = v6 ? 16 : 4;
    snprintf(said, room, "LOCAL");
    if (w->buf[12] == 0x21) {
        say_ip(a, v6 ? AF_INET6 : AF_INET, block);
        say_ip(b, v6 ? AF_INET6 : AF_INET, block + ip);
        bool ports = (block[2 * ip] | block[2 * ip + 1]) != 0 && (block[2 * ip + 2] | block[2 * ip + 3]) != 0;
        snprintf(said, room, "TCP%d %s %s %s", v6 ? 6 : 4, a, b, ports ? "ports" : "no port");
    }
    wire_take(w, 16 + more);
    return true;
}

static void instance(struct origin_conn *c, const struct message *none, void *arg)
{
    char said[160];
    UNUSED(none);
    UNUSED(arg);
    if (!read_header(&c->wire, said, sizeof said)) {
        origin_reset(c);
        return;
    }
    for (unsigned n = 1;; n++) {
        struct message *m = wire_read_head(&c->wire, false, false);
        bool whole = m->end == MESSAGE_COMPLETE;
        if (whole) {
            wire_read_body(&c->wire, m);
            if (strcmp(m->target, "/gate") == 0)
                gate_pass(gate);
            c->request = m;
            const char *cc = m->target[1] == 's' ? "Cache-Control: max-age=0, stale-while-revalidate=600\r\n"
                             : m->target[1] == 'g' ? "Cache-Control: max-age=600\r\n"
                                                   : "Cache-Control: no-store\r\n";
            char *body = NULL;
            if (asprintf(&body, "%s #%u", said, n) > 0)
                origin_respond(c, 200, cc, body);
            free(body);
        }
        message_free(m);
        if (!whole)
            return;
    }
}

static struct origin *app;

static char *pool_with(const char *lines)
{
    return textf("[pool app]\nserver = 127.0.0.1:%d\n%s\n", origin_port(app), lines);
}

/* The instance behind a pool with these lines. */
static struct millpond *start(const char *lines, const char *rest)
{
    app = origin_start_with(&(struct origin_options){.script = instance, .raw = true});
    gate = gate_new();
    return millpond_start(.main = "workers = 1\ntrusted_proxies = unix, 127.0.0.2\n",
                          .listen = "address = :0", .rest = textf("%s%s", pool_with(lines), rest));
}

static struct millpond *start_version(const char *version)
{
    return start(textf("health_check = off\nsend_proxy_protocol = %s", version),
                 textf("[listen sock]\naddress = unix:%s\n", support_path("p.sock")));
}

static const char *const versions[] = {"v1", "v2"};

static char *curl(int port, const char *option, const char *value, const char *host, const char *target)
{
    const char *argv[] = {"curl", "-sS", textf("http://%s:%d%s", host, port, target), option, value, NULL};
    struct proc_result r = proc_run(argv);
    EXPECT(r.exit_code == 0, "curl: %s", r.err);
    return r.out;
}

static void the_instance_learns_who_the_client_is(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
        struct millpond *m = start_version(versions[i]);
        expect_body(client_get(m->port, "/q", ""), "TCP4 127.0.0.1 127.0.0.1 ports #1");
        assert_string_equal(curl(m->port, "--interface", "127.0.0.9", "127.0.0.1", "/q"),
                            "TCP4 127.0.0.9 127.0.0.1 ports #1");
        assert_string_equal(curl(m->port, "-6", NULL, "[::1]", "/q"), "TCP6 ::1 ::1 ports #1");
        /* whom a trusted proxy names; his port is not known */
        const char *named[][2] = {
            {"X-Forwarded-For: 203.0.113.5", "TCP4 203.0.113.5 127.0.0.1 no port #1"},
            {"X-Forwarded-For: 2001:db8::5", "TCP6 2001:db8::5 ::ffff:127.0.0.1 no port #1"},
        };
        for (size_t k = 0; k < ARRAY_LEN(named); k++) {
            const char *argv[] = {"curl",
                                  "-sS",
                                  "--interface",
                                  "127.0.0.2",
                                  "-H",
                                  named[k][0],
                                  textf("http://127.0.0.1:%d/q", m->port),
                                  NULL};
            assert_string_equal(proc_run(argv).out, named[k][1]);
        }
        struct client *local = client_open_unix(support_path("p.sock"));
        client_send(local, "GET /q HTTP/1.1\r\nHost: test\r\n\r\n");
        expect_body(client_read(local), i == 0 ? "PROXY UNKNOWN #1" : "LOCAL #1");
        millpond_stop(m);
    }
}

static void no_connection_serves_two_requests(void **state)
{
    UNUSED(state);
    struct millpond *m = start_version("v2");
    struct client *c = client_open(m->port);
    for (unsigned i = 1; i <= 5; i++) {
        client_send(c, "GET /q HTTP/1.1\r\nHost: test\r\n\r\n");
        expect_body(client_read(c), "TCP4 127.0.0.1 127.0.0.1 ports #1");
        assert_int_equal(origin_connections(app), i);
    }
    const char *body = text_repeat('b', 300000);
    client_send(c, "POST /q HTTP/1.1\r\nHost: test\r\nContent-Length: 300000\r\n\r\n%s", body);
    expect_body(client_read(c), "TCP4 127.0.0.1 127.0.0.1 ports #1");
    origin_wait_open(app, 0);
    assert_int_equal(millpond_figure(m, "upstream_idle_connections"), 0);
    millpond_stop(m);
}

/* One fetch for all: the instance is told of the first. What is renewed afterwards is renewed for nobody. */
static void what_is_shared_is_fetched_for_the_first(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
        struct millpond *m = start_version(versions[i]);
        struct client *c[4];
        for (unsigned k = 0; k < ARRAY_LEN(c); k++) {
            c[k] = client_open(m->port);
            client_send(c[k], "GET /gate HTTP/1.1\r\nHost: test\r\n\r\n");
            if (k == 0)
                gate_wait_arrived(gate, 1);
        }
        millpond_wait_figure(m, "requests_in_flight", ARRAY_LEN(c));
        gate_open(gate);
        for (unsigned k = 0; k < ARRAY_LEN(c); k++) {
            expect_body(client_read(c[k]), "TCP4 127.0.0.1 127.0.0.1 ports #1");
            client_close(c[k]);
        }
        assert_int_equal(origin_connections(app), 1);
        expect_body(client_get(m->port, "/s", ""), "TCP4 127.0.0.1 127.0.0.1 ports #1");
        expect_body(client_get(m->port, "/s", ""), "TCP4 127.0.0.1 127.0.0.1 ports #1"); /* stale */
        millpond_wait_idle(m);
        expect_body(client_get(m->port, "/s", ""), i == 0 ? "PROXY UNKNOWN #1" : "LOCAL #1");
        millpond_stop(m);
    }
}

/* ---- probes and reloads ---- */

static void probes_are_nobodys(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
        struct millpond *m =
            start(textf("health_interval = 20ms\nsend_proxy_protocol = %s", versions[i]), "");
        millpond_wait_log(m, "starting -> up: first probe succeeded (status 200)", 1);
        expect_body(client_get(m->port, "/q", ""), "TCP4 127.0.0.1 127.0.0.1 ports #1");
        millpond_stop(m);
    }
}

static void a_reload_takes_it_up_at_once(void **state)
{
    UNUSED(state);
    static const struct {
        const char *version, *first, *second;
    } steps[] = {{"off", "none #1", "none #2"},
                 {"v1", "TCP4 127.0.0.1 127.0.0.1 ports #1", "TCP4 127.0.0.1 127.0.0.1 ports #1"},
                 {"off", "none #3", "none #4"}}; /* the connection was kept meanwhile, and not used */
    struct millpond *m = start("health_check = off", "");
    for (unsigned i = 0; i < ARRAY_LEN(steps); i++) {
        millpond_write_ini(
            m, .main = "workers = 1\ntrusted_proxies = unix, 127.0.0.2\n", .listen = "address = :0",
            .rest = pool_with(textf("health_check = off\nsend_proxy_protocol = %s", steps[i].version)));
        assert_int_equal(millpond_cli(m, "reload", NULL).exit_code, 0);
        expect_body(client_get(m->port, "/q", ""), steps[i].first);
        expect_body(client_get(m->port, "/q", ""), steps[i].second);
    }
    millpond_stop(m);
}

/* ---- real receivers ---- */

static void others_understand_it(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
        struct origin *end = origin_start_named("end");
        struct app ha = app_haproxy("accept-proxy", textf("127.0.0.1:%d", origin_port(end)),
                                    "mode http\n http-request set-header X-Seen %[src]\n");
        struct millpond *behind = millpond_start(.name = "behind", .main = "trusted_proxies = 127.0.0.1",
                                                 .listen = "proxy_protocol = required",
                                                 .rest = pool_lines("app", 1, end)),
                        *m = millpond_start(.name = "front", .listen = "address = :0",
                                            .rest = textf(
                                                "[pool app]\nserver = 127.0.0.1:%d\n"
                                                "health_interval = 20ms\nsend_proxy_protocol = %s\n"
                                                "[pool ha]\nserver = 127.0.0.1:%d\nsend_proxy_protocol = %s\n"
                                                "health_check = off\n[route ha]\npath = /ha\npool = ha\n"
                                                "[route app]\npool = app\n",
                                                behind->port, versions[i], ha.port, versions[i]));
        millpond_wait_log(m, "starting -> up: first probe succeeded (status 200)", 1);
        assert_string_equal(curl(m->port, "--interface", "127.0.0.9", "127.0.0.1", "/one"), "end");
        assert_string_equal(curl(m->port, "-6", NULL, "[::1]", "/two"), "end");
        assert_string_equal(curl(m->port, "--interface", "127.0.0.9", "127.0.0.1", "/ha"), "end");
        unsigned seen = 0;
        for (unsigned k = 0; k < origin_requests(end); k++) {
            const struct message *r = origin_request(end, k);
            const char *xff = message_field(r, "X-Forwarded-For"), *src = message_field(r, "X-Seen");
            seen += strcmp(r->target, "/one") == 0 && strcmp(xff, "127.0.0.9") == 0;
            seen += strcmp(r->target, "/two") == 0 && strcmp(xff, "::1") == 0;
            seen += strcmp(r->target, "/ha") == 0 && src != NULL && strcmp(src, "127.0.0.9") == 0;
        }
        assert_int_equal(seen, 3);
        assert_int_equal(millpond_figure(behind, "bad_requests"), 0);
        millpond_stop(m);
        millpond_stop(behind);
        proc_kill(ha.proc);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(the_instance_learns_who_the_client_is),
        E2E_TEST(no_connection_serves_two_requests),
        E2E_TEST(what_is_shared_is_fetched_for_the_first),
        E2E_TEST(probes_are_nobodys),
        E2E_TEST(a_reload_takes_it_up_at_once),
        E2E_TEST(others_understand_it),
    };
    return E2E_RUN("proxy_protocol_out", tests);
}
