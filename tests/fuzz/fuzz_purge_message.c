/* fuzz_purge_message.c: what applications publish, from any bytes.
 *
 * Beside memory errors it looks for broken promises of purge_message.h and the stream: what is taken names
 * one to 256 valid things, and goes through an entry of the stream as it is; what is refused says why. */
#include <stdlib.h>

#include "cache/purge_message.h"
#include "cache/stream_entry.h"
#include "core/panic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_entry(const struct cache_purge_request *r)
{
    static struct cache_stream_entry e, again;
    static struct cache_stream_fields f;
    e = (struct cache_stream_entry){.by = {1, 2}, .count = r->count};
    memcpy(e.items, r->items, r->count * sizeof r->items[0]);
    cache_stream_entry_encode(&e, &f);
    ASSERT(cache_stream_entry_decode(f.texts, f.count, &again) == CACHE_STREAM_FAULT_NONE);
    ASSERT(again.count == r->count);
    for (size_t i = 0; i < r->count; i++)
        ASSERT(again.items[i].kind == r->items[i].kind && slice_eq(again.items[i].text, r->items[i].text));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct cache_purge_request r;
    struct arena arena;
    char *copy = malloc(size + 1);
    ASSERT(copy != NULL);
    if (size > 0)
        memcpy(copy, data, size);
    arena_init(&arena, NULL, 0, 16 * size + 64 * KB);
    cache_purge_request_init(&r, &arena);
    if (cache_purge_request_add_message(&r, slice_make(copy, size))) {
        ASSERT(r.count >= 1 && r.count <= CACHE_PURGE_ITEMS_MAX && r.problem == NULL);
        bool valid = true;
        for (size_t i = 0; i < r.count; i++)
            valid = valid && cache_purge_problem(&r.items[i]) == NULL;
        if (valid) /* a pattern that is too long is refused by the purge */
            check_entry(&r);
    } else {
        ASSERT(r.problem != NULL && r.hint != NULL);
    }
    arena_reset(&arena);
    free(copy);
    return 0;
}
