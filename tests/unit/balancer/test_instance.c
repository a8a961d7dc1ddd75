/* test_instance.c: the state machine, rise and fall with scripted answers, what workers tell, references. */
#include "tests/unit/balancer/fixture.h"

#include <pthread.h>
#include <sys/wait.h>

#include "balancer/instance.h"

struct env {
    struct worker *w;
    struct instance_registry r;
    struct instance *i;
    struct net_addr addr;
    int keep;
    unsigned usable_events, unreachable_events, lost_events;
};
static struct env env;

static void on_event(struct instance_registry *r, struct instance *i, enum instance_event e)
{
    assert_ptr_equal(r, &env.r);
    UNUSED(i);
    *(e == INSTANCE_EVENT_USABLE ? &env.usable_events
      : e == INSTANCE_EVENT_LOST ? &env.lost_events
                                 : &env.unreachable_events) += 1;
}

static int setup(void **state)
{
    UNUSED(state);
    env = (struct env){.w = worker_create(-1)};
    env.addr = fixture_dead_addr(&env.keep);
    instance_registry_init(&env.r, env.w, on_event);
    env.i = instance_get(&env.r, "app", "a", &env.addr, false);
    env.i->rise = 2;
    env.i->fall = 3;
    return 0;
}

static int teardown(void **state)
{
    UNUSED(state);
    instance_unwatch(env.i);
    instance_unref(env.i);
    worker_drain(env.w);
    assert_true(list_empty(&env.r.instances));
    worker_destroy(env.w);
    close(env.keep);
    return 0;
}

static void answer(enum health_verdict v, const char *reason)
{
    struct health_result result = {.verdict = v};
    snprintf(result.reason, sizeof result.reason, "%s", reason);
    instance_on_probe(env.i, &result);
}

static void script(const char *answers)
{
    for (; *answers != '\0'; answers++)
        answer(*answers == '+'   ? HEALTH_OK
               : *answers == '-' ? HEALTH_UNHEALTHY
               : *answers == 'x' ? HEALTH_UNREACHABLE
                                 : HEALTH_SKIPPED,
               *answers == '+' ? "status 200" : "status 500");
}

static void expect_state(enum instance_state s)
{
    assert_string_equal(instance_state_name(instance_state(env.i)), instance_state_name(s));
}

static void test_first_success_is_enough(void **state)
{
    UNUSED(state);
    expect_state(INSTANCE_STARTING);
    assert_true(instance_is_usable(env.i));
    script("--");
    expect_state(INSTANCE_STARTING);
    script("+");
    expect_state(INSTANCE_UP);
    assert_int_equal(env.usable_events, 0);
}

static void test_starting_falls(void **state)
{
    UNUSED(state);
    script("--");
    assert_true(instance_is_usable(env.i));
    script("-");
    expect_state(INSTANCE_DOWN);
    assert_false(instance_is_usable(env.i));
    assert_int_equal(env.usable_events, 1);
    assert_string_equal(env.i->reason, "status 500 (3 probes failed)");
}

static void test_rise_and_fall(void **state)
{
    UNUSED(state);
    script("+--+--+--");
    expect_state(INSTANCE_UP);
    script("-");
    expect_state(INSTANCE_DOWN);
    script("+-+-+-");
    expect_state(INSTANCE_DOWN);
    script("++");
    expect_state(INSTANCE_UP);
    assert_string_equal(env.i->reason, "status 200 (2 probes succeeded)");
    assert_int_equal(env.i->probes_ok, 3 + 3 + 2);
    assert_int_equal(env.i->probes_failed, 6 + 1 + 3);
    assert_int_equal(env.usable_events, 2);
    assert_true(env.i->since_ms > 0);
}

/* The reason is why it is down now: an application that was started again and fails is no longer refusing. */
static void test_reason_while_down(void **state)
{
    UNUSED(state);
    for (int i = 0; i < 3; i++)
        answer(HEALTH_UNREACHABLE, "connect refused");
    assert_string_equal(env.i->reason, "connect refused (3 probes failed)");
    answer(HEALTH_UNREACHABLE, "connect refused");
    assert_string_equal(env.i->reason, "connect refused (3 probes failed)");
    wall_ms_t since_ms = env.i->since_ms;
    answer(HEALTH_UNHEALTHY, "status 500");
    assert_string_equal(env.i->reason, "status 500 (the last probe)");
    expect_state(INSTANCE_DOWN);
    assert_int_equal(env.i->since_ms, since_ms);
    assert_int_equal(env.usable_events, 1);
}

