/* digest.c: see digest.h. A block of our own around OpenSSL's context keeps its headers and its return codes
 * here. */
#include "core/digest.h"

#include <openssl/evp.h>
#include <stdlib.h>

struct digest {
    EVP_MD_CTX *ctx;
    bool failed;
};

static struct digest *digest_make(const struct digest *of)
{
    struct digest *d = malloc(sizeof *d);
    if (d == NULL)
        return NULL;
    *d = (struct digest){.ctx = EVP_MD_CTX_new(), .failed = of != NULL && of->failed};
    bool made = d->ctx != NULL && (of == NULL ? EVP_DigestInit_ex(d->ctx, EVP_sha256(), NULL)
                                              : EVP_MD_CTX_copy_ex(d->ctx, of->ctx)) == 1;
    if (!made)
        digest_free(&d);
    return d;
}

struct digest *digest_new(void)
{
    return digest_make(NULL);
}

struct digest *digest_copy(const struct digest *d)
{
    return digest_make(d);
}

void digest_free(struct digest **dp)
{
    struct digest *d = *dp;
    *dp = NULL;
    if (d == NULL)
        return;
    EVP_MD_CTX_free(d->ctx);
    free(d);
}

void digest_add(struct digest *d, const void *data, size_t n)
{
    if (EVP_DigestUpdate(d->ctx, data, n) != 1)
        d->failed = true;
}

bool digest_end(struct digest **dp, uint8_t value[DIGEST_BYTES])
{
    bool good = *dp != NULL && !(*dp)->failed && EVP_DigestFinal_ex((*dp)->ctx, value, NULL) == 1;
    digest_free(dp);
    return good;
}
