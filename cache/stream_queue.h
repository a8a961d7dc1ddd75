/* stream_queue.h: the events that were made on this node and are not known to be in the stream: the pending
 * ones.
 *
 * An event is applied here at once, given to the stream, and pending until it is read back from there; that
 * Redis took it is not enough, since it can lose it again (a failover, a restart from an older snapshot).
 * Whatever is pending when a connection begins is sent anew; that an event stands in the stream twice does no
 * harm.
 *
 *   cache_stream_queue_begin   before the event gets its local id, so that what is read of the stream in
 *                              between knows of it (stream_map.h)
 *   cache_purge                applies it here
 *   cache_stream_queue_put     hands it over
 *   cache_stream_queue_take_unsent, XADD ... NOMKSTREAM (which says when the stream is gone)
 *   cache_stream_queue_take_back, when it comes back
 *
 * An event that was never sent gets its place in the stream later than now, so it stands for a new one that
 * purges the same: that is merged into it, whose number ends with the older one's. One that was sent may have
 * its place already, whatever became of the answer, and other nodes may have fetched since.
 *
 * On disk. With Redis at hand an event comes back within milliseconds and is never written. What is still
 * pending after `linger_ms`, or when cache_stream_queue_sync asks for it, is appended to a file by a thread
 * of its own, one fdatasync for all that waits: who promises that a purge will reach the other nodes although
 * Redis is away waits for `on_durable` first, so that kill -9 and a power cut do not break the promise, and
 * no worker ever waits for the disk. Without that fdatasync a power cut would; a sync per event would let a
 * slow disk queue up events; writing all of them at once would cost a disk write for each purge.
 *
 * Bounded. Beyond `bytes_max` or `events_max`, and without memory, all pending events become one that purges
 * everything: right, but too much, so it is logged and counted. After a start, what the file held is pending
 * again; a damaged file has become a purge of everything. Here it needs not be applied: memory begins empty,
 * and nothing from Redis is believed beyond a local id that lies before the node joined the stream, which
 * purges everything (stream_follow.h), until the events have come back.
 *
 * The lock of the queue also serialises who writes to the map: its writing functions are called from here
 * only. */
#ifndef CACHE_STREAM_QUEUE_H
#define CACHE_STREAM_QUEUE_H

#include "cache/inval_log.h"
#include "cache/stream_entry.h"
#include "cache/stream_map.h"
#include "core/clock.h"

struct cache_stream_queue;

struct cache_stream_queue_settings {
    struct cache_stream_map *map;      /* outlives the queue */
    const struct cache_inval_log *log; /* outlives the queue */
    const char *path;                  /* of the file; NULL: none; outlives the queue */
    size_t bytes_max, events_max;      /* pending */
    dur_ms_t linger_ms;
    bool no_thread; /* tests call cache_stream_queue_write themselves */
    /* All that was put up to this ticket is on the disk or back; !ok: is not on the disk, and will be tried
     * again. On the queue's thread, or who calls cache_stream_queue_write. May be NULL. */
    void (*on_durable)(void *arg, uint64_t ticket, bool ok);
    void (*on_put)(void *arg); /* there is something to send; on the thread that put it; may be NULL */
    void *arg;
};

/* Control thread. Reads the file; a line in the log says what is not right with it, and the queue goes on
 * without. NULL when out of memory. */
struct cache_stream_queue *cache_stream_queue_open(const struct cache_stream_queue_settings *s);
/* Writes what is pending, unless no_thread. */
void cache_stream_queue_close(struct cache_stream_queue **q);

/* ---- making events: any thread ---- */

/* What this process puts into its origins. */
uint64_t cache_stream_queue_node(const struct cache_stream_queue *q);

/* Announces an event that is sure to be made. Its number, for put. */
uint64_t cache_stream_queue_begin(struct cache_stream_queue *q);
/* The event was applied, with local ids up to `local_id`. One to CACHE_STREAM_ITEMS_MAX items, which are
 * copied; what is longer than CACHE_STREAM_ENTRY_BYTES in the stream, which no node could read, becomes a
 * purge of everything. Returns a ticket for on_durable. */
uint64_t cache_stream_queue_put(struct cache_stream_queue *q, uint64_t number, uint64_t local_id,
                                const struct cache_purge *items, size_t count);
/* Writes what is pending now, not only after a while. false: there is no file, on_durable will not come. */
bool cache_stream_queue_sync(struct cache_stream_queue *q);
/* What is put is sent at once, as far as is known; else it stays pending until Redis is back. */
bool cache_stream_queue_flows(const struct cache_stream_queue *q);

/* ---- the file of another process: control thread ---- */

/* Another process, whose place this one takes, say, still has the file: nothing is written yet. */
bool cache_stream_queue_awaits_file(const struct cache_stream_queue *q);
/* Takes the file if that has ended. false: not yet. What it left pending counts as one that purges
 * everything, which `on_left` makes: here, too, since something may have been loaded meanwhile. */
bool cache_stream_queue_take_file(struct cache_stream_queue *q, void (*on_left)(void *arg), void *arg);

/* ---- the stream: control thread ---- */

/* The oldest event that was not sent on this connection, as cache_stream_fields_unpack reads it: from malloc,
 * the caller's. NULL: none, or out of memory. It counts as sent from now on. */
char *cache_stream_queue_take_unsent(struct cache_stream_queue *q, size_t *bytes);
void cache_stream_queue_set_flows(struct cache_stream_queue *q, bool flows);
/* The smallest number so that an event of this process up to it, or what that has become part of, or one of
 * an earlier run is pending; UINT64_MAX: nothing is. Any thread. */
uint64_t cache_stream_queue_pending_from(struct cache_stream_queue *q);
/* What is pending is to be sent again: a connection began, or an answer failed to come. */
void cache_stream_queue_resend(struct cache_stream_queue *q);

/* True when this event is one of ours that is pending, which has ended with that: it need not be applied. The
 * map knows at the next advance. */
bool cache_stream_queue_take_back(struct cache_stream_queue *q, struct cache_stream_origin by);
/* The map's writing functions. `local_id`: up to which what came since is applied here; 0: nothing was. */
void cache_stream_queue_advance(struct cache_stream_queue *q, struct cache_stream_id id, uint64_t local_id);
void cache_stream_queue_restart(struct cache_stream_queue *q, struct cache_stream_id id, uint64_t local_id);
void cache_stream_queue_set_epoch(struct cache_stream_queue *q, uint64_t epoch);

/* ---- the file, and figures ---- */

/* What the thread does when it is time: writes, syncs, tells. Only with no_thread. */
void cache_stream_queue_write(struct cache_stream_queue *q);

struct cache_stream_queue_stats {
    uint64_t pending, pending_bytes;
    uint64_t file_bytes; /* 0: there is no file */
    uint64_t collapses;  /* times all that was pending became a purge of everything */
    uint64_t merged;     /* events that one which was pending stands for */
    uint64_t writes;     /* to the file, each with one sync at most */
};
/* Any thread. */
void cache_stream_queue_get_stats(struct cache_stream_queue *q, struct cache_stream_queue_stats *out);

#endif
