/* redis_link.c: see redis_link.h. */
#include "proxy/redis_link.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/redis_tls.h"

#define CONNECT_MIN_MS 1000

struct redis_link {
    struct config *config;
    struct ssl_ctx_st *tls; /* NULL = plain */
    struct redis_login login, sentinel_login;
    struct redis_settings settings;
    slice_t servers[];
};

_Static_assert((int)CONFIG_REDIS_STANDALONE == (int)REDIS_STANDALONE &&
                   (int)CONFIG_REDIS_SENTINEL == (int)REDIS_SENTINEL &&
                   (int)CONFIG_REDIS_CLUSTER == (int)REDIS_CLUSTER,
               "one order");

static bool link_load_tls(struct redis_link *l, char *err, size_t err_bytes)
{
    const struct config *c = l->config;
    char why[256];
    if (!c->redis.tls)
        return true;
    l->tls = redis_tls_new(c->redis.tls_ca, why, sizeof why);
    struct config_origin at = config_redis_origin(c, "tls_ca");
    if (l->tls == NULL)
        snprintf(err, err_bytes, "%s:%d: [redis] tls_ca: %s", at.file, at.line, why);
    return l->tls != NULL;
}

static struct redis_login link_login(const struct redis_link *l, const struct config_redis_login *login,
                                     unsigned database)
{
    return (struct redis_login){.tls = l->tls,
                                .username = slice_str(login->username),
                                .password = slice_str(login->password),
                                .database = database};
}

static void link_set(struct redis_link *l)
{
    const struct config_redis *r = &l->config->redis;
    for (size_t i = 0; i < r->servers.count; i++)
        l->servers[i] = slice_str(r->servers.items[i]);
    l->login = link_login(l, &r->login, r->database);
    l->sentinel_login = link_login(l, &r->sentinel_login, 0);
    l->settings = (struct redis_settings){
        .mode = (enum redis_mode)r->mode,
        .servers = l->servers,
        .server_count = r->servers.count,
        .login = &l->login,
        .sentinel_name = slice_str(r->sentinel_name),
        .sentinel_login = &l->sentinel_login,
        .limits = {.connections = (unsigned)r->connections,
                   .calls_max = (size_t)r->connections * REDIS_CALLS_MAX,
                   .timeout_ms = r->timeout_ms,
                   .connect_timeout_ms = MAX(10 * r->timeout_ms, CONNECT_MIN_MS)},
    };
}

struct redis_link *redis_link_new(struct config *c, char *err, size_t err_bytes)
{
    struct redis_link *l = calloc(1, sizeof *l + c->redis.servers.count * sizeof l->servers[0]);
    if (l == NULL) {
        snprintf(err, err_bytes, "out of memory");
        return NULL;
    }
    l->config = config_ref(c);
    if (!link_load_tls(l, err, err_bytes)) {
        redis_link_free(l);
        return NULL;
    }
    link_set(l);
    return l;
}

void redis_link_free(struct redis_link *l)
{
    if (l == NULL)
        return;
    redis_tls_free(l->tls);
    config_unref(l->config);
    free(l);
}

struct redis *redis_link_open(const struct redis_link *l, struct worker *w)
{
    return redis_open(w, &l->settings);
}

const struct redis_settings *redis_link_settings(const struct redis_link *l)
{
    return &l->settings;
}

slice_t redis_link_prefix(const struct redis_link *l)
{
    return slice_str(l->config->redis.prefix);
}
