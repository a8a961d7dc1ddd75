/* stream_link.h: the stream as this node talks to Redis about it: reads, starts it anew where the follower
 * says so, appends what is pending, and waits for more.
 *
 * Two connections of its own, because one command blocks: the LINE, over which scripts are run
 * (stream_script.h) in the order in which they are sent, and the BELL, a blocking XREAD behind the cursor,
 * whose answer only says that it is time to read. Without the bell the line reads once a second, as it does
 * in any case, since a stream that was deleted rings no bell.
 *
 *   line up -> read .. read -> caught up -> append, ring; read when the bell rings
 *                  `-> start anew -> read
 *   any call without an answer, or a connection that ends -> disconnected; read again
 *
 * Appending is in order: one call is under way at a time, of at most CACHE_STREAM_BATCH events, and only on a
 * line that has caught up. Each is read back before the next one, so that a node never trims what it has not
 * read itself. What had no answer is sent again only after a read, which takes back what had arrived
 * nevertheless; so an event can stand in the stream twice only when a server that hung carries out a command
 * after it was read from over the next connection. That does no harm.
 *
 * What Redis refuses to append (it is full, or does not allow it) is tried again after a while that grows to
 * some seconds; it stays pending, and this node goes on reading.
 *
 * Nothing waits for Redis: purges are applied before they come here, and are pending until Redis is back.
 * Opened, used and closed on one worker's thread, the control thread. */
#ifndef CACHE_STREAM_LINK_H
#define CACHE_STREAM_LINK_H

#include "cache/stream_channel.h"
#include "cache/stream_nodes.h"

struct cache_stream_link;

/* All that is pointed to is borrowed until cache_stream_link_close. */
struct cache_stream_link_settings {
    struct redis_settings redis; /* without its callbacks; connections are as this needs them */
    slice_t prefix;              /* of keys */
    slice_t node_name;           /* see stream_nodes.h */
    size_t length;               /* entries that the stream keeps, about */
    dur_ms_t unreachable_ms;
    slice_t channel;  /* on which applications publish what to purge; empty: none */
    dur_ms_t turn_ms; /* with a channel; see stream_channel.h */
    struct cache_stream_queue *queue;
    /* Applies events of others here; returns the local id of the last. */
    uint64_t (*purge)(void *arg, const struct cache_purge *items, size_t count);
    /* See stream_channel.h. */
    cache_stream_on_message *on_message;
    void (*prepare)(void *arg, struct cache_purge_request *r);
    void *arg;
};

/* NULL when out of memory. */
struct cache_stream_link *cache_stream_link_open(struct worker *w,
                                                 const struct cache_stream_link_settings *s);
/* Before an orderly close: takes back what this node said of itself, so that others do not look for it. Calls
 * on_left with the settings' `arg` when that is done or cannot be, within CACHE_STREAM_LEAVE_MS, unless it is
 * closed before; never from inside this function. Once. */
void cache_stream_link_leave(struct cache_stream_link *l, void (*on_left)(void *arg));
/* Not from inside a callback of it; nobody wakes it any more. Nulls; NULL is fine. */
void cache_stream_link_close(struct cache_stream_link **l);
/* There is something to send; any thread. on_put of the queue calls it. */
void cache_stream_link_wake(struct cache_stream_link *l);

/* Borrowed: for reports and waits. */
struct cache_stream_nodes *cache_stream_link_nodes(struct cache_stream_link *l);
const struct cache_stream_follow *cache_stream_link_follow(const struct cache_stream_link *l);

struct cache_stream_link_figures {
    bool up;             /* inside the stream */
    const char *trouble; /* why not, or why nothing can be appended; "": all is well, or it was not inside
                          * yet; lives until the next turn */
    uint64_t reads, rings, appends, appended, starts, failures;
    uint64_t refusals; /* of appends */
    struct cache_stream_channel_figures channel;
};
struct cache_stream_link_figures cache_stream_link_get_figures(const struct cache_stream_link *l);

#endif
