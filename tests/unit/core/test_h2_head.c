/* test_h2_head.c: heads by HTTP/2: what becomes of sound ones, and which are malformed or refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/h2_head.h"

static const struct h1_limits limits = {.max_head_bytes = 4096, .max_target_bytes = 100, .max_fields = 8};

static int setup(void **state)
{
    *state = calloc(1, sizeof(struct h2_head));
    return *state == NULL;
}

static int teardown(void **state)
{
    h2_head_free(*state);
    free(*state);
    return 0;
}

#define GET ":method", "GET", ":scheme", "https", ":path", "/a?b", ":authority", "test"

/* Names and values in turn, up to NULL. */
static enum h2_verdict head_of(struct h2_head *h, const char *const *f, struct http_head *out)
{
    assert_true(h2_head_begin(h, H2_HEAD_REQUEST, &limits));
    for (; f[0] != NULL; f += 2)
        assert_true(h2_head_add(h, slice_str(f[0]), slice_str(f[1])));
    return h2_head_end(h, out);
}
#define HEAD(h, out, ...) head_of(h, (const char *const[]){__VA_ARGS__, NULL}, out)

static void expect_slice(slice_t s, const char *text)
{
    assert_int_equal(s.len, strlen(text));
    assert_memory_equal(s.ptr, text, s.len);
}

static const char *value_of(const struct http_head *head, const char *name)
{
    static char text[4096];
    const struct http_field *f = http_head_find(head, slice_str(name));
    if (f == NULL)
        return NULL;
    snprintf(text, sizeof text, "%.*s", (int)f->value.len, f->value.ptr);
    return text;
}

static void test_sound(void **state)
{
    struct http_head out;
    /* twice: the second time in memory of the first */
    for (int i = 0; i < 2; i++) {
        assert_int_equal(HEAD(*state, &out, ":authority", "Test:81", ":path", "/x?y", ":scheme", "http",
                              ":method", "PATCHY", "accept", "a/b", "x-own", "1 2", "te", "trailers"),
                         H2_HEAD_OK);
        expect_slice(out.method_text, "PATCHY");
        assert_int_equal(out.method, HTTP_METHOD_OTHER);
        expect_slice(out.target, "/x?y");
        assert_int_equal(out.version_minor, 1);
        assert_int_equal(out.field_count, 4);
        assert_string_equal(value_of(&out, "host"), "Test:81");
        assert_string_equal(value_of(&out, "x-own"), "1 2");
        assert_true(http_head_has(&out, HTTP_FIELD_HOST) && http_head_has(&out, HTTP_FIELD_ACCEPT));
        assert_false(http_head_has(&out, HTTP_FIELD_COOKIE));
    }
}

/* exchange_own_head takes all from the method to the end of the last field as one stretch. */
static void test_is_one_stretch(void **state)
{
    struct http_head out;
    assert_int_equal(
        HEAD(*state, &out, ":path", "/", ":scheme", "https", ":authority", "test", ":method", "GET"),
        H2_HEAD_OK);
    const char *from = out.method_text.ptr;
    const struct http_field *last = &out.fields[out.field_count - 1];
    assert_true(out.target.ptr > from && out.target.ptr < last->value.ptr + last->value.len);
    expect_slice(last->value, "test");
}

static void test_host_stands_for_authority(void **state)
{
    struct http_head out;
    assert_int_equal(HEAD(*state, &out, ":method", "GET", ":scheme", "https", ":path", "/", "host", "test"),
                     H2_HEAD_OK);
    assert_string_equal(value_of(&out, "host"), "test");
    assert_int_equal(HEAD(*state, &out, GET, "host", "TEST", "a", "b"), H2_HEAD_OK);
    assert_int_equal(http_head_count(&out, HTTP_FIELD_HOST), 1);
    assert_int_equal(out.field_count, 2);
}

static void test_crumbs_are_joined(void **state)
{
    struct http_head out;
    assert_int_equal(HEAD(*state, &out, GET, "cookie", "a=1", "x", "y", "cookie", "b=2", "cookie", "c=3"),
                     H2_HEAD_OK);
    assert_int_equal(http_head_count(&out, HTTP_FIELD_COOKIE), 1);
    assert_string_equal(value_of(&out, "cookie"), "a=1; b=2; c=3");
    expect_slice(out.fields[0].name, "cookie");
    expect_slice(out.fields[1].name, "x");
}

