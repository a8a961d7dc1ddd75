/* retry.c: may a failed try be followed by another? See retry.h.
 *
 * RFC 9110 section 9.2.2: a request whose method is not idempotent is repeated only when it is known that the
 * first one was never applied: not even its head was sent. So a failed connect is retried for every method,
 * a connection that broke later only for idempotent ones, and no method once the client has seen a byte. RFC
 * 9112 section 9.3.1 and 9.6: an instance may close an idle connection at any time, also just as we use it.
 * That says nothing about its health, so it costs no retry.
 *
 * The check of the budget and the taking from it are two steps: workers that race may overdraw it by one
 * each, which is cheaper than making every retry of the pool queue up for one word. */
#include "balancer/retry.h"

#include "balancer/pool.h"
#include "core/panic.h"

/* A tick, from the low end: 20 bits of retries, 24 bits of requests, 20 bits of the tick's number. */
#define RETRY_ONE          UINT64_C(1)
#define RETRY_MASK         UINT64_C(0xfffff)
#define RETRY_REQUEST_ONE  (UINT64_C(1) << 20)
#define RETRY_REQUEST_MASK UINT64_C(0xffffff)
#define RETRY_NUMBER_SHIFT 44

static uint64_t retry_tick_number(mono_ms_t now_ms)
{
    return ((uint64_t)now_ms >> RETRY_TICK_SHIFT) & RETRY_MASK;
}

static void retry_budget_add(struct retry_budget *b, mono_ms_t now_ms, uint64_t what)
{
    uint64_t number = retry_tick_number(now_ms);
    _Atomic uint64_t *tick = &b->ticks[number % ARRAY_LEN(b->ticks)];
    uint64_t seen = atomic_load_explicit(tick, memory_order_relaxed);
    while (UNLIKELY(seen >> RETRY_NUMBER_SHIFT != number)) {
        uint64_t fresh = (number << RETRY_NUMBER_SHIFT) | what;
        if (atomic_compare_exchange_weak_explicit(tick, &seen, fresh, memory_order_relaxed,
                                                  memory_order_relaxed))
            return;
    }
    atomic_fetch_add_explicit(tick, what, memory_order_relaxed);
}

void retry_budget_count_request(struct retry_budget *b, mono_ms_t now_ms)
{
    retry_budget_add(b, now_ms, RETRY_REQUEST_ONE);
}

bool retry_budget_take(struct retry_budget *b, mono_ms_t now_ms, int percent)
{
    uint64_t now = retry_tick_number(now_ms);
    uint64_t requests = 0, retries = 0;
    for (size_t i = 0; i < ARRAY_LEN(b->ticks); i++) {
        uint64_t tick = atomic_load_explicit(&b->ticks[i], memory_order_relaxed);
        if (((now - (tick >> RETRY_NUMBER_SHIFT)) & RETRY_MASK) >= RETRY_WINDOW_TICKS)
            continue;
        requests += (tick >> 20) & RETRY_REQUEST_MASK;
        retries += tick & RETRY_MASK;
    }
    if (retries >= RETRY_FLOOR + requests * (uint64_t)percent / 100)
        return false;
    retry_budget_add(b, now_ms, RETRY_ONE);
    return true;
}

static unsigned retry_flag_of_status(unsigned status)
{
    switch (status) {
    case 502:
        return CONFIG_RETRY_502;
    case 503:
        return CONFIG_RETRY_503;
    case 504:
        return CONFIG_RETRY_504;
    default:
        return 0;
    }
}

/* The member of retry_on that has to be there, 0 when nothing allows it. */
static unsigned retry_flag_of(enum fetch_error e, const struct retry_context *ctx)
{
    switch (e) {
    case FETCH_CONNECT_REFUSED:
    case FETCH_CONNECT_FAILED:
    case FETCH_CONNECT_TIMEOUT:
    case FETCH_TLS_FAILED:
    case FETCH_REFUSED: /* RFC 9113 section 8.7: nothing was processed */
        return CONFIG_RETRY_CONNECT;
    case FETCH_RESET:
        return CONFIG_RETRY_RESET;
    case FETCH_RESPONSE_TIMEOUT:
        return CONFIG_RETRY_504;
    case FETCH_BAD_RESPONSE:
    case FETCH_CUT_SHORT:
        return CONFIG_RETRY_502;
    case FETCH_NONE:
        return retry_flag_of_status(ctx->status);
    default:
        return 0;
    }
}

enum retry_verdict retry_judge(enum fetch_error e, const struct retry_context *ctx, unsigned retry_on,
                               int retries)
{
    if (ctx->response_started || !ctx->body_replayable)
        return RETRY_NO;
    if (e == FETCH_RESET && ctx->reused_connection && (ctx->idempotent || !ctx->request_sent))
        return RETRY_FREE;
    unsigned flag = retry_flag_of(e, ctx);
    if ((flag & retry_on) == 0)
        return RETRY_NO;
    if (flag != CONFIG_RETRY_CONNECT && !ctx->idempotent && ctx->request_sent)
        return RETRY_NO;
    return ctx->tries_done <= (unsigned)MAX(retries, 0) ? RETRY_COUNTED : RETRY_NO;
}

bool pool_may_retry(struct pool *p, enum fetch_error e, const struct retry_context *ctx)
{
    CHECK_MAGIC(p, POOL_MAGIC);
    ASSERT(ctx->tries_done > 0);
    switch (retry_judge(e, ctx, p->config->retry_on, p->config->retries)) {
    case RETRY_FREE:
        return true;
    case RETRY_COUNTED: /* a refused connection cost the instance nothing: no share of the budget, only of
                           `retries` */
        return e == FETCH_CONNECT_REFUSED ||
               retry_budget_take(&p->budget, worker_current_ms(), p->config->retry_budget_percent);
    default:
        return false;
    }
}

bool pool_may_hedge(struct pool *p)
{
    CHECK_MAGIC(p, POOL_MAGIC);
    return retry_budget_take(&p->budget, worker_current_ms(), p->config->retry_budget_percent);
}

void pool_count_request(struct pool *p)
{
    CHECK_MAGIC(p, POOL_MAGIC);
    retry_budget_count_request(&p->budget, worker_current_ms());
}
