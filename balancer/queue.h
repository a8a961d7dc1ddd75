/* queue.h: requests that wait since every instance they may go to has as many as max_connections allows.
 *
 * One queue for all pools of a name, so that it goes on across reloads. Whoever has a lease to give, for one
 * that ended or for an instance that came back, gives it to who has waited longest. Any thread, under a lock
 * that only pools with max_connections take. */
#ifndef BALANCER_QUEUE_H
#define BALANCER_QUEUE_H

#include <stdatomic.h>

#include "core/list.h"
#include "core/lock.h"
#include "core/worker.h"

struct instance;

/* Somebody has waited for this many targets without a break: no crowd that comes and goes, but overload. */
#define QUEUE_INTERVAL_TARGETS 10

struct queue {
    struct lock lock;
    struct list waiting;   /* under the lock, as the next; oldest first */
    mono_ms_t standing_ms; /* since when somebody waits */
    _Atomic uint32_t count;
    _Atomic mono_ms_t told_ms; /* people were told last that some are dropped; 0: never */
    unsigned refs;             /* control thread: instances */
};

/* One who waits; lies in its owner, who is a worker. */
struct queue_place {
    struct list node;           /* under the queue's lock */
    bool is_waiting;            /* likewise */
    const struct instance *pin; /* likewise: takes only this one; only compared. NULL: any */
    struct worker *worker;
    mono_ms_t entered_ms,
        standing_ms; /* by the worker's clock; the latter of the queue when it was entered */
    struct instance *granted;
    struct mail mail;
    /* On `worker`: a lease on `i`, which is the owner's now. */
    void (*on_grant)(struct queue_place *p, struct instance *i);
};

/* Control thread. NULL when out of memory. */
struct queue *queue_new(void);
void queue_unref(struct queue *q);

/* false: there are `most` already. The caller then looks once more for a free instance: one that was freed
 * before is nobody's to give. */
bool queue_enter(struct queue *q, struct queue_place *p, size_t most);
/* From when on one who waits is to be dropped, if others wait, too: it has waited for `target_ms`, and the
 * queue has not been empty for QUEUE_INTERVAL_TARGETS times as long. It cannot become empty before that one
 * leaves. */
mono_ms_t queue_drop_at_ms(const struct queue_place *p, dur_ms_t target_ms);
/* true: people are to be told, which they are at most once in a minute. Any thread. */
bool queue_tells_of_drops(struct queue *q, mono_ms_t now_ms);
/* true: it waits no longer. false: a grant is on its way, and on_grant will still be called. */
bool queue_leave(struct queue *q, struct queue_place *p);

/* Who waits for `i` alone takes any other one as well from now on. */
void queue_unpin(struct queue *q, const struct instance *i);
/* Gives leases on `i` to those who wait for it, as long as it has any to give. */
void queue_feed(struct queue *q, struct instance *i);

static inline uint32_t queue_length(const struct queue *q)
{
    return atomic_load_explicit(&q->count, memory_order_relaxed);
}

#endif
