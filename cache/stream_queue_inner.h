/* stream_queue_inner.h: the inside of a queue of pending events, for the two files that make it up:
 * stream_queue.c links events, hands them out and takes them back; stream_queue_disk.c keeps them in the
 * file. Nobody else includes it.
 *
 * Every pending event lies in one list, in the order of begin, so that the first has the oldest local id, and
 * in further lists as long as it was not sent or is not in the file. The lock is held to link, unlink and
 * copy; the file belongs to whoever writes it, the thread. `_locked`: the caller holds the lock. */
#ifndef CACHE_STREAM_QUEUE_INNER_H
#define CACHE_STREAM_QUEUE_INNER_H

#include <pthread.h>

#include "cache/stream_file.h"
#include "cache/stream_queue.h"
#include "core/list.h"

#define CACHE_STREAM_QUEUE_MAGIC 0x53545155u
#define CACHE_STREAM_EVERYTHING  128 /* bytes of an event that purges everything */
#define CACHE_STREAM_RECENT      1024

struct queued {
    struct list in_all, in_unsent, in_unwritten;
    struct cache_stream_origin by;
    uint64_t before_id; /* local id before it was applied */
    uint64_t local_id;  /* 0: an earlier run applied it, to what is gone since */
    bool in_file;
    size_t bytes;    /* of the packed event; 0: it was announced, not put yet */
    size_t items_at; /* where in it begins what is purged */
    size_t slot;     /* in `recent` */
    char *packed;
};

struct cache_stream_queue {
    uint32_t magic;
    /* set once */
    struct cache_stream_queue_settings s;
    uint64_t node;
    /* set once, before or by cache_stream_queue_take_file, before `has_file` under the lock */
    pthread_t thread;
    int wake_fd;
    bool has_file, has_thread;
    bool awaits_file; /* control thread */
    /* who writes: the thread, else the control thread */
    struct cache_stream_file file;
    /* under the lock */
    struct lock lock;
    struct list all, unsent, unwritten;
    struct queued
        *recent[CACHE_STREAM_RECENT]; /* never sent, by the hash of what they purge; the last each */
    struct queued everything;
    char everything_packed[CACHE_STREAM_EVERYTHING];
    uint64_t last_number, last_ticket;
    uint64_t earlier;                 /* how many are pending that an earlier run made */
    uint64_t back_before, back_local; /* of those that came back since the last advance */
    char *done;                       /* records for the file of what ended; from malloc */
    size_t done_bytes, done_room;
    bool rewrite; /* the file does not say what is pending and cannot by being appended to */
    bool stop;
    mono_ms_t due_ms; /* when to write; 0: there is nothing to write */
    struct cache_stream_queue_stats stats;
    /* atomic */
    _Atomic bool flows;
};

static inline bool queued_is_put(const struct queued *e)
{
    return e->bytes > 0;
}

/* ---- stream_queue.c ---- */

/* Of an event that was put: it is to be sent, to be written, and counted. */
void cache_stream_queue_link_locked(struct cache_stream_queue *q, struct queued *e);
/* All that was put becomes one event, as old as the oldest and `before_id`. Those that are announced stay. */
void cache_stream_queue_collapse_locked(struct cache_stream_queue *q, uint64_t before_id);
bool cache_stream_queue_is_too_much_locked(const struct cache_stream_queue *q);

/* ---- stream_queue_disk.c ---- */

/* Reads what an earlier run left, if there is a path. Before anything else happens. */
void cache_stream_queue_read_file(struct cache_stream_queue *q);
/* false when out of descriptors or threads. */
bool cache_stream_queue_start_thread(struct cache_stream_queue *q);
/* Writes what is pending, unless no_thread; closes the file. */
void cache_stream_queue_stop_disk(struct cache_stream_queue *q);

/* It is time to write at `at_ms`, or after linger_ms. */
void cache_stream_queue_write_at_locked(struct cache_stream_queue *q, mono_ms_t at_ms);
void cache_stream_queue_write_soon_locked(struct cache_stream_queue *q);
/* An event that is in the file has ended. */
void cache_stream_queue_note_done_locked(struct cache_stream_queue *q, struct cache_stream_origin by);

#endif
