/* remote_peek.h: what the store that nodes share holds for a request, for `explain`: looked at without being
 * used.
 *
 * It judges as a look-up (remote_load.h) does, by the same function; but it only reads: it asks for no lease
 * and waits for nobody, is counted nowhere, and of a large body it asks only whether all parts are there.
 * What a look-up would not use, because the record is stale or purged, is described all the same. */
#ifndef CACHE_REMOTE_PEEK_H
#define CACHE_REMOTE_PEEK_H

#include "cache/cache_control.h"
#include "cache/remote.h"
#include "core/outcome.h"

#define CACHE_REMOTE_PEEK_TAGS_MAX 2048 /* bytes that are told; cut there */

struct cache_remote_seen {
    enum remote_load outcome; /* what a look-up without a lease would come to */
    bool is_there;            /* a record was read, whether it may be used or not; then: */
    uint16_t status;
    uint32_t chunks; /* of the body, beside the record */
    uint64_t record_bytes, body_bytes;
    struct cache_freshness fresh;
    bool has_control; /* what it says of caching was read: */
    struct cache_control control;
    dur_ms_t left_ms;         /* of its expiry; -1 unknown */
    slice_t tags, vary_names; /* separated by blanks, by commas; valid during the callback */
};

/* Looks for the response to `request` under its primary key; both are borrowed until it has ended. Returns
 * NONE when it is under way: it ends once, with on_end, never from inside this function and within the time
 * limit of a look-up. Else what came of it at once. The store's thread. */
enum remote_load cache_remote_peek(struct cache_remote *r, const struct cache_key *key,
                                   const struct http_head *request,
                                   void (*on_end)(void *arg, const struct cache_remote_seen *s), void *arg);

/* remote.c: all that are under way, as UNAVAILABLE. */
void cache_remote_end_peeks(struct cache_remote *r);

#endif
