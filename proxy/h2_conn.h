/* h2_conn.h: HTTP/2 towards a client (RFC 9113): what a client connection in state H2 has besides.
 *
 *   client_conn (bytes, TLS, deadlines) - h2_conn (session) - h2_stream (one request) - exchange
 *
 * nghttp2 does frames, HPACK (but for fields of responses: h2_reply.h), flow control and priorities (RFC
 * 9218). It is fed and drained in one place, h2_server_run, and never from inside its callbacks, which it
 * forbids; what they may do is submit. So a request that comes is worked on inside the callback, its answer
 * lies in its stream until the input is through, and all frames of a turn leave by one write. Bodies lie in
 * stored objects, or in the stream's few kilobytes; nghttp2 never copies them (NO_COPY). What makes a request
 * malformed is looked for in core/h2_head and h2_recv alone: nghttp2 would look for most of it as well, for a
 * twentieth of what a hit costs.
 *
 * Worker thread. Owned by its connection, and ends with it. */
#ifndef PROXY_H2_CONN_H
#define PROXY_H2_CONN_H

#include <nghttp2/nghttp2.h>

#include "core/h2_walk.h"
#include "core/hpack_table.h"
#include "proxy/client_conn.h"
#include "proxy/h2_scratch.h"
#include "proxy/h2_sleep.h"

#define H2_FRAME_HEAD      9
#define H2_FRAME_PAYLOAD   (16 * KB - H2_FRAME_HEAD) /* a full frame of data fits one record of TLS */
#define H2_WINDOW_UNREAD   (16 * KB)                 /* of a request body nobody has begun to read */
#define H2_WINDOW_READ     (128 * KB)                /* of one that is being read, for a few at a time */
#define H2_WINDOW_READ_MAX 4
#define H2_WINDOW_TOGETHER (1 * MB)

/* Requests of one connection that still cost something, here or at an instance, though their stream may be
 * gone. Shared with their exchanges, so that whoever resets streams does not get more than h2_max_streams. */
struct h2_tally {
    unsigned refs; /* the connection, and each exchange that counts */
    unsigned live;
};

struct h2_conn {
    struct client_conn *client;
    nghttp2_session *session;
    struct h2_bed bed;
    struct h2_tally *tally;
    struct list streams; /* h2_stream.node */
    struct list wake;    /* h2_stream.wake_node: their exchanges have something to do */
    unsigned stream_count;
    unsigned uploads;          /* streams whose END_STREAM has not come */
    struct h2_stream *headed;  /* whose header block came last; NULL: it is over, or was refused */
    struct list texts;         /* of responses whose head has no frame yet: h2_reply.h */
    struct h2_text *text;      /* of the frame that nghttp2 is handing out; NULL: it has none */
    struct hpack_table *table; /* of the client's decoder; sleeps with the session */
    struct h2_head *cut_head;  /* of a header block that has not come whole; NULL: none */
    bool in_head;              /* a header block is under way */
    bool acknowledged;         /* the client knows our settings */
    bool tunnels;              /* and among them that it may ask for a WebSocket (RFC 8441) */
    bool goaway_noticed, goaway_sent, failed;
    bool look_due; /* bytes have come, and perhaps the end of the connection with them */
    unsigned wide_windows;
    size_t withheld;    /* of the connection's window, until the client knows our settings */
    size_t copied_over; /* of all h2_stream.copied, what is beyond H2_STREAM_HOLDS in each */
    struct turn_hook turn;
    mono_ms_t begun_ms, watch_ms, head_since_ms, goaway_ms;
    mono_ms_t idle_since_ms; /* 0: a stream has begun, or is there */
    /* floods: h2_guard.h */
    struct h2_walk walk;
    mono_ms_t noise_ms; /* until when noise_left has been added to for time that passed */
    uint32_t noise_left;
    int64_t resets_paid_us;
};

/* The connection speaks HTTP/2 from here on: state H2. Its input, if there is any, begins with the preface.
 * May close it. */
void h2_server_begin(struct client_conn *c);
/* Goes on with whatever it can do now. The caller must not touch `c` afterwards. */
void h2_server_run(struct client_conn *c);
/* The connection is being closed: who waits for an answer is told. */
void h2_server_closed(struct client_conn *c);
void h2_conn_free(struct h2_conn *h);

/* New requests go elsewhere (GOAWAY), those under way are answered. */
void h2_server_drain(struct client_conn *c);
void h2_server_on_deadline(struct client_conn *c);

/* ---- between the files of HTTP/2 ---- */

/* Something is to be sent, or done: at the end of this turn, unless the connection is being run. */
void h2_conn_schedule(struct h2_conn *h);
/* Ends it with an error, once what was submitted is out. */
void h2_conn_fail(struct h2_conn *h, uint32_t code, enum close_reason why);
/* Writes the batch. false: the connection is blocked or broken. */
bool h2_conn_flush(struct h2_conn *h);
/* A reference that the batch may still need, given up after the write. */
void h2_conn_spend(struct h2_conn *h, struct cache_object *o);

/* h2_recv.c: what comes. */
void h2_recv_callbacks(nghttp2_session_callbacks *cb);
/* h2_stream.c: what goes. */
void h2_send_callbacks(nghttp2_session_callbacks *cb);

void h2_tally_unref(struct h2_tally **t);

#endif
