/* test_cache_control.c: directives, well-formed and not (RFC 9111 section 5.2). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cache/cache_control.h"
#include "tests/unit/cache/text_head.h"

#define NONE CC_ABSENT
#define CAP  (INT64_C(1) << 31)

struct row {
    const char *value;
    uint32_t flags;
    int64_t max_age_s, s_maxage_s;
};

static const struct row rows[] = {
    {"", 0, NONE, NONE},
    {",", 0, NONE, NONE},
    {" , \t,, ", 0, NONE, NONE},
    {"no-store", CC_NO_STORE, NONE, NONE},
    {"NO-STORE", CC_NO_STORE, NONE, NONE},
    {"No-Store", CC_NO_STORE, NONE, NONE},
    {"no-store,", CC_NO_STORE, NONE, NONE},
    {",,no-store,,", CC_NO_STORE, NONE, NONE},
    {"\tno-store\t", CC_NO_STORE, NONE, NONE},
    {"no-cache", CC_NO_CACHE, NONE, NONE},
    {"private", CC_PRIVATE, NONE, NONE},
    {"public", CC_PUBLIC, NONE, NONE},
    {"must-revalidate", CC_MUST_REVALIDATE, NONE, NONE},
    {"proxy-revalidate", CC_PROXY_REVALIDATE, NONE, NONE},
    {"no-transform", CC_NO_TRANSFORM, NONE, NONE},
    {"only-if-cached", CC_ONLY_IF_CACHED, NONE, NONE},
    {"must-understand", CC_MUST_UNDERSTAND, NONE, NONE},
    {"immutable", CC_IMMUTABLE, NONE, NONE},
    {"must-understand, no-store", CC_MUST_UNDERSTAND | CC_NO_STORE, NONE, NONE},
    {"public, private", CC_PUBLIC | CC_PRIVATE, NONE, NONE},
    /* not quite these names */
    {"no-stores", 0, NONE, NONE},
    {"xno-store", 0, NONE, NONE},
    {"no_store", 0, NONE, NONE},
    {"no-stor", 0, NONE, NONE},
    {"foo, bar=1, baz=\"x\"", 0, NONE, NONE},
    {"foo=\"no-store, private\"", 0, NONE, NONE},
    {"foo=\"a\\\", no-store\"", 0, NONE, NONE},
    {"foo=\"a,max-age=5\", max-age=6", 0, 6, NONE},
    {"community=private, max-age=6", 0, 6, NONE},
    /* seconds */
    {"max-age=0", 0, 0, NONE},
    {"max-age=60", 0, 60, NONE},
    {"MAX-AGE=60", 0, 60, NONE},
    {"s-maxage=60", 0, NONE, 60},
    {"max-age=1,s-maxage=2", 0, 1, 2},
    {"max-age=0060", 0, 60, NONE},
    {"max-age=\"60\"", 0, 60, NONE},
    {"max-age=\"\"", 0, 0, NONE},
    {"max-age=\" 60\"", 0, 0, NONE},
    {"max-age=\"6\\0\"", 0, 0, NONE},
    {"max-age=", 0, 0, NONE},
    {"max-age", 0, 0, NONE},
    {"max-age=-1", 0, 0, NONE},
    {"max-age=+1", 0, 0, NONE},
    {"max-age=1.5", 0, 0, NONE},
    {"max-age=1e3", 0, 0, NONE},
    {"max-age=0x10", 0, 0, NONE},
    {"max-age=60s", 0, 0, NONE},
    {"max-age=s60", 0, 0, NONE},
    {"max-age=junk", 0, 0, NONE},
    {"max-age=2147483647", 0, 2147483647, NONE},
    {"max-age=2147483648", 0, CAP, NONE},
    {"max-age=2147483649", 0, CAP, NONE},
    {"max-age=4294967296", 0, CAP, NONE},
    {"max-age=4294967297", 0, CAP, NONE},
    {"max-age=9223372036854775808", 0, CAP, NONE},
    {"max-age=18446744073709551617", 0, CAP, NONE},
    {"max-age=99999999999999999999999999999999999999", 0, CAP, NONE},
    {"max-age=99999999999999999999999999999999999999x", 0, 0, NONE},
    /* of a repeated one the first counts, bad or good */
    {"max-age=1, max-age=2", 0, 1, NONE},
    {"max-age=2, max-age=1", 0, 2, NONE},
    {"max-age=x, max-age=1", 0, 0, NONE},
    {"max-age, max-age=1", 0, 0, NONE},
    {"s-maxage=1, s-maxage=2", 0, NONE, 1},
    {"no-store, max-age=1, no-store", CC_NO_STORE, 1, NONE},
    /* space around '=': not a directive */
    {"max-age = 5", 0, NONE, NONE},
    {"max-age =5", 0, NONE, NONE},
    {"max-age= 5", 0, NONE, NONE},
    {"max-age\t=\t5", 0, NONE, NONE},
    {"max-age = 5, max-age=6", 0, 6, NONE},
    {"max-age = 5, public", CC_PUBLIC, NONE, NONE},
    {"s-maxage = 5, max-age=1", 0, 1, NONE},
    /* field lists */
    {"no-cache=\"set-cookie\"", CC_NO_CACHE_FIELDS, NONE, NONE},
    {"private=\"a, b\"", CC_PRIVATE_FIELDS, NONE, NONE},
    {"private=\"a, b\", max-age=1", CC_PRIVATE_FIELDS, 1, NONE},
    {"private=\"a\", private", CC_PRIVATE_FIELDS | CC_PRIVATE, NONE, NONE},
    {"private=\"\"", CC_PRIVATE, NONE, NONE},
    {"private=\" , \"", CC_PRIVATE, NONE, NONE},
    {"private=", CC_PRIVATE, NONE, NONE},
    {"private=a", CC_PRIVATE, NONE, NONE},
    {"no-cache=a", CC_NO_CACHE, NONE, NONE},
    {"no-cache=\"\"", CC_NO_CACHE, NONE, NONE},
    /* an argument where none belongs: restrictions stand, permissions do not */
    {"no-store=1", CC_NO_STORE, NONE, NONE},
    {"no-store=\"x\"", CC_NO_STORE, NONE, NONE},
    {"public=1", 0, NONE, NONE},
    {"immutable=\"x\"", 0, NONE, NONE},
    {"must-understand=1", 0, NONE, NONE},
    {"must-revalidate=1", CC_MUST_REVALIDATE, NONE, NONE},
    /* broken: only restrictions are taken from it */
    {"private; max-age=60", CC_PRIVATE, 0, NONE},
    {"max-age=60; private", CC_PRIVATE, 0, NONE},
    {"max-age=60 private", CC_PRIVATE, 0, NONE},
    {"private max-age=60", CC_PRIVATE, 0, NONE},
    {"no-store no-cache", CC_NO_STORE | CC_NO_CACHE, NONE, NONE},
    {"public; max-age=60", 0, 0, NONE},
    {"public max-age=60", 0, 0, NONE},
    {"max-age=60; s-maxage=90", 0, 0, 0},
    {"max-age=60; must-revalidate", CC_PROXY_REVALIDATE, 0, NONE},
    {"must-understand; no-store", CC_NO_STORE, NONE, NONE},
    {"private =\"set-cookie\"", CC_PRIVATE, NONE, NONE},
    {"private = \"set-cookie\"", CC_PRIVATE, NONE, NONE},
    {"no-store =1", CC_NO_STORE, NONE, NONE},
    {"private=\"set-cookie", CC_PRIVATE, NONE, NONE},
    {"private=\"a\"b", CC_PRIVATE, NONE, NONE},
    {"private=\"a\"\"b\"", CC_PRIVATE, NONE, NONE},
    {"no-cache=\"a\\\"", CC_NO_CACHE, NONE, NONE},
    {"max-age=\"60", 0, 0, NONE},
    {"max-age=60\"", 0, 0, NONE},
    {"max-age=\"60\"0", 0, 0, NONE},
    {"max-age==60", 0, 0, NONE},
    {"foo=\"open, private, max-age=60", CC_PRIVATE, 0, NONE},
    {"foo\"bar, no-store, baz\"", CC_NO_STORE, NONE, NONE},
    {"\"private\"", CC_PRIVATE, NONE, NONE},
    {"=private", CC_PRIVATE, NONE, NONE},
    {"=", 0, NONE, NONE},
    {"=5", 0, NONE, NONE},
    {"\"", 0, NONE, NONE},
    {"\"\\", 0, NONE, NONE},
    {";no-store", CC_NO_STORE, NONE, NONE},
    {"{no-cache}", CC_NO_CACHE, NONE, NONE},
    {"\xff\xfe, max-age=1", 0, 1, NONE},
};

