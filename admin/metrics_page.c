/* metrics_page.c: see metrics_page.h. Prometheus wants all samples of a name together, so the instances are
 * collected once, in the form of /api/pools, and gone through per name. */
#include "admin/metrics_page.h"

#include "admin/status.h"
#include "cache/purge_stats.h"

static void write_value(struct prometheus_text *out, const char *name, const char *type, const char *help,
                        uint64_t value)
{
    prometheus_family(out, name, type, help);
    prometheus_sample(out, name, "", NULL, 0, (double)value);
}

static void write_purges(struct prometheus_text *out, struct cache *cache)
{
    struct cache_purge_stats s;
    cache_purge_get_stats(cache, &s);
    write_value(out, "millpond_purge_log_entries", "gauge",
                "Purged URLs, tags and hosts remembered one by one", s.entries);
    write_value(out, "millpond_purge_log_entries_limit", "gauge", "As many are at most", s.entries_limit);
    write_value(out, "millpond_purge_log_patterns", "gauge", "Purged prefixes and globs remembered",
                s.patterns);
    write_value(out, "millpond_purge_log_overflows_total", "counter",
                "Times the oldest events were given up for newer ones", s.overflows);
}

static void write_cache(struct prometheus_text *out, struct cache *cache)
{
    struct cache_stats s;
    if (cache == NULL)
        return;
    cache_get_stats(cache, &s);
    write_value(out, "millpond_cache_objects", "gauge", "Responses stored now", s.objects);
    write_value(out, "millpond_cache_bytes", "gauge", "Memory the cache uses, overhead included",
                s.bytes_used);
    write_value(out, "millpond_cache_limit_bytes", "gauge", "Memory the cache may use", s.bytes_limit);
    write_value(out, "millpond_cache_inserts_total", "counter", "Responses put into the cache", s.inserts);
    write_value(out, "millpond_cache_evictions_total", "counter", "Stored responses removed to make room",
                s.evictions);
    write_value(out, "millpond_cache_live_objects", "gauge", "Objects allocated and not yet freed",
                s.live_objects);
    write_value(out, "millpond_cache_flights", "gauge", "Fetches that requests may share, under way now",
                s.flights_now);
    write_value(out, "millpond_cache_followers", "gauge", "Requests that wait for or read such a fetch",
                s.followers_now);
    write_purges(out, cache);
}

static slice_t text_of(const json_t *o, const char *key)
{
    return slice_str(json_string_value(json_object_get(o, key)));
}

/* Calls `each` with every instance; labels hold pool and instance, with room for one more. */
static void each_instance(const json_t *pools,
                          void (*each)(void *arg, const json_t *i, struct prometheus_label labels[3]),
                          void *arg)
{
    size_t i, j;
    json_t *pool, *instance;
    json_array_foreach(pools, i, pool)
    {
        json_array_foreach(json_object_get(pool, "instances"), j, instance)
        {
            struct prometheus_label labels[3] = {{"pool", text_of(pool, "name")},
                                                 {"instance", text_of(instance, "name")}};
            each(arg, instance, labels);
        }
    }
}

#define UP_NAME    "millpond_instance_up"
#define STATE_NAME "millpond_instance_state"

/* Starting counts as up: requests go there until its probes say otherwise. */
static void write_up(void *arg, const json_t *instance, struct prometheus_label labels[3])
{
    slice_t state = text_of(instance, "state");
    bool up = slice_eq(state, slice_str(instance_state_name(INSTANCE_UP))) ||
              slice_eq(state, slice_str(instance_state_name(INSTANCE_STARTING)));
    prometheus_sample(arg, UP_NAME, "", labels, 2, up ? 1 : 0);
}

/* One sample per state, 1 for the one it is in: what a dashboard can sum and an alert can name. */
static void write_state(void *arg, const json_t *instance, struct prometheus_label labels[3])
{
    for (int s = 0; s < INSTANCE_STATE_COUNT; s++) {
        slice_t name = slice_str(instance_state_name((enum instance_state)s));
        labels[2] = (struct prometheus_label){"state", name};
        prometheus_sample(arg, STATE_NAME, "", labels, 3, slice_eq(text_of(instance, "state"), name) ? 1 : 0);
    }
}

struct instance_figure {
    struct prometheus_text *out;
    const char *key, *name, *type, *help;
};

static void write_figure(void *arg, const json_t *instance, struct prometheus_label labels[3])
{
    const struct instance_figure *f = arg;
    double value = (double)json_integer_value(json_object_get(instance, f->key));
    prometheus_sample(f->out, f->name, "", labels, 2, value);
}

