/* tls_sleep.c: see tls_sleep.h.
 *
 * OpenSSL's other memory is malloc's; the flag `making` says which allocation is the SSL.
 *
 * Rejected: places for all that a connection has (small pieces, of which some belong to OpenSSL as a whole,
 * as caches that are filled during a handshake); letting go of pages without a copy (no page of an SSL is
 * without use); records of our own with keys taken out of OpenSSL, which would need no SSL at all, but be a
 * second implementation of what must not be wrong. */
#include "core/tls_sleep.h"

#include <openssl/crypto.h>
#include <openssl/ssl.h>
#include <stdlib.h>

#include "core/page_places.h"
#include "core/panic.h"

#define PLACE_PAGES 2
#define PLACE_BYTES ((size_t)PLACE_PAGES * PAGE_BYTES)
#define PLACES      (1u << 20)
#define WARM_MAX    256 /* handshakes that come and go */

static struct page_places places;
static _Thread_local bool making;

/* ---- OpenSSL's allocator ---- */

/* Of what SSL_new makes, the SSL is the only piece beyond a page, and the first. */
static void *on_malloc(size_t n, const char *file, int line)
{
    UNUSED(file);
    UNUSED(line);
    if (UNLIKELY(n > PAGE_BYTES) && making && n <= PLACE_BYTES) {
        making = false;
        void *at = page_places_take(&places);
        if (at != NULL)
            return at;
    }
    return n > 0 ? malloc(n) : NULL;
}

/* Mostly nothing at all: ERR_clear_error frees sixteen times what is not there. */
static void on_free(void *p, const char *file, int line)
{
    UNUSED(file);
    UNUSED(line);
    if (p == NULL)
        return;
    if (UNLIKELY(page_places_has(&places, p)))
        page_places_give(&places, p);
    else
        free(p);
}

static void *on_realloc(void *p, size_t n, const char *file, int line)
{
    ASSERT(!page_places_has(&places, p)); /* an SSL keeps its size */
    if (n > 0)
        return realloc(p, n);
    on_free(p, file, line);
    return NULL;
}

void tls_sleep_init(void)
{
    if (page_places_init(&places, PLACE_PAGES, PLACES, WARM_MAX) &&
        CRYPTO_set_mem_functions(on_malloc, on_realloc, on_free) != 1)
        places = (struct page_places){0};
}

/* ---- sleep ---- */

SSL *tls_sleep_new(SSL_CTX *context)
{
    making = places.base != NULL;
    SSL *ssl = SSL_new(context);
    making = false;
    return ssl;
}

struct page_image *tls_sleep_begin(SSL *ssl)
{
    return page_places_has(&places, ssl) ? page_places_sleep(&places, ssl, PLACE_BYTES) : NULL;
}

void tls_sleep_end(SSL *ssl, struct page_image **image)
{
    page_places_wake(&places, ssl, image);
}
