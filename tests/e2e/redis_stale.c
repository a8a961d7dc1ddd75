/* redis_stale.c: several nodes with one Redis: what is stale there is used as if memory had it, and renewed
 * by one node for all. */
#include "tests/e2e/redis_flights.h"

/* ---- what is stale ---- */

/* Redis keeps it for the next power of two of these seconds. */
#define STALE_FIELDS(which) "Cache-Control: max-age=600, " which "=6000\r\n"

/* Node 0 has fetched it, and what Redis has of it has been there for more than 600 s. The next request that
 * the origin gets waits. */
static void prepare_stale(const char *fields)
{
    plan.fields = fields;
    plan.held = 2;
    start(1);
    ask(0, "");
    expect_answer(0, "#1", "fwd=uri-miss");
    wait_saved();
    assert_string_equal(redis_do(redis, "PEXPIRE %s 7500000", name_of("/p", "head")), "1");
}

static struct millpond *patient(unsigned i)
{
    return node_with(i, redis->address, "lock_timeout = 10m\n", "timeout = 30s\n");
}

static void what_is_stale_in_redis_is_confirmed_once(void **state)
{
    UNUSED(state);
    plan.etag = true;
    prepare_stale(STALE_FIELDS("stale-if-error") "ETag: \"v\"\r\n");
    for (unsigned i = 1; i < 4; i++)
        patient(i);
    ask(1, "");
    gate_wait_arrived(plan.gate, 1);
    ask(2, "");
    ask(3, "");
    wait_for_waiters("/p");
    gate_open(plan.gate);
    expect_answer(1, "#1", "fwd=stale; fwd-status=304");
    expect_answer(2, "#1", "detail=redis");
    expect_answer(3, "#1", "detail=redis");
    assert_int_equal(origin_requests(origin), 2);
    expect_in(message_field(origin_request(origin, 1), "If-None-Match"), "\"v\"");
    stop();
}

static void what_is_stale_in_redis_is_used_while_one_node_renews_it(void **state)
{
    UNUSED(state);
    prepare_stale(STALE_FIELDS("stale-while-revalidate"));
    for (unsigned i = 1; i < 4; i++) {
        patient(i);
        ask(i, "");
        expect_answer(i, "#1", "detail=stale_while_revalidate");
    }
    wait_for_waiters("/p");
    gate_open(plan.gate);
    for (unsigned i = 1; i < 4; i++) {
        millpond_wait_figure(nodes[i], "refreshes_in_flight", 0);
        ask(i, "");
        expect_answer(i, "#2", "hit; ttl=");
    }
    assert_int_equal(origin_requests(origin), 2);
    stop();
}

static void what_is_stale_in_redis_stands_in_for_an_error(void **state)
{
    UNUSED(state);
    prepare_stale(STALE_FIELDS("stale-if-error"));
    stop();
    origin_stop(origin);
    patient(0); /* its memory is empty */
    ask(0, "");
    expect_answer(0, "#1", "detail=stale_if_error");
    stop();
}

static void what_is_stale_in_redis_and_large_comes_whole(void **state)
{
    UNUSED(state);
    plan.large = true;
    plan.fields = STALE_FIELDS("stale-while-revalidate");
    plan.held = 2;
    start(1);
    ask(0, "");
    assert_int_equal(client_read(clients[0])->body_len, LARGE + 2);
    wait_saved();
    redis_do(redis, "PEXPIRE %s 7500000", name_of("/p", "head"));
    patient(1);
    ask(1, "");
    struct message *r = client_read(clients[1]);
    expect_in(message_field(r, "Cache-Status"), "detail=stale_while_revalidate");
    assert_int_equal(r->body_len, LARGE + 2);
    assert_int_equal(r->body[LARGE + 1], 'j');
    gate_open(plan.gate);
    stop();
}

/* All of a crowd wait for the same look-up. */
static void a_crowd_shares_what_is_stale_in_redis(void **state)
{
    UNUSED(state);
    struct client *crowd[20];
    plan.etag = true;
    prepare_stale(STALE_FIELDS("stale-if-error") "ETag: \"v\"\r\n");
    struct relay *link = relay_start(redis->port);
    node_with(1, relay_address(link), "lock_timeout = 10m\n", "timeout = 30s\n");
    relay_stall(link);
    for (unsigned i = 0; i < ARRAY_LEN(crowd); i++) {
        crowd[i] = client_open(nodes[1]->port);
        client_send(crowd[i], "GET /p HTTP/1.1\r\nHost: test\r\n\r\n");
    }
    millpond_wait_figure(nodes[1], "followers_now", ARRAY_LEN(crowd) - 1);
    relay_heal(link);
    gate_wait_arrived(plan.gate, 1);
    gate_open(plan.gate);
    for (unsigned i = 0; i < ARRAY_LEN(crowd); i++)
        expect_body(client_read(crowd[i]), "#1");
    assert_int_equal(origin_requests(origin), 2);
    stop();
}

/* Who waits, gets what is stale, and has to wait again, waits no longer for that: not as long as a request
 * that came later, and only waits. */
static void lock_timeout_is_for_all_waiting_together(void **state)
{
    UNUSED(state);
    plan.etag = true;
    prepare_stale(STALE_FIELDS("stale-if-error") "ETag: \"v\"\r\n");
    plan.held = 0;
    redis_do(redis, "RENAME %s spare", name_of("/p", "head"));
    hold("/p");
    hold("/q");
    node_with(1, redis->address, "lock_timeout = 4s\n", "timeout = 30s\n");
    ask(1, "");
    wait_for_waiters("/p");
    patient(2); /* some time goes by */
    struct client *later = client_open(nodes[1]->port);
    client_send(later, "GET /q HTTP/1.1\r\nHost: test\r\n\r\n");
    wait_for_waiters("/q");
    redis_do(redis, "RENAME spare %s", name_of("/p", "head"));
    wake("/p");
    expect_answer(1, "#1", "fwd=stale; fwd-status=304");
    expect_status(client_read(later), 200);
    assert_string_equal(origin_request(origin, 1)->target, "/p");
    stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_OF(what_is_stale_in_redis_is_confirmed_once),
        TEST_OF(what_is_stale_in_redis_is_used_while_one_node_renews_it),
        TEST_OF(what_is_stale_in_redis_stands_in_for_an_error),
        TEST_OF(what_is_stale_in_redis_and_large_comes_whole),
        TEST_OF(a_crowd_shares_what_is_stale_in_redis),
        TEST_OF(lock_timeout_is_for_all_waiting_together),
    };
    return E2E_RUN("redis stale", tests);
}
