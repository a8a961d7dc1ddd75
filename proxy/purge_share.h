/* purge_share.h: this node's part in the stream of purges that all nodes with the same Redis and prefix
 * follow (cache/stream_link.h): what is purged here reaches the others, and what they purge is purged here.
 *
 * Made before the workers start; purges of any thread go into its queue from then on. Redis is spoken to on
 * the control thread only, and nothing waits for it. What is not known to be in the stream lies in a file in
 * state_dir, and is sent after a restart. */
#ifndef PROXY_PURGE_SHARE_H
#define PROXY_PURGE_SHARE_H

#include <jansson.h>

#include "cache/stream_map.h"
#include "config/config.h"
#include "core/worker.h"

struct cache;
struct cache_purge_request;
struct cache_purge_result;
struct purge_share;
struct redis_link;

struct purge_share_settings {
    struct cache *cache;           /* outlives it */
    struct config *config;         /* a reference is taken */
    const struct redis_link *link; /* outlives it */
    /* Sets what a message of the purge channel needs beside its words (purge_request.h); control thread. */
    void (*prepare)(void *arg, struct cache_purge_request *r);
    void *arg;
};

/* NULL, and a message in `err`, when memory is short. */
struct purge_share *purge_share_new(const struct purge_share_settings *s, char *err, size_t err_bytes);
/* On the control thread, when it runs, and before it stops. */
void purge_share_start(struct purge_share *p, struct worker *control);
/* Tells the others that this node ends in order. Calls on_left when that is done, or cannot be, within half a
 * second; control thread. Once, some time before purge_share_stop. */
void purge_share_leave(struct purge_share *p, void (*on_left)(void *arg), void *arg);
void purge_share_stop(struct purge_share *p);
/* Once no worker runs: writes what is pending to its file. NULL is fine. */
void purge_share_free(struct purge_share *p);

/* What becomes of a purge that was made just now, as answers say it: "sent", other nodes have it in a moment;
 * "kept", on the disk, or "pending", in memory only, until Redis is back. May wait for the disk, up to a
 * second; control thread. */
const char *purge_share_fate(struct purge_share *p, const struct cache_purge_result *r);
/* For who reads and writes what nodes share. */
const struct cache_stream_map *purge_share_map(const struct purge_share *p);
/* The "purges" object of the status: whether the stream is followed, what is pending, how far each node is;
 * null when `p` is NULL. Control thread. */
json_t *purge_share_status(const struct purge_share *p);

#endif
