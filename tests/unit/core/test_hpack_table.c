/* test_hpack_table.c: which index an entry has, which entries are left, and how the table is made smaller. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/hpack_table.h"

static void newest_is_first(void **state)
{
    struct hpack_table t;
    UNUSED(state);
    hpack_table_begin(&t);
    assert_int_equal(hpack_table_find(&t, 1), 0);
    for (uint64_t id = 1; id <= 3; id++)
        assert_true(hpack_table_add(&t, id, 10));
    assert_int_equal(hpack_table_find(&t, 3), 62);
    assert_int_equal(hpack_table_find(&t, 2), 63);
    assert_int_equal(hpack_table_find(&t, 1), 64);
    assert_int_equal(hpack_table_find(&t, 4), 0);
}

/* As many as there can be, and beyond: the oldest go. */
static void the_oldest_goes(void **state)
{
    struct hpack_table t;
    UNUSED(state);
    hpack_table_begin(&t);
    for (uint64_t id = 1; id <= 1000; id++)
        assert_true(hpack_table_add(&t, id, 0));
    for (uint64_t id = 1; id <= 1000; id++)
        assert_int_equal(hpack_table_find(&t, id), id > 1000 - HPACK_ENTRIES ? 62 + 1000 - id : 0);
    assert_true(hpack_table_add(&t, 1001, 1000)); /* as large as 32 of them and a quarter of one more */
    assert_int_equal(hpack_table_find(&t, 1001), 62);
    assert_int_equal(hpack_table_find(&t, 1000), 63);
    assert_int_equal(hpack_table_find(&t, 905), 0);
    assert_int_equal(hpack_table_find(&t, 906), 62 + 95);
}

/* Ids that share a hint are told apart. */
static void hints_are_hints(void **state)
{
    struct hpack_table t;
    UNUSED(state);
    hpack_table_begin(&t);
    assert_true(hpack_table_add(&t, 7, 0));
    assert_true(hpack_table_add(&t, 7 + 256, 0));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(hpack_table_find(&t, 7), 63);
        assert_int_equal(hpack_table_find(&t, 7 + 256), 62);
        assert_int_equal(hpack_table_find(&t, 7 + 512), 0);
    }
}

static void what_is_large_is_not_added(void **state)
{
    struct hpack_table t;
    UNUSED(state);
    hpack_table_begin(&t);
    assert_true(hpack_table_add(&t, 1, 10));
    assert_false(hpack_table_add(&t, 2, HPACK_TABLE_BYTES / 4 * 3 - HPACK_ENTRY_OVERHEAD + 1));
    assert_int_equal(hpack_table_find(&t, 1), 62);
    assert_true(hpack_table_add(&t, 2, HPACK_TABLE_BYTES / 4 * 3 - HPACK_ENTRY_OVERHEAD));
    assert_int_equal(hpack_table_find(&t, 1), 63);
}

static void follow(struct hpack_table *t, const char *block, size_t bytes)
{
    hpack_table_follow(t, (const uint8_t *)block, bytes);
}

static void updates_are_followed(void **state)
{
    struct hpack_table t;
    UNUSED(state);
    hpack_table_begin(&t);
    for (uint64_t id = 1; id <= 10; id++)
        assert_true(hpack_table_add(&t, id, 18)); /* 50 bytes each */
    follow(&t, "\x88\x20", 2);                    /* behind the first field it would be none */
    assert_int_equal(hpack_table_find(&t, 1), 71);
    follow(&t, "\x3f\x45\x88", 3); /* 31 + 69 = 100 */
    assert_int_equal(hpack_table_find(&t, 8), 0);
    assert_int_equal(hpack_table_find(&t, 9), 63);
    assert_false(hpack_table_add(&t, 11, 44)); /* 76 of 100 */
    follow(&t, "\x20\x3f\xe1\x1f\x88", 5);     /* 0, then 4096 */
    assert_int_equal(hpack_table_find(&t, 9) + hpack_table_find(&t, 10), 0);
    assert_true(hpack_table_add(&t, 12, 3000));
    assert_int_equal(hpack_table_find(&t, 12), 62);
    follow(&t, "\x20", 1);
    assert_int_equal(hpack_table_find(&t, 12), 0);
    assert_false(hpack_table_add(&t, 13, 0));
}

static void an_index_as_bytes(void **state)
{
    uint8_t out[2];
    UNUSED(state);
    assert_ptr_equal(hpack_put_index(out, 126), out + 1);
    assert_int_equal(out[0], 0xfe);
    assert_ptr_equal(hpack_put_index(out, 127), out + 2);
    assert_memory_equal(out, "\xff\x00", 2);
    assert_ptr_equal(hpack_put_index(out, 61 + HPACK_ENTRIES), out + 2);
    assert_memory_equal(out, "\xff\x3e", 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(newest_is_first),      cmocka_unit_test(the_oldest_goes),
        cmocka_unit_test(hints_are_hints),      cmocka_unit_test(what_is_large_is_not_added),
        cmocka_unit_test(updates_are_followed), cmocka_unit_test(an_index_as_bytes)};
    return cmocka_run_group_tests_name("core/hpack_table", tests, NULL, NULL);
}
