/* apr1.c: see apr1.h. */
#include "core/apr1.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <string.h>

#include "core/slice.h"
#include "core/text.h"

#define MD5_BYTES 16
#define ROUNDS    1000

/* One digest after the other; what fails stays failed. */
struct md5 {
    EVP_MD_CTX *ctx;
    bool ok;
};

static void begin(struct md5 *m)
{
    m->ok = m->ok && EVP_DigestInit_ex(m->ctx, EVP_md5(), NULL) == 1;
}

static void add(struct md5 *m, const void *data, size_t n)
{
    m->ok = m->ok && EVP_DigestUpdate(m->ctx, data, n) == 1;
}

static void add_slice(struct md5 *m, slice_t s)
{
    add(m, s.ptr, s.len);
}

static void end(struct md5 *m, uint8_t out[MD5_BYTES])
{
    m->ok = m->ok && EVP_DigestFinal_ex(m->ctx, out, NULL) == 1;
}

static void make_first(struct md5 *m, slice_t password, slice_t salt, uint8_t out[MD5_BYTES])
{
    begin(m);
    add_slice(m, password);
    add_slice(m, salt);
    add_slice(m, password);
    end(m, out);
    begin(m);
    add_slice(m, password);
    add(m, APR1_MAGIC, sizeof APR1_MAGIC - 1);
    add_slice(m, salt);
    for (size_t left = password.len; left > 0; left -= MIN(left, (size_t)MD5_BYTES))
        add(m, out, MIN(left, (size_t)MD5_BYTES));
    for (size_t bits = password.len; bits > 0; bits >>= 1)
        add(m, bits & 1 ? "" : password.ptr, 1);
    end(m, out);
}

static void make_round(struct md5 *m, unsigned i, slice_t password, slice_t salt, uint8_t value[MD5_BYTES])
{
    const slice_t before = slice_make((const char *)value, MD5_BYTES);
    begin(m);
    add_slice(m, i & 1 ? password : before);
    if (i % 3 != 0)
        add_slice(m, salt);
    if (i % 7 != 0)
        add_slice(m, password);
    add_slice(m, i & 1 ? before : password);
    end(m, value);
}

static void put_value(struct text *t, uint32_t value, unsigned digits)
{
    static const char alphabet[] = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    for (; digits > 0; digits--, value >>= 6)
        text_put_char(t, alphabet[value & 63]);
}

bool apr1_hash(const char *password, const char *setting, char out[APR1_HASH_BYTES])
{
    const char *salt_at = setting + sizeof APR1_MAGIC - 1;
    const slice_t word = slice_str(password),
                  salt = slice_make(salt_at, MIN(strcspn(salt_at, "$"), (size_t)APR1_SALT_MAX));
    uint8_t v[MD5_BYTES] = {0};
    struct md5 m = {.ctx = EVP_MD_CTX_new()};
    m.ok = m.ctx != NULL;
    make_first(&m, word, salt, v);
    for (unsigned i = 0; m.ok && i < ROUNDS; i++)
        make_round(&m, i, word, salt, v);
    EVP_MD_CTX_free(m.ctx);
    struct text t = text_make(out, APR1_HASH_BYTES - 1);
    TEXT_LIT(&t, APR1_MAGIC);
    text_put(&t, salt);
    TEXT_LIT(&t, "$");
    for (unsigned i = 0; i < 5; i++) /* the order is that of the original */
        put_value(&t, (uint32_t)v[i] << 16 | (uint32_t)v[i + 6] << 8 | v[i == 4 ? 5 : i + 12], 4);
    put_value(&t, v[11], 2);
    *t.at = '\0';
    OPENSSL_cleanse(v, sizeof v);
    return m.ok;
}
