/* test_health_h2.c: what a probe by HTTP/2 asks, as a session of the other side reads it, and what it makes
 * of answers, whole, in pieces, and none; and what it finds in their bodies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <nghttp2/nghttp2.h>

#include "balancer/health_h2.h"

static char asked[1024];

static int on_header(nghttp2_session *s, const nghttp2_frame *frame, const uint8_t *name, size_t name_bytes,
                     const uint8_t *value, size_t value_bytes, uint8_t flags, void *arg)
{
    UNUSED(s);
    UNUSED(frame);
    UNUSED(flags);
    UNUSED(arg);
    strncat(asked, (const char *)name, name_bytes);
    strcat(asked, "=");
    strncat(asked, (const char *)value, value_bytes);
    strcat(asked, "\n");
    return 0;
}

/* What a server answers, in `to`. */
static size_t answer(const struct health_h2 *h, const char *const *statuses, char *to)
{
    nghttp2_session_callbacks *cb;
    nghttp2_session *s;
    const uint8_t *data;
    size_t bytes, used = 0;
    ssize_t n;
    const char *request = health_h2_request(h, &bytes);
    asked[0] = '\0';
    assert_int_equal(nghttp2_session_callbacks_new(&cb), 0);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    assert_int_equal(nghttp2_session_server_new(&s, cb, NULL), 0);
    assert_int_equal(nghttp2_submit_settings(s, NGHTTP2_FLAG_NONE, NULL, 0), 0);
    assert_int_equal(nghttp2_session_mem_recv(s, (const uint8_t *)request, bytes), bytes);
    for (; *statuses != NULL; statuses++) {
        const nghttp2_nv nv = {(uint8_t *)(uintptr_t) ":status", (uint8_t *)(uintptr_t)*statuses, 7, 3, 0};
        const bool last = statuses[1] == NULL;
        nghttp2_submit_headers(s, last ? NGHTTP2_FLAG_END_STREAM : NGHTTP2_FLAG_NONE, 1, NULL, &nv, 1, NULL);
    }
    while ((n = nghttp2_session_mem_send(s, &data)) > 0) {
        memcpy(to + used, data, (size_t)n);
        used += (size_t)n;
    }
    nghttp2_session_del(s);
    nghttp2_session_callbacks_del(cb);
    return used;
}

static void test_status(void **state)
{
    char bytes[1024];
    const char *why;
    UNUSED(state);
    for (size_t step = 1; step < 1024; step *= 4) {
        struct health_h2 *h = health_h2_new("https", "app:81", "/up?x=1", "");
        const size_t n = answer(h, (const char *const[]){"103", "204", NULL}, bytes);
        int status = 0;
        assert_non_null(strstr(asked, ":method=GET\n:scheme=https\n:authority=app:81\n:path=/up?x=1\n"));
        assert_non_null(strstr(asked, "user-agent=millpond/"));
        for (size_t at = 0; at < n; at += step) {
            const int got = health_h2_read(h, bytes + at, MIN(step, n - at), &why);
            if (got < 0)
                fail_msg("%s at %zu of %zu", why, at, n);
            status = got;
        }
        assert_int_equal(status, 204);
        health_h2_free(h);
    }
}

static void test_no_answer(void **state)
{
    static const char http_1[] = "HTTP/1.1 400 Bad Request\r\n\r\n";
    static const char reset[] = "\0\0\0\4\0\0\0\0\0" /* SETTINGS, then RST_STREAM */
                                "\0\0\4\3\0\0\0\0\1\0\0\0\7";
    const char *why = NULL;
    UNUSED(state);
    struct health_h2 *h = health_h2_new("http", "a", "/", NULL);
    assert_int_equal(health_h2_read(h, http_1, sizeof http_1 - 1, &why), -1);
    assert_non_null(why);
    health_h2_free(h);
    h = health_h2_new("http", "a", "/", NULL);
    assert_int_equal(health_h2_read(h, reset, sizeof reset - 1, &why), -1);
    assert_string_equal(why, "REFUSED_STREAM");
    health_h2_free(h);
}

/* ---- bodies ---- */

struct page {
    const char *status, *length; /* NULL: no content-length */
    const char *body;
    size_t bytes, piece; /* DATA frames of at most so much; 0: as large as they may be */
    size_t padding;
    bool trailers;
    uint32_t reset; /* at the end of the body; 0: it is ended */
    bool endless;   /* nothing follows the body */
    size_t sent;
};

