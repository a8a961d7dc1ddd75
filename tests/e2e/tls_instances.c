/* tls_instances.c: instances that speak TLS, HAProxy with OpenSSL before an origin: bodies, reuse, sessions,
 * probes; certificates that must not be believed, and what is said then; handshakes that never end, end
 * early, or are none; and reloads that change what is believed. */
#include "tests/support/app.h"
#include "tests/support/gate.h"
#include "tests/support/millpond.h"
#include "tests/support/tls.h"

#define GET_Q "GET /q HTTP/1.1\r\nHost: test\r\n\r\n"

static struct origin *end;
static struct tls_cert *authority, *other_authority;

static void echo(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(arg);
    origin_respond(c, 200, "Cache-Control: no-store\r\n", request->body_len > 0 ? request->body : "end");
}

/* HAProxy that shows this certificate. */
static struct app instance_start(const struct tls_cert *cert, const char *bind_options)
{
    char *pem = support_path(textf("%p.pem", (const void *)cert));
    support_write_file(pem, textf("%s%s", support_read_file(cert->file), support_read_file(cert->key_file)));
    return app_haproxy(textf("%s ssl crt %s", bind_options, pem), textf("127.0.0.1:%d", origin_port(end)),
                       "mode http\n http-request set-header X-Source %[src]\n"
                       " http-request set-header X-Sni %[ssl_fc_sni]\n"
                       " http-request set-header X-Alpn %[ssl_fc_alpn]\n");
}

static void prepare(void)
{
    end = origin_start(echo, NULL);
    authority = tls_cert_make("authority", .authority = true);
    other_authority = tls_cert_make("other", .authority = true);
}

static char *pool(int port, const char *lines)
{
    return textf("[pool app]\nserver = 127.0.0.1:%d\ntls = yes\n%s\n", port, lines);
}

static char *trusting(void)
{
    return textf("tls_ca = %s\ntls_sni = app.test\n", authority->file);
}

static struct millpond *start(const char *pools)
{
    return millpond_start(.main = "workers = 1\n", .rest = pools);
}

/* Of the latest request that is no probe. */
static const char *seen(const char *name)
{
    unsigned n = origin_requests(end);
    while (n > 0 && strcmp(origin_request(end, n - 1)->target, "/q") != 0)
        n--;
    const char *value = n > 0 ? message_field(origin_request(end, n - 1), name) : NULL;
    return value != NULL ? value : "nothing";
}

static int64_t figure(struct millpond *m, const char *name)
{
    return millpond_figure(m, name);
}

static void an_instance_is_spoken_to(void **state)
{
    UNUSED(state);
    prepare();
    struct app ha =
        instance_start(tls_cert_make("app", .names = "app.test", .issuer = authority), "alpn http/1.1");
    struct millpond *m = start(pool(ha.port, textf("%shealth_interval = 20ms\n", trusting())));
    millpond_wait_log(m, "starting -> up: first probe succeeded (status 200)", 1);
    struct client *c = client_open(m->port);
    const char *body = text_repeat('b', 3000000);
    for (unsigned i = 0; i < 3; i++) {
        client_send(c, GET_Q);
        expect_body(client_read(c), "end");
        client_send(c, "PUT /q HTTP/1.1\r\nHost: test\r\nContent-Length: 3000000\r\n\r\n%s", body);
        expect_body(client_read(c), body);
    }
    assert_string_equal(seen("X-Sni"), "app.test");
    assert_string_equal(seen("X-Alpn"), "http/1.1");
    assert_string_equal(seen("X-Forwarded-Proto"), "http"); /* the client's */
    assert_int_equal(figure(m, "upstream_connects"), 1);
    assert_int_equal(figure(m, "upstream_tls_handshakes"), 1);
    millpond_stop(m);
}

static void sessions_are_gone_on_with(void **state)
{
    UNUSED(state);
    prepare();
    static const char *const versions[] = {"force-tlsv12", "force-tlsv13"};
    struct tls_cert *cert = tls_cert_make("app", .names = "app.test", .issuer = authority);
    for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
        struct app ha = instance_start(cert, versions[i]);
        struct millpond *m = start(pool(ha.port, textf("%smax_idle = 0\nhealth_check = off\n", trusting())));
        for (unsigned k = 0; k < 4; k++)
            expect_body(client_get(m->port, "/q", ""), "end");
        assert_int_equal(figure(m, "upstream_tls_handshakes"), 4);
        assert_int_equal(figure(m, "upstream_tls_resumed"), 3);
        millpond_stop(m);
        proc_kill(ha.proc);
    }
}

/* ---- certificates ---- */

