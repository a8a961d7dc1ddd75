/* snapshot.c: see snapshot.h. */
#include "proxy/snapshot.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/metrics.h"
#include "core/panic.h"
#include "core/quantile.h"
#include "proxy/auth_file.h"
#include "proxy/calm_page.h"
#include "proxy/split.h"
#include "proxy/tls_site.h"

#define NS_PER_S 1000000000LL

static void snapshot_free(struct snapshot *s)
{
    if (s->balancers != NULL)
        balancer_set_unref(s->balancers);
    access_format_free(s->access_format);
    tls_sites_free(s->tls, s->config->listen_count);
    config_unref(s->config);
    for (size_t i = 0; i < s->canary_count; i++)
        free(s->canaries[i].heads);
    for (size_t i = 0; i < s->route_count; i++) {
        split_unref(s->routes[i].split);
        calm_page_free(s->routes[i].calm);
        auth_file_free(s->routes[i].auth);
        free(s->routes[i].heads);
    }
    free(s->routes);
    free(s->canaries);
    free(s->mirrors);
    free(s);
}

/* The buckets of a limit that a reload leaves as it is stay in use, since its id stays the same. */
static void snapshot_build_limit(struct route *route)
{
    const struct config_rate_limit *l = &route->config->rate_limit;
    if (l->amount == 0)
        return;
    route->rate.step_ns = MAX((l->per_s * NS_PER_S + l->amount / 2) / l->amount, 1);
    route->rate.room_ns = route->rate.step_ns * MAX(l->burst, 1);
    const slice_t name = slice_str(route->config->name), header = slice_str(l->header);
    const struct {
        hash128_t name, header;
        struct rate_limit rate;
    } parts = {hash_bytes(name.ptr, name.len), hash_bytes(header.ptr, header.len), route->rate};
    route->limit_id = hash_bytes(&parts, sizeof parts);
}

static void snapshot_set_pool(struct snapshot *s, struct route *route, int pool_index)
{
    const struct config_route *r = route->config;
    route->pool = pool_index < 0 ? NULL : balancer_set_pool(s->balancers, (size_t)pool_index);
    const struct config_pool *pool = pool_index < 0 ? NULL : pool_config(route->pool);
    route->has_affinity =
        pool != NULL && (pool->balance == CONFIG_BALANCE_HASH || pool->sticky_cookie[0] != '\0');
    route->limits_pool = pool != NULL && pool_is_limited(route->pool);
    route->times_pool = pool != NULL && pool_is_timed(route->pool);
    route->http2_pool = pool != NULL && pool->protocol == CONFIG_UPSTREAM_H2;
    route->is_plain = r->allow.count == 0 && r->deny.count == 0 && r->rate_limit.amount == 0 &&
                      r->redirect_status == 0 && r->respond_status == 0 && !route->has_affinity &&
                      r->split.text[0] == '\0' && r->basic_auth[0] == '\0' && r->root[0] == '\0';
}

/* Of a route that is ready otherwise, but for its split, whose sides have it as well. */
static void snapshot_build_mirror(struct snapshot *s, struct route *route)
{
    if (route->config->mirror < 0 || route->pool == NULL)
        return;
    struct route *mirror = &s->mirrors[s->mirror_count++];
    *mirror = *route;
    snapshot_set_pool(s, mirror, route->config->mirror);
    mirror->has_affinity = false;
    route->mirror = mirror;
}

/* Each side has times of its own, and does not see what pins visitors to the other one. */
static bool snapshot_tell_apart(struct route *route, struct route *canary)
{
    const char *stable_cookie = pool_config(route->pool)->sticky_cookie,
               *canary_cookie = pool_config(canary->pool)->sticky_cookie;
    canary->heads = NULL;
    if (route->heads != NULL && (canary->heads = calloc(1, sizeof *canary->heads)) == NULL)
        return false;
    if (strcmp(stable_cookie, canary_cookie) == 0)
        return true;
    route->other_cookie = canary_cookie[0] != '\0' ? canary_cookie : NULL;
    canary->other_cookie = stable_cookie[0] != '\0' ? stable_cookie : NULL;
    return true;
}

/* Of a route that is split, and ready otherwise. */
static bool snapshot_build_split(struct snapshot *s, struct route *route)
{
    const struct config_split *split = &route->config->split;
    struct route *canary = &s->canaries[s->canary_count];
    if (split->text[0] == '\0')
        return true;
    route->split = split_new();
    if (route->split == NULL)
        return false;
    *canary = *route;
    canary->stable = route;
    snapshot_set_pool(s, canary, split->pools[1]);
    cache_key_rules_make_canary(route->config, s->config->pools[split->pools[1]].name, &canary->rules.key);
    route->canary = canary;
    s->canary_count++;
    return snapshot_tell_apart(route, canary);
}

void snapshot_keep_splits(struct snapshot *s, const struct snapshot *from)
{
    for (size_t i = 0; i < s->canary_count; i++) {
        struct route *canary = &s->canaries[i], *route = &s->routes[canary->stable - s->routes];
        for (size_t k = 0; k < from->canary_count; k++) {
            const struct route *old = &from->canaries[k];
            if (strcmp(route->config->name, old->config->name) != 0 ||
                strcmp(route->config->split.text, old->config->split.text) != 0)
                continue;
            split_unref(route->split);
            route->split = canary->split = split_ref(old->split);
        }
    }
}

