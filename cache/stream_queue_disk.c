/* stream_queue_disk.c: how pending events get into the file and, after a start, out of it. See
 * stream_queue.h.
 *
 * What is to be written is gathered under the lock and written without it, by the queue's own thread: records
 * of events that came and of events that ended, appended; or, when the file grew too large or does not say
 * what is pending (an error, a collapse, a start), all that is pending, anew. An event that came back before
 * it was written is never written. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "cache/account.h"
#include "cache/stream_queue_inner.h"
#include "core/log.h"
#include "core/panic.h"

#define RETRY_MS   1000 /* after a write that failed */
#define FILE_SLACK (64 * KB)

/* ---- when, and what ---- */

void cache_stream_queue_write_at_locked(struct cache_stream_queue *q, mono_ms_t at_ms)
{
    if (!q->has_file || (q->due_ms != 0 && q->due_ms <= at_ms))
        return;
    q->due_ms = at_ms;
    if (q->has_thread && write(q->wake_fd, &(uint64_t){1}, 8) != 8)
        ASSERT(errno == EAGAIN); /* it is awake */
}

void cache_stream_queue_write_soon_locked(struct cache_stream_queue *q)
{
    cache_stream_queue_write_at_locked(q, clock_mono_ms() + MAX(q->s.linger_ms, 1));
}

/* Without memory for the record, the file is written anew instead. */
void cache_stream_queue_note_done_locked(struct cache_stream_queue *q, struct cache_stream_origin by)
{
    if (q->done_bytes + CACHE_STREAM_FILE_RECORD > q->done_room) {
        const size_t room = MAX(q->done_room * 2, 64 * CACHE_STREAM_FILE_RECORD);
        char *done = realloc(q->done, room);
        if (done == NULL) {
            q->rewrite = true;
            return;
        }
        q->done = done;
        q->done_room = room;
    }
    cache_stream_file_put_done(q->done + q->done_bytes, by);
    q->done_bytes += CACHE_STREAM_FILE_RECORD;
}

/* What one write does; the records are from malloc. */
struct work {
    enum { WORK_NONE, WORK_CLEAR, WORK_APPEND, WORK_REWRITE } what;
    bool sync; /* there are events in it */
    uint64_t ticket;
    char *records;
    size_t bytes;
};

static size_t record_bytes_locked(const struct cache_stream_queue *q, bool rewrite)
{
    size_t bytes = rewrite ? 0 : q->done_bytes;
    for (const struct list *n = q->all.next; n != &q->all; n = n->next) {
        const struct queued *e = CONTAINER_OF((struct list *)(uintptr_t)n, struct queued, in_all);
        if (queued_is_put(e) && (rewrite || !e->in_file))
            bytes += CACHE_STREAM_FILE_RECORD + e->bytes;
    }
    return bytes;
}

static void fill_records_locked(struct cache_stream_queue *q, struct work *w)
{
    char *at = w->records;
    if (w->what == WORK_APPEND && q->done_bytes > 0) {
        memcpy(at, q->done, q->done_bytes);
        at += q->done_bytes;
    }
    for (struct list *n = q->all.next; n != &q->all; n = n->next) {
        struct queued *e = CONTAINER_OF(n, struct queued, in_all);
        if (!queued_is_put(e) || (e->in_file && w->what == WORK_APPEND))
            continue;
        at = cache_stream_file_put_event(at, e->by, slice_make(e->packed, e->bytes));
        list_remove(&e->in_unwritten);
        e->in_file = true;
        w->sync = true;
    }
    ASSERT(at == w->records + w->bytes);
    q->done_bytes = 0;
    q->rewrite = false;
}

