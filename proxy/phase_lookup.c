/* phase_lookup.c: what the cache says becomes what we do: serve, wait for somebody else's fetch, or fetch.
 *
 * Hot path: a fresh hit goes from here straight to delivery; the object is only borrowed (phase_run holds the
 * RCU section) and a reference is taken by delivery when the client cannot take all of it. */
#include "core/metrics.h"
#include "core/panic.h"
#include "cache/cookies.h"
#include "cache/guard.h"
#include "cache/request_rules.h"
#include "cache/storable.h"
#include "proxy/client_conn.h"
#include "proxy/phase.h"
#include "proxy/proxy_worker.h"
#include "proxy/stale.h"
#include "proxy/unkeyed.h"

#define WAIT_ROUNDS_MAX                                                                                      \
    4 /* look-ups after a wait that ended in "look again", before fetching without the cache */

static enum phase_result lookup_pass(struct exchange *x, enum cache_verdict v, enum no_store_reason why)
{
    x->verdict = (uint8_t)v;
    x->no_store = (uint8_t)why;
    phase_set(x, PHASE_FETCH);
    return PHASE_MORE;
}

/* What it says about host, scheme and the like may change the response. A purge is for the URL, whoever asks.
 */
static bool exchange_believes_fields(const struct exchange *x)
{
    return x->route != NULL && unkeyed_believes(x) && x->req.method != HTTP_PURGE;
}

bool exchange_build_key(struct exchange *x)
{
    if (x->key.text.ptr != NULL)
        return true;
    size_t bound = cache_key_bound(SLICE_LIT("http"), x->host, x->target.path, x->target.query);
    char *buf = arena_alloc(&x->arena, bound);
    if (buf == NULL)
        return false;
    cache_key_build(buf, SLICE_LIT("http"), x->host, x->target.path, x->target.query, &x->key);
    return LIKELY(!exchange_believes_fields(x)) || unkeyed_extend_key(x);
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
    return old != NULL ? VERDICT_EXPIRED : VERDICT_MISS;
}

