/* test_member.c: which address a server's name stands for: at first, when lookups change, when probes cannot
 * connect. */
#include "tests/unit/balancer/fixture.h"

#include "balancer/pool.h"
#include "tests/unit/core/fake_dns.h"

struct env {
    struct worker *w;
    struct instance_registry r;
    struct config_pool config;
    struct config_server server;
    struct pool *p;
    struct member *m;
    unsigned want_lookups;
    const char *want_address;
    int listen_fd;
};
static struct env env;

static void on_event(struct instance_registry *r, struct instance *i, enum instance_event e)
{
    UNUSED(r);
    if (env.p == NULL || pool_member_of(env.p, i) == NULL)
        return;
    if (e == INSTANCE_EVENT_UNREACHABLE)
        member_on_unreachable(env.m);
    else
        assert_true(pool_rebuild(env.p));
}

static struct instance *at(size_t n)
{
    assert_true(n < env.p->seats.count);
    return env.p->seats.items[n].instance;
}

static struct instance *only(void)
{
    return at(0);
}

static int setup(void **state)
{
    UNUSED(state);
    fake_dns_clear();
    env = (struct env){.w = worker_create(-1), .listen_fd = -1};
    instance_registry_init(&env.r, env.w, on_event);
    return 0;
}

static int teardown(void **state)
{
    UNUSED(state);
    member_deactivate(env.m);
    for (size_t n = 0; n < env.p->seats.count; n++)
        instance_unwatch(at(n));
    pool_destroy(env.p);
    worker_drain(env.w);
    rcu_flush();
    worker_drain(env.w);
    assert_true(list_empty(&env.r.instances));
    assert_int_equal(env.w->wheel_count, 0);
    worker_destroy(env.w);
    if (env.listen_fd >= 0)
        close(env.listen_fd);
    return 0;
}

static void make_as(const char *address, enum config_health health, bool resolve_one)
{
    env.server = (struct config_server){
        .name = "a", .address = address, .host = "app.test", .weight = 1, .resolve_one = resolve_one};
    env.config = (struct config_pool){.name = "app",
                                      .sticky_cookie = "",
                                      .servers = &env.server,
                                      .server_count = 1,
                                      .health = health,
                                      .health_path = "/",
                                      .health_host = "",
                                      .health_interval_ms = 50,
                                      .health_timeout_ms = 1000,
                                      .health_rise = 2,
                                      .health_fall = 3};
    env.p = pool_create(&env.r, &env.config, NULL);
    assert_non_null(env.p);
    env.m = &env.p->members[0];
}

static void make(const char *address, enum config_health health)
{
    make_as(address, health, true);
}

/* As building a set does. */
static void look_up(void)
{
    member_start_lookup(env.m);
    assert_true(member_wait_lookup(env.m, clock_mono_ms() + FIXTURE_GIVE_UP_MS));
    assert_true(pool_rebuild(env.p));
}

static void activate(void)
{
    worker_refresh_clock(env.w);
    member_activate(env.m);
}

static void expect_address(const char *want)
{
    assert_string_equal(only()->addr_text, want);
}

static bool looked_up(void *arg)
{
    UNUSED(arg);
    return fake_dns_lookups("app.test") >= env.want_lookups && env.m->lookup == NULL;
}

/* The next lookup now, whenever it was due. */
static void look_up_again(void)
{
    env.want_lookups = fake_dns_lookups("app.test") + 1;
    deadline_clear(env.w, &env.m->resolve_at);
    worker_refresh_clock(env.w);
    deadline_set(env.w, &env.m->resolve_at, worker_now_ms(env.w));
    fixture_run_until(env.w, looked_up, NULL);
}

static dur_ms_t next_lookup_ms(void)
{
    return env.m->resolve_at.at_ms - worker_now_ms(env.w);
}

static void test_literal_is_not_looked_up(void **state)
{
    UNUSED(state);
    make("127.0.0.1:9", CONFIG_HEALTH_OFF);
    assert_false(env.m->is_name);
    expect_address("127.0.0.1:9");
    activate();
    assert_false(deadline_is_set(&env.m->resolve_at));
    assert_int_equal(instance_state(only()), INSTANCE_UP);
}

static void test_name(void **state)
{
    UNUSED(state);
    fake_dns_set("app.test", "[::1]", "10.0.0.1", NULL);
    make("app.test:3000", CONFIG_HEALTH_OFF);
    look_up();
    expect_address("10.0.0.1:3000");
    activate();
    assert_int_equal(instance_state(only()), INSTANCE_UP);
    assert_in_range(next_lookup_ms(), MEMBER_RESOLVE_MAX_MS - 5000, MEMBER_RESOLVE_MAX_MS);
}

