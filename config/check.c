/* check.c: rules across keys, after every value was read by itself.
 *
 * Errors are what can not work; warnings are what works but is surely not meant. Where a section or value was
 * already refused, what depends on it is not complained about a second time. Pure but for the report. */
#include "config/build.h"
#include "config/value.h"

/* The index-th section of a kind: snapshot arrays keep the order of the source. */
static const struct source_section *check_section(const struct build *b, enum option_section id, size_t index)
{
    for (const struct source_section *it = b->source->first; it != NULL; it = it->next) {
        if (it->id == id && index-- == 0)
            return it;
    }
    return NULL;
}

static void check_report(struct build *b, bool warning, const struct source_section *section, const char *key,
                         const char *text)
{
    const struct source_value *v = key == NULL ? NULL : source_value_given(section, key);
    problem_add(b->source->problems, warning, v != NULL ? v->origin : section->origin, section->label, key,
                "%s", text);
}

static void check_pool_balance(struct build *b, const struct config_pool *pool,
                               const struct source_section *section)
{
    if (pool->balance == CONFIG_BALANCE_HASH && source_value_given(section, "hash_on") == NULL)
        check_report(b, false, section, "balance",
                     "hash needs something to go by; write hash_on = client_ip, path, header:NAME or "
                     "cookie:NAME");
    if (b->source->problems->errors > 0)
        return;
    if (pool->balance != CONFIG_BALANCE_HASH && source_value_given(section, "hash_on") != NULL)
        check_report(b, true, section, "hash_on",
                     "it does nothing without balance = hash; write that, or remove the line");
    if (pool->balance == CONFIG_BALANCE_HASH && pool->sticky_cookie[0] != '\0')
        check_report(b, true, section, "sticky_cookie",
                     "it counts before hash_on, which decides for new visitors only; keep one of them");
    static const char *const of_ejection[] = {"eject_time", "eject_max"};
    for (size_t i = 0; i < ARRAY_LEN(of_ejection); i++)
        if (pool->eject_errors == 0 && source_value_given(section, of_ejection[i]) != NULL)
            check_report(b, true, section, of_ejection[i],
                         "it does nothing with eject_errors = 0; remove one of them");
    for (size_t i = 0; i < b->config->pool_count && pool->sticky_cookie[0] != '\0'; i++) {
        const struct config_pool *other = &b->config->pools[i];
        if (other >= pool || strcmp(other->sticky_cookie, pool->sticky_cookie) != 0)
            continue;
        problem_add(b->source->problems, true, source_value_given(section, "sticky_cookie")->origin,
                    section->label, "sticky_cookie",
                    "[pool %s] has a cookie of the same name, and each would overwrite the other's; give "
                    "them different names",
                    other->name);
        return;
    }
}

/* A connection by HTTP/2 is for many requests, of different clients. */
static void check_pool_protocol(struct build *b, const struct config_pool *pool,
                                const struct source_section *section)
{
    if (pool->protocol == CONFIG_UPSTREAM_H2 && pool->send_proxy_protocol != PROXY_HEADER_OFF)
        check_report(
            b, false, section, "protocol",
            "connections by HTTP/2 are shared by clients, and send_proxy_protocol names one for each; "
            "remove one of the two");
    if (pool->send_proxy_protocol != PROXY_HEADER_OFF && source_value_given(section, "max_idle") != NULL)
        check_report(b, true, section, "max_idle",
                     "it does nothing with send_proxy_protocol, by which each connection is for one request; "
                     "remove one of the two");
}

static void check_pool(struct build *b, const struct config_pool *pool, const struct source_section *section)
{
    bool all_drained = pool->server_count > 0, all_backup = pool->server_count > 0;
    if (source_value_find(section, "server") == NULL) {
        if (!b->source->broken_section && !section->emptied)
            check_report(b, false, section, NULL,
                         "the pool has no server; write at least one, such as server = 127.0.0.1:3001");
        return;
    }
    for (size_t i = 0; i < pool->server_count; i++) {
        all_drained = all_drained && pool->servers[i].weight == 0;
        all_backup = all_backup && pool->servers[i].backup;
    }
    check_pool_balance(b, pool, section);
    check_pool_leaks(b, pool, section);
    if (pool->health_body[0] != '\0' && pool->health != CONFIG_HEALTH_HTTP)
        check_report(b, true, section, "health_body",
                     "only HTTP probes see a body; write health_check = http, or remove the line");
    if (all_drained)
        check_report(b, true, section, "server",
                     "every server has weight=0, so none is used; give one a weight");
    else if (all_backup)
        check_report(b, true, section, "server", "every server is a backup; leave one without");
}

