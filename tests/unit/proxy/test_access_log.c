/* test_access_log.c: whatever a client sends, a line is one line, valid in its format, and within its bounds.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <stdlib.h>

#include "proxy/access_log.h"
#include "proxy/access_text.h"
#include "tests/unit/docs_in_step.h"

static struct access_record plain_record(void)
{
    return (struct access_record){
        .wall_ms = 1769860800007, /* 2026-01-31T12:00:00.007Z */
        .client = SLICE_LIT("203.0.113.17"),
        .scheme = SLICE_LIT("http"),
        .method = SLICE_LIT("GET"),
        .host = SLICE_LIT("example.com"),
        .target = SLICE_LIT("/a?b=c"),
        .version = SLICE_LIT("HTTP/1.1"),
        .status = 200,
        .request_bytes = 120,
        .response_bytes = 1293,
        .duration_us = 1234567,
        .wait_us = -1,
        .connect_us = 250,
        .first_byte_us = 1200000,
        .upstream_us = 1230000,
        .cache = VERDICT_MISS,
        .no_store = NO_STORE_SET_COOKIE,
        .age_s = -1,
        .route = SLICE_LIT("site"),
        .pool = SLICE_LIT("app"),
        .instance = SLICE_LIT("a"),
        .tries = 2,
        .retries = 1,
        .fetch_error = FETCH_RESET,
        .close = CLOSE_NO_KEEP_ALIVE,
        .request_id = SLICE_LIT("id-1"),
        .referer = SLICE_EMPTY,
        .user_agent = SLICE_LIT("curl/8"),
    };
}

static struct access_format *compile(const char *spec)
{
    char err[200] = "";
    struct access_format *f = access_format_compile(spec, err, sizeof err);
    if (f == NULL)
        fail_msg("%s: %s", spec, err);
    return f;
}

/* The line in an allocation of exactly `cap` bytes, so that the address sanitizer sees a byte too many. */
static char *line_within(const char *spec, const struct access_record *r, size_t cap, size_t *bytes)
{
    struct access_format *f = compile(spec);
    char *buf = malloc(cap);
    assert_non_null(buf);
    *bytes = access_format_write(f, r, buf, cap);
    access_format_free(f);
    assert_true(*bytes <= cap);
    if (*bytes > 0) {
        assert_int_equal(buf[*bytes - 1], '\n');
        for (size_t i = 0; i + 1 < *bytes; i++)
            assert_true((unsigned char)buf[i] >= 0x20 && buf[i] != 0x7f);
    }
    return buf;
}

static void assert_line(const char *spec, const struct access_record *r, const char *want)
{
    size_t n;
    char *line = line_within(spec, r, ACCESS_LINE_MAX, &n);
    line[n] = '\0';
    assert_string_equal(line, want);
    free(line);
}