static void test_grows(void **state)
{
    struct http_head out;
    char value[1000];
    memset(value, 'v', sizeof value);
    value[sizeof value - 1] = '\0';
    assert_int_equal(HEAD(*state, &out, GET, "a", value, "cookie", value, "b", value, "host", "test"),
                     H2_HEAD_OK);
    assert_string_equal(value_of(&out, "a"), value);
    assert_string_equal(value_of(&out, "b"), value);
    assert_string_equal(value_of(&out, "cookie"), value);
    expect_slice(out.target, "/a?b");
}

static void expect_malformed(struct h2_head *h, const char *const *f)
{
    struct http_head out;
    enum h2_verdict v = head_of(h, f, &out);
    if (v != H2_HEAD_MALFORMED)
        print_error("not malformed: ... %s\n", f[0]);
    assert_int_equal(v, H2_HEAD_MALFORMED);
    assert_non_null(h->malformed);
}
#define MALFORMED(...) expect_malformed(*state, (const char *const[]){__VA_ARGS__, NULL})

static void test_pseudo_fields(void **state)
{
    MALFORMED(":method", "GET", ":scheme", "https", ":authority", "test");
    MALFORMED(":scheme", "https", ":path", "/", ":authority", "test");
    MALFORMED(":method", "GET", ":path", "/", ":authority", "test");
    MALFORMED(":method", "GET", ":scheme", "https", ":path", "/");
    MALFORMED(GET, ":path", "/");
    MALFORMED(GET, ":status", "200");
    MALFORMED(GET, ":protocol", "websocket");
    MALFORMED(GET, ":", "x");
    MALFORMED(":method", "GET", "a", "b", ":scheme", "https", ":path", "/", ":authority", "test");
    MALFORMED(":method", "", ":scheme", "https", ":path", "/", ":authority", "test");
    MALFORMED(":method", "G T", ":scheme", "https", ":path", "/", ":authority", "test");
    MALFORMED(":method", "GET / HTTP/1.1\r\n", ":scheme", "https", ":path", "/", ":authority", "test");
    MALFORMED(":method", "GETGETGETGETGETGETGETGETGETGETGETG", ":scheme", "https", ":path", "/", ":authority",
              "test");
    MALFORMED(":method", "GET", ":scheme", "gopher", ":path", "/", ":authority", "test");
    MALFORMED(":method", "GET", ":scheme", "https", ":path", "", ":authority", "test");
    MALFORMED(":method", "GET", ":scheme", "https", ":path", "a", ":authority", "test");
    MALFORMED(":method", "GET", ":scheme", "https", ":path", "*", ":authority", "test");
    MALFORMED(":method", "GET", ":scheme", "https", ":path", "http://other/", ":authority", "test");
    MALFORMED(":method", "GET", ":scheme", "https", ":path", "/ HTTP/1.1\r\nX: y", ":authority", "test");
    MALFORMED(":method", "GET", ":scheme", "https", ":path", "/a b", ":authority", "test");
    MALFORMED(":method", "GET", ":scheme", "https", ":path", "/a#b", ":authority", "test");
    MALFORMED(":method", "GET", ":scheme", "https", ":path", "/", ":authority", "");
    MALFORMED(":method", "GET", ":scheme", "https", ":path", "/", ":authority", "me@test");
    MALFORMED(":method", "GET", ":scheme", "https", ":path", "/", ":authority", "te st");
    MALFORMED(":method", "CONNECT", ":scheme", "https", ":path", "/", ":authority", "test:443");
}

static void test_host_differs(void **state)
{
    MALFORMED(GET, "host", "other");
    MALFORMED(GET, "host", "test", "host", "test");
    MALFORMED(GET, "host", "");
}

