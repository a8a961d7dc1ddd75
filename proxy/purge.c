/* purge.c: see purge.h. The URL is the request's own: its host and path, as Varnish, nginx and Squid users
 * send it. */
#include "proxy/purge.h"

#include "core/log.h"
#include "core/metrics.h"
#include "proxy/client_conn.h"
#include "proxy/proxy_worker.h"
#include "proxy/url_key.h"

enum phase_result purge_answer(struct exchange *x)
{
    const struct config_cache *cfg = &x->view->shared->config->cache;
    if (!exchange_client_in(x, &cfg->purge_from))
        return phase_answer_error(x, 403, "this address may not purge; see purge_from in [cache]");
    if (x->req.method == HTTP_BAN)
        return phase_answer_error(x, 501,
                                  "BAN is not supported by this version; use PURGE with the exact URL");
    if (x->pw->cache == NULL)
        return phase_answer_error(x, 409, "there is no cache: store = off in [cache]");
    struct proxy_url_key *keys;
    size_t purged = 0, count = exchange_url_keys(x, &keys);
    if (count == 0)
        return phase_answer_error(x, 503, "out of memory");
    for (size_t i = 0; i < count; i++)
        purged += cache_purge_url(x->pw->cache, &keys[i].key);
    proxy_count(x->pw, METRIC_PURGES, 1);
    log_info("purged " SLICE_FMT ": %zu stored responses, asked by " SLICE_FMT, SLICE_ARG(keys[0].key.text),
             purged, SLICE_ARG(x->client_ip));
    slice_t body = arena_printf(&x->arena, "{\"purged\":%zu}\n", purged);
    return phase_answer(x, 200, SLICE_LIT("application/json"), body.ptr == NULL ? SLICE_EMPTY : body);
}
