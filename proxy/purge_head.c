/* purge_head.c: see purge_head.h. Worker thread; no state.
 *
 * There is no standard for these requests, but there are habits: Varnish users copy the same few
 * configurations, and what they built into their applications afterwards sends the fields named there. Those
 * that say which URLs or tags are meant without needing a language are obeyed; those that would need one are
 * refused with what to use in their place, because to ignore them would purge one page where many were meant.
 * Fields nobody uses for purging are left alone.
 *
 * A `*` in the target is a wildcard, and so is `.*`, which applications send to caches that take the target
 * for a regular expression. Purging a page whose own path has a `*` thus purges those beside it too; %2A is
 * the character itself. */
#include "proxy/purge_head.h"

#include "cache/purge_pattern.h"
#include "core/http_field.h"
#include "core/text.h"

enum purge_field {
    PURGE_FIELD_TAGS,        /* white space separates, as in the same field of a response */
    PURGE_FIELD_TAGS_COMMAS, /* commas as well */
    PURGE_FIELD_TAGS_SOFT,
    PURGE_FIELD_FASTLY_SOFT,
    PURGE_FIELD_OWN,    /* Millpond-Purge */
    PURGE_FIELD_METHOD, /* X-Purge-Method: is the target a regular expression? */
    PURGE_FIELD_URL,    /* a regular expression for path and query */
    PURGE_FIELD_HOST,   /* one for the host */
    PURGE_FIELD_TYPE,   /* one for Content-Type */
    PURGE_FIELD_REFUSED /* tags as a regular expression */
};

static const struct {
    const char *name;
    enum purge_field field;
} purge_fields[] = {
    {"surrogate-key", PURGE_FIELD_TAGS},
    {"cache-tag", PURGE_FIELD_TAGS_COMMAS},
    {"xkey", PURGE_FIELD_TAGS},
    {"xkey-purge", PURGE_FIELD_TAGS},
    {"xkey-softpurge", PURGE_FIELD_TAGS_SOFT},
    {"fastly-soft-purge", PURGE_FIELD_FASTLY_SOFT},
    {"millpond-purge", PURGE_FIELD_OWN},
    {"x-purge-method", PURGE_FIELD_METHOD},
    {"x-invalidate-pattern", PURGE_FIELD_URL},
    {"x-ban-url", PURGE_FIELD_URL},
    {"x-url", PURGE_FIELD_URL},
    {"x-ban-host", PURGE_FIELD_HOST},
    {"x-host", PURGE_FIELD_HOST},
    {"x-content-type", PURGE_FIELD_TYPE},
    {"cache-tags", PURGE_FIELD_REFUSED},
    {"x-cache-tags", PURGE_FIELD_REFUSED},
    {"x-magento-tags-pattern", PURGE_FIELD_REFUSED},
};

#define TAGS_ADVICE "list tags in Surrogate-Key, Cache-Tag or xkey-purge"
#define URL_ADVICE                                                                                           \
    "use a * in the path (BAN /news/*), or literals with `.`, `.*`, `^` and `$` only; several requests for " \
    "alternatives"

struct purge_wish { /* lives during one reading */
    const struct purge_head *in;
    struct cache_purge_request *r;
    bool tags, all, whole_host, prefix, regex;
    slice_t url, host; /* regular expressions; `.ptr` is NULL without one */
};

static bool wish_fail(struct purge_wish *w, const char *problem, const char *hint)
{
    w->r->problem = problem;
    w->r->hint = hint;
    return false;
}

static bool read_own(struct purge_wish *w, slice_t list)
{
    slice_t word;
    while (http_list_next(&list, &word)) {
        if (slice_ieq(word, SLICE_LIT("soft")))
            w->r->soft = true;
        else if (slice_ieq(word, SLICE_LIT("any-query")))
            w->r->any_query = true;
        else if (slice_ieq(word, SLICE_LIT("prefix")))
            w->prefix = true;
        else if (slice_ieq(word, SLICE_LIT("host")))
            w->whole_host = true;
        else if (slice_ieq(word, SLICE_LIT("all")))
            w->all = true;
        else
            return wish_fail(w, "there is a word in Millpond-Purge that is not known",
                             "it takes soft, any-query, prefix, host and all");
    }
    return true;
}