static void test_address_stays_while_the_name_has_it(void **state)
{
    UNUSED(state);
    fake_dns_set("app.test", "10.0.0.1", NULL, NULL);
    make("app.test:3000", CONFIG_HEALTH_OFF);
    look_up();
    activate();
    uint32_t id = instance_id(only());
    fake_dns_set("app.test", "10.0.0.3", "10.0.0.2", "10.0.0.1");
    look_up_again();
    expect_address("10.0.0.1:3000");
    assert_int_equal(instance_id(only()), id);
    assert_int_equal(env.m->group_at, 2);
    fake_dns_set("app.test", "10.0.0.3", "10.0.0.2", NULL);
    look_up_again();
    expect_address("10.0.0.3:3000");
    assert_int_equal(instance_state(only()), INSTANCE_UP);
    rcu_thread_start();
    struct instance *i = pool_pick(env.p, NULL, NULL, 0);
    rcu_thread_stop();
    assert_ptr_equal(i, only());
    instance_release(i, FETCH_NONE);
}

static void test_failing_lookup_takes_nothing_away(void **state)
{
    UNUSED(state);
    fake_dns_set("app.test", "10.0.0.1", NULL, NULL);
    make("app.test:3000", CONFIG_HEALTH_OFF);
    look_up();
    activate();
    fake_dns_set("app.test", NULL, NULL, NULL);
    look_up_again();
    look_up_again();
    expect_address("10.0.0.1:3000");
    assert_true(instance_is_usable(only()));
    assert_true(env.m->lookup_failed);
    assert_in_range(next_lookup_ms(), 1, MEMBER_RESOLVE_AGAIN_MS);
    fake_dns_set("app.test", "10.0.0.1", NULL, NULL);
    look_up_again();
    assert_false(env.m->lookup_failed);
    assert_true(next_lookup_ms() > MEMBER_RESOLVE_AGAIN_MS);
}

static void test_unknown_name_is_down_until_it_resolves(void **state)
{
    UNUSED(state);
    fake_dns_set("app.test", NULL, NULL, NULL);
    make("app.test:3000", CONFIG_HEALTH_OFF);
    look_up();
    assert_int_equal(instance_state(only()), INSTANCE_DOWN);
    assert_string_equal(only()->reason, "name does not resolve");
    activate();
    assert_int_equal(next_lookup_ms(), MEMBER_RESOLVE_AGAIN_MS);
    assert_int_equal(instance_state(only()), INSTANCE_DOWN);
    fake_dns_set("app.test", "10.0.0.1", NULL, NULL);
    look_up_again();
    expect_address("10.0.0.1:3000");
    assert_int_equal(instance_state(only()), INSTANCE_UP);
}

static void test_slow_name_is_down_until_it_resolves(void **state)
{
    UNUSED(state);
    fake_dns_set("app.test", "10.0.0.1", NULL, NULL);
    fake_dns_hold("app.test", true);
    make("app.test:3000", CONFIG_HEALTH_OFF);
    member_start_lookup(env.m);
    fake_dns_wait_for_lookup("app.test", 1);
    assert_true(member_wait_lookup(env.m, clock_mono_ms()));
    assert_int_equal(instance_state(only()), INSTANCE_DOWN);
    activate();
    fake_dns_hold("app.test", false);
    look_up_again();
    expect_address("10.0.0.1:3000");
}

static bool address_is(void *arg)
{
    return strcmp(only()->addr_text, arg) == 0;
}

static bool is_up(void *arg)
{
    UNUSED(arg);
    return instance_state(only()) == INSTANCE_UP;
}

static bool is_down(void *arg)
{
    UNUSED(arg);
    return instance_state(only()) == INSTANCE_DOWN;
}

static bool has_v6(void)
{
    struct net_addr any;
    assert_true(net_addr_parse(SLICE_LIT("[::1]:0"), &any));
    int fd = net_listen(&any, 1, false);
    close(fd);
    return fd >= 0;
}

