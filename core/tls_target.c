/* tls_target.c: see tls_target.h. Several connections may go on with one session. That lets an onlooker see
 * that they belong together, which between a proxy and its instances is no news (RFC 8446 appendix C.4).
 * OpenSSL spoils a session once it was used, or its connection ended without a word, so what is kept here are
 * copies that no connection has. */
#include "core/tls_target.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/panic.h"
#include "core/tls_conn.h"
#include "core/tls_file.h"

/* A ticket follows our last word of the handshake (RFC 8446 section 4.6.1). */
static int target_on_session(SSL *ssl, SSL_SESSION *session)
{
    struct tls_conn *t = SSL_get_app_data(ssl);
    t->accepted = true;
    SSL_SESSION *copy = SSL_SESSION_dup(session);
    if (copy != NULL)
        tls_target_keep(t->target, t->session_key, copy);
    return 0;
}

/* As for listeners (tls_server.c), but that the end of a connection without a close_notify is an error: a
 * response may end with its connection, and must not be cut by who cannot read it. */
static SSL_CTX *context_new(bool http2)
{
    static const unsigned char http_1_alpn[] = "\x08http/1.1", http_2_alpn[] = "\x02h2";
    const unsigned char *alpn = http2 ? http_2_alpn : http_1_alpn;
    const unsigned alpn_bytes = http2 ? sizeof http_2_alpn - 1 : sizeof http_1_alpn - 1;
    SSL_CTX *tls = SSL_CTX_new(TLS_client_method());
    if (tls == NULL)
        return NULL;
    SSL_CTX_set_options(tls, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_mode(tls, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_clear_mode(tls, SSL_MODE_AUTO_RETRY);
    SSL_CTX_set_read_ahead(tls, 1);
    SSL_CTX_set_session_cache_mode(tls, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(tls, target_on_session);
    if (SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION) == 1 &&
        SSL_CTX_set_alpn_protos(tls, alpn, alpn_bytes) == 0)
        return tls;
    SSL_CTX_free(tls);
    return NULL;
}

static bool is_read(const struct tls_target_settings *s, enum tls_target_file f)
{
    return s->files[f][0] != '\0' && (f != TLS_TARGET_CA || s->verify);
}

void tls_target_stamp(const struct tls_target_settings *s, struct tls_stamp to[TLS_TARGET_FILES])
{
    for (unsigned f = 0; f < TLS_TARGET_FILES; f++)
        to[f] = is_read(s, f) ? tls_stamp_of(s->files[f]) : (struct tls_stamp){0};
}

/* Our certificate, for instances that ask for one. */
static bool target_take_identity(struct tls_target *t, const struct tls_target_settings *s, char *err,
                                 size_t err_bytes)
{
    struct tls_identity id;
    const char *file = s->files[TLS_TARGET_CERTIFICATE];
    char doubt[600];
    if (!tls_identity_load(&id, file, s->files[TLS_TARGET_KEY], err, err_bytes))
        return false;
    bool ok = tls_identity_use(&id, t->tls, file, err, err_bytes);
    t->begins_ms = tls_identity_begins_ms(&id);
    t->ends_ms = tls_identity_ends_ms(&id);
    if (!tls_identity_name(&id, 0, t->name))
        t->name[0] = '\0';
    if (ok && tls_identity_client_doubt(&id, file, doubt, sizeof doubt) != NULL &&
        (t->doubt = strdup(doubt)) == NULL) {
        snprintf(err, err_bytes, "out of memory");
        ok = false;
    }
    tls_identity_free(&id);
    return ok;
}

/* The stamps come first: what changes while it is read is seen as a change. */
struct tls_target *tls_target_new(const struct tls_target_settings *s, enum tls_target_file *of, char *err,
                                  size_t err_bytes)
{
    struct tls_target *t = calloc(1, sizeof *t);
    SSL_CTX *tls = t != NULL ? context_new(s->http2) : NULL;
    *of = TLS_TARGET_CA;
    if (tls == NULL) {
        snprintf(err, err_bytes, "TLS cannot be set up: out of memory; start with more");
        free(t);
        return NULL;
    }
    t->tls = tls;
    t->http2 = s->http2;
    t->verify = s->verify;
    lock_init(&t->lock, LOCK_TICKETS);
    atomic_init(&t->refs, 1);
    tls_target_stamp(s, t->read);
    SSL_CTX_set_verify(tls, s->verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
    bool ok = !s->verify || tls_load_authorities(tls, s->files[TLS_TARGET_CA], err, err_bytes);
    if (ok && is_read(s, TLS_TARGET_CERTIFICATE)) {
        *of = TLS_TARGET_CERTIFICATE;
        ok = target_take_identity(t, s, err, err_bytes);
    }
    if (ok)
        return t;
    tls_target_unref(t);
    return NULL;
}

bool tls_target_is_same(const struct tls_target *a, const struct tls_target *b)
{
    return a->http2 == b->http2 && a->verify == b->verify && memcmp(a->read, b->read, sizeof a->read) == 0;
}

struct tls_target *tls_target_ref(struct tls_target *t)
{
    ASSERT(atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed) > 0);
    return t;
}

void tls_target_unref(struct tls_target *t)
{
    if (t == NULL || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < TLS_TARGET_SESSIONS; i++)
        SSL_SESSION_free(t->sessions[i].session);
    lock_destroy(&t->lock);
    SSL_CTX_free(t->tls);
    free(t->doubt);
    free(t);
}

/* ---- sessions ---- */

void tls_target_keep(struct tls_target *t, uint32_t key, struct ssl_session_st *session)
{
    struct tls_target_session *place = &t->sessions[key % TLS_TARGET_SESSIONS];
    lock_take(&t->lock);
    SSL_SESSION *old = place->session;
    *place = (struct tls_target_session){key, session};
    lock_drop(&t->lock);
    SSL_SESSION_free(old);
}

/* A copy, or NULL. */
static SSL_SESSION *target_session(struct tls_target *t, uint32_t key)
{
    const struct tls_target_session *place = &t->sessions[key % TLS_TARGET_SESSIONS];
    lock_take(&t->lock);
    SSL_SESSION *found = place->key == key ? place->session : NULL;
    if (found != NULL)
        SSL_SESSION_up_ref(found);
    lock_drop(&t->lock);
    SSL_SESSION *copy = found != NULL ? SSL_SESSION_dup(found) : NULL;
    SSL_SESSION_free(found);
    return copy;
}

/* ---- connections ---- */

/* An address is checked as one, and not sent (RFC 6066 section 3). */
static bool expect_name(SSL *ssl, const char *name)
{
    unsigned char address[16];
    char bare[INET6_ADDRSTRLEN];
    size_t n = strlen(name);
    if (name[0] == '[' && n - 2 < sizeof bare) {
        snprintf(bare, sizeof bare, "%.*s", (int)(n - 2), name + 1);
        name = bare;
    }
    if (inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(ssl, name) == 1 && SSL_set_tlsext_host_name(ssl, name) == 1;
}

struct ssl_st *tls_target_connect(struct tls_target *t, const char *name, uint32_t key)
{
    SSL *ssl = SSL_new(t->tls);
    SSL_SESSION *session = target_session(t, key);
    bool ok =
        ssl != NULL && expect_name(ssl, name) && (session == NULL || SSL_set_session(ssl, session) == 1);
    SSL_SESSION_free(session);
    if (ok) {
        SSL_set_connect_state(ssl);
        return ssl;
    }
    SSL_free(ssl);
    ERR_clear_error();
    return NULL;
}
