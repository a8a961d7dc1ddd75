/* test_size_pool.c: blocks of any size keep what is written to them, come back, and are not kept without end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/poison.h"
#include "core/size_pool.h"

#include <string.h>

static size_t kept_bytes(const struct size_pool *p)
{
    size_t bytes = 0;
    for (unsigned c = 0; c < SIZE_POOL_CLASSES; c++)
        bytes += (size_t)p->kept[c] * (c + 1) * SIZE_POOL_STEP;
    return bytes;
}

static bool is_all(const unsigned char *ptr, size_t bytes, unsigned char value)
{
    while (bytes > 0 && ptr[bytes - 1] == value)
        bytes--;
    return bytes == 0;
}

static void test_blocks_do_not_overlap(void **state)
{
    enum { SIZES = 1500 };
    static unsigned char *ptr[SIZES];
    struct size_pool p = {0};
    UNUSED(state);
    for (unsigned round = 0; round < 3; round++) {
        for (size_t n = 0; n < SIZES; n++) {
            ptr[n] = size_pool_alloc(n, &p);
            assert_non_null(ptr[n]);
            assert_int_equal((uintptr_t)ptr[n] % _Alignof(max_align_t), 0);
            memset(ptr[n], (int)(n % 251), n);
        }
        for (size_t n = 0; n < SIZES; n++) {
            assert_true(is_all(ptr[n], n, (unsigned char)(n % 251)));
            size_pool_free(ptr[n], &p);
        }
        assert_true(kept_bytes(&p) > 0);
    }
    size_pool_end(&p);
}

static void test_the_last_one_is_the_next(void **state)
{
    struct size_pool p = {0};
    UNUSED(state);
    void *first = size_pool_alloc(100, &p);
    size_pool_free(first, &p);
    assert_ptr_equal(size_pool_alloc(90, &p), first);
    assert_int_equal(kept_bytes(&p), 0);
    void *other = size_pool_alloc(300, &p);
    assert_ptr_not_equal(other, first);
    size_pool_free(first, &p);
    size_pool_free(other, &p);
    size_pool_free(NULL, &p);
    size_pool_end(&p);
}

static void test_what_is_kept_is_bounded(void **state)
{
    enum { MANY = 8000 };
    static void *ptr[MANY];
    struct size_pool p = {0};
    UNUSED(state);
    for (unsigned i = 0; i < MANY; i++)
        ptr[i] = size_pool_alloc(10 + 300 * (i % 4), &p);
    for (unsigned i = 0; i < MANY; i++)
        size_pool_free(ptr[i], &p);
    assert_true(kept_bytes(&p) <= 3 * SIZE_POOL_KEEPS); /* of three sizes; the fourth is too large */
    assert_true(kept_bytes(&p) > 3 * (SIZE_POOL_KEEPS - SIZE_POOL_CLASSES * SIZE_POOL_STEP));
    size_pool_end(&p);
    assert_int_equal(kept_bytes(&p), 0);
}

static void test_zeroed(void **state)
{
    struct size_pool p = {0};
    UNUSED(state);
    unsigned char *dirty = size_pool_alloc(200, &p);
    memset(dirty, 7, 200);
    size_pool_free(dirty, &p);
    unsigned char *clean = size_pool_calloc(20, 10, &p);
    assert_ptr_equal(clean, dirty);
    assert_true(is_all(clean, 200, 0));
    assert_null(size_pool_calloc(SIZE_MAX / 2, 3, &p));
    assert_null(size_pool_alloc(SIZE_MAX, &p));
    size_pool_free(clean, &p);
    size_pool_end(&p);
}

/* Growing and shrinking keep the bytes, and a large block does not stay when little of it is wanted. */
static void test_resized(void **state)
{
    static const size_t sizes[] = {1, 47, 48, 49, 600, 625, 5000, 100000, 60000, 20000, 500, 3};
    struct size_pool p = {0};
    UNUSED(state);
    unsigned char *ptr = size_pool_realloc(NULL, 1, &p);
    ptr[0] = 9;
    for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
        ptr = size_pool_realloc(ptr, sizes[i], &p);
        assert_non_null(ptr);
        assert_int_equal(ptr[0], 9);
        memset(ptr, 9, sizes[i]);
    }
    assert_null(size_pool_realloc(ptr, SIZE_MAX, &p));
    assert_int_equal(ptr[2], 9);
    size_pool_free(ptr, &p);
    size_pool_end(&p);
}

/* AddressSanitizer sees who uses what was given back, or more than was asked for. */
static void test_what_is_not_given_out_is_nobodys(void **state)
{
    struct size_pool p = {0};
    UNUSED(state);
    for (unsigned round = 0; round < 2; round++) {
        char *ptr = size_pool_alloc(20, &p);
        assert_int_equal(is_poisoned(ptr + 20), POISON_IS_SEEN);
        ptr = size_pool_realloc(ptr, 30, &p);
        assert_false(is_poisoned(ptr + 29));
        assert_int_equal(is_poisoned(ptr + 30), POISON_IS_SEEN);
        size_pool_free(ptr, &p);
        assert_int_equal(is_poisoned(ptr), POISON_IS_SEEN);
    }
    size_pool_end(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_blocks_do_not_overlap),
                                       cmocka_unit_test(test_the_last_one_is_the_next),
                                       cmocka_unit_test(test_what_is_kept_is_bounded),
                                       cmocka_unit_test(test_what_is_not_given_out_is_nobodys),
                                       cmocka_unit_test(test_zeroed),
                                       cmocka_unit_test(test_resized)};
    return cmocka_run_group_tests_name("core/size_pool", tests, NULL, NULL);
}
