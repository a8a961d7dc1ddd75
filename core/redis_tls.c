/* redis_tls.c: see redis_tls.h. */
#include "core/redis_tls.h"

#include <openssl/ssl.h>
#include <stdio.h>

#include "core/tls_file.h"

struct ssl_ctx_st *redis_tls_new(const char *ca, char *err, size_t err_bytes)
{
    SSL_CTX *tls = SSL_CTX_new(TLS_client_method());
    if (tls == NULL || SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION) != 1) {
        snprintf(err, err_bytes, "TLS cannot be set up: out of memory; start with more");
        SSL_CTX_free(tls);
        return NULL;
    }
    SSL_CTX_set_verify(tls, SSL_VERIFY_PEER, NULL);
    if (tls_load_authorities(tls, ca, err, err_bytes))
        return tls;
    SSL_CTX_free(tls);
    return NULL;
}

void redis_tls_free(struct ssl_ctx_st *tls)
{
    SSL_CTX_free(tls);
}
