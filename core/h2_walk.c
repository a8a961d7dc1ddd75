/* h2_walk.c: see h2_walk.h. */
#include "core/h2_walk.h"

#include <string.h>

#include "core/panic.h"

enum { TYPE_DATA = 0, TYPE_RST_STREAM = 3 };

void h2_walk_begin(struct h2_walk *w)
{
    *w = (struct h2_walk){.skip = H2_WALK_PREFACE};
}

unsigned h2_walk(struct h2_walk *w, slice_t in)
{
    const uint8_t *p = (const uint8_t *)in.ptr;
    size_t left = in.len;
    unsigned found = 0;
    while (left > 0) {
        const size_t skip = MIN(w->skip, left);
        const size_t taken = MIN(left - skip, (size_t)H2_WALK_HEAD - w->head_bytes);
        const uint8_t *head = p + skip;
        w->skip -= (uint32_t)skip;
        p += skip + taken;
        left -= skip + taken;
        if (taken < H2_WALK_HEAD) { /* else it is read where it lies */
            memcpy(w->head + w->head_bytes, head, taken);
            w->head_bytes += (uint8_t)taken;
            if (w->head_bytes < H2_WALK_HEAD)
                continue;
            head = w->head;
        }
        w->head_bytes = 0;
        w->skip = (uint32_t)head[0] << 16 | (uint32_t)head[1] << 8 | head[2];
        const bool has_data = head[3] == TYPE_DATA && w->skip > 0;
        w->data += has_data;
        found += !has_data && head[3] != TYPE_RST_STREAM;
    }
    return found;
}
