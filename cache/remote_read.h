/* remote_read.h: the head record of one key from the store that nodes share, and for how long it is kept
 * there, which is all it takes to know how old it is. */
#ifndef CACHE_REMOTE_READ_H
#define CACHE_REMOTE_READ_H

#include "cache/remote.h"
#include "core/outcome.h"
#include "core/redis.h"

/* Inside whoever asks; one worker's thread. Zeroed, it asks for nothing. */
struct cache_remote_read {
    struct redis_call left, head;
    /* until the record expires, from its reply on; -1: unknown, or never */
    dur_ms_t left_ms;
    /* ANSWERED with `record`, which lives during the callback and is empty when there is none; or why there
     * is no answer. */
    void (*on_record)(struct cache_remote_read *q, enum redis_outcome o, slice_t record);
};

/* NONE: asked, and on_record runs once within `timeout_ms`, never from inside this. Else why it was not
 * asked, and it will not run. */
enum remote_load
cache_remote_read(const struct cache_remote *r, struct cache_remote_read *q, slice_t key, dur_ms_t timeout_ms,
                  void (*on_record)(struct cache_remote_read *q, enum redis_outcome o, slice_t record));
/* on_record will not run. From anywhere, in any state. */
void cache_remote_read_cancel(struct cache_remote_read *q);

#endif
