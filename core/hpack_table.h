/* hpack_table.h: the dynamic table of an HPACK decoder, as whoever encodes for it must know it (RFC 7541
 * sections 2.3.2 and 4).
 *
 * Entries are known by a number that the encoder gives a field, never twice, so the table holds no text: what
 * the field says is the encoder's business. Pure; one per connection. */
#ifndef CORE_HPACK_TABLE_H
#define CORE_HPACK_TABLE_H

#include <stdint.h>

#include "core/slice.h"

#define HPACK_TABLE_BYTES    4096 /* at most, and at the beginning (RFC 9113 section 6.5.2) */
#define HPACK_ENTRY_OVERHEAD 32   /* beside the bytes of name and value (section 4.1) */
#define HPACK_ENTRIES        (HPACK_TABLE_BYTES / HPACK_ENTRY_OVERHEAD)

struct hpack_table {
    uint64_t id[HPACK_ENTRIES]; /* a ring; 0: no entry */
    uint16_t bytes[HPACK_ENTRIES];
    uint8_t hint[256]; /* where an id may be, by its lowest byte */
    uint32_t added;    /* so many so far: the next goes to added % HPACK_ENTRIES */
    uint32_t count, used, room;
};

void hpack_table_begin(struct hpack_table *t);
/* The index of an entry, to be sent in its stead; 0: it is not there (or not any more). `id` > 0. */
unsigned hpack_table_find(struct hpack_table *t, uint64_t id);
/* As the decoder does with a literal field "with incremental indexing": `bytes` of name and value together.
 * false: it is so large that it would leave little else, and is not to be added. */
bool hpack_table_add(struct hpack_table *t, uint64_t id, size_t bytes);
/* The updates of the table's size that a header block begins with (section 6.3), as nghttp2 has written them:
 * none asks for more than HPACK_TABLE_BYTES. */
void hpack_table_follow(struct hpack_table *t, const uint8_t *block, size_t bytes);

/* An index as an indexed field (section 6.1), two bytes at most, behind which it returns. */
static inline uint8_t *hpack_put_index(uint8_t *out, unsigned index)
{
    if (index < 127) {
        *out++ = (uint8_t)(0x80 | index);
    } else {
        *out++ = 0xff;
        *out++ = (uint8_t)(index - 127);
    }
    return out;
}

#endif
