/* key_parts.c: see key_parts.h. Any thread.
 *
 * Cookies are read as RFC 6265 section 5.4 writes them: pairs between semicolons. A value that begins with a
 * quote may hold semicolons for some applications, so it is taken to the end of the line; and since others
 * see pairs there, so do we, but write them otherwise than where everybody sees one. So more requests are
 * told apart than needed, never fewer. Likewise a cookie whose name some may take for a listed one is there
 * under its own name. */
#include "cache/key_parts.h"

#include "cache/key_fold.h"
#include "cache/key_query.h"
#include "core/text.h"

void cache_key_put_value(struct text *t, slice_t value)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.ptr[i];
        if (c > ' ' && c < 0x7f && c != '%')
            text_put_char(t, (char)c);
        else
            text_put(t, slice_make((const char[]){'%', digits[c >> 4], digits[c & 15]}, 3));
    }
}

/* From the line that Vary would have: "name: value\n", or "name\n" for one that is absent. */
static bool put_field(struct text *t, struct arena *arena, slice_t name, const struct http_head *request,
                      bool *too_long)
{
    if (http_head_find(request, name) == NULL)
        return true;
    slice_t line = cache_vary_key(arena, name, request);
    if (line.ptr == NULL) {
        *too_long = true;
        return false;
    }
    slice_t value = slice_trim(slice_make(line.ptr + name.len + 1, line.len - name.len - 2));
    TEXT_LIT(t, " ");
    text_put(t, name);
    TEXT_LIT(t, "=");
    cache_key_put_value(t, value);
    return true;
}

/* Does a quote begin here that is not plainly closed before the semicolon? */
static bool opens_quote(slice_t value)
{
    if (!slice_starts(value, SLICE_LIT("\"")))
        return false;
    for (size_t i = 1; i < value.len; i++) {
        if (value.ptr[i] == '"' || value.ptr[i] == '\\')
            return value.ptr[i] == '\\' || i + 1 < value.len;
    }
    return true;
}

/* Of the "name=value" up to the next semicolon. */
static void put_pair(struct text *t, slice_t name, slice_t pair, slice_t rest, bool *open)
{
    size_t equals = MIN(slice_find(pair, '=', 0), pair.len), skip = MIN(equals + 1, pair.len);
    slice_t value = slice_make(pair.ptr + skip, pair.len - skip);
    slice_t own_name = slice_trim(slice_make(pair.ptr, equals));
    if (cache_name_compare(own_name, name) == 0) {
        text_put(t, *open ? SLICE_LIT(" cookie:\"") : SLICE_LIT(" cookie:"));
        cache_key_put_value(t, own_name);
        text_put(t, slice_make("=", equals < pair.len));
        bool quoted = slice_starts(value, SLICE_LIT("\""));
        cache_key_put_value(t, quoted ? slice_make(value.ptr, (size_t)(rest.ptr + rest.len - value.ptr))
                                      : value);
    }
    *open = *open || opens_quote(value);
}

static void put_cookie(struct text *t, slice_t name, const struct http_head *request)
{
    bool open = false; /* behind a quote, for some; also in the next line */
    for (unsigned i = 0; i < request->field_count; i++) {
        slice_t rest = request->fields[i].value;
        while (request->fields[i].id == HTTP_FIELD_COOKIE && rest.len > 0) {
            size_t end = MIN(slice_find(rest, ';', 0), rest.len), skip = MIN(end + 1, rest.len);
            put_pair(t, name, slice_trim(slice_make(rest.ptr, end)), rest, &open);
            rest = slice_make(rest.ptr + skip, rest.len - skip);
        }
    }
}

static bool put_parts(struct text *t, struct arena *arena, const struct config_key *key,
                      const struct http_head *request, bool *too_long)
{
    for (size_t i = 0; i < key->headers.count; i++) {
        if (!put_field(t, arena, slice_str(key->headers.items[i]), request, too_long))
            return false;
    }
    for (size_t i = 0; i < key->cookies.count && http_head_has(request, HTTP_FIELD_COOKIE); i++)
        put_cookie(t, slice_str(key->cookies.items[i]), request);
    if (key->device) {
        TEXT_LIT(t, " device:");
        text_put(t, cache_key_device(request));
    }
    if (key->languages.count > 0) {
        TEXT_LIT(t, " language:");
        text_put(t, cache_key_language(request, &key->languages));
    }
    *too_long = t->overflow;
    return !t->overflow;
}

slice_t cache_key_parts(struct arena *arena, const struct cache_key_rules *rules,
                        const struct http_head *request, bool *too_long)
{
    char buf[CACHE_KEY_PARTS_MAX];
    struct text t = text_make(buf, sizeof buf);
    *too_long = false;
    if (rules->custom == NULL)
        return SLICE_EMPTY;
    text_put(&t, cache_key_rules_tag(rules));
    if (!put_parts(&t, arena, rules->custom, request, too_long))
        return (slice_t){NULL, 0};
    return arena_copy(arena, text_slice(&t));
}

bool cache_key_of_request(struct arena *arena, const struct cache_key_rules *rules,
                          const struct cache_url *url, const struct http_head *request, struct cache_key *out,
                          bool *too_long)
{
    slice_t parts = cache_key_parts(arena, rules, request, too_long);
    if (parts.ptr == NULL)
        return false;
    char *buf =
        arena_alloc(arena, cache_key_bound(url->scheme, url->host, url->path, url->query) + parts.len);
    if (buf == NULL)
        return false;
    cache_key_build_by(buf, rules->custom != NULL ? rules->custom : &cache_key_default, url, parts, out);
    return true;
}
