/* test_h2_walk.c: which frames count, wherever the bytes are cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/h2_walk.h"

#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define TEXT(s) slice_make(s, sizeof(s) - 1)

/* type, payload of n bytes */
#define FRAME0(type)          "\0\0\0" type "\0\0\0\0\1"
#define FRAME4(type, payload) "\0\0\4" type "\0\0\0\0\1" payload

static unsigned found(slice_t text)
{
    struct h2_walk w;
    h2_walk_begin(&w);
    return h2_walk(&w, text);
}

static void what_brings_nothing_counts(void **state)
{
    (void)state;
    assert_int_equal(found(TEXT(PREFACE)), 0);
    assert_int_equal(found(TEXT(PREFACE FRAME0("\4"))), 1);                          /* SETTINGS */
    assert_int_equal(found(TEXT(PREFACE FRAME4("\1", "abcd"))), 1);                  /* HEADERS */
    assert_int_equal(found(TEXT(PREFACE FRAME4("\xfa", "abcd") FRAME0("\xfa"))), 2); /* unknown */
    assert_int_equal(found(TEXT(PREFACE FRAME0("\0") FRAME4("\x10", "abcd"))), 2);   /* empty DATA */
}

static void data_and_resets_do_not(void **state)
{
    (void)state;
    assert_int_equal(found(TEXT(PREFACE FRAME4("\0", "abcd") FRAME4("\3", "\0\0\0\x8"))), 0);
}

/* Data is counted beside, when it has bytes. */
static void data_is_counted_beside(void **state)
{
    (void)state;
    struct h2_walk w;
    h2_walk_begin(&w);
    assert_int_equal(h2_walk(&w, TEXT(PREFACE FRAME4("\0", "abcd") FRAME0("\0") FRAME4("\3", "\0\0\0\x8"))),
                     1);
    assert_int_equal(w.data, 1);
    assert_int_equal(h2_walk(&w, TEXT("\0\0\4\0\0\0\0\0\1")), 0);
    assert_int_equal(w.data, 2);
}

/* A payload is no head, and only whole heads count. */
static void it_may_be_cut_anywhere(void **state)
{
    (void)state;
    const slice_t text =
        TEXT(PREFACE FRAME0("\4") FRAME4("\0", "\4\4\4\4") FRAME0("\6") FRAME4("\x8", "\0\0\0\1"));
    for (size_t step = 1; step <= text.len; step++) {
        struct h2_walk w;
        unsigned sum = 0;
        h2_walk_begin(&w);
        for (size_t at = 0; at < text.len; at += step)
            sum += h2_walk(&w, slice_make(text.ptr + at, step < text.len - at ? step : text.len - at));
        assert_int_equal(sum, 3);
    }
    assert_int_equal(found(slice_make(text.ptr, 24 + 8)), 0);
    assert_int_equal(found(slice_make(text.ptr, 24 + 9)), 1);
}

static void a_long_frame_is_gone_through(void **state)
{
    (void)state;
    static char payload[1 << 16];
    struct h2_walk w;
    h2_walk_begin(&w);
    assert_int_equal(h2_walk(&w, TEXT(PREFACE "\xff\xff\xff\1\0\0\0\0\1")), 1);
    for (unsigned i = 0; i < 255; i++)
        assert_int_equal(h2_walk(&w, slice_make(payload, sizeof payload)), 0);
    assert_int_equal(h2_walk(&w, slice_make(payload, sizeof payload - 1)), 0);
    assert_int_equal(h2_walk(&w, TEXT(FRAME0("\6"))), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_brings_nothing_counts),   cmocka_unit_test(data_and_resets_do_not),
        cmocka_unit_test(data_is_counted_beside),       cmocka_unit_test(it_may_be_cut_anywhere),
        cmocka_unit_test(a_long_frame_is_gone_through),
    };
    return cmocka_run_group_tests_name("core/h2_walk", tests, NULL, NULL);
}
