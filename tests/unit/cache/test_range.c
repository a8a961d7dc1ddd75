/* test_range.c: Range and If-Range against bodies of several sizes. A want of "-" is the whole body, "x" is
 * unsatisfiable; else the parts as first-last, in order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>

#include "cache/range.h"
#include "tests/unit/cache/text_head.h"

static const struct {
    const char *value;
    uint64_t size;
    const char *want;
} rows[] = {
    /* one */
    {"bytes=0-0", 10, "0-0"},
    {"bytes=0-9", 10, "0-9"},
    {"bytes=2-5", 10, "2-5"},
    {"bytes=9-9", 10, "9-9"},
    {"bytes=5-", 10, "5-9"},
    {"bytes=0-", 10, "0-9"},
    {"bytes=-3", 10, "7-9"},
    {"bytes=-10", 10, "0-9"},
    {"bytes=-11", 10, "0-9"},
    {"bytes=5-100", 10, "5-9"},
    {"BYTES=5-6", 10, "5-6"},
    {"bytes= 5-6 ,", 10, "5-6"},
    {"bytes=,,5-6", 10, "5-6"},
    {"bytes=005-006", 10, "5-6"},
    {"bytes=5-99999999999999999999999", 10, "5-9"},
    {"bytes=-99999999999999999999999", 10, "0-9"},
    {"bytes=5-18446744073709551615", 10, "5-9"},
    {"bytes=0-18446744073709551615", UINT64_MAX, "0-18446744073709551614"},
    /* beyond the end */
    {"bytes=10-", 10, "x"},
    {"bytes=10-20", 10, "x"},
    {"bytes=-0", 10, "x"},
    {"bytes=99999999999999999999999-", 10, "x"},
    {"bytes=10-,20-30,-0", 10, "x"},
    {"bytes=10-,3-4", 10, "3-4"},
    /* an empty body */
    {"bytes=0-", 0, "-"},
    {"bytes=-1", 0, "-"},
    /* several */
    {"bytes=0-0,-1", 10, "0-0 9-9"},
    {"bytes=0-1,4-5,8-9", 10, "0-1 4-5 8-9"},
    {"bytes=8-9, 0-1", 10, "8-9 0-1"},
    {"bytes=0-1\t,\t4-5", 10, "0-1 4-5"},
    /* joined */
    {"bytes=0-3,4-5", 10, "0-5"},
    {"bytes=4-5,0-3", 10, "0-5"},
    {"bytes=0-4,2-5", 10, "0-5"},
    {"bytes=2-5,0-9", 10, "0-9"},
    {"bytes=0-9,2-5", 10, "0-9"},
    {"bytes=0-1,6-7,2-5", 10, "0-7"},
    {"bytes=8-9,0-1,4-5,2-3", 10, "8-9 0-5"},
    {"bytes=8-9,4-5,0-1,2-3", 10, "8-9 0-5"},
    {"bytes=0-1,4-5,8-9,6-7", 10, "0-1 4-9"},
    /* too much overlap */
    {"bytes=0-1,1-2,2-3", 10, "0-3"},
    {"bytes=0-1,1-2,2-3,3-4", 10, "-"},
    {"bytes=0-,0-,0-,0-", 10, "-"},
    /* ignored */
    {"", 10, "-"},
    {"bytes", 10, "-"},
    {"bytes=", 10, "-"},
    {"bytes=,", 10, "-"},
    {"bytes=-", 10, "-"},
    {"bytes=5", 10, "-"},
    {"bytes=5-4", 10, "-"},
    {"bytes=0-1,5-4", 10, "-"},
    {"bytes=a-b", 10, "-"},
    {"bytes=0-b", 10, "-"},
    {"bytes=0-1x", 10, "-"},
    {"bytes=0--1", 10, "-"},
    {"bytes=--1", 10, "-"},
    {"bytes=+0-1", 10, "-"},
    {"bytes=0 -1", 10, "-"},
    {"bytes=0- 1", 10, "-"},
    {"bytes=0-1 2-3", 10, "-"},
    {"bytes=0-1;2-3", 10, "-"},
    {"bytes =0-1", 10, "-"},
    {"bytes:0-1", 10, "-"},
    {"items=0-1", 10, "-"},
    {"0-1", 10, "-"},
};

