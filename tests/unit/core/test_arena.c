/* test_arena.c: blocks, the ceiling, alignment, hooks and reuse. */
#include "core/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static bool inside(const void *p, const void *block, size_t bytes)
{
    return (const char *)p >= (const char *)block && (const char *)p < (const char *)block + bytes;
}

static void test_first_block_then_heap(void **state)
{
    UNUSED(state);
    char block[300];
    struct arena a;
    arena_init(&a, block + 1, sizeof block - 1, 64 * KB);
    char *p = arena_alloc(&a, 100), *q = arena_alloc(&a, 1), *r = arena_alloc(&a, 200);
    assert_true(inside(p, block, sizeof block) && inside(q, block, sizeof block));
    assert_false(inside(r, block, sizeof block));
    assert_true(q >= p + 100);
    assert_int_equal((uintptr_t)p % 16 | (uintptr_t)q % 16 | (uintptr_t)r % 16, 0);
    memset(p, 1, 100);
    memset(r, 2, 200);
    assert_int_equal(p[99], 1);
    arena_reset(&a);
    assert_int_equal(a.heap_bytes, 0);
    assert_ptr_equal(arena_alloc(&a, 100), p);
    arena_reset(&a);
}

static void test_ceiling(void **state)
{
    UNUSED(state);
    struct arena a;
    arena_init(&a, NULL, 0, 10 * KB);
    size_t got = 0;
    while (arena_alloc(&a, 512) != NULL)
        got += 512;
    assert_int_equal(got, 10 * KB); /* the last block is cut down to what is left */
    assert_true(a.heap_bytes <= 10 * KB);
    assert_null(arena_alloc(&a, 1));
    assert_null(arena_alloc(&a, SIZE_MAX));
    assert_null(arena_alloc(&a, SIZE_MAX - 8));
    arena_reset(&a);
    assert_non_null(arena_alloc(&a, 10 * KB));
    assert_null(arena_alloc(&a, 16));
    arena_reset(&a);
    arena_init(&a, NULL, 0, 0);
    assert_null(arena_alloc(&a, 1));
    arena_reset(&a);
}

static void test_tiny_first_block(void **state)
{
    UNUSED(state);
    _Alignas(16) char block[17];
    struct arena a;
    arena_init(&a, block + 1, 3, KB); /* holds no aligned byte */
    void *p = arena_alloc(&a, 8);
    assert_non_null(p);
    assert_false(inside(p, block, sizeof block));
    arena_reset(&a);
}

static void test_big_allocation(void **state)
{
    UNUSED(state);
    struct arena a;
    arena_init(&a, NULL, 0, 4 * MB);
    char *small = arena_alloc(&a, 10), *big = arena_alloc(&a, MB), *next = arena_alloc(&a, 10);
    assert_non_null(small);
    assert_non_null(big);
    assert_non_null(next);
    memset(big, 3, MB);
    arena_reset(&a);
}

static void test_copies(void **state)
{
    UNUSED(state);
    struct arena a;
    arena_init(&a, NULL, 0, 4 * KB);
    slice_t s = arena_copy(&a, SLICE_LIT("a\0b"));
    assert_true(slice_eq(s, SLICE_LIT("a\0b")));
    assert_int_equal(s.ptr[s.len], '\0');
    assert_int_equal(arena_copy(&a, SLICE_EMPTY).len, 0);
    s = arena_printf(&a, "%s-%d", "x", 42);
    assert_true(slice_eq(s, SLICE_LIT("x-42")));
    unsigned char *z = arena_calloc(&a, 1000);
    assert_non_null(z);
    for (size_t i = 0; i < 1000; i++)
        assert_int_equal(z[i], 0);
    char text[4 * KB];
    memset(text, 'x', sizeof text);
    assert_null(arena_copy(&a, slice_make(text, sizeof text)).ptr);
    assert_null(arena_printf(&a, "%.*s", (int)sizeof text, text).ptr);
    assert_null(arena_calloc(&a, 4 * KB));
    arena_reset(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_block_then_heap),
        cmocka_unit_test(test_ceiling),
        cmocka_unit_test(test_tiny_first_block),
        cmocka_unit_test(test_big_allocation),
        cmocka_unit_test(test_copies),
    };
    return cmocka_run_group_tests_name("core/arena", tests, NULL, NULL);
}
