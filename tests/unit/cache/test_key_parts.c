/* test_key_parts.c: what a route adds to a key: values told apart as the application would, and no value that
 * looks like another's parts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cache/key.h"
#include "cache/key_parts.h"
#include "core/panic.h"
#include "tests/unit/cache/text_head.h"

static const char *headers[] = {"x-a", "accept-encoding"};
static const char *cookies[] = {"theme", "b"};
static const char *languages[] = {"en", "de"};

static struct cache_key_rules rules_of(struct config_route *r)
{
    struct cache_key_rules rules;
    cache_key_rules_make(r, &rules);
    return rules;
}

/* The parts behind the tag. */
static void expect_parts(struct config_route *r, const char *lines, const char *want)
{
    const struct cache_key_rules rules = rules_of(r);
    struct text_head t;
    struct arena arena;
    bool too_long = true;
    arena_init(&arena, NULL, 0, 64 * KB);
    text_head_request(&t, HTTP_GET, lines);
    slice_t parts = cache_key_parts(&arena, &rules, &t.head, &too_long);
    assert_false(too_long);
    assert_true(slice_starts(parts, cache_key_rules_tag(&rules)));
    parts = slice_make(parts.ptr + CACHE_KEY_TAG_BYTES, parts.len - CACHE_KEY_TAG_BYTES);
    if (!slice_eq(parts, slice_str(want)))
        fail_msg("%s gives \"" SLICE_FMT "\" instead of \"%s\"", lines, SLICE_ARG(parts), want);
    text_head_free(&t);
    arena_reset(&arena);
}

