/* test_redis_sentinel.c: the master is found, followed, left when it is none any more; against real
 * Sentinels. */
#include "core/redis_sentinel.h"

#include <openssl/ssl.h>

#include "tests/unit/core/redis_fixture.h"

#define NEVER_MS 600000 /* for a primary to be held for dead */

static struct redis_login login, sentinel_login;
static struct redis_group group;
static struct redis_sentinel *sentinel;
static slice_t addresses[REDIS_SENTINELS];
static int ups, downs, moves;
static char up_server[REDIS_SERVER_TEXT];

static void on_up(void *arg, const char *server)
{
    UNUSED(arg);
    ups++;
    snprintf(up_server, sizeof up_server, "%s", server);
}

static void on_down(void *arg, const char *server, const char *reason)
{
    UNUSED(arg);
    assert_string_equal(server, up_server);
    assert_true(reason[0] != '\0');
    downs++;
}

static void on_moved(void *arg)
{
    UNUSED(arg);
    moves++;
}

static int setup(void **state)
{
    login = sentinel_login = (struct redis_login){0};
    ups = downs = moves = 0;
    worker_setup();
    return support_setup(state);
}

static int teardown(void **state)
{
    redis_sentinel_close(&sentinel);
    worker_teardown();
    SSL_CTX_free(login.tls);
    return support_teardown(state);
}

static void open_at(const char *const *servers, size_t count)
{
    for (size_t i = 0; i < count; i++)
        addresses[i] = slice_str(servers[i]);
    const struct redis_sentinel_settings s = {
        .sentinels = addresses,
        .sentinel_count = count,
        .master_name = SLICE_LIT("millpond"),
        .sentinel_login = &sentinel_login,
        .login = &login,
        .limits = {.connections = 2, .calls_max = 1000, .timeout_ms = 60000, .connect_timeout_ms = 60000},
        .on_up = on_up,
        .on_down = on_down,
        .on_moved = on_moved,
    };
    worker_refresh_clock(w);
    sentinel = redis_sentinel_open(w, &s);
    assert_non_null(sentinel);
}

static void open_sentinel(void)
{
    const char *servers[REDIS_SENTINELS];
    for (size_t i = 0; i < REDIS_SENTINELS; i++)
        servers[i] = group.sentinels[i]->address;
    open_at(servers, REDIS_SENTINELS);
}

static bool is_master(const struct redis_process *p)
{
    const struct redis_node *n = redis_sentinel_master(sentinel);
    if (n == NULL || strcmp(redis_node_server(n), p->address) != 0)
        return false;
    return redis_node_is_up(n) && redis_node_get_figures(n).connected == 2; /* so that it goes down once */
}

static bool ask(struct asked *a, const char *verb, const char *key, const char *value)
{
    const slice_t argv[] = {slice_str(verb), slice_str(key), slice_str(value)};
    struct redis_node *n = redis_sentinel_master(sentinel);
    *a = (struct asked){.call.on_reply = asked_on_reply};
    return n != NULL && redis_node_call(n, &a->call, argv, value != NULL ? 3 : 2);
}

/* Has one Sentinel say something else. */
static void mislead(unsigned i, const struct redis_process *other)
{
    redis_do(group.sentinels[i], "SENTINEL REMOVE millpond");
    redis_do(group.sentinels[i], "SENTINEL MONITOR millpond 127.0.0.1 %u 9", other->port);
}

static void answers_come(unsigned n)
{
    uint64_t before = redis_sentinel_get_figures(sentinel).answers;
    UNTIL(redis_sentinel_get_figures(sentinel).answers >= before + n);
}

static void master_is_found(void **state)
{
    UNUSED(state);
    static struct asked a;
    redis_group_start(&group, 1, NEVER_MS, NULL, NULL);
    open_sentinel();
    assert_null(redis_sentinel_master(sentinel));
    assert_string_equal(redis_sentinel_get_figures(sentinel).trouble, "no Sentinel answers");
    UNTIL(is_master(group.primary));
    assert_string_equal(redis_sentinel_get_figures(sentinel).trouble, "");
    assert_int_equal(ups, 1);
    assert_int_equal(moves, 1);
    assert_true(ask(&a, "SET", "k", "v"));
    UNTIL(a.ended);
    assert_string_equal(redis_do(group.primary, "GET k"), "v");
}

