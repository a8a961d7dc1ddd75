/* test_idle_limit.c: what an instance says about idle connections, what its closes tell, and how what was
 * learned is forgotten, with a clock of the test's own. */
#include "tests/unit/balancer/fixture.h"

#include "balancer/idle_limit.h"

#define T0    INT64_C(1000000)
#define YOUNG 1000

static void test_the_field(void **state)
{
    UNUSED(state);
    static const struct {
        const char *value;
        uint64_t seconds; /* 0: none */
    } cases[] = {
        {"timeout=5", 5},
        {"timeout=5, max=1000", 5},
        {"max=100, Timeout=15", 15},
        {"timeout = 7", 7},
        {"timeout=\"9\"", 9},
        {"timeout=86400", 86400},
        {"timeout=0", 0},
        {"timeout=86401", 0},
        {"timeout=-1", 0},
        {"timeout=5s", 0},
        {"timeout=", 0},
        {"timeout", 0},
        {"timeouts=5, max=3", 0},
        {"", 0},
        {",,", 0},
        {"5", 0},
        {"timeout=99999999999999999999", 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint64_t s = 0;
        bool found = idle_limit_parse(slice_str(cases[i].value), &s);
        assert_int_equal(found, cases[i].seconds != 0);
        if (found)
            assert_int_equal(s, cases[i].seconds);
    }
}

static void test_nothing_is_known_at_first(void **state)
{
    UNUSED(state);
    struct idle_limit l = {0};
    assert_int_equal(idle_limit_ms(&l, T0), IDLE_LIMIT_NONE);
    assert_int_equal(idle_limit_safe_ms(&l, YOUNG, T0), YOUNG);
    assert_int_equal(idle_limit_from(&l, T0), IDLE_LIMIT_UNKNOWN);
}

static void test_told(void **state)
{
    UNUSED(state);
    struct idle_limit l = {0};
    idle_limit_tell(&l, SLICE_LIT("timeout=5"), T0);
    assert_int_equal(idle_limit_ms(&l, T0), 4000);
    assert_int_equal(idle_limit_safe_ms(&l, YOUNG, T0), 4000); /* a POST, too */
    assert_int_equal(idle_limit_from(&l, T0), IDLE_LIMIT_TOLD);
    idle_limit_tell(&l, SLICE_LIT("max=3"), T0);
    assert_int_equal(idle_limit_ms(&l, T0), 4000);
    idle_limit_tell(&l, SLICE_LIT("timeout=1"), T0); /* a new version of it, perhaps */
    assert_int_equal(idle_limit_ms(&l, T0), 750);
    assert_int_equal(idle_limit_safe_ms(&l, YOUNG, T0), 750);
    idle_limit_tell(&l, SLICE_LIT("timeout=60"), T0);
    assert_int_equal(idle_limit_ms(&l, T0), 59000);
}

static void test_what_is_not_said_again_is_doubted(void **state)
{
    UNUSED(state);
    struct idle_limit l = {0};
    mono_ms_t doubt = T0 + IDLE_LIMIT_KEEP_MS;
    idle_limit_tell(&l, SLICE_LIT("timeout=5"), T0);
    assert_int_equal(idle_limit_safe_ms(&l, YOUNG, doubt), 4000);
    assert_int_equal(idle_limit_safe_ms(&l, YOUNG, doubt + 1), YOUNG);
    assert_int_equal(idle_limit_ms(&l, doubt + IDLE_LIMIT_DOUBT_MS + 1), 8000);
    assert_int_equal(idle_limit_ms(&l, doubt + 3 * IDLE_LIMIT_DOUBT_MS + 1), 32000);
    assert_int_equal(idle_limit_ms(&l, doubt + 60 * IDLE_LIMIT_DOUBT_MS), IDLE_LIMIT_NONE);
    assert_int_equal(idle_limit_from(&l, doubt + 60 * IDLE_LIMIT_DOUBT_MS), IDLE_LIMIT_UNKNOWN);
    idle_limit_tell(&l, SLICE_LIT("timeout=5"), doubt + 5);
    assert_int_equal(idle_limit_safe_ms(&l, YOUNG, doubt + 60), 4000);
}

static void test_two_closes_apart_are_a_timeout(void **state)
{
    UNUSED(state);
    struct idle_limit l = {0};
    assert_int_equal(idle_limit_on_close(&l, 5010, T0), 0);
    assert_int_equal(idle_limit_ms(&l, T0), IDLE_LIMIT_NONE);
    assert_int_equal(idle_limit_on_close(&l, 5000, T0 + 1000), 5000);
    assert_int_equal(idle_limit_ms(&l, T0 + 1000), 4000);
    assert_int_equal(idle_limit_safe_ms(&l, YOUNG, T0 + 1000), 4000);
    assert_int_equal(idle_limit_from(&l, T0 + 1000), IDLE_LIMIT_SEEN);
    assert_int_equal(idle_limit_on_close(&l, 5003, T0 + 3000), 0); /* known */
    idle_limit_tell(&l, SLICE_LIT("timeout=60"),
                    T0 + 3000); /* it says more than something between us grants */
    assert_int_equal(idle_limit_ms(&l, T0 + 3000), 4000);
    idle_limit_tell(&l, SLICE_LIT("timeout=2"), T0 + 3000);
    assert_int_equal(idle_limit_ms(&l, T0 + 3000), 1500);
    assert_int_equal(idle_limit_from(&l, T0 + 3000), IDLE_LIMIT_TOLD);
}

static void test_what_is_no_timeout(void **state)
{
    UNUSED(state);
    struct idle_limit l = {0};
    for (int i = 0; i < 50; i++) /* a restart: all at once */
        assert_int_equal(idle_limit_on_close(&l, 3000 + i % 7, T0 + i), 0);
    for (int i = 0; i < 10; i++) /* an instance that goes on and off under load */
        assert_int_equal(idle_limit_on_close(&l, 5, T0 + 2000 * i), 0);
    assert_int_equal(idle_limit_on_close(&l, 9000, T0 + 60000), 0); /* twice, but not alike */
    assert_int_equal(idle_limit_on_close(&l, 6000, T0 + 70000), 0);
    mono_ms_t late = T0 + 70000 + IDLE_LIMIT_KEEP_MS + 1; /* alike, but long after each other */
    assert_int_equal(idle_limit_on_close(&l, 6000, late), 0);
    assert_int_equal(idle_limit_ms(&l, late), IDLE_LIMIT_NONE);
}

static void test_what_was_wrong_is_forgotten_and_learned_anew(void **state)
{
    UNUSED(state);
    struct idle_limit l = {0};
    idle_limit_on_close(&l, 600, T0);
    assert_int_equal(idle_limit_on_close(&l, 600, T0 + 1000), 600);
    assert_int_equal(idle_limit_ms(&l, T0 + 1000), 450);
    mono_ms_t later = T0 + 1000 + IDLE_LIMIT_KEEP_MS + 4 * IDLE_LIMIT_DOUBT_MS;
    assert_int_equal(idle_limit_ms(&l, later), 450 << 4);
    assert_int_equal(idle_limit_safe_ms(&l, YOUNG, later), YOUNG);
    idle_limit_on_close(&l, 5000, later); /* it keeps them longer by now */
    assert_int_equal(idle_limit_on_close(&l, 5000, later + 2000), 5000);
    assert_int_equal(idle_limit_ms(&l, later + 2000), 4000);
}

/* Whatever is said and seen meanwhile. */
static void test_end(void **state)
{
    UNUSED(state);
    struct idle_limit l = {0};
    idle_limit_tell(&l, SLICE_LIT("timeout=60"), 1000);
    idle_limit_end(&l);
    assert_true(idle_limit_is_ended(&l));
    assert_false(idle_limit_is_blank(&l));
    assert_int_equal(idle_limit_on_close(&l, 5000, 20000), 0);
    assert_int_equal(idle_limit_on_close(&l, 5000, 40000), 0);
    idle_limit_tell(&l, SLICE_LIT("timeout=90"), 41000);
    assert_int_equal(idle_limit_ms(&l, 41000), 0);
    assert_int_equal(idle_limit_ms(&l, 41000 + 24 * 3600 * INT64_C(1000)), 0);
    assert_int_equal(idle_limit_safe_ms(&l, 1000, 41000), 0);
    idle_limit_reopen(&l);
    assert_false(idle_limit_is_ended(&l));
    assert_int_equal(idle_limit_ms(&l, 41000), 89000);
    idle_limit_reopen(&l); /* only ends are ended by it */
    assert_int_equal(idle_limit_ms(&l, 41000), 89000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_field),
        cmocka_unit_test(test_nothing_is_known_at_first),
        cmocka_unit_test(test_told),
        cmocka_unit_test(test_what_is_not_said_again_is_doubted),
        cmocka_unit_test(test_two_closes_apart_are_a_timeout),
        cmocka_unit_test(test_what_is_no_timeout),
        cmocka_unit_test(test_what_was_wrong_is_forgotten_and_learned_anew),
        cmocka_unit_test(test_end),
    };
    return cmocka_run_group_tests_name("balancer/idle_limit", tests, NULL, NULL);
}
