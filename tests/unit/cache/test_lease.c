/* test_lease.c: ten nodes, one cold key, one fetch; what becomes of those who wait. */
#include "tests/unit/cache/lease_fixture.h"

static void cold_key_is_fetched_once(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("one", NULL);
    nodes_open(p, NODES, LONG_MS, LONG_MS);
    struct asker *holder = ask_on(NODES, SOME_KEY);
    assert_int_equal(count_of(NODES, CACHE_LEASE_HELD), 1);
    assert_true(cache_lease_is_held(holder->lease));
    put_and_wait(holder, "the record", CACHE_LEASE_WRITTEN);
    UNTIL(count_of(NODES, CACHE_LEASE_FOUND) == NODES - 1);
    for (int i = 0; i < NODES; i++) {
        if (&askers[i] == holder)
            continue;
        assert_string_equal(askers[i].record, "the record");
        assert_in_range(askers[i].left_ms, 1, LONG_MS);
    }
    assert_string_equal(redis_do(p, "GET %s", head_name(SOME_KEY)), "the record");
    assert_string_equal(redis_do(p, "EXISTS %s", lease_name(SOME_KEY)), "0");
    assert_int_equal(calls_of(p, "publish"), 1);
    for (int i = 0; i < NODES; i++)
        assert_int_equal(figures_of(&nodes[i]).wakes.waiters, 0);
}

static void stored_record_is_found_at_once(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("one", NULL);
    nodes_open(p, 1, LONG_MS, LONG_MS);
    redis_do(p, "SET %s there", head_name(SOME_KEY));
    ask(&askers[0], &nodes[0], SOME_KEY);
    UNTIL(askers[0].results);
    assert_int_equal(askers[0].outcome, CACHE_LEASE_FOUND);
    assert_string_equal(askers[0].record, "there");
    assert_int_equal(askers[0].left_ms, -1);
    assert_string_equal(redis_do(p, "EXISTS %s", lease_name(SOME_KEY)), "0");
}

static void what_may_not_be_stored_is_told_to_all(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("one", NULL);
    nodes_open(p, NODES, LONG_MS, LONG_MS);
    cache_lease_end(&ask_on(NODES, SOME_KEY)->lease, CACHE_WAKE_PASS);
    UNTIL(count_of(NODES, CACHE_LEASE_PASSED) == NODES - 1);
    assert_string_equal(redis_do(p, "EXISTS %s", lease_name(SOME_KEY)), "0");
}

/* One of those who wait follows, up to the last; who has waited for four, does not wait for a fifth. */
static void failure_passes_the_lease_on(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("one", NULL);
    nodes_open(p, NODES, LONG_MS, LONG_MS);
    struct asker *holder = ask_on(NODES, SOME_KEY);
    for (int failed = 1; failed < CACHE_LEASE_HOLDERS_MAX; failed++) {
        uint64_t before = waits();
        cache_lease_end(&holder->lease, CACHE_WAKE_FAILED);
        UNTIL(holder_of(NODES) != NULL && waits() == before + (uint64_t)(NODES - 1 - failed));
        assert_int_equal(count_of(NODES, CACHE_LEASE_HELD), failed + 1);
        holder = holder_of(NODES);
    }
    cache_lease_end(&holder->lease, CACHE_WAKE_FAILED);
    UNTIL(count_of(NODES, CACHE_LEASE_HELD) == CACHE_LEASE_HOLDERS_MAX + 1);
    UNTIL(count_of(NODES, CACHE_LEASE_ALONE) == NODES - CACHE_LEASE_HOLDERS_MAX - 1);
    assert_true(cache_lease_is_held(holder_of(NODES)->lease));
}

static void nobody_is_told_when_nobody_waits(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("one", NULL);
    nodes_open(p, 1, LONG_MS, LONG_MS);
    ask_on(1, SOME_KEY);
    put_and_wait(&askers[0], "record", CACHE_LEASE_WRITTEN);
    ask_on(1, "other");
    cache_lease_end(&askers[0].lease, CACHE_WAKE_FAILED);
    UNTIL(strcmp(redis_do(p, "EXISTS %s", lease_name("other")), "0") == 0);
    assert_int_equal(calls_of(p, "publish"), 0);
}

/* ---- although something is stored ---- */

