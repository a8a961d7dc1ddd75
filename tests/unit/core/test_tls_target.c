/* test_tls_target.c: our client against our server, both ends in this thread: names and addresses that a
 * certificate is and is not for, sessions, what does not outlive its settings, the
 * certificate that we show and what comes of it, and an end that is none. */
#include "core/tls_target.h"

#include <fcntl.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include "core/tls_conn.h"
#include "tests/support/tls.h"

static struct tls_out *out;
static struct tls_tickets tickets;
static struct tls_cert *authority;
static struct tls_server *server;
static struct tls_conn ours, theirs;
static int fds[2];

static enum tls_verify asks;

static void server_make(const char *names)
{
    struct tls_cert *c = tls_cert_make("server", .names = names, .issuer = authority);
    struct tls_problem problem;
    const struct tls_pair pair = {c->file, c->key_file};
    server = tls_server_new(&(struct tls_settings){.pairs = &pair,
                                                   .pair_count = 1,
                                                   .ciphers = "intermediate",
                                                   .groups = "intermediate",
                                                   .sessions = "a",
                                                   .verify = asks,
                                                   .client_ca = authority->file,
                                                   .tickets = &tickets},
                            &problem);
    if (server == NULL)
        support_fail("%s", problem.text);
}

static int setup(void **state)
{
    support_setup(state);
    asks = TLS_VERIFY_OFF;
    out = calloc(1, sizeof *out);
    assert_true(tls_tickets_init(&tickets));
    authority = tls_cert_make("authority", .authority = true);
    return 0;
}

static int teardown(void **state)
{
    tls_server_unref(server);
    server = NULL;
    tls_tickets_destroy(&tickets);
    free(out);
    return support_teardown(state);
}

static struct tls_target *try_make(bool verify, const char *ca, const char *certificate, const char *key,
                                   char err[600])
{
    enum tls_target_file of = TLS_TARGET_FILES;
    struct tls_target *t = tls_target_new(
        &(struct tls_target_settings){.verify = verify, .files = {ca, certificate, key}}, &of, err, 600);
    if (t == NULL)
        assert_int_equal(of, certificate[0] != '\0' ? TLS_TARGET_CERTIFICATE : TLS_TARGET_CA);
    return t;
}

static struct tls_target *target_with(const struct tls_cert *c)
{
    char err[600];
    struct tls_target *t =
        try_make(true, authority->file, c != NULL ? c->file : "", c != NULL ? c->key_file : "", err);
    if (t == NULL)
        support_fail("%s", err);
    return t;
}

static struct tls_target *target_make(bool verify, const char *ca)
{
    char err[600];
    struct tls_target *t = try_make(verify, ca, "", "", err);
    if (t == NULL)
        support_fail("%s", err);
    return t;
}

/* Both ends, until neither can go on; what came of ours. */
static enum tls_step handshake(struct tls_target *t, const char *name, uint32_t key)
{
    enum tls_step step = TLS_STEP_WAIT, other = TLS_STEP_WAIT;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    assert_true(tls_conn_open(&theirs, server, fds[0], out));
    assert_true(tls_conn_open_to(&ours, t, name, key, fds[1], out));
    for (int i = 0; i < 10; i++) {
        tls_conn_on_event(&ours, false);
        tls_conn_on_event(&theirs, false);
        step = step == TLS_STEP_WAIT ? tls_conn_handshake(&ours) : step;
        other = other == TLS_STEP_WAIT ? tls_conn_handshake(&theirs) : other;
    }
    return step;
}

static enum tls_step connect_to(struct tls_target *t, const char *name, uint32_t key)
{
    char byte;
    const enum tls_step step = handshake(t, name, key);
    if (step == TLS_STEP_DONE) { /* the tickets come behind the handshake */
        tls_conn_on_event(&ours, false);
        assert_int_equal(tls_conn_read(&ours, &byte, 1), -1);
        assert_int_equal(errno, EAGAIN);
    }
    return step;
}

static void hang_up(void)
{
    tls_conn_free(&ours);
    tls_conn_free(&theirs);
    close(fds[0]);
    close(fds[1]);
}

static void expect_name(struct tls_target *t, const char *name, const char *why)
{
    enum tls_step step = connect_to(t, name, 1);
    if (why == NULL)
        assert_int_equal(step, TLS_STEP_DONE);
    else
        assert_int_equal(step, TLS_STEP_FAILED);
    if (why != NULL)
        assert_string_equal(ours.why, why);
    hang_up();
}