static void test_values(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct row *r = &rows[i];
        struct cache_control cc;
        slice_t value = text_head_copy(slice_str(r->value));
        cache_control_init(&cc);
        cache_control_parse_value(value, &cc);
        if (cc.flags != r->flags || cc.max_age_s != r->max_age_s || cc.s_maxage_s != r->s_maxage_s)
            fail_msg("\"%s\": flags %#x max-age %ld s-maxage %ld", r->value, cc.flags, (long)cc.max_age_s,
                     (long)cc.s_maxage_s);
        assert_int_equal(cc.max_stale_s, CC_ABSENT);
        assert_int_equal(cc.min_fresh_s, CC_ABSENT);
        free((void *)(uintptr_t)value.ptr);
    }
}

/* What well-formed elements say does not depend on their order or on how they are spread over lines. */
static void test_order_and_lines_do_not_matter(void **state)
{
    static const char *const parts[] = {"no-store", "private=\"a,b\"", "max-age=60", "foo=\"x,\\\"\"",
                                        "public",   "s-maxage=\"7\"",  "no-cache",   "x"};
    UNUSED(state);
    for (size_t shift = 0; shift < ARRAY_LEN(parts); shift++) {
        for (unsigned cuts = 0; cuts < 1u << (ARRAY_LEN(parts) - 1); cuts++) {
            char lines[512] = "Cache-Control: ";
            struct text_head t;
            struct cache_control cc;
            for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
                strcat(lines, parts[(i + shift) % ARRAY_LEN(parts)]);
                if (i + 1 < ARRAY_LEN(parts))
                    strcat(lines, cuts >> i & 1 ? "\nOther: private\ncache-control: " : ",");
            }
            text_head_response(&t, 200, lines);
            cache_control_parse(&t.head, &cc);
            assert_int_equal(cc.flags, CC_NO_STORE | CC_PRIVATE_FIELDS | CC_PUBLIC | CC_NO_CACHE);
            assert_int_equal(cc.max_age_s, 60);
            assert_int_equal(cc.s_maxage_s, 7);
            text_head_free(&t);
        }
    }
}

