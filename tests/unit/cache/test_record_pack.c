/* test_record_pack.c: what is packed, that it comes back, and that nothing else than what the record
 * announces comes out, whatever lies there. */
#include "tests/unit/cache/record_fixture.h"

#include <zstd.h>

#include "cache/record_pack.h"
#include "core/random.h"

#define HEAD(fields) SLICE_LIT("HTTP/1.1 200 OK\r\n" fields)

static struct cache_packer *packer;

static int open_packer(void **state)
{
    packer = cache_packer_open();
    UNUSED(state);
    return packer != NULL ? 0 : -1;
}

static int close_packer(void **state)
{
    cache_packer_close(&packer);
    UNUSED(state);
    return 0;
}

/* What looks like text. */
static char *text_of(size_t bytes)
{
    char *text = malloc(bytes);
    assert_non_null(text);
    for (size_t i = 0; i < bytes; i++)
        text[i] = "The quick brown fox jumps over the lazy dog "[(i * i / 50) % 44];
    return text;
}

static void test_text_is_wanted_and_nothing_else(void **state)
{
    UNUSED(state);
    static const char *const yes[] = {"text/html; charset=utf-8", "TEXT/css",      "application/json",
                                      "application/ld+json;a=b",  "image/svg+xml", "application/javascript"};
    static const char *const no[] = {"image/png",  "application/octet-stream", "text", "text/", "", "+json",
                                     "font/woff2", "application/jsonx"};
    for (size_t i = 0; i < ARRAY_LEN(yes) + ARRAY_LEN(no); i++) {
        char head[200];
        const bool wanted = i < ARRAY_LEN(yes);
        const int n = snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Type: %s\r\n",
                               wanted ? yes[i] : no[i - ARRAY_LEN(yes)]);
        assert_int_equal(cache_pack_wants(slice_make(head, (size_t)n), CACHE_PACK_LEAST), wanted);
        assert_false(cache_pack_wants(slice_make(head, (size_t)n), CACHE_PACK_LEAST - 1));
    }
    assert_false(cache_pack_wants(HEAD("X: y\r\n"), 5000));
    assert_false(cache_pack_wants(HEAD("Content-Type: text/html\r\nContent-Encoding: br\r\n"), 5000));
}

/* Packed, encoded, decoded and unpacked; returns what the record takes. */
static size_t assert_comes_back(struct cache_record *r)
{
    struct cache_record out;
    char *to = malloc((size_t)r->body_bytes);
    r->part = cache_packer_pack(packer, r, CACHE_RECORD_HEAD);
    r->packed = r->part.len > 0;
    slice_t s = fix_encode(r);
    assert_int_equal(cache_record_decode(s, r->key, &out), CACHE_RECORD_NONE);
    fix_assert_same(r, &out);
    assert_int_equal(out.packed, r->packed);
    assert_true(slice_eq(out.body, r->packed ? r->part : r->body));
    if (r->packed)
        assert_true(cache_packer_unpack(packer, out.body, to, (size_t)r->body_bytes));
    assert_memory_equal(r->packed ? to : out.body.ptr, r->body.ptr, (size_t)r->body_bytes);
    const size_t bytes = s.len;
    fix_free(s);
    free(to);
    return bytes;
}

static void test_a_body_comes_back(void **state)
{
    UNUSED(state);
    static const size_t sizes[] = {CACHE_PACK_LEAST, 5000, CACHE_RECORD_CHUNK - 1, CACHE_RECORD_CHUNK};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        char *text = text_of(sizes[i]);
        struct cache_record r = fix_record();
        r.body_bytes = sizes[i];
        r.body = slice_make(text, sizes[i]);
        assert_true(assert_comes_back(&r) < sizes[i]);
        assert_true(r.packed);
        uint64_t seed = 5;
        for (size_t at = 0; at < sizes[i]; at++)
            text[at] = (char)random_next(&seed); /* which cannot be packed */
        r.part = SLICE_EMPTY;
        r.packed = false;
        assert_true(assert_comes_back(&r) > sizes[i]);
        assert_false(r.packed);
        free(text);
    }
}

