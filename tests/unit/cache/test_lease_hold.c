/* test_lease_hold.c: a lease while it is held: renewed, lost, followed by another's, fenced; and cancelled.
 */
#include "tests/unit/cache/lease_fixture.h"

#define SHORT_MS 600

/* Node 0, whose leases are short, behind a relay, and `count` - 1 others beside it. */
static struct relay *open_behind_relay(struct redis_process *p, int count)
{
    struct relay *link = relay_start(p->port);
    node_open(&nodes[0], relay_address(link), SHORT_MS, LONG_MS, ASKERS);
    for (int i = 1; i < count; i++)
        node_open(&nodes[i], p->address, LONG_MS, LONG_MS, ASKERS);
    for (int i = 0; i < count; i++)
        UNTIL(node_is_up(&nodes[i], SOME_KEY));
    return link;
}

static bool lease_exists(struct redis_process *p)
{
    return strcmp(redis_do(p, "EXISTS %s", lease_name(SOME_KEY)), "1") == 0;
}

static void expect_stored(struct redis_process *p, const char *record)
{
    assert_string_equal(redis_do(p, "GET %s", head_name(SOME_KEY)), record);
}

static void lease_is_renewed_while_it_is_held(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("one", NULL);
    nodes_open(p, 2, 3000, LONG_MS);
    struct asker *holder = ask_on(2, SOME_KEY);
    mono_ms_t later_ms = clock_mono_ms() + 3500;
    UNTIL(clock_mono_ms() > later_ms && calls_of(p, "pexpire") >= 3);
    assert_true(cache_lease_is_held(holder->lease));
    UNTIL(waits() >= 2); /* what was left was over, and it was the same holder */
    assert_int_equal(count_of(2, CACHE_LEASE_HELD), 1);
    put_and_wait(holder, "record", CACHE_LEASE_WRITTEN);
    UNTIL(count_of(2, CACHE_LEASE_FOUND) == 1);
}

static void dead_holder_is_followed(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("one", NULL);
    struct relay *link = open_behind_relay(p, NODES);
    ask_on(1, SOME_KEY);
    for (int i = 1; i < NODES; i++)
        ask(&askers[i], &nodes[i], SOME_KEY);
    UNTIL(waits() >= NODES - 1);
    relay_cut(link);
    UNTIL(!redis_is_up(nodes[0].redis, SLICE_LIT(SOME_KEY)));
    assert_false(put(&askers[0], "of the dead"));
    assert_null(askers[0].lease);
    UNTIL(count_of(NODES, CACHE_LEASE_HELD) == 2);
    assert_int_equal(calls_of(p, "publish"), 0);
    put_and_wait(holder_of(NODES), "record", CACHE_LEASE_WRITTEN);
    UNTIL(count_of(NODES, CACHE_LEASE_FOUND) == NODES - 2);
    expect_stored(p, "record");
}

/* His command arrives after another has had the lease, has written and has ended it. */
static void holder_that_stalled_writes_nothing(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("one", NULL);
    struct relay *link = open_behind_relay(p, 2);
    ask_on(1, SOME_KEY);
    ask(&askers[1], &nodes[1], SOME_KEY);
    UNTIL(waits() >= 1);
    relay_stall(link);
    assert_true(put(&askers[0], "old"));
    UNTIL(askers[1].results);
    assert_int_equal(askers[1].outcome, CACHE_LEASE_HELD);
    put_and_wait(&askers[1], "new", CACHE_LEASE_WRITTEN);
    relay_heal(link);
    UNTIL(askers[0].puts);
    assert_int_equal(askers[0].put, CACHE_LEASE_FENCED);
    expect_stored(p, "new");
}

/* The same while the other still holds it: neither written nor ended. */
static void holder_that_stalled_ends_nothing(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("one", NULL);
    nodes_open(p, 3, LONG_MS, LONG_MS);
    ask_on(1, SOME_KEY);
    redis_do(p, "DEL %s", lease_name(SOME_KEY)); /* as if it had expired */
    ask(&askers[1], &nodes[1], SOME_KEY);
    UNTIL(askers[1].results);
    ask(&askers[2], &nodes[2], SOME_KEY);
    UNTIL(waits() == 1);
    put_and_wait(&askers[0], "old", CACHE_LEASE_FENCED);
    assert_true(lease_exists(p));
    expect_stored(p, "(nil)");
    assert_int_equal(calls_of(p, "publish"), 0);
    put_and_wait(&askers[1], "new", CACHE_LEASE_WRITTEN);
    UNTIL(askers[2].results);
    assert_string_equal(askers[2].record, "new");
    ask_on(1, "other");
    redis_do(p, "SET %s -somebody-else", lease_name("other"));
    cache_lease_end(&askers[0].lease, CACHE_WAKE_FAILED);
    ask(&askers[1], &nodes[0], "third"); /* behind it, over one connection or the other */
    UNTIL(askers[1].results && calls_of(p, "eval") >= 4);
    assert_string_equal(redis_do(p, "GET %s", lease_name("other")), "-somebody-else");
}

