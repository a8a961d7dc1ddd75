/* stream_link_fixture.h: several nodes in one process, each with its log, map, queue and link, on a thread of
 * its own, and a Redis between them, each over a relay. Included once per test program. Test thread, but for
 * what is said to run on a node's. */
#ifndef TESTS_UNIT_CACHE_STREAM_LINK_FIXTURE_H
#define TESTS_UNIT_CACHE_STREAM_LINK_FIXTURE_H

#include <poll.h>
#include <semaphore.h>

#include "cache/stream_link.h"
#include "core/log.h"
#include "core/rcu.h"
#include "tests/support/redis.h"
#include "tests/support/relay.h"
#include "tests/unit/cache/fixture.h"

enum { LF_NODES = 3, LF_TIMEOUT_MS = 1000, LF_ASK_AGAIN_MS = 2 };

#define LF_CHANNEL SLICE_LIT("millpond:purge")

struct lf_node {
    struct worker *w;
    char name[16];
    slice_t server; /* the relay */
    struct relay *relay;
    struct redis_login login;
    struct cache_inval_log log;
    struct cache_stream_map map;
    struct cache_stream_queue *queue;
    _Atomic(struct cache_stream_link *) link;
    struct cache_stream_link_settings settings;
    _Atomic unsigned purges, purges_of_all;
};

/* For nodes that are opened from now on. */
static size_t lf_length;
static dur_ms_t lf_unreachable_ms, lf_turn_ms;

static struct lf_node *lf_nodes[LF_NODES];
static struct redis_process *lf_redis;

/* ---- on a node's thread ---- */

struct lf_job {
    struct mail mail;
    struct lf_node *node;
    void (*fn)(struct lf_node *n, void *arg);
    void *arg;
    sem_t done;
};

static inline void lf_on_job(struct worker *w, struct mail *m)
{
    struct lf_job *j = CONTAINER_OF(m, struct lf_job, mail);
    worker_refresh_clock(w);
    j->fn(j->node, j->arg);
    sem_post(&j->done);
}

/* Returns when it was done. */
static inline void lf_run(struct lf_node *n, void (*fn)(struct lf_node *, void *), void *arg)
{
    struct lf_job j = {.mail.on_mail = lf_on_job, .node = n, .fn = fn, .arg = arg};
    assert_int_equal(sem_init(&j.done, 0, 0), 0);
    worker_post(n->w, &j.mail);
    while (sem_wait(&j.done) != 0)
        assert_int_equal(errno, EINTR);
    sem_destroy(&j.done);
}

static inline uint64_t lf_apply(void *arg, const struct cache_purge *items, size_t count)
{
    struct lf_node *n = arg;
    atomic_fetch_add(&n->purges, 1);
    atomic_fetch_add(&n->purges_of_all, items[0].kind == CACHE_PURGE_ALL);
    return cache_inval_append(&n->log, 1700000000000, items, count);
}

static inline uint64_t lf_purge(struct lf_node *n, const struct cache_purge *items, size_t count);

static inline void lf_on_message(void *arg, struct cache_purge_request *r)
{
    lf_purge(arg, r->items, r->count);
}

static inline void lf_on_put(void *arg)
{
    struct lf_node *n = arg;
    struct cache_stream_link *l = atomic_load(&n->link);
    if (l != NULL)
        cache_stream_link_wake(l);
}

static inline void lf_do_open(struct lf_node *n, void *arg)
{
    UNUSED(arg);
    struct cache_stream_link *l = cache_stream_link_open(n->w, &n->settings);
    ASSERT(l != NULL);
    atomic_store(&n->link, l);
}

static inline void lf_do_close(struct lf_node *n, void *arg)
{
    UNUSED(arg);
    struct cache_stream_link *l = atomic_exchange(&n->link, NULL);
    cache_stream_link_close(&l);
}

static inline void lf_do_stop(struct lf_node *n, void *arg)
{
    UNUSED(arg);
    worker_stop(n->w);
}

/* ---- nodes ---- */