/* "localhost" of an application that listens on ::1 only: found by the first probes, never down. */
static void test_starting_one_finds_its_family(void **state)
{
    UNUSED(state);
    struct net_addr any, real;
    char address[64], want[64];
    if (!has_v6())
        skip();
    assert_true(net_addr_parse(SLICE_LIT("[::1]:0"), &any));
    env.listen_fd = net_listen(&any, 16, false);
    assert_true(env.listen_fd >= 0 && net_local_addr(env.listen_fd, &real));
    fake_dns_set("app.test", "[::1]", "127.0.0.1", NULL);
    snprintf(address, sizeof address, "app.test:%u", net_addr_port(&real));
    snprintf(want, sizeof want, "[::1]:%u", net_addr_port(&real));
    make(address, CONFIG_HEALTH_TCP);
    look_up();
    assert_int_equal(only()->addr.sa.sa_family, AF_INET);
    activate();
    fixture_run_until(env.w, is_up, NULL);
    expect_address(want);
    assert_int_equal(only()->probes_failed, 0);
}

/* When none of them answers, `fall` failures altogether are down; then each probe tries another one, quietly.
 */
static void test_all_addresses_dead(void **state)
{
    UNUSED(state);
    int keep;
    struct net_addr dead = fixture_dead_addr(&keep);
    char address[64], first[64], second[64], log[4096];
    struct fixture_capture capture;
    snprintf(address, sizeof address, "app.test:%u", net_addr_port(&dead));
    snprintf(first, sizeof first, "127.0.0.1:%u", net_addr_port(&dead));
    snprintf(second, sizeof second, "127.0.0.2:%u", net_addr_port(&dead));
    fake_dns_set("app.test", "127.0.0.1", "127.0.0.2", NULL);
    make(address, CONFIG_HEALTH_TCP);
    look_up();
    activate();
    fixture_run_until(env.w, is_down, NULL);
    assert_string_equal(only()->reason, "connect refused (3 probes failed)");
    fixture_capture_start(&capture);
    env.w->stopping = false;
    for (unsigned n = 0; n < 3; n++) {
        fixture_run_until(env.w, address_is, first);
        fixture_run_until(env.w, address_is, second);
    }
    fixture_capture_stop(&capture, log, sizeof log);
    assert_string_equal(log, "");
    assert_true(is_down(NULL));
    assert_string_equal(only()->reason, "connect refused (3 probes failed)");
    rcu_thread_start();
    assert_null(pool_pick(env.p, NULL, NULL, 0));
    rcu_thread_stop();
    close(keep);
}

/* Down and a lookup long away: it is brought forward, for the name may have moved. */
static void test_down_looks_up_soon(void **state)
{
    UNUSED(state);
    int keep;
    struct net_addr dead = fixture_dead_addr(&keep), real;
    char address[64];
    fake_dns_set("app.test", "127.0.0.1", NULL, NULL);
    snprintf(address, sizeof address, "app.test:%u", net_addr_port(&dead));
    make(address, CONFIG_HEALTH_TCP);
    look_up();
    activate();
    env.want_lookups = 2;
    fixture_run_until(env.w, looked_up, NULL);
    assert_true(is_down(NULL));
    assert_in_range(next_lookup_ms(), 1, MEMBER_RESOLVE_AGAIN_MS);
    /* It moved to where something listens. */
    dead.in4.sin_addr.s_addr = htonl(0x7f000003);
    env.listen_fd = net_listen(&dead, 16, false);
    assert_true(env.listen_fd >= 0 && net_local_addr(env.listen_fd, &real));
    fake_dns_set("app.test", "127.0.0.3", NULL, NULL);
    fixture_run_until(env.w, is_up, NULL);
    close(keep);
}

static void test_deactivated_in_the_middle(void **state)
{
    UNUSED(state);
    fake_dns_set("app.test", "10.0.0.1", NULL, NULL);
    make("app.test:3000", CONFIG_HEALTH_OFF);
    look_up();
    activate();
    fake_dns_hold("app.test", true);
    deadline_clear(env.w, &env.m->resolve_at);
    member_start_lookup(env.m);
    fake_dns_wait_for_lookup("app.test", 2);
    member_deactivate(env.m);
    assert_null(env.m->lookup);
    fake_dns_hold("app.test", false);
}

/* ---- all addresses of a name ---- */

