/* test_percent.c: percent-encoding in keys; what the path makes of it is in test_key.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cache/percent.h"

static void test_put(void **state)
{
    UNUSED(state);
    static const struct {
        const char *in, *out;
    } rows[] = {
        {"", ""},
        {"plain", "plain"},
        {"%41%7e%2D", "A~-"},
        {"%c3%bc", "%C3%BC"},
        {"%2541", "%2541"},
        {"a+b%20c", "a+b%20c"},
        {"%26%3d%3B%23", "%26%3D%3B%23"},
        {"%", "%"},
        {"%4", "%4"},
        {"%4g%41", "%4g%41"},
        {"%41%%34%31", "A%%34%31"},
        {"%00", "%00"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        slice_t in = slice_str(rows[i].in);
        char *buf = malloc(in.len + 1), *end = cache_percent_put(buf, in);
        assert_true((size_t)(end - buf) <= in.len);
        if (!slice_eq(slice_make(buf, (size_t)(end - buf)), slice_str(rows[i].out)))
            fail_msg("%s became %.*s", rows[i].in, (int)(end - buf), buf);
        free(buf);
    }
}

static void test_byte(void **state)
{
    UNUSED(state);
    slice_t s = SLICE_LIT("a%41%zz%4");
    static const char want[] = "aA%zz%4";
    size_t at = 0;
    for (size_t i = 0; i < sizeof want - 1; i++)
        assert_int_equal(cache_percent_byte(s, &at), want[i]);
    assert_int_equal(at, s.len);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_put), cmocka_unit_test(test_byte)};
    return cmocka_run_group_tests_name("cache/percent", tests, NULL, NULL);
}
