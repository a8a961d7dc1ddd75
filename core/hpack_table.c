/* hpack_table.c: see hpack_table.h. */
#include "core/hpack_table.h"

#include "core/panic.h"

#define STATIC_ENTRIES 61 /* RFC 7541 appendix A; the newest of ours follows */
#define LARGE(room)    ((room) / 4 * 3)

_Static_assert(STATIC_ENTRIES + HPACK_ENTRIES < 127 + 128, "an index takes two bytes at most");
_Static_assert(HPACK_ENTRIES <= 256, "a hint is a byte");

void hpack_table_begin(struct hpack_table *t)
{
    *t = (struct hpack_table){.room = HPACK_TABLE_BYTES};
}

static NOINLINE bool search(struct hpack_table *t, uint64_t id)
{
    for (unsigned i = 0; i < t->count; i++) {
        const unsigned at = (t->added - 1 - i) % HPACK_ENTRIES;
        if (t->id[at] == id) {
            t->hint[id & 0xff] = (uint8_t)at;
            return true;
        }
    }
    return false;
}

unsigned hpack_table_find(struct hpack_table *t, uint64_t id)
{
    if (UNLIKELY(t->id[t->hint[id & 0xff]] != id) && !search(t, id))
        return 0;
    return STATIC_ENTRIES + 1 + (t->added - 1 - t->hint[id & 0xff]) % HPACK_ENTRIES;
}

static void evict_to(struct hpack_table *t, uint32_t most)
{
    while (t->used > most) {
        const unsigned oldest = (t->added - t->count) % HPACK_ENTRIES;
        t->used -= t->bytes[oldest];
        t->id[oldest] = 0;
        t->count--;
    }
}

bool hpack_table_add(struct hpack_table *t, uint64_t id, size_t bytes)
{
    const size_t entry = bytes + HPACK_ENTRY_OVERHEAD;
    if (entry > LARGE(t->room))
        return false;
    evict_to(t, t->room - (uint32_t)entry);
    const unsigned at = t->added++ % HPACK_ENTRIES;
    t->id[at] = id;
    t->bytes[at] = (uint16_t)entry;
    t->hint[id & 0xff] = (uint8_t)at;
    t->used += (uint32_t)entry;
    t->count++;
    return true;
}

void hpack_table_follow(struct hpack_table *t, const uint8_t *block, size_t bytes)
{
    const uint8_t *p = block, *const end = block + bytes;
    while (p < end && (*p & 0xe0) == 0x20) {
        uint32_t size = *p & 0x1f;
        if (*p++ == 0x3f) { /* section 5.1 */
            for (unsigned shift = 0; p < end; shift += 7) {
                size += (uint32_t)(*p & 0x7f) << shift;
                if (*p++ < 0x80)
                    break;
                ASSERT(shift < 14);
            }
        }
        ASSERT(size <= HPACK_TABLE_BYTES);
        t->room = size;
        evict_to(t, size);
    }
}