static bool object_has_validator(const struct cache_object *o)
{
    struct cache_validators v = cache_object_info(o).validators;
    return v.etag.len > 0 || v.last_modified.len > 0;
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
    switch (j.what) {
    case CACHE_LEAD:
        x->flight = j.flight;
        exchange_host_as_keyed(x);
        if (old != NULL && object_has_validator(old))
            x->stale = cache_object_ref(old);
        return lookup_pass(x, v, NO_STORE_STORED);
    case CACHE_FOLLOW:
        x->follower = j.follower;
        if (UNLIKELY(alone)) {
            cache_follower_close(&x->follower);
            return lookup_pass(x, v, NO_STORE_REQUEST_RELOAD);
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

/* A fresh or at least usable response was not found; `old` may be revalidated. */
static enum phase_result lookup_fetch(struct exchange *x, struct cache_object *old, bool remembered_pass,
                                      bool alone)
{
    enum cache_verdict v = lookup_miss_verdict(x, old);
    x->source = SOURCE_NONE;
    x->object = NULL;
    if (x->pass_forced)
        return lookup_pass(
            x, v, x->no_store != NO_STORE_STORED ? (enum no_store_reason)x->no_store : NO_STORE_WAIT_LIMIT);
    if (remembered_pass)
        return lookup_pass(x, v, NO_STORE_PASS_REMEMBERED);
    if (x->req.method == HTTP_HEAD)
        return lookup_pass(x, v, NO_STORE_METHOD);
    return lookup_join(x, old, alone);
}

/* The client says what will do (RFC 9111 section 5.2.1), and the route lets it. */
static enum phase_result lookup_directed(struct exchange *x, struct cache_object *o, bool remembered_pass)
{
    struct cache_control cc;
    cache_request_control(&x->req, &cc);
    enum cache_use use = CACHE_USE_EXPIRED;
    if (o != NULL)
        use = cache_request_use(&cc, &x->info.fresh, x->pw->worker->now_wall_ms);
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
    return lookup_fetch(x, o, remembered_pass, cache_request_insists(&cc));
}

/* What is stored is not for this request, which goes past the cache; unless the client wants no fetch. */
static enum phase_result lookup_refused(struct exchange *x, bool directed)
{
    x->object = NULL;
    x->source = SOURCE_NONE;
    x->pass_forced = true;
    x->no_store = x->credentials;
    return directed ? lookup_directed(x, NULL, false)
                    : lookup_pass(x, VERDICT_PASS, (enum no_store_reason)x->credentials);
}

/* Requests with credentials are few on the routes that matter: what follows from them is worked out apart. */
static void lookup_credentials(struct exchange *x)
{
    cookies_remove(&x->req, &x->route->rules);
    x->credentials = (uint8_t)guard_credentials(&x->req, &x->route->rules);
}

enum phase_result phase_lookup(struct exchange *x)
{
    bool has_body = x->body_state != BODY_ABSENT;
    enum no_store_reason why =
        x->pw->cache == NULL ? NO_STORE_CACHE_OFF : cache_request_usable(&x->req, has_body, &x->route->rules);
    if (why != NO_STORE_STORED)
        return lookup_pass(x, VERDICT_PASS, why);
    if (UNLIKELY((x->req.present & (HTTP_BIT(COOKIE) | HTTP_BIT(AUTHORIZATION))) != 0))
        lookup_credentials(x);
    if (!exchange_build_key(x))
        return lookup_pass(x, VERDICT_MISS, NO_STORE_NO_MEMORY);
    bool remembered_pass = false;
    struct cache_object *o = cache_find(x->pw->cache, &x->key, &x->req, &x->arena, &remembered_pass);
    bool directed = cache_request_directs(&x->req, &x->route->rules);
    if (o != NULL) {
        exchange_set_object(x, o, SOURCE_OBJECT);
        if (UNLIKELY(!guard_allows((enum no_store_reason)x->credentials, &x->info.fresh)))
            return lookup_refused(x, directed);
        if (!directed && cache_freshness_is_fresh(&x->info.fresh, x->pw->worker->now_wall_ms))
            return lookup_hit(x, VERDICT_HIT);
        if (!directed && stale_while_revalidate(x))
            return PHASE_MORE;
    }
    if (UNLIKELY(directed))
        return lookup_directed(x, o, remembered_pass);
    return lookup_fetch(x, o, remembered_pass, false);
}

/* ---- waiting
 * ---------------------------------------------------------------------------------------------------- */

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
    wait_end(x, false);
    x->fetch_error = (uint8_t)e;
    x->verdict = VERDICT_COLLAPSED;
    x->no_store = NO_STORE_FETCH_FAILED;
    if (!stale_instead_of_error(x))
        phase_answer_error(x, outcome_fetch_status(e), outcome_fetch_text(e));
    phase_run(x);
}

/* The response of somebody else's fetch. To use it without asking the instance it must be fresh, and for
 * everybody: RFC 9111 section 4 makes no exception for requests that came at the same time. */
static void wait_object(struct exchange *x)
{
    exchange_set_object(x, cache_follower_object(x->follower), SOURCE_FOLLOW);
    bool allowed = guard_allows((enum no_store_reason)x->credentials, &x->info.fresh);
    if (!allowed || !cache_freshness_is_fresh(&x->info.fresh, x->pw->worker->now_wall_ms)) {
        x->object = NULL;
        x->source = SOURCE_NONE;
        wait_fetch_alone(x, allowed ? NO_STORE_NOT_FRESH : (enum no_store_reason)x->credentials);
        return;
    }
    wait_end(x, true);
    x->verdict = VERDICT_COLLAPSED;
    x->collapsed = true;
    proxy_count(x->pw, METRIC_CACHE_COLLAPSED, 1);
    phase_set(x, PHASE_DELIVER);
    phase_run(x);
}

void phase_wait_timeout(struct exchange *x)
{
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    if (x->phase == PHASE_WAIT)
        wait_fetch_alone(x, NO_STORE_WAIT_LIMIT);
    else if (x->phase == PHASE_FETCH && x->awaits_continue)
        exchange_on_continue(x);
}

void phase_wait_on_event(void *arg, enum cache_event event)
{
    struct exchange *x = arg;
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    worker_refresh_clock(x->pw->worker);
    if (x->phase == PHASE_DELIVER) {
        phase_run(x);
        return;
    }
    ASSERT(x->phase == PHASE_WAIT);
    switch (event) {
    case CACHE_EVENT_OBJECT:
        wait_object(x);
        return;
    case CACHE_EVENT_PASS:
        wait_fetch_alone(x, NO_STORE_PASS_REMEMBERED);
        return;
    case CACHE_EVENT_RETRY:
        wait_look_again(x);
        return;
    case CACHE_EVENT_FAILED:
        wait_failed(x);
        return;
    case CACHE_EVENT_PROGRESS:
        return;
    }
}
