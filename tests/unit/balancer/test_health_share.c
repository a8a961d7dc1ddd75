/* test_health_share.c: who shares a prober, that each hears of each result once, and that any may come and
 * go, also while results are told. */
#include "tests/unit/balancer/fixture.h"

#include "balancer/health_share.h"
#include "core/tls_target.h"

#define SHARES 4

static struct {
    struct worker *w;
    struct health_probers probers;
    struct net_addr addr, other;
    int keep, keep_other;
    struct health_share s[SHARES];
    unsigned heard[SHARES];
    void (*on_heard)(size_t n);
} env;

static const struct config_status_range usual[] = {{200, 399}};

static void on_result(struct health_share *s, const struct health_result *result)
{
    const size_t n = (size_t)(s - env.s);
    assert_int_equal(result->verdict, HEALTH_UNREACHABLE);
    env.heard[n]++;
    if (env.on_heard != NULL)
        env.on_heard(n);
}

static int setup(void **state)
{
    UNUSED(state);
    memset(&env, 0, sizeof env);
    env.w = worker_create(-1);
    env.addr = fixture_dead_addr(&env.keep);
    env.other = fixture_dead_addr(&env.keep_other);
    health_probers_init(&env.probers, env.w);
    for (size_t i = 0; i < SHARES; i++)
        health_share_init(&env.s[i], &env.probers, &env.addr, on_result);
    return 0;
}

static int teardown(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < SHARES; i++)
        health_share_stop(&env.s[i]);
    worker_drain(env.w);
    assert_true(list_empty(&env.probers.all));
    assert_int_equal(env.w->wheel_count, 0);
    worker_destroy(env.w);
    close(env.keep);
    close(env.keep_other);
    return 0;
}

static struct health_settings settings(void)
{
    return (struct health_settings){.kind = CONFIG_HEALTH_HTTP,
                                    .path = "/up",
                                    .host = "h",
                                    .body = "",
                                    .ranges = usual,
                                    .range_count = 1,
                                    .interval_ms = 100000,
                                    .timeout_ms = 10000};
}

static size_t probers(void)
{
    size_t n = 0;
    LIST_FOREACH (it, &env.probers.all)
        n++;
    return n;
}

static void start(size_t n, const struct health_settings *s)
{
    assert_true(health_share_start(&env.s[n], s, 0));
}

static bool heard_all(void *arg)
{
    UNUSED(arg);
    for (size_t i = 0; i < SHARES; i++)
        if (health_share_probe(&env.s[i]) != NULL && env.heard[i] == 0)
            return false;
    return true;
}

static void stop_all(size_t n)
{
    UNUSED(n);
    for (size_t i = 0; i < SHARES; i++)
        health_share_stop(&env.s[i]);
}

static void test_who_shares(void **state)
{
    UNUSED(state);
    static const struct config_status_range odd[] = {{200, 299}};
    struct health_settings s = settings();
    char path[] = "/up"; /* another one of the same text */
    start(0, &s);
    s.path = path;
    start(1, &s);
    assert_ptr_equal(health_share_probe(&env.s[0]), health_share_probe(&env.s[1]));
    struct health_settings others[] = {s, s, s, s, s, s, s, s, s, s};
    others[0].path = "/other";
    others[1].host = "other";
    others[2].body = "other";
    others[3].port = 1;
    others[4].ranges = odd;
    others[5].range_count = 0;
    others[6].interval_ms++;
    others[7].timeout_ms++;
    others[8].kind = CONFIG_HEALTH_TCP;
    others[9].proxy_header = PROXY_HEADER_V1;
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        start(2, &others[i]);
        assert_ptr_not_equal(health_share_probe(&env.s[2]), health_share_probe(&env.s[0]));
        assert_int_equal(probers(), 2);
    }
    start(2, &s); /* back among them, and its own prober is gone */
    assert_int_equal(probers(), 1);
    health_share_stop(&env.s[2]);
    env.s[2].addr = &env.other;
    start(2, &s);
    assert_int_equal(probers(), 2);
}

