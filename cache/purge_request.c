/* purge_request.c: see purge_request.h.
 *
 * Texts become key texts by the function that reads a URL into a key (key.h), so that a purge finds whatever
 * spelling a page was stored under. A purge concerns both schemes (inval_log.c); which one was written says
 * only which port goes without saying. A prefix and a glob are written like a URL and pass through the same
 * function: it leaves a `*` alone, and only a fragment would be lost, which is refused.
 *
 * Rejected: adding what is missing of a URL, such as the host of a bare path. A purge that quietly means
 * another page is worse than one that is refused. */
#include "cache/purge_request.h"

#include <inttypes.h>

#include "core/http_field.h"
#include "core/log.h"
#include "core/panic.h"
#include "core/text.h"
#include "core/timeline.h"

#define LOGGED_TEXT_MAX 200 /* bytes of all items in the log line */

#define URL_ADVICE    "write the whole URL as clients ask for it, such as http://example.com/page?x=1"
#define PREFIX_ADVICE "write how whole URLs begin, such as http://example.com/news/"
#define GLOB_ADVICE   "write a pattern for whole URLs, such as http://example.com/img/*.png or *.png"

void cache_purge_request_init(struct cache_purge_request *r, struct arena *arena)
{
    r->arena = arena;
    r->soft = r->any_query = false;
    r->url_keys = NULL;
    r->problem = r->hint = NULL;
    r->count = 0;
}

static bool refuse(struct cache_purge_request *r, const char *problem, const char *hint)
{
    r->problem = problem;
    r->hint = hint;
    return false;
}

static bool put_item(struct cache_purge_request *r, enum cache_purge_kind kind, slice_t text)
{
    if (r->count == CACHE_PURGE_ITEMS_MAX)
        return refuse(r, "this is too much for one purge", "name at most 256 things at a time");
    r->items[r->count++] = (struct cache_purge){.kind = kind, .text = text};
    return true;
}

static bool put_copy(struct cache_purge_request *r, enum cache_purge_kind kind, slice_t text)
{
    slice_t copy = arena_copy(r->arena, text);
    return copy.ptr != NULL ? put_item(r, kind, copy) : refuse(r, "out of memory", "try again");
}

/* Takes "http://" or "https://" from the front, in any case. false when there is another scheme, or half of
 * one. */
static bool take_scheme(slice_t *text, bool *secure)
{
    size_t colon = slice_find(*text, ':', 0);
    if (colon == SIZE_MAX || slice_find(*text, '/', 0) != colon + 1)
        return true;
    slice_t scheme = slice_make(text->ptr, colon);
    *text = slice_make(text->ptr + colon + 1, text->len - colon - 1);
    if (!slice_starts(*text, SLICE_LIT("//")))
        return false;
    *text = slice_make(text->ptr + 2, text->len - 2);
    *secure = slice_ieq(scheme, SLICE_LIT("https"));
    return *secure || slice_ieq(scheme, SLICE_LIT("http"));
}

static slice_t with_scheme(struct cache_purge_request *r, slice_t rest, bool secure)
{
    return arena_printf(r->arena, "%s://" SLICE_FMT, secure ? "https" : "http", SLICE_ARG(rest));
}

/* Of events, whose scheme makes no difference. */
static slice_t as_http(struct cache_purge_request *r, slice_t text)
{
    slice_t rest = cache_url_past_scheme(text);
    if (!slice_starts(text, SLICE_LIT("https://")))
        return text;
    text = arena_printf(r->arena, "http" SLICE_FMT, SLICE_ARG(rest));
    if (text.ptr == NULL)
        refuse(r, "out of memory", "try again");
    return text;
}

/* The key text of "host/path?query", for URLs and what is written like one. `.ptr` is NULL after a refusal.
 */
static slice_t key_text(struct cache_purge_request *r, slice_t rest, bool secure, const char *hint)
{
    struct cache_key key = {.text = {NULL, 0}};
    slice_t url = with_scheme(r, rest, secure);
    if (url.ptr == NULL)
        refuse(r, "out of memory", "try again");
    else if (!cache_key_from_url(r->arena, url, &key))
        refuse(r, "this is no URL, or none that could be stored", hint);
    return key.text.ptr != NULL ? as_http(r, key.text) : key.text;
}

