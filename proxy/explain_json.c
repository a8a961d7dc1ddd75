/* explain_json.c: see explain_json.h. json_object_set_new takes NULL (out of memory) as a failure and goes
 * on, so an answer that ran short is merely incomplete. Everything listed is bounded: a text at TEXT_MAX
 * bytes, variants and routes by number. */
#include "proxy/explain_json.h"

#include "admin/json_put.h"
#include "cache/stale.h"
#include "proxy/deliver.h"
#include "proxy/hedge.h"

#define TEXT_MAX   2048
#define ROUTES_MAX 16

static void put_str(json_t *o, const char *key, const char *text)
{
    explain_put_text(o, key, slice_str(text));
}

static void put_bool(json_t *o, const char *key, bool is)
{
    json_object_set_new(o, key, json_boolean(is));
}

void explain_put_text(json_t *o, const char *key, slice_t text)
{
    char copy[TEXT_MAX];
    size_t len = MIN(text.len, sizeof copy);
    json_t *value = json_stringn(text.ptr, len);
    for (size_t i = 0; value == NULL && i < len; i++)
        copy[i] = (unsigned char)text.ptr[i] < 0x80 ? text.ptr[i] : '?';
    json_object_set_new(o, key, value != NULL ? value : json_stringn(copy, len));
}

/* Appends "name value" of one kind of condition. */
static slice_t more(struct arena *a, slice_t text, const char *name, const char *value, size_t len)
{
    if (text.len > TEXT_MAX / 2)
        return text;
    slice_t grown = arena_printf(a, SLICE_FMT "%s%s = %.*s", SLICE_ARG(text), text.len > 0 ? ", " : "", name,
                                 (int)len, value);
    return grown.ptr != NULL ? grown : text;
}

static slice_t conditions(struct arena *a, const struct config_route *r)
{
    slice_t text = SLICE_EMPTY;
    for (size_t i = 0; i < r->hosts.count; i++)
        text = more(a, text, "host", r->hosts.items[i], strlen(r->hosts.items[i]));
    for (size_t i = 0; i < r->path_count; i++) {
        slice_t path = slice_make(r->paths[i].text, r->paths[i].len);
        if (r->paths[i].match == CONFIG_PATH_PREFIX)
            path = arena_printf(a, SLICE_FMT "*", SLICE_ARG(path));
        else if (r->paths[i].match == CONFIG_PATH_SUFFIX)
            path = arena_printf(a, "*" SLICE_FMT, SLICE_ARG(path));
        text = more(a, text, "path", path.ptr != NULL ? path.ptr : "", path.len);
    }
    for (size_t i = 0; i < r->methods.count; i++)
        text = more(a, text, "method", r->methods.items[i], strlen(r->methods.items[i]));
    for (size_t i = 0; i < r->header_count; i++)
        text = more(a, text, "header", r->headers[i].name, strlen(r->headers[i].name));
    return text;
}

static void put_origin(json_t *o, struct config_origin at)
{
    if (at.file == NULL)
        return;
    put_str(o, "file", at.file);
    admin_put_int(o, "line", at.line);
}

void explain_add_route(json_t *o, const struct explain_case *e)
{
    const struct route *r = e->x->route;
    if (r == NULL) {
        json_object_set_new(o, "route", json_null());
        return;
    }
    json_t *route = json_object(), *before = json_array();
    put_str(route, "name", r->config->name);
    put_origin(route, r->config->origin);
    slice_t text = conditions(&e->x->arena, r->config);
    explain_put_text(route, "matches", text.len > 0 ? text : SLICE_LIT("everything"));
    const struct route *listed = r->stable != NULL ? r->stable : r;
    for (const struct route *other = e->snapshot->routes;
         other < listed && json_array_size(before) < ROUTES_MAX; other++)
        json_array_append_new(before, json_string(other->config->name));
    json_object_set_new(route, "did_not_match", before);
    if (r->pool != NULL) {
        const struct config_pool *pool = pool_config(r->pool);
        put_str(route, "pool", pool->name);
        put_str(route, "balance", pool_balance_name(r->pool));
        if (pool->sticky_cookie[0] != '\0')
            put_str(route, "sticky_cookie", pool->sticky_cookie);
    }
    put_bool(route, "limits_addresses", r->config->allow.count + r->config->deny.count > 0);
    if (r->split != NULL)
        put_str(route, "split", r->config->split.text);
    if (r->config->rate_limit.amount > 0)
        put_str(route, "rate_limit", r->config->rate_limit.text);
    if (r->config->root[0] != '\0')
        put_str(route, "root", r->config->root);
    if (r->auth != NULL)
        put_str(route, "basic_auth", r->config->basic_auth);
    if (r->config->timeout_ms > 0)
        admin_put_int(route, "timeout_ms", r->config->timeout_ms);
    if (r->hedges) {
        put_str(route, "hedge", r->heads != NULL ? "p95" : "fixed");
        admin_put_int(route, "hedge_after_us", hedge_after_us(r));
    }
    json_object_set_new(o, "route", route);
}

