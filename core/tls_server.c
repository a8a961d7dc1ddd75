/* tls_server.c: see tls_server.h.
 *
 * One SSL_CTX per choice of certificates; a connection begins with that of the first choice, and the name
 * that the client asks for moves it to another before a certificate is sent. What is not about certificates
 * is the same in all of them. Rejected: setting the certificates per connection, which costs each handshake
 * what this costs once. */
#include "core/tls_server.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/panic.h"
#include "core/tls_file.h"

#define NAMES_SHOWN_BYTES 1024

static const char intermediate_ciphers[] =
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";
static const char intermediate_suites[] =
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
static const char intermediate_groups[] = "X25519:P-256:P-384";

/* ---- contexts ---- */

/* SNI. OpenSSL asks before it looks for a certificate. */
static int context_on_name(SSL *ssl, int *alert, void *arg)
{
    const struct tls_server *s = arg;
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    UNUSED(alert);
    if (name == NULL)
        return SSL_TLSEXT_ERR_NOACK;
    unsigned choice = tls_names_find(&s->names, slice_str(name));
    if (choice > 0)
        SSL_set_SSL_CTX(ssl, s->contexts[choice]);
    return SSL_TLSEXT_ERR_OK;
}

/* ALPN (RFC 7301). */
static int context_on_protocols(SSL *ssl, const unsigned char **out, unsigned char *out_bytes,
                                const unsigned char *in, unsigned in_bytes, void *arg)
{
    static const unsigned char all[] = "\x02h2\x08http/1.1\x08http/1.0";
    const struct tls_server *s = arg;
    const unsigned char *ours = all + (s->http_2 ? 0 : 3);
    const unsigned bytes = (s->http_2 ? 3 : 0) + (s->http_1 ? 18 : 0);
    unsigned char *chosen;
    UNUSED(ssl);
    if (SSL_select_next_proto(&chosen, out_bytes, ours, bytes, in, in_bytes) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

/* "TLS_..." names are of TLS 1.3 and set apart from the others; where a list has none of one kind, that kind
 * stays as it is. */
static bool context_set_ciphers(SSL_CTX *tls, const char *list)
{
    char *older = calloc(1, 2 * (strlen(list) + 1));
    bool ok = older != NULL;
    char *suites = ok ? older + strlen(list) + 1 : NULL;
    for (const char *p = list; ok && *p != '\0'; p += strspn(p, ": ,")) {
        size_t n = strcspn(p, ": ,");
        char *to = strncmp(p, "TLS_", 4) == 0 ? suites : older;
        if (*to != '\0')
            strcat(to, ":");
        strncat(to, p, n);
        p += n;
    }
    ok = ok && (*older == '\0' || SSL_CTX_set_cipher_list(tls, older) == 1) &&
         (*suites == '\0' || SSL_CTX_set_ciphersuites(tls, suites) == 1);
    free(older);
    return ok;
}

static bool context_set_lists(SSL_CTX *tls, const struct tls_settings *s, struct tls_problem *p)
{
    bool ok = SSL_CTX_set_cipher_list(tls, intermediate_ciphers) == 1 &&
              SSL_CTX_set_ciphersuites(tls, intermediate_suites) == 1 &&
              SSL_CTX_set1_groups_list(tls, intermediate_groups) == 1;
    if (!ok) {
        snprintf(p->text, sizeof p->text, "OpenSSL of this system lacks what every client needs");
        return false;
    }
    if (strcmp(s->ciphers, TLS_INTERMEDIATE) != 0 && !context_set_ciphers(tls, s->ciphers)) {
        p->setting = TLS_SETTING_CIPHERS;
        snprintf(p->text, sizeof p->text,
                 "OpenSSL knows no cipher of \"%.200s\", or misses one of TLS 1.3; write names as `openssl "
                 "ciphers` lists them, with colons between them, or intermediate",
                 s->ciphers);
        return false;
    }
    if (strcmp(s->groups, TLS_INTERMEDIATE) != 0 && SSL_CTX_set1_groups_list(tls, s->groups) != 1) {
        p->setting = TLS_SETTING_GROUPS;
        snprintf(p->text, sizeof p->text,
                 "OpenSSL does not know all groups of \"%.200s\"; write names such as X25519:P-256, or "
                 "intermediate",
                 s->groups);
        return false;
    }
    return true;
}

/* A session says nothing at a listener that other clients may use: whom it knows was asked by other rules. */
static bool context_set_sessions(SSL_CTX *tls, const struct tls_settings *s, const struct tls_authorities *a)
{
    unsigned char id[EVP_MAX_MD_SIZE];
    unsigned bytes;
    const unsigned char verify = (unsigned char)s->verify;
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    bool ok = md != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1 &&
              EVP_DigestUpdate(md, &verify, 1) == 1 &&
              EVP_DigestUpdate(md, a->digest, sizeof a->digest) == 1 &&
              EVP_DigestUpdate(md, s->sessions, strlen(s->sessions)) == 1 &&
              EVP_DigestFinal_ex(md, id, &bytes) == 1 && SSL_CTX_set_session_id_context(tls, id, bytes) == 1;
    EVP_MD_CTX_free(md);
    return ok && tls_tickets_use(s->tickets, tls);
}

/* Reading ahead takes all that the socket has in one call. Without AUTO_RETRY, SSL_read returns when that
 * brought no data, and tls_conn.c counts it. Requests say their own length, so the end of a connection
 * without a close_notify cuts nothing that would not be noticed. */
static SSL_CTX *context_new(struct tls_server *owner, const struct tls_settings *s,
                            const struct tls_authorities *a, struct tls_problem *p)
{
    SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
    snprintf(p->text, sizeof p->text, "TLS cannot be set up: out of memory");
    if (tls == NULL)
        return NULL;
    SSL_CTX_set_options(tls, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_mode(tls, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_clear_mode(tls, SSL_MODE_AUTO_RETRY);
    SSL_CTX_set_read_ahead(tls, 1);
    SSL_CTX_set_alpn_select_cb(tls, context_on_protocols, owner);
    SSL_CTX_set_tlsext_servername_callback(tls, context_on_name);
    SSL_CTX_set_tlsext_servername_arg(tls, owner);
    if (s->ocsp_count > 0)
        tls_staples_use(owner, tls);
    if (SSL_CTX_set_min_proto_version(tls, s->only_1_3 ? TLS1_3_VERSION : TLS1_2_VERSION) == 1 &&
        context_set_sessions(tls, s, a) &&
        (s->verify == TLS_VERIFY_OFF || tls_authorities_use(a, s->verify, tls)) &&
        context_set_lists(tls, s, p))
        return tls;
    SSL_CTX_free(tls);
    return NULL;
}

/* ---- the whole ---- */

static enum tls_key_kind key_kind(const struct tls_identity *id)
{
    switch (EVP_PKEY_get_base_id(id->key)) {
    case EVP_PKEY_RSA:
        return TLS_KEY_RSA;
    case EVP_PKEY_EC:
        return TLS_KEY_EC;
    case EVP_PKEY_ED25519:
        return TLS_KEY_ED25519;
    default:
        return TLS_KEY_OTHER;
    }
}

/* Its names go into the table, and, as far as there is room, into one text. */
static bool server_take_names(struct tls_server *s, const struct tls_identity *id, size_t index)
{
    char name[TLS_NAME_BYTES], shown[NAMES_SHOWN_BYTES] = "";
    for (size_t n = 0; tls_identity_name(id, n, name); n++) {
        if (!tls_names_add(&s->names, name, key_kind(id), (unsigned)index))
            return false;
        size_t used = strlen(shown);
        if (used + strlen(name) + sizeof ", ..." < sizeof shown)
            snprintf(shown + used, sizeof shown - used, "%s%s", used > 0 ? ", " : "", name);
        else if (shown[used - 1] != '.')
            snprintf(shown + used, sizeof shown - used, ", ...");
    }
    s->certificates[index].names = strdup(shown);
    return s->certificates[index].names != NULL;
}

static bool server_take(struct tls_server *s, struct tls_identity *id, const struct tls_pair *pair,
                        size_t index, struct tls_problem *p)
{
    char doubt[600];
    struct tls_certificate *c = &s->certificates[index];
    p->setting = TLS_SETTING_CERTIFICATE;
    p->index = index;
    if (!tls_identity_load(id, pair->certificate, pair->key, p->text, sizeof p->text))
        return false;
    snprintf(p->text, sizeof p->text, "out of memory");
    c->begins_ms = tls_identity_begins_ms(id);
    c->ends_ms = tls_identity_ends_ms(id);
    c->leaf = id->leaf;
    if (tls_identity_doubt(id, pair->certificate, doubt, sizeof doubt) != NULL &&
        (c->doubt = strdup(doubt)) == NULL)
        return false;
    c->file = strdup(pair->certificate);
    return c->file != NULL && server_take_names(s, id, index);
}

static bool server_make_context(struct tls_server *s, const struct tls_identity *ids,
                                const struct tls_authorities *a, const struct tls_settings *settings,
                                size_t choice, struct tls_problem *p)
{
    const struct tls_choice *c = &s->names.choices[choice];
    p->setting = TLS_SETTING_NONE;
    s->contexts[choice] = context_new(s, settings, a, p);
    bool ok = s->contexts[choice] != NULL;
    for (unsigned k = 0; ok && k < TLS_KEY_KINDS; k++) {
        if (c->by_kind[k] < 0)
            continue;
        p->setting = TLS_SETTING_CERTIFICATE;
        p->index = (size_t)c->by_kind[k];
        ok = tls_identity_use(&ids[p->index], s->contexts[choice], settings->pairs[p->index].certificate,
                              p->text, sizeof p->text);
    }
    return ok;
}

static bool server_take_staples(struct tls_server *s, const struct tls_identity *ids,
                                const struct tls_settings *settings)
{
    if (settings->ocsp_count == 0)
        return true;
    s->staples = calloc(settings->ocsp_count, sizeof *s->staples);
    bool ok = s->staples != NULL;
    for (size_t i = 0; ok && i < settings->ocsp_count; i++, s->staple_count++)
        ok = tls_staple_load(&s->staples[i], settings->ocsp[i], ids, settings->pair_count, clock_wall_ms());
    return ok;
}

static bool server_make(struct tls_server *s, struct tls_identity *ids, const struct tls_authorities *a,
                        const struct tls_settings *settings, struct tls_problem *p)
{
    s->certificates = calloc(settings->pair_count, sizeof *s->certificates);
    if (s->certificates == NULL)
        return false;
    s->certificate_count = settings->pair_count;
    for (size_t i = 0; i < settings->pair_count; i++) {
        if (!server_take(s, &ids[i], &settings->pairs[i], i, p))
            return false;
    }
    if (!server_take_staples(s, ids, settings) || !tls_names_finish(&s->names, key_kind(&ids[0])))
        return false;
    s->contexts = calloc(s->names.choice_count, sizeof(struct ssl_ctx_st *));
    if (s->contexts == NULL)
        return false;
    for (size_t i = 0; i < s->names.choice_count; i++) {
        if (!server_make_context(s, ids, a, settings, i, p))
            return false;
    }
    return true;
}

static void server_free(struct tls_server *s)
{
    for (size_t i = 0; s->contexts != NULL && i < s->names.choice_count; i++)
        SSL_CTX_free(s->contexts[i]);
    free(s->contexts);
    tls_names_free(&s->names);
    for (size_t i = 0; i < s->certificate_count; i++) {
        free(s->certificates[i].file);
        free(s->certificates[i].names);
        free(s->certificates[i].doubt);
    }
    free(s->certificates);
    for (size_t i = 0; i < s->staple_count; i++)
        tls_staple_free(&s->staples[i]);
    free(s->staples);
    free(s);
}

/* Whom clients are asked for; nothing when they are not. */
static bool authorities_take(struct tls_server *s, struct tls_authorities *a,
                             const struct tls_settings *settings, struct tls_problem *p)
{
    s->verify = settings->verify;
    if (s->verify == TLS_VERIFY_OFF)
        return true;
    p->setting = TLS_SETTING_CLIENT_CA;
    return tls_authorities_load(a, settings->client_ca, p->text, sizeof p->text);
}

struct tls_server *tls_server_new(const struct tls_settings *settings, struct tls_problem *problem)
{
    ASSERT(settings->pair_count > 0);
    *problem = (struct tls_problem){.text = "out of memory"};
    struct tls_server *s = calloc(1, sizeof *s);
    struct tls_identity *ids = calloc(settings->pair_count, sizeof *ids);
    if (s != NULL) {
        s->http_1 = !settings->no_http_1;
        s->http_2 = settings->http_2;
    }
    struct tls_authorities a = {.store = NULL};
    bool ok = s != NULL && ids != NULL && authorities_take(s, &a, settings, problem) &&
              server_make(s, ids, &a, settings, problem);
    tls_authorities_free(&a);
    for (size_t i = 0; ids != NULL && i < settings->pair_count; i++)
        tls_identity_free(&ids[i]);
    free(ids);
    if (ok) {
        atomic_init(&s->refs, 1);
        *problem = (struct tls_problem){.text = ""};
        return s;
    }
    if (s != NULL)
        server_free(s);
    return NULL;
}

struct tls_server *tls_server_ref(struct tls_server *s)
{
    uint32_t before = atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    ASSERT(before > 0);
    return s;
}

void tls_server_unref(struct tls_server *s)
{
    if (s != NULL && atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) == 1)
        server_free(s);
}
