/* fuzz_h2_walk.c: the walk over frames finds the same however the bytes are cut, and what a plain reading of
 * the whole finds. The first byte is the size of the pieces. */
#include "core/h2_walk.h"
#include "core/panic.h"

#include <stdlib.h>
#include <string.h>

#define CHECK(x) ((x) ? (void)0 : panic_at(__FILE__, __LINE__, __func__, #x))

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned plainly(const uint8_t *p, size_t n)
{
    unsigned found = 0;
    for (size_t at = H2_WALK_PREFACE; at + H2_WALK_HEAD <= n;) {
        const size_t bytes = (size_t)(p[at] << 16 | p[at + 1] << 8 | p[at + 2]);
        found += p[at + 3] != 3 && (p[at + 3] != 0 || bytes == 0);
        at += H2_WALK_HEAD + bytes;
    }
    return found;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct h2_walk w;
    unsigned found = 0;
    if (size == 0)
        return 0;
    const size_t step = data[0] + 1u;
    data++;
    size--;
    h2_walk_begin(&w);
    for (size_t at = 0; at < size; at += step) {
        const size_t n = MIN(step, size - at);
        char *piece = malloc(n);
        CHECK(piece != NULL);
        memcpy(piece, data + at, n);
        found += h2_walk(&w, slice_make(piece, n));
        free(piece);
    }
    CHECK(found == plainly(data, size));
    return 0;
}
