/* tls_instances_identity.c: instances that ask who Millpond is, HAProxy with OpenSSL before an origin: what
 * they are shown, what becomes of requests and probes when they do not like it, and files that change:
 * certificate, key and authorities. */
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "tests/support/app.h"
#include "tests/support/millpond.h"
#include "tests/support/tls.h"

static struct origin *end;
static struct tls_cert *authority, *other_authority, *instance_cert, *pond;

static void echo(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(arg);
    const char *who = message_field(request, "X-Who");
    origin_respond(c, 200, "Cache-Control: no-store\r\n", who != NULL ? who : "nobody");
}

static void prepare(void)
{
    end = origin_start(echo, NULL);
    authority = tls_cert_make("authority", .authority = true);
    other_authority = tls_cert_make("other", .authority = true);
    instance_cert = tls_cert_make("app", .names = "app.test", .issuer = authority);
    pond = tls_cert_make("pond", .names = "pond.test", .issuer = authority);
}

/* One that lets in whom this authority knows; it answers with their name. */
static struct app instance_of(const struct tls_cert *asks, const char *bind_options)
{
    char *pem = support_path("app-both.pem");
    support_write_file(pem, textf("%s%s", support_read_file(instance_cert->file),
                                  support_read_file(instance_cert->key_file)));
    return app_haproxy(textf("ssl crt %s ca-file %s verify required %s", pem, asks->file, bind_options),
                       textf("127.0.0.1:%d", origin_port(end)),
                       "mode http\n http-request set-header X-Who %[ssl_c_s_dn(cn)]\n");
}

static char *pool_named(const char *name, int port, const char *lines)
{
    return textf("[pool %s]\nserver = 127.0.0.1:%d\ntls = yes\ntls_ca = %s\ntls_sni = app.test\n%s", name,
                 port, authority->file, lines);
}

static char *pool(int port, const char *lines)
{
    return pool_named("app", port, lines);
}

static struct millpond *start(const char *pools)
{
    return millpond_start(.main = "workers = 1\n", .rest = pools);
}

static int64_t figure(struct millpond *m, const char *name)
{
    return millpond_figure(m, name);
}

static const char *const versions[] = {"ssl-max-ver TLSv1.2 alpn h2,http/1.1",
                                       "ssl-min-ver TLSv1.3 alpn h2,http/1.1"};
static const char *const protocols[] = {"protocol = http/1.1\n", "protocol = h2\n"};

static void who_asks_is_shown_it(void **state)
{
    UNUSED(state);
    prepare();
    for (size_t v = 0; v < ARRAY_LEN(versions); v++) {
        struct app ha = instance_of(authority, versions[v]);
        for (size_t p = 0; p < ARRAY_LEN(protocols); p++) {
            struct millpond *m =
                start(pool(ha.port, textf("%s%shealth_interval = 20ms\nhealth_timeout = 10s\n",
                                          tls_cert_lines(pond), protocols[p])));
            millpond_wait_log(m, "starting -> up: first probe succeeded (status 200)", 1);
            expect_body(client_get(m->port, "/q", ""), "pond");
            expect_body(client_ask(m->port, "POST", "/q", "", "x"), "pond");
            assert_int_equal(figure(m, "upstream_connects"), 1);
            millpond_stop(m);
        }
        proc_kill(ha.proc);
    }
}

/* ---- whom an instance does not like ---- */

