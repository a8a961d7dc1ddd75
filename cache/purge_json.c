/* purge_json.c: see purge_json.h. */
#include "cache/purge_json.h"

#include "core/text.h"

#define SHOWN_MAX 200 /* bytes of a text that a problem repeats */

static bool fail(struct cache_purge_request *r, const char *problem)
{
    r->problem = problem;
    r->hint = CACHE_PURGE_JSON_ADVICE;
    return false;
}

/* "text: problem", or the problem alone when the text is long or memory short. */
static const char *problem_of(struct cache_purge_request *r, const char *text, const char *problem)
{
    slice_t s = {NULL, 0};
    if (strlen(text) < SHOWN_MAX)
        s = arena_printf(r->arena, "%s: %s", text, problem);
    return s.ptr != NULL ? s.ptr : problem;
}

static bool add_text(struct cache_purge_request *r, enum cache_purge_kind kind, const json_t *value)
{
    if (!json_is_string(value))
        return fail(r, "what to purge is a text or a list of texts");
    const char *text = json_string_value(value);
    if (cache_purge_request_add(r, kind, slice_make(text, json_string_length(value))))
        return true;
    r->problem = problem_of(r, text, r->problem);
    return false;
}

static bool add_texts(struct cache_purge_request *r, enum cache_purge_kind kind, const json_t *value)
{
    size_t i;
    const json_t *one;
    if (!json_is_array(value))
        return add_text(r, kind, value);
    if (json_array_size(value) == 0)
        return fail(r, "there is an empty list in it");
    json_array_foreach(value, i, one)
    {
        if (!add_text(r, kind, one))
            return false;
    }
    return true;
}

static bool read_flag(struct cache_purge_request *r, const json_t *object, const char *name, bool *out)
{
    const json_t *value = json_object_get(object, name);
    *out = json_is_true(value);
    return value == NULL || json_is_boolean(value) || fail(r, "soft and any_query are true or false");
}

static bool read_member(struct cache_purge_request *r, const char *name, const json_t *value)
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
            return add_texts(r, members[i].kind, value);
    }
    if (strcmp(name, "all") != 0) {
        slice_t s = arena_printf(r->arena, "there is no such member: %s",
                                 strlen(name) < 64 ? name : "a very long one");
        return fail(r, s.ptr != NULL ? s.ptr : "there is a member that is not known");
    }
    if (!json_is_true(value))
        return fail(r, "all is true or left out");
    return cache_purge_request_add(r, CACHE_PURGE_ALL, SLICE_EMPTY);
}

bool cache_purge_request_add_json(struct cache_purge_request *r, const json_t *object)
{
    const char *name;
    json_t *value;
    if (!read_flag(r, object, "soft", &r->soft) || !read_flag(r, object, "any_query", &r->any_query))
        return false;
    json_object_foreach((json_t *)(uintptr_t)object, name, value)
    {
        if (strcmp(name, "soft") != 0 && strcmp(name, "any_query") != 0 && !read_member(r, name, value))
            return false;
    }
    return r->count > 0 || fail(r, "it does not say what to purge");
}
