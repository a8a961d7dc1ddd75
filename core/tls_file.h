/* tls_file.h: PEM files read for TLS, and in one place the words for why one cannot be used.
 *
 * Errors are "what is wrong; what would be right" and name the file; nothing of a key is ever in them. Blocks
 * on the disk: control thread and commands, never a worker. OpenSSL's queue of errors is empty afterwards. */
#ifndef CORE_TLS_FILE_H
#define CORE_TLS_FILE_H

#include "core/clock.h"

struct evp_pkey_st;
struct ssl_ctx_st;
struct x509_st;

/* What tells one version of a file from another. */
struct tls_stamp {
    uint64_t device, inode, bytes;
    int64_t modified_ns, changed_ns;
};
/* Zeros: there is no such file. */
struct tls_stamp tls_stamp_of(const char *path);
/* A look at files that are in use: are they to be read (again)? `tried` is how they were when they were read
 * last, whatever came of it, `found` how the last look found them; both are brought up to date. Whoever
 * renews writes certificate and key one after the other: files that were the same at two looks are complete,
 * but for bad luck, which the next look makes good. Those that could not be used are read at each look, as it
 * may have been for want of memory or descriptors. */
bool tls_stamps_are_due(const struct tls_stamp *now, struct tls_stamp *tried, struct tls_stamp *found,
                        size_t count, bool failed);

/* The authorities in a PEM file become those that peers of `tls` are checked against; "" takes the system's.
 */
bool tls_load_authorities(struct ssl_ctx_st *tls, const char *path, char *err, size_t err_bytes);

#define TLS_CHAIN_MAX 16

/* A certificate with what proves it. Owns the three kinds; ends by tls_identity_free. */
struct tls_identity {
    struct x509_st *leaf;
    struct x509_st *chain[TLS_CHAIN_MAX]; /* as in the file, without the leaf */
    size_t chain_count;
    struct evp_pkey_st *key;
};

/* The first certificate of one file is the owner's own, the others its chain; the other file (or the same)
 * has its key. false: `id` is empty. */
bool tls_identity_load(struct tls_identity *id, const char *certificate, const char *key, char *err,
                       size_t err_bytes);
/* It is what connections of `tls` show, which takes references of its own. false: it cannot be used, and why.
 */
bool tls_identity_use(const struct tls_identity *id, struct ssl_ctx_st *tls, const char *certificate,
                      char *err, size_t err_bytes);
void tls_identity_free(struct tls_identity *id);

/* When it begins and ends to be valid. */
wall_ms_t tls_identity_begins_ms(const struct tls_identity *id);
wall_ms_t tls_identity_ends_ms(const struct tls_identity *id);
/* What some clients will not accept although it can be used: NULL, or such a sentence in `buf`. */
const char *tls_identity_doubt(const struct tls_identity *id, const char *certificate, char *buf,
                               size_t buf_bytes);
/* The same of one that we show as a client. */
const char *tls_identity_client_doubt(const struct tls_identity *id, const char *certificate, char *buf,
                                      size_t buf_bytes);
/* What there is to say about its time at `now_ms`: NULL, or such a sentence in `buf`. `who` refuses it once
 * it has expired. */
#define TLS_EXPIRY_WARN_DAYS 21
const char *tls_expiry_doubt(const char *file, wall_ms_t begins_ms, wall_ms_t ends_ms, wall_ms_t now_ms,
                             const char *who, char *buf, size_t buf_bytes);

/* Its n-th name in lower case: DNS names of its subjectAltName, else its common name. false behind the last.
 * What is longer than a name can be is skipped. */
#define TLS_NAME_BYTES 256
bool tls_identity_name(const struct tls_identity *id, size_t n, char name[TLS_NAME_BYTES]);

#endif
