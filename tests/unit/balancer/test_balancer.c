/* test_balancer.c: sets over the life of the process: building, activating, reloading, dying on any thread.
 */
#include "tests/unit/balancer/fixture.h"

#include <pthread.h>

#include "balancer/balancer.h"
#include "balancer/instance.h"
#include "balancer/pool.h"
#include "tests/unit/core/fake_dns.h"

struct env {
    struct worker *w;
    struct balancer *b;
    struct config *config; /* of the latest build */
    int fds[2];
    struct net_addr addrs[2];
};
static struct env env;

static int setup(void **state)
{
    UNUSED(state);
    fake_dns_clear();
    env = (struct env){.w = worker_create(-1), .fds = {-1, -1}};
    env.b = balancer_create(env.w);
    return 0;
}

static int teardown(void **state)
{
    UNUSED(state);
    balancer_destroy(env.b);
    assert_int_equal(env.w->wheel_count, 0);
    worker_destroy(env.w);
    for (size_t i = 0; i < ARRAY_LEN(env.fds); i++)
        if (env.fds[i] >= 0)
            close(env.fds[i]);
    return 0;
}

static void listen_on(size_t i)
{
    env.fds[i] = fixture_listen(&env.addrs[i]);
}

static struct balancer_set *build(const char *fmt, ...) PRINTF_LIKE(1, 2);
static struct balancer_set *build(const char *fmt, ...)
{
    char text[2000], err[200] = "";
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    env.config = fixture_config(text);
    struct balancer_set *s = balancer_set_build(env.b, env.config, err, sizeof err);
    assert_non_null(s);
    assert_string_equal(err, "");
    config_unref(env.config); /* the set's reference keeps it */
    return s;
}

static struct instance *pick(struct balancer_set *s, size_t pool)
{
    rcu_thread_start();
    struct instance *i = pool_pick(balancer_set_pool(s, pool), NULL, NULL, 0);
    rcu_thread_stop();
    return i;
}

static void expect_picks(struct balancer_set *s, size_t pool, const char *want)
{
    for (; *want != '\0'; want++) {
        struct instance *i = pick(s, pool);
        if (*want == '-') {
            assert_null(i);
            continue;
        }
        assert_non_null(i);
        assert_int_equal(instance_name(i)[0], *want);
        instance_release(i, FETCH_NONE);
    }
}

/* ---- what balancer_each_instance shows ---- */

struct listing {
    struct instance_info infos[8];
    size_t count;
};

static void note(void *arg, const struct instance_info *info)
{
    struct listing *l = arg;
    assert_true(l->count < ARRAY_LEN(l->infos));
    l->infos[l->count++] = *info;
}

static struct listing list_all(void)
{
    struct listing l = {0};
    balancer_each_instance(env.b, note, &l);
    return l;
}

static bool all_are(enum instance_state s)
{
    struct listing l = list_all();
    for (size_t i = 0; i < l.count; i++)
        if (l.infos[i].state != s)
            return false;
    return true;
}

static bool all_up(void *arg)
{
    UNUSED(arg);
    return all_are(INSTANCE_UP);
}

static bool all_down(void *arg)
{
    UNUSED(arg);
    return all_are(INSTANCE_DOWN);
}

static void test_pools_in_their_order(void **state)
{
    UNUSED(state);
    struct balancer_set *s =
        build("[pool app]\nserver = 127.0.0.1:1 name=a\nserver = 127.0.0.1:2 name=b\n"
              "[pool api]\nserver = 127.0.0.1:3 name=c weight=2\nserver = 127.0.0.1:4 name=d\n");
    assert_string_equal(pool_config(balancer_set_pool(s, 0))->name, "app");
    assert_string_equal(pool_config(balancer_set_pool(s, 1))->name, "api");
    expect_picks(s, 0, "ababab");
    expect_picks(s, 1, "cdccdc");
    balancer_set_unref(s);
}

