/* test_rate.c: the rate by numbers, with a clock of the test's own; what becomes of a full table; and threads
 * that meet in one entry, or fight for one. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/random.h"
#include "core/rate.h"

#define MS ((rate_ns_t)1000000)
#define S  (1000 * MS)

static const struct rate_limit ten = {100 * MS, 500 * MS}; /* 10/s burst=5 */

static struct rate_table *t;
static rate_ns_t wait_ns;

static int setup(void **state)
{
    UNUSED(state);
    t = rate_table_new(1);
    assert_non_null(t);
    wait_ns = 0;
    return 0;
}

static int teardown(void **state)
{
    UNUSED(state);
    rate_table_free(t);
    return 0;
}

static hash128_t key(uint64_t n)
{
    return (hash128_t){0, n};
}

/* How many of `n` requests at once pass. */
static unsigned burst(uint64_t k, const struct rate_limit *l, rate_ns_t now_ns, unsigned n)
{
    unsigned passed = 0;
    while (n-- > 0)
        passed += rate_take(t, key(k), l, now_ns, &wait_ns) != RATE_OVER;
    return passed;
}

static void test_a_burst_passes_and_comes_back_at_the_rate(void **state)
{
    UNUSED(state);
    assert_int_equal(burst(1, &ten, 7 * S, 5), 5);
    assert_int_equal(rate_take(t, key(1), &ten, 7 * S, &wait_ns), RATE_OVER);
    assert_int_equal(wait_ns, 100 * MS);
    assert_int_equal(burst(1, &ten, 7 * S + 99 * MS, 3), 0);
    assert_int_equal(wait_ns, 1 * MS);
    assert_int_equal(burst(1, &ten, 7 * S + 100 * MS, 3), 1);
    assert_int_equal(burst(1, &ten, 7 * S + 350 * MS, 9), 2);
    assert_int_equal(wait_ns, 50 * MS);
    assert_int_equal(burst(1, &ten, 60 * S, 9), 5); /* no more than the burst, however long it was away */
}

static void test_what_is_over_costs_nothing(void **state)
{
    UNUSED(state);
    assert_int_equal(burst(1, &ten, 1 * S, 1000), 5);
    assert_int_equal(burst(1, &ten, 1 * S + 500 * MS, 1000), 5);
}

static void test_a_burst_of_one_is_one_each_step(void **state)
{
    UNUSED(state);
    static const struct rate_limit one = {S, S};
    assert_int_equal(burst(1, &one, 1 * S, 2), 1);
    assert_int_equal(wait_ns, S);
    assert_int_equal(burst(1, &one, 2 * S - 1, 1), 0);
    assert_int_equal(wait_ns, 1);
    assert_int_equal(burst(1, &one, 2 * S, 2), 1);
}

/* In any stretch of time: at most the burst and what the rate gives. */
static void test_no_stretch_has_more_than_it_may(void **state)
{
    UNUSED(state);
    enum { TAKEN = 4000 };
    static rate_ns_t at_ns[TAKEN];
    static const struct rate_limit odd = {37 * MS + 13, 11 * (37 * MS + 13)};
    uint64_t random = 1;
    unsigned n = 0;
    for (rate_ns_t now_ns = 1; n < TAKEN; now_ns += (rate_ns_t)(random_next(&random) % (60 * MS))) {
        if (rate_take(t, key(1), &odd, now_ns, &wait_ns) == RATE_OVER)
            assert_in_range(wait_ns, 1, odd.step_ns);
        else
            at_ns[n++] = now_ns;
    }
    for (unsigned from = 0; from < TAKEN; from++) {
        for (unsigned to = from; to < TAKEN && to < from + 200; to++)
            assert_true(to - from + 1 <= 11 + (at_ns[to] - at_ns[from]) / odd.step_ns);
    }
}

/* Long steps and large rooms stay within 64 bits. */
static void test_the_slowest_and_the_fastest(void **state)
{
    UNUSED(state);
    static const struct rate_limit slow = {3600 * S, 8760 * 3600 * S}, fast = {1, 1000000000};
    assert_int_equal(burst(1, &slow, 400 * 86400 * S, 9000), 8760);
    assert_int_equal(wait_ns, 3600 * S);
    assert_int_equal(burst(2, &fast, 400 * 86400 * S, 100000), 100000);
}

static void test_keys_are_apart_and_places_are_kept_by_those_who_need_them(void **state)
{
    UNUSED(state);
    for (uint64_t k = 1; k <= RATE_WAYS; k++)
        assert_int_equal(burst(k, &ten, 1 * S, (unsigned)k), MIN(k, 5u));
    /* Key 1 is over its time first; nobody is forgotten for who comes then. */
    assert_int_equal(rate_take(t, key(100), &ten, 1 * S + 100 * MS, &wait_ns), RATE_PASSED);
    for (uint64_t k = 5; k <= RATE_WAYS; k++)
        assert_int_equal(burst(k, &ten, 1 * S + 100 * MS, 9), 1);
    /* All are ahead now: the least so (100: one request) makes room, the greedy stay known. */
    assert_int_equal(burst(2, &ten, 1 * S + 100 * MS, 1), 1);
    assert_int_equal(burst(3, &ten, 1 * S + 100 * MS, 1), 1);
    assert_int_equal(burst(4, &ten, 1 * S + 100 * MS, 1), 1);
    assert_int_equal(rate_take(t, key(101), &ten, 1 * S + 100 * MS, &wait_ns), RATE_PASSED_FORGOT);
    assert_int_equal(burst(7, &ten, 1 * S + 100 * MS, 9), 0);
    assert_int_equal(burst(6, &ten, 1 * S + 100 * MS, 9), 0);
}

