/* tls_clients.c: clients that show certificates: who gets in, what the application is told and cannot be told
 * by anybody else, and what the cache gives to whom. */
#include "tests/support/h2.h"
#include "tests/support/millpond.h"
#include "tests/support/pages.h"
#include "tests/support/tls.h"

static struct page pages[] = {
    {.path = "/own", .fields = "Cache-Control: max-age=600\r\n"},
    {.path = "/all", .fields = "Cache-Control: public, max-age=600\r\n"},
    {.path = "/varies", .fields = "Cache-Control: public, max-age=600\r\nVary: X-SSL-Client-S-DN\r\n"},
    {.path = "/soon", .fields = "Cache-Control: public, max-age=0, stale-while-revalidate=600\r\n"},
    {.path = "/q", .fields = "Cache-Control: no-store\r\n"},
    {0}};
static struct origin *app;
static struct tls_cert *authority, *server, *second, *alice, *bob, *stranger;
static const char *main_lines = "";
static const char keeping[] = "[route all]\nkeep_request_header = X-SSL-Client-S-DN\n";
static const char *routes = keeping;

/* A plain listener, and "secure" and "open", which ask by these rules and by none. */
static struct millpond_options options(const char *verify_lines)
{
    return (struct millpond_options){
        .main = textf("workers = 2\n%s", main_lines),
        .listen = "protocols = h2, http/1.1, h2c",
        .rest =
            textf("%s[listen secure]\naddress = 127.0.0.1:0\n%s%s\n[listen open]\naddress = "
                  "127.0.0.1:0\n%s%s",
                  pool_lines("app", 1, app), textf("%s%s", tls_cert_lines(server), tls_cert_lines(second)),
                  verify_lines, tls_cert_lines(server), routes)};
}

static struct millpond *start(const char *verify)
{
    app = origin_start(pages_script, pages);
    for (size_t i = 0; pages[i].path != NULL; i++)
        pages[i].served = 0;
    authority = tls_cert_make("authority", .authority = true);
    server = tls_cert_make("server");
    second = tls_cert_make("second", .names = "second.test");
    alice = tls_cert_make("alice", .issuer = authority);
    bob = tls_cert_make("Bob+ \"B\", Inc", .issuer = authority);
    stranger = tls_cert_make("stranger", .issuer = tls_cert_make("other", .authority = true));
    struct millpond_options o =
        options(textf("tls_client_verify = %s\ntls_client_ca = %s\n", verify, authority->file));
    return millpond_start_(&o);
}

/* What is answered; "" if the connection is refused. With TLS 1.3 a client learns of that when it reads. */
static char *ask_with(struct tls_client *c, const char *target, const char *fields)
{
    char *head = textf("GET %s HTTP/1.1\r\nHost: test\r\n%s\r\n", target, fields);
    if (!c->ok || !tls_client_send(c, head, strlen(head)))
        return textf("%s", "");
    return tls_client_read(c);
}

static char *ask(struct millpond *m, const struct tls_cert *cert, const char *target)
{
    return ask_with(tls_client_open(millpond_port(m, "secure"), .cert = cert), target, "");
}

static const char *told(unsigned request, const char *name)
{
    const char *value = message_field(origin_request(app, request), name);
    return value != NULL ? value : "-";
}

static char *sha256_of(const struct tls_cert *cert)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned bytes;
    char *hex = text_repeat('x', 64);
    X509_digest(cert->x509, EVP_sha256(), digest, &bytes);
    for (unsigned i = 0; i < bytes; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    return hex;
}

