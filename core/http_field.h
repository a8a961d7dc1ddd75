/* http_field.h: what stands inside field values: lists, tokens, parameters, connection options and the
 * hop-by-hop rules (RFC 9110 sections 5.6, 7.6.1). Pure functions over slices. */
#ifndef CORE_HTTP_FIELD_H
#define CORE_HTTP_FIELD_H

#include "core/http_msg.h"

bool http_is_tchar(unsigned char c); /* RFC 9110 section 5.6.2 */
bool http_is_token(slice_t s);       /* at least one tchar, nothing else */
bool http_is_field_value(slice_t s); /* no CTL but HTAB; obs-text allowed (RFC 9110 section 5.5) */

/* Iterates the elements of a comma-separated list, honouring quoted strings and skipping empty
 * elements; each comes without surrounding OWS. Start with a copy of the value in `*rest`. */
bool http_list_next(slice_t *rest, slice_t *element);

/* Splits "name=value" or "name="quoted"" at the first '='; value.ptr is NULL when there is no '='.
 * A quoted value comes without its quotes, escapes left in. false when the quoting is broken. */
bool http_param_split(slice_t element, slice_t *name, slice_t *value);

/* Splits "gzip;q=0.8" into its name and its weight in thousandths (RFC 9110 section 12.4.2): 1000 without
 * one, 0 for what is no weight. */
slice_t http_weighted_split(slice_t element, unsigned *weight);

/* True when the list-valued field `id` (all its lines) has `token`, ASCII case ignored. */
bool http_head_has_token(const struct http_head *h, enum http_field_id id, slice_t token);

/* True for fields that belong to one connection and are never forwarded or stored: Connection,
 * Keep-Alive, Proxy-Connection, TE, Transfer-Encoding, Upgrade, Proxy-Authenticate and
 * Proxy-Authorization, HTTP2-Settings (RFC 9110 section 7.6.1). */
bool http_field_is_hop_by_hop(enum http_field_id id);

/* True when `f` is named by a Connection option of `h` and may be dropped for it. Fields a message cannot
 * do without (Host, Content-Length, Cache-Control, Authorization, Date, Set-Cookie, Cookie, Via,
 * X-Forwarded-*, Forwarded and the like) stay whatever Connection says, so that a client cannot strip them.
 */
bool http_field_named_by_connection(const struct http_head *h, const struct http_field *f);
/* Takes those out of a request, in place, so that whatever looks at it sees what the next hop will see. What
 * is hop-by-hop by itself stays. */
void http_head_drop_named_by_connection(struct http_head *h);
/* Removes the fields of this set (HTTP_BIT) from a parsed head. */
void http_head_drop(struct http_head *head, uint64_t fields);

/* Host syntax of RFC 9110 section 7.2 (uri-host [":" port]): reg-name, IPv4 or [IPv6]; no userinfo, no
 * space, percent-encoding only as %HEX HEX. An empty host is refused. */
bool http_host_is_valid(slice_t host);

#endif
