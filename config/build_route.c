/* build_route.c: values that only [route] has: what a request must look like, and what is done with it. */
#include "config/build.h"
#include "config/value.h"

static void build_route_string(struct build *b, struct config_strings *list, const char *text)
{
    const char **slot = build_push(b, &list->items, &list->count, sizeof *slot);
    if (slot != NULL)
        *slot = text;
}

void build_host_pattern(struct build *b, const struct config_option *o, slice_t item, char *base)
{
    if (build_ok(b, item, value_parse_host_pattern(item)))
        build_route_string(b, (void *)(base + o->offset), build_text_lower(b, item));
}

/* A path is compared decoded (all but %00), so its pattern is kept that way too. In place. */
static size_t build_path_decode(char *text, size_t len)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        uint64_t byte;
        if (text[i] == '%' && i + 2 < len && slice_hex_to_u64(slice_make(text + i + 1, 2), &byte) &&
            byte != 0) {
            text[n++] = (char)byte;
            i += 2;
        } else {
            text[n++] = text[i];
        }
    }
    text[n] = '\0';
    return n;
}

/* Dot segments and empty ones are resolved before a path is compared. */
static bool build_path_can_match(slice_t path)
{
    for (size_t i = 0; i + 1 < path.len; i++) {
        slice_t rest = slice_make(path.ptr + i + 1, path.len - i - 1);
        size_t slash = slice_find(rest, '/', 0);
        slice_t part = slice_make(rest.ptr, slash == SIZE_MAX ? rest.len : slash);
        if (path.ptr[i] == '/' &&
            (part.len == 0 || slice_eq(part, SLICE_LIT(".")) || slice_eq(part, SLICE_LIT(".."))))
            return false;
    }
    return true;
}

void build_path_pattern(struct build *b, const struct config_option *o, slice_t item, char *base)
{
    struct config_route *r = (void *)base;
    struct config_path path, *slot;
    UNUSED(o);
    if (!build_ok(b, item, value_parse_path_pattern(item, &path)))
        return;
    slice_t text = arena_copy(b->source->arena, slice_make(path.text, path.len));
    if (text.ptr == NULL) {
        b->source->no_memory = true;
        return;
    }
    path.text = text.ptr;
    path.len = build_path_decode((char *)(uintptr_t)text.ptr, path.len);
    if (!build_path_can_match(slice_make(path.text, path.len))) {
        build_wrong(b,
                    "\"%.*s\" matches nothing: dots and double slashes are resolved before paths are "
                    "compared; write the path without them",
                    PROBLEM_TEXT(item));
        return;
    }
    slot = build_push(b, &r->paths, &r->path_count, sizeof *slot);
    if (slot != NULL)
        *slot = path;
}

void build_method(struct build *b, const struct config_option *o, slice_t item, char *base)
{
    bool lower = false;
    for (size_t i = 0; i < item.len; i++)
        lower = lower || (item.ptr[i] >= 'a' && item.ptr[i] <= 'z');
    if (!value_is_token(item))
        build_wrong(b, "\"%.*s\" is not a method; write names such as GET, HEAD", PROBLEM_TEXT(item));
    else if (lower)
        build_wrong(b, "\"%.*s\" has small letters, and methods are told apart by case; write it as in GET",
                    PROBLEM_TEXT(item));
    else
        build_route_string(b, (void *)(base + o->offset), build_text(b, item));
}

/* "Name: value"; the value may be missing. false when reported. */
static bool build_split_field(struct build *b, slice_t item, slice_t *name, slice_t *value)
{
    size_t colon = slice_find(item, ':', 0);
    *name = slice_trim(slice_make(item.ptr, colon == SIZE_MAX ? item.len : colon));
    *value =
        colon == SIZE_MAX ? SLICE_EMPTY : slice_trim(slice_make(item.ptr + colon + 1, item.len - colon - 1));
    return build_ok(b, *name, value_parse_field_name(*name));
}

void build_header_match(struct build *b, const struct config_option *o, slice_t item, char *base)
{
    struct config_route *r = (void *)base;
    struct config_header_match *slot;
    slice_t name, value;
    UNUSED(o);
    if (!build_split_field(b, item, &name, &value))
        return;
    slot = build_push(b, &r->headers, &r->header_count, sizeof *slot);
    if (slot != NULL)
        *slot = (struct config_header_match){build_text(b, name), build_text(b, value)};
}

void build_pool_ref(struct build *b, const struct config_option *o, slice_t item, char *base)
{
    const struct config *c = b->config;
    struct option_guess guess = {.word = item};
    for (size_t i = 0; i < c->pool_count; i++) {
        if (slice_eq(slice_str(c->pools[i].name), item)) {
            *(int *)(void *)(base + o->offset) = (int)i;
            return;
        }
        option_guess_offer(&guess, c->pools[i].name);
    }
    if (guess.best != NULL)
        build_wrong(b, "there is no pool \"%.*s\"; did you mean \"%s\"?", PROBLEM_TEXT(item), guess.best);
    else
        build_wrong(b, "there is no pool \"%.*s\"; write a section [pool %.*s] or name another",
                    PROBLEM_TEXT(item), PROBLEM_TEXT(item));
}

