/* purge.h: everything that makes stored responses unusable before their time: one URL, a tag, a prefix, a
 * glob, a host, everything; hard or soft.
 *
 * When cache_purge returns, no request that starts afterwards is given what the purge concerns: not what is
 * stored, and not the response of a fetch that began before (promise 2). Hard: it is gone. Soft: it is stale
 * from now on: usable where a stale response is (stale-while-revalidate, stale-if-error) and for revalidation
 * by its validator, never as fresh. The call takes the same short time however many objects are concerned: it
 * appends events to the log (inval_log.h); who looks an object up evaluates them, and a thread of its own
 * gives the memory back (sweep.h). Only what an exact URL names is removed before the call returns. */
#ifndef CACHE_PURGE_H
#define CACHE_PURGE_H

#include "core/slice.h"

struct cache;
struct cache_stream_queue;

/* What `text` is, by kind. A URL is the part of a primary key before its first space (cache_key_url). */
enum cache_purge_kind {
    CACHE_PURGE_URL,           /* a whole URL in key form, "http://host/path?query": all its variants */
    CACHE_PURGE_URL_ANY_QUERY, /* the same without regard to any query; what follows a '?' in it is ignored */
    CACHE_PURGE_TAG,           /* one tag, case-sensitive, without white space */
    CACHE_PURGE_PREFIX,        /* the beginning of URLs */
    CACHE_PURGE_GLOB,          /* a pattern over whole URLs: `*` is any text, `?` is any one character */
    CACHE_PURGE_HOST, /* "name[:port]" as in a key: lower case, the default port left out; both schemes */
    CACHE_PURGE_ALL,  /* ignored */
    CACHE_PURGE_KINDS
};

#define CACHE_PURGE_TEXT_MAX    8192 /* bytes */
#define CACHE_PURGE_PATTERN_MAX 2048 /* of a prefix or glob; the last 256 of them are kept */

struct cache_purge {
    enum cache_purge_kind kind;
    bool soft;
    slice_t text; /* borrowed for the call */
};

struct cache_purge_result {
    uint64_t id;    /* of the last event; ids grow, also when the clock steps back */
    size_t removed; /* objects that exact URLs named; soft: that became stale. Others are not counted */
    bool is_shared; /* given to other nodes as well; the rest is of the last event (stream_queue.h) */
    bool flows;     /* they hear of it at once, as far as is known; else when Redis is back */
    uint64_t stream_number, stream_ticket;
    const char *problem; /* a static sentence when cache_purge said false, else NULL */
};

/* Applies `count` events; once it returns all of them count. Any thread that is registered with RCU
 * (core/rcu.h). false: a text is not valid for its kind, and nothing was done. */
bool cache_purge(struct cache *c, const struct cache_purge *p, size_t count, struct cache_purge_result *out);

/* ---- with other nodes ---- */

/* From now on all events that are made here are given to other nodes, too, through this queue, which outlives
 * the cache's use. Before workers start. */
void cache_share_purges(struct cache *c, struct cache_stream_queue *q);
/* Events of other nodes, valid for their kind: as cache_purge, but not given on. Returns the local id of the
 * last. */
uint64_t cache_purge_followed(struct cache *c, const struct cache_purge *p, size_t count);

/* Who has to hear of what is purged here, by whichever thread, before its answer is sent: another process
 * that takes this one's place. Also of unsafe methods whose URL is not known here. Not of what comes from
 * other nodes. NULL: nobody. It outlives the cache's use. */
struct cache_purge_watch {
    void (*on_purge)(void *arg);
    void *arg;
};
void cache_watch_purges(struct cache *c, const struct cache_purge_watch *w);

/* NULL when the text is valid for its kind, else a static sentence. Pure. */
const char *cache_purge_problem(const struct cache_purge *p);

#endif