void explain_add_key(json_t *o, const struct explain_case *e)
{
    explain_put_text(o, "key", e->x->key.text);
    if (e->coding.len > 0)
        explain_put_text(o, "coding", e->coding);
    if (!e->looked_up || !e->peek.varies)
        return;
    explain_put_text(o, "vary", e->peek.vary_names);
    explain_put_text(o, "vary_key", e->peek.secondary);
}

/* ---- what is stored ---- */

static json_t *stored_json(const struct explain_case *e)
{
    const struct cache_object_info *i = &e->info;
    const struct cache_freshness *f = &i->fresh;
    const struct cache_stale stale = cache_stale_of_stored(i, &e->x->route->rules);
    dur_ms_t age_ms = cache_freshness_age_ms(f, e->now_ms);
    json_t *o = json_object();
    admin_put_int(o, "status", i->status);
    admin_put_int(o, "bytes", (int64_t)cache_object_filled(e->peek.object));
    admin_put_int(o, "age_s", age_ms / 1000);
    admin_put_int(o, "ttl_s", f->lifetime_ms / 1000);
    put_str(o, "ttl_from", freshness_source_name((enum freshness_source)f->source));
    admin_put_int(o, "fresh_for_s", (f->lifetime_ms - age_ms) / 1000);
    put_bool(o, "fresh", cache_freshness_is_fresh(f, e->now_ms));
    put_bool(o, "asked_each_time", f->revalidate_always);
    put_bool(o, "never_stale", f->never_stale);
    admin_put_int(o, "stale_while_revalidate_s", stale.while_revalidate_ms / 1000);
    admin_put_int(o, "stale_if_error_s", stale.if_error_ms / 1000);
    const slice_t coding = head_text_field(i->head, HTTP_FIELD_CONTENT_ENCODING);
    if (coding.len > 0)
        explain_put_text(o, "content_encoding", coding);
    if (i->validators.etag.len > 0)
        explain_put_text(o, "etag", i->validators.etag);
    if (i->validators.last_modified.len > 0)
        explain_put_text(o, "last_modified", i->validators.last_modified);
    if (cache_object_tags(e->peek.object).len > 0)
        explain_put_text(o, "tags", cache_object_tags(e->peek.object));
    return o;
}

/* A secondary key for who may read this page, but is not the client it belongs to: credentials are no more
 * than their length. The newline of each line but the last stays. */
static slice_t without_secrets(struct arena *a, slice_t key)
{
    slice_t out = SLICE_EMPTY;
    while (key.len > 0) {
        size_t end = MIN(slice_find(key, '\n', 0), key.len), colon = MIN(slice_find(key, ':', 0), end);
        slice_t line = slice_make(key.ptr, end), name = slice_make(key.ptr, colon);
        enum http_field_id id = http_field_lookup(name);
        const char *gap = out.len > 0 ? "\n" : "";
        if ((id == HTTP_FIELD_COOKIE || id == HTTP_FIELD_AUTHORIZATION) && colon < end)
            out = arena_printf(a, SLICE_FMT "%s" SLICE_FMT ": (%zu bytes)", SLICE_ARG(out), gap,
                               SLICE_ARG(name), end - colon - 1);
        else
            out = arena_printf(a, SLICE_FMT "%s" SLICE_FMT, SLICE_ARG(out), gap, SLICE_ARG(line));
        size_t skip = MIN(end + 1, key.len);
        key = slice_make(key.ptr + skip, key.len - skip);
    }
    return out;
}

