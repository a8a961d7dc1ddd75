/* fetch_timeout.c: see fetch_timeout.h.
 *
 * Each try has limits of its own (connect_timeout, response_timeout), and so has the wait for an instance
 * with room (queue_timeout); three tries may take three times as long. This is the limit above them. It ends
 * with the head of the response: a download or a stream of events may take as long as it likes.
 *
 * The time in which a client sends its body is the client's (body_timeout, min_rate), so the limit is put off
 * while that is what the request waits for. The instance that is asked when the time is up is held
 * responsible only if it had half of it: one that was asked last, for a moment, has failed nobody. */
#include "proxy/fetch_timeout.h"

#include "core/log.h"
#include "core/metrics.h"
#include "core/panic.h"
#include "proxy/fetch_queue.h"
#include "proxy/phase.h"
#include "proxy/proxy_worker.h"
#include "proxy/upstream.h"

struct fetch_timeout {
    struct deadline deadline;
    struct exchange *x;
};

static dur_ms_t limit_ms(const struct exchange *x)
{
    return x->route->config->timeout_ms;
}

/* What the try under way has come to. */
static enum fetch_error blame(const struct exchange *x)
{
    if (x->upstream == NULL || !upstream_is_open(x))
        return x->tries == 1 ? FETCH_CONNECT_TIMEOUT : FETCH_CANCELLED;
    dur_ms_t had_ms = (x->pw->worker->now_us - x->connected_us) / 1000;
    return x->tries == 1 || 2 * had_ms >= limit_ms(x) ? FETCH_RESPONSE_TIMEOUT : FETCH_CANCELLED;
}

static void on_deadline(struct deadline *d)
{
    struct exchange *x = CONTAINER_OF(d, struct fetch_timeout, deadline)->x;
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    if (x->phase != PHASE_FETCH)
        return;
    if (x->upstream != NULL && upstream_awaits_body(x)) {
        fetch_timeout_on_body(x);
        return;
    }
    fetch_queue_leave(x);
    if (x->instance != NULL) {
        proxy_count(x->pw, METRIC_UPSTREAM_ERRORS, 1);
        log_warn("instance %s/%s: %s", pool_config(x->route->pool)->name, instance_name(x->instance),
                 outcome_fetch_text(FETCH_TIMEOUT));
    }
    phase_fetch_release(x, blame(x));
    phase_fetch_failed(x, FETCH_TIMEOUT);
}

bool fetch_timeout_begin(struct exchange *x)
{
    if (x->timeout == NULL) {
        x->timeout = arena_alloc(&x->arena, sizeof *x->timeout);
        if (x->timeout == NULL)
            return false;
        x->timeout->x = x;
        deadline_init(&x->timeout->deadline, on_deadline);
    }
    fetch_timeout_on_body(x);
    return true;
}

void fetch_timeout_on_body(struct exchange *x)
{
    deadline_set(x->pw->worker, &x->timeout->deadline, worker_now_ms(x->pw->worker) + limit_ms(x));
}

void fetch_timeout_end(struct exchange *x)
{
    deadline_clear(x->pw->worker, &x->timeout->deadline);
    x->timeout = NULL;
}
