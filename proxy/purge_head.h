/* purge_head.h: what a PURGE or BAN request asks for. Pure, so that it can be fuzzed; who may ask is decided
 * before.
 */
#ifndef PROXY_PURGE_HEAD_H
#define PROXY_PURGE_HEAD_H

#include "cache/purge_request.h"

struct purge_head {
    const struct http_head *request;
    slice_t host, path, query; /* as sent; query.ptr == NULL: no '?' */
    const slice_t *keys;       /* key texts of the request's own URL, borrowed for the life of `r` */
    size_t key_count;
};

/* Adds what the request names to `r`. Items are tags when it has a field that lists tags; else patterns when
 * it has a field with one or a `*` in its target; else the URL itself. false with `problem` and `hint` of
 * `r`. */
bool purge_head_read(const struct purge_head *h, struct cache_purge_request *r);

#endif