static void only_whom_the_authority_knows_gets_in(void **state)
{
    UNUSED(state);
    struct millpond *m = start("required");
    expect_in(ask(m, alice, "/q"), "/q#1");
    assert_string_equal(told(0, "X-SSL-Client-Verify"), "SUCCESS");
    assert_string_equal(told(0, "X-SSL-Client-S-DN"), "CN=alice");
    assert_string_equal(told(0, "X-SSL-Client-SHA256"), sha256_of(alice));
    expect_in(ask(m, bob, "/q"), "/q#2");
    assert_string_equal(told(1, "X-SSL-Client-S-DN"), "CN=Bob\\+ \\\"B\\\"\\, Inc");
    assert_string_equal(ask(m, NULL, "/q"), "");
    assert_string_equal(ask(m, stranger, "/q"), "");
    assert_string_equal(ask(m, tls_cert_make("late", .issuer = authority, .days = -1), "/q"), "");
    assert_string_equal(ask(m, tls_cert_make("alone"), "/q"), "");
    struct tls_client *old =
        tls_client_open(millpond_port(m, "secure"), .cert = stranger, .max_version = TLS1_2_VERSION);
    assert_false(old->ok);
    old = tls_client_open(millpond_port(m, "secure"), .cert = alice, .max_version = TLS1_2_VERSION);
    expect_in(ask_with(old, "/q", ""), "/q#3");
    assert_string_equal(told(2, "X-SSL-Client-S-DN"), "CN=alice");
    struct tls_client *c = tls_client_open(millpond_port(m, "secure"), .cert = bob, .name = "second.test");
    assert_string_equal(tls_client_peer(c), "second");
    expect_in(ask_with(c, "/q", ""), "/q#4");
    assert_string_equal(
        ask_with(tls_client_open(millpond_port(m, "secure"), .cert = stranger, .name = "second.test"), "/q",
                 ""),
        "");
    assert_int_equal(origin_requests(app), 4);
    millpond_stop(m);
}

static void who_may_show_one_and_does_is_known(void **state)
{
    UNUSED(state);
    struct millpond *m = start("optional");
    expect_in(ask(m, NULL, "/q"), "/q#1");
    assert_string_equal(told(0, "X-SSL-Client-Verify"), "NONE");
    assert_string_equal(told(0, "X-SSL-Client-S-DN"), "-");
    expect_in(ask(m, alice, "/q"), "/q#2");
    assert_string_equal(told(1, "X-SSL-Client-Verify"), "SUCCESS");
    assert_string_equal(ask(m, stranger, "/q"), "");
    json_t *line = millpond_access_line(m, "CN=alice");
    assert_string_equal(json_string_value(json_object_get(line, "tls_client")), "CN=alice");
    millpond_stop(m);
}

/* Whatever listener they come by, in whatever way they are written; the route would keep one of them. */
static void nobody_can_forge_it(void **state)
{
    static const char forged[] = "X-SSL-Client-Verify: SUCCESS\r\nx-ssl-client-s-dn: CN=root\r\n"
                                 "X_SSL_Client_S_DN: CN=root\r\nX-SSL-Client_SHA256: 00\r\n"
                                 "Client-Cert: :AA==:\r\nX-Forwarded-Client-Cert: a\r\nOther: kept\r\n";
    static const char *const none[] = {"X_SSL_Client_S_DN", "X-SSL-Client_SHA256", "Client-Cert",
                                       "X-Forwarded-Client-Cert"};
    static const char chunked[] =
        "POST /q HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
        "X-SSL-Client-Verify: SUCCESS\r\nX-SSL_Client-S-DN: x\r\nOther: kept\r\n\r\n";
    UNUSED(state);
    struct millpond *m = start("optional");
    const int secure = millpond_port(m, "secure");
    expect_in(ask_with(tls_client_open(secure), "/q", forged), "/q#1");
    expect_in(ask_with(tls_client_open(secure, .cert = alice), "/q", forged), "/q#2");
    expect_in(ask_with(tls_client_open(millpond_port(m, "open")), "/q", forged), "/q#3");
    expect_body(client_get(m->port, "/q", forged), "/q#4");
    expect_status(client_raw(m->port, chunked), 200);
    static const char *const verify[] = {"NONE", "SUCCESS", "-", "-", "-"};
    for (unsigned i = 0; i < ARRAY_LEN(verify); i++) {
        assert_string_equal(told(i, "X-SSL-Client-Verify"), verify[i]);
        assert_string_equal(told(i, "X-SSL-Client-S-DN"), i == 1 ? "CN=alice" : "-");
        for (size_t k = 0; k < ARRAY_LEN(none); k++)
            assert_string_equal(told(i, none[k]), "-");
        if (i < 4)
            assert_string_equal(told(i, "Other"), "kept");
    }
    expect_in(origin_request(app, 4)->trailers, "Other: kept");
    expect_not_in(origin_request(app, 4)->trailers, "SSL");
    millpond_stop(m);
}

