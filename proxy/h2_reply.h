/* h2_reply.h: heads and trailers of responses, from the text that HTTP/1.1 clients get, to nghttp2. */
#ifndef PROXY_H2_REPLY_H
#define PROXY_H2_REPLY_H

#include "proxy/h2_conn.h"

/* The head in the worker's scratch (h2_scratch.part): a status line and field lines in the first part, field
 * lines in the others, each part whole lines. `body` NULL: none follows. false: it cannot be sent. */
bool h2_reply_head(struct h2_conn *h, int32_t id, const nghttp2_data_provider *body);
bool h2_reply_interim(struct h2_conn *h, int32_t id);
/* From inside a callback that reads the body (nghttp2_submit_trailer). */
bool h2_reply_trailers(struct h2_conn *h, int32_t id, slice_t lines);

#endif
