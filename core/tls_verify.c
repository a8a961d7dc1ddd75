/* tls_verify.c: see tls_verify.h. Rejected: letting connections with a bad certificate through with a word on
 * what is wrong with it, as some servers do. An application that forgets to look at that word lets everybody
 * in. */
#include "core/tls_verify.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/tls_file.h"

#define CHAIN_DEPTH_MAX 8

/* ---- authorities ---- */

/* Of all certificates in the order of the file. */
static bool authorities_digest(struct tls_authorities *a)
{
    const STACK_OF(X509_OBJECT) *objects = X509_STORE_get0_objects(a->store);
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    bool ok = md != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1;
    for (int i = 0; ok && i < sk_X509_OBJECT_num(objects); i++) {
        const X509 *x = X509_OBJECT_get0_X509(sk_X509_OBJECT_value(objects, i));
        unsigned char one[EVP_MAX_MD_SIZE];
        unsigned bytes;
        ok = x == NULL ||
             (X509_digest(x, EVP_sha256(), one, &bytes) == 1 && EVP_DigestUpdate(md, one, bytes) == 1);
    }
    ok = ok && EVP_DigestFinal_ex(md, a->digest, NULL) == 1;
    EVP_MD_CTX_free(md);
    return ok;
}

bool tls_authorities_load(struct tls_authorities *a, const char *path, char *err, size_t err_bytes)
{
    SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
    *a = (struct tls_authorities){.store = NULL};
    snprintf(err, err_bytes, "out of memory");
    bool ok = tls != NULL && tls_load_authorities(tls, path, err, err_bytes);
    if (ok) {
        a->store = SSL_CTX_get_cert_store(tls);
        X509_STORE_up_ref(a->store);
        a->names = SSL_load_client_CA_file(path);
        ok = a->names != NULL && authorities_digest(a);
    }
    SSL_CTX_free(tls);
    ERR_clear_error();
    if (!ok)
        tls_authorities_free(a);
    return ok;
}

void tls_authorities_free(struct tls_authorities *a)
{
    X509_STORE_free(a->store);
    sk_X509_NAME_pop_free(a->names, X509_NAME_free);
    *a = (struct tls_authorities){.store = NULL};
}

bool tls_authorities_use(const struct tls_authorities *a, enum tls_verify verify, struct ssl_ctx_st *tls)
{
    STACK_OF(X509_NAME) *names = SSL_dup_CA_list(a->names);
    if (names == NULL || SSL_CTX_set1_verify_cert_store(tls, a->store) != 1) {
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        return false;
    }
    SSL_CTX_set_client_CA_list(tls, names);
    SSL_CTX_set_verify_depth(tls, CHAIN_DEPTH_MAX);
    SSL_CTX_set_verify(
        tls, SSL_VERIFY_PEER | (verify == TLS_VERIFY_REQUIRED ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0), NULL);
    return true;
}

/* ---- a client ---- */

/* Its length; more than `room`: it is too long, or cannot be written. */
static size_t subject_write(const X509 *x, char *buf, size_t room)
{
    BIO *b = BIO_new(BIO_s_mem());
    char *text;
    size_t n = room + 1;
    if (b != NULL && X509_NAME_print_ex(b, X509_get_subject_name(x), 0, XN_FLAG_RFC2253) >= 0) {
        n = (size_t)BIO_get_mem_data(b, &text);
        if (n > 0 && n <= room)
            memcpy(buf, text, n);
    }
    BIO_free(b);
    return n;
}

static bool sha256_write(const X509 *x, char hex[2 * TLS_DIGEST_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned bytes;
    if (X509_digest(x, EVP_sha256(), digest, &bytes) != 1 || bytes != TLS_DIGEST_BYTES)
        return false;
    for (unsigned i = 0; i < bytes; i++) {
        hex[2 * i] = digits[digest[i] >> 4];
        hex[2 * i + 1] = digits[digest[i] & 15];
    }
    return true;
}

/* A session may go on when its certificate has ended. */
static const char *certificate_problem(const SSL *ssl, const X509 *x)
{
    if (SSL_get_verify_result(ssl) != X509_V_OK)
        return X509_verify_cert_error_string(SSL_get_verify_result(ssl));
    return X509_cmp_current_time(X509_get0_notAfter(x)) > 0 ? NULL : "certificate has expired";
}

struct tls_peer *tls_peer_read(const struct ssl_st *ssl, const char **why)
{
    const X509 *x = SSL_get0_peer_certificate(ssl);
    char subject[TLS_SUBJECT_MAX], hex[2 * TLS_DIGEST_BYTES];
    size_t n = 0;
    *why = NULL;
    if (x != NULL) {
        *why = certificate_problem(ssl, x);
        n = *why == NULL ? subject_write(x, subject, sizeof subject) : 0;
        if (n > sizeof subject || (*why == NULL && !sha256_write(x, hex)))
            *why = "the subject of the client's certificate is too long";
    }
    ERR_clear_error();
    struct tls_peer *p = *why == NULL ? calloc(1, sizeof *p + n + sizeof hex) : NULL;
    if (p == NULL) {
        *why = *why != NULL ? *why : "out of memory";
        return NULL;
    }
    *p = (struct tls_peer){SLICE_EMPTY, SLICE_EMPTY};
    if (x == NULL)
        return p;
    char *text = (char *)(p + 1);
    memcpy(text, subject, n);
    memcpy(text + n, hex, sizeof hex);
    p->subject = slice_make(text, n);
    p->sha256 = slice_make(text + n, sizeof hex);
    return p;
}
