/* stream_follow.h: how a node follows the stream: where to read, what the entries that were read mean here,
 * and what to do when the stream is not what it was. Decides and applies; who calls it talks to Redis.
 *
 * Two keys in one slot: the stream, and the epoch, a random text. Each read is one transaction,
 *
 *   MULTI, GET epoch, XRANGE stream FROM + COUNT n, EXEC
 *
 * whose result is given to cache_stream_follow_take. It says what comes next: read again, wait until there is
 * more (XREAD BLOCK behind the cursor, used as a door bell only), or start the stream anew:
 *
 *   MULTI, SET epoch RANDOM, XADD stream * <the entry of cache_stream_follow_start>, EXEC
 *
 * Reads begin AT the cursor, the last entry that was applied, not behind it. As long as it comes back first,
 * the stream still has the past that is known here, and nothing behind it was trimmed: Redis adds and trims
 * at the ends only. If it does not come back, something was missed:
 *
 *   trimmed     all that is left is younger than the cursor. What was between is lost for this node, not for
 *               others: it joins anew, from the first entry that is left.
 *   lost        the stream is gone, was made anew, or lacks the entry that was applied here, after a failover
 *               to a replica that lagged or a restart from an older snapshot. Others may have missed what
 * this node saw, and all what nobody saw: it joins what there is and then starts the stream anew, unless
 * another has done so since (there is a start entry after the cursor). A node also starts it that finds no
 * stream, or no epoch, or not the one of the stream it followed.
 *
 * What must go when. A node that missed events cannot say which of its responses they concerned, so all that
 * it has in memory goes when it joins (also for the first time: it may have served before Redis could be
 * reached), and at each start entry, for which some node had reason. This is an event that purges
 * everything, hard, in the log of this node alone; fetches under way are dropped by it, too. An entry that is
 * refused may have concerned anything, and has the same effect. Only responses in Redis go, and memory
 * stays, when it is merely not known what their stamps mean: they are of another epoch, or older than the
 * first entry left at the time this node joined, or than the steps that are remembered. Those that were
 * stamped after that first entry stay usable when a node joins, which is why it reads all that is left, also
 * after a mere restart.
 *
 * Nothing from Redis is believed, and nothing stamped, until the end of the stream was reached after joining,
 * nor from the loss of a connection on until a read has shown that the stream is the same: the next
 * connection may lead to another server, whose responses were stamped after another past.
 *
 * Trust in Redis. Not noticed is the loss of an entry that Redis has acknowledged (asynchronous replication,
 * an older snapshot) when no node lives any more that had read it or has it pending; or when those come back
 * only after the stream was trimmed past it, which looks as if it had been trimmed itself; or when Redis'
 * clock was set back, too, so that ids come again, and a start of another past seems to be younger. Nor is
 * that of single entries (XDEL), or other changes by hand.
 */
#ifndef CACHE_STREAM_FOLLOW_H
#define CACHE_STREAM_FOLLOW_H

#include "cache/stream_queue.h"

/* OUTSIDE   -> JOINING    the first entry of the stream was read
 * JOINING   -> INSIDE     the end was reached, and no start is owed
 * INSIDE    -> RESUMING   disconnected, or the epoch is another
 * RESUMING  -> INSIDE     the end was reached, nothing missed
 * JOINING, INSIDE, RESUMING -> JOINING   a start entry was read
 * JOINING, INSIDE, RESUMING -> OUTSIDE   the cursor did not come back */
enum cache_stream_state {
    CACHE_STREAM_OUTSIDE,  /* reads from the beginning */
    CACHE_STREAM_JOINING,  /* reads what is left of the stream */
    CACHE_STREAM_INSIDE,   /* has been at the end; stamps are made and believed */
    CACHE_STREAM_RESUMING, /* was inside; after a disconnect */
    CACHE_STREAM_STATES
};

enum cache_stream_next {
    CACHE_STREAM_READ,  /* at once: there is more, or another place to read from */
    CACHE_STREAM_WAIT,  /* caught up: send what is pending, read when there is more, and once a second */
    CACHE_STREAM_START, /* start the stream anew, then read */
};

/* As Redis returned it. Texts are names and values in turn, borrowed. */
struct cache_stream_received {
    struct cache_stream_id id;
    const slice_t *texts;
    size_t count;
};

struct cache_stream_follow_settings {
    struct cache_stream_queue *queue; /* outlives this */
    /* Applies events here, returns the local id of the last. Items are valid for their kind. */
    uint64_t (*purge)(void *arg, const struct cache_purge *items, size_t count);
    void *arg;
};

struct cache_stream_follow { /* control thread; owned by who talks to Redis */
    struct cache_stream_follow_settings s;
    enum cache_stream_state state;
    struct cache_stream_id cursor; /* of the last entry that was followed */
    uint64_t cursor_check;         /* and what it said */
    bool has_cursor;               /* OUTSIDE: followed the stream up to there */
    bool owes_start;               /* entries after `owes_since`, or some others, are lost for all */
    struct cache_stream_id owes_since;
    struct cache_stream_origin start_by; /* of the last start entry that was made here */
    uint64_t epoch;                      /* of the stream; 0: not known yet */
    /* counted */
    uint64_t joined, trimmed, lost, starts, applied, came_back, refused;
    enum cache_stream_fault last_fault; /* of the last that was refused */
};

void cache_stream_follow_init(struct cache_stream_follow *f, const struct cache_stream_follow_settings *s);

/* Where to read from: "-" or an id; `buf` has CACHE_STREAM_ID_TEXT bytes. */
slice_t cache_stream_follow_from(const struct cache_stream_follow *f, char *buf);

/* What a read returned. `epoch`: the text of the key, empty when there is none. `whole`: fewer entries came
 * than were asked for, so this is the end of the stream. Ask for two at least. */
enum cache_stream_next cache_stream_follow_take(struct cache_stream_follow *f, slice_t epoch,
                                                const struct cache_stream_received *entries, size_t count,
                                                bool whole);
/* The connection is gone. */
void cache_stream_follow_disconnected(struct cache_stream_follow *f);

/* The entry that starts a stream, and the text for the epoch's key (16 bytes into `epoch`). When the
 * transaction fails, the next read tells whether it is needed still. */
void cache_stream_follow_start(struct cache_stream_follow *f, struct cache_stream_fields *entry, char *epoch);

#endif
