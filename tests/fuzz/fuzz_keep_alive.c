/* fuzz_keep_alive.c: Keep-Alive from any bytes. Beside memory errors: a timeout is within its bounds, and an
 * empty list element at the end changes nothing. */
#include <stdlib.h>

#include "balancer/idle_limit.h"
#include "core/panic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t seconds = 0, padded_seconds = 0;
    char *value = malloc(size + 2);
    if (value == NULL)
        return 0;
    memcpy(value, data, size);
    bool found = idle_limit_parse(slice_make(value, size), &seconds);
    ASSERT(!found || (seconds > 0 && seconds <= IDLE_LIMIT_LARGEST_S));
    memcpy(value + size, ", ", 2);
    if (memchr(value, '"', size) == NULL) { /* it would be inside a quoted string that is not closed */
        bool padded = idle_limit_parse(slice_make(value, size + 2), &padded_seconds);
        ASSERT(found == padded && (!found || seconds == padded_seconds));
    }
    free(value);
    return 0;
}
