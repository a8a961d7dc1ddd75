/* cache_control.c: see cache_control.h. Pure; any thread; no memory of its own.
 *
 * Applications get this field wrong in many ways ("private; max-age=60", quotes that never end, spaces around
 * '='). An element that breaks the grammar is not understood, but it is still searched for words that
 * restrict: no freshness, permission or field list is taken from it, while private, no-store and the like
 * are, because sharing what was meant for one client is the one mistake that cannot be made good. A malformed
 * element with "max-age=" or "s-maxage=" in it counts as stale; one with a space before or after its '=' is
 * skipped instead, as is any word that is not known.
 *
 * The unquoted form private=field is taken as plain private, which RFC 9111 section 5.2.2.7 expects of
 * caches. Rejected: searching for substrings, as nginx does. It finds "private" in x="private". */
#include "cache/cache_control.h"

#include "cache/surrogate_control.h"
#include "core/http_field.h"
#include "core/sf.h"

#define DELTA_MAX_S (INT64_C(1) << 31) /* RFC 9111 section 1.2.2 */

enum directive_kind {
    KIND_RESTRICTION, /* a flag, whatever its argument */
    KIND_PERMISSION,  /* a flag, only without an argument */
    KIND_FIELDS,      /* no-cache, private: a flag, or another one when there is a list of fields */
    KIND_SECONDS
};

struct directive {
    slice_t name;
    enum directive_kind kind;
    uint32_t flag, flag_fields; /* KIND_SECONDS: `flag` is set when there is no argument */
    size_t seconds_offset;      /* of the int64_t in struct cache_control */
};

#define NAME(text)      .name = {text, sizeof(text) - 1}
#define SECONDS(member) .kind = KIND_SECONDS, .seconds_offset = offsetof(struct cache_control, member)

/* Most frequent first; names of other lengths cost one compare each. */
static const struct directive directives[] = {
    {NAME("max-age"), SECONDS(max_age_s)},
    {NAME("public"), .kind = KIND_PERMISSION, .flag = CC_PUBLIC},
    {NAME("private"), .kind = KIND_FIELDS, .flag = CC_PRIVATE, .flag_fields = CC_PRIVATE_FIELDS},
    {NAME("no-cache"), .kind = KIND_FIELDS, .flag = CC_NO_CACHE, .flag_fields = CC_NO_CACHE_FIELDS},
    {NAME("no-store"), .kind = KIND_RESTRICTION, .flag = CC_NO_STORE},
    {NAME("s-maxage"), SECONDS(s_maxage_s)},
    {NAME("must-revalidate"), .kind = KIND_RESTRICTION, .flag = CC_MUST_REVALIDATE},
    {NAME("immutable"), .kind = KIND_PERMISSION, .flag = CC_IMMUTABLE},
    {NAME("stale-while-revalidate"), SECONDS(stale_while_revalidate_s)},
    {NAME("stale-if-error"), SECONDS(stale_if_error_s)},
    {NAME("proxy-revalidate"), .kind = KIND_RESTRICTION, .flag = CC_PROXY_REVALIDATE},
    {NAME("no-transform"), .kind = KIND_RESTRICTION, .flag = CC_NO_TRANSFORM},
    {NAME("must-understand"), .kind = KIND_PERMISSION, .flag = CC_MUST_UNDERSTAND},
    {NAME("only-if-cached"), .kind = KIND_PERMISSION, .flag = CC_ONLY_IF_CACHED},
    {NAME("max-stale"), SECONDS(max_stale_s), .flag = CC_MAX_STALE_ANY},
    {NAME("min-fresh"), SECONDS(min_fresh_s)},
};

/* One list element, taken apart. `argument.ptr` is NULL when there is none. */
struct element {
    slice_t name;
    slice_t argument; /* without quotes */
    bool quoted;
};

static const struct directive *directive_find(slice_t name)
{
    for (size_t i = 0; i < ARRAY_LEN(directives); i++) {
        if (slice_ieq(directives[i].name, name))
            return &directives[i];
    }
    return NULL;
}

