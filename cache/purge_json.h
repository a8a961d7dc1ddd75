/* purge_json.h: what to purge as JSON, as POST /api/purge and messages of applications have it:
 *
 *   {"url" | "tags" | "prefix" | "glob" | "host": a text or a list of texts, "all": true,
 *    "soft", "any_query": bool}
 *
 * What one object names is purged together, or nothing of it. It is read strictly: an unknown member, one of
 * another type or a text that is not of its kind refuses the whole, so that a misspelt wish is not half done.
 */
#ifndef CACHE_PURGE_JSON_H
#define CACHE_PURGE_JSON_H

#include <jansson.h>

#include "cache/purge_request.h"

#define CACHE_PURGE_JSON_ADVICE                                                                              \
    "send for example {\"url\": \"http://example.com/page\"}; also tags, prefix, glob, host (a text or a "   \
    "list each) or all (true), with soft and any_query (true or false)"

/* Fills an empty request with what the object names; one thing at least. false with `problem` and `hint`,
 * which live as long as the request's arena. */
bool cache_purge_request_add_json(struct cache_purge_request *r, const json_t *object);

#endif
