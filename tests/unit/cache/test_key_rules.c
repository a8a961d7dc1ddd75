/* test_key_rules.c: rules that differ have tags that differ, and Vary without what the key covers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cache/key.h"
#include "cache/key_rules.h"
#include "core/panic.h"
#include "tests/unit/cache/text_head.h"

static const char *one[] = {"a"}, *two[] = {"a", "b"}, *swapped[] = {"b", "a"}, *joined[] = {"ab"},
                  *split[] = {"ab", "c"}, *shifted[] = {"a", "bc"};
static struct config_key_param plain[] = {{"a", 1, false}}, wild[] = {{"a", 1, true}},
                               both[] = {{"a", 1, false}, {"b", 1, false}};
static struct config_header_match beta[] = {{"X-Beta", "1"}}, any[] = {{"X-Beta", ""}};

static void test_tags_differ(void **state)
{
    UNUSED(state);
    const struct config_route routes[] = {
        {.key = {.sort = false}},
        {.key = {.query = CONFIG_QUERY_NONE, .sort = true}},
        {.key = {.query = CONFIG_QUERY_ONLY, .sort = true, .params = plain, .param_count = 1}},
        {.key = {.query = CONFIG_QUERY_ONLY, .sort = false, .params = plain, .param_count = 1}},
        {.key = {.query = CONFIG_QUERY_EXCEPT, .sort = true, .params = plain, .param_count = 1}},
        {.key = {.query = CONFIG_QUERY_EXCEPT, .sort = true, .params = wild, .param_count = 1}},
        {.key = {.query = CONFIG_QUERY_EXCEPT, .sort = true, .params = both, .param_count = 2}},
        {.key = {.sort = true, .headers = {one, 1}}},
        {.key = {.sort = true, .headers = {two, 2}}},
        {.key = {.sort = true, .headers = {swapped, 2}}},
        {.key = {.sort = true, .headers = {joined, 1}}},
        {.key = {.sort = true, .headers = {split, 2}}},
        {.key = {.sort = true, .headers = {shifted, 2}}},
        {.key = {.sort = true, .cookies = {one, 1}}},
        {.key = {.sort = true, .headers = {one, 1}, .cookies = {one, 1}}},
        {.key = {.sort = true, .device = true}},
        {.key = {.sort = true, .languages = {two, 2}}},
        {.key = {.sort = true, .languages = {swapped, 2}}},
        {.key = {.sort = true}, .headers = beta, .header_count = 1},
        {.key = {.sort = true}, .headers = any, .header_count = 1},
        {.key = {.sort = true}, .compress = {1, {CODING_BR}}},
        {.key = {.sort = true}, .compress = {2, {CODING_BR, CODING_GZIP}}},
    };
    struct cache_key_rules rules[ARRAY_LEN(routes)], again;
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        cache_key_rules_make(&routes[i], &rules[i]);
        cache_key_rules_make(&routes[i], &again);
        slice_t tag = cache_key_rules_tag(&rules[i]);
        assert_ptr_equal(rules[i].custom, &routes[i].key);
        assert_int_equal(tag.len, CACHE_KEY_TAG_BYTES);
        assert_true(slice_starts(tag, SLICE_LIT(" rules:")) && slice_find(tag, ' ', 1) == SIZE_MAX);
        assert_true(slice_eq(tag, cache_key_rules_tag(&again)));
        for (size_t k = 0; k < i; k++)
            assert_false(slice_eq(tag, cache_key_rules_tag(&rules[k])));
    }
}

static void test_default_has_none(void **state)
{
    UNUSED(state);
    const struct config_route r = {.key = {.sort = true}};
    struct cache_key_rules rules;
    cache_key_rules_make(&r, &rules);
    assert_null(rules.custom);
    assert_int_equal(cache_key_rules_tag(&rules).len, 0);
}

static void expect_vary(const struct config_route *r, const char *lines, const char *want, bool want_star)
{
    struct cache_key_rules rules;
    struct text_head t;
    struct arena arena;
    bool star;
    cache_key_rules_make(r, &rules);
    arena_init(&arena, NULL, 0, 64 * KB);
    text_head_response(&t, 200, lines);
    const struct http_head *head = cache_key_rules_vary(&arena, &rules, &t.head);
    slice_t names = cache_vary_names(&arena, head, &star);
    assert_int_equal(star, want_star);
    if (!star && !slice_eq(names, slice_str(want)))
        fail_msg("%s leaves " SLICE_FMT " instead of %s", lines, SLICE_ARG(names), want);
    assert_int_equal(head->field_count, t.head.field_count);
    text_head_free(&t);
    arena_reset(&arena);
}

static void test_vary(void **state)
{
    UNUSED(state);
    static const char *headers[] = {"x-a"};
    const struct config_route all = {
        .key = {.sort = true, .device = true, .languages = {two, 2}, .headers = {headers, 1}}};
    const struct config_route device = {.key = {.sort = true, .device = true}};
    const struct config_route cookie = {.key = {.sort = true, .cookies = {one, 1}}};
    const struct config_route plain_route = {.key = {.sort = true}};
    expect_vary(&all, "ETag: x", "", false);
    expect_vary(&all, "Vary: User-Agent, Accept-Language", "", false);
    expect_vary(&all,
                "Vary: user-agent, X-B,Sec-CH-UA-Mobile\nVary: x-A, Accept-Encoding\nVary: Millpond-Device",
                "accept-encoding,x-b", false);
    expect_vary(&all, "Vary: Millpond-Language, X-AB", "x-ab", false);
    expect_vary(&all, "Vary: *", "", true);
    expect_vary(&all, "Vary: User-Agent\nVary: *", "", true);
    expect_vary(&all, "Vary: User-Agent, a b", "", true); /* no field name: may mean anything */
    expect_vary(&device, "Vary: User-Agent, Accept-Language", "accept-language", false);
    expect_vary(&cookie, "Vary: Cookie, User-Agent", "cookie,user-agent", false);
    expect_vary(&plain_route, "Vary: User-Agent", "user-agent", false);
}

/* Without memory all of Vary counts: variants too many, never one too few. */
static void test_vary_without_memory(void **state)
{
    UNUSED(state);
    const struct config_route device = {.key = {.sort = true, .device = true}};
    struct cache_key_rules rules;
    struct text_head t;
    struct arena arena;
    cache_key_rules_make(&device, &rules);
    text_head_response(&t, 200, "Vary: User-Agent");
    arena_init(&arena, NULL, 0, 0);
    assert_ptr_equal(cache_key_rules_vary(&arena, &rules, &t.head), &t.head);
    text_head_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tags_differ),
        cmocka_unit_test(test_default_has_none),
        cmocka_unit_test(test_vary),
        cmocka_unit_test(test_vary_without_memory),
    };
    return cmocka_run_group_tests_name("cache/key_rules", tests, NULL, NULL);
}
