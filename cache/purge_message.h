/* purge_message.h: what an application publishes on the purge channel of Redis, as a request to purge. Pure.
 *
 * Either the JSON object of POST /api/purge (purge_json.h), or lines, each a word and what it is about:
 *
 *   tag product-7              several tags may stand in one line, with spaces between
 *   url http://example.com/page
 *   prefix http://example.com/news/
 *   glob *.png
 *   host example.com
 *   all
 *
 * The words `soft` (stale from now on, rather than gone) and `any_query` (URLs, whatever their query) may
 * stand in front of a line, and hold for the whole message, as the members of the object do. So
 *
 *   redis-cli PUBLISH millpond:purge "tag product-7"
 *   redis-cli PUBLISH millpond:purge "soft any_query url http://example.com/search"
 *
 * As strict as the API: a line that is not understood refuses the whole message. */
#ifndef CACHE_PURGE_MESSAGE_H
#define CACHE_PURGE_MESSAGE_H

#include "cache/purge_request.h"

#define CACHE_PURGE_MESSAGE_MAX (64 * KB) /* bytes; as a body of the API */

/* Fills an empty request. false with `problem` and `hint`, which live as long as the request's arena. */
bool cache_purge_request_add_message(struct cache_purge_request *r, slice_t message);

#endif
