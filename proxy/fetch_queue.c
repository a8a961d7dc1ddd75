/* fetch_queue.c: see fetch_queue.h.
 *
 * The place in the queue is apart from the exchange, which may end while a grant for it is on its way; the
 * lease then goes back, to the next in the queue. Until it has come the worker does not end. */
#include "proxy/fetch_queue.h"

#include <stdlib.h>

#include "balancer/queue.h"
#include "core/log.h"
#include "core/panic.h"
#include "core/timeline.h"
#include "proxy/phase.h"
#include "proxy/proxy_worker.h"

#define DOWN_RETRY_AFTER_S 10

struct fetch_place {
    struct queue_place place;
    struct queue *queue;
    struct proxy_worker *pw;
    struct exchange *x; /* NULL: it has left */
    mono_ms_t until_ms; /* queue_timeout */
};

static void place_end(struct fetch_place *f)
{
    proxy_count(f->pw, METRIC_QUEUED, -1);
    if (f->x != NULL) {
        deadline_clear(f->pw->worker, &f->x->wait_deadline);
        f->x->queued = NULL;
    }
}

static void fetch_on_grant(struct queue_place *p, struct instance *i)
{
    struct fetch_place *f = CONTAINER_OF(p, struct fetch_place, place);
    struct proxy_worker *pw = f->pw;
    struct exchange *x = f->x;
    worker_refresh_clock(pw->worker);
    if (x != NULL) {
        place_end(f);
        free(f);
        phase_fetch_granted(x, i);
        return;
    }
    free(f);
    instance_release(i, FETCH_CANCELLED);
    pw->grants_awaited--;
    proxy_worker_check_done(pw);
}

void fetch_queue_leave(struct exchange *x)
{
    struct fetch_place *f = x->queued;
    if (f == NULL)
        return;
    place_end(f);
    f->x = NULL;
    if (queue_leave(f->queue, &f->place))
        free(f);
    else
        f->pw->grants_awaited++;
}

static enum pool_pick_result pick(struct exchange *x, struct instance **out)
{
    return pool_pick_limited(x->route->pool, x->affinity, x->tried, x->tries, out);
}

static enum fetch_error take(struct exchange *x, enum pool_pick_result r, struct instance *i)
{
    x->instance = r == POOL_PICKED ? i : NULL;
    return r == POOL_PICKED ? FETCH_NONE : FETCH_NO_INSTANCE;
}

enum fetch_error fetch_queue_pick(struct exchange *x)
{
    const struct config_pool *cfg = pool_config(x->route->pool);
    struct instance *i;
    enum pool_pick_result r = pick(x, &i);
    if (r != POOL_FULL)
        return take(x, r, i);
    const struct instance *pin = i;
    struct fetch_place *f = malloc(sizeof *f);
    if (f == NULL)
        return FETCH_NO_MEMORY;
    *f = (struct fetch_place){
        .place = {.pin = i,
                  .worker = x->pw->worker,
                  .entered_ms = worker_now_ms(x->pw->worker),
                  .on_grant = fetch_on_grant},
        .queue = pool_queue(x->route->pool),
        .pw = x->pw,
        .x = x,
    };
    if (!queue_enter(f->queue, &f->place, (size_t)cfg->queue)) {
        free(f);
        return FETCH_QUEUE_FULL;
    }
    x->queued = f;
    proxy_count(x->pw, METRIC_QUEUED, 1);
    r = pick(x, &i);
    if (r != POOL_FULL) {
        fetch_queue_leave(x);
        return take(x, r, i);
    }
    if (pin != NULL && i == NULL) /* it was taken out of use just now */
        queue_unpin(f->queue, pin);
    proxy_count(x->pw, METRIC_QUEUE_WAITS, 1);
    f->until_ms = f->place.entered_ms + cfg->queue_timeout_ms;
    const mono_ms_t drop_ms =
        cfg->queue_target_ms > 0 ? queue_drop_at_ms(&f->place, cfg->queue_target_ms) : f->until_ms;
    deadline_set(x->pw->worker, &x->wait_deadline, MIN(drop_ms, f->until_ms));
    return FETCH_NONE;
}

static void tell_of_drops(const struct exchange *x, struct queue *q, mono_ms_t now_ms)
{
    const struct config_pool *cfg = pool_config(x->route->pool);
    if (!queue_tells_of_drops(q, now_ms))
        return;
    log_warn(
        "pool %s: too many requests wait, %u now; those that wait for longer than queue_target (%lld ms) "
        "are dropped",
        cfg->name, queue_length(q) + 1, (long long)cfg->queue_target_ms);
    timeline_note(TIMELINE_SHED, "pool %s: %u requests wait; some are dropped", cfg->name,
                  queue_length(q) + 1);
}

enum fetch_error fetch_queue_expire(struct exchange *x)
{
    struct fetch_place *f = x->queued;
    struct queue *q = f->queue;
    const mono_ms_t now_ms = worker_now_ms(x->pw->worker);
    if (now_ms >= f->until_ms) {
        fetch_queue_leave(x);
        return FETCH_QUEUE_TIMEOUT;
    }
    if (queue_length(q) <= 1) { /* whoever is free next is to find somebody */
        const mono_ms_t again_ms = now_ms + pool_config(x->route->pool)->queue_target_ms;
        deadline_set(x->pw->worker, &x->wait_deadline, MIN(again_ms, f->until_ms));
        return FETCH_NONE;
    }
    fetch_queue_leave(x);
    proxy_count(x->pw, METRIC_QUEUE_SHED, 1);
    tell_of_drops(x, q, now_ms);
    return FETCH_QUEUE_SHED;
}

uint64_t fetch_queue_retry_after_s(const struct exchange *x)
{
    switch (x->fetch_error) {
    case FETCH_QUEUE_FULL:
    case FETCH_QUEUE_TIMEOUT:
    case FETCH_QUEUE_SHED:
        return (uint64_t)MAX(pool_config(x->route->pool)->queue_timeout_ms / 1000, 1);
    case FETCH_NO_INSTANCE:
    case FETCH_CONNECT_REFUSED: /* 503 with a calm page only */
    case FETCH_CONNECT_FAILED:
    case FETCH_CONNECT_TIMEOUT:
        return DOWN_RETRY_AFTER_S;
    default:
        return 0;
    }
}
