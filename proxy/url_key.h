/* url_key.h: the keys of a URL without a request: what PURGE, unsafe methods and explanations look for. */
#ifndef PROXY_URL_KEY_H
#define PROXY_URL_KEY_H

#include "cache/key.h"
#include "proxy/snapshot.h"

struct proxy_url_key {
    struct cache_key key;
    bool goes_on;   /* responses lie under longer keys that begin with this one */
    bool is_cached; /* by one of the routes at least */
};

/* The keys under which responses to a GET for this URL may be stored, each once, without what a route adds
 * behind the URL: a purge by URL concerns that as well. More than one where routes for the same host and path
 * are chosen by request fields and make different keys. `*out` lies in the arena. 0: out of memory. */
size_t proxy_url_keys(const struct snapshot *s, const struct cache_url *url, struct arena *arena,
                      struct proxy_url_key **out);

/* Their texts alone. */
size_t proxy_url_key_texts(const struct snapshot *s, const struct cache_url *url, struct arena *arena,
                           slice_t **texts);

#endif
