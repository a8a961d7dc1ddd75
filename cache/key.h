/* key.h: cache keys, pure: bytes that are equal exactly when two requests may share a response.
 *
 * Primary key: "scheme://host[:port]/path?query" with the host in lower case, the scheme's default port
 * left out, percent-encoding normalised where RFC 3986 section 6.2.2 allows (unreserved characters decoded,
 * hex digits in upper case; dot segments and repeated slashes are left alone, since the application may tell
 * them apart), and the query as the route's rules say (key_query.h). Further parts that the route adds
 * (key_parts.h) follow one space. HEAD shares the key of GET. Secondary key (Vary): "name: value\n" for each
 * listed field. */
#ifndef CACHE_KEY_H
#define CACHE_KEY_H

#include "cache/key_query.h"
#include "core/arena.h"
#include "core/hash.h"
#include "core/http_msg.h"

struct cache_key {
    slice_t text;
    hash128_t hash; /* of text */
};

/* The URL a primary key begins with: what a purge by URL, prefix, glob or host looks at. Further parts of a
 * key follow one space, which no URL contains. */
static inline slice_t cache_key_url(slice_t primary)
{
    return slice_make(primary.ptr, MIN(slice_find(primary, ' ', 0), primary.len));
}

/* What of a URL makes the difference for purges, "://host/path?query": one concerns a page whichever scheme
 * it was asked for by. What begins with neither scheme is left as it is. */
static inline slice_t cache_url_past_scheme(slice_t url)
{
    const size_t scheme = slice_starts(url, SLICE_LIT("http://"))    ? sizeof "http" - 1
                          : slice_starts(url, SLICE_LIT("https://")) ? sizeof "https" - 1
                                                                     : 0;
    return slice_make(url.ptr + scheme, url.len - scheme);
}
/* The key of the same request by the other scheme, in `buf`, which has room for one byte more than the text.
 */
void cache_key_other_scheme(const struct cache_key *key, char *buf, struct cache_key *out);

/* What a key's URL is made of. `query.ptr == NULL` means no '?'. */
struct cache_url {
    slice_t scheme, host, path, query;
};
/* The parts of a URL given by a person or a PURGE ("http://host/path?query"), a fragment left out. false when
 * it is not one. The slices point into `text`. */
bool cache_url_split(slice_t text, struct cache_url *out);

/* The rules where a route says nothing: the whole query, sorted. */
extern const struct config_key cache_key_default;

/* Bytes of the buffer that building takes, the length of further parts aside; the caller brings it. */
static inline size_t cache_key_bound(slice_t scheme, slice_t host, slice_t path, slice_t query)
{
    return scheme.len + 3 + host.len + MAX(path.len, 1) + cache_query_bound(query);
}
/* Writes the key into `buf`, by the route's rules for the URL, and `parts` (a space in front, or empty)
 * behind it. One pass, no allocation: this is the hot path. */
void cache_key_build_by(char *buf, const struct config_key *rules, const struct cache_url *url, slice_t parts,
                        struct cache_key *out);
/* The same by the default rules. */
void cache_key_build(char *buf, slice_t scheme, slice_t host, slice_t path, slice_t query,
                     struct cache_key *out);
/* A key without further parts, in the arena. false without memory. */
bool cache_key_of_url(struct arena *arena, const struct config_key *rules, const struct cache_url *url,
                      struct cache_key *out);
/* The key of a URL's text by the default rules, without further parts. false when it is no URL. */
bool cache_key_from_url(struct arena *arena, slice_t text, struct cache_key *out);

#define CACHE_VARY_MAX_FIELDS 16
#define CACHE_VARY_MAX_BYTES  4096 /* of one secondary key */

/* The names that Vary lists, lower case, sorted, without repeats, joined by ','. `.ptr` is NULL when there is
 * `*`, more than CACHE_VARY_MAX_FIELDS names or no memory; empty when there is no Vary. */
slice_t cache_vary_names(struct arena *arena, const struct http_head *response, bool *star);
/* The secondary key of a request under those names. Differences that mean nothing make no difference (RFC
 * 9111 section 4.1): all lines of a field are one list, written "a, b" whatever its white space and empty
 * elements; Accept-Encoding and Accept-Language are in lower case, sorted, without repeats. Cookie and
 * Authorization are compared byte by byte. An absent field differs from an empty one. `.ptr` is NULL when too
 * large or out of memory. */
slice_t cache_vary_key(struct arena *arena, slice_t names, const struct http_head *request);

#endif
