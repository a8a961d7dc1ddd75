/* test_coding.c: which coding a client gets, and which types are worth one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/coding.h"

static const struct coding_list all = {3, {CODING_ZSTD, CODING_BR, CODING_GZIP}};
static const struct coding_list gzip_only = {1, {CODING_GZIP}};

static enum coding choose(const struct coding_list *offer, const char *first, const char *second)
{
    struct http_field fields[] = {
        {.name = SLICE_LIT("Accept-Encoding"), .value = slice_str(first), .id = HTTP_FIELD_ACCEPT_ENCODING},
        {.name = SLICE_LIT("Accept-Encoding"), .id = HTTP_FIELD_ACCEPT_ENCODING}};
    struct http_head head = {.fields = fields, .field_count = 1, .present = HTTP_BIT(ACCEPT_ENCODING)};
    if (second != NULL) {
        fields[1].value = slice_str(second);
        head.field_count = 2;
    }
    return coding_choose(&head, offer);
}

static void test_choice(void **state)
{
    static const struct {
        const char *accept;
        enum coding of_all, of_gzip;
    } rows[] = {
        {"gzip, deflate, br, zstd", CODING_ZSTD, CODING_GZIP},
        {"gzip, deflate, br", CODING_BR, CODING_GZIP},
        {"GZIP", CODING_GZIP, CODING_GZIP},
        {"x-gzip", CODING_GZIP, CODING_GZIP},
        {"", CODING_IDENTITY, CODING_IDENTITY},
        {"deflate", CODING_IDENTITY, CODING_IDENTITY},
        {"identity", CODING_IDENTITY, CODING_IDENTITY},
        {"*", CODING_ZSTD, CODING_GZIP},
        {"*;q=0", CODING_IDENTITY, CODING_IDENTITY},
        {"identity;q=1, *;q=0", CODING_IDENTITY, CODING_IDENTITY},
        {"gzip;q=0, *", CODING_ZSTD, CODING_IDENTITY},
        {"gzip;q=0", CODING_IDENTITY, CODING_IDENTITY},
        {"gzip;q=1, *;q=0", CODING_GZIP, CODING_GZIP},
        {"br;q=0.9, gzip;q=1", CODING_GZIP, CODING_GZIP},
        {"zstd;q=0.1, br;q=0.2, gzip;q=0.1", CODING_BR, CODING_GZIP},
        {"identity;q=0.5, gzip;q=0.4", CODING_IDENTITY, CODING_IDENTITY},
        {"identity;q=0.5, gzip;q=0.5", CODING_GZIP, CODING_GZIP},
        {"identity;q=0", CODING_IDENTITY, CODING_IDENTITY},
        {"gzip;q=nonsense", CODING_IDENTITY, CODING_IDENTITY},
        {"gzip;level=9", CODING_IDENTITY, CODING_IDENTITY},
        {"gzip ; q=0.001", CODING_GZIP, CODING_GZIP},
        {"gzip;q=0.0009", CODING_IDENTITY, CODING_IDENTITY},
        {"gzip, gzip;q=0", CODING_IDENTITY, CODING_IDENTITY},
        {", ,gzip,", CODING_GZIP, CODING_GZIP},
        {"brr, zst", CODING_IDENTITY, CODING_IDENTITY},
    };
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (choose(&all, rows[i].accept, NULL) != rows[i].of_all ||
            choose(&gzip_only, rows[i].accept, NULL) != rows[i].of_gzip)
            fail_msg("\"%s\"", rows[i].accept);
    }
    assert_int_equal(choose(&all, "gzip", "br;q=0.5"), CODING_GZIP);
    assert_int_equal(choose(&all, "gzip", "br"), CODING_BR);
    assert_int_equal(coding_choose(&(struct http_head){.fields = NULL}, &all), CODING_IDENTITY);
    assert_int_equal(choose(&(struct coding_list){.count = 0}, "gzip", NULL), CODING_IDENTITY);
}

static void test_few_elements_are_read(void **state)
{
    char many[256] = "";
    UNUSED(state);
    for (int i = 0; i < 32; i++)
        strcat(many, "a,");
    assert_int_equal(choose(&all, strcat(many, "gzip"), NULL), CODING_IDENTITY);
}

static void test_types(void **state)
{
    static const char *const yes[] = {
        "text/html; charset=utf-8", "TEXT/CSS",         "application/json", "image/svg+xml",
        "application/problem+json", "application/wasm", "font/ttf",         " application/javascript ;a=b"};
    static const char *const no[] = {"",
                                     "text/",
                                     "text/event-stream",
                                     "Text/Event-Stream; a=b",
                                     "image/png",
                                     "font/woff2",
                                     "application/zip",
                                     "application/octet-stream",
                                     "+json",
                                     "video/mp4",
                                     "multipart/byteranges; boundary=text/html",
                                     "application/grpc+proto"};
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
        if (!coding_helps(slice_str(yes[i])))
            fail_msg("%s", yes[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(no); i++) {
        if (coding_helps(slice_str(no[i])))
            fail_msg("%s", no[i]);
    }
}

static void test_names(void **state)
{
    UNUSED(state);
    assert_string_equal(coding_name(CODING_GZIP).ptr, "gzip");
    assert_string_equal(coding_name(CODING_BR).ptr, "br");
    assert_string_equal(coding_name(CODING_ZSTD).ptr, "zstd");
    assert_int_equal(coding_name(CODING_ZSTD).len, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_choice),
        cmocka_unit_test(test_few_elements_are_read),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
