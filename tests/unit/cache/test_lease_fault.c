/* test_lease_fault.c: Redis dies, hangs, restarts, or says what no script of ours says: in each state of a
 * lease, and within its time. And a Cluster, whose masters tell each other. */
#include "tests/unit/cache/lease_fixture.h"

#define TIMEOUT_MS 1000
#define TTL_MS     3000

static void expect_unavailable(struct asker *a)
{
    UNTIL(a->results);
    assert_int_equal(a->outcome, CACHE_LEASE_UNAVAILABLE);
    assert_null(a->lease);
}

static void without_redis_one_is_told_at_once(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("one", NULL);
    nodes_open(p, 1, TTL_MS, TIMEOUT_MS);
    redis_kill(p);
    UNTIL(!node_is_up(&nodes[0], SOME_KEY));
    struct cache_lease_request rq = request_of(&askers[0], SOME_KEY);
    assert_false(ask_as(&askers[0], &nodes[0], &rq));
    turn();
    assert_int_equal(askers[0].results, 0);
    assert_int_equal(figures_of(&nodes[0]).outcomes[CACHE_LEASE_UNAVAILABLE], 1);
    assert_int_equal(figures_of(&nodes[0]).wakes.waiters, 0);
    redis_restart(p, true);
    UNTIL(node_is_up(&nodes[0], SOME_KEY));
    ask_on(1, SOME_KEY);
}

static void kill_while_asking(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("one", NULL);
    nodes_open(p, 2, TTL_MS, LONG_MS);
    redis_freeze(p);
    ask(&askers[0], &nodes[0], SOME_KEY);
    ask(&askers[1], &nodes[0], SOME_KEY);
    cache_lease_cancel(&askers[1].lease);
    redis_kill(p);
    expect_unavailable(&askers[0]);
    assert_int_equal(askers[1].results, 0);
}

static void hang_while_asking(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("one", NULL);
    nodes_open(p, 1, LONG_MS, TIMEOUT_MS);
    ask_on(1, "other");
    redis_freeze(p);
    mono_ms_t start_ms = clock_mono_ms();
    ask(&askers[1], &nodes[0], SOME_KEY);
    expect_unavailable(&askers[1]);
    assert_true(clock_mono_ms() >= start_ms + TIMEOUT_MS);
    redis_thaw(p); /* it is carried out after all, and given back */
    UNTIL(calls_of(p, "del") == 1);
    assert_string_equal(redis_do(p, "EXISTS %s", lease_name(SOME_KEY)), "0");
}

static void kill_while_waiting(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("one", NULL);
    nodes_open(p, NODES, LONG_MS, LONG_MS);
    ask_on(NODES, SOME_KEY);
    redis_kill(p);
    UNTIL(count_of(NODES, CACHE_LEASE_UNAVAILABLE) == NODES - 1);
}

static void hang_while_waiting(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("one", NULL);
    nodes_open(p, NODES, LONG_MS, TIMEOUT_MS);
    ask_on(NODES, SOME_KEY);
    redis_freeze(p);
    UNTIL(count_of(NODES, CACHE_LEASE_UNAVAILABLE) == NODES - 1);
}

static void kill_while_held_or_put(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("one", NULL);
    nodes_open(p, 2, LONG_MS, LONG_MS);
    ask_on(1, SOME_KEY);
    ask(&askers[1], &nodes[0], "other");
    UNTIL(askers[1].results);
    redis_freeze(p);
    assert_true(put(&askers[1], "record"));
    redis_kill(p);
    UNTIL(askers[1].puts);
    assert_int_equal(askers[1].put, CACHE_LEASE_UNKNOWN);
    assert_false(put(&askers[0], "record"));
    assert_int_equal(figures_of(&nodes[0]).not_put, 1);
}

static void hang_while_put(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("one", NULL);
    nodes_open(p, 1, LONG_MS, TIMEOUT_MS);
    ask_on(1, SOME_KEY);
    redis_freeze(p);
    assert_true(put(&askers[0], "record"));
    UNTIL(askers[0].puts);
    assert_int_equal(askers[0].put, CACHE_LEASE_UNKNOWN);
    redis_thaw(p); /* it is carried out after all */
    UNTIL(strcmp(redis_do(p, "GET %s", head_name(SOME_KEY)), "record") == 0);
    assert_string_equal(redis_do(p, "EXISTS %s", lease_name(SOME_KEY)), "0");
}

/* Cut before it arrives: the lease is given back once there is a way again. */
static void cut_while_put(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("one", NULL);
    struct relay *link = relay_start(p->port);
    node_open(&nodes[0], relay_address(link), LONG_MS, TIMEOUT_MS, ASKERS);
    UNTIL(node_is_up(&nodes[0], SOME_KEY));
    ask_on(1, SOME_KEY);
    relay_stall(link);
    assert_true(put(&askers[0], "record"));
    relay_cut(link);
    UNTIL(askers[0].puts);
    assert_int_equal(askers[0].put, CACHE_LEASE_UNKNOWN);
    relay_heal(link);
    UNTIL(strcmp(redis_do(p, "EXISTS %s", lease_name(SOME_KEY)), "0") == 0);
    assert_string_equal(redis_do(p, "EXISTS %s", head_name(SOME_KEY)), "0");
}

