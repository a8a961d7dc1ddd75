/* status.c: see status.h.
 *
 * Keys say their unit and stay stable: scripts read them. Counters come under the names of
 * core/metrics_tbl.h, so a figure has one name here and on the metrics page. Latencies are summed per route
 * from the series of all workers. json_object_set_new takes NULL (out of memory) as a failure and goes on, so
 * a build that ran short is merely incomplete and needs no check behind every line. */
#include "admin/status.h"

#include "admin/events.h"
#include "admin/recent.h"

#include <stdlib.h>
#include <unistd.h>

#include "admin/json_put.h"
#include "cache/purge_request.h"
#include "cache/purge_stats.h"
#include "core/lock.h"
#include "core/log.h"
#include "core/metrics.h"

#define EVENTS_SHOWN 5

static void put_ms(json_t *o, const char *key, uint64_t us)
{
    json_object_set_new(o, key, json_real((double)us / 1000.0));
}

/* ---- latency ---- */

struct route_sum {
    uint16_t route;
    uint64_t by_verdict[VERDICT_COUNT], by_reason[NO_STORE_SAID_COUNT], by_status[METRICS_STATUS_CLASSES];
    struct histogram latency;
};

struct latency_sum { /* lives during one build */
    struct route_sum *all;
    struct route_sum **routes;
    size_t route_count;
    uint64_t by_verdict[VERDICT_COUNT];
    struct recent_sum *recent; /* in the same walk */
};

static struct route_sum *route_sum_find(struct latency_sum *l, uint16_t route)
{
    for (size_t i = l->route_count; i > 0; i--) { /* most often the last: series come by route */
        if (l->routes[i - 1]->route == route)
            return l->routes[i - 1];
    }
    struct route_sum **grown = realloc(l->routes, (l->route_count + 1) * sizeof *grown);
    if (grown == NULL)
        return NULL;
    l->routes = grown;
    struct route_sum *r = calloc(1, sizeof *r);
    if (r == NULL)
        return NULL;
    r->route = route;
    l->routes[l->route_count++] = r;
    return r;
}

static void latency_on_series(void *arg, const struct metrics_series *s)
{
    struct latency_sum *l = arg;
    admin_recent_add(l->recent, s);
    uint64_t count = atomic_load_explicit(&s->latency.count, memory_order_relaxed);
    if (s->verdict < VERDICT_COUNT)
        l->by_verdict[s->verdict] += count;
    struct route_sum *r = route_sum_find(l, s->route);
    if (r == NULL)
        return;
    histogram_add(&r->latency, &s->latency);
    for (unsigned i = 0; i < METRICS_STATUS_CLASSES; i++)
        r->by_status[i] += atomic_load_explicit(&s->by_status[i], memory_order_relaxed);
    r->by_verdict[s->verdict] += count;
    for (unsigned i = 0; i < NO_STORE_SAID_COUNT; i++)
        r->by_reason[i] += atomic_load_explicit(&s->by_reason[i], memory_order_relaxed);
}

/* A series has one route, so all is the sum of the routes. */
static void latency_sum_up(struct latency_sum *l)
{
    metrics_each_series(latency_on_series, l);
    l->all = calloc(1, sizeof *l->all);
    for (size_t r = 0; l->all != NULL && r < l->route_count; r++) {
        histogram_add(&l->all->latency, &l->routes[r]->latency);
        for (unsigned i = 0; i < METRICS_STATUS_CLASSES; i++)
            l->all->by_status[i] += l->routes[r]->by_status[i];
    }
}

static void latency_free(struct latency_sum *l)
{
    for (size_t i = 0; i < l->route_count; i++)
        free(l->routes[i]);
    free(l->routes);
    free(l->all);
}