static void what_is_not_believed_is_down_and_says_why(void **state)
{
    UNUSED(state);
    prepare();
    const struct {
        struct tls_cert *cert;
        const char *sni, *why;
    } rows[] = {
        {tls_cert_make("late", .names = "app.test", .issuer = authority, .days = -1), "app.test",
         "certificate has expired"},
        {tls_cert_make("name", .names = "b.test", .issuer = authority), "app.test", "hostname mismatch"},
        {tls_cert_make("wild", .names = "*.test", .issuer = authority), "a.b.test", "hostname mismatch"},
        {tls_cert_make("addr", .names = "app.test", .issuer = authority), "", "IP address mismatch"},
        {tls_cert_make("self", .names = "app.test"), "app.test", "self-signed certificate"},
        {tls_cert_make("alien", .names = "app.test", .issuer = other_authority), "app.test",
         "self-signed certificate in certificate chain"},
        {tls_cert_make("alone", .names = "app.test", .issuer = other_authority, .alone = true), "app.test",
         "unable to get local issuer certificate"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct app ha = instance_start(rows[i].cert, "");
        char *sni = rows[i].sni[0] != '\0' ? textf("tls_sni = %s\n", rows[i].sni) : "";
        char *lines = textf("tls_ca = %s\n%s", authority->file, sni);
        struct millpond *m = start(pool(ha.port, textf("%shealth_check = off\n", lines)));
        expect_status(client_get(m->port, "/q", ""), 502);
        millpond_wait_log(m, textf("app/127.0.0.1:%d: TLS: %s", ha.port, rows[i].why), 1);
        expect_in(millpond_access_line_(m, "/q") != NULL ? capture_text(&m->proc->out) : "",
                  "\"tls_failed\"");
        millpond_stop(m);
        m = start(pool(ha.port, textf("%shealth_interval = 20ms\nhealth_fall = 2\n", lines)));
        millpond_wait_log(m, textf("-> down: TLS: %s (2 probes failed)", rows[i].why), 1);
        expect_in(millpond_cli(m, "status", NULL).out, textf("TLS: %s", rows[i].why));
        expect_status(client_get(m->port, "/q", ""), 503);
        millpond_stop(m);
        m = start(pool(ha.port, textf("%stls_verify = no\nhealth_check = off\n", sni)));
        expect_body(client_get(m->port, "/q", ""), "end");
        millpond_stop(m);
        proc_kill(ha.proc);
    }
    for (unsigned i = 0; i < origin_requests(end); i++)
        assert_string_equal(origin_request(end, i)->target, "/q");
    assert_int_equal(origin_requests(end), ARRAY_LEN(rows)); /* those of tls_verify = no */
}

static void another_instance_is_asked(void **state)
{
    UNUSED(state);
    prepare();
    struct app bad = instance_start(tls_cert_make("bad", .names = "b.test", .issuer = authority), ""),
               good = instance_start(tls_cert_make("good", .names = "app.test", .issuer = authority), "");
    struct millpond *m = start(textf("[pool app]\nserver = 127.0.0.1:%d\nserver = 127.0.0.1:%d\ntls = yes\n%s"
                                     "health_check = off\nretry_budget = 100%%\n",
                                     bad.port, good.port, trusting()));
    for (unsigned i = 0; i < 4; i++)
        expect_body(client_ask(m->port, "POST", "/q", "", "end"), "end"); /* nothing of it was sent */
    millpond_wait_log(m, "TLS: hostname mismatch", 2);
    millpond_stop(m);
}

/* ---- handshakes ---- */

static void read_and_wait(struct origin_conn *c, const struct message *none, void *arg)
{
    UNUSED(none);
    UNUSED(arg);
    origin_wait_peer_close(c);
}

static void read_and_close(struct origin_conn *c, const struct message *none, void *arg)
{
    UNUSED(none);
    UNUSED(arg);
    wire_more(&c->wire, support_wait_ms());
    wire_take(&c->wire, c->wire.len);
    origin_close(c);
}

static void answer_plainly(struct origin_conn *c, const struct message *none, void *arg)
{
    UNUSED(none);
    UNUSED(arg);
    wire_more(&c->wire, support_wait_ms());
    wire_take(&c->wire, c->wire.len);
    origin_send(c, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    origin_wait_peer_close(c);
}

static void alert(struct origin_conn *c, const struct message *none, void *arg)
{
    UNUSED(none);
    UNUSED(arg);
    wire_more(&c->wire, support_wait_ms());
    wire_take(&c->wire, c->wire.len);
    origin_send_bytes(c, "\x15\x03\x03\0\2\2\x28", 7);
    origin_close(c);
}

static void handshakes_that_fail(void **state)
{
    UNUSED(state);
    const struct {
        origin_script *script;
        int status;
        const char *why;
    } rows[] = {
        {read_and_wait, 504, NULL},
        {read_and_close, 502, "TLS: it closed the connection"},
        {alert, 502, "TLS: sslv3 alert handshake failure"},
        {answer_plainly, 502, "TLS: it does not speak TLS"},
    };
    prepare();
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct origin *o = origin_start_with(&(struct origin_options){.script = rows[i].script, .raw = true});
        struct millpond *m =
            start(pool(origin_port(o), textf("%shealth_interval = 20ms\nhealth_timeout = 100ms\n"
                                             "connect_timeout = %s\nhealth_fall = 100\nretries = 0\n",
                                             trusting(), rows[i].why != NULL ? "10s" : "200ms")));
        expect_status(client_get(m->port, "/q", ""), rows[i].status);
        millpond_wait_log(m, rows[i].why != NULL ? rows[i].why : "connecting took longer", 1);
        millpond_wait_idle(m);
        assert_int_equal(figure(m, "upstream_connections"), 0);
        millpond_stop(m);
        origin_stop(o);
    }
}

/* ---- files, reloads, and what else stands before it ---- */

static void a_reload_changes_what_is_believed(void **state)
{
    UNUSED(state);
    prepare();
    struct app ha = instance_start(tls_cert_make("app", .names = "app.test", .issuer = authority), "");
    char *believed = pool(ha.port, textf("%shealth_check = off\nretries = 0\n", trusting())),
         *not_checked = pool(ha.port, "tls_verify = no\nhealth_check = off\nretries = 0\n"),
         *not_believed =
             pool(ha.port, textf("tls_ca = %s\ntls_sni = app.test\nhealth_check = off\nretries = 0\n",
                                 other_authority->file));
    const struct {
        char *pool;
        int status;
    } steps[] = {
        {not_checked, 200}, {not_believed, 502}, {believed, 200}, {not_believed, 502}, {believed, 200}};
    struct millpond *m = start(steps[0].pool);
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        millpond_write_ini(m, .main = "workers = 1\n", .rest = steps[i].pool);
        assert_int_equal(millpond_cli(m, "reload", NULL).exit_code, 0);
        for (unsigned k = 0; k < 2; k++) /* neither a connection nor a session outlives its settings */
            expect_status(client_get(m->port, "/q", ""), steps[i].status);
    }
    struct proc_result r;
    char *empty = support_path("empty.pem");
    support_write_file(empty, "");
    millpond_write_ini(m, .main = "workers = 1\n", .rest = pool(ha.port, textf("tls_ca = %s\n", empty)));
    r = millpond_cli(m, "reload", NULL);
    EXPECT(r.exit_code == 1, "%d %s %s", r.exit_code, r.out, r.err);
    expect_in(r.err, "[pool app] tls_ca: ");
    r = millpond_run("check", "-c", m->ini, NULL);
    assert_int_equal(r.exit_code, 2);
    expect_in(r.out, "[pool app] tls_ca: ");
    expect_status(client_get(m->port, "/q", ""), 200);
    millpond_stop(m);
}

