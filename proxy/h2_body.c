/* h2_body.c: bodies of requests by HTTP/2, and clients that keep a stream waiting.
 *
 * What came and was not read yet lies in its stream. The stream's window is small until its exchange reads,
 * wider for a few at a time then, and opens by what was read; the connection's window opens at once, so that
 * an upload whose instance is slow stops no other. So a connection holds at most h2_max_streams small windows
 * and a few wide ones, and until the client has acknowledged these sizes, the connection's first window. */
#include <stdlib.h>

#include "core/metrics.h"
#include "core/panic.h"
#include "proxy/client.h"
#include "proxy/h2_conn.h"
#include "proxy/h2_stream.h"
#include "proxy/listener.h"
#include "proxy/phase.h"
#include "proxy/tunnel.h"
#include "proxy/upstream.h"

static mono_ms_t now_of(const struct h2_stream *s)
{
    return worker_now_ms(s->conn->client->pw->worker);
}

bool h2_stream_take(struct h2_stream *s, const uint8_t *data, size_t bytes)
{
    if (!byte_queue_put(&s->in, data, bytes))
        return false;
    s->in_pace.moved += bytes;
    return true;
}

static void widen_window(struct h2_stream *s)
{
    if (s->in_ended || s->conn->wide_windows >= H2_WINDOW_READ_MAX)
        return;
    s->in_wide = true;
    s->conn->wide_windows++;
    nghttp2_session_set_local_window_size(s->conn->session, NGHTTP2_FLAG_NONE, s->id, H2_WINDOW_READ);
}

static void begin_reading(struct h2_stream *s, struct exchange *x)
{
    x->body_state = BODY_READING;
    h2_stream_was_not_slow(s);
    widen_window(s);
}

static void send_continue(struct h2_stream *s, struct exchange *x)
{
    x->expects_continue = false;
    if (s->in.len == 0 && !x->head_sent)
        h2_stream_interim(s, SLICE_LIT("HTTP/1.1 100 Continue\r\n"));
}

slice_t h2_stream_take_input(struct h2_stream *s)
{
    struct h2_conn *h = s->conn;
    const slice_t piece = byte_queue_front(&s->in);
    if (piece.len == 0) { /* a tunnel may have nothing for an hour */
        byte_queue_free(&s->in);
        return SLICE_EMPTY;
    }
    byte_queue_drop(&s->in, piece.len);
    nghttp2_session_consume_stream(h->session, s->id, piece.len);
    const size_t withheld = MIN(h->withheld, piece.len);
    h->withheld -= withheld;
    nghttp2_session_consume_connection(h->session, withheld);
    h2_conn_schedule(h);
    return piece;
}

static enum h1_body_read body_piece(struct h2_stream *s, struct exchange *x, slice_t *piece)
{
    *piece = h2_stream_take_input(s);
    x->body_read += piece->len;
    if (x->framing.kind == H1_BODY_LENGTH)
        x->body_left -= MIN(x->body_left, (uint64_t)piece->len);
    return x->body_read > (uint64_t)x->listen->max_body_bytes ? H1_BODY_TOO_BIG : H1_BODY_PIECE;
}

enum h1_body_read h2_stream_read_body(struct h2_stream *s, struct exchange *x, slice_t *piece)
{
    if (x->body_state == BODY_ABSENT || x->body_state == BODY_DONE)
        return H1_BODY_END;
    if (x->body_state == BODY_UNREAD)
        begin_reading(s, x);
    if (x->expects_continue)
        send_continue(s, x);
    if (byte_queue_bytes(&s->in) > 0)
        return body_piece(s, x, piece);
    if (!s->in_ended && (x->framing.kind != H1_BODY_LENGTH || x->body_left > 0))
        return H1_BODY_WAIT;
    x->body_state = BODY_DONE;
    byte_queue_free(&s->in);
    x->trailers = s->in_trailers != NULL
                      ? arena_copy(&x->arena, slice_make(s->in_trailers, s->in_trailers_bytes))
                      : SLICE_EMPTY;
    return H1_BODY_END;
}

