/* test_websocket_key.c: keys and their answers, by the example of RFC 6455. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "core/websocket_key.h"

static void test_answer(void **state)
{
    UNUSED(state);
    char accept[WEBSOCKET_ACCEPT_BYTES];
    websocket_key_answer("dGhlIHNhbXBsZSBub25jZQ==", accept);
    assert_memory_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", sizeof accept);
}

/* 16 bytes in base64, others each time. */
static void test_make(void **state)
{
    UNUSED(state);
    char key[2][WEBSOCKET_KEY_BYTES];
    for (int i = 0; i < 2; i++) {
        websocket_key_make(key[i]);
        assert_memory_equal(key[i] + WEBSOCKET_KEY_BYTES - 2, "==", 2);
        for (int k = 0; k < WEBSOCKET_KEY_BYTES - 2; k++)
            assert_non_null(
                memchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", key[i][k], 64));
    }
    assert_memory_not_equal(key[0], key[1], WEBSOCKET_KEY_BYTES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_answer), cmocka_unit_test(test_make)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
