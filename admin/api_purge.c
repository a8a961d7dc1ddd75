/* api_purge.c: see api_purge.h.
 *
 * The body is read strictly: an unknown member, one of another type or a text that is not of its kind refuses
 * the whole call, so that a misspelt wish is not half done. */
#include "admin/api_purge.h"

#include <event2/bufferevent.h>
#include <event2/http.h>
#include <event2/http_struct.h>
#include <sys/socket.h>

#include "cache/purge_request.h"
#include "core/arena.h"

#define PURGE_ADVICE                                                                                         \
    "send for example {\"url\": \"http://example.com/page\"}; also tags, prefix, glob, host (a text or a "   \
    "list "                                                                                                  \
    "each) or all (true), with soft and any_query (true or false)"
#define PURGE_ARENA_BYTES                                                                                    \
    (1 * MB) /* a body has at most 64 KB, and each of its texts is kept a few times over */

static bool purge_fail(struct api_call *c, const char *problem, const char *hint)
{
    api_fail(c, HTTP_BADREQUEST, problem, hint);
    return false;
}

static bool purge_add_text(struct api_call *c, struct cache_purge_request *r, enum cache_purge_kind kind,
                           const json_t *value)
{
    char problem[512];
    if (!json_is_string(value))
        return purge_fail(c, "what to purge is a text or a list of texts", PURGE_ADVICE);
    const char *text = json_string_value(value);
    if (cache_purge_request_add(r, kind, slice_make(text, json_string_length(value))))
        return true;
    snprintf(problem, sizeof problem, "%s%s%s", strlen(text) < 200 ? text : "",
             strlen(text) < 200 ? ": " : "", r->problem);
    return purge_fail(c, problem, r->hint);
}

static bool purge_add(struct api_call *c, struct cache_purge_request *r, enum cache_purge_kind kind,
                      const json_t *value)
{
    size_t i;
    const json_t *one;
    if (!json_is_array(value))
        return purge_add_text(c, r, kind, value);
    if (json_array_size(value) == 0)
        return purge_fail(c, "there is an empty list in it", PURGE_ADVICE);
    json_array_foreach(value, i, one)
    {
        if (!purge_add_text(c, r, kind, one))
            return false;
    }
    return true;
}

static bool purge_read_flag(struct api_call *c, const json_t *body, const char *name, bool *out)
{
    const json_t *value = json_object_get(body, name);
    *out = json_is_true(value);
    return value == NULL || json_is_boolean(value) ||
           purge_fail(c, "soft and any_query are true or false", PURGE_ADVICE);
}

static bool purge_read_member(struct api_call *c, struct cache_purge_request *r, const char *name,
                              const json_t *value)
{
    static const struct {
        const char *name;
        enum cache_purge_kind kind;
    } members[] = {{"url", CACHE_PURGE_URL},
                   {"tags", CACHE_PURGE_TAG},
                   {"prefix", CACHE_PURGE_PREFIX},
                   {"glob", CACHE_PURGE_GLOB},
                   {"host", CACHE_PURGE_HOST}};
    for (size_t i = 0; i < ARRAY_LEN(members); i++) {
        if (strcmp(members[i].name, name) == 0)
            return purge_add(c, r, members[i].kind, value);
    }
    if (strcmp(name, "all") != 0) {
        char problem[128];
        snprintf(problem, sizeof problem, "there is no such member: %s",
                 strlen(name) < 64 ? name : "a very long one");
        return purge_fail(c, problem, PURGE_ADVICE);
    }
    if (!json_is_true(value))
        return purge_fail(c, "all is true or left out", PURGE_ADVICE);
    return cache_purge_request_add(r, CACHE_PURGE_ALL, SLICE_EMPTY) || purge_fail(c, r->problem, r->hint);
}

/* false after a refusal. */
static bool purge_read(struct api_call *c, json_t *body, struct cache_purge_request *r)
{
    const char *name;
    json_t *value;
    if (!purge_read_flag(c, body, "soft", &r->soft) || !purge_read_flag(c, body, "any_query", &r->any_query))
        return false;
    json_object_foreach(body, name, value)
    {
        if (strcmp(name, "soft") != 0 && strcmp(name, "any_query") != 0 &&
            !purge_read_member(c, r, name, value))
            return false;
    }
    return r->count > 0 || purge_fail(c, "it does not say what to purge", PURGE_ADVICE);
}

/* The peer's address, or the user at the other end of the unix socket. */
static slice_t purge_who(const struct api_call *c, char *buf, size_t bytes)
{
    struct ucred peer;
    socklen_t len = sizeof peer;
    int fd = bufferevent_getfd(evhttp_connection_get_bufferevent(evhttp_request_get_connection(c->req)));
    if (!c->door->trusted)
        snprintf(buf, bytes, "%s", c->req->remote_host != NULL ? c->req->remote_host : "?");
    else if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0)
        snprintf(buf, bytes, "user %u", (unsigned)peer.uid);
    else
        snprintf(buf, bytes, "?");
    return slice_str(buf);
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
    json_t *body = api_body(c, PURGE_ADVICE);
    if (body == NULL)
        return;
    arena_init(&arena, NULL, 0, PURGE_ARENA_BYTES);
    cache_purge_request_init(&r, &arena);
    r.url_keys = c->a->ops.url_keys;
    r.url_keys_arg = c->a->ops.arg;
    struct cache *cache = c->a->ops.cache(c->a->ops.arg);
    if (purge_read(c, body, &r)) {
        if (cache == NULL)
            api_fail(c, 409, "there is no cache to purge", "[cache] store is off");
        else if (!cache_purge_request_run(cache, &r, c->door->trusted ? PURGE_SOURCE_CLI : PURGE_SOURCE_API,
                                          purge_who(c, who, sizeof who), c->a->control->metrics, &result))
            purge_fail(c, r.problem, r.hint);
        else
            api_send_json(c, HTTP_OK, purge_answer(&r, &result));
    }
    arena_reset(&arena);
    json_decref(body);
}