static ssize_t page_read(nghttp2_session *s, int32_t id, uint8_t *to, size_t room, uint32_t *flags,
                         nghttp2_data_source *source, void *arg)
{
    struct page *p = source->ptr;
    size_t n = MIN(room, p->bytes - p->sent);
    UNUSED(arg);
    n = p->piece > 0 ? MIN(n, p->piece) : n;
    memcpy(to, p->body + p->sent, n);
    p->sent += n;
    if (p->sent < p->bytes)
        return (ssize_t)n;
    if (n == 0 && p->endless)
        return NGHTTP2_ERR_DEFERRED;
    if (p->endless)
        return (ssize_t)n;
    *flags = NGHTTP2_DATA_FLAG_EOF;
    if (p->trailers || p->reset != 0)
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
    if (p->trailers) {
        const nghttp2_nv nv = {(uint8_t *)(uintptr_t) "x-late", (uint8_t *)(uintptr_t) "up", 6, 2, 0};
        nghttp2_submit_trailer(s, id, &nv, 1);
    }
    return (ssize_t)n;
}

static ssize_t page_pad(nghttp2_session *s, const nghttp2_frame *frame, size_t most, void *arg)
{
    const struct page *p = arg;
    UNUSED(s);
    return (ssize_t)(frame->hd.type == NGHTTP2_DATA ? MIN(most, frame->hd.length + p->padding)
                                                    : frame->hd.length);
}

/* What a server sends that keeps to the windows it is given; on the heap. */
static char *page_bytes(const struct health_h2 *h, struct page *p, size_t *used)
{
    nghttp2_session_callbacks *cb;
    nghttp2_session *s;
    nghttp2_option *option;
    const uint8_t *data;
    size_t bytes, count = p->length != NULL ? 2 : 1;
    ssize_t n;
    char *to = malloc(MB);
    const char *request = health_h2_request(h, &bytes);
    const nghttp2_nv nv[] = {{(uint8_t *)(uintptr_t) ":status", (uint8_t *)(uintptr_t)p->status, 7, 3, 0},
                             {(uint8_t *)(uintptr_t) "content-length", (uint8_t *)(uintptr_t)p->length, 14,
                              p->length != NULL ? strlen(p->length) : 0, 0}};
    const nghttp2_data_provider provider = {.source = {.ptr = p}, .read_callback = page_read};
    assert_int_equal(nghttp2_option_new(&option), 0);
    nghttp2_option_set_no_http_messaging(option, 1);
    assert_int_equal(nghttp2_session_callbacks_new(&cb), 0);
    nghttp2_session_callbacks_set_select_padding_callback(cb, page_pad);
    assert_int_equal(nghttp2_session_server_new2(&s, cb, p, option), 0);
    nghttp2_submit_settings(s, NGHTTP2_FLAG_NONE, NULL, 0);
    assert_int_equal(nghttp2_session_mem_recv(s, (const uint8_t *)request, bytes), bytes);
    assert_int_equal(nghttp2_submit_response(s, 1, nv, count, &provider), 0);
    *used = 0;
    for (unsigned round = 0; round < 2; round++) {
        while ((n = nghttp2_session_mem_send(s, &data)) > 0) {
            memcpy(to + *used, data, (size_t)n);
            *used += (size_t)n;
        }
        if (p->reset != 0)
            nghttp2_submit_rst_stream(s, NGHTTP2_FLAG_NONE, 1, p->reset);
    }
    nghttp2_session_del(s);
    nghttp2_session_callbacks_del(cb);
    nghttp2_option_del(option);
    return to;
}

static void expect_body(struct page page, const char *wanted, enum health_body_verdict v)
{
    const size_t steps[] = {1, 7, 100, MB};
    page.bytes = page.bytes > 0 ? page.bytes : strlen(page.body);
    for (size_t i = page.bytes > 1000 ? 2 : 0; i < ARRAY_LEN(steps); i++) {
        const char *why;
        size_t n;
        int status = 0;
        page.sent = 0;
        char *settings = strdup(wanted);
        struct health_h2 *h = health_h2_new("http", "a", "/", settings);
        memset(settings, '?', strlen(settings)); /* a reload while the answer comes in */
        char *bytes = page_bytes(h, &page, &n);
        assert_true(health_h2_looks(h));
        for (size_t at = 0; at < n; at += steps[i])
            status = health_h2_read(h, bytes + at, MIN(steps[i], n - at), &why);
        if (status != atoi(page.status) || health_h2_body(h) != v)
            fail_msg("\"%.40s\" by %zu: status %d, %d instead of %d", page.body, steps[i], status,
                     (int)health_h2_body(h), (int)v);
        health_h2_free(h);
        free(bytes);
        free(settings);
    }
}
#define EXPECT_BODY(wanted, v, ...) expect_body((struct page){.status = "200", __VA_ARGS__}, wanted, v)

