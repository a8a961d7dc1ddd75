/* redis.c: see redis.h. Three ways to find the server of a key; the rest is common. */
#include "core/redis.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/metrics.h"
#include "core/panic.h"
#include "core/redis_cluster.h"
#include "core/redis_sentinel.h"
#include "core/redis_sub.h"

#define REDIS_MAGIC              0x72656469u
#define REDIS_SUBSCRIPTION_MAGIC 0x72656473u
#define REDIS_SUB_TIMEOUT_MS     1000 /* what comes over it is late anyway, and nobody waits */

/* Owned by who opened it; one worker's thread. */
struct redis {
    uint32_t magic;
    /* set once; one of the three */
    struct worker *worker;
    struct redis_settings settings;
    struct redis_node *node;
    struct redis_sentinel *sentinel;
    struct redis_cluster *cluster;
    /* worker's thread */
    uint64_t refused_unknown;
    struct list subscriptions;
    struct grave grave;
};

/* Owned by who subscribed; one worker's thread. */
struct redis_subscription {
    uint32_t magic;
    /* set once */
    struct redis *redis;
    struct redis_subscriber subscriber;
    /* worker's thread */
    struct list node;
    struct redis_sub *sub; /* NULL while the server is not known */
    char server[REDIS_SERVER_TEXT];
    struct grave grave;
};

/* The server of a key; NULL when it is not known, as for calls that are made while it closes. */
static struct redis_node *redis_find(const struct redis *r, slice_t key)
{
    switch (r->settings.mode) {
    case REDIS_STANDALONE:
        return r->node;
    case REDIS_SENTINEL:
        return r->sentinel != NULL ? redis_sentinel_master(r->sentinel) : NULL;
    case REDIS_CLUSTER:
        return r->cluster != NULL ? redis_cluster_node(r->cluster, key) : NULL;
    }
    return NULL;
}

/* ---- subscriptions ---- */

static void subscription_leave(struct redis_subscription *s, const char *reason)
{
    bool was_up = s->sub != NULL && redis_sub_is_up(s->sub);
    redis_sub_close(&s->sub);
    if (was_up && s->subscriber.on_down != NULL)
        s->subscriber.on_down(s->subscriber.arg, reason);
}

/* Where the server is now. */
static void subscription_move(struct redis_subscription *s)
{
    const struct redis *r = s->redis;
    const struct redis_node *n = redis_find(r, s->subscriber.channels[0]);
    if (n == NULL || (s->sub != NULL && strcmp(s->server, redis_node_server(n)) == 0))
        return;
    subscription_leave(s, "the server is another one now");
    snprintf(s->server, sizeof s->server, "%s", redis_node_server(n));
    const struct redis_sub_settings sub = {
        .login = r->settings.login,
        .channels = s->subscriber.channels,
        .channel_count = s->subscriber.channel_count,
        .timeout_ms = REDIS_SUB_TIMEOUT_MS,
        .connect_timeout_ms = r->settings.limits.connect_timeout_ms,
        .on_message = s->subscriber.on_message,
        .on_up = s->subscriber.on_up,
        .on_down = s->subscriber.on_down,
        .on_refused = s->subscriber.on_refused,
        .arg = s->subscriber.arg,
    };
    s->sub = redis_sub_open(r->worker, slice_str(s->server), &sub);
}

struct redis_subscription *redis_subscribe(struct redis *r, const struct redis_subscriber *subscriber)
{
    CHECK_MAGIC(r, REDIS_MAGIC);
    struct redis_subscription *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->magic = REDIS_SUBSCRIPTION_MAGIC;
    s->redis = r;
    s->subscriber = *subscriber;
    list_push_back(&r->subscriptions, &s->node);
    subscription_move(s);
    return s;
}

void redis_unsubscribe(struct redis_subscription **sp)
{
    struct redis_subscription *s = *sp;
    *sp = NULL;
    if (s == NULL)
        return;
    CHECK_MAGIC(s, REDIS_SUBSCRIPTION_MAGIC);
    redis_sub_close(&s->sub);
    list_remove(&s->node);
    s->magic = 0;
    worker_bury(s->redis->worker, &s->grave, free, s);
}

/* ---- life ---- */

static void redis_on_up(void *arg, const char *server)
{
    const struct redis *r = arg;
    if (r->settings.on_up != NULL)
        r->settings.on_up(r->settings.arg, server);
}

static void redis_on_down(void *arg, const char *server, const char *reason)
{
    const struct redis *r = arg;
    if (r->settings.on_down != NULL)
        r->settings.on_down(r->settings.arg, server, reason);
}

static void redis_on_moved(void *arg)
{
    struct redis *r = arg;
    LIST_FOREACH (n, &r->subscriptions) {
        subscription_move(CONTAINER_OF(n, struct redis_subscription, node));
    }
}

static void redis_on_node_up(void *arg)
{
    redis_on_up(arg, redis_node_server(((struct redis *)arg)->node));
}

static void redis_on_node_down(void *arg, const char *reason)
{
    redis_on_down(arg, redis_node_server(((struct redis *)arg)->node), reason);
}

static bool redis_open_standalone(struct redis *r)
{
    const struct redis_node_settings n = {
        .limits = r->settings.limits,
        .login = r->settings.login,
        .on_up = redis_on_node_up,
        .on_down = redis_on_node_down,
        .arg = r,
    };
    ASSERT(r->settings.server_count == 1);
    r->node = redis_node_open(r->worker, r->settings.servers[0], &n);
    return r->node != NULL;
}

