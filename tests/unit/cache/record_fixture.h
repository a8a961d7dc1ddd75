/* record_fixture.h: what the tests of records share: an object record of literals, and encoding into a heap
 * block of the exact size, so that AddressSanitizer sees a byte beyond it. */
#ifndef TESTS_UNIT_CACHE_RECORD_FIXTURE_H
#define TESTS_UNIT_CACHE_RECORD_FIXTURE_H

#include "cache/object.h"
#include "cache/record_object.h"
#include "tests/unit/cache/fixture.h"

static inline struct cache_record fix_record(void)
{
    return (struct cache_record){.kind = CACHE_RECORD_OBJECT,
                                 .key = SLICE_LIT("http://h/p\0accept: text/html\ncookie\n"),
                                 .primary_bytes = 10,
                                 .vary_names = SLICE_LIT("accept,cookie"),
                                 .head = SLICE_LIT("HTTP/1.1 404 Not Found\r\nETag: \"x\"\r\nX-Empty: \r\n"),
                                 .status = 404,
                                 .status_line_bytes = 24,
                                 .early_code = 7,
                                 .fresh = {.response_ms = 1700000000123,
                                           .corrected_initial_ms = 4567,
                                           .lifetime_ms = INT64_C(2147483648) * 1000,
                                           .source = FRESHNESS_OPEN_TTL,
                                           .revalidate_always = true,
                                           .keep_code = 31},
                                 .last_modified_s = 1600000000,
                                 .tags = {SLICE_LIT("a bb ccc "), {2, 3, 0}},
                                 .stamp = {UINT64_C(0x0123456789abcdef), {1700000000000, 5}},
                                 .write_id = UINT64_C(0xfedcba9876543210),
                                 .written_ms = 1700000001123,
                                 .expire_ms = 60000,
                                 .body_bytes = 5,
                                 .body = SLICE_LIT("hello")};
}

/* A map that knows this moment of the stream only, as local id `local_id`. */
static inline struct cache_stream_map *fix_map(uint64_t local_id)
{
    struct cache_stream_map *m = aligned_alloc(CACHE_LINE, sizeof *m);
    assert_non_null(m);
    assert_true(cache_stream_map_open(m, 64));
    cache_stream_map_restart(m, (struct cache_stream_id){100, 0}, local_id, CACHE_STREAM_NOTHING_PENDING);
    cache_stream_map_set_epoch(m, 7);
    return m;
}

static inline void fix_map_free(struct cache_stream_map *m)
{
    cache_stream_map_close(m);
    free(m);
}

/* To be freed with free((void *)s.ptr). */
static inline slice_t fix_encode(const struct cache_record *r)
{
    const size_t n = cache_record_bytes(r);
    char *buf = malloc(n);
    assert_non_null(buf);
    cache_record_encode(r, buf);
    return slice_make(buf, n);
}

static inline slice_t fix_encode_chunk(const struct cache_record *r, uint32_t chunk)
{
    const size_t n = cache_record_chunk_bytes(r, chunk);
    char *buf = malloc(n);
    assert_non_null(buf);
    cache_record_encode_chunk(r, chunk, buf);
    return slice_make(buf, n);
}

static inline void fix_free(slice_t s)
{
    free((void *)(uintptr_t)s.ptr);
}

static inline void fix_assert_same(const struct cache_record *a, const struct cache_record *b)
{
    assert_int_equal(a->kind, b->kind);
    assert_true(slice_eq(a->key, b->key));
    assert_int_equal(a->primary_bytes, b->primary_bytes);
    assert_true(slice_eq(a->vary_names, b->vary_names));
    assert_true(slice_eq(a->head, b->head));
    assert_int_equal(a->status, b->status);
    assert_int_equal(a->status_line_bytes, b->status_line_bytes);
    assert_int_equal(a->early_code, b->early_code);
    assert_true(a->fresh.response_ms == b->fresh.response_ms);
    assert_true(a->fresh.corrected_initial_ms == b->fresh.corrected_initial_ms);
    assert_true(a->fresh.lifetime_ms == b->fresh.lifetime_ms);
    assert_int_equal(a->fresh.source, b->fresh.source);
    assert_int_equal(a->fresh.revalidate_always, b->fresh.revalidate_always);
    assert_int_equal(a->fresh.never_stale, b->fresh.never_stale);
    assert_int_equal(a->fresh.keep_code, b->fresh.keep_code);
    assert_true(a->last_modified_s == b->last_modified_s);
    assert_true(slice_eq(a->tags.text, b->tags.text));
    assert_memory_equal(a->tags.bytes, b->tags.bytes, sizeof a->tags.bytes);
    assert_true(a->stamp.epoch == b->stamp.epoch && a->stamp.id.ms == b->stamp.id.ms);
    assert_true(a->stamp.id.seq == b->stamp.id.seq);
    assert_true(a->write_id == b->write_id);
    assert_true(a->written_ms == b->written_ms);
    assert_true(a->expire_ms == b->expire_ms);
    assert_true(a->body_bytes == b->body_bytes);
}

#endif
