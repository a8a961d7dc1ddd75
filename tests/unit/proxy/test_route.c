/* test_route.c: which route a request gets: each kind of condition by a table, and the order of routes. */
#include "fixture.h"

struct row {
    const char *host, *path, *method, *field, *value;
    const char *route; /* NULL: none */
};

static void expect_rows(const char *ini, const struct row *rows, size_t count)
{
    struct proxy_fix f;
    fix_start(&f, ini, false);
    for (size_t i = 0; i < count; i++) {
        const char *method = rows[i].method != NULL ? rows[i].method : "GET";
        struct http_field field = {.name = slice_str(rows[i].field), .value = slice_str(rows[i].value)};
        struct http_head head = {.fields = &field, .method_text = slice_str(method)};
        if (rows[i].field != NULL) {
            field.id = (uint8_t)http_field_lookup(field.name);
            head.field_count = 1;
            head.present = (uint64_t)1 << field.id;
        }
        const struct route_request r = {slice_str(rows[i].host), slice_str(rows[i].path), &head};
        const struct route *got = route_match(f.snapshot, &r);
        const char *name = got == NULL ? "none" : got->config->name;
        if (strcmp(name, rows[i].route == NULL ? "none" : rows[i].route) != 0)
            fail_msg("row %zu: %s %s%s goes to %s", i, method, rows[i].host, rows[i].path, name);
    }
    fix_end(&f);
}

static void test_hosts(void **state)
{
    UNUSED(state);
    static const struct row rows[] = {
        {"a.example", "/", .route = "exact"},
        {"A.EXAMPLE", "/", .route = "exact"},
        {"a.example:8080", "/", .route = "exact"},
        {"a.example.", "/", .route = "exact"},
        {"a.example.:8080", "/", .route = "exact"},
        {"a.example:", "/", .route = "exact"},
        {"a.example..", "/", .route = NULL},
        {"xa.example", "/", .route = NULL},
        {"a.example.org", "/", .route = NULL},
        {"w.b.example", "/", .route = "wild"},
        {"v.W.B.Example:1", "/", .route = "wild"},
        {"w.b.example.", "/", .route = "wild"},
        {"b.example", "/", .route = NULL},
        {".b.example", "/", .route = NULL},
        {"wb.example", "/", .route = NULL},
        {"w.b.example.evil", "/", .route = NULL},
        {"[2001:db8::1]", "/", .route = "v6"},
        {"[2001:DB8::1]:8080", "/", .route = "v6"},
        {"[2001:db8::2]", "/", .route = NULL},
        {"2001", "/", .route = NULL},
        {"[", "/", .route = NULL},
        {":", "/", .route = NULL},
        {"", "/", .route = NULL},
        {".", "/", .route = NULL},
    };
    expect_rows(FIX_APP "[route exact]\nhost = a.example\n[route wild]\nhost = *.b.example\n"
                        "[route v6]\nhost = [2001:db8::1]\n",
                rows, ARRAY_LEN(rows));
}

static void test_paths(void **state)
{
    UNUSED(state);
    static const struct row rows[] = {
        {"h", "/exact", .route = "exact"},
        {"h", "/exact/", .route = NULL},
        {"h", "/Exact", .route = NULL},
        {"h", "/exac", .route = NULL},
        {"h", "/p/", .route = "prefix"},
        {"h", "/p/a/b", .route = "prefix"},
        {"h", "/p", .route = NULL},
        {"h", "/px", .route = NULL},
        {"h", "/x/p/", .route = NULL},
        {"h", "/a.css", .route = "suffix"},
        {"h", "/d/.css", .route = "suffix"},
        {"h", "/a.css/", .route = NULL},
        {"h", "/a.CSS", .route = NULL},
        {"h", "/acss", .route = NULL},
        {"h", "*", .route = NULL},
        {"h", "/p/a.css", .route = "prefix"},
        {"h", "", .route = NULL},
        {"h", ".css", .route = "suffix"},
    };
    expect_rows(FIX_APP
                "[route exact]\npath = /exact\n[route prefix]\npath = /p/*\n[route suffix]\npath = *.css\n",
                rows, ARRAY_LEN(rows));
}

