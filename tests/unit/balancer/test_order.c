/* test_order.c: what operators order about servers: who is picked from then on, by whom it is forgotten, and
 * that nobody drains the last one unawares. */
#include "tests/unit/balancer/fixture.h"

#include "balancer/balancer.h"
#include "balancer/instance.h"

static struct {
    struct worker *w;
    struct balancer *b;
} env;

static int setup(void **state)
{
    UNUSED(state);
    env.w = worker_create(-1);
    env.b = balancer_create(env.w);
    rcu_thread_start();
    return 0;
}

static int teardown(void **state)
{
    UNUSED(state);
    rcu_thread_stop();
    balancer_destroy(env.b);
    worker_destroy(env.w);
    return 0;
}

#define OFF "[pool app]\nhealth_check = off\n"
#define TWO OFF "server = 127.0.0.1:1 name=a\nserver = 127.0.0.1:2 name=b\n"

/* The active set, which the caller may unref. */
static struct balancer_set *use(const char *text)
{
    char err[200];
    struct config *c = fixture_config(text);
    struct balancer_set *s = balancer_set_build(env.b, c, err, sizeof err);
    assert_non_null(s);
    config_unref(c);
    balancer_set_activate(env.b, s);
    return s;
}

/* As many picks as letters, each instance as often as it stands there; '-' is nobody. */
static void expect_picks(struct balancer_set *s, const char *want)
{
    int count[128] = {0};
    for (const char *p = want; *p != '\0'; p++) {
        struct instance *i = pool_pick(balancer_set_pool(s, 0), NULL, NULL, 0);
        count[(unsigned char)*p]++;
        count[i != NULL ? (unsigned char)instance_name(i)[0] : '-']--;
        if (i != NULL)
            instance_release(i, FETCH_NONE);
    }
    for (size_t c = 0; c < ARRAY_LEN(count); c++)
        assert_int_equal(count[c], 0);
}

static enum balancer_order_result order(enum balancer_order_kind kind, const char *server, int weight)
{
    return balancer_order(env.b,
                          &(struct balancer_order){
                              .kind = kind, .pool = "app", .server = server, .who = "me", .weight = weight});
}

static struct instance_info seen[4];
static char seen_reason[4][200];

static void note(void *arg, const struct instance_info *info)
{
    size_t *n = arg;
    assert_true(*n < ARRAY_LEN(seen));
    snprintf(seen_reason[*n], sizeof seen_reason[0], "%s", info->reason);
    seen[(*n)++] = *info;
}

static void look(void)
{
    size_t n = 0;
    balancer_each_instance(env.b, note, &n);
}

static void test_drain_and_ready(void **state)
{
    UNUSED(state);
    struct balancer_set *s = use(TWO);
    struct instance *running = pool_pick(balancer_set_pool(s, 0), NULL, NULL, 0);
    assert_int_equal(order(BALANCER_DRAIN, "a", 0), BALANCER_ORDERED);
    expect_picks(s, "bbbb");
    look();
    assert_int_equal(seen[0].state, INSTANCE_DRAINING);
    assert_string_equal(seen_reason[0], "by me; it is up: health_check = off");
    assert_int_equal(seen[0].in_flight, 1); /* goes on */
    instance_release(running, FETCH_NONE);
    assert_int_equal(order(BALANCER_READY, "a", 0), BALANCER_ORDERED);
    expect_picks(s, "abab");
    look();
    assert_int_equal(seen[0].state, INSTANCE_UP);
    balancer_set_unref(s);
}

