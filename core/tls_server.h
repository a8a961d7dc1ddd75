/* tls_server.h: TLS as a listener offers it: certificates by name, versions, ciphers, ALPN, tickets.
 *
 * Made as a whole from files by tls_server_new and never changed: new files make a new one, and connections
 * keep the one they began with. Defaults are Mozilla's intermediate ones (version 5.7), without finite-field
 * DHE, whose cost a client can cause without paying its own share. */
#ifndef CORE_TLS_SERVER_H
#define CORE_TLS_SERVER_H

#include <stdatomic.h>

#include "core/rcu.h"
#include "core/tls_names.h"
#include "core/tls_staple.h"
#include "core/tls_tickets.h"
#include "core/tls_verify.h"

#define TLS_INTERMEDIATE "intermediate"

struct ssl_ctx_st;
struct x509_st;

struct tls_pair {
    const char *certificate, *key; /* PEM files; may be one and the same */
};

/* Borrowed for the call, but for `tickets`. */
struct tls_settings {
    const struct tls_pair *pairs; /* at least one; the first answers clients that ask for no name of theirs */
    size_t pair_count;
    bool only_1_3;
    bool no_http_1, http_2;       /* by ALPN */
    const char *ciphers, *groups; /* TLS_INTERMEDIATE, or lists in OpenSSL's words */
    const char *sessions;         /* what tickets are good for: other listeners give other text */
    const char *const *ocsp;      /* files of OCSP responses, for any of the certificates */
    size_t ocsp_count;
    enum tls_verify verify;
    const char *client_ca; /* file of the authorities, unless verify is off */
    struct tls_tickets *tickets;
};

/* One certificate, for the status. */
struct tls_certificate {
    char *file, *names; /* names with ", " between them */
    char *doubt;        /* NULL, or tls_identity_doubt */
    wall_ms_t begins_ms, ends_ms;
    const struct x509_st *leaf; /* the contexts' own */
};

/* Refcounted; immutable. */
struct tls_server {
    _Atomic uint32_t refs;
    struct tls_names names;
    bool http_1, http_2;          /* offered by ALPN */
    struct ssl_ctx_st **contexts; /* one per choice of names */
    struct tls_certificate *certificates;
    size_t certificate_count;
    struct tls_staple *staples; /* one per file */
    size_t staple_count;
    enum tls_verify verify;
    struct rcu_grave grave;
};

/* Which setting is wrong. */
enum tls_setting {
    TLS_SETTING_NONE,
    TLS_SETTING_CERTIFICATE,
    TLS_SETTING_CIPHERS,
    TLS_SETTING_GROUPS,
    TLS_SETTING_CLIENT_CA
};
struct tls_problem {
    enum tls_setting setting;
    size_t index; /* of the pair */
    char text[600];
};

/* Control thread, or a command. NULL and what is wrong with which setting. */
struct tls_server *tls_server_new(const struct tls_settings *s, struct tls_problem *problem);
struct tls_server *tls_server_ref(struct tls_server *s); /* any thread */
void tls_server_unref(struct tls_server *s);             /* any thread */

#endif
