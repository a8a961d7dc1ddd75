/* test_pace.c: who stalls is found in time, whatever he moved before; who goes on is let go on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/base.h"
#include "proxy/pace.h"

#define LOOK_MS 2500 /* as often as one looks, at least */

static const struct pace_limits limits = {
    .timeout_ms = 30000, .min_rate_bytes_s = 240, .stalled = CLOSE_WRITE_TIMEOUT};

/* Looks from `now_ms` on, as one who watches; when it is found too slow, and why in *why. */
static mono_ms_t found_ms(struct pace *p, mono_ms_t now_ms, const struct pace_limits *l,
                          enum close_reason *why)
{
    for (unsigned i = 0; i < 1000; i++) {
        *why = pace_look(p, now_ms, l);
        if (*why != CLOSE_OPEN)
            return now_ms;
        const mono_ms_t next_ms = MIN(now_ms + LOOK_MS, pace_due_ms(p, l));
        assert_true(next_ms > now_ms);
        now_ms = next_ms;
    }
    return 0;
}

/* It takes some at one moment and nothing from then on: at the beginning of a window, in the middle, at its
 * end. */
static void test_a_stall_is_found_in_time(void **state)
{
    UNUSED(state);
    enum close_reason why;
    for (mono_ms_t last_ms = 1; last_ms < 3 * PACE_WINDOW_MS; last_ms += 499) {
        struct pace p = {0};
        mono_ms_t now_ms = 1000000, next_ms = now_ms + LOOK_MS;
        const mono_ms_t stall_ms = now_ms + last_ms;
        pace_begin(&p, now_ms);
        for (; next_ms <= stall_ms; next_ms += LOOK_MS) {
            p.moved += 100000;
            assert_int_equal(pace_look(&p, next_ms, &limits), CLOSE_OPEN);
        }
        p.moved += 100000;
        const mono_ms_t at_ms = found_ms(&p, next_ms, &limits, &why);
        assert_int_equal(why, CLOSE_WRITE_TIMEOUT);
        assert_in_range(at_ms - stall_ms, limits.timeout_ms, limits.timeout_ms + LOOK_MS);
    }
}

static void test_who_never_moves(void **state)
{
    UNUSED(state);
    enum close_reason why;
    struct pace p = {0};
    pace_begin(&p, 5000);
    assert_int_equal(found_ms(&p, 6000, &limits, &why), 5000 + limits.timeout_ms);
    assert_int_equal(why, CLOSE_WRITE_TIMEOUT);
}

static void test_a_trickle_is_too_little(void **state)
{
    UNUSED(state);
    struct pace p = {0};
    enum close_reason why = CLOSE_OPEN;
    mono_ms_t now_ms = 0;
    pace_begin(&p, now_ms);
    for (; why == CLOSE_OPEN; why = pace_look(&p, now_ms, &limits)) {
        now_ms += 1000;
        p.moved += 239;
    }
    assert_int_equal(why, CLOSE_MIN_RATE);
    assert_int_equal(now_ms, PACE_WINDOW_MS);
}

static void test_enough_is_enough(void **state)
{
    UNUSED(state);
    const struct pace_limits none = {.timeout_ms = 1500, .stalled = CLOSE_BODY_TIMEOUT};
    struct pace p = {0}, slow = {0};
    for (mono_ms_t now_ms = 0; now_ms < 10 * PACE_WINDOW_MS; now_ms += 1000) {
        p.moved += 240;
        slow.moved++; /* without min_rate a byte will do */
        assert_int_equal(pace_look(&p, now_ms, &limits), CLOSE_OPEN);
        assert_int_equal(pace_look(&slow, now_ms, &none), CLOSE_OPEN);
    }
}

/* It was not its turn: what was before is over. */
static void test_it_begins_anew(void **state)
{
    UNUSED(state);
    struct pace p = {0};
    for (mono_ms_t now_ms = 0; now_ms < 10 * limits.timeout_ms; now_ms += 20000) {
        pace_begin(&p, now_ms);
        assert_int_equal(pace_look(&p, now_ms + 19999, &limits), CLOSE_OPEN);
        assert_int_equal(pace_due_ms(&p, &limits), now_ms + limits.timeout_ms);
    }
    p.moved += 10000;
    assert_int_equal(pace_look(&p, 300000, &limits), CLOSE_OPEN);
    assert_int_equal(pace_due_ms(&p, &limits), 300000 + limits.timeout_ms);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_stall_is_found_in_time), cmocka_unit_test(test_who_never_moves),
        cmocka_unit_test(test_a_trickle_is_too_little),  cmocka_unit_test(test_enough_is_enough),
        cmocka_unit_test(test_it_begins_anew),
    };
    return cmocka_run_group_tests_name("proxy/pace", tests, NULL, NULL);
}
