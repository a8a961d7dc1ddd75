/* stream_queue.c: see stream_queue.h; what is said there of the file is done in stream_queue_disk.c.
 *
 * The event that purges everything is part of the queue, so that to collapse takes no memory; it goes to the
 * front, with the age of the oldest that it stands for. */
#include <stdlib.h>

#include "cache/account.h"
#include "cache/stream_queue_inner.h"
#include "core/hash.h"
#include "core/log.h"
#include "core/panic.h"

/* ---- under the lock ---- */

static uint64_t pending_before_locked(const struct cache_stream_queue *q)
{
    return list_empty(&q->all) ? CACHE_STREAM_NOTHING_PENDING
                               : CONTAINER_OF(q->all.next, struct queued, in_all)->before_id;
}

void cache_stream_queue_link_locked(struct cache_stream_queue *q, struct queued *e)
{
    q->earlier += e->by.node != q->node;
    list_push_back(&q->unsent, &e->in_unsent);
    list_push_back(&q->unwritten, &e->in_unwritten);
    q->stats.pending++;
    q->stats.pending_bytes += e->bytes;
}

static void forget_recent_locked(struct cache_stream_queue *q, const struct queued *e)
{
    if (q->recent[e->slot] == e)
        q->recent[e->slot] = NULL;
}

/* Takes it out of all lists, and frees it. */
static void drop_locked(struct cache_stream_queue *q, struct queued *e)
{
    forget_recent_locked(q, e);
    list_remove(&e->in_all);
    list_remove(&e->in_unsent);
    list_remove(&e->in_unwritten);
    if (queued_is_put(e)) {
        q->earlier -= e->by.node != q->node;
        q->stats.pending--;
        q->stats.pending_bytes -= e->bytes;
    }
    if (e == &q->everything) {
        e->bytes = 0;
        return;
    }
    free(e->packed);
    free(e);
}

static size_t pack_everything(char *buf, struct cache_stream_origin by)
{
    struct cache_stream_entry all = {.by = by, .count = 1};
    struct cache_stream_fields fields;
    all.items[0] = (struct cache_purge){.kind = CACHE_PURGE_ALL, .text = SLICE_EMPTY};
    cache_stream_entry_encode(&all, &fields);
    size_t bytes = cache_stream_fields_bytes(&fields);
    ASSERT(bytes <= CACHE_STREAM_EVERYTHING);
    cache_stream_fields_pack(&fields, buf);
    return bytes;
}

void cache_stream_queue_collapse_locked(struct cache_stream_queue *q, uint64_t before_id)
{
    uint64_t local_id = 0;
    for (struct list *n = q->all.next, *next; n != &q->all; n = next) {
        struct queued *e = CONTAINER_OF(n, struct queued, in_all);
        next = n->next;
        if (!queued_is_put(e))
            continue;
        before_id = MIN(before_id, e->before_id);
        local_id = MAX(local_id, e->local_id);
        drop_locked(q, e);
    }
    struct queued *e = &q->everything;
    e->by = (struct cache_stream_origin){q->node, ++q->last_number};
    e->before_id = before_id;
    e->local_id = local_id;
    e->in_file = false;
    e->bytes = pack_everything(e->packed, e->by);
    list_push_front(&q->all, &e->in_all);
    cache_stream_queue_link_locked(q, e);
    q->stats.collapses++;
    q->rewrite = true;
    q->done_bytes = 0;
}

/* ---- making events ---- */

uint64_t cache_stream_queue_node(const struct cache_stream_queue *q)
{
    CHECK_MAGIC(q, CACHE_STREAM_QUEUE_MAGIC);
    return q->node;
}

static void log_collapse(void)
{
    log_warn("too many purges wait for Redis: the other nodes will purge everything instead");
}

/* The number is given out and the event linked under one hold of the lock, as is the local head read, so the
 * list is in the order of local ids. */
