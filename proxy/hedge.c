/* hedge.c: see hedge.h.
 *
 * When: after the 95th percentile of the time that the route's heads take (core/quantile), or after a time of
 * one's own. So one request in twenty is sent twice at most, and the retry budget of the pool bounds it
 * further when everything becomes slow: then nobody is helped by more requests. There is one second try, and
 * only while the first one is still the only one.
 *
 * Whom: an instance that was not asked yet and has room; a hedge neither waits in the queue nor goes to the
 * same instance. Visitors who are pinned to an instance stay there.
 *
 * What was rejected: a second upstream connection of the same exchange. Everything that a connection reports
 * would have had to say of which one it speaks, in each phase; as it is, only where a head or an error comes
 * in. */
#include "proxy/hedge.h"

#include "core/log.h"
#include "core/metrics.h"
#include "core/panic.h"
#include "core/quantile.h"
#include "proxy/phase.h"
#include "proxy/proxy_worker.h"
#include "proxy/upstream.h"

enum hedge_outcome { HEDGE_NONE, HEDGE_LOST, HEDGE_WON };

/* In the arena of the exchange that it is for. */
struct hedge {
    struct deadline deadline;
    struct exchange *first, *second; /* second: NULL when none is under way */
    mono_us_t began_us;
    uint8_t outcome; /* enum hedge_outcome */
    bool used;       /* one second try per fetch */
};

mono_us_t hedge_after_us(const struct route *r)
{
    return r->heads != NULL ? quantile_p95_us(r->heads) : r->config->hedge_ms * 1000;
}

static bool is_second(const struct exchange *x)
{
    return x->hedge->second == x;
}

/* ---- the second try ---- */

static void second_free(struct hedge *h)
{
    struct exchange *s = h->second;
    h->second = NULL;
    s->hedge = NULL;
    exchange_free(s);
}

static void second_end(struct hedge *h, enum fetch_error e)
{
    phase_fetch_release(h->second, e);
    second_free(h);
}

/* On a kept-alive connection that the instance was closing: says nothing about it. */
static enum fetch_error blame(const struct exchange *x, enum fetch_error e)
{
    return e == FETCH_RESET && x->upstream != NULL && upstream_is_reused(x) ? FETCH_CANCELLED : e;
}

/* The first exchange goes on with what the second one has; its own try ends with `e`. */
static void take_over(struct hedge *h, enum fetch_error e)
{
    struct exchange *x = h->first, *s = h->second;
    h->second = NULL;
    phase_fetch_release(x, e);
    if (s->upstream != NULL)
        upstream_hand_over(s, x);
    x->instance = s->instance;
    x->request_sent = s->request_sent;
    x->sent_wall_ms = s->sent_wall_ms;
    x->connected_us = s->connected_us;
    s->instance = NULL;
    h->second = s;
    second_free(h);
    h->outcome = HEDGE_WON;
    proxy_count(x->pw, METRIC_HEDGES_WON, 1);
}

/* An instance with room that was not asked yet, or NULL. */
static struct instance *pick_other(struct exchange *x)
{
    struct instance *i = NULL;
    if (!x->route->limits_pool)
        i = pool_pick(x->route->pool, x->affinity, x->tried, x->tries);
    else if (pool_pick_limited(x->route->pool, x->affinity, x->tried, x->tries, &i) != POOL_PICKED)
        return NULL;
    if (i == x->instance && i != NULL) {
        instance_release(i, FETCH_CANCELLED);
        return NULL;
    }
    return i;
}

static void ask_other(struct hedge *h, struct instance *i)
{
    struct exchange *x = h->first, *s = exchange_new_second(x);
    if (s == NULL) {
        instance_release(i, FETCH_CANCELLED);
        return;
    }
    log_debug("%s/%s: slow to answer; asking %s, too", pool_config(x->route->pool)->name,
              instance_name(x->instance), instance_name(i));
    proxy_count(x->pw, METRIC_HEDGES, 1);
    h->outcome = HEDGE_LOST;
    h->second = s;
    s->hedge = h;
    s->instance = i;
    x->tried[x->tries++ % EXCHANGE_MAX_TRIES] = i;
    enum fetch_error e = phase_fetch_try(s);
    if (e != FETCH_NONE)
        hedge_on_failure(s, e);
}

