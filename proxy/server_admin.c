/* server_admin.c: what the admin side may ask of the proxy. Control thread. */
#include <stdlib.h>
#include <unistd.h>

#include "admin/admin.h"
#include "core/log.h"
#include "proxy/explain.h"
#include "proxy/heir.h"
#include "proxy/purge_share.h"
#include "proxy/redis_watch.h"
#include "proxy/server.h"
#include "proxy/server_upgrade.h"
#include "proxy/snapshot.h"
#include "proxy/split.h"
#include "proxy/url_key.h"

static struct cache *ops_cache(void *arg)
{
    return ((struct server *)arg)->cache;
}

static struct balancer *ops_balancer(void *arg)
{
    return ((struct server *)arg)->balancer;
}

static struct config *ops_config(void *arg)
{
    return ((struct server *)arg)->snapshot->config;
}

static bool ops_reload(void *arg, json_t **problems)
{
    return server_reload(arg, problems);
}

static void ops_stop(void *arg)
{
    log_info("asked to stop over the admin socket");
    server_drain(arg);
}

static bool ops_upgrade(void *arg, const char *who, const struct admin_reply *reply, const char **error,
                        const char **hint)
{
    return upgrade_begin(arg, who, reply, error, hint);
}

static int ops_inherit(void *arg, const struct net_addr *addr)
{
    size_t count;
    int *fds = heir_take(((struct server *)arg)->heir, addr, "", &count), fd = -1;
    for (size_t i = 0; fds != NULL && i < count; i++) {
        if (i == 0)
            fd = fds[i];
        else
            close(fds[i]);
    }
    free(fds);
    return fd;
}

size_t server_url_keys(void *arg, const struct cache_url *url, struct arena *arena, slice_t **texts)
{
    return proxy_url_key_texts(((struct server *)arg)->snapshot, url, arena, texts);
}

static const char *ops_purge_fate(void *arg, const struct cache_purge_result *r)
{
    return purge_share_fate(((struct server *)arg)->purge_share, r);
}

static void ops_status(void *arg, json_t *into)
{
    static const char *const names[] = {"starting", "running", "draining", "stopped"};
    struct server *s = arg;
    char text[NET_ADDR_TEXT];
    json_object_set_new(into, "state", json_string(names[s->state]));
    json_object_set_new(into, "connections_limit",
                        json_integer((json_int_t)atomic_load(&s->admission.max_total)));
    json_t *list = json_array();
    for (size_t i = 0; i < s->listener_count; i++) {
        net_addr_format(&s->listeners[i].bound, text);
        json_array_append_new(list, json_string(text));
    }
    json_object_set_new(into, "listeners", list);
    json_object_set_new(into, "tls", server_tls_status(s));
    json_object_set_new(into, "tls_pools", server_tls_pools_status(s));
    json_object_set_new(into, "redis", redis_watch_status(s->redis_watch));
    json_object_set_new(into, "splits", split_status(s->snapshot));
    json_object_set_new(into, "purges", purge_share_status(s->purge_share));
    json_object_set_new(into, "upgrade", upgrade_status(s));
    json_t *config = json_object_get(into, "config");
    if (!s->reload_tried || config == NULL)
        return;
    json_t *last = json_object();
    json_object_set_new(last, "ok", json_boolean(s->reload_ok));
    json_object_set_new(last, "at_ms", json_integer(s->reload_at_ms));
    json_object_set_new(last, "problems",
                        s->reload_problems != NULL ? json_copy(s->reload_problems) : json_array());
    json_object_set_new(config, "last_reload", last);
}

static json_t *ops_resume(void *arg, const char *route, const char *who)
{
    const struct server *s = arg;
    size_t i;
    json_t *split, *found = NULL;
    if (!split_start(s->snapshot, route, who))
        return NULL;
    json_t *list = split_status(s->snapshot);
    json_array_foreach(list, i, split)
    {
        if (strcmp(json_string_value(json_object_get(split, "route")), route) == 0)
            found = json_incref(split);
    }
    json_decref(list);
    return found;
}

static bool ops_explain(void *arg, const struct admin_question *q, const struct admin_reply *reply,
                        const char **error, const char **hint)
{
    const struct server *s = arg;
    json_t *purges = purge_share_status(s->purge_share);
    const char *trouble = json_string_value(json_object_get(purges, "trouble"));
    const struct explain_place place = {
        .snapshot = s->snapshot,
        .cache = s->cache,
        .has_redis = s->redis_link != NULL,
        .is_shared = s->purge_share != NULL,
        .is_alone = s->snapshot->config->cache.store == CONFIG_STORE_REDIS,
        .control = s->control,
        .worker = s->state == SERVER_RUNNING ? s->workers[0].proxy : NULL,
        .trouble = trouble != NULL ? trouble : "",
    };
    const bool ok = explain_question(&place, q, reply, error, hint);
    json_decref(purges);
    return ok;
}

struct admin *server_admin_create(struct server *s, char *err, size_t err_bytes)
{
    const struct admin_ops ops = {.arg = s,
                                  .cache = ops_cache,
                                  .balancer = ops_balancer,
                                  .config = ops_config,
                                  .reload = ops_reload,
                                  .stop = ops_stop,
                                  .upgrade = ops_upgrade,
                                  .inherit = ops_inherit,
                                  .change_servers = server_change_servers,
                                  .url_keys = server_url_keys,
                                  .purge_fate = ops_purge_fate,
                                  .status = ops_status,
                                  .resume = ops_resume,
                                  .explain = ops_explain};
    return admin_create(s->control, &ops, s->snapshot->config, err, err_bytes);
}