static size_t token_length(slice_t s)
{
    size_t n = 0;
    while (n < s.len && http_is_tchar((unsigned char)s.ptr[n]))
        n++;
    return n;
}

/* `s` is the whole of one quoted string: its first quote not escaped is its last byte. */
static bool is_quoted_string(slice_t s)
{
    size_t i = 1;
    if (s.len < 2 || s.ptr[0] != '"')
        return false;
    while (i < s.len && s.ptr[i] != '"')
        i += s.ptr[i] == '\\' ? 2 : 1;
    return i + 1 == s.len;
}

/* cache-directive = token [ "=" ( token / quoted-string ) ], RFC 9111 section 5.2; an empty argument is let
 * through. false when `s` is anything else. */
static bool element_split(slice_t s, struct element *out)
{
    size_t n = token_length(s);
    *out = (struct element){.name = slice_make(s.ptr, n), .argument = {NULL, 0}, .quoted = false};
    if (n == 0)
        return false;
    if (n == s.len)
        return true;
    if (s.ptr[n] != '=')
        return false;
    out->argument = slice_make(s.ptr + n + 1, s.len - n - 1);
    if (is_quoted_string(out->argument)) {
        out->argument = slice_make(out->argument.ptr + 1, out->argument.len - 2);
        out->quoted = true;
        return true;
    }
    return token_length(out->argument) == out->argument.len;
}

static void set_seconds(const struct directive *d, int64_t seconds, struct cache_control *cc)
{
    int64_t *member = (int64_t *)(void *)((char *)cc + d->seconds_offset);
    if (*member == CC_ABSENT)
        *member = seconds;
}

int64_t cache_control_seconds(slice_t s)
{
    int64_t v = 0;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return 0;
        v = MIN(v * 10 + (s.ptr[i] - '0'), DELTA_MAX_S);
    }
    return v;
}

static bool list_names_something(slice_t list)
{
    slice_t field;
    return http_list_next(&list, &field);
}

static void apply(const struct directive *d, const struct element *e, struct cache_control *cc)
{
    switch (d->kind) {
    case KIND_RESTRICTION:
        cc->flags |= d->flag;
        break;
    case KIND_PERMISSION:
        if (e->argument.ptr == NULL)
            cc->flags |= d->flag;
        break;
    case KIND_FIELDS:
        cc->flags |= e->quoted && list_names_something(e->argument) ? d->flag_fields : d->flag;
        break;
    case KIND_SECONDS:
        if (e->argument.ptr == NULL && d->flag != 0)
            cc->flags |= d->flag;
        else
            set_seconds(d, cache_control_seconds(e->argument), cc);
        break;
    }
}

/* Looks for restrictions in an element that breaks the grammar. */
static void salvage(slice_t s, struct cache_control *cc)
{
    while (s.len > 0) {
        size_t n = token_length(s);
        const struct directive *d = n > 0 ? directive_find(slice_make(s.ptr, n)) : NULL;
        bool has_argument = s.len > n + 1 && s.ptr[n] == '=' && s.ptr[n + 1] != ' ' && s.ptr[n + 1] != '\t';
        /* must-revalidate would also permit to share what Authorization was sent for; its twin only
         * restricts. */
        if (d != NULL && (d->kind == KIND_RESTRICTION || d->kind == KIND_FIELDS))
            cc->flags |= d->flag == CC_MUST_REVALIDATE ? CC_PROXY_REVALIDATE : d->flag;
        else if (d != NULL && d->kind == KIND_SECONDS && has_argument)
            set_seconds(d, 0, cc);
        size_t skip = MIN(n + 1, s.len);
        s = slice_make(s.ptr + skip, s.len - skip);
    }
}

void cache_control_init(struct cache_control *out)
{
    *out = (struct cache_control){
        .flags = 0,
        .max_age_s = CC_ABSENT,
        .s_maxage_s = CC_ABSENT,
        .stale_while_revalidate_s = CC_ABSENT,
        .stale_if_error_s = CC_ABSENT,
        .max_stale_s = CC_ABSENT,
        .min_fresh_s = CC_ABSENT,
    };
}

