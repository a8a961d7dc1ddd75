/* tls_file.c: see tls_file.h. Rejected: OpenSSL's own loaders by file name
 * (SSL_CTX_use_certificate_chain_file and its kin). They put into a context what cannot be looked at any
 * more, ask for a passphrase at the terminal, and say little about what is wrong. */
#include "core/tls_file.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "core/slice.h"

struct tls_stamp tls_stamp_of(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return (struct tls_stamp){0};
    return (struct tls_stamp){.device = (uint64_t)st.st_dev,
                              .inode = (uint64_t)st.st_ino,
                              .bytes = (uint64_t)st.st_size,
                              .modified_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec,
                              .changed_ns = (int64_t)st.st_ctim.tv_sec * 1000000000 + st.st_ctim.tv_nsec};
}

bool tls_stamps_are_due(const struct tls_stamp *now, struct tls_stamp *tried, struct tls_stamp *found,
                        size_t count, bool failed)
{
    const size_t bytes = count * sizeof *now;
    const bool changed = memcmp(now, tried, bytes) != 0, settled = memcmp(now, found, bytes) == 0;
    memcpy(found, now, bytes);
    if (!settled || (!changed && !failed))
        return false;
    memcpy(tried, now, bytes);
    return true;
}

/* A file that cannot be opened has a plainer reason than OpenSSL's. */
static FILE *file_open(const char *path, char *err, size_t err_bytes)
{
    FILE *f = fopen(path, "re");
    if (f == NULL)
        snprintf(err, err_bytes, "%s cannot be read: %s; name a PEM file that can", path, strerror(errno));
    return f;
}

bool tls_load_authorities(struct ssl_ctx_st *tls, const char *path, char *err, size_t err_bytes)
{
    bool ok;
    if (path[0] == '\0') {
        ok = SSL_CTX_set_default_verify_paths(tls) == 1;
        if (!ok)
            snprintf(err, err_bytes, "this system has no authorities; name a file of them");
        ERR_clear_error();
        return ok;
    }
    FILE *f = file_open(path, err, err_bytes);
    if (f == NULL)
        return false;
    fclose(f);
    ok = SSL_CTX_load_verify_file(tls, path) == 1;
    if (!ok)
        snprintf(err, err_bytes, "%s has no certificate that can be read; name a PEM file of the authorities",
                 path);
    ERR_clear_error();
    return ok;
}

/* ---- a certificate with its chain and key ---- */

/* Never asks at the terminal. */
static int no_passphrase(char *buf, int size, int writing, void *arg)
{
    UNUSED(buf);
    UNUSED(size);
    UNUSED(writing);
    UNUSED(arg);
    return -1;
}

static bool chain_read(struct tls_identity *id, FILE *f)
{
    X509 *x;
    while ((x = PEM_read_X509(f, NULL, no_passphrase, NULL)) != NULL) {
        if (id->chain_count == TLS_CHAIN_MAX) {
            X509_free(x);
            return false;
        }
        id->chain[id->chain_count++] = x;
    }
    unsigned long e = ERR_peek_last_error(); /* the end of the file, or of what can be read */
    return ERR_GET_LIB(e) == ERR_LIB_PEM && ERR_GET_REASON(e) == PEM_R_NO_START_LINE;
}

static bool certificate_read(struct tls_identity *id, const char *path, char *err, size_t err_bytes)
{
    FILE *f = file_open(path, err, err_bytes);
    if (f == NULL)
        return false;
    id->leaf = PEM_read_X509_AUX(f, NULL, no_passphrase, NULL);
    bool ok = id->leaf != NULL;
    if (!ok)
        snprintf(
            err, err_bytes,
            "%s has no certificate that can be read; name a PEM file that begins with the one of the key",
            path);
    if (ok && !chain_read(id, f)) {
        snprintf(err, err_bytes,
                 "%s has a certificate behind the first that cannot be read, or more than %d of them; leave "
                 "what the first one needs",
                 path, TLS_CHAIN_MAX);
        ok = false;
    }
    fclose(f);
    return ok;
}

