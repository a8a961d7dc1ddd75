/* byte_queue.h: bytes that wait for their reader, in one stretch of memory that grows. Whoever puts some in
 * bounds it. Zero it before the first use; one thread. */
#ifndef CORE_BYTE_QUEUE_H
#define CORE_BYTE_QUEUE_H

#include "core/slice.h"

struct byte_queue {
    char *ptr;
    size_t pos, len, room; /* what waits is from `pos` to `len` */
};

/* Copies them behind what waits. false: no memory. */
bool byte_queue_put(struct byte_queue *q, const void *bytes, size_t n);
void byte_queue_free(struct byte_queue *q);

static inline size_t byte_queue_bytes(const struct byte_queue *q)
{
    return q->len - q->pos;
}

static inline slice_t byte_queue_front(const struct byte_queue *q)
{
    return q->len == 0 ? SLICE_EMPTY : slice_make(q->ptr + q->pos, q->len - q->pos);
}

/* The first n are read; they stay where they are until more come. */
static inline void byte_queue_drop(struct byte_queue *q, size_t n)
{
    q->pos += n;
    if (q->pos == q->len)
        q->pos = q->len = 0;
}

#endif
