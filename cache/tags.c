/* tags.c: see tags.h. Nothing is sorted and repeats stay: a tag that comes twice costs a few bytes, and who
 * purges by it does not care. Rejected: dropping the tags beyond a limit; a purge by one of these would then
 * miss. */
#include "cache/tags.h"

#include "core/sf.h"
#include "core/text.h"

static slice_t field_name(enum cache_tag_field field)
{
    static const slice_t names[CACHE_TAG_FIELDS] = {{"Surrogate-Key", 13}, {"Cache-Tag", 9}, {"xkey", 4}};
    return names[field];
}

/* Tags as they are gathered. */
struct tag_list {
    struct text text;
    size_t count;
};

static bool list_ok(const struct tag_list *l)
{
    return !l->text.overflow && l->count <= CACHE_TAGS_MAX;
}

static size_t list_bytes(const struct tag_list *l)
{
    return (size_t)(l->text.at - l->text.start);
}

/* Room for `bytes`, or as much as there may be. */
static bool list_open(struct arena *arena, size_t bytes, struct tag_list *l)
{
    bytes = MIN(bytes, CACHE_TAGS_BYTES_MAX);
    char *buf = arena_alloc(arena, bytes);
    *l = (struct tag_list){.text = text_make(buf, buf == NULL ? 0 : bytes)};
    return buf != NULL;
}

static bool is_between(char c, bool commas)
{
    return c == ' ' || c == '\t' || (commas && c == ',');
}

static void put_split(struct tag_list *l, slice_t value, bool commas)
{
    for (size_t i = 0, end; i < value.len; i = end) {
        for (end = i; end < value.len && !is_between(value.ptr[end], commas);)
            end++;
        if (end > i) {
            text_put(&l->text, slice_make(value.ptr + i, end - i));
            text_put_char(&l->text, ' ');
            l->count++;
        } else {
            end++;
        }
    }
}

/* The old ones of a field; CACHE_TAG_FIELDS: of groups and route. */
static slice_t old_tags(const struct cache_tags *old, enum cache_tag_field field)
{
    size_t offset = 0;
    for (unsigned i = 0; i < field; i++)
        offset += old->bytes[i];
    return slice_make(old->text.ptr + offset,
                      field < CACHE_TAG_FIELDS ? old->bytes[field] : old->text.len - offset);
}

/* Beside what was put behind `before`, unless they are the same. */
static void put_old(struct tag_list *l, size_t before, slice_t old)
{
    if (!slice_eq(slice_make(l->text.start + before, list_bytes(l) - before), old))
        put_split(l, old, false);
}

static void put_field(struct tag_list *l, const struct cache_tags_from *from, enum cache_tag_field field,
                      struct cache_tags *out)
{
    size_t before = list_bytes(l);
    bool present = false;
    for (unsigned i = 0; i < from->response->field_count; i++) {
        const struct http_field *f = &from->response->fields[i];
        if (cache_tag_field_of(f) != field)
            continue;
        present = true;
        put_split(l, f->value, field == CACHE_TAG_CACHE_TAG);
    }
    if (from->old != NULL && (from->joins || !present))
        put_old(l, before, old_tags(from->old, field));
    out->bytes[field] = (uint16_t)(list_bytes(l) - before);
}

/* "scheme://host[:port]" of a key. */
static slice_t key_origin(slice_t key)
{
    size_t colon = MIN(slice_find(key, ':', 0), key.len);
    return slice_make(key.ptr, MIN(slice_find(key, '/', MIN(colon + 3, key.len)), key.len));
}

static void put_group(struct tag_list *l, slice_t origin, slice_t group)
{
    static const char digits[] = "0123456789ABCDEF";
    text_put(&l->text, origin);
    text_put_char(&l->text, '#');
    for (size_t i = 0; i < group.len; i++) {
        unsigned char c = (unsigned char)group.ptr[i];
        if (c == '\\' && i + 1 < group.len)
            c = (unsigned char)group.ptr[++i];
        if (c > ' ' && c < 0x7f && c != '%') {
            text_put_char(&l->text, (char)c);
            continue;
        }
        text_put_char(&l->text, '%');
        text_put_char(&l->text, digits[c >> 4]);
        text_put_char(&l->text, digits[c & 15]);
    }
    text_put_char(&l->text, ' ');
    l->count++;
}