static bool key_read(struct tls_identity *id, const char *path, char *err, size_t err_bytes)
{
    FILE *f = file_open(path, err, err_bytes);
    if (f == NULL)
        return false;
    ERR_clear_error();
    id->key = PEM_read_PrivateKey(f, NULL, no_passphrase, NULL);
    fclose(f);
    if (id->key != NULL)
        return true;
    if (ERR_GET_REASON(ERR_peek_error()) == PEM_R_BAD_PASSWORD_READ ||
        ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_BAD_PASSWORD_READ)
        snprintf(err, err_bytes,
                 "%s has a key with a passphrase, which nobody is there to type; write it without one "
                 "(openssl pkey -in FILE -out FILE), readable by the server alone",
                 path);
    else
        snprintf(err, err_bytes, "%s has no private key that can be read; name the PEM file of the key",
                 path);
    return false;
}

/* Which certificate of the file the key is for, if any: people put the authority's first. */
static bool key_fits(const struct tls_identity *id, const char *certificate, const char *key, char *err,
                     size_t err_bytes)
{
    if (X509_check_private_key(id->leaf, id->key) == 1)
        return true;
    for (size_t i = 0; i < id->chain_count; i++) {
        if (X509_check_private_key(id->chain[i], id->key) != 1)
            continue;
        snprintf(err, err_bytes,
                 "%s has the certificate of the key %s in place %zu; put that one first, then the "
                 "one that issued it",
                 certificate, key, i + 2);
        return false;
    }
    snprintf(err, err_bytes,
             "the key %s is not that of the certificate %s; name the two that belong together", key,
             certificate);
    return false;
}

bool tls_identity_load(struct tls_identity *id, const char *certificate, const char *key, char *err,
                       size_t err_bytes)
{
    *id = (struct tls_identity){.leaf = NULL};
    bool ok = certificate_read(id, certificate, err, err_bytes) && key_read(id, key, err, err_bytes) &&
              key_fits(id, certificate, key, err, err_bytes);
    ERR_clear_error();
    if (!ok)
        tls_identity_free(id);
    return ok;
}

void tls_identity_free(struct tls_identity *id)
{
    X509_free(id->leaf);
    for (size_t i = 0; i < id->chain_count; i++)
        X509_free(id->chain[i]);
    EVP_PKEY_free(id->key);
    *id = (struct tls_identity){.leaf = NULL};
}

bool tls_identity_use(const struct tls_identity *id, struct ssl_ctx_st *tls, const char *certificate,
                      char *err, size_t err_bytes)
{
    STACK_OF(X509) *chain = sk_X509_new_null();
    bool ok = chain != NULL;
    for (size_t i = 0; ok && i < id->chain_count; i++)
        ok = sk_X509_push(chain, id->chain[i]) > 0;
    ERR_clear_error();
    ok = ok && SSL_CTX_use_cert_and_key(tls, id->leaf, id->key, chain, 1) == 1;
    sk_X509_free(chain); /* the context has references of its own */
    if (!ok) {
        const char *why = ERR_reason_error_string(ERR_peek_error());
        snprintf(
            err, err_bytes,
            "%s cannot be used (%s); have one issued for a key of 2048 bits RSA or more, or an ECDSA key",
            certificate, why != NULL ? why : "out of memory");
    }
    ERR_clear_error();
    return ok;
}

/* ---- what it says ---- */

static wall_ms_t time_ms(const ASN1_TIME *t)
{
    struct tm tm;
    return ASN1_TIME_to_tm(t, &tm) == 1 ? (wall_ms_t)timegm(&tm) * 1000 : 0;
}

wall_ms_t tls_identity_begins_ms(const struct tls_identity *id)
{
    return time_ms(X509_get0_notBefore(id->leaf));
}

wall_ms_t tls_identity_ends_ms(const struct tls_identity *id)
{
    return time_ms(X509_get0_notAfter(id->leaf));
}

