/* tls_sleep.c: see tls_sleep.h.
 *
 * Places for objects are two pages each, in one range of addresses that is reserved at the start and used
 * from its front, where it is made writable by and by: where the system promises no memory that it does not
 * have (vm.overcommit_memory = 2), or a limit on data is set, what is writable counts as used. A place that
 * is given back keeps its pages if few such are there: handshakes that come and go cost no page faults.
 * OpenSSL's other memory is malloc's; the flag `making` says which allocation is the SSL.
 *
 * The lock is held for a list operation, twice per connection. Threads: any; an object's place is its
 * owner's.
 *
 * Rejected: places for all that a connection has (small pieces, of which some belong to OpenSSL as a whole,
 * as caches that are filled during a handshake); compressing (a word is zero or it looks random); letting go
 * of pages without a copy (no page of an SSL is without use); records of our own with keys taken out of
 * OpenSSL, which would need no SSL at all, but be a second implementation of what must not be wrong. */
#include "core/tls_sleep.h"

#include <openssl/crypto.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/lock.h"
#include "core/panic.h"
#include "core/poison.h"

#if POISON_IS_SEEN
#include <sanitizer/lsan_interface.h>
#define PLACES         ((size_t)2048) /* a search for leaks reads them all */
#define IS_ROOT(at, n) __lsan_register_root_region(at, n)
#else
#define PLACES         ((size_t)1 << 20)
#define IS_ROOT(at, n) UNUSED(at)
#endif

#define PAGE_BYTES  4096
#define PLACE_BYTES ((size_t)2 * PAGE_BYTES)
#define PLACE_WORDS (PLACE_BYTES / sizeof(uint64_t))
#define WARM_MAX    256 /* places that wait with their pages */
#define OPEN_PLACES 128 /* made writable at once */
#define NONE        UINT32_MAX

struct tls_image {
    uint32_t bytes;                  /* of this */
    uint64_t used[PLACE_WORDS / 64]; /* a bit per word that is not zero */
    uint64_t words[];
};

static struct {
    /* set once */
    char *base; /* NULL: nothing sleeps */
    /* under lock */
    struct lock lock;
    uint32_t *next; /* of each place in a list, the one behind it */
    uint32_t warm, cold, warm_count;
    uint32_t fresh; /* from here on none was ever used */
    uint32_t open;  /* from here on none can be */
} places;

static _Thread_local bool making;

/* ---- places ---- */

static bool is_place(const void *p)
{
    return (uintptr_t)p - (uintptr_t)places.base < PLACES * PLACE_BYTES;
}

static uint32_t pop(uint32_t *list)
{
    const uint32_t i = *list;
    if (i != NONE)
        *list = places.next[i];
    return i;
}

static void push(uint32_t *list, uint32_t i)
{
    places.next[i] = *list;
    *list = i;
}

/* A place that was never used; NONE: all are, or the system has no memory for more. */
static uint32_t place_open(void)
{
    if (places.fresh == PLACES)
        return NONE;
    if (places.fresh == places.open) {
        char *at = places.base + places.open * PLACE_BYTES;
        if (mprotect(at, OPEN_PLACES * PLACE_BYTES, PROT_READ | PROT_WRITE) != 0)
            return NONE;
        places.open += OPEN_PLACES;
    }
    return places.fresh++;
}

/* NULL when there is none. */
static void *place_take(void)
{
    lock_take(&places.lock);
    uint32_t i = pop(&places.warm);
    if (i != NONE)
        places.warm_count--;
    else
        i = pop(&places.cold);
    if (i == NONE)
        i = place_open();
    lock_drop(&places.lock);
    if (i == NONE)
        return NULL;
    char *at = places.base + i * PLACE_BYTES;
    unpoison(at, PLACE_BYTES);
    return at;
}

static void place_give(char *at)
{
    const uint32_t i = (uint32_t)((size_t)(at - places.base) / PLACE_BYTES);
    ASSERT(places.base + i * PLACE_BYTES == at);
    poison(at, PLACE_BYTES);
    lock_take(&places.lock);
    const bool stays = places.warm_count < WARM_MAX;
    if (stays) {
        push(&places.warm, i);
        places.warm_count++;
    }
    lock_drop(&places.lock);
    if (stays)
        return;
    madvise(at, PLACE_BYTES, MADV_DONTNEED);
    lock_take(&places.lock);
    push(&places.cold, i);
    lock_drop(&places.lock);
}

