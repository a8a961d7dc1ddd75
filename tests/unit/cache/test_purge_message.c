/* test_purge_message.c: messages of applications: lines and objects, and what refuses a whole message. */
#include "cache/purge_message.h"

#include "tests/unit/cache/fixture.h"

static struct cache_purge_request request;
static struct arena arena;

static bool read_message(const char *text)
{
    arena_reset(&arena);
    arena_init(&arena, NULL, 0, 256 * KB);
    cache_purge_request_init(&request, &arena);
    return cache_purge_request_add_message(&request, slice_str(text));
}

static void expect_item(size_t i, enum cache_purge_kind kind, const char *text)
{
    assert_true(i < request.count);
    assert_int_equal(request.items[i].kind, kind);
    assert_true(slice_eq(request.items[i].text, slice_str(text)));
}

static void test_one_line_of_each_kind(void **state)
{
    UNUSED(state);
    static const struct {
        const char *message;
        enum cache_purge_kind kind;
        const char *text;
        bool soft;
    } cases[] = {
        {"tag product-7", CACHE_PURGE_TAG, "product-7", false},
        {"tags product-7\n", CACHE_PURGE_TAG, "product-7", false},
        {"soft tag a,b", CACHE_PURGE_TAG, "a,b", true},
        {" \r\n\ttag\t a \r\n\r\n", CACHE_PURGE_TAG, "a", false},
        {"url http://EXAMPLE.com:80/page", CACHE_PURGE_URL, "http://example.com/page", false},
        {"any_query soft url http://h/s?q", CACHE_PURGE_URL_ANY_QUERY, "http://h/s", true},
        {"prefix http://h/news/", CACHE_PURGE_PREFIX, "http://h/news/", false},
        {"glob *.png", CACHE_PURGE_GLOB, "*.png", false},
        {"host h:8080", CACHE_PURGE_HOST, "h:8080", false},
        {"all", CACHE_PURGE_ALL, "", false},
        {"soft all", CACHE_PURGE_ALL, "", true},
        {"{\"tags\": \"a\"}", CACHE_PURGE_TAG, "a", false},
        {"\n {\"url\": \"http://h/s?q\", \"any_query\": true, \"soft\": true}\n", CACHE_PURGE_URL_ANY_QUERY,
         "http://h/s", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (!read_message(cases[i].message))
            fail_msg("%s: %s", cases[i].message, request.problem);
        assert_int_equal(request.count, 1);
        expect_item(0, cases[i].kind, cases[i].text);
        assert_int_equal(request.soft, cases[i].soft);
    }
}

static void test_several_lines_are_one_purge(void **state)
{
    UNUSED(state);
    assert_true(read_message("tag a b\nurl http://h/x?y\n\nsoft\nany_query host h"));
    assert_int_equal(request.count, 4);
    expect_item(0, CACHE_PURGE_TAG, "a");
    expect_item(1, CACHE_PURGE_TAG, "b");
    expect_item(2, CACHE_PURGE_URL_ANY_QUERY, "http://h/x"); /* by a word further down */
    expect_item(3, CACHE_PURGE_HOST, "h");
    assert_true(request.soft && request.any_query);
}

static void test_refusals(void **state)
{
    UNUSED(state);
    static const char *const cases[][2] = {
        {"", "it does not say what to purge"},
        {" \n\r\n", "it does not say what to purge"},
        {"soft", "it does not say what to purge"},
        {"product-7", "a line begins with a word that is not known"},
        {"tag a\nTAG b", "a line begins with a word that is not known"},
        {"hard tag a", "a line begins with a word that is not known"},
        {"tag", "there is no tag in it"},
        {"url", "there is nothing in it"},
        {"url /page", "a path alone does not say on which host"},
        {"url http://h/a http://h/b", "it has white space or control characters in it"},
        {"all of it", "there is something behind the word all"},
        {"tag a\001", "there are control characters in it"},
        {"tag a\rtag b", "there are control characters in it"},
        {"{\"tags\": \"a\"", "this begins like a JSON object and is none"},
        {"{\"tags\": \"a\"} tag b", "this begins like a JSON object and is none"},
        {"{\"tags\": \"a\", \"tags\": \"b\"}", "this begins like a JSON object and is none"},
        {"{\"tag\": \"a\"}", "there is no such member: tag"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (read_message(cases[i][0]))
            fail_msg("%s was taken", cases[i][0]);
        if (strcmp(request.problem, cases[i][1]) != 0)
            fail_msg("%s: %s", cases[i][0], request.problem);
        assert_true(strlen(request.hint) > 0);
    }
}

static void test_limits(void **state)
{
    UNUSED(state);
    static char text[CACHE_PURGE_MESSAGE_MAX + 2];
    char *at = text;
    for (unsigned i = 0; i < CACHE_PURGE_ITEMS_MAX; i++)
        at += sprintf(at, "tag t%u\n", i);
    assert_true(read_message(text));
    assert_int_equal(request.count, CACHE_PURGE_ITEMS_MAX);
    strcpy(at, "tag more");
    assert_false(read_message(text));
    memset(text, ' ', sizeof text - 1);
    memcpy(text, "tag a", 5);
    assert_false(read_message(text));
    assert_string_equal(request.problem, "this is too long");
    text[CACHE_PURGE_MESSAGE_MAX] = '\0';
    assert_true(read_message(text));
}

static int teardown(void **state)
{
    arena_reset(&arena);
    return fix_group_teardown(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_line_of_each_kind),
        cmocka_unit_test(test_several_lines_are_one_purge),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, fix_group_setup, teardown);
}
