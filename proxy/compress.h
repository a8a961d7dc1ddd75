/* compress.h: routes with `compress`: responses coded as they come (docs/compression.md).
 *
 * It is done between the upstream connection and the phases, so that these see what an application would have
 * sent that compresses by itself: a head with Content-Encoding and Vary, and a body of unknown length.
 * Variants, flights, purges, tags, 304s and the store that nodes share therefore know nothing of it. What
 * makes one variant of each coding of what would be one of each Accept-Encoding is that the request says the
 * chosen coding alone, from before its key is made (compress_request); what the instance gets says the same.
 *
 * Worker's thread. The time of a worker is bounded by bytes: ENCODER_STEP_BYTES go in at once, and then
 * others have their turn; who waits goes on in the order in which he came. */
#ifndef PROXY_COMPRESS_H
#define PROXY_COMPRESS_H

#include "core/encoder.h"

struct exchange;
struct proxy_worker;

/* The request as it is meant on a route that `compresses`: Accept-Encoding says the coding that the response
 * may have, or nothing. Also without a worker; however often. */
void compress_request(struct exchange *x);
/* The same, as it is about to be forwarded. */
void compress_fetch(struct exchange *x);

/* In words, of a request that compress_request has not seen: the coding it would get, or why none. */
slice_t compress_explain(const struct exchange *x);

/* The final head that came, as the phases are to see it: changed, if the response is going to be compressed,
 * or could be for another client. In the arena, or `head` itself. Sets x->compress and the framing. */
const struct http_head *compress_response(struct exchange *x, const struct http_head *head);

/* Was it compressed here, going by its head? */
bool compress_is_ours(const struct exchange *x, slice_t head);

/* ---- with x->compress ---- */

/* A piece of the body: what is ready of it, which may be nothing, valid until the next call for any exchange
 * of this worker. false: no memory. */
bool compress_body(struct exchange *x, const char **data, size_t *n);
/* Its end. What comes last goes into what is being stored, or waits in compress_tail. false: no memory. */
bool compress_end(struct exchange *x);
/* What comes last of a relayed body, or empty; once. */
slice_t compress_take_tail(struct exchange *x);
/* The instance has nothing more for now: what came shall not wait long for the next of it. */
void compress_rested(struct exchange *x);
/* Others have their turn first. x goes on by itself (upstream_resume). */
bool compress_wants_pause(struct exchange *x);

/* `to` goes on with the response. */
void compress_hand_over(struct exchange *from, struct exchange *to);
/* x->compress becomes NULL; what was not ended stays so. */
void compress_free(struct exchange *x);

void compress_worker_free(struct proxy_worker *pw);

#endif