static bool check_pool_used(const struct config *c, size_t pool)
{
    for (size_t i = 0; i < c->route_count; i++) {
        const struct config_route *r = &c->routes[i];
        if (r->pool == (int)pool || r->mirror == (int)pool ||
            (r->split.text[0] != '\0' && r->split.pools[1] == (int)pool))
            return true;
    }
    return false;
}

static void check_pools(struct build *b)
{
    const struct config *c = b->config;
    for (size_t i = 0; i < c->pool_count; i++) {
        const struct source_section *section = check_section(b, OPTION_POOL, i);
        check_pool(b, &c->pools[i], section);
        check_pool_tls(b, &c->pools[i], section);
        check_pool_protocol(b, &c->pools[i], section);
        if (!check_pool_used(c, i) && b->source->problems->errors == 0)
            check_report(b, true, section, NULL, "no route uses this pool; name it in a route, or remove it");
    }
    bool answers = false;
    for (const struct source_section *it = b->source->first; it != NULL; it = it->next)
        answers = answers || (it->id == OPTION_ROUTE && (source_value_find(it, "redirect") != NULL ||
                                                         source_value_find(it, "respond") != NULL ||
                                                         source_value_find(it, "root") != NULL));
    if (c->pool_count == 0 && !answers && !b->source->broken_section)
        problem_add(b->source->problems, false, (struct config_origin){.file = NULL}, NULL, NULL,
                    "there is no pool and no route that answers by itself; the smallest useful file is\n"
                    "    [pool app]\n    server = 127.0.0.1:3001");
}

/* Two sockets that can not both be bound: the same, or both families against one of them. */
static bool check_addresses_clash(const struct net_addr *a, const struct net_addr *b)
{
    uint16_t port = net_addr_port(a);
    if (a->sa.sa_family == AF_UNIX || b->sa.sa_family == AF_UNIX)
        return net_addr_eq(a, b);
    if (port == 0 || port != net_addr_port(b))
        return false;
    if (a->sa.sa_family == b->sa.sa_family)
        return net_addr_eq(a, b);
    const struct net_addr *v4 = a->sa.sa_family == AF_INET ? a : b, *v6 = v4 == a ? b : a;
    return IN6_IS_ADDR_UNSPECIFIED(&v6->in6.sin6_addr) && v4->in4.sin_addr.s_addr == htonl(INADDR_ANY);
}

/* Looks for `addr` among the listeners before (listen, index). */
static const struct config_listen *check_clash_before(const struct config *c, const struct net_addr *addr,
                                                      size_t listen, size_t index)
{
    for (size_t i = 0; i < c->listen_count && i <= listen; i++) {
        size_t end = i == listen ? index : c->listens[i].address_count;
        for (size_t j = 0; j < end; j++) {
            if (check_addresses_clash(addr, &c->listens[i].addresses[j]))
                return &c->listens[i];
        }
    }
    return NULL;
}

/* The value an address stands in: lists may be spread over lines. */
static struct config_origin check_address_origin(const struct source_section *section, size_t index)
{
    struct config_origin at = section->origin;
    for (const struct source_value *v = section->first; v != NULL; v = v->next) {
        if (v->option->type != OPTION_ADDRESSES)
            continue;
        at = v->origin.file != NULL ? v->origin : section->origin;
        size_t items = 1;
        for (const char *p = v->text; *p != '\0'; p++)
            items += *p == ',';
        if (index < items)
            break;
        index -= items;
    }
    return at;
}

static void check_addresses(struct build *b)
{
    const struct config *c = b->config;
    char text[NET_ADDR_TEXT];
    for (size_t i = 0; i < c->listen_count; i++) {
        const struct source_section *section = check_section(b, OPTION_LISTEN, i);
        for (size_t j = 0; j < c->listens[i].address_count; j++) {
            const struct config_listen *other = check_clash_before(c, &c->listens[i].addresses[j], i, j);
            if (other != NULL)
                problem_add(b->source->problems, false, check_address_origin(section, j), section->label,
                            "address", "%s is already taken by [listen %s]; listen on it once",
                            net_addr_format(&c->listens[i].addresses[j], text).ptr, other->name);
        }
    }
    const struct source_section *admin = check_section(b, OPTION_ADMIN, 0);
    if (c->admin.address.len == 0)
        return;
    const struct config_listen *other = check_clash_before(c, &c->admin.address, c->listen_count, 0);
    bool guessed = other != NULL && other->origin.file == NULL && b->source->broken_section;
    if (other != NULL && !guessed)
        problem_add(b->source->problems, false, source_value_find(admin, "address")->origin, admin->label,
                    "address", "%s is already taken by [listen %s]; choose another port",
                    net_addr_format(&c->admin.address, text).ptr, other->name);
}

