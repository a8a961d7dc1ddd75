/* redis_tell.h: when a change of Redis is worth a line in the log.
 *
 * A server counts as reachable while any worker reaches it, so a change is one line, however many workers
 * there are. A server that comes and goes all the time gets REDIS_TELL_LINES lines at once and then one per
 * REDIS_TELL_LINE_MS; the last state is told in the end. Pure but for memory: reports and clocks in, lines
 * out. One thread. */
#ifndef PROXY_REDIS_TELL_H
#define PROXY_REDIS_TELL_H

#include "proxy/redis_view.h"

#define REDIS_TELL_LINES   6
#define REDIS_TELL_LINE_MS 10000

struct redis_told;

/* Lines that may still be written. */
struct redis_allowance {
    unsigned used;
    mono_ms_t since_ms; /* one less each REDIS_TELL_LINE_MS from here on */
};

/* Zeroed at first, but for what is set by its owner. */
struct redis_teller {
    /* owner's */
    enum config_redis_mode mode;
    void (*say)(void *arg, bool is_bad, const char *text);
    void *arg;
    /* its own */
    struct redis_told *told;
    const char *trouble, *trouble_before; /* what was said; what the round before saw; NULL = nothing */
    struct redis_allowance trouble_allowance;
};

/* A round is over: says what is new in the report of all, and fills in since_ms there. */
void redis_tell(struct redis_teller *t, struct redis_report *sum, mono_ms_t now_ms, wall_ms_t wall_ms);
void redis_tell_free(struct redis_teller *t);

#endif