static void test_several_lines(void **state)
{
    struct text_head t;
    struct cache_control cc;
    UNUSED(state);
    text_head_response(&t, 200, "Cache-Control: max-age=1\nCACHE-CONTROL: max-age=2, private\nX: no-store");
    cache_control_parse(&t.head, &cc);
    assert_int_equal(cc.flags, CC_PRIVATE);
    assert_int_equal(cc.max_age_s, 1);
    text_head_free(&t);
    /* a quote left open on one line does not reach the next */
    text_head_response(&t, 200, "Cache-Control: foo=\"\nCache-Control: max-age=2");
    cache_control_parse(&t.head, &cc);
    assert_int_equal(cc.max_age_s, 2);
    text_head_free(&t);
    text_head_response(&t, 200, "Pragma: no-cache\nX: y");
    cc.flags = ~0u;
    cache_control_parse(&t.head, &cc);
    assert_int_equal(cc.flags, 0);
    assert_int_equal(cc.max_age_s, CC_ABSENT);
    text_head_free(&t);
}

static void test_other_seconds(void **state)
{
    struct cache_control cc;
    UNUSED(state);
    cache_control_init(&cc);
    cache_control_parse_value(
        SLICE_LIT("stale-while-revalidate=5, stale-if-error=\"6\", max-stale=7, min-fresh=8"), &cc);
    assert_int_equal(cc.stale_while_revalidate_s, 5);
    assert_int_equal(cc.stale_if_error_s, 6);
    assert_int_equal(cc.max_stale_s, 7);
    assert_int_equal(cc.min_fresh_s, 8);
    assert_int_equal(cc.flags, 0);
    cache_control_init(&cc);
    cache_control_parse_value(
        SLICE_LIT("max-stale, stale-while-revalidate, stale-if-error=x, min-fresh=99999999999"), &cc);
    assert_int_equal(cc.flags, CC_MAX_STALE_ANY);
    assert_int_equal(cc.max_stale_s, CC_ABSENT);
    assert_int_equal(cc.stale_while_revalidate_s, 0);
    assert_int_equal(cc.stale_if_error_s, 0);
    assert_int_equal(cc.min_fresh_s, CAP);
}

#define TARGETED(rest) (CC_TARGETED | (rest))

