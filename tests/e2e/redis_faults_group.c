/* redis_faults_group.c: as redis_faults.c, with servers that know each other: behind Sentinels, which name
 * another primary, and in a Cluster, where replicas take over and slots move. Entries of the stream that had
 * not been copied are lost by most of it. */
#include <poll.h>

#include "tests/support/faults.h"
#include "tests/support/redis.h"

#define STREAM          "millpond:{stream}"
#define DOWN_AFTER_MS   1500
#define NODE_TIMEOUT_MS 3000
#define ORDER_AGAIN_MS  7000 /* longer than a manual failover may take */
#define ASK_AGAIN_MS    10
#define PATIENCE        2 /* elections may fail, and are held again after a while */

static struct truth *truth;
static unsigned count; /* of nodes */
static struct millpond *nodes[TRUTH_NODES];

static const char *const names[TRUTH_NODES] = {"a", "b", "c"};

/* `lines` are of [redis], with the urls of the three. */
static void start(unsigned n, struct redis_process *const *servers, const char *lines)
{
    count = n;
    truth = truth_start();
    for (unsigned i = 0; i < 3; i++)
        lines = textf("%surl = redis://%s\n", lines, servers[i]->address);
    for (unsigned i = 0; i < count; i++) {
        nodes[i] = millpond_start(.name = names[i], .log = "access = off", .cache = "store = tiered",
                                  .rest = textf("%s[redis]\ntimeout = %dms\n%s",
                                                pool_lines("app", 1, truth_origin(truth)),
                                                support_sanitized() ? 300 : 100, lines));
        truth_open_node(truth, i, nodes[i]);
    }
}

static void stop(void)
{
    for (unsigned i = 0; i < count; i++)
        millpond_stop(nodes[i]);
}

static void kill_clients_of(struct redis_process *p)
{
    redis_do(p, "CLIENT KILL TYPE pubsub");
    redis_do(p, "CLIENT KILL TYPE normal");
}

static bool is_replica_in_step(struct redis_process *p)
{
    return strncmp(redis_do(p, "ROLE"), "slave", 5) == 0 &&
           strstr(redis_do(p, "INFO replication"), "master_link_status:up") != NULL;
}

#define until(condition, what)                                                                               \
    do {                                                                                                     \
        const mono_ms_t end_ms_ = clock_mono_ms() + PATIENCE * support_wait_ms();                            \
        while (!(condition)) {                                                                               \
            EXPECT(clock_mono_ms() < end_ms_, what);                                                         \
            poll(NULL, 0, ASK_AGAIN_MS);                                                                     \
        }                                                                                                    \
    } while (0)

/* ---- Sentinel ---- */

static struct redis_group group;
static struct redis_process *primary, *replica; /* as they are at the beginning of a round */

static void look_who_is_primary(void)
{
    const char *address = redis_do(group.sentinels[0], "SENTINEL GET-MASTER-ADDR-BY-NAME millpond");
    const bool first = strstr(address, textf(" %u", group.primary->port)) != NULL;
    primary = first ? group.primary : group.replicas[0];
    replica = first ? group.replicas[0] : group.primary;
}

static void order_fail_over(void)
{
    redis_do(group.sentinels[faults_pick(REDIS_SENTINELS)], "SENTINEL FAILOVER millpond");
}

/* By how many Sentinels. */
static unsigned count_named(const struct redis_process *p)
{
    unsigned named = 0;
    for (unsigned i = 0; i < REDIS_SENTINELS; i++) {
        const char *address = redis_do(group.sentinels[i], "SENTINEL GET-MASTER-ADDR-BY-NAME millpond");
        named += strstr(address, textf(" %u", p->port)) != NULL;
    }
    return named;
}

/* What is ordered they may give up, and do not try again by themselves. */
static void wait_for_change(bool is_ordered)
{
    const mono_ms_t deadline = clock_mono_ms() + PATIENCE * support_wait_ms();
    mono_ms_t order_ms = clock_mono_ms() + ORDER_AGAIN_MS;
    unsigned named;
    while ((named = count_named(replica)) < REDIS_SENTINELS) {
        EXPECT(clock_mono_ms() < deadline, "the replica does not take over");
        poll(NULL, 0, ASK_AGAIN_MS);
        if (!is_ordered || named > 0 || clock_mono_ms() < order_ms)
            continue;
        order_fail_over();
        order_ms = clock_mono_ms() + ORDER_AGAIN_MS;
    }
}

/* The Sentinels agree, and the other one is a replica in step; a machine under load may have made them change
 * their minds once more. */
static bool is_group_calm(void)
{
    look_who_is_primary();
    return count_named(primary) == REDIS_SENTINELS && is_replica_in_step(replica);
}

