/* redis_flights.c: several nodes with one Redis: what all of them are asked for at once, one of them fetches,
 * and whatever becomes of that one, of its response or of Redis, the others have an answer in time. */
#include "tests/e2e/redis_flights.h"

/* ---- one fetch ---- */

static void ten_nodes_fetch_once(void **state)
{
    UNUSED(state);
    start(NODES);
    gather(NODES);
    gate_open(plan.gate);
    expect_answer(0, "#1", "fwd=uri-miss");
    for (unsigned i = 1; i < NODES; i++)
        expect_answer(i, "#1", "hit; ttl=");
    assert_int_equal(origin_requests(origin), 1);
    for (unsigned i = 1; i < NODES; i++)
        expect_metric(i, "millpond_redis_loads_total{outcome=\"found\"} 1");
    redis_until(redis, "0", "EXISTS %s", name_of("/p", "lease"));
    stop();
}

static void large_bodies_are_fetched_once(void **state)
{
    UNUSED(state);
    plan.large = plan.half = true;
    start(3);
    gather(3);
    gate_open(plan.gate);
    for (unsigned i = 0; i < 3; i++) {
        struct message *r = client_read(clients[i]);
        assert_int_equal(r->body_len, LARGE + 2);
        for (size_t k = 0; k < LARGE; k++)
            assert_int_equal(r->body[2 + k], 'a' + (int)(k / (LARGE / 10)));
    }
    assert_int_equal(origin_requests(origin), 1);
    stop();
}

/* Who waits for the URL learns that it varies; one of those who want another variant fetches that. */
static void each_variant_is_fetched_once(void **state)
{
    UNUSED(state);
    plan.fields = LONG "Vary: Accept-Language\r\n";
    start(5);
    ask(0, "Accept-Language: de\r\n");
    gate_wait_arrived(plan.gate, 1);
    for (unsigned i = 1; i < 5; i++)
        ask(i, textf("Accept-Language: %s\r\n", i % 2 == 0 ? "de" : "en"));
    wait_for_waiters("/p");
    gate_open(plan.gate);
    for (unsigned i = 0; i < 5; i++)
        expect_answer(i, i % 2 == 0 ? "#1de" : "#2en", "millpond; ");
    assert_int_equal(origin_requests(origin), 2);
    stop();
}

/* The limit of one question is over by then. */
static void who_waited_for_a_marker_asks_for_his_variant(void **state)
{
    UNUSED(state);
    plan.held = 0;
    plan.fields = LONG "Vary: Accept-Language\r\n";
    start(1);
    ask(0, "Accept-Language: de\r\n");
    expect_answer(0, "#1de", "fwd=uri-miss");
    wait_saved();
    redis_until(redis, "0", "EXISTS %s", name_of("/p", "lease"));
    redis_do(redis, "RENAME %s spare", name_of("/p", "head"));
    hold("/p");
    node_with(1, redis->address, "lock_timeout = 10m\n", "timeout = 2s\n");
    ask(1, "Accept-Language: de\r\n");
    wait_for_waiters("/p");
    redis_do(redis, "RENAME spare %s", name_of("/p", "head"));
    redis_do(redis, "SET two-seconds x PX 2000");
    redis_until(redis, "0", "EXISTS two-seconds");
    redis_do(redis, "DEL %s", name_of("/p", "lease"));
    wake("/p");
    expect_answer(1, "#1de", "detail=redis");
    stop();
}

/* ---- what nodes cannot share ---- */

static void who_waits_for_what_may_not_be_stored_fetches_at_once(void **state)
{
    UNUSED(state);
    plan.fields = "Cache-Control: no-store\r\n";
    start(4);
    gather(4);
    gate_open(plan.gate);
    for (unsigned i = 0; i < 4; i++)
        expect_status(client_read(clients[i]), 200);
    assert_int_equal(origin_requests(origin), 4);
    redis_until(redis, "0", "EXISTS %s %s", name_of("/p", "head"), name_of("/p", "lease"));
    stop();
}

/* The others are answered while the first one is under way still. */
static void expect_three_fetches(void)
{
    ask(0, "");
    gate_wait_arrived(plan.gate, 1);
    for (unsigned i = 1; i < 3; i++) {
        ask(i, "");
        assert_int_equal(client_read(clients[i])->body_len, LARGE + 2);
    }
    gate_open(plan.gate);
    assert_int_equal(client_read(clients[0])->body_len, LARGE + 2);
    assert_int_equal(origin_requests(origin), 3);
}