/* Each on its own: one that cannot be packed lies as it is among those that can. */
static void test_chunks_come_back(void **state)
{
    UNUSED(state);
    const size_t bytes = 2 * CACHE_RECORD_CHUNK + 3000;
    char *text = text_of(bytes), *to = malloc(CACHE_RECORD_CHUNK);
    uint64_t seed = 5;
    for (size_t i = CACHE_RECORD_CHUNK; i < 2 * CACHE_RECORD_CHUNK; i++)
        text[i] = (char)random_next(&seed);
    struct cache_record r = fix_record();
    r.body_bytes = bytes;
    r.body = slice_make(text, bytes);
    r.packed = true;
    for (uint32_t c = 0; c < 3; c++) {
        const size_t whole = cache_record_part_bytes(&r, c);
        r.part = cache_packer_pack(packer, &r, c);
        assert_int_equal(r.part.len > 0, c != 1);
        slice_t s = fix_encode_chunk(&r, c), body = SLICE_EMPTY;
        assert_int_equal(cache_record_decode_chunk(s, &r, c, &body), CACHE_RECORD_NONE);
        if (body.len < whole)
            assert_true(cache_packer_unpack(packer, body, to, whole));
        else
            memcpy(to, body.ptr, whole);
        assert_memory_equal(to, text + (size_t)c * CACHE_RECORD_CHUNK, whole);
        const struct cache_record plain = {.write_id = r.write_id, .body_bytes = bytes};
        if (c != 1) /* whose head does not say that parts are packed */
            assert_int_equal(cache_record_decode_chunk(s, &plain, c, &body), CACHE_RECORD_MALFORMED);
        fix_free(s);
    }
    free(text);
    free(to);
}

static void test_exactly_what_is_announced_comes_out(void **state)
{
    UNUSED(state);
    char *text = text_of(5000), *to = malloc(5000);
    struct cache_record r = fix_record();
    r.body_bytes = 5000;
    r.body = slice_make(text, 5000);
    slice_t packed = cache_packer_pack(packer, &r, CACHE_RECORD_HEAD);
    char *copy = malloc(2 * packed.len);
    memcpy(copy, packed.ptr, packed.len);
    memcpy(copy + packed.len, packed.ptr, packed.len);
    packed = slice_make(copy, packed.len);
    assert_true(cache_packer_unpack(packer, packed, to, 5000));
    assert_false(cache_packer_unpack(packer, packed, to, 4999));
    char *larger = malloc(5001);
    assert_false(cache_packer_unpack(packer, packed, larger, 5001));
    free(larger);
    assert_false(cache_packer_unpack(packer, slice_make(copy, 2 * packed.len), to, 5000)); /* twice */
    for (size_t n = 0; n < packed.len; n++)
        assert_false(cache_packer_unpack(packer, slice_make(copy, n), to, 5000));
    for (size_t bit = 0; bit < packed.len * 8; bit++) { /* may come out otherwise, but not beyond its room */
        copy[bit / 8] ^= (char)(1 << bit % 8);
        cache_packer_unpack(packer, packed, to, 5000);
        copy[bit / 8] ^= (char)(1 << bit % 8);
    }
    free(copy);
    free(text);
    free(to);
}

/* 64 MB of nothing in a few KB, and a window that would take a gigabyte. */
static void test_a_bomb_does_not_go_off(void **state)
{
    UNUSED(state);
    const size_t large = 64 * 1024 * 1024;
    char *zeros = calloc(1, large), *bomb = malloc(ZSTD_compressBound(large)), *to = malloc(5000);
    ZSTD_CCtx *c = ZSTD_createCCtx();
    assert_true(zeros != NULL && bomb != NULL && to != NULL && c != NULL);
    ZSTD_CCtx_setParameter(c, ZSTD_c_windowLog, 30);
    ZSTD_CCtx_setParameter(c, ZSTD_c_contentSizeFlag, 0);
    const size_t n = ZSTD_compress2(c, bomb, ZSTD_compressBound(large), zeros, large);
    assert_true(!ZSTD_isError(n) && n < CACHE_RECORD_CHUNK);
    assert_false(cache_packer_unpack(packer, slice_make(bomb, n), to, 5000));
    ZSTD_freeCCtx(c);
    free(zeros);
    free(bomb);
    free(to);
}

#define TEST_OF(f) cmocka_unit_test_setup_teardown(f, open_packer, close_packer)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_OF(test_text_is_wanted_and_nothing_else),
        TEST_OF(test_a_body_comes_back),
        TEST_OF(test_chunks_come_back),
        TEST_OF(test_exactly_what_is_announced_comes_out),
        TEST_OF(test_a_bomb_does_not_go_off),
    };
    return cmocka_run_group_tests(tests, fix_group_setup, fix_group_teardown);
}
