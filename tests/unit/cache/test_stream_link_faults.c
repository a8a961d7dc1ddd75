/* test_stream_link_faults.c: three nodes and a real Redis, to which something happens in each round while
 * purges are made, pages fetched, and records written to Redis and loaded: connections are cut, stalled,
 * slowed and killed, Redis is killed, hangs, comes back empty or from an older snapshot, loses its stream or
 * its epoch or all, trims; nodes are started anew.
 *
 * A response is known by the step at which the origin made it. It is never served where it was purged, from
 * that moment on; and once all nodes have caught up again, nowhere, neither from memory nor from Redis.
 * ROUNDS in the environment says how many, SEED which. */
#include "core/random.h"
#include "tests/unit/cache/stream_link_fixture.h"

enum { ROUNDS = 50, TAGS = 4, COPIES = 2, NODES = LF_NODES };

struct stored {
    bool there;
    unsigned made;
    uint64_t checked_id;
};

static struct {
    uint64_t random;
    unsigned round, step;
    unsigned due[TAGS];           /* the step of the last purge */
    unsigned due_at[NODES][TAGS]; /* of the last that was made there */
    struct stored memory[NODES][TAGS], fetching[NODES][TAGS];
    bool is_redis_up;
} s;
static struct {
    unsigned long purges, served, loaded, unknown, purged, written, checked;
} total;

static const char *const tags[TAGS] = {"t0", "t1", "t2", "t3"};

static unsigned pick(unsigned n)
{
    return (unsigned)(random_next(&s.random) >> 16) % n;
}

/* ---- what clients do ---- */

static void check(unsigned node, unsigned tag, unsigned made, bool all, const char *from)
{
    total.checked++;
    if (made <= s.due_at[node][tag] || (all && made <= s.due[tag]))
        FAIL("round %u: node %u serves %s of step %u from %s; purged at step %u, there at step %u", s.round,
             node, tags[tag], made, from, s.due[tag], s.due_at[node][tag]);
}

static void purge(unsigned node, unsigned tag)
{
    lf_purge_tag(lf_nodes[node], tags[tag]);
    s.due[tag] = s.due_at[node][tag] = ++s.step;
    total.purges++;
}

static void fetch_begin(unsigned node, unsigned tag)
{
    s.fetching[node][tag] = (struct stored){
        .there = true, .checked_id = cache_inval_head(&lf_nodes[node]->log), .made = ++s.step};
}

static void fetch_end(unsigned node, unsigned tag)
{
    struct stored *f = &s.fetching[node][tag];
    if (f->there && !lf_is_purged(lf_nodes[node], tags[tag], f->checked_id))
        s.memory[node][tag] = *f;
    f->there = false;
}

static void serve(unsigned node, unsigned tag, bool all)
{
    struct stored *o = &s.memory[node][tag];
    if (!o->there)
        return;
    const uint64_t head = cache_inval_head(&lf_nodes[node]->log);
    if (lf_is_purged(lf_nodes[node], tags[tag], o->checked_id)) {
        o->there = false;
        return;
    }
    o->checked_id = head;
    check(node, tag, o->made, all, "memory");
    total.served++;
}

static void write_record(unsigned node, unsigned tag, unsigned copy)
{
    struct cache_stream_stamp stamp;
    const struct stored *o = &s.memory[node][tag];
    if (!o->there || !cache_stream_map_stamp(&lf_nodes[node]->map, o->checked_id, &stamp))
        return;
    redis_do(lf_redis, "HSET record %s %s", textf("%u-%u", tag, copy),
             textf("%u %llu %llu %llu", o->made, (unsigned long long)stamp.epoch,
                   (unsigned long long)stamp.id.ms, (unsigned long long)stamp.id.seq));
    total.written++;
}

static void load_record(unsigned node, unsigned tag, unsigned copy, bool all)
{
    struct cache_stream_stamp stamp;
    unsigned made;
    uint64_t since_id;
    unsigned long long epoch, ms, seq;
    const char *text = redis_do(lf_redis, "HGET record %s", textf("%u-%u", tag, copy));
    if (sscanf(text, "%u %llu %llu %llu", &made, &epoch, &ms, &seq) != 4)
        return;
    stamp = (struct cache_stream_stamp){epoch, {ms, seq}};
    if (!cache_stream_map_locate(&lf_nodes[node]->map, &stamp, &since_id)) {
        total.unknown++;
    } else if (lf_is_purged(lf_nodes[node], tags[tag], since_id)) {
        total.purged++;
    } else {
        check(node, tag, made, all, "Redis");
        s.memory[node][tag] = (struct stored){true, made, since_id};
        total.loaded++;
    }
}

static void act(unsigned times)
{
    for (; times > 0; times--) {
        const unsigned node = pick(NODES), tag = pick(TAGS);
        switch (pick(8)) {
        case 0:
            purge(node, tag);
            break;
        case 1:
        case 2:
            fetch_begin(node, tag);
            break;
        case 3:
            fetch_end(node, tag);
            break;
        case 4:
            serve(node, tag, false);
            break;
        case 5:
        case 6:
            if (s.is_redis_up)
                write_record(node, tag, pick(COPIES));
            break;
        case 7:
            if (s.is_redis_up)
                load_record(node, tag, pick(COPIES), false);
            break;
        }
    }
}

static void check_all(void)
{
    for (unsigned node = 0; node < NODES; node++) {
        for (unsigned tag = 0; tag < TAGS; tag++) {
            fetch_end(node, tag);
            serve(node, tag, true);
            for (unsigned copy = 0; copy < COPIES; copy++)
                load_record(node, tag, copy, true);
        }
    }
}

/* And what is not purged is not lost: nodes use what others have stored; perhaps not at once, since what has
 * happened may be noticed late. */
