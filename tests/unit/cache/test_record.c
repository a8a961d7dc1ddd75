/* test_record.c: the bytes of a record: all of it comes back, and nothing else is taken for one. */
#include "tests/unit/cache/record_fixture.h"

#include "cache/herd.h"
#include "core/random.h"

#define CHECKSUM 8

static enum cache_record_fault decode(slice_t bytes, slice_t key)
{
    struct cache_record out;
    return cache_record_decode(bytes, key, &out);
}

/* Puts a right checksum under what a test has changed. */
static void reseal(slice_t s)
{
    char *at = (char *)(uintptr_t)s.ptr;
    uint64_t sum = hash_bytes_unseeded(at, s.len - CHECKSUM).lo;
    for (unsigned i = 0; i < CHECKSUM; i++)
        at[s.len - CHECKSUM + i] = (char)(sum >> 8 * i & 0xff);
}

static void test_every_field_comes_back(void **state)
{
    UNUSED(state);
    const struct cache_record r = fix_record();
    struct cache_record out;
    slice_t s = fix_encode(&r);
    assert_int_equal(cache_record_decode(s, r.key, &out), CACHE_RECORD_NONE);
    fix_assert_same(&r, &out);
    assert_true(slice_eq(out.body, SLICE_LIT("hello")));
    assert_null(out.object);
    fix_free(s);
}

/* The format is a promise to nodes that run another build of the same version. */
static void test_the_bytes_are_fixed(void **state)
{
    UNUSED(state);
    static const unsigned char begin[] = {'M',  'l', 'p', 'R', 2, 1,  0, 0,    237,  0,    0,    0,    0x94,
                                          0x01, 24,  0,   7,   1, 31, 7, 0x7b, 0x68, 0xe5, 0xcf, 0x8b, 0x01};
    const struct cache_record r = fix_record();
    slice_t s = fix_encode(&r);
    assert_int_equal(s.len, 237);
    assert_memory_equal(s.ptr, begin, sizeof begin);
    assert_memory_equal(s.ptr + s.len - CHECKSUM - 5, "hello", 5);
    assert_true(hash_bytes_unseeded("abc", 3).lo == UINT64_C(0x78af5f94892f3950));
    fix_free(s);
}

static size_t random_name(uint64_t *seed, char *to)
{
    size_t n = 1 + random_next(seed) % 12;
    for (size_t i = 0; i < n; i++)
        to[i] = (char)('a' + random_next(seed) % 26);
    return n;
}

/* Words, each followed by `end`. */
static slice_t random_words(uint64_t *seed, char *buf, unsigned count, const char *end)
{
    size_t at = 0;
    for (unsigned i = 0; i < count; i++) {
        at += random_name(seed, buf + at);
        memcpy(buf + at, end, strlen(end));
        at += strlen(end);
    }
    return slice_make(buf, at);
}

