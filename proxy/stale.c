/* stale.c: see stale.h. Worker's thread.
 *
 * A background fetch is an exchange that never had a client. The request that finds an object past its
 * freshness, and no fetch under way, makes it with a copy of its head, so that the instance sees what it
 * would have seen; then the request is answered like a hit. It leads a flight as any other: whoever comes too
 * late for the stale object follows it, a purge detaches it, draining waits for it and the end of
 * shutdown_timeout abandons it.
 *
 * For errors nothing is set aside in advance: the cache is asked again once the fetch has failed, so that
 * what was purged or evicted meanwhile is not served, and what is newer is. */
#include "proxy/stale.h"

#include "cache/guard.h"
#include "cache/herd.h"
#include "cache/request_rules.h"
#include "cache/stale.h"
#include "core/metrics.h"
#include "core/random.h"
#include "core/rcu.h"
#include "proxy/assets.h"
#include "proxy/partial.h"
#include "proxy/phase.h"
#include "proxy/proxy_worker.h"

#define RETRY_MS      1000 /* between two tries of a worker to begin one for the same object */
#define BACK_OFF_MS   1000 /* after a failure, before the next background fetch for the key */
#define REFRESHES_MAX 1024 /* per worker; beyond it, stale responses are served without being renewed */

static bool object_has_validator(const struct cache_object_info *i)
{
    return i->validators.etag.len > 0 || i->validators.last_modified.len > 0;
}

static dur_ms_t stale_for_ms(const struct exchange *x)
{
    return -cache_freshness_left_ms(&x->info.fresh, x->pw->worker->now_wall_ms);
}

static void stale_serve(struct exchange *x, bool on_error)
{
    x->verdict = VERDICT_STALE;
    x->stale_renewed = !on_error;
    x->stale_on_error = on_error;
    x->no_store = NO_STORE_STORED;
    proxy_count(x->pw, METRIC_CACHE_STALE, !x->background);
    phase_set(x, PHASE_DELIVER);
}

/* ---- in the background ---- */

/* A much used object is tried once a second by each worker: who fails has found out under the shard's lock
 * that a fetch is under way, or one just failed. */
static bool refresh_is_due(struct proxy_worker *pw, const struct exchange *x)
{
    struct proxy_renewal *r = &pw->renewals[x->key.hash.lo % PROXY_RENEWALS];
    if (r->object == x->object && worker_now_ms(pw->worker) < r->until_ms)
        return false;
    *r = (struct proxy_renewal){x->object, worker_now_ms(pw->worker) + RETRY_MS};
    return true;
}

static void refresh_start(struct exchange *x, bool early)
{
    struct proxy_worker *pw = x->pw;
    if (pw->refresh_count >= REFRESHES_MAX || pw->draining || !refresh_is_due(pw, x))
        return;
    struct cache_flight *fl = cache_lead(pw->cache, &x->key, &x->req, &x->arena, x->object);
    if (fl == NULL)
        return;
    struct exchange *b = exchange_new_background(x);
    if (b == NULL) {
        cache_flight_fail(&fl, FETCH_CANCELLED); /* who follows already may try for himself */
        return;
    }
    b->flight = fl;
    exchange_host_as_keyed(b);
    b->verdict = VERDICT_EXPIRED;
    if (object_has_validator(&x->info))
        b->stale = cache_object_ref(x->object);
    pw->refresh_count++;
    proxy_count(pw, METRIC_CACHE_REFRESHES, 1);
    proxy_count(pw, METRIC_CACHE_EARLY, early);
    proxy_count(pw, METRIC_REFRESHES_OPEN, 1);
    b->client = x->client; /* the fields that tell of the client */
    phase_fetch_prepare(b);
    b->client = NULL;
    phase_run(b);
}

