/* redis_group.c: servers that know each other. redis-cli --cluster create was rejected: it waits by the
 * second. */
#include <poll.h>

#include "tests/support/redis.h"

#define SLOTS          16384
#define ORDER_AGAIN_MS 7000 /* an order lapses after 5 s, when the others are slow to vote */
#define GOSSIP_MS      200
#define SILENT_MS      3600000

/* `o`, of this kind, with one more line; good until the next one. */
static struct redis_server_options with_line(const struct redis_server_options *o, enum redis_kind kind,
                                             const char *line)
{
    static const char *lines[16];
    size_t n = 0;
    struct redis_server_options with = o != NULL ? *o : (struct redis_server_options){0};
    with.kind = kind;
    for (; with.lines != NULL && with.lines[n] != NULL && n < ARRAY_LEN(lines) - 2; n++)
        lines[n] = with.lines[n];
    lines[n] = line;
    lines[n + 1] = NULL;
    with.lines = lines;
    return with;
}

/* ---- Sentinel ---- */

static char *sentinel_lines(const struct redis_process *primary, int down_after_ms,
                            const struct redis_server_options *o)
{
    char *text = textf("sentinel monitor millpond 127.0.0.1 %u 2\n"
                       "sentinel down-after-milliseconds millpond %d\n"
                       "sentinel failover-timeout millpond 3000\n",
                       primary->port, down_after_ms);
    if (o != NULL && o->password != NULL)
        text = textf("%ssentinel auth-pass millpond %s\n", text, o->password);
    return text;
}

void redis_group_start(struct redis_group *g, unsigned replicas, int down_after_ms,
                       const struct redis_server_options *o, const struct redis_server_options *sentinel_o)
{
    *g = (struct redis_group){.primary = redis_start("primary", o)};
    for (unsigned i = 0; i < replicas; i++) {
        char *line = textf("replicaof 127.0.0.1 %u", g->primary->port);
        struct redis_server_options with = with_line(o, REDIS_ALONE, line);
        g->replicas[i] = redis_start_(textf("replica-%u", i), &with);
    }
    for (unsigned i = 0; i < replicas; i++)
        redis_until_(g->replicas[i], "master_link_status:up", "INFO replication");
    char *watch = sentinel_lines(g->primary, down_after_ms, o);
    for (unsigned i = 0; i < REDIS_SENTINELS; i++) {
        struct redis_server_options with = with_line(sentinel_o, REDIS_AS_SENTINEL, watch);
        g->sentinels[i] = redis_start_(textf("sentinel-%u", i), &with);
        /* Gossip ten times as often, and no pause for caution when this machine is slow. */
        redis_until_(g->sentinels[i], "OK",
                     "SENTINEL DEBUG PUBLISH-PERIOD %d INFO-PERIOD 200 ASK-PERIOD 100 "
                     "TILT-TRIGGER 600000",
                     GOSSIP_MS);
    }
    char *wanted = textf("slaves=%u,sentinels=%u", replicas, REDIS_SENTINELS);
    for (unsigned i = 0; i < REDIS_SENTINELS; i++)
        redis_until_(g->sentinels[i], wanted, "INFO sentinel");
}

void redis_group_wait_for_primary(struct redis_group *g, const struct redis_process *primary)
{
    for (unsigned i = 0; i < REDIS_SENTINELS; i++)
        redis_until_(g->sentinels[i], textf("127.0.0.1 %u", primary->port),
                     "SENTINEL GET-MASTER-ADDR-BY-NAME millpond");
}

/* A Sentinel that sees a replica say "master" for four of its periods of gossip, and has not heard of a
 * failover meanwhile, takes it for gone astray and makes it a replica again: of the old primary, which who
 * leads the failover makes a replica of it. Then none is a primary, until they are taken for down. On a busy
 * machine four periods as short as ours are soon over, so until all have heard they are long, but for who
 * leads. */
static void followers_gossip_each(struct redis_group *g, int period_ms)
{
    for (unsigned i = 1; i < REDIS_SENTINELS; i++)
        redis_until_(g->sentinels[i], "OK", "SENTINEL DEBUG PUBLISH-PERIOD %d", period_ms);
}

static bool all_name(struct redis_group *g, const struct redis_process *primary)
{
    const char *address = textf("127.0.0.1 %u", primary->port);
    for (unsigned i = 0; i < REDIS_SENTINELS; i++) {
        if (strcmp(redis_do(g->sentinels[i], "SENTINEL GET-MASTER-ADDR-BY-NAME millpond"), address) != 0)
            return false;
    }
    return true;
}

void redis_group_fail_over(struct redis_group *g)
{
    const mono_ms_t deadline = clock_mono_ms() + 2 * support_wait_ms();
    mono_ms_t order_ms = 0;
    followers_gossip_each(g, SILENT_MS);
    while (!all_name(g, g->replicas[0])) {
        EXPECT(clock_mono_ms() < deadline, "%s does not take over:\n%s", g->replicas[0]->name,
               capture_text(&g->sentinels[0]->proc->out));
        if (clock_mono_ms() >= order_ms) {
            redis_do(g->sentinels[0], "SENTINEL FAILOVER millpond");
            order_ms = clock_mono_ms() + ORDER_AGAIN_MS;
        }
        poll(NULL, 0, 20);
    }
    followers_gossip_each(g, GOSSIP_MS);
}