static void write_instances(struct prometheus_text *out, const json_t *pools)
{
    struct instance_figure figures[] = {
        {out, "in_flight", "millpond_instance_requests_in_flight", "gauge",
         "Requests the instance is working on"},
        {out, "requests", "millpond_instance_requests_total", "counter", "Requests given to the instance"},
        {out, "failures", "millpond_instance_failures_total", "counter", "Requests the instance failed"},
        {out, "ejections", "millpond_instance_ejections_total", "counter",
         "Times the instance was left out for failing"},
        {out, "probes_ok", "millpond_instance_probes_ok_total", "counter", "Health probes that passed"},
        {out, "probes_failed", "millpond_instance_probes_failed_total", "counter",
         "Health probes that failed"},
    };
    prometheus_family(out, UP_NAME, "gauge", "1 while requests are given to the instance, else 0");
    each_instance(pools, write_up, out);
    prometheus_family(out, STATE_NAME, "gauge", "1 for the state the instance is in");
    each_instance(pools, write_state, out);
    for (size_t i = 0; i < ARRAY_LEN(figures); i++) {
        prometheus_family(out, figures[i].name, figures[i].type, figures[i].help);
        each_instance(pools, write_figure, &figures[i]);
    }
}

#define REDIS_UP_NAME "millpond_redis_up"

/* Down while no worker reaches it. */
static void write_redis(struct prometheus_text *out, const json_t *redis)
{
    size_t i;
    json_t *server;
    if (!json_is_object(redis))
        return;
    prometheus_family(out, REDIS_UP_NAME, "gauge",
                      "1 while the server (kind redis, sentinel or seed) is reached by any worker, else 0");
    json_array_foreach(json_object_get(redis, "servers"), i, server)
    {
        const struct prometheus_label labels[] = {{"server", text_of(server, "server")},
                                                  {"kind", text_of(server, "kind")}};
        bool up = json_integer_value(json_object_get(server, "workers_up")) > 0;
        prometheus_sample(out, REDIS_UP_NAME, "", labels, ARRAY_LEN(labels), up ? 1 : 0);
    }
}

/* Of listeners, or of pools that show one to their instances. */
static void write_certificates(struct prometheus_text *out, const json_t *sites, const char *owner,
                               const char *name, const char *help)
{
    size_t i, k, count = 0;
    json_t *site, *c;
    json_array_foreach(sites, i, site) count += json_array_size(json_object_get(site, "certificates"));
    if (count == 0)
        return;
    prometheus_family(out, name, "gauge", help);
    json_array_foreach(sites, i, site) json_array_foreach(json_object_get(site, "certificates"), k, c)
    {
        const struct prometheus_label labels[] = {{owner, text_of(site, owner)},
                                                  {"file", text_of(c, "file")}};
        prometheus_sample(out, name, "", labels, ARRAY_LEN(labels),
                          (double)(json_integer_value(json_object_get(c, "expires_at_ms")) / 1000));
    }
}

static void write_more(void *arg, struct prometheus_text *out)
{
    struct admin *a = arg;
    const struct config *c = a->ops.config(a->ops.arg);
    json_t *pools = admin_pools_build(a->ops.balancer(a->ops.arg));
    write_value(out, "millpond_config_generation", "gauge", "Configurations taken over since the start",
                c->generation);
    write_value(out, "millpond_workers", "gauge", "Worker threads", (uint64_t)c->main.workers);
    write_cache(out, a->ops.cache(a->ops.arg));
    write_instances(out, pools);
    json_decref(pools);
    json_t *proxy = json_object();
    a->ops.status(a->ops.arg, proxy);
    write_certificates(out, json_object_get(proxy, "tls"), "listen",
                       "millpond_tls_certificate_expires_timestamp_seconds",
                       "When a certificate in use expires, seconds since 1970");
    write_certificates(out, json_object_get(proxy, "tls_pools"), "pool",
                       "millpond_upstream_tls_certificate_expires_timestamp_seconds",
                       "When a certificate that instances are shown expires, seconds since 1970");
    write_redis(out, json_object_get(proxy, "redis"));
    json_decref(proxy);
}

bool admin_metrics_write(struct admin *a, struct evbuffer *out)
{
    return prometheus_write(out,
                            &(struct prometheus_page){MILLPOND_VERSION, a->started_wall_ms, write_more, a});
}
