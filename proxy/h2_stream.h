/* h2_stream.h: one stream of HTTP/2: the client side of one exchange. See client.h for what is asked of it.
 *
 * What the exchange adds waits here in pieces until flow control and the turn of the stream let it go: pieces
 * of whole stored objects by reference, all else copied. Up to H2_STREAM_HOLDS bytes the exchange may think
 * of as sent, as it does of what the kernel has taken, and may end; with more the stream is blocked. Body
 * bytes of the request wait here for the exchange, and the client's window opens as they are read.
 *
 * Ends when nghttp2 closes it, or with its connection, whichever of stream and exchange is first done. */
#ifndef PROXY_H2_STREAM_H
#define PROXY_H2_STREAM_H

#include "core/byte_queue.h"
#include "core/list.h"
#include "core/slice.h"
#include "core/worker.h"
#include "proxy/client_conn.h"
#include "proxy/pace.h"

struct cache_object;
struct exchange;
struct h2_conn;
struct size_pool;

#define H2_STREAM_MAGIC 0x48325354u
#define H2_STREAM_HOLDS (8 * KB - 256) /* in one allocation of 8 KB */
#define H2_STREAM_FEW   4

struct h2_block;

struct h2_piece {
    const char *ptr;
    size_t bytes;
    struct cache_object *owner; /* NULL: lies in `block` */
    struct h2_block *block;
    bool held; /* a reference on `owner` is the piece's; else it lasts as long as the RCU section */
};

enum h2_wake { H2_WAKE_BEGIN = 1, H2_WAKE_READ = 2, H2_WAKE_WRITE = 4, H2_WAKE_BREAK = 8 };

struct h2_stream {
    uint32_t magic;
    int32_t id;
    struct h2_conn *conn;
    struct size_pool *pool;    /* whose memory it is; outlives the connection */
    struct exchange *exchange; /* NULL: not begun, or over */
    struct list node, wake_node;
    uint8_t wake; /* set of enum h2_wake */
    bool head_sent, no_body;
    bool deferred;  /* nghttp2 waits for more of the body */
    bool ended;     /* all of it was added */
    bool full;      /* more than it holds was added: the exchange waits */
    bool cut;       /* reset by us */
    bool in_ended;  /* END_STREAM came */
    bool in_wide;   /* counts in h2_conn.wide_windows */
    bool tunnel;    /* its exchange is one, and each direction ends by itself */
    bool faultless; /* what ended it was not the client's doing */
    /* output */
    unsigned texts;                              /* heads that have no frame yet: h2_reply.h */
    struct h2_piece few[H2_STREAM_FEW], *pieces; /* from `piece_first` on */
    unsigned piece_first, piece_count, piece_room;
    size_t bytes;  /* in them */
    size_t copied; /* of these, what lies in blocks */
    char *trailers;
    size_t trailers_bytes;
    struct pace out_pace; /* while the client holds it up */
    /* input */
    struct byte_queue in;
    int64_t in_left; /* of what Content-Length says; -1: it says nothing */
    char *in_trailers;
    size_t in_trailers_bytes;
    struct pace in_pace; /* while it is awaited */
    struct grave grave;
};

struct h2_stream *h2_stream_new(struct h2_conn *h, int32_t id); /* NULL: no memory */
/* nghttp2 has closed it, or its connection ends. */
void h2_stream_end(struct h2_stream *s);

/* ---- for the exchange (client.h) ---- */

bool h2_stream_ready(struct h2_stream *s);
bool h2_stream_add(struct h2_stream *s, const void *ptr, size_t bytes, struct cache_object *owner);
bool h2_stream_flush(struct h2_stream *s);
/* The head is what was added since the last, and `tail`; no_body: nothing follows. false: no memory. */
bool h2_stream_head(struct h2_stream *s, slice_t tail, bool no_body);
void h2_stream_interim(struct h2_stream *s, slice_t text);
/* All of the body was added. */
void h2_stream_finish(struct h2_stream *s, slice_t trailers);
/* Resets it; the exchange, if it is still there, is told that its client left. */
void h2_stream_reset(struct h2_stream *s, uint32_t code, enum close_reason why);
/* The same, for what is our own trouble. */
void h2_stream_abort(struct h2_stream *s, enum close_reason why);
/* Nothing can be sent: it will be reset, after the exchange has parked. */
void h2_stream_break(struct h2_stream *s);
void h2_stream_exchange_done(struct h2_stream *s);
enum h1_body_read h2_stream_read_body(struct h2_stream *s, struct exchange *x, slice_t *piece);
void h2_stream_expects_body(struct h2_stream *s);
void h2_stream_was_not_slow(struct h2_stream *s);
/* How its length is told to an instance. */
void h2_stream_frame_body(const struct h2_stream *s, struct h1_framing *f);
/* How many bytes that must be copied are worth having at once. */
size_t h2_stream_room(const struct h2_stream *s);

/* ---- for the tunnel that its exchange has become (tunnel_client.h) ---- */

void h2_stream_tunnel_begin(struct h2_stream *s);
/* The bytes that have come, or none; valid until more come, or the next call. The client's window opens by as
 * much. */
slice_t h2_stream_take_input(struct h2_stream *s);
/* It ends, both ways. `broken`: by RST_STREAM, whatever waits. The exchange is about to end. */
void h2_stream_tunnel_over(struct h2_stream *s, bool broken);

static inline bool h2_stream_is_broken(const struct h2_stream *s)
{
    return s->cut || (s->wake & H2_WAKE_BREAK) != 0;
}

static inline bool h2_stream_has_input(const struct h2_stream *s)
{
    return byte_queue_bytes(&s->in) > 0 || s->in_ended;
}

/* ---- for h2_conn.c and h2_recv.c ---- */

void h2_stream_wake(struct h2_stream *s, enum h2_wake why);
/* END_STREAM came. */
void h2_stream_input_ended(struct h2_stream *s);
/* Body bytes came. false: no memory. */
bool h2_stream_take(struct h2_stream *s, const uint8_t *data, size_t bytes);
/* The RCU section ends: what it lasts for is referenced, or copied. */
void h2_stream_keep(struct h2_stream *s);
/* Is its client too slow? Resets it then. When it must be asked again, at the latest. */
mono_ms_t h2_stream_watch(struct h2_stream *s);

#endif