uint64_t cache_stream_queue_begin(struct cache_stream_queue *q)
{
    CHECK_MAGIC(q, CACHE_STREAM_QUEUE_MAGIC);
    struct queued *e = cache_memory_alloc(sizeof *e);
    lock_take(&q->lock);
    const uint64_t before_id = cache_inval_head(q->s.log);
    uint64_t number = 0;
    if (e != NULL) {
        number = ++q->last_number;
        *e = (struct queued){.by = {q->node, number}, .before_id = before_id};
        list_init(&e->in_unsent);
        list_init(&e->in_unwritten);
        list_push_back(&q->all, &e->in_all);
    } else {
        cache_stream_queue_collapse_locked(q, before_id);
        cache_stream_queue_write_soon_locked(q);
    }
    lock_drop(&q->lock);
    if (e == NULL)
        log_collapse();
    return number;
}

static struct queued *find_announced_locked(struct cache_stream_queue *q, uint64_t number)
{
    for (struct list *n = q->all.prev; n != &q->all; n = n->prev) {
        struct queued *e = CONTAINER_OF(n, struct queued, in_all);
        if (e->by.number == number && e->by.node == q->node && !queued_is_put(e))
            return e;
    }
    return NULL;
}

/* Into `e`, which is in no list yet. Its `packed` stays NULL without memory, and when it is too long. */
static void pack_items(struct queued *e, const struct cache_purge *items, size_t count)
{
    struct cache_stream_entry entry = {.by = e->by, .count = count};
    struct cache_stream_fields fields;
    memcpy(entry.items, items, count * sizeof items[0]);
    cache_stream_entry_encode(&entry, &fields);
    e->bytes = cache_stream_fields_bytes(&fields);
    if (e->bytes <= CACHE_STREAM_ENTRY_BYTES)
        e->packed = cache_memory_alloc(e->bytes);
    if (e->packed == NULL)
        return;
    cache_stream_fields_pack(&fields, e->packed);
    fields.count = 4; /* version and origin */
    e->items_at = cache_stream_fields_bytes(&fields);
    e->slot = hash_bytes(e->packed + e->items_at, e->bytes - e->items_at).lo % CACHE_STREAM_RECENT;
}

bool cache_stream_queue_is_too_much_locked(const struct cache_stream_queue *q)
{
    return q->stats.pending > q->s.events_max || q->stats.pending_bytes > q->s.bytes_max;
}

/* True when one that was never sent stands for it as well. */
static bool merge_locked(struct cache_stream_queue *q, const struct queued *put)
{
    struct queued *e = put->packed != NULL ? q->recent[put->slot] : NULL;
    if (e == NULL || !slice_eq(slice_make(e->packed + e->items_at, e->bytes - e->items_at),
                               slice_make(put->packed + put->items_at, put->bytes - put->items_at)))
        return false;
    e->local_id = MAX(e->local_id, put->local_id);
    q->stats.merged++;
    return true;
}

/* `e` was announced; `put` is what it is to be. */
static void put_locked(struct cache_stream_queue *q, struct queued *e, struct queued *put)
{
    if (merge_locked(q, put)) {
        drop_locked(q, e);
        return;
    }
    e->local_id = put->local_id;
    e->packed = put->packed;
    e->bytes = put->bytes;
    e->items_at = put->items_at;
    e->slot = put->slot;
    put->packed = NULL;
    cache_stream_queue_link_locked(q, e);
    if (e->packed == NULL || cache_stream_queue_is_too_much_locked(q))
        cache_stream_queue_collapse_locked(q, e->before_id);
    else
        q->recent[e->slot] = e;
    cache_stream_queue_write_soon_locked(q);
}

