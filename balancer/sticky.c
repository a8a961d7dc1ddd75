/* sticky.c: see sticky.h. */
#include "balancer/sticky.h"

#include <errno.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>

#include "core/hash.h"
#include "core/log.h"
#include "core/panic.h"
#include "core/secret_file.h"

static void sticky_hex(const uint8_t *bytes, size_t count, char *out)
{
    for (size_t i = 0; i < count; i++)
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

static bool sticky_unhex(const char *text, uint8_t out[STICKY_KEY_BYTES])
{
    for (size_t i = 0; i < STICKY_KEY_BYTES; i++) {
        uint64_t byte;
        if (!slice_hex_to_u64(slice_make(text + 2 * i, 2), &byte))
            return false;
        out[i] = (uint8_t)byte;
    }
    return true;
}

void sticky_key_obtain(struct sticky_key *k, const char *state_dir)
{
    char path[PATH_MAX], text[2 * STICKY_KEY_BYTES + 1];
    if (k->known)
        return;
    k->known = true;
    bool fits = snprintf(path, sizeof path, "%s/" STICKY_KEY_FILE, state_dir) < (int)sizeof path;
    if (fits && secret_file_read(path, text, sizeof text) == sizeof text - 1 && sticky_unhex(text, k->bytes))
        return;
    hash_random(k->bytes, sizeof k->bytes);
    sticky_hex(k->bytes, sizeof k->bytes, text);
    if (fits && secret_file_write(path, text))
        log_info("made a key for sticky cookies, kept in %s", path);
    else
        log_warn("the key for sticky cookies cannot be kept in %s (%s): visitors may get another instance "
                 "after a restart",
                 state_dir, fits ? strerror(errno) : "its name is too long");
    explicit_bzero(text, sizeof text);
}

bool sticky_value(const struct sticky_key *k, const char *pool, const char *server,
                  char out[STICKY_CHARS + 1])
{
    uint8_t mac[EVP_MAX_MD_SIZE], names[512];
    size_t pool_bytes = strlen(pool) + 1, server_bytes = strlen(server);
    ASSERT(k->known);
    if (pool_bytes + server_bytes > sizeof names)
        return false;
    memcpy(names, pool, pool_bytes); /* with its NUL: no two pairs of names are the same bytes */
    memcpy(names + pool_bytes, server, server_bytes);
    if (HMAC(EVP_sha256(), k->bytes, sizeof k->bytes, names, pool_bytes + server_bytes, mac, NULL) == NULL)
        return false;
    sticky_hex(mac, STICKY_CHARS / 2, out);
    return true;
}

bool sticky_values_equal(const char *a, const char *b)
{
    return CRYPTO_memcmp(a, b, STICKY_CHARS) == 0;
}