/* What has no lease any more is not written, although nobody else has one. */
static void expired_lease_writes_nothing(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("one", NULL);
    nodes_open(p, 1, LONG_MS, LONG_MS);
    ask_on(1, SOME_KEY);
    redis_do(p, "DEL %s", lease_name(SOME_KEY));
    put_and_wait(&askers[0], "old", CACHE_LEASE_FENCED);
    expect_stored(p, "(nil)");
}

static void loss_is_noticed(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("one", NULL);
    nodes_open(p, 1, 3000, LONG_MS);
    for (int i = 0; i < 3; i++)
        ask(&askers[i], &nodes[0], textf("key-%d", i));
    UNTIL(count_of(3, CACHE_LEASE_HELD) == 3);
    redis_do(p, "DEL %s", lease_name("key-0"));
    redis_do(p, "SET %s -another", lease_name("key-1"));
    redis_do(p, "DEL %s", lease_name("key-2"));
    UNTIL(figures_of(&nodes[0]).lost == 3);
    long evals = calls_of(p, "eval");
    for (int i = 0; i < 3; i++)
        assert_false(cache_lease_is_held(askers[i].lease));
    assert_false(put(&askers[0], "record"));
    cache_lease_end(&askers[1].lease, CACHE_WAKE_FAILED);
    cache_lease_cancel(&askers[2].lease);
    assert_int_equal(figures_of(&nodes[0]).not_put, 1);
    turn();
    assert_int_equal(calls_of(p, "eval"), evals); /* nothing was asked of Redis */
}

/* Renewals that do not get through: it may be another's. */
static void silence_is_not_held(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("one", NULL);
    nodes_open(p, 1, SHORT_MS, LONG_MS);
    ask_on(1, SOME_KEY);
    assert_true(cache_lease_is_held(askers[0].lease));
    redis_freeze(p);
    UNTIL(!cache_lease_is_held(askers[0].lease));
    assert_int_equal(figures_of(&nodes[0]).lost, 0);
    mono_ms_t expired_ms =
        clock_mono_ms() + SHORT_MS; /* in Redis too, before the renewals that it has not read */
    UNTIL(clock_mono_ms() > expired_ms);
    redis_thaw(p);
    UNTIL(figures_of(&nodes[0]).lost == 1);
}

static void scripts_are_sent_again_to_who_forgot_them(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("one", NULL);
    nodes_open(p, 2, 3000, LONG_MS);
    ask_on(1, SOME_KEY);
    UNTIL(calls_of(p, "pexpire") >= 1);
    for (int i = 0; i < 3; i++) {
        long renewals = calls_of(p, "pexpire");
        redis_do(p, "SCRIPT FLUSH");
        UNTIL(calls_of(p, "pexpire") > renewals);
        redis_do(p, "SCRIPT FLUSH");
        ask(&askers[1], &nodes[1], textf("key-%d", i));
        UNTIL(askers[1].results);
        assert_int_equal(askers[1].outcome, CACHE_LEASE_HELD);
        redis_do(p, "SCRIPT FLUSH");
        put_and_wait(&askers[1], "record", CACHE_LEASE_WRITTEN);
    }
    assert_true(cache_lease_is_held(askers[0].lease));
    assert_int_equal(figures_of(&nodes[0]).lost, 0);
}

/* Redis says so at once, and the lease does not stand in the way of others. */
static void rejected_record_ends_the_lease(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("one", NULL);
    nodes_open(p, 2, LONG_MS, LONG_MS);
    ask_on(1, SOME_KEY);
    ask(&askers[1], &nodes[1], SOME_KEY);
    UNTIL(waits() == 1);
    redis_do(p, "CONFIG SET maxmemory 1");
    put_and_wait(&askers[0], "record", CACHE_LEASE_REJECTED);
    UNTIL(askers[1].results);
    assert_int_equal(askers[1].outcome, CACHE_LEASE_UNAVAILABLE);
    assert_false(lease_exists(p));
    expect_stored(p, "(nil)");
}

/* ---- cancelling ---- */