void h2_stream_tunnel_begin(struct h2_stream *s)
{
    s->tunnel = true;
    widen_window(s);
}

void h2_stream_expects_body(struct h2_stream *s)
{
    h2_conn_schedule(s->conn); /* which sets the deadline */
}

void h2_stream_was_not_slow(struct h2_stream *s)
{
    pace_begin(&s->in_pace, now_of(s));
}

/* How the body's length is told to the instance: DATA says it, and Content-Length may. */
void h2_stream_frame_body(const struct h2_stream *s, struct h1_framing *f)
{
    f->keep_alive = true;
    if (f->kind != H1_BODY_NONE || tunnel_is_connect(s->exchange))
        return;
    if (!s->in_ended) {
        f->kind = H1_BODY_CHUNKED;
    } else if (s->in_trailers != NULL) {
        f->kind = H1_BODY_CHUNKED;
    } else if (byte_queue_bytes(&s->in) > 0) {
        f->kind = H1_BODY_LENGTH;
        f->has_length = true;
        f->length = byte_queue_bytes(&s->in);
    }
}

/* ---- slow clients ---- */

static struct pace_limits limits_of(const struct h2_stream *s, dur_ms_t timeout_ms, enum close_reason stalled)
{
    const int64_t min_rate = s->tunnel ? 0 : s->conn->client->listener->config->min_rate_bytes_s;
    return (struct pace_limits){timeout_ms, min_rate, stalled};
}

/* It is the client who holds the answer up, by a window that is shut: what is left of it, or its mere end,
 * which nghttp2 sends in an empty frame only while there is a window (RFC 9113 section 6.9.1 would allow it).
 */
static bool is_held_up(const struct h2_stream *s)
{
    nghttp2_session *session = s->conn->session;
    if (s->bytes == 0 && (!s->ended || nghttp2_session_get_stream_local_close(session, s->id) != 0))
        return false;
    return nghttp2_session_get_stream_remote_window_size(session, s->id) <= 0 ||
           nghttp2_session_get_remote_window_size(session) <= 0;
}

static bool is_awaited(const struct h2_stream *s)
{
    const struct exchange *x = s->exchange;
    return x != NULL && x->grpc == NULL && x->body_state == BODY_READING && !h2_stream_has_input(s) &&
           x->queued == NULL && (x->upstream == NULL || !upstream_is_blocked(x));
}

static void body_too_slow(struct h2_stream *s, enum close_reason why)
{
    struct exchange *x = s->exchange;
    if (x->head_sent) {
        h2_stream_reset(s, NGHTTP2_CANCEL, why);
        return;
    }
    x->close_reason = (uint8_t)why;
    phase_fetch_release(x, FETCH_CANCELLED);
    phase_answer_error(x, 408, "the request body stopped coming");
    phase_run(x);
}

mono_ms_t h2_stream_watch(struct h2_stream *s)
{
    const struct config_listen *l = s->conn->client->listener->config;
    const struct pace_limits out = limits_of(s, l->write_timeout_ms, CLOSE_WRITE_TIMEOUT);
    const struct pace_limits in = limits_of(s, l->body_timeout_ms, CLOSE_BODY_TIMEOUT);
    enum close_reason why;
    if (s->cut)
        return INT64_MAX;
    if (!is_held_up(s))
        pace_begin(&s->out_pace, now_of(s));
    else if ((why = pace_look(&s->out_pace, now_of(s), &out)) != CLOSE_OPEN) {
        h2_stream_reset(s, NGHTTP2_CANCEL, why);
        return INT64_MAX;
    }
    if (!is_awaited(s))
        h2_stream_was_not_slow(s);
    else if ((why = pace_look(&s->in_pace, now_of(s), &in)) != CLOSE_OPEN) {
        body_too_slow(s, why);
        return INT64_MAX;
    }
    return MIN(pace_due_ms(&s->out_pace, &out), pace_due_ms(&s->in_pace, &in));
}
