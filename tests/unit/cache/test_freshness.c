/* test_freshness.c: age and lifetime (RFC 9111 section 4.2), with a clock that the tests set.
 *
 * The response arrives on Sun, 06 Nov 1994 08:49:37 GMT (NOW_S), the date of RFC 9110's own example. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "cache/freshness.h"
#include "core/http_date.h"
#include "tests/unit/cache/text_head.h"

#define NOW_S  INT64_C(784111777)
#define NOW_MS (NOW_S * 1000)
#define DATE   "Date: Sun, 06 Nov 1994 08:49:37 GMT\n"
#define CAP_MS ((INT64_C(1) << 31) * 1000)
#define UNSET  CACHE_TTL_UNSET

static const struct cache_rules plain = {
    .enabled = true,
    .heuristic_percent = 10,
    .heuristic_max_ms = 86400 * 1000,
    .ttl_ms = UNSET,
    .ttl_404_ms = UNSET,
    .ttl_5xx_ms = UNSET,
    .min_ttl_ms = UNSET,
    .max_ttl_ms = UNSET,
    .max_object_bytes = 1 << 20,
};

static struct cache_freshness compute_at(unsigned status, const char *lines, const struct cache_rules *rules,
                                         wall_ms_t request_ms, wall_ms_t response_ms)
{
    struct text_head t;
    struct cache_control cc;
    struct cache_freshness f;
    text_head_response(&t, status, lines);
    cache_control_parse(&t.head, &cc);
    memset(&f, 0xa5, sizeof f);
    cache_freshness_compute(&t.head, &cc, rules, request_ms, response_ms, &f);
    assert_true(f.response_ms == response_ms);
    assert_true(f.corrected_initial_ms >= 0 && f.lifetime_ms >= 0);
    text_head_free(&t);
    return f;
}

static struct cache_freshness compute(unsigned status, const char *lines, const struct cache_rules *rules)
{
    return compute_at(status, lines, rules, NOW_MS, NOW_MS);
}

struct lifetime_row {
    unsigned status;
    const char *lines;
    enum freshness_source source;
    int64_t lifetime_s;
};

static void check_lifetimes(const struct lifetime_row *rows, size_t count, const struct cache_rules *rules)
{
    for (size_t i = 0; i < count; i++) {
        struct cache_freshness f = compute(rows[i].status, rows[i].lines, rules);
        if (f.source != rows[i].source || f.lifetime_ms != rows[i].lifetime_s * 1000)
            fail_msg("%u %s: %s %ld ms", rows[i].status, rows[i].lines, freshness_source_name(f.source),
                     (long)f.lifetime_ms);
    }
}

static void test_precedence(void **state)
{
    static const struct lifetime_row rows[] = {
        {200, "", FRESHNESS_NONE, 0},
        {200, DATE, FRESHNESS_NONE, 0},
        {200, "Cache-Control: public", FRESHNESS_NONE, 0},
        {200, "Cache-Control: max-age=60", FRESHNESS_MAX_AGE, 60},
        {200, "Cache-Control: max-age=0", FRESHNESS_MAX_AGE, 0},
        {200, "Cache-Control: max-age=junk", FRESHNESS_MAX_AGE, 0},
        {200, "Cache-Control: max-age = 60", FRESHNESS_NONE, 0},
        {200, "Cache-Control: max-age=4294967297", FRESHNESS_MAX_AGE, INT64_C(1) << 31},
        {200, "Cache-Control: max-age=2147483648", FRESHNESS_MAX_AGE, INT64_C(1) << 31},
        {200, "Cache-Control: max-age=60, max-age=30", FRESHNESS_MAX_AGE, 60},
        {200, "Cache-Control: s-maxage=30", FRESHNESS_S_MAXAGE, 30},
        {200, "Cache-Control: max-age=60, s-maxage=30", FRESHNESS_S_MAXAGE, 30},
        {200, "Cache-Control: max-age=60, s-maxage=0", FRESHNESS_S_MAXAGE, 0},
        {200, "Cache-Control: max-age=60, s-maxage=x", FRESHNESS_S_MAXAGE, 0},
        {200, DATE "Expires: Sun, 06 Nov 1994 08:50:37 GMT", FRESHNESS_EXPIRES, 60},
        {200, DATE "Expires: Sunday, 06-Nov-94 08:50:37 GMT", FRESHNESS_EXPIRES, 60},
        {200, DATE "Expires: Sun Nov  6 08:50:37 1994", FRESHNESS_EXPIRES, 60},
        {200, DATE "Expires: Sun, 06 Nov 1994 08:49:37 GMT", FRESHNESS_EXPIRES, 0},
        {200, DATE "Expires: Sun, 06 Nov 1994 08:49:36 GMT", FRESHNESS_EXPIRES, 0},
        {200, DATE "Expires: Thu, 01 Jan 1970 00:00:00 GMT", FRESHNESS_EXPIRES, 0},
        {200, DATE "Expires: Fri, 31 Dec 9999 23:59:59 GMT", FRESHNESS_EXPIRES, INT64_C(1) << 31},
        {200, DATE "Expires: 0", FRESHNESS_EXPIRES, 0},
        {200, DATE "Expires: -1", FRESHNESS_EXPIRES, 0},
        {200, DATE "Expires:", FRESHNESS_EXPIRES, 0},
        {200, DATE "Expires: sun, 06 nov 1994 08:50:37 gmt", FRESHNESS_EXPIRES, 60},
        {200, DATE "Expires: Sun, 06 Nov 1994 08:50:37 UTC", FRESHNESS_EXPIRES, 0},
        {200, DATE "Expires: Sun, 06 Nov 1994 08:50:37 GMT\nExpires: 0", FRESHNESS_EXPIRES, 60},
        {200, DATE "Expires: 0\nExpires: Sun, 06 Nov 1994 08:50:37 GMT", FRESHNESS_EXPIRES, 0},
        {200, DATE "Expires: 0\nCache-Control: max-age=60", FRESHNESS_MAX_AGE, 60},
        {200, DATE "Expires: Sun, 06 Nov 1994 08:50:37 GMT\nCache-Control: max-age=0", FRESHNESS_MAX_AGE, 0},
        {200, DATE "Expires: Sun, 06 Nov 1994 08:50:37 GMT\nCache-Control: s-maxage=5", FRESHNESS_S_MAXAGE,
         5},
        /* a targeted field puts Expires out of force too (RFC 9213 section 2.1) */
        {200, DATE "Expires: Sun, 06 Nov 1994 08:50:37 GMT\nCDN-Cache-Control: max-age=5", FRESHNESS_MAX_AGE,
         5},
        {200, DATE "Expires: Sun, 06 Nov 1994 08:50:37 GMT\nCDN-Cache-Control: foo", FRESHNESS_NONE, 0},
        {200, DATE "Expires: Sun, 06 Nov 1994 08:50:37 GMT\nCDN-Cache-Control: ,", FRESHNESS_EXPIRES, 60},
        /* without a usable Date it is counted from arrival */
        {200, "Expires: Sun, 06 Nov 1994 08:50:37 GMT", FRESHNESS_EXPIRES, 60},
        {200, "Date: yesterday\nExpires: Sun, 06 Nov 1994 08:50:37 GMT", FRESHNESS_EXPIRES, 60},
        {200, "Date:\nExpires: Sun, 06 Nov 1994 08:50:37 GMT", FRESHNESS_EXPIRES, 60},
        /* the instance's clock is off: both dates are by its clock */
        {200, "Date: Sun, 06 Nov 1994 07:00:00 GMT\nExpires: Sun, 06 Nov 1994 07:01:00 GMT",
         FRESHNESS_EXPIRES, 60},
        {200, "Date: Sun, 06 Nov 1994 10:00:00 GMT\nExpires: Sun, 06 Nov 1994 10:01:00 GMT",
         FRESHNESS_EXPIRES, 60},
        /* explicit freshness goes for any status */
        {302, "Cache-Control: max-age=60", FRESHNESS_MAX_AGE, 60},
        {500, "Cache-Control: max-age=60", FRESHNESS_MAX_AGE, 60},
        {599, "Cache-Control: s-maxage=60", FRESHNESS_S_MAXAGE, 60},
        {302, DATE "Expires: Sun, 06 Nov 1994 08:50:37 GMT", FRESHNESS_EXPIRES, 60},
        /* Pragma means nothing in a response */
        {200, "Pragma: no-cache\nCache-Control: max-age=60", FRESHNESS_MAX_AGE, 60},
    };
    UNUSED(state);
    check_lifetimes(rows, ARRAY_LEN(rows), &plain);
}