bool stale_while_revalidate(struct exchange *x)
{
    if (UNLIKELY(x->route->rules.keep_assets_ms > 0) && assets_is_kept(x)) {
        stale_serve(x, true);
        return true;
    }
    if (x->req.method != HTTP_GET ||
        stale_for_ms(x) >= cache_stale_of_stored(&x->info, &x->route->rules).while_revalidate_ms)
        return false;
    stale_serve(x, false);
    refresh_start(x, false);
    return true;
}

void stale_renew_early(struct exchange *x, dur_ms_t left_ms)
{
    unsigned code = cache_object_early_code(x->object);
    if (code > 0 && x->req.method == HTTP_GET && cache_early_wins(code, left_ms, random_next(&x->pw->random)))
        refresh_start(x, true);
}

void stale_refresh_done(struct exchange *x)
{
    struct proxy_worker *pw = x->pw;
    pw->refresh_count--;
    pw->renewals[x->key.hash.lo % PROXY_RENEWALS].object =
        NULL; /* if it is stale still, another may do better */
    proxy_count(pw, METRIC_REFRESHES_OPEN, -1);
    if (x->fetch_error != FETCH_NONE && !x->stored && x->verdict != VERDICT_REVALIDATED)
        cache_back_off(pw->cache, &x->key, BACK_OFF_MS);
}

/* ---- instead of an error ---- */

static bool may_stand_in(const struct exchange *x, bool missing)
{
    return guard_allows((enum no_store_reason)x->credentials, &x->info.fresh) &&
           stale_for_ms(x) < cache_stale_of_stored(&x->info, &x->route->rules).if_error_ms &&
           (x->info.status != 206 || partial_fits(x, &x->info)) && (!missing || x->info.status < 400);
}

/* What may stand in for an error now, or for an asset that is `missing`, as `object`, held. */
static bool stale_take(struct exchange *x, bool missing)
{
    enum no_store_reason pass;
    bool found = false;
    bool read = x->req.method == HTTP_GET || x->req.method == HTTP_HEAD;
    if (!read || x->key.text.ptr == NULL)
        return false;
    if (!missing && cache_request_directs(&x->req, &x->route->rules))
        return false; /* a client that says what it takes (max-stale) gets no more */
    rcu_enter();
    struct cache_object *o = cache_find(x->pw->cache, &x->key, &x->req, &x->arena, &pass);
    if (o != NULL) {
        x->info = cache_object_info(o);
        found = may_stand_in(x, missing);
    }
    if (found) {
        exchange_set_object(x, cache_object_ref(o), SOURCE_OBJECT);
        x->object_held = true;
    }
    rcu_leave();
    return found;
}

bool stale_instead_of_error(struct exchange *x)
{
    if (!stale_take(x, false))
        return false;
    stale_serve(x, true);
    return true;
}

bool stale_instead_of_missing(struct exchange *x)
{
    if (!stale_take(x, true))
        return false;
    x->other_status = 404;
    if (UNLIKELY(x->remote != NULL))
        phase_remote_cancel(x);
    if (x->flight != NULL)
        cache_flight_fail(&x->flight, FETCH_CANCELLED);
    phase_fetch_release(x, FETCH_NONE);
    assets_keep(x);
    stale_serve(x, true);
    phase_run(x);
    return true;
}

bool stale_instead_of_bad_status(struct exchange *x, unsigned status)
{
    if ((status != 500 && status != 502 && status != 503 && status != 504) || !stale_take(x, false))
        return false;
    x->other_status = (uint16_t)status;
    x->fetch_error = FETCH_ERROR_STATUS;
    if (UNLIKELY(x->remote != NULL))
        phase_remote_cancel(x);
    if (x->flight != NULL && x->credentials != NO_STORE_STORED)
        cache_flight_fail(&x->flight, FETCH_CANCELLED);
    else if (x->flight != NULL)
        cache_flight_fail_status(&x->flight, status);
    phase_fetch_release(x, FETCH_ERROR_STATUS);
    stale_serve(x, true);
    phase_run(x);
    return true;
}
