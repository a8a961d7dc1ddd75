/* test_upstream_pool.c: which idle connection a worker gets: its own, the one used last; then one that
 * another worker had too many of; never one that is dead, too old, or another instance's. */
#include "proxy/upstream_pool.h"

#include <event2/event.h>

#include "fixture.h"

#include "balancer/instance.h"
#include "core/tls_target.h"

#include "proxy/upstream_conn.h"

#define IDLE_MS 60000

struct pools {
    struct proxy_fix f;
    struct worker *other_worker;
    struct proxy_worker *other;
    struct instance *a, *b; /* leases */
};

static void start(struct pools *p)
{
    fix_start(&p->f, "[pool app]\nserver = 127.0.0.1:9\nserver = 127.0.0.1:10\nhealth_check = off\n", false);
    p->f.server.spill = upstream_spill_create();
    p->other_worker = worker_create(1);
    assert_true(p->f.server.spill != NULL && p->other_worker != NULL);
    p->other_worker->metrics = metrics_shard_new();
    p->other = proxy_worker_create(&p->f.server, p->other_worker, NULL, p->f.snapshot);
    p->a = pool_pick(p->f.snapshot->routes[0].pool, NULL, NULL, 0);
    p->b = pool_pick(p->f.snapshot->routes[0].pool, NULL, &p->a, 1);
    assert_true(p->other != NULL && p->a != NULL && p->b != NULL && p->a != p->b);
}

static void end(struct pools *p)
{
    upstream_pool_close_all(p->f.pw);
    upstream_pool_close_all(p->other);
    upstream_spill_destroy(p->f.server.spill);
    instance_release(p->a, FETCH_NONE);
    instance_release(p->b, FETCH_NONE);
    worker_drain(p->other_worker);
    proxy_worker_destroy(p->other);
    metrics_shard_free(p->other_worker->metrics);
    worker_destroy(p->other_worker);
    fix_end(&p->f);
}

/* A connection to `i` that has just finished a response goes to the pool of `pw`; the instance's end in
 * *peer. */
static int put(struct proxy_worker *pw, struct instance *i, unsigned max_idle, int *peer)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    struct upstream_conn *u = upstream_conn_adopt(pw, pair[0], instance_ref(i));
    assert_non_null(u);
    upstream_pool_put(pw, u, max_idle, IDLE_MS);
    *peer = pair[1];
    return pair[0];
}

/* Takes one and closes it; its descriptor, or -1. */
static int take(struct proxy_worker *pw, struct instance *i, bool repeatable)
{
    struct upstream_conn *u = upstream_pool_take(pw, i, repeatable);
    if (u == NULL)
        return -1;
    assert_ptr_equal(u->instance, i);
    int fd = u->fd;
    upstream_conn_close(&u);
    return fd;
}

static bool peer_is_closed(int fd)
{
    char byte;
    return read(fd, &byte, 1) == 0;
}

/* Two requests end on an instance that nobody uses any more: neither connection goes to who would keep it. */
static void test_what_is_retired_is_not_spilled(void **state)
{
    UNUSED(state);
    struct pools p;
    int peer[2];
    start(&p);
    instance_retire(p.a);
    for (unsigned i = 0; i < 2; i++)
        put(p.f.pw, p.a, 1, &peer[i]);
    assert_true(peer_is_closed(peer[0]) || peer_is_closed(peer[1]));
    upstream_pool_close_retired(p.f.pw);
    for (unsigned i = 0; i < 2; i++) {
        assert_true(peer_is_closed(peer[i]));
        close(peer[i]);
    }
    end(&p);
}

/* What was begun by other settings, or without TLS, is another connection (its target is only compared). */
static void test_how_it_began_counts(void **state)
{
    UNUSED(state);
    static struct tls_target mine, other;
    struct pools p;
    int peers[2];
    start(&p);
    put(p.f.pw, p.a, 8, &peers[0]);
    assert_null(upstream_pool_take_tls(p.f.pw, p.a, &mine, true));
    int plain = take(p.f.pw, p.a, true);
    assert_true(plain >= 0);
    put(p.f.pw, p.a, 8, &peers[1]);
    struct upstream_conn *u = CONTAINER_OF(p.f.pw->upstreams.idle.next, struct upstream_conn, node);
    u->target = &mine;
    assert_int_equal(take(p.f.pw, p.a, true), -1);
    assert_null(upstream_pool_take_tls(p.f.pw, p.a, &other, true));
    assert_ptr_equal(upstream_pool_take_tls(p.f.pw, p.a, &mine, true), u);
    u->target = NULL;
    upstream_conn_close(&u);
    for (unsigned i = 0; i < 2; i++)
        close(peers[i]);
    end(&p);
}

