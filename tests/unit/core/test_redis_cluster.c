/* test_redis_cluster.c: a real Cluster of three masters: keys find their server while slots move, servers
 * come, go, hang and fail over. */
#include "core/redis_cluster.h"

#include <openssl/ssl.h>

#include "core/redis_slots.h"
#include "tests/unit/core/redis_fixture.h"

#define NEVER_MS 600000 /* for a node to be held for dead */

static struct redis_login login;
static struct redis_cluster_group group;
static struct redis_cluster *cluster;
static slice_t seeds[REDIS_MASTERS];
static int ups, downs, moves;

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

static void on_moved(void *arg)
{
    UNUSED(arg);
    moves++;
}

static int setup(void **state)
{
    login = (struct redis_login){0};
    ups = downs = moves = 0;
    worker_setup();
    return support_setup(state);
}

static int teardown(void **state)
{
    redis_cluster_close(&cluster);
    worker_teardown();
    SSL_CTX_free(login.tls);
    return support_teardown(state);
}

static struct redis_cluster_figures figures(void)
{
    return redis_cluster_get_figures(cluster);
}

static void open_at(const char *const *servers, size_t count)
{
    for (size_t i = 0; i < count; i++)
        seeds[i] = slice_str(servers[i]);
    const struct redis_cluster_settings s = {
        .seeds = seeds,
        .seed_count = count,
        .login = &login,
        .limits = {.connections = 2, .calls_max = 1000, .timeout_ms = 60000, .connect_timeout_ms = 60000},
        .on_up = on_up,
        .on_down = on_down,
        .on_moved = on_moved,
    };
    worker_refresh_clock(w);
    cluster = redis_cluster_open(w, &s);
    assert_non_null(cluster);
}

static void open_cluster(void)
{
    open_at((const char *[]){group.masters[0]->address}, 1);
    UNTIL(ups == REDIS_MASTERS);
}

/* A key of the slots that master `i` has in the beginning; another one for each `n`. */
static char *key_of(unsigned i, unsigned n)
{
    for (unsigned try = 0;; try++) {
        char *key = textf("key-%u-%u", n, try);
        if (redis_key_slot(slice_str(key)) * REDIS_MASTERS / REDIS_SLOTS == i)
            return key;
    }
}

static bool is_owner(const struct redis_process *p, const char *key)
{
    const struct redis_node *n = redis_cluster_node(cluster, slice_str(key));
    return n != NULL && redis_node_is_up(n) && strcmp(redis_node_server(n), p->address) == 0;
}

static bool ask(struct asked *a, const char *verb, const char *key, const char *value)
{
    const slice_t argv[] = {slice_str(verb), slice_str(key), slice_str(value)};
    struct redis_node *n = redis_cluster_node(cluster, slice_str(key));
    *a = (struct asked){.call.on_reply = asked_on_reply};
    return n != NULL && redis_node_call(n, &a->call, argv, value != NULL ? 3 : 2);
}

static const struct asked *answer(const char *verb, const char *key, const char *value)
{
    static struct asked a;
    assert_true(ask(&a, verb, key, value));
    UNTIL(a.ended);
    return &a;
}

static void set(const char *key, const char *value)
{
    const struct asked *a = answer("SET", key, value);
    assert_string_equal(a->text, "OK");
}

static void keys_find_their_servers(void **state)
{
    UNUSED(state);
    redis_cluster_group_start(&group, false, NEVER_MS, NULL);
    open_at((const char *[]){group.masters[2]->address}, 1);
    assert_null(redis_cluster_node(cluster, SLICE_LIT("k")));
    assert_string_equal(figures().trouble, "no server answers");
    UNTIL(ups == REDIS_MASTERS);
    assert_string_equal(figures().trouble, "");
    assert_int_equal(figures().covered, REDIS_SLOTS);
    assert_int_equal(moves, 1);
    for (unsigned i = 0; i < REDIS_MASTERS; i++) {
        char *key = key_of(i, 0);
        set(key, "v");
        assert_true(is_owner(group.masters[i], key));
        assert_string_equal(redis_do(group.masters[i], "GET %s", key), "v");
    }
    assert_int_equal(figures().redirects, 0);
    unsigned long slot = strtoul(redis_do(group.masters[0], "CLUSTER KEYSLOT a{tag}b"), NULL, 10);
    assert_int_equal(redis_key_slot(SLICE_LIT("{tag}")), slot);
}

