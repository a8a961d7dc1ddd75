/* body_memory.h: memory of large bodies, in pages that the kernel can send from without a copy.
 *
 * The pages belong to an unnamed file in memory (memfd) that is mapped as a whole, so they are read and
 * written like any other memory, and sendfile(2) can hand them to a socket by reference: a cached megabyte
 * costs half of what copying it costs. The socket may hold a page long after the call returned. A freed piece
 * is therefore cut out of the file (the page then lives until the last packet with it is acknowledged) before
 * its place is given to anybody else; what a slow client still has to receive never changes.
 *
 * Threads: any. Where there is no memfd, no jemalloc, no address space, or strict overcommit, it is ordinary
 * memory that cache_body_file (cache.h) does not know; everything else works the same. */
#ifndef CACHE_BODY_MEMORY_H
#define CACHE_BODY_MEMORY_H

#include "cache/cache.h"

/* Less than this is ordinary memory. What is too small to be sent by reference gains too: an evicted body's
 * pages go back to the system at once. */
#define BODY_MEMORY_LEAST (32 * KB)

/* NULL when out of memory. Costs cache_memory_rounded(bytes). */
void *body_memory_alloc(size_t bytes);
/* NULL does nothing. */
void body_memory_free(void *p);
/* Gives back what is not needed of an allocation that was never filled beyond `used`; returns what the piece
 * costs from now on, where it stays. */
size_t body_memory_shrink(void *p, size_t bytes, size_t used);
#endif
