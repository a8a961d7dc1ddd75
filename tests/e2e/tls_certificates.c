/* tls_certificates.c: which certificate a client gets, new ones while connections are open, files that cannot
 * be used, and what `check` says of them. */
#include <sys/resource.h>

#include "tests/support/millpond.h"
#include "tests/support/tls.h"

static struct millpond *start(const char *listen_lines)
{
    return millpond_start(.main = "workers = 2",
                          .rest = textf("%s[listen secure]\naddress = 127.0.0.1:0\nheader_timeout = 2m\n%s",
                                        pool_lines("app", 1, origin_start_named("app")), listen_lines));
}

static int secure_port(struct millpond *m)
{
    return millpond_port(m, "secure");
}

static void expect_peer(struct millpond *m, const char *name, const char *algorithms, const char *peer)
{
    struct tls_client *c = tls_client_open(secure_port(m), .name = name, .algorithms = algorithms);
    EXPECT(c->ok, "%s: %s", name, c->error);
    assert_string_equal(tls_client_peer(c), peer);
    expect_in(tls_client_get(c, "/", ""), "app");
}

static void the_name_chooses(void **state)
{
    UNUSED(state);
    struct tls_cert *a = tls_cert_make("a", .names = "a.test"), *b = tls_cert_make("b", .names = "*.b.test"),
                    *c = tls_cert_make("c", .names = "www.b.test,c.test");
    struct millpond *m = start(textf("%s%s%s", tls_cert_lines(a), tls_cert_lines(b), tls_cert_lines(c)));
    expect_peer(m, "a.test", NULL, "a");
    expect_peer(m, "x.b.test", NULL, "b");
    expect_peer(m, "WWW.b.test", NULL, "c");
    expect_peer(m, "c.test", NULL, "c");
    expect_peer(m, "other.test", NULL, "a");
    expect_peer(m, NULL, NULL, "a");
    millpond_stop(m);
}

static void the_client_chooses_the_kind_of_key(void **state)
{
    UNUSED(state);
    const char *rsa = "RSA-PSS+SHA256:RSA+SHA256", *ec = "ECDSA+SHA256";
    struct tls_cert *r = tls_cert_make("r", .names = "both.test,r.test", .rsa = true),
                    *e = tls_cert_make("e", .names = "both.test");
    struct millpond *m = start(textf("%s%s", tls_cert_lines(r), tls_cert_lines(e)));
    expect_peer(m, "both.test", rsa, "r");
    expect_peer(m, "both.test", ec, "e");
    expect_peer(m, "r.test", rsa, "r");
    assert_false(tls_client_open(secure_port(m), .name = "r.test", .algorithms = ec)->ok);
    millpond_stop(m);
}

static void the_chain_is_sent(void **state)
{
    UNUSED(state);
    struct tls_cert *root = tls_cert_make("root", .authority = true),
                    *middle = tls_cert_make("middle", .authority = true, .issuer = root, .alone = true),
                    *leaf = tls_cert_make("leaf", .issuer = middle);
    struct millpond *m = start(tls_cert_lines(leaf));
    const char *argv[] = {
        "curl", "-sS", "--cacert", root->file, textf("https://localhost:%d/", secure_port(m)), NULL};
    struct proc_result r = proc_run(argv);
    EXPECT(r.exit_code == 0, "%s", r.err);
    millpond_stop(m);
}

static void versions_ciphers_and_groups_are_as_asked(void **state)
{
    UNUSED(state);
    struct millpond *m = start(textf("%stls_min_version = 1.3\ntls_ciphers = TLS_CHACHA20_POLY1305_SHA256\n"
                                     "tls_groups = P-384\n",
                                     tls_cert_lines(tls_cert_make("a"))));
    struct tls_client *c = tls_client_open(secure_port(m), .name = "test");
    EXPECT(c->ok, "%s", c->error);
    assert_string_equal(SSL_get_cipher_name(c->ssl), "TLS_CHACHA20_POLY1305_SHA256");
    assert_int_equal(SSL_get_negotiated_group(c->ssl), NID_secp384r1);
    assert_false(tls_client_open(secure_port(m), .max_version = TLS1_2_VERSION)->ok);
    millpond_stop(m);
}

/* One handshake of openssl's own client, without its defaults. What was agreed on; NULL: nothing. */
static char *agreed(struct millpond *m, const char *const *offer)
{
    const char *argv[16] = {"openssl", "s_client", "-connect", textf("127.0.0.1:%d", secure_port(m)),
                            "-brief"};
    for (size_t n = 5; *offer != NULL; n++)
        argv[n] = *offer++;
    struct proc_result r = proc_run(argv);
    char *suite = strstr(r.err, "Ciphersuite: ");
    if (suite == NULL || r.exit_code != 0)
        return NULL;
    suite += strlen("Ciphersuite: ");
    return textf("%.*s", (int)strcspn(suite, "\n"), suite);
}
#define AGREED(m, ...) agreed(m, (const char *const[]){__VA_ARGS__, NULL})

