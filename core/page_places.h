/* page_places.h: objects in pages of their own, which the kernel gets back while nothing happens to them.
 *
 * A place is some pages for one object. To sleep, the words of it that are not zero are copied out, and the
 * kernel gets the pages; to wake, they are written where they were. Nothing is known of what is in the
 * object, and nothing of it moves. Sound if nobody reads or writes a sleeper, which AddressSanitizer checks.
 *
 * Places lie in one range of addresses that is reserved at the start and used from its front. Where that
 * cannot be had there are none, and the owner takes memory from elsewhere. Any thread; an object is one
 * thread's at a time. */
#ifndef CORE_PAGE_PLACES_H
#define CORE_PAGE_PLACES_H

#include "core/lock.h"

#define PAGE_BYTES 4096

struct page_image;

/* Zeroed: none. */
struct page_places {
    /* set once */
    char *base;                /* NULL: there are none */
    size_t place_bytes, bytes; /* of one; of all */
    uint32_t count, warm_max;
    /* under lock */
    struct lock lock;
    uint32_t *next; /* of each place in a list, the one behind it */
    uint32_t warm, cold, warm_count;
    uint32_t fresh; /* from here on none was ever used */
    uint32_t open;  /* from here on none can be */
};

/* `count` places of so many pages; of those given back `warm_max` keep their pages, so that what comes and
 * goes costs no page faults. Once, before there are threads; never undone. false: no such pages, or no
 * address space. */
bool page_places_init(struct page_places *p, unsigned pages, uint32_t count, uint32_t warm_max);

/* What is in it is undefined. NULL: there is none left, or the system has no memory for more. */
void *page_places_take(struct page_places *p);
/* Nobody touches it any more; it is awake. */
void page_places_give(struct page_places *p, void *at);

static inline bool page_places_has(const struct page_places *p, const void *ptr)
{
    return (uintptr_t)ptr - (uintptr_t)p->base < p->bytes;
}

/* The first `kept` bytes of the place will be as they were, the rest is undefined. NULL: it stays awake,
 * since there is too little to gain, no memory for the image, or the pages are locked. */
struct page_image *page_places_sleep(const struct page_places *p, void *at, size_t kept);
/* Consumes the image. */
void page_places_wake(const struct page_places *p, void *at, struct page_image **image);

#endif
