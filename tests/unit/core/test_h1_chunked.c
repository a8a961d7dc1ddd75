/* test_h1_chunked.c: chunked bodies, whole and in every cut, with each way of being wrong. */
#include "core/h1_parse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

struct result {
    enum h1_chunk end;
    enum h1_error error;
    size_t used;
    size_t body_bytes;
    char body[512];
};

/* Feeds text[from..to) from a block of that size; stops at TRAILERS or FAIL. */
static bool feed(struct h1_chunked *c, const char *text, size_t from, size_t to, struct result *r)
{
    size_t len = to - from, at = 0;
    char *block = malloc(len > 0 ? len : 1);
    assert_non_null(block);
    memcpy(block, text + from, len);
    for (;;) {
        size_t consumed = SIZE_MAX;
        slice_t data;
        r->end = h1_chunked_next(c, block + at, len - at, &consumed, &data);
        assert_true(consumed <= len - at);
        if (r->end == H1_CHUNK_DATA) {
            assert_true(data.len > 0 && data.ptr >= block + at &&
                        data.ptr + data.len == block + at + consumed);
            assert_true(r->body_bytes + data.len <= sizeof r->body);
            memcpy(r->body + r->body_bytes, data.ptr, data.len);
            r->body_bytes += data.len;
        }
        at += consumed;
        r->used += consumed;
        if (r->end != H1_CHUNK_DATA)
            break;
    }
    if (r->end == H1_CHUNK_MORE)
        assert_int_equal(at, len);
    free(block);
    r->error = c->error;
    return r->end == H1_CHUNK_MORE;
}

static void expect(const char *text, size_t len, enum h1_chunk end, enum h1_error error, const char *body,
                   size_t used)
{
    for (size_t cut = 0; cut <= len + 1; cut++) { /* the last round goes byte by byte */
        struct h1_chunked c = {0};
        struct result r = {0};
        if (cut <= len) {
            if (feed(&c, text, 0, cut, &r))
                feed(&c, text, cut, len, &r);
        } else {
            for (size_t i = 0; i < len && feed(&c, text, i, i + 1, &r); i++)
                ;
        }
        assert_int_equal(r.end, end);
        assert_string_equal(h1_error_name(r.error), h1_error_name(error));
        assert_int_equal(r.used, used);
        assert_int_equal(r.body_bytes, strlen(body));
        assert_memory_equal(r.body, body, r.body_bytes);
    }
}

#define GOOD(text, body, used) expect(text, sizeof(text) - 1, H1_CHUNK_TRAILERS, H1_OK, body, used)
#define MORE(text, body)       expect(text, sizeof(text) - 1, H1_CHUNK_MORE, H1_OK, body, sizeof(text) - 1)
#define BAD(text, error, used) expect(text, sizeof(text) - 1, H1_CHUNK_FAIL, H1_ERR_##error, "", used)

static void test_good(void **state)
{
    UNUSED(state);
    GOOD("5\r\nhello\r\n0\r\n\r\n", "hello", 13);
    GOOD("5\r\nhello\r\n1\r\n \r\n00A\r\n0123\r\n6789\r\n000\r\nTrailer: x\r\n\r\n", "hello 0123\r\n6789",
         38);
    GOOD("0\r\n\r\n", "", 3);
    GOOD("0;ext\r\n", "", 7);
    GOOD("3;a=b;c=\"d;e\"\r\nxyz\r\n0 \t; x\r\n", "xyz", 28);
    GOOD("3;\xe4\r\nxyz\r\n0000000000000000\r\n", "xyz", 28);
    MORE("", "");
    MORE("5", "");
    MORE("5\r", "");
    MORE("5\r\n", "");
    MORE("5\r\nhel", "hel");
    MORE("5\r\nhello", "hello");
    MORE("5\r\nhello\r", "hello");
    MORE("5\r\nhello\r\n", "hello");
    MORE("fffffffffffffff\r\nx", "x");
}

static void test_bad_sizes(void **state)
{
    UNUSED(state);
    BAD("\r\n", CHUNK_SIZE, 1);
    BAD(" 5\r\n", CHUNK_SIZE, 1);
    BAD("\t5\r\n", CHUNK_SIZE, 1);
    BAD("-5\r\n", CHUNK_SIZE, 1);
    BAD("+5\r\n", CHUNK_SIZE, 1);
    BAD("0x5\r\n", CHUNK_SIZE, 2);
    BAD(";a\r\n", CHUNK_SIZE, 1);
    BAD("5g\r\n", CHUNK_SIZE, 2);
    BAD("5\n", CHUNK_SIZE, 2);
    BAD("5\rx", CHUNK_SIZE, 3);
    BAD("5\r\r\n", CHUNK_SIZE, 3);
    BAD("5\0\r\n", CHUNK_SIZE, 2);
    BAD("1000000000000000\r\n", CHUNK_SIZE, 16);
    BAD("ffffffffffffffff\r\n", CHUNK_SIZE, 16);
    BAD("00000000000000005\r\n", CHUNK_SIZE, 17);
}

