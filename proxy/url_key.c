/* url_key.c: see url_key.h. Any thread that holds the snapshot. */
#include "proxy/url_key.h"

/* Adds the last of `keys`, unless it is there. */
static size_t merge_last(struct proxy_url_key *keys, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (slice_eq(keys[i].key.text, keys[count].key.text)) {
            keys[i].goes_on |= keys[count].goes_on;
            keys[i].is_cached |= keys[count].is_cached;
            return count;
        }
    }
    return count + 1;
}

size_t proxy_url_keys(const struct snapshot *s, const struct cache_url *url, struct arena *arena,
                      struct proxy_url_key **out)
{
    size_t count = 0;
    slice_t path = route_path_normalise(arena, url->path.len > 0 ? url->path : SLICE_LIT("/"));
    struct proxy_url_key *keys = arena_alloc(arena, (s->route_count + 1) * sizeof *keys);
    if (path.ptr == NULL || keys == NULL)
        return 0;
    const struct route *r = route_next_for(s, url->host, path, NULL);
    do {
        const struct config_key *rules = r != NULL ? r->rules.key.custom : NULL;
        keys[count].goes_on = rules != NULL || (r != NULL && r->config->keep_request_headers.count > 0) ||
                              (r != NULL && r->canary != NULL);
        keys[count].is_cached = r != NULL && r->rules.enabled;
        if (!cache_key_of_url(arena, rules != NULL ? rules : &cache_key_default, url, &keys[count].key))
            return 0;
        count = merge_last(keys, count);
        r = r != NULL ? route_next_for(s, url->host, path, r) : NULL;
    } while (r != NULL);
    *out = keys;
    return count;
}

size_t proxy_url_key_texts(const struct snapshot *s, const struct cache_url *url, struct arena *arena,
                           slice_t **texts)
{
    struct proxy_url_key *keys;
    size_t count = proxy_url_keys(s, url, arena, &keys);
    *texts = count > 0 ? arena_alloc(arena, count * sizeof **texts) : NULL;
    for (size_t i = 0; *texts != NULL && i < count; i++)
        (*texts)[i] = keys[i].key.text;
    return *texts != NULL ? count : 0;
}