static void test_own_and_last_used_first(void **state)
{
    UNUSED(state);
    struct pools p;
    int peers[3];
    start(&p);
    int first = put(p.f.pw, p.a, 8, &peers[0]), wrong = put(p.f.pw, p.b, 8, &peers[1]);
    int last = put(p.f.pw, p.a, 8, &peers[2]);
    assert_int_equal(take(p.f.pw, p.a, true), last);
    assert_int_equal(take(p.f.pw, p.a, true), first);
    assert_int_equal(take(p.f.pw, p.a, true), -1);
    assert_int_equal(take(p.other, p.b, true), -1); /* idle ones below the limit are the worker's own */
    assert_int_equal(take(p.f.pw, p.b, true), wrong);
    for (size_t i = 0; i < ARRAY_LEN(peers); i++)
        close(peers[i]);
    end(&p);
}

static void test_surplus_serves_another_worker(void **state)
{
    UNUSED(state);
    struct pools p;
    int peers[3];
    start(&p);
    int oldest = put(p.f.pw, p.a, 1, &peers[0]);
    int kept_b = put(p.f.pw, p.b, 1, &peers[1]); /* the limit is per instance */
    int newest = put(p.f.pw, p.a, 1, &peers[2]);
    assert_int_equal(p.f.pw->upstreams.count, 2);
    uint64_t before = metrics_total(METRIC_UPSTREAM_SPILL_TAKEN);
    assert_int_equal(take(p.other, p.b, true), -1);
    assert_int_equal(take(p.other, p.a, true), oldest);
    assert_int_equal(take(p.other, p.a, true), -1);
    assert_int_equal(metrics_total(METRIC_UPSTREAM_SPILL_TAKEN) - before, 1);
    assert_int_equal(take(p.f.pw, p.a, true), newest);
    assert_int_equal(take(p.f.pw, p.b, true), kept_b);
    for (size_t i = 0; i < ARRAY_LEN(peers); i++)
        close(peers[i]);
    end(&p);
}

static void test_dead_and_old_ones_are_not_given(void **state)
{
    UNUSED(state);
    struct pools p;
    int peers[4], keep;
    start(&p);
    put(p.f.pw, p.a, 1, &peers[0]);
    put(p.f.pw, p.a, 1, &peers[1]); /* the first is in the spill now */
    close(peers[0]);
    assert_int_equal(take(p.other, p.a, true), -1);
    close(peers[1]); /* idle in its own pool: the end is an event */
    event_base_loop(p.f.worker->base, EVLOOP_NONBLOCK);
    assert_int_equal(p.f.pw->upstreams.count, 0);

    put(p.f.pw, p.a, 1, &peers[2]);
    put(p.f.pw, p.a, 1, &keep);
    /* the spilled one is past idle_timeout */
    p.other_worker->now_us = p.f.worker->now_us + (mono_us_t)(IDLE_MS + 1) * 1000;
    assert_int_equal(take(p.other, p.a, true), -1);
    assert_true(peer_is_closed(peers[2]));
    close(peers[2]);
    close(keep);
    end(&p);
}

static void test_what_must_not_be_sent_twice_wants_a_young_one(void **state)
{
    UNUSED(state);
    struct pools p;
    int peers[2];
    start(&p);
    int fd = put(p.f.pw, p.a, 1, &peers[0]);
    p.f.worker->now_us += 1100 * 1000;
    assert_int_equal(take(p.f.pw, p.a, false), -1);
    assert_int_equal(take(p.f.pw, p.a, true), fd);
    close(peers[0]);
    fd = put(p.f.pw, p.a, 1, &peers[0]);
    p.f.worker->now_us += 900 * 1000;
    assert_int_equal(take(p.f.pw, p.a, false), fd);
    close(peers[0]);
    end(&p);
}