static void put_set(char *to, size_t room, enum cache_range_verdict v, const struct cache_range_set *set)
{
    size_t n = 0;
    snprintf(to, room, "%s", v == CACHE_RANGE_WHOLE ? "-" : v == CACHE_RANGE_PARTS ? "" : "x");
    for (unsigned i = 0; v == CACHE_RANGE_PARTS && i < set->count; i++)
        n += (size_t)snprintf(to + n, room - n, "%s%ju-%ju", i > 0 ? " " : "", (uintmax_t)set->parts[i].start,
                              (uintmax_t)set->parts[i].end - 1);
}

static void test_ranges(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct cache_range_set set;
        char got[1024];
        slice_t value = text_head_copy(slice_str(rows[i].value));
        put_set(got, sizeof got, cache_range_parse(value, rows[i].size, &set), &set);
        if (strcmp(got, rows[i].want) != 0)
            fail_msg("%s of %ju: %s, not %s", rows[i].value, (uintmax_t)rows[i].size, got, rows[i].want);
        free((void *)(uintptr_t)value.ptr);
    }
}

/* `n` single bytes, every second one. */
static enum cache_range_verdict comb(unsigned n, uint64_t size, struct cache_range_set *set)
{
    char value[2048];
    size_t len = (size_t)snprintf(value, sizeof value, "bytes=");
    for (unsigned i = 0; i < n; i++)
        len += (size_t)snprintf(value + len, sizeof value - len, "%u-%u,", 2 * i, 2 * i);
    return cache_range_parse(slice_make(value, len), size, set);
}

static void test_limits(void **state)
{
    UNUSED(state);
    struct cache_range_set set;
    assert_int_equal(comb(CACHE_RANGE_PARTS_MAX, 1000, &set), CACHE_RANGE_PARTS);
    assert_int_equal(set.count, CACHE_RANGE_PARTS_MAX);
    assert_int_equal(comb(CACHE_RANGE_PARTS_MAX + 1, 1000, &set), CACHE_RANGE_WHOLE);
    assert_int_equal(comb(CACHE_RANGE_SPECS_MAX, 1, &set), CACHE_RANGE_PARTS); /* all but one beyond it */
    assert_int_equal(set.count, 1);
    assert_int_equal(comb(CACHE_RANGE_SPECS_MAX + 1, 1, &set), CACHE_RANGE_WHOLE);
}

static const struct {
    const char *value;
    uint64_t start, end, size; /* size 0: refused */
} parts[] = {
    {"bytes 0-0/1", 0, 1, 1},
    {"bytes 2-4/10", 2, 5, 10},
    {"BYTES 2-4/10", 2, 5, 10},
    {"bytes 0-18446744073709551614/18446744073709551615", 0, UINT64_MAX, UINT64_MAX},
    {"bytes 2-4/*", 0, 0, 0},
    {"bytes */10", 0, 0, 0},
    {"bytes 4-2/10", 0, 0, 0},
    {"bytes 2-10/10", 0, 0, 0},
    {"bytes 0-0/0", 0, 0, 0},
    {"bytes 2-4/10 ", 0, 0, 0},
    {"bytes 2-4/10,5-6/10", 0, 0, 0},
    {"bytes  2-4/10", 0, 0, 0},
    {"bytes 2 -4/10", 0, 0, 0},
    {"bytes 2-4 /10", 0, 0, 0},
    {"bytes -4/10", 0, 0, 0},
    {"bytes 2-/10", 0, 0, 0},
    {"bytes 2-4/", 0, 0, 0},
    {"bytes 2-4", 0, 0, 0},
    {"bytes +2-4/10", 0, 0, 0},
    {"bytes=2-4/10", 0, 0, 0},
    {"lines 2-4/10", 0, 0, 0},
    {"2-4/10", 0, 0, 0},
    {"bytes ", 0, 0, 0},
    {"", 0, 0, 0},
    {"bytes 2-4/99999999999999999999999", 0, 0, 0},
    {"bytes 2-99999999999999999999999/18446744073709551615", 0, 0, 0},
    {"bytes 18446744073709551616-18446744073709551617/18446744073709551618", 0, 0, 0},
};