static void too_large_is_each_nodes_own(bool chunked)
{
    plan.large = plan.half = true;
    plan.chunked = chunked;
    for (unsigned i = 0; i < 3; i++)
        node_with(i, redis->address, "lock_timeout = 10m\n", "timeout = 30s\nmax_object_size = 100K\n");
    expect_three_fetches();
    stop();
}

static void what_is_too_large_for_redis_is_each_nodes_own(void **state)
{
    UNUSED(state);
    too_large_is_each_nodes_own(false);
}

static void what_turns_out_to_be_too_large_is_so_too(void **state)
{
    UNUSED(state);
    too_large_is_each_nodes_own(true);
}

/* Redis never has it: who has it in memory does not even ask. */
static void what_is_confirmed_each_time_waits_for_no_other_node(void **state)
{
    UNUSED(state);
    plan.fields = "Cache-Control: no-cache\r\nETag: \"v\"\r\n";
    plan.large = plan.half = true;
    start(3);
    expect_three_fetches();
    ask(0, "");
    assert_int_equal(client_read(clients[0])->body_len, LARGE + 2);
    expect_metric(0, "millpond_redis_loads_total{outcome=\"absent\"} 1");
    stop();
}

static void after_an_error_the_next_node_tries(void **state)
{
    UNUSED(state);
    plan.first_status = 500;
    start(4);
    gather(4);
    gate_open(plan.gate);
    expect_status(client_read(clients[0]), 500);
    for (unsigned i = 1; i < 4; i++)
        expect_answer(i, "#2", "millpond; ");
    assert_int_equal(origin_requests(origin), 2);
    stop();
}

/* ---- who leaves, hangs or dies ---- */

static void a_node_that_dies_is_followed_by_another(void **state)
{
    UNUSED(state);
    start(3);
    gather(3);
    proc_kill(nodes[0]->proc);
    nodes[0] = NULL;
    for (unsigned i = 1; i < 3; i++)
        expect_answer(i, "#2", "millpond; ");
    assert_int_equal(origin_requests(origin), 2);
    gate_open(plan.gate);
    stop();
}

static void a_node_that_dies_in_the_middle_of_a_body_is_followed_by_another(void **state)
{
    UNUSED(state);
    plan.large = plan.half = true;
    start(3);
    gather(3);
    proc_kill(nodes[0]->proc);
    nodes[0] = NULL;
    for (unsigned i = 1; i < 3; i++)
        assert_int_equal(client_read(clients[i])->body_len, LARGE + 2);
    assert_int_equal(origin_requests(origin), 2);
    gate_open(plan.gate);
    stop();
}

/* It comes back when another has taken its place: what it has then is old, and is not written. */
static void a_node_that_stood_still_writes_nothing_old(void **state)
{
    UNUSED(state);
    start(2);
    gather(2);
    proc_signal(nodes[0]->proc, SIGSTOP);
    expect_answer(1, "#2", "fwd=uri-miss");
    wait_saved();
    gate_open(plan.gate);
    proc_signal(nodes[0]->proc, SIGCONT);
    expect_answer(0, "#1", "fwd=uri-miss");
    for (const mono_ms_t until_ms = clock_mono_ms() + support_wait_ms();;) {
        const char *page = millpond_admin(nodes[0], "GET", "/metrics")->body;
        if (strstr(page, "millpond_redis_saves_total{outcome=\"overtaken\"} 1\n") != NULL)
            break;
        EXPECT(clock_mono_ms() < until_ms, "it was not told that it is too late");
    }
    node_with(2, redis->address, "", "timeout = 30s\n");
    ask(2, "");
    expect_answer(2, "#2", "hit; ttl=");
    assert_int_equal(origin_requests(origin), 2);
    stop();
}

static void a_client_that_leaves_lets_the_next_node_fetch(void **state)
{
    UNUSED(state);
    start(3);
    gather(3);
    client_reset(clients[0]);
    for (unsigned i = 1; i < 3; i++)
        expect_answer(i, "#2", "millpond; ");
    gate_open(plan.gate);
    millpond_wait_idle(nodes[0]);
    assert_int_equal(origin_requests(origin), 2);
    stop();
}

static void a_client_that_leaves_in_the_middle_of_a_body_changes_nothing(void **state)
{
    UNUSED(state);
    plan.large = plan.half = true;
    start(3);
    gather(3);
    client_reset(clients[0]);
    millpond_wait_figure(nodes[0], "requests_in_flight", 0);
    gate_open(plan.gate);
    for (unsigned i = 1; i < 3; i++)
        assert_int_equal(client_read(clients[i])->body_len, LARGE + 2);
    assert_int_equal(origin_requests(origin), 1);
    millpond_wait_idle(nodes[0]);
    stop();
}

