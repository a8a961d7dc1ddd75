/* purge_twin.c: see purge_twin.h. Who purges sends one end of a pipe along, and waits until the other
 * process, which has purged by then or is gone, closes it. Not for long, since it may be a worker: and a
 * process that stands still costs a worker no more than a tenth of its time. */
#include "proxy/purge_twin.h"

#include <fcntl.h>
#include <poll.h>
#include <time.h>
#include <unistd.h>

#include "core/handover.h"

#define WAIT_MS  250
#define SPARE_MS (10 * WAIT_MS) /* after one wait that was in vain */
#define LOOK_NS  1000000

/* Without a descriptor to spare nobody waits, but it is told. */
static void tell(struct purge_twin *t)
{
    static const struct handover h = {.kind = HANDOVER_PURGED};
    int ends[2];
    if (clock_mono_ms() < atomic_load(&t->waits_from_ms) || pipe2(ends, O_CLOEXEC) != 0) {
        handover_send(t->fd, &h, NULL, 0);
        return;
    }
    struct pollfd done = {.fd = ends[0]};
    handover_send(t->fd, &h, &ends[1], 1);
    close(ends[1]);
    if (poll(&done, 1, WAIT_MS) == 0)
        atomic_store(&t->waits_from_ms, clock_mono_ms() + SPARE_MS);
    close(ends[0]);
}

/* Any thread, before the answer to whoever purged something is sent. */
static void on_purge(void *arg)
{
    struct purge_twin *t = arg;
    atomic_fetch_add(&t->inside, 1);
    if (atomic_load(&t->tells) && (t->until_ms == 0 || clock_mono_ms() < t->until_ms))
        tell(t);
    atomic_fetch_sub(&t->inside, 1);
}

void purge_twin_begin(struct purge_twin *t, struct cache *c, int fd, dur_ms_t for_ms)
{
    if (c == NULL)
        return;
    t->watch = (struct cache_purge_watch){on_purge, t};
    t->cache = c;
    t->fd = fd;
    t->until_ms = for_ms > 0 ? clock_mono_ms() + for_ms : 0;
    atomic_store(&t->tells, true);
    cache_watch_purges(c, &t->watch);
}

void purge_twin_end(struct purge_twin *t)
{
    const struct timespec moment = {0, LOOK_NS};
    if (!atomic_exchange(&t->tells, false))
        return;
    cache_watch_purges(t->cache, NULL);
    while (atomic_load(&t->inside) > 0)
        nanosleep(&moment, NULL);
}

void purge_twin_hear(const struct purge_twin *t)
{
    static const struct cache_purge all = {.kind = CACHE_PURGE_ALL, .text = {"", 0}};
    if (t->cache != NULL)
        cache_purge_followed(t->cache, &all, 1);
}