static void ask_for(struct asker *a, struct node *n, enum cache_lease_want want, const char *refused)
{
    struct cache_lease_request rq = request_of(a, SOME_KEY);
    rq.want = want;
    rq.refused = slice_str(refused);
    assert_true(ask_as(a, n, &rq));
}

static void refused_record_is_replaced_once(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("one", NULL);
    nodes_open(p, 3, LONG_MS, LONG_MS);
    redis_do(p, "SET %s the-stale-record", head_name(SOME_KEY));
    ask_for(&askers[0], &nodes[0], CACHE_LEASE_NEWER, "the-stale-record");
    UNTIL(askers[0].results);
    assert_int_equal(askers[0].outcome, CACHE_LEASE_HELD);
    ask_for(&askers[1], &nodes[1], CACHE_LEASE_NEWER, "the-stale-record");
    UNTIL(waits() == 1);
    put_and_wait(&askers[0], "the-fresh-record-1", CACHE_LEASE_WRITTEN);
    UNTIL(askers[1].results);
    assert_string_equal(askers[1].record, "the-fresh-record-1");
    ask_for(&askers[2], &nodes[2], CACHE_LEASE_NEWER, "the-stale-record"); /* had read it before */
    UNTIL(askers[2].results);
    assert_string_equal(askers[2].record, "the-fresh-record-1");
    ask_for(&askers[2], &nodes[2], CACHE_LEASE_NEWER, "");
    UNTIL(askers[2].results);
    assert_string_equal(askers[2].record, "the-fresh-record-1");
    redis_do(p, "SET %s odd", head_name(SOME_KEY)); /* shorter than what is compared */
    ask_for(&askers[2], &nodes[2], CACHE_LEASE_NEWER, "odd");
    UNTIL(askers[2].results);
    assert_int_equal(askers[2].outcome, CACHE_LEASE_HELD);
}

static void lease_is_had_anyway(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("one", NULL);
    nodes_open(p, 3, LONG_MS, LONG_MS);
    redis_do(p, "SET %s stored-already", head_name(SOME_KEY));
    for (int i = 0; i < 3; i++)
        ask_for(&askers[i], &nodes[i], CACHE_LEASE_ANYWAY, NULL);
    UNTIL(holder_of(3) != NULL && waits() == 2);
    redis_do(p, "PUBLISH t:wake %b", textf("%s stored", name_of(names_of(SOME_KEY).hash)),
             (size_t)CACHE_LEASE_TOKEN + 7);
    UNTIL(waits() == 4); /* it was not: what is stored is still the same */
    put_and_wait(holder_of(3), "stored-meanwhile", CACHE_LEASE_WRITTEN);
    UNTIL(count_of(3, CACHE_LEASE_FOUND) == 2);
    for (int i = 0; i < 3; i++)
        assert_string_equal(askers[i].record,
                            askers[i].outcome == CACHE_LEASE_FOUND ? "stored-meanwhile" : "");
}

/* ---- limits ---- */

static void waiting_is_bounded(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("one", NULL);
    nodes_open(p, 2, LONG_MS, LONG_MS);
    node_open(&nodes[2], p->address, LONG_MS, LONG_MS, 1);
    UNTIL(node_is_up(&nodes[2], SOME_KEY));
    ask_on(1, SOME_KEY);
    struct cache_lease_request rq = request_of(&askers[1], SOME_KEY);
    rq.wait_ms = 0;
    assert_true(ask_as(&askers[1], &nodes[1], &rq));
    UNTIL(askers[1].results);
    assert_int_equal(askers[1].outcome, CACHE_LEASE_ALONE);
    assert_int_equal(waits(), 0);
    rq = request_of(&askers[1], SOME_KEY);
    rq.wait_ms = 300;
    mono_ms_t start_ms = clock_mono_ms();
    assert_true(ask_as(&askers[1], &nodes[1], &rq));
    UNTIL(askers[1].results);
    assert_int_equal(askers[1].outcome, CACHE_LEASE_ALONE);
    assert_int_equal(waits(), 1);
    assert_true(clock_mono_ms() >= start_ms + 300);
    ask(&askers[2], &nodes[2], SOME_KEY); /* one too many */
    ask(&askers[3], &nodes[2], SOME_KEY);
    UNTIL(askers[3].results);
    assert_int_equal(askers[3].outcome, CACHE_LEASE_ALONE);
    ask(&askers[3], &nodes[2], "free"); /* but need not wait */
    UNTIL(askers[3].results);
    assert_int_equal(askers[3].outcome, CACHE_LEASE_HELD);
    assert_int_equal(askers[2].results, 0);
    cache_lease_end(&askers[0].lease, CACHE_WAKE_FAILED);
    UNTIL(askers[2].results);
    assert_int_equal(askers[2].outcome, CACHE_LEASE_HELD);
}