static void who_is_not_liked_hears_why(void **state)
{
    UNUSED(state);
    prepare();
    struct tls_cert *late = tls_cert_make("late", .names = "pond.test", .issuer = authority, .days = -1),
                    *alien = tls_cert_make("alien", .names = "pond.test", .issuer = other_authority,
                                           .alone = true);
    const struct {
        const char *lines, *why[2]; /* by TLS 1.2, 1.3 */
    } rows[] = {
        {"", {"sslv3 alert handshake failure", "tlsv13 alert certificate required"}},
        {tls_cert_lines(late), {"sslv3 alert certificate expired", "sslv3 alert certificate expired"}},
        {tls_cert_lines(alien), {"tlsv1 alert unknown ca", "tlsv1 alert unknown ca"}},
    };
    for (size_t v = 0; v < ARRAY_LEN(versions); v++) {
        struct app ha = instance_of(authority, versions[v]);
        for (size_t i = 0; i < ARRAY_LEN(rows) * ARRAY_LEN(protocols); i++) {
            const char *why = rows[i / 2].why[v], *lines = textf("%s%s", rows[i / 2].lines, protocols[i % 2]);
            struct millpond *m = start(pool(ha.port, textf("%shealth_check = off\nretries = 0\n", lines)));
            expect_status(client_ask(m->port, "POST", "/q", "", "x"), 502);
            millpond_wait_log(m, textf("app/127.0.0.1:%d: TLS: %s", ha.port, why), 1);
            millpond_access_line(m, "\"tls_failed\"");
            millpond_stop(m);
            if (i % ARRAY_LEN(protocols) != v)
                continue;
            m = start(pool(
                ha.port, textf("%shealth_interval = 20ms\nhealth_timeout = 10s\nhealth_fall = 2\n", lines)));
            millpond_wait_log(m, textf("-> down: TLS: %s (2 probes failed)", why), 1);
            expect_in(millpond_cli(m, "status", NULL).out, textf("TLS: %s", why));
            millpond_stop(m);
        }
        proc_kill(ha.proc);
    }
    assert_int_equal(origin_requests(end), 0);
}

/* It has seen nothing of the request, so another one is asked whatever the method. */
static void another_instance_is_asked(void **state)
{
    UNUSED(state);
    prepare();
    for (size_t v = 0; v < ARRAY_LEN(versions); v++) {
        struct app bad = instance_of(other_authority, versions[v]),
                   good = instance_of(authority, versions[v]);
        for (size_t p = 0; p < ARRAY_LEN(protocols); p++) {
            struct millpond *m = start(
                pool(bad.port, textf("server = 127.0.0.1:%d\nhealth_check = off\nretry_budget = 100%%\n%s%s",
                                     good.port, tls_cert_lines(pond), protocols[p])));
            for (unsigned i = 0; i < 4; i++)
                expect_body(client_ask(m->port, "POST", "/q", "", "x"), "pond");
            millpond_wait_log(m, "TLS: tlsv1 alert unknown ca", 2);
            millpond_stop(m);
        }
        proc_kill(bad.proc);
        proc_kill(good.proc);
    }
}

/* ---- an alert behind a response ---- */

#define LONG_BYTES 3000 /* of a query, and of a body; more than there is to a handshake */

static bool wait_until_there(int fd, int bytes)
{
    for (int there = 0, i = 0; i < support_wait_ms(); i++) {
        if (ioctl(fd, FIONREAD, &there) != 0 || there >= bytes)
            return there >= bytes;
        poll(NULL, 0, 1);
    }
    return false;
}

static int choose_h2(SSL *ssl, const unsigned char **chosen, unsigned char *bytes, const unsigned char *in,
                     unsigned in_bytes, void *arg)
{
    UNUSED(ssl);
    UNUSED(in_bytes);
    UNUSED(arg);
    *chosen = in + 1;
    *bytes = in[0];
    return SSL_TLSEXT_ERR_OK;
}

/* Answers its first request with the keys that TLS 1.3 has for data before the client's certificate is looked
 * at, and looks at that when it has the second one. */