static void test_fields(void **state)
{
    MALFORMED(GET, "Accept", "a");
    MALFORMED(GET, "X-Own", "a");
    MALFORMED(GET, "", "a");
    MALFORMED(GET, "a b", "a");
    MALFORMED(GET, "a:b", "a");
    MALFORMED(GET, "x\r\ny", "a");
    MALFORMED(GET, "x", "a\r\nb: c");
    MALFORMED(GET, "x", "a\rb");
    MALFORMED(GET, "x", "a\nb");
    MALFORMED(GET, "x", "a\001b");
    MALFORMED(GET, "x", " a");
    MALFORMED(GET, "x", "a\t");
    MALFORMED(GET, "connection", "close");
    MALFORMED(GET, "keep-alive", "1");
    MALFORMED(GET, "proxy-connection", "close");
    MALFORMED(GET, "transfer-encoding", "chunked");
    MALFORMED(GET, "upgrade", "h2c");
    MALFORMED(GET, "te", "gzip");
    MALFORMED(GET, "te", "trailers, gzip");
}

static int64_t length_of(struct h2_head *h, const char *value)
{
    struct http_head out;
    return HEAD(h, &out, GET, "content-length", value) == H2_HEAD_OK ? h->content_length : -2;
}

static void test_content_length(void **state)
{
    struct h2_head *h = *state;
    struct http_head out;
    assert_int_equal(length_of(h, "0"), 0);
    assert_int_equal(length_of(h, "9223372036854775807"), INT64_MAX);
    assert_int_equal(HEAD(h, &out, GET), H2_HEAD_OK);
    assert_int_equal(h->content_length, -1);
    MALFORMED(GET, "content-length", "5", "content-length", "5");
    MALFORMED(GET, "content-length", "9223372036854775808");
    MALFORMED(GET, "content-length", "+5");
    MALFORMED(GET, "content-length", "5, 5");
    MALFORMED(GET, "content-length", "");
    assert_int_equal(HEAD(h, &out, ":method", "CONNECT", ":authority", "test:443", "content-length", "5"),
                     H2_HEAD_OK);
    assert_int_equal(h->content_length, -1);
}

static void test_priority(void **state)
{
    struct h2_head *h = *state;
    struct http_head out;
    assert_int_equal(HEAD(h, &out, GET, "priority", "u=1", "x", "y", "priority", "i"), H2_HEAD_OK);
    assert_true(h->priority.said && h->priority.incremental);
    assert_int_equal(h->priority.urgency, 1);
    assert_string_equal(value_of(&out, "priority"), "u=1");
    assert_int_equal(HEAD(h, &out, GET, "priority", "?"), H2_HEAD_OK);
    assert_false(h->priority.said);
    assert_int_equal(h->priority.urgency, H2_URGENCY_DEFAULT);
}

static void expect_refused(struct h2_head *h, enum h1_error why, const char *const *f)
{
    struct http_head out;
    assert_int_equal(head_of(h, f, &out), H2_HEAD_REFUSED);
    assert_int_equal(h->refused, why);
    assert_int_equal(out.field_count, 0);
    assert_true(out.method_text.len > 0 && out.target.len > 0);
}
#define REFUSED(why, ...) expect_refused(*state, why, (const char *const[]){__VA_ARGS__, NULL})

