/* test_root_path.c: which file a path is, which paths are none, and types. */
#include "proxy/root_path.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "cache/deception.h"

static char out[ROOT_PATH_BYTES];

static void expect(const char *path, const char *want)
{
    if (!root_path_map(slice_str(path), out))
        fail_msg("%s is no file", path);
    assert_string_equal(out, want);
}

static void test_files(void **state)
{
    (void)state;
    expect("/", "index.html");
    expect("/a", "a");
    expect("/a/", "a/index.html");
    expect("/a/b.css", "a/b.css");
    expect("/a%20b/%41.txt", "a b/A.txt");
    expect("/%2541", "%41"); /* once */
    expect("/a..b/c.", "a..b/c.");
    expect("/.well-known/x", ".well-known/x");
    expect("/.well-known/", ".well-known/index.html");
    expect("/Z%C3%BC", "Z\xc3\xbc");
    expect("/~a+b;c", "~a+b;c");
}

static void test_none(void **state)
{
    static const char *const paths[] = {"",
                                        "*",
                                        "a",
                                        "//",
                                        "//a",
                                        "/a//b",
                                        "/..",
                                        "/../a",
                                        "/a/../b",
                                        "/a/..",
                                        "/a/.",
                                        "/./a",
                                        "/%2e%2e/a",
                                        "/a/%2e./b",
                                        "/.git/config",
                                        "/a/.htaccess",
                                        "/.",
                                        "/%2ehidden",
                                        "/a%2fb",
                                        "/a%2Fb",
                                        "/a\\b",
                                        "/a%5cb",
                                        "/a%00b",
                                        "/a%0ab",
                                        "/a%7f",
                                        "/%",
                                        "/a%4",
                                        "/a%zz",
                                        "/a/.well-known/x",
                                        "/.well-knownx/a",
                                        "/.well-known/.x"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        if (root_path_map(slice_str(paths[i]), out))
            fail_msg("%s is %s", paths[i], out);
    }
}

static void test_length(void **state)
{
    static char path[2 * ROOT_PATH_BYTES];
    (void)state;
    memset(path, 'a', sizeof path);
    path[0] = '/';
    assert_false(root_path_map(slice_make(path, sizeof path), out));
    assert_false(root_path_map(slice_make(path, ROOT_PATH_BYTES), out));
    assert_true(root_path_map(slice_make(path, ROOT_PATH_BYTES - 16), out));
    path[ROOT_PATH_BYTES - 17] = '/';
    assert_true(root_path_map(slice_make(path, ROOT_PATH_BYTES - 16), out));
    assert_true(strlen(out) < sizeof out);
}

static void test_types(void **state)
{
    (void)state;
    assert_string_equal(root_path_type(SLICE_LIT("index.html")), "text/html; charset=utf-8");
    assert_string_equal(root_path_type(SLICE_LIT("a/b.CSS")), "text/css; charset=utf-8");
    assert_string_equal(root_path_type(SLICE_LIT("a.min.js")), "text/javascript; charset=utf-8");
    assert_string_equal(root_path_type(SLICE_LIT("x.woff2")), "font/woff2");
    assert_string_equal(root_path_type(SLICE_LIT("a.b/c")), "application/octet-stream");
    assert_string_equal(root_path_type(SLICE_LIT("html")), "application/octet-stream");
    assert_string_equal(root_path_type(SLICE_LIT("a.unknown")), "application/octet-stream");
    assert_string_equal(root_path_type(SLICE_LIT("")), "application/octet-stream");
}

/* The leak guard would not store what it finds another type of. */
static void test_types_fit_the_leak_guard(void **state)
{
    static const char *const extensions[] = {
#define X(names, types) names " ",
        DECEPTION_FILES(X)
#undef X
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(extensions); i++) {
        for (const char *p = extensions[i]; *p != '\0'; p += strcspn(p, " ") + 1) {
            char name[64];
            snprintf(name, sizeof name, "/x.%.*s", (int)strcspn(p, " "), p);
            const char *type = root_path_type(slice_str(name + 1));
            if (!deception_type_fits(slice_str(name), slice_str(type), true))
                fail_msg("%s does not fit %s", type, name);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_none),
        cmocka_unit_test(test_length),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_types_fit_the_leak_guard),
    };
    return cmocka_run_group_tests_name("root_path", tests, NULL, NULL);
}