static void answer_and_refuse(struct origin_conn *c, const struct message *none, void *arg)
{
    UNUSED(none);
    static const char answer[] = "\0\0\0\4\0\0\0\0\0\0\0\1\1\5\0\0\0\1\x88";
    const int fd = c->wire.fd;
    size_t n;
    SSL *ssl = SSL_new(arg);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
    SSL_set_fd(ssl, fd);
    SSL_set_accept_state(ssl);
    if (SSL_read_early_data(ssl, &(char){0}, 1, &n) == SSL_READ_EARLY_DATA_FINISH &&
        wait_until_there(fd, LONG_BYTES / 2) &&
        SSL_write_early_data(ssl, answer, sizeof answer - 1, &n) == 1 &&
        wait_until_there(fd, LONG_BYTES / 2 + LONG_BYTES))
        SSL_accept(ssl);
    SSL_free(ssl);
    shutdown(fd, SHUT_WR);
    origin_wait_peer_close(c);
}

/* Who has answered requests may have processed this one, too. */
static void an_alert_behind_a_response_is_no_refusal(void **state)
{
    UNUSED(state);
    prepare();
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    assert_int_equal(SSL_CTX_use_certificate(context, instance_cert->x509), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(context, instance_cert->key), 1);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_num_tickets(context, 0);
    SSL_CTX_set_alpn_select_cb(context, choose_h2, NULL);
    struct origin *o =
        origin_start_with(&(struct origin_options){.script = answer_and_refuse, .arg = context, .raw = true});
    struct millpond *m =
        start(pool(origin_port(o), textf("%shealth_check = off\nretries = 0\n", protocols[1])));
    expect_status(client_get(m->port, textf("/q?%s", text_repeat('a', LONG_BYTES)), ""), 200);
    expect_status(client_ask(m->port, "POST", "/p", "", text_repeat('b', LONG_BYTES)), 502);
    const char *why = json_string_value(json_object_get(millpond_access_line(m, "\"/p\""), "fetch_error"));
    assert_string_equal(why, "reset");
    millpond_stop(m);
    origin_stop(o);
    SSL_CTX_free(context);
}

/* ---- files that change ---- */

static void copy(const struct tls_cert *from, const struct tls_cert *over)
{
    char *next = support_path("copy.tmp");
    support_write_file(next, support_read_file(from->key_file));
    assert_int_equal(rename(next, over->key_file), 0);
    support_write_file(next, support_read_file(from->file));
    assert_int_equal(rename(next, over->file), 0);
}

static json_t *tls_of(struct millpond *m, size_t i)
{
    return json_array_get(json_object_get(millpond_status(m), "tls_pools"), i);
}

static void a_new_certificate_is_shown_and_a_bad_one_is_not(void **state)
{
    UNUSED(state);
    prepare();
    struct app ha = instance_of(authority, versions[1]);
    struct tls_cert *next = tls_cert_make("next", .names = "next.test", .issuer = authority, .days = 30),
                    *shown = tls_cert_make("shown", .names = "shown.test", .issuer = authority);
    struct millpond *m = start(pool(ha.port, textf("%shealth_check = off\n", tls_cert_lines(shown))));
    expect_body(client_get(m->port, "/q", ""), "shown");
    expect_body(client_get(m->port, "/q", ""), "shown");
    assert_int_equal(figure(m, "upstream_connects"), 1);

    copy(next, shown);
    millpond_wait_log(m, "[pool app] files for TLS read anew, since they have changed", 1);
    expect_body(client_get(m->port, "/q", ""), "next"); /* neither the connection nor its session */
    assert_int_equal(figure(m, "upstream_tls_handshakes"), 2);
    assert_int_equal(figure(m, "upstream_tls_resumed"), 0);
    json_t *c = json_array_get(json_object_get(tls_of(m, 0), "certificates"), 0);
    assert_string_equal(json_string_value(json_object_get(c, "names")), "next.test");
    assert_int_equal(json_integer_value(json_object_get(c, "expires_in_days")), 30);
    expect_in(millpond_cli(m, "status", NULL).out, "app: ");
    expect_in(millpond_cli(m, "status", NULL).out, "shown.pem for next.test, expires in 30 days");
    expect_in(millpond_admin(m, "GET", "/metrics")->body,
              textf("millpond_upstream_tls_certificate_expires_timestamp_seconds{pool=\"app\",file=\"%s\"} ",
                    shown->file));

    char *key = support_read_file(shown->key_file);
    support_write_file(shown->key_file, support_read_file(pond->key_file));
    millpond_wait_log(m, "is not that of the certificate", 1);
    millpond_wait_log(m, "what was read before stays in use", 1);
    expect_in(json_string_value(json_object_get(tls_of(m, 0), "problem")),
              "[pool app] tls_certificate: the key ");
    expect_in(millpond_cli(m, "status", NULL).out, "app: changed files are not used: ");
    expect_body(client_get(m->port, "/q", ""), "next");
    assert_int_equal(figure(m, "upstream_tls_handshakes"), 2); /* by the connection that there is */
    assert_int_equal(millpond_cli(m, "reload", NULL).exit_code, 1);
    support_write_file(shown->key_file, key);
    millpond_wait_log(m, "[pool app] files for TLS read anew, since they have changed", 2);
    assert_true(json_is_null(json_object_get(tls_of(m, 0), "problem")));
    expect_body(client_get(m->port, "/q", ""), "next");
    millpond_stop(m);
}