static void test_limits(void **state)
{
    char value[4100];
    memset(value, 'v', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    REFUSED(H1_ERR_HEAD_TOO_LARGE, GET, "x", value);
    value[2040] = '\0';
    REFUSED(H1_ERR_HEAD_TOO_LARGE, GET, "cookie", value, "cookie", value);
    REFUSED(H1_ERR_TOO_MANY_FIELDS, GET, "a", "", "b", "", "c", "", "d", "", "e", "", "f", "", "g", "", "h",
            "", "i", "");
    REFUSED(H1_ERR_TOO_MANY_FIELDS, GET, "cookie", "", "cookie", "", "cookie", "", "cookie", "", "cookie", "",
            "cookie", "", "cookie", "", "cookie", "", "cookie", "");
    value[0] = '/';
    value[101] = '\0';
    REFUSED(H1_ERR_TARGET_TOO_LONG, ":method", "GET", ":scheme", "https", ":path", value, ":authority",
            "test");
    struct h2_head *h = *state;
    assert_true(h2_head_begin(h, H2_HEAD_REQUEST, &limits));
    for (unsigned i = 0; i < 1000; i++)
        assert_true(h2_head_add(h, SLICE_LIT("n"), slice_make(value, 95)));
    assert_int_equal(h->decoded_bytes, 100000);
    assert_true(h->text_room <= 2 * limits.max_head_bytes);
}

static void test_connect(void **state)
{
    struct http_head out;
    assert_int_equal(HEAD(*state, &out, ":method", "CONNECT", ":authority", "test:443"), H2_HEAD_OK);
    assert_int_equal(out.method, HTTP_CONNECT);
    expect_slice(out.target, "test:443");
    assert_int_equal(
        HEAD(*state, &out, ":method", "OPTIONS", ":scheme", "http", ":path", "*", ":authority", "t"),
        H2_HEAD_OK);
}

static void test_trailers(void **state)
{
    struct h2_head *h = *state;
    char text[100];
    assert_true(h2_head_begin(h, H2_HEAD_TRAILERS, &limits));
    assert_true(h2_head_add(h, SLICE_LIT("x-sum"), SLICE_LIT("12")));
    assert_true(h2_head_add(h, SLICE_LIT("etag"), SLICE_LIT("\"a\"")));
    assert_null(h->malformed);
    slice_t t = h2_head_trailers(h, text);
    expect_slice(t, "x-sum: 12\r\netag: \"a\"\r\n\r\n");
    assert_int_equal(h2_head_trailers_bytes(h), t.len);
    assert_true(h2_head_begin(h, H2_HEAD_TRAILERS, &limits));
    assert_true(h2_head_add(h, SLICE_LIT(":path"), SLICE_LIT("/")));
    assert_non_null(h->malformed);
}

#define WEBSOCKET                                                                                            \
    ":method", "CONNECT", ":protocol", "websocket", ":scheme", "https", ":path", "/ws?a", ":authority", "test"

/* As HTTP/1.1 would ask for it. */
static void test_websocket(void **state)
{
    struct http_head out;
    assert_int_equal(HEAD(*state, &out, WEBSOCKET, "sec-websocket-version", "13", "Sec-WebSocket-Key", "x"),
                     H2_HEAD_MALFORMED); /* upper case */
    assert_int_equal(HEAD(*state, &out, WEBSOCKET, "sec-websocket-key", "a", "sec-websocket-version", "13",
                          "sec-websocket-key", "b"),
                     H2_HEAD_OK);
    expect_slice(out.method_text, "GET");
    assert_int_equal(out.method, HTTP_GET);
    expect_slice(out.target, "/ws?a");
    assert_string_equal(value_of(&out, "connection"), "upgrade");
    assert_string_equal(value_of(&out, "upgrade"), "websocket");
    assert_string_equal(value_of(&out, "sec-websocket-version"), "13");
    assert_null(value_of(&out, "sec-websocket-key"));
    assert_true(http_head_has(&out, HTTP_FIELD_UPGRADE) && http_head_has(&out, HTTP_FIELD_CONNECTION));
    assert_int_equal(out.field_count, 4);
    const struct http_field *last = &out.fields[out.field_count - 1]; /* still one stretch */
    assert_int_equal(last->id, HTTP_FIELD_HOST);
    assert_true(last->value.ptr > out.method_text.ptr);
}

static void test_connect_is_malformed(void **state)
{
    struct http_head out;
    assert_int_equal(HEAD(*state, &out, GET, ":protocol", "websocket"), H2_HEAD_MALFORMED);
    assert_int_equal(HEAD(*state, &out, WEBSOCKET, ":protocol", "websocket"), H2_HEAD_MALFORMED);
    assert_int_equal(HEAD(*state, &out, WEBSOCKET, "content-length", "0"), H2_HEAD_MALFORMED);
    assert_int_equal(HEAD(*state, &out, WEBSOCKET, "upgrade", "websocket"), H2_HEAD_MALFORMED);
    assert_int_equal(HEAD(*state, &out, WEBSOCKET, "host", "other"), H2_HEAD_MALFORMED);
    assert_int_equal(HEAD(*state, &out, ":method", "CONNECT", ":protocol", "websocket", ":authority", "test"),
                     H2_HEAD_MALFORMED);
    assert_int_equal(HEAD(*state, &out, ":method", "CONNECT", ":protocol", "websocket", ":authority", "test",
                          ":scheme", "https", ":path", "*"),
                     H2_HEAD_MALFORMED);
    assert_int_equal(HEAD(*state, &out, ":method", "CONNECT", ":protocol", "websocket", ":authority", "test",
                          ":scheme", "ws", ":path", "/"),
                     H2_HEAD_MALFORMED);
}

static void test_other_protocols(void **state)
{
    static const char *const others[] = {"connect-udp", "webtransport", "websocket2", "h2c"};
    static const char *const none[] = {"", " websocket", "web socket", "websocket\r\nX: y", "websocket/13"};
    struct http_head out;
    for (size_t i = 0; i < ARRAY_LEN(none); i++)
        assert_int_equal(HEAD(*state, &out, ":method", "CONNECT", ":protocol", none[i], ":scheme", "https",
                              ":path", "/", ":authority", "test"),
                         H2_HEAD_MALFORMED);
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        assert_int_equal(HEAD(*state, &out, ":method", "CONNECT", ":protocol", others[i], ":scheme", "https",
                              ":path", "/", ":authority", "test"),
                         H2_HEAD_REFUSED);
        assert_int_equal(h1_error_status(((struct h2_head *)*state)->refused), 501);
    }
}

