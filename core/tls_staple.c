/* tls_staple.c: see tls_staple.h. Rejected: fetching the responses ourselves, which is an HTTP client and a
 * timer for what most authorities have stopped to offer; whoever still needs them has a cron job. */
#include "core/tls_staple.h"

#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/tls_server.h"

#define FILE_BYTES_MAX  (64 * KB)
#define CLOCKS_DIFFER_S 300 /* at most, forgiven at the beginning */

/* ---- what a file says ---- */

static X509 *issuer_of(const struct tls_identity *id)
{
    for (size_t i = 0; i < id->chain_count; i++) {
        if (X509_check_issued(id->chain[i], id->leaf) == X509_V_OK)
            return id->chain[i];
    }
    return NULL;
}

static bool is_about(const OCSP_SINGLERESP *r, const struct tls_identity *id)
{
    const OCSP_CERTID *theirs = OCSP_SINGLERESP_get0_id(r);
    ASN1_OBJECT *algorithm = NULL;
    X509 *issuer = issuer_of(id);
    OCSP_id_get0_info(NULL, &algorithm, NULL, NULL, (OCSP_CERTID *)(uintptr_t)theirs);
    const EVP_MD *md = algorithm != NULL ? EVP_get_digestbyobj(algorithm) : NULL;
    OCSP_CERTID *ours = md != NULL && issuer != NULL ? OCSP_cert_to_id(md, id->leaf, issuer) : NULL;
    bool same = ours != NULL && OCSP_id_cmp(ours, (OCSP_CERTID *)(uintptr_t)theirs) == 0;
    OCSP_CERTID_free(ours);
    return same;
}

/* The part of the response that is about one of the certificates. */
static OCSP_SINGLERESP *single_find(OCSP_BASICRESP *b, const struct tls_identity *ids, size_t count,
                                    size_t *which)
{
    for (int i = 0; i < OCSP_resp_count(b); i++) {
        OCSP_SINGLERESP *r = OCSP_resp_get0(b, i);
        for (*which = 0; *which < count; (*which)++) {
            if (is_about(r, &ids[*which]))
                return r;
        }
    }
    return NULL;
}

/* By the issuer, or by whom that has named for it. */
static bool is_signed(OCSP_BASICRESP *b, const struct tls_identity *id)
{
    X509_STORE *store = X509_STORE_new();
    STACK_OF(X509) *none = sk_X509_new_null();
    bool ok = store != NULL && none != NULL && X509_STORE_add_cert(store, issuer_of(id)) == 1 &&
              X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN) == 1 &&
              sk_X509_push(none, issuer_of(id)) > 0 && OCSP_basic_verify(b, none, store, 0) == 1;
    sk_X509_free(none);
    X509_STORE_free(store);
    return ok;
}

static wall_ms_t time_ms(const ASN1_GENERALIZEDTIME *t)
{
    struct tm tm;
    if (t == NULL || ASN1_TIME_to_tm(t, &tm) != 1)
        return TLS_STAPLE_NEVER_MS;
    return (wall_ms_t)timegm(&tm) * 1000;
}

/* NULL: it may be shown. */
static const char *response_judge(struct tls_staple *s, OCSP_BASICRESP *b, const struct tls_identity *ids,
                                  size_t count, wall_ms_t now_ms)
{
    ASN1_GENERALIZEDTIME *begins = NULL, *ends = NULL;
    OCSP_SINGLERESP *r = single_find(b, ids, count, &s->certificate);
    if (r == NULL)
        return "is about no certificate of this section whose issuer's is in the same file; name the "
               "response "
               "for one of them";
    if (!is_signed(b, &ids[s->certificate]))
        return "is not signed by the certificate's issuer; fetch it again";
    int status = OCSP_single_get0_status(r, NULL, NULL, &begins, &ends);
    s->ends_ms = time_ms(ends);
    if (status == V_OCSP_CERTSTATUS_REVOKED)
        return "says that the certificate was revoked; have another issued";
    if (status != V_OCSP_CERTSTATUS_GOOD)
        return "says that its authority does not know the certificate; fetch it again";
    if (time_ms(begins) > now_ms + CLOCKS_DIFFER_S * 1000)
        return "is not valid yet; look at the clock";
    return s->ends_ms <= now_ms ? "has expired; fetch it again" : NULL;
}