static void expect_all(const char *want)
{
    char text[512] = "";
    for (size_t n = 0; n < env.p->seats.count; n++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", n > 0 ? " " : "", at(n)->addr_text);
    assert_string_equal(text, want);
}

static void test_all_of_a_family(void **state)
{
    UNUSED(state);
    fake_dns_set("app.test", "10.0.0.2", "[::1]", "10.0.0.1");
    make_as("app.test:80", CONFIG_HEALTH_OFF, false);
    look_up();
    expect_all("10.0.0.1:80 10.0.0.2:80");
    assert_string_equal(instance_name(at(1)), "a@10.0.0.2:80");
    assert_int_equal(instance_label(at(0)), instance_label(at(1))); /* of the name */
    activate();
    struct instance *kept = at(1);
    const uint32_t kept_id = instance_id(kept);
    fake_dns_set("app.test", "10.0.0.3", "10.0.0.2", NULL);
    look_up_again();
    expect_all("10.0.0.2:80 10.0.0.3:80");
    assert_int_equal(instance_id(at(0)), kept_id);
    fake_dns_set("app.test", NULL, NULL, NULL);
    look_up_again();
    expect_all("10.0.0.2:80 10.0.0.3:80");
    fake_dns_set("app.test", "[::1]", "[::2]", NULL);
    look_up_again();
    expect_all("[::1]:80 [::2]:80");
}

/* The instance that is gone is told so, and may come back. */
static void test_gone_one_is_retired(void **state)
{
    UNUSED(state);
    fake_dns_set("app.test", "10.0.0.1", "10.0.0.2", NULL);
    make_as("app.test:80", CONFIG_HEALTH_OFF, false);
    look_up();
    activate();
    struct instance *gone = instance_ref(at(1));
    assert_false(instance_is_retired(gone));
    fake_dns_set("app.test", "10.0.0.1", NULL, NULL);
    look_up_again();
    assert_true(instance_is_retired(gone));
    assert_int_equal(instance_idle_ms(gone, true), 0);
    assert_int_equal(gone->takes, 0);
    instance_on_keep_alive(gone, SLICE_LIT("timeout=60")); /* of what still runs there */
    assert_int_equal(instance_idle_ms(gone, true), 0);
    fake_dns_set("app.test", "10.0.0.1", "10.0.0.2", NULL);
    look_up_again();
    assert_ptr_equal(at(1), gone);
    assert_false(instance_is_retired(gone));
    instance_unref(gone);
}

static void test_new_ones_begin_slowly(void **state)
{
    UNUSED(state);
    fake_dns_set("app.test", "127.0.0.1", NULL, NULL);
    make_as("app.test:9", CONFIG_HEALTH_TCP, false);
    env.config.slow_start_ms = 3600000;
    look_up();
    activate();
    assert_int_equal(pool_share_percent(env.p, at(0)), 100);
    fake_dns_set("app.test", "127.0.0.1", "127.0.0.2", NULL);
    look_up_again();
    assert_int_equal(pool_share_percent(env.p, at(0)), 100);
    assert_in_range(pool_share_percent(env.p, at(1)), 5, 10);
    assert_true(env.p->ramping);
}

/* The other family only when no address of this one can be reached. */
static void test_family_that_answers(void **state)
{
    UNUSED(state);
    struct net_addr any, real;
    char address[64], want[64];
    if (!has_v6())
        skip();
    assert_true(net_addr_parse(SLICE_LIT("[::1]:0"), &any));
    env.listen_fd = net_listen(&any, 16, false);
    assert_true(env.listen_fd >= 0 && net_local_addr(env.listen_fd, &real));
    fake_dns_set("app.test", "[::1]", "127.0.0.1", "127.0.0.2");
    snprintf(address, sizeof address, "app.test:%u", net_addr_port(&real));
    snprintf(want, sizeof want, "[::1]:%u", net_addr_port(&real));
    make_as(address, CONFIG_HEALTH_TCP, false);
    look_up();
    assert_int_equal(env.p->seats.count, 2);
    activate();
    fixture_run_until(env.w, is_up, NULL);
    expect_all(want);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_literal_is_not_looked_up),
        T(test_name),
        T(test_address_stays_while_the_name_has_it),
        T(test_failing_lookup_takes_nothing_away),
        T(test_unknown_name_is_down_until_it_resolves),
        T(test_slow_name_is_down_until_it_resolves),
        T(test_starting_one_finds_its_family),
        T(test_all_addresses_dead),
        T(test_down_looks_up_soon),
        T(test_deactivated_in_the_middle),
        T(test_all_of_a_family),
        T(test_gone_one_is_retired),
        T(test_new_ones_begin_slowly),
        T(test_family_that_answers),
    };
    return cmocka_run_group_tests_name("balancer/member", tests, NULL, NULL);
}