static void test_headers(void **state)
{
    UNUSED(state);
    struct config_route r = {.key = {.sort = true, .headers = {headers, 2}}};
    static const char *const rows[][2] = {
        {"", ""},
        {"X-A:", " x-a="},
        {"x-a: 1", " x-a=1"},
        {"X-A:  a ,b,, c", " x-a=a,%20b,%20c"},
        {"X-A: a\nX-A: b", " x-a=a,%20b"},
        {"X-A: a%20b", " x-a=a%2520b"},
        {"X-A: \xc3\xa4\t\"q\"", " x-a=%C3%A4%09\"q\""},
        {"X-A: 1 accept-encoding=gzip", " x-a=1%20accept-encoding=gzip"},
        {"X-A: 1\nAccept-Encoding: gzip", " x-a=1 accept-encoding=gzip"},
        {"Accept-Encoding: GZIP, br", " accept-encoding=br,%20gzip"},
        {"X-Other: 1\nCookie: theme=a", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        expect_parts(&r, rows[i][0], rows[i][1]);
}

static void test_cookies(void **state)
{
    UNUSED(state);
    struct config_route r = {.key = {.sort = true, .cookies = {cookies, 2}}};
    static const char *const rows[][2] = {
        {"", ""},
        {"Cookie:", ""},
        {"Cookie: theme=dark", " cookie:theme=dark"},
        {"Cookie: theme=", " cookie:theme="},
        {"Cookie: theme", " cookie:theme"},
        {"Cookie: xtheme=y; themex=z", ""},
        {"Cookie: a=1; theme=x; c=2", " cookie:theme=x"},
        {"Cookie: b=1;theme=x", " cookie:theme=x cookie:b=1"},
        {"Cookie: theme = x ;b", " cookie:theme=%20x cookie:b"},
        {"Cookie: theme=1; theme=2", " cookie:theme=1 cookie:theme=2"},
        {"Cookie: theme=2; theme=1", " cookie:theme=2 cookie:theme=1"},
        {"Cookie: theme=1\nCookie: b=2", " cookie:theme=1 cookie:b=2"},
        {"Cookie: theme=a=b", " cookie:theme=a=b"},
        {"Cookie: theme=x y cookie:b=1", " cookie:theme=x%20y%20cookie:b=1"},
        {"Cookie: theme=\"a;b\"; b=1",
         " cookie:theme=\"a;b\";%20b=1 cookie:\"b=1"}, /* too much rather than too little */
        {"Cookie: b=\"", " cookie:b=\""},
        {"Cookie: x=\"; theme=dark", " cookie:\"theme=dark"},
        {"Cookie: x=\"\nCookie: theme=dark", " cookie:\"theme=dark"},
        {"Cookie: x=\"a\\\"; theme=dark", " cookie:\"theme=dark"},
        {"Cookie: x=\"a\"b\"; theme=dark", " cookie:\"theme=dark"},
        {"Cookie: x=\"a\"; theme=dark", " cookie:theme=dark"},
        {"Cookie: theme=\"; theme=x", " cookie:theme=\";%20theme=x cookie:\"theme=x"},
        {"Cookie: Theme=x; theme[a]=y; %74heme=z", " cookie:Theme=x cookie:theme[a]=y cookie:%2574heme=z"},
        {"Cookie: themes=x; them=y; the.me=z; =theme", ""},
        {"Cookie: ;;=;theme=x", " cookie:theme=x"},
        {"X-A: theme=x", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        expect_parts(&r, rows[i][0], rows[i][1]);
}

static void test_classes(void **state)
{
    UNUSED(state);
    struct config_route r = {
        .key = {.sort = true, .device = true, .languages = {languages, 2}, .cookies = {cookies, 1}}};
    expect_parts(&r, "", " device:desktop language:en");
    expect_parts(&r, "User-Agent: Mobile\nAccept-Language: de-CH\nCookie: theme=x",
                 " cookie:theme=x device:mobile language:de");
}

/* No route that adds nothing pays for it. */
static void test_nothing_by_default(void **state)
{
    UNUSED(state);
    struct config_route r = {.key = {.sort = true}};
    const struct cache_key_rules rules = rules_of(&r);
    struct text_head t;
    struct arena arena;
    bool too_long = true;
    arena_init(&arena, NULL, 0, 0);
    text_head_request(&t, HTTP_GET, "X-A: 1");
    slice_t parts = cache_key_parts(&arena, &rules, &t.head, &too_long);
    assert_true(parts.ptr != NULL && parts.len == 0 && !too_long);
    text_head_free(&t);
}

static void expect_none(struct config_route *r, const char *lines, size_t memory, bool want_too_long)
{
    const struct cache_key_rules rules = rules_of(r);
    struct text_head t;
    struct arena arena;
    bool too_long = !want_too_long;
    arena_init(&arena, NULL, 0, memory);
    text_head_request(&t, HTTP_GET, lines);
    assert_null(cache_key_parts(&arena, &rules, &t.head, &too_long).ptr);
    assert_int_equal(too_long, want_too_long);
    text_head_free(&t);
    arena_reset(&arena);
}

static void test_bounded(void **state)
{
    UNUSED(state);
    struct config_route by_cookie = {.key = {.sort = true, .cookies = {cookies, 1}}};
    struct config_route by_header = {.key = {.sort = true, .headers = {headers, 1}}};
    static char line[3 * CACHE_KEY_PARTS_MAX];
    memset(line, 'x', sizeof line - 1);
    memcpy(line, "Cookie: theme=", 14);
    expect_none(&by_cookie, line, 1 * MB, true);
    memcpy(line, "X-A:          ", 14);
    expect_none(&by_header, line, 1 * MB, true);
    expect_none(&by_cookie, "Cookie: theme=x", 0, false); /* no memory */
    memset(line + 14, '%', 2000);                         /* short enough before it is encoded */
    line[14 + 2000] = '\0';
    expect_none(&by_header, line, 1 * MB, true);
}

/* What a purge and a person see of the key. */
static void test_key_of_request(void **state)
{
    UNUSED(state);
    struct config_route routes[] = {{.key = {.sort = true, .device = true}}, {.key = {.sort = true}}};
    const struct cache_url url = {SLICE_LIT("http"), SLICE_LIT("H"), SLICE_LIT("/p"), SLICE_LIT("b&a")};
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        const struct cache_key_rules rules = rules_of(&routes[i]);
        struct text_head t;
        struct arena arena;
        struct cache_key key, bare;
        bool too_long;
        arena_init(&arena, NULL, 0, 64 * KB);
        text_head_request(&t, HTTP_GET, "");
        assert_true(cache_key_of_request(&arena, &rules, &url, &t.head, &key, &too_long));
        assert_true(cache_key_of_url(&arena, &routes[i].key, &url, &bare));
        assert_true(slice_eq(bare.text, SLICE_LIT("http://h/p?a&b")));
        assert_true(slice_eq(cache_key_url(key.text), bare.text));
        assert_int_equal(slice_ends(key.text, SLICE_LIT(" device:desktop")), i == 0);
        assert_true(hash_eq(key.hash, hash_bytes(key.text.ptr, key.text.len)));
        assert_int_equal(hash_eq(key.hash, bare.hash), i == 1);
        arena_reset(&arena);
        arena_init(&arena, NULL, 0, 0);
        assert_false(cache_key_of_request(&arena, &rules, &url, &t.head, &key, &too_long));
        assert_false(too_long);
        text_head_free(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_headers), cmocka_unit_test(test_cookies),
        cmocka_unit_test(test_classes), cmocka_unit_test(test_nothing_by_default),
        cmocka_unit_test(test_bounded), cmocka_unit_test(test_key_of_request),
    };
    return cmocka_run_group_tests_name("cache/key_parts", tests, NULL, NULL);
}
