/* test_tls_verify.c: files of authorities, and who a client is after a handshake over a socketpair. Who gets
 * in is in tests/e2e/tls_clients.c. */
#include "core/tls_verify.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <sys/socket.h>

#include "tests/support/tls.h"

static void test_authorities(void **state)
{
    struct tls_authorities a, b;
    char err[600];
    UNUSED(state);
    struct tls_cert *one = tls_cert_make("one", .authority = true),
                    *two = tls_cert_make("two", .authority = true);
    char *both = support_path("both.pem"), *none = support_path("none.pem");
    support_write_file(both, textf("%s%s", support_read_file(one->file), support_read_file(two->file)));
    support_write_file(none, "no certificate");
    assert_true(tls_authorities_load(&a, one->file, err, sizeof err));
    assert_true(tls_authorities_load(&b, both, err, sizeof err));
    assert_int_equal(sk_X509_NAME_num(a.names), 1);
    assert_int_equal(sk_X509_NAME_num(b.names), 2);
    assert_memory_not_equal(a.digest, b.digest, sizeof a.digest);
    tls_authorities_free(&b);
    assert_true(tls_authorities_load(&b, one->file, err, sizeof err));
    assert_memory_equal(a.digest, b.digest, sizeof a.digest);
    tls_authorities_free(&a);
    tls_authorities_free(&b);
    assert_false(tls_authorities_load(&a, none, err, sizeof err));
    assert_null(a.store);
    expect_in(err, "none.pem has no certificate");
    assert_false(tls_authorities_load(&a, support_path("absent"), err, sizeof err));
    expect_in(err, "absent cannot be read");
    assert_int_equal(ERR_peek_error(), 0);
}

/* ---- who a client is ---- */

static SSL_CTX *contexts[2];
static SSL *server, *client;
static int fds[2];

/* `cert` NULL: the client shows none. */
static void establish(const struct tls_cert *authority, const struct tls_cert *cert)
{
    struct tls_cert *own = tls_cert_make("own");
    struct tls_authorities a;
    char err[600];
    assert_true(tls_authorities_load(&a, authority->file, err, sizeof err));
    contexts[0] = SSL_CTX_new(TLS_server_method());
    contexts[1] = SSL_CTX_new(TLS_client_method());
    assert_true(tls_authorities_use(&a, TLS_VERIFY_OPTIONAL, contexts[0]));
    tls_authorities_free(&a);
    SSL_CTX_use_certificate(contexts[0], own->x509);
    SSL_CTX_use_PrivateKey(contexts[0], own->key);
    if (cert != NULL) {
        SSL_CTX_use_certificate(contexts[1], cert->x509);
        SSL_CTX_use_PrivateKey(contexts[1], cert->key);
    }
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    server = SSL_new(contexts[0]);
    client = SSL_new(contexts[1]);
    SSL_set_fd(server, fds[0]);
    SSL_set_fd(client, fds[1]);
    SSL_set_accept_state(server);
    SSL_set_connect_state(client);
    for (int i = 0; i < 10; i++) {
        SSL_do_handshake(client);
        SSL_do_handshake(server);
    }
    ERR_clear_error();
    assert_true(SSL_is_init_finished(server) == 1);
}

static void leave(void)
{
    for (int i = 0; i < 2; i++) {
        SSL_free(i == 0 ? server : client);
        SSL_CTX_free(contexts[i]);
        close(fds[i]);
    }
}

static void test_known(void **state)
{
    const char *why;
    UNUSED(state);
    struct tls_cert *authority = tls_cert_make("authority", .authority = true);
    establish(authority, tls_cert_make("\xe9ve, \"x\"", .issuer = authority));
    struct tls_peer *p = tls_peer_read(server, &why);
    assert_non_null(p);
    assert_null(why);
    assert_int_equal(p->sha256.len, 64);
    assert_true(slice_eq(p->subject, SLICE_LIT("CN=\\C3\\A9ve\\, \\\"x\\\"")));
    free(p);
    /* a session goes on, and its certificate has ended meanwhile */
    X509_gmtime_adj(X509_getm_notAfter(SSL_get0_peer_certificate(server)), -5);
    assert_null(tls_peer_read(server, &why));
    assert_string_equal(why, "certificate has expired");
    leave();
}

static void test_nobody(void **state)
{
    const char *why;
    UNUSED(state);
    establish(tls_cert_make("authority", .authority = true), NULL);
    struct tls_peer *p = tls_peer_read(server, &why);
    assert_non_null(p);
    assert_int_equal(p->sha256.len, 0);
    assert_int_equal(p->subject.len, 0);
    free(p);
    leave();
}

/* Names that such certificates do without, or have too much of. */
static void test_subjects(void **state)
{
    const char *why;
    UNUSED(state);
    struct tls_cert *authority = tls_cert_make("authority", .authority = true),
                    *nameless = tls_cert_make("nameless", .issuer = authority),
                    *wordy = tls_cert_make("wordy", .issuer = authority);
    X509_NAME_ENTRY_free(X509_NAME_delete_entry(X509_get_subject_name(nameless->x509), 0));
    for (int i = 0; i < 50; i++)
        X509_NAME_add_entry_by_txt(X509_get_subject_name(wordy->x509), "OU", MBSTRING_ASC,
                                   (const unsigned char *)"an organisational unit of sixty characters or so",
                                   -1, -1, 0);
    X509_sign(nameless->x509, authority->key, EVP_sha256());
    X509_sign(wordy->x509, authority->key, EVP_sha256());
    establish(authority, nameless);
    struct tls_peer *p = tls_peer_read(server, &why);
    assert_non_null(p);
    assert_int_equal(p->subject.len, 0);
    assert_int_equal(p->sha256.len, 64);
    free(p);
    leave();
    establish(authority, wordy);
    assert_null(tls_peer_read(server, &why));
    expect_in(why, "too long");
    leave();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_authorities, support_setup, support_teardown),
        cmocka_unit_test_setup_teardown(test_known, support_setup, support_teardown),
        cmocka_unit_test_setup_teardown(test_nobody, support_setup, support_teardown),
        cmocka_unit_test_setup_teardown(test_subjects, support_setup, support_teardown),
    };
    return cmocka_run_group_tests_name("core/tls_verify", tests, NULL, NULL);
}