/* 1000 s old, so 100 s by heuristic */
#define MODIFIED "Last-Modified: Sun, 06 Nov 1994 08:32:57 GMT\n"

static void test_heuristic(void **state)
{
    static const struct lifetime_row rows[] = {
        {200, DATE MODIFIED, FRESHNESS_HEURISTIC, 100},
        {200, MODIFIED, FRESHNESS_HEURISTIC, 100},
        {200, "Date: junk\n" MODIFIED, FRESHNESS_HEURISTIC, 100},
        {200, DATE "Last-Modified: Thu, 01 Jan 1970 00:00:00 GMT", FRESHNESS_HEURISTIC, 86400},
        {200, DATE "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT", FRESHNESS_HEURISTIC, 0},
        {200, DATE "Last-Modified: Sun, 06 Nov 1994 08:49:38 GMT", FRESHNESS_HEURISTIC, 0},
        {200, DATE "Last-Modified: junk", FRESHNESS_NONE, 0},
        {200, DATE MODIFIED "Cache-Control: max-age=5", FRESHNESS_MAX_AGE, 5},
        {200, DATE MODIFIED "Expires: 0", FRESHNESS_EXPIRES, 0},
        {302, DATE MODIFIED, FRESHNESS_NONE, 0},
        {302, DATE MODIFIED "Cache-Control: public", FRESHNESS_HEURISTIC, 100},
        {500, DATE MODIFIED, FRESHNESS_NONE, 0},
        {500, DATE MODIFIED "Cache-Control: public", FRESHNESS_HEURISTIC, 100},
    };
    UNUSED(state);
    check_lifetimes(rows, ARRAY_LEN(rows), &plain);
}

