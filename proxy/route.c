/* route.c: first match wins, in file order; all conditions of a route must hold. A linear scan: with the few
 * routes of a real file it beats any index, and "first" stays obvious. */
#include "proxy/snapshot.h"

static bool route_host_matches(const struct config_strings *hosts, slice_t host)
{
    size_t colon = slice_find(host, ':', host.len > 0 && host.ptr[0] == '[' ? slice_find(host, ']', 0) : 0);
    if (colon != SIZE_MAX)
        host.len = colon;
    if (host.len > 0 && host.ptr[host.len - 1] == '.')
        host.len--;
    for (size_t i = 0; i < hosts->count; i++) {
        slice_t want = slice_str(hosts->items[i]);
        if (want.len > 1 && want.ptr[0] == '*') {
            slice_t tail = slice_make(want.ptr + 1, want.len - 1);
            if (host.len > tail.len && slice_ieq(slice_make(host.ptr + host.len - tail.len, tail.len), tail))
                return true;
        } else if (slice_ieq(host, want)) {
            return true;
        }
    }
    return false;
}

static bool route_path_matches(const struct config_path *paths, size_t count, slice_t path)
{
    for (size_t i = 0; i < count; i++) {
        slice_t want = slice_make(paths[i].text, paths[i].len);
        bool hit = false;
        switch (paths[i].match) {
        case CONFIG_PATH_EXACT:
            hit = slice_eq(path, want);
            break;
        case CONFIG_PATH_PREFIX:
            hit = slice_starts(path, want);
            break;
        case CONFIG_PATH_SUFFIX:
            hit = slice_ends(path, want);
            break;
        }
        if (hit)
            return true;
    }
    return false;
}

static bool route_method_matches(const struct config_strings *methods, slice_t method)
{
    for (size_t i = 0; i < methods->count; i++) {
        if (slice_eq(method, slice_str(methods->items[i])))
            return true;
    }
    return false;
}

static bool route_headers_match(const struct config_route *r, const struct http_head *head)
{
    for (size_t i = 0; i < r->header_count; i++) {
        slice_t name = slice_str(r->headers[i].name), want = slice_str(r->headers[i].value);
        bool hit = false;
        for (unsigned k = 0; k < head->field_count && !hit; k++) {
            const struct http_field *f = &head->fields[k];
            hit = slice_ieq(f->name, name) && (want.len == 0 || slice_eq(f->value, want));
        }
        if (!hit)
            return false;
    }
    return true;
}

static bool route_matches(const struct config_route *c, const struct route_request *r)
{
    if (c->hosts.count > 0 && !route_host_matches(&c->hosts, r->host))
        return false;
    if (c->path_count > 0 && !route_path_matches(c->paths, c->path_count, r->path))
        return false;
    if (c->methods.count > 0 && !route_method_matches(&c->methods, r->head->method_text))
        return false;
    return route_headers_match(c, r->head);
}

const struct route *route_match(const struct snapshot *s, const struct route_request *r)
{
    for (size_t i = 0; i < s->route_count; i++) {
        const struct route *route = &s->routes[i];
        if (route->always_matches || route_matches(route->config, r))
            return route;
    }
    return NULL;
}
