/* test_hidden.c: lines of a stored head that no client gets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cache/hidden.h"

#define SHOWN "HTTP/1.1 200 OK\r\nA: b\r\n"

static void test_put_and_taken(void **state)
{
    static const size_t sizes[] = {0, 1, 255, 256, 257, UINT16_MAX - 64};
    static char text[UINT16_MAX];
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        size_t shown = strlen(SHOWN);
        memcpy(text, SHOWN, shown);
        memset(text + shown, 'x', sizes[i]);
        cache_hidden_seal(text + shown + sizes[i], sizes[i]);
        slice_t head = slice_make(text, shown + sizes[i] + CACHE_HIDDEN_SEAL);
        assert_int_equal(cache_hidden_take(&head), sizes[i]);
        assert_true(slice_eq(head, SLICE_LIT(SHOWN)));
    }
}

static void test_heads_without(void **state)
{
    static const slice_t heads[] = {
        {"", 0}, {"\0", 1}, {"\0\0", 2}, {SHOWN, sizeof SHOWN - 1}, {"x\x05\0\0", 4}};
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
        slice_t head = heads[i];
        assert_int_equal(cache_hidden_take(&head), 0);
        assert_true(slice_eq(head, heads[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_put_and_taken),
        cmocka_unit_test(test_heads_without),
    };
    return cmocka_run_group_tests_name("cache/hidden", tests, NULL, NULL);
}
