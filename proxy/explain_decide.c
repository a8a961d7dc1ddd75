/* explain_decide.c: the decisions of phase LOOKUP once more, without acting on them.
 *
 * Each rule is asked of the function that decides it (request_rules.h, storable.h, freshness.h, stale.h);
 * what stands here is the order in which phase_lookup.c asks, and tests/e2e/explain.c holds what is said
 * against what happens next. */
#include "cache/cookies.h"
#include "cache/guard.h"
#include "cache/request_rules.h"
#include "cache/slicing.h"
#include "cache/stale.h"
#include "cache/storable.h"
#include "core/http_date.h"
#include "proxy/compress.h"
#include "proxy/deliver.h"
#include "proxy/explain_case.h"
#include "proxy/no_vary.h"
#include "proxy/phase.h"

#define OTHER_QUERY_SLOTS 65536 /* of the index that are looked at for the same page under other queries */

#define SAY(e, ...) arena_printf(&(e)->x->arena, __VA_ARGS__)

enum no_store_reason explain_try_response(const struct explain_case *e, unsigned status, slice_t control,
                                          struct cache_freshness *fresh)
{
    struct http_field fields[] = {{.name = http_field_name(HTTP_FIELD_CONTENT_TYPE),
                                   .value = SLICE_LIT("application/octet-stream"), /* fits any path */
                                   .id = HTTP_FIELD_CONTENT_TYPE},
                                  {.name = http_field_name(HTTP_FIELD_CACHE_CONTROL),
                                   .value = control,
                                   .id = HTTP_FIELD_CACHE_CONTROL}};
    struct http_head response = {.status = (uint16_t)status,
                                 .fields = fields,
                                 .field_count = control.len > 0 ? 2 : 1,
                                 .present = HTTP_BIT(CONTENT_TYPE)};
    struct cache_control cc;
    const struct exchange *x = e->x;
    const struct cache_rules *rules = &x->route->rules;
    if (control.len > 0)
        response.present |= HTTP_BIT(CACHE_CONTROL);
    cache_control_parse(&response, &cc);
    cache_freshness_compute(&response, &cc, rules, e->now_ms, e->now_ms, fresh);
    enum no_store_reason why = cache_response_storable(&x->req, &response, &cc, fresh, rules, 1);
    return why != NO_STORE_STORED ? why
                                  : guard_response((enum no_store_reason)x->credentials, x->target.path,
                                                   &response, &cc, fresh, rules);
}

static void outcome(struct explain_case *e, enum cache_verdict v, enum explain_cause cause, slice_t text)
{
    e->verdict = v;
    e->cause = cause;
    e->cause_text = text;
}

static void outcome_reason(struct explain_case *e, enum cache_verdict v, enum no_store_reason why)
{
    e->why = e->said = why;
    outcome(e, v, EXPLAIN_REASON, slice_str(outcome_no_store_text(why)));
}

static dur_ms_t stale_for_ms(const struct explain_case *e)
{
    return -cache_freshness_left_ms(&e->info.fresh, e->now_ms);
}

/* ---- nothing that may be used is stored: a fetch ---- */

static long long purged_s(const struct explain_case *e)
{
    return MAX(e->now_ms - e->peek.purged_ms, 0) / 1000;
}

static void decide_expired(struct explain_case *e)
{
    const struct cache_freshness *f = &e->info.fresh;
    if (e->peek.purged_ms > 0)
        outcome(e, VERDICT_EXPIRED, EXPLAIN_PURGED,
                SAY(e, "a soft purge made it stale %lld s ago, and nobody asked the instance since",
                    purged_s(e)));
    else if (f->revalidate_always)
        outcome(e, VERDICT_EXPIRED, EXPLAIN_ASK_ALWAYS,
                SLICE_LIT("Cache-Control: no-cache: the instance is asked each time whether it still holds"));
    else if (f->lifetime_ms <= 0)
        outcome(e, VERDICT_EXPIRED, EXPLAIN_EXPIRED,
                SAY(e, "it may be used for 0 s (%s): the instance is asked each time",
                    freshness_source_name((enum freshness_source)f->source)));
    else
        outcome(e, VERDICT_EXPIRED, EXPLAIN_EXPIRED,
                SAY(e, "it was fresh for %lld s (%s), which ended %lld s ago",
                    (long long)((f->lifetime_ms - f->corrected_initial_ms) / 1000),
                    freshness_source_name((enum freshness_source)f->source),
                    (long long)(stale_for_ms(e) / 1000)));
}

