/* queue.c: see queue.h.
 *
 * No lease is lost between two who look at the same moment: who wants one enters first and looks at the
 * instances afterwards, who has one to give lowers the instance's count first and looks at the queue
 * afterwards; all four steps are of one order (sequentially consistent). A newcomer who comes in just then
 * may take what was freed for the first in the queue, who then waits for the next one: rejected is to make
 * newcomers wait while anybody does, since those who wait may be waiting for another instance.
 *
 * A grant travels as mail, as a lease that counts already, so that nobody overtakes it on the way.
 *
 * Who is dropped under overload: as with CoDel (RFC 8289), a queue that has stood for an interval is one, and
 * a crowd that is served within it is left alone. Rejected is CoDel's law of which to drop, ever more of them
 * at intervals that shrink with the square root of their number: it waits for senders to slow down, which
 * visitors do not. With half as many again as can be served, those served waited 4.3 s by that law and 93 ms
 * by this one (median; target 100 ms, otherwise no limit but 5 s), and as many were served. Rejected is also
 * to serve the newest first meanwhile: the oldest who is left has waited for the target at most, and where
 * few are too many, it drops those whose turn would have come (p99 of the wait 419 ms against 152). */
#include "balancer/queue.h"

#include <stdlib.h>

#include "balancer/instance.h"
#include "core/panic.h"

#define QUEUE_TELL_MS 60000

struct queue *queue_new(void)
{
    struct queue *q = calloc(1, sizeof *q);
    if (q == NULL)
        return NULL;
    lock_init(&q->lock, LOCK_POOL);
    list_init(&q->waiting);
    q->refs = 1;
    return q;
}

void queue_unref(struct queue *q)
{
    if (--q->refs > 0)
        return;
    ASSERT(list_empty(&q->waiting));
    lock_destroy(&q->lock);
    free(q);
}

static void queue_on_mail(struct worker *w, struct mail *m)
{
    struct queue_place *p = CONTAINER_OF(m, struct queue_place, mail);
    UNUSED(w);
    p->on_grant(p, p->granted);
}

bool queue_enter(struct queue *q, struct queue_place *p, size_t most)
{
    lock_take(&q->lock);
    bool room = queue_length(q) < most;
    if (room) {
        if (list_empty(&q->waiting))
            q->standing_ms = p->entered_ms;
        p->standing_ms = q->standing_ms;
        p->mail.on_mail = queue_on_mail;
        p->is_waiting = true;
        list_push_back(&q->waiting, &p->node);
        atomic_fetch_add(&q->count, 1);
    }
    lock_drop(&q->lock);
    return room;
}

mono_ms_t queue_drop_at_ms(const struct queue_place *p, dur_ms_t target_ms)
{
    return MAX(p->entered_ms + target_ms, p->standing_ms + QUEUE_INTERVAL_TARGETS * target_ms);
}

bool queue_tells_of_drops(struct queue *q, mono_ms_t now_ms)
{
    mono_ms_t told_ms = atomic_load_explicit(&q->told_ms, memory_order_relaxed);
    return (told_ms == 0 || now_ms - told_ms >= QUEUE_TELL_MS) &&
           atomic_compare_exchange_strong(&q->told_ms, &told_ms, now_ms);
}

static void queue_remove_locked(struct queue *q, struct queue_place *p)
{
    list_remove(&p->node);
    p->is_waiting = false;
    atomic_fetch_sub_explicit(&q->count, 1, memory_order_relaxed);
}

bool queue_leave(struct queue *q, struct queue_place *p)
{
    lock_take(&q->lock);
    bool was_waiting = p->is_waiting;
    if (was_waiting)
        queue_remove_locked(q, p);
    lock_drop(&q->lock);
    return was_waiting;
}

/* Who has waited longest of those that may have `i`. */
static struct queue_place *queue_first_locked(const struct queue *q, const struct instance *i)
{
    unsigned takes = atomic_load_explicit(&i->takes, memory_order_relaxed);
    LIST_FOREACH (n, &q->waiting) {
        struct queue_place *p = CONTAINER_OF(n, struct queue_place, node);
        if (p->pin == NULL ? (takes & INSTANCE_TAKES_ANY) != 0
                           : p->pin == i && (takes & INSTANCE_TAKES_PINNED) != 0)
            return p;
    }
    return NULL;
}

void queue_unpin(struct queue *q, const struct instance *i)
{
    if (queue_length(q) == 0)
        return;
    lock_take(&q->lock);
    LIST_FOREACH (n, &q->waiting) {
        struct queue_place *p = CONTAINER_OF(n, struct queue_place, node);
        p->pin = p->pin == i ? NULL : p->pin;
    }
    lock_drop(&q->lock);
}

void queue_feed(struct queue *q, struct instance *i)
{
    while (UNLIKELY(atomic_load(&q->count) > 0)) {
        lock_take(&q->lock);
        struct queue_place *p = queue_first_locked(q, i);
        bool given = p != NULL && instance_is_usable(i) && instance_lease_within_limit(i);
        struct worker *w = given ? p->worker : NULL;
        if (given) {
            queue_remove_locked(q, p);
            p->granted = i;
        }
        lock_drop(&q->lock);
        if (!given)
            return;
        worker_post(w, &p->mail); /* the owner keeps the place until it has come */
    }
}
