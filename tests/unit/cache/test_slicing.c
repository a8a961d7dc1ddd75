/* test_slicing.c: which byte a request begins with, what a slice is, and its key. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "cache/slicing.h"
#include "tests/unit/cache/text_head.h"

#define BYTES 1000

static const struct {
    const char *range;
    int64_t first; /* byte; -1: not to be sliced */
} rows[] = {
    {"bytes=0-", 0},
    {"bytes=0-0", 0},
    {"bytes=999-999", 999},
    {"bytes=999-5000", 999},
    {"bytes=1000-", 1000},
    {"bytes=12345-12346", 12345},
    {"bytes=4611686018427387903-", 4611686018427387903},
    /* from the end: how much there is must be known first */
    {"bytes=-1", 0},
    {"bytes=-100000", 0},
    {"bytes=-99999999999999999999999", 0},
    /* too far to be meant well, or beyond what can be counted */
    {"bytes=9223372036854775807-", 0},
    {"bytes=99999999999999999999999-", 0},
    /* none, or none that counts */
    {"bytes=5-4", 0},
    {"bytes=x", 0},
    {"lines=5000-", 0},
    {"", 0},
    /* several, but for those that are one */
    {"bytes=5000-5001,5002-5003", 5000},
    {"bytes=5000-5001,7000-7001", -1},
    {"bytes=0-0,-1", -1},
    {"bytes=0-0,2-2,50-50,60-60,70-70,80-80,90-90,100-100,110-110,120-120,130-130,140-140,150-150,160-160,"
     "170-170,180-180,190-190,200-200,210-210,220-220,230-230,240-240,250-250,260-260,270-270,280-280",
     -1}, /* more than are served; of a whole of 10 bytes, two */
};

static void test_first(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct http_field field = {
            .name = SLICE_LIT("Range"), .value = slice_str(rows[i].range), .id = HTTP_FIELD_RANGE};
        struct http_head head = {
            .method = HTTP_GET, .fields = &field, .field_count = 1, .present = HTTP_BIT(RANGE)};
        uint64_t first;
        assert_int_equal(slicing_first(&head, &first), rows[i].first >= 0);
        if (rows[i].first >= 0)
            assert_int_equal(first, rows[i].first);
        head.method = HTTP_HEAD; /* has no ranges (RFC 9110 section 14.2) */
        assert_true(slicing_first(&head, &first) && first == 0);
    }
    struct http_field twice[2] = {
        {.name = SLICE_LIT("Range"), .value = SLICE_LIT("bytes=5000-"), .id = HTTP_FIELD_RANGE},
        {.name = SLICE_LIT("Range"), .value = SLICE_LIT("bytes=7000-"), .id = HTTP_FIELD_RANGE}};
    struct http_head head = {
        .method = HTTP_GET, .fields = twice, .field_count = 2, .present = HTTP_BIT(RANGE)};
    uint64_t first;
    assert_true(slicing_first(&head, &first) && first == 0);
}

static void test_what_a_slice_is(void **state)
{
    UNUSED(state);
    const struct cache_range second = slicing_range(BYTES, 1);
    assert_true(second.start == 1000 && second.end == 2000);
    assert_true(slicing_is_slice(second, 5000, BYTES, 1));
    assert_true(slicing_is_slice(second, 2000, BYTES, 1));
    assert_false(slicing_is_slice(second, 5000, BYTES, 0));
    assert_false(slicing_is_slice(second, 5000, BYTES, 2));
    assert_true(slicing_is_slice((struct cache_range){1000, 1001}, 1001, BYTES, 1)); /* the last */
    assert_false(slicing_is_slice((struct cache_range){1000, 1999}, 5000, BYTES, 1));
    assert_false(slicing_is_slice((struct cache_range){1001, 2000}, 5000, BYTES, 1));
    assert_false(slicing_is_slice((struct cache_range){1000, 2001}, 5000, BYTES, 1));
}

static void test_key(void **state)
{
    UNUSED(state);
    char buf[100 + SLICING_KEY_MAX];
    struct cache_key whole = {.text = SLICE_LIT("http://a/film?x")}, slice, other;
    slicing_key(&whole, 1 << 20, 7, buf, &slice);
    assert_true(slice_eq(slice.text, SLICE_LIT("http://a/film?x slice:1048576/7")));
    assert_true(slice_eq(cache_key_url(slice.text), whole.text)); /* what purges it */
    char more[100 + SLICING_KEY_MAX];
    slicing_key(&whole, 1 << 20, 8, more, &other);
    assert_false(hash_eq(slice.hash, other.hash));
    whole.text = SLICE_LIT("http://a/film rules:0123456789abcdef x-a=b");
    slicing_key(&whole, UINT64_MAX, UINT64_MAX, more, &other); /* the longest */
    assert_true(slice_eq(cache_key_url(other.text), SLICE_LIT("http://a/film")));
    assert_true(other.text.len <= whole.text.len + SLICING_KEY_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first),
        cmocka_unit_test(test_what_a_slice_is),
        cmocka_unit_test(test_key),
    };
    return cmocka_run_group_tests_name("slicing", tests, NULL, NULL);
}
