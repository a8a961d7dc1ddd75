/* retry.h: the retry rules without a pool around them, and the budget that bounds retries.
 *
 * The budget is a window of ten ticks of 1024 ms. Each tick is one 64-bit atomic (tick number, requests,
 * retries), so that moving on to the next tick and counting in it cannot be torn apart by another worker. */
#ifndef BALANCER_RETRY_H
#define BALANCER_RETRY_H

#include <stdatomic.h>

#include "balancer/balancer.h"

#define RETRY_WINDOW_TICKS 10
#define RETRY_TICK_SHIFT   10 /* 1024 ms */
#define RETRY_FLOOR        10 /* retries per window that even the quietest pool may make */

/* Any thread. Zero it before use. */
struct retry_budget {
    _Atomic uint64_t ticks[16];
};

void retry_budget_count_request(struct retry_budget *b, mono_ms_t now_ms);
/* Takes one retry out of the budget: at most `percent` of the window's requests, plus RETRY_FLOOR. */
bool retry_budget_take(struct retry_budget *b, mono_ms_t now_ms, int percent);

enum retry_verdict {
    RETRY_NO,
    RETRY_FREE,   /* a reused connection died: neither counted nor budgeted */
    RETRY_COUNTED /* when the budget has room */
};
/* Pure: what the rules alone say. `retry_on` is a set of CONFIG_RETRY_*. */
enum retry_verdict retry_judge(enum fetch_error e, const struct retry_context *ctx, unsigned retry_on,
                               int retries);

#endif
