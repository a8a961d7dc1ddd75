/* test_slice.c: comparison, trimming, searching, strict numbers. */
#include "core/slice.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

static void test_compare(void **state)
{
    UNUSED(state);
    assert_true(slice_eq(SLICE_LIT("abc"), slice_str("abc")));
    assert_false(slice_eq(SLICE_LIT("abc"), SLICE_LIT("abC")));
    assert_false(slice_eq(SLICE_LIT("abc"), SLICE_LIT("ab")));
    assert_true(slice_eq(SLICE_EMPTY, SLICE_LIT("")));
    assert_true(slice_eq(SLICE_LIT("a\0b"), SLICE_LIT("a\0b")));
    assert_false(slice_eq(SLICE_LIT("a\0b"), SLICE_LIT("a\0c")));
    assert_true(slice_ieq(SLICE_LIT("aBc-1"), SLICE_LIT("AbC-1")));
    assert_false(slice_ieq(SLICE_LIT("[@"), SLICE_LIT("{`")));
    assert_false(slice_ieq(SLICE_LIT("\xc4"), SLICE_LIT("\xe4"))); /* ASCII only */
    assert_false(slice_ieq(SLICE_LIT("a"), SLICE_LIT("ab")));
    assert_int_equal(slice_str(NULL).len, 0);
}

static void test_starts_ends(void **state)
{
    UNUSED(state);
    assert_true(slice_starts(SLICE_LIT("abc"), SLICE_LIT("ab")));
    assert_true(slice_starts(SLICE_LIT("abc"), SLICE_EMPTY));
    assert_false(slice_starts(SLICE_LIT("ab"), SLICE_LIT("abc")));
    assert_false(slice_starts(SLICE_LIT("abc"), SLICE_LIT("b")));
    assert_true(slice_ends(SLICE_LIT("abc"), SLICE_LIT("bc")));
    assert_true(slice_ends(SLICE_LIT("abc"), SLICE_LIT("abc")));
    assert_false(slice_ends(SLICE_LIT("bc"), SLICE_LIT("abc")));
    assert_false(slice_ends(SLICE_LIT("abc"), SLICE_LIT("b")));
}

static void test_ascii_lower(void **state)
{
    UNUSED(state);
    for (int c = 0; c < 256; c++) {
        char want = (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
        assert_int_equal(ascii_lower((char)c), want);
    }
}

static void test_trim(void **state)
{
    UNUSED(state);
    assert_true(slice_eq(slice_trim(SLICE_LIT(" \t a b\t ")), SLICE_LIT("a b")));
    assert_true(slice_eq(slice_trim(SLICE_LIT("a")), SLICE_LIT("a")));
    assert_int_equal(slice_trim(SLICE_LIT(" \t ")).len, 0);
    assert_int_equal(slice_trim(SLICE_EMPTY).len, 0);
    assert_true(slice_eq(slice_trim(SLICE_LIT("\ra\n")), SLICE_LIT("\ra\n"))); /* SP and HTAB only */
}

static void test_find(void **state)
{
    UNUSED(state);
    assert_int_equal(slice_find(SLICE_LIT("a,b,c"), ',', 0), 1);
    assert_int_equal(slice_find(SLICE_LIT("a,b,c"), ',', 1), 1);
    assert_int_equal(slice_find(SLICE_LIT("a,b,c"), ',', 2), 3);
    assert_int_equal(slice_find(SLICE_LIT("a,b,c"), ',', 4), SIZE_MAX);
    assert_int_equal(slice_find(SLICE_LIT("a,b,c"), ',', 99), SIZE_MAX);
    assert_int_equal(slice_find(slice_make("ab", 1), 'b', 0), SIZE_MAX);
    assert_int_equal(slice_find(SLICE_EMPTY, 'a', 0), SIZE_MAX);
}

static void test_decimal(void **state)
{
    UNUSED(state);
    static const char *const bad[] = {"",
                                      " 1",
                                      "1 ",
                                      "+1",
                                      "-1",
                                      "0x1",
                                      "1.0",
                                      "a",
                                      "18446744073709551616",
                                      "99999999999999999999",
                                      "184467440737095516150",
                                      "1\x80"};
    uint64_t v = 7;
    assert_true(slice_to_u64(SLICE_LIT("0"), &v));
    assert_int_equal(v, 0);
    assert_true(slice_to_u64(SLICE_LIT("0012"), &v));
    assert_int_equal(v, 12);
    assert_true(slice_to_u64(SLICE_LIT("18446744073709551615"), &v));
    assert_true(v == UINT64_MAX);
    v = 7;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(slice_to_u64(slice_str(bad[i]), &v));
    assert_false(slice_to_u64(SLICE_LIT("1\0"), &v));
    assert_int_equal(v, 7);
}

static void test_hexadecimal(void **state)
{
    UNUSED(state);
    static const char *const bad[] = {"",  "g", "0x1", " 1", "-1", "1 ", "00000000000000001",
                                      "@", "`", "/",   ":"};
    uint64_t v = 7;
    assert_true(slice_hex_to_u64(SLICE_LIT("dEaDbeef09"), &v));
    assert_true(v == UINT64_C(0xdeadbeef09));
    assert_true(slice_hex_to_u64(SLICE_LIT("ffffffffffffffff"), &v));
    assert_true(v == UINT64_MAX);
    assert_true(slice_hex_to_u64(SLICE_LIT("0000000000000001"), &v));
    assert_int_equal(v, 1);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(slice_hex_to_u64(slice_str(bad[i]), &v));
}

static void test_put(void **state)
{
    UNUSED(state);
    static const uint64_t rows[] = {0, 1, 9, 10, 99, 100, 12345, UINT32_MAX, UINT64_MAX};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char got[21], want[21];
        int n = snprintf(want, sizeof want, "%llu", (unsigned long long)rows[i]);
        got[20] = '#';
        assert_int_equal(slice_put_u64(got, rows[i]), n);
        assert_memory_equal(got, want, (size_t)n);
        assert_int_equal(got[20], '#');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compare),     cmocka_unit_test(test_starts_ends),
        cmocka_unit_test(test_ascii_lower), cmocka_unit_test(test_trim),
        cmocka_unit_test(test_find),        cmocka_unit_test(test_decimal),
        cmocka_unit_test(test_hexadecimal), cmocka_unit_test(test_put),
    };
    return cmocka_run_group_tests_name("core/slice", tests, NULL, NULL);
}
