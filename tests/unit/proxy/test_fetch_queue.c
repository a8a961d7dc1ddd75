/* test_fetch_queue.c: requests that wait for an instance with room: who is next, who leaves when, even with a
 * grant on its way, and that no lease is lost. */
#include "proxy/fetch_queue.h"

#include "balancer/pool.h"
#include "balancer/queue.h"
#include "instance_fixture.h"

#define ASK(path) "GET " path " HTTP/1.1\r\nHost: h\r\n\r\n"
#define ANSWER    "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"
#define POOL                                                                                                 \
    "[pool narrow]\nserver = 127.0.0.1:SECOND max_connections=1\nhealth_check = off\neject_errors = 0\n"     \
    "retries = 0\nqueue = 2\nqueue_timeout = 1h\n[route r]\npool = narrow\n"

static void begin(struct inst_fix *o)
{
    inst_start(o, false, POOL);
}

static unsigned waiting(struct inst_fix *o)
{
    return queue_length(pool_queue(o->f.snapshot->routes[0].pool));
}

static bool is_at_instance(const struct inst_fix *o, const char *path)
{
    for (unsigned i = 0; i < o->conn_count; i++) {
        if (strstr(o->conn[i]->in, path) != NULL)
            return true;
    }
    return false;
}

/* /a is at the instance, /b waits. */
static struct exchange *start(struct inst_fix *o)
{
    begin(o);
    inst_ask(o, 0, ASK("/a"));
    INST_UNTIL(o, inst_is_asked(o, 0));
    inst_ask(o, 1, ASK("/b"));
    struct exchange *b = inst_exchange(o, "/b");
    assert_true(b != NULL && b->queued != NULL && b->instance == NULL);
    assert_int_equal(waiting(o), 1);
    return b;
}

/* Whoever asks now gets the instance at once: its lease is there. */
static void expect_room(struct inst_fix *o)
{
    INST_UNTIL(o, o->f.pw->exchange_count == 0);
    assert_int_equal(waiting(o), 0);
    assert_int_equal(o->f.pw->grants_awaited, 0);
    inst_ask(o, 3, ASK("/later"));
    assert_null(inst_exchange(o, "/later")->queued);
    INST_UNTIL(o, is_at_instance(o, "/later"));
}

static void test_next_one_is_asked(void **state)
{
    UNUSED(state);
    struct inst_fix o;
    start(&o);
    inst_ask(&o, 2, ASK("/c"));
    assert_int_equal(waiting(&o), 2);
    inst_say(&o, 0, ANSWER "one");
    INST_UNTIL(&o, is_at_instance(&o, "/b"));
    assert_false(is_at_instance(&o, "/c"));
    assert_int_equal(waiting(&o), 1);
    assert_false(deadline_is_set(&inst_exchange(&o, "/b")->wait_deadline));
    inst_say(&o, 0, ANSWER "two");
    INST_UNTIL(&o, is_at_instance(&o, "/c"));
    inst_say(&o, 0, ANSWER "six");
    INST_UNTIL(&o, inst_has(&o, 0, "one") && inst_has(&o, 1, "two") && inst_has(&o, 2, "six"));
    expect_room(&o);
    inst_end(&o);
}

static void test_no_more_may_wait(void **state)
{
    UNUSED(state);
    struct inst_fix o;
    start(&o);
    inst_ask(&o, 2, ASK("/c"));
    inst_ask(&o, 3, ASK("/d"));
    INST_UNTIL(&o, inst_has(&o, 3, "HTTP/1.1 503"));
    assert_true(inst_has(&o, 3, "Retry-After: 3600\r\n"));
    assert_int_equal(waiting(&o), 2);
    inst_end(&o);
}

static void test_client_leaves(void **state)
{
    UNUSED(state);
    struct inst_fix o;
    struct exchange *b = start(&o);
    client_conn_close(b->client, CLOSE_CLIENT_CLOSED);
    assert_int_equal(waiting(&o), 0);
    assert_int_equal(o.f.pw->grants_awaited, 0);
    inst_say(&o, 0, ANSWER "one");
    INST_UNTIL(&o, inst_has(&o, 0, "one"));
    assert_false(is_at_instance(&o, "/b"));
    expect_room(&o);
    inst_end(&o);
}

/* A grant was given to it already, which comes by mail: it is awaited, and given back. */
static void test_client_leaves_too_late(void **state)
{
    UNUSED(state);
    struct inst_fix o;
    struct exchange *b = start(&o);
    inst_say(&o, 0, ANSWER "one");
    for (unsigned i = 0; i < INST_ROUNDS && waiting(&o) > 0; i++)
        event_base_loop(o.f.worker->base, EVLOOP_NONBLOCK);
    assert_non_null(b->queued);
    client_conn_close(b->client, CLOSE_CLIENT_CLOSED);
    assert_int_equal(o.f.pw->grants_awaited, 1);
    inst_turn(&o);
    assert_false(is_at_instance(&o, "/b"));
    expect_room(&o);
    inst_end(&o);
}

/* Nobody else waits: whoever is free next is to find somebody. */
static void test_the_only_one_waits_on(void **state)
{
    UNUSED(state);
    struct inst_fix o;
    struct exchange *b = start(&o);
    inst_ring(&b->wait_deadline);
    assert_true(b->queued != NULL && deadline_is_set(&b->wait_deadline));
    assert_int_equal(waiting(&o), 1);
    inst_ask(&o, 2, ASK("/c"));
    inst_ring(&b->wait_deadline);
    INST_UNTIL(&o, inst_has(&o, 1, "HTTP/1.1 503"));
    assert_int_equal(waiting(&o), 1);
    inst_say(&o, 0, ANSWER "one");
    INST_UNTIL(&o, is_at_instance(&o, "/c"));
    inst_say(&o, 0, ANSWER "six");
    INST_UNTIL(&o, inst_has(&o, 2, "six"));
    expect_room(&o);
    inst_end(&o);
}

/* ---- no memory ---- */

static void play(struct inst_fix *o)
{
    unsigned said[INST_CONNS] = {0};
    inst_ask(o, 0, ASK("/a"));
    inst_ask(o, 1, ASK("/b"));
    for (unsigned round = 0; round < INST_ROUNDS && o->f.pw->exchange_count > 0; round++) {
        inst_turn(o);
        for (unsigned i = 0; i < o->conn_count; i++) {
            for (; said[i] < fix_count(o->conn[i]->in, "\r\n\r\n"); said[i]++)
                inst_say(o, i, ANSWER "one");
        }
    }
    assert_int_equal(o->f.pw->exchange_count, 0);
}

static void after(struct inst_fix *o)
{
    if (!no_memory.failed)
        assert_true(inst_has(o, 0, "one") && inst_has(o, 1, "one"));
    expect_room(o);
}

static void test_each_allocation_fails(void **state)
{
    UNUSED(state);
    inst_fail_each(begin, play, after);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_next_one_is_asked),     cmocka_unit_test(test_no_more_may_wait),
        cmocka_unit_test(test_client_leaves),         cmocka_unit_test(test_client_leaves_too_late),
        cmocka_unit_test(test_the_only_one_waits_on), cmocka_unit_test(test_each_allocation_fails),
    };
    return cmocka_run_group_tests_name("proxy/fetch_queue", tests, fix_group_setup, fix_group_teardown);
}