uint64_t cache_stream_queue_put(struct cache_stream_queue *q, uint64_t number, uint64_t local_id,
                                const struct cache_purge *items, size_t count)
{
    CHECK_MAGIC(q, CACHE_STREAM_QUEUE_MAGIC);
    ASSERT(count > 0 && count <= CACHE_STREAM_ITEMS_MAX);
    struct queued put = {.by = {q->node, number}, .local_id = local_id};
    pack_items(&put, items, count);
    lock_take(&q->lock);
    const uint64_t collapses = q->stats.collapses;
    struct queued *e = number != 0 ? find_announced_locked(q, number) : NULL;
    ASSERT(e != NULL || number == 0);
    if (e != NULL)
        put_locked(q, e, &put);
    else /* it is part of what purges everything */
        q->everything.local_id = MAX(q->everything.local_id, local_id);
    const uint64_t ticket = ++q->last_ticket;
    const bool collapsed = q->stats.collapses > collapses;
    lock_drop(&q->lock);
    free(put.packed);
    if (collapsed)
        log_collapse();
    if (q->s.on_put != NULL)
        q->s.on_put(q->s.arg);
    return ticket;
}

bool cache_stream_queue_sync(struct cache_stream_queue *q)
{
    CHECK_MAGIC(q, CACHE_STREAM_QUEUE_MAGIC);
    lock_take(&q->lock);
    cache_stream_queue_write_at_locked(q, clock_mono_ms());
    const bool has_file = q->has_file;
    lock_drop(&q->lock);
    return has_file;
}

bool cache_stream_queue_flows(const struct cache_stream_queue *q)
{
    return atomic_load_explicit(&q->flows, memory_order_relaxed);
}

void cache_stream_queue_set_flows(struct cache_stream_queue *q, bool flows)
{
    atomic_store_explicit(&q->flows, flows, memory_order_relaxed);
}

/* ---- the stream ---- */

char *cache_stream_queue_take_unsent(struct cache_stream_queue *q, size_t *bytes)
{
    CHECK_MAGIC(q, CACHE_STREAM_QUEUE_MAGIC);
    char *copy = NULL;
    lock_take(&q->lock);
    if (!list_empty(&q->unsent)) {
        struct queued *e = CONTAINER_OF(q->unsent.next, struct queued, in_unsent);
        copy = malloc(e->bytes);
        if (copy != NULL) {
            memcpy(copy, e->packed, e->bytes);
            *bytes = e->bytes;
            list_remove(&e->in_unsent);
            forget_recent_locked(q, e);
        }
    }
    lock_drop(&q->lock);
    return copy;
}

/* What purges everything stands for all that was put before, and lies in front; what an earlier run made lies
 * there until it has come back. */
uint64_t cache_stream_queue_pending_from(struct cache_stream_queue *q)
{
    CHECK_MAGIC(q, CACHE_STREAM_QUEUE_MAGIC);
    uint64_t number = UINT64_MAX;
    lock_take(&q->lock);
    if (!list_empty(&q->all)) {
        const struct queued *e = CONTAINER_OF(q->all.next, struct queued, in_all);
        number = e == &q->everything || e->by.node != q->node ? 0 : e->by.number;
    }
    lock_drop(&q->lock);
    return number;
}

void cache_stream_queue_resend(struct cache_stream_queue *q)
{
    CHECK_MAGIC(q, CACHE_STREAM_QUEUE_MAGIC);
    lock_take(&q->lock);
    for (struct list *n = q->all.next; n != &q->all; n = n->next) {
        struct queued *e = CONTAINER_OF(n, struct queued, in_all);
        list_remove(&e->in_unsent);
        if (queued_is_put(e))
            list_push_back(&q->unsent, &e->in_unsent);
    }
    lock_drop(&q->lock);
}

/* They come back in the order in which they were sent, so it is among the first. Most are others'. */
static struct queued *find_pending_locked(struct cache_stream_queue *q, struct cache_stream_origin by)
{
    if (by.node != q->node && q->earlier == 0)
        return NULL;
    for (struct list *n = q->all.next; n != &q->all; n = n->next) {
        struct queued *e = CONTAINER_OF(n, struct queued, in_all);
        if (queued_is_put(e) && cache_stream_origin_eq(e->by, by))
            return e;
    }
    return NULL;
}

