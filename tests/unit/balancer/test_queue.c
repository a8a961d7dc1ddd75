/* test_queue.c: max_connections: how many an instance gets, who waits for whom, and that no lease is lost
 * between workers that give and take at the same moment. */
#include "tests/unit/balancer/fixture.h"

#include <pthread.h>
#include <sched.h>

#include "balancer/balancer.h"
#include "balancer/instance.h"
#include "balancer/queue.h"

static struct {
    struct worker *w;
    struct balancer *b;
    struct balancer_set *s;
} env;

static int setup(void **state)
{
    UNUSED(state);
    env.w = worker_create(-1);
    env.b = balancer_create(env.w);
    env.s = NULL;
    rcu_thread_start();
    return 0;
}

static int teardown(void **state)
{
    UNUSED(state);
    if (env.s != NULL)
        balancer_set_unref(env.s);
    rcu_thread_stop();
    balancer_destroy(env.b);
    worker_destroy(env.w);
    return 0;
}

#define OFF "[millpond]\nstate_dir = /tmp\n[pool app]\nhealth_check = off\n"
#define A   "server = 127.0.0.1:1 name=a max_connections=2\n"
#define B   "server = 127.0.0.1:2 name=b max_connections=1\n"

static void use(const char *text)
{
    char err[200];
    struct config *c = fixture_config(text);
    struct balancer_set *s = balancer_set_build(env.b, c, err, sizeof err);
    assert_non_null(s);
    config_unref(c);
    balancer_set_activate(env.b, s);
    if (env.s != NULL)
        balancer_set_unref(env.s);
    env.s = s;
}

static struct pool *pool(void)
{
    return balancer_set_pool(env.s, 0);
}

static struct instance *take(char want)
{
    struct instance *i;
    assert_int_equal(pool_pick_limited(pool(), NULL, NULL, 0, &i), POOL_PICKED);
    if (want != '?')
        assert_int_equal(instance_name(i)[0], want);
    return i;
}

static void expect_full(void)
{
    struct instance *i;
    assert_int_equal(pool_pick_limited(pool(), NULL, NULL, 0, &i), POOL_FULL);
    assert_null(i);
}

static struct instance *member_instance(const char *name)
{
    struct instance *all[8], *found = NULL;
    size_t n = 0;
    while (found == NULL && n < ARRAY_LEN(all)) {
        all[n] = pool_pick(pool(), NULL, NULL, 0);
        if (strcmp(instance_name(all[n]), name) == 0)
            found = all[n];
        n++;
    }
    while (n > 0)
        instance_release(all[--n], FETCH_CANCELLED);
    assert_non_null(found);
    return found;
}

struct waiter {
    struct queue_place place;
    struct instance *got;
};

static void on_grant(struct queue_place *p, struct instance *i)
{
    CONTAINER_OF(p, struct waiter, place)->got = i;
}

static void wait_for(struct waiter *w, const struct instance *pin)
{
    *w = (struct waiter){.place = {.worker = env.w, .on_grant = on_grant, .pin = pin}};
    assert_true(queue_enter(pool_queue(pool()), &w->place, 3));
}

static void expect_got(const struct waiter *w, char want)
{
    worker_drain(env.w);
    if (want == '-') {
        assert_null(w->got);
        return;
    }
    assert_non_null(w->got);
    assert_int_equal(instance_name(w->got)[0], want);
}

static void test_limits(void **state)
{
    UNUSED(state);
    use(OFF A B);
    assert_true(pool_is_limited(pool()));
    struct instance *held[3] = {take('?'), take('?'), take('?')};
    unsigned of_a = 0;
    for (unsigned i = 0; i < 3; i++)
        of_a += instance_name(held[i])[0] == 'a';
    assert_int_equal(of_a, 2);
    expect_full();
    instance_release(held[0], FETCH_NONE);
    struct instance *again = take(instance_name(held[0])[0]);
    expect_full();
    instance_release(again, FETCH_NONE);
    instance_release(held[1], FETCH_NONE);
    instance_release(held[2], FETCH_NONE);
    use(OFF "server = 127.0.0.1:1 name=a\n");
    assert_false(pool_is_limited(pool()));
}

