/* fuzz_route_path.c: paths as routes are matched against them. Whatever comes in, what comes out has no empty
 * and no dot segment, begins with a slash and is not longer; a plain path comes back as it is. */
#include <stdlib.h>

#include "core/arena.h"
#include "core/panic.h"
#include "proxy/snapshot.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_segments(slice_t path)
{
    for (size_t i = 0; i < path.len; i++) {
        if (path.ptr[i] != '/')
            continue;
        slice_t rest = slice_make(path.ptr + i + 1, path.len - i - 1);
        size_t end = slice_find(rest, '/', 0);
        slice_t segment = slice_make(rest.ptr, end == SIZE_MAX ? rest.len : end);
        ASSERT(segment.len > 0 || end == SIZE_MAX);
        ASSERT(!slice_eq(segment, SLICE_LIT(".")) && !slice_eq(segment, SLICE_LIT("..")));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1); /* exactly as long, so that reading beyond it is seen */
    struct arena a;
    if (text == NULL)
        return 0;
    text[0] = '/';
    memcpy(text + 1, data, size);
    slice_t path = slice_make(text, size + 1);
    arena_init(&a, NULL, 0, 1 * MB);
    slice_t out = route_path_normalise(&a, path);
    if (out.ptr != NULL) {
        ASSERT(out.len > 0 && out.len <= path.len && out.ptr[0] == '/');
        check_segments(out);
    }
    arena_reset(&a);
    free(text);
    return 0;
}