static void failover_is_followed_when_it_is_published(void **state)
{
    UNUSED(state);
    static struct asked a, b;
    redis_group_start(&group, 1, NEVER_MS, NULL, NULL);
    open_sentinel();
    UNTIL(is_master(group.primary));
    assert_true(ask(&a, "BLPOP", "never", "0"));
    redis_group_fail_over(&group);
    UNTIL(is_master(group.replicas[0]));
    assert_true(redis_sentinel_get_figures(sentinel).announcements > 0);
    UNTIL(a.ended);
    assert_true(a.outcome == REDIS_LOST || a.outcome == REDIS_REFUSED); /* it unblocks its clients first */
    assert_int_equal(downs, 1);
    assert_int_equal(ups, 2);
    assert_true(ask(&b, "SET", "k", "v"));
    UNTIL(b.ended);
    assert_int_equal(b.outcome, REDIS_ANSWERED);
    assert_string_equal(redis_do(group.replicas[0], "GET k"), "v");
}

static void calls_to_the_old_master_end(void **state)
{
    UNUSED(state);
    static struct asked a;
    redis_group_start(&group, 1, NEVER_MS, NULL, NULL);
    open_sentinel();
    UNTIL(is_master(group.primary));
    redis_freeze(group.primary); /* the call hangs there */
    assert_true(ask(&a, "SET", "k", "v"));
    for (int i = 0; i < 20; i++)
        turn();
    redis_do(group.sentinels[0], "SENTINEL FAILOVER millpond");
    UNTIL(is_master(group.replicas[0]));
    assert_int_equal(a.ended, 1);
    assert_int_equal(a.outcome, REDIS_LOST);
    redis_thaw(group.primary);
}

static void killed_master_is_replaced(void **state)
{
    UNUSED(state);
    redis_group_start(&group, 1, 1000, NULL, NULL);
    open_sentinel();
    UNTIL(is_master(group.primary));
    redis_kill(group.primary);
    UNTIL(is_master(group.replicas[0]));
    assert_int_equal(downs, 1);
    redis_restart(group.primary, true); /* it still takes itself for a master */
    answers_come(2 * REDIS_SENTINELS);
    assert_true(is_master(group.replicas[0]));
    assert_int_equal(downs, 1);
}

/* No +switch-master is published, and the old master goes on as if nothing had happened. */
static void poll_finds_what_nobody_published(void **state)
{
    UNUSED(state);
    redis_group_start(&group, 0, NEVER_MS, NULL, NULL);
    struct redis_process *other = redis_start("other", NULL);
    open_sentinel();
    UNTIL(is_master(group.primary));
    for (unsigned i = 0; i < REDIS_SENTINELS; i++)
        mislead(i, other);
    UNTIL(is_master(other));
    assert_int_equal(redis_sentinel_get_figures(sentinel).announcements, 0);
}

/* The address stays with the Sentinels, but who is there is no master any more. */
static void demoted_master_is_left(struct asked *(*notice)(void))
{
    static struct asked refused;
    redis_group_start(&group, 1, NEVER_MS, NULL, NULL);
    open_sentinel();
    UNTIL(is_master(group.primary));
    redis_do(group.primary, "REPLICAOF 127.0.0.1 %u", group.replicas[0]->port);
    struct asked *a = notice();
    UNTIL(redis_sentinel_get_figures(sentinel).demotions == 1);
    if (a != NULL)
        assert_int_equal(a->outcome, REDIS_REFUSED);
    assert_int_equal(downs, 1);
    UNTIL(redis_sentinel_master(sentinel) != NULL); /* it is what the Sentinels still say */
    UNTIL(redis_node_get_figures(redis_sentinel_master(sentinel)).reconnects >= 3);
    assert_false(ask(&refused, "GET", "k", NULL));
    assert_int_equal(ups, 1);
    for (size_t i = 0; i < REDIS_SENTINELS; i++) /* which would make a master of it again */
        redis_kill(group.sentinels[i]);
    redis_do(group.primary, "REPLICAOF NO ONE");
    UNTIL(is_master(group.primary));
}

static struct asked *write_to_it(void)
{
    static struct asked a;
    assert_true(ask(&a, "SET", "k", "v"));
    UNTIL(a.ended);
    expect_in(a.text, "READONLY");
    assert_int_equal(redis_sentinel_get_figures(sentinel).demotions, 1); /* at that moment */
    return &a;
}

static struct asked *only_read(void)
{
    return NULL;
}

static void readonly_answer_means_demotion(void **state)
{
    UNUSED(state);
    demoted_master_is_left(write_to_it);
}

static void role_is_asked_for_by_and_by(void **state)
{
    UNUSED(state);
    demoted_master_is_left(only_read);
}

static void majority_is_believed(void **state)
{
    UNUSED(state);
    redis_group_start(&group, 0, NEVER_MS, NULL, NULL);
    struct redis_process *other = redis_start("other", NULL);
    open_sentinel();
    UNTIL(is_master(group.primary));
    mislead(0, other);
    answers_come(2 * REDIS_SENTINELS);
    assert_true(is_master(group.primary));
    assert_int_equal(moves, 1);
    mislead(2, other);
    UNTIL(is_master(other));
    assert_int_equal(moves, 2);
}

