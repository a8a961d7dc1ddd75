/* test_tags.c: where tags come from, what a 304 changes, limits, and what a client that may see them gets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cache/tags.h"
#include "tests/unit/cache/text_head.h"

#define KEY "http://h:8080/page?q"

static struct arena arena;

static int setup(void **state)
{
    UNUSED(state);
    arena_init(&arena, NULL, 0, 256 * KB);
    return 0;
}

static int teardown(void **state)
{
    UNUSED(state);
    arena_reset(&arena);
    return 0;
}

static enum no_store_reason collect(const char *lines, const char *route, const struct cache_tags *old,
                                    struct cache_tags *out)
{
    struct text_head t;
    text_head_response(&t, old != NULL ? 304 : 200, lines);
    const struct cache_tags_from from = {
        .response = &t.head, .groups = &t.head, .old = old, .key = SLICE_LIT(KEY), .route = slice_str(route)};
    enum no_store_reason why = cache_tags_collect(&arena, &from, out);
    text_head_free(&t);
    return why;
}

static void expect(const char *lines, const char *route, const struct cache_tags *old, const char *want)
{
    struct cache_tags tags;
    assert_int_equal(collect(lines, route, old, &tags), NO_STORE_STORED);
    slice_t joined = cache_tags_joined(&tags);
    if (!slice_eq(joined, slice_str(want)))
        fail_msg("%s: \"" SLICE_FMT "\" instead of \"%s\"", lines, SLICE_ARG(joined), want);
}

static void test_fields(void **state)
{
    UNUSED(state);
    expect("Content-Type: a", "", NULL, "");
    expect("Surrogate-Key: a b  c", "", NULL, "a b c");
    expect("Surrogate-Key: a\nSurrogate-Key: b", "", NULL, "a b");
    expect("Surrogate-Key: a,b", "", NULL, "a,b");
    expect("Cache-Tag: a, b,c ,, d e", "", NULL, "a b c d e");
    expect("XKey: a b\nxkey: c", "", NULL, "a b c");
    expect("xkey: x\nCache-Tag: t\nSurrogate-Key: s", "r1 r2", NULL, "s t x r1 r2");
    expect("Surrogate-Key:", "", NULL, "");
    expect("Cache-Tag: ,", "", NULL, "");
    expect("Content-Type: a", "r", NULL, "r");
}

static void test_groups_belong_to_their_origin(void **state)
{
    UNUSED(state);
    expect("Cache-Groups: \"a\", \"b\"", "", NULL, "http://h:8080#a http://h:8080#b");
    expect("Cache-Groups: \"a\";p=1\nCache-Groups: \"b\"", "", NULL, "http://h:8080#a http://h:8080#b");
    expect("Cache-Groups: \"a b%\\\"\\\\\"", "", NULL, "http://h:8080#a%20b%25\"\\");
    expect("Cache-Groups: \"\"", "", NULL, "http://h:8080#");
    expect("Cache-Groups: a", "", NULL, "");
    expect("Cache-Groups: \"a\", b", "", NULL, "");
    expect("Cache-Groups: \"a\"\nCache-Groups: \"b", "t", NULL, "t");
    expect("Cache-Groups: (\"a\")", "", NULL, "");
}

static void test_304_replaces_field_by_field(void **state)
{
    UNUSED(state);
    struct cache_tags old;
    assert_int_equal(
        collect("Surrogate-Key: s1 s2\nCache-Tag: t\nxkey: x\nCache-Groups: \"g\"", "r", NULL, &old),
        NO_STORE_STORED);
    expect("ETag: \"v\"", "r", &old, "s1 s2 t x r");
    expect("Cache-Tag: new, er", "r", &old, "s1 s2 new er x r");
    expect("Surrogate-Key:\nxkey: y", "", &old, "t y");
    expect("Cache-Groups: \"h\"", "", &old,
           "s1 s2 t x http://h:8080#h"); /* groups: as the refreshed head has them */
}

