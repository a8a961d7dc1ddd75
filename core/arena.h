/* arena.h: bump memory for one request, with a byte ceiling.
 *
 * Everything a request needs for its own lifetime comes from here; success, failure and cancellation
 * end on one path: arena_reset. One thread. Lack of memory and the ceiling are answered by NULL, never by a
 * panic: the caller turns that into a 503 or 431. */
#ifndef CORE_ARENA_H
#define CORE_ARENA_H

#include "core/base.h"
#include "core/slice.h"

struct arena_chunk;

/* Owned by the request (or connection) it is embedded in. */
struct arena {
    char *next, *end;  /* free part of the current block */
    char *first_block; /* caller's memory, or NULL */
    size_t first_block_bytes;
    struct arena_chunk *chunks; /* blocks from the heap, newest first */
    size_t heap_bytes, ceiling_bytes;
};

/* `block` (may be NULL, 0) is used before the heap and stays the caller's. `ceiling_bytes` limits what is
 * taken from the heap. */
void arena_init(struct arena *a, void *block, size_t block_bytes, size_t ceiling_bytes);

/* 16-byte aligned, not cleared; NULL when the ceiling is reached or memory is short. */
void *arena_alloc(struct arena *a, size_t bytes);
void *arena_calloc(struct arena *a, size_t bytes);

/* A copy that lives as long as the arena; with a NUL behind it. `.ptr` is NULL on failure. */
slice_t arena_copy(struct arena *a, slice_t s);

/* Formatted text; `.ptr` is NULL on failure. */
slice_t arena_printf(struct arena *a, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Frees the heap blocks; ready for use again. */
void arena_reset(struct arena *a);

#endif
