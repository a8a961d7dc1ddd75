/* worker.c: see worker.h.
 *
 * libevent 2.1 has no hook around epoll_wait, so the loop runs event_base_loop(EVLOOP_ONCE) and does its own
 * end-of-turn work behind it. The mailbox is a lock-free stack that the owner takes whole and reverses; the
 * eventfd is written only when the stack was empty. The deadline wheel has 512 slots of 32 ms; a deadline
 * further away than one round stays in its slot for more rounds, and one that was moved later is re-filed
 * when its old slot comes up. The tick timer is off while the wheel is empty, so an idle process sleeps. */
#include "core/worker.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/panic.h"
#include "core/rcu.h"

/* The library keeps a 16-byte queue head per priority, writes to it at each event, and gives events the
 * middle priority. With one priority the heads of workers that are made one after the other share a cache
 * line; with eight the middle one is 48 bytes and more away from any other allocation. */
#define QUEUE_HEADS 8

#define LATE_MS (8 * DEADLINE_TICK_MS) /* the wheel is never that far behind while the loop turns */

static _Thread_local struct worker *worker_of_thread;

static void worker_deliver_mail(struct worker *w)
{
    struct mail *stack = atomic_exchange_explicit(&w->mailbox, NULL, memory_order_acquire);
    struct mail *queue = NULL;
    while (stack != NULL) {
        struct mail *m = stack;
        stack = m->next;
        m->next = queue;
        queue = m;
    }
    while (queue != NULL) {
        struct mail *m = queue;
        queue = m->next;
        m->on_mail(w, m);
    }
}

static void worker_on_mail_event(evutil_socket_t fd, short what, void *arg)
{
    UNUSED(what);
    uint64_t count;
    ssize_t n = read(fd, &count, sizeof count);
    ASSERT(n == (ssize_t)sizeof count || errno == EAGAIN || errno == EINTR);
    worker_refresh_clock(arg); /* mail handlers set deadlines; the loop may have slept long */
}

static void worker_arm_tick(struct worker *w)
{
    struct timeval tv = {0, DEADLINE_TICK_MS * 1000};
    ASSERT(event_add(w->tick_event, &tv) == 0);
    w->tick_armed = true;
}

static void worker_on_tick(evutil_socket_t fd, short what, void *arg)
{
    UNUSED(fd);
    UNUSED(what);
    struct worker *w = arg;
    w->tick_armed = false;
    worker_refresh_clock(w);
}

static struct list *wheel_slot(struct worker *w, mono_ms_t at_ms)
{
    return &w->wheel[(uint64_t)(at_ms / DEADLINE_TICK_MS) % DEADLINE_SLOTS];
}

static void wheel_file(struct worker *w, struct deadline *d)
{
    d->slot_ms = MAX(d->at_ms, w->wheel_ms + DEADLINE_TICK_MS);
    list_push_back(wheel_slot(w, d->slot_ms), &d->node);
    w->wheel_count++;
}

static void wheel_unfile(struct worker *w, struct deadline *d)
{
    list_remove(&d->node);
    d->slot_ms = 0;
    w->wheel_count--;
}

static void wheel_sweep_slot(struct worker *w, mono_ms_t slot_ms)
{
    struct list due;
    list_init(&due);
    list_splice(&due, wheel_slot(w, slot_ms));
    struct list *n;
    while ((n = list_pop_front(&due)) != NULL) {
        struct deadline *d = CONTAINER_OF(n, struct deadline, node);
        w->wheel_count--;
        if (d->at_ms == 0) {
            d->slot_ms = 0;
            continue;
        }
        if (d->slot_ms > slot_ms || d->at_ms > slot_ms) {
            wheel_file(w, d);
            continue;
        }
        d->at_ms = d->slot_ms = 0;
        d->on_deadline(d);
    }
}

/* The process, or the machine, stood still: deadlines are over whose events lie unread in the kernel, or will
 * in a moment. Who kept their time must not be taken for late because we are. False: not yet. */
static bool wheel_catch_up(struct worker *w, mono_ms_t now_ms)
{
    if (w->caught_up_ms == 0)
        w->caught_up_ms = now_ms + DEADLINE_TICK_MS;
    if (now_ms < w->caught_up_ms)
        return false;
    w->caught_up_ms = 0;
    if (now_ms - w->wheel_ms > (mono_ms_t)DEADLINE_SLOTS * DEADLINE_TICK_MS)
        w->wheel_ms = (now_ms / DEADLINE_TICK_MS - DEADLINE_SLOTS) * DEADLINE_TICK_MS;
    return true;
}

/* Sweeps the slots that are wholly past, so that no deadline fires early. */
static void wheel_sweep(struct worker *w)
{
    mono_ms_t now_ms = worker_now_ms(w);
    if (UNLIKELY(now_ms - w->wheel_ms > LATE_MS) && !wheel_catch_up(w, now_ms))
        return;
    while (w->wheel_ms + DEADLINE_TICK_MS <= now_ms) {
        mono_ms_t slot_end_ms = w->wheel_ms + DEADLINE_TICK_MS - 1;
        w->wheel_ms += DEADLINE_TICK_MS;
        wheel_sweep_slot(w, slot_end_ms);
    }
}

void deadline_init(struct deadline *d, void (*on_deadline)(struct deadline *d))
{
    list_init(&d->node);
    d->at_ms = d->slot_ms = 0;
    d->on_deadline = on_deadline;
}

void deadline_file(struct worker *w, struct deadline *d, mono_ms_t at_ms)
{
    ASSERT(at_ms > 0);
    d->at_ms = at_ms;
    if (d->slot_ms != 0)
        wheel_unfile(w, d);
    else if (w->wheel_count == 0)
        w->wheel_ms = worker_now_ms(w) / DEADLINE_TICK_MS * DEADLINE_TICK_MS;
    wheel_file(w, d);
    if (!w->tick_armed)
        worker_arm_tick(w);
}

