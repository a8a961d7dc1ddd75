/* remote_fixture.h: what the tests of the remote store share: nodes (a cache, a map of the stream, a remote
 * store) on one worker that runs on the test's thread, and a real Redis. Included once per test program. */
#ifndef TESTS_UNIT_CACHE_REMOTE_FIXTURE_H
#define TESTS_UNIT_CACHE_REMOTE_FIXTURE_H

#include "cache/remote_load.h"
#include "cache/remote_save.h"
#include "core/metrics.h"
#include "tests/unit/cache/record_fixture.h"
#include "tests/unit/cache/text_head.h"
#include "tests/unit/core/redis_fixture.h"

#define URL       "http://h/p"
#define NEVER_MS  600000
#define NODES_MAX 3

/* Turns of the worker register its thread themselves. */
#define AWAIT(condition)                                                                                     \
    do {                                                                                                     \
        rcu_thread_stop();                                                                                   \
        UNTIL(condition);                                                                                    \
        rcu_thread_start();                                                                                  \
    } while (0)

struct node {
    struct cache *cache;
    struct cache_stream_map *map;
    struct redis *redis;
    struct cache_remote *remote;
};

static struct node nodes[NODES_MAX];
static unsigned node_count;
static slice_t node_servers[NODES_MAX];
static enum redis_mode node_mode; /* STANDALONE, unless a test says something else */
static struct redis_login node_login;
static dur_ms_t look_wait_ms; /* NEVER_MS, unless a test says something else */
static uint64_t loads_before[REMOTE_LOAD_COUNT], saves_before[REMOTE_SAVE_COUNT];

/* How often that was counted in this test. */
static inline uint64_t loads(enum remote_load outcome)
{
    return metrics_reason_total(METRICS_REASON_REMOTE_LOADS, outcome) - loads_before[outcome];
}

static inline uint64_t saves(enum remote_save outcome)
{
    return metrics_reason_total(METRICS_REASON_REMOTE_SAVES, outcome) - saves_before[outcome];
}

/* Up, and in step with what is purged so far. `address` lives as long as the test. */
static inline struct node *node_open(const char *address, dur_ms_t timeout_ms)
{
    assert_true(node_count < NODES_MAX);
    struct node *n = &nodes[node_count];
    node_servers[node_count] = slice_str(address);
    const struct redis_settings redis = {
        .mode = node_mode,
        .servers = &node_servers[node_count],
        .server_count = 1,
        .login = &node_login,
        .limits = {.connections = 2,
                   .calls_max = 1000,
                   .timeout_ms = timeout_ms,
                   .connect_timeout_ms = NEVER_MS,
                   .stall_timeout_ms = NEVER_MS},
    };
    n->cache = fix_cache(64 * MB);
    n->map = fix_map(cache_inval_head(&n->cache->inval));
    n->redis = redis_open(w, &redis);
    const struct cache_remote_settings remote = {
        .worker = w,
        .cache = n->cache,
        .redis = n->redis,
        .prefix = SLICE_LIT("m:"),
        .map = n->map,
        .timeout_ms = timeout_ms,
        .max_object_bytes = 4 * MB,
    };
    n->remote = cache_remote_open(&remote);
    assert_non_null(n->remote);
    node_count++;
    AWAIT(redis_is_up(n->redis, SLICE_EMPTY) &&
          (node_mode != REDIS_CLUSTER || redis_get_figures(n->redis).slots == 16384));
    return n;
}

static inline void node_close(struct node *n)
{
    cache_remote_close(&n->remote);
    redis_close(&n->redis);
    if (n->map != NULL)
        fix_map_free(n->map);
    n->map = NULL;
}

/* ---- storing ---- */

static inline struct cache_fill node_fill(uint64_t bytes)
{
    struct cache_fill f = fix_fill((int64_t)bytes);
    f.tags = (struct cache_tags){SLICE_LIT("news "), {5, 0, 0}};
    return f;
}

static inline void node_forget(struct node *n, const char *url, const struct http_head *request)
{
    struct cache_object *o = fix_find_as(n->cache, url, request);
    if (o != NULL)
        cache_forget(n->cache, o);
    cache_object_unref(&o);
}

/* Stored in the node's memory, anew; a reference. */
static inline struct cache_object *node_store_as(struct node *n, const char *url,
                                                 const struct cache_fill *fill, uint64_t bytes)
{
    node_forget(n, url, fill->request);
    assert_int_equal(fix_store_fill(n->cache, url, fill, bytes), NO_STORE_STORED);
    struct cache_object *o = fix_find_as(n->cache, url, fill->request);
    assert_non_null(o);
    return o;
}

/* Under a lease of its own. */
static inline void node_put(struct node *n, struct cache_object *o)
{
    struct cache_lease *none = NULL;
    cache_remote_save(n->remote, o, &none);
}

/* And put into Redis. */
static inline void node_save_as(struct node *n, const char *url, const struct cache_fill *fill,
                                uint64_t bytes)
{
    const uint64_t saved = saves(REMOTE_SAVE_SAVED);
    struct cache_object *o = node_store_as(n, url, fill, bytes);
    node_put(n, o);
    cache_object_unref(&o);
    AWAIT(n->remote->save_count == 0);
    assert_int_equal(saves(REMOTE_SAVE_SAVED), saved + 1);
}

static inline void node_save(struct node *n, const char *url, uint64_t bytes)
{
    const struct cache_fill fill = node_fill(bytes);
    node_save_as(n, url, &fill, bytes);
}