/* What a response to a request like this must be: asked of the rules with one that says nothing. */
static void decide_unseen(struct explain_case *e)
{
    struct cache_freshness f;
    const char *where = config_store_is_shared(e->x->view->shared->config->cache.store) ? " in memory" : "";
    e->not_yet_known = true;
    e->why = explain_try_response(e, 200, SLICE_EMPTY, &f);
    e->status = 200;
    if (e->why == NO_STORE_STORED)
        outcome(e, VERDICT_MISS, EXPLAIN_NOT_STORED,
                SAY(e,
                    "nothing is stored%s, and nothing is known of an earlier response; a 200 that says "
                    "nothing about caching would be stored for %lld s (%s)",
                    where, (long long)(f.lifetime_ms / 1000),
                    freshness_source_name((enum freshness_source)f.source)));
    else
        outcome(e, VERDICT_MISS, EXPLAIN_NOT_STORED,
                SAY(e,
                    "nothing is stored%s, and nothing is known of an earlier response; a 200 that says "
                    "nothing about caching would not be stored: %s",
                    where, outcome_no_store_text(e->why)));
}

/* The names alone: values are other clients'. */
static slice_t query_names(const struct explain_case *e)
{
    size_t mark = slice_find(e->other_query, '?', 0);
    if (mark == SIZE_MAX)
        return SLICE_LIT("no query at all");
    slice_t rest = slice_make(e->other_query.ptr + mark + 1, e->other_query.len - mark - 1),
            out = SLICE_EMPTY;
    while (rest.len > 0 && out.len < 200) {
        size_t end = MIN(slice_find(rest, '&', 0), rest.len);
        size_t name = MIN(slice_find(slice_make(rest.ptr, end), '=', 0), end);
        out = SAY(e, SLICE_FMT "%s%.*s%s", SLICE_ARG(out), out.len > 0 ? "&" : "?",
                  (int)MIN(name, (size_t)60), rest.ptr, name < end ? "=..." : "");
        size_t skip = MIN(end + 1, rest.len);
        rest = slice_make(rest.ptr + skip, rest.len - skip);
    }
    return out;
}

static void decide_other_queries(struct explain_case *e)
{
    e->other_queries = cache_peek_queries(e->cache, &e->x->key, OTHER_QUERY_SLOTS, &e->other_query);
    slice_t query = query_names(e);
    if (e->other_queries > 0)
        outcome(e, VERDICT_MISS, EXPLAIN_QUERY,
                SAY(e,
                    "the same page is stored under %zu other quer%s (such as " SLICE_FMT
                    "), and each is a page of its own",
                    e->other_queries, e->other_queries == 1 ? "y" : "ies", SLICE_ARG(query)));
    else
        decide_unseen(e);
}

static void decide_absent(struct explain_case *e)
{
    const struct cache_peek *p = &e->peek;
    if (!p->variant_known)
        outcome_reason(e, VERDICT_MISS, NO_STORE_VARY_TOO_LARGE);
    else if (p->variant_count > 0)
        outcome(e, VERDICT_MISS, EXPLAIN_VARIANT,
                SAY(e, "stored for other values of " SLICE_FMT " only (Vary): %zu variant%s",
                    SLICE_ARG(p->vary_names), p->variant_count, p->variant_count == 1 ? "" : "s"));
    else if (p->purged_ms > 0)
        outcome(e, VERDICT_MISS, EXPLAIN_PURGED,
                SAY(e, "it was purged %lld s ago, and not stored since", purged_s(e)));
    else
        decide_other_queries(e);
}

static void decide_passing(struct explain_case *e, enum cache_verdict v)
{
    const struct cache_pass_memory *m = &e->peek.pass;
    long long ago_s = (long long)(m->ago_ms / 1000);
    slice_t status = m->status > 0 ? SAY(e, "status %u, ", m->status) : SLICE_EMPTY;
    e->status = m->status;
    outcome_reason(e, v, m->why != NO_STORE_STORED ? m->why : NO_STORE_PASS_REMEMBERED);
    e->said = no_store_remembered(m->why);
    if (m->why != NO_STORE_STORED)
        e->cause_text = SAY(e, "the last response (" SLICE_FMT "%lld s ago) could not be stored: %s",
                            SLICE_ARG(status), ago_s, outcome_no_store_text(m->why));
}