static void test_bodies(void **state)
{
    UNUSED(state);
    EXPECT_BODY("is up", HEALTH_BODY_FOUND, .body = "all is up now");
    EXPECT_BODY("is up", HEALTH_BODY_FOUND, .body = "all is up now", .piece = 1);
    EXPECT_BODY("is up", HEALTH_BODY_FOUND, .body = "all is up now", .piece = 3, .padding = 200);
    EXPECT_BODY("is up", HEALTH_BODY_FOUND, .body = "is is up", .piece = 2, .trailers = true);
    EXPECT_BODY("is up", HEALTH_BODY_FOUND, .body = "is up", .endless = true);
    EXPECT_BODY("is up", HEALTH_BODY_FOUND, .body = "is up", .length = "5");
    EXPECT_BODY("is up", HEALTH_BODY_FOUND, .body = "is up", .reset = NGHTTP2_INTERNAL_ERROR);
    EXPECT_BODY("is up", HEALTH_BODY_MISSING, .body = "all is down");
    EXPECT_BODY("is up", HEALTH_BODY_MISSING, .body = "is ", .trailers = true); /* "up" is in a trailer */
    EXPECT_BODY("is up", HEALTH_BODY_MISSING, .body = "");
    EXPECT_BODY("is up", HEALTH_BODY_MORE, .body = "is u", .endless = true);
    EXPECT_BODY("is up", HEALTH_BODY_BROKEN, .body = "is u", .reset = NGHTTP2_INTERNAL_ERROR);
    EXPECT_BODY("is up", HEALTH_BODY_BROKEN, .body = "is down", .length = "9");
    EXPECT_BODY("is up", HEALTH_BODY_BROKEN, .body = "is down", .length = "3");
    EXPECT_BODY("\1\1", HEALTH_BODY_MISSING, .body = "a", .padding = 100);
}

/* It is sent within the windows that the request opens, padding and all. */
static void test_large_bodies(void **state)
{
    UNUSED(state);
    const size_t bytes = HEALTH_H2_BODY;
    char *page = malloc(2 * bytes);
    memset(page, '.', 2 * bytes);
    memcpy(page + bytes - 5, "is up", 5);
    EXPECT_BODY("is up", HEALTH_BODY_FOUND, .body = page, .bytes = bytes);
    EXPECT_BODY("is up", HEALTH_BODY_FOUND, .body = page, .bytes = 2 * bytes);
    EXPECT_BODY("is up", HEALTH_BODY_FOUND, .body = page, .bytes = bytes, .piece = 2000, .padding = 255);
    memcpy(page + bytes - 5, ".is up", 6);
    EXPECT_BODY("is up", HEALTH_BODY_MISSING, .body = page, .bytes = bytes + 1);
    EXPECT_BODY("is up", HEALTH_BODY_MISSING, .body = page, .bytes = bytes + 1, .endless = true);
    EXPECT_BODY("is up", HEALTH_BODY_MISSING, .body = page, .bytes = 2 * bytes);
    free(page);
}

static void test_frames_around_a_body(void **state)
{
    static const char head[] = "\0\0\0\4\0\0\0\0\0" /* SETTINGS, HEADERS with :status 200 */
                               "\0\0\1\1\4\0\0\0\1\x88";
    static const char rest[] = "\0\0\3\0\0\0\0\0\1is "
                               "\0\0\1\xff\0\0\0\0\0x" /* one that nobody knows */
                               "\0\0\2\0\0\0\0\0\1up";
    static const char bad[] = "\0\0\3\0\0\0\0\0\0is "; /* DATA of no stream */
    const char *why = NULL;
    UNUSED(state);
    for (unsigned i = 0; i < 2; i++) {
        struct health_h2 *h = health_h2_new("http", "a", "/", "is up");
        assert_int_equal(health_h2_read(h, head, sizeof head - 1, &why), 200);
        assert_int_equal(health_h2_body(h), HEALTH_BODY_MORE);
        health_h2_read(h, i == 0 ? rest : bad, i == 0 ? sizeof rest - 1 : sizeof bad - 1, &why);
        assert_int_equal(health_h2_body(h), i == 0 ? HEALTH_BODY_FOUND : HEALTH_BODY_BROKEN);
        health_h2_free(h);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_status),
        cmocka_unit_test(test_no_answer),
        cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_large_bodies),
        cmocka_unit_test(test_frames_around_a_body),
    };
    return cmocka_run_group_tests_name("balancer/health_h2", tests, NULL, NULL);
}