void deadline_clear(struct worker *w, struct deadline *d)
{
    d->at_ms = 0;
    if (d->slot_ms != 0)
        wheel_unfile(w, d);
}

void worker_refresh_clock(struct worker *w)
{
    w->now_us = clock_mono_us();
    w->now_wall_ms = clock_wall_coarse_ms();
}

struct worker *worker_create(int index)
{
    struct worker *w = aligned_alloc(CACHE_LINE, (sizeof *w + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE);
    if (w == NULL)
        return NULL;
    *w = (struct worker){.magic = WORKER_MAGIC, .index = index, .mail_fd = -1};
    list_init(&w->turn_hooks);
    for (size_t i = 0; i < DEADLINE_SLOTS; i++)
        list_init(&w->wheel[i]);
    struct event_config *cfg = event_config_new();
    if (cfg != NULL) {
        event_config_set_flag(cfg, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_IGNORE_ENV);
        w->base = event_base_new_with_config(cfg);
        event_config_free(cfg);
        if (w->base != NULL)
            event_base_priority_init(w->base, QUEUE_HEADS);
    }
    w->mail_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (w->base != NULL && w->mail_fd >= 0) {
        w->mail_event = event_new(w->base, w->mail_fd, EV_READ | EV_PERSIST | EV_ET, worker_on_mail_event, w);
        w->tick_event = event_new(w->base, -1, 0, worker_on_tick, w);
    }
    if (w->mail_event == NULL || w->tick_event == NULL || event_add(w->mail_event, NULL) != 0) {
        worker_destroy(w);
        return NULL;
    }
    worker_refresh_clock(w);
    return w;
}

/* Mail, hooks, graveyard: what follows the events and deadlines of a turn. */
static void worker_settle(struct worker *w)
{
    if (atomic_load_explicit(&w->mailbox, memory_order_relaxed) != NULL)
        worker_deliver_mail(w);
    struct list *n;
    while ((n = list_pop_front(&w->turn_hooks)) != NULL) {
        struct turn_hook *h = CONTAINER_OF(n, struct turn_hook, node);
        h->on_turn_end(h);
    }
    while (w->graves != NULL) {
        struct grave *g = w->graves;
        w->graves = g->next;
        g->free_fn(g->obj);
    }
}

static void worker_end_turn(struct worker *w)
{
    if (w->wheel_count > 0) {
        wheel_sweep(w);
        if (w->wheel_count > 0 && !w->tick_armed)
            worker_arm_tick(w);
    }
    worker_settle(w);
}

void worker_drain(struct worker *w)
{
    CHECK_MAGIC(w, WORKER_MAGIC);
    do
        worker_settle(w);
    while (atomic_load_explicit(&w->mailbox, memory_order_relaxed) != NULL);
}

void worker_run(struct worker *w)
{
    CHECK_MAGIC(w, WORKER_MAGIC);
    worker_of_thread = w;
    rcu_thread_start();
    worker_refresh_clock(w);
    if (w->on_start != NULL)
        w->on_start(w);
    while (!w->stopping) {
        event_base_loop(w->base, EVLOOP_ONCE);
        worker_end_turn(w);
    }
    if (w->on_stop != NULL)
        w->on_stop(w);
    worker_end_turn(w);
    rcu_thread_stop();
    worker_of_thread = NULL;
}

static void *worker_main(void *arg)
{
    worker_run(arg);
    return NULL;
}

bool worker_start(struct worker *w)
{
    int rc = pthread_create(&w->thread, NULL, worker_main, w);
    errno = rc;
    return rc == 0;
}

void worker_stop(struct worker *w)
{
    w->stopping = true;
}

void worker_join(struct worker *w)
{
    ASSERT(pthread_join(w->thread, NULL) == 0);
}

void worker_destroy(struct worker *w)
{
    if (w == NULL)
        return;
    CHECK_MAGIC(w, WORKER_MAGIC);
    ASSERT(atomic_load(&w->mailbox) == NULL && w->graves == NULL && list_empty(&w->turn_hooks));
    if (w->mail_event != NULL)
        event_free(w->mail_event);
    if (w->tick_event != NULL)
        event_free(w->tick_event);
    if (w->base != NULL)
        event_base_free(w->base);
    if (w->mail_fd >= 0)
        close(w->mail_fd);
    w->magic = 0;
    free(w);
}

void worker_post(struct worker *w, struct mail *m)
{
    struct mail *head = atomic_load_explicit(&w->mailbox, memory_order_relaxed);
    do
        m->next = head;
    while (!atomic_compare_exchange_weak_explicit(&w->mailbox, &head, m, memory_order_release,
                                                  memory_order_relaxed));
    if (head != NULL)
        return;
    uint64_t one = 1;
    ssize_t n = write(w->mail_fd, &one, sizeof one);
    ASSERT(n == (ssize_t)sizeof one || errno == EAGAIN);
}

struct worker *worker_current(void)
{
    return worker_of_thread;
}

mono_ms_t worker_current_ms(void)
{
    const struct worker *w = worker_of_thread;
    return w != NULL ? worker_now_ms(w) : clock_mono_ms();
}

void worker_bury(struct worker *w, struct grave *g, void (*free_fn)(void *obj), void *obj)
{
    *g = (struct grave){w->graves, free_fn, obj};
    w->graves = g;
}

void worker_at_turn_end(struct worker *w, struct turn_hook *h)
{
    if (list_empty(&h->node))
        list_push_back(&w->turn_hooks, &h->node);
}
