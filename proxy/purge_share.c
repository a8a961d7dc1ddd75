/* purge_share.c: see purge_share.h. */
#include "proxy/purge_share.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cache/shard.h"
#include "cache/stream_link.h"
#include "core/hash.h"
#include "core/log.h"
#include "core/panic.h"
#include "core/timeline.h"
#include "proxy/redis_link.h"

#define SHARE_MAGIC       0x70757368u
#define MAP_STEPS         16384 /* steps of the stream that stamps of stored responses may lie behind */
#define PENDING_BYTES     (8 * MB)
#define PENDING_EVENTS    20000
#define LINGER_MS         100 /* what comes back within that is not written to the disk */
#define UNREACHABLE_MS    5000
#define STREAM_TIMEOUT_MS 2000 /* nobody waits for the stream, and an answer may be a megabyte */
#define DURABLE_MS        1000 /* who purges waits so long for the disk at most, and others meanwhile */
#define DURABLE_LOOK_NS   500000
#define TAKE_FILE_MS      1000 /* between two looks whether another process has ended */
#define NODE_NAME_BYTES   (CACHE_STREAM_NAME_MAX + 1)

struct purge_share {
    uint32_t magic;
    /* set once */
    struct purge_share_settings s;
    struct cache_stream_map map;
    struct cache_stream_queue *queue;
    char node_name[NODE_NAME_BYTES];
    char path[512]; /* of the file of what is pending */
    /* control thread */
    struct worker *control;
    void (*on_left)(void *arg);
    void *left_arg;
    struct deadline take_file;
    /* atomic */
    _Atomic uint64_t durable_ticket;
    atomic_bool disk_fails; /* or was waited for in vain; until a write succeeds */
    /* under the lock; control thread reads it without */
    struct lock lock;
    struct cache_stream_link *link;
};

/* What that process could not tell Redis. */
static void share_on_left_file(void *arg)
{
    struct purge_share *p = arg;
    log_warn(
        "the process before this one has left purges that wait for Redis: everything is purged, here and "
        "on the other nodes");
    cache_purge_all(p->s.cache);
}

static void share_on_take_file(struct deadline *d)
{
    struct purge_share *p = CONTAINER_OF(d, struct purge_share, take_file);
    if (!cache_stream_queue_take_file(p->queue, share_on_left_file, p))
        deadline_set(p->control, d, worker_now_ms(p->control) + TAKE_FILE_MS);
}

/* Another purge may be put while the link is being closed. */
static void share_on_put(void *arg)
{
    struct purge_share *p = arg;
    lock_take(&p->lock);
    if (p->link != NULL)
        cache_stream_link_wake(p->link);
    lock_drop(&p->lock);
}

/* The queue's thread. */
static void share_on_durable(void *arg, uint64_t ticket, bool ok)
{
    struct purge_share *p = arg;
    if (ok)
        atomic_store(&p->durable_ticket, ticket);
    atomic_store(&p->disk_fails, !ok);
}

static uint64_t share_purge(void *arg, const struct cache_purge *items, size_t count)
{
    struct purge_share *p = arg;
    for (size_t i = 0; i < count; i++)
        cache_purge_count(p->control->metrics, items[i].kind, PURGE_SOURCE_NODE);
    if (count > 0)
        timeline_note(TIMELINE_PURGE, "%s " SLICE_FMT "%s; by another node",
                      outcome_purge_kind_name(cache_purge_kind_of(items[0].kind)), SLICE_ARG(items[0].text),
                      count > 1 ? " and more" : "");
    return cache_purge_followed(p->s.cache, items, count);
}

static void share_on_message(void *arg, struct cache_purge_request *r)
{
    struct purge_share *p = arg;
    struct cache_purge_result result;
    if (!cache_purge_request_run(p->s.cache, r, PURGE_SOURCE_CHANNEL, slice_str(p->s.config->redis.channel),
                                 p->control->metrics, &result))
        log_warn("a message on the channel %s is refused: %s; %s", p->s.config->redis.channel, r->problem,
                 r->hint);
}

static void share_prepare(void *arg, struct cache_purge_request *r)
{
    struct purge_share *p = arg;
    p->s.prepare(p->s.arg, r);
}

/* The random part, of this state_dir: made at the first start. 0 when it cannot be kept: then it is of this
 * process. */
