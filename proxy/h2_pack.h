/* h2_pack.h: field lines of responses as HPACK (RFC 7541).
 *
 * nghttp2's encoder copies and compares every field of every response, a sixth of what a cached kilobyte
 * costs. Here lines and texts that come again are known: a text that was seen twice is kept with its
 * literals, and its fields are numbers that the connection's table (core/hpack_table) has or has not. Strings
 * are still encoded by nghttp2. A line enters tables when a worker has seen it twice, so what comes once
 * displaces nothing; and never if its value is of one resource or one client.
 *
 * Worker thread. */
#ifndef PROXY_H2_PACK_H
#define PROXY_H2_PACK_H

#include <nghttp2/nghttp2.h>

#include "core/hpack_table.h"
#include "core/slice.h"

struct h2_pack_text;
struct h2_pack_line;

/* Of a worker. Zero it before the first use. */
struct h2_pack {
    nghttp2_hd_deflater *strings; /* has no table, so it has no state */
    struct h2_pack_text *texts;
    struct h2_pack_line *lines;
    uint64_t last_id;
};
void h2_pack_free(struct h2_pack *p);

/* At most so many bytes does h2_pack_lines make of a text; for texts of some kilobytes. */
static inline size_t h2_pack_room(size_t text_bytes)
{
    return text_bytes + text_bytes / 64 + 16;
}

/* The field lines of a head's text, or of a part of it, into `out`; returns how many bytes they became. Names
 * are made lower case where they lie. The next block of the connection that `t` is of must hold them, in the
 * order of the calls. `stored_at`: where the text lies as long as it does not change, which spares its hash;
 * NULL: nowhere. Lacking memory, it packs less tightly. */
size_t h2_pack_lines(struct h2_pack *p, struct hpack_table *t, char *text, size_t bytes,
                     const void *stored_at, uint8_t *out);

#endif