static bool read_pattern(struct purge_wish *w, slice_t *into, slice_t value)
{
    if (into->ptr != NULL)
        return wish_fail(w, "there is more than one pattern for the URL or for the host",
                         "send several requests");
    *into = value.len > 0 ? value : SLICE_LIT(".*");
    return true;
}

static bool read_field(struct purge_wish *w, enum purge_field field, slice_t value)
{
    switch (field) {
    case PURGE_FIELD_TAGS_SOFT:
        w->r->soft = true;
        /* fall through */
    case PURGE_FIELD_TAGS:
    case PURGE_FIELD_TAGS_COMMAS:
        w->tags = true;
        return cache_purge_request_add_tags(w->r, value, field == PURGE_FIELD_TAGS_COMMAS);
    case PURGE_FIELD_FASTLY_SOFT:
        w->r->soft |= slice_eq(value, SLICE_LIT("1"));
        return true;
    case PURGE_FIELD_OWN:
        return read_own(w, value);
    case PURGE_FIELD_METHOD:
        w->regex |= slice_ieq(value, SLICE_LIT("regex"));
        return true;
    case PURGE_FIELD_URL:
        return read_pattern(w, &w->url, value);
    case PURGE_FIELD_HOST:
        return read_pattern(w, &w->host, value);
    case PURGE_FIELD_TYPE:
        return slice_eq(value, SLICE_LIT(".*")) || wish_fail(w, "nothing is purged by its Content-Type",
                                                             "give such responses a tag; " TAGS_ADVICE);
    case PURGE_FIELD_REFUSED:
        break;
    }
    return wish_fail(w, "tags are not matched by regular expressions", TAGS_ADVICE);
}

static bool read_fields(struct purge_wish *w)
{
    const struct http_head *head = w->in->request;
    for (unsigned i = 0; i < head->field_count; i++) {
        for (size_t k = 0; k < ARRAY_LEN(purge_fields); k++) {
            if (slice_ieq(head->fields[i].name, slice_str(purge_fields[k].name)) &&
                !read_field(w, purge_fields[k].field, head->fields[i].value))
                return false;
        }
    }
    return true;
}

/* ---- what it names ---- */

static bool add_text(struct purge_wish *w, enum cache_purge_kind kind, slice_t text)
{
    return text.ptr != NULL ? cache_purge_request_add(w->r, kind, text)
                            : wish_fail(w, "out of memory", "try again");
}

static slice_t target_of(struct purge_wish *w)
{
    const struct purge_head *in = w->in;
    return arena_printf(w->r->arena, SLICE_FMT "%s" SLICE_FMT, SLICE_ARG(in->path),
                        in->query.ptr != NULL ? "?" : "", SLICE_ARG(in->query));
}

/* A target with `*`, where ".*" counts as "*". One at the end alone is a prefix, which costs less. */
static bool add_target_pattern(struct purge_wish *w, slice_t target)
{
    char *buf = arena_alloc(w->r->arena, target.len);
    if (buf == NULL)
        return wish_fail(w, "out of memory", "try again");
    struct text t = text_make(buf, target.len);
    size_t stars = 0;
    for (size_t i = 0; i < target.len; i++) {
        if (target.ptr[i] == '.' && i + 1 < target.len && target.ptr[i + 1] == '*')
            continue;
        stars += target.ptr[i] == '*';
        text_put_char(&t, target.ptr[i]);
    }
    slice_t pattern = text_slice(&t);
    bool prefix = stars == 1 && slice_ends(pattern, SLICE_LIT("*"));
    pattern.len -= prefix;
    return add_text(
        w, prefix ? CACHE_PURGE_PREFIX : CACHE_PURGE_GLOB,
        arena_printf(w->r->arena, "http://" SLICE_FMT SLICE_FMT, SLICE_ARG(w->in->host), SLICE_ARG(pattern)));
}