/* ---- wakes at odd times ---- */

/* Its question stands behind a command that blocks, so that it is asked after the wake was heard. */
static void hear_before_answer(struct redis_process *p, const char *wake)
{
    static struct asked block;
    const slice_t argv[] = {SLICE_LIT("BLPOP"), SLICE_LIT("list"), SLICE_LIT("0")};
    block = (struct asked){.call.on_reply = asked_on_reply};
    assert_true(redis_call(nodes[1].redis, &block.call, argv[1], argv, 3));
    ask(&askers[1], &nodes[1], SOME_KEY);
    uint64_t heard = figures_of(&nodes[1]).wakes.for_us;
    const char *payload = textf("%s %s", name_of(names_of(SOME_KEY).hash), wake);
    redis_do(p, "PUBLISH t:wake %b", payload, strlen(payload));
    UNTIL(figures_of(&nodes[1]).wakes.for_us == heard + 1);
    assert_int_equal(askers[1].results, 0);
    redis_do(p, "LPUSH list item");
    UNTIL(block.ended);
}

static void wake_may_come_before_the_answer(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("one", NULL);
    lease_connections = 1;
    nodes_open(p, 2, LONG_MS, LONG_MS);
    ask_on(1, SOME_KEY);
    hear_before_answer(p, "pass");
    UNTIL(askers[1].results);
    assert_int_equal(askers[1].outcome, CACHE_LEASE_PASSED);
    assert_int_equal(waits(), 0);
    long asked = calls_of(p, "evalsha");
    hear_before_answer(p, "failed"); /* of a holder before: asks once more, and waits for this one */
    UNTIL(waits() == 1);
    assert_int_equal(calls_of(p, "evalsha"), asked + 2);
    put_and_wait(&askers[0], "record", CACHE_LEASE_WRITTEN);
    UNTIL(askers[1].results);
    assert_int_equal(askers[1].outcome, CACHE_LEASE_FOUND);
}

/* Neither telling nor hearing is allowed. */
static void without_wakes_one_asks_again(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("one", NULL);
    nodes_open(p, NODES, LONG_MS, LONG_MS);
    ask_on(NODES, SOME_KEY);
    redis_do(p, "ACL SETUSER default resetchannels");
    for (int i = 0; i < NODES; i++)
        UNTIL(figures_of(&nodes[i]).wakes.gaps == 1);
    uint64_t before = waits();
    UNTIL(waits() >= before + 3 * NODES); /* more than holders: the same one again and again */
    assert_int_equal(count_of(NODES, CACHE_LEASE_HELD), 1);
    put_and_wait(holder_of(NODES), "record", CACHE_LEASE_WRITTEN);
    UNTIL(count_of(NODES, CACHE_LEASE_FOUND) == NODES - 1);
}

static void gap_makes_one_ask_again(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("one", NULL);
    nodes_open(p, 2, LONG_MS, LONG_MS);
    ask_on(2, SOME_KEY);
    redis_do(p, "CLIENT KILL TYPE pubsub");
    redis_do(p, "SET %s by-hand", head_name(SOME_KEY)); /* nobody tells */
    UNTIL(count_of(2, CACHE_LEASE_FOUND) == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_OF(cold_key_is_fetched_once),
        TEST_OF(stored_record_is_found_at_once),
        TEST_OF(what_may_not_be_stored_is_told_to_all),
        TEST_OF(failure_passes_the_lease_on),
        TEST_OF(nobody_is_told_when_nobody_waits),
        TEST_OF(refused_record_is_replaced_once),
        TEST_OF(lease_is_had_anyway),
        TEST_OF(waiting_is_bounded),
        TEST_OF(wake_may_come_before_the_answer),
        TEST_OF(without_wakes_one_asks_again),
        TEST_OF(gap_makes_one_ask_again),
    };
    return E2E_RUN("lease", tests);
}
