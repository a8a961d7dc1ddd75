/* phase_lookup.c: what the cache says becomes what we do: serve, wait for somebody else's fetch, or fetch.
 *
 * Hot path: a fresh hit goes from here straight to delivery; the object is only borrowed (phase_run holds the
 * RCU section) and a reference is taken by delivery when the client cannot take all of it. */
#include "core/metrics.h"
#include "core/panic.h"
#include "cache/cookies.h"
#include "cache/guard.h"
#include "cache/herd.h"
#include "cache/request_rules.h"
#include "cache/stale.h"
#include "cache/storable.h"
#include "proxy/calm_page.h"
#include "proxy/client_conn.h"
#include "proxy/early_hints.h"
#include "proxy/fetch_queue.h"
#include "proxy/no_vary.h"
#include "proxy/own_fetch.h"
#include "proxy/partial.h"
#include "proxy/phase.h"
#include "proxy/proxy_worker.h"
#include "proxy/slices.h"
#include "proxy/stale.h"
#include "proxy/tunnel.h"

/* Look-ups after a wait that ended in "look again", before fetching without the cache. */
#define WAIT_ROUNDS_MAX 4

static enum phase_result lookup_pass(struct exchange *x, enum cache_verdict v, enum no_store_reason why)
{
    x->verdict = (uint8_t)v;
    x->no_store = (uint8_t)why;
    phase_set(x, PHASE_FETCH);
    return PHASE_MORE;
}

void exchange_host_as_keyed(struct exchange *x)
{
    const slice_t text = x->key.text, common = SLICE_LIT("http://");
    size_t end = common.len + x->host.len;
    if (LIKELY(end < text.len && text.ptr[end] == '/' &&
               memcmp(text.ptr + common.len, x->host.ptr, x->host.len) == 0))
        return;
    size_t from = slice_find(text, ':', 0) + sizeof "://" - 1;
    x->host = slice_make(text.ptr + from, slice_find(text, '/', from) - from);
}

static enum phase_result lookup_hit(struct exchange *x, enum cache_verdict v)
{
    x->verdict = (uint8_t)v;
    x->no_store = NO_STORE_STORED;
    phase_set(x, PHASE_DELIVER);
    return PHASE_MORE;
}

static enum cache_verdict lookup_miss_verdict(const struct exchange *x, const struct cache_object *old)
{
    if (UNLIKELY(x->client_refused))
        return VERDICT_REFRESHED;
    if (UNLIKELY(x->partial != NULL))
        return VERDICT_PARTIAL;
    return old != NULL ? VERDICT_EXPIRED : VERDICT_MISS;
}

static bool object_has_validator(const struct cache_object *o)
{
    struct cache_validators v = cache_object_info(o).validators;
    return v.etag.len > 0 || v.last_modified.len > 0;
}

static enum phase_result lookup_remote(struct exchange *x, enum cache_verdict v)
{
    x->verdict = (uint8_t)v;
    x->no_store = NO_STORE_STORED;
    phase_set(x, PHASE_REMOTE);
    return PHASE_MORE;
}

/* `alone`: not served by a fetch that began before this request. */
static enum phase_result lookup_join(struct exchange *x, struct cache_object *old, bool alone)
{
    enum cache_verdict v = lookup_miss_verdict(x, old);
    if (UNLIKELY(x->credentials != NO_STORE_STORED) && cache_is_personal(x->pw->cache, &x->key))
        return lookup_pass(x, v, (enum no_store_reason)x->credentials);
    if (!exchange_own_head(x))
        return lookup_pass(x, v, NO_STORE_NO_MEMORY);
    struct cache_join_result j =
        cache_join(x->pw->cache, &x->key, &x->req, &x->arena, old, x->pw->worker, phase_wait_on_event, x);
    x->vary_miss = j.varies;
    switch (j.what) {
    case CACHE_LEAD:
        x->flight = j.flight;
        exchange_host_as_keyed(x);
        if (UNLIKELY(old == NULL && http_head_has(&x->req, HTTP_FIELD_RANGE)))
            partial_ask(x);
        else if (old != NULL && object_has_validator(old) &&
                 (x->partial == NULL || x->partial->kind == PARTIAL_REST))
            x->stale = cache_object_ref(old);
        if (UNLIKELY(x->pw->remote != NULL) && !alone && phase_remote_may_ask(x, old))
            return lookup_remote(x, v);
        return lookup_pass(x, v, NO_STORE_STORED);
    case CACHE_FOLLOW:
        x->follower = j.follower;
        if (UNLIKELY(alone || cache_request_wants_events(&x->req))) {
            cache_follower_close(&x->follower);
            return lookup_pass(x, v, alone ? NO_STORE_REQUEST_RELOAD : NO_STORE_EVENT_STREAM);
        }
        x->wait_us = x->pw->worker->now_us;
        deadline_set(x->pw->worker, &x->wait_deadline,
                     worker_now_ms(x->pw->worker) + x->view->shared->config->cache.lock_timeout_ms);
        phase_set(x, PHASE_WAIT);
        return PHASE_PARK;
    case CACHE_PASS:
        break;
    }
    return lookup_pass(x, v, j.why);
}

