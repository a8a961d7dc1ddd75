/* purge.c: see purge.h. The URL is the request's own: its host and path, as Varnish, nginx and Squid users
 * send it. */
#include "proxy/purge.h"

#include "core/log.h"
#include "core/metrics.h"
#include "proxy/client_conn.h"
#include "proxy/proxy_worker.h"

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
    if (!exchange_build_key(x))
        return phase_answer_error(x, 503, "out of memory");
    size_t purged = cache_purge_url(x->pw->cache, &x->key);
    proxy_count(x->pw, METRIC_PURGES, 1);
    log_info("purged " SLICE_FMT ": %zu stored responses, asked by " SLICE_FMT, SLICE_ARG(x->key.text),
             purged, SLICE_ARG(x->client_ip));
    slice_t body = arena_printf(&x->arena, "{\"purged\":%zu}\n", purged);
    return phase_answer(x, 200, SLICE_LIT("application/json"), body.ptr == NULL ? SLICE_EMPTY : body);
}
