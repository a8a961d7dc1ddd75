/* test_stream_link.c: nodes that follow one stream over a real Redis: events cross, come back, wait for
 * Redis; reports of nodes, waits for all of them, messages of applications. */
#include "tests/unit/cache/stream_link_fixture.h"

static uint64_t head_of(struct lf_node *n)
{
    return cache_inval_head(&n->log);
}

static void test_events_cross(void **state)
{
    UNUSED(state);
    lf_open(3, SLICE_EMPTY);
    lf_settle(3);
    const uint64_t since[] = {head_of(lf_nodes[0]), head_of(lf_nodes[1]), head_of(lf_nodes[2])};
    lf_purge_tag(lf_nodes[0], "a");
    lf_purge_tag(lf_nodes[1], "b");
    for (unsigned i = 0; i < 3; i++)
        LF_UNTIL(lf_nodes[i], v->follow.applied + v->follow.came_back == 2);
    lf_settle(3);
    LF_UNTIL(lf_nodes[2], v->figures.rings > 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_true(lf_is_purged(lf_nodes[i], "a", since[i]));
        assert_true(lf_is_purged(lf_nodes[i], "b", since[i]));
        assert_false(lf_is_purged(lf_nodes[i], "c", since[i]));
        assert_int_equal(lf_nodes[i]->purges_of_all, 1); /* when it joined */
    }
    assert_int_equal(lf_nodes[0]->purges, 2); /* its own came back unapplied */
    assert_int_equal(lf_look(lf_nodes[0])->figures.starts + lf_look(lf_nodes[1])->figures.starts +
                         lf_look(lf_nodes[2])->figures.starts,
                     1); /* of all who found nothing */
}

enum { MANY = 700 };

/* More than a batch and a page, while the other node cannot read. */
static void make_many(void)
{
    lf_open(2, SLICE_EMPTY);
    lf_settle(2);
    redis_do(lf_redis, "CONFIG SET stream-node-max-entries 10");
    relay_stall(lf_nodes[1]->relay);
    for (unsigned i = 0; i < MANY; i++)
        lf_purge_tag(lf_nodes[0], textf("t%u", i));
    LF_UNTIL(lf_nodes[0], v->queue.pending == 0);
    const struct lf_view *v = lf_look(lf_nodes[0]);
    assert_int_equal(v->follow.came_back, MANY);
    assert_int_equal(v->figures.appended, MANY);
    assert_true(v->figures.appends >= MANY / CACHE_STREAM_BATCH);
    relay_heal(lf_nodes[1]->relay);
    lf_settle(2);
}

static void test_many_events_in_order(void **state)
{
    UNUSED(state);
    make_many();
    assert_int_equal(lf_look(lf_nodes[1])->follow.applied, MANY);
    const char *all = redis_do(lf_redis, "XRANGE millpond:{stream} - +");
    for (unsigned i = 0; i < MANY; i++)
        all = strstr(all, textf("tag t%u", i));
    assert_non_null(all);
    lf_nodes[2] = lf_node(2);
    relay_slow(lf_nodes[2]->relay, 3000);
    lf_start(lf_nodes[2]);
    LF_UNTIL(lf_nodes[2], v->follow.state == CACHE_STREAM_INSIDE); /* not before it has read all pages */
    assert_int_equal(cache_stream_id_compare(lf_look(lf_nodes[2])->follow.cursor, lf_last_id()), 0);
}

static void test_a_short_stream_is_trimmed(void **state)
{
    UNUSED(state);
    lf_length = 200;
    make_many();
    assert_true(atoi(redis_do(lf_redis, "XLEN millpond:{stream}")) < 300);
    const struct lf_view *v = lf_look(lf_nodes[1]);
    assert_int_equal(v->follow.trimmed, 1);
    assert_int_equal(lf_nodes[1]->purges_of_all, 2);
    assert_int_equal(v->follow.starts, 1);
}

