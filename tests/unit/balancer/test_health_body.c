/* test_health_body.c: what a probe looks for in a body, however that is framed and cut into pieces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "balancer/health_body.h"

static enum health_body_verdict ask(const char *response, const char *wanted, size_t step)
{
    static const struct h1_limits limits = {
        .max_head_bytes = 1000, .max_target_bytes = 1000, .max_fields = 10};
    struct http_field fields[10];
    struct http_head head = {.fields = fields};
    struct h1_parser parser = {0};
    struct health_body b;
    const size_t len = strlen(response);
    char *copy = strdup(response), *settings = strdup(wanted);
    assert_int_equal(h1_parse_response(&parser, copy, len, &head, &limits), H1_DONE);
    enum health_body_verdict v = HEALTH_BODY_BROKEN;
    if (health_body_begin(&b, &head, settings)) {
        v = HEALTH_BODY_MORE;
        memset(settings, '?', strlen(settings)); /* a reload while the answer comes in */
        for (size_t at = parser.head_bytes; v == HEALTH_BODY_MORE && at < len; at += step)
            v = health_body_take(&b, copy + at, MIN(step, len - at));
        if (parser.head_bytes == len)
            v = health_body_take(&b, copy + len, 0);
        if (v == HEALTH_BODY_MORE)
            v = health_body_close(&b);
    }
    free(settings);
    free(copy);
    return v;
}

static void expect(const char *response, const char *wanted, enum health_body_verdict v)
{
    for (size_t step = 1; step < 40; step++)
        assert_int_equal(ask(response, wanted, step), v);
}

#define OK "HTTP/1.1 200 OK\r\n"

static void test_framings(void **state)
{
    UNUSED(state);
    expect(OK "\r\nall is up now", "is up", HEALTH_BODY_FOUND);
    expect(OK "\r\nall is down", "is up", HEALTH_BODY_MISSING);
    expect(OK "Content-Length: 5\r\n\r\nis up", "is up", HEALTH_BODY_FOUND);
    expect(OK "Content-Length: 4\r\n\r\nis up", "is up", HEALTH_BODY_MISSING); /* the rest is no body */
    expect(OK "Content-Length: 9\r\n\r\nis down", "is up", HEALTH_BODY_BROKEN);
    expect(OK "Content-Length: 0\r\n\r\n", "is up", HEALTH_BODY_MISSING);
    expect("HTTP/1.1 204 No Content\r\n\r\n", "is up", HEALTH_BODY_MISSING);
    expect(OK "Content-Length: x\r\n\r\nis up", "is up", HEALTH_BODY_BROKEN);
}

static void test_chunks(void **state)
{
    UNUSED(state);
    expect(OK "Transfer-Encoding: chunked\r\n\r\n3\r\nis \r\n2\r\nup\r\n0\r\n\r\n", "is up",
           HEALTH_BODY_FOUND);
    expect(OK "Transfer-Encoding: chunked\r\n\r\n3\r\nis \r\n0\r\n\r\n", "is up", HEALTH_BODY_MISSING);
    expect(OK "Transfer-Encoding: chunked\r\n\r\n3\r\nis \r\n", "is up", HEALTH_BODY_BROKEN);
    expect(OK "Transfer-Encoding: chunked\r\n\r\nx\r\nis up", "is up", HEALTH_BODY_BROKEN);
}

static void test_search(void **state)
{
    UNUSED(state);
    expect(OK "\r\naabaabaaab", "aabaaab", HEALTH_BODY_FOUND);
    expect(OK "\r\nababababac", "ababac", HEALTH_BODY_FOUND);
    expect(OK "\r\naaaaab", "aaab", HEALTH_BODY_FOUND);
    expect(OK "\r\naaaaaa", "aaab", HEALTH_BODY_MISSING);
    expect(OK "\r\nx", "x", HEALTH_BODY_FOUND);
    char wanted[HEALTH_BODY_WANTED_MAX + 1] = "", text[600];
    memset(wanted, 'a', HEALTH_BODY_WANTED_MAX);
    snprintf(text, sizeof text, OK "\r\nab%s", wanted);
    expect(text, wanted, HEALTH_BODY_FOUND);
    text[strlen(text) - 1] = '\0';
    expect(text, wanted, HEALTH_BODY_MISSING);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_framings),
        cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_search),
    };
    return cmocka_run_group_tests_name("balancer/health_body", tests, NULL, NULL);
}