static void check_admin(struct build *b)
{
    const struct config_admin *admin = &b->config->admin;
    const struct source_section *section = check_section(b, OPTION_ADMIN, 0);
    char text[NET_ADDR_TEXT];
    if (admin->address.len == 0 || admin->address.sa.sa_family == AF_UNIX)
        return;
    net_addr_format_ip(&admin->address, text);
    if (option_word_index("0.0.0.0 ::", slice_str(text)) >= 0 &&
        source_value_given(section, "allowed_hosts") == NULL)
        check_report(
            b, true, section, "address",
            "it can be reached from everywhere, but requests are accepted for localhost only; name the hosts "
            "in allowed_hosts");
}

static void check_listens(struct build *b)
{
    for (size_t i = 0; i < b->config->listen_count; i++) {
        const struct config_listen *l = &b->config->listens[i];
        check_listen_tls(b, l, check_section(b, OPTION_LISTEN, i));
        check_listen_protocols(b, l, check_section(b, OPTION_LISTEN, i));
        if (l->proxy_protocol && b->config->main.trusted_proxies.count == 0)
            check_report(b, false, check_section(b, OPTION_LISTEN, i), "proxy_protocol",
                         "nobody could connect, since trusted_proxies in [millpond] is empty; name there who "
                         "sends the headers");
        if (l->max_target_bytes > 0 && l->max_header_bytes > 0 && l->max_target_bytes >= l->max_header_bytes)
            check_report(
                b, false, check_section(b, OPTION_LISTEN, i), "max_target",
                "a target as long as the whole head can never arrive; make it smaller than max_header_size");
    }
}

static void check_route_answer(struct build *b, const struct source_section *section)
{
    static const char *const keys[] = {"pool", "split", "root", "redirect", "respond"};
    const struct source_value *first = NULL;
    for (const struct source_value *v = section->first; v != NULL; v = v->next) {
        bool answer = false;
        for (size_t i = 0; i < ARRAY_LEN(keys); i++)
            answer = answer || strcmp(v->option->key, keys[i]) == 0;
        if (!answer || v->origin.file == NULL)
            continue;
        if (first != NULL)
            problem_add(b->source->problems, false, v->origin, section->label, v->option->key,
                        "%s on line %d answers already; keep one of pool, split, root, redirect and respond",
                        first->option->key, first->origin.line);
        first = first == NULL ? v : first;
    }
    if (source_value_find(section, "pool") == NULL && first == NULL && b->config->pool_count == 0 &&
        !b->source->broken_section)
        check_report(
            b, false, section, NULL,
            "there is no pool to answer it; write a section [pool app], or root, redirect or respond here");
}

static void check_route_mirror(struct build *b, const struct config_route *r,
                               const struct source_section *section)
{
    if (r->mirror < 0)
        return;
    if (r->pool < 0)
        check_report(b, true, section, "mirror",
                     "nothing is copied, since no instance is asked; name a pool, or remove the line");
    else if (r->pool == r->mirror)
        check_report(
            b, true, section, "mirror",
            "the instances get each request twice, since this is the pool that answers; name another");
}

static void check_route_cache(struct build *b, const struct config_route *r,
                              const struct source_section *section)
{
    static const char *const keys[] = {"ttl",
                                       "ttl_404",
                                       "ttl_5xx",
                                       "min_ttl",
                                       "max_ttl",
                                       "browser_ttl",
                                       "stale_while_revalidate",
                                       "stale_if_error",
                                       "early_refresh",
                                       "ttl_jitter",
                                       "max_object_size",
                                       "slice",
                                       "ignore_set_cookie",
                                       "remove_cookies",
                                       "deception_guard",
                                       "key_query",
                                       "key_sort",
                                       "no_vary_search",
                                       "key_headers",
                                       "key_cookies"};
    bool answers_itself = r->redirect_status != 0 || r->respond_status != 0;
    const struct source_value *store = source_value_find(check_section(b, OPTION_CACHE, 0), "store");
    bool no_store = store != NULL && strcmp(store->text, "off") == 0;
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        if (source_value_given(section, keys[i]) == NULL)
            continue;
        if (answers_itself)
            check_report(b, true, section, keys[i],
                         "the route answers by itself and stores nothing; remove the line");
        else if (r->cache == CONFIG_CACHE_OFF)
            check_report(b, true, section, keys[i],
                         "it does nothing while the route has cache = off; remove one of the two");
        else if (no_store)
            check_report(b, true, section, keys[i],
                         "it does nothing while [cache] has store = off; remove one of the two");
    }
    if (r->min_ttl_ms != CONFIG_TTL_UNSET && r->max_ttl_ms != CONFIG_TTL_UNSET &&
        r->min_ttl_ms > r->max_ttl_ms)
        check_report(b, false, section, "min_ttl", "it is longer than max_ttl; swap the two");
}

