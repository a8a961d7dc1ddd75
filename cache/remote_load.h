/* remote_load.h: one look-up in the store that nodes share.
 *
 * The record is asked for (remote_read.h), and if there is none, the lease of its key, or the record if there
 * is one by now (lease.h). Where a URL varies, what is found is a marker, and the same is asked of the
 * request's variant next. The record is judged before anything else is: of this format, undamaged, of this
 * very key, fresh, not purged since. Then the chunks of a large body are asked for, a few at a time. For what
 * is no use a newer one is asked for, or the lease.
 * While another node has that, one waits for what he brings, as long as may be waited. Whoever asked hears
 * once: of all of a response, of a lease, or of neither, within the time limit, to which only the waiting is
 * added. */
#ifndef CACHE_REMOTE_LOAD_H
#define CACHE_REMOTE_LOAD_H

#include "cache/record_object.h"
#include "cache/remote.h"
#include "core/outcome.h"

#define CACHE_REMOTE_LOAD_REFUSALS  3         /* of records that are no use, before it is given up */
#define CACHE_REMOTE_LOAD_WINDOW    4         /* chunks asked for at a time */
#define CACHE_REMOTE_LOAD_BYTES_MAX (32 * MB) /* of large bodies that a worker makes room for at a time */

struct cache_remote_load;

struct cache_remote_loaded {
    enum remote_load outcome;
    /* FOUND: a fresh response to fill a flight with, but for max_object_bytes; valid during the callback. The
     * flight may still turn it down. STALE: a stale one, if that is wanted too, else NULL. */
    struct cache_fill *fill;
    slice_t body; /* whole */
    /* Nothing of use is there, and this node is to fetch it: held, and from now on whoever asked's. Or NULL.
     */
    struct cache_lease *lease;
};

/* What is looked for: the response to `request` under its primary key, which are borrowed until it has ended.
 */
struct cache_remote_want {
    const struct cache_key *key;
    const struct http_head *request;
    dur_ms_t fresher_than_ms; /* what is left of the freshness of what the asker has; 0: nothing */
    bool or_stale;            /* rather than the lease */
    dur_ms_t wait_ms;         /* at most, for other nodes' fetches */
    void (*on_end)(void *arg, const struct cache_remote_loaded *l);
    void *arg;
};

/* Returns NONE when it is under way, with *out: it ends once, with on_end, never from inside this function,
 * or with cache_remote_load_cancel. Else what came of it at once. Counts. */
enum remote_load cache_remote_load(struct cache_remote *r, const struct cache_remote_want *want,
                                   struct cache_remote_load **out);
/* on_end will not run. Nulls; NULL is fine. */
void cache_remote_load_cancel(struct cache_remote_load **l);

/* remote.c: all that are under way. */
void cache_remote_end_loads(struct cache_remote *r);

/* ---- for remote_peek.c as well ---- */

/* Borrowed. */
struct cache_remote_question {
    const struct cache_remote *remote;
    const struct cache_key *primary;
    const struct http_head *request;
    dur_ms_t fresher_than_ms; /* as in struct cache_remote_want */
};

/* What is to be said of a record that was found for this, but for its body. FOUND or STALE: *out is what a
 * flight is filled with. `left_ms` as in record_object.h. */
enum remote_load cache_remote_judge(const struct cache_remote_question *q, const struct cache_record *record,
                                    dur_ms_t left_ms, struct cache_record_fill *out);
/* Is the stream of purges followed? If not, nothing that is found may be believed. */
bool cache_remote_is_followed(const struct cache_remote *r);
/* What bytes that are no record of this key, and a call without an answer to go on with, come to. */
enum remote_load cache_remote_of_fault(enum cache_record_fault f);
enum remote_load cache_remote_of_redis(enum redis_outcome o);

#endif
