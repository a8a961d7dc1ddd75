/* tls_tickets.c: see tls_tickets.h. The lock is held for a copy of 80 bytes, once per handshake, which costs
 * a thousand times as much. Rejected: OpenSSL's own tickets, whose one key per context never changes and is
 * another after each reload; and a cache of sessions, which is memory and a lock for what tickets do without.
 */
#include "core/tls_tickets.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <string.h>

#define TICKET_SECONDS (2 * TLS_TICKETS_PERIOD_MS / 1000)

static bool key_make(struct tls_ticket_key *k)
{
    return RAND_bytes(k->name, sizeof k->name) == 1 && RAND_priv_bytes(k->cipher, sizeof k->cipher) == 1 &&
           RAND_priv_bytes(k->mac, sizeof k->mac) == 1;
}

bool tls_tickets_init(struct tls_tickets *t)
{
    *t = (struct tls_tickets){.count = 1};
    lock_init(&t->lock, LOCK_TICKETS);
    if (key_make(&t->keys[0]))
        return true;
    tls_tickets_destroy(t);
    return false;
}

void tls_tickets_destroy(struct tls_tickets *t)
{
    lock_destroy(&t->lock);
    OPENSSL_cleanse(t->keys, sizeof t->keys);
    t->count = 0;
}

void tls_tickets_rotate(struct tls_tickets *t)
{
    struct tls_ticket_key fresh;
    if (!key_make(&fresh))
        return;
    lock_take(&t->lock);
    memmove(t->keys + 1, t->keys, sizeof t->keys - sizeof t->keys[0]);
    t->keys[0] = fresh;
    t->count = MIN(t->count + 1, TLS_TICKETS_KEYS);
    lock_drop(&t->lock);
    OPENSSL_cleanse(&fresh, sizeof fresh);
}

/* The place of the key of that name, or -1; NULL is the newest. */
static int key_find(struct tls_tickets *t, const unsigned char *name, struct tls_ticket_key *out)
{
    int found = -1;
    lock_take(&t->lock);
    for (unsigned i = 0; found < 0 && i < t->count; i++) {
        if (name != NULL && memcmp(t->keys[i].name, name, sizeof t->keys[i].name) != 0)
            continue;
        *out = t->keys[i];
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

/* OpenSSL's contract: 1 go on, 2 go on and give out a new ticket, 0 the ticket is unknown, -1 failure. */
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
    return !ok ? -1 : place > 0 ? 2 : 1;
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
