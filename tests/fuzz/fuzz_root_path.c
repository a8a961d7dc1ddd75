/* fuzz_root_path.c: paths of URLs as names of files. None leads out of the folder or to a hidden file. */
#include <stdlib.h>

#include "core/panic.h"
#include "proxy/root_path.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char out[ROOT_PATH_BYTES], *text = malloc(size + 1);
    if (text == NULL)
        return 0;
    text[0] = '/';
    if (size > 0)
        memcpy(text + 1, data, size);
    if (root_path_map(slice_make(text, size + 1), out)) {
        ASSERT(strlen(out) < sizeof out && out[0] != '/' && out[0] != '\0');
        ASSERT(strstr(out, "//") == NULL && strstr(out, "/.") == NULL && strchr(out, '\\') == NULL);
        ASSERT(out[0] != '.' || strncmp(out, ".well-known", 11) == 0);
        ASSERT(strlen(root_path_type(slice_str(out))) > 0);
    }
    free(text);
    return 0;
}
