/* test_h1_framing.c: targets, body lengths and connection persistence of parsed heads. */
#include "core/h1_parse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

static const struct h1_limits limits = {.max_head_bytes = 4096, .max_target_bytes = 1024, .max_fields = 16};
static struct http_field fields[16];

static void parse(char *buf, size_t room, const char *start, const char *lines, bool response,
                  struct http_head *head)
{
    struct h1_parser p = {0};
    *head = (struct http_head){.fields = fields};
    int n = snprintf(buf, room, "%s\r\n%s\r\n", start, lines);
    assert_true(n > 0 && (size_t)n < room);
    assert_int_equal((response ? h1_parse_response : h1_parse_request)(&p, buf, (size_t)n, head, &limits),
                     H1_DONE);
}

static enum h1_error request(const char *version, const char *lines, struct h1_framing *out)
{
    char buf[1024], start[64];
    struct http_head head;
    snprintf(start, sizeof start, "POST / %s\r\nHost: a", version);
    parse(buf, sizeof buf, start, lines, false, &head);
    return h1_request_framing(&head, out);
}

static enum h1_error response(const char *start, const char *lines, enum http_method method,
                              struct h1_framing *out)
{
    char buf[1024];
    struct http_head head;
    parse(buf, sizeof buf, start, lines, true, &head);
    return h1_response_framing(&head, method, out);
}

static void expect_request(const char *version, const char *lines, enum h1_body kind, uint64_t length,
                           bool keep_alive)
{
    struct h1_framing f;
    assert_int_equal(request(version, lines, &f), H1_OK);
    assert_int_equal(f.kind, kind);
    assert_int_equal(f.length, length);
    assert_int_equal(f.has_length, kind == H1_BODY_LENGTH);
    assert_int_equal(f.keep_alive, keep_alive);
}

static void test_request_bodies(void **state)
{
    UNUSED(state);
    expect_request("HTTP/1.1", "", H1_BODY_NONE, 0, true);
    expect_request("HTTP/1.1", "Content-Length: 5\r\n", H1_BODY_LENGTH, 5, true);
    expect_request("HTTP/1.1", "Content-Length: 0\r\n", H1_BODY_LENGTH, 0, true);
    expect_request("HTTP/1.1", "Content-Length: 0005\r\n", H1_BODY_LENGTH, 5, true);
    expect_request("HTTP/1.1", "Content-Length: 9223372036854775807\r\n", H1_BODY_LENGTH, INT64_MAX, true);
    expect_request("HTTP/1.1", "Transfer-Encoding: chunked\r\n", H1_BODY_CHUNKED, 0, true);
    expect_request("HTTP/1.1", "transfer-encoding: , ChunKed ,\r\n", H1_BODY_CHUNKED, 0, true);
}

static void test_keep_alive(void **state)
{
    UNUSED(state);
    expect_request("HTTP/1.0", "", H1_BODY_NONE, 0, false);
    expect_request("HTTP/1.0", "Connection: Keep-Alive\r\n", H1_BODY_NONE, 0, true);
    expect_request("HTTP/1.0", "Connection: keep-alive, close\r\n", H1_BODY_NONE, 0, false);
    expect_request("HTTP/1.0", "Connection: keep-aliv\r\n", H1_BODY_NONE, 0, false);
    expect_request("HTTP/1.1", "Connection: keep-alive\r\n", H1_BODY_NONE, 0, true);
    expect_request("HTTP/1.1", "Connection: CLOSE\r\n", H1_BODY_NONE, 0, false);
    expect_request("HTTP/1.1", "Connection: x\r\nConnection: upgrade, close\r\n", H1_BODY_NONE, 0, false);
    expect_request("HTTP/1.1", "Connection: closed, not-close\r\n", H1_BODY_NONE, 0, true);
}