static enum h2_verdict response_of(struct h2_head *h, const char *const *f, struct http_head *out)
{
    assert_true(h2_head_begin(h, H2_HEAD_RESPONSE, &limits));
    for (; f[0] != NULL; f += 2)
        assert_true(h2_head_add(h, slice_str(f[0]), slice_str(f[1])));
    return h2_head_end_response(h, out);
}
#define RESPONSE(h, out, ...) response_of(h, (const char *const[]){__VA_ARGS__, NULL}, out)

static void test_responses(void **state)
{
    struct http_head out;
    assert_int_equal(RESPONSE(*state, &out, ":status", "204", "etag", "\"a\"", "set-cookie", "b=c"),
                     H2_HEAD_OK);
    assert_int_equal(out.status, 204);
    assert_int_equal(out.field_count, 2);
    assert_true(http_head_has(&out, HTTP_FIELD_ETAG));
    assert_string_equal(value_of(&out, "set-cookie"), "b=c");
    static const char *const statuses[] = {"", "20", "2000", "2x0", "+20", "099", "1e2"};
    for (size_t i = 0; i < ARRAY_LEN(statuses); i++)
        assert_int_equal(RESPONSE(*state, &out, ":status", statuses[i]), H2_HEAD_MALFORMED);
    assert_int_equal(RESPONSE(*state, &out, "server", "x"), H2_HEAD_MALFORMED);
    assert_int_equal(RESPONSE(*state, &out, ":status", "200", ":path", "/"), H2_HEAD_MALFORMED);
    assert_int_equal(RESPONSE(*state, &out, ":status", "200", "Server", "x"), H2_HEAD_MALFORMED);
    assert_int_equal(RESPONSE(*state, &out, ":status", "200", "connection", "x"), H2_HEAD_MALFORMED);
    assert_int_equal(HEAD(*state, &out, GET, ":status", "200"), H2_HEAD_MALFORMED);
    char value[4097];
    memset(value, 'v', 4096);
    value[4096] = '\0';
    assert_int_equal(RESPONSE(*state, &out, ":status", "200", "server", value), H2_HEAD_REFUSED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(test_sound),
        T(test_websocket),
        T(test_connect_is_malformed),
        T(test_other_protocols),
        T(test_is_one_stretch),
        T(test_host_stands_for_authority),
        T(test_crumbs_are_joined),
        T(test_grows),
        T(test_pseudo_fields),
        T(test_host_differs),
        T(test_fields),
        T(test_content_length),
        T(test_priority),
        T(test_limits),
        T(test_connect),
        T(test_trailers),
        T(test_responses),
    };
    return cmocka_run_group_tests_name("core/h2_head", tests, NULL, NULL);
}