static bool redis_open_sentinel(struct redis *r)
{
    const struct redis_sentinel_settings s = {
        .sentinels = r->settings.servers,
        .sentinel_count = r->settings.server_count,
        .master_name = r->settings.sentinel_name,
        .sentinel_login = r->settings.sentinel_login,
        .login = r->settings.login,
        .limits = r->settings.limits,
        .on_up = redis_on_up,
        .on_down = redis_on_down,
        .on_moved = redis_on_moved,
        .arg = r,
    };
    r->sentinel = redis_sentinel_open(r->worker, &s);
    return r->sentinel != NULL;
}

static bool redis_open_cluster(struct redis *r)
{
    const struct redis_cluster_settings c = {
        .seeds = r->settings.servers,
        .seed_count = r->settings.server_count,
        .login = r->settings.login,
        .limits = r->settings.limits,
        .on_up = redis_on_up,
        .on_down = redis_on_down,
        .on_moved = redis_on_moved,
        .arg = r,
    };
    r->cluster = redis_cluster_open(r->worker, &c);
    return r->cluster != NULL;
}

struct redis *redis_open(struct worker *w, const struct redis_settings *s)
{
    static bool (*const open[])(struct redis *) = {
        [REDIS_STANDALONE] = redis_open_standalone,
        [REDIS_SENTINEL] = redis_open_sentinel,
        [REDIS_CLUSTER] = redis_open_cluster,
    };
    struct redis *r = calloc(1, sizeof *r);
    if (r == NULL)
        return NULL;
    r->magic = REDIS_MAGIC;
    r->worker = w;
    r->settings = *s;
    list_init(&r->subscriptions);
    if (open[s->mode](r))
        return r;
    free(r);
    return NULL;
}

void redis_close(struct redis **rp)
{
    struct redis *r = *rp;
    if (r == NULL)
        return;
    CHECK_MAGIC(r, REDIS_MAGIC);
    ASSERT(list_empty(&r->subscriptions));
    r->settings.on_up = NULL;
    r->settings.on_down = NULL;
    redis_node_close(&r->node);
    redis_sentinel_close(&r->sentinel);
    redis_cluster_close(&r->cluster);
    *rp = NULL;
    r->magic = 0;
    worker_bury(r->worker, &r->grave, free, r);
}

/* ---- calls ---- */

bool redis_call(struct redis *r, struct redis_call *call, slice_t key, const slice_t *argv, size_t argc)
{
    CHECK_MAGIC(r, REDIS_MAGIC);
    struct redis_node *n = redis_find(r, key);
    if (n == NULL) {
        r->refused_unknown++;
        if (r->worker->metrics != NULL)
            metrics_add(r->worker->metrics, METRIC_REDIS_REFUSED, 1);
        return false;
    }
    return redis_node_call(n, call, argv, argc);
}

bool redis_call_behind(struct redis *r, struct redis_call *call, const struct redis_call *first, slice_t key,
                       const slice_t *argv, size_t argc)
{
    CHECK_MAGIC(r, REDIS_MAGIC);
    struct redis_node *n = redis_find(r, key);
    return n != NULL && redis_node_call_behind(n, call, first, argv, argc);
}

bool redis_is_up(const struct redis *r, slice_t key)
{
    const struct redis_node *n = redis_find(r, key);
    return n != NULL && redis_node_is_up(n);
}

/* ---- figures ---- */

static const struct redis_node *redis_server_at(const struct redis *r, size_t i)
{
    if (r->settings.mode == REDIS_CLUSTER)
        return redis_cluster_server(r->cluster, i);
    return i == 0 ? redis_find(r, SLICE_EMPTY) : NULL;
}

bool redis_get_server_figures(const struct redis *r, size_t i, struct redis_node_figures *out)
{
    const struct redis_node *n = redis_server_at(r, i);
    if (n != NULL)
        *out = redis_node_get_figures(n);
    return n != NULL;
}

bool redis_get_guide_figures(const struct redis *r, size_t i, struct redis_node_figures *out)
{
    const struct redis_node *n = NULL;
    if (r->settings.mode == REDIS_SENTINEL)
        n = redis_sentinel_watcher(r->sentinel, i);
    else if (r->settings.mode == REDIS_CLUSTER)
        n = redis_cluster_seed(r->cluster, i);
    if (n != NULL)
        *out = redis_node_get_figures(n);
    return n != NULL;
}

struct redis_figures redis_get_figures(const struct redis *r)
{
    struct redis_figures f = {.refused_unknown = r->refused_unknown, .trouble = ""};
    while (redis_server_at(r, f.servers) != NULL)
        f.servers++;
    if (r->settings.mode == REDIS_SENTINEL) {
        struct redis_sentinel_figures s = redis_sentinel_get_figures(r->sentinel);
        f.moves = s.moves;
        f.demotions = s.demotions;
        f.trouble = s.trouble;
    } else if (r->settings.mode == REDIS_CLUSTER) {
        struct redis_cluster_figures c = redis_cluster_get_figures(r->cluster);
        f.refreshes = c.refreshes;
        f.redirects = c.redirects;
        f.slots = c.covered;
        f.trouble = c.trouble;
    }
    return f;
}