/* Nor does it take an old one that another worker had too many of. */
static void test_young_ones_of_others(void **state)
{
    UNUSED(state);
    struct pools p;
    int peers[4];
    start(&p);
    for (unsigned i = 0; i < 2; i++)
        put(p.f.pw, p.a, 1, &peers[i]);
    p.other_worker->now_us = p.f.worker->now_us + 2000000;
    assert_int_equal(take(p.other, p.a, false), -1);
    assert_true(peer_is_closed(peers[0])); /* given up: it was the only one to be had */
    put(p.f.pw, p.a, 1, &peers[2]);
    assert_true(take(p.other, p.a, true) >= 0);
    put(p.f.pw, p.a, 1, &peers[3]);
    p.other_worker->now_us = p.f.worker->now_us;
    assert_true(take(p.other, p.a, false) >= 0);
    for (unsigned i = 0; i < ARRAY_LEN(peers); i++)
        close(peers[i]);
    end(&p);
}

static void test_nor_one_whose_end_has_come_unseen(void **state)
{
    UNUSED(state);
    struct pools p;
    int peers[2];
    start(&p);
    put(p.f.pw, p.a, 8, &peers[0]);
    put(p.f.pw, p.a, 8, &peers[1]);
    close(peers[0]);
    close(peers[1]); /* the loop has not run */
    assert_int_equal(take(p.f.pw, p.a, false), -1);
    end(&p);
}

static void test_as_long_as_the_instance_says(void **state)
{
    UNUSED(state);
    struct pools p;
    int peers[4];
    start(&p);
    int before = put(p.f.pw, p.a, 8, &peers[0]), other = put(p.f.pw, p.b, 8, &peers[1]);
    instance_on_keep_alive(p.a, SLICE_LIT("timeout=5"));
    p.f.worker->now_us += 4100 * 1000;
    assert_int_equal(take(p.f.pw, p.a, true), -1);
    assert_int_equal(take(p.f.pw, p.b, true), other);
    p.f.worker->now_us -= 200 * 1000;
    assert_int_equal(take(p.f.pw, p.a, false), before);
    put(p.f.pw, p.a, 1, &peers[2]);
    put(p.f.pw, p.a, 1, &peers[3]); /* now the first is in the spill */
    p.other_worker->now_us = p.f.worker->now_us + 4100 * 1000;
    assert_int_equal(take(p.other, p.a, true), -1);
    assert_true(peer_is_closed(peers[2]));
    for (size_t i = 0; i < ARRAY_LEN(peers); i++)
        close(peers[i]);
    end(&p);
}

static void test_spill_is_bounded(void **state)
{
    UNUSED(state);
    struct pools p;
    int peers[260];
    unsigned closed = 0, given = 0;
    start(&p);
    for (size_t i = 0; i < ARRAY_LEN(peers); i++)
        put(p.f.pw, p.a, 1, &peers[i]); /* 1 stays, 259 spill, 256 fit */
    for (size_t i = 0; i < ARRAY_LEN(peers); i++)
        closed += peer_is_closed(peers[i]);
    assert_int_equal(closed, 3);
    while (take(p.other, p.a, true) >= 0)
        given++;
    assert_int_equal(given, 256);
    for (size_t i = 0; i < ARRAY_LEN(peers); i++)
        close(peers[i]);
    end(&p);
}

static void test_nothing_is_kept_while_draining(void **state)
{
    UNUSED(state);
    struct pools p;
    int peer;
    start(&p);
    p.f.pw->draining = true;
    p.f.pw->done_reported = true;
    put(p.f.pw, p.a, 8, &peer);
    assert_int_equal(p.f.pw->upstreams.count, 0);
    assert_true(peer_is_closed(peer));
    close(peer);
    end(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_retired_is_not_spilled),
        cmocka_unit_test(test_how_it_began_counts),
        cmocka_unit_test(test_own_and_last_used_first),
        cmocka_unit_test(test_surplus_serves_another_worker),
        cmocka_unit_test(test_dead_and_old_ones_are_not_given),
        cmocka_unit_test(test_what_must_not_be_sent_twice_wants_a_young_one),
        cmocka_unit_test(test_young_ones_of_others),
        cmocka_unit_test(test_nor_one_whose_end_has_come_unseen),
        cmocka_unit_test(test_as_long_as_the_instance_says),
        cmocka_unit_test(test_spill_is_bounded),
        cmocka_unit_test(test_nothing_is_kept_while_draining),
    };
    return cmocka_run_group_tests_name("upstream_pool", tests, fix_group_setup, fix_group_teardown);
}
