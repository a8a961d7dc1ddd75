/* test_health_h2.c: what a probe by HTTP/2 asks, as a session of the other side reads it, and what it makes
 * of answers, whole, in pieces, and none. */
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
        struct health_h2 *h = health_h2_new("https", "app:81", "/up?x=1");
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
    struct health_h2 *h = health_h2_new("http", "a", "/");
    assert_int_equal(health_h2_read(h, http_1, sizeof http_1 - 1, &why), -1);
    assert_non_null(why);
    health_h2_free(h);
    h = health_h2_new("http", "a", "/");
    assert_int_equal(health_h2_read(h, reset, sizeof reset - 1, &why), -1);
    assert_string_equal(why, "REFUSED_STREAM");
    health_h2_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_status), cmocka_unit_test(test_no_answer)};
    return cmocka_run_group_tests_name("balancer/health_h2", tests, NULL, NULL);
}