static bool in_list(unsigned status, const unsigned *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (list[i] == status)
            return true;
    }
    return false;
}

static void test_heuristic_statuses(void **state)
{
    static const unsigned list[] = {200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501};
    UNUSED(state);
    for (unsigned status = 100; status < 700; status++) {
        bool want = in_list(status, list, ARRAY_LEN(list));
        assert_int_equal(cache_status_is_heuristic(status), want);
        struct cache_freshness f = compute(status, DATE MODIFIED, &plain);
        assert_int_equal(f.source, want ? FRESHNESS_HEURISTIC : FRESHNESS_NONE);
    }
}

static void test_default_ttl(void **state)
{
    static const struct lifetime_row rows[] = {
        {200, DATE, FRESHNESS_DEFAULT_TTL, 7},
        {404, DATE, FRESHNESS_DEFAULT_TTL, 7},
        {302, DATE, FRESHNESS_NONE, 0},
        {302, DATE "Cache-Control: public", FRESHNESS_OPEN_TTL, 7},
        {200, DATE "Cache-Control: public, no-cache", FRESHNESS_DEFAULT_TTL, 7},
        {500, DATE, FRESHNESS_NONE, 0},
        {200, DATE MODIFIED, FRESHNESS_HEURISTIC, 100},
        {200, DATE "Last-Modified: junk", FRESHNESS_DEFAULT_TTL, 7},
        {200, DATE "Cache-Control: max-age=0", FRESHNESS_MAX_AGE, 0},
        {200, DATE "Expires: 0", FRESHNESS_EXPIRES, 0},
    };
    static const struct lifetime_row heuristic_off[] = {
        {200, DATE MODIFIED, FRESHNESS_DEFAULT_TTL, 7},
        {200, DATE, FRESHNESS_DEFAULT_TTL, 7},
    };
    struct cache_rules rules = plain;
    UNUSED(state);
    rules.default_ttl_ms = 7000;
    check_lifetimes(rows, ARRAY_LEN(rows), &rules);
    /* the clamps are for what the response says */
    rules.min_ttl_ms = 8000;
    check_lifetimes(rows, 1, &rules);
    rules.min_ttl_ms = UNSET;
    rules.max_ttl_ms = 6000;
    check_lifetimes(rows, 1, &rules);
    rules.max_ttl_ms = UNSET;
    rules.heuristic_percent = 0;
    check_lifetimes(heuristic_off, ARRAY_LEN(heuristic_off), &rules);
}

