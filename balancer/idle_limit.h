/* idle_limit.h: how long an instance keeps a connection that nothing happens on, as far as it is known.
 *
 * HTTP/1.1 has no way to close a kept-alive connection that cannot cross with a request (RFC 9112 section
 * 9.3.1): who sends just then does not know whether the request was read. So Millpond gives connections up
 * before the instance does, and has to learn when that is: from what the instance says (Keep-Alive:
 * timeout=N), and from when it closes connections. All functions: any thread, without a lock. */
#ifndef BALANCER_IDLE_LIMIT_H
#define BALANCER_IDLE_LIMIT_H

#include <stdatomic.h>

#include "core/clock.h"
#include "core/slice.h"

#define IDLE_LIMIT_NONE      INT64_MAX
#define IDLE_LIMIT_LEAST_MS  500  /* what closes earlier has other reasons */
#define IDLE_LIMIT_APART_MS  1000 /* closes by one cause, such as a restart, come closer together */
#define IDLE_LIMIT_KEEP_MS   (5 * 60 * 1000) /* then it is doubted */
#define IDLE_LIMIT_DOUBT_MS  (60 * 1000)     /* and doubled each time this has passed */
#define IDLE_LIMIT_LARGEST_S (24 * 60 * 60)

#define IDLE_LIMIT_ENDED UINT64_C(1) /* no time at all, which is never learned */

/* Each word: milliseconds, above the time (in milliseconds, cut to 32 bits) when they were last found true;
 * 0: nothing is known. Zero it before use. */
struct idle_limit {
    _Atomic uint64_t told;   /* by the instance */
    _Atomic uint64_t seen;   /* learned from its closes; IDLE_LIMIT_ENDED */
    _Atomic uint64_t closed; /* the last close, which one more like it confirms */
};

enum idle_limit_from { IDLE_LIMIT_UNKNOWN, IDLE_LIMIT_TOLD, IDLE_LIMIT_SEEN };

/* A response came with this Keep-Alive field. */
void idle_limit_tell(struct idle_limit *l, slice_t keep_alive, mono_ms_t now_ms);
/* The instance closed a connection that had been idle for so long. The time it keeps them, when that was
 * learned anew by it; else 0. */
dur_ms_t idle_limit_on_close(struct idle_limit *l, dur_ms_t idle_ms, mono_ms_t now_ms);

/* No connection is to be used again after it was idle, whatever was or will be heard and seen; until it is
 * reopened. Control thread. */
void idle_limit_end(struct idle_limit *l);
void idle_limit_reopen(struct idle_limit *l);
bool idle_limit_is_ended(const struct idle_limit *l);

/* Nothing was ever heard or seen. */
static inline bool idle_limit_is_blank(const struct idle_limit *l)
{
    return (atomic_load_explicit(&l->told, memory_order_relaxed) |
            atomic_load_explicit(&l->seen, memory_order_relaxed)) == 0;
}
/* For how long a connection may be idle and still be used; IDLE_LIMIT_NONE: nothing is known. */
dur_ms_t idle_limit_ms(const struct idle_limit *l, mono_ms_t now_ms);
/* The same for a request that must not be sent twice: only what was found true lately is relied on; beyond
 * it, and where nothing is known, `young_ms`. */
dur_ms_t idle_limit_safe_ms(const struct idle_limit *l, dur_ms_t young_ms, mono_ms_t now_ms);
enum idle_limit_from idle_limit_from(const struct idle_limit *l, mono_ms_t now_ms);

/* Pure: the timeout in a Keep-Alive field, in seconds; false: there is none, or none that makes sense. */
bool idle_limit_parse(slice_t keep_alive, uint64_t *seconds);

#endif