/* One event that names as much as it can. */
static void test_the_largest_event(void **state)
{
    UNUSED(state);
    static struct cache_purge items[CACHE_STREAM_ITEMS_MAX];
    lf_open(2, SLICE_EMPTY);
    lf_settle(2);
    for (unsigned i = 0; i < ARRAY_LEN(items); i++)
        items[i] = (struct cache_purge){.kind = CACHE_PURGE_TAG,
                                        .text = slice_str(textf("%s-%u", text_repeat('t', 1000), i))};
    const uint64_t since = head_of(lf_nodes[1]);
    lf_purge(lf_nodes[0], items, ARRAY_LEN(items));
    LF_UNTIL(lf_nodes[1], v->follow.applied == 1);
    lf_settle(2);
    assert_true(lf_is_purged(lf_nodes[1], textf("%s-255", text_repeat('t', 1000)), since));
    assert_int_equal(lf_look(lf_nodes[1])->follow.refused, 0);
}

static void test_what_is_not_understood_purges_everything(void **state)
{
    UNUSED(state);
    lf_open(1, SLICE_EMPTY);
    lf_settle(1);
    redis_do(lf_redis, "XADD millpond:{stream} * hello world");
    LF_UNTIL(lf_nodes[0], v->follow.refused == 1);
    redis_do(lf_redis, "XADD millpond:{stream} * v %s", text_repeat('x', 5 * MB));
    LF_UNTIL(lf_nodes[0], v->follow.refused == 2);
    lf_purge_tag(lf_nodes[0], "a"); /* it goes on */
    lf_settle(1);
    assert_int_equal(lf_nodes[0]->purges_of_all, 3);
}

static void test_purges_wait_for_redis(void **state)
{
    UNUSED(state);
    lf_open(2, SLICE_EMPTY);
    lf_settle(2);
    redis_kill(lf_redis);
    for (unsigned i = 0; i < 2; i++)
        LF_UNTIL(lf_nodes[i], !v->figures.up && v->figures.trouble[0] != '\0');
    const uint64_t since = head_of(lf_nodes[1]);
    lf_purge_tag(lf_nodes[0], "a");
    assert_int_equal(lf_look(lf_nodes[0])->queue.pending, 1);
    LF_UNTIL(lf_nodes[0], v->queue.file_bytes > 16); /* after a while on the disk */
    lf_stop(lf_nodes[0]);
    lf_start(lf_nodes[0]);
    assert_int_equal(lf_look(lf_nodes[0])->queue.pending, 1);
    redis_restart(lf_redis, true);
    lf_settle(2);
    assert_true(lf_is_purged(lf_nodes[1], "a", since));
    expect_in(redis_do(lf_redis, "XRANGE millpond:{stream} - +"), "tag a");
}

/* Redis carries it out when nobody waits for the answer any more. */
static void test_what_had_no_answer_is_looked_for_first(void **state)
{
    UNUSED(state);
    lf_open(1, SLICE_EMPTY);
    lf_settle(1);
    redis_freeze(lf_redis);
    lf_purge_tag(lf_nodes[0], "once");
    LF_UNTIL(lf_nodes[0], v->figures.failures >= 2);
    redis_thaw(lf_redis);
    lf_settle(1);
    assert_int_equal(support_count(redis_do(lf_redis, "XRANGE millpond:{stream} - +"), "tag once"), 1);
    assert_int_equal(lf_look(lf_nodes[0])->follow.came_back, 1);
}

/* ---- nodes ---- */

static const struct cache_stream_node *named(const struct lf_view *v, const char *name)
{
    for (size_t i = 0; i < v->node_count; i++) {
        if (strcmp(v->nodes[i].name, name) == 0)
            return &v->nodes[i];
    }
    return NULL;
}

