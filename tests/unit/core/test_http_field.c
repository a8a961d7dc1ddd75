/* test_http_field.c: tokens, lists, parameters, connection options and hosts. */
#include "core/http_field.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

static void test_characters(void **state)
{
    UNUSED(state);
    static const char tchars[] =
        "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for (unsigned c = 0; c < 256; c++) {
        char byte = (char)c;
        bool tchar = c != 0 && strchr(tchars, (int)c) != NULL;
        assert_int_equal(http_is_tchar((unsigned char)c), tchar);
        assert_int_equal(http_is_token(slice_make(&byte, 1)), tchar);
        bool value = c == '\t' || (c >= 0x20 && c != 0x7f);
        assert_int_equal(http_is_field_value(slice_make(&byte, 1)), value);
    }
    assert_false(http_is_token(SLICE_EMPTY));
    assert_false(http_is_token(SLICE_LIT("a b")));
    assert_true(http_is_token(SLICE_LIT("a-b")));
    assert_true(http_is_field_value(SLICE_EMPTY));
    assert_false(http_is_field_value(SLICE_LIT("a\0b")));
}

static void expect_list(const char *value, const char *const *want)
{
    slice_t rest = slice_str(value), element;
    size_t n = 0;
    while (http_list_next(&rest, &element)) {
        assert_non_null(want[n]);
        assert_int_equal(element.len, strlen(want[n]));
        assert_memory_equal(element.ptr, want[n], element.len);
        n++;
    }
    assert_null(want[n]);
}

#define LIST(value, ...) expect_list(value, (const char *const[]){__VA_ARGS__, NULL})

static void test_lists(void **state)
{
    UNUSED(state);
    expect_list("", (const char *const[]){NULL});
    expect_list(" , ,\t,", (const char *const[]){NULL});
    LIST("a", "a");
    LIST(" a ,b\t,, c d ,", "a", "b", "c d");
    LIST("a=\"b,c\",d", "a=\"b,c\"", "d");
    LIST("a=\"b\\\",c\",d", "a=\"b\\\",c\"", "d");
    LIST("a\\,b", "a\\", "b");
    LIST("a=\"b,c", "a=\"b,c");
    LIST("a=\"b\\", "a=\"b\\");
    LIST("W/\"1,2\", \"3\"", "W/\"1,2\"", "\"3\"");
}

static void expect_param(const char *element, bool ok, const char *name, const char *value)
{
    slice_t n, v;
    assert_int_equal(http_param_split(slice_str(element), &n, &v), ok);
    if (!ok)
        return;
    assert_true(slice_eq(n, slice_str(name)));
    assert_int_equal(v.ptr == NULL, value == NULL);
    if (value != NULL)
        assert_true(slice_eq(v, slice_str(value)));
}

static void test_params(void **state)
{
    UNUSED(state);
    expect_param("no-store", true, "no-store", NULL);
    expect_param("max-age=5", true, "max-age", "5");
    expect_param("a=", true, "a", "");
    expect_param("a=b=c", true, "a", "b=c");
    expect_param("a=\"\"", true, "a", "");
    expect_param("a=\"b, c\"", true, "a", "b, c");
    expect_param("a=\"b\\\"c\"", true, "a", "b\\\"c");
    expect_param("a=\"b\\\\\"", true, "a", "b\\\\");
    expect_param("a=\"", false, NULL, NULL);
    expect_param("a=\"b", false, NULL, NULL);
    expect_param("a=\"b\"c", false, NULL, NULL);
    expect_param("a=\"b\\\"", false, NULL, NULL);
    expect_param("a=b\"", false, NULL, NULL);
    expect_param("a\"b", false, NULL, NULL);
    expect_param("\"a=b\"", false, NULL, NULL);
    expect_param("a=\"b\\", false, NULL, NULL);
}

static struct http_field field(const char *name, const char *value)
{
    return (struct http_field){slice_str(name), slice_str(value),
                               (uint8_t)http_field_lookup(slice_str(name))};
}

static struct http_head head_of(struct http_field *fields, unsigned n)
{
    struct http_head h = {.fields = fields, .field_count = (uint16_t)n};
    for (unsigned i = 0; i < n; i++)
        h.present |= UINT64_C(1) << fields[i].id;
    return h;
}

