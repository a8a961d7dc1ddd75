/* fuzz_content_range.c: Content-Range from any bytes.
 *
 * Beside memory errors it looks for broken promises of range.h: the part is not empty and lies inside the
 * whole; what was understood, written out, is understood alike. */
#include <stdio.h>
#include <stdlib.h>

#include "cache/range.h"
#include "core/panic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cache_range part, again;
    uint64_t whole, whole_again;
    char text[100];
    char *value = malloc(MAX(size, 1));
    if (value == NULL)
        return 0;
    memcpy(value, data, size);
    if (cache_content_range_parse(slice_make(value, size), &part, &whole)) {
        ASSERT(part.start < part.end && part.end <= whole);
        snprintf(text, sizeof text, "bytes %llu-%llu/%llu", (unsigned long long)part.start,
                 (unsigned long long)part.end - 1, (unsigned long long)whole);
        ASSERT(cache_content_range_parse(slice_str(text), &again, &whole_again));
        ASSERT(again.start == part.start && again.end == part.end && whole_again == whole);
    }
    free(value);
    return 0;
}
