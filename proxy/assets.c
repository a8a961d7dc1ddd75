/* assets.c: see assets.h. Worker's thread.
 *
 * In a rolling deploy an instance gives out pages that name files only it has, and the next request for such
 * a file may go to one that does not have it yet, or any more. So a 404 is an instance's own view: the others
 * are asked, each once. When none has the file, but it is stored, it stays served; and as it is stale, each
 * request would ask them all again, which a short memory of each worker spares them. What remains a 404 may
 * be right a moment later: neither this cache nor one in front of us keeps it for more than seconds.
 *
 * 404 only: a 410 says that the file is gone for good, and is believed. The retry costs nothing of
 * retry_budget, which is there for instances in trouble; it is bounded by the number of instances and by
 * EXCHANGE_MAX_TRIES. */
#include "proxy/assets.h"

#include "cache/cache_control.h"
#include "cache/freshness.h"
#include "proxy/phase.h"
#include "proxy/proxy_worker.h"
#include "proxy/stale.h"

bool assets_not_found(struct exchange *x)
{
    const bool read = x->req.method == HTTP_GET || x->req.method == HTTP_HEAD;
    if (!read || x->body_state != BODY_ABSENT)
        return false;
    x->asset_missing = true;
    if (fetch_retry_elsewhere(x)) /* the exchange may be gone */
        return true;
    return stale_instead_of_missing(x);
}

static struct proxy_kept_asset *place_of(struct exchange *x)
{
    return &x->pw->kept_assets[x->key.hash.lo % PROXY_KEPT_ASSETS];
}

static void count_kept(struct exchange *x)
{
    x->asset_kept = true;
    proxy_count(x->pw, METRIC_ASSETS_KEPT, !x->background);
}

void assets_keep(struct exchange *x)
{
    *place_of(x) =
        (struct proxy_kept_asset){x->key.hash, worker_now_ms(x->pw->worker) + CACHE_MISSING_ASSET_MS};
    count_kept(x);
}

bool assets_is_kept(struct exchange *x)
{
    const struct proxy_kept_asset *k = place_of(x);
    if (!hash_eq(k->key, x->key.hash) || worker_now_ms(x->pw->worker) >= k->until_ms || x->info.status >= 400)
        return false;
    count_kept(x);
    return true;
}

/* ---- towards the client ---- */

static void control_of(const struct http_head *head, struct cache_control *out)
{
    cache_control_init(out);
    for (unsigned i = 0; i < head->field_count; i++) {
        if (head->fields[i].id == HTTP_FIELD_CACHE_CONTROL)
            cache_control_parse_value(head->fields[i].value, out);
    }
}

uint64_t assets_missing_drops(const struct exchange *x, const struct http_head *head)
{
    const uint64_t lifetimes = HTTP_BIT(CACHE_CONTROL) | HTTP_BIT(EXPIRES) | HTTP_BIT(PRAGMA);
    struct cache_control cc;
    if (x->route == NULL || x->route->rules.keep_assets_ms == 0)
        return 0;
    control_of(head, &cc);
    return HTTP_BIT(CDN_CACHE_CONTROL) |
           ((cc.flags & (CC_NO_STORE | CC_NO_CACHE | CC_PRIVATE)) == 0 ? lifetimes : 0);
}

void assets_put_missing(struct text *t, const struct http_head *head)
{
    const int64_t most_s = CACHE_MISSING_ASSET_MS / 1000;
    struct cache_control cc;
    control_of(head, &cc);
    const int64_t own_s = cc.max_age_s != CC_ABSENT                 ? cc.max_age_s
                          : http_head_has(head, HTTP_FIELD_EXPIRES) ? 0 /* which may be long past */
                                                                    : most_s;
    TEXT_LIT(t, "Cache-Control: max-age=");
    text_put_u64(t, (uint64_t)MIN(own_s, most_s));
    TEXT_LIT(t, "\r\n");
}
