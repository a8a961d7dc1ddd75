/* byte_queue.c: see byte_queue.h. Room doubles, and what was read makes way before more is asked for. */
#include "core/byte_queue.h"

#include <stdlib.h>
#include <string.h>

#define ROOM_LEAST (2 * KB)

bool byte_queue_put(struct byte_queue *q, const void *bytes, size_t n)
{
    if (q->pos > 0 && q->len + n > q->room) {
        memmove(q->ptr, q->ptr + q->pos, q->len - q->pos);
        q->len -= q->pos;
        q->pos = 0;
    }
    if (q->len + n > q->room) {
        size_t room = MAX(q->room, (size_t)ROOM_LEAST);
        while (room < q->len + n)
            room *= 2;
        char *ptr = realloc(q->ptr, room);
        if (ptr == NULL)
            return false;
        q->ptr = ptr;
        q->room = room;
    }
    if (n > 0)
        memcpy(q->ptr + q->len, bytes, n);
    q->len += n;
    return true;
}

void byte_queue_free(struct byte_queue *q)
{
    free(q->ptr);
    *q = (struct byte_queue){0};
}
