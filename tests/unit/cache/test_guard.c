/* test_guard.c: who may have what only the ini file makes fresh. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "cache/guard.h"
#include "tests/unit/cache/text_head.h"

#define OK NO_STORE_STORED

static struct cache_rules rules = {.enabled = true, .deception_guard = true};

static enum no_store_reason credentials_of(const char *lines, bool certified)
{
    struct text_head t;
    text_head_request(&t, HTTP_GET, lines);
    enum no_store_reason why = guard_credentials(&t.head, &rules, certified);
    text_head_free(&t);
    return why;
}

static enum no_store_reason credentials(const char *lines)
{
    return credentials_of(lines, false);
}

static void test_credentials(void **state)
{
    UNUSED(state);
    rules.gives_ttl = false;
    assert_int_equal(credentials("Accept: x"), OK);
    assert_int_equal(credentials("Cookie: a=1"), OK); /* the response decides, as RFC 9111 has it */
    assert_int_equal(credentials("Authorization: Basic x"), NO_STORE_AUTHORIZATION);
    rules.gives_ttl = true;
    assert_int_equal(credentials("Accept: x"), OK);
    assert_int_equal(credentials("Cookie: a=1"), NO_STORE_COOKIE);
    assert_int_equal(credentials("Cookie: "), OK);
    assert_int_equal(credentials("Cookie: a=1\nAuthorization: Basic x"), NO_STORE_AUTHORIZATION);
    assert_int_equal(credentials_of("Accept: x", true), NO_STORE_CERTIFICATE);
    assert_int_equal(credentials_of("Cookie: a=1", true), NO_STORE_CERTIFICATE);
    assert_int_equal(credentials_of("Authorization: Basic x", true), NO_STORE_AUTHORIZATION);
}

static enum no_store_reason response(enum no_store_reason creds, enum freshness_source source,
                                     unsigned status, const char *path, const char *lines)
{
    struct text_head t;
    struct cache_control cc;
    const struct cache_freshness f = {.source = (uint8_t)source, .lifetime_ms = 1000};
    text_head_response(&t, status, lines);
    cache_control_parse(&t.head, &cc);
    enum no_store_reason why = guard_response(creds, slice_str(path), &t.head, &cc, &f, &rules);
    text_head_free(&t);
    return why;
}

static void test_every_source(void **state)
{
    UNUSED(state);
    for (int s = 0; s < FRESHNESS_SOURCE_COUNT; s++) {
        bool ours = s == FRESHNESS_ROUTE_TTL || s == FRESHNESS_DEFAULT_TTL;
        const struct cache_freshness f = {.source = (uint8_t)s};
        assert_true(guard_allows(OK, &f));
        assert_int_equal(guard_allows(NO_STORE_COOKIE, &f), !ours);
        assert_int_equal(guard_allows(NO_STORE_AUTHORIZATION, &f), !ours);
        assert_int_equal(response(OK, (enum freshness_source)s, 200, "/p", ""), OK);
        assert_int_equal(response(NO_STORE_COOKIE, (enum freshness_source)s, 200, "/p", ""),
                         ours ? NO_STORE_COOKIE : OK);
    }
}

/* RFC 9111 section 3.5, which is about Authorization. */
static void test_certificates(void **state)
{
    static const struct {
        const char *lines;
        enum no_store_reason why;
    } cases[] = {
        {"Cache-Control: max-age=60", NO_STORE_CERTIFICATE},
        {"Cache-Control: s-maxage=0, max-age=60", NO_STORE_CERTIFICATE},
        {"Cache-Control: public, max-age=60", OK},
        {"Cache-Control: s-maxage=60", OK},
        {"Cache-Control: must-revalidate, max-age=60", OK},
    };
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(response(NO_STORE_CERTIFICATE, FRESHNESS_MAX_AGE, 200, "/p", cases[i].lines),
                         cases[i].why);
    assert_int_equal(response(NO_STORE_CERTIFICATE, FRESHNESS_ROUTE_TTL, 200, "/p", cases[2].lines),
                     NO_STORE_CERTIFICATE);
}

static void test_deception(void **state)
{
    static const struct {
        enum freshness_source source;
        unsigned status;
        const char *path, *lines;
        bool refused;
    } cases[] = {
        {FRESHNESS_ROUTE_TTL, 200, "/a.css", "Content-Type: text/css", false},
        {FRESHNESS_ROUTE_TTL, 200, "/a.css", "Content-Type: text/html", true},
        {FRESHNESS_ROUTE_TTL, 206, "/a.css", "Content-Type: text/html", true},
        {FRESHNESS_ROUTE_TTL, 203, "/a.css", "", true},
        {FRESHNESS_ROUTE_TTL, 404, "/a.css", "Content-Type: text/html", false},
        {FRESHNESS_ROUTE_TTL, 301, "/a.css", "Content-Type: text/html", false},
        {FRESHNESS_MAX_AGE, 200, "/a.css", "Content-Type: text/html\nCache-Control: max-age=9", true},
        {FRESHNESS_MAX_AGE, 200, "/a.css", "Content-Type: text/html\nCache-Control: public, max-age=9",
         false},
        {FRESHNESS_OPEN_TTL, 200, "/a.css", "Content-Type: text/html\nCache-Control: s-maxage=9", false},
        {FRESHNESS_OPEN_TTL, 200, "/a.css", "Content-Type: text/html\nCDN-Cache-Control: max-age=9", false},
        {FRESHNESS_ROUTE_TTL, 200, "/a.css", "Content-Type: text/html\nCache-Control: s-maxage=0", true},
        {FRESHNESS_ROUTE_TTL, 200, "/a%2fb", "Content-Type: text/html", true},
        {FRESHNESS_ROUTE_TTL, 404, "/a%2fb", "Content-Type: text/html", true},
        {FRESHNESS_MAX_AGE, 200, "/a%2fb", "Content-Type: text/html", false},
        {FRESHNESS_OPEN_TTL, 200, "/a%2fb", "Content-Type: text/html", false},
    };
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        enum no_store_reason want = cases[i].refused ? NO_STORE_DECEPTION : OK;
        if (response(OK, cases[i].source, cases[i].status, cases[i].path, cases[i].lines) != want)
            fail_msg("case %zu: %s", i, cases[i].path);
        rules.deception_guard = false;
        assert_int_equal(response(OK, cases[i].source, cases[i].status, cases[i].path, cases[i].lines), OK);
        rules.deception_guard = true;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_credentials),
        cmocka_unit_test(test_every_source),
        cmocka_unit_test(test_certificates),
        cmocka_unit_test(test_deception),
    };
    return cmocka_run_group_tests_name("cache/guard", tests, NULL, NULL);
}