/* The same for the beginning of a URL, or a pattern of one: what follows a '?' stays as it was written, since
 * only a whole query can be brought into the form that keys have. */
static slice_t pattern_text(struct cache_purge_request *r, slice_t rest, bool secure, const char *hint)
{
    size_t mark = MIN(slice_find(rest, '?', 0), rest.len);
    if (slice_find(rest, '#', 0) != SIZE_MAX) {
        refuse(r, "URLs that are asked for have no fragment", hint);
        return (slice_t){NULL, 0};
    }
    slice_t text = key_text(r, slice_make(rest.ptr, mark), secure, hint);
    if (text.ptr == NULL || mark == rest.len)
        return text;
    text =
        arena_printf(r->arena, SLICE_FMT SLICE_FMT, SLICE_ARG(text), (int)(rest.len - mark), rest.ptr + mark);
    if (text.ptr == NULL)
        refuse(r, "out of memory", "try again");
    return text;
}

bool cache_purge_request_add_key(struct cache_purge_request *r, slice_t key)
{
    if (r->any_query)
        key.len = MIN(key.len, slice_find(key, '?', 0));
    return put_item(r, r->any_query ? CACHE_PURGE_URL_ANY_QUERY : CACHE_PURGE_URL, key);
}

static bool add_url_by_routes(struct cache_purge_request *r, slice_t rest, bool secure)
{
    struct cache_url url;
    slice_t *texts, text = with_scheme(r, rest, secure);
    if (text.ptr != NULL && !cache_url_split(text, &url))
        return refuse(r, "this is no URL, or none that could be stored", URL_ADVICE);
    size_t count = text.ptr != NULL ? r->url_keys(r->url_keys_arg, &url, r->arena, &texts) : 0;
    bool added = count > 0 || refuse(r, "out of memory", "try again");
    for (size_t i = 0; added && i < count; i++) {
        slice_t key = as_http(r, texts[i]);
        added = key.ptr != NULL && cache_purge_request_add_key(r, key);
    }
    return added;
}

static bool add_url(struct cache_purge_request *r, slice_t rest, bool secure)
{
    if (r->url_keys != NULL)
        return add_url_by_routes(r, rest, secure);
    slice_t text = key_text(r, rest, secure, URL_ADVICE);
    return text.ptr != NULL && cache_purge_request_add_key(r, text);
}

static bool add_prefix(struct cache_purge_request *r, slice_t rest, bool secure)
{
    slice_t text = pattern_text(r, rest, secure, PREFIX_ADVICE);
    return text.ptr != NULL && put_item(r, CACHE_PURGE_PREFIX, text);
}

/* A host with a wildcard in it, or without a path, is no host to be normalised; it is put in lower case. */
static bool add_glob(struct cache_purge_request *r, slice_t rest, bool secure)
{
    size_t slash = MIN(slice_find(rest, '/', 0), rest.len);
    slice_t host = slice_make(rest.ptr, slash), text;
    if (slash < rest.len && slice_find(host, '*', 0) == SIZE_MAX && slice_find(host, '?', 0) == SIZE_MAX) {
        text = pattern_text(r, rest, secure, GLOB_ADVICE);
        return text.ptr != NULL && put_item(r, CACHE_PURGE_GLOB, text);
    }
    text = with_scheme(r, rest, false);
    if (text.ptr == NULL)
        return refuse(r, "out of memory", "try again");
    char *p = (char *)(uintptr_t)text.ptr + text.len - rest.len;
    for (size_t i = 0; i < slash; i++)
        p[i] = ascii_lower(p[i]);
    return put_item(r, CACHE_PURGE_GLOB, text);
}

/* The host as it stands in keys, which is without the port that the scheme implies. That may be either one,
 * so a host with such a port is purged with and without it. */
