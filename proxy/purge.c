/* purge.c: see purge.h. Worker thread. Nothing of the request is looked at before it is known that its
 * address may purge; nothing of it ever goes to an instance. */
#include "proxy/purge.h"

#include <inttypes.h>

#include "core/metrics.h"
#include "proxy/client_conn.h"
#include "proxy/proxy_worker.h"
#include "proxy/purge_head.h"
#include "proxy/url_key.h"

/* As cache_purge_request.url_keys. */
static size_t purge_url_keys(void *arg, const struct cache_url *url, struct arena *arena, slice_t **texts)
{
    const struct exchange *x = arg;
    return proxy_url_key_texts(x->view->shared, url, arena, texts);
}

static enum phase_result purge_json(struct exchange *x, unsigned status, slice_t body)
{
    return phase_answer(x, status, SLICE_LIT("application/json"), body.ptr == NULL ? SLICE_EMPTY : body);
}

static enum phase_result purge_refuse(struct exchange *x, unsigned status, const char *error,
                                      const char *hint)
{
    return purge_json(x, status,
                      arena_printf(&x->arena, "{\"error\":\"%s\",\"hint\":\"%s\"}\n", error, hint));
}

enum phase_result purge_answer(struct exchange *x)
{
    const struct config_cache *cfg = &x->view->shared->config->cache;
    struct cache_purge_request r;
    struct cache_purge_result result;
    char removed[24] = "null";
    if (!exchange_client_in(x, &cfg->purge_from))
        return phase_answer_error(x, 403, "this address may not purge; see purge_from in [cache]");
    if (x->pw->cache == NULL)
        return purge_refuse(x, 409, "there is no cache to purge", "[cache] store is off");
    const struct cache_url own = {exchange_scheme(x), x->host, x->target.path, x->target.query};
    slice_t *keys;
    size_t key_count = purge_url_keys(x, &own, &x->arena, &keys);
    if (key_count == 0)
        return purge_refuse(x, 503, "out of memory", "try again");
    cache_purge_request_init(&r, &x->arena);
    r.url_keys = purge_url_keys;
    r.url_keys_arg = x;
    const struct purge_head head = {.request = &x->req,
                                    .host = x->host,
                                    .path = x->target.path,
                                    .query = x->target.query,
                                    .keys = keys,
                                    .key_count = key_count};
    if (!purge_head_read(&head, &r) ||
        !cache_purge_request_run(x->pw->cache, &r, PURGE_SOURCE_METHOD, x->client_ip, x->pw->worker->metrics,
                                 &result))
        return purge_refuse(x, 400, r.problem, r.hint);
    if (cache_purge_request_is_counted(&r))
        snprintf(removed, sizeof removed, "%zu", result.removed);
    const char *shared = !result.is_shared ? ""
                         : result.flows    ? ",\"shared\":\"sent\""
                                           : ",\"shared\":\"pending\"";
    return purge_json(x, 200,
                      arena_printf(&x->arena, "{\"id\":\"%" PRIu64 "\",\"soft\":%s,\"purged\":%s%s}\n",
                                   result.id, r.soft ? "true" : "false", removed, shared));
}