/* As a process that starts: nothing in memory. */
static inline void lf_start(struct lf_node *n)
{
    assert_true(cache_inval_open(&n->log, 1000));
    assert_true(cache_stream_map_open(&n->map, 64));
    n->queue = cache_stream_queue_open(&(struct cache_stream_queue_settings){
        .map = &n->map,
        .log = &n->log,
        .path = textf("%s/%s.queue", support_dir(), n->name),
        .bytes_max = MB,
        .events_max = 1000,
        .linger_ms = 100,
        .on_put = lf_on_put,
        .arg = n,
    });
    assert_non_null(n->queue);
    n->settings.queue = n->queue;
    atomic_store(&n->purges, 0);
    atomic_store(&n->purges_of_all, 0);
    lf_run(n, lf_do_open, NULL);
}

/* Orderly: what is pending is on the disk. */
static inline void lf_stop(struct lf_node *n)
{
    if (n->queue == NULL)
        return;
    lf_run(n, lf_do_close, NULL);
    cache_stream_queue_close(&n->queue);
    cache_stream_map_close(&n->map);
    cache_inval_close(&n->log);
}

static inline void lf_free(void *arg)
{
    struct lf_node *n = arg;
    lf_stop(n);
    lf_run(n, lf_do_stop, NULL);
    worker_join(n->w);
    worker_drain(n->w);
    worker_destroy(n->w);
    free(n);
}

