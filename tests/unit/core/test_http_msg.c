/* test_http_msg.c: the tables of fields, methods and statuses, and look-ups in a head. */
#include "core/http_msg.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

static const char *const names[] = {[HTTP_FIELD_OTHER] = "",
#define X(id, name) [HTTP_FIELD_##id] = name,
                                    HTTP_FIELDS(X)
#undef X
};

/* From a block of exactly its size, so that a sanitizer sees any read beyond. */
static enum http_field_id lookup(const char *text, size_t len)
{
    char *block = malloc(len > 0 ? len : 1);
    assert_non_null(block);
    memcpy(block, text, len);
    enum http_field_id id = http_field_lookup(slice_make(block, len));
    free(block);
    return id;
}

static void test_every_field_is_found(void **state)
{
    UNUSED(state);
    for (unsigned id = 1; id < HTTP_FIELD_COUNT; id++) {
        char text[32];
        size_t len = strlen(names[id]);
        assert_int_equal(lookup(names[id], len), id);
        for (size_t i = 0; i < len; i++)
            text[i] = names[id][i] >= 'a' && names[id][i] <= 'z' ? (char)(names[id][i] - 32) : names[id][i];
        assert_int_equal(lookup(text, len), id);
        slice_t name = http_field_name((enum http_field_id)id);
        assert_true(slice_eq(name, slice_str(names[id])));
    }
}

/* Each name with each byte replaced by each other value: only the other case is the same name. */
static void test_near_misses(void **state)
{
    UNUSED(state);
    for (unsigned id = 1; id < HTTP_FIELD_COUNT; id++) {
        char text[32];
        size_t len = strlen(names[id]);
        memcpy(text, names[id], len + 1);
        for (size_t i = 0; i < len; i++) {
            for (unsigned c = 0; c < 256; c++) {
                text[i] = (char)c;
                bool same = ascii_lower((char)c) == names[id][i];
                enum http_field_id got = http_field_lookup(slice_make(text, len));
                assert_true(same ? got == id : got != id);
            }
            text[i] = names[id][i];
        }
        assert_int_not_equal(lookup(text, len - 1), id);
        text[len] = 'x';
        assert_int_not_equal(lookup(text, len + 1), id);
    }
}

static void test_other_names(void **state)
{
    UNUSED(state);
    static const char *const other[] = {
        "",          "x",   "foo",   "x-custom",
        "sec-ch-ua", "hos", "hostt", "a-name-that-is-longer-than-any-that-is-known-here"};
    for (size_t i = 0; i < ARRAY_LEN(other); i++)
        assert_int_equal(lookup(other[i], strlen(other[i])), HTTP_FIELD_OTHER);
    assert_int_equal(http_field_name(HTTP_FIELD_OTHER).len, 0);
}

static void test_head_lookups(void **state)
{
    UNUSED(state);
    struct http_field fields[] = {
        {SLICE_LIT("Via"), SLICE_LIT("1"), HTTP_FIELD_VIA},   {SLICE_LIT("X-One"), SLICE_LIT("2"), 0},
        {SLICE_LIT("via"), SLICE_LIT("3"), HTTP_FIELD_VIA},   {SLICE_LIT("x-one"), SLICE_LIT("4"), 0},
        {SLICE_LIT("Host"), SLICE_LIT("5"), HTTP_FIELD_HOST},
    };
    struct http_head h = {.fields = fields,
                          .field_count = ARRAY_LEN(fields),
                          .present = HTTP_BIT(VIA) | HTTP_BIT(HOST) | HTTP_BIT(OTHER)};
    assert_ptr_equal(http_head_get(&h, HTTP_FIELD_VIA), &fields[0]);
    assert_ptr_equal(http_head_get(&h, HTTP_FIELD_HOST), &fields[4]);
    assert_null(http_head_get(&h, HTTP_FIELD_AGE));
    assert_ptr_equal(http_head_find(&h, SLICE_LIT("X-ONE")), &fields[1]);
    assert_ptr_equal(http_head_find(&h, SLICE_LIT("VIA")), &fields[0]);
    assert_null(http_head_find(&h, SLICE_LIT("X-Two")));
    assert_null(http_head_find(&h, SLICE_LIT("Age")));
    assert_int_equal(http_head_count(&h, HTTP_FIELD_VIA), 2);
    assert_int_equal(http_head_count(&h, HTTP_FIELD_HOST), 1);
    assert_int_equal(http_head_count(&h, HTTP_FIELD_AGE), 0);
    assert_true(http_head_has(&h, HTTP_FIELD_VIA));
    assert_false(http_head_has(&h, HTTP_FIELD_AGE));
}

static void test_methods(void **state)
{
    UNUSED(state);
#define X(id, text, safe, idem)                                                                              \
    assert_int_equal(http_method_lookup(SLICE_LIT(text)), HTTP_##id);                                        \
    assert_true(slice_eq(http_method_name(HTTP_##id), SLICE_LIT(text)));                                     \
    assert_int_equal(http_method_is_safe(HTTP_##id), safe);                                                  \
    assert_int_equal(http_method_is_idempotent(HTTP_##id), idem);
    HTTP_METHODS(X)
#undef X
    assert_int_equal(http_method_lookup(SLICE_LIT("get")), HTTP_METHOD_OTHER);
    assert_int_equal(http_method_lookup(SLICE_LIT("GETX")), HTTP_METHOD_OTHER);
    assert_int_equal(http_method_lookup(SLICE_LIT("GE")), HTTP_METHOD_OTHER);
    assert_int_equal(http_method_lookup(SLICE_EMPTY), HTTP_METHOD_OTHER);
    assert_false(http_method_is_safe(HTTP_METHOD_OTHER));
    assert_false(http_method_is_idempotent(HTTP_METHOD_OTHER));
}

static void test_reasons(void **state)
{
    UNUSED(state);
    assert_true(slice_eq(http_status_reason(200), SLICE_LIT("OK")));
    assert_true(slice_eq(http_status_reason(404), SLICE_LIT("Not Found")));
    assert_true(slice_eq(http_status_reason(431), SLICE_LIT("Request Header Fields Too Large")));
    assert_true(slice_eq(http_status_reason(505), SLICE_LIT("HTTP Version Not Supported")));
    assert_true(slice_eq(http_status_reason(299), SLICE_LIT("Unknown")));
    assert_true(slice_eq(http_status_reason(0), SLICE_LIT("Unknown")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_field_is_found),
        cmocka_unit_test(test_near_misses),
        cmocka_unit_test(test_other_names),
        cmocka_unit_test(test_head_lookups),
        cmocka_unit_test(test_methods),
        cmocka_unit_test(test_reasons),
    };
    return cmocka_run_group_tests_name("core/http_msg", tests, NULL, NULL);
}