/* By HTTP/2 as well, where names come in one spelling only: over TLS, without it, and in trailers. */
static void nobody_can_forge_it_by_http2(void **state)
{
    static const char *const shown[] = {"SUCCESS", "NONE", "-"};
    UNUSED(state);
    struct millpond *m = start("optional");
    const char *const ports[] = {"secure", "secure", "open"};
    for (unsigned i = 0; i < ARRAY_LEN(ports); i++) {
        const char *argv[] = {"curl",
                              "-sSk",
                              "--http2",
                              "-w",
                              " %{http_version}",
                              "-H",
                              "x-ssl-client-verify: SUCCESS",
                              "-H",
                              "x-ssl-client-s-dn: CN=root",
                              "-H",
                              "x_ssl_client_s_dn: CN=root",
                              "-H",
                              "x-ssl-client-sha256: 00",
                              "-H",
                              "client-cert: :AA==:",
                              "-H",
                              "other: kept",
                              textf("https://localhost:%d/q", millpond_port(m, ports[i])),
                              i == 0 ? "--cert" : NULL,
                              alice->file,
                              "--key",
                              alice->key_file,
                              NULL};
        struct proc_result r = proc_run(argv);
        EXPECT(r.exit_code == 0, "curl: %s", r.err);
        assert_string_equal(r.out, textf("/q#%u 2", i + 1));
        assert_string_equal(told(i, "X-SSL-Client-Verify"), shown[i]);
        assert_string_equal(told(i, "X-SSL-Client-S-DN"), i == 0 ? "CN=alice" : "-");
        assert_string_equal(told(i, "X-SSL-Client-SHA256"), i == 0 ? sha256_of(alice) : "-");
        assert_string_equal(told(i, "X_SSL_Client_S_DN"), "-");
        assert_string_equal(told(i, "Client-Cert"), "-");
        assert_string_equal(told(i, "Other"), "kept");
    }
    struct h2_client *c = h2_open(m->port);
    h2_headers(c, 0, 1, H2_POST("/q"), "x-ssl-client-verify", "SUCCESS", "x-ssl_client-s-dn", "CN=root");
    h2_data(c, 0, 1, "x", 1);
    h2_headers(c, NGHTTP2_FLAG_END_STREAM, 1, "x-ssl-client-sha256", "00", "x_ssl-client-verify", "SUCCESS",
               "other", "kept");
    h2_expect(c, 1, 200, NULL);
    assert_string_equal(told(3, "X-SSL-Client-Verify"), "-");
    assert_string_equal(told(3, "X-SSL_Client-S-DN"), "-");
    expect_in(origin_request(app, 3)->trailers, "other: kept");
    expect_not_in(origin_request(app, 3)->trailers, "ssl");
    millpond_stop(m);
}

static struct tls_client *resume(struct millpond *m, const char *listener, int version, SSL_SESSION *session)
{
    return tls_client_open(millpond_port(m, listener), .max_version = version, .session = session);
}

/* Its identity goes on with a session, but not to another listener, nor to one that believes others by now.
 */
static void sessions_know_whose_they_are(void **state)
{
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    SSL_SESSION *sessions[2];
    UNUSED(state);
    struct millpond *m = start("required");
    for (unsigned i = 0; i < 2; i++) {
        struct tls_client *c =
            tls_client_open(millpond_port(m, "secure"), .cert = alice, .max_version = versions[i]);
        expect_in(ask_with(c, "/q", ""), "/q#");
        sessions[i] = c->session;
        c = resume(m, "secure", versions[i], sessions[i]);
        expect_in(ask_with(c, "/q", ""), "/q#");
        assert_int_equal(SSL_session_reused(c->ssl), 1);
        assert_string_equal(told(3 * i + 1, "X-SSL-Client-S-DN"), "CN=alice");
        c = resume(m, "open", versions[i], sessions[i]);
        expect_in(ask_with(c, "/q", ""), "/q#");
        assert_int_equal(SSL_session_reused(c->ssl), 0);
        assert_string_equal(told(3 * i + 2, "X-SSL-Client-Verify"), "-");
    }
    support_write_file(authority->file, support_read_file(tls_cert_make("new", .authority = true)->file));
    assert_int_equal(millpond_cli(m, "reload", NULL).exit_code, 0);
    for (unsigned i = 0; i < 2; i++)
        assert_string_equal(ask_with(resume(m, "secure", versions[i], sessions[i]), "/q", ""), "");
    assert_string_equal(ask(m, alice, "/q"), "");
    millpond_stop(m);
}