json_t *admin_figures_build(const struct histogram *h, const uint64_t by_status[METRICS_STATUS_CLASSES])
{
    json_t *o = json_object(), *statuses = json_object();
    for (unsigned i = 0; i < METRICS_STATUS_CLASSES; i++) {
        const char name[] = {(char)('0' + i), 'x', 'x', '\0'};
        if (by_status[i] > 0)
            admin_put_int(statuses, name, by_status[i]);
    }
    admin_put_int(o, "count", h->count);
    json_object_set_new(o, "statuses", statuses);
    put_ms(o, "p50_ms", histogram_quantile_us(h, 0.5));
    put_ms(o, "p95_ms", histogram_quantile_us(h, 0.95));
    put_ms(o, "p99_ms", histogram_quantile_us(h, 0.99));
    put_ms(o, "p999_ms", histogram_quantile_us(h, 0.999));
    put_ms(o, "max_ms", h->max_us);
    return o;
}

static json_t *latencies_build(const struct latency_sum *l)
{
    json_t *o = l->all != NULL ? admin_figures_build(&l->all->latency, l->all->by_status) : json_object();
    json_t *routes = json_array();
    for (size_t i = 0; i < l->route_count; i++) {
        json_t *r = admin_figures_build(&l->routes[i]->latency, l->routes[i]->by_status);
        slice_t name = metrics_label_name(l->routes[i]->route);
        json_object_set_new(r, "route", json_stringn(name.ptr, name.len));
        json_array_append_new(routes, r);
    }
    json_object_set_new(o, "routes", routes);
    return o;
}

/* What the cache did with the requests of each route: verdicts, and for all but hits (and none) one reason
 * each, so that both add up. Zeroes are left out. */
static json_t *routes_build(const struct latency_sum *l)
{
    json_t *routes = json_array();
    for (size_t i = 0; i < l->route_count; i++) {
        const struct route_sum *sum = l->routes[i];
        json_t *r = json_object(), *verdicts = json_object(), *reasons = json_object();
        slice_t name = metrics_label_name(sum->route);
        for (unsigned v = 0; v < VERDICT_COUNT; v++) {
            if (sum->by_verdict[v] > 0)
                admin_put_int(verdicts, outcome_verdict_name((enum cache_verdict)v), sum->by_verdict[v]);
        }
        for (unsigned v = 0; v < NO_STORE_SAID_COUNT; v++) {
            if (sum->by_reason[v] > 0)
                admin_put_int(reasons, outcome_no_store_name((enum no_store_reason)v), sum->by_reason[v]);
        }
        json_object_set_new(r, "route", json_stringn(name.ptr, name.len));
        json_object_set_new(r, "verdicts", verdicts);
        json_object_set_new(r, "reasons", reasons);
        json_array_append_new(routes, r);
    }
    return routes;
}

/* ---- cache ---- */

/* Ids are texts: they are larger than what all readers of JSON take for a number. */
static void put_id(json_t *o, const char *key, uint64_t id)
{
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)id);
    admin_put_text(o, key, text);
}

static json_t *purge_log_build(struct cache *c)
{
    struct cache_purge_stats s;
    cache_purge_get_stats(c, &s);
    json_t *o = json_object(), *last = json_object();
    admin_put_int(o, "events", s.events);
    put_id(o, "last_id", s.last_id);
    if (s.last_id > 0)
        admin_put_int(o, "last_ms", (uint64_t)s.last_ms);
    for (unsigned k = 0; k < CACHE_PURGE_KINDS; k++) {
        if (s.last[k] > 0)
            put_id(last, outcome_purge_kind_name(cache_purge_kind_of((enum cache_purge_kind)k)), s.last[k]);
    }
    json_object_set_new(o, "last_id_of_kind", last);
    put_id(o, "swept_id", s.swept_id);
    admin_put_int(o, "entries", s.entries);
    admin_put_int(o, "entries_limit", s.entries_limit);
    admin_put_int(o, "patterns", s.patterns);
    admin_put_int(o, "patterns_limit", s.patterns_limit);
    admin_put_int(o, "overflows", s.overflows);
    return o;
}