static uint64_t share_node_id(const char *folder)
{
    char path[512], text[17] = "";
    uint64_t id = 0;
    snprintf(path, sizeof path, "%s/node-id", folder);
    FILE *f = fopen(path, "re");
    if (f != NULL) {
        const size_t n = fread(text, 1, sizeof text - 1, f);
        fclose(f);
        if (n == sizeof text - 1 && slice_hex_to_u64(slice_make(text, n), &id) && id != 0)
            return id;
    }
    while (id == 0)
        hash_random(&id, sizeof id);
    f = fopen(path, "we");
    if (f == NULL || fprintf(f, "%016" PRIx64 "\n", id) < 0)
        log_warn("%s cannot be written: other nodes know this one by another name after a restart", path);
    if (f != NULL)
        fclose(f);
    return id;
}

/* Others must not have it, and it should be the same after a restart. Host names alone can be equal. */
static void share_name_node(struct purge_share *p)
{
    char host[HOST_NAME_MAX + 1] = "";
    if (gethostname(host, sizeof host) != 0 || host[0] == '\0')
        snprintf(host, sizeof host, "node");
    snprintf(p->node_name, sizeof p->node_name, "%.*s-%08" PRIx32, CACHE_STREAM_NAME_MAX - 9, host,
             (uint32_t)share_node_id(p->s.config->main.state_dir));
}

