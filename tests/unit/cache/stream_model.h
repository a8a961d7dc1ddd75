/* stream_model.h: several nodes and one Redis, and what is due where: the model of test_stream_model.c. Each
 * node has the real log, map, queue (with its file) and follower; what is stored and who serves it is made
 * up.
 *
 * A response is known by the step at which the origin made it; a purge by the step at which it was called.
 * What was made before is old. No node may serve something old for which a purge is due there. An
 * acknowledged purge is due
 *   - on the node where it was made, as long as that lives; and when the disk made it possible to acknowledge
 *     it, also after a kill, until it came back through the stream;
 *   - on each node that has read it, as long as that lives;
 *   - on any other that is inside and has read the stream up to it, or up to a start entry that was added
 *     later.
 * What Redis lost while a node lives that had read it is in the stream again in the end, or a start is. Not
 * asked for is what stream_follow.h says cannot be had: that a loss is noticed when all who knew of it are
 * gone, or when more was trimmed. */
#ifndef TESTS_UNIT_CACHE_STREAM_MODEL_H
#define TESTS_UNIT_CACHE_STREAM_MODEL_H

#include <unistd.h>

#include "core/random.h"

#include "tests/unit/cache/stream_redis.h"

enum {
    NODES = 3,
    URLS = 5,
    FETCHES = 3,
    PURGES = 400,
    UNDER_WAY = 2,
    COPIES = REDIS_RECORDS / URLS,
    LIVES = 128
};

static const char *const urls[URLS] = {"http://h/a", "http://h/b", "http://h/c/1", "http://h/c/2",
                                       "http://o/"};
static const char *const tags[URLS] = {"t0", "t1", "t0", "t1", "t0"};

/* ---- the model ---- */

struct purge {
    struct cache_purge what;
    unsigned begin_step;
    unsigned node, life; /* where it was made; node NODES: by none of ours */
    struct cache_stream_origin by;
    unsigned handed_over; /* at which step; 0: not yet */
    bool acked, on_disk, on_stream, was_on_stream, came_back;
    struct cache_stream_id id;
    unsigned read_by[NODES]; /* lives; 0: not, or it cannot be expected to know that it was lost */
};

enum purge_phase { PURGE_FREE, PURGE_BEGUN, PURGE_APPLIED, PURGE_PUT };

struct purging {
    enum purge_phase phase;
    struct purge *p;
    uint64_t number, local_id, ticket;
};

struct fetch {
    bool used;
    unsigned url, made;
    uint64_t start_id;
};

struct stored {
    bool there;
    unsigned made;
    uint64_t checked_id;
};

/* A load between the look at its stamp and the look at the log; a write between its stamp and the writing. */
struct loading {
    bool used;
    unsigned url, made;
    uint64_t since_id;
};
struct writing {
    bool used;
    unsigned url;
    struct redis_record record;
};

struct node {
    bool alive, connected, caught_up;
    unsigned index, life, generation, read_every;
    bool dies; /* as soon as it has promised something */
    char path[96];
    struct cache_inval_log log;
    struct cache_stream_map map;
    struct cache_stream_queue *queue;
    struct cache_stream_follow follow;
    struct purging purging[UNDER_WAY];
    struct fetch fetches[FETCHES];
    struct stored memory[URLS];
    struct loading loading;
    struct writing writing;
};

static struct {
    uint64_t random, seed;
    bool kills;
    unsigned favourite;                                  /* what happens to Redis more often */
    unsigned step, purge_count, purge_every, generation; /* of the stream: which past it has */
    wall_ms_t wall_ms[NODES];
    struct purge purges[PURGES];
    struct redis redis;
    bool has_saved;
    unsigned saved_count;
    struct {
        bool on_stream;
        struct cache_stream_id id;
    } saved[PURGES];
} s;
static struct node nodes[NODES];
static uint64_t names[NODES][LIVES]; /* of the processes */
static char folder[64];

/* What happened in all schedules, so that a test that tests nothing is seen. */
static struct {
    unsigned long served, loaded, unknown_stamp, purged_record, written, acked_stream, acked_disk, replayed,
        starts, trimmed, lost, came_back, collapsed, merged, refused, crashed, checked;
} total;

static inline unsigned pick(unsigned n)
{
    return (unsigned)(random_next(&s.random) >> 16) % n;
}

static inline bool one_in(unsigned n)
{
    return pick(n) == 0;
}

#define violated(...)                                                                                        \
    do {                                                                                                     \
        print_error("schedule %llu, step %u: ", (unsigned long long)s.seed, s.step);                         \
        fail_msg(__VA_ARGS__);                                                                               \
    } while (0)

