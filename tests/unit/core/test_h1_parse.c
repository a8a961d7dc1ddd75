/* test_h1_parse.c: heads, whole and in pieces: each verdict, each limit, both scanners. */
#include "tests/support/h1_twins.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

static const struct h1_limits roomy = {.max_head_bytes = 4096, .max_target_bytes = 1024, .max_fields = 32};

#define REQ(text)  &twins_request, text, sizeof(text) - 1
#define RESP(text) &twins_response, text, sizeof(text) - 1
#define FLDS(text) &twins_fields, text, sizeof(text) - 1

static void try_all_cuts(const struct twins_kind *kind, const char *text, size_t len,
                         const struct h1_limits *limits)
{
    for (size_t cut = 0; cut <= len; cut++)
        twins_cut(kind, text, len, cut, limits);
    twins_steps(kind, text, len, 1, limits);
    twins_steps(kind, text, len, 7, limits);
}

/* `text` ends in a verdict; the same one however it is cut. */
static void expect(const struct twins_kind *kind, const char *text, size_t len,
                   const struct h1_limits *limits, enum h1_error error)
{
    struct twins_result r;
    twins_whole(kind, text, len, limits, &r);
    assert_int_equal(r.status, error == H1_OK ? H1_DONE : H1_FAIL);
    assert_string_equal(h1_error_name(r.parser.error), h1_error_name(error));
    try_all_cuts(kind, text, len, limits);
}

#define OK(...)     expect(__VA_ARGS__, &roomy, H1_OK)
#define BAD(e, ...) expect(__VA_ARGS__, &roomy, H1_ERR_##e)

static void assert_slice(slice_t s, const char *text)
{
    assert_int_equal(s.len, strlen(text));
    assert_memory_equal(s.ptr, text, s.len);
}

static void test_request_is_taken_apart(void **state)
{
    UNUSED(state);
    static const char text[] =
        "GET /a?b=c HTTP/1.1\r\nHost: x.example:80\r\nX-Odd:\t a b\xff \t\r\nempty:\r\n"
        "COOKIE:a=1\r\nblank:  \t \r\n\r\nbody";
    struct twins_result r;
    OK(REQ(text));
    twins_whole(REQ(text), &roomy, &r);
    assert_int_equal(r.parser.head_bytes, sizeof(text) - 1 - 4);
    assert_int_equal(r.head.method, HTTP_GET);
    assert_int_equal(r.head.version_minor, 1);
    assert_slice(r.head.method_text, "GET");
    assert_slice(r.head.target, "/a?b=c");
    assert_int_equal(r.head.field_count, 5);
    assert_slice(r.fields[0].name, "Host");
    assert_slice(r.fields[0].value, "x.example:80");
    assert_slice(r.fields[1].name, "X-Odd");
    assert_slice(r.fields[1].value, "a b\xff");
    assert_slice(r.fields[2].value, "");
    assert_slice(r.fields[3].value, "a=1");
    assert_slice(r.fields[4].value, "");
    assert_int_equal(r.head.present, HTTP_BIT(HOST) | HTTP_BIT(COOKIE) | HTTP_BIT(OTHER));
}

