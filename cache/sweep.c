/* sweep.c: see sweep.h.
 *
 * Pace. A slice of work is followed by a longer sleep, so that the thread never is the one the scheduler
 * takes a processor from while it holds a lock; it waits while much memory is on its way through a grace
 * period, because inserts are refused beyond a limit; and it rests after a pass, since events of the meantime
 * share the next one.
 *
 * Index arrays are replaced as they grow and shrink. A pass that sees this starts over in that shard, some
 * times; what it may miss then is freed by eviction or the next pass. Rejected: a timer on the control
 * thread, which has others to answer; a list of objects per tag, 16 bytes for each tag of each object;
 * sched_yield before each hold of a lock: beside busy workers a pass then takes many times as long. */
#include "cache/sweep.h"

#include <signal.h>
#include <time.h>

#include "cache/validity.h"
#include "core/panic.h"

#define STEP_SLOTS     64 /* looked at in one RCU section */
#define RESTARTS_MAX   8
#define SLICE_US       250
#define SLEEP_US       500
#define REST_MIN_MS    200
#define REST_MAX_MS    5000
#define REST_PER_PASS  4 /* times as long as the pass took */
#define DOOMED_WAIT_US 1000

/* Below what cache_reserve tolerates. */
static bool sweep_may_doom(struct cache *c)
{
    size_t doomed = atomic_load_explicit(&c->account.doomed, memory_order_relaxed);
    return doomed <= atomic_load_explicit(&c->account.limit, memory_order_relaxed) / 16 + 4 * MB;
}

static bool object_is_gone(struct cache *c, struct cache_object *o)
{
    if (atomic_load_explicit(&o->checked_id, memory_order_relaxed) == cache_inval_head(&c->inval))
        return false;
    uint64_t primary = cache_object_is_variant(o) ? hash_bytes(o->text, o->primary_bytes).lo : o->hash;
    return cache_object_is_purged(&c->inval, o, primary);
}

bool cache_sweep_step(struct cache *c, struct cache_sweep *s)
{
    struct cache_shard *sh = &c->shards[s->shard];
    cache_entry_t found[STEP_SLOTS];
    struct cache_object *doomed[STEP_SLOTS];
    size_t doomed_count = 0;
    rcu_enter();
    if (s->cursor == 0)
        s->moves = cache_index_moves(&sh->index);
    const bool goes_on = s->cursor != 0;
    size_t n = cache_index_scan(&sh->index, &s->cursor, found, STEP_SLOTS);
    const bool again = goes_on && cache_index_moves(&sh->index) != s->moves && s->restarts < RESTARTS_MAX;
    for (size_t i = 0; i < n; i++)
        __builtin_prefetch((const void *)(uintptr_t)found[i]);
    for (size_t i = 0; i < n; i++) {
        struct cache_object *o = cache_entry_object(found[i]);
        if (o != NULL && object_is_gone(c, o))
            doomed[doomed_count++] = o;
    }
    cache_shard_unlink_some(c, sh, doomed, doomed_count, true);
    rcu_leave();
    if (again) { /* these slots were another array's */
        s->restarts++;
        s->cursor = 0;
        return true;
    }
    if (s->cursor != 0)
        return true;
    s->restarts = 0;
    if (++s->shard < CACHE_SHARDS)
        return true;
    atomic_store(&c->sweeper.swept_id, s->target_id);
    return false;
}

/* ---- the thread ---- */

static bool sweeper_stops(const struct cache_sweeper *sw)
{
    return atomic_load_explicit(&sw->stop, memory_order_relaxed);
}

static void sleep_us(mono_us_t us)
{
    const struct timespec t = {us / 1000000, us % 1000000 * 1000};
    nanosleep(&t, NULL);
}

static void sweeper_pass(struct cache *c)
{
    struct cache_sweep s = {.target_id = cache_inval_head(&c->inval)};
    mono_us_t slice_us = clock_mono_us();
    while (!sweeper_stops(&c->sweeper) && cache_sweep_step(c, &s)) {
        while (!sweep_may_doom(c) && !sweeper_stops(&c->sweeper))
            sleep_us(DOOMED_WAIT_US);
        if (clock_mono_us() - slice_us < SLICE_US)
            continue;
        sleep_us(SLEEP_US);
        slice_us = clock_mono_us();
    }
}

static void sweeper_rest(struct cache_sweeper *sw, dur_ms_t pass_ms)
{
    mono_ms_t until_ms = clock_mono_ms() + MIN(MAX(pass_ms * REST_PER_PASS, REST_MIN_MS), REST_MAX_MS);
    while (!sweeper_stops(sw) && clock_mono_ms() < until_ms)
        sleep_us(20000);
}

static void *sweeper_main(void *arg)
{
    struct cache *c = arg;
    struct cache_sweeper *sw = &c->sweeper;
    rcu_thread_start();
    while (!sweeper_stops(sw)) {
        while (sem_wait(&sw->wake) != 0) /* interrupted */
            ;
        while (!sweeper_stops(sw) && atomic_load(&sw->swept_id) < atomic_load(&sw->wanted_id)) {
            mono_ms_t begin_ms = clock_mono_ms();
            sleep_us(SLEEP_US); /* or it might take the processor of who has just woken it */
            sweeper_pass(c);
            sweeper_rest(sw, clock_mono_ms() - begin_ms);
        }
    }
    rcu_thread_stop();
    return NULL;
}

bool cache_sweeper_start(struct cache *c)
{
    struct cache_sweeper *sw = &c->sweeper;
    sigset_t all, before;
    ASSERT(sem_init(&sw->wake, 0, 0) == 0);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    sw->runs = pthread_create(&sw->thread, NULL, sweeper_main, c) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!sw->runs)
        sem_destroy(&sw->wake);
    return sw->runs;
}

void cache_sweeper_stop(struct cache *c)
{
    struct cache_sweeper *sw = &c->sweeper;
    if (!sw->runs)
        return;
    atomic_store(&sw->stop, true);
    sem_post(&sw->wake);
    ASSERT(pthread_join(sw->thread, NULL) == 0);
    sw->runs = false;
    sem_destroy(&sw->wake);
}

void cache_sweep_ask(struct cache *c, uint64_t id)
{
    struct cache_sweeper *sw = &c->sweeper;
    uint64_t wanted = atomic_load(&sw->wanted_id);
    while (wanted < id && !atomic_compare_exchange_weak(&sw->wanted_id, &wanted, id))
        continue;
    if (!atomic_load_explicit(&sw->stop, memory_order_relaxed))
        sem_post(&sw->wake);
}
