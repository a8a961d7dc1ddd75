/* unkeyed.h: request fields that change a response but are not in the key: removed, or put into the key.
 *
 * A client that sends `X-Forwarded-Host: evil.example` and gets a page with links to it would otherwise have
 * that page stored for everybody. What is not known by name cannot be removed: an application that answers by
 * a field of its own says so with Vary. Worker's thread. */
#ifndef PROXY_UNKEYED_H
#define PROXY_UNKEYED_H

#include "proxy/exchange.h"

/* What is done with a field of unkeyed_tbl.h. "Believed": it came from a trusted proxy, or the route's
 * keep_request_header names it. */
enum unkeyed_kind {
    UNKEYED_NONE,     /* not in the table */
    UNKEYED_OURS,     /* Millpond writes it; believed, it is passed on and part of the key where it differs */
    UNKEYED_KEYED,    /* removed; believed, passed on and part of the key */
    UNKEYED_METHOD,   /* the same, of GET and HEAD; other methods keep it */
    UNKEYED_ADDRESS,  /* removed; from a trusted proxy passed on, kept by name also part of the key */
    UNKEYED_IDENTITY, /* removed; of a trusted proxy and kept by name, passed on and part of the key, unless
                         we say who the client is */
    UNKEYED_NEVER     /* removed, unless kept by name */
};

/* By the name in any case. */
enum unkeyed_kind unkeyed_kind(slice_t name);
/* True for "X_Forwarded_Host" and the like, which CGI, WSGI and Rack make the same variable of as of the
 * field with dashes: a name with underscores that would be a known field, one of the table, or one that we
 * write, with dashes.
 */
bool unkeyed_is_disguised(slice_t name);

/* Is this field, HTTP_FIELD_OTHER to the parser, left out of the request to the instance? (UNKEYED_OURS is
 * written by forward.c.) */
bool unkeyed_is_removed(const struct exchange *x, const struct http_field *f);
/* May anything the client said be believed at all? And what it said in this field? */
static inline bool unkeyed_believes(const struct exchange *x)
{
    return x->peer_trusted || x->route->config->keep_request_headers.count > 0;
}
bool unkeyed_is_believed(const struct exchange *x, slice_t name);
/* Appends what is passed on to the key, as " name=value" each, sorted by the table. Without memory: false. */
bool unkeyed_extend_key(struct exchange *x);

#endif
