/* fuzz_stream_entry.c: an entry of the stream from any bytes: texts with a line feed behind each, or (first
 * byte 0) in the form that lies on disk.
 *
 * Beside memory errors it looks for broken promises of stream_entry.h: what is understood has one to 256
 * valid things to purge, or starts a stream; written and read again, also through the form on disk, it is the
 * same; remarks change nothing; an id that is understood is printed as it was. */
#include <stdlib.h>

#include "cache/stream_entry.h"
#include "cache/stream_id.h"
#include "core/panic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_same(const struct cache_stream_entry *a, const struct cache_stream_entry *b)
{
    ASSERT(cache_stream_origin_eq(a->by, b->by) && a->start == b->start && a->count == b->count);
    for (size_t i = 0; i < a->count; i++)
        ASSERT(a->items[i].kind == b->items[i].kind && a->items[i].soft == b->items[i].soft &&
               slice_eq(a->items[i].text, b->items[i].text));
}

static void check_entry(const struct cache_stream_entry *e)
{
    static struct cache_stream_fields f, unpacked;
    static struct cache_stream_entry again;
    ASSERT(e->start ? e->count == 0 : e->count >= 1 && e->count <= CACHE_STREAM_ITEMS_MAX);
    for (size_t i = 0; i < e->count; i++)
        ASSERT(cache_purge_problem(&e->items[i]) == NULL);
    cache_stream_entry_encode(e, &f);
    ASSERT(cache_stream_entry_decode(f.texts, f.count, &again) == CACHE_STREAM_FAULT_NONE);
    check_same(e, &again);
    size_t bytes = cache_stream_fields_bytes(&f);
    char *packed = malloc(bytes);
    ASSERT(packed != NULL);
    cache_stream_fields_pack(&f, packed);
    ASSERT(cache_stream_fields_unpack(slice_make(packed, bytes), &unpacked));
    ASSERT(cache_stream_entry_decode(unpacked.texts, unpacked.count, &again) == CACHE_STREAM_FAULT_NONE);
    check_same(e, &again);
    free(packed);
    if (f.count + 2 <= CACHE_STREAM_TEXTS_MAX) {
        f.texts[f.count++] = SLICE_LIT("x-who");
        f.texts[f.count++] = SLICE_LIT("user 0\n");
        ASSERT(cache_stream_entry_decode(f.texts, f.count, &again) == CACHE_STREAM_FAULT_NONE);
        check_same(e, &again);
    }
}

static void check_id(slice_t text)
{
    struct cache_stream_id id;
    char buf[CACHE_STREAM_ID_TEXT];
    if (cache_stream_id_parse(text, &id))
        ASSERT(slice_eq(cache_stream_id_print(buf, id), text));
}

static size_t split_lines(slice_t bytes, slice_t *texts, size_t max)
{
    size_t count = 0;
    for (size_t end; count < max && (end = slice_find(bytes, '\n', 0)) != SIZE_MAX; count++) {
        texts[count] = slice_make(bytes.ptr, end);
        bytes = slice_make(bytes.ptr + end + 1, bytes.len - end - 1);
    }
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct cache_stream_fields f;
    static slice_t texts[1024];
    static struct cache_stream_entry e;
    char *copy = malloc(size + 1);
    ASSERT(copy != NULL);
    if (size > 0)
        memcpy(copy, data, size);
    slice_t bytes = slice_make(copy, size);
    check_id(bytes);
    if (size > 0 && data[0] == 0) {
        if (cache_stream_fields_unpack(slice_make(copy + 1, size - 1), &f) &&
            cache_stream_entry_decode(f.texts, f.count, &e) == CACHE_STREAM_FAULT_NONE)
            check_entry(&e);
    } else {
        size_t count = split_lines(bytes, texts, ARRAY_LEN(texts));
        if (cache_stream_entry_decode(texts, count, &e) == CACHE_STREAM_FAULT_NONE)
            check_entry(&e);
    }
    free(copy);
    return 0;
}