static void test_nodes_are_seen(void **state)
{
    UNUSED(state);
    lf_open(3, SLICE_EMPTY);
    lf_settle(3);
    LF_UNTIL(lf_nodes[0], v->node_count == 3);
    lf_purge_tag(lf_nodes[1], "a");
    lf_settle(3);
    const struct cache_stream_id last = lf_last_id();
    for (unsigned i = 0; i < 3; i++) /* all apply it, and each node hears of it */
        LF_UNTIL(lf_nodes[0], cache_stream_id_compare(named(v, lf_nodes[i]->name)->applied, last) == 0 &&
                                  named(v, lf_nodes[i]->name)->epoch == v->follow.epoch);
    relay_stall(lf_nodes[2]->relay);
    for (unsigned i = 0; i < 5; i++)
        lf_purge_tag(lf_nodes[0], textf("b%u", i));
    LF_UNTIL(lf_nodes[0], named(v, "node-2")->lag == 5 && named(v, "node-2")->age_ms > 1500);
    relay_heal(lf_nodes[2]->relay);
    LF_UNTIL(lf_nodes[0], named(v, "node-2")->lag == 0 && named(v, "node-2")->age_ms < 1200);
    /* Who was silent for an hour, and who writes what is none of ours, is forgotten. */
    redis_do(lf_redis, "HSET millpond:{stream}:nodes old %s", "0000000000000001 1-1 1000");
    redis_do(lf_redis, "HSET millpond:{stream}:nodes odd what");
    redis_until(lf_redis, "(nil)", "HGET millpond:{stream}:nodes old");
    redis_until(lf_redis, "(nil)", "HGET millpond:{stream}:nodes odd");
    LF_UNTIL(lf_nodes[0], v->node_count == 3);
}

static void do_look_reachable(struct lf_node *n, void *arg)
{
    size_t count;
    const struct cache_stream_nodes *nodes = cache_stream_link_nodes(n->link);
    const struct cache_stream_node *all = cache_stream_nodes_all(cache_stream_link_nodes(n->link), &count);
    unsigned *reachable = arg;
    *reachable = 0;
    for (size_t i = 0; i < count; i++)
        *reachable += cache_stream_node_is_reachable(nodes, &all[i]);
}

static unsigned as_far_as_this(const struct lf_view *v)
{
    unsigned count = 0;
    for (size_t i = 0; i < v->node_count; i++)
        count += v->nodes[i].epoch == v->follow.epoch &&
                 cache_stream_id_compare(v->nodes[i].applied, v->follow.cursor) >= 0;
    return count;
}

static void test_all_know_how_far_all_are(void **state)
{
    UNUSED(state);
    lf_open(3, SLICE_EMPTY);
    lf_settle(3);
    LF_UNTIL(lf_nodes[0], v->node_count == 3);
    relay_stall(lf_nodes[2]->relay);
    const uint64_t since = head_of(lf_nodes[1]);
    unsigned reachable = 3;
    while (reachable == 3) { /* by its own report, which grows old */
        lf_run(lf_nodes[0], do_look_reachable, &reachable);
        poll(NULL, 0, LF_ASK_AGAIN_MS);
    }
    lf_purge_tag(lf_nodes[0], "c");
    LF_UNTIL(lf_nodes[0], v->queue.pending == 0 && as_far_as_this(v) == 2);
    assert_true(lf_is_purged(lf_nodes[1], "c", since));
}

/* ---- messages ---- */

static unsigned knows_inside(const struct lf_view *v)
{
    unsigned inside = 0;
    for (size_t i = 0; i < v->node_count; i++)
        inside += v->nodes[i].epoch != 0;
    return inside;
}

static void until_all_listen(unsigned count)
{
    lf_settle(count);
    for (unsigned i = 0; i < count; i++)
        LF_UNTIL(lf_nodes[i], v->figures.channel.up && knows_inside(v) == count);
}

static uint64_t sum_appended(unsigned count)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < count; i++)
        sum += lf_look(lf_nodes[i])->figures.channel.appended;
    return sum;
}

