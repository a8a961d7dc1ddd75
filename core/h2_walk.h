/* h2_walk.h: goes through the bytes of an HTTP/2 connection as a client sends them, from the preface on, from
 * head of frame to head of frame, and counts the frames that bring nothing by themselves: all but DATA that
 * has bytes, and RST_STREAM. Such DATA is counted beside, as which of it is for a stream that is over, and so
 * brings nothing either, is known to nghttp2 only.
 *
 * nghttp2 does the same again, and has callbacks, but none for what it leaves out: frames of unknown types,
 * DATA for streams that are over. Whoever sends nothing else is never heard of. What is wrong with a frame is
 * nghttp2's business: it ends the connection, so that it does not matter what is counted behind. Pure. */
#ifndef CORE_H2_WALK_H
#define CORE_H2_WALK_H

#include <stdint.h>

#include "core/slice.h"

#define H2_WALK_PREFACE 24 /* bytes (RFC 9113 section 3.4) */
#define H2_WALK_HEAD    9  /* of a frame (section 4.1) */

struct h2_walk {
    uint32_t skip; /* bytes until the next head */
    uint32_t data; /* frames of DATA that have bytes, begun; who uses it takes off what has been heard of */
    uint8_t head_bytes;
    uint8_t head[H2_WALK_HEAD]; /* one that has not come whole */
};

void h2_walk_begin(struct h2_walk *w);
/* How many such frames have begun in `in`, which may begin and end anywhere. */
unsigned h2_walk(struct h2_walk *w, slice_t in);

#endif
