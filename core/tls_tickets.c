/* tls_tickets.c: see tls_tickets.h. The lock is held for a copy of 80 bytes, once per handshake, which costs
 * a thousand times as much. Rejected: OpenSSL's own tickets, whose one key per context never changes and is
 * another after each reload; and a cache of sessions, which is memory and a lock for what tickets do without.
 */
#include "core/tls_tickets.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>

#define TICKET_SECONDS (2 * TLS_TICKETS_PERIOD_MS / 1000)

static bool key_make(struct tls_ticket_key *k)
{
    return RAND_bytes(k->name, sizeof k->name) == 1 && RAND_priv_bytes(k->cipher, sizeof k->cipher) == 1 &&
           RAND_priv_bytes(k->mac, sizeof k->mac) == 1;
}

bool tls_tickets_init(struct tls_tickets *t)
{
    *t = (struct tls_tickets){.keys = {.count = 1}};
    lock_init(&t->lock, LOCK_TICKETS);
    if (key_make(&t->keys.items[0]))
        return true;
    tls_tickets_destroy(t);
    return false;
}

void tls_tickets_destroy(struct tls_tickets *t)
{
    lock_destroy(&t->lock);
    OPENSSL_cleanse(&t->keys, sizeof t->keys);
}

void tls_tickets_rotate(struct tls_tickets *t)
{
    struct tls_ticket_key fresh;
    if (!key_make(&fresh))
        return;
    lock_take(&t->lock);
    struct tls_ticket_keys *k = &t->keys;
    k->count = MIN(k->count + 1, TLS_TICKETS_OWN);
    memmove(k->items + 1, k->items, (k->count - 1) * sizeof k->items[0]);
    k->items[0] = fresh;
    OPENSSL_cleanse(k->items + k->count, (TLS_TICKETS_KEYS - k->count) * sizeof k->items[0]);
    lock_drop(&t->lock);
    OPENSSL_cleanse(&fresh, sizeof fresh);
}

void tls_tickets_get(struct tls_tickets *t, struct tls_ticket_keys *out)
{
    lock_take(&t->lock);
    *out = t->keys;
    lock_drop(&t->lock);
}

void tls_tickets_set(struct tls_tickets *t, const struct tls_ticket_keys *k)
{
    lock_take(&t->lock);
    t->keys = *k;
    lock_drop(&t->lock);
}

/* ---- files ---- */

#define LINE_BYTES 108 /* 80 bytes in base64, of which the last is a '=' */

/* NULL, or what is wrong with the line. */
static const char *key_parse(struct tls_ticket_key *k, const char *line, size_t bytes)
{
    unsigned char raw[LINE_BYTES / 4 * 3 + 1];
    _Static_assert(sizeof *k == LINE_BYTES / 4 * 3 - 1, "no gaps");
    if (bytes != LINE_BYTES || line[LINE_BYTES - 1] != '=' || line[LINE_BYTES - 2] == '=' ||
        EVP_DecodeBlock(raw, (const unsigned char *)line, LINE_BYTES) != LINE_BYTES / 4 * 3)
        return "is no key of 80 bytes in base64; write what `openssl rand 80 | openssl base64 -A` prints";
    memcpy(k, raw, sizeof *k);
    OPENSSL_cleanse(raw, sizeof raw);
    return NULL;
}

static const char *keys_take(struct tls_ticket_keys *k, const char *line, size_t bytes)
{
    if (k->count == TLS_TICKETS_KEYS)
        return "is one key too many; leave 8 of them";
    const char *why = key_parse(&k->items[k->count], line, bytes);
    for (unsigned i = 0; why == NULL && i < k->count; i++) {
        if (memcmp(k->items[i].name, k->items[k->count].name, sizeof k->items[i].name) == 0)
            why = "begins as another key does, so tickets could not tell them apart; draw a new one";
    }
    k->count += why == NULL;
    return why;
}

bool tls_ticket_keys_read(struct tls_ticket_keys *k, const char *path, char *err, size_t err_bytes)
{
    char line[512];
    unsigned number = 0;
    const char *why = NULL;
    FILE *f = fopen(path, "re");
    *k = (struct tls_ticket_keys){.count = 0};
    if (f == NULL) {
        snprintf(err, err_bytes, "%s cannot be read: %s; name a file that can", path, strerror(errno));
        return false;
    }
    while (why == NULL && fgets(line, sizeof line, f) != NULL) {
        size_t bytes = strcspn(line, " \t\r\n");
        number++;
        if (bytes > 0 && line[0] != '#')
            why = keys_take(k, line, bytes);
    }
    fclose(f);
    OPENSSL_cleanse(line, sizeof line);
    if (why != NULL)
        snprintf(err, err_bytes, "line %u of %s %s", number, path, why);
    else if (k->count == 0)
        snprintf(err, err_bytes, "%s has no key; write one by `openssl rand 80 | openssl base64 -A`", path);
    if (why == NULL && k->count > 0)
        return true;
    OPENSSL_cleanse(k, sizeof *k);
    return false;
}

/* ---- use ---- */

/* The place of the key of that name, or -1; NULL is the newest. */
static int key_find(struct tls_tickets *t, const unsigned char *name, struct tls_ticket_key *out)
{
    int found = -1;
    lock_take(&t->lock);
    for (unsigned i = 0; found < 0 && i < t->keys.count; i++) {
        if (name != NULL && memcmp(t->keys.items[i].name, name, sizeof t->keys.items[i].name) != 0)
            continue;
        *out = t->keys.items[i];
        found = (int)i;
    }
    lock_drop(&t->lock);
    return found;
}

static int ticket_index;

static bool mac_begin(EVP_MAC_CTX *mac, struct tls_ticket_key *k)
{
    char digest[] = "SHA256";
    const OSSL_PARAM params[] = {OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, k->mac, sizeof k->mac),
                                 OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
                                 OSSL_PARAM_construct_end()};
    return EVP_MAC_CTX_set_params(mac, params) == 1;
}

/* OpenSSL's contract: 1 go on, 2 go on and give out a new ticket, 0 the ticket is unknown, -1 failure. By
 * TLS 1.3 a client uses a ticket once (RFC 8446 C.4), so without a new one it could resume every other time
 * only. */
static int ticket_on_use(SSL *s, unsigned char name[16], unsigned char *iv, EVP_CIPHER_CTX *cipher,
                         EVP_MAC_CTX *mac, int sealing)
{
    struct tls_tickets *t = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(s), ticket_index);
    struct tls_ticket_key k;
    int place = key_find(t, sealing ? NULL : name, &k);
    if (place < 0)
        return 0;
    bool ok = true;
    if (sealing) {
        memcpy(name, k.name, sizeof k.name);
        ok = RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) == 1 &&
             EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, k.cipher, iv) == 1;
    } else {
        ok = EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, k.cipher, iv) == 1;
    }
    ok = ok && mac_begin(mac, &k);
    OPENSSL_cleanse(&k, sizeof k);
    return !ok ? -1 : place > 0 || (!sealing && SSL_version(s) >= TLS1_3_VERSION) ? 2 : 1;
}

static void ticket_index_make(void)
{
    ticket_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, NULL);
}

bool tls_tickets_use(struct tls_tickets *t, struct ssl_ctx_st *tls)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, ticket_index_make);
    SSL_CTX_set_session_cache_mode(tls, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_timeout(tls, TICKET_SECONDS);
    return ticket_index >= 0 && SSL_CTX_set_ex_data(tls, ticket_index, t) == 1 &&
           SSL_CTX_set_tlsext_ticket_key_evp_cb(tls, ticket_on_use) == 1;
}
