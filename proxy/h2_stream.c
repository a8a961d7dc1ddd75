/* h2_stream.c: see h2_stream.h: the life of a stream, and what goes to the client on it.
 *
 * nghttp2 asks how many bytes it may announce (on_read), then has them written behind the frame's head
 * (on_send_data), where they are named to the worker's batch and never copied. What the batch names must last
 * until it is written, so what a stream gives up goes to the graveyard or to h2_conn_spend.
 *
 * Rejected: letting nghttp2 pull from the exchange itself. Ranges, shared fetches and relayed bodies each
 * push in their own way, as to a socket; a stream that behaves like one needs none of them changed. */
#include "proxy/h2_stream.h"

#include <stdlib.h>

#include "cache/cache.h"
#include "core/metrics.h"
#include "core/panic.h"
#include "proxy/client_out.h"
#include "proxy/exchange.h"
#include "proxy/h2_conn.h"
#include "proxy/h2_guard.h"
#include "proxy/h2_reply.h"
#include "proxy/tunnel.h"

#define ROOM_LEAST     (2 * KB)
#define ROOM_MOST      (64 * KB)
#define BLOCK_LEAST    (2 * KB)
#define PIECES_AT_ONCE 32 /* of one frame */

/* Copied bytes. */
struct h2_block {
    size_t room;
    struct grave grave;
    char bytes[];
};

/* ---- life ---- */

struct h2_stream *h2_stream_new(struct h2_conn *h, int32_t id)
{
    struct size_pool *pool = &h->client->pw->h2->mem.pool;
    struct h2_stream *s = size_pool_calloc(1, sizeof *s, pool);
    if (s == NULL)
        return NULL;
    s->magic = H2_STREAM_MAGIC;
    s->id = id;
    s->conn = h;
    s->pool = pool;
    s->pieces = s->few;
    s->piece_room = H2_STREAM_FEW;
    s->in_left = -1;
    list_init(&s->wake_node);
    list_push_back(&h->streams, &s->node);
    h->stream_count++;
    h->uploads++;
    h->idle_since_ms = 0; /* also if it is over before this turn is */
    proxy_count(h->client->pw, METRIC_H2_STREAMS_OPEN, 1);
    return s;
}

static void stream_free(void *arg)
{
    struct h2_stream *s = arg;
    if (s->pieces != s->few)
        free(s->pieces);
    free(s->trailers);
    byte_queue_free(&s->in);
    free(s->in_trailers);
    s->magic = 0;
    size_pool_free(s, s->pool);
}

static size_t over(size_t copied)
{
    return copied > H2_STREAM_HOLDS ? copied - H2_STREAM_HOLDS : 0;
}

/* The one setter. */
static void set_copied(struct h2_stream *s, size_t copied)
{
    s->conn->copied_over += over(copied) - over(s->copied);
    s->copied = copied;
}

/* What the piece has left is given up. */
static void piece_release(struct h2_stream *s, struct h2_piece *p)
{
    struct worker *w = s->conn->client->pw->worker;
    if (p->held)
        h2_conn_spend(s->conn, p->owner);
    if (p->block != NULL) {
        set_copied(s, s->copied - p->bytes);
        worker_bury(w, &p->block->grave, free, p->block);
    }
}

static void pieces_drop(struct h2_stream *s)
{
    for (unsigned i = 0; i < s->piece_count; i++)
        piece_release(s, &s->pieces[s->piece_first + i]);
    s->piece_count = s->piece_first = 0;
    s->bytes = 0;
}

/* The client has ended the stream, or the connection ends, for a reason of its own. */
static enum close_reason reason_of_end(const struct h2_conn *h)
{
    const struct client_conn *c = h->client;
    const bool all_end = c->state == CLIENT_CLOSED || h->failed;
    return all_end && c->close_reason != CLOSE_OPEN ? (enum close_reason)c->close_reason
                                                    : CLOSE_CLIENT_ABORTED;
}

void h2_stream_end(struct h2_stream *s)
{
    CHECK_MAGIC(s, H2_STREAM_MAGIC);
    struct h2_conn *h = s->conn;
    struct exchange *x = s->exchange;
    if (x != NULL && s->ended && s->bytes == 0 && !s->cut) { /* all of it is out, only it has not heard yet */
        s->full = false;
        exchange_on_client_writable(x);
    }
    x = s->exchange;
    if (x != NULL && s->tunnel && s->ended && s->in_ended)
        tunnel_take_rest(x);
    s->exchange = NULL;
    s->cut = true;
    if (x != NULL)
        exchange_client_gone(x, reason_of_end(h));
    pieces_drop(s);
    if (s->texts > 0)
        h2_reply_forget(s);
    list_remove(&s->wake_node);
    list_remove(&s->node);
    h->stream_count--;
    h->uploads -= !s->in_ended;
    if (h->headed == s)
        h->headed = NULL;
    h->wide_windows -= s->in_wide;
    proxy_count(h->client->pw, METRIC_H2_STREAMS_OPEN, -1);
    worker_bury(h->client->pw->worker, &s->grave, stream_free, s);
}