static void test_request_framing_refused(void **state)
{
    UNUSED(state);
    static const struct {
        const char *lines;
        enum h1_error error;
    } bad[] = {
        {"Content-Length: 5\r\nContent-Length: 5\r\n", H1_ERR_LENGTH_DIFFERS},
        {"Content-Length: 5\r\nContent-Length: 6\r\n", H1_ERR_LENGTH_DIFFERS},
        {"Content-Length: 5, 5\r\n", H1_ERR_LENGTH_DIFFERS},
        {"Content-Length: 5, 6\r\n", H1_ERR_LENGTH_DIFFERS},
        {"Content-Length:\r\n", H1_ERR_LENGTH_INVALID},
        {"Content-Length: -1\r\n", H1_ERR_LENGTH_INVALID},
        {"Content-Length: +5\r\n", H1_ERR_LENGTH_INVALID},
        {"Content-Length: 0x5\r\n", H1_ERR_LENGTH_INVALID},
        {"Content-Length: 5 5\r\n", H1_ERR_LENGTH_INVALID},
        {"Content-Length: 5,\r\n", H1_ERR_LENGTH_INVALID},
        {"Content-Length: 5.0\r\n", H1_ERR_LENGTH_INVALID},
        {"Content-Length: \"5\"\r\n", H1_ERR_LENGTH_INVALID},
        {"Content-Length: 9223372036854775808\r\n", H1_ERR_LENGTH_INVALID},
        {"Content-Length: 18446744073709551621\r\n", H1_ERR_LENGTH_INVALID},
        {"Content-Length: 00000000000000000005\r\n", H1_ERR_LENGTH_INVALID},
        {"Content-Length: 5\r\nContent-Length: x\r\n", H1_ERR_LENGTH_INVALID},
        {"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", H1_ERR_LENGTH_AND_CODING},
        {"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", H1_ERR_LENGTH_AND_CODING},
        {"Transfer-Encoding: gzip\r\n", H1_ERR_CODING_UNKNOWN},
        {"Transfer-Encoding: identity\r\n", H1_ERR_CODING_UNKNOWN},
        {"Transfer-Encoding: gzip, chunked\r\n", H1_ERR_CODING_UNKNOWN},
        {"Transfer-Encoding: xchunked\r\n", H1_ERR_CODING_UNKNOWN},
        {"Transfer-Encoding: \"chunked\"\r\n", H1_ERR_CODING_UNKNOWN},
        {"Transfer-Encoding: chunked;q=1\r\n", H1_ERR_CODING_UNKNOWN},
        {"Transfer-Encoding: chunked, chunked\r\n", H1_ERR_CODING_NOT_FINAL},
        {"Transfer-Encoding: chunked, gzip\r\n", H1_ERR_CODING_NOT_FINAL},
        {"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", H1_ERR_CODING_NOT_FINAL},
        {"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", H1_ERR_CODING_NOT_FINAL},
        {"Transfer-Encoding:\r\n", H1_ERR_CODING_NOT_FINAL},
    };
    struct h1_framing f;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_string_equal(h1_error_name(request("HTTP/1.1", bad[i].lines, &f)),
                            h1_error_name(bad[i].error));
    assert_int_equal(request("HTTP/1.0", "Transfer-Encoding: chunked\r\n", &f), H1_ERR_CODING_IN_HTTP_1_0);
    assert_int_equal(request("HTTP/1.0", "Content-Length: 1\r\nTransfer-Encoding: x\r\n", &f),
                     H1_ERR_CODING_IN_HTTP_1_0);
}

static void expect_response(const char *start, const char *lines, enum http_method method, enum h1_body kind,
                            uint64_t length, bool keep_alive)
{
    struct h1_framing f;
    assert_int_equal(response(start, lines, method, &f), H1_OK);
    assert_int_equal(f.kind, kind);
    assert_int_equal(f.length, length);
    assert_int_equal(f.keep_alive, keep_alive);
}