static void on_deadline(struct deadline *d)
{
    struct hedge *h = CONTAINER_OF(d, struct hedge, deadline);
    struct exchange *x = h->first;
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    if (x->phase != PHASE_FETCH || x->upstream == NULL || x->tries != 1 || h->used || x->listen == NULL)
        return;
    struct instance *i = pick_other(x);
    if (i == NULL)
        return;
    h->used = true;
    if (pool_may_hedge(x->route->pool)) {
        ask_other(h, i);
        return;
    }
    instance_release(i, FETCH_CANCELLED);
    proxy_count(x->pw, METRIC_HEDGES_DENIED, 1);
}

/* ---- the first one ---- */

static bool may_be_hedged(const struct exchange *x)
{
    return (x->req.method == HTTP_GET || x->req.method == HTTP_HEAD) && x->body_state == BODY_ABSENT &&
           x->tunnel == NULL && x->client != NULL && (x->affinity == NULL || x->affinity->pin == 0) &&
           pool_config(x->route->pool)->send_proxy_protocol == PROXY_HEADER_OFF;
}

void hedge_begin(struct exchange *x)
{
    if (!may_be_hedged(x))
        return;
    struct hedge *h = x->hedge;
    if (h == NULL) {
        h = arena_calloc(&x->arena, sizeof *h);
        if (h == NULL)
            return;
        deadline_init(&h->deadline, on_deadline);
        h->first = x;
        x->hedge = h;
    }
    ASSERT(h->second == NULL);
    h->used = false;
    h->began_us = x->pw->worker->now_us;
    const mono_us_t after_us = hedge_after_us(x->route);
    if (after_us > 0)
        deadline_set(x->pw->worker, &h->deadline, (h->began_us + after_us) / 1000 + 1);
}

/* What another instance is asked for anyway. */
static bool is_failure(const struct exchange *x, unsigned status)
{
    return (status == 502 || status == 503 || status == 504) && pool_config(x->route->pool)->retry_on != 0;
}

struct exchange *hedge_on_head(struct exchange *x, unsigned status)
{
    struct hedge *h = x->hedge;
    const bool second = is_second(x);
    if (h->second != NULL && is_failure(x, status)) {
        if (second)
            second_end(h, FETCH_ERROR_STATUS);
        else
            take_over(h, FETCH_ERROR_STATUS);
        return NULL;
    }
    x = h->first;
    const mono_us_t now_us = x->pw->worker->now_us;
    if (second && x->route->times_pool && x->request_sent) /* it takes that long at least */
        instance_observe(x->instance, now_us - x->connected_us);
    if (second)
        take_over(h, FETCH_CANCELLED);
    hedge_stop(x);
    if (x->route->heads != NULL)
        quantile_observe(x->route->heads, now_us - h->began_us);
    return x;
}

bool hedge_on_failure(struct exchange *x, enum fetch_error e)
{
    struct hedge *h = x->hedge;
    if (h->second == NULL)
        return false;
    proxy_count(x->pw, METRIC_UPSTREAM_ERRORS, 1);
    log_warn("%s/%s: %s; it was asked beside another one, which goes on", pool_config(x->route->pool)->name,
             instance_name(x->instance), outcome_fetch_text(e));
    h->first->fetch_error = (uint8_t)e;
    if (is_second(x))
        second_end(h, blame(x, e));
    else
        take_over(h, blame(x, e));
    return true;
}

struct exchange *hedge_second(const struct exchange *x)
{
    return x->hedge->second;
}

void hedge_stop(struct exchange *x)
{
    struct hedge *h = x->hedge;
    if (is_second(x))
        return;
    deadline_lapse(&h->deadline);
    if (h->second != NULL)
        second_end(h, FETCH_CANCELLED);
}

void hedge_free(struct exchange *x)
{
    ASSERT(x->hedge->second == NULL);
    deadline_clear(x->pw->worker, &x->hedge->deadline);
}

slice_t hedge_text(const struct exchange *x)
{
    if (x->hedge == NULL || x->hedge->outcome == HEDGE_NONE)
        return SLICE_EMPTY;
    return x->hedge->outcome == HEDGE_WON ? SLICE_LIT("won") : SLICE_LIT("lost");
}
