/* fuzz_range.c: Range from any bytes. The first eight are the size of the body.
 *
 * Beside memory errors it looks for broken promises of range.h: parts are not empty, lie inside the body,
 * share no byte and do not touch; what is said of one body does not depend on empty list elements. */
#include <stdlib.h>

#include "cache/range.h"
#include "core/panic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct cache_range_set *set, uint64_t size)
{
    ASSERT(set->count >= 1 && set->count <= CACHE_RANGE_PARTS_MAX);
    for (unsigned i = 0; i < set->count; i++) {
        const struct cache_range *p = &set->parts[i];
        ASSERT(p->start < p->end && p->end <= size);
        for (unsigned k = 0; k < i; k++)
            ASSERT(p->end < set->parts[k].start || set->parts[k].end < p->start);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t body;
    struct cache_range_set set, padded_set;
    if (size < sizeof body)
        return 0;
    memcpy(&body, data, sizeof body);
    size -= sizeof body;
    char *value = malloc(size + 2);
    if (value == NULL)
        return 0;
    memcpy(value, data + sizeof body, size);
    enum cache_range_verdict v = cache_range_parse(slice_make(value, size), body, &set);
    if (v == CACHE_RANGE_PARTS)
        check(&set, body);
    memcpy(value + size, ", ", 2);
    enum cache_range_verdict padded = cache_range_parse(slice_make(value, size + 2), body, &padded_set);
    ASSERT(v == padded);
    if (v == CACHE_RANGE_PARTS)
        ASSERT(set.count == padded_set.count &&
               memcmp(set.parts, padded_set.parts, set.count * sizeof set.parts[0]) == 0);
    free(value);
    return 0;
}
