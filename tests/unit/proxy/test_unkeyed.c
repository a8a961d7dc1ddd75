/* test_unkeyed.c: the table of fields, their disguises, the key they make, and the table of
 * docs/leak-guard.md. What goes out and what is shared is in tests/e2e/unkeyed.c. */
#include "proxy/unkeyed.h"

#include "fixture.h"

static const struct {
    const char *name, *kind, *use;
} rows[] = {
#define UNKEYED(name, kind, use) {name, #kind, use},
#include "core/unkeyed_tbl.h"
#undef UNKEYED
};

static void test_lookup(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_not_equal(unkeyed_kind(slice_str(rows[i].name)), UNKEYED_NONE);
        assert_true(strlen(rows[i].name) <= 32);
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(rows[i].name, rows[j].name);
    }
    assert_int_equal(unkeyed_kind(SLICE_LIT("X-FORWARDED-Host")), UNKEYED_OURS);
    assert_int_equal(unkeyed_kind(SLICE_LIT("X-Original-URL")), UNKEYED_KEYED);
    assert_int_equal(unkeyed_kind(SLICE_LIT("X-Original-UR")), UNKEYED_NONE);
    assert_int_equal(unkeyed_kind(SLICE_LIT("Accept")), UNKEYED_NONE);
    assert_int_equal(unkeyed_kind(SLICE_LIT("")), UNKEYED_NONE);
    assert_true(unkeyed_is_disguised(SLICE_LIT("X_Original-URL")));
    assert_true(unkeyed_is_disguised(SLICE_LIT("content_length")));
    assert_false(unkeyed_is_disguised(SLICE_LIT("X-Original-URL")));
    assert_false(unkeyed_is_disguised(SLICE_LIT("X_Fine")));
    assert_false(unkeyed_is_disguised(SLICE_LIT("_")));
    assert_false(unkeyed_is_disguised(SLICE_LIT("x_very_long_name_that_is_no_field_of_anybody")));
}

static void expect_key(const char *fields, const char *want)
{
    struct proxy_fix fix;
    char text[1024], key[1024];
    int other;
    snprintf(text, sizeof text, "GET /p HTTP/1.1\r\nHost: h\r\n%s\r\n", fields);
    fix_start(&fix, "[millpond]\ntrusted_proxies = 192.0.2.0/24\n" FIX_APP, false);
    struct client_conn *c = fix_client(&fix, "192.0.2.9:1", &other);
    struct exchange *x = fix_exchange(&fix, c, text);
    assert_true(exchange_build_key(x));
    snprintf(key, sizeof key, SLICE_FMT, SLICE_ARG(x->key.text));
    assert_string_equal(key, want);
    assert_true(hash_eq(hash_bytes(x->key.text.ptr, x->key.text.len), x->key.hash));
    fix_drop(x);
    client_conn_close(c, CLOSE_CLIENT_CLOSED);
    close(other);
    fix_end(&fix);
}

static void test_key(void **state)
{
    UNUSED(state);
    expect_key("", "http://h/p");
    expect_key("X-Forwarded-Host: H\r\nX-Forwarded-Proto: http\r\nX-Forwarded-For: a\r\nX-Real-IP: b\r\n",
               "http://h/p");
    expect_key("X-Forwarded-Host: other\r\n", "http://h/p x-forwarded-host=other");
    expect_key("X-Forwarded-Prefix: /a b\r\nX-FORWARDED-PROTO: https\r\n",
               "http://h/p x-forwarded-proto=https x-forwarded-prefix=/a%20b");
    expect_key("X-Host: a\r\nX-Host: b\r\n", "http://h/p x-host=a x-host=b");
    expect_key("Forwarded: for=a;host=b;by=c, proto=https;for=d\r\nForwarded: x\r\n",
               "http://h/p forwarded=host=b;proto=https forwarded=x");
    expect_key("Forwarded: for=a;;, by=c; ,\r\n", "http://h/p");
    expect_key("Forwarded: a;b;c;d;e;f;g;h;i;j\r\n", "http://h/p forwarded=a;b;c;d;e;f;g;h;i;j");
}

static const char *done_with(const char *kind)
{
    return strcmp(kind, "OURS") == 0       ? "written by Millpond"
           : strcmp(kind, "KEYED") == 0    ? "removed"
           : strcmp(kind, "METHOD") == 0   ? "removed from GET and HEAD"
           : strcmp(kind, "ADDRESS") == 0  ? "removed; believed, not in the key"
           : strcmp(kind, "IDENTITY") == 0 ? "removed; [TLS](tls.md#client-certificates)"
                                           : "removed, whoever sends it";
}

static void test_docs_in_step(void **state)
{
    static char page[64 * 1024];
    char row[512];
    UNUSED(state);
    FILE *f = fopen("docs/leak-guard.md", "r");
    assert_non_null(f);
    page[fread(page, 1, sizeof page - 1, f)] = '\0';
    fclose(f);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        snprintf(row, sizeof row, "| `%s` | %s | %s |\n", rows[i].name, done_with(rows[i].kind), rows[i].use);
        if (strstr(page, row) == NULL)
            fail_msg("docs/leak-guard.md should have the row\n%s", row);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lookup),
        cmocka_unit_test(test_key),
        cmocka_unit_test(test_docs_in_step),
    };
    return cmocka_run_group_tests_name("proxy/unkeyed", tests, fix_group_setup, fix_group_teardown);
}
