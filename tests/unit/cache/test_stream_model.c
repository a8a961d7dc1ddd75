/* test_stream_model.c: several nodes, one Redis, nothing that can be relied on. Purges, fetches, loads and
 * writes of records, reads of the stream, lost connections, nodes that are killed, a Redis that stops,
 * forgets its stream or its epoch or all, comes back from an older snapshot, trims, and steps back in time,
 * are interleaved by seeded schedules. What may be served and what not: stream_model.h. */
#include "core/log.h"
#include "tests/unit/cache/stream_model.h"

/* The environment's SCHEDULES says otherwise; SEED is the first. */
#ifdef __SANITIZE_THREAD__
#define SCHEDULES 500 /* one thread: nothing for it to find */
#else
#define SCHEDULES 4000
#endif
#define STEPS 600

/* No disk is waited for: kill -9 leaves what was written. */
int fdatasync(int fd)
{
    return fd < 0 ? -1 : 0;
}
int fsync(int fd)
{
    return fd < 0 ? -1 : 0;
}

/* ---- what clients and operators do ---- */

static bool is_purged(struct node *n, unsigned url, uint64_t since_id)
{
    const struct cache_key k = fix_key(urls[url]);
    const struct cache_inval_subject subject = cache_inval_subject(k.text, k.hash.lo, slice_str(tags[url]));
    rcu_enter();
    const struct cache_inval_found f = cache_inval_find(&n->log, &subject, since_id);
    rcu_leave();
    return (f.hard | f.soft) != 0;
}

/* Unless it was merged into the event of an earlier one that purges the same. */
static void hand_over(struct node *n, struct purging *u)
{
    struct cache_stream_queue_stats before, after;
    cache_stream_queue_get_stats(n->queue, &before);
    u->ticket = cache_stream_queue_put(n->queue, u->number, u->local_id, &u->p->what, 1);
    cache_stream_queue_get_stats(n->queue, &after);
    total.merged += after.merged - before.merged;
    const struct purge *other = NULL; /* the last that was handed over */
    for (unsigned i = 0; i < s.purge_count && after.merged > before.merged; i++) {
        const struct purge *p = &s.purges[i];
        if (p->node == n->index && p->life == n->life && p->handed_over && p->what.kind == u->p->what.kind &&
            p->what.soft == u->p->what.soft && slice_eq(p->what.text, u->p->what.text) &&
            (other == NULL || p->handed_over > other->handed_over))
            other = p;
    }
    if (other != NULL)
        u->p->by = other->by;
    u->p->handed_over = s.step;
}

static void step_purge(struct node *n)
{
    struct purging *u = &n->purging[pick(UNDER_WAY)];
    switch (u->phase) {
    case PURGE_FREE:
        u->p = new_purge(n->index, n->life);
        if (u->p == NULL)
            return;
        u->number = cache_stream_queue_begin(n->queue);
        u->p->by = (struct cache_stream_origin){cache_stream_queue_node(n->queue), u->number};
        u->phase = PURGE_BEGUN;
        break;
    case PURGE_BEGUN:
        u->local_id = node_purge(n, &u->p->what, 1);
        u->phase = PURGE_APPLIED;
        break;
    case PURGE_APPLIED:
        hand_over(n, u);
        u->phase = PURGE_PUT;
        break;
    case PURGE_PUT:
        if (one_in(2))
            cache_stream_queue_write(n->queue);
        break;
    }
}

static void step_fetch(struct node *n)
{
    struct fetch *f = &n->fetches[pick(FETCHES)];
    if (!f->used) {
        *f = (struct fetch){
            .used = true, .url = pick(URLS), .made = s.step, .start_id = cache_inval_head(&n->log)};
    } else if (one_in(3)) {
        f->made = s.step;
    } else {
        if (!is_purged(n, f->url, f->start_id))
            n->memory[f->url] = (struct stored){true, f->made, f->start_id};
        f->used = false;
    }
}

