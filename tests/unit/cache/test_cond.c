/* test_cond.c: conditional requests against a stored response (RFC 9110 section 13), and the fields of a 304.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cache/cond.h"
#include "tests/unit/cache/text_head.h"

#define NOW_S    INT64_C(784111777) /* Sun, 06 Nov 1994 08:49:37 GMT */
#define MODIFIED "Last-Modified: Sun, 06 Nov 1994 08:00:00 GMT\n"
#define BEFORE   "Sun, 06 Nov 1994 07:59:59 GMT"
#define SAME     "Sun, 06 Nov 1994 08:00:00 GMT"
#define AFTER    "Sun, 06 Nov 1994 08:00:01 GMT"

#define FULL   CACHE_COND_NONE
#define NOT    CACHE_COND_NOT_MODIFIED
#define FAILED CACHE_COND_FAILED

#define STRONG "ETag: \"a\"\n" MODIFIED
#define WEAK   "ETag: W/\"a\"\n" MODIFIED
#define NOTAG  MODIFIED
#define NODATE "ETag: \"a\"\n"

static const struct {
    const char *stored, *request;
    enum cache_cond want;
} rows[] = {
    {STRONG, "", FULL},
    {STRONG, "X: y\nIf-Range: \"a\"\nRange: bytes=0-", FULL},
    /* If-None-Match: weak comparison */
    {STRONG, "If-None-Match: \"a\"", NOT},
    {STRONG, "If-None-Match: W/\"a\"", NOT},
    {WEAK, "If-None-Match: \"a\"", NOT},
    {WEAK, "If-None-Match: W/\"a\"", NOT},
    {STRONG, "If-None-Match: \"b\"", FULL},
    {STRONG, "If-None-Match: \"A\"", FULL},
    {STRONG, "If-None-Match: \"aa\"", FULL},
    {STRONG, "If-None-Match: \"\"", FULL},
    {NOTAG, "If-None-Match: \"a\"", FULL},
    {NOTAG, "If-None-Match: \"\"", FULL},
    {"ETag: \"\"", "If-None-Match: \"\"", NOT},
    {STRONG, "If-None-Match: *", NOT},
    {NOTAG, "If-None-Match: *", NOT},
    /* lists */
    {STRONG, "If-None-Match: \"x\", \"a\"", NOT},
    {STRONG, "If-None-Match: \"a\",\"x\"", NOT},
    {STRONG, "If-None-Match: \"x\",W/\"a\",\"y\"", NOT},
    {STRONG, "If-None-Match: \"x\", \"y\"", FULL},
    {STRONG, "If-None-Match: \"x\"\nIf-None-Match: \"a\"", NOT},
    {STRONG, "If-None-Match: , ,\"a\", ,", NOT},
    {STRONG, "If-None-Match: \"x\"\t,\t\"a\"", NOT},
    {"ETag: \"a,b\"", "If-None-Match: \"a,b\"", NOT},
    {"ETag: \"a,b\"", "If-None-Match: \"a\", \"b\"", FULL},
    {"ETag: \"a\\\"", "If-None-Match: \"x\", \"a\\\"", NOT},
    {"ETag: \"\xc3\xa4\"", "If-None-Match: \"\xc3\xa4\"", NOT},
    {"ETag: \"W/a\"", "If-None-Match: \"W/a\"", NOT},
    /* malformed lists match nothing, not even what stands before the mistake */
    {STRONG, "If-None-Match: a", FULL},
    {STRONG, "If-None-Match:", FULL},
    {STRONG, "If-None-Match: ,", FULL},
    {STRONG, "If-None-Match: \"a", FULL},
    {STRONG, "If-None-Match: a\"", FULL},
    {STRONG, "If-None-Match: 'a'", FULL},
    {STRONG, "If-None-Match: w/\"a\"", FULL},
    {STRONG, "If-None-Match: W/", FULL},
    {STRONG, "If-None-Match: W", FULL},
    {STRONG, "If-None-Match: W/a", FULL},
    {STRONG, "If-None-Match: W /\"a\"", FULL},
    {STRONG, "If-None-Match: W/ \"a\"", FULL},
    {STRONG, "If-None-Match: \"a\" \"b\"", FULL},
    {STRONG, "If-None-Match: \"a\"\"b\"", FULL},
    {STRONG, "If-None-Match: \"a\"; \"b\"", FULL},
    {STRONG, "If-None-Match: \"a\", b", FULL},
    {STRONG, "If-None-Match: \"a\", *", FULL},
    {STRONG, "If-None-Match: *, \"a\"", FULL},
    {STRONG, "If-None-Match: **", FULL},
    {STRONG, "If-None-Match: \"*\"", FULL},
    {STRONG, "If-None-Match: *\nIf-None-Match: \"a\"", FULL},
    {STRONG, "If-None-Match: \"a\"\nIf-None-Match: *", FULL},
    {STRONG, "If-None-Match: \"a\"\nIf-None-Match: junk", FULL},
    {"ETag: \"a b\"", "If-None-Match: \"a b\"", FULL}, /* a space is no etagc */
    {"ETag: a", "If-None-Match: a", FULL},
    {"ETag: a", "If-None-Match: \"a\"", FULL},
    /* If-Modified-Since */
    {STRONG, "If-Modified-Since: " BEFORE, FULL},
    {STRONG, "If-Modified-Since: " SAME, NOT},
    {STRONG, "If-Modified-Since: " AFTER, NOT},
    {STRONG, "If-Modified-Since: Sunday, 06-Nov-94 08:00:00 GMT", NOT},
    {STRONG, "If-Modified-Since: Sun Nov  6 08:00:00 1994", NOT},
    {STRONG, "If-Modified-Since: Sun, 06 Nov 2094 08:00:00 GMT", NOT},
    {STRONG, "If-Modified-Since: junk", FULL},
    {STRONG, "If-Modified-Since:", FULL},
    {STRONG, "If-Modified-Since: 784111777", FULL},
    {STRONG, "If-Modified-Since: " SAME "; length=5", FULL},
    {STRONG, "If-Modified-Since: " SAME ", " SAME, FULL},
    {STRONG, "If-Modified-Since: " SAME "\nIf-Modified-Since: " SAME, FULL},
    {NODATE, "If-Modified-Since: " AFTER, FULL},
    {"Last-Modified: junk", "If-Modified-Since: " AFTER, FULL},
    /* If-None-Match wins, malformed or not */
    {STRONG, "If-None-Match: \"b\"\nIf-Modified-Since: " AFTER, FULL},
    {STRONG, "If-None-Match: junk\nIf-Modified-Since: " AFTER, FULL},
    {STRONG, "If-Modified-Since: " AFTER "\nIf-None-Match: \"b\"", FULL},
    {STRONG, "If-None-Match: \"a\"\nIf-Modified-Since: " BEFORE, NOT},
    {STRONG, "If-None-Match: \"a\"\nIf-Modified-Since: junk", NOT},
    /* If-Match: strong comparison */
    {STRONG, "If-Match: \"a\"", FULL},
    {STRONG, "If-Match: \"b\"", FAILED},
    {STRONG, "If-Match: W/\"a\"", FAILED},
    {WEAK, "If-Match: W/\"a\"", FAILED},
    {WEAK, "If-Match: \"a\"", FAILED},
    {STRONG, "If-Match: \"b\", \"a\"", FULL},
    {STRONG, "If-Match: \"b\"\nIf-Match: \"a\"", FULL},
    {STRONG, "If-Match: *", FULL},
    {NOTAG, "If-Match: *", FULL},
    {NOTAG, "If-Match: \"a\"", FAILED},
    {STRONG, "If-Match: junk", FAILED},
    {STRONG, "If-Match:", FAILED},
    {STRONG, "If-Match: \"a\", junk", FAILED},
    /* If-Unmodified-Since */
    {STRONG, "If-Unmodified-Since: " BEFORE, FAILED},
    {STRONG, "If-Unmodified-Since: " SAME, FULL},
    {STRONG, "If-Unmodified-Since: " AFTER, FULL},
    {STRONG, "If-Unmodified-Since: junk", FULL},
    {STRONG, "If-Unmodified-Since: " BEFORE "\nIf-Unmodified-Since: " BEFORE, FULL},
    {NODATE, "If-Unmodified-Since: " BEFORE, FULL},
    /* order of RFC 9110 section 13.2.2 */
    {STRONG, "If-Match: \"a\"\nIf-Unmodified-Since: " BEFORE, FULL},
    {STRONG, "If-Match: \"b\"\nIf-Unmodified-Since: " AFTER, FAILED},
    {STRONG, "If-Match: junk\nIf-Unmodified-Since: " AFTER, FAILED},
    {STRONG, "If-Match: \"b\"\nIf-None-Match: \"a\"", FAILED},
    {STRONG, "If-Match: \"a\"\nIf-None-Match: \"a\"", NOT},
    {STRONG, "If-Match: \"a\"\nIf-None-Match: \"b\"", FULL},
    {STRONG, "If-Unmodified-Since: " BEFORE "\nIf-None-Match: \"a\"", FAILED},
    {STRONG, "If-Unmodified-Since: " AFTER "\nIf-None-Match: \"a\"", NOT},
    {STRONG, "If-Unmodified-Since: " AFTER "\nIf-Modified-Since: " AFTER, NOT},
    {STRONG, "If-Match: \"a\"\nIf-Modified-Since: " SAME, NOT},
};