static struct work gather_locked(struct cache_stream_queue *q)
{
    struct work w = {.what = WORK_NONE, .ticket = q->last_ticket};
    q->due_ms = 0;
    if (q->stats.pending == 0 && !q->rewrite) {
        w.what = cache_stream_file_is_clear(&q->file) ? WORK_NONE : WORK_CLEAR;
        q->done_bytes = 0;
        return w;
    }
    if (!q->rewrite && q->done_bytes == 0 && list_empty(&q->unwritten))
        return w;
    w.bytes = record_bytes_locked(q, q->rewrite);
    const bool full = q->file.bytes + w.bytes > 2 * q->s.bytes_max + FILE_SLACK;
    w.what = q->rewrite || full ? WORK_REWRITE : WORK_APPEND;
    if (full && !q->rewrite)
        w.bytes = record_bytes_locked(q, true);
    w.records = malloc(w.bytes + 1);
    if (w.records == NULL) {
        q->rewrite = true;
        return w;
    }
    fill_records_locked(q, &w);
    return w;
}

static bool work_do(struct cache_stream_queue *q, const struct work *w)
{
    slice_t records = slice_make(w->records, w->bytes);
    switch (w->what) {
    case WORK_NONE:
        return true;
    case WORK_CLEAR:
        return cache_stream_file_clear(&q->file);
    case WORK_APPEND:
        return w->records != NULL && cache_stream_file_append(&q->file, records, w->sync);
    case WORK_REWRITE:
        return w->records != NULL && cache_stream_file_rewrite(&q->file, records);
    }
    return false;
}

void cache_stream_queue_write(struct cache_stream_queue *q)
{
    CHECK_MAGIC(q, CACHE_STREAM_QUEUE_MAGIC);
    if (!q->has_file)
        return;
    lock_take(&q->lock);
    const struct work w = gather_locked(q);
    lock_drop(&q->lock);
    errno = ENOMEM;
    const bool ok = work_do(q, &w);
    const int error = errno;
    free(w.records);
    lock_take(&q->lock);
    q->stats.file_bytes = q->file.bytes;
    q->stats.writes += w.what == WORK_APPEND || w.what == WORK_REWRITE;
    if (!ok) {
        q->rewrite = true;
        cache_stream_queue_write_at_locked(q, clock_mono_ms() + RETRY_MS);
    }
    lock_drop(&q->lock);
    if (!ok)
        log_warn("purges that wait for Redis cannot be written to %s: %s", q->file.path, strerror(error));
    if (q->s.on_durable != NULL)
        q->s.on_durable(q->s.arg, w.ticket, ok);
}

/* Waits until it is time to write. false: to end. */
static bool await_work(struct cache_stream_queue *q)
{
    for (;;) {
        lock_take(&q->lock);
        const bool stop = q->stop;
        const mono_ms_t due_ms = q->due_ms;
        lock_drop(&q->lock);
        const mono_ms_t now_ms = clock_mono_ms();
        if (stop)
            return false;
        if (due_ms != 0 && due_ms <= now_ms)
            return true;
        struct pollfd p = {.fd = q->wake_fd, .events = POLLIN};
        uint64_t count;
        if (poll(&p, 1, due_ms == 0 ? -1 : (int)MIN(due_ms - now_ms, 60000)) > 0 &&
            read(q->wake_fd, &count, sizeof count) < 0)
            ASSERT(errno == EAGAIN || errno == EINTR);
    }
}

static void *queue_main(void *arg)
{
    struct cache_stream_queue *q = arg;
    while (await_work(q))
        cache_stream_queue_write(q);
    cache_stream_queue_write(q);
    return NULL;
}

/* ---- after a start, and at the end ---- */

struct reading {
    struct cache_stream_queue *q;
    bool ok;
};

static void on_file_event(void *arg, struct cache_stream_origin by, slice_t payload)
{
    struct reading *r = arg;
    struct cache_stream_queue *q = r->q;
    struct cache_stream_fields fields;
    struct cache_stream_entry entry;
    struct queued *e = cache_memory_alloc(sizeof *e);
    char *packed = cache_memory_alloc(payload.len + 1);
    if (e == NULL || packed == NULL || !cache_stream_fields_unpack(payload, &fields) ||
        cache_stream_entry_decode(fields.texts, fields.count, &entry) != CACHE_STREAM_FAULT_NONE ||
        entry.start || !cache_stream_origin_eq(entry.by, by)) {
        free(e);
        free(packed);
        r->ok = false;
        return;
    }
    memcpy(packed, payload.ptr, payload.len);
    *e = (struct queued){
        .by = by, .before_id = cache_inval_head(q->s.log), .bytes = payload.len, .packed = packed};
    list_init(&e->in_unsent);
    list_init(&e->in_unwritten);
    list_push_back(&q->all, &e->in_all);
    cache_stream_queue_link_locked(q, e);
}