static void test_limits(void **state)
{
    UNUSED(state);
    struct cache_tags tags;
    char *lines = malloc(2 * CACHE_TAGS_BYTES_MAX);
    assert_non_null(lines);
    strcpy(lines, "Cache-Tag: ");
    for (unsigned i = 0; i < CACHE_TAGS_MAX; i++)
        strcat(lines, "a,");
    assert_int_equal(collect(lines, "", NULL, &tags), NO_STORE_STORED);
    assert_int_equal(collect(lines, "route", NULL, &tags), NO_STORE_TAGS_TOO_LARGE);
    strcpy(lines, "Cache-Tag: ");
    memset(lines + 11, 'a', CACHE_TAGS_BYTES_MAX - 1);
    lines[11 + CACHE_TAGS_BYTES_MAX - 1] = '\0';
    assert_int_equal(collect(lines, "", NULL, &tags), NO_STORE_STORED);
    assert_int_equal(tags.text.len, CACHE_TAGS_BYTES_MAX);
    strcat(lines, "b");
    assert_int_equal(collect(lines, "", NULL, &tags), NO_STORE_TAGS_TOO_LARGE);
    free(lines);
}

static void test_no_memory(void **state)
{
    UNUSED(state);
    struct cache_tags tags;
    arena_init(&arena, NULL, 0, 0);
    assert_int_equal(collect("Cache-Tag: a", "", NULL, &tags), NO_STORE_NO_MEMORY);
    assert_int_equal(collect("Content-Type: a", "", NULL, &tags), NO_STORE_STORED);
}

static void test_field_lines(void **state)
{
    UNUSED(state);
    struct cache_tags tags;
    assert_int_equal(collect("xkey: x\nSurrogate-Key: a b\nCache-Groups: \"g\"", "r", NULL, &tags),
                     NO_STORE_STORED);
    slice_t lines = cache_tags_field_lines(&arena, &tags);
    assert_true(slice_eq(lines, SLICE_LIT("Surrogate-Key: a b\r\nxkey: x\r\n")));
    assert_int_equal(collect("Cache-Tag: t", "r", NULL, &tags), NO_STORE_STORED);
    assert_true(slice_eq(cache_tags_field_lines(&arena, &tags), SLICE_LIT("Cache-Tag: t\r\n")));
}

static void test_invalidated_groups(void **state)
{
    UNUSED(state);
    static const struct {
        const char *lines, *want;
    } cases[] = {
        {"Cache-Group-Invalidation: \"a\", \"b c\"", "http://h:8080#a http://h:8080#b%20c"},
        {"Cache-Groups: \"a\"", ""},
        {"Cache-Group-Invalidation: a", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct text_head t;
        text_head_response(&t, 204, cases[i].lines);
        slice_t tags =
            cache_tags_of_groups(&arena, &t.head, SLICE_LIT("Cache-Group-Invalidation"), SLICE_LIT(KEY));
        assert_true(slice_eq(tags, slice_str(cases[i].want)));
        text_head_free(&t);
    }
}

/* A body made of two responses: what either carries. */
static void test_joined(void **state)
{
    UNUSED(state);
    struct text_head t;
    struct cache_tags old, tags;
    assert_int_equal(
        collect("Surrogate-Key: a b\nCache-Tag: c\nxkey: d\nCache-Groups: \"g\"", "r", NULL, &old),
        NO_STORE_STORED);
    text_head_response(&t, 206, "Surrogate-Key: e\nCache-Tag: c\nCache-Groups: \"h\"");
    const struct cache_tags_from from = {.response = &t.head,
                                         .groups = &t.head,
                                         .old = &old,
                                         .joins = true,
                                         .key = SLICE_LIT(KEY),
                                         .route = SLICE_LIT("r")};
    assert_int_equal(cache_tags_collect(&arena, &from, &tags), NO_STORE_STORED);
    assert_true(
        slice_eq(cache_tags_joined(&tags), SLICE_LIT("e a b c d http://h:8080#h r http://h:8080#g r")));
    assert_int_equal(tags.bytes[CACHE_TAG_SURROGATE_KEY], sizeof "e a b " - 1);
    assert_int_equal(tags.bytes[CACHE_TAG_CACHE_TAG], sizeof "c " - 1);
    text_head_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_fields, setup, teardown),
        cmocka_unit_test_setup_teardown(test_groups_belong_to_their_origin, setup, teardown),
        cmocka_unit_test_setup_teardown(test_304_replaces_field_by_field, setup, teardown),
        cmocka_unit_test_setup_teardown(test_joined, setup, teardown),
        cmocka_unit_test_setup_teardown(test_limits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_field_lines, setup, teardown),
        cmocka_unit_test_setup_teardown(test_invalidated_groups, setup, teardown),
    };
    return cmocka_run_group_tests_name("cache/tags", tests, NULL, NULL);
}
