/* fuzz_handover.c: messages between two processes of the program, from any bytes.
 *
 * Looks for: texts outside of what was read; a message that is written again as another one. */
#include <stdlib.h>

#include "core/handover.h"
#include "core/panic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct handover m, again;
    char bytes[HANDOVER_BYTES], *copy = malloc(size + 1);
    ASSERT(copy != NULL);
    memcpy(copy, data, size);
    if (handover_parse(slice_make(copy, size), &m) && m.kind != HANDOVER_UNKNOWN) {
        for (size_t i = 0; i < HANDOVER_TEXTS; i++)
            ASSERT(m.text[i].len == 0 ||
                   (m.text[i].ptr >= copy && m.text[i].ptr + m.text[i].len <= copy + size));
        const size_t n = handover_write(bytes, &m);
        ASSERT(n > 0 || size > HANDOVER_BYTES);
        ASSERT(n == 0 || handover_parse(slice_make(bytes, n), &again));
        for (size_t i = 0; n > 0 && i < HANDOVER_TEXTS; i++)
            ASSERT(again.kind == m.kind && slice_eq(again.text[i], m.text[i]));
    }
    free(copy);
    return 0;
}