static void check_route_slice(struct build *b, const struct config_route *r,
                              const struct source_section *section)
{
    const struct config_cache *cache = &b->config->cache;
    if (r->slice_bytes == 0 || r->cache == CONFIG_CACHE_OFF || b->source->problems->errors > 0)
        return;
    if (r->slice_bytes > r->max_object_bytes)
        check_report(b, false, section, "slice",
                     "it is larger than max_object_size, so no slice would be kept; make it smaller");
    else if (cache->store == CONFIG_STORE_REDIS)
        check_report(
            b, true, section, "slice",
            "it does nothing with store = redis, since slices are kept in memory only; write store = "
            "tiered, or remove the line");
    else if (cache->store != CONFIG_STORE_OFF && r->slice_bytes > cache->memory_bytes / 8)
        check_report(b, true, section, "slice",
                     "it is more than an eighth of memory_size, so few slices are kept at a time; 1M is a "
                     "good size");
}

static void check_route_compress(struct build *b, const struct config_route *r,
                                 const struct source_section *section)
{
    if (r->compress.count == 0 || b->source->problems->errors > 0)
        return;
    if (r->slice_bytes > 0)
        check_report(
            b, false, section, "compress",
            "slices are ranges of the plain content, so they cannot be compressed; remove one of the two, "
            "or make a route of its own for what is compressed");
    else if (r->pool < 0 && r->root[0] == '\0')
        check_report(b, true, section, "compress",
                     "the route answers by itself, which is not compressed; remove the line");
}

static void check_route_user(struct build *b, const struct config_route *r,
                             const struct source_section *section)
{
    for (size_t i = 0; i < r->request_edit_count && r->basic_auth[0] == '\0'; i++) {
        if (r->request_edits[i].value != NULL && strstr(r->request_edits[i].value, "$remote_user") != NULL)
            check_report(b, true, section, "set_request_header",
                         "$remote_user is always empty on a route without basic_auth; give it one, or remove "
                         "the line");
    }
}

static void check_route_tunnel(struct build *b, const struct config_route *r,
                               const struct source_section *section)
{
    if (!r->websocket && b->source->problems->errors == 0 &&
        source_value_given(section, "tunnel_timeout") != NULL)
        check_report(b, true, section, "tunnel_timeout",
                     "it does nothing with websocket = no, which leaves no tunnel; remove one of the two");
}

/* Fields that nearly every visitor sends with a value of his own. */
static void check_route_key(struct build *b, const struct config_route *r,
                            const struct source_section *section)
{
    static const char *const wide[][2] = {
        {"cookie",
         "a Cookie is each visitor's own, so little is shared; name those that matter in key_cookies"},
        {"user-agent", "there are thousands of them; use key_device = yes"},
        {"accept-language", "there are hundreds of them; name the languages you have in key_language"},
    };
    for (size_t i = 0; i < r->key.headers.count; i++) {
        for (size_t k = 0; k < ARRAY_LEN(wide); k++) {
            if (strcmp(r->key.headers.items[i], wide[k][0]) == 0)
                check_report(b, true, section, "key_headers", wide[k][1]);
        }
    }
}

static bool check_host_covers(const char *wide, const char *narrow)
{
    if (strcmp(wide, narrow) == 0)
        return true;
    size_t wide_len = strlen(wide), narrow_len = strlen(narrow);
    return wide[0] == '*' && narrow_len >= wide_len &&
           strcmp(narrow + narrow_len - (wide_len - 1), wide + 1) == 0;
}

static bool check_path_covers(const struct config_path *wide, const struct config_path *narrow)
{
    slice_t w = slice_make(wide->text, wide->len), n = slice_make(narrow->text, narrow->len);
    switch (wide->match) {
    case CONFIG_PATH_EXACT:
        return narrow->match == CONFIG_PATH_EXACT && slice_eq(w, n);
    case CONFIG_PATH_PREFIX:
        return narrow->match == CONFIG_PATH_SUFFIX ? w.len == 1 : slice_starts(n, w);
    case CONFIG_PATH_SUFFIX:
        return narrow->match != CONFIG_PATH_PREFIX && slice_ends(n, w);
    }
    return false;
}

