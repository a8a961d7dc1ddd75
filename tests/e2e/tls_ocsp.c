/* tls_ocsp.c: OCSP responses from files: shown with the certificate they are about, read anew when they
 * change, and not shown, with a word on it, when no client would believe them. */
#include <openssl/ocsp.h>

#include "tests/support/millpond.h"
#include "tests/support/tls.h"

static struct tls_cert *authority, *a, *b;
static char *file;

/* Two certificates, and one file with the word on either. */
static struct millpond *start(void)
{
    return millpond_start(.main = "workers = 1",
                          .rest = textf("%s[listen secure]\naddress = 127.0.0.1:0\n%s%stls_ocsp = %s\n",
                                        pool_lines("app", 1, origin_start_named("app")), tls_cert_lines(a),
                                        tls_cert_lines(b), file));
}

static void prepare(void)
{
    authority = tls_cert_make("authority", .authority = true);
    a = tls_cert_make("a", .names = "a.test", .issuer = authority);
    b = tls_cert_make("b", .names = "b.test", .issuer = authority);
    file = support_path("word.der");
}

static size_t shown(struct millpond *m, const char *name, int version)
{
    struct tls_client *c =
        tls_client_open(millpond_port(m, "secure"), .name = name, .ocsp = true, .max_version = version);
    EXPECT(c->ok, "%s", c->error);
    expect_in(tls_client_get(c, "/", ""), "app");
    return tls_client_ocsp_bytes(c);
}

static void a_response_is_shown_with_its_certificate(void **state)
{
    UNUSED(state);
    prepare();
    tls_ocsp_write(file, &(struct tls_ocsp_options){b, authority, NULL, V_OCSP_CERTSTATUS_GOOD, 60, 3600});
    struct millpond *m = start();
    assert_int_not_equal(shown(m, "b.test", TLS1_2_VERSION), 0);
    assert_int_not_equal(shown(m, "b.test", 0), 0);
    assert_int_equal(shown(m, "a.test", 0), 0);
    tls_ocsp_write(file, &(struct tls_ocsp_options){a, authority, NULL, V_OCSP_CERTSTATUS_GOOD, 60, 0});
    millpond_wait_log(m, "read anew", 1);
    assert_int_not_equal(shown(m, "a.test", 0), 0);
    assert_int_equal(shown(m, "b.test", 0), 0);
    assert_true(json_is_true(json_find(millpond_status(m), "shown")));
    millpond_stop(m);
}

/* A server with it starts all the same. */
static void what_nobody_would_believe_is_not_shown(void **state)
{
    UNUSED(state);
    prepare();
    struct tls_cert *stranger = tls_cert_make("stranger", .authority = true),
                    *alone = tls_cert_make("alone", .names = "a.test", .issuer = authority, .alone = true);
    const struct {
        struct tls_ocsp_options o;
        const char *says;
    } rows[] = {
        {{a, authority, NULL, V_OCSP_CERTSTATUS_REVOKED, 60, 3600}, "was revoked"},
        {{a, authority, NULL, V_OCSP_CERTSTATUS_UNKNOWN, 60, 3600}, "does not know"},
        {{a, authority, NULL, V_OCSP_CERTSTATUS_GOOD, 3600, 1800}, "has expired"},
        {{a, authority, NULL, V_OCSP_CERTSTATUS_GOOD, -3600, 7200}, "not valid yet"},
        {{a, authority, stranger, V_OCSP_CERTSTATUS_GOOD, 60, 3600}, "not signed"},
        {{a, stranger, NULL, V_OCSP_CERTSTATUS_GOOD, 60, 3600}, "about no certificate"},
        {{alone, authority, NULL, V_OCSP_CERTSTATUS_GOOD, 60, 3600}, "about no certificate"},
    };
    support_write_file(file, "nonsense");
    struct millpond *m = start();
    millpond_wait_log(m, "word.der has no OCSP response in DER", 1);
    assert_int_equal(shown(m, "a.test", 0), 0);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        tls_ocsp_write(file, &rows[i].o);
        struct proc_result r = millpond_cli(m, "reload", NULL);
        assert_int_equal(r.exit_code, 0);
        millpond_wait_log(m, textf("[listen secure] tls_ocsp: %s", file), 1);
        millpond_wait_log(m, rows[i].says, 1);
        assert_int_equal(shown(m, "a.test", 0), 0);
        r = millpond_run("check", "-c", m->ini, NULL);
        assert_int_equal(r.exit_code, 0);
        expect_in(r.out, rows[i].says);
    }
    unlink(file);
    millpond_cli(m, "reload", NULL);
    millpond_wait_log(m, "cannot be read", 1);
    assert_int_equal(shown(m, "a.test", 0), 0);
    millpond_stop(m);
}

/* Nothing changes but the time. */
static void one_that_ends_is_no_longer_shown(void **state)
{
    UNUSED(state);
    prepare();
    tls_ocsp_write(file, &(struct tls_ocsp_options){a, authority, NULL, V_OCSP_CERTSTATUS_GOOD, 60, 63});
    struct millpond *m = start();
    millpond_wait_log(m, "word.der has expired; fetch it again; clients are not shown it", 1);
    assert_int_equal(shown(m, "a.test", 0), 0);
    assert_true(json_is_false(json_find(millpond_status(m), "shown")));
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(a_response_is_shown_with_its_certificate),
        E2E_TEST(what_nobody_would_believe_is_not_shown),
        E2E_TEST(one_that_ends_is_no_longer_shown),
    };
    return E2E_RUN("tls_ocsp", tests);
}
