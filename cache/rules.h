/* rules.h: what the ini file says about caching one route, resolved to plain numbers.
 *
 * Filled from [cache] and [route NAME] once per snapshot (cache_rules_from_config), read by every decision
 * function, so that those stay pure and know no configuration types. */
#ifndef CACHE_RULES_H
#define CACHE_RULES_H

#include "cache/key_rules.h"
#include "config/config.h"

#define CACHE_TTL_UNSET CONFIG_TTL_UNSET

struct cache_rules {
    bool enabled;          /* a store is on and the route says cache = on or bypass_if */
    slice_t bypass_cookie; /* empty = none */
    slice_t bypass_header;
    dur_ms_t default_ttl_ms;
    int heuristic_percent;
    dur_ms_t heuristic_max_ms;
    dur_ms_t ttl_ms, ttl_404_ms, ttl_5xx_ms, min_ttl_ms, max_ttl_ms; /* CACHE_TTL_UNSET when not given */
    dur_ms_t stale_while_revalidate_ms, stale_if_error_ms;
    dur_ms_t keep_assets_ms; /* 0: the route is not for assets */
    bool early_refresh;
    int ttl_jitter_percent;
    int64_t max_object_bytes;
    uint64_t slice_bytes; /* 0: responses are not cut into slices */
    slice_t tags;         /* added to every object, joined by one space */
    bool obey_client;     /* Cache-Control and Pragma of requests count */
    bool ignore_set_cookie, deception_guard;
    bool gives_ttl;      /* the ini file may make something fresh that does not say so itself */
    bool by_extension;   /* the route has a path such as *.css */
    bool no_vary_search; /* what responses say about queries is heeded */
    const struct config_strings *remove_cookies;
    const struct config_field_edit *request_edits;
    size_t request_edit_count;
    struct cache_key_rules key;
};

/* Slices point into the snapshot. */
void cache_rules_from_config(const struct config *c, const struct config_route *r, struct cache_rules *out);

#endif