static void names_are_checked(void **state)
{
    UNUSED(state);
    server_make("a.test,*.b.test");
    struct tls_target *t = target_make(true, authority->file);
    expect_name(t, "b.test", "hostname mismatch");
    expect_name(t, "x.y.b.test", "hostname mismatch");
    expect_name(t, "127.0.0.1", "IP address mismatch");
    expect_name(t, "[::1]", "IP address mismatch");
    expect_name(t, "a.test", NULL);
    expect_name(t, "A.Test", NULL);
    tls_target_unref(t);
    t = target_make(true, authority->file); /* without the sessions of the other */
    expect_name(t, "x.b.test", NULL);
    tls_target_unref(t);
    t = target_make(false, "");
    expect_name(t, "b.test", NULL);
    tls_target_unref(t);
}

static void sessions_are_those_of_one_instance(void **state)
{
    UNUSED(state);
    server_make("a.test");
    struct tls_target *t = target_make(true, authority->file);
    const struct {
        uint32_t key;
        bool resumed;
    } rows[] = {{1, false}, {1, true}, {1, true}, {2, false}, {1, true}, {1 + TLS_TARGET_SESSIONS, false},
                {1, false}, {2, true}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(connect_to(t, "a.test", rows[i].key), TLS_STEP_DONE);
        EXPECT(tls_conn_is_resumed(&ours) == rows[i].resumed, "number %zu", i);
        assert_int_equal(tls_conn_protocol(&ours), TLS_PROTOCOL_HTTP_1);
        hang_up(); /* without a word: that does not spoil the session */
    }
    tls_target_unref(t);
}

/* A response without a length ends with its connection, if that says so. */
static void an_end_without_a_word_is_an_error(void **state)
{
    UNUSED(state);
    char buf[16];
    server_make("a.test");
    struct tls_target *t = target_make(true, authority->file);
    for (int said = 0; said < 2; said++) {
        assert_int_equal(connect_to(t, "a.test", 1), TLS_STEP_DONE);
        const struct iovec iov = {(char[]){"part"}, 4};
        assert_int_equal(tls_conn_write(&theirs, &iov, 1, 1000), 4);
        if (said)
            tls_conn_close(&theirs);
        shutdown(fds[0], SHUT_WR);
        tls_conn_on_event(&ours, true);
        assert_int_equal(tls_conn_read(&ours, buf, sizeof buf), 4);
        assert_int_equal(tls_conn_read(&ours, buf, sizeof buf), said ? 0 : -1);
        assert_int_equal(ours.broken, !said);
        hang_up();
    }
    tls_target_unref(t);
}