/* ---- Cluster ---- */

static struct redis_process *cluster_start(const char *name, int node_timeout_ms,
                                           const struct redis_server_options *o)
{
    char *lines = textf("cluster-node-timeout %d\ncluster-replica-validity-factor 0\n"
                        "cluster-allow-replica-migration no",
                        node_timeout_ms);
    struct redis_server_options with = with_line(o, REDIS_IN_CLUSTER, lines);
    return redis_start_(name, &with);
}

void redis_cluster_take_over(struct redis_process *replica)
{
    const mono_ms_t deadline = clock_mono_ms() + 2 * support_wait_ms();
    mono_ms_t order_ms = 0;
    while (strstr(redis_do(replica, "INFO replication"), "role:master") == NULL) {
        EXPECT(clock_mono_ms() < deadline, "%s does not take over", replica->name);
        if (clock_mono_ms() >= order_ms) {
            redis_do(replica, "CLUSTER FAILOVER");
            order_ms = clock_mono_ms() + ORDER_AGAIN_MS;
        }
        poll(NULL, 0, 20);
    }
}

static void meet(struct redis_process *p, struct redis_process *other)
{
    redis_until_(p, "OK", "CLUSTER MEET 127.0.0.1 %u %u", other->port, other->bus_port);
}

/* Until both have shaken hands. */
static void know(struct redis_process *p, struct redis_process *other)
{
    redis_until_(p, redis_do(other, "CLUSTER MYID"), "CLUSTER NODES");
    redis_until_(other, redis_do(p, "CLUSTER MYID"), "CLUSTER NODES");
}

static void add_replica(struct redis_cluster_group *g, unsigned i, int node_timeout_ms,
                        const struct redis_server_options *o)
{
    struct redis_process *replica = cluster_start(textf("replica-%u", i), node_timeout_ms, o);
    g->replicas[i] = replica;
    meet(replica, g->masters[i]);
    know(replica, g->masters[i]);
    redis_until_(replica, "OK", "CLUSTER REPLICATE %s", redis_do(g->masters[i], "CLUSTER MYID"));
}

void redis_cluster_group_start(struct redis_cluster_group *g, bool replicas, int node_timeout_ms,
                               const struct redis_server_options *o)
{
    *g = (struct redis_cluster_group){0};
    for (unsigned i = 0; i < REDIS_MASTERS; i++) {
        g->masters[i] = cluster_start(textf("master-%u", i), node_timeout_ms, o);
        redis_do(g->masters[i], "CLUSTER SET-CONFIG-EPOCH %u", i + 1);
        redis_do(g->masters[i], "CLUSTER ADDSLOTSRANGE %u %u", SLOTS * i / REDIS_MASTERS,
                 SLOTS * (i + 1) / REDIS_MASTERS - 1);
        for (unsigned k = 0; k < i; k++)
            meet(g->masters[i], g->masters[k]);
    }
    for (unsigned i = 0; replicas && i < REDIS_MASTERS; i++)
        add_replica(g, i, node_timeout_ms, o);
    char *size = textf("cluster_known_nodes:%u", replicas ? 2 * REDIS_MASTERS : REDIS_MASTERS);
    for (unsigned i = 0; i < REDIS_MASTERS; i++) {
        redis_until_(g->masters[i], size, "CLUSTER INFO");
        redis_until_(g->masters[i], "cluster_state:ok", "CLUSTER INFO");
        if (!replicas)
            continue;
        redis_until_(g->replicas[i], "master_link_status:up", "INFO replication");
        redis_until_(g->replicas[i], "cluster_state:ok", "CLUSTER INFO");
    }
}

struct redis_process *redis_cluster_group_join(struct redis_cluster_group *g, const char *name)
{
    struct redis_process *p = cluster_start(name, 15000, NULL);
    for (unsigned i = 0; i < REDIS_MASTERS; i++) {
        meet(p, g->masters[i]);
        know(p, g->masters[i]);
    }
    redis_until_(p, "cluster_state:ok", "CLUSTER INFO");
    return p;
}

void redis_slot_begin_move(struct redis_process *from, struct redis_process *to, unsigned slot)
{
    redis_until_(to, "OK", "CLUSTER SETSLOT %u IMPORTING %s", slot, redis_do(from, "CLUSTER MYID"));
    redis_until_(from, "OK", "CLUSTER SETSLOT %u MIGRATING %s", slot, redis_do(to, "CLUSTER MYID"));
}

void redis_slot_move_keys(struct redis_process *from, struct redis_process *to, unsigned slot)
{
    for (;;) {
        char *key = redis_do(from, "CLUSTER GETKEYSINSLOT %u 1", slot);
        if (key[0] == '\0')
            return;
        redis_until_(from, "OK", "MIGRATE 127.0.0.1 %u %s 0 5000", to->port, key);
    }
}

void redis_slot_finish_move(struct redis_process *from, struct redis_process *to, unsigned slot)
{
    char *id = redis_do(to, "CLUSTER MYID");
    redis_until_(to, "OK", "CLUSTER SETSLOT %u NODE %s", slot, id);
    redis_until_(from, "OK", "CLUSTER SETSLOT %u NODE %s", slot, id);
}
