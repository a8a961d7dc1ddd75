/* tls_redirect.c: a plain listener that sends clients to https, and answers challenges of ACME on the way. */
#include <sys/stat.h>

#include "tests/support/millpond.h"

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
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(all_go_to_https),
        E2E_TEST(challenges_come_from_their_folder),
    };
    return E2E_RUN("tls_redirect", tests);
}
