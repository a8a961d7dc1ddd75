/* auth_memory.c: see auth_memory.h. */
#include "proxy/auth_memory.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <pthread.h>
#include <string.h>

#include "core/basic_auth.h"
#include "core/hash.h"
#include "core/htpasswd.h"

static uint8_t process_key[AUTH_TAG_BYTES];
static pthread_once_t key_once = PTHREAD_ONCE_INIT;

static void draw_key(void)
{
    hash_random(process_key, sizeof process_key);
}

static size_t put(uint8_t *to, const void *from, size_t n)
{
    memcpy(to, from, n);
    to[n] = 0;
    return n + 1;
}

bool auth_memory_tag(const char *hash, const char *user, size_t user_bytes, const char *password,
                     uint8_t tag[AUTH_TAG_BYTES])
{
    uint8_t all[HTPASSWD_HASH_MAX + 1 + BASIC_AUTH_BYTES];
    unsigned len = 0;
    pthread_once(&key_once, draw_key);
    size_t n = put(all, hash, strlen(hash));
    n += put(all + n, user, user_bytes);
    n += put(all + n, password, strlen(password));
    const bool made = HMAC(EVP_sha256(), process_key, sizeof process_key, all, n, tag, &len) != NULL;
    OPENSSL_cleanse(all, sizeof all);
    return made && len == AUTH_TAG_BYTES;
}

static struct auth_memory_place *set_of(struct auth_memory *m, const uint8_t tag[AUTH_TAG_BYTES])
{
    return m->places[tag[0] & (AUTH_MEMORY_SETS - 1)];
}

bool auth_memory_has(struct auth_memory *m, const uint8_t tag[AUTH_TAG_BYTES], mono_ms_t now_ms)
{
    struct auth_memory_place *set = set_of(m, tag);
    for (size_t i = 0; i < AUTH_MEMORY_PLACES; i++) {
        if (set[i].until_ms <= now_ms || CRYPTO_memcmp(set[i].tag, tag, AUTH_TAG_BYTES) != 0)
            continue;
        set[i].until_ms = now_ms + AUTH_MEMORY_MS;
        return true;
    }
    return false;
}

void auth_memory_keep(struct auth_memory *m, const uint8_t tag[AUTH_TAG_BYTES], mono_ms_t now_ms)
{
    struct auth_memory_place *set = set_of(m, tag), *oldest = set;
    if (auth_memory_has(m, tag, now_ms))
        return;
    for (size_t i = 1; i < AUTH_MEMORY_PLACES; i++) {
        if (set[i].until_ms < oldest->until_ms)
            oldest = &set[i];
    }
    memcpy(oldest->tag, tag, AUTH_TAG_BYTES);
    oldest->until_ms = now_ms + AUTH_MEMORY_MS;
}