/* Null when `c` is NULL (store = off). */
static json_t *cache_build(struct cache *c)
{
    if (c == NULL)
        return json_null();
    struct cache_stats s;
    cache_get_stats(c, &s);
    json_t *o = json_object();
    admin_put_int(o, "objects", s.objects);
    admin_put_int(o, "bytes_used", s.bytes_used);
    admin_put_int(o, "bytes_limit", s.bytes_limit);
    admin_put_int(o, "inserts", s.inserts);
    admin_put_int(o, "evictions", s.evictions);
    admin_put_int(o, "purges", s.purges);
    admin_put_int(o, "flights_now", s.flights_now);
    admin_put_int(o, "followers_now", s.followers_now);
    admin_put_int(o, "live_objects", s.live_objects);
    json_object_set_new(o, "purge_log", purge_log_build(c));
    return o;
}

/* Of the requests that were looked up: how many needed no whole answer from an instance of their own. */
static void cache_add_ratio(json_t *cache, const struct latency_sum *l)
{
    json_t *verdicts = json_object();
    uint64_t looked_up = 0, answered = 0;
    for (int v = 0; v < VERDICT_COUNT; v++) {
        admin_put_int(verdicts, outcome_verdict_name((enum cache_verdict)v), l->by_verdict[v]);
        if (v != VERDICT_NONE && v != VERDICT_PASS && v != VERDICT_LIMITED && v != VERDICT_UNAUTHORIZED)
            looked_up += l->by_verdict[v];
        if (v == VERDICT_HIT || v == VERDICT_REDIS || v == VERDICT_REVALIDATED || v == VERDICT_STALE ||
            v == VERDICT_COLLAPSED)
            answered += l->by_verdict[v];
    }
    json_object_set_new(cache, "verdicts", verdicts);
    json_object_set_new(cache, "hit_ratio",
                        looked_up > 0 ? json_real((double)answered / (double)looked_up) : json_null());
}

/* ---- pools ---- */

static json_t *pool_of(json_t *pools, const struct instance_info *info)
{
    size_t i;
    json_t *pool;
    json_array_foreach(pools, i, pool)
    {
        if (strcmp(json_string_value(json_object_get(pool, "name")), info->pool) == 0)
            return pool;
    }
    pool = json_object();
    admin_put_text(pool, "name", info->pool);
    admin_put_text(pool, "balance", info->balance);
    if (info->sticky_cookie[0] != '\0')
        admin_put_text(pool, "sticky_cookie", info->sticky_cookie);
    admin_put_int(pool, "waiting", info->waiting);
    json_object_set_new(pool, "instances", json_array());
    return json_array_append_new(pools, pool) == 0 ? pool : NULL;
}

static void pools_on_instance(void *arg, const struct instance_info *info)
{
    json_t *pool = pool_of(arg, info);
    json_t *o = json_object();
    admin_put_text(o, "name", info->name);
    admin_put_text(o, "server", info->server);
    admin_put_text(o, "address", info->address);
    admin_put_text(o, "state", instance_state_name(info->state));
    admin_put_text(o, "reason", info->reason);
    admin_put_int(o, "since_ms", (uint64_t)info->since_ms);
    admin_put_int(o, "weight", (uint64_t)info->weight);
    admin_put_int(o, "configured_weight", (uint64_t)info->configured_weight);
    json_object_set_new(o, "backup", json_boolean(info->backup));
    json_object_set_new(o, "added", json_boolean(info->added));
    admin_put_int(o, "share_percent", info->share_percent);
    admin_put_text(o, "spared", info->spared);
    admin_put_int(o, "ejections", info->ejections);
    admin_put_int(o, "in_flight", info->in_flight);
    if (info->leaving > 0)
        admin_put_int(o, "leaving", info->leaving);
    admin_put_int(o, "max_connections", (uint64_t)info->max_connections);
    if (info->idle_ms > 0) {
        admin_put_int(o, "idle_limit_ms", (uint64_t)info->idle_ms);
        admin_put_text(o, "idle_limit_from", info->idle_from);
    }
    admin_put_int(o, "requests", info->requests);
    admin_put_int(o, "failures", info->failures);
    admin_put_int(o, "probes_ok", info->probes_ok);
    admin_put_int(o, "probes_failed", info->probes_failed);
    json_array_append_new(json_object_get(pool, "instances"), o);
}

json_t *admin_pools_build(struct balancer *b)
{
    json_t *pools = json_array();
    if (b != NULL)
        balancer_each_instance(b, pools_on_instance, pools);
    return pools;
}

