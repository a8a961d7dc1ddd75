/* fuzz_tags.c: lines of a response, "name: value" each, the first byte choosing what they are taken for.
 *
 * Beside memory errors it looks for broken promises of tags.h: every tag is followed by one space and has
 * none inside, the fields' shares add up, the limits hold, and tags that a 304 does not mention stay as they
 * were. */
#include <stdlib.h>

#include "cache/tags.h"
#include "core/http_msg.h"
#include "core/panic.h"

#define FIELDS_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct cache_tags *t)
{
    size_t of_fields = 0, count = 0;
    for (unsigned f = 0; f < CACHE_TAG_FIELDS; f++)
        of_fields += t->bytes[f];
    ASSERT(of_fields <= t->text.len && t->text.len <= CACHE_TAGS_BYTES_MAX);
    for (size_t i = 0, end; i < t->text.len; i = end + 1) {
        end = slice_find(t->text, ' ', i);
        ASSERT(end != SIZE_MAX && end > i);
        count++;
    }
    ASSERT(count <= CACHE_TAGS_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_field fields[FIELDS_MAX];
    struct http_head head = {.fields = fields, .status = 200};
    static const struct http_head nothing = {.status = 304};
    struct arena arena;
    arena_init(&arena, NULL, 0, 1 * MB);
    slice_t rest = slice_make((const char *)data, size);
    while (rest.len > 0 && head.field_count < FIELDS_MAX) {
        size_t end = MIN(slice_find(rest, '\n', 0), rest.len), colon = slice_find(rest, ':', 0);
        if (colon < end && colon > 0) {
            struct http_field *f = &fields[head.field_count++];
            f->name = slice_make(rest.ptr, colon);
            f->value = slice_trim(slice_make(rest.ptr + colon + 1, end - colon - 1));
            f->id = (uint8_t)http_field_lookup(f->name);
            head.present |= f->id != 0 ? UINT64_C(1) << f->id : 0;
        }
        size_t skip = MIN(end + 1, rest.len);
        rest = slice_make(rest.ptr + skip, rest.len - skip);
    }
    struct cache_tags tags, again;
    struct cache_tags_from from = {.response = &head, .groups = &head, .key = SLICE_LIT("http://h/")};
    if (cache_tags_collect(&arena, &from, &tags) == NO_STORE_STORED) {
        check(&tags);
        ASSERT(cache_tags_field_lines(&arena, &tags).ptr != NULL);
        from = (struct cache_tags_from){.response = &nothing, .groups = &head, .key = from.key, .old = &tags};
        ASSERT(cache_tags_collect(&arena, &from, &again) == NO_STORE_STORED);
        check(&again);
        ASSERT(slice_eq(tags.text, again.text));
    }
    cache_tags_of_groups(&arena, &head, SLICE_LIT("Cache-Group-Invalidation"), from.key);
    arena_reset(&arena);
    return 0;
}
