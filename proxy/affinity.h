/* affinity.h: what in a request speaks for an instance: the pool's hash_on and sticky_cookie. Worker's
 * thread.
 */
#ifndef PROXY_AFFINITY_H
#define PROXY_AFFINITY_H

#include "core/http_msg.h"

struct exchange;

/* Of a route whose pool `has_affinity`: fills x->affinity and takes the sticky cookie out of the request, so
 * that neither the cache nor the application knows of it. */
void affinity_read(struct exchange *x);

/* The same for a fetch in the background that `of` gave rise to; nobody is pinned to anything by it. */
void affinity_copy(struct exchange *x, const struct exchange *of);

/* A response that is relayed, from x->instance, of a pool with sticky_cookie; `head` is as it came. Appends
 * to x->response_head what pins its client to that instance, unless it is already, or the response says that
 * caches may share it. */
void affinity_pin(struct exchange *x, const struct http_head *head);

/* The value of the first cookie of that name; `.ptr` NULL when there is none. Pure. */
slice_t affinity_find_cookie(const struct http_head *request, slice_t name);

#endif
