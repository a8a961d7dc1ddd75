/* record.h: the form in which responses lie in a store that nodes share: bytes to and from, pure.
 *
 * Under the name of a key lies one head record: an object (metadata, texts, and a body of up to 64 KB), or
 * for a URL whose responses vary a marker (which fields they vary by), as in the index of the memory store. A
 * larger body lies in chunks of 64 KB, each a value of its own, so that no single command keeps the store
 * busy for long. All parts of one object share the {hash} of their names, and thereby a Redis Cluster slot.
 *
 * What is read may be anything: half of something, of another version, of another program, of another key
 * with the same hash. Decoding is strict, and what it refuses is a miss. The checksum finds damage, it does
 * not stop forgers: who may write to the store may answer requests anyway.
 *
 * A body may lie there packed (record_pack.h), each part by itself; length and checksum are those of what
 * lies there.
 *
 * Layout, little endian, no padding: "MlpR", version, kind, two zero bytes, length of the whole record in 32
 * bits, what the kind has (record.c), 64 bits of XXH3-128 over all before. */
#ifndef CACHE_RECORD_H
#define CACHE_RECORD_H

#include "cache/cache.h"
#include "cache/stream_map.h"

#define CACHE_RECORD_FORMAT        2
#define CACHE_RECORD_CHUNK         (64 * KB) /* bytes of body in a chunk; up to here it is in the head record */
#define CACHE_RECORD_BODY_MAX      ((uint64_t)1 << 40)
#define CACHE_RECORD_EXPIRE_MAX_MS ((dur_ms_t)30 * 24 * 3600 * 1000)
#define CACHE_RECORD_NAME_BYTES    48 /* beyond the prefix */
#define CACHE_RECORD_HEAD          (-1)

#define CACHE_RECORD_FAULTS(X)                                                                               \
    X(NONE, "none", "usable")                                                                                \
    X(FOREIGN, "foreign", "not written by Millpond")                                                         \
    X(VERSION, "version", "written by a version with another format")                                        \
    X(DAMAGED, "damaged", "length or checksum is wrong")                                                     \
    X(MALFORMED, "malformed", "undamaged, but nothing this version writes")                                  \
    X(WRONG_KEY, "wrong_key", "the record of another key")                                                   \
    X(TORN, "torn", "a chunk that belongs to another write")

enum cache_record_fault {
#define X(id, name, text) CACHE_RECORD_##id,
    CACHE_RECORD_FAULTS(X)
#undef X
        CACHE_RECORD_FAULT_COUNT
};
const char *cache_record_fault_name(enum cache_record_fault f);

enum cache_record_kind { CACHE_RECORD_OBJECT = 1, CACHE_RECORD_MARKER, CACHE_RECORD_PIECE };

/* A head record. Slices are borrowed: of what is encoded, or into the bytes that were decoded. */
struct cache_record {
    enum cache_record_kind kind; /* OBJECT or MARKER */
    slice_t key;                 /* whole; of a marker the primary key */
    slice_t vary_names;          /* as cache_vary_names has them */
    /* OBJECT */
    size_t primary_bytes; /* of key; a marker's key is primary */
    slice_t head;         /* as in struct cache_fill, hidden lines and their seal included */
    uint16_t status, status_line_bytes;
    uint8_t early_code;
    struct cache_freshness fresh; /* as stored, by the writer's wall clock */
    wall_s_t last_modified_s;
    struct cache_tags tags;
    struct cache_stream_stamp stamp; /* no event of the stream up to there concerns it */
    uint64_t write_id;               /* random, of this write: in each of its chunks */
    wall_ms_t written_ms;            /* the writer's wall clock */
    dur_ms_t expire_ms;              /* the expiry it was written with */
    uint64_t body_bytes;
    bool packed;  /* parts of the body that are shorter than what they stand for are packed (record_pack.h) */
    slice_t body; /* the body when it is inline and decoded; `packed`: as it lies there */
    /* encoding */
    const struct cache_object *object; /* where the body comes from; NULL: from `body` */
    slice_t
        part; /* with `packed`: goes in place of the body, or of the chunk that is next; empty: as it is */
};

/* ---- names ---- */

/* "PREFIX{hash}:head", or chunk number `part`, into `buf` (prefix.len + CACHE_RECORD_NAME_BYTES). The prefix
 * must hold no brace, or parts of an object would lie in several slots. */
slice_t cache_record_name(char *buf, slice_t prefix, slice_t key, int64_t part);

/* ---- writing ---- */

/* Bytes of the head record. */
size_t cache_record_bytes(const struct cache_record *r);
void cache_record_encode(const struct cache_record *r, char *buf);
/* Chunks beside the head record: 0 when the body is inline. */
uint32_t cache_record_chunks(const struct cache_record *r);
size_t cache_record_chunk_bytes(const struct cache_record *r, uint32_t chunk);
/* Out of r->object, or of r->body, which then is the whole body. */
void cache_record_encode_chunk(const struct cache_record *r, uint32_t chunk, char *buf);
/* The bytes of the body that part CACHE_RECORD_HEAD or a chunk stands for, and how many; `buf` has room for
 * CACHE_RECORD_CHUNK. */
size_t cache_record_copy_part(const struct cache_record *r, int64_t part, char *buf);
size_t cache_record_part_bytes(const struct cache_record *r, int64_t part);

/* ---- reading ---- */

/* A head record found under the name of `key`, which is compared whole. Fills *out only with
 * CACHE_RECORD_NONE; its slices point into `bytes`. */
enum cache_record_fault cache_record_decode(slice_t bytes, slice_t key, struct cache_record *out);
/* The body bytes of a chunk of the decoded record `r`, or (if they are fewer) the same packed. */
enum cache_record_fault cache_record_decode_chunk(slice_t bytes, const struct cache_record *r, uint32_t chunk,
                                                  slice_t *body);

#endif
