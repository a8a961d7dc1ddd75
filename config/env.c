/* env.c: environment variables in values. What a variable holds is taken as it is: it is not expanded again
 * and can not begin a comment, but control characters are refused, since no line of the file could hold them
 * either. */
#include <stdio.h>
#include <stdlib.h>

#include "config/source.h"

#define ENV_NAME_MAX 128

static bool env_name_ok(slice_t name)
{
    if (name.len == 0 || name.len > ENV_NAME_MAX || (name.ptr[0] >= '0' && name.ptr[0] <= '9'))
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = ascii_lower(name.ptr[i]);
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'))
            return false;
    }
    return true;
}

static bool env_has_control(slice_t s)
{
    for (size_t i = 0; i < s.len; i++) {
        if ((unsigned char)s.ptr[i] < 0x20 || s.ptr[i] == 0x7f)
            return true;
    }
    return false;
}

static const char *env_wrong(struct source *s, const char *fmt, slice_t text)
{
    const char *wrong = arena_printf(s->arena, fmt, PROBLEM_TEXT(text), PROBLEM_TEXT(text)).ptr;
    return wrong == NULL ? "memory is short; try again" : wrong;
}

/* `inside` is what stands between the braces. */
static const char *env_lookup(struct source *s, slice_t inside, slice_t *out)
{
    slice_t name = inside, fallback = {NULL, 0};
    for (size_t i = 0; i + 1 < inside.len; i++) {
        if (inside.ptr[i] == ':' && inside.ptr[i + 1] == '-') {
            name.len = i;
            fallback = slice_make(inside.ptr + i + 2, inside.len - i - 2);
            break;
        }
    }
    *out = SLICE_EMPTY;
    if (!env_name_ok(name))
        return env_wrong(s, "\"${%.*s}\" names no environment variable; write ${NAME} or ${NAME:-default}",
                         inside);
    char text[ENV_NAME_MAX + 1];
    memcpy(text, name.ptr, name.len);
    text[name.len] = '\0';
    const char *value = getenv(text);
    if ((value == NULL || *value == '\0') && fallback.ptr != NULL) {
        *out = fallback;
        return NULL;
    }
    if (value == NULL)
        return env_wrong(
            s, "the environment variable %.*s is not set; set it, or give a default as in ${%.*s:-value}",
            name);
    *out = slice_str(value);
    if (env_has_control(*out))
        return env_wrong(s, "the environment variable %.*s contains a control character; remove it", name);
    return NULL;
}

static bool env_next(slice_t text, size_t from, size_t *at)
{
    for (size_t i = from; i + 1 < text.len; i++) {
        if (text.ptr[i] == '$' && text.ptr[i + 1] == '{') {
            *at = i;
            return true;
        }
    }
    return false;
}

const char *source_expand_env(struct source *s, slice_t text, slice_t *out, bool *used)
{
    slice_t done = SLICE_EMPTY;
    size_t from = 0, at;
    *used = false;
    while (env_next(text, from, &at)) {
        size_t end = slice_find(text, '}', at);
        if (end == SIZE_MAX)
            return "a ${ is not closed; write ${NAME} or ${NAME:-default}";
        slice_t value;
        const char *wrong = env_lookup(s, slice_make(text.ptr + at + 2, end - at - 2), &value);
        if (wrong != NULL)
            return wrong;
        if (done.len + value.len > SOURCE_MAX_BYTES)
            return "the environment variables make the value too long; at most 1M is read";
        slice_t piece = slice_make(text.ptr + from, at - from);
        done = arena_printf(s->arena, "%.*s%.*s%.*s", SLICE_ARG(done), SLICE_ARG(piece), SLICE_ARG(value));
        if (done.ptr == NULL)
            return "memory is short; try again";
        *used = true;
        from = end + 1;
    }
    slice_t rest = slice_make(text.ptr + from, text.len - from);
    *out = *used ? arena_printf(s->arena, "%.*s%.*s", SLICE_ARG(done), SLICE_ARG(rest)) : text;
    return out->ptr == NULL ? "memory is short; try again" : NULL;
}