static void any_seed_will_do(void **state)
{
    UNUSED(state);
    redis_cluster_group_start(&group, false, NEVER_MS, NULL);
    struct redis_process *alone = redis_start("alone", NULL);
    redis_freeze(group.masters[0]);
    open_at((const char *[]){"127.0.0.1:1", alone->address, group.masters[1]->address}, 3);
    UNTIL(ups == 2);
    redis_thaw(group.masters[0]);
    UNTIL(ups == REDIS_MASTERS);
    assert_int_equal(figures().covered, REDIS_SLOTS);
}

static void no_cluster_is_told(void **state)
{
    UNUSED(state);
    struct redis_process *alone = redis_start("alone", NULL);
    open_at((const char *[]){alone->address}, 1);
    UNTIL(strcmp(figures().trouble, "the server refuses CLUSTER SLOTS") == 0);
    struct redis_process *empty =
        redis_start("empty", &(struct redis_server_options){.kind = REDIS_IN_CLUSTER});
    redis_cluster_close(&cluster);
    open_at((const char *[]){empty->address}, 1);
    UNTIL(strcmp(figures().trouble, "the server knows of no slots") == 0);
    redis_do(empty, "CLUSTER ADDSLOTSRANGE 0 16383"); /* which it tells with the next refresh */
    UNTIL(ups == 1);
}

static void moved_slot_is_followed(void **state)
{
    UNUSED(state);
    redis_cluster_group_start(&group, false, NEVER_MS, NULL);
    open_cluster();
    char *key = key_of(0, 0);
    unsigned slot = redis_key_slot(slice_str(key));
    set(key, "v");
    redis_slot_begin_move(group.masters[0], group.masters[2], slot);
    redis_slot_move_keys(group.masters[0], group.masters[2], slot);
    redis_slot_finish_move(group.masters[0], group.masters[2], slot);
    uint64_t refreshes = figures().refreshes;
    const struct asked *a = answer("GET", key, NULL);
    assert_int_equal(a->outcome, REDIS_ANSWERED);
    assert_string_equal(a->text, "v");
    assert_int_equal(figures().redirects, 1);
    assert_true(is_owner(group.masters[2], key)); /* by the redirection alone */
    assert_int_equal(moves, 2);
    assert_string_equal(answer("GET", key, NULL)->text, "v");
    assert_int_equal(figures().redirects, 1);
    UNTIL(figures().refreshes > refreshes);
    assert_true(is_owner(group.masters[2], key));
}

static void moving_slot_is_asked_for_at_both(void **state)
{
    UNUSED(state);
    redis_cluster_group_start(&group, false, NEVER_MS, NULL);
    open_cluster();
    char *here = textf("{%s}-here", key_of(1, 0)), *there = textf("{%s}-there", key_of(1, 0));
    unsigned slot = redis_key_slot(slice_str(here));
    set(here, "old");
    redis_slot_begin_move(group.masters[1], group.masters[0], slot);
    assert_string_equal(answer("GET", here, NULL)->text, "old");
    assert_int_equal(figures().redirects, 0);
    set(there, "new"); /* not here, so that it is to be asked for there */
    assert_int_equal(figures().redirects, 1);
    assert_true(is_owner(group.masters[1], there)); /* still */
    assert_string_equal(redis_do(group.masters[0], "CLUSTER COUNTKEYSINSLOT %u", slot), "1");
    static struct asked a;
    const slice_t both[] = {SLICE_LIT("MGET"), slice_str(here), slice_str(there)};
    a = (struct asked){.call.on_reply = asked_on_reply};
    assert_true(redis_node_call(redis_cluster_node(cluster, both[1]), &a.call, both, 3));
    UNTIL(a.ended);
    assert_int_equal(a.outcome, REDIS_REFUSED);
    expect_in(a.text, "TRYAGAIN");
}

/* MOVED to a master that asks elsewhere: two hops, and no more. */
static void two_redirections_are_followed(void **state)
{
    UNUSED(state);
    redis_cluster_group_start(&group, false, NEVER_MS, NULL);
    open_cluster();
    char *key = key_of(0, 0);
    unsigned slot = redis_key_slot(slice_str(key));
    redis_slot_begin_move(group.masters[0], group.masters[1], slot);
    redis_slot_finish_move(group.masters[0], group.masters[1], slot);
    redis_slot_begin_move(group.masters[1], group.masters[2], slot);
    set(key, "v");
    assert_int_equal(figures().redirects, 2);
    assert_string_equal(redis_do(group.masters[2], "CLUSTER COUNTKEYSINSLOT %u", slot), "1");
}

