/* size_pool.c: see size_pool.h. A block begins with its size, since those who give it back do not say.
 * Rejected: slabs, which need no such head, but never shrink while one of their blocks is in use. */
#include "core/size_pool.h"

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#include "core/panic.h"
#include "core/poison.h"

struct size_pool_block {
    alignas(max_align_t) struct size_pool_block *next; /* free: the one behind it in its list */
    size_t room;                                       /* behind this head */
};

#define HEAD     sizeof(struct size_pool_block)
#define ROOM_MAX (SIZE_POOL_CLASSES * SIZE_POOL_STEP - HEAD)

static inline unsigned class_of(size_t bytes)
{
    return (unsigned)((bytes + HEAD - 1) / SIZE_POOL_STEP);
}

static inline size_t room_of(unsigned class)
{
    return (class + 1) * (size_t)SIZE_POOL_STEP - HEAD;
}

/* What is behind the bytes asked for is nobody's. */
static inline void *block_give(struct size_pool_block *b, size_t bytes)
{
    poison(b + 1, b->room);
    unpoison(b + 1, bytes);
    return b + 1;
}

static NOINLINE void *block_new(size_t room, size_t bytes)
{
    struct size_pool_block *b = room <= SIZE_MAX - HEAD ? malloc(HEAD + room) : NULL;
    if (b == NULL)
        return NULL;
    b->room = room;
    return block_give(b, bytes);
}

void *size_pool_alloc(size_t bytes, void *pool)
{
    struct size_pool *p = pool;
    if (UNLIKELY(bytes > ROOM_MAX))
        return block_new(bytes, bytes);
    const unsigned class = class_of(bytes);
    struct size_pool_block *b = p->free[class];
    if (UNLIKELY(b == NULL))
        return block_new(room_of(class), bytes);
    p->free[class] = b->next;
    p->kept[class]--;
    return block_give(b, bytes);
}

void *size_pool_calloc(size_t count, size_t bytes, void *pool)
{
    size_t all;
    void *ptr = __builtin_mul_overflow(count, bytes, &all) ? NULL : size_pool_alloc(all, pool);
    return ptr != NULL ? memset(ptr, 0, all) : NULL;
}

void size_pool_free(void *ptr, void *pool)
{
    struct size_pool *p = pool;
    if (ptr == NULL)
        return;
    struct size_pool_block *b = (struct size_pool_block *)ptr - 1;
    const unsigned class = class_of(b->room);
    if (UNLIKELY(b->room > ROOM_MAX) ||
        UNLIKELY((p->kept[class] + 1) * (class + 1) > SIZE_POOL_KEEPS / SIZE_POOL_STEP)) {
        free(b);
        return;
    }
    poison(b + 1, b->room);
    b->next = p->free[class];
    p->free[class] = b;
    p->kept[class]++;
}

void *size_pool_realloc(void *ptr, size_t bytes, void *pool)
{
    if (ptr == NULL)
        return size_pool_alloc(bytes, pool);
    const size_t room = ((struct size_pool_block *)ptr - 1)->room;
    if (bytes <= room && room <= MAX(ROOM_MAX, 2 * bytes))
        return block_give((struct size_pool_block *)ptr - 1, bytes);
    void *more = size_pool_alloc(bytes, pool);
    if (more == NULL)
        return NULL;
    unpoison(ptr, room);
    memcpy(more, ptr, MIN(room, bytes));
    size_pool_free(ptr, pool);
    return more;
}

void size_pool_end(struct size_pool *p)
{
    for (unsigned class = 0; class < SIZE_POOL_CLASSES; class ++) {
        for (; p->free[class] != NULL; p->kept[class]--) {
            struct size_pool_block *b = p->free[class];
            p->free[class] = b->next;
            free(b);
        }
        ASSERT(p->kept[class] == 0);
    }
}
