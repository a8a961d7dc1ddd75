/* page_places.c: see page_places.h.
 *
 * The range is made writable by and by: where the system promises no memory that it does not have
 * (vm.overcommit_memory = 2), or a limit on data is set, what is writable counts as used. The lock is held
 * for a list operation, twice per object.
 *
 * Rejected: compressing (a word is zero or it looks random). */
#include "core/page_places.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/panic.h"
#include "core/poison.h"

#if POISON_IS_SEEN
#include <sanitizer/lsan_interface.h>
#define PLACES_MOST    2048 /* a search for leaks reads them all */
#define IS_ROOT(at, n) __lsan_register_root_region(at, n)
#else
#define PLACES_MOST    UINT32_MAX
#define IS_ROOT(at, n) UNUSED(at)
#endif

#define OPEN_BYTES (1 * MB) /* made writable at once */
#define NONE       UINT32_MAX

struct page_image {
    uint32_t bytes;  /* of this */
    uint32_t words;  /* of the place that are kept */
    uint64_t data[]; /* a bit per word, whether it is not zero; then the words that are not */
};

static uint32_t marks_of(uint32_t words)
{
    return (words + 63) / 64;
}

/* ---- places ---- */

bool page_places_init(struct page_places *p, unsigned pages, uint32_t count, uint32_t warm_max)
{
    ASSERT(p->base == NULL);
    count = MIN(count, PLACES_MOST);
    const size_t place_bytes = (size_t)pages * PAGE_BYTES, bytes = count * place_bytes;
    const size_t list_bytes = count * sizeof *p->next;
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    if (sysconf(_SC_PAGESIZE) != PAGE_BYTES)
        return false;
    char *at = mmap(NULL, bytes + list_bytes, PROT_NONE, flags, -1, 0);
    if (at == MAP_FAILED)
        return false;
    if (mprotect(at + bytes, list_bytes, PROT_READ | PROT_WRITE) != 0) {
        munmap(at, bytes + list_bytes);
        return false;
    }
    madvise(at, bytes, MADV_NOHUGEPAGE);
    IS_ROOT(at, bytes);
    *p = (struct page_places){.base = at,
                              .place_bytes = place_bytes,
                              .bytes = bytes,
                              .count = count,
                              .warm_max = warm_max,
                              .next = (uint32_t *)(void *)(at + bytes),
                              .warm = NONE,
                              .cold = NONE};
    lock_init(&p->lock, LOCK_PAGE_PLACES);
    return true;
}

static uint32_t pop(struct page_places *p, uint32_t *list)
{
    const uint32_t i = *list;
    if (i != NONE)
        *list = p->next[i];
    return i;
}

static void push(struct page_places *p, uint32_t *list, uint32_t i)
{
    p->next[i] = *list;
    *list = i;
}

/* A place that was never used. */
static uint32_t place_open(struct page_places *p)
{
    if (p->fresh == p->count)
        return NONE;
    if (p->fresh == p->open) {
        const uint32_t more = MIN((uint32_t)(OPEN_BYTES / p->place_bytes), p->count - p->open);
        if (mprotect(p->base + p->open * p->place_bytes, more * p->place_bytes, PROT_READ | PROT_WRITE) != 0)
            return NONE;
        p->open += more;
    }
    return p->fresh++;
}

void *page_places_take(struct page_places *p)
{
    if (p->base == NULL)
        return NULL;
    lock_take(&p->lock);
    uint32_t i = pop(p, &p->warm);
    if (i != NONE)
        p->warm_count--;
    else
        i = pop(p, &p->cold);
    if (i == NONE)
        i = place_open(p);
    lock_drop(&p->lock);
    if (i == NONE)
        return NULL;
    char *at = p->base + i * p->place_bytes;
    unpoison(at, p->place_bytes);
    return at;
}

void page_places_give(struct page_places *p, void *at)
{
    const uint32_t i = (uint32_t)((size_t)((char *)at - p->base) / p->place_bytes);
    ASSERT(p->base + i * p->place_bytes == at);
    poison(at, p->place_bytes);
    lock_take(&p->lock);
    const bool stays = p->warm_count < p->warm_max;
    if (stays) {
        push(p, &p->warm, i);
        p->warm_count++;
    }
    lock_drop(&p->lock);
    if (stays)
        return;
    madvise(at, p->place_bytes, MADV_DONTNEED);
    lock_take(&p->lock);
    push(p, &p->cold, i);
    lock_drop(&p->lock);
}

/* ---- sleep ---- */

static struct page_image *image_take(const uint64_t *words, uint32_t count, size_t most)
{
    const uint32_t marks = marks_of(count);
    size_t used = 0;
    for (uint32_t i = 0; i < count; i++)
        used += words[i] != 0;
    const size_t bytes = sizeof(struct page_image) + (marks + used) * sizeof *words;
    struct page_image *m = bytes < most ? calloc(1, bytes) : NULL;
    if (m == NULL)
        return NULL;
    m->bytes = (uint32_t)bytes;
    m->words = count;
    uint64_t *to = m->data + marks;
    for (uint32_t i = 0; i < count; i++) {
        if (words[i] == 0)
            continue;
        m->data[i / 64] |= (uint64_t)1 << i % 64;
        *to++ = words[i];
    }
    return m;
}

/* What is in it may be secret. */
static void image_free(struct page_image *m)
{
    explicit_bzero(m, m->bytes);
    free(m);
}

struct page_image *page_places_sleep(const struct page_places *p, void *at, size_t kept)
{
    ASSERT(page_places_has(p, at) && kept <= p->place_bytes);
    struct page_image *m =
        image_take(at, (uint32_t)((kept + sizeof(uint64_t) - 1) / sizeof(uint64_t)), p->place_bytes / 2);
    if (m == NULL)
        return NULL;
    if (madvise(at, p->place_bytes, MADV_DONTNEED) != 0) { /* locked: the pages are as they were */
        image_free(m);
        return NULL;
    }
    poison(at, p->place_bytes);
    return m;
}

void page_places_wake(const struct page_places *p, void *at, struct page_image **image)
{
    struct page_image *m = *image;
    uint64_t *words = at;
    *image = NULL;
    unpoison(at, p->place_bytes);
#ifdef MADV_POPULATE_WRITE /* Linux 5.14: all pages at once is cheaper than a fault for each */
    madvise(at, (m->words * sizeof *words + PAGE_BYTES - 1) & ~(size_t)(PAGE_BYTES - 1), MADV_POPULATE_WRITE);
#endif
    const uint32_t marks = marks_of(m->words);
    const uint64_t *from = m->data + marks;
    for (uint32_t i = 0; i < marks; i++) {
        for (uint64_t bits = m->data[i]; bits != 0; bits &= bits - 1)
            words[i * 64 + (size_t)__builtin_ctzll(bits)] = *from++;
    }
    image_free(m);
}