static void check_use(void)
{
    const unsigned from = pick(NODES), to = (from + 1 + pick(NODES - 1)) % NODES, tag = pick(TAGS);
    const unsigned long before = total.loaded;
    const mono_ms_t until_ms = clock_mono_ms() + support_wait_ms();
    while (total.loaded == before) {
        EXPECT(clock_mono_ms() < until_ms, "round %u: node %u does not take what node %u stored", s.round, to,
               from);
        lf_settle(NODES);
        fetch_begin(from, tag);
        fetch_end(from, tag);
        write_record(from, tag, 0);
        load_record(to, tag, 0, true);
    }
}

/* ---- what happens ---- */

static void on_link(void (*fault)(struct relay *))
{
    struct relay *r = lf_nodes[pick(NODES)]->relay;
    fault(r);
    act(20);
    if (pick(4) == 0)
        act(40);
    relay_heal(r);
}

static void slow(struct relay *r)
{
    relay_slow(r, 50);
}

static void links_cut(void)
{
    on_link(relay_cut);
}

static void links_stalled(void)
{
    on_link(relay_stall);
}

static void links_slow(void)
{
    on_link(slow);
}

static void all_cut(void)
{
    for (unsigned i = 0; i < NODES; i++)
        relay_cut(lf_nodes[i]->relay);
    act(20);
    for (unsigned i = 0; i < NODES; i++)
        relay_heal(lf_nodes[i]->relay);
}

static void redis_gone(bool empty)
{
    redis_kill(lf_redis);
    s.is_redis_up = false;
    act(20);
    redis_restart(lf_redis, empty);
    s.is_redis_up = true;
}

static void redis_empty(void)
{
    redis_gone(true);
}

static void redis_older(void)
{
    redis_save(lf_redis);
    act(20);
    if (pick(2) == 0)
        lf_settle(NODES); /* all have read what is lost */
    redis_gone(false);
}

static void redis_hangs(void)
{
    redis_freeze(lf_redis);
    s.is_redis_up = false;
    act(20);
    if (pick(4) == 0) /* for long enough to be noticed */
        LF_UNTIL(lf_nodes[0], !v->figures.up);
    redis_thaw(lf_redis);
    s.is_redis_up = true;
}

static void data_flushed(void)
{
    redis_do(lf_redis, "FLUSHALL");
}

static void stream_trimmed(void)
{
    const unsigned node = pick(NODES);
    relay_stall(lf_nodes[node]->relay);
    act(20);
    redis_do(lf_redis, "XTRIM millpond:{stream} MAXLEN %d", (int)pick(4));
    relay_heal(lf_nodes[node]->relay);
}

static void stream_deleted(void)
{
    redis_do(lf_redis, "DEL millpond:{stream}");
}

static void epoch_deleted(void)
{
    redis_do(lf_redis, "DEL millpond:{stream}:epoch");
}

static void clients_killed(void)
{
    redis_do(lf_redis, "CLIENT KILL TYPE normal");
}

static void node_restarted(void)
{
    const unsigned node = pick(NODES);
    lf_stop(lf_nodes[node]);
    for (unsigned tag = 0; tag < TAGS; tag++)
        s.memory[node][tag].there = s.fetching[node][tag].there = false;
    lf_start(lf_nodes[node]);
}

static void nothing(void)
{
}

static struct {
    const char *what;
    void (*fn)(void);
    unsigned long times;
} faults[] = {{"a link cut", links_cut, 0},
              {"a link stalled", links_stalled, 0},
              {"a link slow", links_slow, 0},
              {"all links cut", all_cut, 0},
              {"Redis killed, back empty", redis_empty, 0},
              {"Redis killed, back older", redis_older, 0},
              {"Redis stopped", redis_hangs, 0},
              {"FLUSHALL", data_flushed, 0},
              {"stream trimmed", stream_trimmed, 0},
              {"stream deleted", stream_deleted, 0},
              {"epoch deleted", epoch_deleted, 0},
              {"connections killed", clients_killed, 0},
              {"a node started anew", node_restarted, 0},
              {"nothing", nothing, 0}};

static void play_round(void)
{
    const unsigned fault = pick(ARRAY_LEN(faults));
    act(20);
    if (pick(2) == 0)
        lf_settle(NODES);
    faults[fault].fn();
    faults[fault].times++;
    act(20);
    lf_settle(NODES);
    check_all();
    check_use();
}

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    uint64_t v;
    return text != NULL && slice_to_u64(slice_str(text), &v) ? v : otherwise;
}

static void test_whatever_happens(void **state)
{
    UNUSED(state);
    memset(&s, 0, sizeof s);
    s.is_redis_up = true;
    s.random = from_environment("SEED", 1);
    lf_open(NODES, SLICE_EMPTY);
    lf_settle(NODES);
    const uint64_t rounds = from_environment("ROUNDS", ROUNDS);
    for (s.round = 1; s.round <= rounds; s.round++)
        play_round();
    print_message("%llu rounds: %lu purges, served %lu, written %lu, loaded %lu (stamp not known %lu, purged "
                  "%lu), %lu checks\n",
                  (unsigned long long)rounds, total.purges, total.served, total.written, total.loaded,
                  total.unknown, total.purged, total.checked);
    for (size_t i = 0; i < ARRAY_LEN(faults); i++)
        print_message("%6lu  %s\n", faults[i].times, faults[i].what);
    assert_true(total.purges > rounds && total.served > rounds && total.written > rounds);
    assert_true(total.loaded > rounds && total.unknown > rounds && total.purged > rounds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_whatever_happens, lf_setup, support_teardown),
    };
    return cmocka_run_group_tests_name("cache/stream_link_faults", tests, lf_group_setup, lf_group_teardown);
}
