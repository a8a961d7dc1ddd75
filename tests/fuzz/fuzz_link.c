/* fuzz_link.c: Link from any bytes.
 *
 * Beside memory errors it looks for broken promises of link_field.h: links lie in the value, behind each
 * other, each is one by itself with the same `rel`, and empty elements of the list say nothing. */
#include <stdlib.h>

#include "core/link_field.h"
#include "core/panic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_alone(const struct link_value *l)
{
    struct link_value alone;
    slice_t rest = l->text;
    ASSERT(link_next(&rest, &alone) && rest.len == 0);
    ASSERT(slice_eq(alone.text, l->text) && slice_eq(alone.rel, l->rel));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *padded = malloc(size + 2);
    if (padded == NULL)
        return 0;
    memcpy(padded, ", ", 2);
    if (size > 0)
        memcpy(padded + 2, data, size);
    slice_t rest = slice_make(padded + 2, size), other = slice_make(padded, size + 2);
    struct link_value l, same;
    const char *behind = rest.ptr;
    while (link_next(&rest, &l)) {
        ASSERT(l.text.len >= 2 && l.text.ptr >= behind && l.text.ptr + l.text.len <= rest.ptr);
        ASSERT(l.rel.len == 0 || (l.rel.ptr > l.text.ptr && l.rel.ptr + l.rel.len <= rest.ptr));
        ASSERT(link_next(&other, &same) && slice_eq(l.text, same.text));
        check_alone(&l);
        link_rel_has(l.rel, SLICE_LIT("preload"));
        behind = rest.ptr;
    }
    ASSERT(!link_next(&other, &same));
    free(padded);
    return 0;
}
