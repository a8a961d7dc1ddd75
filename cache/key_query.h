/* key_query.h: the query of a URL as it is in a key, pure: which parameters, in which order, in which
 * spelling.
 *
 * A parameter is what stands between two '&'; its name ends at the first '='. Each is normalised by itself
 * (percent.h). Parameters are sorted by name; those of one name, or of what an application might take for one
 * ("a", "A", "a[]"; "a.b", "a_b"), keep their order, since it may use the first, the last or all of them. For
 * the same reason a query with a semicolon is left in its order. '+' and "%20" differ, and so do "a" and
 * "a=".
 *
 * What is left out must not reach the application under another reading of the query. So `except` leaves out
 * exactly what it names, while `only` keeps whatever an application might take for a name in the list:
 * without regard to case, "a[x]" for "a", "a.b" for "a_b". A parameter with a semicolon in it, where some
 * applications see the end of a parameter, always stays (but for `none`). */
#ifndef CACHE_KEY_QUERY_H
#define CACHE_KEY_QUERY_H

#include "config/config.h"

/* With more parameters than this the order is the request's. */
#define CACHE_QUERY_SORT_MAX 64

/* Bytes for cache_query_put: twice, because sorting takes a copy. */
static inline size_t cache_query_bound(slice_t query)
{
    return 1 + 2 * query.len;
}

/* The order of two names, as they are written, of parameters or cookies: 0 when they may be one to an
 * application. */
int cache_name_compare(slice_t a, slice_t b);

/* Writes '?' and what is left of the query (`query.ptr` is not NULL), or nothing when parameters are left out
 * and none remains. Returns the end. */
char *cache_query_put(char *out, const struct config_key *rules, slice_t query);

#endif