static void test_targeted(void **state)
{
    static const struct {
        const char *lines;
        uint32_t flags;
        int64_t max_age_s;
    } cases[] = {
        {"CDN-Cache-Control: max-age=60", TARGETED(0), 60},
        {"CDN-Cache-Control: max-age=60\nCache-Control: no-store, max-age=5", TARGETED(0), 60},
        {"Cache-Control: max-age=5\nCDN-Cache-Control: no-store", TARGETED(CC_NO_STORE), NONE},
        {"CDN-Cache-Control: max-age=60\nMillpond-Cache-Control: max-age=7", TARGETED(0), 7},
        {"CDN-Cache-Control: max-age=60, private", TARGETED(CC_PRIVATE), 60},
        {"CDN-Cache-Control: max-age=60\nCDN-Cache-Control: no-cache", TARGETED(CC_NO_CACHE), 60},
        {"CDN-Cache-Control: foobar, max-age=60;x=1", TARGETED(0), 60},
        {"CDN-Cache-Control: max-age=99999999999", TARGETED(0), CAP},
        {"CDN-Cache-Control: public, must-understand=?1", TARGETED(CC_PUBLIC | CC_MUST_UNDERSTAND), NONE},
        /* of a key that comes twice the later counts */
        {"CDN-Cache-Control: max-age=1, max-age=2", TARGETED(0), 2},
        {"CDN-Cache-Control: no-store, no-store=?0", TARGETED(0), NONE},
        /* the wrong type: as strict as can be */
        {"CDN-Cache-Control: max-age=\"60\"", TARGETED(0), 0},
        {"CDN-Cache-Control: max-age=1.5", TARGETED(0), 0},
        {"CDN-Cache-Control: max-age", TARGETED(0), 0},
        {"CDN-Cache-Control: max-age=-1", TARGETED(0), 0},
        {"CDN-Cache-Control: no-store=1, public=1", TARGETED(CC_NO_STORE), NONE},
        {"CDN-Cache-Control: private=\"set-cookie\"", TARGETED(CC_PRIVATE), NONE},
        /* empty or broken: as if it were not there */
        {"CDN-Cache-Control:\nCache-Control: max-age=5", 0, 5},
        {"CDN-Cache-Control: max-age=60, &&&\nCache-Control: no-store", CC_NO_STORE, NONE},
        {"CDN-Cache-Control: Max-Age=60\nCache-Control: max-age=5", 0, 5},
        {"CDN-Cache-Control: max-age=60\nCDN-Cache-Control: max-age =1", 0, NONE},
        {"CDN-Cache-Control: max-age=60\nMillpond-Cache-Control: ,", TARGETED(0), 60},
    };
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct text_head t;
        struct cache_control cc;
        text_head_response(&t, 200, cases[i].lines);
        cache_control_parse(&t.head, &cc);
        if (cc.flags != cases[i].flags || cc.max_age_s != cases[i].max_age_s)
            fail_msg("[%s]: flags %x, max-age %ld", cases[i].lines, cc.flags, (long)cc.max_age_s);
        text_head_free(&t);
    }
    struct text_head t; /* what a client sends is not meant for us in this way */
    struct cache_control cc;
    text_head_request(&t, HTTP_GET, "CDN-Cache-Control: max-age=60\nCache-Control: no-cache");
    cache_control_parse(&t.head, &cc);
    assert_int_equal(cc.flags, CC_NO_CACHE);
    text_head_free(&t);
}

static void test_names_field(void **state)
{
    static const struct {
        const char *lines, *name;
        bool want;
    } cases[] = {
        {"", "set-cookie", false},
        {"Cache-Control: private", "set-cookie", false},
        {"Cache-Control: private=\"set-cookie\"", "set-cookie", true},
        {"Cache-Control: no-cache=\"set-cookie\"", "Set-Cookie", true},
        {"Cache-Control: PRIVATE=\"SET-COOKIE\"", "set-cookie", true},
        {"Cache-Control: private=\"a, Set-Cookie ,b\"", "set-cookie", true},
        {"Cache-Control: private=\"a\", no-cache=\"b\"", "b", true},
        {"Cache-Control: private=\"a\"\nCache-Control: no-cache=\"b\"", "b", true},
        {"Cache-Control: private=\"set-cookie2\"", "set-cookie", false},
        {"Cache-Control: private=\"xset-cookie\"", "set-cookie", false},
        {"Cache-Control: private=set-cookie", "set-cookie", false},
        {"Cache-Control: foo=\"set-cookie\"", "set-cookie", false},
        {"Cache-Control: no-store=\"set-cookie\"", "set-cookie", false},
        {"Cache-Control: foo=\"private=set-cookie\"", "set-cookie", false},
        {"Cache-Control: private =\"set-cookie\"", "set-cookie", false},
        {"Cache-Control: private=\"set-cookie", "set-cookie", false},
        {"Other: private=\"set-cookie\"", "set-cookie", false},
        {"Cache-Control: private=\"\"", "set-cookie", false},
    };
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct text_head t;
        text_head_response(&t, 200, cases[i].lines);
        if (cache_control_names_field(&t.head, slice_str(cases[i].name)) != cases[i].want)
            fail_msg("%s", cases[i].lines);
        text_head_free(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),        cmocka_unit_test(test_order_and_lines_do_not_matter),
        cmocka_unit_test(test_several_lines), cmocka_unit_test(test_other_seconds),
        cmocka_unit_test(test_targeted),      cmocka_unit_test(test_names_field),
    };
    return cmocka_run_group_tests_name("cache/cache_control", tests, NULL, NULL);
}
