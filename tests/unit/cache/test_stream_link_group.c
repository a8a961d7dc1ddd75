/* test_stream_link_group.c: the stream behind Sentinels, through failovers that lose what was not copied, and
 * in a Cluster, whose slot of the stream moves. */
#include "tests/unit/cache/stream_link_fixture.h"

#define NEVER_MS 600000

static slice_t servers[REDIS_SENTINELS];
static struct redis_login sentinel_login;

static void open_nodes(enum redis_mode mode, struct redis_process *const *processes, slice_t channel)
{
    for (unsigned i = 0; i < 3; i++)
        servers[i] = slice_str(processes[i]->address);
    for (unsigned i = 0; i < 2; i++) {
        struct lf_node *n = lf_nodes[i] = lf_node(i);
        n->settings.redis.mode = mode;
        n->settings.redis.servers = servers;
        n->settings.redis.server_count = 3;
        n->settings.redis.sentinel_name = SLICE_LIT("millpond");
        n->settings.redis.sentinel_login = &sentinel_login;
        n->settings.channel = channel;
        lf_start(n);
    }
}

/* Both purge, and both have it when they have settled. */
static void expect_crossing(const char *name)
{
    uint64_t since[2];
    for (unsigned i = 0; i < 2; i++)
        since[i] = cache_inval_head(&lf_nodes[i]->log);
    for (unsigned i = 0; i < 2; i++)
        lf_purge_tag(lf_nodes[i], textf("%s-%u", name, i));
    lf_settle(2);
    for (unsigned i = 0; i < 2; i++) {
        for (unsigned k = 0; k < 2; k++)
            assert_true(lf_is_purged(lf_nodes[i], textf("%s-%u", name, k), since[i]));
    }
}

static void test_a_failover_that_loses_nothing(void **state)
{
    UNUSED(state);
    static struct redis_group group;
    redis_group_start(&group, 1, NEVER_MS, NULL, NULL);
    lf_redis = group.primary;
    open_nodes(REDIS_SENTINEL, group.sentinels, SLICE_EMPTY);
    lf_settle(2);
    expect_crossing("before");
    redis_do(lf_redis, "WAIT 1 %d", support_wait_ms());
    const uint64_t since = cache_inval_head(&lf_nodes[1]->log);
    redis_group_fail_over(&group);
    lf_purge_tag(lf_nodes[0], "while");
    lf_redis = group.replicas[0];
    lf_settle(2);
    assert_true(lf_is_purged(lf_nodes[1], "while", since));
    expect_crossing("after");
}

/* What both have read is not on the replica that takes over. */
static void test_a_failover_that_loses_something(void **state)
{
    UNUSED(state);
    static struct redis_group group;
    redis_group_start(&group, 1, 1000, NULL, NULL);
    lf_redis = group.primary;
    open_nodes(REDIS_SENTINEL, group.sentinels, SLICE_EMPTY);
    lf_settle(2);
    expect_crossing("before");
    redis_do(lf_redis, "WAIT 1 %d", support_wait_ms());
    redis_freeze(group.replicas[0]);
    redis_do(lf_redis, "CLIENT KILL TYPE replica");
    expect_crossing("lost");
    uint64_t since[2];
    for (unsigned i = 0; i < 2; i++)
        since[i] = cache_inval_head(&lf_nodes[i]->log);
    redis_kill(group.primary);
    redis_thaw(group.replicas[0]);
    redis_group_wait_for_primary(&group, group.replicas[0]);
    lf_redis = group.replicas[0];
    for (unsigned i = 0; i < 2; i++)
        LF_UNTIL(lf_nodes[i], v->follow.lost >= 1 && v->figures.up);
    lf_settle(2);
    assert_true(lf_look(lf_nodes[0])->figures.starts + lf_look(lf_nodes[1])->figures.starts >= 2);
    for (unsigned i = 0; i < 2; i++) /* everything */
        assert_true(lf_is_purged(lf_nodes[i], "any", since[i]));
    expect_crossing("after");
}

static void test_the_slot_moves(void **state)
{
    UNUSED(state);
    static struct redis_cluster_group group;
    redis_cluster_group_start(&group, false, NEVER_MS, NULL);
    const unsigned slot =
        (unsigned)strtoul(redis_do(group.masters[0], "CLUSTER KEYSLOT millpond:{stream}"), NULL, 10);
    const unsigned from = slot * REDIS_MASTERS / 16384, to = (from + 1) % REDIS_MASTERS;
    lf_redis = group.masters[from];
    open_nodes(REDIS_CLUSTER, group.masters, LF_CHANNEL);
    lf_settle(2);
    expect_crossing("before");
    for (unsigned i = 0; i < 2; i++)
        LF_UNTIL(lf_nodes[i], v->figures.channel.up);
    const uint64_t since = cache_inval_head(&lf_nodes[1]->log);
    redis_do(group.masters[to], "PUBLISH millpond:purge %s", "tag message");
    for (unsigned i = 0; i < 2; i++) /* each: see stream_channel.h */
        LF_UNTIL(lf_nodes[i], v->figures.channel.appended == 1);
    assert_true(lf_is_purged(lf_nodes[1], "message", since));
    redis_slot_begin_move(group.masters[from], group.masters[to], slot);
    lf_purge_tag(lf_nodes[0], "moving");
    redis_slot_move_keys(group.masters[from], group.masters[to], slot);
    lf_purge_tag(lf_nodes[0], "moved");
    redis_slot_finish_move(group.masters[from], group.masters[to], slot);
    lf_redis = group.masters[to];
    lf_settle(2);
    assert_true(lf_is_purged(lf_nodes[1], "moving", since) && lf_is_purged(lf_nodes[1], "moved", since));
    expect_crossing("after");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, lf_setup, support_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_failover_that_loses_nothing),
        TEST(test_a_failover_that_loses_something),
        TEST(test_the_slot_moves),
    };
    cmocka_set_test_filter(getenv("TEST"));
    return cmocka_run_group_tests_name("cache/stream_link_group", tests, lf_group_setup, lf_group_teardown);
}