/* A list of strings in all lines of the field; RFC 9651 section 4.2: one mistake, and it counts as absent. */
static void put_groups(struct tag_list *l, const struct http_head *head, slice_t name, slice_t key)
{
    const struct tag_list before = *l;
    for (unsigned i = 0; i < head->field_count; i++) {
        const struct http_field *f = &head->fields[i];
        if (f->name.len != name.len || !slice_ieq(f->name, name))
            continue;
        slice_t rest = f->value;
        struct sf_member m;
        enum sf_step step;
        while ((step = sf_list_next(&rest, &m)) == SF_MEMBER && m.type == SF_STRING)
            put_group(l, key_origin(key), m.text);
        if (step != SF_END) {
            *l = before;
            return;
        }
    }
}

/* What the tags take at most, each with its space; 0 without any. */
static size_t tags_bound(const struct cache_tags_from *from)
{
    size_t bytes = from->route.len > 0 ? from->route.len + 1 : 0;
    if (from->old != NULL)
        bytes += from->old->text.len;
    for (unsigned i = 0; i < from->response->field_count; i++) {
        const struct http_field *f = &from->response->fields[i];
        if (cache_tag_field_of(f) != CACHE_TAG_FIELDS)
            bytes += f->value.len + 1;
    }
    return http_head_has(from->groups, HTTP_FIELD_CACHE_GROUPS) ? CACHE_TAGS_BYTES_MAX : bytes;
}

enum no_store_reason cache_tags_collect(struct arena *arena, const struct cache_tags_from *from,
                                        struct cache_tags *out)
{
    struct tag_list l;
    *out = (struct cache_tags){.text = SLICE_EMPTY};
    size_t bound = tags_bound(from);
    if (LIKELY(bound == 0))
        return NO_STORE_STORED;
    if (!list_open(arena, bound, &l))
        return NO_STORE_NO_MEMORY;
    for (enum cache_tag_field f = 0; f < CACHE_TAG_FIELDS; f++)
        put_field(&l, from, f, out);
    size_t before = list_bytes(&l);
    put_groups(&l, from->groups, http_field_name(HTTP_FIELD_CACHE_GROUPS), from->key);
    put_split(&l, from->route, false);
    if (from->old != NULL && from->joins)
        put_old(&l, before, old_tags(from->old, CACHE_TAG_FIELDS));
    if (!list_ok(&l))
        return NO_STORE_TAGS_TOO_LARGE;
    out->text = slice_make(l.text.start, list_bytes(&l));
    return NO_STORE_STORED;
}

slice_t cache_tags_of_groups(struct arena *arena, const struct http_head *head, slice_t name, slice_t key)
{
    struct tag_list l;
    if (http_head_find(head, name) == NULL)
        return SLICE_EMPTY;
    if (!list_open(arena, CACHE_TAGS_BYTES_MAX, &l))
        return (slice_t){NULL, 0};
    put_groups(&l, head, name, key);
    if (!list_ok(&l))
        return (slice_t){NULL, 0};
    return slice_make(l.text.start, list_bytes(&l) - (l.count > 0));
}

slice_t cache_tags_field_lines(struct arena *arena, const struct cache_tags *tags)
{
    size_t bound = tags->text.len + 64, at = 0;
    char *buf = arena_alloc(arena, bound);
    if (buf == NULL)
        return (slice_t){NULL, 0};
    struct text t = text_make(buf, bound);
    for (enum cache_tag_field f = 0; f < CACHE_TAG_FIELDS; at += tags->bytes[f], f++) {
        if (tags->bytes[f] == 0)
            continue;
        text_put(&t, field_name(f));
        TEXT_LIT(&t, ": ");
        text_put(&t, slice_make(tags->text.ptr + at, (size_t)tags->bytes[f] - 1));
        TEXT_LIT(&t, "\r\n");
    }
    return text_slice(&t);
}