static void wait_for_group(void)
{
    until(is_group_calm(), "primary and replica do not find each other");
}

static void kill_primary(void)
{
    look_who_is_primary();
    redis_kill(primary);
}

static void restart_primary(void)
{
    wait_for_change(false);
    redis_restart(primary, true);
    wait_for_group();
}

static void freeze_primary(void)
{
    look_who_is_primary();
    redis_freeze(primary);
}

/* It goes on as a primary until the Sentinels tell it otherwise. */
static void thaw_primary(void)
{
    wait_for_change(false);
    redis_thaw(primary);
    wait_for_group();
}

static void fail_over(void)
{
    look_who_is_primary();
    order_fail_over();
}

static void wait_for_fail_over(void)
{
    wait_for_change(true);
    wait_for_group();
}

/* What is written meanwhile the replica never gets. */
static void kill_before_it_is_copied(void)
{
    look_who_is_primary();
    redis_freeze(replica);
    redis_do(primary, "CLIENT KILL TYPE replica");
    truth_wait(truth, 10);
    redis_kill(primary);
    redis_thaw(replica);
}

static void flush_primary(void)
{
    look_who_is_primary();
    redis_do(primary, "FLUSHALL");
}

static void kill_clients_of_primary(void)
{
    look_who_is_primary();
    kill_clients_of(primary);
}

static const struct fault with_sentinels[] = {
    {"primary killed -9, replica takes over", kill_primary, restart_primary},
    {"primary stopped (SIGSTOP), replica takes over, on again", freeze_primary, thaw_primary},
    {"SENTINEL FAILOVER", fail_over, wait_for_fail_over},
    {"primary killed -9, replica lacks the last purges", kill_before_it_is_copied, restart_primary},
    {"FLUSHALL at the primary", flush_primary, NULL},
    {"CLIENT KILL of all connections to the primary", kill_clients_of_primary, NULL},
};

static void two_nodes_and_sentinels(void **state)
{
    UNUSED(state);
    redis_group_start(&group, 1, DOWN_AFTER_MS, NULL, NULL);
    for (unsigned i = 0; i < REDIS_SENTINELS; i++)
        redis_do(group.sentinels[i], "SENTINEL SET millpond failover-timeout 1500");
    start(2, group.sentinels, "mode = sentinel\nsentinel_name = millpond\n");
    faults_run(truth, "two nodes, Sentinels", with_sentinels, ARRAY_LEN(with_sentinels));
    stop();
}

/* ---- Cluster ---- */

static struct redis_cluster_group cluster;
static unsigned slot; /* of the stream */

static struct redis_process *server_at(unsigned port)
{
    for (unsigned i = 0; i < REDIS_MASTERS; i++) {
        if (cluster.masters[i]->port == port)
            return cluster.masters[i];
        if (cluster.replicas[i]->port == port)
            return cluster.replicas[i];
    }
    FAIL("no server at port %u", port);
}

/* The other one of the pair. */
static struct redis_process *partner_of(const struct redis_process *p)
{
    for (unsigned i = 0; i < REDIS_MASTERS; i++) {
        if (cluster.masters[i] == p)
            return cluster.replicas[i];
        if (cluster.replicas[i] == p)
            return cluster.masters[i];
    }
    FAIL("%s has no partner", p->name);
}

/* Of the stream, as `p` sees it. */
static struct redis_process *owner_by(struct redis_process *p)
{
    const char *answer = redis_do(p, "EXISTS " STREAM);
    const char *colon = strncmp(answer, "-MOVED", 6) == 0 ? strrchr(answer, ':') : NULL;
    return colon != NULL ? server_at((unsigned)atoi(colon + 1)) : p;
}

static void look_who_has_the_stream(void)
{
    primary = owner_by(cluster.masters[0]);
    replica = partner_of(primary);
}

static bool is_master(struct redis_process *p)
{
    return strncmp(redis_do(p, "ROLE"), "master", 6) == 0;
}

/* Each pair has a master and a replica in step, and all agree on who has the stream; whoever it is. */
static bool is_cluster_calm(void)
{
    const struct redis_process *owner = owner_by(cluster.masters[0]);
    for (unsigned i = 0; i < REDIS_MASTERS; i++) {
        struct redis_process *pair[] = {cluster.masters[i], cluster.replicas[i]};
        const unsigned first = is_master(pair[0]) ? 0 : 1;
        if (!is_master(pair[first]) || !is_replica_in_step(pair[1 - first]))
            return false;
        for (unsigned k = 0; k < 2; k++) {
            if (strstr(redis_do(pair[k], "CLUSTER INFO"), "cluster_state:ok") == NULL ||
                owner_by(pair[k]) != owner)
                return false;
        }
    }
    return true;
}

