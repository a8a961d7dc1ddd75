/* log_ring.c: see log_ring.h. A single-producer single-consumer ring of whole lines.
 *
 * Rejected: one ring for all threads (a shared cache line per line logged), and a list of malloc'd lines (the
 * allocator would be the queue's limit). A line longer than the ring counts as dropped, like one that finds
 * the ring full. log_ring_flush stores the head once more, sequentially consistent, before it looks at the
 * writer's state; the writer announces its sleep in the same order before it looks at the heads, so one of
 * the two sees the other and no wake is lost. */
#include "core/log_ring.h"

#include <stdlib.h>

#include "core/panic.h"

#define RECORD_ALIGN 8u
#define CHANNEL_SKIP UINT32_MAX

struct record {
    uint32_t len;
    uint32_t channel; /* enum log_channel or CHANNEL_SKIP */
};
_Static_assert(sizeof(struct record) == RECORD_ALIGN, "records keep the ring aligned");

static uint64_t record_bytes(uint64_t len)
{
    return sizeof(struct record) + (len + RECORD_ALIGN - 1) / RECORD_ALIGN * RECORD_ALIGN;
}

static struct record *record_at(struct log_ring *r, uint64_t pos)
{
    return (struct record *)(void *)(r->data + (pos & (r->size - 1)));
}

struct log_ring *log_ring_new(size_t bytes)
{
    ASSERT(bytes >= 1024 && (bytes & (bytes - 1)) == 0);
    struct log_ring *r = aligned_alloc(CACHE_LINE, sizeof *r);
    if (r == NULL)
        return NULL;
    *r = (struct log_ring){.magic = LOG_RING_MAGIC, .size = bytes};
    r->data = aligned_alloc(CACHE_LINE, bytes);
    if (r->data == NULL) {
        free(r);
        return NULL;
    }
    return r;
}

void log_ring_free(struct log_ring *r)
{
    CHECK_MAGIC(r, LOG_RING_MAGIC);
    r->magic = 0;
    free(r->data);
    free(r);
}

static bool ring_has_room(struct log_ring *r, uint64_t head, uint64_t need)
{
    if (need <= r->size - (head - r->tail_seen))
        return true;
    r->tail_seen = atomic_load_explicit(&r->tail, memory_order_acquire);
    return need <= r->size - (head - r->tail_seen);
}

char *log_ring_reserve(struct log_ring *r, enum log_channel channel, size_t max)
{
    CHECK_MAGIC(r, LOG_RING_MAGIC);
    ASSERT(r->reserved == 0 && channel < LOG_CHANNELS);
    uint64_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
    uint64_t to_end = r->size - (head & (r->size - 1));
    uint64_t need = max < r->size ? record_bytes(max) : UINT64_MAX;
    uint64_t skip = need > to_end ? to_end : 0;
    if (need > r->size || !ring_has_room(r, head, skip + need)) {
        uint64_t dropped = atomic_load_explicit(&r->dropped, memory_order_relaxed);
        atomic_store_explicit(&r->dropped, dropped + 1, memory_order_relaxed);
        return NULL;
    }
    r->skip = skip;
    r->reserved = need;
    r->channel = channel;
    return (char *)(record_at(r, head + skip) + 1);
}

void log_ring_commit(struct log_ring *r, size_t used)
{
    ASSERT(r->reserved != 0 && record_bytes(used) <= r->reserved);
    uint64_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
    r->reserved = 0;
    if (used == 0)
        return;
    if (r->skip > 0) {
        *record_at(r, head) = (struct record){(uint32_t)(r->skip - sizeof(struct record)), CHANNEL_SKIP};
        head += r->skip;
    }
    *record_at(r, head) = (struct record){(uint32_t)used, r->channel};
    atomic_store_explicit(&r->head, head + record_bytes(used), memory_order_release);
}

void log_ring_flush(struct log_ring *r)
{
    uint64_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
    if (head == r->flushed_head)
        return;
    r->flushed_head = head;
    atomic_store_explicit(&r->head, head, memory_order_seq_cst);
    bool half_full = head - r->tail_seen > r->size / 2;
    if (half_full) {
        r->tail_seen = atomic_load_explicit(&r->tail, memory_order_acquire);
        half_full = head - r->tail_seen > r->size / 2;
    }
    log_writer_wake(half_full);
}

bool log_ring_peek(struct log_ring *r, enum log_channel *channel, slice_t *line)
{
    uint64_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
    uint64_t head = atomic_load_explicit(&r->head, memory_order_acquire);
    if (tail == head)
        return false;
    struct record *rec = record_at(r, tail);
    if (rec->channel == CHANNEL_SKIP) {
        tail += sizeof *rec + rec->len;
        atomic_store_explicit(&r->tail, tail, memory_order_release);
        rec = record_at(r, tail);
    }
    *channel = (enum log_channel)rec->channel;
    *line = slice_make((const char *)(rec + 1), rec->len);
    return true;
}

void log_ring_pop(struct log_ring *r)
{
    uint64_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
    atomic_store_explicit(&r->tail, tail + record_bytes(record_at(r, tail)->len), memory_order_release);
}

uint64_t log_ring_waiting(struct log_ring *r)
{
    return atomic_load_explicit(&r->head, memory_order_seq_cst) -
           atomic_load_explicit(&r->tail, memory_order_relaxed);
}
