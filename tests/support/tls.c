/* tls.c: see tls.h. */
#include "tests/support/tls.h"

#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "core/tls_server.h"
#include "tests/support/client.h"
#include "tests/support/wire.h"

#define TLS_RECORD_ROOM 20000

/* ---- certificates ---- */

static void cert_free(void *arg)
{
    struct tls_cert *c = arg;
    X509_free(c->x509);
    EVP_PKEY_free(c->key);
    free(c);
}

static EVP_PKEY *key_make(const struct tls_cert_options *o)
{
    return o->rsa ? EVP_RSA_gen((unsigned)(o->rsa_bits > 0 ? o->rsa_bits : 2048)) : EVP_EC_gen("P-256");
}

static void extension_add(X509 *x, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    if (e == NULL || X509_add_ext(x, e, -1) != 1)
        support_fail("no extension %s", value);
    X509_EXTENSION_free(e);
}

static void names_add(X509 *x, X509 *issuer, const char *names)
{
    char *value = textf("DNS:%s", names);
    for (char *comma; (comma = strchr(value, ',')) != NULL && strncmp(comma, ",DNS:", 5) != 0;)
        value = textf("%.*s\x01"
                      "DNS:%s",
                      (int)(comma - value), value, comma + 1);
    for (char *p = value; *p != '\0'; p++)
        *p = *p == '\x01' ? ',' : *p;
    extension_add(x, issuer, NID_subject_alt_name, value);
}

static void cert_write(const struct tls_cert *c, const struct tls_cert_options *o)
{
    FILE *f = fopen(c->key_file, "w"), *g = fopen(c->file, "w");
    if (f == NULL || g == NULL)
        support_fail("cannot write %s", c->file);
    PEM_write_PrivateKey(f, c->key, NULL, NULL, 0, NULL, NULL);
    PEM_write_X509(g, c->x509);
    if (o->issuer != NULL && !o->alone)
        PEM_write_X509(g, o->issuer->x509);
    fclose(f);
    fclose(g);
}

