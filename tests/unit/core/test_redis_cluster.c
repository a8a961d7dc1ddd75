/* test_redis_cluster.c: keys of a real Cluster find their servers, which hang, die, fail over and come back.
 * How slots move is in test_redis_cluster_move.c. */
#include "tests/unit/core/redis_cluster_fixture.h"

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
    UNTIL(servers_up() == 2);
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

static void killed_master_s_replica_takes_over(void **state)
{
    UNUSED(state);
    static struct asked a;
    redis_cluster_group_start(&group, true, 2500, NULL);
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
    redis_cluster_take_over(group.replicas[0]);
    redis_until(group.masters[0], "role:slave", "INFO replication");
    const struct asked *a = answer("SET", key, "w"); /* never taken by who is a replica now */
    if (a->outcome != REDIS_REFUSED)                 /* the next test */
        assert_string_equal(redis_do(group.replicas[0], "GET %s", key), "w");
    UNTIL(is_owner(group.replicas[0], key));
    set(key, "w");
    assert_string_equal(redis_do(group.replicas[0], "GET %s", key), "w");
}

/* The map may come before the answer of who is a replica now, as it does by chance without the pause: MOVED
 * is followed then. */
static void moved_is_followed_to_who_is_known(void **state)
{
    UNUSED(state);
    static struct asked a;
    redis_cluster_group_start(&group, true, NEVER_MS, NULL);
    open_cluster();
    char *key = key_of(0, 0);
    set(key, "v");
    redis_until(group.replicas[0], "1", "DBSIZE");
    redis_cluster_take_over(group.replicas[0]);
    redis_until(group.masters[0], "role:slave", "INFO replication");
    redis_freeze(group.masters[0]);
    assert_true(ask(&a, "SET", key, "w"));
    redis_do(group.masters[2], "CLIENT KILL TYPE normal"); /* a reason to ask for the map */
    UNTIL(is_owner(group.replicas[0], key));
    redis_thaw(group.masters[0]);
    UNTIL(a.ended);
    assert_string_equal(a.text, "OK");
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
    UNTIL(servers_up() == REDIS_MASTERS);
    for (unsigned i = 0; i < REDIS_MASTERS; i++)
        redis_until(group.masters[i], "cluster_state:ok", "CLUSTER INFO");
    set(key_of(0, 0), "v");
}

/* None of the servers it knew is left. */
static void seed_brings_it_to_another_cluster(void **state)
{
    UNUSED(state);
    redis_cluster_group_start(&group, false, NEVER_MS, NULL);
    struct redis_process *seed =
        redis_start("seed", &(struct redis_server_options){.kind = REDIS_IN_CLUSTER});
    open_at((const char *[]){seed->address, group.masters[0]->address}, 2);
    UNTIL(servers_up() == REDIS_MASTERS);
    for (unsigned i = 0; i < REDIS_MASTERS; i++)
        redis_kill(group.masters[i]);
    redis_do(seed, "CLUSTER ADDSLOTSRANGE 0 16383");
    UNTIL(is_owner(seed, "k"));
    UNTIL(redis_cluster_server(cluster, 1) == NULL); /* the others are forgotten */
    redis_until(seed, "cluster_state:ok", "CLUSTER INFO");
    set("k", "v");
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_OF(keys_find_their_servers),
        TEST_OF(any_seed_will_do),
        TEST_OF(no_cluster_is_told),
        TEST_OF(killed_master_s_replica_takes_over),
        TEST_OF(failover_by_hand_is_followed),
        TEST_OF(moved_is_followed_to_who_is_known),
        TEST_OF(all_servers_may_go_and_come_back),
        TEST_OF(seed_brings_it_to_another_cluster),
        TEST_OF(cluster_that_is_down_says_so),
        TEST_OF(map_is_not_asked_for_all_the_time),
        TEST_OF(logs_in_over_tls),
    };
    return E2E_RUN("redis_cluster", tests);
}