static inline bool concerns(const struct purge *p, unsigned url)
{
    switch (p->what.kind) {
    case CACHE_PURGE_URL:
        return slice_eq(p->what.text, slice_str(urls[url]));
    case CACHE_PURGE_TAG:
        return slice_eq(p->what.text, slice_str(tags[url]));
    case CACHE_PURGE_PREFIX:
        return slice_starts(slice_str(urls[url]), p->what.text);
    default:
        return true;
    }
}

static inline bool is_due(const struct purge *p, const struct node *n)
{
    if (!p->acked)
        return false;
    if (p->node == n->index && (p->life == n->life || (p->on_disk && !p->came_back)))
        return true;
    if (p->read_by[n->index] == n->life)
        return true;
    return p->on_stream && n->connected && n->follow.state == CACHE_STREAM_INSIDE &&
           n->generation == s.generation && cache_stream_id_compare(p->id, n->follow.cursor) <= 0;
}

static inline void check_served(const struct node *n, unsigned url, unsigned made, const char *from)
{
    for (unsigned i = 0; i < s.purge_count; i++) {
        const struct purge *p = &s.purges[i];
        if (p->begin_step <= made || !concerns(p, url))
            continue;
        total.checked += p->acked;
        if (is_due(p, n))
            violated("node %u serves %s of step %u from %s, purged at step %u by node %u", n->index,
                     urls[url], made, from, p->begin_step, p->node);
    }
    total.served++;
}

static inline struct purge *new_purge(unsigned node, unsigned life)
{
    static const struct cache_purge kinds[] = {
        {CACHE_PURGE_URL, false, {"http://h/a", 10}},
        {CACHE_PURGE_URL, true, {"http://h/b", 10}},
        {CACHE_PURGE_TAG, false, {"t0", 2}},
        {CACHE_PURGE_TAG, true, {"t1", 2}},
        {CACHE_PURGE_PREFIX, false, {"http://h/c/", 11}},
        {CACHE_PURGE_URL, false, {"http://o/", 9}},
    };
    if (s.purge_count == PURGES)
        return NULL;
    struct purge *p = &s.purges[s.purge_count++];
    *p = (struct purge){
        .what = kinds[pick(ARRAY_LEN(kinds))], .begin_step = s.step, .node = node, .life = life};
    if (one_in(30))
        p->what = (struct cache_purge){CACHE_PURGE_ALL, false, SLICE_EMPTY};
    return p;
}

/* ---- the life of a node ---- */

static inline uint64_t node_purge(void *arg, const struct cache_purge *items, size_t count)
{
    struct node *n = arg;
    return cache_inval_append(&n->log, s.wall_ms[n->index], items, count);
}

static inline void on_durable(void *arg, uint64_t ticket, bool ok)
{
    struct node *n = arg;
    for (unsigned i = 0; ok && i < UNDER_WAY; i++) {
        struct purging *u = &n->purging[i];
        if (u->phase == PURGE_PUT && u->ticket <= ticket) {
            u->p->acked = u->p->on_disk = true;
            n->dies = s.kills && one_in(2);
            total.acked_disk++;
            *u = (struct purging){0};
        }
    }
}

static inline void node_start(struct node *n)
{
    assert_true(cache_inval_open(&n->log, one_in(4) ? 2 : 100));
    assert_true(cache_stream_map_open(&n->map, one_in(2) ? 4 : 64));
    n->queue = cache_stream_queue_open(&(struct cache_stream_queue_settings){
        .map = &n->map,
        .log = &n->log,
        .path = n->path,
        .bytes_max = 4096,
        .events_max = one_in(3) ? 2 : 50,
        .no_thread = true,
        .on_durable = on_durable,
        .arg = n,
    });
    assert_non_null(n->queue);
    struct cache_stream_queue_stats stats;
    cache_stream_queue_get_stats(n->queue, &stats);
    total.replayed += stats.pending;
    cache_stream_follow_init(&n->follow, &(struct cache_stream_follow_settings){n->queue, node_purge, n});
    n->alive = true;
    names[n->index][++n->life % LIVES] = cache_stream_queue_node(n->queue);
}

static inline void node_kill(struct node *n)
{
    struct cache_stream_queue_stats stats;
    cache_stream_queue_get_stats(n->queue, &stats);
    total.collapsed += stats.collapses;
    total.trimmed += n->follow.trimmed;
    total.lost += n->follow.lost;
    total.came_back += n->follow.came_back;
    total.refused += n->follow.refused;
    cache_stream_queue_close(&n->queue);
    cache_stream_map_close(&n->map);
    cache_inval_close(&n->log);
    n->alive = n->connected = n->caught_up = n->dies = false;
    memset(n->purging, 0, sizeof n->purging);
    memset(n->fetches, 0, sizeof n->fetches);
    memset(n->memory, 0, sizeof n->memory);
    n->loading.used = n->writing.used = false;
}

