/* worker.h: a thread with an event loop of its own, a mailbox, a graveyard and a deadline wheel.
 *
 * Used by the N traffic workers and by the control thread. Everything a worker owns is touched by its
 * thread only; other threads reach it by posting mail. One turn of the loop is
 *
 *     wait -> event callbacks -> due deadlines -> mail -> end-of-turn hooks -> graveyard
 *
 * so nothing is freed inside its own callback: x_close() detaches, marks and calls worker_bury. */
#ifndef CORE_WORKER_H
#define CORE_WORKER_H

#include <pthread.h>
#include <stdatomic.h>

#include "core/clock.h"
#include "core/list.h"

struct event;
struct event_base;
struct worker;
struct metrics_shard;
struct log_ring;

/* A message. Embedded in what is sent; the receiver owns it once delivered. A mail that was posted must not
 * be posted again before its delivery. */
struct mail {
    struct mail *next;
    void (*on_mail)(struct worker *w, struct mail *m); /* runs on the receiving worker's thread */
};

/* Embedded in what is freed at the end of the turn. */
struct grave {
    struct grave *next;
    void (*free_fn)(void *obj);
    void *obj;
};

/* A coarse timeout (resolution DEADLINE_TICK_MS, never early). Embedded in its owner; worker thread only.
 * Moving it further away costs two stores: the wheel looks at `at_ms` when the old slot comes up. */
#define DEADLINE_TICK_MS 32
#define DEADLINE_SLOTS   512
struct deadline {
    struct list node;
    mono_ms_t at_ms;   /* 0 = not set */
    mono_ms_t slot_ms; /* when the wheel will look at it */
    void (*on_deadline)(struct deadline *d);
};

/* End-of-turn hook: runs after the callbacks of a turn. Embedded in its owner, armed for one turn. */
struct turn_hook {
    struct list node;
    void (*on_turn_end)(struct turn_hook *h);
};

#define WORKER_MAGIC 0x574f524bu

struct worker {
    uint32_t magic;
    /* set once */
    int index; /* 0..N-1; -1 for the control thread */
    struct event_base *base;
    pthread_t thread;
    struct event *mail_event, *tick_event;
    int mail_fd;
    struct metrics_shard *metrics;      /* counters of this thread */
    struct log_ring *log;               /* lines of this thread */
    void *owner;                        /* the layer above: proxy keeps its per-worker state here */
    void (*on_start)(struct worker *w); /* on the worker's thread, before the first turn */
    void (*on_stop)(struct worker *w);  /* on the worker's thread, after the last turn */
    /* owner thread */
    mono_us_t now_us; /* refreshed once per event callback batch; see worker_now_us */
    wall_ms_t now_wall_ms;
    struct grave *graves;
    struct list turn_hooks;
    struct list wheel[DEADLINE_SLOTS];
    uint64_t wheel_count;   /* deadlines in the wheel */
    mono_ms_t wheel_ms;     /* slots up to here were swept */
    mono_ms_t caught_up_ms; /* after a standstill: when they are swept again; 0: there was none */
    bool tick_armed, stopping;
    /* atomic */
    _Alignas(CACHE_LINE) _Atomic(struct mail *) mailbox; /* newest first */
};

/* Creates the loop, not the thread. NULL when out of memory or descriptors. */
struct worker *worker_create(int index);
/* Starts the thread; false (errno) when it cannot. */
bool worker_start(struct worker *w);
/* Runs the loop on the calling thread until worker_stop; the control thread does this. */
void worker_run(struct worker *w);
/* Makes the loop end after its current turn; own thread (post a mail from elsewhere). */
void worker_stop(struct worker *w);
/* After the thread ended (worker_join) or never started. Delivers no mail: the mailbox must be empty. */
void worker_join(struct worker *w);
void worker_destroy(struct worker *w);
/* The thread that ran the loop, when it does not run (any more): delivers the mail that came since, and
 * frees. */
void worker_drain(struct worker *w);

/* Any thread. Wakes the worker when its mailbox was empty. */
void worker_post(struct worker *w, struct mail *m);

/* The calling thread's worker, NULL outside. */
struct worker *worker_current(void);

/* Own thread: free_fn(obj) at the end of this turn. */
void worker_bury(struct worker *w, struct grave *g, void (*free_fn)(void *obj), void *obj);
/* Own thread: runs once at the end of this turn. A hook already armed stays armed once. */
void worker_at_turn_end(struct worker *w, struct turn_hook *h);

void deadline_init(struct deadline *d, void (*on_deadline)(struct deadline *d));
/* What deadline_set cannot do by two stores. */
void deadline_file(struct worker *w, struct deadline *d, mono_ms_t at_ms);
/* Own thread: (re)arms for `at_ms` on the monotonic clock. */
static inline void deadline_set(struct worker *w, struct deadline *d, mono_ms_t at_ms)
{
    if (d->slot_ms != 0 && at_ms >= d->slot_ms)
        d->at_ms = at_ms;
    else
        deadline_file(w, d, at_ms);
}
void deadline_clear(struct worker *w, struct deadline *d);
/* Not wanted any more, but likely to be set again soon: one store; the wheel forgets it when its slot comes
 * up. Its owner must still deadline_clear it before it is freed. */
static inline void deadline_lapse(struct deadline *d)
{
    d->at_ms = 0;
}
static inline bool deadline_is_set(const struct deadline *d)
{
    return d->at_ms != 0;
}

/* Reads the clocks and keeps them in w->now_us, w->now_wall_ms. Event callbacks call it first. */
void worker_refresh_clock(struct worker *w);
static inline mono_ms_t worker_now_ms(const struct worker *w)
{
    return w->now_us / 1000;
}
/* Any thread: its worker's time, which is read once per turn; outside a worker the clock's. */
mono_ms_t worker_current_ms(void);

#endif
