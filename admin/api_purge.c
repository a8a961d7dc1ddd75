/* api_purge.c: see api_purge.h. What the body may say is read by cache/purge_json.h. */
#include "admin/api_purge.h"

#include <event2/http.h>

#include "cache/purge_json.h"
#include "core/arena.h"

/* A body has at most 64 KB, and each of its texts is kept a few times over. */
#define PURGE_ARENA_BYTES (1 * MB)

/* Of one that other nodes are to hear of. */
static void put_shared(const struct api_call *c, const struct cache_purge_result *result, json_t *answer)
{
    if (!result->is_shared)
        return;
    json_object_set_new(answer, "shared", json_string(c->a->ops.purge_fate(c->a->ops.arg, result)));
    json_object_set_new(answer, "stream_number", json_integer((json_int_t)result->stream_number));
}

/* {"id", "soft", "purged", "events": [{"kind", "text"}]} */
static json_t *purge_answer(const struct cache_purge_request *r, const struct cache_purge_result *result)
{
    json_t *events = json_array();
    for (size_t i = 0; i < r->count; i++) {
        const char *kind = outcome_purge_kind_name(cache_purge_kind_of(r->items[i].kind));
        slice_t text = r->items[i].text;
        json_array_append_new(events, text.len > 0
                                          ? json_pack("{s:s, s:s%}", "kind", kind, "text", text.ptr, text.len)
                                          : json_pack("{s:s}", "kind", kind));
    }
    char id[24];
    snprintf(id, sizeof id, "%llu", (unsigned long long)result->id);
    return json_pack("{s:s, s:b, s:o, s:o}", "id", id, "soft", r->soft, "purged",
                     cache_purge_request_is_counted(r) ? json_integer((json_int_t)result->removed)
                                                       : json_null(),
                     "events", events);
}

void api_post_purge(struct api_call *c)
{
    struct arena arena;
    struct cache_purge_request r;
    struct cache_purge_result result;
    char who[128];
    json_t *body = api_body(c, CACHE_PURGE_JSON_ADVICE);
    if (body == NULL)
        return;
    arena_init(&arena, NULL, 0, PURGE_ARENA_BYTES);
    cache_purge_request_init(&r, &arena);
    r.url_keys = c->a->ops.url_keys;
    r.url_keys_arg = c->a->ops.arg;
    struct cache *cache = c->a->ops.cache(c->a->ops.arg);
    if (!cache_purge_request_add_json(&r, body))
        api_fail(c, HTTP_BADREQUEST, r.problem, r.hint);
    else if (cache == NULL)
        api_fail(c, 409, "there is no cache to purge", "[cache] store is off");
    else if (!cache_purge_request_run(cache, &r, c->door->trusted ? PURGE_SOURCE_CLI : PURGE_SOURCE_API,
                                      slice_str(api_who(c, who, sizeof who)), c->a->control->metrics,
                                      &result))
        api_fail(c, HTTP_BADREQUEST, r.problem, r.hint);
    else {
        json_t *answer = purge_answer(&r, &result);
        put_shared(c, &result, answer);
        api_send_json(c, HTTP_OK, answer);
    }
    arena_reset(&arena);
    json_decref(body);
}