struct purge_share *purge_share_new(const struct purge_share_settings *s, char *err, size_t err_bytes)
{
    struct purge_share *p = aligned_alloc(CACHE_LINE, (sizeof *p + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE);
    snprintf(err, err_bytes, "out of memory for the stream of purges");
    if (p == NULL)
        return NULL;
    *p = (struct purge_share){.magic = SHARE_MAGIC, .s = *s};
    config_ref(s->config);
    lock_init(&p->lock, LOCK_STREAM);
    share_name_node(p);
    snprintf(p->path, sizeof p->path, "%s/purges", s->config->main.state_dir);
    const struct cache_stream_queue_settings queue = {
        .map = &p->map,
        .log = &s->cache->inval,
        .path = p->path,
        .bytes_max = PENDING_BYTES,
        .events_max = PENDING_EVENTS,
        .linger_ms = LINGER_MS,
        .on_durable = share_on_durable,
        .on_put = share_on_put,
        .arg = p,
    };
    if (cache_stream_map_open(&p->map, MAP_STEPS))
        p->queue = cache_stream_queue_open(&queue);
    if (p->queue == NULL) {
        purge_share_free(p);
        return NULL;
    }
    cache_share_purges(s->cache, p->queue);
    return p;
}

void purge_share_start(struct purge_share *p, struct worker *control)
{
    CHECK_MAGIC(p, SHARE_MAGIC);
    const struct config_redis *r = &p->s.config->redis;
    struct cache_stream_link_settings s = {
        .redis = *redis_link_settings(p->s.link),
        .prefix = slice_str(r->prefix),
        .node_name = slice_str(p->node_name),
        .length = (size_t)r->stream_length,
        .unreachable_ms = UNREACHABLE_MS,
        .channel = slice_str(r->channel),
        .turn_ms = CACHE_STREAM_TURN_MS,
        .queue = p->queue,
        .purge = share_purge,
        .on_message = share_on_message,
        .prepare = share_prepare,
        .arg = p,
    };
    s.redis.limits.timeout_ms = MAX(s.redis.limits.timeout_ms, STREAM_TIMEOUT_MS);
    p->control = control;
    deadline_init(&p->take_file, share_on_take_file);
    if (cache_stream_queue_awaits_file(p->queue))
        deadline_set(control, &p->take_file, worker_now_ms(control) + TAKE_FILE_MS);
    struct cache_stream_link *link = cache_stream_link_open(control, &s);
    if (link == NULL)
        log_error(
            "out of memory: the stream of purges is not followed, and nothing is shared with other nodes");
    lock_take(&p->lock);
    p->link = link;
    lock_drop(&p->lock);
}

static void share_on_left(void *arg)
{
    struct purge_share *p = arg;
    p->on_left(p->left_arg);
}

void purge_share_leave(struct purge_share *p, void (*on_left)(void *arg), void *arg)
{
    CHECK_MAGIC(p, SHARE_MAGIC);
    p->on_left = on_left;
    p->left_arg = arg;
    if (p->link != NULL)
        cache_stream_link_leave(p->link, share_on_left);
    else
        on_left(arg);
}

void purge_share_stop(struct purge_share *p)
{
    CHECK_MAGIC(p, SHARE_MAGIC);
    lock_take(&p->lock);
    struct cache_stream_link *link = p->link;
    p->link = NULL;
    lock_drop(&p->lock);
    deadline_clear(p->control, &p->take_file);
    cache_stream_link_close(&link);
}

void purge_share_free(struct purge_share *p)
{
    if (p == NULL)
        return;
    CHECK_MAGIC(p, SHARE_MAGIC);
    ASSERT(p->link == NULL);
    cache_share_purges(p->s.cache, NULL);
    cache_stream_queue_close(&p->queue);
    cache_stream_map_close(&p->map);
    lock_destroy(&p->lock);
    config_unref(p->s.config);
    p->magic = 0;
    free(p);
}

const struct cache_stream_map *purge_share_map(const struct purge_share *p)
{
    return &p->map;
}

const char *purge_share_fate(struct purge_share *p, const struct cache_purge_result *r)
{
    CHECK_MAGIC(p, SHARE_MAGIC);
    const struct timespec moment = {0, DURABLE_LOOK_NS};
    const mono_ms_t until_ms = clock_mono_ms() + DURABLE_MS;
    if (r->flows)
        return "sent";
    if (!cache_stream_queue_sync(p->queue))
        return "pending";
    while (atomic_load(&p->durable_ticket) < r->stream_ticket) {
        if (atomic_load(&p->disk_fails))
            return "pending";
        if (clock_mono_ms() >= until_ms)
            atomic_store(&p->disk_fails, true);
        nanosleep(&moment, NULL);
    }
    return "kept";
}

/* ---- status ---- */

static json_t *share_nodes(const struct purge_share *p)
{
    size_t count;
    json_t *all = json_array();
    const uint64_t epoch = cache_stream_link_follow(p->link)->epoch; /* ids of others mean nothing here */
    struct cache_stream_nodes *nodes = cache_stream_link_nodes(p->link);
    const struct cache_stream_node *node = cache_stream_nodes_all(nodes, &count);
    for (size_t i = 0; i < count; i++, node++) {
        char id[CACHE_STREAM_ID_TEXT];
        slice_t applied = cache_stream_id_print(id, node->applied);
        json_array_append_new(all, json_pack("{s:s, s:b, s:b, s:s%, s:I, s:I}", "name", node->name,
                                             "reachable", cache_stream_node_is_reachable(nodes, node),
                                             "follows", node->epoch != 0 && node->epoch == epoch, "applied",
                                             applied.ptr, applied.len, "lag", (json_int_t)node->lag,
                                             "seen_ms_ago", (json_int_t)node->age_ms));
    }
    return all;
}

json_t *purge_share_status(const struct purge_share *p)
{
    struct cache_stream_queue_stats queue;
    if (p == NULL || p->link == NULL)
        return json_null();
    CHECK_MAGIC(p, SHARE_MAGIC);
    const struct cache_stream_link_figures f = cache_stream_link_get_figures(p->link);
    const struct cache_stream_follow *follow = cache_stream_link_follow(p->link);
    char id[CACHE_STREAM_ID_TEXT];
    const slice_t cursor = cache_stream_id_print(id, follow->cursor);
    cache_stream_queue_get_stats(p->queue, &queue);
    const uint64_t from = cache_stream_queue_pending_from(p->queue);
    return json_pack(
        "{s:s, s:b, s:s, s:s%, s:I, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "node", p->node_name, "follows",
        f.up, "trouble", f.trouble, "cursor", cursor.ptr, cursor.len, "pending", (json_int_t)queue.pending,
        "pending_from", from != UINT64_MAX ? json_integer((json_int_t)from) : json_null(), "appended",
        (json_int_t)f.appended, "refusals", (json_int_t)f.refusals, "applied", (json_int_t)follow->applied,
        "joined", (json_int_t)follow->joined, "starts", (json_int_t)follow->starts, "refused",
        (json_int_t)follow->refused, "nodes", share_nodes(p));
}
