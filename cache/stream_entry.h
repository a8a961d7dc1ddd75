/* stream_entry.h: an event of the invalidation log as an entry of the Redis Stream that all nodes follow, and
 * back; and as the bytes in which it waits on disk. Pure.
 *
 * An entry is a list of names and values, readable in redis-cli:
 *
 *   v 1 by 9f8e7d6c5b4a3921-17 tag product-7 soft_url http://example.com/page
 *
 * `v` comes first: the version of what follows. `by` tells who made it: a random number of the process, and a
 * number that the process gave. Each further pair is one thing to purge (`url`, `url_any_query`, `tag`,
 * `prefix`, `glob`, `host`, `all` with an empty value; `soft_` in front when it is only to be stale): what
 * one call purged together stays together. Texts are those of struct cache_purge, URLs as they stand in keys,
 * so nodes must agree in what makes a key. Instead of things to purge there may be `start` with an empty
 * value: here a stream begins whose past is not known, see stream_follow.h.
 *
 * Names that begin with "x-" are remarks and are skipped. Any other name that is not known, another version,
 * a text that is not of its kind: the entry is refused. Skipping such a thing instead would purge too little
 * if a later version meant something by it, so who follows the stream takes an entry that is refused for one
 * that purges everything. */
#ifndef CACHE_STREAM_ENTRY_H
#define CACHE_STREAM_ENTRY_H

#include "cache/purge_request.h"

#define CACHE_STREAM_ITEMS_MAX   CACHE_PURGE_ITEMS_MAX
#define CACHE_STREAM_ENTRY_BYTES (512 * KB) /* of all texts: well below what one read returns */

#define CACHE_STREAM_FAULTS(X)                                                                               \
    X(NONE, "none", "understood")                                                                            \
    X(VERSION, "version", "written by another version, or by another program")                               \
    X(ORIGIN, "origin", "does not say once, in the right form, who made it")                                 \
    X(NAME, "name", "has a name in it that this version does not know")                                      \
    X(TEXT, "text", "has a text in it that is not of its kind")                                              \
    X(NUMBER, "number", "purges nothing, or too many things")                                                \
    X(BYTES, "bytes", "is not a list of names and values")

enum cache_stream_fault {
#define X(id, name, text) CACHE_STREAM_FAULT_##id,
    CACHE_STREAM_FAULTS(X)
#undef X
        CACHE_STREAM_FAULT_COUNT
};
const char *cache_stream_fault_name(enum cache_stream_fault f);
const char *cache_stream_fault_text(enum cache_stream_fault f);

/* Who made an event; no two events have the same. */
struct cache_stream_origin {
    uint64_t node, number; /* random, of the process; counted by it */
};
static inline bool cache_stream_origin_eq(struct cache_stream_origin a, struct cache_stream_origin b)
{
    return a.node == b.node && a.number == b.number;
}

/* Texts are borrowed. */
struct cache_stream_entry {
    struct cache_stream_origin by;
    bool start;   /* nothing is purged by name then */
    size_t count; /* of items: 1 to CACHE_STREAM_ITEMS_MAX, or 0 with `start` */
    struct cache_purge items[CACHE_STREAM_ITEMS_MAX];
};

/* Names and values in turn. Texts are borrowed: of the entry, or of what was read. Not to be copied: points
 * into itself. */
#define CACHE_STREAM_TEXTS_MAX (2 * (CACHE_STREAM_ITEMS_MAX + 2))
struct cache_stream_fields {
    size_t count; /* of texts, even */
    slice_t texts[CACHE_STREAM_TEXTS_MAX];
    char by[40];
};

/* As arguments for XADD, behind the id. */
void cache_stream_entry_encode(const struct cache_stream_entry *e, struct cache_stream_fields *out);
/* `count` texts, names and values in turn, as Redis returns them. Fills *out only with FAULT_NONE; its texts
 * are those that were given. */
enum cache_stream_fault cache_stream_entry_decode(const slice_t *texts, size_t count,
                                                  struct cache_stream_entry *out);

/* All texts in one piece: each with its length in 32 bits, little endian, in front. */
size_t cache_stream_fields_bytes(const struct cache_stream_fields *f);
void cache_stream_fields_pack(const struct cache_stream_fields *f, char *buf);
/* false when it is not such a piece, or one of too many texts. */
bool cache_stream_fields_unpack(slice_t bytes, struct cache_stream_fields *out);

#endif
