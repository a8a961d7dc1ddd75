/* fuzz_purge_text.c: what people name to be purged, from any bytes. The first byte is the kind.
 *
 * Beside memory errors it looks for broken promises of purge_request.h: what is taken has the form that
 * purge.h wants and stays the same when it is read again; what is refused says why. As a regular expression,
 * the text has a glob that a path which is the text itself matches, if nothing in it is special. */
#include <stdlib.h>

#include "cache/purge_pattern.h"
#include "cache/purge_request.h"
#include "core/panic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_form(const struct cache_purge *p)
{
    for (size_t i = 0; i < p->text.len; i++)
        ASSERT((unsigned char)p->text.ptr[i] > ' ' && p->text.ptr[i] != 0x7f);
    switch (p->kind) {
    case CACHE_PURGE_URL:
    case CACHE_PURGE_URL_ANY_QUERY:
    case CACHE_PURGE_PREFIX:
        ASSERT(slice_starts(p->text, SLICE_LIT("http://")) && slice_find(p->text, '/', 7) > 7);
        break;
    case CACHE_PURGE_GLOB:
        ASSERT(slice_starts(p->text, SLICE_LIT("http://")) || slice_starts(p->text, SLICE_LIT("*")));
        break;
    case CACHE_PURGE_HOST:
        ASSERT(slice_find(p->text, '/', 0) == SIZE_MAX && slice_find(p->text, '*', 0) == SIZE_MAX);
        break;
    case CACHE_PURGE_TAG:
        break;
    case CACHE_PURGE_ALL:
        ASSERT(p->text.len == 0);
        return;
    }
    ASSERT(p->text.len > 0);
}

static void check_again(struct arena *arena, const struct cache_purge *p)
{
    struct cache_purge_request again;
    cache_purge_request_init(&again, arena);
    enum cache_purge_kind kind = p->kind == CACHE_PURGE_URL_ANY_QUERY ? CACHE_PURGE_URL : p->kind;
    ASSERT(cache_purge_request_add(&again, kind, p->text));
    ASSERT(slice_eq(again.items[0].text, p->text));
}

static bool is_plain(slice_t s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = ascii_lower(s.ptr[i]);
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '/' || c == '-'))
            return false;
    }
    return s.len > 0;
}

static void check_pattern(struct arena *arena, slice_t text)
{
    struct cache_purge_pattern p;
    bool ok = cache_purge_pattern_from_regex(arena, text, &p);
    ASSERT(!ok || p.glob.ptr != NULL);
    if (!is_plain(text))
        return;
    ASSERT(ok && !p.anchored && p.glob.len == text.len + 1 && slice_starts(p.glob, text));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    struct cache_purge_request r;
    if (size == 0)
        return 0;
    char *copy = malloc(size);
    ASSERT(copy != NULL);
    memcpy(copy, data, size);
    slice_t text = slice_make(copy + 1, size - 1);
    arena_init(&arena, NULL, 0, 16 * size + 64 * KB);
    cache_purge_request_init(&r, &arena);
    r.any_query = (data[0] & 8) != 0;
    bool ok = cache_purge_request_add(&r, (enum cache_purge_kind)(data[0] % (CACHE_PURGE_ALL + 1)), text);
    ASSERT(ok == (r.count > 0) && ok == (r.problem == NULL) && ok == (r.hint == NULL));
    for (size_t i = 0; i < r.count; i++) {
        check_form(&r.items[i]);
        check_again(&arena, &r.items[i]);
    }
    check_pattern(&arena, text);
    slice_t host = cache_purge_host_from_regex(&arena, text);
    if (host.ptr != NULL && host.ptr[0] != '*')
        ASSERT(cache_purge_request_add(&r, CACHE_PURGE_HOST, host));
    arena_reset(&arena);
    free(copy);
    return 0;
}