/* What the server makes of us comes, with TLS 1.3, after our own side is done. */
static void who_asks_is_shown_our_certificate(void **state)
{
    UNUSED(state);
    char byte;
    asks = TLS_VERIFY_REQUIRED;
    server_make("a.test");
    struct tls_cert *good = tls_cert_make("pond", .names = "pond.test", .issuer = authority),
                    *late = tls_cert_make("late", .issuer = authority, .days = -2),
                    *alien = tls_cert_make("alien");
    const struct {
        const struct tls_cert *cert;
        const char *why;
    } rows[] = {
        {NULL, "tlsv13 alert certificate required"},
        {late, "sslv3 alert certificate expired"},
        {alien, "tlsv1 alert unknown ca"},
        {good, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct tls_target *t = target_with(rows[i].cert);
        handshake(t, "a.test", 1);
        tls_conn_on_event(&ours, false);
        const ssize_t n = tls_conn_read(&ours, &byte, 1);
        assert_int_equal(n, -1);
        assert_int_equal(errno, rows[i].why != NULL ? EPROTO : EAGAIN);
        assert_int_equal(tls_conn_is_refused(&ours), rows[i].why != NULL);
        if (rows[i].why != NULL)
            assert_string_equal(ours.why, rows[i].why);
        hang_up();
        tls_target_unref(t);
    }
}

/* The request meets a closed connection before the refusal was read. */
static void a_refusal_is_found_behind_a_write_that_failed(void **state)
{
    UNUSED(state);
    asks = TLS_VERIFY_REQUIRED;
    server_make("a.test");
    struct tls_target *t = target_with(NULL);
    handshake(t, "a.test", 1);
    close(fds[0]);
    fds[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    const struct iovec iov = {(char[]){"GET"}, 3};
    assert_int_equal(tls_conn_write(&ours, &iov, 1, 1000), -1);
    assert_string_equal(ours.why, "the connection broke");
    assert_true(tls_conn_is_refused(&ours));
    assert_string_equal(ours.why, "tlsv13 alert certificate required");
    assert_true(tls_conn_is_refused(&ours));
    hang_up();
    tls_target_unref(t);
}

/* Both ends, as they are: what one says, the other hears. */
static void talk(void)
{
    char byte;
    for (int i = 0; i < 4; i++) {
        tls_conn_on_event(&theirs, false);
        tls_conn_read(&theirs, &byte, 1);
        tls_conn_on_event(&ours, false);
        tls_conn_read(&ours, &byte, 1);
    }
}

/* The instance has let us in, may have taken a request, and asks who we are only then. */
static void what_comes_later_is_no_refusal(void **state)
{
    UNUSED(state);
    server_make("a.test");
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        struct tls_target *t = target_with(NULL);
        assert_true(SSL_CTX_set_max_proto_version(t->tls, version));
        SSL_CTX_set_post_handshake_auth(t->tls, 1);
        assert_int_equal(connect_to(t, "a.test", 1), TLS_STEP_DONE);
        SSL_clear_options(theirs.ssl, SSL_OP_NO_RENEGOTIATION);
        SSL_set_verify(theirs.ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
        if (version == TLS1_2_VERSION)
            assert_int_equal(SSL_renegotiate(theirs.ssl), 1);
        else
            assert_int_equal(SSL_verify_client_post_handshake(theirs.ssl), 1);
        SSL_do_handshake(theirs.ssl);
        talk();
        assert_true(ours.broken);
        assert_string_equal(ours.why, version == TLS1_2_VERSION ? "sslv3 alert handshake failure"
                                                                : "tlsv13 alert certificate required");
        assert_false(tls_conn_is_refused(&ours));
        hang_up();
        tls_target_unref(t);
    }
}

static void targets_differ_by_settings_and_versions_of_files(void **state)
{
    UNUSED(state);
    struct tls_cert *c = tls_cert_make("pond", .names = "pond.test,other.test", .issuer = authority);
    struct tls_target *a = target_with(c), *b = target_with(c), *none = target_with(NULL),
                      *lax = target_make(false, authority->file), *system = target_make(false, "");
    assert_true(tls_target_is_same(a, b));
    assert_false(tls_target_is_same(a, none));
    assert_false(tls_target_is_same(none, lax));
    assert_true(tls_target_is_same(lax, system)); /* a file that is not read makes no difference */
    assert_string_equal(a->name, "pond.test");
    assert_null(a->doubt);
    assert_true(a->ends_ms > clock_wall_ms() && none->ends_ms == 0);
    support_write_file(c->key_file, support_read_file(c->key_file)); /* another version of it */
    struct tls_target *later = target_with(c);
    assert_false(tls_target_is_same(a, later));
    struct tls_target *all[] = {a, b, none, lax, system, later};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        tls_target_unref(all[i]);
}

static void files_that_cannot_be_used(void **state)
{
    UNUSED(state);
    char err[600];
    char *empty = support_path("empty.pem");
    support_write_file(empty, "");
    assert_null(try_make(true, empty, "", "", err));
    expect_in(err, "empty.pem has no certificate");
    assert_null(try_make(true, support_path("none.pem"), "", "", err));
    expect_in(err, "none.pem cannot be read");
    struct tls_cert *a = tls_cert_make("a"), *b = tls_cert_make("b"),
                    *weak = tls_cert_make("weak", .rsa = true, .rsa_bits = 512);
    assert_null(try_make(false, "", a->file, b->key_file, err));
    expect_in(err, "is not that of the certificate");
    assert_null(try_make(false, "", empty, b->key_file, err));
    expect_in(err, "empty.pem has no certificate");
    assert_null(try_make(false, "", a->file, empty, err));
    expect_in(err, "empty.pem has no private key");
    assert_null(try_make(false, "", weak->file, weak->key_file, err));
    expect_in(err, "weak.pem cannot be used (");
    struct tls_target *t = tls_target_ref(target_make(false, empty)); /* not looked at */
    tls_target_unref(t);
    tls_target_unref(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(names_are_checked, setup, teardown),
        cmocka_unit_test_setup_teardown(sessions_are_those_of_one_instance, setup, teardown),
        cmocka_unit_test_setup_teardown(an_end_without_a_word_is_an_error, setup, teardown),
        cmocka_unit_test_setup_teardown(who_asks_is_shown_our_certificate, setup, teardown),
        cmocka_unit_test_setup_teardown(a_refusal_is_found_behind_a_write_that_failed, setup, teardown),
        cmocka_unit_test_setup_teardown(what_comes_later_is_no_refusal, setup, teardown),
        cmocka_unit_test_setup_teardown(targets_differ_by_settings_and_versions_of_files, setup, teardown),
        cmocka_unit_test_setup_teardown(files_that_cannot_be_used, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