/* The file is good, and does not change again. */
static void what_could_not_be_read_for_want_of_descriptors_is_read_later(void **state)
{
    UNUSED(state);
    prepare();
    struct rlimit before, none;
    struct tls_cert *next = tls_cert_make("next", .names = "next.test", .issuer = authority);
    struct millpond *m = start(pool(3001, textf("%shealth_check = off\n", tls_cert_lines(pond))));
    assert_int_equal(prlimit(m->proc->pid, RLIMIT_NOFILE, NULL, &before), 0);
    none = (struct rlimit){0, before.rlim_max};
    assert_int_equal(prlimit(m->proc->pid, RLIMIT_NOFILE, &none, NULL), 0);
    copy(next, pond);
    millpond_wait_log(m, "Too many open files; name a PEM file that can; what was read before stays in use",
                      1);
    assert_int_equal(prlimit(m->proc->pid, RLIMIT_NOFILE, &before, NULL), 0);
    millpond_wait_log(m, "[pool app] files for TLS read anew, since they have changed", 1);
    assert_true(json_is_null(json_object_get(tls_of(m, 0), "problem")));
    millpond_stop(m);
}

/* An authority that was in the file no longer is, and comes back; probes of two pools that share a file. */
static void other_authorities_are_believed(void **state)
{
    UNUSED(state);
    prepare();
    struct app ha = instance_of(authority, versions[1]);
    char *lines = textf(
        "%shealth_interval = 20ms\nhealth_timeout = 10s\nhealth_fall = 2\nhealth_rise = 1\nretries = 0\n",
        tls_cert_lines(pond));
    char *good = support_read_file(authority->file);
    struct millpond *m = start(textf("%s%s[route b]\npath = /b/*\npool = b\n[route a]\npool = app\n",
                                     pool(ha.port, lines), pool_named("b", ha.port, lines)));
    millpond_wait_log(m, "starting -> up", 2);
    expect_body(client_get(m->port, "/q", ""), "pond");
    support_write_file(authority->file, support_read_file(other_authority->file));
    millpond_wait_log(m, "read anew", 2);
    millpond_wait_log(m, "-> down: TLS: ", 2);
    support_write_file(authority->file, "nothing");
    millpond_wait_log(m, "has no certificate that can be read", 2);
    expect_in(json_string_value(json_object_get(tls_of(m, 1), "problem")), "[pool b] tls_ca: ");
    support_write_file(authority->file, good);
    millpond_wait_log(m, "read anew", 4);
    millpond_wait_log(m, "down -> up", 2);
    expect_body(client_get(m->port, "/q", ""), "pond");
    expect_body(client_get(m->port, "/b/q", ""), "pond");
    millpond_stop(m);
}