/* Probes that were not possible count for nothing, in either direction. */
static void test_skipped_probes(void **state)
{
    UNUSED(state);
    script("--??????");
    expect_state(INSTANCE_STARTING);
    script("-+?");
    expect_state(INSTANCE_DOWN);
    script("?+");
    expect_state(INSTANCE_UP);
}

static void test_unreachable_is_told(void **state)
{
    UNUSED(state);
    script("x");
    assert_int_equal(env.unreachable_events, 1);
    script("+x");
    assert_int_equal(env.unreachable_events, 1);
    script("xx");
    expect_state(INSTANCE_DOWN);
    assert_int_equal(env.unreachable_events, 2);
    script("-x");
    assert_int_equal(env.unreachable_events, 3);
}

/* By probes, and by nothing else. */
static void test_loss_is_told(void **state)
{
    UNUSED(state);
    script("+");
    instance_set_state(env.i, INSTANCE_DOWN, "connect refused");
    assert_int_equal(env.lost_events, 0);
    script("++++--");
    assert_int_equal(env.lost_events, 0);
    script("-");
    expect_state(INSTANCE_DOWN);
    assert_int_equal(env.lost_events, 1);
    script("---");
    assert_int_equal(env.lost_events, 1);
}

static void test_good_probes_end_no_ejection(void **state)
{
    UNUSED(state);
    script("+");
    instance_set_state(env.i, INSTANCE_EJECTED, "5 errors in a row");
    script("++++");
    expect_state(INSTANCE_EJECTED);
    script("---");
    expect_state(INSTANCE_DOWN);
}

static void test_log_line(void **state)
{
    UNUSED(state);
    struct fixture_capture capture;
    char text[1000];
    script("+");
    fixture_capture_start(&capture);
    answer(HEALTH_UNREACHABLE, "connect refused");
    answer(HEALTH_UNREACHABLE, "connect refused");
    answer(HEALTH_UNREACHABLE, "connect refused");
    fixture_capture_stop(&capture, text, sizeof text);
    assert_non_null(strstr(text, "warn app/a: up -> down: connect refused (3 probes failed)\n"));
}

/* ---- legal and illegal ---- */

static const char *const legal[] = {"starting up", "starting down", "up down", "up ejected",
                                    "ejected up",  "ejected down",  "down up"};

static bool is_legal(enum instance_state from, enum instance_state to)
{
    char pair[64];
    snprintf(pair, sizeof pair, "%s %s", instance_state_name(from), instance_state_name(to));
    for (size_t i = 0; i < ARRAY_LEN(legal); i++)
        if (strcmp(pair, legal[i]) == 0)
            return true;
    return false;
}

static void go_to(enum instance_state s)
{
    if (s == INSTANCE_STARTING)
        return;
    instance_set_state(env.i, INSTANCE_UP, "test");
    if (s != INSTANCE_UP)
        instance_set_state(env.i, s, "test");
}

/* Every pair in a child of its own: a legal one ends well, an illegal one is an abort. */
static void test_every_transition(void **state)
{
    UNUSED(state);
    for (int from = 0; from < INSTANCE_STATE_COUNT; from++) {
        for (int to = 0; to < INSTANCE_STATE_COUNT; to++) {
            assert_int_equal(instance_state_may_follow(from, to), is_legal(from, to));
            pid_t pid = fork();
            if (pid == 0) {
                close(STDERR_FILENO);
                signal(SIGABRT, SIG_DFL);
                go_to(from);
                instance_set_state(env.i, to, "test");
                _exit(instance_state(env.i) == (enum instance_state)to ? 0 : 1);
            }
            int status;
            assert_int_equal(waitpid(pid, &status, 0), pid);
            if (is_legal(from, to))
                assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
            else
                assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
        }
    }
}

/* ---- what workers tell ---- */

static void request(enum fetch_error outcome)
{
    instance_lease(env.i);
    instance_release(env.i, outcome);
}

static void watch(enum config_health kind)
{
    struct health_settings s = {
        .kind = kind, .interval_ms = 1000000, .timeout_ms = 1000, .rise = 2, .fall = 3};
    instance_watch(env.i, &s);
}

static void test_refusals_mark_down(void **state)
{
    UNUSED(state);
    watch(CONFIG_HEALTH_TCP);
    script("+");
    request(FETCH_CONNECT_REFUSED);
    request(FETCH_CONNECT_REFUSED);
    worker_drain(env.w);
    expect_state(INSTANCE_UP);
    request(FETCH_CONNECT_REFUSED);
    expect_state(INSTANCE_UP);
    worker_drain(env.w);
    expect_state(INSTANCE_DOWN);
    assert_string_equal(env.i->reason, "connect refused (3 requests in a row)");
    request(FETCH_CONNECT_REFUSED); /* a pick that came a moment earlier */
    worker_drain(env.w);
    script("++");
    expect_state(INSTANCE_UP);
    request(FETCH_CONNECT_REFUSED);
    worker_drain(env.w);
    expect_state(INSTANCE_UP);
    assert_int_equal(instance_in_flight(env.i), 0);
    assert_int_equal(env.i->requests, 5);
    assert_int_equal(env.i->failures, 5);
}