static bool build_variables_ok(struct build *b, slice_t text, const char *allowed, const char *advice)
{
    slice_t unknown;
    if (value_check_variables(text, allowed, &unknown) == NULL)
        return true;
    build_wrong(b, "$%.*s is no variable here; there are %s", PROBLEM_TEXT(unknown), advice);
    return false;
}

static bool build_has_blank_or_non_ascii(slice_t s)
{
    for (size_t i = 0; i < s.len; i++) {
        if ((unsigned char)s.ptr[i] <= ' ' || (unsigned char)s.ptr[i] > 0x7e)
            return true;
    }
    return false;
}

void build_redirect(struct build *b, const struct config_option *o, slice_t item, char *base)
{
    struct config_route *r = (void *)base;
    slice_t code = value_next_word(&item), target = slice_trim(item);
    UNUSED(o);
    if (option_word_index("301 302 303 307 308", code) < 0)
        build_wrong(b,
                    "\"%.*s\" is no status of a redirect; begin with 301, 302, 303, 307 or 308, such as "
                    "301 https://example.com$uri",
                    PROBLEM_TEXT(code));
    else if (!slice_starts(target, SLICE_LIT("http://")) && !slice_starts(target, SLICE_LIT("https://")) &&
             !slice_starts(target, SLICE_LIT("/")))
        build_wrong(b,
                    "\"%.*s\" is no target; write http://, https:// or a path behind the status, such as "
                    "301 https://example.com$uri",
                    PROBLEM_TEXT(target));
    else if (build_has_blank_or_non_ascii(target))
        build_wrong(b, "\"%.*s\" contains a blank or a letter beyond ASCII; write it percent-encoded",
                    PROBLEM_TEXT(target));
    else if (build_variables_ok(b, target, "uri host", "$uri and $host")) {
        uint64_t status = 0;
        slice_to_u64(code, &status);
        r->redirect_status = (int)status;
        r->redirect_target = build_text(b, target);
    }
}

void build_respond(struct build *b, const struct config_option *o, slice_t item, char *base)
{
    struct config_route *r = (void *)base;
    slice_t code = value_next_word(&item);
    uint64_t status;
    if (code.len != 3 || !slice_to_u64(code, &status) || (int64_t)status < o->min ||
        (int64_t)status > o->max) {
        build_wrong(b, "\"%.*s\" is no status code; begin with one from 200 to 599, such as 503 Back soon",
                    PROBLEM_TEXT(code));
        return;
    }
    r->respond_status = (int)status;
    r->respond_text = build_text(b, slice_trim(item));
}

void build_tag(struct build *b, const struct config_option *o, slice_t item, char *base)
{
    const char **tags = (void *)(base + o->offset);
    if (build_has_blank_or_non_ascii(item)) {
        build_wrong(b, "\"%.*s\" contains a blank or a letter beyond ASCII; write several tags with commas",
                    PROBLEM_TEXT(item));
    } else if ((int64_t)item.len > o->max) {
        build_wrong(b, "\"%.*s\" is longer than %lld bytes", PROBLEM_TEXT(item), (long long)o->max);
    } else {
        slice_t all = arena_printf(b->source->arena, "%s%s" SLICE_FMT, *tags, **tags != '\0' ? " " : "",
                                   SLICE_ARG(item));
        b->source->no_memory = b->source->no_memory || all.ptr == NULL;
        if (all.ptr != NULL)
            *tags = all.ptr;
    }
}

/* One of the conditions of bypass_if= */
static void build_bypass(struct build *b, slice_t item, struct config_route *r)
{
    size_t colon = slice_find(item, ':', 0);
    slice_t kind = slice_make(item.ptr, colon == SIZE_MAX ? item.len : colon);
    slice_t name = colon == SIZE_MAX ? SLICE_EMPTY : slice_make(item.ptr + colon + 1, item.len - colon - 1);
    bool cookie = slice_eq(kind, SLICE_LIT("cookie"));
    if ((!cookie && !slice_eq(kind, SLICE_LIT("header"))) || !value_is_token(name)) {
        build_wrong(b, "\"%.*s\" is no condition; write bypass_if=cookie:NAME or bypass_if=header:NAME",
                    PROBLEM_TEXT(item));
        return;
    }
    const char **slot = cookie ? &r->bypass_cookie : &r->bypass_header;
    if (**slot != '\0')
        build_wrong(b, "two %ss are named; write one cookie and one header at most",
                    cookie ? "cookie" : "header");
    *slot = build_text(b, name);
    r->cache = CONFIG_CACHE_BYPASS_IF;
}

