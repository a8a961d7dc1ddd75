/* fuzz_glob.c: a pattern, a newline, a text. Beside memory errors it looks for disagreement with a matcher
 * that tries all states of the pattern at each byte, which is slow and has nothing to get wrong. */
#include <stdlib.h>

#include "cache/glob.h"
#include "core/panic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* at[i]: the first i bytes of the pattern fit what was read. */
static bool by_states(slice_t pattern, slice_t text)
{
    bool *at = calloc(pattern.len + 1, sizeof *at);
    ASSERT(at != NULL);
    at[0] = true;
    for (size_t i = 0; i < pattern.len && pattern.ptr[i] == '*'; i++)
        at[i + 1] = true;
    for (size_t t = 0; t < text.len; t++) {
        for (size_t i = pattern.len; i > 0; i--) {
            char p = pattern.ptr[i - 1];
            at[i] = p == '*' ? at[i] : at[i - 1] && (p == '?' || p == text.ptr[t]);
        }
        at[0] = false;
        for (size_t i = 0; i < pattern.len; i++)
            at[i + 1] = at[i + 1] || (at[i] && pattern.ptr[i] == '*');
    }
    bool fits = at[pattern.len];
    free(at);
    return fits;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    slice_t all = slice_make((const char *)data, size);
    size_t end = slice_find(all, '\n', 0);
    if (end == SIZE_MAX)
        return 0;
    slice_t pattern = slice_make(all.ptr, end), text = slice_make(all.ptr + end + 1, size - end - 1);
    ASSERT(cache_glob_matches(pattern, text) == by_states(pattern, text));
    return 0;
}
