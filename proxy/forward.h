/* forward.h: message heads as they leave us: requests to instances, responses towards clients and the cache
 * (RFC 9110 section 7.6: hop-by-hop fields, Via; RFC 7239 Forwarded). Pure over an exchange; memory from its
 * arena. */
#ifndef PROXY_FORWARD_H
#define PROXY_FORWARD_H

#include "config/config.h"
#include "core/http_msg.h"
#include "core/text.h"

struct exchange;

/* The fields a route sets, as field lines with their variables filled in. */
void forward_put_edits(struct text *t, struct exchange *x, const struct config_field_edit *edits,
                       size_t count);
/* True when a route sets or removes the field of that name. */
bool forward_is_edited(const struct config_field_edit *edits, size_t count, slice_t name);
/* Room forward_put_edits needs at most. */
size_t forward_edits_bound(const struct exchange *x, const struct config_field_edit *edits, size_t count);

/* The whole request head for the instance, blank line included. `.ptr` is NULL when out of memory.
 * A leading fetch drops the client's conditions and Range; a revalidation adds those of the stored response.
 */
slice_t forward_request_head(struct exchange *x);

/* Status line and end-to-end fields, CRLF each, without blank line and without Content-Length,
 * Transfer-Encoding and Connection; Date is added when missing, Via always. `for_store` also leaves out Age.
 * `.ptr` NULL: no memory. */
slice_t forward_response_head(struct exchange *x, const struct http_head *head, bool for_store);

/* A whole interim (1xx) response head, blank line included. `.ptr` NULL: no memory. */
slice_t forward_interim(struct exchange *x, const struct http_head *head);

/* Fields of a trailer section that may travel on, as field lines; empty when none. In those of a request
 * nothing is said that the route says. */
slice_t forward_trailers(struct exchange *x, const struct http_head *trailers, bool of_request);

#endif