/* A HEAD brings nothing to store, but what is stored may be confirmed by it (RFC 9111 section 4.3.5). */
static enum phase_result lookup_head(struct exchange *x, struct cache_object *old)
{
    if (old != NULL && x->partial == NULL && object_has_validator(old) && x->credentials == NO_STORE_STORED) {
        x->flight = cache_lead(x->pw->cache, &x->key, &x->req, &x->arena, old);
        if (x->flight != NULL) {
            exchange_host_as_keyed(x);
            x->stale = cache_object_ref(old);
        }
    }
    return lookup_pass(x, lookup_miss_verdict(x, old), NO_STORE_METHOD);
}

/* A fresh or at least usable response was not found; `old` may be revalidated. */
static enum phase_result lookup_fetch(struct exchange *x, struct cache_object *old,
                                      enum no_store_reason remembered, bool alone)
{
    enum cache_verdict v = lookup_miss_verdict(x, old);
    if (UNLIKELY(old != NULL && x->route->config->early_hints == CONFIG_EARLY_HINTS_LEARN))
        early_hints_learn(x);
    x->source = SOURCE_NONE;
    x->object = NULL;
    if (UNLIKELY(x->route->rules.slice_bytes > 0) && slices_apply(x, old))
        return slices_begin(x);
    if (x->pass_forced)
        return lookup_pass(
            x, v, x->no_store != NO_STORE_STORED ? (enum no_store_reason)x->no_store : NO_STORE_WAIT_LIMIT);
    if (remembered != NO_STORE_STORED)
        return lookup_pass(x, v, remembered);
    if (x->req.method == HTTP_HEAD)
        return lookup_head(x, old);
    return lookup_join(x, old, alone);
}

static bool stored_is_immutable(const struct exchange *x)
{
    struct cache_control cc;
    return cache_control_of_stored(&x->info, &cc) && (cc.flags & CC_IMMUTABLE) != 0;
}

/* The client says what will do (RFC 9111 section 5.2.1), and the route lets it. */
static enum phase_result lookup_directed(struct exchange *x, struct cache_object *o,
                                         enum no_store_reason remembered)
{
    struct cache_control cc;
    cache_request_control(&x->req, &cc);
    enum cache_use use = CACHE_USE_EXPIRED;
    if (o != NULL && x->partial == NULL)
        use = cache_request_use(&cc, &x->info.fresh, x->pw->worker->now_wall_ms);
    if (use == CACHE_USE_REFUSED && cache_request_takes_immutable(&cc) && stored_is_immutable(x))
        use = CACHE_USE_FRESH;
    if (use == CACHE_USE_FRESH || use == CACHE_USE_STALE)
        return lookup_hit(x, use == CACHE_USE_FRESH ? VERDICT_HIT : VERDICT_STALE);
    x->client_refused = use == CACHE_USE_REFUSED;
    if (cc.flags & CC_ONLY_IF_CACHED) {
        x->verdict = (uint8_t)lookup_miss_verdict(x, o);
        x->no_store = NO_STORE_ONLY_IF_CACHED;
        x->object = NULL;
        return phase_answer_error(x, 504, "only-if-cached: nothing that may be used is stored");
    }
    if (cc.flags & CC_NO_STORE) {
        x->pass_forced = true;
        x->no_store = NO_STORE_REQUEST_NO_STORE;
    }
    return lookup_fetch(x, o, remembered, cache_request_insists(&cc));
}

/* What is stored is not for this request, which goes past the cache; unless the client wants no fetch. */
static enum phase_result lookup_refused(struct exchange *x, bool directed)
{
    x->object = NULL;
    x->source = SOURCE_NONE;
    x->pass_forced = true;
    x->no_store = x->credentials;
    return directed ? lookup_directed(x, NULL, NO_STORE_STORED)
                    : lookup_pass(x, VERDICT_PASS, (enum no_store_reason)x->credentials);
}