static void test_contact_ends_the_row(void **state)
{
    UNUSED(state);
    static const enum fetch_error contacts[] = {FETCH_NONE, FETCH_RESPONSE_TIMEOUT, FETCH_BAD_RESPONSE,
                                                FETCH_CUT_SHORT};
    watch(CONFIG_HEALTH_TCP);
    for (unsigned n = 0; n < 20; n++) {
        request(FETCH_CONNECT_REFUSED);
        request(FETCH_CONNECT_REFUSED);
        request(contacts[n % ARRAY_LEN(contacts)]);
        worker_drain(env.w);
    }
    expect_state(INSTANCE_STARTING);
}

static void test_only_refusals_mark_down(void **state)
{
    UNUSED(state);
    watch(CONFIG_HEALTH_TCP);
    for (int e = 0; e < FETCH_ERROR_COUNT; e++)
        for (unsigned n = 0; n < 10 && e != FETCH_CONNECT_REFUSED; n++)
            request((enum fetch_error)e);
    worker_drain(env.w);
    expect_state(INSTANCE_STARTING);
    /* none, eight that are our own affair, and a page that changed */
    assert_int_equal(env.i->failures, 10 * (FETCH_ERROR_COUNT - 1 - 10));
}

static void test_trouble_brings_the_probe_forward(void **state)
{
    UNUSED(state);
    static const enum fetch_error troubles[] = {FETCH_CONNECT_REFUSED, FETCH_CONNECT_FAILED,
                                                FETCH_CONNECT_TIMEOUT, FETCH_RESET};
    watch(CONFIG_HEALTH_TCP);
    struct health_probe *probe = health_share_probe(&env.i->probe);
    for (size_t t = 0; t < ARRAY_LEN(troubles); t++) {
        probe->begun_ms = 1; /* long ago */
        deadline_clear(env.w, &probe->next);
        deadline_set(env.w, &probe->next, clock_mono_ms() + 500000);
        request(FETCH_NONE);
        worker_drain(env.w);
        assert_true(probe->next.at_ms > clock_mono_ms() + 400000);
        request(troubles[t]);
        worker_drain(env.w);
        assert_true(probe->next.at_ms <= clock_mono_ms());
    }
    /* but not closer than a tenth of the interval to the one before */
    probe->begun_ms = clock_mono_ms();
    deadline_set(env.w, &probe->next, clock_mono_ms() + 500000);
    request(FETCH_RESET);
    worker_drain(env.w);
    assert_int_equal(probe->next.at_ms, probe->begun_ms + 100000);
}

static void test_health_off(void **state)
{
    UNUSED(state);
    watch(CONFIG_HEALTH_OFF);
    expect_state(INSTANCE_UP);
    for (unsigned n = 0; n < 100; n++)
        request(FETCH_CONNECT_REFUSED);
    worker_drain(env.w);
    expect_state(INSTANCE_UP);
    assert_null(health_share_probe(&env.i->probe));
}

static void test_health_switched_off_brings_it_up(void **state)
{
    UNUSED(state);
    watch(CONFIG_HEALTH_TCP);
    script("---");
    expect_state(INSTANCE_DOWN);
    watch(CONFIG_HEALTH_OFF);
    expect_state(INSTANCE_UP);
}

static void *refuse_often(void *arg)
{
    UNUSED(arg);
    for (unsigned n = 0; n < 2000; n++)
        request(FETCH_CONNECT_REFUSED);
    return NULL;
}

static bool is_down(void *arg)
{
    UNUSED(arg);
    return instance_state(env.i) == INSTANCE_DOWN;
}

static void test_many_workers_tell(void **state)
{
    UNUSED(state);
    pthread_t threads[4];
    watch(CONFIG_HEALTH_TCP);
    instance_ref(env.i);
    for (size_t t = 0; t < ARRAY_LEN(threads); t++)
        assert_int_equal(pthread_create(&threads[t], NULL, refuse_often, NULL), 0);
    fixture_run_until(env.w, is_down, NULL);
    for (size_t t = 0; t < ARRAY_LEN(threads); t++)
        pthread_join(threads[t], NULL);
    worker_drain(env.w);
    assert_int_equal(instance_in_flight(env.i), 0);
    assert_int_equal(env.i->requests, 8000);
    instance_unref(env.i);
}

/* ---- identity and references ---- */

