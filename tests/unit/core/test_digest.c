/* test_digest.c: SHA-256 in pieces, copies that go their own ways, and values that were never made. */
#include "core/digest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* FIPS 180-2, appendix B: of "abc", and of nothing. */
static const uint8_t abc[DIGEST_BYTES] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40,
                                          0xde, 0x5d, 0xae, 0x22, 0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17,
                                          0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad};
static const uint8_t nothing[4] = {0xe3, 0xb0, 0xc4, 0x42};

static void test_pieces_and_copies(void **state)
{
    UNUSED(state);
    uint8_t value[DIGEST_BYTES], other[DIGEST_BYTES];
    struct digest *d = digest_new();
    assert_non_null(d);
    digest_add(d, "a", 1);
    struct digest *copy = digest_copy(d);
    assert_non_null(copy);
    digest_add(copy, "x", 1);
    digest_add(d, "", 0);
    digest_add(d, "bc", 2);
    assert_true(digest_end(&d, value));
    assert_null(d);
    assert_memory_equal(value, abc, sizeof abc);
    assert_true(digest_end(&copy, other));
    assert_memory_not_equal(other, value, sizeof value);
    d = digest_new();
    assert_true(digest_end(&d, value));
    assert_memory_equal(value, nothing, sizeof nothing);
}

static void test_none(void **state)
{
    UNUSED(state);
    uint8_t value[DIGEST_BYTES];
    struct digest *d = NULL;
    assert_false(digest_end(&d, value));
    digest_free(&d);
    d = digest_new();
    digest_free(&d);
    assert_null(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces_and_copies),
        cmocka_unit_test(test_none),
    };
    return cmocka_run_group_tests_name("core/digest", tests, NULL, NULL);
}
