/* test_pool.c: who is picked: turns, weights, backups, drained and tried ones, and many workers picking while
 * states change. */
#include "tests/unit/balancer/fixture.h"

#include <pthread.h>

#include "balancer/pool.h"

struct env {
    struct worker *w;
    struct instance_registry r;
    struct config_pool config;
    struct config_server servers[4];
    struct pool *p;
    struct sticky_key key;
    const char *sticky;
};
static struct env env;

static void on_event(struct instance_registry *r, struct instance *i, enum instance_event e)
{
    UNUSED(r);
    if (e == INSTANCE_EVENT_USABLE && env.p != NULL && pool_member_of(env.p, i) != NULL)
        assert_true(pool_rebuild(env.p));
}

static int setup(void **state)
{
    UNUSED(state);
    env = (struct env){.w = worker_create(-1), .sticky = ""};
    rcu_thread_start();
    instance_registry_init(&env.r, env.w, on_event);
    return 0;
}

static int teardown(void **state)
{
    UNUSED(state);
    if (env.p != NULL)
        pool_destroy(env.p);
    rcu_thread_stop();
    rcu_flush();
    worker_drain(env.w);
    assert_true(list_empty(&env.r.instances));
    worker_destroy(env.w);
    return 0;
}

static const char *const addresses[] = {"127.0.0.1:1", "127.0.0.1:2", "[::1]:3", "unix:/run/app.sock"};
static const char *const names[] = {"a", "b", "c", "d"};

/* One digit per server is its weight; a `b` behind it makes it a backup. */
static void make_pool(const char *text)
{
    size_t count = 0;
    for (; *text != '\0'; text++) {
        if (*text == 'b') {
            env.servers[count - 1].backup = true;
            continue;
        }
        env.servers[count] = (struct config_server){
            .name = names[count], .address = addresses[count], .host = "localhost", .weight = *text - '0'};
        count++;
    }
    env.config = (struct config_pool){
        .name = "app", .sticky_cookie = env.sticky, .servers = env.servers, .server_count = count};
    env.p = pool_create(&env.r, &env.config, &env.key);
    assert_non_null(env.p);
    assert_true(pool_rebuild(env.p));
}

static struct instance *member(size_t i)
{
    return env.p->seats.items[i].instance;
}

static void expect_picks(const char *want)
{
    for (; *want != '\0'; want++) {
        struct instance *i = pool_pick(env.p, NULL, NULL, 0);
        if (*want == '-') {
            assert_null(i);
            continue;
        }
        assert_non_null(i);
        assert_int_equal(instance_name(i)[0], *want);
        assert_int_equal(instance_in_flight(i), 1);
        instance_release(i, FETCH_NONE);
    }
}

static void go(size_t i, enum instance_state s)
{
    instance_set_state(member(i), s, "test");
}

static void test_take_turns(void **state)
{
    UNUSED(state);
    make_pool("11");
    expect_picks("abababab");
    assert_ptr_equal(pool_config(env.p), &env.config);
}

static void test_weights(void **state)
{
    UNUSED(state);
    make_pool("511");
    expect_picks("aabacaaaabacaa");
}

static void test_zero_weight_is_drained(void **state)
{
    UNUSED(state);
    make_pool("101");
    expect_picks("acacac");
    go(0, INSTANCE_DOWN);
    go(2, INSTANCE_DOWN);
    expect_picks("---");
}

static void test_backups(void **state)
{
    UNUSED(state);
    make_pool("111b1b");
    expect_picks("abab");
    go(0, INSTANCE_DOWN);
    expect_picks("bbb");
    go(1, INSTANCE_DOWN);
    expect_picks("dcdc");
    go(2, INSTANCE_DOWN);
    expect_picks("dd");
    go(3, INSTANCE_DOWN);
    expect_picks("--");
    go(1, INSTANCE_UP);
    expect_picks("bb");
}

static void test_states_that_are_picked(void **state)
{
    UNUSED(state);
    make_pool("1");
    expect_picks("a"); /* starting */
    go(0, INSTANCE_UP);
    expect_picks("a");
    go(0, INSTANCE_EJECTED);
    expect_picks("-");
    go(0, INSTANCE_DOWN);
    expect_picks("-");
    go(0, INSTANCE_UP);
    expect_picks("a");
}