static inline struct lf_node *lf_node(unsigned i)
{
    struct lf_node *n = aligned_alloc(CACHE_LINE, (sizeof *n + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE);
    assert_non_null(n);
    *n = (struct lf_node){.w = worker_create(0)};
    assert_non_null(n->w);
    snprintf(n->name, sizeof n->name, "node-%u", i);
    n->relay = relay_start(lf_redis->port);
    n->server = slice_str(relay_address(n->relay));
    n->settings = (struct cache_stream_link_settings){
        .redis = {.mode = REDIS_STANDALONE,
                  .servers = &n->server,
                  .server_count = 1,
                  .login = &n->login,
                  .limits = {.timeout_ms = LF_TIMEOUT_MS, .connect_timeout_ms = LF_TIMEOUT_MS}},
        .prefix = SLICE_LIT("millpond:"),
        .node_name = slice_str(n->name),
        .length = lf_length,
        .unreachable_ms = lf_unreachable_ms,
        .turn_ms = lf_turn_ms,
        .purge = lf_apply,
        .on_message = lf_on_message,
        .arg = n,
    };
    assert_true(worker_start(n->w));
    support_on_end(lf_free, n);
    return n;
}

/* `count` nodes that share a Redis. */
static inline void lf_open(unsigned count, slice_t channel)
{
    lf_redis = redis_start("redis", NULL);
    for (unsigned i = 0; i < count; i++) {
        lf_nodes[i] = lf_node(i);
        lf_nodes[i]->settings.channel = channel;
        lf_start(lf_nodes[i]);
    }
}

/* ---- looking ---- */

struct lf_view {
    struct cache_stream_follow follow;
    struct cache_stream_link_figures figures;
    struct cache_stream_queue_stats queue;
    size_t node_count;
    struct cache_stream_node nodes[CACHE_STREAM_NODES_MAX];
};

static inline void lf_do_look(struct lf_node *n, void *arg)
{
    struct lf_view *v = arg;
    v->follow = *cache_stream_link_follow(n->link);
    v->figures = cache_stream_link_get_figures(n->link);
    cache_stream_queue_get_stats(n->queue, &v->queue);
    const struct cache_stream_node *nodes =
        cache_stream_nodes_all(cache_stream_link_nodes(n->link), &v->node_count);
    memcpy(v->nodes, nodes, v->node_count * sizeof nodes[0]);
}

static inline const struct lf_view *lf_look(struct lf_node *n)
{
    static struct lf_view v;
    lf_run(n, lf_do_look, &v);
    return &v;
}

/* Asks again until it is so; `v` is what was seen of the node. */
#define LF_UNTIL(n, condition)                                                                               \
    do {                                                                                                     \
        mono_ms_t until_ = clock_mono_ms() + support_wait_ms();                                              \
        for (;;) {                                                                                           \
            const struct lf_view *v = lf_look(n);                                                            \
            if (condition)                                                                                   \
                break;                                                                                       \
            EXPECT(clock_mono_ms() < until_, "%s waited in vain for %s: state %d, pending %llu, %s",         \
                   (n)->name, #condition, v->follow.state, (unsigned long long)v->queue.pending,             \
                   v->figures.trouble);                                                                      \
            poll(NULL, 0, LF_ASK_AGAIN_MS);                                                                  \
        }                                                                                                    \
    } while (0)

static inline struct cache_stream_id lf_last_id(void)
{
    struct cache_stream_id id = {0, 0};
    char *text = redis_do(lf_redis, "XREVRANGE millpond:{stream} + - COUNT 1");
    cache_stream_id_parse(slice_make(text, strcspn(text, " ")), &id);
    return id;
}

/* All nodes are inside, have nothing pending, and stand at the end of the stream. */
static inline void lf_settle(unsigned count)
{
    mono_ms_t until_ms = clock_mono_ms() + support_wait_ms();
    for (;;) {
        unsigned settled = 0;
        uint64_t epoch = 0;
        for (unsigned i = 0; i < count; i++) {
            const struct lf_view *v = lf_look(lf_nodes[i]);
            epoch = i == 0 ? v->follow.epoch : epoch;
            settled += v->follow.state == CACHE_STREAM_INSIDE && v->figures.up && v->queue.pending == 0 &&
                       v->follow.epoch == epoch &&
                       cache_stream_id_compare(v->follow.cursor, lf_last_id()) == 0;
        }
        if (settled == count)
            return;
        const struct lf_view *v = lf_look(lf_nodes[0]);
        EXPECT(clock_mono_ms() < until_ms, "%u of %u nodes have settled; node 0: state %d, %llu pending, %s",
               settled, count, v->follow.state, (unsigned long long)v->queue.pending, v->figures.trouble);
        poll(NULL, 0, LF_ASK_AGAIN_MS);
    }
}

/* ---- purging, and what is purged ---- */

/* As cache_purge would do it; any thread. Returns the event's number. */
static inline uint64_t lf_purge(struct lf_node *n, const struct cache_purge *items, size_t count)
{
    const uint64_t number = cache_stream_queue_begin(n->queue);
    const uint64_t local_id = cache_inval_append(&n->log, 1700000000000, items, count);
    cache_stream_queue_put(n->queue, number, local_id, items, count);
    return number;
}

static inline uint64_t lf_purge_tag(struct lf_node *n, const char *tag)
{
    const struct cache_purge p = {.kind = CACHE_PURGE_TAG, .text = slice_str(tag)};
    return lf_purge(n, &p, 1);
}

/* Whether what has this tag and was checked up to the id is purged. */
static inline bool lf_is_purged(struct lf_node *n, const char *tag, uint64_t since_id)
{
    const struct cache_key k = fix_key("http://h/");
    const struct cache_inval_subject subject = cache_inval_subject(k.text, k.hash.lo, slice_str(tag));
    rcu_enter();
    const struct cache_inval_found f = cache_inval_find(&n->log, &subject, since_id);
    rcu_leave();
    return (f.hard | f.soft) != 0;
}

static inline int lf_setup(void **state)
{
    lf_length = 100000;
    lf_unreachable_ms = 5000;
    lf_turn_ms = CACHE_STREAM_TURN_MS;
    return support_setup(state);
}

static inline int lf_group_setup(void **state)
{
    char err[200];
    assert_true(log_start(&(struct log_settings){LOG_LEVEL_ERROR, "/dev/null", "off"}, err, sizeof err));
    return fix_group_setup(state);
}

static inline int lf_group_teardown(void **state)
{
    log_stop();
    return fix_group_teardown(state);
}

#endif