/* Who tried one goes to another, waits for it, and comes back only when there is no other. */
static void test_tried_ones_and_backups(void **state)
{
    UNUSED(state);
    struct instance *out;
    use(OFF A B "server = 127.0.0.1:3 name=c backup\n");
    struct instance *a = member_instance("a"), *b = member_instance("b");
    struct instance *tried[] = {a, b};
    assert_int_equal(pool_pick_limited(pool(), NULL, tried, 1, &out), POOL_PICKED);
    assert_ptr_equal(out, b);
    assert_int_equal(pool_pick_limited(pool(), NULL, tried, 1, &out), POOL_FULL); /* b is */
    instance_release(b, FETCH_NONE);
    struct instance *held[3] = {take('?'), take('?'), take('?')};
    expect_full(); /* a backup is not for when the others are busy */
    assert_int_equal(pool_pick_limited(pool(), NULL, tried, 2, &out), POOL_PICKED);
    assert_int_equal(instance_name(out)[0], 'c'); /* but for when they fail */
    instance_release(out, FETCH_NONE);
    for (unsigned i = 0; i < 3; i++)
        instance_release(held[i], FETCH_NONE);
}

static void test_nobody_is_usable(void **state)
{
    UNUSED(state);
    struct instance *out;
    use(OFF B);
    instance_set_state(member_instance("b"), INSTANCE_DOWN, "test");
    assert_int_equal(pool_pick_limited(pool(), NULL, NULL, 0, &out), POOL_EMPTY);
}

static void test_first_come_first_served(void **state)
{
    UNUSED(state);
    struct waiter w[3], more = {.place = {.worker = env.w, .on_grant = on_grant}};
    use(OFF B);
    struct instance *b = take('b');
    for (unsigned i = 0; i < 3; i++)
        wait_for(&w[i], NULL);
    assert_false(queue_enter(pool_queue(pool()), &more.place, 3));
    assert_int_equal(queue_length(pool_queue(pool())), 3);
    assert_true(queue_leave(pool_queue(pool()), &w[1].place));
    instance_release(b, FETCH_NONE);
    expect_got(&w[0], 'b');
    expect_got(&w[2], '-');
    assert_int_equal(instance_in_flight(b), 1);
    instance_release(w[0].got, FETCH_NONE);
    expect_got(&w[2], 'b');
    assert_int_equal(queue_length(pool_queue(pool())), 0);
    expect_got(&w[1], '-');
    instance_release(w[2].got, FETCH_NONE);
    assert_int_equal(instance_in_flight(b), 0);
}

/* The grant is on its way when its client leaves. */
static void test_leaving_too_late(void **state)
{
    UNUSED(state);
    struct waiter w;
    use(OFF B);
    struct instance *b = take('b');
    wait_for(&w, NULL);
    instance_release(b, FETCH_NONE);
    assert_false(queue_leave(pool_queue(pool()), &w.place));
    expect_full();
    expect_got(&w, 'b');
    instance_release(b, FETCH_NONE);
    instance_release(take('b'), FETCH_NONE);
}

static void test_pinned_ones_wait_for_theirs(void **state)
{
    UNUSED(state);
    struct waiter pinned, any;
    use(OFF "sticky_cookie = srv\n" A B);
    struct pool_affinity affinity = {.pin = instance_id(member_instance("b"))};
    struct instance *b, *out, *a[2];
    assert_int_equal(pool_pick_limited(pool(), &affinity, NULL, 0, &b), POOL_PICKED);
    assert_int_equal(instance_name(b)[0], 'b');
    assert_int_equal(pool_pick_limited(pool(), &affinity, NULL, 0, &out), POOL_FULL); /* though a is not */
    assert_ptr_equal(out, b);
    a[0] = take('a');
    a[1] = take('a');
    wait_for(&pinned, b);
    wait_for(&any, NULL);
    instance_release(a[0], FETCH_NONE);
    expect_got(&pinned, '-');
    expect_got(&any, 'a');
    instance_release(b, FETCH_NONE);
    expect_got(&pinned, 'b');
    instance_release(pinned.got, FETCH_NONE);
    instance_release(any.got, FETCH_NONE);
    instance_release(a[1], FETCH_NONE);
}

static mono_ms_t drop_at_ms(struct waiter *w, mono_ms_t now_ms)
{
    *w = (struct waiter){.place = {.worker = env.w, .on_grant = on_grant, .entered_ms = now_ms}};
    assert_true(queue_enter(pool_queue(pool()), &w->place, 3));
    return queue_drop_at_ms(&w->place, 100);
}