static void test_weights(void **state)
{
    UNUSED(state);
    struct balancer_set *s = use(TWO);
    assert_int_equal(order(BALANCER_WEIGHT, "a", 3), BALANCER_ORDERED);
    expect_picks(s, "aaba");
    look();
    assert_int_equal(seen[0].weight, 3);
    assert_int_equal(seen[0].configured_weight, 1);
    assert_int_equal(order(BALANCER_DRAIN, "a", 0), BALANCER_ORDERED);
    assert_int_equal(order(BALANCER_READY, "a", 0), BALANCER_ORDERED);
    expect_picks(s, "aaba"); /* ready is about draining only */
    assert_int_equal(order(BALANCER_WEIGHT, "a", 0), BALANCER_ORDERED);
    expect_picks(s, "bb");
    assert_int_equal(order(BALANCER_WEIGHT, "a", -1), BALANCER_ORDERED);
    expect_picks(s, "abab");
    balancer_set_unref(s);
}

static void test_names_that_are_not_there(void **state)
{
    UNUSED(state);
    struct balancer_order o = {.kind = BALANCER_DRAIN, .pool = "ap", .server = "a", .who = "me"};
    assert_int_equal(balancer_order(env.b, &o), BALANCER_NO_POOL); /* nothing is there yet */
    balancer_set_unref(use(TWO));
    assert_int_equal(balancer_order(env.b, &o), BALANCER_NO_POOL);
    assert_int_equal(order(BALANCER_DRAIN, "c", 0), BALANCER_NO_SERVER);
}

static void test_the_last_one(void **state)
{
    UNUSED(state);
    struct balancer_set *s = use(TWO);
    assert_int_equal(order(BALANCER_DRAIN, "a", 0), BALANCER_ORDERED);
    assert_int_equal(order(BALANCER_DRAIN, "b", 0), BALANCER_LAST_ONE);
    assert_int_equal(order(BALANCER_WEIGHT, "b", 0), BALANCER_LAST_ONE);
    assert_int_equal(order(BALANCER_WEIGHT, "b", 2), BALANCER_ORDERED);
    assert_int_equal(order(BALANCER_DRAIN, "a", 0), BALANCER_ORDERED); /* again: takes nothing away */
    expect_picks(s, "bb");
    struct balancer_order o = {
        .kind = BALANCER_DRAIN, .pool = "app", .server = "b", .who = "me", .force = true};
    assert_int_equal(balancer_order(env.b, &o), BALANCER_ORDERED);
    expect_picks(s, "--");
    balancer_set_unref(s);
}

/* Its only company has failed: draining it would let those come back. */
static void test_ejected_ones_come_back(void **state)
{
    UNUSED(state);
    struct balancer_set *s = use(TWO);
    struct instance *a = pool_pick(balancer_set_pool(s, 0), NULL, NULL, 0);
    a->passive.until_ms = INT64_MAX;
    instance_set_state(a, INSTANCE_EJECTED, "test");
    instance_release(a, FETCH_NONE);
    expect_picks(s, "bb");
    assert_int_equal(order(BALANCER_DRAIN, "b", 0), BALANCER_ORDERED);
    expect_picks(s, "aa");
    balancer_set_unref(s);
}

static void test_orders_outlive_a_reload(void **state)
{
    UNUSED(state);
    struct balancer_set *old = use(TWO);
    assert_int_equal(order(BALANCER_DRAIN, "a", 0), BALANCER_ORDERED);
    struct balancer_set *new = use(OFF "server = 127.0.0.1:3 name=a\nserver = 127.0.0.1:2 name=b weight=2\n");
    expect_picks(new, "bb"); /* though a has another address now */
    assert_int_equal(order(BALANCER_READY, "a", 0), BALANCER_ORDERED);
    assert_int_equal(order(BALANCER_DRAIN, "b", 0), BALANCER_ORDERED);
    expect_picks(new, "aa");
    expect_picks(old, "aa"); /* what began before the reload goes by it, too */
    balancer_set_unref(old);
    balancer_set_unref(new);
    new = use(OFF "server = 127.0.0.1:1 name=a\n"); /* b is gone, and with it what was ordered */
    balancer_set_unref(new);
    new = use(TWO);
    expect_picks(new, "abab");
    balancer_set_unref(new);
}

/* Requests that began with an older set keep away from what the active one has no more, once that was said.
 */