static void test_bad_extensions(void **state)
{
    UNUSED(state);
    BAD("5 \r\n", CHUNK_EXTENSION, 3);
    BAD("5 5\r\n", CHUNK_EXTENSION, 3);
    BAD("5;a\nb\r\n", CHUNK_EXTENSION, 4);
    BAD("5;a\rb\r\n", CHUNK_EXTENSION, 5);
    /* a quoted CRLF ends the line as any other does */
    expect("1;\"a\r\nb\"\r\n", 10, H1_CHUNK_FAIL, H1_ERR_CHUNK_END, "b", 8);
    BAD("5;a\0\r\n", CHUNK_EXTENSION, 4);
    BAD("5;\x7f\r\n", CHUNK_EXTENSION, 3);
}

static void test_bad_chunk_end(void **state)
{
    UNUSED(state);
    expect("1\r\nab\r\n", 7, H1_CHUNK_FAIL, H1_ERR_CHUNK_END, "a", 5);
    expect("1\r\na\n", 5, H1_CHUNK_FAIL, H1_ERR_CHUNK_END, "a", 5);
    expect("1\r\na\rx", 6, H1_CHUNK_FAIL, H1_ERR_CHUNK_END, "a", 6);
    expect("1\r\na0\r\n\r\n", 9, H1_CHUNK_FAIL, H1_ERR_CHUNK_END, "a", 5);
}

static void test_extension_limit(void **state)
{
    UNUSED(state);
    char text[400] = "0";
    size_t n = 1;
    text[n++] = ';';
    while (n < 1 + 256)
        text[n++] = 'x';
    memcpy(text + n, "\r\n", 2);
    expect(text, n + 2, H1_CHUNK_TRAILERS, H1_OK, "", n + 2);
    text[n++] = 'x';
    memcpy(text + n, "\r\n", 2);
    expect(text, n + 2, H1_CHUNK_FAIL, H1_ERR_CHUNK_EXTENSION, "", n);
    memset(text + 1, ' ', sizeof text - 1); /* white space counts too */
    expect(text, 300, H1_CHUNK_FAIL, H1_ERR_CHUNK_EXTENSION, "", 258);
}

static void test_limit_is_per_line(void **state)
{
    UNUSED(state);
    struct h1_chunked c = {0};
    struct result r = {0};
    char line[250];
    memset(line, 'x', sizeof line);
    memcpy(line, "1;", 2);
    memcpy(line + sizeof line - 5, "\r\n.\r\n", 5);
    for (int i = 0; i < 20; i++)
        assert_true(feed(&c, line, 0, sizeof line, &r));
    assert_int_equal(r.body_bytes, 20);
}

static void test_ends_repeat(void **state)
{
    UNUSED(state);
    size_t consumed;
    slice_t data;
    struct h1_chunked c = {0};
    assert_int_equal(h1_chunked_next(&c, "0\r\n\r\n", 5, &consumed, &data), H1_CHUNK_TRAILERS);
    assert_int_equal(consumed, 3);
    assert_int_equal(h1_chunked_next(&c, "\r\n", 2, &consumed, &data), H1_CHUNK_TRAILERS);
    assert_int_equal(consumed, 0);
    c = (struct h1_chunked){0};
    assert_int_equal(h1_chunked_next(&c, "x", 1, &consumed, &data), H1_CHUNK_FAIL);
    assert_int_equal(h1_chunked_next(&c, "5\r\n", 3, &consumed, &data), H1_CHUNK_FAIL);
    assert_int_equal(consumed, 0);
    assert_int_equal(c.error, H1_ERR_CHUNK_SIZE);
}

static void test_chunk_head(void **state)
{
    UNUSED(state);
    static const struct {
        uint64_t bytes;
        const char *text;
    } rows[] = {{0, "0\r\n"},
                {1, "1\r\n"},
                {15, "f\r\n"},
                {16, "10\r\n"},
                {0x4000, "4000\r\n"},
                {UINT64_C(0xfedcba987654321), "fedcba987654321\r\n"},
                {UINT64_MAX, "ffffffffffffffff\r\n"}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char buf[18];
        assert_int_equal(h1_chunk_head(buf, rows[i].bytes), strlen(rows[i].text));
        assert_memory_equal(buf, rows[i].text, strlen(rows[i].text));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bad_sizes),
        cmocka_unit_test(test_bad_extensions),
        cmocka_unit_test(test_bad_chunk_end),
        cmocka_unit_test(test_extension_limit),
        cmocka_unit_test(test_limit_is_per_line),
        cmocka_unit_test(test_ends_repeat),
        cmocka_unit_test(test_chunk_head),
    };
    return cmocka_run_group_tests_name("core/h1_chunked", tests, NULL, NULL);
}