/* Requests with credentials are few on the routes that matter: what follows from them is worked out apart. */
static void lookup_credentials(struct exchange *x)
{
    cookies_remove(&x->req, &x->route->rules);
    x->credentials = (uint8_t)guard_credentials(&x->req, &x->route->rules, x->certified);
}

/* A part of it is stored, which does not do. What is too large to be stored whole is not fetched whole. */
static enum phase_result lookup_rest(struct exchange *x, struct cache_object *part, bool directed)
{
    if (!partial_found(x))
        return lookup_pass(x, VERDICT_PARTIAL, NO_STORE_NO_MEMORY);
    if (directed)
        return lookup_directed(x, part, NO_STORE_STORED);
    if (x->partial->size > (uint64_t)x->route->rules.max_object_bytes &&
        (x->route->rules.slice_bytes == 0 || !slices_apply(x, part)))
        return lookup_pass(x, VERDICT_PARTIAL, NO_STORE_TOO_LARGE);
    return lookup_fetch(x, part, NO_STORE_STORED, false);
}

enum phase_result phase_lookup(struct exchange *x)
{
    bool has_body = x->body_state != BODY_ABSENT;
    enum no_store_reason why =
        x->pw->cache == NULL ? NO_STORE_CACHE_OFF : cache_request_usable(&x->req, has_body, &x->route->rules);
    if (why != NO_STORE_STORED)
        return lookup_pass(x, VERDICT_PASS, why);
    if (UNLIKELY(exchange_is_personal(x)))
        lookup_credentials(x);
    if (!exchange_build_key(x))
        return lookup_pass(x, x->no_store == NO_STORE_KEY_TOO_LARGE ? VERDICT_PASS : VERDICT_MISS,
                           (enum no_store_reason)x->no_store);
    enum no_store_reason remembered;
    struct cache_object *o = cache_find(x->pw->cache, &x->key, &x->req, &x->arena, &remembered);
    if (UNLIKELY(o == NULL && x->no_vary != NULL))
        o = no_vary_find_exact(x, &remembered);
    bool directed = cache_request_directs(&x->req, &x->route->rules);
    if (o != NULL) {
        exchange_set_object(x, o, SOURCE_OBJECT);
        if (UNLIKELY(!guard_allows((enum no_store_reason)x->credentials, &x->info.fresh)))
            return lookup_refused(x, directed);
        if (UNLIKELY(x->info.status == 206) && !partial_fits(x, &x->info))
            return lookup_rest(x, o, directed);
        dur_ms_t left_ms = cache_freshness_left_ms(&x->info.fresh, x->pw->worker->now_wall_ms);
        if (!directed && left_ms > 0 && !x->info.fresh.revalidate_always) {
            if (UNLIKELY(left_ms < CACHE_EARLY_MOST_MS))
                stale_renew_early(x, left_ms);
            return lookup_hit(x, VERDICT_HIT);
        }
        if (!directed && stale_while_revalidate(x))
            return PHASE_MORE;
    }
    if (UNLIKELY(directed))
        return lookup_directed(x, o, remembered);
    return lookup_fetch(x, o, remembered, false);
}

/* ---- waiting ---- */

enum phase_result phase_wait(struct exchange *x)
{
    UNUSED(x);
    return PHASE_PARK;
}

static void wait_end(struct exchange *x, bool keep_follower)
{
    deadline_clear(x->pw->worker, &x->wait_deadline);
    if (!keep_follower)
        cache_follower_close(&x->follower);
}

static void wait_look_again(struct exchange *x)
{
    wait_end(x, false);
    x->partial = NULL;
    if (cache_no_vary_is_used())
        no_vary_apply_again(x);
    if (++x->wait_rounds >= WAIT_ROUNDS_MAX)
        x->pass_forced = true;
    phase_set(x, PHASE_LOOKUP);
    phase_run(x);
}

static void wait_fetch_alone(struct exchange *x, enum no_store_reason why)
{
    wait_end(x, false);
    x->pass_forced = true;
    lookup_pass(x, VERDICT_MISS, why);
    phase_run(x);
}