static bool snapshot_tells_user(const struct config_route *r)
{
    for (size_t i = 0; i < r->request_edit_count; i++) {
        if (r->request_edits[i].value != NULL && strstr(r->request_edits[i].value, "$remote_user") != NULL)
            return true;
    }
    return false;
}

static bool snapshot_build_routes(struct snapshot *s)
{
    const struct config *c = s->config;
    s->routes = calloc(c->route_count, sizeof *s->routes);
    s->canaries = calloc(c->route_count, sizeof *s->canaries);
    s->mirrors = calloc(c->route_count, sizeof *s->mirrors);
    if (s->routes == NULL || s->canaries == NULL || s->mirrors == NULL)
        return false;
    s->route_count = c->route_count;
    for (size_t i = 0; i < c->route_count; i++) {
        const struct config_route *r = &c->routes[i];
        struct route *route = &s->routes[i];
        route->config = r;
        snapshot_set_pool(s, route, r->pool);
        s->allows_websocket |= r->websocket && r->pool >= 0;
        route->label = metrics_label(slice_str(r->name));
        route->always_matches =
            r->hosts.count == 0 && r->path_count == 0 && r->methods.count == 0 && r->header_count == 0;
        route->hedges = r->pool >= 0 && r->hedge_ms != 0;
        if (route->hedges && r->hedge_ms == CONFIG_HEDGE_P95 &&
            (route->heads = calloc(1, sizeof *route->heads)) == NULL)
            return false;
        route->guards_tries = r->timeout_ms > 0 || r->retry_idempotency_key;
        route->tells_user = snapshot_tells_user(r);
        route->edits_response = r->response_edit_count > 0 || r->browser_ttl_ms != CONFIG_TTL_UNSET;
        cache_rules_from_config(c, r, &route->rules);
        route->compresses = r->compress.count > 0;
        snapshot_build_limit(route);
        snapshot_build_mirror(s, route);
        if (!snapshot_build_split(s, route))
            return false;
    }
    return true;
}

static bool snapshot_load_pages(struct snapshot *s, char *err, size_t err_bytes)
{
    for (size_t i = 0; i < s->route_count; i++)
        if (!calm_page_load(s->config, s->routes[i].config, &s->routes[i].calm, err, err_bytes))
            return false;
    for (size_t i = 0; i < s->canary_count; i++)
        s->canaries[i].calm = s->canaries[i].stable->calm;
    return true;
}

struct first_problem {
    char *err;
    size_t err_bytes;
    bool any;
};

static void keep_first(void *arg, const char *text)
{
    struct first_problem *p = arg;
    if (!p->any)
        snprintf(p->err, p->err_bytes, "%s", text);
    p->any = true;
}

static bool snapshot_load_users(struct snapshot *s, char *err, size_t err_bytes)
{
    struct first_problem p = {err, err_bytes, false};
    for (size_t i = 0; i < s->route_count; i++)
        if (!auth_file_load(s->config, s->routes[i].config, &s->routes[i].auth, keep_first, &p))
            return false;
    for (size_t i = 0; i < s->canary_count; i++)
        s->canaries[i].auth = s->canaries[i].stable->auth;
    return true;
}

struct snapshot *snapshot_build(struct config *c, struct balancer *b, char *err, size_t err_bytes)
{
    struct snapshot *s = calloc(1, sizeof *s);
    if (s == NULL) {
        snprintf(err, err_bytes, "out of memory");
        return NULL;
    }
    atomic_init(&s->refs, 1);
    s->config = config_ref(c);
    s->slow_request_us = (uint64_t)c->log.slow_request_ms * 1000;
    if (strcmp(c->log.access, "off") != 0) {
        s->access_format = access_format_compile(c->log.access_format, err, err_bytes);
        if (s->access_format == NULL) {
            snapshot_free(s);
            return NULL;
        }
    }
    s->balancers = balancer_set_build(b, c, err, err_bytes);
    if (s->balancers == NULL) {
        snapshot_free(s);
        return NULL;
    }
    if (!snapshot_build_routes(s)) {
        snprintf(err, err_bytes, "out of memory");
        snapshot_free(s);
        return NULL;
    }
    if (!snapshot_load_pages(s, err, err_bytes) || !snapshot_load_users(s, err, err_bytes)) {
        snapshot_free(s);
        return NULL;
    }
    return s;
}

bool snapshot_load_tls(struct snapshot *s, struct tls_tickets *tickets, char *err, size_t err_bytes)
{
    return tls_sites_new(s->config, tickets, &s->tls, err, err_bytes);
}

struct tls_site *snapshot_tls(const struct snapshot *s, const struct config_listen *l)
{
    return s->tls != NULL ? s->tls[l - s->config->listens] : NULL;
}

struct snapshot *snapshot_ref(struct snapshot *s)
{
    uint32_t before = atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    ASSERT(before > 0);
    return s;
}

void snapshot_unref(struct snapshot *s)
{
    if (s != NULL && atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) == 1)
        snapshot_free(s);
}

struct snapshot_view *snapshot_view_new(struct snapshot *s)
{
    struct snapshot_view *v = aligned_alloc(CACHE_LINE, sizeof *v);
    if (v == NULL) {
        snapshot_unref(s);
        return NULL;
    }
    *v = (struct snapshot_view){s, 1};
    return v;
}

void snapshot_view_unref(struct snapshot_view *v)
{
    ASSERT(v->refs > 0);
    if (--v->refs > 0)
        return;
    snapshot_unref(v->shared);
    free(v);
}
