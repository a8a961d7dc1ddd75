/* pace.c: see pace.h. Rejected: the time of each movement, which would be read for each frame that is sent.
 */
#include "proxy/pace.h"

static mono_ms_t still_since_ms(const struct pace *p)
{
    return MAX(p->still_ms, p->begun_ms);
}

enum close_reason pace_look(struct pace *p, mono_ms_t now_ms, const struct pace_limits *l)
{
    if (p->seen != p->moved) {
        p->seen = p->moved;
        p->still_ms = now_ms;
    }
    if (now_ms - still_since_ms(p) >= l->timeout_ms)
        return l->stalled;
    const dur_ms_t window_ms = now_ms - MAX(p->window_ms, p->begun_ms);
    const uint64_t moved = p->moved - p->base;
    if (window_ms < PACE_WINDOW_MS || moved == 0)
        return CLOSE_OPEN;
    if (moved < (uint64_t)(l->min_rate_bytes_s * window_ms / 1000))
        return CLOSE_MIN_RATE;
    p->window_ms = now_ms;
    p->base = p->moved;
    return CLOSE_OPEN;
}

mono_ms_t pace_due_ms(const struct pace *p, const struct pace_limits *l)
{
    return still_since_ms(p) + l->timeout_ms;
}
