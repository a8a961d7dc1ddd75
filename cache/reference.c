/* reference.c: see reference.h. Pure; any thread; memory is the caller's.
 *
 * http and https count as one origin when host and port agree and the port is each scheme's own: behind
 * something that terminates TLS, applications write https where the request came by http. */
#include "cache/reference.h"

#include "core/http_field.h"

#define SCHEME SLICE_LIT("http")

size_t cache_reference_bound(slice_t host, slice_t path, slice_t reference)
{
    slice_t none = {NULL, 0};
    return path.len + reference.len + 1 + cache_key_bound(SCHEME, host, none, none) +
           cache_key_bound(SCHEME, reference, none, none);
}

static bool take(slice_t *s, slice_t prefix)
{
    if (s->len < prefix.len || !slice_ieq(slice_make(s->ptr, prefix.len), prefix))
        return false;
    *s = slice_make(s->ptr + prefix.len, s->len - prefix.len);
    return true;
}

static slice_t take_until(slice_t *s, const char *ends)
{
    size_t n = 0;
    while (n < s->len && strchr(ends, s->ptr[n]) == NULL)
        n++;
    slice_t front = slice_make(s->ptr, n);
    *s = slice_make(s->ptr + n, s->len - n);
    return front;
}

/* "scheme:" in front, before anything that ends a first path segment. */
static bool has_scheme(slice_t s)
{
    size_t colon = slice_find(s, ':', 0);
    return colon != SIZE_MAX && take_until(&s, "/?").len > colon;
}

/* Takes the authority, if there is one. false when the reference leaves the origin's scheme or is malformed.
 */
static bool take_authority(slice_t *s, slice_t *host)
{
    bool https = take(s, SLICE_LIT("https:"));
    bool absolute = https || take(s, SLICE_LIT("http:"));
    if (!take(s, SLICE_LIT("//")))
        return !absolute && !has_scheme(*s);
    *host = take_until(s, "/?");
    if (https && host->len > 4 && slice_eq(slice_make(host->ptr + host->len - 4, 4), SLICE_LIT(":443")))
        host->len -= 4;
    return http_host_is_valid(*host);
}

/* RFC 3986 section 5.2.4, in place; the path begins with a slash. */
static size_t remove_dot_segments(char *p, size_t len)
{
    size_t out = 0, end;
    for (size_t i = 0; i < len; i = end) {
        for (end = i + 1; end < len && p[end] != '/';)
            end++;
        slice_t segment = slice_make(p + i + 1, end - i - 1);
        bool up = slice_eq(segment, SLICE_LIT(".."));
        if (!up && !slice_eq(segment, SLICE_LIT("."))) {
            memmove(p + out, p + i, end - i);
            out += end - i;
            continue;
        }
        while (up && out > 0 && p[--out] != '/')
            ;
        if (end == len)
            p[out++] = '/';
    }
    return out;
}

/* RFC 3986 section 5.2.3: a relative path stands in place of the last segment. */
static slice_t resolve_path(char *buf, slice_t base, slice_t path)
{
    size_t kept = 0;
    if (path.len > 0 && path.ptr[0] != '/') {
        kept = base.len;
        while (kept > 0 && base.ptr[kept - 1] != '/')
            kept--;
    } else if (path.len == 0) {
        path = base;
    }
    memcpy(buf, base.ptr, kept);
    memcpy(buf + kept, path.ptr, path.len);
    return slice_make(buf, remove_dot_segments(buf, kept + path.len));
}

/* Do both name the same origin? `buf` takes the keys of their roots. */
static bool is_same_origin(char *buf, slice_t host, slice_t there)
{
    struct cache_key own, other;
    cache_key_build(buf, SCHEME, host, SLICE_EMPTY, (slice_t){NULL, 0}, &own);
    cache_key_build(buf + own.text.len, SCHEME, there, SLICE_EMPTY, (slice_t){NULL, 0}, &other);
    return slice_eq(own.text, other.text);
}

bool cache_reference_url(char *buf, slice_t host, slice_t path, slice_t reference, struct cache_url *out)
{
    slice_t rest = take_until(&reference, "#");
    slice_t there = SLICE_EMPTY;
    *out = (struct cache_url){.scheme = SCHEME, .host = host};
    if (rest.len == 0 || !take_authority(&rest, &there))
        return false;
    slice_t ref_path = take_until(&rest, "?");
    if (rest.len > 0)
        out->query = slice_make(rest.ptr + 1, rest.len - 1);
    if (there.len > 0 && ref_path.len == 0)
        ref_path = SLICE_LIT("/");
    out->path = resolve_path(buf, path, ref_path);
    return there.len == 0 || is_same_origin(buf + out->path.len, host, there);
}
