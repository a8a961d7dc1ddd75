/* stream_nodes.h: how far each node has followed the stream: this one says so in Redis, and reads what the
 * others have said.
 *
 * A node reports when it has applied more, but at most every 50 ms, and once a second in any case; the answer
 * is what all have reported. Ages are by Redis' clock, since those of nodes differ; a node whose report is
 * older than `unreachable_ms` counts as unreachable, once this node has been inside for as long, and one that
 * was silent for an hour is forgotten; one that ends in order takes its report back before. What Redis loses,
 * the nodes that saw it still know. A node that is not inside the stream reports epoch 0: it believes nothing
 * from Redis, and purges everything before it does again.
 *
 * Who wants to know that a purge has reached all nodes looks here (admin/client_wait). Nodes that cannot be
 * reached are not waited for; the list of nodes names them. Control thread. */
#ifndef CACHE_STREAM_NODES_H
#define CACHE_STREAM_NODES_H

#include "cache/stream_script.h"
#include "core/redis.h"

#define CACHE_STREAM_REPORT_MS       50
#define CACHE_STREAM_REPORT_AGAIN_MS 1000
#define CACHE_STREAM_LEAVE_MS        500

struct cache_stream_nodes;

/* All that is pointed to outlives it. */
struct cache_stream_nodes_settings {
    struct redis *redis;
    const struct cache_stream_keys *keys;
    const struct cache_stream_follow *follow;
    slice_t name; /* of this node, 1 to CACHE_STREAM_NAME_MAX bytes, no other has it */
    dur_ms_t unreachable_ms;
};

/* NULL when out of memory. */
struct cache_stream_nodes *cache_stream_nodes_open(struct worker *w,
                                                   const struct cache_stream_nodes_settings *s);
void cache_stream_nodes_close(struct cache_stream_nodes **n);
/* As cache_stream_link_leave. */
void cache_stream_nodes_leave(struct cache_stream_nodes *n, void (*on_left)(void *arg), void *arg);
/* The follower moved or changed its state. */
void cache_stream_nodes_look(struct cache_stream_nodes *n);

/* All nodes, this one included, as of the last answer, with ages of now. Valid until the next turn; none
 * before the first answer. */
const struct cache_stream_node *cache_stream_nodes_all(struct cache_stream_nodes *n, size_t *count);
bool cache_stream_node_is_reachable(const struct cache_stream_nodes *n, const struct cache_stream_node *node);
/* How many other nodes that are inside and reachable come before this one in an order that depends on the
 * key: who is to act on it, when one is enough. */
size_t cache_stream_nodes_rank(const struct cache_stream_nodes *n, slice_t key);

#endif