/* Without a word in the ini file: what Mozilla calls intermediate, but for DHE, and nothing else. */
static void what_is_offered_by_itself(void **state)
{
    UNUSED(state);
    static const char *const good[] = {"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384",
                                       "ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-AES128-GCM-SHA256",
                                       "ECDHE-RSA-AES256-GCM-SHA384",   "ECDHE-RSA-CHACHA20-POLY1305"};
    static const char *const bad[] = {"AES128-GCM-SHA256",         "AES256-SHA",
                                      "ECDHE-ECDSA-AES128-SHA",    "ECDHE-RSA-AES256-SHA384",
                                      "DHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-CCM"};
    static const char *const groups[] = {"X25519", "P-256", "P-384"};
    struct millpond *m = start(
        textf("%s%s", tls_cert_lines(tls_cert_make("e")), tls_cert_lines(tls_cert_make("r", .rsa = true))));
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_string_equal(AGREED(m, "-tls1_2", "-cipher", good[i]), good[i]);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        EXPECT(AGREED(m, "-tls1_2", "-cipher", bad[i]) == NULL, "%s", bad[i]);
    for (size_t i = 0; i < ARRAY_LEN(groups); i++)
        EXPECT(AGREED(m, "-tls1_3", "-groups", groups[i]) != NULL, "%s", groups[i]);
    EXPECT(AGREED(m, "-tls1_3", "-groups", "ffdhe2048") == NULL, "finite fields");
    EXPECT(AGREED(m, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0") == NULL, "TLS 1.1");
    /* The client's order decides. */
    assert_string_equal(
        AGREED(m, "-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256"),
        "TLS_CHACHA20_POLY1305_SHA256");
    assert_string_equal(
        AGREED(m, "-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256"),
        "TLS_AES_128_GCM_SHA256");
    millpond_stop(m);
}

/* ---- new ones ---- */

static void a_reload_brings_new_ones_and_drops_nobody(void **state)
{
    UNUSED(state);
    struct millpond *m = start(tls_cert_lines(tls_cert_make("a")));
    struct tls_client *before = tls_client_open(secure_port(m), .name = "test");
    expect_in(tls_client_get(before, "/", ""), "app");
    struct tls_cert *b = tls_cert_make("b");
    support_write_file(support_path("a.pem"), support_read_file(b->file));
    support_write_file(support_path("a-key.pem"), support_read_file(b->key_file));
    assert_int_equal(millpond_cli(m, "reload", NULL).exit_code, 0);
    expect_peer(m, "test", NULL, "b");
    expect_in(tls_client_get(before, "/", ""), "app");
    assert_string_equal(tls_client_peer(before), "a");

    support_write_file(support_path("a-key.pem"), "nonsense");
    struct proc_result r = millpond_cli(m, "reload", NULL);
    assert_int_equal(r.exit_code, 1);
    expect_in(r.err, "[listen secure] tls_certificate: ");
    expect_in(r.err, "a-key.pem has no private key");
    expect_peer(m, "test", NULL, "b");
    expect_in(tls_client_get(before, "/", ""), "app");
    millpond_stop(m);
}

static json_t *site_of(struct millpond *m)
{
    return json_array_get(json_object_get(millpond_status(m), "tls"), 0);
}

static void files_that_change_are_read(void **state)
{
    UNUSED(state);
    struct tls_cert *a = tls_cert_make("a", .names = "a.test,test", .days = 40), *b = tls_cert_make("b");
    struct millpond *m = start(tls_cert_lines(a));
    struct tls_client *before = tls_client_open(secure_port(m), .name = "test");
    json_t *c = json_array_get(json_object_get(site_of(m), "certificates"), 0);
    assert_string_equal(json_string_value(json_object_get(c, "file")), a->file);
    assert_string_equal(json_string_value(json_object_get(c, "names")), "a.test, test");
    assert_int_equal(json_integer_value(json_object_get(c, "expires_in_days")), 40);
    expect_in(millpond_cli(m, "status", NULL).out, "a.pem for a.test, test, expires in 40 days");
    expect_in(
        millpond_admin(m, "GET", "/metrics")->body,
        textf("millpond_tls_certificate_expires_timestamp_seconds{listen=\"secure\",file=\"%s\"} ", a->file));

    char *key = support_read_file(a->key_file);
    support_write_file(a->key_file, support_read_file(b->key_file)); /* half of a renewal */
    millpond_wait_log(m, "is not that of the certificate", 1);
    millpond_wait_log(m, "the certificates read before stay in use", 1);
    expect_in(json_string_value(json_object_get(site_of(m), "problem")), "is not that of the certificate");
    expect_in(millpond_cli(m, "status", NULL).out, "changed files are not used: ");
    expect_peer(m, "test", NULL, "a");
    support_write_file(a->file, support_read_file(b->file)); /* the other half */
    millpond_wait_log(m, "[listen secure] certificates read anew", 1);
    expect_peer(m, "test", NULL, "b");
    expect_in(tls_client_get(before, "/", ""), "app");
    assert_true(json_is_null(json_object_get(site_of(m), "problem")));
    expect_not_in(capture_text(&m->proc->err), key);
    millpond_stop(m);
}

static void what_could_not_be_read_for_want_of_descriptors_is_read_later(void **state)
{
    UNUSED(state);
    struct tls_cert *a = tls_cert_make("a"), *b = tls_cert_make("b");
    struct millpond *m = start(tls_cert_lines(a));
    struct rlimit before, none;
    assert_int_equal(prlimit(m->proc->pid, RLIMIT_NOFILE, NULL, &before), 0);
    none = (struct rlimit){0, before.rlim_max};
    assert_int_equal(prlimit(m->proc->pid, RLIMIT_NOFILE, &none, NULL), 0);
    support_write_file(a->key_file, support_read_file(b->key_file));
    support_write_file(a->file, support_read_file(b->file));
    millpond_wait_log(m, "Too many open files; name a PEM file that can; the certificates read before stay",
                      1);
    assert_int_equal(prlimit(m->proc->pid, RLIMIT_NOFILE, &before, NULL), 0);
    millpond_wait_log(m, "[listen secure] certificates read anew", 1);
    expect_peer(m, "test", NULL, "b");
    assert_true(json_is_null(json_object_get(site_of(m), "problem")));
    millpond_stop(m);
}

static void what_expires_is_said_at_the_start(void **state)
{
    UNUSED(state);
    struct millpond *m = start(tls_cert_lines(tls_cert_make("soon", .days = 5)));
    millpond_wait_log(m, "warn ", 1);
    expect_in(capture_text(&m->proc->err), "soon.pem expires in 5 days; renew it");
    millpond_stop(m);
}

/* A listener that becomes a TLS one is still a plain one to those who came before. */
static void a_listener_may_become_secure(void **state)
{
    UNUSED(state);
    struct millpond *m = start("");
    struct tls_cert *a = tls_cert_make("a");
    struct client *before = client_open(secure_port(m));
    client_send(before, "GET /1 HTTP/1.1\r\nHost: test\r\n\r\n");
    expect_status(client_read(before), 200);
    char *ini = support_read_file(m->ini);
    support_write_file(m->ini, textf("%s%s", ini, tls_cert_lines(a)));
    assert_int_equal(millpond_cli(m, "reload", NULL).exit_code, 0);
    client_send(before, "GET /2 HTTP/1.1\r\nHost: test\r\n\r\n");
    expect_status(client_read(before), 200);
    assert_string_equal(json_string_value(json_object_get(millpond_access_line(m, "\"/2\""), "scheme")),
                        "http");
    expect_peer(m, "test", NULL, "a");
    support_write_file(m->ini, ini);
    assert_int_equal(millpond_cli(m, "reload", NULL).exit_code, 0);
    expect_status(client_get(secure_port(m), "/3", ""), 200);
    millpond_stop(m);
}

/* ---- files that cannot be used ---- */

static struct proc_result check(const char *listen_lines)
{
    char *ini = support_path("check.ini");
    support_write_file(
        ini, textf("[pool app]\nserver = 127.0.0.1:1\n[listen secure]\naddress = 127.0.0.1:1443\n%s",
                   listen_lines));
    return millpond_run("check", "-c", ini, NULL);
}

static void expect_problem(const char *listen_lines, const char *text)
{
    struct proc_result r = check(listen_lines);
    EXPECT(r.exit_code == 2, "check: %d for %s\n%s", r.exit_code, listen_lines, r.out);
    expect_in(r.out, "[listen secure] ");
    expect_in(r.out, text);
}

static void expect_warning(const char *listen_lines, const char *text)
{
    struct proc_result r = check(listen_lines);
    EXPECT(r.exit_code == 0, "check: %d for %s\n%s", r.exit_code, listen_lines, r.out);
    expect_in(r.out, text);
}

static char *pair_lines(const char *certificate, const char *key)
{
    return textf("tls_certificate = %s\ntls_key = %s\n", certificate, key);
}

static void check_says_what_is_wrong(void **state)
{
    UNUSED(state);
    struct tls_cert *root = tls_cert_make("root", .authority = true), *a = tls_cert_make("a", .issuer = root),
                    *b = tls_cert_make("b"), *weak = tls_cert_make("weak", .rsa = true, .rsa_bits = 1024);
    char *turned = support_path("turned.pem"), *locked = support_path("locked.pem");
    support_write_file(turned, textf("%s%s", support_read_file(root->file), support_read_file(a->file)));
    const char *lock[] = {"openssl", "pkey",    "-in",      a->key_file,   "-out",
                          locked,    "-aes128", "-passout", "pass:secret", NULL};
    assert_int_equal(proc_run(lock).exit_code, 0);

    struct proc_result good = check(tls_cert_lines(a));
    EXPECT(good.exit_code == 0, "%s", good.out);
    expect_not_in(good.out, "warning");
    expect_problem(pair_lines(a->file, b->key_file), "is not that of the certificate");
    expect_problem(pair_lines(turned, a->key_file), "in place 2; put that one first");
    expect_problem(pair_lines(a->key_file, a->key_file), "has no certificate that can be read");
    expect_problem(pair_lines(a->file, a->file), "has no private key that can be read");
    expect_problem(pair_lines(a->file, locked), "passphrase");
    expect_problem(pair_lines("/nowhere/a.pem", a->key_file), "/nowhere/a.pem cannot be read: No such file");
    expect_problem(tls_cert_lines(weak), "cannot be used (ee key too small)");
    expect_problem(textf("tls_certificate = %s\n", a->file), "there is no key for this certificate");
    expect_problem(textf("tls_key = %s\n", a->key_file), "there is no certificate for this key");
    expect_problem(textf("%stls_ciphers = NONSENSE\n", tls_cert_lines(a)), "tls_ciphers: OpenSSL knows no");
    expect_problem(textf("%stls_groups = P-17\n", tls_cert_lines(a)), "tls_groups: OpenSSL does not know");
    expect_problem(textf("%stls_min_version = 1.1\n", tls_cert_lines(a)), "there is no \"1.1\"");
}

static void check_warns(void **state)
{
    UNUSED(state);
    struct tls_cert *root = tls_cert_make("root", .authority = true),
                    *other = tls_cert_make("other", .authority = true),
                    *a = tls_cert_make("a", .issuer = root, .alone = true);
    char *mixed = support_path("mixed.pem");
    support_write_file(mixed, textf("%s%s", support_read_file(a->file), support_read_file(other->file)));
    expect_warning(pair_lines(mixed, a->key_file), "certificate 2 did not issue certificate 1");
    expect_warning(tls_cert_lines(a), "has the server's certificate alone");
    expect_warning(tls_cert_lines(tls_cert_make("soon", .days = 20)), "soon.pem expires in 20 days");
    expect_warning(tls_cert_lines(tls_cert_make("late", .days = -2)), "late.pem has expired");
    expect_warning("tls_min_version = 1.3\n", "it does nothing without tls_certificate");
    expect_not_in(check(tls_cert_lines(tls_cert_make("later", .days = 22))).out, "expires");
}

static void the_start_is_refused(void **state)
{
    UNUSED(state);
    struct tls_cert *a = tls_cert_make("a"), *b = tls_cert_make("b");
    char *ini = support_path("bad.ini");
    support_write_file(
        ini, textf("[millpond]\nruntime_dir = %s\nstate_dir = %s\n[pool app]\nserver = 127.0.0.1:1\n"
                   "[listen secure]\naddress = 127.0.0.1:0\n%s",
                   support_dir(), support_dir(), pair_lines(a->file, b->key_file)));
    struct proc_result r = millpond_run("run", "-c", ini, NULL);
    assert_int_equal(r.exit_code, 1);
    expect_in(r.err, "bad.ini:8: [listen secure] tls_certificate: ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(the_name_chooses),
        E2E_TEST(the_client_chooses_the_kind_of_key),
        E2E_TEST(the_chain_is_sent),
        E2E_TEST(versions_ciphers_and_groups_are_as_asked),
        E2E_TEST(what_is_offered_by_itself),
        E2E_TEST(a_reload_brings_new_ones_and_drops_nobody),
        E2E_TEST(files_that_change_are_read),
        E2E_TEST(what_could_not_be_read_for_want_of_descriptors_is_read_later),
        E2E_TEST(what_expires_is_said_at_the_start),
        E2E_TEST(a_listener_may_become_secure),
        E2E_TEST(check_says_what_is_wrong),
        E2E_TEST(check_warns),
        E2E_TEST(the_start_is_refused),
    };
    return E2E_RUN("tls_certificates", tests);
}