static void test_health_off(void **state)
{
    UNUSED(state);
    struct balancer_set *s = build("[pool app]\nhealth_check = off\nserver = 127.0.0.1:1 name=a\n");
    assert_int_equal(list_all().count, 0);
    balancer_set_activate(env.b, s);
    assert_true(all_up(NULL));
    assert_string_equal(list_all().infos[0].reason, "health_check = off");
    balancer_set_unref(s); /* the active one is the balancer's */
    assert_int_equal(list_all().count, 1);
}

#define FAST "health_check = tcp\nhealth_interval = 40ms\nhealth_timeout = 500ms\n"

static void test_probes_change_what_is_picked(void **state)
{
    UNUSED(state);
    listen_on(0);
    listen_on(1);
    struct balancer_set *s =
        build("[pool app]\n" FAST "server = 127.0.0.1:%u name=a\nserver = 127.0.0.1:%u name=b\n",
              net_addr_port(&env.addrs[0]), net_addr_port(&env.addrs[1]));
    expect_picks(s, 0, "abab"); /* starting */
    balancer_set_activate(env.b, s);
    fixture_run_until(env.w, all_up, NULL);
    close(env.fds[0]);
    close(env.fds[1]);
    fixture_run_until(env.w, all_down, NULL);
    expect_picks(s, 0, "--");
    env.fds[0] = net_listen(&env.addrs[0], 128, false);
    env.fds[1] = net_listen(&env.addrs[1], 128, false);
    assert_true(env.fds[0] >= 0 && env.fds[1] >= 0);
    fixture_run_until(env.w, all_up, NULL);
    expect_picks(s, 0, "abab");
    struct listing l = list_all();
    assert_string_equal(l.infos[0].pool, "app");
    assert_string_equal(l.infos[1].name, "b");
    assert_string_equal(l.infos[0].reason, "connected (2 probes succeeded)");
    assert_true(l.infos[0].probes_ok >= 3 && l.infos[0].probes_failed >= 3);
    assert_int_equal(l.infos[0].requests, 4);
    balancer_set_unref(s);
}

/* Without a probe in sight: three refused requests are enough. */
static void test_refused_requests_take_it_out(void **state)
{
    UNUSED(state);
    int keep;
    struct net_addr dead = fixture_dead_addr(&keep);
    struct balancer_set *s =
        build("[pool app]\nhealth_interval = 1h\nserver = 127.0.0.1:%u name=a\n", net_addr_port(&dead));
    balancer_set_activate(env.b, s);
    for (unsigned n = 0; n < 3; n++)
        instance_release(pick(s, 0), FETCH_CONNECT_REFUSED);
    worker_drain(env.w);
    assert_true(all_down(NULL));
    expect_picks(s, 0, "-");
    assert_int_equal(list_all().infos[0].failures, 3);
    balancer_set_unref(s);
    close(keep);
}

static void test_reload_keeps_state(void **state)
{
    UNUSED(state);
    int keep;
    struct net_addr dead = fixture_dead_addr(&keep);
    unsigned port = net_addr_port(&dead);
    struct balancer_set *old = build("[pool app]\n" FAST "server = 127.0.0.1:%u name=a\n", port);
    balancer_set_activate(env.b, old);
    fixture_run_until(env.w, all_down, NULL);
    struct listing before = list_all();
    struct balancer_set *new = build(
        "[pool app]\nhealth_check = tcp\nhealth_interval = 1h\nserver = 127.0.0.1:%u name=a weight=3 backup\n"
        "server = 127.0.0.1:%u name=b\n",
        port, port);
    expect_picks(new, 0, "b");
    balancer_set_activate(env.b, new);
    struct listing after = list_all();
    assert_int_equal(after.count, 2);
    assert_int_equal(after.infos[0].state, INSTANCE_DOWN);
    assert_int_equal(after.infos[0].since_ms, before.infos[0].since_ms);
    assert_int_equal(after.infos[0].probes_failed, before.infos[0].probes_failed);
    assert_int_equal(after.infos[0].weight, 3);
    assert_true(after.infos[0].backup);
    assert_int_equal(after.infos[1].state, INSTANCE_STARTING);
    balancer_set_unref(old);
    expect_picks(new, 0, "b");
    balancer_set_unref(new);
    close(keep);
}

