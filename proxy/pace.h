/* pace.h: is a client too slow? Of one direction of a stream while it is the client who keeps us waiting.
 *
 * Whoever moves bytes only adds them to `moved`; time is read when it is looked at. So a stall begins, for
 * us, with the first look that sees nothing new, and is found at most as much later than its timeout as looks
 * are apart. Not for HTTP/1, where a connection has one deadline that each read or write moves. Pure; owner
 * thread. */
#ifndef PROXY_PACE_H
#define PROXY_PACE_H

#include "core/clock.h"
#include "core/outcome.h"

#define PACE_WINDOW_MS 10000 /* min_rate is an average over so long, at least */

struct pace {
    uint64_t moved;     /* bytes, ever */
    mono_ms_t begun_ms; /* until then nobody waited for the client */
    uint64_t base;      /* of `moved`, when the window of min_rate began */
    mono_ms_t window_ms;
    uint64_t seen; /* of `moved`, by the last look that saw it change, and when that was */
    mono_ms_t still_ms;
};

struct pace_limits {
    dur_ms_t timeout_ms;
    int64_t min_rate_bytes_s; /* 0: none */
    enum close_reason stalled;
};

/* Until now it was not the client. */
static inline void pace_begin(struct pace *p, mono_ms_t now_ms)
{
    p->begun_ms = now_ms;
    p->base = p->moved;
}

/* CLOSE_OPEN: it is fast enough. Else l->stalled, nothing has moved for timeout_ms, or CLOSE_MIN_RATE. */
enum close_reason pace_look(struct pace *p, mono_ms_t now_ms, const struct pace_limits *l);
/* When a stall that has begun by the last look is to be found. */
mono_ms_t pace_due_ms(const struct pace *p, const struct pace_limits *l);

#endif
