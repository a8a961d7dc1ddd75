/* timeline.h: what changed: the last events of the process that people ask for when something is different
 * from yesterday. For the whole process, from its start; any thread. */
#ifndef CORE_TIMELINE_H
#define CORE_TIMELINE_H

#include "core/base.h"
#include "core/clock.h"

#define TIMELINE_EVENTS     1000
#define TIMELINE_TEXT_BYTES 240
#define TIMELINE_MERGE_MS   10000 /* purges that follow one another more closely are one event */

/* X(id, name, what it means) */
#define TIMELINE_KINDS(X)                                                                                    \
    X(START, "start", "the program started")                                                                 \
    X(RELOAD, "reload", "a new configuration is in use")                                                     \
    X(REFUSED, "refused", "a reload was refused, or an upgrade failed, and why")                             \
    X(STATE, "state", "an instance, or a Redis server, is in another state")                                 \
    X(SPARED, "spared", "an instance fails and is not left out")                                             \
    X(SPLIT, "split", "a canary gets no more requests, or gets them again")                                  \
    X(ORDER, "order", "an operator drained, weighted, added or removed a server")                            \
    X(NAMES, "names", "a server's name stands for other addresses")                                          \
    X(SHED, "shed", "requests of a pool wait for so long that some are dropped; once a minute")              \
    X(PURGE, "purge", "something was purged")

enum timeline_kind {
#define X(id, name, text) TIMELINE_##id,
    TIMELINE_KINDS(X)
#undef X
        TIMELINE_KIND_COUNT
};

struct timeline_event {
    wall_ms_t at_ms;
    enum timeline_kind kind;
    uint32_t count; /* purges: how many; else 1 */
    char text[TIMELINE_TEXT_BYTES];
};

const char *timeline_kind_name(enum timeline_kind kind);

/* Never fails; what is too long is cut. Takes a lock: for what happens now and then, not per request. */
void timeline_note(enum timeline_kind kind, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Copies the newest events, newest first, into `out`; how many that are. */
size_t timeline_read(struct timeline_event *out, size_t room);

/* For tests. */
void timeline_clear(void);

#endif
