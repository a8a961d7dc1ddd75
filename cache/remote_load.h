/* remote_load.h: one look-up in the store that nodes share.
 *
 * What is left of the record's expiry and the record itself are asked for at once, in this order
 * (record_object.h says why). Where a URL varies, that is a marker, and the record of the request's variant
 * is asked for next. It is judged before anything else is: of this format, undamaged, of this very key,
 * fresh, not purged since. Then the chunks of a large body are asked for, a few at a time. Whoever asked
 * hears once, of all or of nothing, within the time limit. */
#ifndef CACHE_REMOTE_LOAD_H
#define CACHE_REMOTE_LOAD_H

#include "cache/remote.h"
#include "core/outcome.h"

#define CACHE_REMOTE_LOAD_WINDOW    4         /* chunks asked for at a time */
#define CACHE_REMOTE_LOAD_BYTES_MAX (32 * MB) /* of large bodies that a worker makes room for at a time */

struct cache_remote_load;

/* FOUND: a fresh response to fill a flight with, but for max_object_bytes; valid during the callback. The
 * flight may still turn it down. */
struct cache_remote_loaded {
    enum remote_load outcome;
    struct cache_fill *fill;
    slice_t body; /* whole */
};

/* Looks for the response to `request` under its primary key; both are borrowed until it has ended. Returns
 * NONE when it is under way, with *out: it ends once, with on_end, never from inside this function, or with
 * cache_remote_load_cancel. Else what came of it at once. Counts. */
enum remote_load cache_remote_load(struct cache_remote *r, const struct cache_key *key,
                                   const struct http_head *request,
                                   void (*on_end)(void *arg, const struct cache_remote_loaded *l), void *arg,
                                   struct cache_remote_load **out);
/* on_end will not run. Nulls; NULL is fine. */
void cache_remote_load_cancel(struct cache_remote_load **l);

/* remote.c: all that are under way. */
void cache_remote_end_loads(struct cache_remote *r);

#endif
