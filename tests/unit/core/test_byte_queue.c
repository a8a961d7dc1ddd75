/* test_byte_queue.c: bytes come out in their order, whatever is dropped in between, and room is used again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/byte_queue.h"

static void test_order(void **state)
{
    struct byte_queue q = {0};
    uint8_t in = 0, out = 0;
    UNUSED(state);
    for (size_t n = 0; n < 3000; n += 7) {
        uint8_t bytes[3000];
        for (size_t i = 0; i < n; i++)
            bytes[i] = in++;
        assert_true(byte_queue_put(&q, bytes, n));
        const slice_t front = byte_queue_front(&q);
        const size_t some = front.len - front.len / 3;
        for (size_t i = 0; i < some; i++)
            assert_int_equal((uint8_t)front.ptr[i], out++);
        byte_queue_drop(&q, some);
        assert_int_equal(byte_queue_bytes(&q), front.len - some);
    }
    assert_true(q.room <= 16 * KB);
    byte_queue_free(&q);
    assert_int_equal(byte_queue_bytes(&q), 0);
}

/* What was read stays until more come. */
static void test_read_bytes_stay(void **state)
{
    struct byte_queue q = {0};
    UNUSED(state);
    assert_true(byte_queue_put(&q, "abc", 3));
    const slice_t front = byte_queue_front(&q);
    byte_queue_drop(&q, 3);
    assert_memory_equal(front.ptr, "abc", 3);
    assert_int_equal(q.pos, 0);
    byte_queue_free(&q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_order), cmocka_unit_test(test_read_bytes_stay)};
    return cmocka_run_group_tests_name("core/byte_queue", tests, NULL, NULL);
}
