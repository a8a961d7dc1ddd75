/* test_purge_json.c: objects that name what to purge; each refusal says why. What each kind becomes is tested
 * through the API (admin/test_api_purge). */
#include "cache/purge_json.h"

#include "tests/unit/cache/fixture.h"

static struct cache_purge_request request;

static bool read_json(struct arena *arena, const char *text)
{
    json_t *object = json_loads(text, 0, NULL);
    assert_true(json_is_object(object));
    arena_init(arena, NULL, 0, 64 * KB);
    cache_purge_request_init(&request, arena);
    bool ok = cache_purge_request_add_json(&request, object);
    json_decref(object);
    return ok;
}

static void test_all_kinds_in_one(void **state)
{
    UNUSED(state);
    static const enum cache_purge_kind kinds[] = {CACHE_PURGE_URL_ANY_QUERY, CACHE_PURGE_TAG,
                                                  CACHE_PURGE_TAG,           CACHE_PURGE_PREFIX,
                                                  CACHE_PURGE_GLOB,          CACHE_PURGE_HOST};
    struct arena arena;
    unsigned seen = 0;
    assert_true(read_json(&arena,
                          "{\"url\": \"http://h/a\", \"tags\": [\"x\", \"y\"], \"prefix\": \"h/n/\", "
                          "\"glob\": \"*.png\", \"host\": \"h\", \"soft\": true, \"any_query\": true}"));
    assert_true(request.soft && request.any_query);
    assert_int_equal(request.count, ARRAY_LEN(kinds));
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) /* members come in any order */
        seen |= 1u << request.items[i].kind;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        assert_true(seen & 1u << kinds[i]);
    arena_reset(&arena);
}

static void test_refusals(void **state)
{
    UNUSED(state);
    static const char *const cases[][2] = {
        {"{}", "it does not say what to purge"},
        {"{\"soft\": true}", "it does not say what to purge"},
        {"{\"tag\": \"a\"}", "there is no such member: tag"},
        {"{\"tags\": []}", "there is an empty list in it"},
        {"{\"tags\": [1]}", "what to purge is a text or a list of texts"},
        {"{\"tags\": {}}", "what to purge is a text or a list of texts"},
        {"{\"tags\": [\"a\", \"b c\"]}", "b c: it has white space or control characters in it"},
        {"{\"all\": false}", "all is true or left out"},
        {"{\"all\": true, \"soft\": 1}", "soft and any_query are true or false"},
        {"{\"all\": true, \"any_query\": null}", "soft and any_query are true or false"},
        {"{\"url\": \"/page\"}", "/page: a path alone does not say on which host"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct arena arena;
        assert_false(read_json(&arena, cases[i][0]));
        assert_string_equal(request.problem, cases[i][1]);
        assert_true(strlen(request.hint) > 0);
        arena_reset(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_kinds_in_one),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, fix_group_setup, fix_group_teardown);
}
