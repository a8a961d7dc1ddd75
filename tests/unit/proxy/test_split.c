/* test_split.c: who goes to the canary, what is counted of either side, and when it is worse. */
#include "proxy/split.h"

#include <pthread.h>

#include "fixture.h"

static bool picks(int stable, int canary, const char *by, bool may_name)
{
    const struct config_split split = {.weights = {stable, canary}};
    return split_picks_canary(&split, "new", "old", slice_str(by), may_name);
}

/* Who is there stays there when the share grows, and each share has its size. */
static void test_shares_grow(void **state)
{
    static const int shares[] = {0, 1, 5, 20, 50, 100};
    unsigned counts[ARRAY_LEN(shares)] = {0};
    UNUSED(state);
    for (int i = 0; i < 10000; i++) {
        char by[32];
        bool before = false;
        snprintf(by, sizeof by, "10.%d.%d.9", i / 100, i % 100);
        for (size_t k = 0; k < ARRAY_LEN(shares); k++) {
            bool now = picks(100 - shares[k], shares[k], by, false);
            assert_true(now || !before);
            counts[k] += now;
            before = now;
        }
    }
    for (size_t k = 0; k < ARRAY_LEN(shares); k++) {
        const int off = (int)counts[k] - shares[k] * 100;
        if (abs(off) > 150)
            fail_msg("%u of 10000 for %d%%", counts[k], shares[k]);
    }
}

static void test_names_choose(void **state)
{
    UNUSED(state);
    assert_true(picks(100, 0, "new", true));
    assert_false(picks(0, 100, "old", true));
    assert_false(picks(100, 0, "new", false)); /* an address */
    assert_true(picks(0, 100, "old", false));
    assert_false(picks(100, 0, "New", true));
    assert_false(picks(0, 100, "", false)); /* nothing to go by */
}

static void test_verdicts(void **state)
{
    static const struct {
        struct split_figures stable, canary;
        enum split_verdict want;
    } rows[] = {
        {{1000, 0, 5000}, {99, 99, 5000}, SPLIT_RUNS}, /* too few */
        {{99, 0, 5000}, {1000, 1000, 5000}, SPLIT_RUNS},
        {{1000, 0, 5000}, {100, 5, 5000}, SPLIT_RUNS},
        {{1000, 0, 5000}, {100, 6, 5000}, SPLIT_TOO_MANY_ERRORS},
        {{1000, 100, 5000}, {100, 15, 5000}, SPLIT_RUNS},
        {{1000, 100, 5000}, {100, 16, 5000}, SPLIT_TOO_MANY_ERRORS},
        {{1000, 1000, 5000}, {100, 100, 5000}, SPLIT_RUNS},
        {{1000, 0, 5000}, {100, 0, 25000}, SPLIT_RUNS}, /* five times, but what is 20 ms */
        {{1000, 0, 5000}, {100, 0, 25001}, SPLIT_TOO_SLOW},
        {{1000, 0, 100000}, {100, 0, 200000}, SPLIT_RUNS},
        {{1000, 0, 100000}, {100, 0, 200001}, SPLIT_TOO_SLOW},
        {{1000, 0, 0}, {100, 0, 900000}, SPLIT_RUNS}, /* nothing is known of the other side */
        {{1000, 0, 100000}, {100, 6, 900000}, SPLIT_TOO_MANY_ERRORS},
    };
    const struct config_route r = {
        .split_samples = 100, .split_max_errors_percent = 5, .split_max_latency_percent = 100};
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (split_judge(&rows[i].stable, &rows[i].canary, &r) != rows[i].want)
            fail_msg("row %zu", i);
    }
}

static void test_figures(void **state)
{
    struct split *s = split_new();
    UNUSED(state);
    assert_int_equal(split_figures(s, SPLIT_CANARY).p95_us, 0);
    for (mono_us_t us = 1; us <= 1000; us++)
        split_observe(s, SPLIT_CANARY, us % 10 == 0, us * 1000);
    struct split_figures f = split_figures(s, SPLIT_CANARY);
    assert_int_equal(f.requests, 1000);
    assert_int_equal(f.failures, 100);
    assert_in_range(f.p95_us, 950 * 1000, 950 * 1250); /* a quarter of an octave */
    assert_int_equal(split_figures(s, SPLIT_STABLE).requests, 0);
    split_observe(s, SPLIT_STABLE, false, INT64_MAX);
    assert_true(split_figures(s, SPLIT_STABLE).p95_us > UINT64_C(4000000000));
    split_unref(s);
}

