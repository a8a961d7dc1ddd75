/* no_memory.h: allocations that fail when the test says so. With no_memory.fails_at = n the n-th allocation
 * from then on fails, of this program's own code; it is linked with --wrap for that (NO_MEMORY_BIN in the
 * Makefile). One program each. */
#ifndef TESTS_UNIT_PROXY_NO_MEMORY_H
#define TESTS_UNIT_PROXY_NO_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

static struct {
    unsigned fails_at; /* 0: never */
    unsigned count;
    bool failed;
} no_memory;

static inline bool no_memory_now(void)
{
    const bool fails = no_memory.fails_at > 0 && ++no_memory.count == no_memory.fails_at;
    no_memory.failed |= fails;
    return fails;
}

/* The n-th from here on; 0: none. */
static inline void no_memory_at(unsigned n)
{
    no_memory.count = 0;
    no_memory.failed = false;
    no_memory.fails_at = n;
}

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t each);
void *__real_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t each);
void *__wrap_realloc(void *p, size_t n);

void *__wrap_malloc(size_t n)
{
    return no_memory_now() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t each)
{
    return no_memory_now() ? NULL : __real_calloc(n, each);
}

void *__wrap_realloc(void *p, size_t n)
{
    return no_memory_now() ? NULL : __real_realloc(p, n);
}

#endif
