/* redis_tls.c: see redis_tls.h. */
#include "core/redis_tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>

/* A file that cannot be opened has a plainer reason than OpenSSL's. */
static bool tls_load(SSL_CTX *tls, const char *ca, char *err, size_t err_bytes)
{
    if (ca[0] == '\0') {
        bool ok = SSL_CTX_set_default_verify_paths(tls) == 1;
        if (!ok)
            snprintf(err, err_bytes, "this system has no authorities; name a file of them");
        return ok;
    }
    FILE *f = fopen(ca, "re");
    if (f == NULL) {
        snprintf(err, err_bytes, "%s cannot be read: %s; name a PEM file that can", ca, strerror(errno));
        return false;
    }
    fclose(f);
    if (SSL_CTX_load_verify_file(tls, ca) == 1)
        return true;
    snprintf(err, err_bytes, "%s has no certificate that can be read; name a PEM file of the authorities",
             ca);
    return false;
}

struct ssl_ctx_st *redis_tls_new(const char *ca, char *err, size_t err_bytes)
{
    SSL_CTX *tls = SSL_CTX_new(TLS_client_method());
    if (tls == NULL || SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION) != 1) {
        snprintf(err, err_bytes, "TLS cannot be set up: out of memory; start with more");
        SSL_CTX_free(tls);
        return NULL;
    }
    SSL_CTX_set_verify(tls, SSL_VERIFY_PEER, NULL);
    bool ok = tls_load(tls, ca, err, err_bytes);
    ERR_clear_error();
    if (ok)
        return tls;
    SSL_CTX_free(tls);
    return NULL;
}

void redis_tls_free(struct ssl_ctx_st *tls)
{
    SSL_CTX_free(tls);
}
