/* test_error_page.c: HTML or JSON by what the client accepts, and a request id that cannot break out of
 * either. */
#include "proxy/error_page.h"

#include "fixture.h"

#include <jansson.h>

static struct http_head accept_head(struct http_field *field, const char *value)
{
    *field =
        (struct http_field){.name = SLICE_LIT("Accept"), .value = slice_str(value), .id = HTTP_FIELD_ACCEPT};
    return (struct http_head){.fields = field, .field_count = value != NULL, .present = HTTP_BIT(ACCEPT)};
}

static bool is_json(const char *accept)
{
    struct arena arena;
    struct http_field field;
    struct http_head head = accept_head(&field, accept);
    arena_init(&arena, NULL, 0, 64 * KB);
    struct error_page page = error_page_make(&arena, &head, 503, "a sentence", SLICE_LIT("id"));
    assert_non_null(page.body.ptr);
    bool json = slice_eq(page.type, SLICE_LIT("application/json"));
    if (!json)
        assert_true(slice_eq(page.type, SLICE_LIT("text/html; charset=utf-8")));
    assert_int_equal(page.body.ptr[0], json ? '{' : '<');
    arena_reset(&arena);
    return json;
}

static void test_accept(void **state)
{
    UNUSED(state);
    assert_false(is_json(NULL));
    assert_false(is_json(""));
    assert_false(is_json("*/*"));
    assert_true(is_json("application/json"));
    assert_true(is_json("Application/JSON"));
    assert_true(is_json("  application/json ;q=0.5, */*"));
    assert_true(is_json("text/plain, application/json;charset=utf-8"));
    assert_true(is_json("application/json, text/html"));
    assert_false(is_json("text/html, application/json"));
    assert_false(is_json("text/html;q=0.9,application/json"));
    assert_false(is_json("application/jsonx"));
    assert_false(is_json("application/problem+json"));
    assert_false(is_json("\"application/json\""));
    assert_false(is_json(",,;,"));
}

static void test_second_accept_line(void **state)
{
    UNUSED(state);
    struct arena arena;
    struct http_field fields[] = {{SLICE_LIT("Accept"), SLICE_LIT("image/png"), HTTP_FIELD_ACCEPT},
                                  {SLICE_LIT("Accept"), SLICE_LIT("application/json"), HTTP_FIELD_ACCEPT}};
    struct http_head head = {.fields = fields, .field_count = 2, .present = HTTP_BIT(ACCEPT)};
    arena_init(&arena, NULL, 0, 64 * KB);
    assert_true(slice_eq(error_page_make(&arena, &head, 404, "x", SLICE_LIT("i")).type,
                         SLICE_LIT("application/json")));
    arena_reset(&arena);
}

static void test_hostile_id(void **state)
{
    UNUSED(state);
    static const char evil[] = "<script>\"'&\\\r\n\t%s\x01\xff{}abc-XYZ.09_:/+=";
    struct arena arena;
    struct http_field field;
    struct http_head html = accept_head(&field, NULL);
    json_error_t error;
    arena_init(&arena, NULL, 0, 64 * KB);
    slice_t id = slice_make(evil, sizeof evil); /* its NUL too */
    struct error_page page = error_page_make(&arena, &html, 502, "d", id);
    assert_non_null(page.body.ptr);
    assert_null(strstr(page.body.ptr, "<script>"));
    assert_non_null(strstr(page.body.ptr, "Request _script__"));
    assert_non_null(strstr(page.body.ptr, "abc-XYZ.09_:/+=_</p>"));
    struct http_head json = accept_head(&field, "application/json");
    page = error_page_make(&arena, &json, 502, "d", id);
    json_t *parsed = json_loadb(page.body.ptr, page.body.len, 0, &error);
    assert_non_null(parsed);
    assert_int_equal(json_integer_value(json_object_get(parsed, "status")), 502);
    assert_string_equal(json_string_value(json_object_get(parsed, "error")), "Bad Gateway");
    assert_string_equal(json_string_value(json_object_get(parsed, "detail")), "d");
    assert_null(strpbrk(json_string_value(json_object_get(parsed, "request_id")), "<>\"'&\\%{}"));
    json_decref(parsed);
    arena_reset(&arena);
}

static void test_no_memory(void **state)
{
    UNUSED(state);
    struct arena arena;
    char block[64];
    struct http_field field;
    struct http_head head = accept_head(&field, NULL);
    arena_init(&arena, block, sizeof block, 0);
    assert_null(error_page_make(&arena, &head, 500, "d", SLICE_LIT("id")).body.ptr);
    assert_null(error_page_make(&arena, &head, 599, "d", SLICE_EMPTY).body.ptr);
    arena_reset(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accept),
        cmocka_unit_test(test_second_accept_line),
        cmocka_unit_test(test_hostile_id),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests_name("proxy/error_page", tests, NULL, NULL);
}