static bool is_personal(const struct explain_case *e)
{
    return e->x->credentials != NO_STORE_STORED && cache_is_personal(e->cache, &e->x->key);
}

static void decide_part(struct explain_case *e)
{
    if (e->part.held.end > e->part.held.start)
        outcome(e, VERDICT_PARTIAL, EXPLAIN_PART,
                SAY(e, "of its %llu bytes only %llu to %llu are stored; the next fetch brings the whole",
                    (unsigned long long)e->part.size, (unsigned long long)e->part.held.start,
                    (unsigned long long)(e->part.held.end - 1)));
    else
        outcome(e, VERDICT_PARTIAL, EXPLAIN_PART,
                SLICE_LIT("what is stored is the answer to another Range, and to nothing else"));
}

static void decide_fetch(struct explain_case *e, bool refused, bool insists)
{
    enum cache_verdict v = refused                  ? VERDICT_REFRESHED
                           : e->part.alone          ? VERDICT_PARTIAL
                           : e->peek.object != NULL ? VERDICT_EXPIRED
                                                    : VERDICT_MISS;
    if (refused)
        outcome(
            e, v, EXPLAIN_REFUSED,
            SLICE_LIT("a fresh response is stored, but the client's Cache-Control or Pragma asks for a newer "
                      "one, and this route obeys"));
    else if (e->peek.passing)
        decide_passing(e, v);
    else if (e->x->req.method == HTTP_HEAD && e->peek.object == NULL && !e->slice.is)
        outcome_reason(e, v, NO_STORE_METHOD);
    else if (is_personal(e))
        outcome_reason(e, v, (enum no_store_reason)e->x->credentials);
    else if (e->part.alone)
        decide_part(e);
    else if (e->peek.object != NULL)
        decide_expired(e);
    else
        decide_absent(e);
    if (e->peek.fetching && !e->peek.passing && !is_personal(e) && !insists && e->x->req.method == HTTP_GET &&
        !cache_request_wants_events(&e->x->req))
        e->verdict = VERDICT_COLLAPSED;
}

/* ---- in the order of phase_lookup.c ---- */

static void decide_directed(struct explain_case *e)
{
    struct cache_control cc, stored;
    cache_request_control(&e->x->req, &cc);
    enum cache_use use = CACHE_USE_EXPIRED;
    if (e->peek.object != NULL && !e->part.alone)
        use = cache_request_use(&cc, &e->info.fresh, e->now_ms);
    if (use == CACHE_USE_REFUSED && cache_request_takes_immutable(&cc) &&
        cache_control_of_stored(&e->info, &stored) && (stored.flags & CC_IMMUTABLE) != 0)
        use = CACHE_USE_FRESH;
    if (use == CACHE_USE_FRESH || use == CACHE_USE_STALE) {
        outcome(e, use == CACHE_USE_FRESH ? VERDICT_HIT : VERDICT_STALE, EXPLAIN_NONE, SLICE_EMPTY);
        return;
    }
    decide_fetch(e, use == CACHE_USE_REFUSED, cache_request_insists(&cc));
    if (cc.flags & CC_ONLY_IF_CACHED)
        outcome_reason(e, e->verdict, NO_STORE_ONLY_IF_CACHED);
    else if (cc.flags & CC_NO_STORE)
        outcome_reason(e, e->verdict, NO_STORE_REQUEST_NO_STORE);
}

/* What is stored is not for this request. */
static void decide_refused(struct explain_case *e)
{
    struct cache_control cc;
    bool directed = cache_request_directs(&e->x->req, &e->x->route->rules);
    cache_request_control(&e->x->req, &cc);
    if (directed && (cc.flags & CC_ONLY_IF_CACHED))
        outcome_reason(e, VERDICT_MISS, NO_STORE_ONLY_IF_CACHED);
    else
        outcome_reason(e, directed ? VERDICT_MISS : VERDICT_PASS, (enum no_store_reason)e->x->credentials);
}

