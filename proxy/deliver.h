/* deliver.h: response heads and bodies on their way to the client connection. */
#ifndef PROXY_DELIVER_H
#define PROXY_DELIVER_H

#include <sys/uio.h>

#include "core/http_msg.h"
#include "core/slice.h"

struct exchange;

/* Iterates the field lines of a head we built ("HTTP/1.1 200 OK\r\nName: value\r\n..."): start with the whole
 * head. */
bool head_text_next(slice_t *rest, slice_t *name, slice_t *value);

/* The value of the first such field of a head we built, or empty. */
slice_t head_text_field(slice_t head, enum http_field_id id);

/* What a request may ask for under (RFC 9110 section 13.1), but for If-Range. */
#define DELIVER_CONDITIONS                                                                                   \
    (HTTP_BIT(IF_MATCH) | HTTP_BIT(IF_NONE_MATCH) | HTTP_BIT(IF_MODIFIED_SINCE) |                            \
     HTTP_BIT(IF_UNMODIFIED_SINCE))

/* Adds the final response head to the client connection's batch and decides the framing. false: out of memory
 * or the client is gone (its connection is marked broken). */
bool deliver_head(struct exchange *x);

/* A piece of a relayed body; the bytes need to live only during the call. May end the exchange and its
 * upstream connection: the client turns out to be gone. */
void deliver_relay(struct exchange *x, const char *data, size_t n);

/* Leaves of the pieces of the object as much as goes out in one write. How many bytes that are: all, if they
 * are no more than DELIVER_STEP_LEAST. */
#define DELIVER_STEP_LEAST (64 * KB)
/* One write of what is being filled, the unfinished part of which may have to be copied (own_fetch.c). */
#define DELIVER_STEP_FOLLOW (256 * KB)
size_t deliver_step(const struct exchange *x, struct iovec *iov, size_t *n);

/* Turns the answer into an error page of ours: what the client asked does not fit what is stored (412, 416).
 */
void deliver_refuse(struct exchange *x, unsigned status, const char *detail);

/* phase_store.c: the response was read to its end; releases the instance and completes the stored object. */
void exchange_finish_response(struct exchange *x, const struct http_head *trailers);

#endif
