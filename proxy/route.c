/* route.c: first match wins, in file order; all conditions of a route must hold. A linear scan: with the few
 * routes of a real file it beats any index, and "first" stays obvious. */
#include "core/arena.h"
#include "proxy/snapshot.h"

/* Nothing to decode, resolve or merge? A dot behind a slash is rare enough to take the slow way. */
static bool route_path_is_plain(slice_t path)
{
    for (size_t i = 0; i < path.len; i++) {
        char c = path.ptr[i];
        if (c == '%' || (c == '/' && i + 1 < path.len && (path.ptr[i + 1] == '/' || path.ptr[i + 1] == '.')))
            return false;
    }
    return true;
}

static size_t route_decode(slice_t path, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < path.len; i++) {
        uint64_t byte;
        if (path.ptr[i] == '%' && i + 2 < path.len &&
            slice_hex_to_u64(slice_make(path.ptr + i + 1, 2), &byte) && byte != 0) {
            out[n++] = (char)byte;
            i += 2;
        } else {
            out[n++] = path.ptr[i];
        }
    }
    return n;
}

/* RFC 3986 section 5.2.4 in place, empty segments dropped; a trailing slash stays. */
static size_t route_resolve_dots(char *path, size_t len)
{
    size_t out = 0;
    for (size_t i = 0; i < len;) {
        size_t start = i + 1, end = start;
        while (end < len && path[end] != '/')
            end++;
        size_t seg = end - start;
        bool last = end == len;
        bool dot = seg == 1 && path[start] == '.',
             dots = seg == 2 && path[start] == '.' && path[start + 1] == '.';
        while (dots && out > 0 && path[--out] != '/')
            continue;
        if (dot || dots || seg == 0) {
            if (last)
                path[out++] = '/';
        } else {
            path[out++] = '/';
            memmove(path + out, path + start, seg);
            out += seg;
        }
        i = end;
    }
    return out;
}

slice_t route_path_normalise(struct arena *arena, slice_t path)
{
    if (path.len == 0 || path.ptr[0] != '/' || route_path_is_plain(path))
        return path;
    char *out = arena_alloc(arena, path.len + 1);
    if (out == NULL)
        return (slice_t){NULL, 0};
    return slice_make(out, route_resolve_dots(out, route_decode(path, out)));
}

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

static bool route_place_matches(const struct config_route *c, slice_t host, slice_t path)
{
    if (c->hosts.count > 0 && !route_host_matches(&c->hosts, host))
        return false;
    return c->path_count == 0 || route_path_matches(c->paths, c->path_count, path);
}

static bool route_matches(const struct config_route *c, const struct route_request *r)
{
    if (!route_place_matches(c, r->host, r->path))
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

static bool route_takes_get(const struct config_route *c)
{
    return c->methods.count == 0 || route_method_matches(&c->methods, SLICE_LIT("GET"));
}

const struct route *route_next_for(const struct snapshot *s, slice_t host, slice_t path,
                                   const struct route *after)
{
    if (after != NULL && after->config->header_count == 0)
        return NULL;
    for (size_t i = after == NULL ? 0 : (size_t)(after - s->routes) + 1; i < s->route_count; i++) {
        const struct route *route = &s->routes[i];
        if (route_takes_get(route->config) && route_place_matches(route->config, host, path))
            return route;
    }
    return NULL;
}
