/* exchange_key.c: the key of a request, by the rules of its route; declared in exchange.h. Worker thread.
 *
 * Hot path: with the default rules (`custom` is NULL) the key is the URL, built in one pass. */
#include "cache/key_parts.h"
#include "proxy/client_identity.h"
#include "proxy/compress.h"
#include "proxy/exchange.h"
#include "proxy/no_vary.h"
#include "proxy/proxy_worker.h"
#include "proxy/unkeyed.h"
#include "proxy/url_key.h"

#define EXCHANGE_URL(x)                                                                                      \
    {                                                                                                        \
        exchange_scheme(x), (x)->host, (x)->target.path, (x)->target.query                                   \
    }

size_t exchange_url_keys(struct exchange *x, struct proxy_url_key **out)
{
    const struct cache_url url = EXCHANGE_URL(x);
    return proxy_url_keys(x->view->shared, &url, &x->arena, out);
}

static bool key_fails(struct exchange *x, enum no_store_reason why)
{
    x->key.text = (slice_t){NULL, 0};
    x->no_store = (uint8_t)why;
    return false;
}

static bool key_build_custom(struct exchange *x)
{
    const struct cache_url url = EXCHANGE_URL(x);
    bool too_long;
    return cache_key_of_request(&x->arena, &x->route->rules.key, &url, &x->req, &x->key, &too_long) ||
           key_fails(x, too_long ? NO_STORE_KEY_TOO_LARGE : NO_STORE_NO_MEMORY);
}

static bool key_build_of_url(struct exchange *x)
{
    struct proxy_url_key *keys;
    if (exchange_url_keys(x, &keys) == 0)
        return key_fails(x, NO_STORE_NO_MEMORY);
    x->key = keys[0].key;
    return true;
}

static bool key_build_rare(struct exchange *x)
{
    bool read = x->req.method == HTTP_GET || x->req.method == HTTP_HEAD;
    if (x->route != NULL && x->route->compresses)
        compress_request(x);
    if (x->route == NULL || !read ? !key_build_of_url(x) : !key_build_custom(x))
        return false;
    /* A purge is for the URL, whoever asks. */
    if (x->route == NULL || x->req.method == HTTP_PURGE)
        return true;
    return ((!unkeyed_believes(x) || unkeyed_extend_key(x)) &&
            (!x->certified || client_identity_extend_key(x))) ||
           key_fails(x, NO_STORE_NO_MEMORY);
}

/* Explanations have no worker, and do this themselves. */
static void key_by_statement(struct exchange *x)
{
    if (x->pw != NULL && x->pw->cache != NULL && x->route != NULL &&
        (x->req.method == HTTP_GET || x->req.method == HTTP_HEAD))
        no_vary_apply(x, x->pw->cache);
}

/* By the default rules, and nothing that the client says is believed. */
static bool key_is_plain(const struct exchange *x)
{
    return x->route != NULL && x->route->rules.key.custom == NULL && !unkeyed_believes(x) && !x->certified &&
           (x->req.method == HTTP_GET || x->req.method == HTTP_HEAD);
}

bool exchange_build_key(struct exchange *x)
{
    if (x->key.text.ptr != NULL)
        return true;
    if (UNLIKELY(!key_is_plain(x))) {
        if (!key_build_rare(x))
            return false;
        if (cache_no_vary_is_used())
            key_by_statement(x);
        return true;
    }
    const struct cache_url url = EXCHANGE_URL(x);
    char *buf = arena_alloc(&x->arena, cache_key_bound(url.scheme, url.host, url.path, url.query));
    if (buf == NULL)
        return key_fails(x, NO_STORE_NO_MEMORY);
    cache_key_build_by(buf, &cache_key_default, &url, SLICE_EMPTY, &x->key);
    if (cache_no_vary_is_used())
        key_by_statement(x);
    return true;
}
