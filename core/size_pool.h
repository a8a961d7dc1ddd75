/* size_pool.h: small blocks of memory that one thread asks for and gives back all the time.
 *
 * A list of free blocks for each size: taking and giving are some forty instructions together, a third of
 * what they are with the allocator. Larger blocks come from there, and so does what no list has. A list keeps
 * at most SIZE_POOL_KEEPS bytes; beyond, blocks go back. For the little things of an HTTP/2 stream, of which
 * nghttp2 makes and frees five; the arguments are in the order it wants (nghttp2_mem), and `pool` is a struct
 * size_pool.
 *
 * Zero it before the first use. One thread; it must outlive its blocks. */
#ifndef CORE_SIZE_POOL_H
#define CORE_SIZE_POOL_H

#include "core/base.h"

#define SIZE_POOL_STEP    64
#define SIZE_POOL_CLASSES 10        /* blocks of up to 624 bytes, and 16 that say how large they are */
#define SIZE_POOL_KEEPS   (64 * KB) /* of each size */

struct size_pool_block;

struct size_pool {
    struct size_pool_block *free[SIZE_POOL_CLASSES];
    unsigned kept[SIZE_POOL_CLASSES];
};

/* Aligned for any type, as malloc does. NULL: no memory. */
void *size_pool_alloc(size_t bytes, void *pool);
void *size_pool_calloc(size_t count, size_t bytes, void *pool);
/* As realloc does; NULL: no memory, and `ptr` is as it was. */
void *size_pool_realloc(void *ptr, size_t bytes, void *pool);
/* NULL is fine. */
void size_pool_free(void *ptr, void *pool);
/* Gives back what it keeps. */
void size_pool_end(struct size_pool *p);

#endif
