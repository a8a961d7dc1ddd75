/* test_surrogate_control.c: Surrogate-Control, and when it takes the place of Cache-Control. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cache/surrogate_control.h"
#include "tests/unit/cache/text_head.h"

#define NONE CC_ABSENT
#define CAP  (INT64_C(1) << 31)

struct row {
    const char *lines;
    uint32_t flags; /* but for CC_TARGETED */
    int64_t max_age_s, stale_s;
};

static void parse(const char *lines, struct cache_control *cc)
{
    struct text_head t;
    text_head_response(&t, 200, lines);
    cache_control_parse(&t.head, cc);
    text_head_free(&t);
}

static void test_counts(void **state)
{
    static const struct row rows[] = {
        {"Surrogate-Control: max-age=60", 0, 60, NONE},
        {"Surrogate-Control: MAX-AGE=60\nCache-Control: no-store, max-age=5", 0, 60, NONE},
        {"Surrogate-Control: no-store\nCache-Control: max-age=5", CC_NO_STORE, NONE, NONE},
        {"Surrogate-Control: max-age=60, content=\"ESI/1.0\", no-store-remote", 0, 60, NONE},
        {"Surrogate-Control: content=\"a, max-age=5; b\", max-age=60", 0, 60, NONE},
        {"Surrogate-Control: max-age=99999999999", 0, CAP, NONE},
        {"Surrogate-Control: max-age=x", 0, 0, NONE},
        {"Surrogate-Control: max-age=60\nSurrogate-Control: no-cache", CC_NO_CACHE, 60, NONE},
        /* the time beyond */
        {"Surrogate-Control: max-age=60+30", 0, 60, 30},
        {"Surrogate-Control: max-age=60+0", 0, 60, 0},
        {"Surrogate-Control: max-age=60+", 0, 60, 0},
        {"Surrogate-Control: max-age=60+x", 0, 60, 0},
        {"Surrogate-Control: max-age=+30", 0, 0, 30},
        {"Surrogate-Control: max-age=60+99999999999", 0, 60, CAP},
        {"Surrogate-Control: stale-while-revalidate=1, stale-if-error=1, max-age=60+30", 0, 60, 1},
        {"Surrogate-Control: s-maxage=60+30", 0, NONE, NONE}, /* no such form: stale at once */
        /* addressed to one */
        {"Surrogate-Control: max-age=60;millpond", 0, 60, NONE},
        {"Surrogate-Control: max-age=60+30 ; Millpond", 0, 60, 30},
        {"Surrogate-Control: no-store;other, max-age=60", 0, 60, NONE},
        {"Surrogate-Control: max-age=5;other, max-age=60", 0, 60, NONE},
        /* what is private stays so */
        {"Surrogate-Control: max-age=60\nCache-Control: private", CC_PRIVATE, 60, NONE},
        {"Surrogate-Control: max-age=60\nCache-Control: private; x", CC_PRIVATE, 60, NONE},
        {"Surrogate-Control: max-age=60\nCache-Control: private=\"x\"", 0, 60, NONE},
    };
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct cache_control cc;
        parse(rows[i].lines, &cc);
        if (cc.flags != (rows[i].flags | CC_TARGETED) || cc.max_age_s != rows[i].max_age_s ||
            cc.stale_while_revalidate_s != rows[i].stale_s || cc.stale_if_error_s != rows[i].stale_s)
            fail_msg("[%s]: flags %x, max-age %ld, stale %ld and %ld", rows[i].lines, cc.flags,
                     (long)cc.max_age_s, (long)cc.stale_while_revalidate_s, (long)cc.stale_if_error_s);
    }
}

/* It says nothing: Cache-Control counts. */
static void test_does_not_count(void **state)
{
    static const char *const lines[] = {
        "Surrogate-Control:\nCache-Control: max-age=5",
        "Surrogate-Control: content=\"ESI/1.0\"\nCache-Control: max-age=5",
        "Surrogate-Control: no-store;other\nCache-Control: max-age=5",
        "Surrogate-Control: max-age=60;\"\nCache-Control: max-age=5",
        "Surrogate-Control: unknown=\"x\\\nCache-Control: max-age=5",
    };
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        struct cache_control cc;
        parse(lines[i], &cc);
        if (cc.flags != 0 || cc.max_age_s != 5)
            fail_msg("[%s]: flags %x, max-age %ld", lines[i], cc.flags, (long)cc.max_age_s);
    }
}

static void test_targeted_fields_of_the_standard_come_first(void **state)
{
    struct cache_control cc;
    UNUSED(state);
    parse("Surrogate-Control: max-age=60\nCDN-Cache-Control: max-age=7", &cc);
    assert_int_equal(cc.max_age_s, 7);
    parse("Surrogate-Control: max-age=60\nMillpond-Cache-Control: max-age=8", &cc);
    assert_int_equal(cc.max_age_s, 8);
    parse("Surrogate-Control: max-age=60\nCDN-Cache-Control: &", &cc);
    assert_int_equal(cc.max_age_s, 60);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_does_not_count),
        cmocka_unit_test(test_targeted_fields_of_the_standard_come_first),
    };
    return cmocka_run_group_tests_name("cache/surrogate_control", tests, NULL, NULL);
}