static json_t *variants_json(const struct explain_case *e)
{
    json_t *list = json_array();
    for (size_t i = 0; i < MIN(e->peek.variant_count, (size_t)CACHE_PEEK_VARIANTS); i++) {
        const struct cache_peek_variant *v = &e->peek.variants[i];
        const struct cache_object_info info = cache_object_info(v->object);
        json_t *o = json_object();
        explain_put_text(o, "key", without_secrets(&e->x->arena, v->secondary));
        admin_put_int(o, "bytes", (int64_t)cache_object_filled(v->object));
        admin_put_int(o, "age_s", cache_freshness_age_ms(&info.fresh, e->now_ms) / 1000);
        put_bool(o, "chosen", v->object == e->peek.object);
        json_array_append_new(list, o);
    }
    return list;
}

void explain_add_cache(json_t *o, const struct explain_case *e)
{
    const struct cache_peek *p = &e->peek;
    if (!e->looked_up)
        return;
    if (e->slice.is)
        admin_put_int(o, "slice", (int64_t)e->slice.index);
    json_object_set_new(o, "stored", p->object != NULL ? stored_json(e) : json_null());
    if (p->varies) {
        admin_put_int(o, "variant_count", (int64_t)p->variant_count);
        json_object_set_new(o, "variants", variants_json(e));
    }
    put_bool(o, "fetching", p->fetching);
    put_bool(o, "purged", p->purged_ms > 0);
    if (!p->passing)
        return;
    json_t *pass = json_object();
    put_str(pass, "reason", outcome_no_store_name(p->pass.why));
    admin_put_int(pass, "status", p->pass.status);
    admin_put_int(pass, "ago_s", p->pass.ago_ms / 1000);
    admin_put_int(pass, "left_s", (p->pass.left_ms + 999) / 1000);
    json_object_set_new(o, "remembered", pass);
}

/* ---- what would happen ---- */

static json_t *edit_json(const struct explain_case *e)
{
    static const char *const kinds[] = {"none", "ini", "response", "request", "look"};
    const struct explain_edit *edit = &e->edit;
    if (edit->kind == EDIT_NONE)
        return json_null();
    json_t *o = json_object();
    put_str(o, "in", kinds[edit->kind]);
    explain_put_text(o, "text", edit->text);
    if (edit->only_if != NULL)
        put_str(o, "only_if", edit->only_if);
    if (edit->kind != EDIT_INI)
        return o;
    const struct config_route *r = e->x->route->config;
    struct config_origin at = config_route_origin(e->snapshot->config, r, edit->key);
    put_bool(o, "replaces", at.file != NULL);
    put_origin(o, at.file != NULL || edit->section != NULL ? at : r->origin);
    slice_t section =
        edit->section != NULL ? slice_str(edit->section) : arena_printf(&e->x->arena, "[route %s]", r->name);
    explain_put_text(o, "section", section);
    return o;
}

static const char *reason_of(const struct explain_case *e)
{
    if (e->cause == EXPLAIN_REASON)
        return outcome_no_store_name(e->said);
#define X(id, name) name,
    static const char *const names[] = {EXPLAIN_CAUSES(X)};
#undef X
    return names[e->cause];
}

/* What a response would need in order to be stored, tried on the rules themselves. */
static json_t *tries_json(const struct explain_case *e)
{
    static const struct {
        unsigned status;
        const char *control;
    } tries[] = {{200, ""}, {200, "max-age=60"}, {200, "public, max-age=60"}, {404, ""}, {404, "max-age=60"}};
    json_t *list = json_array();
    for (size_t i = 0; i < ARRAY_LEN(tries); i++) {
        struct cache_freshness f;
        enum no_store_reason why = explain_try_response(e, tries[i].status, slice_str(tries[i].control), &f);
        json_t *o = json_object();
        admin_put_int(o, "status", tries[i].status);
        put_str(o, "cache_control", tries[i].control);
        put_str(o, "outcome", outcome_no_store_name(why));
        if (why == NO_STORE_STORED) {
            admin_put_int(o, "ttl_s", f.lifetime_ms / 1000);
            put_str(o, "ttl_from", freshness_source_name((enum freshness_source)f.source));
        }
        json_array_append_new(list, o);
    }
    return list;
}

void explain_add_verdict(json_t *o, const struct explain_case *e)
{
    put_str(o, "verdict", outcome_verdict_name(e->verdict));
    put_str(o, "verdict_text", outcome_verdict_text(e->verdict));
    put_str(o, "reason", reason_of(e));
    explain_put_text(o, "why", e->cause_text);
    json_object_set_new(o, "edit", edit_json(e));
    if (e->not_yet_known)
        json_object_set_new(o, "would_be_stored", tries_json(e));
}