static inline void node_disconnect(struct node *n)
{
    if (n->connected)
        cache_stream_follow_disconnected(&n->follow);
    n->connected = n->caught_up = false;
    n->loading.used = n->writing.used = false;
}

/* ---- the stream ---- */

/* An event is of the purge that it was made for; one that purges everything and was made for none stands for
 * all that its maker had handed over; a start for all that was. */
static inline bool stands_for(const struct cache_stream_entry *e, const struct purge *p)
{
    bool of_node = false, of_purge = false;
    for (unsigned i = 0; i < s.purge_count && !of_purge; i++)
        of_purge = cache_stream_origin_eq(s.purges[i].by, e->by);
    for (unsigned life = 0; p->node < NODES && life <= nodes[p->node].life; life++)
        of_node = of_node || names[p->node][life % LIVES] == e->by.node;
    return e->start || cache_stream_origin_eq(p->by, e->by) || (!of_purge && of_node && p->handed_over);
}

/* A snapshot of another past, with ids that are given out only now, is not restored any more. A start in it
 * would look as if it had been made after what is lost. */
static inline void note_id(struct cache_stream_id id)
{
    s.has_saved = s.has_saved && cache_stream_id_compare(id, s.redis.saved.last_id) > 0;
}

static inline void note_on_stream(const struct cache_stream_entry *e, struct cache_stream_id id)
{
    note_id(id);
    for (unsigned i = 0; i < s.purge_count; i++) {
        struct purge *p = &s.purges[i];
        if (!p->on_stream && stands_for(e, p)) {
            p->on_stream = p->was_on_stream = true;
            p->id = id;
        }
    }
}

static inline void ack_on_stream(struct node *n)
{
    for (unsigned i = 0; i < UNDER_WAY; i++) {
        struct purging *u = &n->purging[i];
        if (u->phase == PURGE_PUT && u->p->on_stream) {
            u->p->acked = true;
            total.acked_stream++;
            *u = (struct purging){0};
        }
    }
}

static inline void node_send(struct node *n)
{
    static struct cache_stream_fields fields;
    static struct cache_stream_entry e;
    size_t bytes;
    char *packed;
    while (n->caught_up && (packed = cache_stream_queue_take_unsent(n->queue, &bytes)) != NULL) {
        struct cache_stream_id id;
        assert_true(cache_stream_fields_unpack(slice_make(packed, bytes), &fields));
        assert_int_equal(cache_stream_entry_decode(fields.texts, fields.count, &e), CACHE_STREAM_FAULT_NONE);
        if (!redis_add(&s.redis, false, slice_make(packed, bytes), &id)) {
            cache_stream_queue_resend(n->queue);
            n->caught_up = false;
        } else {
            note_on_stream(&e, id);
            if (one_in(6)) /* the answer is lost */
                node_disconnect(n);
            else
                ack_on_stream(n);
        }
        free(packed);
        if (one_in(3))
            break;
    }
}

/* Who has read an entry notices that it is gone, and starts the stream anew, unless it finds more trimmed. */
static inline void note_read(const struct node *n, bool trimmed)
{
    for (unsigned i = 0; i < s.purge_count; i++) {
        struct purge *p = &s.purges[i];
        if (trimmed)
            p->read_by[n->index] = 0;
        if (p->on_stream && n->follow.state != CACHE_STREAM_OUTSIDE &&
            cache_stream_id_compare(p->id, n->follow.cursor) <= 0)
            p->read_by[n->index] = n->life;
        p->came_back = p->came_back || (p->node == n->index && p->read_by[n->index] == n->life);
    }
}

static inline void node_read(struct node *n)
{
    static struct redis_reply reply;
    static struct cache_stream_entry start;
    char buf[CACHE_STREAM_ID_TEXT];
    const size_t max = 2 + pick(6);
    const uint64_t trimmed = n->follow.trimmed;
    redis_range(&s.redis, cache_stream_follow_from(&n->follow, buf), max, &reply);
    enum cache_stream_next next = cache_stream_follow_take(&n->follow, redis_epoch(&s.redis), reply.entries,
                                                           reply.count, reply.count < max);
    n->generation = s.generation;
    note_read(n, n->follow.trimmed > trimmed);
    n->caught_up = next == CACHE_STREAM_WAIT;
    if (next == CACHE_STREAM_START && !one_in(4)) { /* else the transaction fails */
        struct cache_stream_id id = redis_start(&s.redis, &n->follow);
        start.start = true;
        start.count = 0;
        for (unsigned i = 0; i < s.purge_count; i++)
            s.purges[i].on_stream = false;
        note_on_stream(&start, id);
        total.starts++;
    }
}

#endif
