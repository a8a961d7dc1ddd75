/* purge_pattern.c: see purge_pattern.h. Pure; any thread; memory is the caller's.
 *
 * Applications that were built for a cache with a ban language send regular expressions, but nearly all of
 * them say "begins with", "ends with" or "everything". Those are globs in another spelling. Rejected: a real
 * engine for regular expressions. Each event would be matched against stored keys, which a pattern from
 * outside could make as slow as it likes. */
#include "cache/purge_pattern.h"

#include "core/http_field.h"
#include "core/text.h"

static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z');
}

static bool is_special(char c)
{
    return c != '\0' && strchr("[](){}|+?*^$\\", c) != NULL;
}

/* One item of the expression from *at on, as glob. */
static bool put_item(struct text *t, slice_t regex, size_t *at)
{
    char c = regex.ptr[(*at)++];
    char next = *at < regex.len ? regex.ptr[*at] : '\0';
    if (c == '.' && next == '*') {
        (*at)++;
        if (t->at == t->start || t->at[-1] != '*')
            text_put_char(t, '*');
    } else if (c == '.' && next == '+') {
        (*at)++;
        TEXT_LIT(t, "?*");
    } else if (c == '.') {
        text_put_char(t, '?');
    } else if (c == '\\' && next > ' ' && next < 0x7f && !is_alnum(next)) {
        (*at)++;
        text_put_char(t, next == '*' ? '?' : next);
    } else {
        text_put_char(t, c);
        return !is_special(c);
    }
    return true;
}

/* Takes `$` from the end, unless it is escaped. */
static bool take_end(slice_t *regex)
{
    size_t escapes = 0;
    if (!slice_ends(*regex, SLICE_LIT("$")))
        return false;
    while (escapes + 1 < regex->len && regex->ptr[regex->len - 2 - escapes] == '\\')
        escapes++;
    if (escapes % 2 != 0)
        return false;
    regex->len--;
    return true;
}

bool cache_purge_pattern_from_regex(struct arena *arena, slice_t regex, struct cache_purge_pattern *out)
{
    *out = (struct cache_purge_pattern){.anchored = slice_starts(regex, SLICE_LIT("^"))};
    if (out->anchored)
        regex = slice_make(regex.ptr + 1, regex.len - 1);
    bool ends = take_end(&regex);
    size_t room = regex.len + 2;
    char *buf = arena_alloc(arena, room);
    if (buf == NULL)
        return true;
    struct text t = text_make(buf, room);
    for (size_t at = 0; at < regex.len;) {
        if (!put_item(&t, regex, &at))
            return false;
    }
    if (!ends && (t.at == t.start || t.at[-1] != '*'))
        text_put_char(&t, '*');
    out->glob = text_slice(&t);
    if (slice_starts(out->glob, SLICE_LIT("*"))) {
        out->anchored = false;
        out->glob = slice_make(out->glob.ptr + 1, out->glob.len - 1);
    }
    return true;
}

slice_t cache_purge_host_from_regex(struct arena *arena, slice_t regex)
{
    const slice_t none = {NULL, 0};
    if (slice_starts(regex, SLICE_LIT("^")))
        regex = slice_make(regex.ptr + 1, regex.len - 1);
    take_end(&regex);
    if (regex.len == 0 || slice_eq(regex, SLICE_LIT(".*")))
        return SLICE_LIT("*");
    char *buf = arena_alloc(arena, regex.len);
    if (buf == NULL)
        return none;
    struct text t = text_make(buf, regex.len);
    for (size_t i = 0; i < regex.len; i++) {
        if (regex.ptr[i] != '\\')
            text_put_char(&t, regex.ptr[i]);
        else if (i + 1 == regex.len || (regex.ptr[i + 1] != '.' && regex.ptr[i + 1] != '-'))
            return none;
    }
    slice_t host = text_slice(&t);
    for (size_t i = 0; i < host.len; i++) {
        if (!is_alnum(host.ptr[i]) && strchr("-._:", host.ptr[i]) == NULL)
            return none;
    }
    return http_host_is_valid(host) ? host : none;
}
