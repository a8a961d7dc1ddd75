/* test_purge_pattern.c: regular expressions as globs, held against the C library's engine for regular
 * expressions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fnmatch.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>

#include "cache/purge_pattern.h"

static const struct {
    const char *regex, *glob; /* NULL: refused */
    bool anchored;
} rows[] = {
    {"", "", false},
    {".*", "", false},
    {"^.*", "", false},
    {"^.*$", "", false},
    {"$", "", false},
    {"^$", "", true},
    {"/", "/*", false},
    {"^/", "/*", true},
    {"^/$", "/", true},
    {"^/news/.*", "/news/*", true},
    {"^/news/.*$", "/news/*", true},
    {"/news/.*", "/news/*", false},
    {"^/a.b", "/a?b*", true},
    {"^/a\\.b$", "/a.b", true},
    {"\\.png$", ".png", false},
    {".*\\.png$", ".png", false},
    {"^.*\\.png$", ".png", false},
    {"^/.*.*b", "/*b*", true},
    {"^/a.+$", "/a?*", true},
    {"^/a\\*b$", "/a?b", true},
    {"^/x\\?y=1$", "/x?y=1", true},
    {"^/a\\$", "/a$*", true},
    {"^/a\\\\$", "/a\\", true},
    {"^/a\\/b\\-c$", "/a/b-c", true},
    {"a b", "a b*", false},
    {"(a|b)", NULL, false},
    {"a|b", NULL, false},
    {"[ab]", NULL, false},
    {"a]", NULL, false},
    {"ab*", NULL, false},
    {"ab+", NULL, false},
    {"/x?y", NULL, false},
    {"a{2}", NULL, false},
    {"a.*?b", NULL, false},
    {"a.**", NULL, false},
    {"a^b", NULL, false},
    {"a$b", NULL, false},
    {"\\d", NULL, false},
    {"\\", NULL, false},
    {"a\\", NULL, false},
    {"*", NULL, false},
};

/* An exact copy, so that AddressSanitizer sees a read beyond it. */
static bool convert(struct arena *arena, const char *regex, struct cache_purge_pattern *out)
{
    size_t len = strlen(regex);
    char *copy = malloc(len > 0 ? len : 1);
    memcpy(copy, regex, len);
    bool ok = cache_purge_pattern_from_regex(arena, slice_make(copy, len), out);
    free(copy);
    return ok;
}

static void test_rows(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct arena arena;
        struct cache_purge_pattern p;
        arena_init(&arena, NULL, 0, KB);
        bool ok = convert(&arena, rows[i].regex, &p);
        if (ok != (rows[i].glob != NULL))
            fail_msg("%s: %s", rows[i].regex, ok ? "taken" : "refused");
        if (ok && (!slice_eq(p.glob, slice_str(rows[i].glob)) || p.anchored != rows[i].anchored))
            fail_msg("%s: " SLICE_FMT " %d", rows[i].regex, SLICE_ARG(p.glob), p.anchored);
        arena_reset(&arena);
    }
}

static void test_same_as_the_engine(void **state)
{
    UNUSED(state);
    static const char *const texts[] = {
        "",        "/",         "/a",    "/ab",  "/axb", "/a.b",  "/a.png", "/x?y",  "/x?y=1",   "/news/",
        "/news/1", "/en/news/", "/news", "/a-b", "/a$",  "/a\\",  "/a/b-c", "/xpng", "/a.png?v", "/a.pngx",
        "/aab",    "/b",        "/bb",   "/a b", "a b",  "xa bx", "/a*b",   "//"};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (rows[i].glob == NULL || strstr(rows[i].regex, "\\*") != NULL ||
            strstr(rows[i].regex, "\\?") != NULL)
            continue;
        regex_t engine;
        char glob[64];
        assert_int_equal(regcomp(&engine, rows[i].regex, REG_EXTENDED | REG_NOSUB), 0);
        snprintf(glob, sizeof glob, "%s%s", rows[i].anchored ? "" : "*", rows[i].glob);
        for (size_t k = 0; k < ARRAY_LEN(texts); k++) {
            bool regex_says = regexec(&engine, texts[k], 0, NULL, 0) == 0;
            if (regex_says != (fnmatch(glob, texts[k], FNM_NOESCAPE) == 0))
                fail_msg("'%s' in '%s': %d", rows[i].regex, texts[k], regex_says);
        }
        regfree(&engine);
    }
}

static void test_no_memory(void **state)
{
    UNUSED(state);
    struct arena arena;
    struct cache_purge_pattern p;
    arena_init(&arena, NULL, 0, 0);
    assert_true(convert(&arena, "^/a", &p));
    assert_null(p.glob.ptr);
    assert_null(cache_purge_host_from_regex(&arena, SLICE_LIT("a")).ptr);
}

static void test_hosts(void **state)
{
    UNUSED(state);
    static const struct {
        const char *regex, *host;
    } hosts[] = {
        {"example.com", "example.com"},
        {"^example\\.com$", "example.com"},
        {"^example.com:8080$", "example.com:8080"},
        {"my\\-shop.example", "my-shop.example"},
        {"", "*"},
        {".*", "*"},
        {"^.*$", "*"},
        {"^(www\\.)?example\\.com$", NULL},
        {"^(a|b)$", NULL},
        {"*.example.com", NULL},
        {"example.*", NULL},
        {"a b", NULL},
        {"a/b", NULL},
        {"a\\", NULL},
        {"a\\d", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        struct arena arena;
        arena_init(&arena, NULL, 0, KB);
        slice_t host = cache_purge_host_from_regex(&arena, slice_str(hosts[i].regex));
        if ((host.ptr == NULL) != (hosts[i].host == NULL) ||
            (host.ptr != NULL && !slice_eq(host, slice_str(hosts[i].host))))
            fail_msg("%s: " SLICE_FMT, hosts[i].regex, SLICE_ARG(host));
        arena_reset(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_same_as_the_engine),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_hosts),
    };
    return cmocka_run_group_tests_name("cache/purge_pattern", tests, NULL, NULL);
}