/* Name of a part, for redis_do. */
static inline char *part_name(slice_t key, int64_t part)
{
    char buf[CACHE_REMOTE_NAME_BYTES];
    slice_t name = cache_record_name(buf, SLICE_LIT("m:"), key, part);
    return textf(SLICE_FMT, SLICE_ARG(name));
}

static inline char *head_name(const char *url)
{
    return part_name(slice_str(url), CACHE_RECORD_HEAD);
}

/* ---- loading ---- */

/* Static in tests: a test that fails leaves its frame. */
struct looked {
    struct node *node;
    struct cache_key key;
    const struct http_head *request;
    struct cache_remote_load *load;
    unsigned ended;
    bool keeps; /* a lease, instead of giving it back */
    struct cache_lease *lease;
    enum remote_load outcome;
    enum no_store_reason stored; /* FOUND: what the flight that it filled came to */
};

/* What a leader does with it. */
static inline void looked_fill(struct looked *l, const struct cache_remote_loaded *loaded)
{
    struct arena scratch;
    arena_init(&scratch, NULL, 0, 64 * KB);
    struct cache_join_result j =
        cache_join(l->node->cache, &l->key, l->request, &scratch, NULL, w, fix_on_event, NULL);
    arena_reset(&scratch);
    assert_int_equal(j.what, CACHE_LEAD);
    slice_t body = loaded->body;
    assert_true(loaded->fill->body_bytes == (int64_t)body.len);
    loaded->fill->max_object_bytes = 64 * MB;
    if (cache_fill_begin(j.flight, loaded->fill, &l->stored) == NULL) {
        cache_flight_release(&j.flight, l->stored, 0);
        return;
    }
    while (body.len > 0) {
        size_t room;
        char *p = cache_fill_buffer(j.flight, &room);
        assert_non_null(p);
        room = MIN(room, body.len);
        memcpy(p, body.ptr, room);
        cache_fill_commit(j.flight, room);
        body = slice_make(body.ptr + room, body.len - room);
    }
    l->stored = cache_fill_finish(&j.flight);
}

static inline void looked_on_end(void *arg, const struct cache_remote_loaded *loaded)
{
    struct looked *l = arg;
    l->load = NULL;
    l->ended++;
    l->outcome = loaded->outcome;
    assert_int_equal(loaded->fill != NULL, loaded->outcome == REMOTE_LOAD_FOUND);
    if (loaded->fill != NULL)
        looked_fill(l, loaded);
    l->lease = loaded->lease;
    if (!l->keeps)
        cache_lease_cancel(&l->lease);
}

/* Begins a look-up; true when it is under way. */
static inline bool look_begin(struct looked *l, struct node *n, const char *url,
                              const struct http_head *request)
{
    *l = (struct looked){.node = n, .key = fix_key(url), .request = request != NULL ? request : fix_plain()};
    worker_refresh_clock(w);
    const struct cache_remote_want want = {
        .key = &l->key, .request = l->request, .wait_ms = look_wait_ms, .on_end = looked_on_end, .arg = l};
    l->outcome = cache_remote_load(n->remote, &want, &l->load);
    assert_int_equal(l->load != NULL, l->outcome == REMOTE_LOAD_NONE);
    return l->load != NULL;
}

static inline enum remote_load look_as(struct node *n, const char *url, const struct http_head *request)
{
    static struct looked l;
    const uint64_t found = loads(REMOTE_LOAD_FOUND);
    if (look_begin(&l, n, url, request))
        AWAIT(l.ended);
    assert_true(l.ended <= 1);
    assert_int_equal(loads(REMOTE_LOAD_FOUND), found + (l.outcome == REMOTE_LOAD_FOUND));
    assert_true(loads(l.outcome) > 0);
    if (l.outcome == REMOTE_LOAD_FOUND)
        assert_int_equal(l.stored, NO_STORE_STORED);
    return l.outcome;
}

static inline enum remote_load look(struct node *n, const char *url)
{
    return look_as(n, url, NULL);
}

static inline void purge_tag(struct node *n, const char *tag, bool soft)
{
    const struct cache_purge p = {.kind = CACHE_PURGE_TAG, .text = slice_str(tag), .soft = soft};
    struct cache_purge_result result;
    assert_true(cache_purge(n->cache, &p, 1, &result));
}

/* ---- life ---- */

static inline int remote_setup(void **state)
{
    int rc = support_setup(state);
    hash_seed_fixed(7);
    rcu_thread_start();
    worker_setup();
    w->metrics = metrics_shard_new();
    worker_refresh_clock(w);
    node_count = 0;
    node_mode = REDIS_STANDALONE;
    look_wait_ms = NEVER_MS;
    for (unsigned i = 0; i < REMOTE_LOAD_COUNT; i++)
        loads_before[i] = metrics_reason_total(METRICS_REASON_REMOTE_LOADS, i);
    for (unsigned i = 0; i < REMOTE_SAVE_COUNT; i++)
        saves_before[i] = metrics_reason_total(METRICS_REASON_REMOTE_SAVES, i);
    return rc;
}

static inline int remote_teardown(void **state)
{
    for (unsigned i = 0; i < node_count; i++) {
        node_close(&nodes[i]);
        fix_end(&nodes[i].cache);
    }
    rcu_thread_stop();
    struct metrics_shard *metrics = w->metrics;
    worker_teardown();
    metrics_shard_free(metrics);
    return support_teardown(state);
}

#define REMOTE_TEST(f) cmocka_unit_test_setup_teardown(f, remote_setup, remote_teardown)

#endif
