/* stream_redis.h: as much of a Redis as the tests of the stream need: one stream, the key of the epoch, some
 * records, a clock that the test moves; what it holds can be lost, saved and restored. */
#ifndef TESTS_UNIT_CACHE_STREAM_REDIS_H
#define TESTS_UNIT_CACHE_STREAM_REDIS_H

#include "cache/stream_follow.h"
#include "tests/unit/cache/fixture.h"

enum { REDIS_ENTRIES = 64, REDIS_RECORDS = 20, REDIS_ENTRY_BYTES = 320 };

struct redis_entry {
    struct cache_stream_id id;
    size_t bytes;
    char packed[REDIS_ENTRY_BYTES];
};

struct redis_record {
    bool there;
    struct cache_stream_stamp stamp;
    unsigned made; /* step at which the origin made the response */
};

struct redis_data {
    bool has_stream;
    struct cache_stream_id last_id;
    size_t count;
    struct redis_entry entries[REDIS_ENTRIES];
    char epoch[16];
    size_t epoch_bytes;
    struct redis_record records[REDIS_RECORDS];
};

struct redis {
    bool up;
    uint64_t clock_ms;
    size_t length; /* the stream is trimmed to this */
    struct redis_data data, saved;
};

static inline void redis_trim(struct redis *r, size_t to)
{
    struct redis_data *d = &r->data;
    if (d->count > to) {
        memmove(d->entries, d->entries + d->count - to, to * sizeof d->entries[0]);
        d->count = to;
    }
}

/* XADD, with NOMKSTREAM unless `make`. false: there is no stream. */
static inline bool redis_add(struct redis *r, bool make, slice_t packed, struct cache_stream_id *id)
{
    struct redis_data *d = &r->data;
    if (!d->has_stream && !make)
        return false;
    if (!d->has_stream)
        d->last_id = (struct cache_stream_id){0, 0};
    d->has_stream = true;
    redis_trim(r, MIN(r->length, REDIS_ENTRIES) - 1);
    d->last_id = r->clock_ms > d->last_id.ms ? (struct cache_stream_id){r->clock_ms, 0}
                                             : (struct cache_stream_id){d->last_id.ms, d->last_id.seq + 1};
    struct redis_entry *e = &d->entries[d->count++];
    assert_true(packed.len <= sizeof e->packed);
    e->id = *id = d->last_id;
    e->bytes = packed.len;
    memcpy(e->packed, packed.ptr, packed.len);
    return true;
}

static inline void redis_delete_stream(struct redis *r)
{
    r->data.has_stream = false;
    r->data.count = 0;
}

/* What a read returns; the fields are valid until the stream changes. */
struct redis_reply {
    size_t count;
    struct cache_stream_received entries[8];
    struct cache_stream_fields fields[8];
};

/* XRANGE from "-" or an id. */
static inline void redis_range(const struct redis *r, slice_t from, size_t max, struct redis_reply *out)
{
    struct cache_stream_id id = {0, 0};
    assert_true(slice_eq(from, SLICE_LIT("-")) || cache_stream_id_parse(from, &id));
    out->count = 0;
    for (size_t i = 0; i < r->data.count && out->count < MIN(max, ARRAY_LEN(out->entries)); i++) {
        const struct redis_entry *e = &r->data.entries[i];
        if (cache_stream_id_compare(e->id, id) < 0)
            continue;
        struct cache_stream_fields *f = &out->fields[out->count];
        assert_true(cache_stream_fields_unpack(slice_make(e->packed, e->bytes), f));
        out->entries[out->count++] = (struct cache_stream_received){e->id, f->texts, f->count};
    }
}

/* The transaction that starts the stream anew. */
static inline struct cache_stream_id redis_start(struct redis *r, struct cache_stream_follow *f)
{
    static struct cache_stream_fields fields;
    char packed[REDIS_ENTRY_BYTES];
    struct cache_stream_id id;
    cache_stream_follow_start(f, &fields, r->data.epoch);
    r->data.epoch_bytes = 16;
    cache_stream_fields_pack(&fields, packed);
    redis_add(r, true, slice_make(packed, cache_stream_fields_bytes(&fields)), &id);
    return id;
}

static inline slice_t redis_epoch(const struct redis *r)
{
    return slice_make(r->data.epoch, r->data.epoch_bytes);
}

#endif
