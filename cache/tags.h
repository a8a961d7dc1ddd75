/* tags.h: the tags of a response, by which it can be purged together with others. Pure; memory from an arena.
 *
 * They come from Surrogate-Key and xkey (separated by white space), Cache-Tag (by commas or white space),
 * Cache-Groups (RFC 9875) and the route's `tags`. A tag is any text without white space, compared byte by
 * byte. A group counts within its origin only, so its tag is the origin, `#` and the group, percent-encoded
 * where it holds other than visible ASCII, or `%`: "http://example.com#news". The first three fields are
 * between the application and us: they are kept as tags instead of in the stored head, and clients do not see
 * them. */
#ifndef CACHE_TAGS_H
#define CACHE_TAGS_H

#include "core/arena.h"
#include "core/http_msg.h"
#include "core/outcome.h"

#define CACHE_TAGS_MAX       1024
#define CACHE_TAGS_BYTES_MAX (16 * KB)

/* The fields that only speak to a cache, in the order of `bytes` below. */
enum cache_tag_field { CACHE_TAG_SURROGATE_KEY, CACHE_TAG_CACHE_TAG, CACHE_TAG_XKEY, CACHE_TAG_FIELDS };

/* Each tag is followed by one space. The fields' tags come first, `bytes` of each, then those of groups and
 * route. */
struct cache_tags {
    slice_t text;
    uint16_t bytes[CACHE_TAG_FIELDS];
};

/* The tags joined by one space. */
static inline slice_t cache_tags_joined(const struct cache_tags *t)
{
    return slice_make(t->text.ptr, t->text.len - (t->text.len > 0));
}

/* CACHE_TAG_FIELDS when it is none of these. */
static inline enum cache_tag_field cache_tag_field_of(const struct http_field *f)
{
    return f->id == HTTP_FIELD_SURROGATE_KEY ? CACHE_TAG_SURROGATE_KEY
           : f->id == HTTP_FIELD_CACHE_TAG   ? CACHE_TAG_CACHE_TAG
           : f->id == HTTP_FIELD_XKEY        ? CACHE_TAG_XKEY
                                             : CACHE_TAG_FIELDS;
}

/* What tags come from. */
struct cache_tags_from {
    const struct http_head
        *response; /* a 200, or a 304: what it lacks of the three fields is taken from `old` */
    const struct http_head *groups; /* whose Cache-Groups counts: the response, or the refreshed one */
    const struct cache_tags *old;   /* NULL: none */
    bool joins;    /* the body is made of both responses: what concerns one concerns it, all tags count */
    slice_t key;   /* primary key; begins with the origin */
    slice_t route; /* tags of the route, joined by one space */
};

/* Fields that tags come from. */
#define CACHE_TAGS_PRESENT                                                                                   \
    (HTTP_BIT(SURROGATE_KEY) | HTTP_BIT(CACHE_TAG) | HTTP_BIT(XKEY) | HTTP_BIT(CACHE_GROUPS))

/* NO_STORE_STORED, and *out; else NO_STORE_TAGS_TOO_LARGE or NO_STORE_NO_MEMORY. */
enum no_store_reason cache_tags_collect(struct arena *arena, const struct cache_tags_from *from,
                                        struct cache_tags *out);

/* The tag of each group that the field `name` (a list of strings) of `head` names, in the origin of `key`,
 * joined by one space. `.ptr` is NULL when memory or room is short; empty when the field is absent or broken.
 */
slice_t cache_tags_of_groups(struct arena *arena, const struct http_head *head, slice_t name, slice_t key);

/* "Surrogate-Key: a b\r\n" and so on, of the fields that gave tags. `.ptr` is NULL when out of memory. */
slice_t cache_tags_field_lines(struct arena *arena, const struct cache_tags *tags);

#endif
