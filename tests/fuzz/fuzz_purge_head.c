/* fuzz_purge_head.c: PURGE and BAN requests from any bytes: a line for the method and the host, one for the
 * target, and one for each "name: value".
 *
 * Looks for: a request that is taken and names nothing; one that is refused without saying why; a text that
 * is not of its kind's form; a listed tag that was lost. */
#include <stdlib.h>

#include "core/panic.h"
#include "proxy/purge_head.h"

#define FIELDS_MAX 32

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static slice_t take_line(slice_t *rest)
{
    size_t end = MIN(slice_find(*rest, '\n', 0), rest->len), skip = MIN(end + 1, rest->len);
    slice_t line = slice_make(rest->ptr, end);
    *rest = slice_make(rest->ptr + skip, rest->len - skip);
    return line;
}

static void read_fields(slice_t rest, struct http_head *head)
{
    while (rest.len > 0 && head->field_count < FIELDS_MAX) {
        slice_t line = take_line(&rest);
        size_t colon = slice_find(line, ':', 0);
        if (colon == SIZE_MAX)
            continue;
        struct http_field *f = &head->fields[head->field_count++];
        f->name = slice_make(line.ptr, colon);
        f->value = slice_trim(slice_make(line.ptr + colon + 1, line.len - colon - 1));
        f->id = http_field_lookup(f->name);
        head->present |= (uint64_t)1 << f->id;
    }
}

static void check(const struct purge_head *in, const struct cache_purge_request *r)
{
    ASSERT(r->count > 0 && r->count <= CACHE_PURGE_ITEMS_MAX);
    for (size_t i = 0; i < r->count; i++) {
        const struct cache_purge *p = &r->items[i];
        ASSERT(p->text.len > 0 || p->kind == CACHE_PURGE_ALL);
        if (slice_eq(p->text, in->keys[0]) || p->kind == CACHE_PURGE_URL_ANY_QUERY)
            continue;
        ASSERT(p->kind != CACHE_PURGE_URL);
        for (size_t k = 0; k < p->text.len; k++)
            ASSERT((unsigned char)p->text.ptr[k] > ' ');
        if (p->kind == CACHE_PURGE_PREFIX || p->kind == CACHE_PURGE_GLOB)
            ASSERT(slice_starts(p->text, SLICE_LIT("http://")));
    }
    for (unsigned i = 0; i < in->request->field_count; i++) {
        const struct http_field *f = &in->request->fields[i];
        if (f->id == HTTP_FIELD_SURROGATE_KEY)
            ASSERT(r->items[0].kind == CACHE_PURGE_TAG);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum http_method methods[] = {HTTP_PURGE, HTTP_BAN, HTTP_PURGEKEYS};
    struct http_field fields[FIELDS_MAX];
    struct http_head head = {.fields = fields};
    struct arena arena;
    struct cache_purge_request r;
    if (size == 0)
        return 0;
    char *copy = malloc(size);
    ASSERT(copy != NULL);
    memcpy(copy, data, size);
    slice_t rest = slice_make(copy + 1, size - 1);
    head.method = (uint8_t)methods[data[0] % ARRAY_LEN(methods)];
    const slice_t key = SLICE_LIT("http://k/?");
    struct purge_head in = {
        .request = &head, .host = take_line(&rest), .query = {NULL, 0}, .keys = &key, .key_count = 1};
    in.path = take_line(&rest);
    size_t mark = slice_find(in.path, '?', 0);
    if (mark != SIZE_MAX) {
        in.query = slice_make(in.path.ptr + mark + 1, in.path.len - mark - 1);
        in.path.len = mark;
    }
    read_fields(rest, &head);
    arena_init(&arena, NULL, 0, 64 * size + 64 * KB);
    cache_purge_request_init(&r, &arena);
    if (purge_head_read(&in, &r))
        check(&in, &r);
    else
        ASSERT(r.problem != NULL && r.hint != NULL);
    arena_reset(&arena);
    free(copy);
    return 0;
}
