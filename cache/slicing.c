/* slicing.c: see slicing.h. Any thread.
 *
 * The size of the slices is part of the key, so what was stored before it was changed is never taken for
 * something else. Other parts of keys have a name and "=", or other names before ":" (key_parts.c, unkeyed.c
 * in proxy), and no blanks, so none can be mistaken for this one. Rejected: variants of one key, as by Vary,
 * of which a URL has few and which lie in one list. */
#include "cache/slicing.h"

#include "core/text.h"

/* Ranges that count from the end begin beyond this, of a whole of UINT64_MAX bytes; none that is meant well
 * does. */
#define FAR (UINT64_C(1) << 62)

bool slicing_first(const struct http_head *request, uint64_t *start)
{
    struct cache_range_set set;
    *start = 0;
    if (request->method != HTTP_GET || http_head_count(request, HTTP_FIELD_RANGE) != 1)
        return true;
    const slice_t value = http_head_get(request, HTTP_FIELD_RANGE)->value;
    switch (cache_range_parse(value, UINT64_MAX, &set)) {
    case CACHE_RANGE_WHOLE: /* too many to be served, perhaps, but of a smaller whole they are fewer */
        return slice_find(value, ',', 0) == SIZE_MAX;
    case CACHE_RANGE_UNSATISFIABLE:
        return true;
    case CACHE_RANGE_PARTS:
        break;
    }
    if (set.count == 1 && set.parts[0].start < FAR)
        *start = set.parts[0].start;
    return set.count == 1;
}

bool slicing_is_slice(struct cache_range part, uint64_t size, uint64_t slice_bytes, uint64_t index)
{
    const struct cache_range slice = slicing_range(slice_bytes, index);
    return part.start == slice.start && part.end == MIN(slice.end, size);
}

void slicing_key(const struct cache_key *whole, uint64_t slice_bytes, uint64_t index, char *buf,
                 struct cache_key *out)
{
    struct text t = text_make(buf, whole->text.len + SLICING_KEY_MAX);
    text_put(&t, whole->text);
    TEXT_LIT(&t, " slice:");
    text_put_u64(&t, slice_bytes);
    TEXT_LIT(&t, "/");
    text_put_u64(&t, index);
    out->text = text_slice(&t);
    out->hash = hash_bytes(out->text.ptr, out->text.len);
}
