/* test_encoder.c: what goes in comes out again, whatever the pieces; what was flushed can be read; what was
 * not ended is not whole; and no call gives more than it may, or an encoder takes more memory than it says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#ifdef MILLPOND_JEMALLOC
#include <jemalloc/jemalloc.h>
#endif

#include "core/encoder.h"
#include "tests/support/decode.h"

#define BODY_BYTES (700 * KB)

static char body[BODY_BYTES], coded[2 * BODY_BYTES], out[ENCODER_OUT_BYTES];

/* Text that is worth compressing, then noise, then one byte again and again. */
static void make_body(void)
{
    uint64_t random = 1;
    for (size_t i = 0; i < BODY_BYTES; i++) {
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
        body[i] = i < BODY_BYTES / 3       ? "the quick brown fox "[(random >> 60) + i % 4]
                  : i < 2 * BODY_BYTES / 3 ? (char)(random >> 33)
                                           : 'x';
    }
}

static size_t put(struct encoder *e, size_t at, const char *in, size_t n, enum encoder_op op)
{
    size_t bytes;
    assert_true(encoder_put(e, in, n, op, out, &bytes));
    assert_true(bytes < ENCODER_OUT_BYTES);
    assert_true(at + bytes <= sizeof coded);
    memcpy(coded + at, out, bytes);
    return at + bytes;
}

static void expect_text(enum coding c, size_t n, size_t text, bool ended)
{
    struct decoded d = decode(c, coded, n, BODY_BYTES);
    assert_true(d.sound);
    assert_int_equal(d.ended, ended);
    assert_int_equal(d.bytes, text);
    assert_memory_equal(d.text, body, text);
    free(d.text);
}

static void test_round_trips(void **state)
{
    static const size_t pieces[] = {ENCODER_STEP_BYTES, 4099, 1};
    UNUSED(state);
    for (enum coding c = CODING_GZIP; c < CODING_COUNT; c++) {
        for (size_t p = 0; p < ARRAY_LEN(pieces); p++) {
            const size_t bytes = pieces[p] == 1 ? 3000 : BODY_BYTES;
            struct encoder *e = encoder_new(c);
            size_t n = 0;
            for (size_t at = 0; at < bytes; at += pieces[p])
                n = put(e, n, body + at, MIN(pieces[p], bytes - at), ENCODER_GO);
            n = put(e, n, NULL, 0, ENCODER_END);
            assert_false(encoder_holds(e));
            expect_text(c, n, bytes, true);
            expect_text(c, 0, 0, false);
            encoder_free(&e);
            assert_null(e);
            assert_true(bytes < BODY_BYTES || n < BODY_BYTES / 3 + BODY_BYTES / 4);
        }
    }
}

static void test_the_empty_body(void **state)
{
    UNUSED(state);
    for (enum coding c = CODING_GZIP; c < CODING_COUNT; c++) {
        struct encoder *e = encoder_new(c);
        size_t n = put(e, 0, NULL, 0, ENCODER_GO);
        n = put(e, n, NULL, 0, ENCODER_FLUSH);
        assert_int_equal(n, 0);
        expect_text(c, put(e, n, NULL, 0, ENCODER_END), 0, true);
        encoder_free(&e);
    }
}

static void test_what_was_flushed_can_be_read(void **state)
{
    UNUSED(state);
    for (enum coding c = CODING_GZIP; c < CODING_COUNT; c++) {
        struct encoder *e = encoder_new(c);
        size_t n = 0;
        for (size_t at = 0; at < 1000; at += 100) {
            n = put(e, n, body + at, 100, ENCODER_GO);
            assert_true(encoder_holds(e));
            n = put(e, n, NULL, 0, ENCODER_FLUSH);
            assert_false(encoder_holds(e));
            expect_text(c, n, at + 100, false);
            assert_int_equal(put(e, n, NULL, 0, ENCODER_FLUSH), n); /* nothing to flush */
        }
        n = put(e, n, NULL, 0, ENCODER_END);
        expect_text(c, n, 1000, true);
        encoder_free(&e);
    }
}

/* What is collected has a bound, and so has what waits. */
static void test_it_flushes_by_itself(void **state)
{
    UNUSED(state);
    for (enum coding c = CODING_GZIP; c < CODING_COUNT; c++) {
        struct encoder *e = encoder_new(c);
        size_t n = 0;
        for (size_t at = 0; at < ENCODER_FLUSH_BYTES; at += ENCODER_STEP_BYTES)
            n = put(e, n, body + at, ENCODER_STEP_BYTES, ENCODER_GO);
        assert_false(encoder_holds(e));
        expect_text(c, n, ENCODER_FLUSH_BYTES, false);
        encoder_free(&e);
    }
}

#ifdef MILLPOND_JEMALLOC
static size_t allocated(void)
{
    uint64_t taken = 0, given = 0;
    size_t bytes = sizeof taken;
    mallctl("thread.allocated", &taken, &bytes, NULL, 0);
    mallctl("thread.deallocated", &given, &bytes, NULL, 0);
    return (size_t)(taken - given);
}
#endif

static void test_memory_is_what_it_says(void **state)
{
    UNUSED(state);
#ifdef MILLPOND_JEMALLOC
    for (enum coding c = CODING_GZIP; c < CODING_COUNT; c++) {
        const size_t before = allocated();
        struct encoder *e = encoder_new(c);
        size_t n, most = 0;
        for (size_t at = 0; at < BODY_BYTES; at += n) {
            n = MIN(ENCODER_STEP_BYTES, BODY_BYTES - at);
            put(e, 0, body + at, n, ENCODER_GO);
            most = MAX(most, allocated() - before);
        }
        print_message("%s: %zu KB\n", coding_name(c).ptr, most / KB);
        assert_in_range(most, encoder_memory(c) / 2, encoder_memory(c));
        encoder_free(&e);
        assert_int_equal(allocated(), before);
    }
#else
    skip(); /* other allocators do not tell */
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trips),
        cmocka_unit_test(test_the_empty_body),
        cmocka_unit_test(test_what_was_flushed_can_be_read),
        cmocka_unit_test(test_it_flushes_by_itself),
        cmocka_unit_test(test_memory_is_what_it_says),
    };
    make_body();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