/* A request that started before the reload sees changes, too. */
static void test_old_set_follows_states(void **state)
{
    UNUSED(state);
    int keep;
    struct net_addr dead = fixture_dead_addr(&keep);
    const char *text =
        "[pool app]\nhealth_interval = 1h\nserver = 127.0.0.1:%u name=a\nserver = 127.0.0.1:9 name=b\n";
    struct balancer_set *old = build(text, net_addr_port(&dead));
    balancer_set_activate(env.b, old);
    struct balancer_set *new = build(text, net_addr_port(&dead));
    balancer_set_activate(env.b, new);
    expect_picks(old, 0, "abab");
    struct instance *a = pick(old, 0);
    assert_string_equal(instance_name(a), "a");
    for (unsigned n = 0; n < 3; n++) {
        instance_lease(a);
        instance_release(a, FETCH_CONNECT_REFUSED);
    }
    worker_drain(env.w);
    instance_release(a, FETCH_NONE);
    expect_picks(old, 0, "bbb");
    expect_picks(new, 0, "bbb");
    balancer_set_unref(old);
    balancer_set_unref(new);
    close(keep);
}

static void test_dropped_instance_is_not_probed(void **state)
{
    UNUSED(state);
    listen_on(0);
    listen_on(1);
    const char *text = "[pool app]\n" FAST "server = 127.0.0.1:%u name=a\n%s127.0.0.1:%u name=b\n";
    unsigned a = net_addr_port(&env.addrs[0]), b = net_addr_port(&env.addrs[1]);
    struct balancer_set *old = build(text, a, "server = ", b);
    balancer_set_activate(env.b, old);
    fixture_run_until(env.w, all_up, NULL);
    struct instance *leaving = pick(old, 0);
    if (instance_name(leaving)[0] == 'a') {
        instance_release(leaving, FETCH_NONE);
        leaving = pick(old, 0);
    }
    struct balancer_set *new = build(text, a, "; server = ", b);
    balancer_set_activate(env.b, new);
    assert_int_equal(list_all().count, 1);
    assert_null(health_share_probe(&leaving->probe));
    assert_int_equal(instance_state(leaving), INSTANCE_UP);
    expect_picks(old, 0, "abab");
    balancer_set_unref(old);
    worker_drain(env.w);
    assert_string_equal(instance_name(leaving), "b"); /* the lease keeps it */
    instance_release(leaving, FETCH_NONE);
    balancer_set_unref(new);
}

static void test_activating_nothing(void **state)
{
    UNUSED(state);
    struct balancer_set *s = build("[pool app]\n" FAST "server = 127.0.0.1:9 name=a\n");
    balancer_set_activate(env.b, s);
    balancer_set_activate(env.b, s);
    balancer_set_activate(env.b, NULL);
    assert_int_equal(list_all().count, 0);
    assert_int_equal(env.w->wheel_count, 0);
    expect_picks(s, 0, "a");
    balancer_set_activate(env.b, s);
    assert_int_equal(list_all().count, 1);
    balancer_set_unref(s);
}

static void test_set_holds_its_snapshot(void **state)
{
    UNUSED(state);
    struct balancer_set *s = build("[pool app]\nserver = 127.0.0.1:9 name=a\n");
    struct config *c = config_ref(env.config);
    assert_int_equal(atomic_load(&c->refs), 2);
    balancer_set_unref(balancer_set_ref(s));
    assert_int_equal(atomic_load(&c->refs), 2);
    balancer_set_unref(s);
    assert_int_equal(atomic_load(&c->refs), 1);
    config_unref(c);
}

static void *drop_set(void *arg)
{
    balancer_set_unref(arg);
    return NULL;
}

static void test_set_dies_by_mail(void **state)
{
    UNUSED(state);
    pthread_t thread;
    struct balancer_set *s = build("[pool app]\nserver = 127.0.0.1:9 name=a\n");
    struct config *c = config_ref(env.config);
    assert_int_equal(pthread_create(&thread, NULL, drop_set, s), 0);
    pthread_join(thread, NULL);
    assert_int_equal(atomic_load(&c->refs), 2);
    worker_drain(env.w);
    assert_int_equal(atomic_load(&c->refs), 1);
    config_unref(c);
}

