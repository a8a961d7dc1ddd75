/* purge.c: see purge.h. */
#include "cache/purge.h"

#include "cache/cache.h"
#include "core/panic.h"

static bool text_is_plain(slice_t s)
{
    for (size_t i = 0; i < s.len; i++) {
        if ((unsigned char)s.ptr[i] <= ' ' || s.ptr[i] == 0x7f)
            return false;
    }
    return true;
}

static const char *purge_problem(const struct cache_purge *p)
{
    bool url = p->kind == CACHE_PURGE_URL || p->kind == CACHE_PURGE_URL_ANY_QUERY;
    if (p->kind == CACHE_PURGE_ALL)
        return NULL;
    if (p->text.len == 0)
        return "the text is empty";
    if (p->text.len > CACHE_PURGE_TEXT_MAX)
        return "the text is longer than 8192 bytes";
    if (!text_is_plain(p->text))
        return "the text has white space or control characters";
    if (url && slice_find(p->text, ':', 0) == SIZE_MAX)
        return "a URL begins with http:// or https://";
    return NULL;
}

static size_t purge_one(struct cache *c, const struct cache_purge *p)
{
    if (p->kind != CACHE_PURGE_URL) {
        cache_purge_all(c);
        return 0;
    }
    const struct cache_key key = {p->text, hash_bytes(p->text.ptr, p->text.len)};
    return cache_purge_url(c, &key);
}

bool cache_purge(struct cache *c, const struct cache_purge *p, size_t count, struct cache_purge_result *out)
{
    *out = (struct cache_purge_result){0};
    for (size_t i = 0; i < count; i++) {
        out->problem = purge_problem(&p[i]);
        if (out->problem != NULL)
            return false;
    }
    for (size_t i = 0; i < count; i++)
        out->removed += purge_one(c, &p[i]);
    return true;
}