void h2_stream_input_ended(struct h2_stream *s)
{
    s->conn->uploads -= !s->in_ended;
    s->in_ended = true;
}

void h2_stream_wake(struct h2_stream *s, enum h2_wake why)
{
    s->wake |= (uint8_t)why;
    if (list_empty(&s->wake_node))
        list_push_back(&s->conn->wake, &s->wake_node);
    h2_conn_schedule(s->conn);
}

void h2_stream_break(struct h2_stream *s)
{
    if (!s->head_sent) /* it may have begun one; the next head is another's */
        s->conn->client->pw->h2->part_count = 0;
    h2_stream_wake(s, H2_WAKE_BREAK);
}

void h2_stream_reset(struct h2_stream *s, uint32_t code, enum close_reason why)
{
    if (s->cut)
        return;
    s->cut = true;
    pieces_drop(s);
    nghttp2_submit_rst_stream(s->conn->session, NGHTTP2_FLAG_NONE, s->id, code);
    h2_conn_schedule(s->conn);
    struct exchange *x = s->exchange;
    s->exchange = NULL;
    if (x != NULL)
        exchange_client_gone(x, why);
}

void h2_stream_abort(struct h2_stream *s, enum close_reason why)
{
    h2_stream_reset(s, NGHTTP2_INTERNAL_ERROR, why);
}

/* As TCP would have it: CANCEL for a reset (RFC 8441 section 5), END_STREAM for the end, and who still sends
 * is told not to. */
void h2_stream_tunnel_over(struct h2_stream *s, bool broken)
{
    nghttp2_session *session = s->conn->session;
    s->tunnel = false;
    s->faultless = broken;
    if (s->cut)
        return;
    if (broken) {
        s->cut = true;
        pieces_drop(s);
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_CANCEL);
    } else if (!s->ended) {
        h2_stream_finish(s, SLICE_EMPTY);
    } else if (!s->in_ended && nghttp2_session_get_stream_local_close(session, s->id) == 1) {
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_NO_ERROR);
    }
    h2_conn_schedule(s->conn);
}

void h2_stream_exchange_done(struct h2_stream *s)
{
    CHECK_MAGIC(s, H2_STREAM_MAGIC);
    s->exchange = NULL;
    if (!s->ended)
        h2_stream_reset(s, NGHTTP2_INTERNAL_ERROR, CLOSE_UPSTREAM_CUT);
}

/* ---- pieces ---- */

static struct h2_piece *piece_push(struct h2_stream *s)
{
    if (s->piece_first + s->piece_count == s->piece_room && s->piece_first > 0) {
        memmove(s->pieces, s->pieces + s->piece_first, s->piece_count * sizeof *s->pieces);
        s->piece_first = 0;
    }
    if (s->piece_count == s->piece_room) {
        struct h2_piece *more = malloc(2 * s->piece_room * sizeof *more);
        if (more == NULL)
            return NULL;
        memcpy(more, s->pieces, s->piece_count * sizeof *more);
        if (s->pieces != s->few)
            free(s->pieces);
        s->pieces = more;
        s->piece_room *= 2;
    }
    struct h2_piece *p = &s->pieces[s->piece_first + s->piece_count++];
    *p = (struct h2_piece){0};
    return p;
}

static struct h2_block *block_of(const void *ptr, size_t bytes)
{
    const size_t room = MAX(bytes, BLOCK_LEAST);
    struct h2_block *b = malloc(sizeof *b + room);
    if (b == NULL)
        return NULL;
    b->room = room;
    memcpy(b->bytes, ptr, bytes);
    return b;
}

