/* fuzz_no_vary.c: No-Vary-Search from any bytes, and keys by what it states. The input is one line with a
 * URL's query, then one field value per line.
 *
 * Beside memory errors it looks for broken promises of no_vary.h: a rule's text is one word, in bounds, and
 * reads as the rule that it was made of; a key by a rule begins with the path, holds the rule where purges
 * look for it, has no blank but in front of its parts, keeps parts of the route, and is its own key. */
#include "cache/no_vary.h"
#include "core/panic.h"

#define LINES_MAX 8
#define PAGE      "http://h/p"
#define PARTS     " rules:0"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static slice_t next_line(slice_t *rest)
{
    size_t end = MIN(slice_find(*rest, '\n', 0), rest->len), skip = MIN(end + 1, rest->len);
    slice_t line = slice_make(rest->ptr, end);
    *rest = slice_make(rest->ptr + skip, rest->len - skip);
    return line;
}

static bool is_word(slice_t s)
{
    for (size_t i = 0; i < s.len; i++) {
        if ((unsigned char)s.ptr[i] <= ' ' || (unsigned char)s.ptr[i] >= 0x7f)
            return false;
    }
    return true;
}

static void check_key(struct arena *arena, const struct no_vary_rule *rule, slice_t query)
{
    struct cache_key key, again;
    slice_t plain = arena_printf(arena, PAGE "?" SLICE_FMT PARTS, SLICE_ARG(query));
    ASSERT(cache_no_vary_key(arena, rule, plain, &key));
    slice_t url = cache_key_url(key.text);
    ASSERT(slice_starts(url, SLICE_LIT(PAGE)) && is_word(url));
    ASSERT(url.len == strlen(PAGE) || url.ptr[strlen(PAGE)] == '?');
    ASSERT(cache_no_vary_is_part_of(key.text, url));
    ASSERT(slice_ends(key.text, SLICE_LIT(PARTS)));
    ASSERT(key.text.len == url.len + rule->text.len + strlen(PARTS));
    slice_t as_plain = arena_printf(arena, SLICE_FMT PARTS, SLICE_ARG(url));
    ASSERT(cache_no_vary_key(arena, rule, as_plain, &again));
    ASSERT(slice_eq(key.text, again.text) && hash_eq(key.hash, again.hash));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_field fields[LINES_MAX];
    struct http_head head = {.fields = fields, .status = 200};
    struct no_vary_rule rule;
    struct arena arena;
    slice_t rest = slice_make((const char *)data, size), query = next_line(&rest);
    arena_init(&arena, NULL, 0, 4 * MB);
    while (rest.len > 0 && head.field_count < LINES_MAX) {
        fields[head.field_count++] =
            (struct http_field){SLICE_LIT("no-vary-search"), next_line(&rest), HTTP_FIELD_NO_VARY_SEARCH};
        head.present = HTTP_BIT(NO_VARY_SEARCH);
    }
    slice_t text = cache_no_vary_parse(&arena, &head);
    if (text.len > 0) {
        ASSERT(text.len <= NO_VARY_TEXT_MAX && slice_starts(text, NO_VARY_PART));
        ASSERT(is_word(slice_make(text.ptr + 1, text.len - 1)));
        cache_no_vary_read(text, &rule);
        ASSERT(slice_eq(rule.text, text));
        ASSERT(rule.key.sort || rule.key.query != CONFIG_QUERY_ALL);
        ASSERT(rule.key.query == CONFIG_QUERY_ALL || rule.key.query == CONFIG_QUERY_NONE ||
               rule.key.param_count > 0);
        if (is_word(query) && slice_find(query, '#', 0) == SIZE_MAX && query.len < 8192)
            check_key(&arena, &rule, query);
    }
    arena_reset(&arena);
    return 0;
}
