/* redis_faults.c: nodes with one Redis server under load, and what may happen to the server, to the links to
 * it, to what lies in it, and to the nodes: no answer is older than it may be (truth.h), and no request fails
 * or waits for Redis. See faults.h for ROUNDS. */
#include <poll.h>

#include "tests/support/faults.h"
#include "tests/support/redis.h"
#include "tests/support/relay.h"

#define TIMEOUT_MS (support_sanitized() ? 300 : 100)

static struct truth *truth;
static struct redis_process *redis;
static unsigned count; /* of nodes */
static struct relay *links[TRUTH_NODES];
static struct millpond *nodes[TRUTH_NODES];
static const char *redis_lines; /* with room for the port */
static unsigned victim;         /* of a fault that concerns one node */
static unsigned marks;

static const char *const names[TRUTH_NODES] = {"a", "b", "c"};

static void start_node(unsigned i)
{
    nodes[i] = millpond_start(.name = names[i], .log = "access = off", .cache = "store = tiered",
                              .rest = textf("%s[redis]\ntimeout = %dms\n%s",
                                            pool_lines("app", 1, truth_origin(truth)), TIMEOUT_MS,
                                            textf(redis_lines, relay_port(links[i]))));
    truth_open_node(truth, i, nodes[i]);
}

static void start(unsigned n, const struct redis_server_options *o, const char *lines)
{
    count = n;
    redis_lines = lines;
    truth = truth_start();
    redis = redis_start("r", o);
    for (unsigned i = 0; i < count; i++) {
        links[i] = relay_start(redis->port);
        start_node(i);
    }
}

static void stop(void)
{
    for (unsigned i = 0; i < count; i++)
        millpond_stop(nodes[i]);
}

/* ---- the server ---- */

static void kill_saved(void)
{
    redis_save(redis);
    redis_kill(redis);
}

/* What comes behind the snapshot is lost. */
static void kill_older(void)
{
    redis_save(redis);
    truth_wait(truth, 10);
    redis_kill(redis);
}

static void restart_with_data(void)
{
    redis_restart(redis, false);
}

static void kill_empty(void)
{
    redis_kill(redis);
}

static void restart_empty(void)
{
    redis_restart(redis, true);
}

static void freeze(void)
{
    redis_freeze(redis);
}

static void thaw(void)
{
    redis_thaw(redis);
}

/* ---- the links ---- */

static void delay_within(void)
{
    for (unsigned i = 0; i < count; i++)
        relay_delay(links[i], (unsigned)TIMEOUT_MS / 5);
}

static void delay_beyond(void)
{
    for (unsigned i = 0; i < count; i++)
        relay_delay(links[i], (unsigned)TIMEOUT_MS * 3);
}

static void narrow(void)
{
    for (unsigned i = 0; i < count; i++)
        relay_slow(links[i], 200 + faults_pick(2000));
}

static void cut_all(void)
{
    for (unsigned i = 0; i < count; i++)
        relay_cut(links[i]);
}

static void cut_in_replies(void)
{
    for (unsigned i = 0; i < count; i++)
        relay_cut_after(links[i], 1 + faults_pick(faults_pick(2) > 0 ? 40000 : 1500));
}

static void heal_all(void)
{
    for (unsigned i = 0; i < count; i++)
        relay_heal(links[i]);
}

static void cut_one(void)
{
    victim = faults_pick(count);
    relay_cut(links[victim]);
}

static void stall_one(void)
{
    victim = faults_pick(count);
    relay_stall(links[victim]);
}

static void heal_one(void)
{
    relay_heal(links[victim]);
}

/* ---- what lies in it ---- */

static void trim_and_heal(void)
{
    redis_do(redis, "XTRIM millpond:{stream} MAXLEN %u", 1 + faults_pick(3));
    heal_one();
}

/* What others purge from now on the victim never hears of, and the rest of the nodes have. */
static void cut_one_and_save(void)
{
    cut_one();
    redis_save(redis);
}

static void lose_and_heal(void)
{
    redis_kill(redis);
    redis_restart(redis, false);
    heal_one();
}

static void flush(void)
{
    redis_do(redis, "FLUSHALL");
}

static void delete_stream(void)
{
    redis_do(redis, "DEL millpond:{stream}");
}

static void delete_epoch(void)
{
    redis_do(redis, "DEL millpond:{stream}:epoch");
}

static void kill_clients(void)
{
    redis_do(redis, "CLIENT KILL TYPE pubsub");
    redis_do(redis, "CLIENT KILL TYPE normal");
}

