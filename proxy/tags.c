/* tags.c: see tags.h. Worker's thread. Rejected: the fields in the stored head, taken out for each client;
 * hits pay nothing for tags this way. */
#include "proxy/tags.h"

#include "proxy/client.h"
#include "proxy/phase.h"
#include "proxy/proxy_worker.h"

enum no_store_reason tags_collect(struct exchange *x, const struct http_head *response,
                                  const struct http_head *groups, struct cache_tags *out)
{
    struct cache_tags old;
    struct cache_tags_from from = {
        .response = response, .groups = groups, .key = x->key.text, .route = x->route->rules.tags};
    if (x->stale != NULL && response != groups) {
        old = cache_object_tag_fields(x->stale);
        from.old = &old;
        from.joins = response->status == 206;
    }
    return cache_tags_collect(&x->arena, &from, out);
}

bool tags_are_shown(const struct exchange *x)
{
    return x->client != NULL && http_head_has(&x->req, HTTP_FIELD_FASTLY_DEBUG) &&
           exchange_client_in(x, &x->view->shared->config->cache.purge_from);
}

bool tags_deliver(struct exchange *x, size_t *bytes)
{
    if (x->source == SOURCE_RELAY || x->response_head.ptr != NULL || !tags_are_shown(x))
        return true; /* a head of its own has them already */
    const struct cache_tags tags = cache_object_tag_fields(x->object);
    slice_t lines = cache_tags_field_lines(&x->arena, &tags);
    *bytes += lines.len;
    return lines.ptr != NULL && (lines.len == 0 || client_add(x, lines.ptr, lines.len, NULL));
}
