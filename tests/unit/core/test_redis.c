/* test_redis.c: the front over one server, Sentinels and a Cluster: the same calls, subscriptions that
 * follow, and what is refused at once. */
#include "core/redis.h"

#include "core/metrics.h"

#include "tests/unit/core/redis_fixture.h"

#define NEVER_MS 600000

static struct redis_login login;
static struct redis *redis;
static struct redis_subscription *subscription;
static slice_t servers[REDIS_SENTINELS];
static int ups, downs, sub_ups, sub_downs, messages;
static char last[64];

static void on_up(void *arg, const char *server)
{
    UNUSED(arg);
    assert_true(server[0] != '\0');
    ups++;
}

static void on_down(void *arg, const char *server, const char *reason)
{
    UNUSED(arg);
    assert_true(server[0] != '\0' && reason[0] != '\0');
    downs++;
}

static void sub_on_message(void *arg, slice_t channel, slice_t payload)
{
    UNUSED(arg);
    messages++;
    snprintf(last, sizeof last, SLICE_FMT ":" SLICE_FMT, SLICE_ARG(channel), SLICE_ARG(payload));
}

static void sub_on_up(void *arg)
{
    UNUSED(arg);
    sub_ups++;
}

static void sub_on_down(void *arg, const char *reason)
{
    UNUSED(arg);
    assert_true(reason[0] != '\0');
    sub_downs++;
}

static int setup(void **state)
{
    ups = downs = sub_ups = sub_downs = messages = 0;
    worker_setup();
    return support_setup(state);
}

static int teardown(void **state)
{
    redis_unsubscribe(&subscription);
    redis_close(&redis);
    worker_teardown();
    return support_teardown(state);
}

static void open_redis(enum redis_mode mode, struct redis_process *const *processes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        servers[i] = slice_str(processes[i]->address);
    const struct redis_settings s = {
        .mode = mode,
        .servers = servers,
        .server_count = count,
        .login = &login,
        .sentinel_name = SLICE_LIT("millpond"),
        .sentinel_login = &login,
        .limits = {.connections = 2, .calls_max = 3, .timeout_ms = 60000, .connect_timeout_ms = 60000},
        .on_up = on_up,
        .on_down = on_down,
    };
    worker_refresh_clock(w);
    redis = redis_open(w, &s);
    assert_non_null(redis);
}

static bool ask(struct asked *a, const char *verb, const char *key, const char *value)
{
    const slice_t argv[] = {slice_str(verb), slice_str(key), slice_str(value)};
    *a = (struct asked){.call.on_reply = asked_on_reply};
    return redis_call(redis, &a->call, argv[1], argv, value != NULL ? 3 : 2);
}

/* Each with all its connections, so that each goes down once. */
static unsigned servers_up(void)
{
    unsigned up = 0;
    struct redis_node_figures n;
    for (size_t i = 0; redis_get_server_figures(redis, i, &n); i++)
        up += n.up && n.connected == 2;
    return up;
}

static const char *answer(const char *verb, const char *key, const char *value)
{
    static struct asked a;
    assert_true(ask(&a, verb, key, value));
    UNTIL(a.ended);
    return a.text;
}

static void subscribe(void)
{
    static const slice_t channels[] = {SLICE_LIT("millpond:lease")};
    const struct redis_subscriber s = {.channels = channels,
                                       .channel_count = 1,
                                       .on_message = sub_on_message,
                                       .on_up = sub_on_up,
                                       .on_down = sub_on_down};
    subscription = redis_subscribe(redis, &s);
    assert_non_null(subscription);
}

static void publish_until_heard(struct redis_process *p, const char *payload)
{
    redis_do(p, "PUBLISH millpond:lease %s", payload);
    UNTIL(messages > 0);
    assert_string_equal(last, textf("millpond:lease:%s", payload));
    messages = 0;
}

static void one_server(void **state)
{
    UNUSED(state);
    static struct asked a;
    struct redis_process *p = redis_start("one", NULL);
    open_redis(REDIS_STANDALONE, &p, 1);
    assert_false(redis_is_up(redis, SLICE_LIT("k")));
    assert_false(ask(&a, "GET", "k", NULL));
    UNTIL(servers_up() == 1);
    assert_true(redis_is_up(redis, SLICE_LIT("k")));
    assert_int_equal(ups, 1);
    assert_string_equal(answer("SET", "k", "v"), "OK");
    assert_string_equal(answer("GET", "k", NULL), "v");
    struct redis_figures f = redis_get_figures(redis);
    assert_int_equal(f.servers, 1);
    assert_string_equal(f.trouble, "");
    struct redis_node_figures n;
    assert_true(redis_get_server_figures(redis, 0, &n));
    assert_string_equal(n.server, p->address);
    assert_int_equal(n.calls, 2);
    assert_int_equal(n.refused_at_once, 1);
    assert_false(redis_get_server_figures(redis, 1, &n));
    assert_false(n.broken);
    assert_false(redis_get_guide_figures(redis, 0, &n));
    redis_kill(p);
    UNTIL(downs > 0);
    assert_false(redis_is_up(redis, SLICE_LIT("k")));
}

