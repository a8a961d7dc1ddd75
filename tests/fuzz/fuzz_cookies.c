/* fuzz_cookies.c: a Cookie value, and behind a line feed the names to remove, from any bytes.
 *
 * Beside memory errors it looks for broken promises of cookies.h: what is left is no longer than what was
 * there, has none of the names, has as many pairs as were not named, and is left alone by a second go. */
#include <stdlib.h>

#include "cache/cookies.h"
#include "core/panic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PATTERNS_MAX 8

static bool names(const struct config_strings *patterns, slice_t name)
{
    for (size_t i = 0; i < patterns->count; i++) {
        slice_t p = slice_str(patterns->items[i]);
        if (slice_eq(p, SLICE_LIT("all")) || slice_eq(p, name) ||
            (slice_ends(p, SLICE_LIT("*")) && slice_starts(name, slice_make(p.ptr, p.len - 1))))
            return true;
    }
    return false;
}

static size_t count_pairs(slice_t value, const struct config_strings *patterns, bool named)
{
    slice_t name, pair;
    size_t n = 0;
    while (cookies_next(&value, &name, &pair))
        n += names(patterns, name) == named;
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *items[PATTERNS_MAX];
    struct config_strings patterns = {.items = items};
    const struct cache_rules rules = {.remove_cookies = &patterns};
    char *text = malloc(size + 1);
    if (text == NULL)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    char *list = memchr(text, '\n', size);
    size_t bytes = list != NULL ? (size_t)(list - text) : size;
    char *value = malloc(bytes > 0 ? bytes : 1);
    ASSERT(value != NULL);
    memcpy(value, text, bytes);
    for (char *p = list != NULL ? strtok(list + 1, "\n") : NULL; p != NULL && patterns.count < PATTERNS_MAX;
         p = strtok(NULL, "\n"))
        items[patterns.count++] = p;
    struct http_field field = {SLICE_LIT("Cookie"), slice_make(value, bytes), HTTP_FIELD_COOKIE};
    struct http_head head = {.present = HTTP_BIT(COOKIE), .fields = &field, .field_count = 1};
    size_t kept = count_pairs(field.value, &patterns, false);
    cookies_remove(&head, &rules);
    ASSERT(head.field_count <= 1 && (head.field_count == 1) == http_head_has(&head, HTTP_FIELD_COOKIE));
    if (patterns.count > 0)
        ASSERT((head.field_count == 1) == (kept > 0));
    if (head.field_count == 1 && patterns.count > 0) {
        ASSERT(field.value.len <= bytes && field.value.ptr == value);
        ASSERT(count_pairs(field.value, &patterns, true) == 0);
        ASSERT(count_pairs(field.value, &patterns, false) == kept);
        size_t before = field.value.len;
        cookies_remove(&head, &rules);
        ASSERT(head.field_count == 1 && field.value.len == before);
    }
    free(value);
    free(text);
    return 0;
}
