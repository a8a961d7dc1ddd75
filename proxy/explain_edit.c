/* explain_edit.c: the one line of the ini file, or the one field of the response, that would make the next
 * request like this one a hit. Where several would do, it is the one that does not change what the response
 * means to others: the response's own words before a route's override, except where it says nothing, or where
 * it is the request that stands in the way. */
#include "cache/cookies.h"
#include "core/http_field.h"
#include "proxy/explain_case.h"

#define STORABLE     "Cache-Control: public, max-age=60"
#define SAME_FOR_ALL "the response is the same for everybody"

/* Of the cookies of one request; with more of them, all. */
#define COOKIES_NAMED_BYTES 200

struct edit_row {
    enum explain_edit_kind kind;
    const char *key, *section;
    const char *text, *only_if;
};

#define ANYWAY(kind, key, text)                                                                              \
    {                                                                                                        \
        kind, key, NULL, text, NULL                                                                          \
    }
#define FOR_ALL(kind, key, text)                                                                             \
    {                                                                                                        \
        kind, key, NULL, text, SAME_FOR_ALL                                                                  \
    }

/* Reasons without a row: nothing that one edit would change. */
static const struct edit_row edit_rows[NO_STORE_COUNT] = {
    [NO_STORE_CACHE_OFF] = FOR_ALL(EDIT_INI, "cache", "cache = on"),
    [NO_STORE_BYPASS_RULE] = FOR_ALL(EDIT_INI, "cache", "cache = on"),
    [NO_STORE_METHOD] = ANYWAY(EDIT_REQUEST, NULL, "GET (what changes nothing can be asked for with GET)"),
    [NO_STORE_REQUEST_BODY] = ANYWAY(EDIT_REQUEST, NULL, "no body (parameters can stand in the query)"),
    [NO_STORE_AUTHORIZATION] = FOR_ALL(EDIT_RESPONSE, NULL, STORABLE),
    [NO_STORE_CERTIFICATE] = FOR_ALL(EDIT_RESPONSE, NULL, STORABLE),
    [NO_STORE_NO_STORE] = FOR_ALL(EDIT_RESPONSE, NULL, STORABLE),
    [NO_STORE_PRIVATE] = FOR_ALL(EDIT_RESPONSE, NULL, STORABLE),
    [NO_STORE_SET_COOKIE] = FOR_ALL(EDIT_RESPONSE, NULL, "Cache-Control: max-age=60, private=\"Set-Cookie\""),
    [NO_STORE_DECEPTION] = FOR_ALL(EDIT_RESPONSE, NULL, STORABLE),
    [NO_STORE_NOT_FRESH] = ANYWAY(EDIT_RESPONSE, NULL, "Cache-Control: max-age=60"),
    [NO_STORE_VARY_STAR] = FOR_ALL(EDIT_RESPONSE, NULL, "Vary: Accept-Encoding"),
    [NO_STORE_VARY_TOO_LARGE] = FOR_ALL(EDIT_RESPONSE, NULL, "Vary: Accept-Encoding"),
    [NO_STORE_ALREADY_EXPIRED] = ANYWAY(EDIT_RESPONSE, NULL, "Cache-Control: max-age=60"),
    [NO_STORE_AGE_INVALID] = ANYWAY(EDIT_RESPONSE, NULL, "no Age field, or one with a number of seconds"),
    [NO_STORE_NO_MEMORY] = {EDIT_INI, "memory_size", "[cache]", "memory_size = twice as much", NULL},
    [NO_STORE_INCOMPLETE] = ANYWAY(EDIT_LOOK, NULL, "the error log: the instance broke off the response"),
    [NO_STORE_FETCH_FAILED] = ANYWAY(EDIT_LOOK, NULL, "millpond pools: the instances do not answer"),
    [NO_STORE_REQUEST_NO_STORE] =
        ANYWAY(EDIT_INI, "ignore_client_cache_control", "ignore_client_cache_control = yes"),
    [NO_STORE_ONLY_IF_CACHED] =
        ANYWAY(EDIT_INI, "ignore_client_cache_control", "ignore_client_cache_control = yes"),
};

static void set_edit(struct explain_case *e, enum explain_edit_kind kind, const char *key, const char *text)
{
    e->edit = (struct explain_edit){.kind = kind, .key = key, .text = slice_str(text)};
}

