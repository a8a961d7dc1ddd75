/* test_glob.c: what patterns fit, against a slow matcher that is obviously right, and that a hostile one is
 * quick. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cache/glob.h"

static const struct {
    const char *pattern, *text;
    bool fits;
} cases[] = {
    {"", "", true},
    {"", "a", false},
    {"*", "", true},
    {"*", "abc", true},
    {"**", "abc", true},
    {"?", "", false},
    {"?", "a", true},
    {"?", "ab", false},
    {"abc", "abc", true},
    {"abc", "abcd", false},
    {"a*", "a", true},
    {"*a", "ba", true},
    {"*a", "ab", false},
    {"a*a", "a", false},
    {"a*a", "aa", true},
    {"a*b*c", "axxbxxc", true},
    {"a*b*c", "axxcxxb", false},
    {"*ab*ab*", "ab", false},
    {"*ab*ab*", "abab", true},
    {"*aab", "aaab", true},
    {"*a?c*", "xxabc", true},
    {"*a?c", "abcabc", true},
    {"a?c*", "ab", false},
    {"http://h/*.png", "http://h/a/b.png", true},
    {"http://h/*.png", "http://h/a/b.png?x", false},
    {"http://h/p?a=1", "http://h/p?a=1", true},
};

static void test_cases(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (cache_glob_matches(slice_str(cases[i].pattern), slice_str(cases[i].text)) != cases[i].fits)
            fail_msg("%s on %s", cases[i].pattern, cases[i].text);
    }
}

static bool slowly(const char *p, const char *t)
{
    if (*p == '\0')
        return *t == '\0';
    if (*p == '*')
        return slowly(p + 1, t) || (*t != '\0' && slowly(p, t + 1));
    return *t != '\0' && (*p == '?' || *p == *t) && slowly(p + 1, t + 1);
}

static void some_text(char *buf, unsigned most, const char *alphabet, unsigned *random)
{
    unsigned len = (unsigned)rand_r(random) % most;
    for (unsigned i = 0; i < len; i++)
        buf[i] = alphabet[(unsigned)rand_r(random) % strlen(alphabet)];
    buf[len] = '\0';
}

static void test_agrees_with_the_definition(void **state)
{
    UNUSED(state);
    unsigned random = 1, fits = 0;
    for (int i = 0; i < 200000; i++) {
        char pattern[8], text[10];
        some_text(pattern, sizeof pattern, "ab*?", &random);
        some_text(text, sizeof text, "ab", &random);
        bool want = slowly(pattern, text);
        fits += want;
        if (cache_glob_matches(slice_str(pattern), slice_str(text)) != want)
            fail_msg("%s on %s", pattern, text);
    }
    assert_in_range(fits, 1000, 199000);
}

/* Exponential with recursion: this would not end. */
static void test_hostile_pattern_ends(void **state)
{
    UNUSED(state);
    char pattern[2048], text[8192];
    memset(text, 'a', sizeof text);
    for (size_t i = 0; i < sizeof pattern; i++)
        pattern[i] = i % 2 ? '*' : 'a';
    pattern[sizeof pattern - 1] = 'b';
    assert_false(cache_glob_matches(slice_make(pattern, sizeof pattern), slice_make(text, sizeof text)));
    memset(pattern, '?', sizeof pattern);
    pattern[0] = '*';
    pattern[sizeof pattern - 1] = 'b';
    assert_false(cache_glob_matches(slice_make(pattern, sizeof pattern), slice_make(text, sizeof text)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),
        cmocka_unit_test(test_agrees_with_the_definition),
        cmocka_unit_test(test_hostile_pattern_ends),
    };
    return cmocka_run_group_tests_name("cache/glob", tests, NULL, NULL);
}
