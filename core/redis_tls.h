/* redis_tls.h: the TLS settings that connections to Redis have in common.
 *
 * TLS 1.2 or newer; a certificate must have a chain to the authorities, and redis_conn.h checks that it is
 * for the host. Made once, then shared by all workers: OpenSSL counts references to it atomically. */
#ifndef CORE_REDIS_TLS_H
#define CORE_REDIS_TLS_H

#include "core/base.h"

struct ssl_ctx_st;

/* `ca` is a PEM file, "" the authorities of the system. NULL, and "what is wrong; what would be right" in
 * `err`, when the file has no certificates. Any thread. */
struct ssl_ctx_st *redis_tls_new(const char *ca, char *err, size_t err_bytes);
/* After all connections were closed. NULL is fine. */
void redis_tls_free(struct ssl_ctx_st *tls);

#endif
