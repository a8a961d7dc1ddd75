/* test_health_passive.c: the rules of ejection, and a pool whose instances fail: who is left out, for how
 * long, who is spared, and who comes back when nobody is left. */
#include "tests/unit/balancer/fixture.h"

#include "balancer/pool.h"

/* ---- rules ---- */

static void test_judge(void **state)
{
    UNUSED(state);
    static const struct {
        struct passive_others others;
        int max_percent;
        enum passive_spared want;
    } cases[] = {
        {{.servers = 1}, 100, PASSIVE_SPARED_LAST},
        {{.servers = 3, .ejected = 2}, 100, PASSIVE_SPARED_LAST},
        {{.servers = 2, .usable = 1}, 50, PASSIVE_SPARED_NOT},
        {{.servers = 2, .usable = 1}, 10, PASSIVE_SPARED_NOT}, /* less than one is one */
        {{.servers = 2, .usable = 1}, 0, PASSIVE_SPARED_MAX},
        {{.servers = 10, .usable = 5, .ejected = 4}, 50, PASSIVE_SPARED_NOT},
        {{.servers = 10, .usable = 4, .ejected = 5}, 50, PASSIVE_SPARED_MAX},
        {{.servers = 3, .usable = 2, .count = {100, 49}}, 50, PASSIVE_SPARED_NOT},
        {{.servers = 3, .usable = 2, .count = {100, 50}}, 50, PASSIVE_SPARED_ALL_FAIL},
        {{.servers = 4, .usable = 3, .failing = 1, .count = {100, 5}}, 50, PASSIVE_SPARED_NOT},
        {{.servers = 3, .usable = 2, .failing = 1, .count = {100, 5}}, 50, PASSIVE_SPARED_ALL_FAIL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(passive_judge(&cases[i].others, cases[i].max_percent), cases[i].want);
}

static bool outlier(uint64_t requests, uint64_t failures, uint64_t other_requests, uint64_t other_failures)
{
    return passive_is_outlier(&(struct passive_count){requests, failures},
                              &(struct passive_count){other_requests, other_failures});
}

static void test_outlier(void **state)
{
    UNUSED(state);
    assert_true(outlier(20, 5, 20, 0));
    assert_false(outlier(20, 4, 20, 0)); /* a fifth */
    assert_false(outlier(19, 19, 100, 0));
    assert_false(outlier(100, 100, 19, 0)); /* nothing to compare with */
    assert_true(outlier(100, 40, 1000, 100));
    assert_false(outlier(100, 39, 1000, 100)); /* the others have a tenth */
    assert_false(outlier(100, 100, 100, 100));
    assert_false(outlier(100, 0, 100, 0));
}

static void test_times(void **state)
{
    UNUSED(state);
    static const dur_ms_t want_s[] = {10, 20, 40, 80, 160, 300, 300, 300};
    for (unsigned n = 0; n < ARRAY_LEN(want_s); n++)
        assert_int_equal(passive_time_ms(10000, n + 1), want_s[n] * 1000);
    assert_int_equal(passive_time_ms(3600000, 1),
                     3600000); /* longer than the longest by the file's own word */
    assert_int_equal(passive_time_ms(3600000, 2), 3600000);
    assert_int_equal(passive_time_ms(1, UINT32_MAX), PASSIVE_LONGEST);
}

/* ---- a pool ---- */

struct env {
    struct worker *w;
    struct instance_registry r;
    struct config_pool config;
    struct config_server servers[4];
    struct pool *p;
};
static struct env env;

static void on_event(struct instance_registry *r, struct instance *i, enum instance_event e)
{
    UNUSED(r);
    struct seat *s = env.p != NULL ? pool_seat_of(env.p, i) : NULL;
    if (s == NULL)
        return;
    if (e == INSTANCE_EVENT_FAILING)
        passive_on_failing(env.p, s);
    if (e != INSTANCE_EVENT_USABLE)
        return;
    assert_true(pool_rebuild(env.p));
    passive_on_unusable(env.p);
}

static struct instance *at(size_t i)
{
    return env.p->seats.items[i].instance;
}

static int setup(void **state)
{
    UNUSED(state);
    env = (struct env){.w = worker_create(-1)};
    rcu_thread_start();
    instance_registry_init(&env.r, env.w, on_event);
    return 0;
}

static int teardown(void **state)
{
    UNUSED(state);
    pool_destroy(env.p);
    rcu_thread_stop();
    rcu_flush();
    worker_drain(env.w);
    assert_true(list_empty(&env.r.instances));
    worker_destroy(env.w);
    return 0;
}

/* One digit per server is its weight; a `b` behind it makes it a backup. Three failures in a row are told. */
static void make_pool(const char *text)
{
    static const char *const names[] = {"a", "b", "c", "d"};
    static const char *const addresses[] = {"127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3", "127.0.0.1:4"};
    size_t count = 0;
    for (; *text != '\0'; text++) {
        if (*text == 'b')
            env.servers[count - 1].backup = true;
        else
            env.servers[count] = (struct config_server){
                .name = names[count], .address = addresses[count], .host = "h", .weight = *text - '0'};
        count += *text != 'b';
    }
    env.config = (struct config_pool){.name = "app",
                                      .sticky_cookie = "",
                                      .servers = env.servers,
                                      .server_count = count,
                                      .eject_errors = 3,
                                      .eject_time_ms = 10000,
                                      .eject_max_percent = 50};
    env.p = pool_create(&env.r, &env.config, NULL);
    assert_non_null(env.p);
    for (size_t i = 0; i < count; i++) {
        instance_set_state(at(i), INSTANCE_UP, "test");
        atomic_store(&at(i)->eject_after, 3);
    }
    assert_true(pool_rebuild(env.p));
}

static void answer(size_t i, enum fetch_error e, unsigned times)
{
    while (times-- > 0) {
        instance_lease(at(i));
        instance_release(at(i), e);
    }
    worker_drain(env.w);
}

static void expect_states(const char *want)
{
    static const char letters[INSTANCE_STATE_COUNT] = {'s', 'u', 'g', 'e', 'd'};
    for (size_t i = 0; i < strlen(want); i++)
        assert_int_equal(letters[instance_state(at(i))], want[i]);
}

static mono_ms_t now_ms(void)
{
    return worker_now_ms(env.w);
}

static void test_failures_in_a_row(void **state)
{
    UNUSED(state);
    make_pool("11");
    answer(0, FETCH_ERROR_STATUS, 2);
    answer(0, FETCH_NONE, 1);
    answer(0, FETCH_RESPONSE_TIMEOUT, 2);
    answer(0, FETCH_CANCELLED, 5); /* says nothing, in either direction */
    expect_states("uu");
    answer(0, FETCH_ERROR_STATUS, 1);
    expect_states("eu");
    assert_string_equal(
        at(0)->reason,
        "3 failures in a row, the last: the instance answered with a server error; for 10.0 s");
    for (unsigned n = 0; n < 6; n++) {
        struct instance *i = pool_pick(env.p, NULL, NULL, 0);
        assert_ptr_equal(i, at(1));
        instance_release(i, FETCH_NONE);
    }
}

static void test_it_comes_back_by_time(void **state)
{
    UNUSED(state);
    make_pool("11");
    answer(0, FETCH_RESET, 3);
    mono_ms_t until_ms = passive_next_ms(env.p);
    assert_in_range(until_ms - now_ms(), 9000, 10000);
    passive_on_time(env.p, until_ms - 1);
    expect_states("eu");
    passive_on_time(env.p, until_ms);
    expect_states("uu");
    assert_int_equal(passive_next_ms(env.p), INT64_MAX);
    answer(0, FETCH_RESET, 3); /* soon again: twice as long */
    assert_in_range(passive_next_ms(env.p) - now_ms(), 19000, 20000);
    passive_on_time(env.p, passive_next_ms(env.p));
    at(0)->passive.until_ms = now_ms() - PASSIVE_LONGEST; /* well for five minutes */
    answer(0, FETCH_RESET, 3);
    assert_in_range(passive_next_ms(env.p) - now_ms(), 9000, 10000);
    assert_int_equal(at(0)->passive.ejections, 3);
}

static void test_the_last_one_is_spared(void **state)
{
    UNUSED(state);
    struct fixture_capture capture;
    char text[2000];
    make_pool("1");
    fixture_capture_start(&capture);
    for (unsigned n = 0; n < 10; n++)
        answer(0, FETCH_RESET, 3);
    fixture_capture_stop(&capture, text, sizeof text);
    expect_states("u");
    assert_int_equal(at(0)->passive.spared, PASSIVE_SPARED_LAST);
    char *said = strstr(text, "warn app/a: not ejected, since it is the last usable instance: ");
    assert_non_null(said);
    assert_null(strstr(said + 40, "not ejected")); /* once */
    passive_on_tick(env.p);
    assert_int_equal(at(0)->passive.spared, PASSIVE_SPARED_LAST);
    answer(0, FETCH_NONE, 1);
    passive_on_tick(env.p);
    assert_int_equal(at(0)->passive.spared, PASSIVE_SPARED_NOT);
}

/* A drained server cannot step in, a backup can. */
static void test_who_counts_as_another(void **state)
{
    UNUSED(state);
    make_pool("10");
    answer(0, FETCH_RESET, 3);
    expect_states("uu");
    pool_destroy(env.p);
    make_pool("11b");
    answer(0, FETCH_RESET, 3);
    expect_states("eu");
}

static void test_at_most_eject_max(void **state)
{
    UNUSED(state);
    make_pool("1111");
    for (size_t i = 0; i < 3; i++)
        answer(i, FETCH_RESET, 3);
    expect_states("eeuu");
    assert_int_equal(at(2)->passive.spared, PASSIVE_SPARED_MAX);
    at(1)->passive.until_ms += 5000;
    passive_on_time(env.p,
                    passive_next_ms(env.p)); /* a place is free: it is looked at again when it fails on */
    answer(2, FETCH_RESET, 3);
    expect_states("ueeu");
}

static void test_when_all_fail_nobody_goes(void **state)
{
    UNUSED(state);
    make_pool("111");
    for (unsigned n = 0; n < 20; n++)
        for (size_t i = 0; i < 3; i++)
            answer(i, FETCH_ERROR_STATUS, 1);
    expect_states("uuu");
    assert_int_equal(at(0)->passive.spared, PASSIVE_SPARED_ALL_FAIL);
    answer(1, FETCH_NONE, 200); /* two are well again, one is not */
    answer(2, FETCH_NONE, 200);
    answer(0, FETCH_ERROR_STATUS, 3);
    expect_states("euu");
}

/* How requests in flight will end is not known: of the one that ended all have failed. */
static void test_in_flight_is_no_success(void **state)
{
    UNUSED(state);
    make_pool("11");
    answer(1, FETCH_ERROR_STATUS, 1);
    for (unsigned n = 0; n < 5; n++)
        instance_lease(at(1));
    answer(0, FETCH_ERROR_STATUS, 3);
    expect_states("uu");
    assert_int_equal(at(0)->passive.spared, PASSIVE_SPARED_ALL_FAIL);
    for (unsigned n = 0; n < 5; n++)
        instance_release(at(1), FETCH_NONE);
}

static void test_down_brings_the_ejected_back(void **state)
{
    UNUSED(state);
    make_pool("110");
    answer(0, FETCH_RESET, 3);
    expect_states("euu");
    instance_set_state(at(1), INSTANCE_DOWN, "test");
    expect_states("udu");
    assert_string_equal(at(0)->reason, "no other instance is usable");
}

static void test_far_more_than_the_others(void **state)
{
    UNUSED(state);
    make_pool("111");
    passive_on_tick(env.p);
    for (unsigned n = 0; n < 20; n++) {
        answer(0, n % 3 == 0 ? FETCH_ERROR_STATUS : FETCH_NONE, 1);
        answer(1, FETCH_NONE, 1);
        answer(2, n == 5 ? FETCH_ERROR_STATUS : FETCH_NONE, 1);
    }
    expect_states("uuu");
    passive_on_tick(env.p);
    expect_states("euu");
    assert_non_null(strstr(at(0)->reason, "7 of 20 requests failed, of those of the others 1 of 40"));
    passive_on_time(env.p, passive_next_ms(env.p)); /* and is not judged again for the same */
    passive_on_tick(env.p);
    expect_states("uuu");
    for (unsigned n = 0; n < 12; n++)
        answer(0, n % 3 < 2 ? FETCH_ERROR_STATUS : FETCH_NONE, 1);
    instance_set_state(at(0), INSTANCE_DOWN, "test"); /* nor for what it did before it was down */
    instance_set_state(at(0), INSTANCE_UP, "test");
    answer(0, FETCH_NONE, 12);
    answer(1, FETCH_NONE, 20);
    passive_on_tick(env.p);
    expect_states("uuu");
}

/* What happened more than a window ago counts no more. */
static void test_windows_move_on(void **state)
{
    UNUSED(state);
    make_pool("11");
    env.config.eject_max_percent = 0;
    for (unsigned n = 0; n < 20; n++) {
        answer(0, n % 2 == 0 ? FETCH_ERROR_STATUS : FETCH_NONE, 1);
        answer(1, FETCH_NONE, 1);
    }
    passive_on_tick(env.p);
    assert_int_equal(at(0)->passive.spared, PASSIVE_SPARED_MAX);
    for (unsigned n = 0; n < PASSIVE_TICKS; n++)
        passive_on_tick(env.p);
    env.config.eject_max_percent = 100;
    answer(0, FETCH_NONE, 100);
    answer(1, FETCH_NONE, 100);
    passive_on_tick(env.p);
    expect_states("uu");
    assert_int_equal(at(0)->passive.spared, PASSIVE_SPARED_NOT);
}

static void test_switched_off(void **state)
{
    UNUSED(state);
    make_pool("11");
    answer(0, FETCH_RESET, 3);
    expect_states("eu");
    env.config.eject_errors = 0;
    passive_on_time(env.p, now_ms());
    expect_states("uu");
    atomic_store(&at(0)->eject_after, 0);
    answer(0, FETCH_RESET, 100);
    expect_states("uu");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_judge),
        cmocka_unit_test(test_outlier),
        cmocka_unit_test(test_times),
        cmocka_unit_test_setup_teardown(test_failures_in_a_row, setup, teardown),
        cmocka_unit_test_setup_teardown(test_it_comes_back_by_time, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_last_one_is_spared, setup, teardown),
        cmocka_unit_test_setup_teardown(test_who_counts_as_another, setup, teardown),
        cmocka_unit_test_setup_teardown(test_at_most_eject_max, setup, teardown),
        cmocka_unit_test_setup_teardown(test_when_all_fail_nobody_goes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_in_flight_is_no_success, setup, teardown),
        cmocka_unit_test_setup_teardown(test_down_brings_the_ejected_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_far_more_than_the_others, setup, teardown),
        cmocka_unit_test_setup_teardown(test_windows_move_on, setup, teardown),
        cmocka_unit_test_setup_teardown(test_switched_off, setup, teardown),
    };
    return cmocka_run_group_tests_name("balancer/health_passive", tests, NULL, NULL);
}