static bool add_host(struct cache_purge_request *r, slice_t host)
{
    static const char advice[] =
        "write a host alone, such as example.com or example.com:8080; --glob takes patterns";
    if (!http_host_is_valid(host) || slice_find(host, '*', 0) != SIZE_MAX)
        return refuse(r, "this is no host", advice);
    slice_t text = key_text(r, host, false, advice);
    if (text.ptr == NULL)
        return false;
    text = slice_make(text.ptr + strlen("http://"), text.len - strlen("http:///"));
    if (!put_item(r, CACHE_PURGE_HOST, text))
        return false;
    if (!slice_ends(text, SLICE_LIT(":443")))
        return true;
    return put_item(r, CACHE_PURGE_HOST, slice_make(text.ptr, text.len - strlen(":443")));
}

static bool add_by_url(struct cache_purge_request *r, enum cache_purge_kind kind, slice_t text)
{
    const char *advice = kind == CACHE_PURGE_PREFIX ? PREFIX_ADVICE
                         : kind == CACHE_PURGE_GLOB ? GLOB_ADVICE
                                                    : URL_ADVICE;
    slice_t rest = text;
    bool secure = false;
    if (text.ptr[0] == '/')
        return refuse(r, "a path alone does not say on which host", advice);
    if (!take_scheme(&rest, &secure))
        return refuse(r, "only http:// and https:// are cached", advice);
    if (kind == CACHE_PURGE_GLOB)
        return add_glob(r, rest, secure);
    if (rest.len == text.len && slice_find(rest, '/', 0) == SIZE_MAX)
        return refuse(r, "this is no URL", advice);
    return kind == CACHE_PURGE_PREFIX ? add_prefix(r, rest, secure) : add_url(r, rest, secure);
}

static bool has_space(slice_t text)
{
    for (size_t i = 0; i < text.len; i++) {
        if ((unsigned char)text.ptr[i] <= ' ' || text.ptr[i] == 0x7f)
            return true;
    }
    return false;
}

bool cache_purge_request_add(struct cache_purge_request *r, enum cache_purge_kind kind, slice_t text)
{
    if (kind == CACHE_PURGE_ALL)
        return put_item(r, kind, SLICE_EMPTY);
    if (text.len == 0)
        return refuse(r, "there is nothing in it", "name what to purge, or leave it out");
    if (text.len > CACHE_PURGE_TEXT_MAX)
        return refuse(r, "this is too long", "one thing to purge has at most 8192 bytes");
    if (has_space(text))
        return refuse(r, "it has white space or control characters in it",
                      kind == CACHE_PURGE_TAG ? "name tags one by one" : "percent-encode them, as in URLs");
    if (kind == CACHE_PURGE_HOST)
        return add_host(r, text);
    if (kind == CACHE_PURGE_TAG || (kind == CACHE_PURGE_GLOB && text.ptr[0] == '*'))
        return put_copy(r, kind, text);
    return add_by_url(r, kind, text);
}

bool cache_purge_request_add_tags(struct cache_purge_request *r, slice_t list, bool commas)
{
    size_t before = r->count;
    while (list.len > 0) {
        size_t n = 0;
        while (n < list.len && (unsigned char)list.ptr[n] > ' ' && !(commas && list.ptr[n] == ','))
            n++;
        if (n > 0 && !cache_purge_request_add(r, CACHE_PURGE_TAG, slice_make(list.ptr, n)))
            return false;
        n += n < list.len;
        list = slice_make(list.ptr + n, list.len - n);
    }
    return r->count > before || refuse(r, "there is no tag in it", "name at least one");
}

/* ---- doing it ---- */

enum purge_kind cache_purge_kind_of(enum cache_purge_kind kind)
{
    _Static_assert(PURGE_KIND_URL == 1 + CACHE_PURGE_URL &&
                       PURGE_KIND_URL_ANY_QUERY == 1 + CACHE_PURGE_URL_ANY_QUERY &&
                       PURGE_KIND_TAG == 1 + CACHE_PURGE_TAG && PURGE_KIND_PREFIX == 1 + CACHE_PURGE_PREFIX &&
                       PURGE_KIND_GLOB == 1 + CACHE_PURGE_GLOB && PURGE_KIND_HOST == 1 + CACHE_PURGE_HOST &&
                       PURGE_KIND_ALL == 1 + CACHE_PURGE_ALL,
                   "the table of purge kinds follows enum cache_purge_kind");
    return (enum purge_kind)(kind + 1);
}

