/* timeline.c: see timeline.h. A ring of fixed size, written as rarely as people and instances change their
 * minds. Only purges may come by the thousand, from applications that purge whatever they write; so those
 * that come close together are counted in one event, and do not push out what else happened. */
#include "core/timeline.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/lock.h"
#include "core/panic.h"

static struct lock timeline_lock = {PTHREAD_MUTEX_INITIALIZER, LOCK_LOG};
static struct timeline_event timeline_ring[TIMELINE_EVENTS]; /* all under the lock */
static uint64_t timeline_noted;                              /* the newest is the one before */

const char *timeline_kind_name(enum timeline_kind kind)
{
    static const char *const names[TIMELINE_KIND_COUNT] = {
#define X(id, name, text) name,
        TIMELINE_KINDS(X)
#undef X
    };
    ASSERT((unsigned)kind < TIMELINE_KIND_COUNT);
    return names[kind];
}

/* The event to write `kind` into. */
static struct timeline_event *timeline_place_locked(enum timeline_kind kind, wall_ms_t now_ms)
{
    if (kind == TIMELINE_PURGE && timeline_noted > 0) {
        struct timeline_event *last = &timeline_ring[(timeline_noted - 1) % TIMELINE_EVENTS];
        if (last->kind == kind && now_ms - last->at_ms < TIMELINE_MERGE_MS) {
            last->count++;
            return last;
        }
    }
    struct timeline_event *e = &timeline_ring[timeline_noted++ % TIMELINE_EVENTS];
    e->count = 1;
    return e;
}

void timeline_note(enum timeline_kind kind, const char *fmt, ...)
{
    char text[TIMELINE_TEXT_BYTES];
    const wall_ms_t now_ms = clock_wall_ms();
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    lock_take(&timeline_lock);
    struct timeline_event *e = timeline_place_locked(kind, now_ms);
    e->at_ms = now_ms;
    e->kind = kind;
    memcpy(e->text, text, sizeof text);
    lock_drop(&timeline_lock);
}

size_t timeline_read(struct timeline_event *out, size_t room)
{
    lock_take(&timeline_lock);
    size_t count = (size_t)MIN(timeline_noted, MIN(room, TIMELINE_EVENTS));
    for (size_t i = 0; i < count; i++)
        out[i] = timeline_ring[(timeline_noted - 1 - i) % TIMELINE_EVENTS];
    lock_drop(&timeline_lock);
    return count;
}

void timeline_clear(void)
{
    lock_take(&timeline_lock);
    timeline_noted = 0;
    lock_drop(&timeline_lock);
}