/* Small ones behind each other: a chunked response may come in pieces of a byte. */
static bool copy_push(struct h2_stream *s, const void *ptr, size_t bytes)
{
    struct h2_piece *last = s->piece_count > 0 ? &s->pieces[s->piece_first + s->piece_count - 1] : NULL;
    if (last != NULL && last->block != NULL) {
        char *end = last->block->bytes + (last->ptr + last->bytes - last->block->bytes);
        if (bytes <= (size_t)(last->block->bytes + last->block->room - end)) {
            memcpy(end, ptr, bytes);
            last->bytes += bytes;
            set_copied(s, s->copied + bytes);
            return true;
        }
    }
    struct h2_block *b = block_of(ptr, bytes);
    struct h2_piece *p = b != NULL ? piece_push(s) : NULL;
    if (p == NULL) {
        free(b);
        return false;
    }
    p->ptr = b->bytes;
    p->bytes = bytes;
    p->block = b;
    set_copied(s, s->copied + bytes);
    return true;
}

static bool object_push(struct h2_stream *s, const void *ptr, size_t bytes, struct cache_object *owner)
{
    const struct exchange *x = s->exchange;
    struct h2_piece *p = piece_push(s);
    if (p == NULL)
        return false;
    p->ptr = ptr;
    p->bytes = bytes;
    p->held = !s->conn->client->running || x->object_held;
    p->owner = p->held ? cache_object_ref(owner) : owner;
    return true;
}

bool h2_stream_add(struct h2_stream *s, const void *ptr, size_t bytes, struct cache_object *owner)
{
    if (h2_stream_is_broken(s))
        return false;
    if (!s->head_sent) {
        struct h2_scratch *scratch = s->conn->client->pw->h2;
        ASSERT(scratch->part_count < H2_HEAD_PARTS);
        scratch->part_stored = scratch->part_count == 0 ? owner != NULL : scratch->part_stored;
        scratch->part[scratch->part_count++] = slice_make(ptr, bytes);
        return true;
    }
    if (bytes == 0)
        return true;
    /* Of what is being filled others may drop what its readers say they have. */
    const bool stays = owner != NULL && s->exchange->source == SOURCE_OBJECT;
    if (stays ? !object_push(s, ptr, bytes, owner) : !copy_push(s, ptr, bytes)) {
        h2_stream_break(s);
        return false;
    }
    if (s->bytes == 0)
        pace_begin(&s->out_pace, worker_now_ms(s->conn->client->pw->worker));
    s->bytes += bytes;
    return true;
}

void h2_stream_keep(struct h2_stream *s)
{
    for (unsigned i = 0; i < s->piece_count; i++) {
        struct h2_piece *p = &s->pieces[s->piece_first + i];
        if (p->owner != NULL && !p->held)
            cache_object_ref(p->owner);
        p->held = p->owner != NULL;
    }
}

bool h2_stream_ready(struct h2_stream *s)
{
    if (s->bytes > H2_STREAM_HOLDS)
        s->full = true;
    return !s->full && !h2_stream_is_broken(s);
}

static void stream_resume(struct h2_stream *s)
{
    if (s->deferred && nghttp2_session_resume_data(s->conn->session, s->id) == 0)
        s->deferred = false;
    h2_conn_schedule(s->conn);
}

bool h2_stream_flush(struct h2_stream *s)
{
    if (h2_stream_is_broken(s))
        return false;
    if (s->bytes > 0)
        stream_resume(s);
    if (s->bytes > H2_STREAM_HOLDS) {
        s->full = true;
        return false;
    }
    return true;
}

void h2_stream_finish(struct h2_stream *s, slice_t trailers)
{
    if (s->ended || h2_stream_is_broken(s))
        return;
    if (trailers.len > 0 && !s->no_body) {
        s->trailers = malloc(trailers.len);
        if (s->trailers == NULL) {
            h2_stream_break(s);
            return;
        }
        memcpy(s->trailers, trailers.ptr, trailers.len);
        s->trailers_bytes = trailers.len;
    }
    s->ended = true;
    if (!s->no_body)
        stream_resume(s);
}

/* What windows and socket let go at once, or what makes the stream full. That the socket is full is known
 * when it has been written to: until then all streams of a connection together have as much as one, beside
 * what each may hold in any case, or a few whose windows are shut would take it from the others for as long
 * as they are. */
size_t h2_stream_room(const struct h2_stream *s)
{
    nghttp2_session *session = s->conn->session;
    const size_t least =
        s->bytes < H2_STREAM_HOLDS - ROOM_LEAST ? H2_STREAM_HOLDS + 1 - s->bytes : ROOM_LEAST;
    const int32_t window = MIN(nghttp2_session_get_stream_remote_window_size(session, s->id),
                               nghttp2_session_get_remote_window_size(session));
    if (s->conn->client->left != NULL || window <= 0 || s->conn->copied_over >= (size_t)ROOM_MOST)
        return least;
    const size_t open =
        MIN(MIN((size_t)window, (size_t)ROOM_MOST), (size_t)ROOM_MOST - s->conn->copied_over + s->bytes);
    return open > s->bytes + least ? open - s->bytes : least;
}