/* Empty: the lease is gone, and whoever asks gets it, at once. */
static void restart_loses_leases(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("one", NULL);
    nodes_open(p, 2, TTL_MS, LONG_MS);
    ask_on(1, SOME_KEY);
    redis_kill(p);
    UNTIL(!node_is_up(&nodes[0], SOME_KEY) && !node_is_up(&nodes[1], SOME_KEY));
    redis_restart(p, true);
    UNTIL(node_is_up(&nodes[0], SOME_KEY) && node_is_up(&nodes[1], SOME_KEY));
    ask(&askers[1], &nodes[1], SOME_KEY);
    UNTIL(askers[1].results);
    assert_int_equal(askers[1].outcome, CACHE_LEASE_HELD);
    UNTIL(figures_of(&nodes[0]).lost == 1);
    assert_false(put(&askers[0], "old"));
    put_and_wait(&askers[1], "new", CACHE_LEASE_WRITTEN);
}

static void what_is_not_ours_is_unavailable(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("one", NULL);
    nodes_open(p, 1, LONG_MS, LONG_MS);
    redis_do(p, "LPUSH %s item", head_name(SOME_KEY));
    ask(&askers[0], &nodes[0], SOME_KEY);
    expect_unavailable(&askers[0]);
    redis_do(p, "DEL %s", head_name(SOME_KEY));
    redis_do(p, "LPUSH %s item", lease_name(SOME_KEY));
    ask(&askers[0], &nodes[0], SOME_KEY);
    expect_unavailable(&askers[0]);
    redis_do(p, "SET %s x", lease_name(SOME_KEY)); /* which does not expire, and is nobody's */
    struct cache_lease_request rq = request_of(&askers[0], SOME_KEY);
    rq.wait_ms = 300;
    assert_true(ask_as(&askers[0], &nodes[0], &rq));
    UNTIL(askers[0].results);
    assert_int_equal(askers[0].outcome, CACHE_LEASE_ALONE);
    redis_do(p, "DEL %s", lease_name(SOME_KEY));
    const char *odd[] = {"", " ", "pass", "0123456789abcdef0123456789abcdef",
                         "0123456789abcdef0123456789abcdef oh"};
    for (size_t i = 0; i < ARRAY_LEN(odd); i++)
        redis_do(p, "PUBLISH t:wake %b", odd[i], strlen(odd[i]));
    UNTIL(figures_of(&nodes[0]).wakes.not_understood == ARRAY_LEN(odd));
}

/* ---- a Cluster ---- */

static struct redis_cluster_group group;

static void cluster_open(dur_ms_t ttl_ms)
{
    redis_cluster_group_start(&group, false, 600000, NULL);
    lease_mode = REDIS_CLUSTER;
    for (int i = 0; i < NODES; i++)
        node_open(&nodes[i], group.masters[i % REDIS_MASTERS]->address, ttl_ms, LONG_MS, ASKERS);
    for (int i = 0; i < NODES; i++)
        UNTIL(redis_get_figures(nodes[i].redis).slots == 16384 && node_is_up(&nodes[i], SOME_KEY));
}

/* Keys of all masters, while all subscribe to one. */
static void nodes_of_a_cluster_wake_each_other(void **state)
{
    UNUSED(state);
    cluster_open(LONG_MS);
    unsigned owners = 0;
    for (int k = 0; k < 9 || owners != 7; k++) {
        char *key = textf("key-%d", k);
        put_and_wait(ask_on(NODES, key), key, CACHE_LEASE_WRITTEN);
        UNTIL(count_of(NODES, CACHE_LEASE_FOUND) == NODES - 1);
        for (unsigned m = 0; m < REDIS_MASTERS; m++) {
            if (strcmp(redis_do(group.masters[m], "EXISTS %s", head_name(key)), "1") == 0)
                owners |= 1u << m;
        }
    }
    for (int i = 0; i < NODES; i++)
        assert_int_equal(figures_of(&nodes[i]).outcomes[CACHE_LEASE_UNAVAILABLE], 0);
}

/* The slot goes elsewhere while the lease is held and waited for, and takes it along. */
static void lease_moves_with_its_slot(void **state)
{
    UNUSED(state);
    cluster_open(3000);
    struct asker *holder = ask_on(NODES, SOME_KEY);
    unsigned slot =
        (unsigned)strtoul(redis_do(group.masters[0], "CLUSTER KEYSLOT %s", head_name(SOME_KEY)), NULL, 10);
    unsigned from = slot * REDIS_MASTERS / 16384, to = (from + 1) % REDIS_MASTERS;
    redis_slot_begin_move(group.masters[from], group.masters[to], slot);
    redis_slot_move_keys(group.masters[from], group.masters[to], slot);
    redis_slot_finish_move(group.masters[from], group.masters[to], slot);
    UNTIL(calls_of(group.masters[to], "pexpire") >= 1);
    assert_true(cache_lease_is_held(holder->lease));
    put_and_wait(holder, "record", CACHE_LEASE_WRITTEN);
    UNTIL(count_of(NODES, CACHE_LEASE_FOUND) == NODES - 1);
    assert_string_equal(redis_do(group.masters[to], "GET %s", head_name(SOME_KEY)), "record");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_OF(without_redis_one_is_told_at_once),
        TEST_OF(kill_while_asking),
        TEST_OF(hang_while_asking),
        TEST_OF(kill_while_waiting),
        TEST_OF(hang_while_waiting),
        TEST_OF(kill_while_held_or_put),
        TEST_OF(hang_while_put),
        TEST_OF(cut_while_put),
        TEST_OF(restart_loses_leases),
        TEST_OF(what_is_not_ours_is_unavailable),
        TEST_OF(nodes_of_a_cluster_wake_each_other),
        TEST_OF(lease_moves_with_its_slot),
    };
    return E2E_RUN("lease_fault", tests);
}
