/* arena.c: see arena.h. Heap blocks double from 4 KB to 64 KB; an allocation larger than that gets a
 * block of its own. Rejected: a global pool of blocks; jemalloc's thread caches already are one. */
#include "core/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define ARENA_ALIGN       16
#define ARENA_BLOCK_BYTES (4 * KB)
#define ARENA_BLOCK_MAX   (64 * KB)

struct arena_chunk {
    struct arena_chunk *older;
    size_t bytes;
    _Alignas(ARENA_ALIGN) char data[];
};

static void arena_use_first_block(struct arena *a)
{
    uintptr_t p = ((uintptr_t)a->first_block + ARENA_ALIGN - 1) & ~(uintptr_t)(ARENA_ALIGN - 1);
    uintptr_t end = (uintptr_t)a->first_block + a->first_block_bytes;
    a->next = a->first_block == NULL || p >= end ? NULL : (char *)p;
    a->end = a->next == NULL ? NULL : (char *)end;
}

void arena_init(struct arena *a, void *block, size_t block_bytes, size_t ceiling_bytes)
{
    *a = (struct arena){
        .first_block = block, .first_block_bytes = block_bytes, .ceiling_bytes = ceiling_bytes};
    arena_use_first_block(a);
}

static bool arena_grow(struct arena *a, size_t bytes)
{
    size_t want = a->chunks == NULL ? ARENA_BLOCK_BYTES : MIN(a->chunks->bytes * 2, ARENA_BLOCK_MAX);
    want = MAX(want, bytes);
    if (a->heap_bytes + want > a->ceiling_bytes)
        want = bytes;
    if (a->heap_bytes + want > a->ceiling_bytes)
        return false;
    struct arena_chunk *c = malloc(sizeof *c + want);
    if (c == NULL)
        return false;
    c->older = a->chunks;
    c->bytes = want;
    a->chunks = c;
    a->heap_bytes += want;
    a->next = c->data;
    a->end = c->data + want;
    return true;
}

void *arena_alloc(struct arena *a, size_t bytes)
{
    if (UNLIKELY(bytes > a->ceiling_bytes && bytes > a->first_block_bytes))
        return NULL;
    bytes = (bytes + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    if ((size_t)(a->end - a->next) < bytes && !arena_grow(a, bytes))
        return NULL;
    char *p = a->next;
    a->next += bytes;
    return p;
}

void *arena_calloc(struct arena *a, size_t bytes)
{
    void *p = arena_alloc(a, bytes);
    return p == NULL ? NULL : memset(p, 0, bytes);
}

slice_t arena_copy(struct arena *a, slice_t s)
{
    char *p = arena_alloc(a, s.len + 1);
    if (p == NULL)
        return (slice_t){NULL, 0};
    memcpy(p, s.ptr, s.len);
    p[s.len] = '\0';
    return (slice_t){p, s.len};
}

slice_t arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *p = n < 0 ? NULL : arena_alloc(a, (size_t)n + 1);
    if (p == NULL)
        return (slice_t){NULL, 0};
    va_start(ap, fmt);
    vsnprintf(p, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return (slice_t){p, (size_t)n};
}

void arena_reset(struct arena *a)
{
    while (a->chunks != NULL) {
        struct arena_chunk *c = a->chunks;
        a->chunks = c->older;
        free(c);
    }
    a->heap_bytes = 0;
    arena_use_first_block(a);
}
