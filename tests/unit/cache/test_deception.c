/* test_deception.c: which types a path's ending goes with, which paths are read in two ways, and the table of
 * docs/leak-guard.md. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "cache/deception.h"
#include "core/base.h"

static void test_types(void **state)
{
    static const struct {
        const char *path, *type;
        bool fits, fits_by_extension;
    } cases[] = {
        {"/a.css", "text/css", true, true},
        {"/a.css", "Text/CSS ; charset=utf-8", true, true},
        {"/a.css", "text/cssx", false, false},
        {"/a.css", "text", false, false},
        {"/a.css", "", false, false},
        {"/a.css", "text/html", false, false},
        {"/a.css", "application/json", false, false},
        {"/a.css", "application/pdf", false, false},
        {"/a.css", "application/octet-stream", true, true},
        {"/a.js", "text/javascript;charset=UTF-8", true, true},
        {"/a.mjs", "application/javascript", true, true},
        {"/a.js", "application/json", false, false},
        {"/a.jpg", "image/webp", true, true},
        {"/a.gif", "video/webm", true, true},
        {"/a.svg", "image/svg+xml", true, true},
        {"/a.svg", "text/html", false, false},
        {"/a.woff2", "font/woff2", true, true},
        {"/a.woff", "application/font-woff", true, true},
        {"/a.ttf", "application/x-font-ttf", true, true},
        {"/a.pdf", "application/pdf", true, true},
        {"/a.pdf", "text/html", false, false},
        {"/a.gz", "application/x-gzip", true, true},
        {"/a.PnG", "text/html", false, false},
        {"/a.min.css", "text/html", false, false},
        {"/a;x.css", "text/html", false, false},
        {"/a%2fx.css", "text/html", false, false},
        {"/a%00.css", "text/html", false, false},
        {"/a%0A.css", "text/html", false, false},
        {"/a%2ecss", "text/html", false, false},
        {"/a.%63ss", "text/html", false, false},
        {"/a.cs%73", "text/html", false, false},
        {"/.css", "text/html", false, false},
        {"/a.css/", "text/html", true, true},
        {"/a.css.", "text/html", true, true},
        {"/a.cssx", "text/html", true, false},
        {"/a", "text/html", true, true},
        {"/a", "application/json", true, true},
        {"/", "", true, true},
        {"", "text/html", true, true},
        {"/v1.2/a", "text/html", true, true},
        {"/a.css%2fb", "text/html", true, true},
        {"/a.b%2fc.css", "text/html", false, false},
        {"/a.html", "text/html", true, true},
        {"/a.php", "text/html", true, true},
        {"/a.xyz", "text/html", true, false},
        {"/a.xyz", "application/xhtml+xml", true, false},
        {"/a.xyz", "application/json", true, true},
        {"/a.averyveryverylongextension", "text/html", true, false},
        {"/a.12345678", "text/html", true, false},
        {"/a.css%", "text/html", true, false},
        {"/a.css%2", "text/html", true, false},
        {"/a.css%00", "text/html", true, false},
        {"/a.css%20js", "text/html", true, false},
        {"/a.html%00x", "text/html", true, false},
    };
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        slice_t path = slice_str(cases[i].path), type = slice_str(cases[i].type);
        if (deception_type_fits(path, type, false) != cases[i].fits ||
            deception_type_fits(path, type, true) != cases[i].fits_by_extension)
            fail_msg("%s %s", cases[i].path, cases[i].type);
    }
}

static void test_ambiguous_paths(void **state)
{
    static const char *const ambiguous[] = {
        "/a/../b", "/..",      "/a/.",   "/./a",  "/a/%2e%2e/b", "/a/.%2E/b", "/a%2fb", "/a%5cb", "/a\\b",
        "/a%00",   "/a%0d%0a", "/a%3fb", "/a%23", "/a%252fb",    "/a%2eb",    "/a\x7f", "/...",
    };
    static const char *const plain[] = {
        "/", "", "/a", "/a.b/c..d", "/a%20b", "/%C3%A9", "/a;b=1/c", "//a", "/a%", "/a%zz", "/a%3bb", "/~a",
    };
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(ambiguous); i++) {
        if (!deception_path_is_ambiguous(slice_str(ambiguous[i])))
            fail_msg("%s", ambiguous[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(plain); i++) {
        if (deception_path_is_ambiguous(slice_str(plain[i])))
            fail_msg("%s", plain[i]);
    }
}

static void expect_row(const char *page, const char *extensions, const char *types)
{
    char row[512];
    snprintf(row, sizeof row, "| %s | %s |\n", extensions, types);
    if (strstr(page, row) == NULL)
        fail_msg("docs/leak-guard.md should have the row\n%s", row);
}

static void test_docs_in_step(void **state)
{
    static char page[64 * 1024];
    UNUSED(state);
    FILE *f = fopen("docs/leak-guard.md", "r");
    assert_non_null(f);
    page[fread(page, 1, sizeof page - 1, f)] = '\0';
    fclose(f);
#define X(extensions, types) expect_row(page, extensions, types);
    DECEPTION_FILES(X)
#undef X
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_ambiguous_paths),
        cmocka_unit_test(test_docs_in_step),
    };
    return cmocka_run_group_tests_name("cache/deception", tests, NULL, NULL);
}
