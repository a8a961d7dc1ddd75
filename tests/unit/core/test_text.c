/* test_text.c: what fits is there, what does not is left out whole and said. */
#include "core/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void expect_text(const struct text *t, const char *want)
{
    slice_t got = text_slice(t);
    assert_int_equal(got.len, strlen(want));
    assert_memory_equal(got.ptr, want, got.len);
}

static void test_exact_fit(void **state)
{
    UNUSED(state);
    char buf[9];
    memset(buf, '#', sizeof buf);
    struct text t = text_make(buf, 8);
    TEXT_LIT(&t, "abc");
    text_put_char(&t, '-');
    text_put_u64(&t, 1234);
    assert_false(t.overflow);
    expect_text(&t, "abc-1234");
    assert_int_equal(buf[8], '#');
    text_put(&t, SLICE_EMPTY);
    assert_false(t.overflow);
}

/* Nothing is cut, and the mark stays although shorter text fits again. */
static void test_overflow(void **state)
{
    UNUSED(state);
    char buf[6];
    memset(buf, '#', sizeof buf);
    struct text t = text_make(buf, 5);
    TEXT_LIT(&t, "abc");
    TEXT_LIT(&t, "def");
    assert_true(t.overflow);
    expect_text(&t, "abc");
    text_put_u64(&t, 123);
    expect_text(&t, "abc");
    TEXT_LIT(&t, "de");
    assert_true(t.overflow);
    expect_text(&t, "abcde");
    text_put_char(&t, 'f');
    expect_text(&t, "abcde");
    assert_int_equal(buf[5], '#');
}

static void test_numbers(void **state)
{
    UNUSED(state);
    char buf[64];
    struct text t = text_make(buf, sizeof buf);
    text_put_u64(&t, 0);
    text_put_char(&t, ' ');
    text_put_u64(&t, UINT64_MAX);
    text_put_char(&t, ' ');
    text_put_u64(&t, 10);
    expect_text(&t, "0 18446744073709551615 10");
}

static void test_no_room(void **state)
{
    UNUSED(state);
    char byte = '#';
    struct text t = text_make(&byte, 0);
    text_put(&t, SLICE_EMPTY);
    assert_false(t.overflow);
    text_put_char(&t, 'x');
    assert_true(t.overflow);
    expect_text(&t, "");
    assert_int_equal(byte, '#');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exact_fit),
        cmocka_unit_test(test_overflow),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_no_room),
    };
    return cmocka_run_group_tests_name("core/text", tests, NULL, NULL);
}