static void test_identity(void **state)
{
    UNUSED(state);
    struct net_addr other;
    assert_true(net_addr_parse(SLICE_LIT("127.0.0.1:1"), &other));
    struct instance *same = instance_get(&env.r, "app", "a", &env.addr, false);
    struct instance *name = instance_get(&env.r, "app", "b", &env.addr, false);
    struct instance *pool = instance_get(&env.r, "api", "a", &env.addr, false);
    struct instance *addr = instance_get(&env.r, "app", "a", &other, false);
    assert_ptr_equal(same, env.i);
    assert_ptr_not_equal(name, env.i);
    assert_ptr_not_equal(pool, env.i);
    assert_ptr_not_equal(addr, env.i);
    assert_int_not_equal(instance_id(name), instance_id(pool));
    assert_int_equal(instance_label(addr), instance_label(env.i));
    assert_true(net_addr_eq(instance_addr(env.i), &env.addr));
    assert_string_equal(instance_name(name), "b");
    assert_string_equal(pool->title, "api/a");
    instance_unref(same);
    instance_unref(name);
    instance_unref(pool);
    instance_unref(addr);
}

static void test_dying_is_not_revived(void **state)
{
    UNUSED(state);
    struct instance *first = instance_get(&env.r, "app", "z", &env.addr, false);
    uint32_t id = instance_id(first);
    instance_unref(first);
    struct instance *second = instance_get(&env.r, "app", "z", &env.addr, false);
    assert_int_not_equal(instance_id(second), id);
    worker_drain(env.w);
    assert_int_equal(instance_id(second), id + 1);
    instance_unref(second);
}

static void test_lease_keeps_it_alive(void **state)
{
    UNUSED(state);
    struct instance *i = instance_get(&env.r, "app", "z", &env.addr, false);
    instance_lease(i);
    instance_unref(i);
    worker_drain(env.w);
    assert_int_equal(instance_in_flight(i), 1);
    instance_release(i, FETCH_NONE);
}

static void *drop(void *arg)
{
    instance_unref(arg);
    return NULL;
}

static bool only_ours_left(void *arg)
{
    UNUSED(arg);
    return env.r.instances.next == env.r.instances.prev;
}

static void test_last_reference_on_another_thread(void **state)
{
    UNUSED(state);
    pthread_t thread;
    struct instance *i = instance_get(&env.r, "app", "z", &env.addr, false);
    assert_int_equal(pthread_create(&thread, NULL, drop, i), 0);
    fixture_run_until(env.w, only_ours_left, NULL);
    pthread_join(thread, NULL);
}

static void test_unresolved(void **state)
{
    UNUSED(state);
    struct instance *i = instance_get(&env.r, "app", "a", NULL, false), *saved = env.i;
    env.i = i;
    expect_state(INSTANCE_DOWN);
    assert_string_equal(i->reason, "name does not resolve");
    watch(CONFIG_HEALTH_OFF);
    expect_state(INSTANCE_DOWN);
    env.i = saved;
    instance_unref(i);
}

static void test_inherit(void **state)
{
    UNUSED(state);
    struct net_addr other;
    assert_true(net_addr_parse(SLICE_LIT("127.0.0.1:1"), &other));
    struct instance *saved = env.i, *next = instance_get(&env.r, "app", "a", &other, false);
    script("--");
    instance_inherit(next, saved);
    assert_int_equal(next->fails_in_row, 2);
    assert_int_equal(instance_state(next), INSTANCE_STARTING);
    script("-");
    env.i = next;
    instance_inherit(next, saved);
    expect_state(INSTANCE_DOWN);
    assert_string_equal(next->reason, saved->reason);
    assert_int_equal(next->since_ms, saved->since_ms);
    env.i = saved;
    instance_unref(next);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_first_success_is_enough),
        T(test_starting_falls),
        T(test_rise_and_fall),
        T(test_reason_while_down),
        T(test_skipped_probes),
        T(test_unreachable_is_told),
        T(test_loss_is_told),
        T(test_good_probes_end_no_ejection),
        T(test_log_line),
        T(test_every_transition),
        T(test_refusals_mark_down),
        T(test_contact_ends_the_row),
        T(test_only_refusals_mark_down),
        T(test_trouble_brings_the_probe_forward),
        T(test_health_off),
        T(test_health_switched_off_brings_it_up),
        T(test_many_workers_tell),
        T(test_identity),
        T(test_dying_is_not_revived),
        T(test_lease_keeps_it_alive),
        T(test_last_reference_on_another_thread),
        T(test_unresolved),
        T(test_inherit),
    };
    return cmocka_run_group_tests_name("balancer/instance", tests, NULL, NULL);
}