static bool is_self_signed(X509 *x)
{
    return X509_check_issued(x, x) == X509_V_OK;
}

const char *tls_identity_doubt(const struct tls_identity *id, const char *certificate, char *buf,
                               size_t buf_bytes)
{
    X509 *below = id->leaf;
    for (size_t i = 0; i < id->chain_count; i++) {
        if (X509_check_issued(id->chain[i], below) != X509_V_OK) {
            snprintf(buf, buf_bytes,
                     "%s: certificate %zu did not issue certificate %zu, so some clients will not accept it; "
                     "write the server's own first and each issuer behind what it issued",
                     certificate, i + 2, i + 1);
            return buf;
        }
        below = id->chain[i];
    }
    if (id->chain_count == 0 && !is_self_signed(id->leaf)) {
        snprintf(buf, buf_bytes,
                 "%s has the server's certificate alone, and clients may not know who issued it; append the "
                 "issuer's, as in the fullchain.pem that ACME clients write",
                 certificate);
        return buf;
    }
    return NULL;
}

/* Authorities that once allowed both uses now leave this one out. */
const char *tls_identity_client_doubt(const struct tls_identity *id, const char *certificate, char *buf,
                                      size_t buf_bytes)
{
    if (X509_check_purpose(id->leaf, X509_PURPOSE_SSL_CLIENT, 0) == 1)
        return NULL;
    snprintf(
        buf, buf_bytes,
        "%s is not for clients (its extended key usage lacks clientAuth), so instances refuse it; have one "
        "issued that is",
        certificate);
    return buf;
}

#define DAY_MS INT64_C(86400000)

const char *tls_expiry_doubt(const char *file, wall_ms_t begins_ms, wall_ms_t ends_ms, wall_ms_t now_ms,
                             const char *who, char *buf, size_t buf_bytes)
{
    const long long days = (ends_ms - now_ms) / DAY_MS;
    if (now_ms < begins_ms)
        snprintf(buf, buf_bytes, "%s is not valid yet; look at the clock, or wait", file);
    else if (now_ms >= ends_ms)
        snprintf(buf, buf_bytes, "%s has expired, so %s refuse it; renew it", file, who);
    else if (days < TLS_EXPIRY_WARN_DAYS)
        snprintf(buf, buf_bytes, "%s expires in %lld day%s; renew it", file, days, days == 1 ? "" : "s");
    else
        return NULL;
    return buf;
}

/* Lower case, with its end; false: no name. */
static bool name_put(char name[TLS_NAME_BYTES], const unsigned char *text, int bytes)
{
    if (bytes <= 0 || bytes >= TLS_NAME_BYTES || memchr(text, '\0', (size_t)bytes) != NULL)
        return false;
    for (int i = 0; i < bytes; i++)
        name[i] = ascii_lower((char)text[i]);
    name[bytes] = '\0';
    return true;
}

static bool common_name(const struct tls_identity *id, char name[TLS_NAME_BYTES])
{
    const X509_NAME *subject = X509_get_subject_name(id->leaf);
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    if (at < 0)
        return false;
    const ASN1_STRING *s = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at));
    return name_put(name, ASN1_STRING_get0_data(s), ASN1_STRING_length(s));
}

bool tls_identity_name(const struct tls_identity *id, size_t n, char name[TLS_NAME_BYTES])
{
    GENERAL_NAMES *all = X509_get_ext_d2i(id->leaf, NID_subject_alt_name, NULL, NULL);
    size_t seen = 0;
    bool found = false;
    for (int i = 0; !found && i < sk_GENERAL_NAME_num(all); i++) {
        const GENERAL_NAME *g = sk_GENERAL_NAME_value(all, i);
        if (g->type == GEN_DNS &&
            name_put(name, ASN1_STRING_get0_data(g->d.dNSName), ASN1_STRING_length(g->d.dNSName)))
            found = seen++ == n;
    }
    GENERAL_NAMES_free(all);
    return found || (all == NULL && n == 0 && common_name(id, name));
}