/* A crowd may take ten targets; in a queue that has stood for longer each waits for one. */
static void test_when_one_is_dropped(void **state)
{
    UNUSED(state);
    struct waiter w[3];
    use(OFF A);
    struct instance *held[2] = {take('a'), take('a')};
    struct queue *q = pool_queue(pool());
    assert_int_equal(drop_at_ms(&w[0], 5000), 6000);
    assert_int_equal(drop_at_ms(&w[1], 5700), 6000);
    assert_true(queue_leave(q, &w[0].place));
    assert_int_equal(drop_at_ms(&w[2], 5950), 6050);
    assert_int_equal(drop_at_ms(&w[0], 9000), 9100);
    for (unsigned i = 0; i < 3; i++)
        assert_true(queue_leave(q, &w[i].place));
    assert_int_equal(drop_at_ms(&w[0], 9001), 10001); /* it was empty */
    assert_true(queue_leave(q, &w[0].place));
    assert_true(queue_tells_of_drops(q, 100000));
    assert_false(queue_tells_of_drops(q, 159999));
    assert_true(queue_tells_of_drops(q, 160000));
    instance_release(held[0], FETCH_NONE);
    instance_release(held[1], FETCH_NONE);
}

/* Nobody waits for one that takes nobody any more: drained, or no longer there. */
static void test_pinned_ones_move_on(void **state)
{
    UNUSED(state);
    struct waiter w[2];
    use(OFF "sticky_cookie = srv\n" A B);
    struct pool_affinity affinity = {.pin = instance_id(member_instance("b"))};
    struct instance *b, *a[2];
    assert_int_equal(pool_pick_limited(pool(), &affinity, NULL, 0, &b), POOL_PICKED);
    a[0] = take('a');
    a[1] = take('a');
    wait_for(&w[0], b);
    struct balancer_order o = {.kind = BALANCER_DRAIN, .pool = "app", .server = "b", .who = "me"};
    assert_int_equal(balancer_order(env.b, &o), BALANCER_ORDERED);
    instance_release(a[0], FETCH_NONE);
    expect_got(&w[0], 'a');
    o.kind = BALANCER_READY;
    assert_int_equal(balancer_order(env.b, &o), BALANCER_ORDERED);
    wait_for(&w[1], b);
    instance_release(w[0].got, FETCH_NONE);
    expect_got(&w[1], '-');
    use(OFF "sticky_cookie = srv\n" A);
    expect_got(&w[1], 'a');
    assert_int_equal(balancer_retire(env.b, "app", "b"), 1);
    instance_release(w[1].got, FETCH_NONE);
    instance_release(a[1], FETCH_NONE);
    instance_release(b, FETCH_NONE);
}

/* As member_renew_probe does: what is asked from now on changes, not who takes requests. */
static void test_new_files_for_tls_take_nobody_out_of_use(void **state)
{
    UNUSED(state);
    struct waiter w;
    use(OFF B);
    struct instance *b = take('b');
    wait_for(&w, NULL);
    instance_watch(b, &(struct health_settings){.kind = CONFIG_HEALTH_OFF});
    instance_release(b, FETCH_NONE);
    expect_got(&w, 'b');
    instance_release(w.got, FETCH_NONE);
}

/* What makes room besides the end of a request: an instance that comes back, another limit, an order. */
static void test_room_from_elsewhere(void **state)
{
    UNUSED(state);
    struct waiter w[3];
    use(OFF B "server = 127.0.0.1:3 name=c max_connections=1\n");
    struct instance *c = member_instance("c");
    instance_set_state(c, INSTANCE_DOWN, "test");
    struct instance *b = take('b');
    wait_for(&w[0], NULL);
    wait_for(&w[1], NULL);
    instance_set_state(c, INSTANCE_UP, "test");
    expect_got(&w[0], 'c');
    expect_got(&w[1], '-');
    wait_for(&w[2], NULL);
    use(OFF "server = 127.0.0.1:2 name=b max_connections=2\nserver = 127.0.0.1:3 name=c max_connections=1\n");
    expect_got(&w[1], 'b');
    expect_got(&w[2], '-');
    struct balancer_order o = {.kind = BALANCER_DRAIN, .pool = "app", .server = "b", .who = "me"};
    assert_int_equal(balancer_order(env.b, &o), BALANCER_ORDERED);
    instance_release(b, FETCH_NONE);
    instance_release(w[1].got, FETCH_NONE);
    expect_got(&w[2], '-'); /* it is drained */
    o.kind = BALANCER_READY;
    assert_int_equal(balancer_order(env.b, &o), BALANCER_ORDERED);
    expect_got(&w[2], 'b');
    instance_release(w[2].got, FETCH_NONE);
    instance_release(w[0].got, FETCH_NONE);
}