static void test_clamps(void **state)
{
    static const struct lifetime_row at_least_10[] = {
        {200, "Cache-Control: max-age=5", FRESHNESS_MAX_AGE, 10},
        {200, "Cache-Control: max-age=0", FRESHNESS_ROUTE_TTL, 10}, /* ours now */
        {200, "Cache-Control: max-age=15", FRESHNESS_MAX_AGE, 15},
        {200, "Cache-Control: s-maxage=5", FRESHNESS_S_MAXAGE, 10},
        {200, "Expires: 0", FRESHNESS_ROUTE_TTL, 10},
        {200, DATE "Last-Modified: Sun, 06 Nov 1994 08:49:36 GMT", FRESHNESS_HEURISTIC, 10},
        {200, "", FRESHNESS_NONE, 0},
    };
    static const struct lifetime_row at_most_10[] = {
        {200, "Cache-Control: max-age=5", FRESHNESS_MAX_AGE, 5},
        {200, "Cache-Control: max-age=15", FRESHNESS_MAX_AGE, 10},
        {200, "Cache-Control: s-maxage=99999999999999999999", FRESHNESS_S_MAXAGE, 10},
        {200, "Expires: Sun, 06 Nov 1994 08:50:37 GMT", FRESHNESS_EXPIRES, 10},
        {200, DATE MODIFIED, FRESHNESS_HEURISTIC, 10},
        {200, "", FRESHNESS_NONE, 0},
    };
    struct cache_rules rules = plain;
    UNUSED(state);
    rules.min_ttl_ms = 10000;
    check_lifetimes(at_least_10, ARRAY_LEN(at_least_10), &rules);
    rules.min_ttl_ms = UNSET;
    rules.max_ttl_ms = 10000;
    check_lifetimes(at_most_10, ARRAY_LEN(at_most_10), &rules);
    rules.ttl_ms = 20000; /* not what the response said */
    assert_true(compute(200, "", &rules).lifetime_ms == 20000);
    rules.max_ttl_ms = UNSET;
    rules.min_ttl_ms = 30000;
    assert_true(compute(200, "", &rules).lifetime_ms == 20000);
}

/* A ttl says how long, not for whom. */
static void test_open_ttl(void **state)
{
    static const struct lifetime_row rows[] = {
        {200, DATE, FRESHNESS_ROUTE_TTL, 20},
        {200, DATE MODIFIED, FRESHNESS_ROUTE_TTL, 20},
        {200, DATE "Cache-Control: public", FRESHNESS_OPEN_TTL, 20},
        {200, DATE "Cache-Control: max-age=1", FRESHNESS_OPEN_TTL, 20},
        {200, DATE "Cache-Control: s-maxage=1, max-age=0", FRESHNESS_OPEN_TTL, 20},
        {200, DATE "CDN-Cache-Control: max-age=1", FRESHNESS_OPEN_TTL, 20},
        {200, DATE "Expires: Sun, 06 Nov 1994 08:50:37 GMT", FRESHNESS_OPEN_TTL, 20},
        {200, DATE "Expires: 0", FRESHNESS_ROUTE_TTL, 20},
        {200, DATE "Cache-Control: max-age=0", FRESHNESS_ROUTE_TTL, 20},
        {200, DATE "Cache-Control: public, max-age=0", FRESHNESS_ROUTE_TTL, 20},
        {200, DATE "Cache-Control: max-age=9, s-maxage=0", FRESHNESS_ROUTE_TTL, 20},
        {200, DATE "Cache-Control: public, no-cache", FRESHNESS_ROUTE_TTL, 20},
        {200, DATE "Cache-Control: no-cache, s-maxage=9", FRESHNESS_ROUTE_TTL, 20},
        {200, DATE "Cache-Control: must-revalidate, max-age=0", FRESHNESS_ROUTE_TTL, 20},
        {200, DATE "Cache-Control: junk", FRESHNESS_ROUTE_TTL, 20},
    };
    struct cache_rules rules = plain;
    UNUSED(state);
    rules.ttl_ms = 20000;
    check_lifetimes(rows, ARRAY_LEN(rows), &rules);
    rules.ttl_ms = 0;
    assert_int_equal(compute(200, "Cache-Control: public", &rules).source, FRESHNESS_ROUTE_TTL);
}