static void test_response_bodies(void **state)
{
    UNUSED(state);
    static const char ok[] = "HTTP/1.1 200 OK", five[] = "Content-Length: 5\r\n";
    static const char chunked[] = "Transfer-Encoding: chunked\r\n";
    expect_response(ok, five, HTTP_GET, H1_BODY_LENGTH, 5, true);
    expect_response(ok, "Content-Length: 0\r\n", HTTP_GET, H1_BODY_LENGTH, 0, true);
    expect_response(ok, "Content-Length: 5, 5\r\nContent-Length: 5\r\n", HTTP_GET, H1_BODY_LENGTH, 5, true);
    expect_response(ok, chunked, HTTP_GET, H1_BODY_CHUNKED, 0, true);
    expect_response(ok, "", HTTP_GET, H1_BODY_UNTIL_CLOSE, 0, false);
    expect_response(ok, "Connection: keep-alive\r\n", HTTP_GET, H1_BODY_UNTIL_CLOSE, 0, false);
    expect_response("HTTP/1.0 200 OK", five, HTTP_GET, H1_BODY_LENGTH, 5, false);
    expect_response("HTTP/1.0 200 OK", "Connection: keep-alive\r\nContent-Length: 5\r\n", HTTP_GET,
                    H1_BODY_LENGTH, 5, true);
    expect_response(ok, five, HTTP_HEAD, H1_BODY_NONE, 5, true);
    expect_response(ok, chunked, HTTP_HEAD, H1_BODY_NONE, 0, true);
    expect_response(ok, "", HTTP_HEAD, H1_BODY_NONE, 0, true);
    expect_response("HTTP/1.1 304 Not Modified", five, HTTP_GET, H1_BODY_NONE, 5, true);
    expect_response("HTTP/1.1 204 No Content", "", HTTP_GET, H1_BODY_NONE, 0, true);
    expect_response("HTTP/1.1 204 No Content", "Content-Length: 0\r\n", HTTP_GET, H1_BODY_NONE, 0, true);
    expect_response("HTTP/1.1 204 No Content", five, HTTP_GET, H1_BODY_NONE, 5, false);
    expect_response("HTTP/1.1 204 No Content", chunked, HTTP_GET, H1_BODY_NONE, 0, false);
    expect_response("HTTP/1.1 100 Continue", "", HTTP_POST, H1_BODY_NONE, 0, true);
    expect_response("HTTP/1.1 103 Early Hints", "", HTTP_GET, H1_BODY_NONE, 0, true);
    expect_response("HTTP/1.1 101 Switching Protocols", "Connection: upgrade\r\n", HTTP_GET, H1_BODY_NONE, 0,
                    false);
    expect_response(ok, five, HTTP_CONNECT, H1_BODY_NONE, 5, false);
    expect_response("HTTP/1.1 407 No", five, HTTP_CONNECT, H1_BODY_LENGTH, 5, true);
}

static void test_response_framing_refused(void **state)
{
    UNUSED(state);
    struct h1_framing f;
    static const char ok[] = "HTTP/1.1 200 OK";
    assert_int_equal(response(ok, "Content-Length: 5\r\nContent-Length: 6\r\n", HTTP_GET, &f),
                     H1_ERR_LENGTH_DIFFERS);
    assert_int_equal(response(ok, "Content-Length: 5, 6, 5\r\n", HTTP_GET, &f), H1_ERR_LENGTH_DIFFERS);
    assert_int_equal(response(ok, "Content-Length: x\r\n", HTTP_HEAD, &f), H1_ERR_LENGTH_INVALID);
    assert_int_equal(response(ok, "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", HTTP_GET, &f),
                     H1_ERR_LENGTH_AND_CODING);
    assert_int_equal(response(ok, "Transfer-Encoding: gzip, chunked\r\n", HTTP_GET, &f),
                     H1_ERR_CODING_UNKNOWN);
    assert_int_equal(response("HTTP/1.0 200 OK", "Transfer-Encoding: chunked\r\n", HTTP_GET, &f),
                     H1_ERR_CODING_IN_HTTP_1_0);
}

static void assert_part(slice_t s, const char *text)
{
    if (text == NULL) {
        assert_null(s.ptr);
        return;
    }
    assert_non_null(s.ptr);
    assert_int_equal(s.len, strlen(text));
    assert_memory_equal(s.ptr, text, s.len);
}