static void test_weights(void **state)
{
    static const struct {
        const char *element, *name;
        unsigned weight;
    } rows[] = {
        {"gzip", "gzip", 1000},     {"gzip;q=0.85", "gzip", 850}, {"a ; Q=1", "a", 1000}, {"*;q=0", "*", 0},
        {"a;q=0.001", "a", 1},      {"a;q=1.5", "a", 1000},       {"a;q=2", "a", 0},      {"a;q=", "a", 0},
        {"a;level=1", "a", 0},      {"a;q=0.12345", "a", 0},      {"a;q=.5", "a", 0},     {";", "", 0},
        {"de-AT;q=0.x", "de-AT", 0}};
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        unsigned weight;
        const slice_t name = http_weighted_split(slice_str(rows[i].element), &weight);
        if (!slice_eq(name, slice_str(rows[i].name)) || weight != rows[i].weight)
            fail_msg("%s: %.*s, %u", rows[i].element, (int)name.len, name.ptr, weight);
    }
}

static void test_tokens_of_a_head(void **state)
{
    UNUSED(state);
    struct http_field fields[] = {field("Connection", "Foo, \"bar,baz\""), field("Vary", "x"),
                                  field("connection", "QUX")};
    struct http_head h = head_of(fields, ARRAY_LEN(fields));
    assert_true(http_head_has_token(&h, HTTP_FIELD_CONNECTION, SLICE_LIT("foo")));
    assert_true(http_head_has_token(&h, HTTP_FIELD_CONNECTION, SLICE_LIT("qux")));
    assert_false(http_head_has_token(&h, HTTP_FIELD_CONNECTION, SLICE_LIT("bar")));
    assert_false(http_head_has_token(&h, HTTP_FIELD_CONNECTION, SLICE_LIT("x")));
    assert_false(http_head_has_token(&h, HTTP_FIELD_CONNECTION, SLICE_LIT("fo")));
    assert_false(http_head_has_token(&h, HTTP_FIELD_TE, SLICE_LIT("foo")));
}

static void test_hop_by_hop(void **state)
{
    UNUSED(state);
    static const enum http_field_id hop[] = {HTTP_FIELD_CONNECTION,         HTTP_FIELD_KEEP_ALIVE,
                                             HTTP_FIELD_PROXY_CONNECTION,   HTTP_FIELD_TE,
                                             HTTP_FIELD_TRANSFER_ENCODING,  HTTP_FIELD_UPGRADE,
                                             HTTP_FIELD_PROXY_AUTHENTICATE, HTTP_FIELD_PROXY_AUTHORIZATION,
                                             HTTP_FIELD_HTTP2_SETTINGS};
    unsigned n = 0;
    for (unsigned id = 0; id < HTTP_FIELD_COUNT; id++)
        n += http_field_is_hop_by_hop((enum http_field_id)id);
    assert_int_equal(n, ARRAY_LEN(hop));
    for (size_t i = 0; i < ARRAY_LEN(hop); i++)
        assert_true(http_field_is_hop_by_hop(hop[i]));
}

static void test_named_by_connection(void **state)
{
    UNUSED(state);
    static const char *const stay[] = {"Host",
                                       "Content-Length",
                                       "Content-Type",
                                       "Cache-Control",
                                       "Authorization",
                                       "Date",
                                       "Set-Cookie",
                                       "Cookie",
                                       "Via",
                                       "X-Forwarded-For",
                                       "X-Forwarded-Host",
                                       "X-Forwarded-Proto",
                                       "Forwarded",
                                       "X-Request-Id",
                                       "Vary",
                                       "Age",
                                       "ETag",
                                       "Expires",
                                       "If-None-Match",
                                       "Range"};
    static const char *const go[] = {"X-Custom", "Keep-Alive", "TE", "Upgrade", "Referer"};
    for (size_t i = 0; i < ARRAY_LEN(stay) + ARRAY_LEN(go); i++) {
        const char *name = i < ARRAY_LEN(stay) ? stay[i] : go[i - ARRAY_LEN(stay)];
        char options[64] = "close,";
        strcat(options, name);
        struct http_field fields[] = {field("Connection", options), field(name, "v"), field("X-Else", "v")};
        struct http_head h = head_of(fields, ARRAY_LEN(fields));
        assert_int_equal(http_field_named_by_connection(&h, &fields[1]), i >= ARRAY_LEN(stay));
        assert_false(http_field_named_by_connection(&h, &fields[2]));
    }
    struct http_field lower[] = {field("Connection", "x-a"), field("CONNECTION", "X-B"), field("X-A", ""),
                                 field("x-b", "")};
    struct http_head h = head_of(lower, ARRAY_LEN(lower));
    assert_true(http_field_named_by_connection(&h, &lower[2]));
    assert_true(http_field_named_by_connection(&h, &lower[3]));
    h = head_of(lower + 2, 2);
    assert_false(http_field_named_by_connection(&h, &lower[2]));
}