void build_route_cache(struct build *b, const struct config_option *o, slice_t item, char *base)
{
    static const slice_t bypass = SLICE_LIT("bypass_if=");
    struct config_route *r = (void *)base;
    int index = option_word_index(o->words, item);
    if (index >= 0) {
        r->cache = index == 0 ? CONFIG_CACHE_ON : CONFIG_CACHE_OFF;
        return;
    }
    if (!slice_starts(item, bypass)) {
        build_wrong(
            b,
            "\"%.*s\" is neither on nor off; write on, off, bypass_if=cookie:NAME or bypass_if=header:NAME",
            PROBLEM_TEXT(item));
        return;
    }
    slice_t rest = slice_make(item.ptr + bypass.len, item.len - bypass.len);
    for (size_t from = 0; from <= rest.len;) {
        size_t comma = slice_find(rest, ',', from);
        size_t end = comma == SIZE_MAX ? rest.len : comma;
        build_bypass(b, slice_trim(slice_make(rest.ptr + from, end - from)), r);
        from = end + 1;
    }
}

/* Fields that frame the message or belong to the connection; an edit of them would break both. */
static bool build_field_is_ours(slice_t name)
{
    static const char *const names[] = {
        "Connection", "Content-Length", "Keep-Alive", "Transfer-Encoding", "Upgrade", "TE", "Trailer"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (slice_ieq(name, slice_str(names[i])))
            return true;
    }
    return false;
}

static void build_field_edit(struct build *b, const struct config_option *o, char *base, slice_t name,
                             const char *value)
{
    struct config_route *r = (void *)base;
    struct config_field_edit *slot;
    if (build_field_is_ours(name)) {
        build_wrong(b, "%.*s belongs to the connection and is set by millpond alone; remove the line",
                    PROBLEM_TEXT(name));
        return;
    }
    if (o->offset == offsetof(struct config_route, request_edits))
        slot = build_push(b, &r->request_edits, &r->request_edit_count, sizeof *slot);
    else
        slot = build_push(b, &r->response_edits, &r->response_edit_count, sizeof *slot);
    if (slot != NULL)
        *slot = (struct config_field_edit){build_text(b, name), value};
}

void build_field_set(struct build *b, const struct config_option *o, slice_t item, char *base)
{
    slice_t name, value;
    if (!build_split_field(b, item, &name, &value))
        return;
    if (slice_find(item, ':', 0) == SIZE_MAX)
        build_wrong(b, "\"%.*s\" has no value; write Name: value", PROBLEM_TEXT(item));
    else if (build_variables_ok(b, value, "client_ip host request_id remote_user",
                                "$client_ip, $host, $request_id and $remote_user"))
        build_field_edit(b, o, base, name, build_text(b, value));
}

void build_field_remove(struct build *b, const struct config_option *o, slice_t item, char *base)
{
    if (build_ok(b, item, value_parse_field_name(item)))
        build_field_edit(b, o, base, item, NULL);
}

void build_field_name(struct build *b, const struct config_option *o, slice_t item, char *base)
{
    if (build_ok(b, item, value_parse_field_name(item)))
        build_route_string(b, (void *)(base + o->offset), build_text(b, item));
}

void build_cookie_pattern(struct build *b, const struct config_option *o, slice_t item, char *base)
{
    slice_t name = item;
    if (slice_ends(name, SLICE_LIT("*")))
        name.len--;
    if (!value_is_token(name) || slice_find(name, '*', 0) != SIZE_MAX)
        build_wrong(b,
                    "\"%.*s\" is no name of a cookie; write all, or names with at most a star at the end, "
                    "such as _ga*",
                    PROBLEM_TEXT(item));
    else
        build_route_string(b, (void *)(base + o->offset), build_text(b, item));
}

void build_coding(struct build *b, const struct config_option *o, slice_t item, char *base)
{
    struct coding_list *list = (void *)(base + o->offset);
    const int which = option_word_index(o->words, item); /* enum coding, with `off` for none */
    if (which < 0) {
        build_wrong(b, "there is no \"%.*s\"; write off, or any of zstd, br and gzip", PROBLEM_TEXT(item));
        return;
    }
    if (which == CODING_IDENTITY) {
        if (!slice_eq(slice_str(b->value->text), item) || list->count > 0)
            build_wrong(b, "off stands alone; remove it, or the others");
        return;
    }
    for (unsigned i = 0; i < list->count; i++) {
        if (list->items[i] == which) {
            build_wrong(b, "\"%.*s\" is there twice; write it once", PROBLEM_TEXT(item));
            return;
        }
    }
    list->items[list->count++] = (uint8_t)which;
}