static void wait_failed(struct exchange *x)
{
    enum fetch_error e = cache_follower_error(x->follower);
    if (e == FETCH_CANCELLED || e == FETCH_NONE) {
        wait_look_again(x);
        return;
    }
    if (x->credentials != NO_STORE_STORED) { /* the error may be about the other client */
        wait_fetch_alone(x, (enum no_store_reason)x->credentials);
        return;
    }
    unsigned status = e == FETCH_ERROR_STATUS ? cache_follower_status(x->follower) : outcome_fetch_status(e);
    wait_end(x, false);
    x->fetch_error = (uint8_t)e;
    x->verdict = VERDICT_COLLAPSED;
    x->no_store = NO_STORE_FETCH_FAILED;
    if (stale_instead_of_error(x)) {
        phase_run(x);
    } else if (e == FETCH_ERROR_STATUS && exchange_is_personal(x)) {
        x->fetch_error = FETCH_NONE;
        wait_fetch_alone(x, NO_STORE_STATUS);
    } else {
        calm_page_or_error(x, e, status);
        phase_run(x);
    }
}

/* false: what is being stored is a part that does not do. Goes on waiting, for its end, or looks again. */
static bool wait_is_over(struct exchange *x)
{
    const struct cache_object_info info = cache_object_info(cache_follower_object(x->follower));
    if (info.status != 206 || partial_fits(x, &info))
        return true;
    if (!cache_follower_arm(x->follower, UINT64_MAX))
        wait_look_again(x);
    return false;
}

/* The response of somebody else's fetch. To use it without asking the instance it must be fresh, and for
 * everybody: RFC 9111 section 4 makes no exception for requests that came at the same time. */
static void wait_object(struct exchange *x)
{
    if (UNLIKELY(!wait_is_over(x)))
        return;
    exchange_set_object(x, cache_follower_object(x->follower), SOURCE_FOLLOW);
    bool allowed = guard_allows((enum no_store_reason)x->credentials, &x->info.fresh);
    if (!allowed || !cache_freshness_is_fresh(&x->info.fresh, x->pw->worker->now_wall_ms)) {
        x->object = NULL;
        x->source = SOURCE_NONE;
        wait_fetch_alone(x, allowed ? NO_STORE_NOT_FRESH : (enum no_store_reason)x->credentials);
        return;
    }
    wait_end(x, true);
    x->collapsed = !cache_follower_is_loaded(x->follower);
    x->verdict = x->collapsed ? VERDICT_COLLAPSED : VERDICT_REDIS;
    proxy_count(x->pw, METRIC_CACHE_COLLAPSED, x->collapsed);
    phase_set(x, PHASE_DELIVER);
    phase_run(x);
}

void phase_wait_timeout(struct exchange *x)
{
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    if (x->phase == PHASE_WAIT)
        wait_fetch_alone(x, NO_STORE_WAIT_LIMIT);
    else if (x->phase == PHASE_SLICES)
        slices_on_timeout(x);
    else if (x->phase == PHASE_AUTH)
        phase_auth_timeout(x);
    else if (UNLIKELY(x->is_mirror) && x->phase == PHASE_DELIVER)
        exchange_abandon(x);
    else if (x->phase == PHASE_FETCH && x->queued != NULL) { /* `awaits_continue` is of an earlier try */
        enum fetch_error e = fetch_queue_expire(x);
        if (e != FETCH_NONE)
            phase_fetch_failed(x, e);
    } else if (x->phase == PHASE_FETCH && x->awaits_continue)
        exchange_on_continue(x);
    else if (x->phase == PHASE_TUNNEL)
        tunnel_on_deadline(x);
}

void phase_wait_on_event(void *arg, enum cache_event event)
{
    struct exchange *x = arg;
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    worker_refresh_clock(x->pw->worker);
    if (x->phase == PHASE_DELIVER) {
        if (UNLIKELY(event == CACHE_EVENT_BEHIND))
            own_fetch_begin(x);
        else
            phase_run(x);
        return;
    }
    ASSERT(x->phase == PHASE_WAIT);
    switch (event) {
    case CACHE_EVENT_OBJECT:
    case CACHE_EVENT_PROGRESS:
        wait_object(x);
        return;
    case CACHE_EVENT_PASS:
        wait_fetch_alone(x, cache_remembered(x->pw->cache, &x->key));
        return;
    case CACHE_EVENT_RETRY:
        wait_look_again(x);
        return;
    case CACHE_EVENT_FAILED:
        wait_failed(x);
        return;
    case CACHE_EVENT_BEHIND:
        break;
    }
    PANIC("a request that still waits is told that it is behind");
}