static void a_proxy_header_stands_before_it(void **state)
{
    UNUSED(state);
    prepare();
    struct app ha =
        instance_start(tls_cert_make("app", .names = "app.test", .issuer = authority), "accept-proxy");
    struct millpond *m =
        start(pool(ha.port, textf("%ssend_proxy_protocol = v2\nhealth_interval = 20ms\n", trusting())));
    millpond_wait_log(m, "starting -> up: first probe succeeded (status 200)", 1);
    const char *argv[] = {"curl", "-sS", "--interface", "127.0.0.7", textf("http://127.0.0.1:%d/me", m->port),
                          NULL};
    for (unsigned i = 0; i < 2; i++)
        assert_string_equal(proc_run(argv).out, "end");
    bool told = false;
    for (unsigned i = 0; i < origin_requests(end); i++)
        told |= strcmp(origin_request(end, i)->target, "/me") == 0 &&
                strcmp(message_field(origin_request(end, i), "X-Source"), "127.0.0.7") == 0;
    assert_true(told);
    assert_int_equal(figure(m, "upstream_tls_handshakes"), 2);
    assert_int_equal(figure(m, "upstream_tls_resumed"), 1);
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(an_instance_is_spoken_to),
        E2E_TEST(sessions_are_gone_on_with),
        E2E_TEST(what_is_not_believed_is_down_and_says_why),
        E2E_TEST(another_instance_is_asked),
        E2E_TEST(handshakes_that_fail),
        E2E_TEST(a_reload_changes_what_is_believed),
        E2E_TEST(a_proxy_header_stands_before_it),
    };
    return E2E_RUN("tls_instances", tests);
}