/* Beside the figures of a server, which end with it. */
static void worker_counts_for_all_servers(void **state)
{
    UNUSED(state);
    static struct asked a;
    struct redis_process *p = redis_start("one", NULL);
    uint64_t failed = metrics_reason_total(METRICS_REASON_REDIS_FAILURES, REDIS_REFUSED);
    w->metrics = metrics_shard_new();
    open_redis(REDIS_STANDALONE, &p, 1);
    assert_false(ask(&a, "GET", "k", NULL));
    UNTIL(servers_up() == 1);
    answer("SET", "k", "v");
    answer("LPUSH", "k", "v"); /* of the wrong kind */
    redis_kill(p);
    UNTIL(downs > 0);
    redis_close(&redis);
    assert_int_equal(metrics_total(METRIC_REDIS_CALLS), 2);
    assert_int_equal(metrics_total(METRIC_REDIS_REFUSED), 1);
    assert_true(metrics_total(METRIC_REDIS_RECONNECTS) >= 1);
    assert_int_equal(metrics_reason_total(METRICS_REASON_REDIS_FAILURES, REDIS_REFUSED), failed + 1);
    metrics_shard_free(w->metrics);
    w->metrics = NULL;
}

static void what_is_too_much_is_refused_at_once(void **state)
{
    UNUSED(state);
    static struct asked a[4];
    struct redis_process *p = redis_start("one", NULL);
    open_redis(REDIS_STANDALONE, &p, 1);
    UNTIL(servers_up() == 1);
    redis_freeze(p);
    for (int i = 0; i < 3; i++)
        assert_true(ask(&a[i], "GET", "k", NULL));
    assert_false(ask(&a[3], "GET", "k", NULL));
    redis_thaw(p);
    UNTIL(a[0].ended && a[1].ended && a[2].ended);
    assert_string_equal(answer("SET", "k", "v"), "OK");
}

/* What a call's end leads to may ask again, also when all is being closed. */
static void asked_on_reply_again(struct redis_call *call, enum redis_outcome o,
                                 const struct redisReply *reply)
{
    static struct asked again;
    asked_on_reply(call, o, reply);
    assert_false(ask(&again, "GET", "k", NULL));
}

static void closing_refuses_and_ends(enum redis_mode mode, struct redis_process *const *processes,
                                     size_t count)
{
    static struct asked a;
    const slice_t argv[] = {SLICE_LIT("BLPOP"), SLICE_LIT("k"), SLICE_LIT("0")};
    open_redis(mode, processes, count);
    UNTIL(redis_is_up(redis, argv[1]));
    a = (struct asked){.call.on_reply = asked_on_reply_again};
    assert_true(redis_call(redis, &a.call, argv[1], argv, 3));
    assert_true(redis_call(redis, NULL, argv[1], argv, 3));
    int downs_before = downs;
    redis_close(&redis);
    assert_int_equal(a.ended, 1);
    assert_int_equal(a.outcome, REDIS_LOST);
    assert_int_equal(downs, downs_before);
    assert_null(redis);
    turn();
}

static void closing_ends_calls(void **state)
{
    UNUSED(state);
    static struct redis_group group;
    static struct redis_cluster_group cluster;
    struct redis_process *p = redis_start("one", NULL);
    closing_refuses_and_ends(REDIS_STANDALONE, &p, 1);
    redis_group_start(&group, 0, NEVER_MS, NULL, NULL);
    closing_refuses_and_ends(REDIS_SENTINEL, group.sentinels, REDIS_SENTINELS);
    redis_cluster_group_start(&cluster, false, NEVER_MS, NULL);
    closing_refuses_and_ends(REDIS_CLUSTER, cluster.masters, REDIS_MASTERS);
}