static void test_retired_ones_get_nothing_from_older_sets(void **state)
{
    UNUSED(state);
    struct balancer_set *old = use(TWO);
    struct instance *held = pool_pick(balancer_set_pool(old, 0), NULL, NULL, 0);
    assert_int_equal(instance_name(held)[0], 'a');
    assert_false(balancer_is_last(env.b, "app", "a"));
    assert_false(balancer_is_last(env.b, "app", "none"));
    struct balancer_set *new = use(OFF "server = 127.0.0.1:2 name=b\n");
    expect_picks(old, "abab"); /* a reload alone does not do that */
    assert_int_equal(balancer_retire(env.b, "app", "a"), 1);
    expect_picks(old, "bbbb");
    assert_true(balancer_is_last(env.b, "app", "b"));
    instance_release(held, FETCH_NONE);
    assert_int_equal(balancer_retire(env.b, "app", "a"), 0);
    balancer_set_unref(new);
    new = use(TWO); /* it comes back */
    expect_picks(new, "abab");
    expect_picks(old, "bbbb");
    balancer_set_unref(new);
    balancer_set_unref(old);
}

/* A server has another address now, as by another answer for its name: what runs at the old one runs at the
 * server all the same. */
static void test_what_runs_at_an_address_that_is_gone(void **state)
{
    UNUSED(state);
    struct balancer_set *old = use(TWO);
    struct instance *held = pool_pick(balancer_set_pool(old, 0), NULL, NULL, 0);
    assert_int_equal(instance_name(held)[0], 'a');
    look();
    assert_int_equal(seen[0].leaving, 0);
    struct balancer_set *new = use(OFF "server = 127.0.0.1:3 name=a\nserver = 127.0.0.1:2 name=b\n");
    assert_int_equal(order(BALANCER_DRAIN, "a", 0), BALANCER_ORDERED);
    look();
    assert_int_equal(seen[0].in_flight, 0);
    assert_int_equal(seen[0].leaving, 1);
    assert_int_equal(seen[1].leaving, 0);
    instance_release(held, FETCH_NONE);
    look();
    assert_int_equal(seen[0].leaving, 0);
    balancer_set_unref(new);
    balancer_set_unref(old);
}

static void note_order(void *arg, const struct balancer_order *o)
{
    char *text = arg;
    snprintf(text + strlen(text), 100 - strlen(text), "%s/%s %s %d by %s; ", o->pool, o->server,
             o->kind == BALANCER_DRAIN ? "drain" : "weight", o->weight, o->who);
}

/* For a process that takes this one's place. */
static void test_orders_can_be_given_again(void **state)
{
    UNUSED(state);
    char text[100] = "";
    struct balancer_set *s = use(TWO);
    balancer_each_order(env.b, note_order, text);
    assert_string_equal(text, "");
    assert_int_equal(order(BALANCER_DRAIN, "a", 0), BALANCER_ORDERED);
    assert_int_equal(order(BALANCER_WEIGHT, "b", 7), BALANCER_ORDERED);
    balancer_each_order(env.b, note_order, text);
    assert_string_equal(text, "app/a drain -1 by me; app/b weight 7 by ; ");
    assert_int_equal(order(BALANCER_READY, "a", 0), BALANCER_ORDERED);
    assert_int_equal(order(BALANCER_WEIGHT, "b", -1), BALANCER_ORDERED);
    text[0] = '\0';
    balancer_each_order(env.b, note_order, text);
    assert_string_equal(text, "");
    balancer_set_unref(s);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_drain_and_ready),
        T(test_weights),
        T(test_names_that_are_not_there),
        T(test_the_last_one),
        T(test_ejected_ones_come_back),
        T(test_orders_outlive_a_reload),
        T(test_orders_can_be_given_again),
        T(test_retired_ones_get_nothing_from_older_sets),
        T(test_what_runs_at_an_address_that_is_gone),
    };
    return cmocka_run_group_tests_name("balancer/order", tests, NULL, NULL);
}