/* The route's option that gives responses with this status a lifetime, or NULL. */
static const char *ttl_key(unsigned status)
{
    switch (status) {
    case 0: /* not known: most likely */
    case 200:
    case 203:
    case 204:
    case 300:
    case 301:
    case 308:
        return "ttl";
    case 404:
    case 410:
        return "ttl_404";
    case 500:
    case 502:
    case 503:
    case 504:
        return "ttl_5xx";
    default:
        return NULL;
    }
}

static void edit_ttl(struct explain_case *e)
{
    const char *key = ttl_key(e->status);
    if (key == NULL) {
        set_edit(e, EDIT_RESPONSE, NULL, "Cache-Control: max-age=60");
        return;
    }
    e->edit = (struct explain_edit){
        .kind = EDIT_INI, .key = key, .text = arena_printf(&e->x->arena, "%s = 1m", key)};
}

static void edit_object_size(struct explain_case *e)
{
    long long kb = (long long)(2 * e->x->route->rules.max_object_bytes + KB - 1) / KB;
    e->edit = (struct explain_edit){
        .kind = EDIT_INI,
        .key = "max_object_size",
        .text = kb % 1024 == 0 ? arena_printf(&e->x->arena, "max_object_size = %lldM", kb / 1024)
                               : arena_printf(&e->x->arena, "max_object_size = %lldK", kb)};
}

/* As a value of remove_cookies it stands for itself alone. */
static bool names_itself(slice_t cookie)
{
    for (size_t i = 0; i < cookie.len; i++) {
        const char c = cookie.ptr[i];
        const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!letter && !(c >= '0' && c <= '9') && c != '_' && c != '-' && c != '.')
            return false;
    }
    return cookie.len > 0 && !slice_eq(cookie, SLICE_LIT("all"));
}

static bool list_has(slice_t list, slice_t name)
{
    slice_t item;
    while (http_list_next(&list, &item)) {
        if (slice_eq(item, name))
            return true;
    }
    return false;
}

static slice_t list_more(struct arena *a, slice_t list, slice_t name)
{
    return arena_printf(a, SLICE_FMT "%s" SLICE_FMT, SLICE_ARG(list), list.len > 0 ? ", " : "",
                        SLICE_ARG(name));
}

/* What the route removes already, and what else came. SLICE_EMPTY: that cannot be written as a short list. */
static slice_t cookies_to_remove(const struct explain_case *e)
{
    const struct exchange *x = e->x;
    const struct cache_rules *rules = &x->route->rules;
    const struct config_strings *removed = rules->remove_cookies;
    struct cookies_cursor at = {0};
    slice_t list = SLICE_EMPTY, name;
    for (size_t i = 0; removed != NULL && i < removed->count; i++)
        list = list_more(&e->x->arena, list, slice_str(removed->items[i]));
    const size_t before = list.len;
    while (cookies_next_unaccounted(&x->req, rules, &at, &name)) {
        if (!names_itself(name) || list.len - before + name.len > COOKIES_NAMED_BYTES)
            return SLICE_EMPTY;
        if (!list_has(list, name))
            list = list_more(&e->x->arena, list, name);
    }
    return list;
}

/* Of the two options that keep a cookie from counting, the one that helps whatever the cookie holds; with
 * key_cookies each of its values has a copy of its own. */
static void edit_cookies(struct explain_case *e)
{
    const slice_t list = cookies_to_remove(e);
    e->edit = (struct explain_edit){
        .kind = EDIT_INI,
        .key = "remove_cookies",
        .text = list.len > 0 ? arena_printf(&e->x->arena, "remove_cookies = " SLICE_FMT, SLICE_ARG(list))
                             : SLICE_LIT("remove_cookies = all"),
        .only_if = "the page is the same whatever these cookies say: the application will not see them"};
}

static void edit_reason(struct explain_case *e)
{
    switch (e->why) {
    case NO_STORE_NO_FRESHNESS:
    case NO_STORE_TTL_ZERO:
        edit_ttl(e);
        return;
    case NO_STORE_TOO_LARGE:
        edit_object_size(e);
        return;
    case NO_STORE_COOKIE:
        edit_cookies(e);
        return;
    default:
        break;
    }
    const struct edit_row *row = &edit_rows[e->why];
    if (row->kind == EDIT_NONE)
        return;
    set_edit(e, row->kind, row->key, row->text);
    e->edit.section = row->section;
    e->edit.only_if = row->only_if;
    if (e->why == NO_STORE_CACHE_OFF && e->cache == NULL)
        e->edit = (struct explain_edit){
            .kind = EDIT_INI, .key = "store", .section = "[cache]", .text = SLICE_LIT("store = memory")};
}

