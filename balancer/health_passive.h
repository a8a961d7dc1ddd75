/* health_passive.h: ejection: an instance that fails requests is left out for a while.
 *
 * Here are the rules; who calls them when is balancer.c's business. Control thread only. */
#ifndef BALANCER_HEALTH_PASSIVE_H
#define BALANCER_HEALTH_PASSIVE_H

#include "core/clock.h"

struct instance;
struct seat;
struct pool;

#define PASSIVE_TICK_MS  1000 /* between two looks at the failures of all instances */
#define PASSIVE_TICKS    10   /* looks that make a window */
#define PASSIVE_LONGEST  (5 * INT64_C(60000))
#define PASSIVE_REQUESTS 20 /* in a window, below which a share of failures says nothing */
#define PASSIVE_SHARE    25 /* percent that must have failed */
#define PASSIVE_TIMES    4  /* as large as the share of the others */

/* Why a failing instance stays in use; it is told once, and shown until it is over. */
#define PASSIVE_SPARED(X)                                                                                    \
    X(NOT, "")                                                                                               \
    X(LAST, "it is the last usable instance")                                                                \
    X(MAX, "eject_max of the pool is reached")                                                               \
    X(ALL_FAIL, "the others fail as well")
enum passive_spared {
#define X(id, text) PASSIVE_SPARED_##id,
    PASSIVE_SPARED(X)
#undef X
        PASSIVE_SPARED_COUNT
};

/* Part of an instance. */
struct passive {
    uint64_t requests[PASSIVE_TICKS], failures[PASSIVE_TICKS]; /* totals at the last looks, a ring */
    unsigned looks;                                            /* so far */
    unsigned times;                                            /* ejections that followed each other */
    uint64_t ejections;                                        /* all */
    mono_ms_t until_ms;                                        /* end of the latest ejection */
    enum passive_spared spared;
};

/* What happened in a window. */
struct passive_count {
    uint64_t requests, failures;
};

/* Who else there is when one is to be ejected. */
struct passive_others {
    unsigned servers; /* of the pool that are given requests, this one included */
    unsigned usable, ejected;
    unsigned failing;           /* of those usable, in a row of failures half as long as ejects */
    struct passive_count count; /* of those usable */
};

/* Pure: may it be ejected? Or why not. */
enum passive_spared passive_judge(const struct passive_others *others, int eject_max_percent);
/* Pure: does it fail so much more often than the others that no row of failures is needed? */
bool passive_is_outlier(const struct passive_count *own, const struct passive_count *others);
/* Pure: how long the `times`-th ejection takes. */
dur_ms_t passive_time_ms(dur_ms_t first_ms, unsigned times);

/* It is up from now on: what happened before is not held against it a second time. */
void passive_begin(struct instance *i);
/* It has failed as often in a row as its pool allows: ejects it, or says why not. */
void passive_on_failing(struct pool *p, struct seat *s);
/* Each PASSIVE_TICK_MS: looks at the failures of all, and ejects who has far more than the others. */
void passive_on_tick(struct pool *p);
/* Ends ejections that are over. */
void passive_on_time(struct pool *p, mono_ms_t now_ms);
/* Something became unusable: an ejection never leaves a pool without any instance. */
void passive_on_unusable(struct pool *p);
/* When the next ejection ends; INT64_MAX: none is. */
mono_ms_t passive_next_ms(const struct pool *p);
/* "" when it is not spared. */
const char *passive_spared_text(enum passive_spared s);

#endif