static void test_a_server_that_is_gone_gets_nobody(void **state)
{
    UNUSED(state);
    struct waiter w;
    use(OFF B "server = 127.0.0.1:3 name=c max_connections=1\n");
    struct instance *held[2] = {take('?'), take('?')};
    struct instance *b = instance_name(held[0])[0] == 'b' ? held[0] : held[1];
    struct instance *c = b == held[0] ? held[1] : held[0];
    wait_for(&w, NULL);
    use(OFF "server = 127.0.0.1:3 name=c max_connections=1\n");
    instance_release(b, FETCH_NONE);
    expect_got(&w, '-');
    instance_release(c, FETCH_NONE);
    expect_got(&w, 'c');
    instance_release(w.got, FETCH_NONE);
}

/* Nor does one that is down, though its lease comes back. */
static void test_a_server_that_is_down_gets_nobody(void **state)
{
    UNUSED(state);
    struct waiter w;
    use(OFF B "server = 127.0.0.1:3 name=c max_connections=1\n");
    struct instance *held[2] = {take('?'), take('?')};
    wait_for(&w, NULL);
    instance_set_state(held[0], INSTANCE_DOWN, "test");
    instance_release(held[0], FETCH_NONE);
    expect_got(&w, '-');
    instance_release(held[1], FETCH_NONE);
    expect_got(&w, instance_name(held[1])[0]);
    instance_release(w.got, FETCH_NONE);
}

/* ---- many at once ---- */

#define THREADS 3
#define ROUNDS  500

static _Atomic int at_b;
static _Atomic bool too_many;

struct taker {
    struct waiter w;
    struct worker *worker;
    pthread_t thread;
};

/* For ever, if a lease were lost. */
static void drain_until_granted(struct taker *t)
{
    for (; t->w.got == NULL; sched_yield())
        worker_drain(t->worker);
}

/* Takes and gives back, and waits like a worker that has nothing else to do. */
static void *take_and_give(void *arg)
{
    struct taker *t = arg;
    struct queue *q = pool_queue(pool());
    rcu_thread_start();
    for (unsigned n = 0; n < ROUNDS; n++) {
        struct instance *i;
        if (pool_pick_limited(pool(), NULL, NULL, 0, &i) == POOL_FULL) {
            t->w = (struct waiter){.place = {.worker = t->worker, .on_grant = on_grant}};
            assert_true(queue_enter(q, &t->w.place, THREADS));
            enum pool_pick_result r = pool_pick_limited(pool(), NULL, NULL, 0, &i);
            if (r == POOL_PICKED && !queue_leave(q, &t->w.place)) {
                drain_until_granted(t);
                instance_release(t->w.got, FETCH_CANCELLED);
            }
            if (r == POOL_FULL) {
                drain_until_granted(t);
                i = t->w.got;
            }
        }
        if (atomic_fetch_add(&at_b, 1) >= 1)
            atomic_store(&too_many, true);
        sched_yield(); /* so that the others come meanwhile */
        atomic_fetch_sub(&at_b, 1);
        instance_release(i, FETCH_NONE);
    }
    rcu_thread_stop();
    return NULL;
}

static void test_no_lease_is_lost(void **state)
{
    UNUSED(state);
    struct taker t[THREADS] = {0};
    use(OFF B);
    for (unsigned n = 0; n < THREADS; n++) {
        t[n].worker = worker_create((int)n);
        assert_int_equal(pthread_create(&t[n].thread, NULL, take_and_give, &t[n]), 0);
    }
    for (unsigned n = 0; n < THREADS; n++)
        pthread_join(t[n].thread, NULL);
    assert_false(atomic_load(&too_many));
    assert_int_equal(queue_length(pool_queue(pool())), 0);
    assert_int_equal(instance_in_flight(member_instance("b")), 0);
    for (unsigned n = 0; n < THREADS; n++)
        worker_destroy(t[n].worker);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_limits),
        T(test_tried_ones_and_backups),
        T(test_nobody_is_usable),
        T(test_first_come_first_served),
        T(test_leaving_too_late),
        T(test_pinned_ones_wait_for_theirs),
        T(test_when_one_is_dropped),
        T(test_pinned_ones_move_on),
        T(test_new_files_for_tls_take_nobody_out_of_use),
        T(test_room_from_elsewhere),
        T(test_a_server_that_is_gone_gets_nobody),
        T(test_a_server_that_is_down_gets_nobody),
        T(test_no_lease_is_lost),
    };
    return cmocka_run_group_tests_name("balancer/queue", tests, NULL, NULL);
}