static void test_content_range(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        struct cache_range part;
        uint64_t size;
        bool ok = cache_content_range_parse(slice_str(parts[i].value), &part, &size);
        if (ok != (parts[i].size > 0) ||
            (ok && (part.start != parts[i].start || part.end != parts[i].end || size != parts[i].size)))
            fail_msg("%s", parts[i].value);
    }
}

#define MODIFIED   "Last-Modified: Thu, 01 Jan 2015 00:00:00 GMT"
#define MODIFIED_S 1420070400

static const struct {
    const char *stored, *request;
    wall_s_t date_s;
    bool want;
} conditions[] = {
    {"ETag: \"a\"", "Range: bytes=0-", 0, true},
    {"ETag: \"a\"", "If-Range: \"a\"", 0, true},
    {"ETag: \"a\"", "If-Range: \"b\"", 0, false},
    {"ETag: \"a\"", "If-Range: W/\"a\"", 0, false},
    {"ETag: W/\"a\"", "If-Range: W/\"a\"", 0, false},
    {"ETag: W/\"a\"", "If-Range: \"a\"", 0, false},
    {"ETag: \"a\"", "If-Range: a", 0, false},
    {"ETag: \"a\"", "If-Range: \"a\", \"b\"", 0, false},
    {"ETag: \"a\"", "If-Range: \"a\"\nIf-Range: \"a\"", 0, false},
    {"ETag: \"a\"", "If-Range:", 0, false},
    {"ETag: \"a\"", "If-Range: *", 0, false},
    {"X: y", "If-Range: \"a\"", 0, false},
    {MODIFIED, "If-Range: Thu, 01 Jan 2015 00:00:00 GMT", MODIFIED_S + 1, true},
    {MODIFIED, "If-Range: Thursday, 01-Jan-15 00:00:00 GMT", MODIFIED_S + 1, true},
    {MODIFIED, "If-Range: Thu, 01 Jan 2015 00:00:00 GMT", MODIFIED_S, false}, /* may change unseen */
    {MODIFIED, "If-Range: Thu, 01 Jan 2015 00:00:00 GMT", 0, false},
    {MODIFIED, "If-Range: Thu, 01 Jan 2015 00:00:01 GMT", MODIFIED_S + 9, false},
    {MODIFIED, "If-Range: Wed, 31 Dec 2014 23:59:59 GMT", MODIFIED_S + 9, false},
    {MODIFIED, "If-Range: Thu, 32 Jan 2015 00:00:00 GMT", MODIFIED_S + 9, false},
    {"ETag: \"a\"", "If-Range: Thu, 01 Jan 2015 00:00:00 GMT", MODIFIED_S + 9, false},
};

static void test_if_range(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(conditions); i++) {
        struct text_head stored, request;
        struct cache_validators v;
        text_head_response(&stored, 200, conditions[i].stored);
        text_head_request(&request, HTTP_GET, conditions[i].request);
        cache_validators_from_head(&stored.head, MODIFIED_S, &v);
        if (cache_if_range_holds(&request.head, &v, conditions[i].date_s, MODIFIED_S) != conditions[i].want)
            fail_msg("%zu: %s, %s", i, conditions[i].stored, conditions[i].request);
        text_head_free(&stored);
        text_head_free(&request);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_content_range),
        cmocka_unit_test(test_if_range),
    };
    return cmocka_run_group_tests_name("cache/range", tests, NULL, NULL);
}
