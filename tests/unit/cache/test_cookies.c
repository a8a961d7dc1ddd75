/* test_cookies.c: cookies taken out of a request, and whether any are left. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cache/cookies.h"
#include "tests/unit/cache/text_head.h"

static const char *patterns[4];
static struct config_strings removed = {.items = patterns};
static const struct cache_rules rules = {.remove_cookies = &removed};

/* What is left of all Cookie lines, joined by '|'. */
static void check(const char *lines, const char *want)
{
    struct text_head t;
    char got[256] = "";
    text_head_request(&t, HTTP_GET, lines);
    struct text_head all = t; /* to free what is dropped, too */
    all.head.fields = all.fields;
    cookies_remove(&t.head, &rules);
    bool any = false;
    for (unsigned i = 0; i < t.head.field_count; i++) {
        const struct http_field *f = &t.head.fields[i];
        any = any || f->id == HTTP_FIELD_COOKIE;
        if (f->id == HTTP_FIELD_COOKIE)
            snprintf(got + strlen(got), sizeof got - strlen(got), "%s%.*s", got[0] != '\0' ? "|" : "",
                     (int)f->value.len, f->value.ptr);
    }
    assert_string_equal(got, want);
    assert_int_equal(http_head_has(&t.head, HTTP_FIELD_COOKIE), any);
    assert_int_equal(cookies_unaccounted(&t.head, &rules), want[0] != '\0');
    text_head_free(&all);
}

static void test_remove(void **state)
{
    UNUSED(state);
    removed.count = 0;
    check("Cookie: a=1;  b=2 ;c", "a=1;  b=2 ;c"); /* untouched */
    patterns[0] = "_ga*";
    patterns[1] = "b";
    removed.count = 2;
    check("Accept: x", "");
    check("Cookie: a=1;  b=2 ;c", "a=1; c");
    check("Cookie: _ga=1; _gat=2", "");
    check("X: 1\nCookie: _ga=1\nCookie: a=1; b=2; _ga_X=3; ba=4\nY: 1", "a=1; ba=4");
    check("Cookie: a=1\nCookie: c=\"b=2\"", "a=1|c=\"b=2\"");
    check("Cookie: _g=1; _GA=1; B=1", "_g=1; _GA=1; B=1"); /* names of cookies have case */
    check("Cookie: b", "");
    check("Cookie: =b; b =1;a", "=b; a");
    check("Cookie: ;; ; b=1;", "");
    check("Cookie: a=1;c=2;d=3", "a=1;c=2;d=3"); /* no room for blanks */
    check("Cookie: a=1;b=2;c=3", "a=1; c=3");
    patterns[0] = "all";
    removed.count = 1;
    check("Cookie: a=1\nX: 1\nCookie: b=2", "");
}

static void test_empty_is_none(void **state)
{
    UNUSED(state);
    struct text_head t;
    removed.count = 0;
    text_head_request(&t, HTTP_GET, "Cookie: \nCookie: ; ;");
    assert_false(cookies_unaccounted(&t.head, &rules));
    text_head_free(&t);
}

static void test_keyed_are_accounted_for(void **state)
{
    UNUSED(state);
    static const char *names[] = {"theme", "b"};
    static const struct config_key key = {.cookies = {names, 2}};
    static const struct {
        const char *lines;
        bool unaccounted;
    } rows[] = {
        {"Cookie: theme=dark", false},
        {"Cookie: b=1; theme=dark; theme", false},
        {"Cookie: theme=dark; sid=1", true},
        {"Cookie: sid=1; theme=dark", true},
        {"Cookie: theme=dark\nCookie: sid=1", true},
        {"Cookie: theme=\"dark; sid=1\"", true}, /* the one or the other */
        {"Cookie: Theme=dark", true},
        {"Cookie: themes=dark", true},
        {"Cookie: =theme", true},
    };
    const struct cache_rules keyed = {.key = {.custom = &key}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct text_head t;
        text_head_request(&t, HTTP_GET, rows[i].lines);
        if (cookies_unaccounted(&t.head, &keyed) != rows[i].unaccounted)
            fail_msg("%s", rows[i].lines);
        text_head_free(&t);
    }
}

static void test_those_that_are_not(void **state)
{
    UNUSED(state);
    static const char *names[] = {"theme"};
    static const struct config_key key = {.cookies = {names, 1}};
    const struct cache_rules keyed = {.key = {.custom = &key}};
    static const char *const want[] = {"a", "b", "", "a"};
    struct text_head t;
    struct cookies_cursor at = {0};
    slice_t name;
    text_head_request(&t, HTTP_GET,
                      "Accept: x=1\nCookie: theme=1; a=1;b\nCookie: theme=2\nCookie: =c; a=2\nVary: d=1");
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        assert_true(cookies_next_unaccounted(&t.head, &keyed, &at, &name));
        assert_true(slice_eq(name, slice_str(want[i])));
    }
    assert_false(cookies_next_unaccounted(&t.head, &keyed, &at, &name));
    text_head_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_remove),
        cmocka_unit_test(test_empty_is_none),
        cmocka_unit_test(test_keyed_are_accounted_for),
        cmocka_unit_test(test_those_that_are_not),
    };
    return cmocka_run_group_tests_name("cache/cookies", tests, NULL, NULL);
}