static void nobody_waits_longer_than_lock_timeout(void **state)
{
    UNUSED(state);
    node_with(0, redis->address, "lock_timeout = 10m\n", "timeout = 30s\n");
    node_with(1, redis->address, "lock_timeout = 300ms\n", "timeout = 30s\n");
    gather(2);
    expect_answer(1, "#2", "fwd=uri-miss");
    expect_metric(1, "millpond_redis_loads_total{outcome=\"waited\"} 1");
    gate_open(plan.gate);
    expect_answer(0, "#1", "fwd=uri-miss");
    wait_saved();
    node_with(2, redis->address, "", "timeout = 30s\n");
    ask(2, "");
    expect_answer(2, "#1", "hit; ttl=");
    assert_int_equal(origin_requests(origin), 2);
    stop();
}

static void a_stop_waits_for_no_other_node(void **state)
{
    UNUSED(state);
    start(2);
    gather(2);
    millpond_stop(nodes[1]); /* which closes the clients first */
    nodes[1] = NULL;
    gate_open(plan.gate);
    stop();
}

/* ---- Redis ---- */

static void when_redis_stands_still_each_node_fetches(void **state)
{
    UNUSED(state);
    for (unsigned i = 0; i < 3; i++)
        node_with(i, redis->address, "lock_timeout = 1s\n", "timeout = 100ms\n");
    gather(3);
    redis_freeze(redis);
    for (unsigned i = 1; i < 3; i++)
        expect_status(client_read(clients[i]), 200);
    gate_open(plan.gate);
    expect_answer(0, "#1", "fwd=uri-miss");
    assert_int_equal(origin_requests(origin), 3);
    redis_thaw(redis);
    stop();
}

static void when_redis_dies_each_node_fetches(void **state)
{
    UNUSED(state);
    start(3);
    gather(3);
    redis_kill(redis);
    for (unsigned i = 1; i < 3; i++)
        expect_status(client_read(clients[i]), 200);
    gate_open(plan.gate);
    expect_answer(0, "#1", "fwd=uri-miss");
    assert_int_equal(origin_requests(origin), 3);
    stop();
}

/* Its lease expires meanwhile. */
static void a_node_that_is_cut_off_is_followed_by_another(void **state)
{
    UNUSED(state);
    struct relay *link = relay_start(redis->port);
    node_with(0, relay_address(link), "lock_timeout = 10m\n", "timeout = 30s\n");
    node_with(1, redis->address, "lock_timeout = 10m\n", "timeout = 30s\n");
    gather(2);
    relay_stall(link);
    expect_answer(1, "#2", "fwd=uri-miss");
    gate_open(plan.gate);
    expect_answer(0, "#1", "fwd=uri-miss");
    assert_int_equal(origin_requests(origin), 2);
    stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_OF(ten_nodes_fetch_once),
        TEST_OF(large_bodies_are_fetched_once),
        TEST_OF(each_variant_is_fetched_once),
        TEST_OF(who_waited_for_a_marker_asks_for_his_variant),
        TEST_OF(who_waits_for_what_may_not_be_stored_fetches_at_once),
        TEST_OF(what_is_too_large_for_redis_is_each_nodes_own),
        TEST_OF(what_turns_out_to_be_too_large_is_so_too),
        TEST_OF(what_is_confirmed_each_time_waits_for_no_other_node),
        TEST_OF(after_an_error_the_next_node_tries),
        TEST_OF(a_node_that_dies_is_followed_by_another),
        TEST_OF(a_node_that_dies_in_the_middle_of_a_body_is_followed_by_another),
        TEST_OF(a_node_that_stood_still_writes_nothing_old),
        TEST_OF(a_client_that_leaves_lets_the_next_node_fetch),
        TEST_OF(a_client_that_leaves_in_the_middle_of_a_body_changes_nothing),
        TEST_OF(nobody_waits_longer_than_lock_timeout),
        TEST_OF(a_stop_waits_for_no_other_node),
        TEST_OF(when_redis_stands_still_each_node_fetches),
        TEST_OF(when_redis_dies_each_node_fetches),
        TEST_OF(a_node_that_is_cut_off_is_followed_by_another),
    };
    return E2E_RUN("redis flights", tests);
}