/* Each length of time is in a step whose end is above it, by a quarter at most. */
static void test_steps(void **state)
{
    UNUSED(state);
    for (mono_us_t us = 1; us < INT64_C(1) << 30; us += 1 + us / 7) {
        struct split *s = split_new();
        split_observe(s, SPLIT_STABLE, false, us);
        const uint64_t p95_us = split_figures(s, SPLIT_STABLE).p95_us;
        assert_true(p95_us >= (uint64_t)us && p95_us <= (uint64_t)us + (uint64_t)us / 4 + 1);
        split_unref(s);
    }
}

static void test_old_answers_fade(void **state)
{
    struct split *s = split_new();
    UNUSED(state);
    for (int i = 0; i < 79; i++)
        split_observe(s, SPLIT_CANARY, true, 0);
    split_observe(s, SPLIT_STABLE, true, 0);
    split_age(s, 20);
    assert_int_equal(split_figures(s, SPLIT_CANARY).requests, 79);
    split_observe(s, SPLIT_CANARY, false, 5);
    split_age(s, 20);
    assert_int_equal(split_figures(s, SPLIT_CANARY).requests, 40);
    assert_int_equal(split_figures(s, SPLIT_CANARY).failures, 40);
    assert_int_equal(split_figures(s, SPLIT_STABLE).requests, 1);
    split_unref(s);
}

static void *observe_many(void *arg)
{
    for (int i = 0; i < 20000; i++) {
        split_observe(arg, SPLIT_CANARY, i % 2 == 0, i);
        split_observe(arg, SPLIT_STABLE, i % 2 == 0, i);
        split_age(arg, 20);
    }
    return NULL;
}

static void test_many_workers_count(void **state)
{
    struct split *s = split_new();
    pthread_t threads[4];
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, observe_many, split_ref(s)), 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        pthread_join(threads[i], NULL);
        split_unref(s);
    }
    const struct split_figures f = split_figures(s, SPLIT_CANARY);
    assert_true(f.requests < 80 && f.failures <= f.requests + 8); /* none has gone below 0 */
    assert_true(split_figures(s, SPLIT_STABLE).requests < 1000);
    split_unref(s);
}

/* ---- in a snapshot ---- */

#define SPLIT(text) FIX_APP "[pool new]\nserver = 127.0.0.1:8\n[route r]\nsplit = " text "\n"

static void test_reload_keeps_what_is_the_same(void **state)
{
    struct proxy_fix f;
    UNUSED(state);
    fix_start(&f, SPLIT("app=95 new=5"), false);
    const struct route *r = &f.snapshot->routes[0];
    assert_true(r->split != NULL && !r->is_plain && r->canary->stable == r && r->stable == NULL);
    assert_string_equal(pool_config(r->canary->pool)->name, "new");
    assert_true(r->rules.key.custom == NULL && r->canary->rules.key.custom != NULL);
    split_observe(r->split, SPLIT_STABLE, true, 0);
    struct snapshot *same = fix_snapshot(f.balancer, SPLIT("app=95 new=5") "ttl = 5s\n");
    struct snapshot *other = fix_snapshot(f.balancer, SPLIT("app=90 new=10"));
    snapshot_keep_splits(same, f.snapshot);
    snapshot_keep_splits(other, f.snapshot);
    assert_ptr_equal(same->routes[0].split, r->split);
    assert_ptr_equal(same->routes[0].canary->split, r->split);
    assert_ptr_not_equal(other->routes[0].split, r->split);
    assert_int_equal(split_figures(other->routes[0].split, SPLIT_STABLE).requests, 0);
    snapshot_unref(other);
    snapshot_unref(same);
    assert_int_equal(split_figures(r->split, SPLIT_STABLE).requests, 1);
    assert_false(split_start(f.snapshot, "q", "me"));
    assert_true(split_start(f.snapshot, "r", "me"));
    assert_int_equal(split_figures(r->split, SPLIT_STABLE).requests, 0);
    json_t *status = split_status(f.snapshot);
    assert_string_equal(json_string_value(json_object_get(json_array_get(status, 0), "state")), "running");
    json_decref(status);
    fix_end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shares_grow),
        cmocka_unit_test(test_names_choose),
        cmocka_unit_test(test_verdicts),
        cmocka_unit_test(test_figures),
        cmocka_unit_test(test_steps),
        cmocka_unit_test(test_old_answers_fade),
        cmocka_unit_test(test_many_workers_count),
        cmocka_unit_test(test_reload_keeps_what_is_the_same),
    };
    return cmocka_run_group_tests_name("proxy/split", tests, fix_group_setup, fix_group_teardown);
}
