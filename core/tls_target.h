/* tls_target.h: how TLS is spoken to the instances of a pool: the authorities their certificates are checked
 * against, ALPN, and the sessions that spare them the next handshake.
 *
 * Made as a whole by tls_target_new and not changed but for the sessions; other settings make another, which
 * takes over no session, since a session stands for a check that was made by these settings. */
#ifndef CORE_TLS_TARGET_H
#define CORE_TLS_TARGET_H

#include <stdatomic.h>

#include "core/lock.h"

#define TLS_TARGET_SESSIONS 64 /* instances remembered; they share places by their numbers */

struct ssl_ctx_st;
struct ssl_session_st;
struct ssl_st;

struct tls_target_session {
    uint32_t key;
    struct ssl_session_st *session; /* NULL: none */
};

/* Refcounted. */
struct tls_target {
    _Atomic uint32_t refs;
    bool verify; /* set once, as the next */
    struct ssl_ctx_st *tls;
    struct lock lock;
    struct tls_target_session sessions[TLS_TARGET_SESSIONS]; /* under lock */
};

/* Control thread, or a command. ALPN offers HTTP/2, or HTTP/1.1, alone. `ca` is a PEM file, "" the
 * authorities of the system; nothing is read without `verify`. NULL, and "what is wrong; what would be right"
 * in `err`. */
struct tls_target *tls_target_new(bool http2, bool verify, const char *ca, char *err, size_t err_bytes);
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