/* ---- OpenSSL's allocator ---- */

/* Of what SSL_new makes, the SSL is the only piece beyond a page, and the first. */
static void *on_malloc(size_t n, const char *file, int line)
{
    UNUSED(file);
    UNUSED(line);
    if (UNLIKELY(n > PAGE_BYTES) && making && n <= PLACE_BYTES) {
        making = false;
        void *at = place_take();
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
    if (UNLIKELY(is_place(p)))
        place_give(p);
    else
        free(p);
}

static void *on_realloc(void *p, size_t n, const char *file, int line)
{
    ASSERT(!is_place(p)); /* an SSL keeps its size */
    if (n > 0)
        return realloc(p, n);
    on_free(p, file, line);
    return NULL;
}

void tls_sleep_init(void)
{
    ASSERT(places.base == NULL);
    if (sysconf(_SC_PAGESIZE) != PAGE_BYTES)
        return;
    const size_t bytes = PLACES * PLACE_BYTES, list_bytes = PLACES * sizeof *places.next;
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    char *at = mmap(NULL, bytes + list_bytes, PROT_NONE, flags, -1, 0);
    if (at == MAP_FAILED)
        return;
    if (mprotect(at + bytes, list_bytes, PROT_READ | PROT_WRITE) != 0) {
        munmap(at, bytes + list_bytes);
        return;
    }
    madvise(at, bytes, MADV_NOHUGEPAGE);
    lock_init(&places.lock, LOCK_TLS_PLACES);
    places.next = (uint32_t *)(void *)(at + bytes);
    places.warm = places.cold = NONE;
    if (CRYPTO_set_mem_functions(on_malloc, on_realloc, on_free) != 1) {
        munmap(at, bytes + list_bytes);
        return;
    }
    IS_ROOT(at, bytes);
    places.base = at;
}

/* ---- sleep ---- */

SSL *tls_sleep_new(SSL_CTX *context)
{
    making = places.base != NULL;
    SSL *ssl = SSL_new(context);
    making = false;
    return ssl;
}

static struct tls_image *image_take(const uint64_t *words)
{
    size_t count = 0;
    for (size_t i = 0; i < PLACE_WORDS; i++)
        count += words[i] != 0;
    const size_t bytes = sizeof(struct tls_image) + count * sizeof *words;
    struct tls_image *m = bytes < PLACE_BYTES / 2 ? calloc(1, bytes) : NULL;
    if (m == NULL)
        return NULL;
    m->bytes = (uint32_t)bytes;
    uint64_t *to = m->words;
    for (size_t i = 0; i < PLACE_WORDS; i++) {
        if (words[i] == 0)
            continue;
        m->used[i / 64] |= (uint64_t)1 << i % 64;
        *to++ = words[i];
    }
    return m;
}

/* Into zeroed pages. */
static void image_put(const struct tls_image *m, uint64_t *words)
{
    const uint64_t *from = m->words;
    for (size_t i = 0; i < ARRAY_LEN(m->used); i++) {
        for (uint64_t bits = m->used[i]; bits != 0; bits &= bits - 1)
            words[i * 64 + (size_t)__builtin_ctzll(bits)] = *from++;
    }
}

struct tls_image *tls_sleep_begin(SSL *ssl)
{
    uint64_t *words = (uint64_t *)(void *)ssl;
    if (places.base == NULL || !is_place(ssl))
        return NULL;
    struct tls_image *m = image_take(words);
    if (m == NULL)
        return NULL;
    if (madvise(words, PLACE_BYTES, MADV_DONTNEED) != 0) { /* locked: the pages are as they were */
        OPENSSL_cleanse(m, m->bytes);
        free(m);
        return NULL;
    }
    poison(words, PLACE_BYTES);
    return m;
}

/* The image has keys in it. */
void tls_sleep_end(SSL *ssl, struct tls_image **image)
{
    struct tls_image *m = *image;
    *image = NULL;
    unpoison(ssl, PLACE_BYTES);
#ifdef MADV_POPULATE_WRITE /* Linux 5.14: both pages at once is cheaper than two faults */
    madvise(ssl, PLACE_BYTES, MADV_POPULATE_WRITE);
#endif
    image_put(m, (uint64_t *)(void *)ssl);
    OPENSSL_cleanse(m, m->bytes);
    free(m);
}
