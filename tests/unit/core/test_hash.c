/* test_hash.c: the seeded hash and the random bytes. */
#include "core/hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void test_seed_decides(void **state)
{
    UNUSED(state);
    hash_seed_fixed(1);
    hash128_t a = hash_bytes("abc", 3);
    assert_true(hash_eq(a, hash_bytes("abc", 3)));
    assert_false(hash_eq(a, hash_bytes("abd", 3)));
    assert_false(hash_eq(a, hash_bytes("abc", 2)));
    hash_seed_fixed(2);
    assert_false(hash_eq(a, hash_bytes("abc", 3)));
    hash_seed_fixed(1);
    assert_true(hash_eq(a, hash_bytes("abc", 3)));
    hash_seed_random();
    hash128_t b = hash_bytes("abc", 3);
    hash_seed_random();
    assert_false(hash_eq(b, hash_bytes("abc", 3)));
}

static void test_unseeded_is_the_same_everywhere(void **state)
{
    UNUSED(state);
    const hash128_t abc = {UINT64_C(0x78af5f94892f3950), UINT64_C(0x06b05ab6733a6185)};
    hash_seed_random();
    assert_true(hash_eq(hash_bytes_unseeded("abc", 3), abc));
    assert_false(hash_eq(hash_bytes_unseeded("abd", 3), abc));
}

static void test_every_length_and_both_halves(void **state)
{
    UNUSED(state);
    hash_seed_fixed(3);
    char data[600] = {0};
    hash128_t seen[600];
    for (size_t n = 0; n < 600; n++) { /* zeros only: the length must count */
        seen[n] = hash_bytes(data, n);
        for (size_t i = 0; i < n; i++)
            assert_true(seen[i].lo != seen[n].lo && seen[i].hi != seen[n].hi);
    }
    assert_true(hash_eq(hash_bytes(data, 100), hash_bytes(data + 1, 100))); /* alignment must not */
    assert_false(hash_eq((hash128_t){1, 2}, (hash128_t){1, 3}));
    assert_false(hash_eq((hash128_t){1, 2}, (hash128_t){0, 2}));
}

static void test_joined_is_as_one(void **state)
{
    UNUSED(state);
    char text[600];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)(i * 7);
    hash_seed_fixed(5);
    for (size_t n = 0; n <= sizeof text; n += 13) {
        for (size_t cut = 0; cut <= n; cut += 1 + n / 5)
            assert_true(hash_eq(hash_joined(slice_make(text, cut), slice_make(text + cut, n - cut)),
                                hash_bytes(text, n)));
    }
}

static void test_random_bytes_fill_the_buffer(void **state)
{
    UNUSED(state);
    unsigned char any[4099] = {0}; /* more than one getrandom may give while signals come */
    for (int round = 0; round < 64; round++) {
        unsigned char r[sizeof any];
        hash_random(r, sizeof r);
        for (size_t i = 0; i < sizeof r; i++)
            any[i] |= r[i];
    }
    for (size_t i = 0; i < sizeof any; i++)
        assert_int_equal(any[i], 0xff); /* a bit that stays 0 in 64 rounds: 2^-64 each */
    hash_random(any, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_seed_decides),
        cmocka_unit_test(test_unseeded_is_the_same_everywhere),
        cmocka_unit_test(test_every_length_and_both_halves),
        cmocka_unit_test(test_joined_is_as_one),
        cmocka_unit_test(test_random_bytes_fill_the_buffer),
    };
    return cmocka_run_group_tests_name("core/hash", tests, NULL, NULL);
}