static void test_targets(void **state)
{
    UNUSED(state);
    static const struct {
        enum http_method method;
        const char *target;
        enum h1_error error;
        const char *scheme, *authority, *path, *query;
    } rows[] = {
        {HTTP_GET, "/", H1_OK, "", "", "/", NULL},
        {HTTP_GET, "/a//b?c=d?e", H1_OK, "", "", "/a//b", "c=d?e"},
        {HTTP_GET, "/a?", H1_OK, "", "", "/a", ""},
        {HTTP_GET, "//evil/a", H1_OK, "", "", "//evil/a", NULL},
        {HTTP_GET, "/http://b/?x", H1_OK, "", "", "/http://b/", "x"},
        {HTTP_OPTIONS, "*", H1_OK, "", "", "*", NULL},
        {HTTP_GET, "http://h:80/p?q", H1_OK, "http", "h:80", "/p", "q"},
        {HTTP_GET, "HTTPS://h", H1_OK, "HTTPS", "h", "/", NULL},
        {HTTP_GET, "http://h?q", H1_OK, "http", "h", "/", "q"},
        {HTTP_GET, "http://[::1]:8/", H1_OK, "http", "[::1]:8", "/", NULL},
        {HTTP_OPTIONS, "http://h", H1_OK, "http", "h", "/", NULL},
        {HTTP_CONNECT, "h:443", H1_OK, "", "h:443", "", NULL},
        {HTTP_CONNECT, "[::1]:443", H1_OK, "", "[::1]:443", "", NULL},
        {HTTP_GET, "*", H1_ERR_TARGET_FORM, NULL, NULL, NULL, NULL},
        {HTTP_GET, "a/b", H1_ERR_TARGET_FORM, NULL, NULL, NULL, NULL},
        {HTTP_GET, "http:/h/", H1_ERR_TARGET_FORM, NULL, NULL, NULL, NULL},
        {HTTP_GET, "http:", H1_ERR_TARGET_FORM, NULL, NULL, NULL, NULL},
        {HTTP_GET, "ftp://h/", H1_ERR_TARGET_FORM, NULL, NULL, NULL, NULL},
        {HTTP_GET, "://h/", H1_ERR_TARGET_FORM, NULL, NULL, NULL, NULL},
        {HTTP_GET, "h:443", H1_ERR_TARGET_FORM, NULL, NULL, NULL, NULL},
        {HTTP_GET, "", H1_ERR_TARGET_FORM, NULL, NULL, NULL, NULL},
        {HTTP_GET, "http://", H1_ERR_HOST_INVALID, NULL, NULL, NULL, NULL},
        {HTTP_GET, "http://a@b/", H1_ERR_HOST_INVALID, NULL, NULL, NULL, NULL},
        {HTTP_GET, "http://a\\b/", H1_ERR_HOST_INVALID, NULL, NULL, NULL, NULL},
        {HTTP_CONNECT, "h", H1_ERR_TARGET_FORM, NULL, NULL, NULL, NULL},
        {HTTP_CONNECT, "h:", H1_ERR_TARGET_FORM, NULL, NULL, NULL, NULL},
        {HTTP_CONNECT, "443", H1_ERR_TARGET_FORM, NULL, NULL, NULL, NULL},
        {HTTP_CONNECT, "/x:1", H1_ERR_HOST_INVALID, NULL, NULL, NULL, NULL},
        {HTTP_CONNECT, ":443", H1_ERR_HOST_INVALID, NULL, NULL, NULL, NULL},
        {HTTP_CONNECT, "h:65536", H1_ERR_HOST_INVALID, NULL, NULL, NULL, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct http_head head = {.method = (uint8_t)rows[i].method, .target = slice_str(rows[i].target)};
        struct h1_target t;
        assert_string_equal(h1_error_name(h1_target_split(&head, &t)), h1_error_name(rows[i].error));
        if (rows[i].error != H1_OK)
            continue;
        assert_part(t.scheme, rows[i].scheme);
        assert_part(t.authority, rows[i].authority);
        assert_part(t.path, rows[i].path);
        assert_part(t.query, rows[i].query);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request_bodies),           cmocka_unit_test(test_keep_alive),
        cmocka_unit_test(test_request_framing_refused),  cmocka_unit_test(test_response_bodies),
        cmocka_unit_test(test_response_framing_refused), cmocka_unit_test(test_targets),
    };
    return cmocka_run_group_tests_name("core/h1_framing", tests, NULL, NULL);
}