static void among_equals_the_one_that_works_stays(void **state)
{
    UNUSED(state);
    redis_group_start(&group, 0, NEVER_MS, NULL, NULL);
    struct redis_process *other = redis_start("other", NULL);
    redis_kill(group.sentinels[2]);
    open_sentinel();
    UNTIL(is_master(group.primary));
    for (unsigned i = 0; i < 2; i++) { /* whoever is counted first */
        mislead(1 - i, group.primary);
        answers_come(4); /* of two: what was said before is forgotten */
        mislead(i, other);
        answers_come(4);
        assert_true(is_master(group.primary));
    }
    assert_int_equal(moves, 1);
    redis_kill(group.primary);
    UNTIL(is_master(other));
}

static void master_stays_without_sentinels(void **state)
{
    UNUSED(state);
    static struct asked a;
    redis_group_start(&group, 0, NEVER_MS, NULL, NULL);
    open_sentinel();
    UNTIL(is_master(group.primary));
    for (size_t i = 0; i < REDIS_SENTINELS; i++)
        redis_kill(group.sentinels[i]);
    mono_ms_t later_ms = clock_mono_ms() + 2 * REDIS_SENTINEL_POLL_MS;
    UNTIL(clock_mono_ms() > later_ms);
    assert_true(ask(&a, "SET", "k", "v"));
    UNTIL(a.ended);
    assert_int_equal(a.outcome, REDIS_ANSWERED);
    assert_int_equal(moves, 1);
    assert_int_equal(downs, 0);
}

static void sentinels_may_be_dead_hung_or_strange(void **state)
{
    UNUSED(state);
    redis_group_start(&group, 0, NEVER_MS, NULL, NULL);
    redis_kill(group.sentinels[0]);
    redis_freeze(group.sentinels[1]);
    open_sentinel();
    UNTIL(is_master(group.primary));
    redis_sentinel_close(&sentinel);
    redis_thaw(group.sentinels[1]);
    const char *no_sentinel[] = {group.primary->address, group.sentinels[2]->address};
    open_at(no_sentinel, 2);
    UNTIL(is_master(group.primary));
}

static void unknown_name_is_told(void **state)
{
    UNUSED(state);
    redis_group_start(&group, 0, NEVER_MS, NULL, NULL);
    for (size_t i = 0; i < REDIS_SENTINELS; i++)
        redis_do(group.sentinels[i], "SENTINEL REMOVE millpond");
    open_sentinel();
    UNTIL(strcmp(redis_sentinel_get_figures(sentinel).trouble, "no Sentinel knows a master of that name") ==
          0);
    assert_null(redis_sentinel_master(sentinel));
}

static void logins_are_apart(void **state)
{
    UNUSED(state);
    const char *lines[] = {
        textf("tls-replication yes\ntls-ca-cert-file %s\ntls-cert-file %s\ntls-key-file %s", redis_tls_file(),
              redis_tls_file(), redis_tls_key_file()),
        NULL};
    const struct redis_server_options o = {.user = "pond", .password = "secret", .tls = true};
    const struct redis_server_options sentinel_o = {.password = "watch", .lines = lines};
    redis_group_start(&group, 0, NEVER_MS, &o, &sentinel_o);
    login = (struct redis_login){.tls = SSL_CTX_new(TLS_client_method()),
                                 .username = SLICE_LIT("pond"),
                                 .password = SLICE_LIT("secret")};
    assert_true(SSL_CTX_load_verify_locations(login.tls, redis_tls_file(), NULL));
    sentinel_login.password = SLICE_LIT("watch");
    open_sentinel();
    UNTIL(is_master(group.primary));
}

#define TEST_OF(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_OF(master_is_found),
        TEST_OF(failover_is_followed_when_it_is_published),
        TEST_OF(calls_to_the_old_master_end),
        TEST_OF(killed_master_is_replaced),
        TEST_OF(poll_finds_what_nobody_published),
        TEST_OF(readonly_answer_means_demotion),
        TEST_OF(role_is_asked_for_by_and_by),
        TEST_OF(majority_is_believed),
        TEST_OF(among_equals_the_one_that_works_stays),
        TEST_OF(master_stays_without_sentinels),
        TEST_OF(sentinels_may_be_dead_hung_or_strange),
        TEST_OF(unknown_name_is_told),
        TEST_OF(logins_are_apart),
    };
    return E2E_RUN("redis_sentinel", tests);
}
