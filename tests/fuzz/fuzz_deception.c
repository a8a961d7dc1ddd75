/* fuzz_deception.c: a path, and behind a line feed a Content-Type, from any bytes.
 *
 * Beside memory errors it looks for broken promises of deception.h: a page fits no path that ends in .css,
 * however what is before it looks, and what a plain route lets through is no less than what one by extension
 * does. */
#include <stdlib.h>

#include "cache/deception.h"
#include "core/panic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + sizeof ".css");
    if (text == NULL)
        return 0;
    memcpy(text, data, size);
    char *line = memchr(text, '\n', size);
    slice_t path = slice_make(text, line != NULL ? (size_t)(line - text) : size);
    slice_t type = line != NULL ? slice_make(line + 1, size - path.len - 1) : SLICE_EMPTY;
    bool fits = deception_type_fits(path, type, false);
    if (deception_type_fits(path, type, true))
        ASSERT(fits);
    deception_path_is_ambiguous(path);
    memcpy(text + path.len, ".css", 4);
    ASSERT(!deception_type_fits(slice_make(text, path.len + 4), SLICE_LIT("text/html"), false));
    free(text);
    return 0;
}
