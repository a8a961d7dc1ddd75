/* tls_tickets.c: keys of session tickets from a file, by which a client's session goes on at another node and
 * after a restart. */
#include <openssl/evp.h>

#include "tests/support/millpond.h"
#include "tests/support/tls.h"

static struct tls_cert *cert;
static char *file;

static char *key_line(unsigned n)
{
    unsigned char raw[80], text[120];
    memset(raw, (int)n, sizeof raw);
    EVP_EncodeBlock(text, raw, sizeof raw);
    return textf("%s\n", (char *)text);
}

static struct millpond_options options(const char *name, const char *main_lines)
{
    return (struct millpond_options){.name = name,
                                     .main = textf("workers = 1\n%s", main_lines),
                                     .rest = textf("%s[listen secure]\naddress = 127.0.0.1:0\n%s",
                                                   pool_lines("app", 1, origin_start_named("app")),
                                                   tls_cert_lines(cert))};
}

static struct millpond *start(const char *name, const char *main_lines)
{
    struct millpond_options o = options(name, main_lines);
    return millpond_start_(&o);
}

static char *keys_at(const char *path)
{
    return textf("tls_ticket_keys = %s\n", path);
}

static SSL_SESSION *session_of(struct millpond *m)
{
    struct tls_client *c = tls_client_open(millpond_port(m, "secure"), .name = "test");
    expect_in(tls_client_get(c, "/", ""), "app");
    assert_non_null(c->session);
    return c->session;
}

static bool goes_on(struct millpond *m, SSL_SESSION *session)
{
    struct tls_client *c = tls_client_open(millpond_port(m, "secure"), .name = "test", .session = session);
    EXPECT(c->ok, "%s", c->error);
    expect_in(tls_client_get(c, "/", ""), "app");
    return SSL_session_reused(c->ssl) == 1;
}

static void prepare(void)
{
    cert = tls_cert_make("cert");
    file = support_path("tickets");
    support_write_file(file, key_line(1));
}

static void a_session_goes_on_at_another_node(void **state)
{
    UNUSED(state);
    prepare();
    struct millpond *one = start("one", keys_at(file)), *two = start("two", keys_at(file)),
                    *alone = start("alone", "");
    SSL_SESSION *session = session_of(one);
    assert_true(goes_on(two, session));
    assert_false(goes_on(alone, session));
    assert_false(goes_on(two, session_of(alone)));
    millpond_stop(one);
    one = start("again", keys_at(file));
    assert_true(goes_on(one, session));
    millpond_stop(one);
    millpond_stop(two);
    millpond_stop(alone);
}

/* RFC 8446 appendix C.4: clients use a ticket once. */
static void who_comes_back_gets_a_new_ticket(void **state)
{
    UNUSED(state);
    prepare();
    struct millpond *m = start(NULL, "");
    SSL_SESSION *session = session_of(m);
    for (unsigned i = 0; i < 3; i++) {
        struct tls_client *c =
            tls_client_open(millpond_port(m, "secure"), .name = "test", .session = session);
        EXPECT(c->ok, "%s", c->error);
        expect_in(tls_client_get(c, "/", ""), "app");
        assert_int_equal(SSL_session_reused(c->ssl), 1);
        assert_non_null(c->session);
        assert_ptr_not_equal(c->session, session);
        session = c->session;
    }
    millpond_stop(m);
}

static void keys_are_rotated_by_who_writes_the_file(void **state)
{
    UNUSED(state);
    prepare();
    struct millpond *m = start(NULL, keys_at(file));
    SSL_SESSION *first = session_of(m);
    support_write_file(file, textf("%s%s", key_line(2), key_line(1)));
    millpond_wait_log(m, "tls_ticket_keys read anew", 1);
    assert_true(goes_on(m, first));
    SSL_SESSION *second = session_of(m);
    support_write_file(file, "nonsense\n");
    millpond_wait_log(m, "is no key of 80 bytes in base64", 1);
    millpond_wait_log(m, "the keys read before stay in use", 1);
    assert_true(goes_on(m, second));
    assert_int_equal(millpond_cli(m, "reload", NULL).exit_code, 1);
    assert_int_equal(millpond_run("check", "-c", m->ini, NULL).exit_code, 2);
    support_write_file(file, key_line(2));
    assert_int_equal(millpond_cli(m, "reload", NULL).exit_code, 0);
    assert_true(goes_on(m, second));
    assert_false(goes_on(m, first));
    millpond_stop(m);
}

static void a_reload_changes_the_file_or_does_without(void **state)
{
    UNUSED(state);
    prepare();
    struct millpond *m = start(NULL, keys_at(file));
    SSL_SESSION *before = session_of(m);
    char *good = support_read_file(m->ini), *other = support_path("other");
    support_write_file(other, key_line(9));
    support_write_file(m->ini, textf("%s[listen bad]\naddress = nonsense\n", good));
    assert_int_equal(millpond_cli(m, "reload", NULL).exit_code, 1);
    assert_true(goes_on(m, before));
    struct millpond_options o = options(NULL, keys_at(other));
    millpond_write_ini_(m, &o);
    assert_int_equal(millpond_cli(m, "reload", NULL).exit_code, 0);
    assert_false(goes_on(m, before));
    SSL_SESSION *after = session_of(m);
    o = options(NULL, "");
    millpond_write_ini_(m, &o);
    assert_int_equal(millpond_cli(m, "reload", NULL).exit_code, 0);
    assert_true(goes_on(m, after));
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(a_session_goes_on_at_another_node),
        E2E_TEST(who_comes_back_gets_a_new_ticket),
        E2E_TEST(keys_are_rotated_by_who_writes_the_file),
        E2E_TEST(a_reload_changes_the_file_or_does_without),
    };
    return E2E_RUN("tls_tickets", tests);
}