void cache_control_parse_value(slice_t value, struct cache_control *out)
{
    slice_t text;
    while (http_list_next(&value, &text)) {
        struct element e;
        if (!element_split(text, &e)) {
            salvage(text, out);
            continue;
        }
        const struct directive *d = directive_find(e.name);
        if (d != NULL)
            apply(d, &e, out);
    }
}

/* A value of the wrong type is read as what restricts most. */
static void apply_targeted(const struct directive *d, const struct sf_member *m, struct cache_control *cc)
{
    int64_t *seconds = (int64_t *)(void *)((char *)cc + d->seconds_offset);
    bool is_boolean = m->type == SF_BOOLEAN;
    cc->flags &= ~d->flag; /* of a key that comes twice the later counts */
    switch (d->kind) {
    case KIND_RESTRICTION:
    case KIND_FIELDS:
        cc->flags |= is_boolean && m->integer == 0 ? 0 : d->flag;
        break;
    case KIND_PERMISSION:
        cc->flags |= is_boolean && m->integer == 1 ? d->flag : 0;
        break;
    case KIND_SECONDS:
        *seconds = m->type == SF_INTEGER ? MAX(0, MIN(m->integer, DELTA_MAX_S)) : 0;
        break;
    }
}

/* false when the field is absent, empty or broken. */
static bool parse_targeted(const struct http_head *head, enum http_field_id id, struct cache_control *out)
{
    if (!http_head_has(head, id))
        return false;
    cache_control_init(out);
    out->flags = CC_TARGETED;
    for (unsigned i = 0; i < head->field_count; i++) {
        slice_t rest = head->fields[i].value;
        struct sf_member m;
        enum sf_step step = SF_BROKEN;
        if (head->fields[i].id != id)
            continue;
        while (rest.len > 0 && (step = sf_dictionary_next(&rest, &m)) == SF_MEMBER) {
            const struct directive *d = directive_find(m.key);
            if (d != NULL)
                apply_targeted(d, &m, out);
        }
        if (step == SF_BROKEN)
            return false;
    }
    return true;
}

void cache_control_parse(const struct http_head *head, struct cache_control *out)
{
    if (UNLIKELY((head->present & CACHE_CONTROL_TARGETED) != 0) && head->status != 0 &&
        (parse_targeted(head, HTTP_FIELD_MILLPOND_CACHE_CONTROL, out) ||
         parse_targeted(head, HTTP_FIELD_CDN_CACHE_CONTROL, out) || cache_surrogate_control_parse(head, out)))
        return;
    cache_control_init(out);
    if (!http_head_has(head, HTTP_FIELD_CACHE_CONTROL))
        return;
    for (unsigned i = 0; i < head->field_count; i++) {
        if (head->fields[i].id == HTTP_FIELD_CACHE_CONTROL)
            cache_control_parse_value(head->fields[i].value, out);
    }
}

static bool value_names_field(slice_t value, slice_t name)
{
    slice_t text, field;
    while (http_list_next(&value, &text)) {
        struct element e;
        if (!element_split(text, &e) || !e.quoted)
            continue;
        const struct directive *d = directive_find(e.name);
        if (d == NULL || d->kind != KIND_FIELDS)
            continue;
        while (http_list_next(&e.argument, &field)) {
            if (slice_ieq(field, name))
                return true;
        }
    }
    return false;
}

bool cache_control_names_field(const struct http_head *head, slice_t name)
{
    if (!http_head_has(head, HTTP_FIELD_CACHE_CONTROL))
        return false;
    for (unsigned i = 0; i < head->field_count; i++) {
        const struct http_field *f = &head->fields[i];
        /* Lists of fields are quoted, and rare: most values are done with here. */
        if (f->id == HTTP_FIELD_CACHE_CONTROL && slice_find(f->value, '"', 0) != SIZE_MAX &&
            value_names_field(f->value, name))
            return true;
    }
    return false;
}