/* ---- called by nghttp2 ---- */

static ssize_t on_read(nghttp2_session *session, int32_t id, uint8_t *buf, size_t room, uint32_t *flags,
                       nghttp2_data_source *source, void *arg)
{
    struct h2_stream *s = source->ptr;
    size_t n = 0;
    UNUSED(id);
    UNUSED(buf);
    UNUSED(arg);
    CHECK_MAGIC(s, H2_STREAM_MAGIC);
    if (s->cut || (s->bytes == 0 && !s->ended)) {
        s->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    room = MIN(room, (size_t)H2_FRAME_PAYLOAD);
    for (unsigned i = 0; i < MIN(s->piece_count, PIECES_AT_ONCE) && n < room; i++)
        n += MIN(s->pieces[s->piece_first + i].bytes, room - n);
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (s->ended && n == s->bytes) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        if (s->trailers != NULL && h2_reply_trailers(s, slice_make(s->trailers, s->trailers_bytes)))
            *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
    }
    UNUSED(session);
    return (ssize_t)n;
}

/* `bytes` of the pieces into the batch, which has room. */
static void pieces_send(struct h2_stream *s, size_t bytes)
{
    struct client_conn *c = s->conn->client;
    while (bytes > 0) {
        ASSERT(s->piece_count > 0);
        struct h2_piece *p = &s->pieces[s->piece_first];
        const size_t n = MIN(p->bytes, bytes);
        client_out_add(c, p->ptr, n, p->owner);
        p->ptr += n;
        p->bytes -= n;
        bytes -= n;
        s->bytes -= n;
        if (p->block != NULL)
            set_copied(s, s->copied - n);
        if (p->bytes > 0)
            break;
        piece_release(s, p);
        s->piece_count--;
        s->piece_first = s->piece_count > 0 ? s->piece_first + 1 : 0;
    }
}

static int on_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head, size_t bytes,
                        nghttp2_data_source *source, void *arg)
{
    struct h2_stream *s = source->ptr;
    struct h2_conn *h = arg;
    struct client_conn *c = h->client;
    UNUSED(session);
    UNUSED(frame);
    CHECK_MAGIC(s, H2_STREAM_MAGIC);
    if (s->cut) /* while the frame waited for the socket: its bytes are gone, and RST_STREAM is on its way */
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    if (c->pw->h2->spent_count + PIECES_AT_ONCE > OUT_MAX_IOV && !h2_conn_flush(h))
        return NGHTTP2_ERR_WOULDBLOCK;
    if (!client_out_ready(c, PIECES_AT_ONCE + 1, H2_FRAME_HEAD))
        return NGHTTP2_ERR_WOULDBLOCK;
    memcpy(client_out_reserve(c, H2_FRAME_HEAD), head, H2_FRAME_HEAD);
    client_out_commit(c, H2_FRAME_HEAD);
    h2_guard_sent_data(h, bytes, bytes == s->bytes);
    pieces_send(s, bytes);
    s->out_pace.moved += bytes;
    if (s->full && s->bytes <= H2_STREAM_HOLDS) {
        s->full = false;
        h2_stream_wake(s, H2_WAKE_WRITE);
    }
    return 0;
}

void h2_send_callbacks(nghttp2_session_callbacks *cb)
{
    nghttp2_session_callbacks_set_send_data_callback(cb, on_send_data);
}

bool h2_stream_head(struct h2_stream *s, slice_t tail, bool no_body)
{
    const nghttp2_data_provider body = {.source.ptr = s, .read_callback = on_read};
    struct h2_scratch *scratch = s->conn->client->pw->h2;
    const bool added = h2_stream_add(s, tail.ptr, tail.len, NULL);
    s->no_body = no_body;
    s->ended = no_body;
    s->head_sent = true;
    const bool ok = added && h2_reply_head(s, no_body ? NULL : &body);
    scratch->part_count = 0;
    h2_conn_schedule(s->conn);
    return ok;
}

void h2_stream_interim(struct h2_stream *s, slice_t text)
{
    struct h2_scratch *scratch = s->conn->client->pw->h2;
    scratch->part[0] = text;
    scratch->part_stored = false;
    scratch->part_count = 1;
    h2_reply_interim(s);
    scratch->part_count = 0;
    h2_conn_schedule(s->conn);
}