static void wait_for_cluster(void)
{
    until(is_cluster_calm(), "the Cluster does not agree");
}

static void wait_for_take_over(bool is_ordered)
{
    const mono_ms_t deadline = clock_mono_ms() + PATIENCE * support_wait_ms();
    mono_ms_t order_ms = clock_mono_ms() + ORDER_AGAIN_MS;
    while (!is_master(replica)) {
        EXPECT(clock_mono_ms() < deadline, "the replica does not take over");
        poll(NULL, 0, ASK_AGAIN_MS);
        if (!is_ordered || clock_mono_ms() < order_ms)
            continue;
        redis_do(replica, "CLUSTER FAILOVER");
        order_ms = clock_mono_ms() + ORDER_AGAIN_MS;
    }
}

static void kill_owner(void)
{
    look_who_has_the_stream();
    redis_kill(primary);
}

static void restart_owner(void)
{
    wait_for_take_over(false);
    redis_restart(primary, true);
    wait_for_cluster();
}

static void freeze_owner(void)
{
    look_who_has_the_stream();
    redis_freeze(primary);
}

static void thaw_owner(void)
{
    wait_for_take_over(false);
    redis_thaw(primary);
    wait_for_cluster();
}

static void fail_over_owner(void)
{
    look_who_has_the_stream();
    redis_until(replica, "OK", "CLUSTER FAILOVER");
}

static void wait_for_owner(void)
{
    wait_for_take_over(true);
    wait_for_cluster();
}

/* To the next pair's master, and with it the nodes' traffic; keys go while the slot is between the two. */
static struct redis_process *next_master(const struct redis_process *p)
{
    for (unsigned i = 0; i < REDIS_MASTERS; i++) {
        if (cluster.masters[i] != p && cluster.replicas[i] != p)
            continue;
        struct redis_process *next = cluster.masters[(i + 1) % REDIS_MASTERS];
        return is_master(next) ? next : partner_of(next);
    }
    FAIL("%s is no server of the cluster", p->name);
}

static struct redis_process *target;

static void begin_to_move_the_stream(void)
{
    look_who_has_the_stream();
    target = next_master(primary);
    redis_slot_begin_move(primary, target, slot);
    truth_wait(truth, 5);
    redis_slot_move_keys(primary, target, slot);
}

static void finish_to_move_the_stream(void)
{
    redis_slot_finish_move(primary, target, slot);
    wait_for_cluster();
}

/* Slots of responses, one after the other, from the first server that has some. */
static void move_records(void)
{
    for (unsigned i = 0; i < 8; i++) {
        struct redis_process *from = cluster.masters[faults_pick(REDIS_MASTERS)];
        if (!is_master(from))
            from = partner_of(from);
        const char *key = redis_do(from, "RANDOMKEY");
        const unsigned of = (unsigned)atoi(redis_do(from, "CLUSTER KEYSLOT %s", key));
        if (key[0] == '(' || of == slot)
            continue;
        struct redis_process *to = next_master(from);
        redis_slot_begin_move(from, to, of);
        truth_wait(truth, 2);
        redis_slot_move_keys(from, to, of);
        redis_slot_finish_move(from, to, of);
    }
}

static void kill_clients_of_all(void)
{
    for (unsigned i = 0; i < REDIS_MASTERS; i++) {
        kill_clients_of(cluster.masters[i]);
        kill_clients_of(cluster.replicas[i]);
    }
}

static const struct fault in_a_cluster[] = {
    {"master of the stream killed -9, replica takes over", kill_owner, restart_owner},
    {"master of the stream stopped (SIGSTOP), on again", freeze_owner, thaw_owner},
    {"CLUSTER FAILOVER", fail_over_owner, wait_for_owner},
    {"slot of the stream moved", begin_to_move_the_stream, finish_to_move_the_stream},
    {"slots of responses moved", move_records, NULL},
    {"CLIENT KILL of all connections to all servers", kill_clients_of_all, NULL},
};

static void three_nodes_and_a_cluster(void **state)
{
    UNUSED(state);
    redis_cluster_group_start(&cluster, true, NODE_TIMEOUT_MS, NULL);
    slot = (unsigned)atoi(redis_do(cluster.masters[0], "CLUSTER KEYSLOT " STREAM));
    start(3, cluster.masters, "mode = cluster\n");
    faults_run(truth, "three nodes, Cluster", in_a_cluster, ARRAY_LEN(in_a_cluster));
    stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(two_nodes_and_sentinels),
        E2E_TEST(three_nodes_and_a_cluster),
    };
    return E2E_RUN("redis faults in groups", tests);
}
