/* test_check_tls.c: certificates and keys come in pairs, and what does nothing without them. */
#include "config_test.h"

#define SECURE APP "[listen x]\n"
#define C(n)   "tls_certificate = /c" n ".pem\n"
#define K(n)   "tls_key = /k" n ".pem\n"

static void test_pairs(void **state)
{
    UNUSED(state);
    expect_no_problem(SECURE);
    expect_no_problem(SECURE C("1") K("1"));
    expect_no_problem(SECURE C("1") C("2") K("1") K("2"));
    expect_error(SECURE C("1"), "t.ini:4: [listen x] tls_certificate: there is no key for this certificate;");
    expect_error(SECURE K("1"), "t.ini:4: [listen x] tls_key: there is no certificate for this key;");
    expect_error(SECURE C("1") K("1") C("2") C("3"), "t.ini:6: [listen x] tls_certificate: there is no key");
    expect_error(SECURE K("1") C("1") K("2"), "t.ini:6: [listen x] tls_key: there is no certificate");
}

static void test_unused(void **state)
{
    UNUSED(state);
    expect_warning(SECURE "tls_ciphers = A\n", "t.ini:4: [listen x] tls_ciphers: it does nothing without");
    expect_warning(SECURE "tls_groups = A\n", "[listen x] tls_groups: it does nothing without");
    expect_warning(SECURE "hsts = on\n", "[listen x] hsts: it does nothing without");
    expect_warning(SECURE "tls_min_version = 1.3\n", "[listen x] tls_min_version: it does nothing without");
    expect_no_problem(SECURE C("1") K("1") "tls_ciphers = A\ntls_groups = B\ntls_min_version = 1.3\n");
}

static const char *textof(const char *a, const char *b, const char *c)
{
    static char text[512];
    snprintf(text, sizeof text, "%s%s%s", a, b, c);
    return text;
}

static void test_redirect(void **state)
{
    UNUSED(state);
    static const char plain[] = "[listen y]\naddress = :80\nredirect_to_https = yes\n";
    expect_no_problem(textof(SECURE C("1") K("1"), plain, "acme_webroot = /var/www\n"));
    expect_warning(textof(APP, plain, ""),
                   "t.ini:5: [listen y] redirect_to_https: nobody answers what clients are sent to");
    expect_no_problem(textof(APP "[millpond]\ntrusted_proxies = 10.0.0.0/8\n", plain, ""));
    expect_warning(SECURE C("1") K("1") "redirect_to_https = yes\n",
                   "t.ini:6: [listen x] redirect_to_https: it does nothing where all");
}

static void test_clients(void **state)
{
    UNUSED(state);
    struct config *c =
        load_ok(SECURE C("1") K("1") "tls_client_verify = optional\ntls_client_ca = /ca.pem\n");
    assert_int_equal(c->listens[0].tls_client_verify, TLS_VERIFY_OPTIONAL);
    assert_string_equal(c->listens[0].tls_client_ca, "/ca.pem");
    assert_false(c->listens[0].diverts);
    config_unref(c);
    expect_no_problem(SECURE C("1") K("1") "tls_client_verify = off\n");
    expect_error(SECURE C("1") K("1") "tls_client_verify = required\n",
                 "t.ini:6: [listen x] tls_client_verify: nothing says whose certificates are good;");
    expect_warning(SECURE C("1") K("1") "tls_client_ca = /ca.pem\n",
                   "t.ini:6: [listen x] tls_client_ca: no client is asked for a certificate;");
    expect_warning(SECURE "tls_client_ca = /ca.pem\ntls_client_verify = optional\n",
                   "[listen x] tls_client_ca: it does nothing without");
}

static void test_pools(void **state)
{
    UNUSED(state);
    expect_warning(APP "tls_ca = /a\n", "t.ini:3: [pool app] tls_ca: it does nothing without tls = yes");
    expect_warning(APP "tls_verify = no\n", "[pool app] tls_verify: it does nothing without tls = yes");
    expect_warning(APP "tls_sni = a\n", "[pool app] tls_sni: it does nothing without tls = yes");
    expect_warning(APP "tls = yes\ntls_verify = no\ntls_ca = /a\n",
                   "t.ini:5: [pool app] tls_ca: nothing is checked against it with tls_verify = no");
    expect_error(APP "tls = yes\ntls_sni = a:443\n",
                 "t.ini:4: [pool app] tls_sni: a certificate is for a name");
    expect_no_problem(APP "tls = yes\ntls_ca = /a\ntls_sni = [::1]\n");
    expect_no_problem(APP "tls = yes\ntls_verify = no\ntls_sni = a\n");
}

static void test_pool_pairs(void **state)
{
    UNUSED(state);
    struct config *c = load_ok(APP "tls = yes\n" C("1") K("1"));
    assert_string_equal(c->pools[0].tls_certificate, "/c1.pem");
    assert_string_equal(c->pools[0].tls_key, "/k1.pem");
    config_unref(c);
    expect_error(APP "tls = yes\n" C("1"),
                 "t.ini:4: [pool app] tls_certificate: a certificate takes its key, and "
                 "tls_key is missing;");
    expect_error(APP "tls = yes\n" K("1"), "t.ini:4: [pool app] tls_key: a certificate takes its key, and "
                                           "tls_certificate is missing;");
    expect_error(APP C("1") K("1"),
                 "t.ini:3: [pool app] tls_certificate: instances are shown a certificate over TLS only");
    expect_error(APP "tls = off\n" C("1") K("1"), "t.ini:4: [pool app] tls_certificate: instances are shown");
    expect_error(APP "tls = yes\n" C("1") C("2") K("1"), "tls_certificate");
}

static void test_values_and_lines(void **state)
{
    UNUSED(state);
    struct config *c = load_ok(SECURE C("1") K("1") "tls_min_version = 1.3\n" C("2") K("2"));
    const struct config_listen *l = &c->listens[0];
    assert_int_equal(l->tls_certificates.count, 2);
    assert_string_equal(l->tls_certificates.items[1], "/c2.pem");
    assert_string_equal(l->tls_keys.items[1], "/k2.pem");
    assert_int_equal(l->tls_min_version, CONFIG_TLS_1_3);
    assert_string_equal(l->tls_ciphers, "intermediate");
    assert_string_equal(l->tls_groups, "intermediate");
    assert_int_equal(config_listen_origin(c, l, "tls_certificate", 0).line, 4);
    assert_int_equal(config_listen_origin(c, l, "tls_certificate", 1).line, 7);
    assert_int_equal(config_listen_origin(c, l, "tls_key", 5).line, 8);
    assert_int_equal(config_listen_origin(c, l, "tls_ciphers", 0).line, 3);
    config_unref(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pairs),      cmocka_unit_test(test_unused),
        cmocka_unit_test(test_redirect),   cmocka_unit_test(test_clients),
        cmocka_unit_test(test_pools),      cmocka_unit_test(test_values_and_lines),
        cmocka_unit_test(test_pool_pairs),
    };
    return cmocka_run_group_tests_name("config/check_tls", tests, NULL, NULL);
}