struct tls_cert *tls_cert_make_(const char *name, const struct tls_cert_options *o)
{
    static long serial = 1;
    struct tls_cert *c = calloc(1, sizeof *c);
    const struct tls_cert *by = o->issuer != NULL ? o->issuer : c;
    long days = o->days == 0 ? 90 : o->days;
    support_on_end(cert_free, c);
    c->file = support_path(textf("%s.pem", name));
    c->key_file = support_path(textf("%s-key.pem", name));
    c->key = key_make(o);
    c->x509 = X509_new();
    X509_set_version(c->x509, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(c->x509), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(c->x509), -86400L * 400);
    X509_gmtime_adj(X509_getm_notAfter(c->x509), days * 86400 + 60);
    X509_set_pubkey(c->x509, c->key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(c->x509), "CN", MBSTRING_ASC,
                               (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(c->x509, X509_get_subject_name(by->x509));
    extension_add(c->x509, by->x509, NID_basic_constraints, o->authority ? "critical,CA:TRUE" : "CA:FALSE");
    if (!o->authority)
        names_add(c->x509, by->x509, o->names != NULL ? o->names : "localhost,test");
    if (o->purpose != NULL)
        extension_add(c->x509, by->x509, NID_ext_key_usage, o->purpose);
    if (c->key == NULL || X509_sign(c->x509, by->key, EVP_sha256()) == 0)
        support_fail("no certificate %s", name);
    cert_write(c, o);
    return c;
}

char *tls_cert_lines(const struct tls_cert *c)
{
    return textf("tls_certificate = %s\ntls_key = %s\n", c->file, c->key_file);
}

void tls_ocsp_write(const char *path, const struct tls_ocsp_options *o)
{
    const struct tls_cert *signer = o->signer != NULL ? o->signer : o->issuer;
    OCSP_BASICRESP *b = OCSP_BASICRESP_new();
    OCSP_CERTID *id = OCSP_cert_to_id(EVP_sha1(), o->cert->x509, o->issuer->x509);
    ASN1_TIME *begins = X509_gmtime_adj(NULL, -o->since_s),
              *ends = X509_gmtime_adj(NULL, o->for_s - o->since_s);
    ASN1_TIME *revoked = o->status == V_OCSP_CERTSTATUS_REVOKED ? begins : NULL;
    OCSP_basic_add1_status(b, id, o->status, 0, revoked, begins, o->for_s > 0 ? ends : NULL);
    if (OCSP_basic_sign(b, signer->x509, signer->key, EVP_sha256(), NULL, 0) != 1)
        support_fail("cannot sign %s", path);
    OCSP_RESPONSE *r = OCSP_response_create(OCSP_RESPONSE_STATUS_SUCCESSFUL, b);
    char *next = textf("%s.new", path);
    BIO *out = BIO_new_file(next, "w");
    if (out == NULL || i2d_OCSP_RESPONSE_bio(out, r) != 1)
        support_fail("cannot write %s", path);
    BIO_free(out);
    rename(next, path);
    OCSP_RESPONSE_free(r);
    OCSP_BASICRESP_free(b);
    OCSP_CERTID_free(id);
    ASN1_TIME_free(begins);
    ASN1_TIME_free(ends);
}

/* ---- client ---- */

void tls_client_close(struct tls_client *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
}

static void client_free(void *arg)
{
    struct tls_client *c = arg;
    tls_client_close(c);
    SSL_free(c->ssl);
    SSL_SESSION_free(c->session);
    SSL_CTX_free(c->context);
    free(c->text);
    free(c);
}

static int client_on_session(SSL *ssl, SSL_SESSION *session)
{
    struct tls_client *c = SSL_get_app_data(ssl);
    SSL_SESSION_free(c->session);
    c->session = session;
    return 1;
}

/* A copy: a session of TLS 1.3 is good for one connection. */
static void client_resume(struct tls_client *c, SSL_SESSION *session)
{
    SSL_SESSION *copy = SSL_SESSION_dup(session);
    SSL_set_session(c->ssl, copy);
    SSL_SESSION_free(copy);
}

static void client_set(struct tls_client *c, const struct tls_client_options *o)
{
    c->context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_session_cache_mode(c->context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(c->context, client_on_session);
    if (o->max_version != 0)
        SSL_CTX_set_max_proto_version(c->context, o->max_version);
    if (o->algorithms != NULL && SSL_CTX_set1_sigalgs_list(c->context, o->algorithms) != 1)
        support_fail("OpenSSL does not know %s", o->algorithms);
    if (o->cert != NULL && (SSL_CTX_use_certificate(c->context, o->cert->x509) != 1 ||
                            SSL_CTX_use_PrivateKey(c->context, o->cert->key) != 1))
        support_fail("cannot show %s", o->cert->file);
    c->ssl = SSL_new(c->context);
    SSL_set_app_data(c->ssl, c);
    if (o->name != NULL)
        SSL_set_tlsext_host_name(c->ssl, o->name);
    if (o->alpn != NULL) {
        char *wire = textf("%c%s", (int)strlen(o->alpn), o->alpn);
        SSL_set_alpn_protos(c->ssl, (unsigned char *)wire, (unsigned)strlen(wire));
    }
    if (o->ocsp)
        SSL_set_tlsext_status_type(c->ssl, TLSEXT_STATUSTYPE_ocsp);
    if (o->session != NULL)
        client_resume(c, o->session);
    SSL_set_fd(c->ssl, c->fd);
}

struct tls_client *tls_client_open_(int port, const struct tls_client_options *o)
{
    struct tls_client *c = calloc(1, sizeof *c);
    c->fd = o->over != NULL ? dup(o->over->wire.fd) : wire_connect(port, o->rcvbuf_bytes);
    if (c->fd < 0)
        support_fail("cannot connect to 127.0.0.1:%d", port);
    struct timeval wait = {.tv_sec = support_wait_ms() / 1000};
    setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
    support_on_end(client_free, c);
    client_set(c, o);
    if (o->preface != NULL && send(c->fd, o->preface, o->preface_bytes, MSG_NOSIGNAL) < 0)
        support_fail("cannot send the preface: %s", strerror(errno));
    ERR_clear_error();
    c->ok = SSL_connect(c->ssl) == 1;
    const char *why = ERR_reason_error_string(ERR_peek_error());
    c->error = textf("%s", c->ok ? "" : why != NULL ? why : "closed");
    return c;
}

bool tls_client_send(struct tls_client *c, const char *bytes, size_t n)
{
    size_t sent = 0;
    ERR_clear_error();
    return n == 0 || SSL_write_ex(c->ssl, bytes, n, &sent) == 1;
}

/* false: the end. */
static bool client_more(struct tls_client *c)
{
    size_t got = 0;
    c->text = realloc(c->text, c->len + TLS_RECORD_ROOM);
    ERR_clear_error();
    int n = SSL_read_ex(c->ssl, c->text + c->len, TLS_RECORD_ROOM - 1, &got);
    if (n != 1)
        c->clean_end = SSL_get_error(c->ssl, n) == SSL_ERROR_ZERO_RETURN;
    c->len += got;
    c->text[c->len] = '\0';
    return n == 1;
}

static char *client_take(struct tls_client *c, size_t n)
{
    char *text = text_repeat('x', n);
    memcpy(text, c->text != NULL ? c->text : "", n);
    c->len -= n;
    memmove(c->text, c->text + n, c->len + 1);
    return text;
}

char *tls_client_read(struct tls_client *c)
{
    char *end;
    while (c->len == 0 || (end = strstr(c->text, "\r\n\r\n")) == NULL) {
        if (!client_more(c))
            return c->len > 0 ? client_take(c, c->len) : textf("%s", "");
    }
    const char *field = strcasestr(c->text, "\r\nContent-Length:");
    size_t head = (size_t)(end + 4 - c->text);
    size_t body = field != NULL && field < end ? strtoul(field + 17, NULL, 10) : 0;
    while (c->len < head + body && client_more(c))
        continue;
    return client_take(c, MIN(c->len, head + body));
}

char *tls_client_get(struct tls_client *c, const char *target, const char *fields)
{
    char *head = textf("GET %s HTTP/1.1\r\nHost: test\r\n%s\r\n", target, fields);
    if (!tls_client_send(c, head, strlen(head)))
        support_fail("cannot send over TLS: %s", c->error);
    return tls_client_read(c);
}

char *tls_client_wait_bytes(struct tls_client *c, size_t n)
{
    while (c->len < n && client_more(c))
        continue;
    return client_take(c, MIN(c->len, n));
}

size_t tls_client_drain(struct tls_client *c)
{
    size_t n = c->len;
    c->len = 0;
    while (client_more(c)) {
        n += c->len;
        c->len = 0;
    }
    return n;
}

size_t tls_client_ocsp_bytes(struct tls_client *c)
{
    const unsigned char *der;
    long n = SSL_get_tlsext_status_ocsp_resp(c->ssl, &der);
    return n > 0 ? (size_t)n : 0;
}

char *tls_client_peer(struct tls_client *c)
{
    char name[256] = "";
    X509 *x = SSL_get0_peer_certificate(c->ssl);
    if (x != NULL)
        X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, name, sizeof name);
    return textf("%s", name);
}

size_t tls_hello(unsigned char *buf, size_t room)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(context);
    BIO *out = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl, BIO_new(BIO_s_mem()), out);
    SSL_set_connect_state(ssl);
    SSL_do_handshake(ssl);
    int n = BIO_read(out, buf, (int)room);
    SSL_free(ssl);
    SSL_CTX_free(context);
    return n > 0 ? (size_t)n : 0;
}

struct tls_server *tls_server_make(struct tls_tickets *tickets, const char *sessions)
{
    struct tls_cert *c = tls_cert_make("server", .names = "test");
    struct tls_problem problem;
    const struct tls_pair pair = {c->file, c->key_file};
    const struct tls_settings settings = {.pairs = &pair,
                                          .pair_count = 1,
                                          .ciphers = "intermediate",
                                          .groups = "intermediate",
                                          .sessions = sessions,
                                          .tickets = tickets};
    struct tls_server *s = tls_server_new(&settings, &problem);
    if (s == NULL)
        support_fail("%s", problem.text);
    return s;
}