/* With health_check = off nothing but requests finds out. */
static void connections_made_by_old_authorities_are_not_used(void **state)
{
    UNUSED(state);
    prepare();
    for (size_t p = 0; p < ARRAY_LEN(protocols); p++) {
        struct app ha = instance_of(authority, versions[1]);
        char *good = support_read_file(authority->file);
        struct millpond *m =
            start(pool(ha.port, textf("%s%shealth_check = off\nretries = 0\neject_errors = 0\n",
                                      tls_cert_lines(pond), protocols[p])));
        expect_body(client_get(m->port, "/q", ""), "pond");
        support_write_file(authority->file, support_read_file(other_authority->file));
        millpond_wait_log(m, "read anew", 1);
        expect_status(client_get(m->port, "/q", ""), 502);
        support_write_file(authority->file, good);
        millpond_wait_log(m, "read anew", 2);
        expect_body(client_get(m->port, "/q", ""), "pond");
        assert_int_equal(figure(m, "upstream_tls_handshakes"), 2);
        assert_int_equal(figure(m, "upstream_tls_resumed"), 0);
        millpond_stop(m);
        proc_kill(ha.proc);
    }
}

/* ---- before it starts ---- */

static void check_looks_at_them(void **state)
{
    UNUSED(state);
    prepare();
    struct tls_cert *soon = tls_cert_make("soon", .issuer = authority, .days = 7),
                    *late = tls_cert_make("late", .issuer = authority, .days = -7),
                    *server_only = tls_cert_make("server-only", .issuer = authority, .purpose = "serverAuth"),
                    *client_only = tls_cert_make("client-only", .issuer = authority, .purpose = "clientAuth");
    const struct {
        const char *lines, *said;
        int exit_code;
    } rows[] = {
        {tls_cert_lines(pond), ": good\n", 0},
        {tls_cert_lines(client_only), ": good\n", 0},
        {tls_cert_lines(soon), "tls_certificate: ", 0},
        {tls_cert_lines(soon), "soon.pem expires in 7 days; renew it", 0},
        {tls_cert_lines(late), "late.pem has expired, so instances refuse it; renew it", 0},
        {tls_cert_lines(server_only), "server-only.pem is not for clients (its extended key usage", 0},
        {textf("tls_certificate = %s\ntls_key = %s\n", pond->file, late->key_file),
         "[pool app] tls_certificate: the key ", 2},
        {textf("tls_certificate = %s\ntls_key = /nowhere.pem\n", pond->file), "/nowhere.pem cannot be read",
         2},
        {textf("tls_certificate = %s\n", pond->file), "a certificate takes its key", 2},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char *ini = support_path("check.ini");
        support_write_file(ini, pool(3001, rows[i].lines));
        struct proc_result r = millpond_run("check", "-c", ini, NULL);
        EXPECT(r.exit_code == rows[i].exit_code, "%zu: %d %s", i, r.exit_code, r.out);
        expect_in(r.out, rows[i].said);
    }
    struct millpond *m = start(pool(3001, textf("%shealth_check = off\n", tls_cert_lines(soon))));
    millpond_wait_log(m, "soon.pem expires in 7 days; renew it", 1);
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(who_asks_is_shown_it),
        E2E_TEST(who_is_not_liked_hears_why),
        E2E_TEST(another_instance_is_asked),
        E2E_TEST(an_alert_behind_a_response_is_no_refusal),
        E2E_TEST(a_new_certificate_is_shown_and_a_bad_one_is_not),
        E2E_TEST(what_could_not_be_read_for_want_of_descriptors_is_read_later),
        E2E_TEST(other_authorities_are_believed),
        E2E_TEST(connections_made_by_old_authorities_are_not_used),
        E2E_TEST(check_looks_at_them),
    };
    return E2E_RUN("tls_instances_identity", tests);
}