static void decide_looked_up(struct explain_case *e)
{
    const struct exchange *x = e->x;
    const struct cache_object *o = e->peek.object;
    const bool directed = cache_request_directs(&x->req, &x->route->rules);
    e->part.alone =
        o != NULL && e->info.status == 206 && !e->slice.is &&
        partial_use(&x->req, &e->info, e->now_ms / 1000, &e->part.held, &e->part.size) == PARTIAL_NOTHING;
    if (o != NULL && !guard_allows((enum no_store_reason)x->credentials, &e->info.fresh))
        decide_refused(e);
    else if (e->part.alone && e->part.size > (uint64_t)x->route->rules.max_object_bytes && !directed)
        outcome_reason(e, VERDICT_PARTIAL, NO_STORE_TOO_LARGE);
    else if (directed)
        decide_directed(e);
    else if (e->part.alone)
        decide_fetch(e, false, false);
    else if (o != NULL && cache_freshness_is_fresh(&e->info.fresh, e->now_ms))
        outcome(e, VERDICT_HIT, EXPLAIN_NONE, SLICE_EMPTY);
    else if (o != NULL && x->req.method == HTTP_GET &&
             stale_for_ms(e) < cache_stale_of_stored(&e->info, &x->route->rules).while_revalidate_ms)
        outcome(e, VERDICT_STALE, EXPLAIN_NONE, SLICE_EMPTY);
    else
        decide_fetch(e, false, false);
}

static bool make_key(struct explain_case *e)
{
    struct exchange *x = e->x;
    phase_route_drop(x);
    if ((x->req.present & (HTTP_BIT(COOKIE) | HTTP_BIT(AUTHORIZATION))) != 0) {
        cookies_remove(&x->req, &x->route->rules);
        x->credentials = (uint8_t)guard_credentials(&x->req, &x->route->rules, false);
    }
    if (!exchange_build_key(x))
        return false;
    if (e->cache != NULL && (x->req.method == HTTP_GET || x->req.method == HTTP_HEAD))
        no_vary_apply(x, e->cache);
    return true;
}

static void look_up(struct explain_case *e)
{
    struct exchange *x = e->x;
    cache_peek(e->cache, &x->key, &x->req, &x->arena, &e->peek);
    if (e->peek.object != NULL || x->no_vary == NULL)
        return;
    struct cache_peek exact; /* as no_vary_find_exact */
    cache_peek(e->cache, &x->no_vary->exact, &x->req, &x->arena, &exact);
    if (exact.object == NULL)
        return;
    e->peek = exact;
    no_vary_leave(x);
}

/* What is stored of a slice. false: no memory. */
static bool peek_slice(struct explain_case *e, uint64_t index, struct cache_key *key, struct cache_peek *out)
{
    struct exchange *x = e->x;
    char *buf = arena_alloc(&x->arena, x->key.text.len + SLICING_KEY_MAX);
    if (buf == NULL)
        return false;
    slicing_key(&x->key, x->route->rules.slice_bytes, index, buf, key);
    cache_peek(e->cache, key, &x->req, &x->arena, out);
    return true;
}

static bool is_usable(const struct explain_case *e, const struct cache_object *o)
{
    if (o == NULL)
        return false;
    const struct cache_object_info info = cache_object_info(o);
    return guard_allows((enum no_store_reason)e->x->credentials, &info.fresh) &&
           cache_freshness_is_fresh(&info.fresh, e->now_ms);
}

/* As slices_end_before. */
static bool ends_before(struct explain_case *e, uint64_t start)
{
    struct cache_key key;
    struct cache_peek first;
    struct cache_range part;
    uint64_t size;
    if (!peek_slice(e, 0, &key, &first) || !is_usable(e, first.object))
        return false;
    const slice_t head = cache_object_info(first.object).head;
    return cache_content_range_parse(head_text_field(head, HTTP_FIELD_CONTENT_RANGE), &part, &size) &&
           size <= start;
}