/* ---- all ---- */

static json_t *counters_build(void)
{
    json_t *o = json_object();
    for (int id = 0; id < METRIC_COUNT; id++)
        admin_put_int(o, metrics_info((enum metric_id)id)->name, metrics_total((enum metric_id)id));
    return o;
}

static json_t *reasons_build(void)
{
    json_t *o = json_object();
    for (unsigned k = 0; k < METRICS_REASON_KINDS; k++) {
        enum metrics_reason_kind kind = (enum metrics_reason_kind)k;
        const struct metrics_reason_info *info = metrics_reason_info(kind);
        json_t *by_reason = json_object();
        for (unsigned reason = 1; reason < info->count; reason++) {
            const uint64_t total = metrics_reason_total(kind, reason);
            if (metrics_reason_is_listed(kind, reason, total))
                admin_put_int(by_reason, metrics_reason_name(kind, reason), total);
        }
        json_object_set_new(o, info->name, by_reason);
    }
    return o;
}

static json_t *locks_build(void)
{
    json_t *o = json_object();
    for (int i = 0; i < LOCK_RANKS; i++) {
        enum lock_rank rank = (enum lock_rank)i;
        json_t *lock = json_object();
        admin_put_int(lock, "takes", lock_taken(rank));
        admin_put_int(lock, "waits", lock_contended(rank));
        json_object_set_new(o, lock_rank_name(rank), lock);
    }
    return o;
}

static json_t *doors_build(struct admin *a)
{
    char text[NET_ADDR_TEXT];
    json_t *o = json_object();
    admin_put_text(o, "socket", a->socket);
    if (a->address_door != NULL) {
        admin_put_text(o, "address", net_addr_format(&a->address_door->bound, text).ptr);
        json_object_set_new(o, "read_open", json_boolean(admin_auth_read_open(a->auth)));
        json_object_set_new(o, "metrics_open", json_boolean(admin_auth_metrics_open(a->auth)));
        if (admin_auth_token_file(a->auth)[0] != '\0')
            admin_put_text(o, "token_file", admin_auth_token_file(a->auth));
    }
    return o;
}

json_t *admin_status_build(struct admin *a)
{
    const struct config *c = a->ops.config(a->ops.arg);
    json_t *o = json_object(), *config = json_object();
    admin_put_text(o, "version", MILLPOND_VERSION);
    admin_put_int(o, "pid", (uint64_t)getpid());
    admin_put_int(o, "uptime_s", (uint64_t)(clock_mono_ms() - a->started_ms) / 1000);
    admin_put_text(config, "path", c->path);
    admin_put_int(config, "generation", c->generation);
    json_object_set_new(o, "config", config);
    admin_put_int(o, "workers", (uint64_t)c->main.workers);
    admin_put_int(o, "connections", metrics_total(METRIC_CLIENT_OPEN));
    admin_put_int(o, "requests", metrics_total(METRIC_REQUESTS));
    json_object_set_new(o, "counters", counters_build());
    admin_put_int(o, "log_lines_dropped", log_lines_dropped());
    json_object_set_new(o, "reasons", reasons_build());
    json_object_set_new(o, "locks", locks_build()); /* before those that this reading takes itself */

    struct latency_sum l = {.recent = admin_recent_begin(a->recent, clock_mono_ms())};
    latency_sum_up(&l);
    json_object_set_new(o, "latency", latencies_build(&l));
    json_object_set_new(o, "recent", admin_recent_end(a->recent, &l.recent));
    json_object_set_new(o, "routes", routes_build(&l));
    json_t *cache = cache_build(a->ops.cache(a->ops.arg));
    if (json_is_object(cache))
        cache_add_ratio(cache, &l);
    json_object_set_new(o, "cache", cache);
    latency_free(&l);

    json_object_set_new(o, "pools", admin_pools_build(a->ops.balancer(a->ops.arg)));
    json_object_set_new(o, "events", admin_events_build(EVENTS_SHOWN));
    json_object_set_new(o, "admin", doors_build(a));
    a->ops.status(a->ops.arg, o);
    return o;
}