static void test_route_ttl_by_status(void **state)
{
    static const unsigned ok[] = {200, 203, 204, 206, 300, 301, 308};
    static const unsigned gone[] = {404, 410};
    static const unsigned errors[] = {500, 502, 503, 504};
    struct cache_rules rules = plain;
    UNUSED(state);
    rules.ttl_ms = 1000;
    rules.ttl_404_ms = 2000;
    rules.ttl_5xx_ms = 3000;
    for (unsigned status = 100; status < 700; status++) {
        struct cache_freshness f = compute(status, "Cache-Control: max-age=9, no-cache", &rules);
        int64_t want_ms = in_list(status, ok, ARRAY_LEN(ok))           ? 1000
                          : in_list(status, gone, ARRAY_LEN(gone))     ? 2000
                          : in_list(status, errors, ARRAY_LEN(errors)) ? 3000
                                                                       : 9000;
        if (f.lifetime_ms != want_ms)
            fail_msg("%u: %ld", status, (long)f.lifetime_ms);
        assert_int_equal(f.source, want_ms == 9000 ? FRESHNESS_MAX_AGE : FRESHNESS_ROUTE_TTL);
        assert_int_equal(f.revalidate_always, want_ms == 9000);
    }
}

static void test_route_ttl_counts_from_arrival(void **state)
{
    struct cache_rules rules = plain;
    UNUSED(state);
    rules.ttl_ms = 60000;
    struct cache_freshness f = compute(200, DATE "Age: 3600\nExpires: 0", &rules);
    assert_true(f.corrected_initial_ms == 3600 * 1000);
    assert_true(cache_freshness_is_fresh(&f, NOW_MS));
    assert_true(cache_freshness_is_fresh(&f, NOW_MS + 59999));
    assert_false(cache_freshness_is_fresh(&f, NOW_MS + 60000));
    rules.ttl_ms = 0;
    f = compute(200, DATE "Age: 3600\nCache-Control: max-age=9999", &rules);
    assert_int_equal(f.source, FRESHNESS_ROUTE_TTL);
    assert_true(f.lifetime_ms == 0);
    assert_false(cache_freshness_is_fresh(&f, NOW_MS));
    rules.ttl_ms = INT64_MAX;
    f = compute(200, DATE "Age: 9999999999", &rules);
    assert_true(f.lifetime_ms == CAP_MS + CAP_MS);
}

static void test_flags(void **state)
{
    static const struct {
        const char *lines;
        bool revalidate_always, never_stale;
    } cases[] = {
        {"", false, false},
        {"Cache-Control: max-age=60", false, false},
        {"Cache-Control: max-age=60, no-cache", true, false},
        {"Cache-Control: no-cache", true, false},
        {"Cache-Control: no-cache=\"x\", max-age=60", false, false},
        {"Cache-Control: no-cache=x, max-age=60", true, false},
        {"Cache-Control: must-revalidate, max-age=60", false, true},
        {"Cache-Control: proxy-revalidate, max-age=60", false, true},
        {"Cache-Control: s-maxage=60", false, true},
        {"Cache-Control: s-maxage=0, no-cache", true, true},
        {"Pragma: no-cache\nCache-Control: max-age=60", false, false},
        {"Cache-Control: max-age=60, immutable, public, no-transform", false, false},
    };
    struct cache_rules rules = plain;
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        rules.ttl_ms = UNSET;
        struct cache_freshness f = compute(200, cases[i].lines, &rules);
        if (f.revalidate_always != cases[i].revalidate_always || f.never_stale != cases[i].never_stale)
            fail_msg("%s", cases[i].lines);
        if (f.revalidate_always)
            assert_false(cache_freshness_is_fresh(&f, NOW_MS));
        /* the route's ttl lifts no-cache, but not the ban on stale use */
        rules.ttl_ms = 60000;
        f = compute(200, cases[i].lines, &rules);
        assert_false(f.revalidate_always);
        assert_int_equal(f.never_stale, cases[i].never_stale);
    }
}