static void test_conditions(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct text_head stored, request;
        struct cache_validators v;
        text_head_response(&stored, 200, rows[i].stored);
        text_head_request(&request, HTTP_GET, rows[i].request);
        cache_validators_from_head(&stored.head, NOW_S, &v);
        enum cache_cond got = cache_cond_evaluate(&request.head, &v, NOW_S);
        if (got != rows[i].want)
            fail_msg("stored [%s], request [%s]: %d, not %d", rows[i].stored, rows[i].request, got,
                     rows[i].want);
        text_head_free(&stored);
        text_head_free(&request);
    }
}

static void test_validators(void **state)
{
    static const struct {
        const char *lines, *etag, *last_modified;
        wall_s_t last_modified_s;
    } cases[] = {
        {"", "", "", 0},
        {"ETag: \"a\"", "\"a\"", "", 0},
        {"etag: W/\"\"", "W/\"\"", "", 0},
        {"ETag: \"a\"\nETag: \"b\"", "\"a\"", "", 0},
        {"ETag: a", "", "", 0},
        {"ETag: \"a\"b", "", "", 0},
        {"ETag: \"a\", \"b\"", "", "", 0},
        {"ETag: \"", "", "", 0},
        {"ETag: W/", "", "", 0},
        {"ETag:", "", "", 0},
        {"ETag: \"a\x01\"", "", "", 0},
        {MODIFIED, "", SAME, NOW_S - 2977},
        {"Last-Modified: Sunday, 06-Nov-94 08:00:00 GMT", "", "Sunday, 06-Nov-94 08:00:00 GMT", NOW_S - 2977},
        {"Last-Modified: junk", "", "junk", 0},
        {"Last-Modified:", "", "", 0},
    };
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct text_head t;
        struct cache_validators v;
        text_head_response(&t, 200, cases[i].lines);
        cache_validators_from_head(&t.head, NOW_S, &v);
        if (!slice_eq(v.etag, slice_str(cases[i].etag)) ||
            !slice_eq(v.last_modified, slice_str(cases[i].last_modified)) ||
            v.last_modified_s != cases[i].last_modified_s)
            fail_msg("%s", cases[i].lines);
        text_head_free(&t);
    }
}

