/* gate.c: a gate is a mutex, a condition and three numbers. Semaphores were rejected: they cannot tell the
 * test how many have arrived. */
#include "tests/support/gate.h"

#include "tests/support/support.h"

void cond_init_mono(pthread_cond_t *c)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(c, &attr);
    pthread_condattr_destroy(&attr);
}

bool cond_wait_until(pthread_cond_t *c, pthread_mutex_t *m, long long deadline_mono_ms)
{
    struct timespec ts = {.tv_sec = deadline_mono_ms / 1000, .tv_nsec = deadline_mono_ms % 1000 * 1000000};
    return pthread_cond_timedwait(c, m, &ts) != ETIMEDOUT;
}

static struct gate *gates; /* test thread */

static void gate_free(void *arg)
{
    struct gate *g = arg;
    gates = g->next; /* the newest goes first */
    pthread_mutex_destroy(&g->mtx);
    pthread_cond_destroy(&g->changed);
    free(g);
}

struct gate *gate_new(void)
{
    struct gate *g = calloc(1, sizeof(*g));
    if (g == NULL)
        abort();
    pthread_mutex_init(&g->mtx, NULL);
    cond_init_mono(&g->changed);
    g->next = gates;
    gates = g;
    support_on_end(gate_free, g);
    return g;
}

void gate_open_all(void)
{
    for (struct gate *g = gates; g != NULL; g = g->next)
        gate_open(g);
}

bool gate_pass(struct gate *g)
{
    mono_ms_t deadline =
        clock_mono_ms() + 4 * support_wait_ms(); /* whoever waits for its effect fails first */
    bool in_time = true;
    pthread_mutex_lock(&g->mtx);
    g->arrived++;
    pthread_cond_broadcast(&g->changed);
    while (!g->open && g->tickets == 0 && in_time)
        in_time = cond_wait_until(&g->changed, &g->mtx, deadline);
    bool passed = g->open || g->tickets > 0;
    if (!g->open && g->tickets > 0)
        g->tickets--;
    pthread_mutex_unlock(&g->mtx);
    return passed;
}

static void set(struct gate *g, bool open, unsigned tickets)
{
    pthread_mutex_lock(&g->mtx);
    g->open = open;
    g->tickets += tickets;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->mtx);
}

void gate_open(struct gate *g)
{
    set(g, true, 0);
}

void gate_let(struct gate *g, unsigned n)
{
    set(g, false, n);
}

void gate_shut(struct gate *g)
{
    set(g, false, 0);
}

void gate_wait_arrived(struct gate *g, unsigned n)
{
    mono_ms_t deadline = clock_mono_ms() + support_wait_ms();
    bool in_time = true;
    pthread_mutex_lock(&g->mtx);
    while (g->arrived < n && in_time)
        in_time = cond_wait_until(&g->changed, &g->mtx, deadline);
    unsigned arrived = g->arrived;
    pthread_mutex_unlock(&g->mtx);
    if (arrived < n)
        support_fail("%u arrived at the gate, not %u", arrived, n);
}
