/* test_stream_id.c: ids of stream entries: one text each, and their order. */
#include "cache/stream_id.h"

#include "tests/unit/cache/fixture.h"

static void test_text_and_back(void **state)
{
    UNUSED(state);
    static const char *const texts[] = {"0-0", "1-0", "0-1", "1700000000000-5",
                                        "18446744073709551615-18446744073709551615"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct cache_stream_id id;
        char buf[CACHE_STREAM_ID_TEXT];
        assert_true(cache_stream_id_parse(slice_str(texts[i]), &id));
        assert_true(slice_eq(cache_stream_id_print(buf, id), slice_str(texts[i])));
    }
}

static void test_other_texts_are_none(void **state)
{
    UNUSED(state);
    static const char *const texts[] = {"",     "-",    "1",    "1-",   "-1", "1-1-1",
                                        "01-1", "1-01", "1 -1", "+1-1", "$",  "18446744073709551616-0"};
    struct cache_stream_id id;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        assert_false(cache_stream_id_parse(slice_str(texts[i]), &id));
}

static void test_order(void **state)
{
    UNUSED(state);
    static const struct cache_stream_id ids[] = {{0, 0}, {0, 1}, {0, UINT64_MAX}, {1, 0}, {UINT64_MAX, 0}};
    for (size_t a = 0; a < ARRAY_LEN(ids); a++) {
        for (size_t b = 0; b < ARRAY_LEN(ids); b++) {
            int order = cache_stream_id_compare(ids[a], ids[b]);
            assert_true(a < b ? order < 0 : a > b ? order > 0 : order == 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_and_back),
        cmocka_unit_test(test_other_texts_are_none),
        cmocka_unit_test(test_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
