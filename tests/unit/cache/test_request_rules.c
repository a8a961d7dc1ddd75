/* test_request_rules.c: what a client's directives make of a stored response (RFC 9111 section 5.2.1). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cache/request_rules.h"
#include "tests/unit/cache/text_head.h"

#define NOW_MS INT64_C(784111777000)

static struct cache_control directives(const char *lines)
{
    struct text_head t;
    struct cache_control cc;
    text_head_request(&t, HTTP_GET, lines);
    cache_request_control(&t.head, &cc);
    text_head_free(&t);
    return cc;
}

struct use_row {
    const char *lines;
    dur_ms_t age_ms; /* of a response that is fresh for 60 s */
    enum cache_use want;
};

static void expect_uses(const struct use_row *rows, size_t count, struct cache_freshness stored)
{
    for (size_t i = 0; i < count; i++) {
        struct cache_control cc = directives(rows[i].lines);
        stored.response_ms = NOW_MS - rows[i].age_ms;
        enum cache_use use = cache_request_use(&cc, &stored, NOW_MS);
        if (use != rows[i].want)
            fail_msg("row %zu: %s at age %d: %d", i, rows[i].lines, (int)rows[i].age_ms, (int)use);
    }
}

static void test_use(void **state)
{
    UNUSED(state);
    static const struct use_row rows[] = {
        {"", 0, CACHE_USE_FRESH},
        {"", 60000, CACHE_USE_EXPIRED},
        {"Cache-Control: no-cache\n", 0, CACHE_USE_REFUSED},
        {"Cache-Control: no-cache\n", 61000, CACHE_USE_EXPIRED},
        {"Cache-Control: no-cache, max-stale\n", 61000, CACHE_USE_EXPIRED},
        {"Cache-Control: no-store\n", 0, CACHE_USE_FRESH},
        {"Cache-Control: only-if-cached\n", 0, CACHE_USE_FRESH},
        {"Cache-Control: no-transform\n", 0, CACHE_USE_FRESH},
        {"Cache-Control: max-age=0\n", 0, CACHE_USE_REFUSED},
        {"Cache-Control: max-age=10\n", 10000, CACHE_USE_FRESH},
        {"Cache-Control: max-age=10\n", 10001, CACHE_USE_REFUSED},
        {"Cache-Control: max-age=nonsense\n", 0, CACHE_USE_REFUSED},
        {"Cache-Control: max-age=99999999999999999999\n", 59999, CACHE_USE_FRESH},
        {"Cache-Control: max-age=90\n", 60000, CACHE_USE_EXPIRED},
        {"Cache-Control: max-age=90, max-stale\n", 90000, CACHE_USE_STALE},
        {"Cache-Control: max-age=90, max-stale\n", 90001, CACHE_USE_EXPIRED},
        {"Cache-Control: min-fresh=20\n", 40000, CACHE_USE_FRESH},
        {"Cache-Control: min-fresh=20\n", 40001, CACHE_USE_REFUSED},
        {"Cache-Control: min-fresh=0, max-stale=9\n", 61000, CACHE_USE_EXPIRED},
        {"Cache-Control: max-stale\n", 86400000, CACHE_USE_STALE},
        {"Cache-Control: max-stale=5\n", 65000, CACHE_USE_STALE},
        {"Cache-Control: max-stale=5\n", 65001, CACHE_USE_EXPIRED},
        {"Cache-Control: max-stale=nonsense\n", 65000, CACHE_USE_EXPIRED},
        {"Cache-Control: max-stale=5\n", 0, CACHE_USE_FRESH},
        {"Pragma: no-cache\n", 0, CACHE_USE_REFUSED},
        {"Pragma: x, No-Cache\n", 0, CACHE_USE_REFUSED},
        {"Pragma: no-cache\nCache-Control: max-stale\n", 0, CACHE_USE_FRESH}, /* section 5.4 */
        {"Pragma: other\n", 0, CACHE_USE_FRESH},
    };
    expect_uses(rows, ARRAY_LEN(rows), (struct cache_freshness){.lifetime_ms = 60000});
}

/* RFC 8246 section 2.1: a reload is no sign that the instance must be asked; no-cache is. */
static void test_takes_immutable(void **state)
{
    static const struct {
        const char *lines;
        bool takes;
    } rows[] = {
        {"Cache-Control: max-age=0\n", true},
        {"Cache-Control: max-age=10\n", true},
        {"Cache-Control: max-age=0, no-cache\n", false},
        {"Cache-Control: no-cache\n", false},
        {"Pragma: no-cache\n", false},
        {"Cache-Control: max-age=0, min-fresh=5\n", false},
        {"Cache-Control: min-fresh=5\n", false},
    };
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct cache_control cc = directives(rows[i].lines);
        if (cache_request_takes_immutable(&cc) != rows[i].takes)
            fail_msg("%s", rows[i].lines);
    }
}

/* What the application forbids, max-stale does not allow. */
static void test_max_stale_is_overruled(void **state)
{
    UNUSED(state);
    static const struct use_row rows[] = {{"Cache-Control: max-stale\n", 60000, CACHE_USE_EXPIRED}};
    expect_uses(rows, 1, (struct cache_freshness){.lifetime_ms = 60000, .never_stale = true});
    expect_uses(rows, 1, (struct cache_freshness){.lifetime_ms = 90000, .revalidate_always = true});
}

static void test_insists(void **state)
{
    UNUSED(state);
    static const struct {
        const char *lines;
        bool want;
    } rows[] = {
        {"", false},
        {"Cache-Control: max-stale=1, no-store, only-if-cached\n", false},
        {"Cache-Control: no-cache\n", true},
        {"Cache-Control: max-age=5\n", true},
        {"Cache-Control: min-fresh=5\n", true},
        {"Pragma: no-cache\n", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct cache_control cc = directives(rows[i].lines);
        if (cache_request_insists(&cc) != rows[i].want)
            fail_msg("row %zu: %s", i, rows[i].lines);
    }
}

static void test_directs_only_where_the_route_obeys(void **state)
{
    UNUSED(state);
    static const char *const lines[] = {"Cache-Control: no-cache\n", "Pragma: no-cache\n", "Accept: */*\n"};
    struct cache_rules obeys = {.obey_client = true}, ignores = {.obey_client = false};
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        struct text_head t;
        text_head_request(&t, HTTP_GET, lines[i]);
        assert_int_equal(cache_request_directs(&t.head, &obeys), i < 2);
        assert_false(cache_request_directs(&t.head, &ignores));
        text_head_free(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_use),
        cmocka_unit_test(test_takes_immutable),
        cmocka_unit_test(test_max_stale_is_overruled),
        cmocka_unit_test(test_insists),
        cmocka_unit_test(test_directs_only_where_the_route_obeys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