static void test_initial_age(void **state)
{
    static const struct {
        const char *lines;
        dur_ms_t delay_ms; /* from request to response */
        dur_ms_t want_ms;
    } cases[] = {
        {"", 0, 0},
        {"", 250, 250},
        {DATE, 0, 0},
        {DATE, 1500, 1500},
        {DATE "Age: 0", 0, 0},
        {DATE "Age: 5", 0, 5000},
        {DATE "Age: 5", 1500, 6500},
        {DATE "Age: 0005", 0, 5000},
        {DATE "Age: \"5\"", 0, CAP_MS},
        {DATE "Age: -5", 0, CAP_MS},
        {DATE "Age: +5", 0, CAP_MS},
        {DATE "Age: 5.5", 0, CAP_MS},
        {DATE "Age: 5s", 0, CAP_MS},
        {DATE "Age:", 0, CAP_MS},
        {DATE "Age: ,", 0, CAP_MS},
        {DATE "Age: junk", 100, CAP_MS + 100},
        {DATE "Age: 5, 9", 0, CAP_MS},
        {DATE "Age: 5\nAge: 9", 0, CAP_MS},
        {DATE "Age: 5\nAge: 5", 0, CAP_MS},
        {DATE "Age: x\nAge: 9", 0, CAP_MS},
        {DATE "Age: x, 9", 0, CAP_MS},
        {DATE "Age: 2147483648", 0, CAP_MS},
        {DATE "Age: 4294967295", 0, CAP_MS},
        {DATE "Age: 4294967300", 0, CAP_MS},
        {DATE "Age: 99999999999999999999999999", 0, CAP_MS},
        /* the clock stepped back between request and response */
        {DATE, -5000, 0},
        {DATE "Age: 5", -5000, 5000},
        /* apparent age */
        {"Date: Sun, 06 Nov 1994 08:49:27 GMT", 0, 10000},
        {"Date: Sun, 06 Nov 1994 08:49:27 GMT\nAge: 4", 0, 10000},
        {"Date: Sun, 06 Nov 1994 08:49:27 GMT\nAge: 14", 0, 14000},
        {"Date: Sun, 06 Nov 1994 08:49:27 GMT\nAge: 9", 2000, 11000},
        {"Date: Sun, 06 Nov 1994 08:49:27 GMT", 2000, 10000},
        {"Date: Sun, 06 Nov 1994 09:49:27 GMT", 0, 0},
        {"Date: Sun, 06 Nov 1994 09:49:27 GMT\nAge: 3", 500, 3500},
        {"Date: junk", 500, 500},
        {"Date: junk\nAge: 2", 500, 2500},
        {"Date: Thu, 01 Jan 1970 00:00:00 GMT", 0, NOW_MS},
        {DATE "Date: Thu, 01 Jan 1970 00:00:00 GMT", 0, 0},
    };
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct cache_freshness f =
            compute_at(200, cases[i].lines, &plain, NOW_MS - cases[i].delay_ms, NOW_MS);
        if (f.corrected_initial_ms != cases[i].want_ms)
            fail_msg("%s: %ld", cases[i].lines, (long)f.corrected_initial_ms);
    }
}

/* Date has whole seconds: the rest of this second does not count as age. */
static void test_same_second_is_no_age(void **state)
{
    UNUSED(state);
    for (wall_ms_t ms = 0; ms < 1000; ms += 111) {
        struct cache_freshness f =
            compute_at(200, DATE "Cache-Control: max-age=1", &plain, NOW_MS + ms, NOW_MS + ms);
        assert_true(f.corrected_initial_ms == 0);
        assert_true(cache_freshness_is_fresh(&f, NOW_MS + ms));
        assert_true(cache_freshness_is_fresh(&f, NOW_MS + ms + 999));
        assert_false(cache_freshness_is_fresh(&f, NOW_MS + ms + 1000));
    }
}

