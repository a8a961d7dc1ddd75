/* test_link_field.c: links of a Link field, sound and not. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdio.h>
#include <cmocka.h>

#include "core/link_field.h"

/* "TEXT|REL" of each, behind each other, and "!" when something is left that is no link. */
static const char *links(const char *value)
{
    static char all[512];
    struct link_value l;
    slice_t rest = slice_str(value);
    all[0] = '\0';
    while (link_next(&rest, &l)) {
        size_t used = strlen(all);
        snprintf(all + used, sizeof all - used, "[%.*s|%.*s]", (int)l.text.len, l.text.ptr, (int)l.rel.len,
                 l.rel.ptr);
    }
    for (size_t i = 0; i < rest.len; i++) {
        if (strchr(" \t,", rest.ptr[i]) == NULL) {
            strcat(all, "!");
            break;
        }
    }
    return all;
}

static void test_links(void **state)
{
    UNUSED(state);
    static const struct {
        const char *value, *links;
    } rows[] = {
        {"", ""},
        {"</a>", "[</a>|]"},
        {"</a>; rel=preload", "[</a>; rel=preload|preload]"},
        {"</a,b;c>;rel=\"preload next\";as=style , <x>;REL=preconnect",
         "[</a,b;c>;rel=\"preload next\";as=style|preload next][<x>;REL=preconnect|preconnect]"},
        {" , ,</a>; rel = preload ; nopush;crossorigin,",
         "[</a>; rel = preload ; nopush;crossorigin|preload]"},
        {"</a>; title=\"a, b; rel=preload\"", "[</a>; title=\"a, b; rel=preload\"|]"},
        {"</a>; title=\"\\\", <b>; rel=preload\"", "[</a>; title=\"\\\", <b>; rel=preload\"|]"},
        {"</a>; rel=next; rel=preload", "[</a>; rel=next; rel=preload|next]"},
        {"</a>;; rel=preload;", "[</a>;; rel=preload;|preload]"},
        {"<>; rel=preload", "[<>; rel=preload|preload]"},
        {"</a; rel=preload", "!"},
        {"/a>; rel=preload", "!"},
        {"</a> rel=preload, </b>", "!"},
        {"</a>; rel=pre load", "!"},
        {"</a>; rel=\"preload", "!"},
        {"</a>; rel=\"preload\\", "!"},
        {"</a>; rel=preload, x", "[</a>; rel=preload|preload]!"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_string_equal(links(rows[i].value), rows[i].links);
}

static void test_rel(void **state)
{
    UNUSED(state);
    const slice_t preload = SLICE_LIT("preload");
    assert_true(link_rel_has(SLICE_LIT("preload"), preload));
    assert_true(link_rel_has(SLICE_LIT("next  PreLoad"), preload));
    assert_true(link_rel_has(SLICE_LIT(" preload x "), preload));
    assert_false(link_rel_has(SLICE_LIT("modulepreload"), preload));
    assert_false(link_rel_has(SLICE_LIT("preloads pre"), preload));
    assert_false(link_rel_has(SLICE_EMPTY, preload));
    assert_false(link_rel_has(SLICE_LIT("  "), preload));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_links), cmocka_unit_test(test_rel)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
