/* fuzz_cache_key.c: cache keys from any URL, by several rules, and secondary keys from any Vary. The input is
 * a URL up to the first line feed; after it, one "Name: value" per line, where the values of Vary are the
 * response's and the rest the request's.
 *
 * Looks for: a key beyond its announced bound; a key text that is not its own key (normalising is
 * idempotent, by whatever rules); parts that do not give the key of the URL they are from; secondary keys and
 * further parts that are too large, or that could be taken for others (a space or control character in
 * them); an invented device or language. */
#include <stdlib.h>

#include "cache/key.h"
#include "cache/key_fold.h"
#include "cache/key_parts.h"
#include "core/panic.h"

#define FIELDS_MAX 32

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static slice_t skip_bytes(slice_t s, size_t n)
{
    return slice_make(s.ptr + n, s.len - n);
}

/* The buffer has exactly the announced size, so that AddressSanitizer sees one byte more. */
static void check_build(slice_t url, const struct cache_key *want)
{
    bool tls = ascii_lower(url.ptr[4]) == 's';
    slice_t scheme = slice_make(url.ptr, tls ? 5 : 4);
    slice_t rest = skip_bytes(url, scheme.len + 3), query = {NULL, 0};
    rest.len = MIN(slice_find(rest, '#', 0), rest.len);
    size_t mark = slice_find(rest, '?', 0);
    if (mark != SIZE_MAX) {
        query = skip_bytes(rest, mark + 1);
        rest.len = mark;
    }
    size_t slash = MIN(slice_find(rest, '/', 0), rest.len);
    slice_t host = slice_make(rest.ptr, slash), path = skip_bytes(rest, slash);
    size_t bound = cache_key_bound(scheme, host, path, query);
    char *buf = malloc(bound);
    ASSERT(buf != NULL);
    struct cache_key key;
    cache_key_build(buf, scheme, host, path, query, &key);
    ASSERT(key.text.len <= bound);
    ASSERT(slice_eq(key.text, want->text) && hash_eq(key.hash, want->hash));
    free(buf);
}

static struct config_key_param params[] = {{"utm_", 4, true}, {"a", 1, false}, {"x_y", 3, false}};
static const char *names[] = {"x-a", "accept-language", "cookie"}, *cookies[] = {"a", "theme"},
                  *languages[] = {"en", "de", "pt-BR"};

static const struct config_route routes[] = {
    {.key = {.query = CONFIG_QUERY_ALL, .sort = false}},
    {.key = {.query = CONFIG_QUERY_NONE, .sort = true}},
    {.key = {.query = CONFIG_QUERY_ONLY, .sort = true, .params = params, .param_count = 3}},
    {.key = {.query = CONFIG_QUERY_EXCEPT, .sort = true, .params = params, .param_count = 3}},
    {.key = {.sort = true,
             .headers = {names, 3},
             .cookies = {cookies, 2},
             .device = true,
             .languages = {languages, 3}}},
};

/* A key by these rules is its own key by them. */
static void check_rules(struct arena *arena, slice_t text)
{
    struct cache_url url, again_url;
    struct cache_key key, again;
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        const struct config_key *rules = &routes[i].key;
        if (!cache_url_split(text, &url) || !cache_key_of_url(arena, rules, &url, &key))
            return;
        ASSERT(slice_eq(cache_key_url(key.text), key.text));
        ASSERT(cache_url_split(key.text, &again_url) && cache_key_of_url(arena, rules, &again_url, &again));
        ASSERT(slice_eq(key.text, again.text));
    }
}

static void check_parts(struct arena *arena, const struct http_head *head)
{
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        struct cache_key_rules rules;
        bool too_long, star;
        cache_key_rules_make(&routes[i], &rules);
        slice_t parts = cache_key_parts(arena, &rules, head, &too_long);
        if (parts.ptr == NULL)
            continue;
        ASSERT(!too_long && parts.len <= CACHE_KEY_PARTS_MAX && slice_starts(parts, SLICE_LIT(" rules:")));
        for (size_t k = 0; k < parts.len; k++) {
            ASSERT((unsigned char)parts.ptr[k] >= ' ' && (unsigned char)parts.ptr[k] < 0x7f);
            ASSERT(parts.ptr[k] != ' ' || (k + 1 < parts.len && parts.ptr[k + 1] != ' '));
        }
        cache_vary_names(arena, cache_key_rules_vary(arena, &rules, head), &star);
    }
    slice_t device = cache_key_device(head);
    ASSERT(slice_eq(device, SLICE_LIT("mobile")) || slice_eq(device, SLICE_LIT("tablet")) ||
           slice_eq(device, SLICE_LIT("desktop")));
    slice_t language = cache_key_language(head, &routes[ARRAY_LEN(routes) - 1].key.languages);
    ASSERT(language.ptr == languages[0] || language.ptr == languages[1] || language.ptr == languages[2]);
}

static void check_url(struct arena *arena, slice_t url)
{
    struct cache_key key, again;
    if (!cache_key_from_url(arena, url, &key))
        return;
    check_build(url, &key);
    ASSERT(cache_key_from_url(arena, key.text, &again));
    ASSERT(slice_eq(key.text, again.text) && hash_eq(key.hash, again.hash));
    check_rules(arena, url);
}

static void check_vary(struct arena *arena, const struct http_head *head)
{
    bool star;
    slice_t names = cache_vary_names(arena, head, &star);
    if (names.ptr == NULL)
        return;
    ASSERT(!star);
    slice_t key = cache_vary_key(arena, names, head);
    slice_t twice = cache_vary_key(arena, names, head);
    ASSERT((key.ptr == NULL) == (twice.ptr == NULL));
    if (key.ptr == NULL)
        return;
    ASSERT(key.len <= CACHE_VARY_MAX_BYTES && slice_eq(key, twice));
    ASSERT((names.len == 0) == (key.len == 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_field fields[FIELDS_MAX];
    struct http_head head = {.fields = fields};
    struct arena arena;
    slice_t rest = slice_make((const char *)data, size);
    bool first = true;
    arena_init(&arena, NULL, 0, 1 * MB);
    while (rest.len > 0 && head.field_count < FIELDS_MAX) {
        size_t end = MIN(slice_find(rest, '\n', 0), rest.len);
        slice_t line = slice_make(rest.ptr, end);
        rest = skip_bytes(rest, MIN(end + 1, rest.len));
        if (first) {
            check_url(&arena, line);
            first = false;
            continue;
        }
        size_t colon = slice_find(line, ':', 0);
        if (colon == SIZE_MAX)
            continue;
        struct http_field *f = &fields[head.field_count++];
        f->name = slice_make(line.ptr, colon);
        f->value = slice_trim(skip_bytes(line, colon + 1));
        f->id = (uint8_t)http_field_lookup(f->name);
        head.present |= (uint64_t)1 << f->id;
    }
    check_vary(&arena, &head);
    check_parts(&arena, &head);
    arena_reset(&arena);
    return 0;
}