static void test_current_age(void **state)
{
    UNUSED(state);
    struct cache_freshness f = compute(200, DATE "Age: 10\nCache-Control: max-age=60", &plain);
    assert_true(cache_freshness_age_ms(&f, NOW_MS) == 10000);
    assert_true(cache_freshness_age_ms(&f, NOW_MS + 1) == 10001);
    assert_true(cache_freshness_is_fresh(&f, NOW_MS + 49999));
    assert_false(cache_freshness_is_fresh(&f, NOW_MS + 50000));
    /* the clock steps back: the age does not fall below what it came with */
    assert_true(cache_freshness_age_ms(&f, NOW_MS - 1) == 10000);
    assert_true(cache_freshness_age_ms(&f, 0) == 10000);
    /* by more than a little, nobody can tell how old it is: fresh no more, and stale for no time */
    assert_true(cache_freshness_is_fresh(&f, NOW_MS - CACHE_CLOCK_SLACK_MS));
    assert_true(cache_freshness_left_ms(&f, NOW_MS - CACHE_CLOCK_SLACK_MS) == 50000);
    assert_true(cache_freshness_left_ms(&f, NOW_MS - CACHE_CLOCK_SLACK_MS - 1) == 0);
    assert_false(cache_freshness_is_fresh(&f, NOW_MS - CACHE_CLOCK_SLACK_MS - 1));
    assert_false(cache_freshness_is_fresh(&f, 0));
    /* 32 bits of seconds, and of milliseconds, are passed without a break */
    assert_true(cache_freshness_age_ms(&f, NOW_MS + (INT64_C(1) << 32)) == (INT64_C(1) << 32) + 10000);
    assert_true(cache_freshness_age_ms(&f, NOW_MS + CAP_MS * 4) == CAP_MS * 4 + 10000);
    assert_false(cache_freshness_is_fresh(&f, NOW_MS + CAP_MS * 4));
    f = compute(200, DATE "Age: 2147483647\nCache-Control: max-age=2147483648", &plain);
    assert_true(cache_freshness_is_fresh(&f, NOW_MS + 999));
    assert_false(cache_freshness_is_fresh(&f, NOW_MS + 1000));
    /* 2038 and 2106 */
    for (wall_s_t s = (INT64_C(1) << 31) - 2; s < INT64_C(1) << 33; s += INT64_C(1) << 31) {
        char lines[128], date[HTTP_DATE_LEN];
        http_date_write(date, s);
        snprintf(lines, sizeof lines, "Date: %.*s\nCache-Control: max-age=4", HTTP_DATE_LEN, date);
        f = compute_at(200, lines, &plain, s * 1000, s * 1000);
        assert_true(f.corrected_initial_ms == 0);
        assert_true(cache_freshness_is_fresh(&f, s * 1000 + 3999));
        assert_false(cache_freshness_is_fresh(&f, s * 1000 + 4000));
    }
}

static void test_missing_assets_are_short(void **state)
{
    UNUSED(state);
    static const unsigned statuses[] = {404, 410, 403, 200};
    const struct cache_control cc = {.max_age_s = 600, .s_maxage_s = CC_ABSENT, .stale_if_error_s = 60};
    struct cache_rules r = {.ttl_ms = CACHE_TTL_UNSET,
                            .ttl_404_ms = CACHE_TTL_UNSET,
                            .ttl_5xx_ms = CACHE_TTL_UNSET,
                            .min_ttl_ms = CACHE_TTL_UNSET,
                            .max_ttl_ms = CACHE_TTL_UNSET};
    for (size_t i = 0; i < 2 * ARRAY_LEN(statuses); i++) {
        const struct http_head head = {.status = (uint16_t)statuses[i / 2]};
        struct cache_freshness f;
        r.keep_assets_ms = i % 2;
        cache_freshness_compute(&head, &cc, &r, 0, 0, &f);
        const bool is_short = i == 1 || i == 3;
        assert_int_equal(f.lifetime_ms, is_short ? CACHE_MISSING_ASSET_MS : 600000);
        assert_int_equal(f.never_stale, is_short);
        assert_int_equal(f.keep_code == 0, is_short);
    }
}

static void test_source_names(void **state)
{
    UNUSED(state);
    assert_string_equal(freshness_source_name(FRESHNESS_NONE), "none");
    assert_string_equal(freshness_source_name(FRESHNESS_ROUTE_TTL), "route_ttl");
    assert_string_equal(freshness_source_name(FRESHNESS_HEURISTIC), "heuristic");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_precedence),
        cmocka_unit_test(test_heuristic),
        cmocka_unit_test(test_heuristic_statuses),
        cmocka_unit_test(test_default_ttl),
        cmocka_unit_test(test_clamps),
        cmocka_unit_test(test_open_ttl),
        cmocka_unit_test(test_route_ttl_by_status),
        cmocka_unit_test(test_route_ttl_counts_from_arrival),
        cmocka_unit_test(test_flags),
        cmocka_unit_test(test_initial_age),
        cmocka_unit_test(test_same_second_is_no_age),
        cmocka_unit_test(test_current_age),
        cmocka_unit_test(test_missing_assets_are_short),
        cmocka_unit_test(test_source_names),
    };
    return cmocka_run_group_tests_name("cache/freshness", tests, NULL, NULL);
}