static void cancelled_question_gives_back_what_it_gets(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("one", NULL);
    nodes_open(p, 2, LONG_MS, LONG_MS);
    ask_on(1, "other"); /* the script is known now */
    redis_freeze(p);
    ask(&askers[1], &nodes[0], SOME_KEY);
    cache_lease_cancel(&askers[1].lease);
    assert_null(askers[1].lease);
    redis_thaw(p);
    UNTIL(calls_of(p, "del") == 1);
    assert_false(lease_exists(p));
    ask(&askers[1], &nodes[0], SOME_KEY); /* and one that ends with everything else */
    cache_lease_cancel(&askers[1].lease);
    cache_lease_cancel(&askers[0].lease);
    node_close(&nodes[0]);
    assert_int_equal(askers[1].results, 0);
}

static void cancelled_waiter_hears_nothing(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("one", NULL);
    nodes_open(p, 2, LONG_MS, LONG_MS);
    ask_on(1, SOME_KEY);
    for (int i = 1; i < 4; i++)
        ask(&askers[i], &nodes[1], SOME_KEY);
    UNTIL(waits() == 3);
    cache_lease_cancel(&askers[2].lease);
    assert_int_equal(figures_of(&nodes[1]).wakes.waiters, 2);
    cache_lease_end(&askers[0].lease, CACHE_WAKE_PASS);
    UNTIL(askers[1].results && askers[3].results);
    assert_int_equal(askers[2].results, 0);
}

static void cancelled_holder_passes_it_on(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("one", NULL);
    nodes_open(p, 2, LONG_MS, LONG_MS);
    struct asker *holder = ask_on(2, SOME_KEY);
    cache_lease_cancel(&holder->lease);
    UNTIL(count_of(2, CACHE_LEASE_HELD) == 2);
    cache_lease_cancel(&holder->lease);
}

static void cancelled_put_is_written_all_the_same(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("one", NULL);
    nodes_open(p, 1, LONG_MS, LONG_MS);
    ask_on(1, SOME_KEY);
    assert_true(put(&askers[0], "record"));
    cache_lease_cancel(&askers[0].lease);
    UNTIL(strcmp(redis_do(p, "GET %s", head_name(SOME_KEY)), "record") == 0);
    turn();
    assert_int_equal(askers[0].puts, 0);
}

/* The first that is told cancels all others, and asks anew. */
static void cancel_all_on_result(void *arg, const struct cache_lease_result *r)
{
    asker_on_result(arg, r);
    for (int i = 1; i < 4; i++)
        cache_lease_cancel(&askers[i].lease);
    ask(&askers[4], &nodes[1], SOME_KEY);
}

static void callback_may_cancel_the_others(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("one", NULL);
    nodes_open(p, 2, LONG_MS, LONG_MS);
    for (int round = 0; round < 2; round++) {
        askers[4] = (struct asker){0};
        ask_on(1, SOME_KEY);
        uint64_t before = waits();
        for (int i = 1; i < 4; i++) {
            struct cache_lease_request rq = request_of(&askers[i], SOME_KEY);
            rq.on_result = cancel_all_on_result;
            assert_true(ask_as(&askers[i], &nodes[1], &rq));
        }
        UNTIL(waits() == before + 3);
        if (round == 0)
            cache_lease_end(&askers[0].lease, CACHE_WAKE_PASS);
        else
            put_and_wait(&askers[0], "record", CACHE_LEASE_WRITTEN);
        UNTIL(askers[4].results);
        assert_int_equal(askers[1].results + askers[2].results + askers[3].results, 1);
        cache_lease_cancel(&askers[4].lease);
        UNTIL(!lease_exists(p));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_OF(lease_is_renewed_while_it_is_held),
        TEST_OF(dead_holder_is_followed),
        TEST_OF(holder_that_stalled_writes_nothing),
        TEST_OF(holder_that_stalled_ends_nothing),
        TEST_OF(expired_lease_writes_nothing),
        TEST_OF(loss_is_noticed),
        TEST_OF(silence_is_not_held),
        TEST_OF(scripts_are_sent_again_to_who_forgot_them),
        TEST_OF(rejected_record_ends_the_lease),
        TEST_OF(cancelled_question_gives_back_what_it_gets),
        TEST_OF(cancelled_waiter_hears_nothing),
        TEST_OF(cancelled_holder_passes_it_on),
        TEST_OF(cancelled_put_is_written_all_the_same),
        TEST_OF(callback_may_cancel_the_others),
    };
    return E2E_RUN("lease_hold", tests);
}