static void test_weak_comparison(void **state)
{
    static const struct {
        const char *a, *b;
        bool want;
    } cases[] = {
        /* the table of RFC 9110 section 8.8.3.2 */
        {"W/\"1\"", "W/\"1\"", true},
        {"W/\"1\"", "W/\"2\"", false},
        {"W/\"1\"", "\"1\"", true},
        {"\"1\"", "\"1\"", true},
        {"\"1\"", "W/\"1\"", true},
        {"\"1\"", "\"2\"", false},
        {"", "", false},
        {"\"\"", "", false},
        {"", "W/\"\"", false},
        {"\"\"", "W/\"\"", true},
        {"W", "W", true},
    };
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(cache_etag_weak_eq(slice_str(cases[i].a), slice_str(cases[i].b)), cases[i].want);
}

static void test_fields(void **state)
{
    static const struct {
        const char *lines; /* the first is asked about */
        bool in_304, updates;
    } cases[] = {
        {"Date: x", true, true},
        {"ETag: \"a\"", true, false},
        {"Cache-Control: x", true, true},
        {"Content-Location: /x", true, true},
        {"Expires: x", true, true},
        {"Vary: x", true, true},
        {"Last-Modified: x", true, true},
        {"X-Anything: x", true, true},
        {"Content-Security-Policy: x", true, true},
        {"Access-Control-Allow-Origin: *", true, true},
        {"Content-Length: 5", false, false},
        {"Content-Type: text/html", false, true},
        {"Content-Encoding: gzip", false, false},
        {"Content-Range: bytes 0-1/2", false, false},
        {"Content-Language: de", false, true},
        {"content-disposition: attachment", false, true},
        {"Content-MD5: x", false, false},
        {"content-digest: x", false, false},
        {"Repr-Digest: x", false, true},
        {"Trailer: x", false, true},
        {"Connection: close", false, false},
        {"Transfer-Encoding: chunked", false, false},
        {"Keep-Alive: x", false, false},
        {"Upgrade: x", false, false},
        {"Set-Cookie: a=b", true, false},
        {"X-Hop: a\nConnection: x-hop", true, false},
        {"X-User: a\nCache-Control: private=\"x-user\"", true, false},
    };
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct text_head t;
        text_head_response(&t, 304, cases[i].lines);
        if (cache_field_in_304(&t.fields[0]) != cases[i].in_304 ||
            cache_field_updates_stored(&t.head, &t.fields[0]) != cases[i].updates)
            fail_msg("%s", cases[i].lines);
        text_head_free(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conditions),
        cmocka_unit_test(test_validators),
        cmocka_unit_test(test_weak_comparison),
        cmocka_unit_test(test_fields),
    };
    return cmocka_run_group_tests_name("cache/cond", tests, NULL, NULL);
}