static json_t *json_line(const struct access_record *r, size_t cap)
{
    size_t n;
    char *line = line_within("json", r, cap, &n);
    json_error_t error;
    json_t *j = json_loadb(line, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (j == NULL)
        fail_msg("%s in %.*s", error.text, (int)n, line);
    free(line);
    return j;
}

static void assert_json_text(json_t *j, const char *name, const char *want)
{
    const char *got = json_string_value(json_object_get(j, name));
    assert_non_null(got);
    assert_string_equal(got, want);
}

static void test_json_fields(void **state)
{
    (void)state;
    struct access_record r = plain_record();
    r.response_bytes = UINT64_MAX;
    assert_line(
        "json", &r,
        "{\"time\":\"2026-01-31T12:00:00.007Z\",\"client\":\"203.0.113.17\",\"scheme\":\"http\","
        "\"method\":\"GET\",\"host\":\"example.com\",\"target\":\"/a?b=c\",\"version\":\"HTTP/1.1\","
        "\"status\":200,\"request_bytes\":120,\"response_bytes\":18446744073709551615,"
        "\"duration_us\":1234567,\"connect_us\":250,\"first_byte_us\":1200000,\"upstream_us\":1230000,"
        "\"cache\":\"miss\",\"no_store\":\"set_cookie\",\"route\":\"site\",\"pool\":\"app\","
        "\"instance\":\"a\",\"tries\":2,\"retries\":1,\"fetch_error\":\"reset\","
        "\"close\":\"no_keep_alive\",\"request_id\":\"id-1\",\"user_agent\":\"curl/8\"}\n");
    r.age_s = 0;
    r.status = 0;
    r.response_bytes = 9;
    r.fetch_error = FETCH_NONE;
    r.close = CLOSE_OPEN;
    r.no_store = -1;
    json_t *j = json_line(&r, ACCESS_LINE_MAX);
    assert_int_equal(json_integer_value(json_object_get(j, "age_s")), 0);
    assert_non_null(json_object_get(j, "age_s"));
    assert_null(json_object_get(j, "fetch_error"));
    assert_null(json_object_get(j, "close"));
    assert_null(json_object_get(j, "no_store"));
    json_decref(j);
}

static void test_combined_and_templates(void **state)
{
    (void)state;
    struct access_record r = plain_record();
    r.user_agent = SLICE_LIT("a \"b\" \\ \x01 \xc3\xa9\r\nforged");
    assert_line("combined", &r,
                "203.0.113.17 - - [31/Jan/2026:12:00:00 +0000] \"GET /a?b=c HTTP/1.1\" 200 1293 \"-\" "
                "\"a \\x22b\\x22 \\x5C \\x01 \\xC3\\xA9\\x0D\\x0Aforged\"\n");
    assert_line("%{status}%%%{wait_us} %{connect_us}|%{cache}:%{no_store}", &r,
                "200%- 250|miss:set_cookie\n");
    assert_line("{\"ua\":\"%{user_agent}\"}", &r,
                "{\"ua\":\"a \\\"b\\\" \\\\ \\u0001 \xc3\xa9\\u000d\\u000aforged\"}\n");
    assert_line(
        "%{time} a literal that is a good deal longer than one piece can hold, so it takes several %{route}",
        &r,
        "2026-01-31T12:00:00.007Z a literal that is a good deal longer than one piece can hold, so it takes "
        "several site\n");
}

static void assert_template_error(const char *spec, const char *want)
{
    char err[200] = "";
    struct access_format *f = access_format_compile(spec, err, sizeof err);
    assert_null(f);
    if (strstr(err, want) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", err, want);
}

static void test_template_errors(void **state)
{
    (void)state;
    assert_template_error("%{stauts}", "unknown field %{stauts}; did you mean %{status}?");
    assert_template_error("%{user-agent}", "did you mean %{user_agent}?");
    assert_template_error("%{}", "unknown field");
    assert_template_error("%{status", "must be followed by {field}");
    assert_template_error("%s", "must be followed by {field}");
    assert_template_error("%", "must be followed by {field}");
    assert_template_error("jsno", "neither json, combined nor a template");
    assert_template_error("", "neither json, combined nor a template");
    assert_template_error("a\n%{status}", "control characters");
    char *long_spec = malloc(300 * 9 + 1), *p = long_spec;
    for (int i = 0; i < 300; i++, p += 9)
        memcpy(p, "%{status}", 10);
    assert_template_error(long_spec, "too long");
    free(long_spec);
    assert_template_error("%{aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa}",
                          "unknown field");
}

/* Every byte alone and at every place of a group of sixteen gives the same as byte by byte. */
static void test_every_byte_at_every_place(void **state)
{
    (void)state;
    for (int c = 0; c < 256; c++) {
        for (size_t len = 1; len <= 35; len++) {
            for (size_t at = 0; at < len; at++) {
                char text[35], want[35 * 6], got[35 * 6 + ACCESS_TEXT_SLACK];
                memset(text, 'x', sizeof text);
                text[at] = (char)c;
                size_t n = 0;
                for (size_t i = 0; i < len; i++) {
                    unsigned char b = (unsigned char)text[i];
                    if (b == '"' || b == '\\')
                        want[n++] = '\\';
                    if (b >= 0x20 && b < 0x7f) {
                        want[n++] = (char)b;
                    } else {
                        char hex[7];
                        snprintf(hex, sizeof hex, "\\u%04x", b);
                        memcpy(want + n, hex, 6);
                        n += 6;
                    }
                }
                slice_t s = slice_make(text, len);
                assert_int_equal(access_text_put(got, s, ACCESS_ESCAPE_JSON) - got, n);
                assert_memory_equal(got, want, n);
                assert_int_equal(access_text_length(s, ACCESS_ESCAPE_JSON, SIZE_MAX), n);
            }
        }
    }
}

static void test_utf8(void **state)
{
    (void)state;
    static const struct {
        slice_t in;
        const char *want;
    } cases[] = {
        {SLICE_LIT("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"), "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"},
        {SLICE_LIT("0123456789abcde\xc3\xa9-0123456789abcd\xe2\x82\xac"),
         "0123456789abcde\xc3\xa9-0123456789abcd\xe2\x82\xac"},
        {SLICE_LIT("\xc3"), "\\u00c3"},
        {SLICE_LIT("\xc3x"), "\\u00c3x"},
        {SLICE_LIT("\xc0\xaf"), "\\u00c0\\u00af"},
        {SLICE_LIT("\xe0\x80\xaf"), "\\u00e0\\u0080\\u00af"},
        {SLICE_LIT("\xed\xa0\x80"), "\\u00ed\\u00a0\\u0080"},
        {SLICE_LIT("\xf4\x90\x80\x80"), "\\u00f4\\u0090\\u0080\\u0080"},
        {SLICE_LIT("\xf0\x8f\xbf\xbf"), "\\u00f0\\u008f\\u00bf\\u00bf"},
        {SLICE_LIT("\xf0\x9f\x98"), "\\u00f0\\u009f\\u0098"},
        {SLICE_LIT("\xff\xfe"), "\\u00ff\\u00fe"},
        {SLICE_LIT("\xc2\x9b[31m"), "\\u009b[31m"},
        {SLICE_LIT("nul\0nul"), "nul\\u0000nul"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char got[300];
        char *end = access_text_put(got, cases[i].in, ACCESS_ESCAPE_JSON);
        *end = '\0';
        assert_string_equal(got, cases[i].want);
        assert_int_equal(access_text_length(cases[i].in, ACCESS_ESCAPE_JSON, SIZE_MAX), strlen(got));
    }
}

static uint64_t random_state = 88172645463325252u;
static uint64_t random_u64(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static slice_t random_text(char *buf, size_t size)
{
    static const char spice[] = "\"\\\r\n\x1b\x7f\xc3\xa9\xe2\x82\xac\xff\0{}%";
    size_t len = random_u64() % (random_u64() % 8 == 0 ? size : MIN(size, 40));
    for (size_t i = 0; i < len; i++)
        buf[i] = random_u64() % 4 == 0 ? spice[random_u64() % (sizeof spice - 1)]
                                       : (char)('a' + random_u64() % 26);
    return slice_make(buf, len);
}

/* Valid JSON with all fields, whatever the bytes and however little room; texts that fit come back unchanged.
 */
static void test_nasty_input_stays_json(void **state)
{
    (void)state;
    static char target[9000], agent[9000], referer[9000], host[300], id[13];
    for (int i = 0; i < 3000; i++) {
        struct access_record r = plain_record();
        r.target = random_text(target, sizeof target);
        r.user_agent = random_text(agent, sizeof agent);
        r.referer = random_text(referer, sizeof referer);
        r.host = random_text(host, sizeof host);
        for (size_t k = 0; k + 1 < sizeof id; k++)
            id[k] = (char)(1 + random_u64() % 127);
        r.request_id = slice_str(id);
        r.duration_us = (int64_t)(random_u64() >> (random_u64() % 64) >> 1);
        r.status = (unsigned)(random_u64() % 1000);
        json_t *j = json_line(&r, 2400 + random_u64() % 3000);
        assert_json_text(j, "method", "GET");
        assert_json_text(j, "cache", "miss");
        assert_json_text(j, "instance", "a");
        assert_json_text(j, "request_id", id);
        assert_int_equal(json_integer_value(json_object_get(j, "status")), r.status);
        assert_int_equal(json_integer_value(json_object_get(j, "duration_us")), r.duration_us);
        json_decref(j);
        for (size_t k = 0; k < 2; k++) {
            size_t n;
            free(line_within(k == 0 ? "combined" : "%{target}|%{user_agent}|%{referer}|%{host}", &r,
                             600 + random_u64() % 600, &n));
            assert_true(n > 0);
        }
    }
}

static void test_longest_texts_are_cut(void **state)
{
    (void)state;
    static char target[8000], agent[60000];
    memset(target, 't', sizeof target);
    for (size_t i = 0; i < sizeof agent; i += 2)
        memcpy(agent + i, "\xc3\xa9", 2);
    struct access_record r = plain_record();
    r.target = slice_make(target, sizeof target);
    r.user_agent = slice_make(agent, sizeof agent);
    json_t *j = json_line(&r, ACCESS_LINE_MAX);
    const char *got_target = json_string_value(json_object_get(j, "target"));
    const char *got_agent = json_string_value(json_object_get(j, "user_agent"));
    assert_json_text(j, "host", "example.com");
    assert_true(strlen(got_target) > 1000 && strlen(got_agent) > 1000); /* both keep a good share */
    assert_string_equal(got_target + strlen(got_target) - 4, "t...");
    assert_string_equal(got_agent + strlen(got_agent) - 5, "\xc3\xa9...");
    json_decref(j);
    r.user_agent = SLICE_LIT("short");
    j = json_line(&r, ACCESS_LINE_MAX);
    assert_true(strlen(json_string_value(json_object_get(j, "target"))) > 2000);
    assert_json_text(j, "user_agent", "short");
    json_decref(j);
}

static void test_no_room(void **state)
{
    (void)state;
    struct access_record r = plain_record();
    for (size_t cap = 1; cap < 2000; cap++) {
        size_t n;
        free(line_within("json", &r, cap, &n));
        free(line_within("combined", &r, cap, &n));
        if (cap >= 1400)
            assert_true(n > 0);
    }
}

static void test_times(void **state)
{
    (void)state;
    struct access_record r = plain_record();
    r.wall_ms = 1709164799999;
    assert_line("%{time} %{time_clf}", &r, "2024-02-28T23:59:59.999Z 28/Feb/2024:23:59:59 +0000\n");
    r.wall_ms += 1;
    assert_line("%{time} %{time_clf}", &r, "2024-02-29T00:00:00.000Z 29/Feb/2024:00:00:00 +0000\n");
    r.wall_ms = 0;
    assert_line("%{time}", &r, "1970-01-01T00:00:00.000Z\n");
    r.wall_ms = -5000; /* a clock that is wrong must not break the line */
    assert_line("%{time}", &r, "1970-01-01T00:00:00.000Z\n");
}

static void test_numbers(void **state)
{
    (void)state;
    struct access_record r = plain_record();
    uint64_t v = 1;
    for (int i = 0; i < 20; i++, v *= 10) {
        char want[80];
        r.request_bytes = v;
        r.response_bytes = v - 1;
        snprintf(want, sizeof want, "%llu %llu\n", (unsigned long long)v, (unsigned long long)v - 1);
        assert_line("%{request_bytes} %{response_bytes}", &r, want);
    }
}

static void test_slow_line(void **state)
{
    (void)state;
    struct access_record r = plain_record();
    char line[1024];
    r.response_bytes = 77;
    size_t n = access_slow_line(&r, line, sizeof line);
    assert_int_equal(n, strlen(line));
    assert_string_equal(
        line, "GET http://example.com/a?b=c answered 200 after 1234.567 ms, connect 0.250 ms, "
              "first byte 1200.000 ms, upstream 1230.000 ms; cache miss (set_cookie), route site, pool app, "
              "instance a, 2 tries, fetch failed: reset, closed: no_keep_alive, 77 bytes, client "
              "203.0.113.17, id id-1");
    static char target[9000];
    memset(target, '\n', sizeof target);
    r.target = slice_make(target, sizeof target);
    n = access_slow_line(&r, line, sizeof line);
    assert_null(memchr(line, '\n', n));
    assert_non_null(strstr(line, "client 203.0.113.17"));
    for (size_t cap = 1; cap < 300; cap++) {
        char *exact = malloc(cap);
        n = access_slow_line(&r, exact, cap);
        assert_true(n < cap && exact[n] == '\0');
        free(exact);
    }
}

static void test_docs_in_step(void **state)
{
    (void)state;
    expect_docs_in_step("docs/logging.md", "access fields", access_log_print_markdown);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_fields),
        cmocka_unit_test(test_combined_and_templates),
        cmocka_unit_test(test_template_errors),
        cmocka_unit_test(test_every_byte_at_every_place),
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_nasty_input_stays_json),
        cmocka_unit_test(test_longest_texts_are_cut),
        cmocka_unit_test(test_no_room),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_slow_line),
        cmocka_unit_test(test_docs_in_step),
    };
    return cmocka_run_group_tests_name("proxy/access_log", tests, NULL, NULL);
}
