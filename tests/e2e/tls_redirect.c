/* tls_redirect.c: a plain listener that sends clients to https, and answers challenges of ACME on the way;
 * and https that tells browsers to come by it from then on. */
#include <sys/stat.h>

#include "tests/support/millpond.h"
#include "tests/support/pages.h"
#include "tests/support/tls.h"

#define FIELD "Strict-Transport-Security"

static struct origin *app;

static struct millpond *start(const char *listen_lines)
{
    app = origin_start_named("app");
    return millpond_start(.main = "trusted_proxies = 127.0.0.1", .cache = "purge_from = 127.0.0.1",
                          .listen = listen_lines, .rest = pool_lines("app", 1, app));
}

static void all_go_to_https(void **state)
{
    UNUSED(state);
    struct millpond *m = start("redirect_to_https = yes");
    static const struct {
        const char *request, *location;
    } rows[] = {
        {"GET /a?b=c HTTP/1.1\r\nHost: site.test\r\n", "https://site.test/a?b=c"},
        {"GET / HTTP/1.1\r\nHost: site.test:8080\r\n", "https://site.test/"},
        {"GET /? HTTP/1.1\r\nHost: [::1]:8080\r\n", "https://[::1]/?"},
        {"GET / HTTP/1.1\r\nHost: [::1]\r\n", "https://[::1]/"},
        {"POST /form HTTP/1.1\r\nHost: site.test\r\nContent-Length: 0\r\n", "https://site.test/form"},
        {"GET http://other.test/x HTTP/1.1\r\nHost: site.test\r\n", "https://other.test/x"},
        {"OPTIONS * HTTP/1.1\r\nHost: site.test\r\n", "https://site.test"},
        {"GET /.well-known/acme-challenges/x HTTP/1.1\r\nHost: a\r\n",
         "https://a/.well-known/acme-challenges/x"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct message *r = client_raw(m->port, textf("%s\r\n", rows[i].request));
        expect_status(r, 308);
        expect_field(r, "Location", rows[i].location);
    }
    assert_int_equal(origin_requests(app), 0);
    expect_status(client_raw(m->port, "GET / HTTP/1.0\r\n\r\n"), 400);
    expect_status(client_ask(m->port, "PURGE", "/a", "", ""), 200);
    expect_status(client_get(m->port, "/x", "X-Forwarded-Proto: https\r\n"), 200); /* of a trusted proxy */
    expect_status(client_get(m->port, "/x", "X-Forwarded-Proto: http\r\n"), 308);
    expect_body(client_get(m->port, "/.well-known/acme-challenge/x", ""), "app");
    millpond_stop(m);
}

static void challenges_come_from_their_folder(void **state)
{
    UNUSED(state);
    char *root = support_path("www"), *folder = textf("%s/.well-known/acme-challenge", root);
    assert_int_equal(mkdir(root, 0755), 0);
    assert_int_equal(mkdir(textf("%s/.well-known", root), 0755), 0);
    assert_int_equal(mkdir(folder, 0755), 0);
    assert_int_equal(mkdir(textf("%s/dir", folder), 0755), 0);
    support_write_file(textf("%s/Token-1_a", folder), "Token-1_a.thumbprint");
    support_write_file(textf("%s/large", folder), text_repeat('x', 5000));
    support_write_file(textf("%s/secret", root), "secret");
    struct millpond *m = start(textf("redirect_to_https = yes\nacme_webroot = %s", root));
    struct message *r = client_get(m->port, "/.well-known/acme-challenge/Token-1_a", "");
    expect_status(r, 200);
    expect_body(r, "Token-1_a.thumbprint");
    static const char *const none[] = {
        "other", "", "dir", "large", "../../secret", "..%2f..%2fsecret", "Token-1_a/", "Token-1_a.", "."};
    for (size_t i = 0; i < ARRAY_LEN(none); i++) {
        r = client_get(m->port, textf("/.well-known/acme-challenge/%s", none[i]), "");
        EXPECT(r->status == 404, "%d for %s", r->status, none[i]);
        expect_not_in(r->body, "secret");
    }
    expect_status(client_get(m->port, "/.well-known/acme-challenge", ""), 308);
    expect_status(client_ask(m->port, "POST", "/.well-known/acme-challenge/Token-1_a", "", ""), 404);
    assert_int_equal(origin_requests(app), 0);
    millpond_stop(m);
    /* Without a redirect, and by https, where an authority comes that was redirected elsewhere. */
    m = start(textf("%sacme_webroot = %s\nhsts = preload", tls_cert_lines(tls_cert_make("a")), root));
    char *secure =
        tls_client_get(tls_client_open(m->port, .name = "test"), "/.well-known/acme-challenge/Token-1_a", "");
    expect_in(secure, "\r\n\r\nToken-1_a.thumbprint");
    expect_in(secure, FIELD ": max-age=63072000; includeSubDomains; preload\r\n");
    millpond_stop(m);
}

static struct page pages[] = {
    {.path = "/stored", .fields = "Cache-Control: max-age=600\r\n", .etag = "\"e\""},
    {.path = "/passed", .fields = "Cache-Control: no-store\r\n"},
    {.path = "/own", .fields = "strict-transport-security: max-age=1\r\n"},
    {.path = "/set", .fields = ""},
    {.path = "/removed", .fields = FIELD ": max-age=1\r\n"},
    {0}};

static void browsers_are_told_to_come_by_https(void **state)
{
    UNUSED(state);
    static const char on[] = FIELD ": max-age=63072000; includeSubDomains\r\n";
    struct millpond *m =
        millpond_start(.rest = textf("%s[listen secure]\naddress = 127.0.0.1:0\n%shsts = subdomains\n"
                                     "[route set]\npath = /set\nset_response_header = " FIELD ": max-age=5\n"
                                     "[route removed]\npath = /removed\nremove_response_header = " FIELD "\n"
                                     "[route none]\npath = /none\nrespond = 404 none\n[route all]\n",
                                     pool_lines("app", 1, origin_start(pages_script, pages)),
                                     tls_cert_lines(tls_cert_make("a"))));
    struct tls_client *c = tls_client_open(millpond_port(m, "secure"), .name = "test");
    static const char *const with[] = {"/stored", "/stored", "/passed", "/none"};
    for (size_t i = 0; i < ARRAY_LEN(with); i++)
        expect_in(tls_client_get(c, with[i], ""), on);
    char *r = tls_client_get(c, "/stored", "If-None-Match: \"e\"\r\n");
    expect_in(r, " 304 ");
    expect_in(r, on);
    expect_in(tls_client_get(c, "/stored", "Range: bytes=0-1\r\n"), on);
    r = tls_client_get(c, "/own", "");
    expect_in(r, "max-age=1\r\n");
    expect_not_in(r, on);
    r = tls_client_get(c, "/set", "");
    expect_in(r, FIELD ": max-age=5\r\n");
    expect_not_in(r, on);
    expect_not_in(tls_client_get(c, "/removed", ""), FIELD);
    for (size_t i = 0; i < ARRAY_LEN(with); i++)
        expect_no_field(client_get(m->port, with[i], ""), FIELD);
    millpond_stop(m);
}

/* A connection from before the listener had a certificate is still plain. */
static void nothing_is_told_over_plain_http(void **state)
{
    UNUSED(state);
    static const char get[] = "GET /stored HTTP/1.1\r\nHost: test\r\n\r\n";
    char *pool = pool_lines("app", 1, origin_start(pages_script, pages));
    struct millpond *m = millpond_start(.rest = pool);
    struct client *c = client_open(m->port);
    client_send(c, get);
    expect_status(client_read(c), 200);
    millpond_write_ini(m, .listen = textf("%shsts = on", tls_cert_lines(tls_cert_make("a"))), .rest = pool);
    assert_int_equal(millpond_cli(m, "reload", NULL).exit_code, 0);
    expect_in(tls_client_get(tls_client_open(m->port, .name = "test"), "/stored", ""), FIELD);
    client_send(c, get);
    struct message *r = client_read(c);
    expect_status(r, 200);
    expect_no_field(r, FIELD);
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(all_go_to_https),
        E2E_TEST(challenges_come_from_their_folder),
        E2E_TEST(browsers_are_told_to_come_by_https),
        E2E_TEST(nothing_is_told_over_plain_http),
    };
    return E2E_RUN("tls_redirect", tests);
}