/* ---- files ---- */

static bool file_read(const char *path, unsigned char *buf, size_t *bytes)
{
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return false;
    *bytes = fread(buf, 1, FILE_BYTES_MAX, f);
    bool ok = ferror(f) == 0;
    fclose(f);
    return ok;
}

static const char *file_judge(struct tls_staple *s, const unsigned char *der, size_t bytes,
                              const struct tls_identity *ids, size_t count, wall_ms_t now_ms)
{
    const unsigned char *p = der;
    OCSP_RESPONSE *r = d2i_OCSP_RESPONSE(NULL, &p, (long)bytes);
    OCSP_BASICRESP *b = r != NULL && OCSP_response_status(r) == OCSP_RESPONSE_STATUS_SUCCESSFUL
                            ? OCSP_response_get1_basic(r)
                            : NULL;
    const char *why = r == NULL   ? "has no OCSP response in DER; write one by `openssl ocsp -respout`"
                      : b == NULL ? "has an answer of the authority that it cannot answer; fetch it again"
                                  : response_judge(s, b, ids, count, now_ms);
    OCSP_BASICRESP_free(b);
    OCSP_RESPONSE_free(r);
    return why;
}

bool tls_staple_load(struct tls_staple *s, const char *path, const struct tls_identity *ids, size_t count,
                     wall_ms_t now_ms)
{
    char doubt[600];
    size_t bytes = 0;
    unsigned char *der = malloc(FILE_BYTES_MAX);
    *s = (struct tls_staple){.file = strdup(path), .ends_ms = TLS_STAPLE_NEVER_MS};
    bool ok = der != NULL && s->file != NULL;
    const char *why = NULL;
    if (ok)
        why = !file_read(path, der, &bytes) ? "cannot be read; name a file that can"
                                            : file_judge(s, der, bytes, ids, count, now_ms);
    ERR_clear_error();
    if (ok && why != NULL) {
        snprintf(doubt, sizeof doubt, "%s %s", path, why);
        s->doubt = strdup(doubt);
        ok = s->doubt != NULL;
    } else if (ok) {
        s->der = der;
        s->bytes = bytes;
        return true;
    }
    free(der);
    return ok;
}

void tls_staple_free(struct tls_staple *s)
{
    free(s->der);
    free(s->file);
    free(s->doubt);
    *s = (struct tls_staple){.der = NULL};
}

/* ---- showing it ---- */

static const struct tls_staple *staple_of(const struct tls_server *s, const X509 *leaf, wall_ms_t now_ms)
{
    for (size_t i = 0; i < s->staple_count; i++) {
        const struct tls_staple *t = &s->staples[i];
        if (t->der != NULL && now_ms < t->ends_ms && s->certificates[t->certificate].leaf == leaf)
            return t;
    }
    return NULL;
}

static int staple_on_request(SSL *ssl, void *arg)
{
    const struct tls_staple *t = staple_of(arg, SSL_get_certificate(ssl), clock_wall_ms());
    unsigned char *copy = t != NULL ? OPENSSL_memdup(t->der, t->bytes) : NULL;
    if (copy == NULL)
        return SSL_TLSEXT_ERR_NOACK;
    SSL_set_tlsext_status_ocsp_resp(ssl, copy, (long)t->bytes);
    return SSL_TLSEXT_ERR_OK;
}

void tls_staples_use(const struct tls_server *server, struct ssl_ctx_st *tls)
{
    SSL_CTX_set_tlsext_status_cb(tls, staple_on_request);
    SSL_CTX_set_tlsext_status_arg(tls, (void *)(uintptr_t)server);
}