static void test_random_objects_come_back(void **state)
{
    UNUSED(state);
    uint64_t seed = 11;
    char *body = malloc(CACHE_RECORD_CHUNK);
    assert_non_null(body);
    for (size_t i = 0; i < CACHE_RECORD_CHUNK; i++)
        body[i] = (char)random_next(&seed);
    for (unsigned round = 0; round < 2000; round++) {
        char head[1024] = "HTTP/1.1 200 OK\r\n", tags[256], key[64] = "https://example.com/";
        slice_t fields = random_words(&seed, head + 17, (unsigned)(random_next(&seed) % 20), ": v\r\n");
        slice_t words = random_words(&seed, tags, (unsigned)(random_next(&seed) % 12), " ");
        size_t first = slice_find(words, ' ', 0),
               bytes = random_next(&seed) % 3 == 0 ? 0 : random_next(&seed);
        const struct cache_record r = {
            .kind = CACHE_RECORD_OBJECT,
            .key = {key, 20 + random_name(&seed, key + 20)},
            .vary_names = SLICE_EMPTY,
            .head = {head, 17 + fields.len},
            .status = 200,
            .status_line_bytes = 17,
            .early_code = (uint8_t)(random_next(&seed) % (CACHE_EARLY_CODE_MAX + 1)),
            .fresh = {.response_ms = (wall_ms_t)(random_next(&seed) >> 22),
                      .corrected_initial_ms = (dur_ms_t)(random_next(&seed) >> 22),
                      .lifetime_ms = (dur_ms_t)(random_next(&seed) >> 22),
                      .source = (uint8_t)(random_next(&seed) % FRESHNESS_SOURCE_COUNT),
                      .revalidate_always = random_next(&seed) & 1,
                      .never_stale = random_next(&seed) & 1,
                      .keep_code = (uint8_t)(random_next(&seed) % (CACHE_KEEP_CODE_MAX + 1))},
            .last_modified_s = (wall_s_t)(random_next(&seed) >> 32),
            .tags = {words, {(uint16_t)(first == SIZE_MAX ? 0 : first + 1), 0, 0}},
            .stamp = {random_next(&seed) | 1, {random_next(&seed), random_next(&seed)}},
            .write_id = random_next(&seed),
            .written_ms = (wall_ms_t)(random_next(&seed) >> 22),
            .expire_ms = 1 + (dur_ms_t)(random_next(&seed) % (uint64_t)CACHE_RECORD_EXPIRE_MAX_MS),
            .body_bytes = bytes % (CACHE_RECORD_CHUNK + 1),
            .body = {body, bytes % (CACHE_RECORD_CHUNK + 1)},
        };
        struct cache_record in = r, out;
        in.primary_bytes = r.key.len;
        slice_t s = fix_encode(&in);
        assert_int_equal(cache_record_decode(s, in.key, &out), CACHE_RECORD_NONE);
        fix_assert_same(&in, &out);
        assert_true(slice_eq(in.body, out.body));
        fix_free(s);
    }
    free(body);
}

static void assert_all_flips_and_cuts_refused(slice_t s, slice_t key, const struct cache_record *of_chunk)
{
    char *copy = malloc(s.len);
    slice_t body;
    struct cache_record out;
    assert_non_null(copy);
    memcpy(copy, s.ptr, s.len);
    for (size_t bit = 0; bit < s.len * 8; bit++) {
        copy[bit / 8] ^= (char)(1 << bit % 8);
        slice_t bad = slice_make(copy, s.len);
        enum cache_record_fault f = of_chunk != NULL ? cache_record_decode_chunk(bad, of_chunk, 0, &body)
                                                     : cache_record_decode(bad, key, &out);
        assert_int_equal(f, bit < 32   ? CACHE_RECORD_FOREIGN
                            : bit < 40 ? CACHE_RECORD_VERSION
                                       : CACHE_RECORD_DAMAGED);
        copy[bit / 8] ^= (char)(1 << bit % 8);
    }
    free(copy);
    for (size_t n = 0; n < s.len; n++) {
        char *cut = malloc(n > 0 ? n : 1); /* of its exact size */
        assert_non_null(cut);
        memcpy(cut, s.ptr, n);
        slice_t bad = slice_make(cut, n);
        enum cache_record_fault f = of_chunk != NULL ? cache_record_decode_chunk(bad, of_chunk, 0, &body)
                                                     : cache_record_decode(bad, key, &out);
        assert_int_equal(f, n < 4 ? CACHE_RECORD_FOREIGN : CACHE_RECORD_DAMAGED);
        free(cut);
    }
}

static void test_every_flipped_bit_and_every_cut_is_refused(void **state)
{
    UNUSED(state);
    const struct cache_record r = fix_record();
    const struct cache_record m = cache_record_of_marker(SLICE_LIT("http://h/p"), SLICE_LIT("accept,cookie"));
    struct cache_record large = r;
    char *body = calloc(1, CACHE_RECORD_CHUNK + 1);
    assert_non_null(body);
    large.body = slice_make(body, large.body_bytes = CACHE_RECORD_CHUNK + 1);
    slice_t of_object = fix_encode(&r), of_marker = fix_encode(&m), of_chunk = fix_encode_chunk(&large, 1);
    assert_all_flips_and_cuts_refused(of_object, r.key, NULL);
    assert_all_flips_and_cuts_refused(of_marker, m.key, NULL);
    assert_all_flips_and_cuts_refused(of_chunk, r.key, &large);
    fix_free(of_object);
    fix_free(of_marker);
    fix_free(of_chunk);
    free(body);
}

