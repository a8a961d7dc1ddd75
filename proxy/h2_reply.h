/* h2_reply.h: heads and trailers of responses, from the text that HTTP/1.1 clients get, into frames.
 *
 * What a block of HPACK says depends on those before it, and nghttp2 decides when, and if, a head is sent. So
 * it is told of a response's status alone, of trailers nothing, the text waits, and when nghttp2 has made the
 * frame, the fields are put behind. They never meet nghttp2's own table, which stays empty: what else it
 * encodes lies in the static one, or is said to be never indexed. */
#ifndef PROXY_H2_REPLY_H
#define PROXY_H2_REPLY_H

#include "proxy/h2_conn.h"

struct h2_stream;

/* The head in the worker's scratch (h2_scratch.part): a status line and field lines in the first part, field
 * lines in the others, each part whole lines. `body` NULL: none follows. false: it cannot be sent. */
bool h2_reply_head(struct h2_stream *s, const nghttp2_data_provider *body);
bool h2_reply_interim(struct h2_stream *s);
/* From inside a callback that reads the body (nghttp2_submit_trailer). */
bool h2_reply_trailers(struct h2_stream *s, slice_t lines);

/* One frame of nghttp2 goes into the batch, which has room for the largest; a head with the fields it lacks.
 */
void h2_reply_send(struct h2_conn *h, const uint8_t *frame, size_t bytes);
/* Heads of the stream that wait will not be sent: it ends. */
void h2_reply_forget(struct h2_stream *s);
void h2_reply_callbacks(nghttp2_session_callbacks *cb);

#endif
