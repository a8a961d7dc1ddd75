/* invalidate.c: see invalidate.h. Worker thread.
 *
 * A 2xx or 3xx to an unsafe method (any but GET, HEAD, OPTIONS and TRACE; one that is not known is unsafe)
 * invalidates the target URI, and what Location and Content-Location name in the same origin. The order is
 * that of a purge: an event in the log, then what is stored, so that a fetch from before is neither stored
 * nor joined. It does not matter what the route of the request says about caching: a page may be cached by
 * another one, so all routes that a GET for it may take say what its key is (url_key.h). Rejected:
 * invalidating also when the answer never came. The standard does not ask for it, and a client could then
 * purge pages by leaving early. */
#include "proxy/invalidate.h"

#include "core/log.h"
#include "core/metrics.h"
#include "cache/purge_request.h"
#include "cache/reference.h"
#include "cache/tags.h"
#include "proxy/proxy_worker.h"
#include "proxy/url_key.h"

#define GROUP_INVALIDATION SLICE_LIT("Cache-Group-Invalidation")

static void count_invalidated(struct exchange *x)
{
    proxy_count(x->pw, METRIC_INVALIDATIONS, 1);
    cache_purge_count(x->pw->worker->metrics, CACHE_PURGE_URL, PURGE_SOURCE_UNSAFE);
}

/* What lies under longer keys, or in the store that nodes share, is not found by this one, but a purge
 * concerns it. Nodes have the same routes, so what no route caches lies at none of them. */
static void invalidate_key(struct exchange *x, const struct proxy_url_key *k)
{
    bool found = true;
    if (k->goes_on || (k->is_cached && x->pw->remote != NULL))
        cache_purge_url(x->pw->cache, &k->key);
    else
        found = cache_invalidate_url(x->pw->cache, &k->key);
    if (found)
        count_invalidated(x);
}

/* Without memory for the key: too much rather than too little. */
static void invalidate_all(struct exchange *x)
{
    log_warn("out of memory while a %.*s invalidated a page: everything stored is given up",
             (int)x->req.method_text.len, x->req.method_text.ptr);
    cache_purge_all(x->pw->cache);
    cache_purge_count(x->pw->worker->metrics, CACHE_PURGE_ALL, PURGE_SOURCE_UNSAFE);
}

static void invalidate_keys(struct exchange *x, const struct proxy_url_key *keys, size_t count)
{
    for (size_t i = 0; i < count; i++)
        invalidate_key(x, &keys[i]);
    if (count == 0)
        invalidate_all(x);
}

/* What this client was believed to say is behind the URL of the key that a GET of it would have. */
static void invalidate_target(struct exchange *x)
{
    struct proxy_url_key *keys;
    size_t count = exchange_url_keys(x, &keys);
    invalidate_keys(x, keys, count);
    if (exchange_build_key(x) && cache_key_url(x->key.text).len < x->key.text.len)
        invalidate_key(x, &(struct proxy_url_key){.key = x->key});
}

static void invalidate_reference(struct exchange *x, slice_t reference)
{
    struct cache_url url;
    struct proxy_url_key *keys;
    char *buf = arena_alloc(&x->arena, cache_reference_bound(x->host, x->target.path, reference));
    if (buf == NULL) {
        invalidate_all(x);
    } else if (cache_reference_url(buf, x->host, x->target.path, reference, &url)) {
        url.scheme = exchange_scheme(x);
        size_t count = proxy_url_keys(x->view->shared, &url, &x->arena, &keys);
        invalidate_keys(x, keys, count);
    }
}

/* Cache-Group-Invalidation (RFC 9875 section 3): the groups of this origin that it names, whatever the
 * status. */
static void invalidate_groups(struct exchange *x, const struct http_head *response)
{
    struct cache_purge_result result;
    if (!exchange_build_key(x)) {
        invalidate_all(x);
        return;
    }
    slice_t tags = cache_tags_of_groups(&x->arena, response, GROUP_INVALIDATION, x->key.text);
    if (tags.ptr == NULL)
        invalidate_all(x);
    while (tags.ptr != NULL && tags.len > 0) {
        size_t end = MIN(slice_find(tags, ' ', 0), tags.len), skip = MIN(end + 1, tags.len);
        const struct cache_purge p = {.kind = CACHE_PURGE_TAG, .text = slice_make(tags.ptr, end)};
        if (!cache_purge(x->pw->cache, &p, 1, &result))
            invalidate_all(x);
        proxy_count(x->pw, METRIC_INVALIDATIONS, 1);
        cache_purge_count(x->pw->worker->metrics, CACHE_PURGE_TAG, PURGE_SOURCE_GROUP);
        tags = slice_make(tags.ptr + skip, tags.len - skip);
    }
}

void invalidate_after(struct exchange *x, const struct http_head *response)
{
    if (x->pw->cache == NULL || http_method_is_safe((enum http_method)x->req.method))
        return;
    if (UNLIKELY(http_head_find(response, GROUP_INVALIDATION) != NULL))
        invalidate_groups(x, response);
    if (response->status < 200 || response->status > 399)
        return;
    invalidate_target(x);
    if ((response->present & (HTTP_BIT(LOCATION) | HTTP_BIT(CONTENT_LOCATION))) == 0)
        return;
    for (unsigned i = 0; i < response->field_count; i++) {
        const struct http_field *f = &response->fields[i];
        if (f->id == HTTP_FIELD_LOCATION || f->id == HTTP_FIELD_CONTENT_LOCATION)
            invalidate_reference(x, f->value);
    }
}