static void test_request_good(void **state)
{
    UNUSED(state);
    OK(REQ("GET / HTTP/1.0\r\n\r\n"));
    OK(REQ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    OK(REQ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"));
    OK(REQ("GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n"));
    OK(REQ("GET HTTPS://a?q HTTP/1.1\r\nHost: a\r\n\r\n"));
    OK(REQ("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"));
    OK(REQ("GET /\"<>\\^`{|}[]%zz HTTP/1.1\r\nHost: a\r\n\r\n"));
    OK(REQ("M-SEARCH / HTTP/1.1\r\nHost: a\r\n\r\n"));
    OK(REQ("GETGETGETGETGETGETGETGETGETGETGE / HTTP/1.1\r\nHost: a\r\n\r\n"));
    OK(REQ("GET / HTTP/1.1\r\n!#$%&'*+-.^_`|~09azAZ: all of tchar\r\nHost: [::1]:8080\r\n\r\n"));
}

static void test_request_line_bad(void **state)
{
    UNUSED(state);
    BAD(BAD_REQUEST_LINE, REQ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    BAD(BAD_REQUEST_LINE, REQ("GET /\r\n"));
    BAD(BAD_REQUEST_LINE, REQ("GET\r\n"));
    BAD(BAD_REQUEST_LINE, REQ("GET  / HTTP/1.1\r\n"));
    BAD(BAD_METHOD, REQ(" GET / HTTP/1.1\r\n"));
    BAD(BAD_METHOD, REQ("G(T / HTTP/1.1\r\n"));
    BAD(BAD_METHOD, REQ("G\x80T / HTTP/1.1\r\n"));
    BAD(BAD_METHOD, REQ("GETGETGETGETGETGETGETGETGETGETGET / HTTP/1.1\r\n"));
    BAD(BAD_METHOD, REQ("\x16\x03\x01\x02"));
    BAD(BAD_METHOD, REQ("GET\0 / HTTP/1.1\r\n"));
    BAD(BAD_TARGET, REQ("GET /#a HTTP/1.1\r\n"));
    BAD(BAD_TARGET, REQ("GET /\x80 HTTP/1.1\r\n"));
    BAD(BAD_TARGET, REQ("GET /\x7f HTTP/1.1\r\n"));
    BAD(BAD_TARGET, REQ("GET /\t HTTP/1.1\r\n"));
    BAD(BAD_TARGET, REQ("GET /0123456789abcdef0123456789abcd\0 HTTP/1.1\r\n"));
    BAD(BAD_VERSION, REQ("GET / HTTP/1.1 \r\n"));
    BAD(BAD_VERSION, REQ("GET / http/1.1\r\n"));
    BAD(BAD_VERSION, REQ("GET / HTTP/1.10\r\n"));
    BAD(BAD_VERSION, REQ("GET / HTTP/2\r\n"));
    BAD(BAD_VERSION, REQ("GET / HTTP/2.0x\r\n"));
    BAD(BAD_VERSION, REQ("GET / a HTTP/1.1\r\n"));
    BAD(VERSION_UNSUPPORTED, REQ("GET / HTTP/1.2\r\n"));
    BAD(VERSION_UNSUPPORTED, REQ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
    BAD(BAD_LINE_END, REQ("GET / HTTP/1.1\nHost: a\n\n"));
    BAD(BAD_LINE_END, REQ("GET / HTTP/1.1\rHost: a\r\r"));
    BAD(BAD_LINE_END, REQ("GET /\n"));
    BAD(BAD_LINE_END, REQ("\nGET / HTTP/1.1\r\n"));
    BAD(BAD_LINE_END, REQ("\rGET / HTTP/1.1\r\n"));
}

static void test_request_target_form(void **state)
{
    UNUSED(state);
    BAD(TARGET_FORM, REQ("GET * HTTP/1.1\r\nHost: a\r\n\r\n"));
    BAD(TARGET_FORM, REQ("GET a HTTP/1.1\r\nHost: a\r\n\r\n"));
    BAD(TARGET_FORM, REQ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n"));
    BAD(TARGET_FORM, REQ("CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n"));
    BAD(TARGET_FORM, REQ("CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n"));
    BAD(TARGET_FORM, REQ("OPTIONS a:1 HTTP/1.1\r\nHost: a\r\n\r\n"));
    BAD(HOST_INVALID, REQ("GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n"));
    BAD(HOST_INVALID, REQ("GET http://u@a/x HTTP/1.1\r\nHost: a\r\n\r\n"));
    BAD(HOST_INVALID, REQ("CONNECT u@a:1 HTTP/1.1\r\nHost: a\r\n\r\n"));
}

static void test_host(void **state)
{
    UNUSED(state);
    BAD(HOST_MISSING, REQ("GET / HTTP/1.1\r\nA: b\r\n\r\n"));
    BAD(HOST_MISSING, REQ("GET http://a/ HTTP/1.1\r\n\r\n"));
    BAD(HOST_REPEATED, REQ("GET / HTTP/1.1\r\nHost: a\r\nhOST: a\r\n\r\n"));
    BAD(HOST_REPEATED, REQ("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n"));
    BAD(HOST_INVALID, REQ("GET / HTTP/1.1\r\nHost:\r\n\r\n"));
    BAD(HOST_INVALID, REQ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n"));
    BAD(HOST_INVALID, REQ("GET http://a/ HTTP/1.1\r\nHost: a/b\r\n\r\n"));
}

static void test_field_lines_bad(void **state)
{
    UNUSED(state);
    BAD(BAD_FIELD_NAME, FLDS("a b: c\r\n"));
    BAD(BAD_FIELD_NAME, FLDS(": c\r\n"));
    BAD(BAD_FIELD_NAME, FLDS("abc\r\n"));
    BAD(BAD_FIELD_NAME, FLDS("a: b\r\nno colon here\r\n"));
    BAD(BAD_FIELD_NAME, FLDS("a\0b: c\r\n"));
    BAD(BAD_FIELD_NAME, FLDS("a\xe4: c\r\n"));
    BAD(BAD_FIELD_NAME, FLDS("a[0]: c\r\n"));
    BAD(BAD_FIELD_NAME, FLDS("abc\r\nhost: a\r\n\r\n"));
    BAD(SPACE_BEFORE_COLON, FLDS("Content-Length : 5\r\n"));
    BAD(SPACE_BEFORE_COLON, FLDS("Content-Length \t : 5\r\n"));
    BAD(SPACE_BEFORE_COLON, FLDS("Transfer-Encoding\t: chunked\r\n"));
    BAD(OBS_FOLD, FLDS("a: b\r\n c\r\n\r\n"));
    BAD(OBS_FOLD, FLDS("a: b\r\n\tc: d\r\n\r\n"));
    BAD(OBS_FOLD, FLDS(" a: b\r\n"));
    BAD(BAD_FIELD_VALUE, FLDS("a: b\0c\r\n"));
    BAD(BAD_FIELD_VALUE, FLDS("a: b\x1f"
                              "c\r\n"));
    BAD(BAD_FIELD_VALUE, FLDS("a: \x7f\r\n"));
    BAD(BAD_FIELD_VALUE, FLDS("a: 0123456789abcdef0123456789abcdef\x01"));
    BAD(BAD_LINE_END, FLDS("a: b\nc: d\r\n\r\n"));
    BAD(BAD_LINE_END, FLDS("a: b\rc: d\r\n\r\n"));
    BAD(BAD_LINE_END, FLDS("a: b\r\r\n\r\n"));
    BAD(BAD_LINE_END, FLDS("a: b\r\n\n"));
    BAD(BAD_LINE_END, FLDS("a: b\r\n\rx"));
    BAD(BAD_LINE_END, FLDS("abc\n"));
}

static void test_fields_alone(void **state)
{
    UNUSED(state);
    struct twins_result r;
    OK(FLDS("\r\n"));
    OK(FLDS("a: b\r\nDigest:  x=\"y\" \r\n\r\nGET / HTTP/1.1\r\n"));
    twins_whole(FLDS("\r\nrest"), &roomy, &r);
    assert_int_equal(r.parser.head_bytes, 2);
    assert_int_equal(r.head.field_count, 0);
}

static void test_response(void **state)
{
    UNUSED(state);
    struct twins_result r;
    OK(RESP("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
    OK(RESP("HTTP/1.0 200\r\n\r\n"));
    OK(RESP("HTTP/1.1 999 \xe4\t x\r\n\r\n"));
    OK(RESP("HTTP/1.1 100 \r\n\r\n"));
    twins_whole(RESP("HTTP/1.1 404 Not  Here \r\nServer: x\r\n\r\n"), &roomy, &r);
    assert_int_equal(r.head.status, 404);
    assert_slice(r.head.reason, "Not  Here ");
    assert_true(http_head_has(&r.head, HTTP_FIELD_SERVER));
    twins_whole(RESP("HTTP/1.0 200\r\n\r\n"), &roomy, &r);
    assert_int_equal(r.head.version_minor, 0);
    assert_slice(r.head.reason, "");

    BAD(BAD_STATUS_LINE, RESP("\r\nHTTP/1.1 200 OK\r\n\r\n"));
    BAD(BAD_STATUS_LINE, RESP("HTTP/1.1 099 x\r\n"));
    BAD(BAD_STATUS_LINE, RESP("HTTP/1.1 20 OK\r\n"));
    BAD(BAD_STATUS_LINE, RESP("HTTP/1.1 2000 OK\r\n"));
    BAD(BAD_STATUS_LINE, RESP("HTTP/1.1  200 OK\r\n"));
    BAD(BAD_STATUS_LINE, RESP("HTTP/1.1\t200 OK\r\n"));
    BAD(BAD_STATUS_LINE, RESP("HTTP/1.1 200 O\0K\r\n"));
    BAD(BAD_STATUS_LINE, RESP("HTTP/1.1\r\n"));
    BAD(BAD_STATUS_LINE, RESP("HTTP/1.1 200OK\r\n"));
    BAD(BAD_STATUS_LINE, RESP("ICY 200 OK\r\n"));
    BAD(BAD_STATUS_LINE, RESP("HTTP/11 200 OK\r\n"));
    BAD(VERSION_UNSUPPORTED, RESP("HTTP/2.0 200 OK\r\n"));
    BAD(BAD_LINE_END, RESP("HTTP/1.1 200 OK\n"));
    BAD(BAD_LINE_END, RESP("HTTP/1.1 200\n"));
    BAD(BAD_LINE_END, RESP("HTTP/1.1 200 O\rK\r\n"));
    BAD(HOST_MISSING, REQ("GET / HTTP/1.1\r\n\r\n"));
}

static void test_limit_head(void **state)
{
    UNUSED(state);
    static const char text[] = "GET / HTTP/1.1\r\nHost: a\r\nA: bbbbbbbbbbbbbbbbbbbbbbbb\r\n\r\n";
    struct h1_limits limits = roomy;
    limits.max_head_bytes = sizeof(text) - 1;
    expect(REQ(text), &limits, H1_OK);
    limits.max_head_bytes--;
    expect(REQ(text), &limits, H1_ERR_HEAD_TOO_LARGE);
    limits.max_head_bytes = 10; /* inside the request line */
    expect(REQ(text), &limits, H1_ERR_HEAD_TOO_LARGE);
    limits.max_head_bytes = 40; /* reached while incomplete: no use in waiting for more */
    expect(&twins_request, text, 40, &limits, H1_ERR_HEAD_TOO_LARGE);
    expect(&twins_request, "GET / HTTP/1.1\r\nHost: a\r\nX: no end of line", 40, &limits,
           H1_ERR_HEAD_TOO_LARGE);
}

static void test_limit_target(void **state)
{
    UNUSED(state);
    struct h1_limits limits = roomy;
    limits.max_target_bytes = 5;
    expect(REQ("GET /1234 HTTP/1.1\r\nHost: a\r\n\r\n"), &limits, H1_OK);
    expect(REQ("GET /12345 HTTP/1.1\r\nHost: a\r\n\r\n"), &limits, H1_ERR_TARGET_TOO_LONG);
    /* refused without waiting for the end of the line */
    expect(REQ("GET /12345678901234567890123456789012345678901234567890"), &limits, H1_ERR_TARGET_TOO_LONG);
    expect(REQ("BADBADBADBADBADBADBADBADBADBADBADBADBADBADBADBADBADBAD"), &limits, H1_ERR_BAD_METHOD);
    expect(REQ("GET / HTTP/1.1                                        "), &limits, H1_ERR_BAD_VERSION);
    limits.max_head_bytes = 12;
    expect(REQ("GET /12345678901234567890"), &limits, H1_ERR_TARGET_TOO_LONG);
}

static void test_limit_fields(void **state)
{
    UNUSED(state);
    struct h1_limits limits = roomy;
    limits.max_fields = 2;
    expect(REQ("GET / HTTP/1.1\r\nHost: a\r\nb: c\r\n\r\n"), &limits, H1_OK);
    expect(REQ("GET / HTTP/1.1\r\nHost: a\r\nb: c\r\nd: e\r\n\r\n"), &limits, H1_ERR_TOO_MANY_FIELDS);
    expect(REQ("GET / HTTP/1.1\r\nHost: a\r\nb: c\r\nd: e\r\n"), &limits, H1_ERR_TOO_MANY_FIELDS);
    limits.max_fields = 0;
    expect(FLDS("\r\n"), &limits, H1_OK);
    expect(FLDS("a: b\r\n"), &limits, H1_ERR_TOO_MANY_FIELDS);
}

static void test_limits_lowered_between_calls(void **state)
{
    UNUSED(state);
    static const char text[] = "a: b\r\nc: d\r\n\r\n";
    struct h1_limits limits = roomy;
    struct twins_result r = {0};
    twins_step(h1_parse_fields, text, sizeof(text) - 3, &limits, &r);
    assert_int_equal(r.status, H1_MORE);
    limits.max_fields = 1;
    twins_step(h1_parse_fields, text, sizeof(text) - 1, &limits, &r);
    assert_int_equal(r.status, H1_FAIL);
    assert_int_equal(r.parser.error, H1_ERR_TOO_MANY_FIELDS);
    twins_step(h1_parse_fields, text, sizeof(text) - 1, &roomy, &r);
    assert_int_equal(r.status, H1_FAIL); /* for good */
}

/* A head of 40 lines, byte by byte, in a buffer where everything that was scanned before the call is
 * destroyed: NULs, which no verdict but FAIL would follow if they were looked at again. Only a line
 * that just became complete may be read a second time. So the work is linear. */
static void test_slow_input_is_not_read_again(void **state)
{
    UNUSED(state);
    enum { LINES = 30 };
    char text[2048], seen[2048];
    size_t len = (size_t)snprintf(text, sizeof text, "GET /some/where HTTP/1.1\r\n");
    for (int i = 0; i < LINES; i++)
        len +=
            (size_t)snprintf(text + len, sizeof text - len, "X-Field-%d: value %d, and more of it\r\n", i, i);
    len += (size_t)snprintf(text + len, sizeof text - len, "Host: a\r\n\r\n");
    struct twins_result r = {0};
    size_t line = 0, lines_done = 0;
    for (size_t n = 1; n < len; n++) {
        bool line_ends = text[n - 1] == '\n';
        memset(seen, 0, sizeof seen);
        size_t from = line_ends ? line : n - (n > 1 && text[n - 2] == '\r' ? 2 : 1);
        memcpy(seen + from, text + from, n - from);
        twins_step(h1_parse_request, seen, n, &roomy, &r);
        assert_int_equal(r.status, H1_MORE);
        assert_int_equal(r.parser.scanned, text[n - 1] == '\r' ? n - 1 : n);
        if (line_ends) {
            line = n;
            lines_done++;
        }
        assert_int_equal(r.parser.line, line);
        assert_int_equal(r.parser.fields, lines_done > 0 ? lines_done - 1 : 0);
    }
    twins_step(h1_parse_request, text, len, &roomy, &r);
    assert_int_equal(r.status, H1_DONE);
    assert_int_equal(r.head.field_count, LINES + 1);
    assert_slice(r.fields[LINES - 1].name, "X-Field-29");
}

static void test_pipelined(void **state)
{
    UNUSED(state);
    static const char text[] = "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: b\r\n\r\n";
    struct twins_result r;
    twins_whole(REQ(text), &roomy, &r);
    size_t first = r.parser.head_bytes;
    assert_slice(r.head.target, "/1");
    twins_whole(&twins_request, text + first, sizeof(text) - 1 - first, &roomy, &r);
    assert_int_equal(r.status, H1_DONE);
    assert_slice(r.head.target, "/2");
    assert_int_equal(first + r.parser.head_bytes, sizeof(text) - 1);
}

static uint32_t random_u32(uint32_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed;
}

static void test_scanners_agree(void **state)
{
    UNUSED(state);
#ifdef __SSE2__
    uint32_t seed = 2463534242u;
    for (unsigned round = 0; round < 20000; round++) {
        size_t len = random_u32(&seed) % 70, from = len > 0 ? random_u32(&seed) % len : 0;
        char *b = twins_block("", 0);
        b = realloc(b, len > 0 ? len : 1);
        for (size_t i = 0; i < len; i++) {
            uint32_t x = random_u32(&seed);
            b[i] = (x & 0x3f00) == 0 ? (char)x : (char)('a' + x % 26);
        }
        const char *p = b + from, *end = b + len;
        assert_ptr_equal(h1_scan_control_sse2(b, p, end), h1_scan_control_portable(p, end));
        assert_ptr_equal(h1_scan_target_sse2(b, p, end), h1_scan_target_portable(p, end));
        assert_ptr_equal(h1_scan_colon_sse2(b, p, end), h1_scan_colon_portable(p, end));
        free(b);
    }
    for (unsigned c = 0; c < 256; c++) { /* each byte value, at each place of a step */
        for (unsigned at = 0; at < 33; at++) {
            char b[33];
            memset(b, 'x', sizeof b);
            b[at] = (char)c;
            assert_ptr_equal(h1_scan_control_sse2(b, b, b + 33), h1_scan_control_portable(b, b + 33));
            assert_ptr_equal(h1_scan_target_sse2(b, b, b + 33), h1_scan_target_portable(b, b + 33));
            assert_ptr_equal(h1_scan_colon_sse2(b, b, b + 33), h1_scan_colon_portable(b, b + 33));
        }
    }
#endif
}

/* Heads with a few bytes spoilt: both parsers, and pieces, agree on each. */
static void test_spoilt_heads(void **state)
{
    UNUSED(state);
    static const char good[] = "POST /a/b?c=d HTTP/1.1\r\nHost: example.com\r\nContent-Length: 5\r\n"
                               "X-Unknown: some value that is a little longer\r\n\r\nhello";
    static const char spoil[] = "\r\n\0 \t:\x7f\x80#/";
    uint32_t seed = 88172645u;
    for (unsigned round = 0; round < 3000; round++) {
        char text[sizeof good];
        memcpy(text, good, sizeof good);
        for (unsigned n = random_u32(&seed) % 3 + 1; n > 0; n--)
            text[random_u32(&seed) % (sizeof good - 1)] = spoil[random_u32(&seed) % (sizeof spoil - 1)];
        twins_cut(&twins_request, text, sizeof good - 1, random_u32(&seed) % sizeof good, &roomy);
        if (round % 16 == 0)
            twins_steps(&twins_request, text, sizeof good - 1, 1, &roomy);
    }
}

static void test_error_tables(void **state)
{
    UNUSED(state);
    static const char *const ids[] = {[H1_OK] = "OK",
#define X(id, status, text) [H1_ERR_##id] = #id,
                                      H1_ERRORS(X)
#undef X
    };
    for (unsigned e = 0; e < H1_ERROR_COUNT; e++) {
        const char *name = h1_error_name((enum h1_error)e);
        assert_int_equal(strlen(name), strlen(ids[e]));
        assert_true(slice_ieq(slice_str(name), slice_str(ids[e])));
        for (const char *c = name; *c != '\0'; c++)
            assert_true(*c == ascii_lower(*c));
        assert_true(strlen(h1_error_text((enum h1_error)e)) > 0);
        assert_true(e == H1_OK ||
                    (h1_error_status((enum h1_error)e) >= 400 && h1_error_status((enum h1_error)e) <= 505));
    }
    assert_int_equal(h1_error_status(H1_ERR_TARGET_TOO_LONG), 414);
    assert_int_equal(h1_error_status(H1_ERR_HEAD_TOO_LARGE), 431);
    assert_int_equal(h1_error_status(H1_ERR_VERSION_UNSUPPORTED), 505);
    assert_int_equal(h1_error_status(H1_ERR_CODING_UNKNOWN), 501);
    assert_string_equal(h1_error_text(H1_ERR_OBS_FOLD), "folded field line");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request_is_taken_apart),
        cmocka_unit_test(test_request_good),
        cmocka_unit_test(test_request_line_bad),
        cmocka_unit_test(test_request_target_form),
        cmocka_unit_test(test_host),
        cmocka_unit_test(test_field_lines_bad),
        cmocka_unit_test(test_fields_alone),
        cmocka_unit_test(test_response),
        cmocka_unit_test(test_limit_head),
        cmocka_unit_test(test_limit_target),
        cmocka_unit_test(test_limit_fields),
        cmocka_unit_test(test_limits_lowered_between_calls),
        cmocka_unit_test(test_slow_input_is_not_read_again),
        cmocka_unit_test(test_pipelined),
        cmocka_unit_test(test_scanners_agree),
        cmocka_unit_test(test_spoilt_heads),
        cmocka_unit_test(test_error_tables),
    };
    return cmocka_run_group_tests_name("core/h1_parse", tests, NULL, NULL);
}