static void test_methods_and_headers(void **state)
{
    UNUSED(state);
    static const struct row rows[] = {
        {"h", "/m", "POST", .route = "writes"},
        {"h", "/m", "DELETE", .route = "writes"},
        {"h", "/m", "post", .route = NULL},
        {"h", "/m", "POS", .route = NULL},
        {"h", "/m", "GET", .route = NULL},
        {"h", "/", NULL, "X-Beta", "1", "beta"},
        {"h", "/", NULL, "x-bETa", "1", "beta"},
        {"h", "/", NULL, "X-Beta", "11", NULL},
        {"h", "/", NULL, "X-Beta", "", NULL},
        {"h", "/", NULL, "X-Any", "", "any"},
        {"h", "/", NULL, "X-Any", "whatever", "any"},
        {"h", "/", NULL, "X-An", "y", NULL},
        {"h", "/", NULL, "Accept", "text/html", "known"},
        {"h", "/", NULL, "accept", "text/HTML", NULL},
    };
    expect_rows(FIX_APP "[route writes]\npath = /m\nmethod = POST, DELETE\n[route beta]\nheader = X-Beta: 1\n"
                        "[route any]\nheader = X-Any\n[route known]\nheader = Accept: text/html\n",
                rows, ARRAY_LEN(rows));
}

static void test_all_conditions_and_order(void **state)
{
    UNUSED(state);
    static const struct row rows[] = {
        {"a", "/p/x", "PUT", "X-A", "1", "all"},    {"b", "/p/x", "PUT", "X-A", "1", "path"},
        {"a", "/q", "PUT", "X-A", "1", "host"},     {"a", "/p/x", "GET", "X-A", "1", "host"},
        {"a", "/p/x", "PUT", "X-A", "2", "host"},   {"a", "/p/x", "PUT", NULL, NULL, "host"},
        {"a", "/p/x", "GET", NULL, NULL, "host"},   {"b", "/p/x", "GET", NULL, NULL, "path"},
        {"b", "/other", "GET", NULL, NULL, "rest"}, {"", "*", "OPTIONS", NULL, NULL, "rest"},
    };
    expect_rows(FIX_APP
                "[route all]\nhost = a\npath = /p/*\nmethod = PUT\nheader = X-A: 1\n[route host]\nhost = a\n"
                "[route path]\npath = /p/*\n[route rest]\n",
                rows, ARRAY_LEN(rows));
}

/* Several values of one condition: any of them; several header conditions: all of them. */
static void test_lists(void **state)
{
    UNUSED(state);
    static const struct row rows[] = {
        {"a", "/x", .route = "r"},
        {"b.c", "/y", .route = "r"},
        {"b.c", "/z", .route = NULL},
        {"d", "/x", .route = NULL},
    };
    static const struct row both[] = {{"a", "/", NULL, "X-A", "1", NULL}, {"a", "/", NULL, "X-B", "1", NULL}};
    expect_rows(FIX_APP "[route r]\nhost = a, *.c\npath = /x, /y\n", rows, ARRAY_LEN(rows));
    expect_rows(FIX_APP "[route r]\nheader = X-A: 1\nheader = X-B: 1\n", both, ARRAY_LEN(both));
}

static void test_paths_are_normalised(void **state)
{
    static const struct {
        const char *in, *out;
    } rows[] = {
        {"/", "/"},           {"/a", "/a"},     {"/a/", "/a/"},       {"//", "/"},        {"//a//b", "/a/b"},
        {"/.", "/"},          {"/..", "/"},     {"/./a", "/a"},       {"/a/.", "/a/"},    {"/a/..", "/"},
        {"/a/b/..", "/a/"},   {"/../a", "/a"},  {"/a/../../b", "/b"}, {"/a/./b", "/a/b"}, {"/.a", "/.a"},
        {"/...", "/..."},     {"/%61", "/a"},   {"/%2e%2E/a", "/a"},  {"/a%2fb", "/a/b"}, {"/%2561", "/%61"},
        {"/a%00b", "/a%00b"}, {"/%zz", "/%zz"}, {"/%4", "/%4"},       {"/a%2", "/a%2"},   {"*", "*"},
    };
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct arena a;
        arena_init(&a, NULL, 0, 4096);
        slice_t out = route_path_normalise(&a, slice_str(rows[i].in));
        if (!slice_eq(out, slice_str(rows[i].out)))
            fail_msg("%s became " SLICE_FMT, rows[i].in, SLICE_ARG(out));
        arena_reset(&a);
    }
    struct arena none;
    arena_init(&none, NULL, 0, 0);
    assert_null(route_path_normalise(&none, SLICE_LIT("//a")).ptr);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths_are_normalised),
        cmocka_unit_test(test_hosts),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_methods_and_headers),
        cmocka_unit_test(test_all_conditions_and_order),
        cmocka_unit_test(test_lists),
    };
    return cmocka_run_group_tests_name("proxy/route", tests, fix_group_setup, fix_group_teardown);
}