/* Who shows another certificate, or believes others, asks another question. */
static void test_who_shares_over_tls(void **state)
{
    UNUSED(state);
    struct tls_target base = {.verify = true, .read = {{.inode = 1}, {.inode = 2}, {.inode = 3}}},
                      equal = base;
    struct health_settings s = settings();
    s.tls = &base;
    s.tls_name = "a";
    start(0, &s);
    s.tls = &equal;
    start(1, &s);
    assert_ptr_equal(health_share_probe(&env.s[0]), health_share_probe(&env.s[1]));
    struct tls_target others[] = {base, base, base, base, base};
    others[0].verify = false;
    others[1].http2 = true;
    others[2].read[TLS_TARGET_CA].inode = 7;
    others[3].read[TLS_TARGET_CERTIFICATE].changed_ns = 7;
    others[4].read[TLS_TARGET_KEY].bytes = 7;
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        s.tls = &others[i];
        start(2, &s);
        assert_ptr_not_equal(health_share_probe(&env.s[2]), health_share_probe(&env.s[0]));
    }
    s.tls = NULL;
    start(2, &s);
    assert_ptr_not_equal(health_share_probe(&env.s[2]), health_share_probe(&env.s[0]));
    stop_all(0);
}

static void test_each_hears_of_each_result_once(void **state)
{
    UNUSED(state);
    struct health_settings s = settings();
    for (size_t i = 0; i < SHARES; i++)
        start(i, &s);
    fixture_run_until(env.w, heard_all, NULL);
    for (size_t i = 0; i < SHARES; i++)
        assert_int_equal(env.heard[i], 1);
}

/* The texts of who left may be gone: they are those of another one then. */
static void test_settings_are_of_one_who_is_there(void **state)
{
    UNUSED(state);
    struct health_settings s = settings();
    char path[] = "/up";
    start(0, &s);
    s.path = path;
    start(1, &s);
    struct health_probe *p = health_share_probe(&env.s[0]);
    health_share_stop(&env.s[1]);
    assert_ptr_not_equal(p->settings.path, path);
    start(1, &s);
    health_share_stop(&env.s[0]);
    assert_ptr_equal(p->settings.path, path);
    s.path = "/changed"; /* alone it keeps its prober, and the time of the next probe */
    mono_ms_t next_ms = p->next.at_ms;
    start(1, &s);
    assert_ptr_equal(health_share_probe(&env.s[1]), p);
    assert_string_equal(p->settings.path, "/changed");
    assert_int_equal(p->next.at_ms, next_ms);
}

static void test_all_leave_while_they_are_told(void **state)
{
    UNUSED(state);
    struct health_settings s = settings();
    for (size_t i = 0; i < SHARES; i++)
        start(i, &s);
    env.on_heard = stop_all;
    fixture_run_until(env.w, heard_all, NULL);
    unsigned sum = 0;
    for (size_t i = 0; i < SHARES; i++)
        sum += env.heard[i];
    assert_true(sum <= 1);
    assert_int_equal(probers(), 0);
}

static void move_on(size_t n)
{
    env.on_heard = NULL;
    struct health_settings s = settings();
    health_share_stop(&env.s[n]);
    health_share_stop(&env.s[(n + 1) % SHARES]);
    env.s[n].addr = &env.other;
    start(n, &s);
    start((n + 1) % SHARES, &s); /* a newcomer, who has not missed this result */
}

static void test_some_move_while_they_are_told(void **state)
{
    UNUSED(state);
    struct health_settings s = settings();
    for (size_t i = 0; i < SHARES; i++)
        start(i, &s);
    env.on_heard = move_on;
    health_share_hurry(&env.s[0]);
    fixture_run_until(env.w, heard_all, NULL);
    assert_int_equal(probers(), 2);
    for (size_t i = 2; i < SHARES; i++)
        assert_true(env.heard[i] >= 1);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_who_shares),
        T(test_who_shares_over_tls),
        T(test_each_hears_of_each_result_once),
        T(test_settings_are_of_one_who_is_there),
        T(test_all_leave_while_they_are_told),
        T(test_some_move_while_they_are_told),
    };
    return cmocka_run_group_tests_name("balancer/health_share", tests, NULL, NULL);
}