/* Two that each say the other has it. */
static void circle_of_redirections_is_left(void **state)
{
    UNUSED(state);
    redis_cluster_group_start(&group, false, NEVER_MS, NULL);
    open_cluster();
    char *key = key_of(0, 0);
    unsigned slot = redis_key_slot(slice_str(key));
    redis_freeze(group.masters[2]); /* which would have them agree */
    redis_do(group.masters[0], "CLUSTER SETSLOT %u NODE %s", slot,
             redis_do(group.masters[1], "CLUSTER MYID"));
    const struct asked *a = answer("GET", key, NULL);
    assert_int_equal(a->outcome, REDIS_REFUSED);
    expect_in(a->text, "MOVED");
    assert_int_equal(figures().redirects, REDIS_HOPS_MAX);
    redis_thaw(group.masters[2]);
}

static void new_master_joins(void **state)
{
    UNUSED(state);
    redis_cluster_group_start(&group, false, NEVER_MS, NULL);
    open_cluster();
    char *key = key_of(0, 0);
    unsigned slot = redis_key_slot(slice_str(key));
    struct redis_process *fourth = redis_cluster_group_join(&group, "fourth");
    redis_slot_begin_move(group.masters[0], fourth, slot);
    redis_slot_finish_move(group.masters[0], fourth, slot);
    const struct asked *a = answer("SET", key, "v");
    assert_int_equal(a->outcome, REDIS_REFUSED); /* not connected to it yet */
    expect_in(a->text, "MOVED");
    UNTIL(is_owner(fourth, key));
    set(key, "v");
    assert_int_equal(figures().redirects, 0);
    redis_slot_begin_move(fourth, group.masters[0], slot);
    redis_slot_move_keys(fourth, group.masters[0], slot);
    redis_slot_finish_move(fourth, group.masters[0], slot);
    assert_string_equal(answer("GET", key, NULL)->text, "v");
    UNTIL(downs == 1); /* it has no slots, and is left */
    assert_null(redis_cluster_server(cluster, REDIS_MASTERS));
    assert_string_equal(answer("GET", key, NULL)->text, "v");
}

/* The others agree that it has no slot any more, while it is frozen with a call. */
static void server_that_goes_ends_its_calls_first(void **state)
{
    UNUSED(state);
    static struct asked a;
    redis_cluster_group_start(&group, false, NEVER_MS, NULL);
    struct redis_process *fourth = redis_cluster_group_join(&group, "fourth");
    char *key = key_of(0, 0), *other = key_of(1, 0);
    unsigned slot = redis_key_slot(slice_str(key)), other_slot = redis_key_slot(slice_str(other));
    redis_slot_begin_move(group.masters[0], fourth, slot);
    redis_slot_finish_move(group.masters[0], fourth, slot);
    open_at((const char *[]){fourth->address}, 1);
    UNTIL(ups == REDIS_MASTERS + 1);
    redis_freeze(fourth);
    assert_true(ask(&a, "SET", key, "v"));
    for (unsigned i = 0; i < REDIS_MASTERS; i++)
        redis_do(group.masters[i], "CLUSTER SETSLOT %u NODE %s", slot,
                 redis_do(group.masters[0], "CLUSTER MYID"));
    redis_slot_begin_move(group.masters[1], group.masters[0], other_slot);
    redis_slot_finish_move(group.masters[1], group.masters[0], other_slot);
    UNTIL(answer("GET", other, NULL)->outcome == REDIS_ANSWERED && is_owner(group.masters[0], key));
    mono_ms_t later_ms = clock_mono_ms() + REDIS_LINGER_MS + 2 * REDIS_REFRESH_MS;
    UNTIL(clock_mono_ms() > later_ms);
    assert_non_null(redis_cluster_server(cluster, REDIS_MASTERS));
    assert_int_equal(a.ended, 0);
    redis_thaw(fourth);
    UNTIL(a.ended);
    assert_int_equal(a.outcome, REDIS_ANSWERED);
    UNTIL(redis_cluster_server(cluster, REDIS_MASTERS) == NULL);
    assert_int_equal(downs, 1);
}

static void killed_master_s_replica_takes_over(void **state)
{
    UNUSED(state);
    static struct asked a;
    redis_cluster_group_start(&group, true, 1500, NULL);
    open_cluster();
    char *key = key_of(1, 0), *other = key_of(2, 0);
    set(key, "v");
    redis_until(group.replicas[1], "1", "DBSIZE");
    redis_kill(group.masters[1]);
    UNTIL(downs == 1);
    assert_false(ask(&a, "GET", key, NULL)); /* at once */
    UNTIL(is_owner(group.replicas[1], key));
    assert_string_equal(answer("GET", key, NULL)->text, "v");
    set(other, "v");
    assert_null(redis_cluster_server(cluster, REDIS_MASTERS + 1));
}