bool cache_stream_queue_take_back(struct cache_stream_queue *q, struct cache_stream_origin by)
{
    CHECK_MAGIC(q, CACHE_STREAM_QUEUE_MAGIC);
    lock_take(&q->lock);
    struct queued *e = find_pending_locked(q, by);
    if (e != NULL) {
        q->back_before = MIN(q->back_before, e->before_id);
        q->back_local = MAX(q->back_local, e->local_id);
        if (e->in_file) {
            cache_stream_queue_note_done_locked(q, by);
            cache_stream_queue_write_soon_locked(q);
        }
        drop_locked(q, e);
    }
    lock_drop(&q->lock);
    return e != NULL;
}

void cache_stream_queue_advance(struct cache_stream_queue *q, struct cache_stream_id id, uint64_t local_id)
{
    CHECK_MAGIC(q, CACHE_STREAM_QUEUE_MAGIC);
    lock_take(&q->lock);
    const uint64_t ended_before = q->back_before;
    local_id = MAX(local_id, q->back_local);
    q->back_before = CACHE_STREAM_NOTHING_PENDING;
    q->back_local = 0;
    cache_stream_map_advance(q->s.map, id, local_id, ended_before, pending_before_locked(q));
    lock_drop(&q->lock);
}

void cache_stream_queue_restart(struct cache_stream_queue *q, struct cache_stream_id id, uint64_t local_id)
{
    CHECK_MAGIC(q, CACHE_STREAM_QUEUE_MAGIC);
    lock_take(&q->lock);
    q->back_before = CACHE_STREAM_NOTHING_PENDING;
    q->back_local = 0;
    cache_stream_map_restart(q->s.map, id, local_id, pending_before_locked(q));
    lock_drop(&q->lock);
}

void cache_stream_queue_set_epoch(struct cache_stream_queue *q, uint64_t epoch)
{
    CHECK_MAGIC(q, CACHE_STREAM_QUEUE_MAGIC);
    lock_take(&q->lock);
    cache_stream_map_set_epoch(q->s.map, epoch);
    lock_drop(&q->lock);
}

/* ---- life ---- */

struct cache_stream_queue *cache_stream_queue_open(const struct cache_stream_queue_settings *s)
{
    struct cache_stream_queue *q = cache_memory_alloc(sizeof *q);
    if (q == NULL)
        return NULL;
    *q = (struct cache_stream_queue){.magic = CACHE_STREAM_QUEUE_MAGIC,
                                     .s = *s,
                                     .wake_fd = -1,
                                     .file = {.fd = -1},
                                     .back_before = CACHE_STREAM_NOTHING_PENDING};
    hash_random(&q->node, sizeof q->node);
    lock_init(&q->lock, LOCK_STREAM);
    list_init(&q->all);
    list_init(&q->unsent);
    list_init(&q->unwritten);
    list_init(&q->everything.in_all);
    list_init(&q->everything.in_unsent);
    list_init(&q->everything.in_unwritten);
    q->everything.packed = q->everything_packed;
    cache_stream_queue_read_file(q);
    if (q->has_file && !s->no_thread && !cache_stream_queue_start_thread(q))
        cache_stream_queue_close(&q);
    return q;
}

void cache_stream_queue_close(struct cache_stream_queue **qp)
{
    struct cache_stream_queue *q = *qp;
    *qp = NULL;
    if (q == NULL)
        return;
    CHECK_MAGIC(q, CACHE_STREAM_QUEUE_MAGIC);
    cache_stream_queue_stop_disk(q);
    while (!list_empty(&q->all))
        drop_locked(q, CONTAINER_OF(q->all.next, struct queued, in_all));
    free(q->done);
    lock_destroy(&q->lock);
    q->magic = 0;
    free(q);
}

void cache_stream_queue_get_stats(struct cache_stream_queue *q, struct cache_stream_queue_stats *out)
{
    CHECK_MAGIC(q, CACHE_STREAM_QUEUE_MAGIC);
    lock_take(&q->lock);
    *out = q->stats;
    lock_drop(&q->lock);
}