static void behind_sentinels(void **state)
{
    UNUSED(state);
    static struct redis_group group;
    static struct asked a;
    redis_group_start(&group, 1, NEVER_MS, NULL, NULL);
    open_redis(REDIS_SENTINEL, group.sentinels, REDIS_SENTINELS);
    assert_false(ask(&a, "GET", "k", NULL));
    assert_int_equal(redis_get_figures(redis).refused_unknown, 1);
    assert_true(redis_get_figures(redis).trouble[0] != '\0');
    struct redis_node_figures n;
    for (size_t i = 0; i < REDIS_SENTINELS; i++) {
        assert_true(redis_get_guide_figures(redis, i, &n));
        assert_string_equal(n.server, group.sentinels[i]->address);
    }
    assert_false(redis_get_guide_figures(redis, REDIS_SENTINELS, &n));
    subscribe();
    UNTIL(servers_up() == 1 && sub_ups == 1);
    publish_until_heard(group.primary, "one");
    assert_string_equal(answer("SET", "k", "v"), "OK");
    redis_group_fail_over(&group);
    UNTIL(servers_up() == 1 && ups == 2);
    UNTIL(strcmp(redis_do(group.replicas[0], "PUBSUB NUMSUB millpond:lease"), "millpond:lease 1") == 0);
    assert_int_equal(downs, 1);
    assert_true(sub_downs >= 1); /* it may have come back to the old one first */
    publish_until_heard(group.replicas[0], "two");
    assert_string_equal(answer("SET", "k", "w"), "OK");
    struct redis_figures f = redis_get_figures(redis);
    assert_true(f.moves >= 2); /* by way of the old one, when it is known as demoted first */
    assert_int_equal(f.servers, 1);
}

static void in_a_cluster(void **state)
{
    UNUSED(state);
    static struct redis_cluster_group group;
    struct redis_node_figures n;
    uint64_t calls = 0;
    redis_cluster_group_start(&group, false, NEVER_MS, NULL);
    open_redis(REDIS_CLUSTER, &group.masters[1], 1);
    assert_true(redis_get_guide_figures(redis, 0, &n)); /* the seed, until a master is up */
    assert_string_equal(n.server, group.masters[1]->address);
    subscribe();
    UNTIL(servers_up() == REDIS_MASTERS && sub_ups == 1);
    for (int i = 0; i < 30; i++) {
        char *key = textf("key-%d", i);
        assert_string_equal(answer("SET", key, key), "OK");
        assert_string_equal(answer("GET", key, NULL), key);
    }
    struct redis_figures f = redis_get_figures(redis);
    assert_int_equal(f.servers, REDIS_MASTERS);
    assert_int_equal(f.slots, 16384);
    assert_int_equal(f.redirects, 0);
    assert_true(f.refreshes >= 1);
    for (size_t i = 0; redis_get_server_figures(redis, i, &n); i++) {
        calls += n.outcomes[REDIS_ANSWERED];
        assert_true(n.outcomes[REDIS_ANSWERED] > 0);
        assert_true(n.up);
    }
    assert_true(calls >= 60);
    assert_false(redis_get_guide_figures(redis, 0, &n));
    for (unsigned i = 0; i < REDIS_MASTERS; i++)
        publish_until_heard(group.masters[i], textf("from-%u", i));
}

/* The slot of the channel moves, and with it where one subscribes. */
static void subscription_follows_its_slot(void **state)
{
    UNUSED(state);
    static struct redis_cluster_group group;
    redis_cluster_group_start(&group, false, NEVER_MS, NULL);
    open_redis(REDIS_CLUSTER, group.masters, 1);
    subscribe();
    UNTIL(servers_up() == REDIS_MASTERS && sub_ups == 1);
    unsigned slot = (unsigned)strtoul(redis_do(group.masters[0], "CLUSTER KEYSLOT millpond:lease"), NULL, 10);
    unsigned from = slot * REDIS_MASTERS / 16384, to = (from + 1) % REDIS_MASTERS;
    assert_string_equal(redis_do(group.masters[from], "PUBSUB NUMSUB millpond:lease"), "millpond:lease 1");
    redis_slot_begin_move(group.masters[from], group.masters[to], slot);
    redis_slot_finish_move(group.masters[from], group.masters[to], slot);
    answer("GET", "millpond:lease", NULL);
    UNTIL(sub_ups == 2);
    assert_int_equal(sub_downs, 1);
    assert_string_equal(redis_do(group.masters[to], "PUBSUB NUMSUB millpond:lease"), "millpond:lease 1");
    publish_until_heard(group.masters[from], "any");
}

#define TEST_OF(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_OF(worker_counts_for_all_servers),
        TEST_OF(one_server),
        TEST_OF(what_is_too_much_is_refused_at_once),
        TEST_OF(closing_ends_calls),
        TEST_OF(behind_sentinels),
        TEST_OF(in_a_cluster),
        TEST_OF(subscription_follows_its_slot),
    };
    return E2E_RUN("redis", tests);
}
