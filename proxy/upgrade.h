/* upgrade.h: which other protocols a request may ask for (RFC 9110 section 7.8), and which one an instance
 * goes over to. Pure.
 *
 * HTTP in other versions, and TLS, are never passed on: in a tunnel that speaks HTTP, requests would reach
 * the instance past everything that routes say, which is how h2c smuggling works. */
#ifndef PROXY_UPGRADE_H
#define PROXY_UPGRADE_H

#include "core/http_msg.h"

#define UPGRADE_OFFER_MAX 256 /* bytes of a list that is passed on; what does not fit is left out */

/* What a request asks for, as the list that goes to an instance. Its length; 0: nothing, since Upgrade or the
 * `upgrade` of Connection is missing, the version is HTTP/1.0, or nothing in the list may be passed on.
 * `list` has room for UPGRADE_OFFER_MAX. */
size_t upgrade_offer(const struct http_head *request, char *list);

/* The one protocol that a 101 names, if `offer` has it; else empty. Lives as long as the response. */
slice_t upgrade_accepted(const struct http_head *response, slice_t offer);

#endif