void cache_purge_count(struct metrics_shard *metrics, enum cache_purge_kind kind, enum purge_source source)
{
    if (metrics == NULL)
        return;
    metrics_count_reason(metrics, METRICS_REASON_PURGE_KINDS, cache_purge_kind_of(kind));
    metrics_count_reason(metrics, METRICS_REASON_PURGE_SOURCES, source);
}

/* "tag a, tag b and 3 more" */
static slice_t describe(const struct cache_purge_request *r, char *buf, size_t bytes)
{
    struct text t = text_make(buf, bytes);
    size_t i = 0;
    for (; i < r->count && t.at - t.start < LOGGED_TEXT_MAX; i++) {
        slice_t text = slice_make(r->items[i].text.ptr, MIN(r->items[i].text.len, LOGGED_TEXT_MAX));
        text_put(&t, slice_str(i > 0 ? ", " : ""));
        text_put(&t, slice_str(outcome_purge_kind_name(cache_purge_kind_of(r->items[i].kind))));
        text_put(&t, slice_str(text.len > 0 ? " " : ""));
        text_put(&t, text);
        text_put(&t, slice_str(text.len < r->items[i].text.len ? "..." : ""));
    }
    if (i < r->count) {
        TEXT_LIT(&t, " and ");
        text_put_u64(&t, r->count - i);
        TEXT_LIT(&t, " more");
    }
    return text_slice(&t);
}

/* What goes together. */
static bool is_sensible(struct cache_purge_request *r)
{
    bool all = false, urls = false;
    for (size_t i = 0; i < r->count; i++) {
        r->items[i].soft = r->soft;
        all |= r->items[i].kind == CACHE_PURGE_ALL;
        urls |= r->items[i].kind == CACHE_PURGE_URL_ANY_QUERY;
    }
    if (all && r->count > 1)
        return refuse(r, "everything and something else at the same time", "leave one of the two out");
    if (r->any_query && !urls)
        return refuse(r, "there is no URL whose query could be disregarded",
                      "leave any_query out, or name a URL");
    return true;
}

bool cache_purge_request_run(struct cache *c, struct cache_purge_request *r, enum purge_source source,
                             slice_t who, struct metrics_shard *metrics, struct cache_purge_result *out)
{
    char what[2 * LOGGED_TEXT_MAX + 100], stored[64] = "";
    ASSERT(r->count > 0);
    if (!is_sensible(r))
        return false;
    if (!cache_purge(c, r->items, r->count, out))
        return refuse(r, out->problem, "nothing was purged");
    for (size_t i = 0; i < r->count; i++)
        cache_purge_count(metrics, r->items[i].kind, source);
    if (metrics != NULL)
        metrics_add(metrics, METRIC_PURGES, 1);
    if (cache_purge_request_is_counted(r))
        snprintf(stored, sizeof stored, ", %zu stored response%s", out->removed,
                 out->removed == 1 ? "" : "s");
    slice_t items = describe(r, what, sizeof what);
    log_info("purge %" PRIu64 "%s: " SLICE_FMT "%s; asked by " SLICE_FMT " (%s)", out->id,
             r->soft ? ", soft" : "", SLICE_ARG(items), stored, SLICE_ARG(who),
             outcome_purge_source_name(source));
    timeline_note(TIMELINE_PURGE, SLICE_FMT "%s; by " SLICE_FMT " (%s)", SLICE_ARG(items),
                  r->soft ? ", soft" : "", SLICE_ARG(who), outcome_purge_source_name(source));
    return true;
}

bool cache_purge_request_is_counted(const struct cache_purge_request *r)
{
    for (size_t i = 0; i < r->count; i++) {
        if (r->items[i].kind != CACHE_PURGE_URL)
            return false;
    }
    return true;
}