void cache_stream_queue_read_file(struct cache_stream_queue *q)
{
    if (q->s.path == NULL)
        return;
    struct reading r = {q, true};
    enum cache_stream_file_state state = cache_stream_file_open(&q->file, q->s.path, on_file_event, &r);
    if (state == CACHE_STREAM_FILE_REFUSED) {
        q->awaits_file = errno == EWOULDBLOCK;
        log_warn("purges that wait for Redis cannot be kept in %s (%s): a crash will lose them%s", q->s.path,
                 q->awaits_file ? "another process has it" : strerror(errno),
                 q->awaits_file ? ", until it has ended" : "");
        return;
    }
    q->has_file = q->rewrite = true;
    q->stats.file_bytes = q->file.bytes;
    if (state == CACHE_STREAM_FILE_DAMAGED || !r.ok || cache_stream_queue_is_too_much_locked(q)) {
        cache_stream_queue_collapse_locked(q, cache_inval_head(q->s.log));
        log_warn("%s cannot be read as a whole: everything will be purged, here and on the other nodes",
                 q->s.path);
    } else if (q->stats.pending > 0) {
        log_info("%llu purges of an earlier run wait for Redis in %s", (unsigned long long)q->stats.pending,
                 q->s.path);
    }
    q->due_ms = clock_mono_ms();
}

bool cache_stream_queue_awaits_file(const struct cache_stream_queue *q)
{
    CHECK_MAGIC(q, CACHE_STREAM_QUEUE_MAGIC);
    return q->awaits_file;
}

static void on_left_event(void *arg, struct cache_stream_origin by, slice_t payload)
{
    bool *left = arg;
    UNUSED(by);
    UNUSED(payload);
    *left = true;
}

/* The thread looks at nothing before it is told, under the lock, that there is something to write: and that
 * is all that is pending, so what the file held is stood for before the file is written anew. */
bool cache_stream_queue_take_file(struct cache_stream_queue *q, void (*on_left)(void *arg), void *arg)
{
    CHECK_MAGIC(q, CACHE_STREAM_QUEUE_MAGIC);
    struct cache_stream_file file;
    bool left = false;
    const enum cache_stream_file_state state = cache_stream_file_open(&file, q->s.path, on_left_event, &left);
    if (state == CACHE_STREAM_FILE_REFUSED)
        return false;
    if (!q->s.no_thread && !q->has_thread && !cache_stream_queue_start_thread(q)) {
        cache_stream_file_close(&file);
        if (q->wake_fd >= 0)
            close(q->wake_fd);
        q->wake_fd = -1;
        return false;
    }
    if (left || state == CACHE_STREAM_FILE_DAMAGED)
        on_left(arg);
    q->awaits_file = false;
    lock_take(&q->lock);
    q->file = file;
    q->has_file = q->rewrite = true;
    cache_stream_queue_write_at_locked(q, clock_mono_ms());
    lock_drop(&q->lock);
    log_info("purges that wait for Redis are kept in %s again", q->s.path);
    return true;
}

bool cache_stream_queue_start_thread(struct cache_stream_queue *q)
{
    sigset_t all, before;
    q->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (q->wake_fd < 0)
        return false;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    q->has_thread = true;
    if (pthread_create(&q->thread, NULL, queue_main, q) != 0)
        q->has_thread = false;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return q->has_thread;
}

void cache_stream_queue_stop_disk(struct cache_stream_queue *q)
{
    if (q->has_thread) {
        lock_take(&q->lock);
        q->stop = true;
        ASSERT(write(q->wake_fd, &(uint64_t){1}, 8) == 8);
        lock_drop(&q->lock);
        ASSERT(pthread_join(q->thread, NULL) == 0);
    }
    if (q->wake_fd >= 0)
        close(q->wake_fd);
    cache_stream_file_close(&q->file);
}