/* ---- what reasons do not say ---- */

static bool is_one_of(slice_t name, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (slice_ieq(name, slice_str(names[i])))
            return true;
    }
    return false;
}

static bool has_campaign(slice_t query)
{
    while (query.len > 0) {
        size_t end = MIN(slice_find(query, '&', 0), query.len);
        if (config_is_campaign_param(
                slice_make(query.ptr, MIN(slice_find(slice_make(query.ptr, end), '=', 0), end))))
            return true;
        size_t skip = MIN(end + 1, query.len);
        query = slice_make(query.ptr + skip, query.len - skip);
    }
    return false;
}

static slice_t query_of(slice_t url)
{
    size_t mark = slice_find(url, '?', 0);
    return mark == SIZE_MAX ? SLICE_EMPTY : slice_make(url.ptr + mark + 1, url.len - mark - 1);
}

static void edit_query(struct explain_case *e)
{
    bool campaign = has_campaign(query_of(e->x->key.text)) || has_campaign(query_of(e->other_query));
    set_edit(e, EDIT_INI, "key_query", campaign ? "key_query = except: campaign" : "key_query = none");
    e->edit.only_if = campaign ? NULL : SAME_FOR_ALL;
}

/* The names that Vary may keep: those with few values. */
static void edit_vary(struct explain_case *e)
{
    static const char *const many[] = {"user-agent", "cookie", "authorization",  "referer",
                                       "accept",     "origin", "x-forwarded-for"};
    slice_t rest = e->peek.vary_names, name, kept = SLICE_EMPTY;
    while (http_list_next(&rest, &name)) {
        if (!is_one_of(name, many, ARRAY_LEN(many)))
            kept = arena_printf(&e->x->arena, SLICE_FMT "%s" SLICE_FMT, SLICE_ARG(kept),
                                kept.len > 0 ? ", " : "", SLICE_ARG(name));
    }
    if (slice_eq(kept, e->peek.vary_names))
        return; /* these are few: the variant will come */
    e->edit = (struct explain_edit){
        .kind = EDIT_RESPONSE,
        .only_if = SAME_FOR_ALL,
        .text = kept.len > 0 ? arena_printf(&e->x->arena, "Vary: " SLICE_FMT, SLICE_ARG(kept))
                             : SLICE_LIT("no Vary field (or Vary: Accept-Encoding)")};
}

static void edit_expired(struct explain_case *e)
{
    const struct cache_freshness *f = &e->info.fresh;
    if (f->lifetime_ms > 0 && !f->never_stale)
        set_edit(e, EDIT_INI, "stale_while_revalidate", "stale_while_revalidate = 1m");
    else
        set_edit(e, EDIT_RESPONSE, NULL, "Cache-Control: max-age=60");
}

void explain_find_edit(struct explain_case *e)
{
    switch (e->cause) {
    case EXPLAIN_REASON:
        edit_reason(e);
        return;
    case EXPLAIN_NOT_STORED:
        if (e->why != NO_STORE_STORED)
            edit_reason(e);
        return;
    case EXPLAIN_REFUSED:
        set_edit(e, EDIT_INI, "ignore_client_cache_control", "ignore_client_cache_control = yes");
        return;
    case EXPLAIN_EXPIRED:
        edit_expired(e);
        return;
    case EXPLAIN_ASK_ALWAYS:
        set_edit(e, EDIT_RESPONSE, NULL, "Cache-Control: max-age=60 (without no-cache)");
        return;
    case EXPLAIN_VARIANT:
        edit_vary(e);
        return;
    case EXPLAIN_QUERY:
        edit_query(e);
        return;
    case EXPLAIN_NONE:
    case EXPLAIN_NO_ROUTE:
    case EXPLAIN_ROUTE_ANSWERS:
    case EXPLAIN_PURGED:
    case EXPLAIN_PART:
    case EXPLAIN_CAUSE_COUNT:
        return;
    }
}
