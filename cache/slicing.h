/* slicing.h: objects in slices of one size, each stored as an object of its own; pure.
 *
 * A slice's key is that of the whole with one part more behind the URL, so whatever purges the URL, or the
 * tags it has, purges its slices. A stored slice is a part (status 206, its Content-Range says of what). */
#ifndef CACHE_SLICING_H
#define CACHE_SLICING_H

#include "cache/key.h"
#include "cache/range.h"

/* The byte by whose slice a request is begun to be answered, before the size of the whole is known: the first
 * of its range, or 0, where it has none or one that counts from the end. false: it names several ranges. */
bool slicing_first(const struct http_head *request, uint64_t *start);

/* Which bytes it has of a whole without end. */
static inline struct cache_range slicing_range(uint64_t slice_bytes, uint64_t index)
{
    return (struct cache_range){index * slice_bytes, (index + 1) * slice_bytes};
}

/* Is this part, of `size` bytes in all, just that slice? */
bool slicing_is_slice(struct cache_range part, uint64_t size, uint64_t slice_bytes, uint64_t index);

/* What a slice's key has more than that of the whole, at most. */
#define SLICING_KEY_MAX 56
/* The key of a slice, in `buf` of that much more than `whole`. */
void slicing_key(const struct cache_key *whole, uint64_t slice_bytes, uint64_t index, char *buf,
                 struct cache_key *out);

#endif
