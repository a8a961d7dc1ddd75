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

struct queue {
    struct lock lock;
    struct list waiting; /* under the lock; oldest first */
    _Atomic uint32_t count;
    unsigned refs; /* control thread: instances */
};

/* One who waits; lies in its owner, who is a worker. */
struct queue_place {
    struct list node;           /* under the queue's lock */
    bool is_waiting;            /* likewise */
    const struct instance *pin; /* likewise: takes only this one; only compared. NULL: any */
    struct worker *worker;
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