static void failover_by_hand_is_followed(void **state)
{
    UNUSED(state);
    redis_cluster_group_start(&group, true, NEVER_MS, NULL);
    open_cluster();
    char *key = key_of(0, 0);
    set(key, "v");
    redis_until(group.replicas[0], "1", "DBSIZE");
    redis_do(group.replicas[0], "CLUSTER FAILOVER");
    redis_until(group.replicas[0], "role:master", "INFO replication");
    redis_until(group.masters[0], "role:slave", "INFO replication");
    const struct asked *a = answer("SET", key, "w"); /* never taken by who is a replica now */
    assert_int_equal(a->outcome, REDIS_REFUSED);
    UNTIL(is_owner(group.replicas[0], key));
    set(key, "w");
    assert_string_equal(redis_do(group.replicas[0], "GET %s", key), "w");
}

static void all_servers_may_go_and_come_back(void **state)
{
    UNUSED(state);
    redis_cluster_group_start(&group, false, NEVER_MS, NULL);
    open_cluster();
    for (unsigned i = 0; i < REDIS_MASTERS; i++)
        redis_kill(group.masters[i]);
    UNTIL(downs == REDIS_MASTERS);
    for (unsigned i = 0; i < REDIS_MASTERS; i++)
        redis_restart(group.masters[i], true);
    UNTIL(ups == 2 * REDIS_MASTERS);
    for (unsigned i = 0; i < REDIS_MASTERS; i++)
        redis_until(group.masters[i], "cluster_state:ok", "CLUSTER INFO");
    set(key_of(0, 0), "v");
}

static void cluster_that_is_down_says_so(void **state)
{
    UNUSED(state);
    redis_cluster_group_start(&group, false, NEVER_MS, NULL);
    open_cluster();
    char *key = key_of(0, 0);
    unsigned slot = redis_key_slot(slice_str(key_of(0, 1)));
    uint64_t refreshes = figures().refreshes;
    redis_do(group.masters[0], "CLUSTER DELSLOTS %u", slot);
    const struct asked *a = answer("SET", key, "v");
    assert_int_equal(a->outcome, REDIS_REFUSED);
    expect_in(a->text, "CLUSTERDOWN");
    UNTIL(figures().refreshes > refreshes);
}

static void map_is_not_asked_for_all_the_time(void **state)
{
    UNUSED(state);
    redis_cluster_group_start(&group, false, NEVER_MS, NULL);
    open_cluster();
    mono_ms_t start_ms = clock_mono_ms();
    uint64_t refreshes = figures().refreshes;
    redis_do(group.masters[0], "CLUSTER DELSLOTS %u", redis_key_slot(slice_str(key_of(0, 1))));
    char *key = key_of(0, 0);
    for (int i = 0; i < 200; i++)
        assert_int_equal(answer("SET", key, "v")->outcome, REDIS_REFUSED);
    uint64_t most = (uint64_t)(clock_mono_ms() - start_ms) / REDIS_REFRESH_MS + 2;
    assert_in_range(figures().refreshes - refreshes, 0, most);
}

static void logs_in_over_tls(void **state)
{
    UNUSED(state);
    const struct redis_server_options o = {.user = "pond", .password = "secret", .tls = true};
    redis_cluster_group_start(&group, false, NEVER_MS, &o);
    login = (struct redis_login){.tls = SSL_CTX_new(TLS_client_method()),
                                 .username = SLICE_LIT("pond"),
                                 .password = SLICE_LIT("secret")};
    assert_true(SSL_CTX_load_verify_locations(login.tls, redis_tls_file(), NULL));
    open_cluster();
    set(key_of(1, 0), "v");
}

#define TEST_OF(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_OF(keys_find_their_servers),
        TEST_OF(any_seed_will_do),
        TEST_OF(no_cluster_is_told),
        TEST_OF(moved_slot_is_followed),
        TEST_OF(moving_slot_is_asked_for_at_both),
        TEST_OF(two_redirections_are_followed),
        TEST_OF(circle_of_redirections_is_left),
        TEST_OF(new_master_joins),
        TEST_OF(server_that_goes_ends_its_calls_first),
        TEST_OF(killed_master_s_replica_takes_over),
        TEST_OF(failover_by_hand_is_followed),
        TEST_OF(all_servers_may_go_and_come_back),
        TEST_OF(cluster_that_is_down_says_so),
        TEST_OF(map_is_not_asked_for_all_the_time),
        TEST_OF(logs_in_over_tls),
    };
    return E2E_RUN("redis_cluster", tests);
}
