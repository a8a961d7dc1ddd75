/* test_api_purge.c: POST /api/purge: what each body asks the cache for, and that a body which is not
 * understood asks for nothing. */
#include "admin_fixture.h"

static json_t *purge(struct fixture *f, const char *body, unsigned status)
{
    struct net_addr a = fx_unix(f->socket);
    char *answer = fx_ask(&a, "POST /api/purge", "", body);
    json_t *o = json_loads(fx_body_of(answer), 0, NULL);
    if (o == NULL || fx_status_of(answer) != status)
        fail_msg("%s: %s", body, answer);
    free(answer);
    return o;
}

static void expect_event(size_t i, enum cache_purge_kind kind, bool soft, const char *text)
{
    if (i >= fake_cache.count || fake_cache.events[i].kind != kind || fake_cache.events[i].soft != soft ||
        strcmp(fake_cache.events[i].text, text) != 0)
        fail_msg("event %zu of %zu is %d '%s', not %d '%s'", i, fake_cache.count, fake_cache.events[i].kind,
                 fake_cache.events[i].text, kind, text);
}

static void test_one_of_each_kind(void **state)
{
    static const struct {
        const char *body;
        enum cache_purge_kind kind;
        bool soft;
        const char *text, *kind_name;
    } cases[] = {
        {"{\"url\": \"http://EXAMPLE.com:80/a?b=1\"}", CACHE_PURGE_URL, false, "http://example.com/a?b=1",
         "url"},
        {"{\"url\": \"https://a.example/\", \"soft\": true}", CACHE_PURGE_URL, true, "http://a.example/",
         "url"},
        {"{\"url\": \"http://a/x?y\", \"any_query\": true}", CACHE_PURGE_URL_ANY_QUERY, false, "http://a/x",
         "url_any_query"},
        {"{\"url\": \"http://a/x?y\", \"any_query\": false, \"soft\": false}", CACHE_PURGE_URL, false,
         "http://a/x?y", "url"},
        {"{\"tags\": [\"news\"]}", CACHE_PURGE_TAG, false, "news", "tag"},
        {"{\"tags\": \"gr\u00fcn\"}", CACHE_PURGE_TAG, false, "gr\u00fcn", "tag"},
        {"{\"prefix\": \"a/news/\"}", CACHE_PURGE_PREFIX, false, "http://a/news/", "prefix"},
        {"{\"glob\": \"*.png\"}", CACHE_PURGE_GLOB, false, "*.png", "glob"},
        {"{\"host\": \"A.example\"}", CACHE_PURGE_HOST, false, "a.example", "host"},
        {"{\"all\": true, \"soft\": true}", CACHE_PURGE_ALL, true, "", "all"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        json_t *o = purge(*state, cases[i].body, 200);
        assert_int_equal(fake_cache.count, 1);
        expect_event(0, cases[i].kind, cases[i].soft, cases[i].text);
        const json_t *event = json_array_get(json_object_get(o, "events"), 0);
        assert_string_equal(json_string_value(json_object_get(event, "kind")), cases[i].kind_name);
        const char *text = json_string_value(json_object_get(event, "text"));
        assert_string_equal(text != NULL ? text : "", cases[i].text);
        /* a number would not survive all readers of JSON */
        assert_string_equal(json_string_value(json_object_get(o, "id")), "9007199254740993");
        assert_int_equal(json_is_true(json_object_get(o, "soft")), cases[i].soft);
        const json_t *purged = json_object_get(o, "purged");
        if (cases[i].kind == CACHE_PURGE_URL)
            assert_int_equal(json_integer_value(purged), 3);
        else
            assert_true(json_is_null(purged));
        json_decref(o);
    }
}

static void test_several_are_one_call(void **state)
{
    json_decref(purge(*state,
                      "{\"url\": [\"http://a/1\", \"http://a/2\"], \"tags\": [\"x\", \"y\"], \"host\": "
                      "\"b\", \"soft\": true}",
                      200));
    assert_int_equal(fake_cache.purges, 1);
    assert_int_equal(fake_cache.count, 5);
    expect_event(0, CACHE_PURGE_URL, true, "http://a/1");
    expect_event(3, CACHE_PURGE_TAG, true, "y");
    expect_event(4, CACHE_PURGE_HOST, true, "b");
}

static void test_refusals(void **state)
{
    struct fixture *f = *state;
    struct net_addr a = fx_unix(f->socket);
    static const char *const bad[] = {
        "",
        "{",
        "[]",
        "\"http://x/\"",
        "{}",
        "{\"url\": 1}",
        "{\"url\": \"\"}",
        "{\"url\": []}",
        "{\"url\": null}",
        "{\"url\": true, \"tags\": \"a\"}",
        "{\"url\": [[\"http://x/\"]]}",
        "{\"url\": [\"http://x/\", 2]}",
        "{\"url\": [\"http://x/\", \"nonsense\"]}",
        "{\"url\": \"/only/a/path\"}",
        "{\"url\": \"ftp://example.com/\"}",
        "{\"url\": \"http://\"}",
        "{\"all\": false}",
        "{\"all\": 1}",
        "{\"all\": [true]}",
        "{\"all\": true, \"url\": \"http://x/\"}",
        "{\"soft\": true}",
        "{\"url\": \"http://x/\", \"soft\": 1}",
        "{\"url\": \"http://x/\", \"any_query\": \"yes\"}",
        "{\"tags\": \"a\", \"any_query\": true}",
        "{\"url\": \"http://x/\", \"url\": \"http://y/\"}",
        "{\"url\": \"http://x/\", \"sfot\": true}",
        "{\"tag\": \"a\"}",
        "{\"tags\": \"a b\"}",
        "{\"tags\": \"a\\u0001b\"}",
        "{\"host\": \"*.example\"}",
        "{\"url\": \"http://x/\"} x",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_answer(&a, "POST /api/purge", "", bad[i], 400);
    assert_int_equal(fake_cache.purges, 0);
    json_t *o = purge(f, "{\"url\": \"/x\"}", 400);
    assert_non_null(strstr(json_string_value(json_object_get(o, "error")), "/x: a path alone"));
    assert_non_null(strstr(json_string_value(json_object_get(o, "hint")), "http://"));
    json_decref(o);
    fake_cache.problem = "the cache says no";
    o = purge(f, "{\"tags\": \"a\"}", 400);
    assert_string_equal(json_string_value(json_object_get(o, "error")), "the cache says no");
    json_decref(o);
    f->has_cache = false;
    assert_answer(&a, "POST /api/purge", "", "{\"url\": \"http://x/\"}", 409);
}

/* A list of `count` tags. */
static char *tags_body(size_t count)
{
    char *body = NULL;
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, json_sprintf("t%zu", i));
    json_t *o = json_pack("{s:o}", "tags", list);
    body = json_dumps(o, 0);
    json_decref(o);
    return body;
}

static void test_limits(void **state)
{
    char *most = tags_body(256), *more = tags_body(257);
    json_decref(purge(*state, most, 200));
    assert_int_equal(fake_cache.count, 256);
    json_t *o = purge(*state, more, 400);
    assert_non_null(strstr(json_string_value(json_object_get(o, "hint")), "256"));
    json_decref(o);
    char *body = malloc(10000);
    memset(body, 'a', 9999);
    memcpy(body, "{\"tags\": \"", 10);
    strcpy(body + 9000, "\"}");
    json_decref(purge(*state, body, 400));
    assert_int_equal(fake_cache.purges, 1);
    free(body);
    free(most);
    free(more);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)
    const struct CMUnitTest tests[] = {
        T(test_one_of_each_kind),
        T(test_several_are_one_call),
        T(test_refusals),
        T(test_limits),
    };
    return cmocka_run_group_tests_name("admin/api_purge", tests, NULL, NULL);
}