/* Mail, views and references still under way when everything ends. */
static void test_destroy_waits_for_all(void **state)
{
    UNUSED(state);
    pthread_t thread;
    int keep;
    struct net_addr dead = fixture_dead_addr(&keep);
    struct balancer_set *s =
        build("[pool app]\nhealth_interval = 1h\nserver = 127.0.0.1:%u name=a\n", net_addr_port(&dead));
    balancer_set_activate(env.b, s);
    for (unsigned n = 0; n < 3; n++)
        instance_release(pick(s, 0), FETCH_CONNECT_REFUSED);
    assert_int_equal(pthread_create(&thread, NULL, drop_set, s), 0);
    pthread_join(thread, NULL);
    close(keep);
}

/* ---- names ---- */

static void test_names(void **state)
{
    UNUSED(state);
    fake_dns_set("app.test", "10.0.0.1", NULL, NULL);
    fake_dns_set("none.test", NULL, NULL, NULL);
    const char *text =
        "[pool app]\nhealth_check = off\nserver = app.test:3000 name=a\nserver = none.test:3000 name=b\n";
    struct balancer_set *old = build("%s", text);
    expect_picks(old, 0, "aa");
    balancer_set_activate(env.b, old);
    struct listing l = list_all();
    assert_string_equal(l.infos[0].address, "10.0.0.1:3000");
    assert_string_equal(l.infos[1].address, "none.test:3000");
    assert_int_equal(l.infos[1].state, INSTANCE_DOWN);
    assert_string_equal(l.infos[1].reason, "name does not resolve");
    /* A reload asks only for what it does not know. */
    struct balancer_set *new = build("%s", text);
    assert_int_equal(fake_dns_lookups("app.test"), 1);
    assert_int_equal(fake_dns_lookups("none.test"), 2);
    struct instance *before = pick(old, 0), *after = pick(new, 0);
    assert_ptr_equal(before, after);
    instance_release(before, FETCH_NONE);
    instance_release(after, FETCH_NONE);
    balancer_set_activate(env.b, new);
    balancer_set_unref(old);
    balancer_set_unref(new);
}

static bool has_address(void *arg)
{
    struct listing l = list_all();
    return strcmp(l.infos[0].address, arg) == 0;
}

static bool is_retired(void *arg)
{
    return instance_is_retired(arg);
}

/* Requests that began before a reload go by what the name stands for now, too. */
static void test_older_sets_follow_a_name(void **state)
{
    UNUSED(state);
    fake_dns_set("app.test", NULL, NULL, NULL);
    const char *text = "[pool app]\nhealth_check = off\nserver = app.test:3000 name=a\n";
    struct balancer_set *old = build("%s", text), *new = build("%s", text);
    balancer_set_activate(env.b, old);
    balancer_set_activate(env.b, new);
    expect_picks(old, 0, "-");
    fake_dns_set("app.test", "10.0.0.1", "10.0.0.2", NULL);
    fixture_run_until(env.w, has_address, (char[]){"10.0.0.1:3000"});
    assert_int_equal(list_all().count, 2);
    struct instance *one = pick(old, 0), *other = pick(old, 0), *third = pick(new, 0);
    assert_true(one != NULL && other != NULL && one != other);
    assert_true(third == one || third == other);
    instance_release(one, FETCH_NONE);
    instance_release(other, FETCH_NONE);
    instance_release(third, FETCH_NONE);
    balancer_set_unref(old);
    balancer_set_unref(new);
}

