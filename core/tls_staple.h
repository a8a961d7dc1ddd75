/* tls_staple.h: OCSP responses in files, which a server shows beside its certificate (RFC 6066 section 8), so
 * that clients need not ask the authority whether it was revoked.
 *
 * Only what a client would believe is shown: signed for the certificate's issuer, within its time, and saying
 * that all is well. Blocks on the disk only in tls_staple_load. */
#ifndef CORE_TLS_STAPLE_H
#define CORE_TLS_STAPLE_H

#include "core/tls_file.h"

struct ssl_ctx_st;
struct tls_server;

/* One file. Ends by tls_staple_free. */
struct tls_staple {
    unsigned char *der; /* NULL: there is nothing to show, and `doubt` says why */
    size_t bytes;
    size_t certificate; /* which it is about */
    wall_ms_t ends_ms;  /* from then on it is not shown; TLS_STAPLE_NEVER_MS: it does not say */
    char *file, *doubt;
};

#define TLS_STAPLE_NEVER_MS INT64_MAX

/* Reads and judges the file for the one of the certificates that it is about. false when out of memory. */
bool tls_staple_load(struct tls_staple *s, const char *path, const struct tls_identity *ids, size_t count,
                     wall_ms_t now_ms);
void tls_staple_free(struct tls_staple *s);

/* Clients of `tls` that ask for it are shown the staple of the certificate they get. */
void tls_staples_use(const struct tls_server *server, struct ssl_ctx_st *tls);

#endif