static void fill_memory(void)
{
    redis_do(redis, "CONFIG SET maxmemory 1");
}

/* Everything goes, the stream as well. */
static void evict(void)
{
    redis_do(redis, "CONFIG SET maxmemory-policy allkeys-random");
    redis_do(redis, "CONFIG SET maxmemory 1");
}

static void unfill_memory(void)
{
    redis_do(redis, "CONFIG SET maxmemory 0");
    redis_do(redis, "CONFIG SET maxmemory-policy noeviction");
}

/* ---- a node ---- */

static bool file_holds(const char *path, const char *text)
{
    static char bytes[4 * MB];
    FILE *f = fopen(path, "re");
    const size_t n = f != NULL ? fread(bytes, 1, sizeof bytes, f) : 0;
    if (f != NULL)
        fclose(f);
    return memmem(bytes, n, text, strlen(text)) != NULL;
}

static bool is_pending(struct millpond *m)
{
    return json_integer_value(json_object_get(json_object_get(millpond_status(m), "purges"), "pending")) > 0;
}

/* What it acknowledged is in the stream or on the disk before it dies: a tenth of a second is not promised.
 */
static void kill_node(void)
{
    char *mark = textf("mark-%u.", ++marks), *path = textf("%s/purges", nodes[victim]->dir);
    const mono_ms_t deadline = clock_mono_ms() + support_wait_ms();
    truth_close_node(truth, victim);
    truth_purge_mark(truth, victim, mark);
    while (!file_holds(path, mark) && is_pending(nodes[victim])) {
        EXPECT(clock_mono_ms() < deadline, "a purge is not kept in %s", path);
        poll(NULL, 0, 5);
    }
    proc_kill(nodes[victim]->proc);
}

static void kill_one(void)
{
    victim = faults_pick(count);
    kill_node();
}

static void cut_and_kill_one(void)
{
    cut_one();
    kill_node();
}

static void restart_one(void)
{
    heal_one();
    start_node(victim);
}

static const struct fault faults[] = {
    {"Redis killed -9, back with its data", kill_saved, restart_with_data},
    {"Redis killed -9, back with older data", kill_older, restart_with_data},
    {"Redis killed -9, back empty", kill_empty, restart_empty},
    {"Redis stopped (SIGSTOP), and on again", freeze, thaw},
    {"links slow, answers within timeout", delay_within, heal_all},
    {"links slower than timeout", delay_beyond, heal_all},
    {"links narrow, 20 to 220 KB/s", narrow, heal_all},
    {"one node cut off", cut_one, heal_one},
    {"one node's link silent", stall_one, heal_one},
    {"all nodes cut off", cut_all, heal_all},
    {"links cut in the middle of answers", cut_in_replies, heal_all},
    {"one node cut off, stream trimmed past its cursor", cut_one, trim_and_heal},
    {"one node cut off, the others' purges then lost by Redis", cut_one_and_save, lose_and_heal},
    {"FLUSHALL", flush, NULL},
    {"stream deleted", delete_stream, NULL},
    {"its epoch deleted", delete_epoch, NULL},
    {"CLIENT KILL of all connections", kill_clients, kill_clients},
    {"maxmemory reached, nothing evicted", fill_memory, unfill_memory},
    {"maxmemory reached, stream and all evicted", evict, unfill_memory},
    {"a node killed -9, and started again", kill_one, restart_one},
    {"a node cut off and killed -9, purges pending", cut_and_kill_one, restart_one},
};

static void three_nodes_and_one_server(void **state)
{
    UNUSED(state);
    start(3, NULL, "url = redis://127.0.0.1:%u\n");
    faults_run(truth, "three nodes, one server", faults, ARRAY_LEN(faults));
    stop();
}

/* Those that meet what is different with TLS: connections that begin, hang, and end. */
static void two_nodes_with_tls_and_a_login(void **state)
{
    UNUSED(state);
    static const struct redis_server_options o = {.tls = true, .user = "pond", .password = "secret"};
    start(2, &o,
          textf("url = rediss://127.0.0.1:%%u\nusername = pond\npassword = secret\ntls_ca = %s\n",
                redis_tls_file()));
    faults_run(truth, "two nodes, TLS and a login", faults, ARRAY_LEN(faults) / 2 + 1);
    stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(three_nodes_and_one_server),
        E2E_TEST(two_nodes_with_tls_and_a_login),
    };
    return E2E_RUN("redis faults", tests);
}