static void step_serve(struct node *n)
{
    const unsigned url = pick(URLS);
    struct stored *o = &n->memory[url];
    if (!o->there)
        return;
    const uint64_t head = cache_inval_head(&n->log);
    if (is_purged(n, url, o->checked_id)) {
        o->there = false;
        return;
    }
    o->checked_id = head;
    check_served(n, url, o->made, "memory");
}

static void step_load(struct node *n)
{
    struct loading *l = &n->loading;
    if (l->used) {
        l->used = false;
        if (is_purged(n, l->url, l->since_id)) {
            total.purged_record++;
            return;
        }
        n->memory[l->url] = (struct stored){true, l->made, l->since_id};
        check_served(n, l->url, l->made, "Redis");
        total.loaded++;
        return;
    }
    const unsigned url = pick(URLS);
    const struct redis_record *r = &s.redis.data.records[url * COPIES + pick(COPIES)];
    if (!r->there)
        return;
    *l = (struct loading){.url = url, .made = r->made};
    l->used = cache_stream_map_locate(&n->map, &r->stamp, &l->since_id);
    total.unknown_stamp += !l->used;
}

/* Whatever could be loaded now. Nothing is taken from it. */
static void check_records(struct node *n)
{
    for (unsigned i = 0; i < REDIS_RECORDS; i++) {
        const struct redis_record *r = &s.redis.data.records[i];
        uint64_t since_id;
        if (r->there && cache_stream_map_locate(&n->map, &r->stamp, &since_id) &&
            !is_purged(n, i / COPIES, since_id))
            check_served(n, i / COPIES, r->made, "Redis");
    }
}

static void step_write(struct node *n)
{
    struct writing *w = &n->writing;
    if (w->used) {
        s.redis.data.records[w->url * COPIES + pick(COPIES)] = w->record;
        w->used = false;
        total.written++;
        return;
    }
    const unsigned url = pick(URLS);
    const struct stored *o = &n->memory[url];
    if (!o->there)
        return;
    *w = (struct writing){.url = url, .record = {.there = true, .made = o->made}};
    w->used = cache_stream_map_stamp(&n->map, o->checked_id, &w->record.stamp);
}

/* Somebody adds what no node understands: it may have meant anything. */
static void add_foreign_entry(void)
{
    struct purge *p = new_purge(NODES, 0);
    static struct cache_stream_fields f;
    char packed[64], version[16];
    if (p == NULL)
        return;
    snprintf(version, sizeof version, "%u", 2 + s.step); /* no two are the same */
    f.count = 0;
    f.texts[f.count++] = SLICE_LIT("v");
    f.texts[f.count++] = slice_str(version);
    cache_stream_fields_pack(&f, packed);
    p->what = (struct cache_purge){CACHE_PURGE_ALL, false, SLICE_EMPTY};
    p->acked = p->on_stream =
        redis_add(&s.redis, false, slice_make(packed, cache_stream_fields_bytes(&f)), &p->id);
}

/* ---- what happens to Redis ---- */

static void disconnect_all(void)
{
    for (unsigned i = 0; i < NODES; i++) {
        if (nodes[i].alive)
            node_disconnect(&nodes[i]);
    }
}

static void forget_on_stream(void)
{
    s.generation++;
    for (unsigned i = 0; i < s.purge_count; i++)
        s.purges[i].on_stream = false;
}

static void redis_save(void)
{
    s.redis.saved = s.redis.data;
    s.has_saved = true;
    s.saved_count = s.purge_count;
    for (unsigned i = 0; i < s.purge_count; i++) {
        s.saved[i].on_stream = s.purges[i].on_stream;
        s.saved[i].id = s.purges[i].id;
    }
}

