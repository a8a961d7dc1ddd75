/* cookies.c: see cookies.h. Pure; any thread.
 *
 * What is left of a Cookie line is put together from its own bytes, "; " between two pairs, as a browser
 * would have sent it, or ';' where the client left no room for more. A pair without '=' is a cookie without a
 * name to some applications and one without a value to others; here its text is its name. */
#include "cache/cookies.h"

bool cookies_next(slice_t *rest, slice_t *name, slice_t *pair)
{
    while (rest->len > 0) {
        size_t end = MIN(slice_find(*rest, ';', 0), rest->len);
        size_t skip = MIN(end + 1, rest->len);
        *pair = slice_trim(slice_make(rest->ptr, end));
        *rest = slice_make(rest->ptr + skip, rest->len - skip);
        if (pair->len == 0)
            continue;
        *name = slice_trim(slice_make(pair->ptr, MIN(slice_find(*pair, '=', 0), pair->len)));
        return true;
    }
    return false;
}

static bool is_removed(slice_t name, const struct config_strings *patterns)
{
    for (size_t i = 0; i < patterns->count; i++) {
        slice_t p = slice_str(patterns->items[i]);
        if (slice_eq(p, SLICE_LIT("all")))
            return true;
        bool prefix = slice_ends(p, SLICE_LIT("*"));
        if (prefix ? slice_starts(name, slice_make(p.ptr, p.len - 1)) : slice_eq(name, p))
            return true;
    }
    return false;
}

/* The pairs that stay, in place. */
static slice_t value_without(slice_t value, const struct config_strings *patterns)
{
    char *to = (char *)(uintptr_t)value.ptr;
    size_t n = 0;
    slice_t rest = value, name, pair;
    while (cookies_next(&rest, &name, &pair)) {
        if (is_removed(name, patterns))
            continue;
        if (n > 0) {
            bool room = (size_t)(pair.ptr - value.ptr) - n >= 2;
            to[n++] = ';';
            if (room)
                to[n++] = ' ';
        }
        memmove(to + n, pair.ptr, pair.len);
        n += pair.len;
    }
    return slice_make(value.ptr, n);
}

void cookies_remove(struct http_head *request, const struct cache_rules *rules)
{
    const struct config_strings *patterns = rules->remove_cookies;
    if (patterns != NULL && patterns->count > 0 && http_head_has(request, HTTP_FIELD_COOKIE))
        cookies_remove_named(request, patterns);
}

void cookies_remove_named(struct http_head *request, const struct config_strings *patterns)
{
    unsigned kept = 0;
    request->present &= ~HTTP_BIT(COOKIE);
    for (unsigned i = 0; i < request->field_count; i++) {
        struct http_field f = request->fields[i];
        if (f.id == HTTP_FIELD_COOKIE) {
            f.value = value_without(f.value, patterns);
            if (f.value.len == 0)
                continue;
            request->present |= HTTP_BIT(COOKIE);
        }
        request->fields[kept++] = f;
    }
    request->field_count = (uint16_t)kept;
}

static bool is_keyed(slice_t name, const struct config_key *key)
{
    for (size_t i = 0; key != NULL && i < key->cookies.count; i++) {
        if (slice_eq(name, slice_str(key->cookies.items[i])))
            return true;
    }
    return false;
}

bool cookies_next_unaccounted(const struct http_head *request, const struct cache_rules *rules,
                              struct cookies_cursor *at, slice_t *name)
{
    slice_t pair;
    for (;;) {
        while (cookies_next(&at->rest, name, &pair)) {
            if (!is_keyed(*name, rules->key.custom))
                return true;
        }
        while (at->field < request->field_count && request->fields[at->field].id != HTTP_FIELD_COOKIE)
            at->field++;
        if (at->field == request->field_count)
            return false;
        at->rest = request->fields[at->field++].value;
    }
}

bool cookies_unaccounted(const struct http_head *request, const struct cache_rules *rules)
{
    struct cookies_cursor at = {0};
    slice_t name;
    return http_head_has(request, HTTP_FIELD_COOKIE) && cookies_next_unaccounted(request, rules, &at, &name);
}
