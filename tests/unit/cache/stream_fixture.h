/* stream_fixture.h: one node without a cache: a log, a map and a queue, and purges made by hand. */
#ifndef TESTS_UNIT_CACHE_STREAM_FIXTURE_H
#define TESTS_UNIT_CACHE_STREAM_FIXTURE_H

#include <unistd.h>

#include "cache/stream_follow.h"
#include "core/log.h"
#include "tests/unit/cache/fixture.h"

struct sf_node {
    struct cache_inval_log log;
    struct cache_stream_map map;
    struct cache_stream_queue_settings settings;
    struct cache_stream_queue *queue;
    struct cache_stream_follow follow;
    _Atomic unsigned purges, purges_of_all;
};

static inline uint64_t sf_purge(void *arg, const struct cache_purge *items, size_t count)
{
    struct sf_node *n = arg;
    n->purges++;
    n->purges_of_all += items[0].kind == CACHE_PURGE_ALL;
    return cache_inval_append(&n->log, 1700000000000, items, count);
}

/* As at a start: an empty log, and what the file holds. */
static inline void sf_open(struct sf_node *n)
{
    assert_true(cache_inval_open(&n->log, 100));
    assert_true(cache_stream_map_open(&n->map, 64));
    n->settings.map = &n->map;
    n->settings.log = &n->log;
    n->queue = cache_stream_queue_open(&n->settings);
    assert_non_null(n->queue);
    cache_stream_follow_init(&n->follow, &(struct cache_stream_follow_settings){n->queue, sf_purge, n});
    n->purges = n->purges_of_all = 0;
}

/* As kill -9, with no_thread. */
static inline void sf_close(struct sf_node *n)
{
    cache_stream_queue_close(&n->queue);
    cache_stream_map_close(&n->map);
    cache_inval_close(&n->log);
}

static inline struct sf_node *sf_node(const char *path)
{
    struct sf_node *n = aligned_alloc(CACHE_LINE, (sizeof *n + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE);
    assert_non_null(n);
    *n = (struct sf_node){
        .settings = {.path = path, .bytes_max = 4096, .events_max = 20, .linger_ms = 1, .no_thread = true}};
    sf_open(n);
    return n;
}

static inline void sf_end(struct sf_node **n)
{
    sf_close(*n);
    free(*n);
    *n = NULL;
}

/* A purge of a tag, as cache_purge would do it. Returns the ticket. */
static inline uint64_t sf_make(struct sf_node *n, const char *tag)
{
    const struct cache_purge p = {.kind = CACHE_PURGE_TAG, .text = slice_str(tag)};
    const uint64_t number = cache_stream_queue_begin(n->queue);
    return cache_stream_queue_put(n->queue, number, sf_purge(n, &p, 1), &p, 1);
}

/* So many, each of another tag. */
static inline void sf_make_some(struct sf_node *n, unsigned count)
{
    static _Atomic unsigned made;
    for (unsigned i = 0; i < count; i++) {
        char tag[24];
        snprintf(tag, sizeof tag, "more-%u", made++);
        sf_make(n, tag);
    }
}

static inline struct cache_stream_queue_stats sf_stats(struct sf_node *n)
{
    struct cache_stream_queue_stats s;
    cache_stream_queue_get_stats(n->queue, &s);
    return s;
}

/* The next event to be sent, "kind text" of its first item; NULL: none. */
static inline const char *sf_take(struct sf_node *n, struct cache_stream_origin *by)
{
    static char text[64];
    static struct cache_stream_fields f;
    static struct cache_stream_entry e;
    size_t bytes;
    if (by != NULL)
        *by = (struct cache_stream_origin){0, 0};
    char *packed = cache_stream_queue_take_unsent(n->queue, &bytes);
    if (packed == NULL)
        return NULL;
    assert_true(cache_stream_fields_unpack(slice_make(packed, bytes), &f));
    assert_int_equal(cache_stream_entry_decode(f.texts, f.count, &e), CACHE_STREAM_FAULT_NONE);
    snprintf(text, sizeof text, "%d " SLICE_FMT, e.items[0].kind, SLICE_ARG(e.items[0].text));
    if (by != NULL)
        *by = e.by;
    free(packed);
    return text;
}

static inline int sf_setup(void **state)
{
    char err[200];
    assert_true(log_start(&(struct log_settings){LOG_LEVEL_ERROR, "/dev/null", "off"}, err, sizeof err));
    return fix_group_setup(state);
}

static inline int sf_teardown(void **state)
{
    log_stop();
    return fix_group_teardown(state);
}

#endif