static void test_more_behind_the_end_is_damage(void **state)
{
    UNUSED(state);
    const struct cache_record r = fix_record();
    slice_t s = fix_encode(&r);
    char longer[512] = {0};
    memcpy(longer, s.ptr, s.len);
    assert_int_equal(decode(slice_make(longer, s.len + 1), r.key), CACHE_RECORD_DAMAGED);
    longer[8]++; /* its length, under a right checksum */
    reseal(slice_make(longer, s.len));
    assert_int_equal(decode(slice_make(longer, s.len), r.key), CACHE_RECORD_DAMAGED);
    fix_free(s);
}

static void test_what_others_wrote_is_foreign(void **state)
{
    UNUSED(state);
    const slice_t key = SLICE_LIT("k");
    assert_int_equal(decode(SLICE_EMPTY, key), CACHE_RECORD_FOREIGN);
    assert_int_equal(decode(SLICE_LIT("{\"status\":200,\"body\":\"hello, this is JSON\"}"), key),
                     CACHE_RECORD_FOREIGN);
    assert_int_equal(decode(SLICE_LIT("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), key),
                     CACHE_RECORD_FOREIGN);
}

static void test_other_versions_are_told_apart_from_damage(void **state)
{
    UNUSED(state);
    const struct cache_record r = fix_record();
    slice_t s = fix_encode(&r);
    for (unsigned version = 0; version < 256; version++) {
        ((char *)(uintptr_t)s.ptr)[4] = (char)version;
        reseal(s);
        assert_int_equal(decode(s, r.key),
                         version == CACHE_RECORD_FORMAT ? CACHE_RECORD_NONE : CACHE_RECORD_VERSION);
    }
    fix_free(s);
}

static void test_the_whole_key_is_compared(void **state)
{
    UNUSED(state);
    const struct cache_record r = fix_record();
    slice_t s = fix_encode(&r);
    assert_int_equal(decode(s, SLICE_LIT("http://h/p")), CACHE_RECORD_WRONG_KEY);
    assert_int_equal(decode(s, SLICE_LIT("http://h/p\0accept: text/html\ncookie: \n")),
                     CACHE_RECORD_WRONG_KEY);
    assert_int_equal(decode(s, slice_make(r.key.ptr, r.key.len - 1)), CACHE_RECORD_WRONG_KEY);
    fix_free(s);
}

static void assert_malformed(const struct cache_record *r)
{
    slice_t s = fix_encode(r);
    assert_int_equal(decode(s, r->key), CACHE_RECORD_MALFORMED);
    fix_free(s);
}

static void test_numbers_out_of_range_are_malformed(void **state)
{
    UNUSED(state);
    const struct cache_record good = fix_record();
#define BAD(field, value)                                                                                    \
    do {                                                                                                     \
        struct cache_record r = good;                                                                        \
        r.field = value;                                                                                     \
        assert_malformed(&r);                                                                                \
    } while (0)
    BAD(status, 200);
    BAD(status_line_bytes, 23);
    BAD(early_code, CACHE_EARLY_CODE_MAX + 1);
    BAD(fresh.source, FRESHNESS_SOURCE_COUNT);
    BAD(fresh.keep_code, CACHE_KEEP_CODE_MAX + 1);
    BAD(fresh.response_ms, INT64_C(1) << 42);
    BAD(fresh.response_ms, -1);
    BAD(fresh.corrected_initial_ms, INT64_C(1) << 42);
    BAD(fresh.lifetime_ms, INT64_C(1) << 42);
    BAD(written_ms, -1);
    BAD(expire_ms, 0);
    BAD(expire_ms, CACHE_RECORD_EXPIRE_MAX_MS + 1);
    BAD(expire_ms, -1);
    BAD(stamp.epoch, 0);
    BAD(primary_bytes, 9);
    BAD(primary_bytes, good.key.len);
    BAD(vary_names, SLICE_EMPTY);
    BAD(vary_names, SLICE_LIT("accept"));
    BAD(head, SLICE_EMPTY);
    BAD(tags.bytes[0], 1);
#undef BAD
}

static void test_bytes_of_no_meaning_are_malformed(void **state)
{
    UNUSED(state);
    static const struct {
        size_t at;
        unsigned char value;
    } bad[] = {{5, 0},
               {5, 2},
               {5, 3},
               {5, 9},
               {6, 1},
               {7, 1},
               {17, 4},
               {92, 6} /* body length */,
               {96, 1},
               {98, 1},
               {104, 99} /* key */,
               {110, 1} /* head */};
    const struct cache_record r = fix_record();
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        slice_t s = fix_encode(&r);
        char *at = (char *)(uintptr_t)s.ptr;
        assert_int_not_equal((unsigned char)at[bad[i].at], bad[i].value);
        at[bad[i].at] = (char)bad[i].value;
        reseal(s);
        assert_int_equal(decode(s, r.key), CACHE_RECORD_MALFORMED);
        fix_free(s);
    }
}

static void test_markers_come_back(void **state)
{
    UNUSED(state);
    const slice_t key = SLICE_LIT("http://h/p");
    const struct cache_record m = cache_record_of_marker(key, SLICE_LIT("accept,cookie"));
    struct cache_record out;
    slice_t s = fix_encode(&m);
    assert_int_equal(cache_record_decode(s, key, &out), CACHE_RECORD_NONE);
    assert_int_equal(out.kind, CACHE_RECORD_MARKER);
    assert_true(slice_eq(out.vary_names, m.vary_names));
    assert_int_equal(out.primary_bytes, key.len);
    assert_int_equal(decode(s, SLICE_LIT("http://h/q")), CACHE_RECORD_WRONG_KEY);
    fix_free(s);
    const struct cache_record bad[] = {cache_record_of_marker(key, SLICE_EMPTY),
                                       cache_record_of_marker(key, SLICE_LIT("b,a")),
                                       cache_record_of_marker(SLICE_EMPTY, SLICE_LIT("a")),
                                       cache_record_of_marker(SLICE_LIT("a\0b"), SLICE_LIT("a"))};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_malformed(&bad[i]);
}

static void test_bodies_are_cut_into_chunks(void **state)
{
    UNUSED(state);
    const size_t all = 3 * CACHE_RECORD_CHUNK + 10;
    char *bytes = malloc(all);
    assert_non_null(bytes);
    for (size_t i = 0; i < all; i++)
        bytes[i] = (char)(i * 31 % 251);
    static const struct {
        size_t body;
        uint32_t chunks;
    } cases[] = {{0, 0},
                 {CACHE_RECORD_CHUNK, 0},
                 {CACHE_RECORD_CHUNK + 1, 2},
                 {2 * CACHE_RECORD_CHUNK, 2},
                 {3 * CACHE_RECORD_CHUNK + 10, 4}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct cache_record r = fix_record(), out;
        r.body = slice_make(bytes, r.body_bytes = cases[i].body);
        assert_int_equal(cache_record_chunks(&r), cases[i].chunks);
        slice_t s = fix_encode(&r);
        assert_int_equal(cache_record_decode(s, r.key, &out), CACHE_RECORD_NONE);
        size_t at = out.body.len;
        assert_int_equal(at, cases[i].chunks == 0 ? cases[i].body : 0);
        for (uint32_t c = 0; c < cases[i].chunks; c++) {
            slice_t chunk = fix_encode_chunk(&r, c), body = SLICE_EMPTY;
            assert_int_equal(cache_record_decode_chunk(chunk, &out, c, &body), CACHE_RECORD_NONE);
            assert_true(body.len <= CACHE_RECORD_CHUNK);
            assert_memory_equal(body.ptr, bytes + at, body.len);
            at += body.len;
            fix_free(chunk);
        }
        assert_int_equal(at, cases[i].body);
        fix_free(s);
    }
    free(bytes);
}

static void test_chunks_of_two_writes_are_never_joined(void **state)
{
    UNUSED(state);
    char *bytes = calloc(3, CACHE_RECORD_CHUNK);
    assert_non_null(bytes);
    struct cache_record r = fix_record(), other, shorter, longer;
    r.body = slice_make(bytes, r.body_bytes = 2 * CACHE_RECORD_CHUNK + 1);
    other = shorter = longer = r;
    other.write_id ^= 1;
    shorter.body_bytes--;
    slice_t body, first = fix_encode_chunk(&r, 0), last = fix_encode_chunk(&r, 2), head = fix_encode(&r);
    assert_int_equal(cache_record_decode_chunk(first, &r, 0, &body), CACHE_RECORD_NONE);
    assert_int_equal(cache_record_decode_chunk(first, &other, 0, &body), CACHE_RECORD_TORN);
    assert_int_equal(cache_record_decode_chunk(first, &r, 1, &body), CACHE_RECORD_TORN);
    longer.body_bytes++;
    assert_int_equal(cache_record_decode_chunk(last, &longer, 2, &body), CACHE_RECORD_MALFORMED);
    assert_int_equal(cache_record_decode_chunk(head, &r, 0, &body), CACHE_RECORD_MALFORMED);
    assert_int_equal(decode(first, r.key), CACHE_RECORD_MALFORMED);
    fix_free(first);
    fix_free(last);
    fix_free(head);
    free(bytes);
}

static void test_names_share_a_slot(void **state)
{
    UNUSED(state);
    char buf[9 + CACHE_RECORD_NAME_BYTES], more[9 + CACHE_RECORD_NAME_BYTES];
    const slice_t prefix = SLICE_LIT("millpond:"), key = SLICE_LIT("abc");
    assert_true(slice_eq(cache_record_name(buf, prefix, key, CACHE_RECORD_HEAD),
                         SLICE_LIT("millpond:{06b05ab6733a618578af5f94892f3950}:head")));
    assert_true(slice_eq(cache_record_name(buf, prefix, key, 0),
                         SLICE_LIT("millpond:{06b05ab6733a618578af5f94892f3950}:0")));
    slice_t last = cache_record_name(buf, prefix, key, UINT32_MAX);
    assert_true(slice_ends(last, SLICE_LIT(":4294967295")));
    hash_seed_fixed(8); /* another process */
    assert_true(slice_eq(cache_record_name(more, prefix, key, UINT32_MAX), last));
    assert_false(slice_eq(cache_record_name(more, prefix, SLICE_LIT("abd"), UINT32_MAX), last));
    hash_seed_fixed(7);
}

static void test_faults_have_names(void **state)
{
    UNUSED(state);
    assert_string_equal(cache_record_fault_name(CACHE_RECORD_NONE), "none");
    assert_string_equal(cache_record_fault_name(CACHE_RECORD_TORN), "torn");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_field_comes_back),
        cmocka_unit_test(test_the_bytes_are_fixed),
        cmocka_unit_test(test_random_objects_come_back),
        cmocka_unit_test(test_every_flipped_bit_and_every_cut_is_refused),
        cmocka_unit_test(test_more_behind_the_end_is_damage),
        cmocka_unit_test(test_what_others_wrote_is_foreign),
        cmocka_unit_test(test_other_versions_are_told_apart_from_damage),
        cmocka_unit_test(test_the_whole_key_is_compared),
        cmocka_unit_test(test_numbers_out_of_range_are_malformed),
        cmocka_unit_test(test_bytes_of_no_meaning_are_malformed),
        cmocka_unit_test(test_markers_come_back),
        cmocka_unit_test(test_bodies_are_cut_into_chunks),
        cmocka_unit_test(test_chunks_of_two_writes_are_never_joined),
        cmocka_unit_test(test_names_share_a_slot),
        cmocka_unit_test(test_faults_have_names),
    };
    return cmocka_run_group_tests(tests, fix_group_setup, fix_group_teardown);
}