static bool check_strings_cover(const struct config_strings *wide, const struct config_strings *narrow,
                                bool (*covers)(const char *, const char *))
{
    for (size_t i = 0; i < narrow->count; i++) {
        bool found = false;
        for (size_t j = 0; j < wide->count && !found; j++)
            found = covers(wide->items[j], narrow->items[i]);
        if (!found)
            return wide->count == 0;
    }
    return wide->count == 0 || narrow->count > 0;
}

static bool check_same_text(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

static bool check_paths_cover(const struct config_route *wide, const struct config_route *narrow)
{
    for (size_t i = 0; i < narrow->path_count; i++) {
        bool found = false;
        for (size_t j = 0; j < wide->path_count && !found; j++)
            found = check_path_covers(&wide->paths[j], &narrow->paths[i]);
        if (!found)
            return wide->path_count == 0;
    }
    return wide->path_count == 0 || narrow->path_count > 0;
}

/* Each condition of `wide` is one of `narrow`, too. */
static bool check_headers_cover(const struct config_route *wide, const struct config_route *narrow)
{
    for (size_t i = 0; i < wide->header_count; i++) {
        const struct config_header_match *w = &wide->headers[i];
        bool found = false;
        for (size_t j = 0; j < narrow->header_count && !found; j++)
            found = slice_ieq(slice_str(w->name), slice_str(narrow->headers[j].name)) &&
                    (w->value[0] == '\0' || strcmp(w->value, narrow->headers[j].value) == 0);
        if (!found)
            return false;
    }
    return true;
}

static void check_shadowed(struct build *b, size_t index, const struct source_section *section)
{
    const struct config_route *r = &b->config->routes[index];
    for (size_t i = 0; i < index; i++) {
        const struct config_route *w = &b->config->routes[i];
        if (!check_strings_cover(&w->hosts, &r->hosts, check_host_covers) || !check_paths_cover(w, r) ||
            !check_strings_cover(&w->methods, &r->methods, check_same_text) || !check_headers_cover(w, r))
            continue;
        problem_add(b->source->problems, true, section->origin, section->label, NULL,
                    "the route is never used, since [route %s] above takes all of its requests; move it up",
                    w->name);
        return;
    }
}

static void check_routes(struct build *b)
{
    size_t index = 0;
    for (const struct source_section *it = b->source->first; it != NULL; it = it->next) {
        if (it->id != OPTION_ROUTE)
            continue;
        check_route_answer(b, it);
        check_route_mirror(b, &b->config->routes[index], it);
        check_route_cache(b, &b->config->routes[index], it);
        check_route_slice(b, &b->config->routes[index], it);
        check_route_compress(b, &b->config->routes[index], it);
        check_route_leaks(b, &b->config->routes[index], it);
        check_route_key(b, &b->config->routes[index], it);
        check_route_tunnel(b, &b->config->routes[index], it);
        check_route_user(b, &b->config->routes[index], it);
        check_route_limit(b, &b->config->routes[index], it);
        if (b->source->problems->errors == 0 && !b->source->unwarned)
            check_shadowed(b, index, it);
        index++;
    }
}

static void check_cache(struct build *b)
{
    const struct config_cache *cache = &b->config->cache;
    const struct source_section *section = check_section(b, OPTION_CACHE, 0);
    if (config_store_is_shared(cache->store) && !b->config->redis.given)
        check_report(b, false, section, "store",
                     cache->store == CONFIG_STORE_TIERED
                         ? "tiered is memory in front of Redis, and there is no [redis]; add that section"
                         : "responses are to be kept in Redis, and there is no [redis]; add that section");
    if (source_value_given(section, "max_object_size") != NULL && cache->store != CONFIG_STORE_OFF &&
        cache->max_object_bytes > cache->memory_bytes)
        check_report(b, true, section, "max_object_size",
                     "it is larger than memory_size; objects that large are not kept");
}

void config_check(struct build *b)
{
    check_listens(b);
    check_addresses(b);
    check_admin(b);
    check_trusted_proxies(b);
    check_cache(b);
    check_redis(b);
    check_routes(b);
    check_pools(b);
    if (b->source->problems->errors == 0)
        check_sticky_cookies(b);
}