static void test_tag_zero_is_a_key_too(void **state)
{
    UNUSED(state);
    assert_int_equal(burst(0, &ten, 1 * S, 9), 5);
}

static void test_what_others_counted_is_learnt(void **state)
{
    UNUSED(state);
    const rate_ns_t now_ns = 3 * S;
    assert_int_equal(burst(1, &ten, now_ns, 1), 1);
    rate_learn(t, key(1), &ten, now_ns, 400 * MS, false);
    assert_int_equal(burst(1, &ten, now_ns, 9), 1);
    rate_learn(t, key(1), &ten, now_ns, 100 * MS, false); /* older news */
    assert_int_equal(burst(1, &ten, now_ns, 9), 0);
    rate_learn(t, key(1), &ten, now_ns, INT64_MAX / 2, false); /* never more than the room */
    assert_int_equal(burst(1, &ten, now_ns + 100 * MS, 9), 1);
    rate_learn(t, key(9), &ten, now_ns, 400 * MS, false); /* not there */
    assert_int_equal(burst(9, &ten, now_ns, 9), 5);
}

static void test_what_was_refused_elsewhere_is_not_counted_here(void **state)
{
    UNUSED(state);
    assert_int_equal(burst(1, &ten, 1 * S, 4), 4);
    rate_learn(t, key(1), &ten, 1 * S, 200 * MS, true);
    assert_int_equal(burst(1, &ten, 1 * S, 9), 2);
    rate_learn(t, key(1), &ten, 1 * S, 500 * MS, true);
    assert_int_equal(burst(1, &ten, 1 * S, 9), 0);
    assert_int_equal(wait_ns, 100 * MS);
}

/* ---- threads ---- */

enum { THREADS = 4, ROUNDS = 20000 };

static const struct rate_limit few = {S, 300 * S};
static _Atomic unsigned passed[2 * RATE_WAYS + 1], forgot, uncounted;
static _Atomic rate_ns_t clock_ns;
static uint64_t keys;

static void *take_all(void *arg)
{
    uint64_t random = (uint64_t)(uintptr_t)arg;
    rate_ns_t unused;
    for (int i = 0; i < ROUNDS; i++) {
        const uint64_t k = 1 + random_next(&random) % keys;
        const rate_ns_t now_ns = atomic_fetch_add(&clock_ns, MS / 10);
        const enum rate_verdict v = rate_take(t, key(k), &few, now_ns, &unused);
        atomic_fetch_add(&passed[k], v == RATE_PASSED || v == RATE_PASSED_FORGOT);
        atomic_fetch_add(&forgot, v == RATE_PASSED_FORGOT);
        atomic_fetch_add(&uncounted, v == RATE_UNCOUNTED);
    }
    return NULL;
}

static void run_threads(uint64_t with_keys)
{
    pthread_t threads[THREADS];
    keys = with_keys;
    forgot = uncounted = 0;
    clock_ns = 1;
    for (uint64_t k = 0; k <= 2 * RATE_WAYS; k++)
        passed[k] = 0;
    for (uintptr_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, take_all, (void *)(i + 1)), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

/* The clock goes 8 s: each key gets its 300, and what 8 s give. All of them are entered at the same time. */
static void test_threads_count_each_request_once(void **state)
{
    UNUSED(state);
    for (int i = 0; i < 20; i++) {
        setup(NULL);
        run_threads(RATE_WAYS);
        for (uint64_t k = 1; k <= RATE_WAYS; k++)
            assert_in_range(passed[k], 300, 308);
        assert_int_equal(forgot, 0);
        if (i < 19)
            rate_table_free(t);
    }
}

/* New keys, each by all threads at the same moment: one entry each, so one request passes. */
enum { NEW = 50000 };
static _Atomic unsigned tickets, ones[NEW];

static void *enter_new(void *arg)
{
    static const struct rate_limit one = {S, S};
    rate_ns_t unused;
    UNUSED(arg);
    for (unsigned k; (k = atomic_fetch_add(&tickets, 1) / THREADS) < NEW;) {
        const hash128_t fresh = {k, k + 1};
        atomic_fetch_add(&ones[k], rate_take(t, fresh, &one, S, &unused) == RATE_PASSED);
    }
    return NULL;
}

static void test_threads_enter_a_key_once(void **state)
{
    UNUSED(state);
    pthread_t threads[THREADS];
    rate_table_free(t);
    t = rate_table_new(65536);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, enter_new, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (unsigned k = 0; k < NEW; k++)
        assert_int_equal(ones[k], 1);
}

/* More keys than entries: who was forgotten has its burst again, and nobody passes for another reason. */
static void test_threads_that_fight_for_entries(void **state)
{
    UNUSED(state);
    run_threads(2 * RATE_WAYS);
    unsigned sum = 0;
    for (uint64_t k = 1; k <= 2 * RATE_WAYS; k++)
        sum += passed[k];
    assert_true(forgot > 0);
    assert_true(sum + uncounted <= THREADS * ROUNDS);
    assert_true(sum >= 2 * RATE_WAYS * 300);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_burst_passes_and_comes_back_at_the_rate, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_over_costs_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_burst_of_one_is_one_each_step, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_stretch_has_more_than_it_may, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_slowest_and_the_fastest, setup, teardown),
        cmocka_unit_test_setup_teardown(test_keys_are_apart_and_places_are_kept_by_those_who_need_them, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_tag_zero_is_a_key_too, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_others_counted_is_learnt, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_was_refused_elsewhere_is_not_counted_here, setup, teardown),
        cmocka_unit_test_teardown(test_threads_count_each_request_once, teardown),
        cmocka_unit_test_setup_teardown(test_threads_enter_a_key_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_threads_that_fight_for_entries, setup, teardown),
    };
    return cmocka_run_group_tests_name("core/rate", tests, NULL, NULL);
}