static void redis_restore(void)
{
    if (!s.has_saved)
        return;
    disconnect_all();
    s.redis.data = s.redis.saved;
    s.generation++;
    for (unsigned i = 0; i < s.purge_count; i++) {
        s.purges[i].on_stream = i < s.saved_count && s.saved[i].on_stream;
        if (s.purges[i].on_stream)
            s.purges[i].id = s.saved[i].id;
    }
}

static void step_redis(void)
{
    struct redis *r = &s.redis;
    unsigned what = pick(12);
    if (one_in(2))
        what = s.favourite < 12 ? s.favourite : s.favourite < 20 ? 7 + 2 * pick(2) : what;
    switch (what) {
    case 0:
    case 1:
        r->up = !r->up;
        disconnect_all();
        break;
    case 2:
        r->clock_ms = one_in(2) ? r->clock_ms + pick(100) : r->clock_ms - MIN(r->clock_ms - 1, pick(100));
        break;
    case 3:
        redis_trim(r, 1 + pick(4));
        break;
    case 4:
        redis_delete_stream(r);
        if (one_in(2))
            r->clock_ms -= MIN(r->clock_ms - 1, pick(400));
        forget_on_stream();
        break;
    case 5:
        r->data.epoch_bytes = 0;
        break;
    case 6:
        r->data = (struct redis_data){0};
        forget_on_stream();
        break;
    case 7:
    case 8:
        redis_save();
        break;
    case 9:
    case 10:
        redis_restore();
        break;
    case 11:
        if (one_in(3))
            add_foreign_entry();
        break;
    }
}

/* ---- schedules ---- */

static void step_connected(struct node *n)
{
    switch (pick(16)) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4:
    case 5:
        if (one_in(n->read_every))
            node_read(n);
        break;
    case 6:
    case 7:
        node_send(n);
        break;
    case 8:
    case 9:
    case 10:
    case 11:
        step_load(n);
        break;
    case 12:
    case 13:
    case 14:
        step_write(n);
        break;
    case 15:
        if (one_in(12))
            node_disconnect(n);
        break;
    }
}

static void step_node(struct node *n)
{
    if (n->alive && n->dies) {
        node_kill(n);
        total.crashed++;
    }
    if (!n->alive) {
        if (one_in(3))
            node_start(n);
        return;
    }
    switch (pick(16)) {
    case 0:
    case 1:
        if (one_in(s.purge_every))
            step_purge(n);
        break;
    case 2:
    case 3:
    case 4:
        step_fetch(n);
        break;
    case 5:
    case 6:
        step_serve(n);
        break;
    case 7:
        if (s.kills && one_in(20)) {
            node_kill(n);
            total.crashed++;
        }
        break;
    default:
        if (n->connected)
            step_connected(n);
        else
            n->connected = s.redis.up && one_in(2);
    }
    if (n->alive && n->connected)
        check_records(n);
}

/* When nothing happens any more, all nodes come to agree, and nothing that was promised is left undone. */
static void check_end(void)
{
    s.redis.up = true;
    for (unsigned round = 0; round < 200; round++) {
        for (unsigned i = 0; i < NODES; i++) {
            struct node *n = &nodes[i];
            if (!n->alive)
                node_start(n);
            n->connected = true;
            node_read(n);
            node_send(n);
            check_records(n);
            n->dies = false;
        }
    }
    for (unsigned i = 0; i < NODES; i++) {
        struct cache_stream_queue_stats stats;
        cache_stream_queue_get_stats(nodes[i].queue, &stats);
        if (nodes[i].follow.state != CACHE_STREAM_INSIDE || nodes[i].follow.epoch == 0 ||
            nodes[i].follow.epoch != nodes[0].follow.epoch || stats.pending != 0)
            violated("node %u has not come to an end: state %d, %llu pending", i, nodes[i].follow.state,
                     (unsigned long long)stats.pending);
    }
    for (unsigned i = 0; i < s.purge_count; i++) {
        const struct purge *p = &s.purges[i];
        if (p->acked && p->on_disk && !p->on_stream && !p->was_on_stream)
            violated("the purge of step %u by node %u was promised and has not come to the stream",
                     p->begin_step, p->node);
        for (unsigned k = 0; k < NODES; k++) {
            if (p->acked && !p->on_stream && p->read_by[k] == nodes[k].life)
                violated("the purge of step %u by node %u was read by node %u and is lost", p->begin_step,
                         p->node, k);
        }
    }
}