/* A regular expression for path and query, on one host or, as "*", on all. A path begins with '/', so what is
 * found anywhere in it is found at its beginning, or behind its first character. */
static bool add_url_regex(struct purge_wish *w, slice_t host, slice_t regex)
{
    struct cache_purge_pattern p;
    struct arena *arena = w->r->arena;
    bool every_host = slice_eq(host, SLICE_LIT("*"));
    if (!cache_purge_pattern_from_regex(arena, regex, &p))
        return wish_fail(w, "this regular expression has more in it than can be obeyed", URL_ADVICE);
    if (p.glob.ptr == NULL)
        return wish_fail(w, "out of memory", "try again");
    if ((!p.anchored && p.glob.len == 0) || slice_eq(p.glob, SLICE_LIT("/*")))
        return every_host ? cache_purge_request_add(w->r, CACHE_PURGE_ALL, SLICE_EMPTY)
                          : add_text(w, CACHE_PURGE_HOST, host);
    bool begins = p.glob.len > 0 && (p.glob.ptr[0] == '/' || p.glob.ptr[0] == '?');
    if (p.anchored && !begins)
        return wish_fail(w, "this regular expression matches no path, since they all begin with /",
                         URL_ADVICE);
    if (begins &&
        !add_text(w, CACHE_PURGE_GLOB,
                  arena_printf(arena, "http://" SLICE_FMT SLICE_FMT, SLICE_ARG(host), SLICE_ARG(p.glob))))
        return false;
    return p.anchored || add_text(w, CACHE_PURGE_GLOB,
                                  arena_printf(arena, "http://" SLICE_FMT "/*" SLICE_FMT, SLICE_ARG(host),
                                               SLICE_ARG(p.glob)));
}

static bool add_by_fields(struct purge_wish *w)
{
    slice_t host = w->in->host;
    if (w->host.ptr != NULL)
        host = cache_purge_host_from_regex(w->r->arena, w->host);
    if (host.ptr == NULL)
        return wish_fail(w, "only one host, or .* for all, can be meant by a pattern for the host",
                         URL_ADVICE);
    return add_url_regex(w, host, w->url.ptr != NULL ? w->url : SLICE_LIT(".*"));
}

static bool add_named(struct purge_wish *w)
{
    slice_t target = target_of(w);
    if (target.ptr == NULL)
        return wish_fail(w, "out of memory", "try again");
    if (w->all)
        return cache_purge_request_add(w->r, CACHE_PURGE_ALL, SLICE_EMPTY);
    if (w->whole_host)
        return add_text(w, CACHE_PURGE_HOST, w->in->host);
    if (w->url.ptr != NULL || (w->host.ptr != NULL && w->in->request->method == HTTP_BAN))
        return add_by_fields(w);
    if (w->regex)
        return add_url_regex(w, w->in->host, target);
    if (w->prefix)
        return add_text(w, CACHE_PURGE_PREFIX,
                        arena_printf(w->r->arena, "http://" SLICE_FMT SLICE_FMT, SLICE_ARG(w->in->host),
                                     SLICE_ARG(target)));
    if (slice_find(target, '*', 0) != SIZE_MAX)
        return add_target_pattern(w, target);
    bool added = true;
    for (size_t i = 0; added && i < w->in->key_count; i++)
        added = cache_purge_request_add_key(w->r, w->in->keys[i]);
    return added;
}

bool purge_head_read(const struct purge_head *h, struct cache_purge_request *r)
{
    struct purge_wish w = {.in = h, .r = r, .url = {NULL, 0}, .host = {NULL, 0}};
    if (!read_fields(&w))
        return false;
    bool pattern = w.url.ptr != NULL || w.regex;
    if (w.tags + w.all + w.whole_host + w.prefix + pattern > 1)
        return wish_fail(&w, "the fields of the request name different things", "send one request for each");
    if (w.tags)
        return true;
    if (h->request->method == HTTP_PURGEKEYS)
        return wish_fail(&w, "PURGEKEYS is for tags, and there are none", TAGS_ADVICE);
    return add_named(&w);
}