static void test_no_servers(void **state)
{
    UNUSED(state);
    make_pool("");
    expect_picks("--");
}

static void pick_trying(const char *tried_names, const char *allowed)
{
    struct instance *tried[4];
    size_t count = 0;
    for (; tried_names[count] != '\0'; count++)
        tried[count] = member((size_t)(tried_names[count] - 'a'));
    for (unsigned n = 0; n < 20; n++) {
        struct instance *i = pool_pick(env.p, NULL, tried, count);
        if (*allowed == '\0') {
            assert_null(i);
            continue;
        }
        assert_non_null(i);
        assert_non_null(strchr(allowed, instance_name(i)[0]));
        instance_release(i, FETCH_NONE);
    }
}

static void test_tried_are_avoided(void **state)
{
    UNUSED(state);
    make_pool("911b1b");
    pick_trying("a", "b");
    pick_trying("b", "a");
    pick_trying("aa", "b");
    pick_trying("ab", "cd");
    pick_trying("abc", "d");
    pick_trying("abcd", "ab");
    go(0, INSTANCE_DOWN);
    go(1, INSTANCE_DOWN);
    pick_trying("c", "d");
    pick_trying("cd", "cd");
    go(2, INSTANCE_DOWN);
    go(3, INSTANCE_DOWN);
    pick_trying("abcd", "");
}

static bool is_left(const char *tried_names)
{
    struct instance *tried[4];
    size_t count = 0;
    for (; tried_names[count] != '\0'; count++)
        tried[count] = member((size_t)(tried_names[count] - 'a'));
    return pool_has_untried(env.p, tried, count);
}

static void test_who_is_left_untried(void **state)
{
    UNUSED(state);
    make_pool("911b");
    assert_true(is_left("") && is_left("a") && is_left("ab") && is_left("bc"));
    assert_false(is_left("abc"));
    go(1, INSTANCE_DOWN);
    assert_true(is_left("a"));
    assert_false(is_left("ac"));
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(instance_in_flight(member(i)), 0); /* nobody is leased */
}

static void test_only_one_is_tried_again(void **state)
{
    UNUSED(state);
    make_pool("1");
    pick_trying("a", "a");
}

static void test_in_flight(void **state)
{
    UNUSED(state);
    make_pool("11");
    struct instance *a1 = pool_pick(env.p, NULL, NULL, 0);
    struct instance *b1 = pool_pick(env.p, NULL, NULL, 0);
    struct instance *a2 = pool_pick(env.p, NULL, NULL, 0);
    assert_ptr_equal(a1, a2);
    assert_int_equal(instance_in_flight(a1), 2);
    assert_int_equal(instance_in_flight(b1), 1);
    instance_release(a1, FETCH_NONE);
    instance_release(b1, FETCH_CANCELLED);
    instance_release(a2, FETCH_BAD_RESPONSE);
    assert_int_equal(instance_in_flight(a1), 0);
    assert_int_equal(a1->requests, 2);
    assert_int_equal(a1->failures, 1);
    assert_int_equal(b1->failures, 0);
}

/* The lease outlives the pool and the view it came from. */
static void test_lease_outlives_the_pool(void **state)
{
    UNUSED(state);
    make_pool("1");
    struct instance *i = pool_pick(env.p, NULL, NULL, 0);
    pool_destroy(env.p);
    env.p = NULL;
    worker_drain(env.w);
    assert_string_equal(instance_name(i), "a");
    instance_release(i, FETCH_NONE);
}

/* ---- many workers ---- */

static _Atomic bool done;
static _Atomic unsigned picked[4], nothing;

