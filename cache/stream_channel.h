/* stream_channel.h: what applications PUBLISH on the purge channel becomes events of the stream.
 *
 * All nodes hear a message, and one event is enough; but none is not, so nobody relies on another who might
 * have died. Each node keeps what it heard until it hears that it was appended: the script that appends an
 * event tells a digest of what it purges on a second channel, over the same server. Such word that comes
 * behind a message was given after it, in the order of that server; so the event was appended after the
 * message was published, and stands for it. Word that came before says nothing about a message that came
 * later, even if both ask for the same. A node that waits in vain appends the event itself: the first in an
 * order that depends on the message at once, the others one after the other. At worst an event comes twice.
 *
 * In a Cluster the two channels may come over different servers and in any order; there each node appends
 * what it hears, and N events do what one would.
 *
 * Rejected: to drop what was appended already within the last second. The second of two equal messages may be
 * about a change that came after the event of the first.
 *
 * PUBLISH promises nothing: what is published while no node listens is lost. Control thread. */
#ifndef CACHE_STREAM_CHANNEL_H
#define CACHE_STREAM_CHANNEL_H

#include "cache/purge_message.h"
#include "cache/stream_nodes.h"

#define CACHE_STREAM_HEARD_MAX 256 /* messages that wait; beyond that the oldest are appended at once */
#define CACHE_STREAM_TURN_MS   100 /* a good turn_ms: longer than appending takes */

struct cache_stream_channel;

/* Purges what was asked for, as an event of this node: begin, purge, put. */
typedef void cache_stream_on_message(void *arg, struct cache_purge_request *r);

/* All that is pointed to outlives it. */
struct cache_stream_channel_settings {
    struct redis *redis;
    bool is_cluster;
    slice_t channel;
    dur_ms_t turn_ms; /* how long a node waits for the one before it */
    const struct cache_stream_keys *keys;
    struct cache_stream_nodes *nodes;
    cache_stream_on_message *on_message;
    /* Sets what else the request needs (url_keys); may be NULL. */
    void (*prepare)(void *arg, struct cache_purge_request *r);
    void *arg;
};

/* NULL when out of memory. */
struct cache_stream_channel *cache_stream_channel_open(struct worker *w,
                                                       const struct cache_stream_channel_settings *s);
/* Before the client of Redis is. */
void cache_stream_channel_close(struct cache_stream_channel **c);

struct cache_stream_channel_figures {
    bool up, is_refused;     /* Redis does not let this node listen */
    uint64_t heard, refused; /* messages; of them, not understood */
    uint64_t appended;       /* here */
    uint64_t covered;        /* by an event of another node */
};
struct cache_stream_channel_figures cache_stream_channel_get_figures(const struct cache_stream_channel *c);

#endif
