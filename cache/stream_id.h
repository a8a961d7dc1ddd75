/* stream_id.h: the ids that Redis gives to entries of a stream, "ms-seq": Redis' clock in ms and a number.
 * They only grow within one stream, whatever its clock does. Pure. */
#ifndef CACHE_STREAM_ID_H
#define CACHE_STREAM_ID_H

#include "core/slice.h"

#define CACHE_STREAM_ID_TEXT 41 /* two numbers of 64 bits and a dash */

struct cache_stream_id {
    uint64_t ms, seq;
};

/* Below 0, 0 or above 0, as a comes before b, is b, or comes after it. */
static inline int cache_stream_id_compare(struct cache_stream_id a, struct cache_stream_id b)
{
    if (a.ms != b.ms)
        return a.ms < b.ms ? -1 : 1;
    return a.seq == b.seq ? 0 : a.seq < b.seq ? -1 : 1;
}

/* Both numbers in full, as Redis writes them: decimal, no sign, no further zeros in front. */
bool cache_stream_id_parse(slice_t text, struct cache_stream_id *out);
/* Into `buf` (CACHE_STREAM_ID_TEXT bytes, not terminated). */
slice_t cache_stream_id_print(char *buf, struct cache_stream_id id);

#endif
