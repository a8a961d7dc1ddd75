/* open_cache.h: a cache and a worker for each test of a program: its setup and teardown. */
#ifndef TESTS_UNIT_CACHE_OPEN_CACHE_H
#define TESTS_UNIT_CACHE_OPEN_CACHE_H

#include "tests/unit/cache/fixture.h"

static struct cache *c;
static struct worker *w;

static inline int open_cache_of(size_t bytes)
{
    c = fix_cache(bytes);
    w = worker_create(0);
    assert_non_null(w);
    return 0;
}

static inline int open_cache(void **state)
{
    UNUSED(state);
    return open_cache_of(16 * MB);
}

/* Asserts that no object is left. */
static inline int close_cache(void **state)
{
    UNUSED(state);
    fix_pump(w);
    worker_destroy(w);
    fix_end(&c);
    return 0;
}

#endif
