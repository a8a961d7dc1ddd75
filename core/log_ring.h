/* log_ring.h: the byte ring between one thread that logs and the writer thread. Private to core/log*.c and
 * tests.
 *
 * Records are an 8-byte head (length, channel) and the line, padded to 8 bytes, never split at the end of the
 * buffer (a skip record fills the rest). The producer publishes with one release store; each side keeps its
 * own cache line and the producer a copy of the tail, so that it reads the consumer's line only when the ring
 * looks full. The public half (reserve, commit, flush) is in log.h. */
#ifndef CORE_LOG_RING_H
#define CORE_LOG_RING_H

#include <stdatomic.h>

#include "core/log.h"

#define LOG_RING_MAGIC 0x4c4f4752u

struct log_ring { /* one producer, one consumer; lives until detached and drained */
    uint32_t magic;
    /* set once */
    uint64_t size; /* bytes of data, a power of two */
    char *data;
    /* producer */
    _Alignas(CACHE_LINE) _Atomic uint64_t head; /* ever growing; consumer reads */
    uint64_t tail_seen, flushed_head;
    uint64_t skip, reserved; /* of the reservation under way; reserved 0 = none */
    enum log_channel channel;
    _Atomic uint64_t dropped;
    _Atomic bool detached;
    /* consumer */
    _Alignas(CACHE_LINE) _Atomic uint64_t tail;
};

struct log_ring *log_ring_new(size_t bytes); /* NULL when out of memory */
void log_ring_free(struct log_ring *r);

/* Consumer: the oldest line, valid until log_ring_pop; false when empty. */
bool log_ring_peek(struct log_ring *r, enum log_channel *channel, slice_t *line);
void log_ring_pop(struct log_ring *r);
/* Consumer: bytes waiting, read in the one total order that the sleep protocol of log.c rests on. */
uint64_t log_ring_waiting(struct log_ring *r);

/* log.c: wakes the writer when it sleeps; in a doze only when urgent. */
void log_writer_wake(bool urgent);

#endif