/* A connection is still being made to an address when its name loses it. */
static void test_who_is_gone_from_a_name_keeps_the_name(void **state)
{
    UNUSED(state);
    fake_dns_set("app.test", "10.0.0.1", NULL, NULL);
    struct balancer_set *s = build("[pool app]\nhealth_check = off\ntls = yes\ntls_verify = no\n"
                                   "server = 10.0.0.9:1 name=b weight=0\nserver = app.test:3000 name=a\n");
    balancer_set_activate(env.b, s);
    struct pool *p = balancer_set_pool(s, 0);
    struct instance *i = pick(s, 0);
    assert_string_equal(pool_tls_name(p, i), "app.test");
    fake_dns_set("app.test", "10.0.0.2", NULL, NULL);
    deadline_set(env.w, &p->members[1].resolve_at, worker_now_ms(env.w));
    fixture_run_until(env.w, is_retired, i);
    assert_string_equal(pool_tls_name(p, i), "app.test");
    instance_release(i, FETCH_NONE);
    balancer_set_unref(s);
}

/* ---- many workers, reloads and state changes at once ---- */

static _Atomic(struct balancer_set *) current;
static pthread_mutex_t current_lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic bool finished;
static _Atomic unsigned picks;

static struct balancer_set *take_current(void)
{
    pthread_mutex_lock(&current_lock);
    struct balancer_set *s = balancer_set_ref(atomic_load(&current));
    pthread_mutex_unlock(&current_lock);
    return s;
}

static void put_current(struct balancer_set *s)
{
    pthread_mutex_lock(&current_lock);
    struct balancer_set *old = atomic_exchange(&current, s);
    pthread_mutex_unlock(&current_lock);
    if (old != NULL)
        balancer_set_unref(old);
}

static void *work(void *arg)
{
    unsigned *seed = arg;
    rcu_thread_start();
    while (!atomic_load(&finished)) {
        struct balancer_set *s = take_current();
        struct pool *p = balancer_set_pool(s, 0);
        struct instance *i = pool_pick(p, NULL, NULL, 0);
        pool_count_request(p);
        if (i != NULL) {
            instance_ref(i);
            instance_release(i, rand_r(seed) % 3 == 0 ? FETCH_CONNECT_REFUSED : FETCH_NONE);
        }
        balancer_set_unref(s);
        if (i != NULL)
            instance_unref(i);
        atomic_fetch_add(&picks, 1);
    }
    rcu_thread_stop();
    return NULL;
}

static bool picked_enough(void *arg)
{
    return atomic_load(&picks) >= *(unsigned *)arg;
}

static void test_reloads_under_load(void **state)
{
    UNUSED(state);
    pthread_t threads[3];
    static unsigned seeds[3] = {1, 2, 3};
    listen_on(0);
    const char *text = "[pool app]\n" FAST "server = 127.0.0.1:%u name=a\n%s127.0.0.1:9 name=b backup\n";
    unsigned port = net_addr_port(&env.addrs[0]);
    finished = false;
    picks = 0;
    for (unsigned n = 0; n < 30; n++) {
        struct balancer_set *s = build(text, port, n % 2 == 0 ? "server = " : "; server = ");
        balancer_set_activate(env.b, s);
        put_current(s);
        for (size_t t = 0; n == 0 && t < ARRAY_LEN(threads); t++)
            assert_int_equal(pthread_create(&threads[t], NULL, work, &seeds[t]), 0);
        unsigned enough = atomic_load(&picks) + 500;
        fixture_run_until(env.w, picked_enough, &enough);
    }
    finished = true;
    for (size_t t = 0; t < ARRAY_LEN(threads); t++)
        pthread_join(threads[t], NULL);
    put_current(NULL);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_pools_in_their_order),
        T(test_health_off),
        T(test_probes_change_what_is_picked),
        T(test_refused_requests_take_it_out),
        T(test_reload_keeps_state),
        T(test_old_set_follows_states),
        T(test_dropped_instance_is_not_probed),
        T(test_activating_nothing),
        T(test_set_holds_its_snapshot),
        T(test_set_dies_by_mail),
        T(test_destroy_waits_for_all),
        T(test_names),
        T(test_older_sets_follow_a_name),
        T(test_who_is_gone_from_a_name_keeps_the_name),
        T(test_reloads_under_load),
    };
    return cmocka_run_group_tests_name("balancer/balancer", tests, NULL, NULL);
}