static void *pick_on(void *arg)
{
    const unsigned *rounds = arg;
    rcu_thread_start();
    for (unsigned n = 0; n < *rounds || (*rounds == 0 && !atomic_load(&done)); n++) {
        struct instance *i = pool_pick(env.p, NULL, NULL, 0);
        if (i == NULL) {
            atomic_fetch_add(&nothing, 1);
            continue;
        }
        atomic_fetch_add(&picked[instance_name(i)[0] - 'a'], 1);
        struct instance *second = *rounds == 0 ? pool_pick(env.p, NULL, &i, 1) : NULL;
        if (second != NULL)
            instance_release(second, FETCH_RESET);
        instance_release(i, n % 7 == 0 ? FETCH_CONNECT_REFUSED : FETCH_NONE);
    }
    rcu_thread_stop();
    return NULL;
}

static void run_threads(unsigned *rounds, void (*meanwhile)(void))
{
    pthread_t threads[4];
    for (size_t i = 0; i < ARRAY_LEN(picked); i++)
        picked[i] = 0;
    nothing = 0;
    done = false;
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, pick_on, rounds), 0);
    if (meanwhile != NULL)
        meanwhile();
    done = true;
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    worker_drain(env.w);
}

static void test_all_workers_share_the_turns(void **state)
{
    UNUSED(state);
    unsigned rounds = 3000;
    make_pool("31");
    run_threads(&rounds, NULL);
    assert_int_equal(picked[0], 3 * 3000);
    assert_int_equal(picked[1], 3000);
    assert_int_equal(nothing, 0);
    assert_int_equal(member(0)->requests, 3 * 3000);
    assert_int_equal(instance_in_flight(member(0)) + instance_in_flight(member(1)), 0);
}

static void change_states(void)
{
    for (unsigned n = 0; n < 1500; n++) {
        size_t i = n % 3;
        go(i, instance_is_usable(member(i)) ? INSTANCE_DOWN : INSTANCE_UP);
        if (n % 100 == 0)
            worker_drain(env.w);
    }
}

