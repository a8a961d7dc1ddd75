/* stream_script.h: what is asked of Redis about the stream, as Lua scripts, and what comes back. Pure.
 *
 * Each script is one transaction over keys of one slot, whatever connection it comes over, and works in a
 * Cluster as anywhere; MULTI would need a connection to itself. The texts go along with each call: they are
 * short, and there is no second way for the server that does not know them.
 *
 *   PREFIX{stream}         the stream
 *   PREFIX{stream}:epoch   its epoch, see stream_follow.h
 *   PREFIX{stream}:nodes   hash: how far each node is
 *   PREFIX{stream}:done    channel: what was appended, see stream_channel.h
 *
 * An event is given to Redis as it lies in the queue, in one piece, and taken apart there, so that a command
 * has few words however much one call purges. */
#ifndef CACHE_STREAM_SCRIPT_H
#define CACHE_STREAM_SCRIPT_H

#include "cache/stream_follow.h"

struct redisReply;

#define CACHE_STREAM_ARGV_MAX   48
#define CACHE_STREAM_BATCH      32       /* events that are appended by one call */
#define CACHE_STREAM_READ_MAX   256      /* entries that one read returns */
#define CACHE_STREAM_READ_BYTES (1 * MB) /* a read ends behind these; an entry of more is shown empty */
#define CACHE_STREAM_DIGEST     40       /* SHA-1 in hexadecimal */
#define CACHE_STREAM_FORGET_S   3600     /* nodes that were silent for longer are forgotten */
#define CACHE_STREAM_LAG_MAX    1000     /* entries; not counted further */
#define CACHE_STREAM_NODES_MAX  64       /* others are not shown */
#define CACHE_STREAM_NAME_MAX   64       /* bytes of a node's name */

/* Texts from malloc; all NULL: closed. */
struct cache_stream_keys {
    char *stream, *epoch, *nodes, *done;
};
/* false when out of memory. */
bool cache_stream_keys_open(struct cache_stream_keys *k, slice_t prefix);
void cache_stream_keys_close(struct cache_stream_keys *k);

/* A command. Words are borrowed; numbers lie in `digits`. Not to be copied. */
struct cache_stream_command {
    size_t argc;
    slice_t argv[CACHE_STREAM_ARGV_MAX];
    char digits[4][24];
};

/* ---- reading ---- */

void cache_stream_script_read(struct cache_stream_command *c, const struct cache_stream_keys *k,
                              slice_t from);

/* What a read returned; texts lie in the reply. */
struct cache_stream_page {
    slice_t epoch;
    bool whole;
    size_t count;
    struct cache_stream_received *entries; /* from malloc, as the texts they point to, in one piece */
};
/* false when it is not what the script returns, or out of memory. */
bool cache_stream_page_open(struct cache_stream_page *p, const struct redisReply *r);
void cache_stream_page_close(struct cache_stream_page *p);

/* ---- adding ---- */

/* Up to CACHE_STREAM_BATCH packed events, in this order, each told of on the channel; nothing if there is no
 * stream. */
void cache_stream_script_append(struct cache_stream_command *c, const struct cache_stream_keys *k,
                                size_t length, const slice_t *packed, size_t count);
/* Starts the stream anew, unless the epoch is not `seen` any more: somebody else was quicker. */
void cache_stream_script_start(struct cache_stream_command *c, const struct cache_stream_keys *k,
                               size_t length, slice_t seen, slice_t epoch, slice_t packed);
/* Of both: whether it was done. */
bool cache_stream_script_was_done(const struct redisReply *r);
/* Of an append that was done: Redis refused to tell of it. */
bool cache_stream_script_was_untold(const struct redisReply *r);

/* What an event purges, whoever made it, as the append script tells of it. The digest has
 * CACHE_STREAM_DIGEST bytes. false when out of memory. */
bool cache_stream_digest(const struct cache_stream_fields *f, char *digest);

/* ---- nodes ---- */

/* How far a node was when it said so last. */
struct cache_stream_node {
    char name[CACHE_STREAM_NAME_MAX + 1];
    uint64_t epoch; /* 0: not inside */
    struct cache_stream_id applied;
    dur_ms_t age_ms; /* since then, by Redis' clock */
    uint64_t lag;    /* entries that it has not applied, at most CACHE_STREAM_LAG_MAX */
    bool is_lost;    /* its report is not in Redis any more, and it did not take it back (stream_nodes.c) */
};

/* This node's own report; returns all nodes'. */
void cache_stream_script_report(struct cache_stream_command *c, const struct cache_stream_keys *k,
                                slice_t name, slice_t report);
/* Takes this node's report back. */
void cache_stream_script_forget(struct cache_stream_command *c, const struct cache_stream_keys *k,
                                slice_t name);
/* The text of a report, CACHE_STREAM_REPORT bytes at most. */
#define CACHE_STREAM_REPORT (16 + 1 + CACHE_STREAM_ID_TEXT)
slice_t cache_stream_report_print(char *buf, uint64_t epoch, struct cache_stream_id applied);
/* The nodes of the answer, at most CACHE_STREAM_NODES_MAX; those that are not understood are left out.
 * *first: there was no report of this node. */
size_t cache_stream_nodes_parse(const struct redisReply *r, bool *first, struct cache_stream_node *out);

#endif