/* As slices_are_stored, of a request that needs no more than the first of them. */
static bool is_stored(struct explain_case *e)
{
    const struct http_field *range = http_head_get(&e->x->req, HTTP_FIELD_RANGE);
    const uint64_t bytes = e->x->route->rules.slice_bytes;
    struct cache_key key;
    struct cache_peek first;
    struct cache_range part;
    struct cache_range_set set;
    uint64_t start, size;
    if (!slicing_first(&e->x->req, &start) || !peek_slice(e, start / bytes, &key, &first))
        return false;
    if (!is_usable(e, first.object))
        return !http_head_has(&e->x->req, HTTP_FIELD_IF_RANGE) && ends_before(e, start);
    const slice_t head = cache_object_info(first.object).head;
    if (!cache_content_range_parse(head_text_field(head, HTTP_FIELD_CONTENT_RANGE), &part, &size))
        return false;
    if (range == NULL || cache_range_parse(range->value, size, &set) == CACHE_RANGE_WHOLE)
        return e->x->req.method == HTTP_HEAD || size <= bytes;
    return cache_range_parse(range->value, size, &set) == CACHE_RANGE_UNSATISFIABLE ||
           (set.parts[0].start >= part.start && set.parts[0].end <= part.end);
}

/* As slices_apply. */
static bool is_sliced(struct explain_case *e)
{
    const struct exchange *x = e->x;
    return x->route->rules.slice_bytes > 0 && (e->peek.object == NULL || e->info.status == 206) &&
           x->no_vary == NULL && !cache_request_wants_events(&x->req) &&
           ((!cache_is_unsliced(e->cache, &x->key, 0) && !is_personal(e)) || is_stored(e));
}

/* From here on the question is about the slice that the answer would begin with. */
static bool look_up_slice(struct explain_case *e)
{
    struct cache_key key;
    uint64_t start;
    if (!slicing_first(&e->x->req, &start))
        return false;
    e->slice.index = start / e->x->route->rules.slice_bytes;
    if (!peek_slice(e, e->slice.index, &key, &e->peek))
        return false;
    if (e->slice.index > 0 && !is_usable(e, e->peek.object) && ends_before(e, start)) {
        e->slice.index = 0;
        if (!peek_slice(e, 0, &key, &e->peek))
            return false;
    }
    e->x->key = key;
    e->slice.is = true;
    e->peek.passing = false; /* of no account for slices */
    if (e->peek.object != NULL)
        e->info = cache_object_info(e->peek.object);
    return true;
}

/* false: slices have nothing to do with it. */
static bool decide_sliced(struct explain_case *e)
{
    struct cache_control cc;
    if (!is_sliced(e))
        return false;
    cache_request_control(&e->x->req, &cc);
    if (cache_request_directs(&e->x->req, &e->x->route->rules))
        outcome_reason(e, (cc.flags & CC_ONLY_IF_CACHED) != 0 ? VERDICT_MISS : VERDICT_PASS,
                       (cc.flags & CC_ONLY_IF_CACHED) != 0 ? NO_STORE_ONLY_IF_CACHED
                       : (cc.flags & CC_NO_STORE) != 0     ? NO_STORE_REQUEST_NO_STORE
                                                           : NO_STORE_REQUEST_RELOAD);
    else if (!look_up_slice(e))
        outcome_reason(e, VERDICT_PASS, NO_STORE_RANGES);
    else
        decide_looked_up(e);
    return true;
}

void explain_decide(struct explain_case *e)
{
    struct exchange *x = e->x;
    if (x->route == NULL) {
        outcome(e, VERDICT_NONE, EXPLAIN_NO_ROUTE, SLICE_LIT("no route matches: answered with 404"));
        return;
    }
    const struct config_route *r = x->route->config;
    if (r->redirect_status != 0 || r->respond_status != 0) {
        outcome(e, VERDICT_NONE, EXPLAIN_ROUTE_ANSWERS,
                SAY(e, "the route answers by itself with status %d",
                    r->redirect_status != 0 ? r->redirect_status : r->respond_status));
        return;
    }
    if (x->route->compresses)
        e->coding = compress_explain(x);
    enum no_store_reason why =
        e->cache == NULL ? NO_STORE_CACHE_OFF
                         : cache_request_usable(&x->req, x->body_state != BODY_ABSENT, &x->route->rules);
    if (why != NO_STORE_STORED) {
        outcome_reason(e, VERDICT_PASS, why);
        return;
    }
    if (!make_key(e)) {
        outcome_reason(e, x->no_store == NO_STORE_KEY_TOO_LARGE ? VERDICT_PASS : VERDICT_MISS,
                       (enum no_store_reason)x->no_store);
        return;
    }
    e->looked_up = true;
    look_up(e);
    if (e->peek.object != NULL)
        e->info = cache_object_info(e->peek.object);
    if (!decide_sliced(e))
        decide_looked_up(e);
}