static void test_drop_named_by_connection(void **state)
{
    UNUSED(state);
    struct http_field fields[] = {
        field("X-A", "1"),     field("Connection", "close, x-a, Referer, TE, cookie"),
        field("Cookie", "2"),  field("TE", "trailers"),
        field("Referer", "3"), field("X-B", "4"),
        field("x-a", "5")};
    struct http_head h = head_of(fields, ARRAY_LEN(fields));
    http_head_drop_named_by_connection(&h);
    static const char *const left[] = {"Connection", "Cookie", "TE", "X-B"};
    assert_int_equal(h.field_count, ARRAY_LEN(left));
    for (size_t i = 0; i < ARRAY_LEN(left); i++)
        assert_true(slice_eq(h.fields[i].name, slice_str(left[i])));
    assert_false(http_head_has(&h, HTTP_FIELD_REFERER));
    assert_true(http_head_has(&h, HTTP_FIELD_COOKIE));
    assert_true(http_head_has(&h, HTTP_FIELD_TE));
}

static void test_drop(void **state)
{
    UNUSED(state);
    struct http_field fields[] = {field("X-A", "1"), field("Cookie", "2"), field("Referer", "3"),
                                  field("cookie", "4")};
    struct http_head h = head_of(fields, ARRAY_LEN(fields));
    http_head_drop(&h, HTTP_BIT(AUTHORIZATION) | HTTP_BIT(OTHER));
    assert_int_equal(h.field_count, 4); /* one that has no name of its own is never meant */
    http_head_drop(&h, HTTP_BIT(AUTHORIZATION) | HTTP_BIT(COOKIE));
    assert_int_equal(h.field_count, 2);
    assert_true(slice_eq(h.fields[0].name, SLICE_LIT("X-A")) &&
                slice_eq(h.fields[1].name, SLICE_LIT("Referer")));
    assert_false(http_head_has(&h, HTTP_FIELD_COOKIE));
    assert_true(http_head_has(&h, HTTP_FIELD_REFERER));
}

static void test_hosts(void **state)
{
    UNUSED(state);
    static const char *const good[] = {"a",
                                       "example.com",
                                       "EXAMPLE.com:80",
                                       "a:",
                                       "a:0",
                                       "a:65535",
                                       "a:00080",
                                       "127.0.0.1",
                                       "127.0.0.1:8080",
                                       "[::1]",
                                       "[::1]:443",
                                       "[::1]:",
                                       "[2001:db8::ffff:1.2.3.4]",
                                       "a_b~c",
                                       "a!$&'()*+,;=b",
                                       "%41%fF",
                                       "xn--bcher-kva.example.",
                                       "999.999.1.1",
                                       "-"};
    static const char *const bad[] = {
        "",           ":80",
        "a b",        " a",
        "a ",         "a/b",
        "a?b",        "a#b",
        "u@a",        "u:p@a",
        "a:b",        "a:80:80",
        "a:65536",    "a:123456",
        "a:-1",       "a:+1",
        "a:8 0",      "%",
        "%4",         "%4g",
        "%g4",        "a%4",
        "[",          "[]",
        "[::1",       "::1",
        "[::1]x",     "[::1]:x",
        "[::1%eth0]", "[::1%25eth0]",
        "[v1.a]",     "[1.2.3.4]",
        "[g::]",      "[::1]:65536",
        "]",          "a]",
        "a\\b",       "a\"b",
        "a<b",        "a\x7f",
        "a\x80",      "a\t",
        "a\x01",      "a^b",
        "a`b",        "a{b",
        "a|b",        "[1111:2222:3333:4444:5555:6666:7777:8888:9999:1111:2222:3333]"};
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_true(http_host_is_valid(slice_str(good[i])));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(http_host_is_valid(slice_str(bad[i])));
    assert_false(http_host_is_valid(SLICE_LIT("a\0b")));
    assert_false(http_host_is_valid(SLICE_LIT("[::1\0]")));
}

static void test_host_is_not_read_beyond(void **state)
{
    UNUSED(state);
    static const char *const texts[] = {"a%4", "a%", "[::1", "[", "a:", "a:1"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        size_t len = strlen(texts[i]);
        char *block = malloc(len);
        assert_non_null(block);
        memcpy(block, texts[i], len);
        assert_int_equal(http_host_is_valid(slice_make(block, len)), i >= 4);
        free(block);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_characters),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_params),
        cmocka_unit_test(test_tokens_of_a_head),
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_hop_by_hop),
        cmocka_unit_test(test_named_by_connection),
        cmocka_unit_test(test_drop_named_by_connection),
        cmocka_unit_test(test_drop),
        cmocka_unit_test(test_hosts),
        cmocka_unit_test(test_host_is_not_read_beyond),
    };
    return cmocka_run_group_tests_name("core/http_field", tests, NULL, NULL);
}