/* A connection from before certificates were required is told to begin anew; no request passes by it. */
static void a_reload_that_requires_one_holds_for_all(void **state)
{
    UNUSED(state);
    struct millpond *m = start("optional");
    struct tls_client *nobody = tls_client_open(millpond_port(m, "secure")),
                      *known = tls_client_open(millpond_port(m, "secure"), .cert = alice);
    expect_in(ask_with(nobody, "/all", ""), "/all#1");
    expect_in(ask_with(known, "/all", ""), "/all#2");
    struct millpond_options o =
        options(textf("tls_client_verify = required\ntls_client_ca = %s\n", authority->file));
    millpond_write_ini_(m, &o);
    assert_int_equal(millpond_cli(m, "reload", NULL).exit_code, 0);
    expect_in(ask_with(nobody, "/all", ""), "HTTP/1.1 421 ");
    assert_int_equal(tls_client_drain(nobody), 0);
    expect_in(ask_with(known, "/all", ""), "/all#2");
    millpond_stop(m);
}

/* What is fetched in the background is fetched as the client whose request caused it. */
static void a_renewal_has_the_same_identity(void **state)
{
    UNUSED(state);
    struct millpond *m = start("required");
    pages[1].fields = "Cache-Control: public, max-age=1, stale-while-revalidate=600\r\nAge: 1\r\n";
    expect_in(ask(m, alice, "/all"), "/all#1");
    expect_in(ask(m, bob, "/all"), "/all#1");
    origin_wait_requests(app, 2);
    assert_string_equal(told(1, "X-SSL-Client-S-DN"), "CN=Bob\\+ \\\"B\\\"\\, Inc");
    pages[1].fields = "Cache-Control: public, max-age=600\r\n";
    millpond_stop(m);
}

/* The certificate of a proxy that is trusted is its own: what it asks for is cached as ever, and what it says
 * of its clients is believed where the route says so, unless it speaks over a listener that asks for
 * certificates.
 */
static void a_trusted_proxy_is_not_the_client(void **state)
{
    UNUSED(state);
    main_lines = "trusted_proxies = 127.0.0.1\n";
    struct millpond *m = start("optional");
    expect_in(ask(m, alice, "/own"), "/own#1");
    expect_in(ask(m, bob, "/own"), "/own#1");
    expect_in(ask(m, NULL, "/own"), "/own#1");
    assert_string_equal(told(0, "X-SSL-Client-S-DN"), "CN=alice");
    static const char says[] = "X-SSL-Client-S-DN: CN=carol\r\nX-SSL-Client-Verify: SUCCESS\r\n";
    expect_in(ask_with(tls_client_open(millpond_port(m, "open")), "/own", says), "/own#2");
    assert_string_equal(told(1, "X-SSL-Client-S-DN"), "CN=carol");
    assert_string_equal(told(1, "X-SSL-Client-Verify"), "-");
    expect_in(ask_with(tls_client_open(millpond_port(m, "secure")), "/q", says), "/q#1");
    assert_string_equal(told(2, "X-SSL-Client-S-DN"), "-");
    assert_string_equal(told(2, "X-SSL-Client-Verify"), "NONE");
    millpond_stop(m);
    main_lines = "";
}

/* Who is believed is read anew without a reload; a bad file changes nothing, and is no way to start. */
static void authorities_that_change_are_read(void **state)
{
    UNUSED(state);
    struct millpond *m = start("required");
    char *before = support_read_file(authority->file);
    struct tls_cert *other = tls_cert_make("fresh", .authority = true);
    support_write_file(authority->file, "nonsense");
    millpond_wait_log(m, "tls_client_ca: ", 1);
    expect_in(ask(m, alice, "/q"), "/q#1");
    expect_in(json_string_value(json_find(millpond_status(m), "problem")), "has no certificate");
    support_write_file(authority->file, textf("%s%s", before, support_read_file(other->file)));
    millpond_wait_log(m, "read anew", 1);
    expect_in(ask(m, alice, "/q"), "/q#2");
    expect_in(ask(m, tls_cert_make("dora", .issuer = other), "/q"), "/q#3");
    millpond_stop(m);
    support_write_file(authority->file, "nonsense");
    struct proc_result r = millpond_run("check", "-c", m->ini, NULL);
    assert_int_equal(r.exit_code, 2);
    expect_in(r.out, "[listen secure] tls_client_ca: ");
}

static void what_is_made_for_one_is_given_to_nobody(void **state)
{
    UNUSED(state);
    struct millpond *m = start("optional");
    expect_in(ask(m, alice, "/own"), "/own#1");
    expect_in(ask(m, bob, "/own"), "/own#2");
    expect_in(ask(m, alice, "/own"), "/own#3");
    expect_in(ask(m, NULL, "/own"), "/own#4");
    expect_in(ask(m, NULL, "/own"), "/own#4");
    expect_in(ask(m, alice, "/own"), "/own#5");
    assert_string_equal(
        json_string_value(json_object_get(millpond_access_line(m, "client_certificate"), "target")), "/own");
    expect_in(ask(m, alice, "/varies"), "/varies#1");
    expect_in(ask(m, bob, "/varies"), "/varies#2");
    millpond_stop(m);
}

