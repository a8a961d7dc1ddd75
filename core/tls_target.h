/* tls_target.h: how TLS is spoken to the instances of a pool: the authorities their certificates are checked
 * against, the certificate that they are shown, ALPN, and the sessions that spare them the next handshake.
 *
 * Made as a whole by tls_target_new and not changed but for the sessions; other settings, or files that
 * changed, make another, which takes over no session, since a session stands for a check that was made by
 * these, on both sides. */
#ifndef CORE_TLS_TARGET_H
#define CORE_TLS_TARGET_H

#include <stdatomic.h>

#include "core/lock.h"
#include "core/rcu.h"
#include "core/tls_file.h"

#define TLS_TARGET_SESSIONS 64 /* instances remembered; they share places by their numbers */

struct ssl_ctx_st;
struct ssl_session_st;
struct ssl_st;

struct tls_target_session {
    uint32_t key;
    struct ssl_session_st *session; /* NULL: none */
};

enum tls_target_file { TLS_TARGET_CA, TLS_TARGET_CERTIFICATE, TLS_TARGET_KEY, TLS_TARGET_FILES };

/* Borrowed for the call. */
struct tls_target_settings {
    bool http2; /* what ALPN offers; else HTTP/1.1 */
    bool verify;
    const char *files[TLS_TARGET_FILES]; /* PEM; "": the authorities of the system; no certificate and key */
};

/* Refcounted. */
struct tls_target {
    _Atomic uint32_t refs;
    bool http2, verify; /* set once, as all but the sessions */
    struct ssl_ctx_st *tls;
    struct tls_stamp read[TLS_TARGET_FILES]; /* the files when they were read; zeros: it has none */
    wall_ms_t begins_ms, ends_ms;            /* of our certificate; 0: none */
    char name[TLS_NAME_BYTES];               /* whose that is; "": it does not say */
    char *doubt;                             /* tls_identity_client_doubt, or NULL */
    struct rcu_grave grave;
    struct lock lock;
    struct tls_target_session sessions[TLS_TARGET_SESSIONS]; /* under lock */
};

/* What the settings' files are now; those that are not read have zeros. */
void tls_target_stamp(const struct tls_target_settings *s, struct tls_stamp to[TLS_TARGET_FILES]);
/* Control thread, or a command. Nothing is checked, and no authority read, without `verify`. NULL, "what is
 * wrong; what would be right" in `err`, and of which file. */
struct tls_target *tls_target_new(const struct tls_target_settings *s, enum tls_target_file *of, char *err,
                                  size_t err_bytes);
/* Made by the same settings from the same files, in the same versions of them. */
bool tls_target_is_same(const struct tls_target *a, const struct tls_target *b);
struct tls_target *tls_target_ref(struct tls_target *t); /* any thread */
void tls_target_unref(struct tls_target *t);             /* any thread; NULL is fine */

/* Any thread. A new connection's SSL, which asks for `name` (no SNI for an address) and accepts a certificate
 * for it alone; with a session of the instance that is known as `key`, if there is one. NULL when out of
 * memory. */
struct ssl_st *tls_target_connect(struct tls_target *t, const char *name, uint32_t key);
/* Any thread. A session for later, which nobody else has, or NULL: what was kept was no good. Takes it over.
 */
void tls_target_keep(struct tls_target *t, uint32_t key, struct ssl_session_st *session);

#endif