static void test_a_message_is_one_event(void **state)
{
    UNUSED(state);
    lf_turn_ms = lf_unreachable_ms = 600000;
    lf_open(3, LF_CHANNEL);
    until_all_listen(3);
    const unsigned before = (unsigned)atoi(redis_do(lf_redis, "XLEN millpond:{stream}"));
    const uint64_t since = head_of(lf_nodes[1]);
    for (unsigned i = 0; i < 10; i++) { /* the same twice is purged twice */
        redis_do(lf_redis, "PUBLISH millpond:purge %s", textf("tag m%u", i / 2));
        for (unsigned k = 0; k < 3; k++)
            LF_UNTIL(lf_nodes[k], v->figures.channel.covered + v->figures.channel.appended == i + 1);
    }
    lf_settle(3);
    assert_int_equal(sum_appended(3), 10);
    assert_int_equal(atoi(redis_do(lf_redis, "XLEN millpond:{stream}")), before + 10);
    for (unsigned i = 0; i < 5; i++)
        assert_true(lf_is_purged(lf_nodes[1], textf("m%u", i), since));
    redis_do(lf_redis, "PUBLISH millpond:purge %s", "{\"tags\": [\"x\"], \"oops\": 1}");
    LF_UNTIL(lf_nodes[1], v->figures.channel.refused == 1);
    assert_int_equal(sum_appended(3), 10);
    for (unsigned i = 0; i < 20; i++) /* in one go: each waits for its own event only */
        redis_do(lf_redis, "PUBLISH millpond:purge %s", textf("tag n%u", i));
    for (unsigned k = 0; k < 3; k++)
        LF_UNTIL(lf_nodes[k], v->figures.channel.covered + v->figures.channel.appended == 30);
    lf_settle(3);
    assert_int_equal(sum_appended(3), 30);
    for (unsigned i = 0; i < 20; i++)
        assert_true(lf_is_purged(lf_nodes[1], textf("n%u", i), since));
}

/* Whose turn it is cannot reach Redis: the next one takes it. */
static void test_a_message_is_not_lost_with_one_node(void **state)
{
    UNUSED(state);
    lf_open(2, LF_CHANNEL);
    until_all_listen(2);
    for (unsigned cut = 0; cut < 2; cut++) {
        const unsigned other = 1 - cut;
        until_all_listen(2);
        relay_stall(lf_nodes[cut]->relay);
        for (unsigned i = 0; i < 8; i++) { /* some of them are the turn of who is cut off */
            const uint64_t since = head_of(lf_nodes[other]);
            char *tag = textf("m%u-%u", cut, i);
            redis_do(lf_redis, "PUBLISH millpond:purge %s", textf("tag %s", tag));
            mono_ms_t until_ms = clock_mono_ms() + support_wait_ms();
            while (!lf_is_purged(lf_nodes[other], tag, since)) {
                EXPECT(clock_mono_ms() < until_ms, "%s is not purged", tag);
                poll(NULL, 0, LF_ASK_AGAIN_MS);
            }
        }
        relay_heal(lf_nodes[cut]->relay);
        lf_settle(2);
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, lf_setup, support_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_events_cross),
        TEST(test_many_events_in_order),
        TEST(test_a_short_stream_is_trimmed),
        TEST(test_the_largest_event),
        TEST(test_what_is_not_understood_purges_everything),
        TEST(test_purges_wait_for_redis),
        TEST(test_what_had_no_answer_is_looked_for_first),
        TEST(test_nodes_are_seen),
        TEST(test_all_know_how_far_all_are),
        TEST(test_a_message_is_one_event),
        TEST(test_a_message_is_not_lost_with_one_node),
    };
    cmocka_set_test_filter(getenv("TEST"));
    return cmocka_run_group_tests_name("cache/stream_link", tests, lf_group_setup, lf_group_teardown);
}
