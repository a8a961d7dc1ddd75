/* rules.c: the one place where the cache reads configuration. Control thread, once per snapshot and route;
 * the result lives as long as the snapshot, whose strings it points to. */
#include "cache/rules.h"

static bool gives_ttl(const struct config *c, const struct config_route *r)
{
    return c->cache.default_ttl_ms > 0 || r->ttl_ms != CACHE_TTL_UNSET || r->ttl_404_ms != CACHE_TTL_UNSET ||
           r->ttl_5xx_ms != CACHE_TTL_UNSET || r->min_ttl_ms != CACHE_TTL_UNSET;
}

static bool has_extension(const struct config_route *r)
{
    for (size_t i = 0; i < r->path_count; i++) {
        if (r->paths[i].match == CONFIG_PATH_SUFFIX)
            return true;
    }
    return false;
}

void cache_rules_from_config(const struct config *c, const struct config_route *r, struct cache_rules *out)
{
    bool bypass = r->cache == CONFIG_CACHE_BYPASS_IF;
    *out = (struct cache_rules){
        .enabled = c->cache.store != CONFIG_STORE_OFF && r->cache != CONFIG_CACHE_OFF,
        .bypass_cookie = bypass ? slice_str(r->bypass_cookie) : SLICE_EMPTY,
        .bypass_header = bypass ? slice_str(r->bypass_header) : SLICE_EMPTY,
        .default_ttl_ms = c->cache.default_ttl_ms,
        .heuristic_percent = c->cache.heuristic_percent,
        .heuristic_max_ms = c->cache.heuristic_max_ms,
        .ttl_ms = r->ttl_ms,
        .ttl_404_ms = r->ttl_404_ms,
        .ttl_5xx_ms = r->ttl_5xx_ms,
        .min_ttl_ms = r->min_ttl_ms,
        .max_ttl_ms = r->max_ttl_ms,
        .stale_while_revalidate_ms = r->stale_while_revalidate_ms,
        .stale_if_error_ms = r->stale_if_error_ms,
        .keep_assets_ms = r->keep_assets_ms,
        .early_refresh = r->early_refresh,
        .ttl_jitter_percent = r->ttl_jitter_percent,
        .max_object_bytes = r->max_object_bytes,
        .slice_bytes = c->cache.store == CONFIG_STORE_REDIS ? 0 : (uint64_t)r->slice_bytes,
        .tags = slice_str(r->tags),
        .obey_client = !r->ignore_client_cache_control,
        .ignore_set_cookie = r->ignore_set_cookie,
        .deception_guard = r->deception_guard,
        .gives_ttl = gives_ttl(c, r),
        .by_extension = has_extension(r),
        .no_vary_search = r->no_vary_search,
        .remove_cookies = &r->remove_cookies,
        .request_edits = r->request_edits,
        .request_edit_count = r->request_edit_count,
    };
    cache_key_rules_make(r, &out->key);
}