static void run_schedule(uint64_t seed)
{
    s.seed = seed;
    s.random = seed * 0x9e3779b97f4a7c15u + 1;
    s.purge_count = 0;
    s.generation = 1;
    s.has_saved = false;
    s.redis = (struct redis){.up = true, .clock_ms = 1000, .length = 2 + pick(40)};
    const unsigned trouble = (unsigned[]){15, 40, 100, 500}[pick(4)]; /* one step of so many is Redis' */
    s.kills = one_in(2);
    s.favourite = pick(24);
    s.purge_every = (unsigned[]){1, 3, 9}[pick(3)];
    for (unsigned i = 0; i < NODES; i++) {
        struct node *n = &nodes[i];
        n->index = i;
        n->life = 0;
        n->read_every = one_in(2) ? 1 : 6;
        s.wall_ms[i] = 1700000000000 + (wall_ms_t)pick(1000000) - 500000;
        snprintf(n->path, sizeof n->path, "%s/queue%u", folder, i);
        unlink(n->path);
        node_start(n);
    }
    for (s.step = 1; s.step <= STEPS; s.step++) {
        s.wall_ms[pick(NODES)] += (wall_ms_t)pick(20) - 5;
        s.redis.clock_ms += pick(2);
        if (one_in(trouble))
            step_redis();
        step_node(&nodes[pick(NODES)]);
    }
    check_end();
    for (unsigned i = 0; i < NODES; i++) {
        if (nodes[i].alive)
            node_kill(&nodes[i]);
        unlink(nodes[i].path);
    }
}

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    uint64_t v;
    return text != NULL && slice_to_u64(slice_str(text), &v) ? v : otherwise;
}

static void test_nothing_old_is_served_where_a_purge_is_due(void **state)
{
    UNUSED(state);
    const uint64_t first = from_environment("SEED", 1), count = from_environment("SCHEDULES", SCHEDULES);
    for (uint64_t seed = first; seed < first + count; seed++)
        run_schedule(seed);
    print_message(
        "served %lu, loaded %lu (stamp not known %lu, purged %lu), written %lu, acknowledged %lu by the "
        "stream and %lu by the disk, replayed %lu, starts %lu, trimmed %lu, lost %lu, came back %lu, "
        "collapsed %lu, merged %lu, refused %lu, killed %lu; %lu times something old was not due\n",
        total.served, total.loaded, total.unknown_stamp, total.purged_record, total.written,
        total.acked_stream, total.acked_disk, total.replayed, total.starts, total.trimmed, total.lost,
        total.came_back, total.collapsed, total.merged, total.refused, total.crashed, total.checked);
    if (count < 1000)
        return;
    const unsigned long *figures = (const unsigned long *)&total;
    for (size_t i = 0; i < sizeof total / sizeof figures[0]; i++)
        assert_true(figures[i] >= count / 100);
}

static int setup(void **state)
{
    char err[200];
    const char *memory = "/dev/shm"; /* renames wait for some disks, too */
    snprintf(folder, sizeof folder, "%s/millpond-stream-XXXXXX", access(memory, W_OK) == 0 ? memory : "/tmp");
    assert_non_null(mkdtemp(folder));
    assert_true(log_start(&(struct log_settings){LOG_LEVEL_ERROR, "/dev/null", "off"}, err, sizeof err));
    return fix_group_setup(state);
}

static int teardown(void **state)
{
    log_stop();
    rmdir(folder);
    return fix_group_teardown(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_old_is_served_where_a_purge_is_due),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
