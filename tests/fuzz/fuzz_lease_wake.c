/* fuzz_lease_wake.c: what anybody may publish on the channel of wakes.
 *
 * Beside memory errors it looks for a message that is understood but is not, byte for byte, what this version
 * would tell. */
#include <stdlib.h>

#include "cache/lease_wake.h"
#include "core/panic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    slice_t hash;
    enum cache_wake wake;
    char *payload = malloc(size > 0 ? size : 1); /* exactly, so that reading behind it is seen */
    if (payload == NULL)
        return 0;
    memcpy(payload, data, size);
    if (cache_wake_parse(slice_make(payload, size), &hash, &wake)) {
        slice_t name = slice_str(cache_wake_name(wake));
        ASSERT(hash.ptr == payload && hash.len == CACHE_LEASE_TOKEN);
        ASSERT(size == hash.len + 1 + name.len && payload[hash.len] == ' ');
        ASSERT(slice_ends(slice_make(payload, size), name));
    }
    free(payload);
    return 0;
}
