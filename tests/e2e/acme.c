/* acme.c: certbot, as people use it, gets a certificate from pebble, an authority for tests, and renews it,
 * while Millpond redirects everybody to https: both programs are Debian's, all of it on loopback. */
#include <sys/stat.h>

#include "tests/support/millpond.h"
#include "tests/support/tls.h"

#define NAME "localhost" /* which pebble finds without a name server */

static struct tls_cert *authority; /* of pebble's own https, not the one that pebble plays */
static int directory_port;
static char *home;

static void pebble_start(int http_port)
{
    authority = tls_cert_make("pebble-authority", .authority = true);
    struct tls_cert *own = tls_cert_make("pebble", .issuer = authority);
    char *file = support_path("pebble.json");
    directory_port = wire_hold_port();
    support_write_file(file,
                       textf("{\"pebble\": {\"listenAddress\": \"127.0.0.1:%d\", \"certificate\": \"%s\", "
                             "\"privateKey\": \"%s\", \"httpPort\": %d, \"tlsPort\": 1}}",
                             directory_port, own->file, own->key_file, http_port));
    const char *argv[] = {"pebble", "-config", file, NULL};
    const char *env[] = {"PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0", NULL};
    struct proc *p = proc_start(&(struct proc_options){.argv = argv, .env = env});
    capture_wait(&p->out, "ACME directory available", 1);
}

static char *certbot(const char *const *more)
{
    const char *argv[24] = {
        "certbot", "--non-interactive", "--config-dir", home, "--work-dir", home, "--logs-dir", home};
    const char *env[] = {textf("REQUESTS_CA_BUNDLE=%s", authority->file), "NO_PROXY=" NAME, NULL};
    for (size_t n = 8; *more != NULL; n++)
        argv[n] = *more++;
    struct proc *p = proc_start(&(struct proc_options){.argv = argv, .env = env});
    int code = proc_exit_code(p);
    char *said = textf("%s%s", capture_all(&p->out), capture_all(&p->err));
    EXPECT(code == 0, "certbot: %s", said);
    return said;
}

static struct millpond_options options(const char *root, const char *more)
{
    return (struct millpond_options){
        .main = "workers = 2",
        .listen = textf("redirect_to_https = yes\nacme_webroot = %s", root),
        .rest = textf("%s%s", pool_lines("app", 1, origin_start_named("app")), more),
    };
}

static uint64_t serial_of(struct tls_client *c)
{
    X509 *x = SSL_get0_peer_certificate(c->ssl);
    char issuer[256] = "";
    X509_NAME_get_text_by_NID(X509_get_issuer_name(x), NID_commonName, issuer, sizeof issuer);
    expect_in(issuer, "Pebble Intermediate");
    uint64_t serial = 0;
    assert_int_equal(ASN1_INTEGER_get_uint64(&serial, X509_get0_serialNumber(x)), 1);
    return serial;
}

static void certbot_gets_and_renews_a_certificate(void **state)
{
    UNUSED(state);
    char *root = support_path("www");
    home = support_path("certbot");
    mkdir(root, 0755);
    struct millpond_options o = options(root, "");
    struct millpond *m = millpond_start_(&o);
    pebble_start(m->port);
    const char *get[] = {"certonly",
                         "--webroot",
                         "--webroot-path",
                         root,
                         "--domain",
                         NAME,
                         "--server",
                         textf("https://" NAME ":%d/dir", directory_port),
                         "--agree-tos",
                         "--register-unsafely-without-email",
                         NULL};
    expect_in(certbot(get), "Successfully received certificate");
    expect_status(client_get(m->port, "/", ""), 308);

    char *live = textf("%s/live/" NAME, home);
    o = options(root, textf("[listen secure]\naddress = 127.0.0.1:0\ntls_certificate = %s/fullchain.pem\n"
                            "tls_key = %s/privkey.pem\n",
                            live, live));
    millpond_write_ini_(m, &o);
    assert_int_equal(millpond_cli(m, "reload", NULL).exit_code, 0);
    struct tls_client *first = tls_client_open(millpond_port(m, "secure"), .name = NAME);
    expect_in(tls_client_get(first, "/", ""), "app");
    uint64_t serial = serial_of(first);

    const char *renew[] = {"renew", "--force-renewal", "--no-random-sleep-on-renew", NULL};
    expect_in(certbot(renew), "fullchain.pem (success)");
    millpond_wait_log(m, "certificates read anew", 1);
    struct tls_client *second = tls_client_open(millpond_port(m, "secure"), .name = NAME);
    expect_in(tls_client_get(second, "/", ""), "app");
    assert_true(serial_of(second) != serial);
    expect_in(tls_client_get(first, "/", ""), "app");
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(certbot_gets_and_renews_a_certificate),
    };
    return E2E_RUN("acme", tests);
}
