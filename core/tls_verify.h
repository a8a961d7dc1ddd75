/* tls_verify.h: certificates that clients show: the authorities a listener accepts, and who a client is.
 *
 * A certificate that is shown must be good, whether one has to be shown or not: who is verified is known, and
 * who is not is nobody. Blocks on the disk only in tls_authorities_load. */
#ifndef CORE_TLS_VERIFY_H
#define CORE_TLS_VERIFY_H

#include "core/slice.h"

struct ssl_ctx_st;
struct ssl_st;
struct stack_st_X509_NAME;
struct x509_store_st;

enum tls_verify { TLS_VERIFY_OFF, TLS_VERIFY_OPTIONAL, TLS_VERIFY_REQUIRED };

#define TLS_DIGEST_BYTES 32

/* Owned by who loads it; ends by tls_authorities_free. Contexts keep what they need. */
struct tls_authorities {
    struct x509_store_st *store;
    struct stack_st_X509_NAME *names; /* which the client is told */
    unsigned char digest[TLS_DIGEST_BYTES];
};

/* Control thread, or a command. false: it is empty, and why, naming the file. */
bool tls_authorities_load(struct tls_authorities *a, const char *path, char *err, size_t err_bytes);
void tls_authorities_free(struct tls_authorities *a);
/* Clients of `tls` are asked for a certificate of these. false when out of memory. */
bool tls_authorities_use(const struct tls_authorities *a, enum tls_verify verify, struct ssl_ctx_st *tls);

/* Who a client is. `subject` is its distinguished name by RFC 4514, ASCII without control characters;
 * `sha256` the digest of the whole certificate in lower-case hexadecimal. An empty digest: it showed no
 * certificate. */
struct tls_peer {
    slice_t subject, sha256;
};

#define TLS_SUBJECT_MAX 2048

/* After a handshake in which a certificate was asked for, or a session was resumed that began with one. In
 * one block that the caller frees. NULL and a few static words: it cannot be told, so the connection must
 * end. */
struct tls_peer *tls_peer_read(const struct ssl_st *ssl, const char **why);

#endif