static void test_picking_while_states_change(void **state)
{
    UNUSED(state);
    unsigned forever = 0;
    make_pool("3211b");
    run_threads(&forever, change_states);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(instance_in_flight(member(i)), 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

/* ---- sticky_cookie ---- */

static void make_sticky_pool(const char *text)
{
    env.key = (struct sticky_key){.known = true};
    env.sticky = "srv";
    make_pool(text);
}

static void expect_pinned(size_t to, char want)
{
    struct pool_affinity a = {.pin = instance_id(member(to))};
    for (unsigned n = 0; n < 4; n++) {
        struct instance *i = pool_pick(env.p, &a, NULL, 0);
        assert_int_equal(instance_name(i)[0], want);
        instance_release(i, FETCH_NONE);
    }
}

static void test_pins(void **state)
{
    UNUSED(state);
    make_sticky_pool("111");
    for (size_t i = 0; i < 3; i++) {
        char own[STICKY_CHARS];
        const slice_t value = {own, sizeof own};
        const uint32_t pin = pool_pin_of_instance(env.p, member(i), own);
        assert_int_equal(pin, instance_id(member(i)));
        assert_int_equal(pool_pin_of_value(env.p, value), pin);
        assert_int_equal(pool_pin_of_value(env.p, slice_make(value.ptr, value.len - 1)), 0);
        expect_pinned(i, "abc"[i]);
    }
    assert_int_equal(pool_pin_of_value(env.p, SLICE_LIT("0123456789abcdef0123456789abcdef")), 0);
    assert_int_equal(pool_pin_of_value(env.p, SLICE_EMPTY), 0);
    expect_picks("abcabc"); /* who is not pinned takes turns: of the ones above, each raised the turn */
}

static void test_pinned_to_one_that_is_gone(void **state)
{
    UNUSED(state);
    make_sticky_pool("11");
    struct pool_affinity a = {.pin = instance_id(member(0))};
    struct instance *tried[1] = {member(0)}, *i = pool_pick(env.p, &a, tried, 1);
    assert_int_equal(instance_name(i)[0], 'b');
    instance_release(i, FETCH_NONE);
    go(0, INSTANCE_DOWN);
    expect_pinned(0, 'b');
    go(0, INSTANCE_UP);
    expect_pinned(0, 'a');
}

static void test_weight_0_keeps_its_visitors(void **state)
{
    UNUSED(state);
    make_sticky_pool("101");
    expect_picks("acac");
    expect_pinned(1, 'b');
    go(2, INSTANCE_DOWN);
    go(1, INSTANCE_DOWN);
    expect_pinned(1, 'a');
}

static void test_orders(void **state)
{
    UNUSED(state);
    struct order drained = {.drained = true, .weight = ORDER_WEIGHT_CONFIGURED}, weight = {.weight = 3};
    make_sticky_pool("110");
    env.p->members[0].order = &drained;
    assert_true(pool_rebuild(env.p));
    expect_picks("bbbb");
    expect_pinned(0, 'b'); /* a drained one keeps nobody */
    env.p->members[0].order = NULL;
    env.p->members[2].order = &weight;
    env.p->members[1].order = &drained;
    assert_true(pool_rebuild(env.p));
    unsigned picks_of_c = 0;
    for (unsigned n = 0; n < 8; n++) {
        struct instance *i = pool_pick(env.p, NULL, NULL, 0);
        picks_of_c += instance_name(i)[0] == 'c';
        instance_release(i, FETCH_NONE);
    }
    assert_int_equal(picks_of_c, 6);
    weight.weight = 0;
    assert_true(pool_rebuild(env.p));
    expect_picks("aaaa");
    expect_pinned(2, 'c');
}

static void test_backups_keep_visitors_only_while_used(void **state)
{
    UNUSED(state);
    make_sticky_pool("11b");
    expect_pinned(1, 'a');
    go(0, INSTANCE_DOWN);
    expect_pinned(1, 'b');
    go(0, INSTANCE_UP);
    expect_pinned(1, 'a');
}

/* ---- slow_start ---- */

static unsigned share_of_first(unsigned picks)
{
    unsigned n = 0;
    while (picks-- > 0) {
        struct instance *i = pool_pick(env.p, NULL, NULL, 0);
        n += i == member(0);
        instance_release(i, FETCH_NONE);
    }
    return n;
}

static void test_slow_start(void **state)
{
    UNUSED(state);
    make_pool("11");
    env.config.slow_start_ms = 10000;
    worker_refresh_clock(env.w);
    go(0, INSTANCE_UP); /* the first time is no return */
    assert_true(pool_rebuild(env.p));
    assert_false(env.p->ramping);
    go(0, INSTANCE_DOWN);
    go(0, INSTANCE_UP);
    assert_true(env.p->ramping);
    assert_int_equal(pool_share_percent(env.p, member(0)), 5);
    assert_int_equal(pool_share_percent(env.p, member(1)), 100);
    assert_int_equal(share_of_first(21), 1);
    env.w->now_us += 5000 * 1000;
    assert_true(pool_rebuild(env.p));
    assert_int_equal(share_of_first(30), 10);
    env.w->now_us += 5000 * 1000;
    assert_true(pool_rebuild(env.p));
    assert_false(env.p->ramping);
    assert_int_equal(share_of_first(30), 15);
    assert_int_equal(pool_ramp_step_ms(env.p), 500);
    env.config.slow_start_ms = 3600000;
    assert_int_equal(pool_ramp_step_ms(env.p), 1000);
    env.config.slow_start_ms = 1;
    assert_int_equal(pool_ramp_step_ms(env.p), 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_take_turns),
        T(test_weights),
        T(test_zero_weight_is_drained),
        T(test_backups),
        T(test_states_that_are_picked),
        T(test_no_servers),
        T(test_tried_are_avoided),
        T(test_who_is_left_untried),
        T(test_only_one_is_tried_again),
        T(test_in_flight),
        T(test_lease_outlives_the_pool),
        T(test_all_workers_share_the_turns),
        T(test_picking_while_states_change),
        cmocka_unit_test_setup_teardown(test_pins, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pinned_to_one_that_is_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_weight_0_keeps_its_visitors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_orders, setup, teardown),
        cmocka_unit_test_setup_teardown(test_backups_keep_visitors_only_while_used, setup, teardown),
        cmocka_unit_test_setup_teardown(test_slow_start, setup, teardown),
    };
    return cmocka_run_group_tests_name("balancer/pool", tests, NULL, NULL);
}
