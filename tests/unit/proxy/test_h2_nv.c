/* test_h2_nv.c: lines of a head become pairs: where they begin and end, and which names nghttp2 copies.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "proxy/h2_nv.h"

#include <string.h>

/* The pairs of a text that ends where its memory does, one per line, a '*' before names that are copied. */
static const char *pairs_of(const char *text)
{
    static char out[4096];
    struct h2_nv v = {0};
    const size_t bytes = strlen(text);
    char *exact = malloc(MAX(bytes, 1));
    size_t n = 0;
    memcpy(exact, text, bytes);
    h2_nv_begin(&v);
    assert_true(h2_nv_add_lines(&v, slice_make(exact, bytes)));
    out[0] = '\0';
    for (size_t i = 0; i < v.count; i++) {
        const nghttp2_nv *nv = &v.pair[i];
        n += (size_t)snprintf(out + n, sizeof out - n, "%s%.*s=%.*s\n",
                              (nv->flags & NGHTTP2_NV_FLAG_NO_COPY_NAME) != 0 ? "" : "*", (int)nv->namelen,
                              nv->name, (int)nv->valuelen, nv->value);
        assert_int_equal(nv->flags & ~NGHTTP2_NV_FLAG_NO_COPY_NAME, 0);
        if ((nv->flags & NGHTTP2_NV_FLAG_NO_COPY_NAME) != 0) /* it outlives the text */
            assert_true((char *)nv->name < exact || (char *)nv->name >= exact + bytes);
    }
    h2_nv_free(&v);
    free(exact);
    return out;
}

static void test_lines(void **state)
{
    UNUSED(state);
    assert_string_equal(pairs_of("HTTP/1.1 200 A: b\r\nContent-Type: text/plain\r\nX-Own: Yes\r\n\r\n"),
                        "content-type=text/plain\n*X-Own=Yes\n");
    assert_string_equal(pairs_of("DATE: Sun, 22 Nov 2026 02:54:51 GMT\r\nAge: 0\r\n"),
                        "date=Sun, 22 Nov 2026 02:54:51 GMT\nage=0\n");
    assert_string_equal(pairs_of("A: \r\nB: c:d: e\r\nC:  \t f\t \r\n\r\n"), "*A=\n*B=c:d: e\n*C=f\n");
    assert_string_equal(pairs_of("HTTP/1.1 204 No Content\r\n"), "");
    assert_string_equal(pairs_of("HTTP/1.1 204 No Content\r\n\r\n"), "");
    assert_string_equal(pairs_of("\r\n"), "");
    assert_string_equal(pairs_of(""), "");
}

/* What no head of ours has is passed on as before, and nothing behind the text is looked at. */
static void test_odd_values(void **state)
{
    UNUSED(state);
    assert_string_equal(pairs_of("A: \x01 b\x7f\r\nVia: \xc3\xa4\tb\r\n\r\n"),
                        "*A=\x01 b\x7f\nvia=\xc3\xa4\tb\n");
}

/* Every length of name and value, so that each step of 16 bytes ends everywhere. */
static void test_lengths(void **state)
{
    char text[300], want[300];
    UNUSED(state);
    for (int name = 1; name < 40; name++) {
        for (int value = 0; value < 40; value++) {
            static const char many[] = "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn";
            snprintf(text, sizeof text, "%.*s: %.*s\r\nAge: 1\r\n\r\n", name, many, value, many);
            snprintf(want, sizeof want, "*%.*s=%.*s\nage=1\n", name, many, value, many);
            assert_string_equal(pairs_of(text), want);
        }
    }
}

static void test_many(void **state)
{
    struct h2_nv v = {0};
    UNUSED(state);
    for (unsigned i = 0; i < 1000; i++)
        assert_true(h2_nv_add(&v, SLICE_LIT("te"), SLICE_LIT("trailers")));
    assert_int_equal(v.count, 1000);
    assert_memory_equal(v.pair[999].name, "te", 2);
    h2_nv_free(&v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lines), cmocka_unit_test(test_odd_values),
                                       cmocka_unit_test(test_lengths), cmocka_unit_test(test_many)};
    return cmocka_run_group_tests_name("proxy/h2_nv", tests, NULL, NULL);
}