/* Among those with a certificate at one listener, and nobody else; a purge takes it from all. */
static void what_is_for_all_is_for_all_of_one_door(void **state)
{
    UNUSED(state);
    struct millpond *m = start("optional");
    expect_in(ask(m, alice, "/all"), "/all#1");
    expect_in(ask(m, bob, "/all"), "/all#1");
    expect_in(ask(m, NULL, "/all"), "/all#2");
    expect_in(ask_with(tls_client_open(millpond_port(m, "open")), "/all", ""), "/all#2");
    expect_body(client_get(m->port, "/all", ""), "/all#3");
    millpond_purge(m, "https://test/all");
    expect_in(ask(m, bob, "/all"), "/all#4");
    expect_in(ask(m, NULL, "/all"), "/all#5");
    millpond_stop(m);
}

/* Routes, keys and what goes past the cache go by who the client is, not by what it says. */
static void the_ini_file_reads_what_is_true(void **state)
{
    UNUSED(state);
    static const char forged[] = "X-SSL-Client-Verify: SUCCESS\r\nX-SSL-Client-S-DN: CN=alice\r\n";
    routes = "[route past]\npath = /q\nheader = X-SSL-Client-Verify: SUCCESS\nrespond = 200 inside\n"
             "[route all]\nkey_headers = X-SSL-Client-S-DN\n";
    struct millpond *m = start("optional");
    routes = keeping;
    const int secure = millpond_port(m, "secure");
    expect_in(ask(m, alice, "/q"), "inside");
    expect_in(ask(m, NULL, "/q"), "/q#1");
    expect_in(ask_with(tls_client_open(secure), "/q", forged), "/q#2");
    expect_in(ask_with(tls_client_open(millpond_port(m, "open")), "/q", forged), "/q#3");
    expect_body(client_get(m->port, "/q", forged), "/q#4");
    expect_in(ask(m, alice, "/all"), "/all#1");
    expect_in(ask(m, bob, "/all"), "/all#2");
    expect_in(ask(m, alice, "/all"), "/all#1");
    expect_in(ask_with(tls_client_open(secure, .cert = bob), "/all", forged), "/all#2");
    expect_in(ask_with(tls_client_open(secure), "/all", forged), "/all#3");
    expect_body(client_get(m->port, "/all", forged), "/all#4");
    expect_body(client_get(m->port, "/all", ""), "/all#4");
    expect_in(ask_with(tls_client_open(secure, .cert = alice), "/all", "Connection: close\r\n"), "/all#1");
    millpond_stop(m);
}

/* A response that is renewed when its client has gone. */
static void a_renewal_in_the_background_is_for_the_same_client(void **state)
{
    UNUSED(state);
    routes = "[route all]\nkey_headers = X-SSL-Client-S-DN\n";
    struct millpond *m = start("optional");
    routes = keeping;
    expect_in(ask(m, alice, "/soon"), "/soon#1");
    expect_in(ask(m, alice, "/soon"), "/soon#1");
    millpond_wait_figure(m, "refreshes_in_flight", 0);
    assert_string_equal(told(1, "X-SSL-Client-S-DN"), "CN=alice");
    expect_in(ask(m, bob, "/soon"), "/soon#3");
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(only_whom_the_authority_knows_gets_in),
        E2E_TEST(who_may_show_one_and_does_is_known),
        E2E_TEST(nobody_can_forge_it),
        E2E_TEST(nobody_can_forge_it_by_http2),
        E2E_TEST(sessions_know_whose_they_are),
        E2E_TEST(a_reload_that_requires_one_holds_for_all),
        E2E_TEST(authorities_that_change_are_read),
        E2E_TEST(what_is_made_for_one_is_given_to_nobody),
        E2E_TEST(what_is_for_all_is_for_all_of_one_door),
        E2E_TEST(the_ini_file_reads_what_is_true),
        E2E_TEST(a_renewal_in_the_background_is_for_the_same_client),
        E2E_TEST(a_renewal_has_the_same_identity),
        E2E_TEST(a_trusted_proxy_is_not_the_client),
    };
    return E2E_RUN("tls_clients", tests);
}
