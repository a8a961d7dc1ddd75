/* test_stream_entry.c: events as entries of a stream and back; what is refused, and why. */
#include "cache/stream_entry.h"

#include "tests/unit/cache/fixture.h"

static struct cache_stream_entry entry; /* 8 KB each */
static struct cache_stream_fields fields;

/* Texts separated by '|'. */
static enum cache_stream_fault decode(const char *joined)
{
    static slice_t texts[CACHE_STREAM_TEXTS_MAX + 4];
    size_t count = 0;
    slice_t rest = slice_str(joined);
    for (;;) {
        size_t bar = slice_find(rest, '|', 0);
        texts[count++] = slice_make(rest.ptr, MIN(bar, rest.len));
        if (bar == SIZE_MAX)
            break;
        rest = slice_make(rest.ptr + bar + 1, rest.len - bar - 1);
    }
    return cache_stream_entry_decode(texts, count, &entry);
}

static void test_written_as_documented(void **state)
{
    UNUSED(state);
    static const char *const expected[] = {"v",   "1",         "by",       "9f8e7d6c5b4a3921-17",
                                           "tag", "product-7", "soft_url", "http://example.com/page",
                                           "all", ""};
    entry = (struct cache_stream_entry){
        .by = {0x9f8e7d6c5b4a3921u, 17},
        .count = 3,
        .items = {{CACHE_PURGE_TAG, false, SLICE_LIT("product-7")},
                  {CACHE_PURGE_URL, true, SLICE_LIT("http://example.com/page")},
                  {CACHE_PURGE_ALL, false, SLICE_LIT("ignored")}},
    };
    cache_stream_entry_encode(&entry, &fields);
    assert_int_equal(fields.count, ARRAY_LEN(expected));
    for (size_t i = 0; i < ARRAY_LEN(expected); i++)
        assert_true(slice_eq(fields.texts[i], slice_str(expected[i])));
}

static const char *const sample_texts[CACHE_PURGE_KINDS] = {
    "http://h/p?q", "http://h/p", "t\xc3\xa4g", "http://h/a", "*.png", "h:8080", ""};

static void test_every_kind_comes_back_also_from_disk(void **state)
{
    UNUSED(state);
    static struct cache_stream_fields unpacked;
    static char packed[1024];
    for (unsigned i = 0; i < 2 * CACHE_PURGE_KINDS; i++) {
        enum cache_purge_kind kind = (enum cache_purge_kind)(i / 2);
        struct cache_stream_entry e = {.by = {i, UINT64_MAX - i}, .count = 1};
        e.items[0] = (struct cache_purge){kind, i % 2 != 0, slice_str(sample_texts[kind])};
        cache_stream_entry_encode(&e, &fields);
        size_t bytes = cache_stream_fields_bytes(&fields);
        assert_true(bytes <= sizeof packed);
        cache_stream_fields_pack(&fields, packed);
        assert_true(cache_stream_fields_unpack(slice_make(packed, bytes), &unpacked));
        assert_int_equal(cache_stream_entry_decode(unpacked.texts, unpacked.count, &entry),
                         CACHE_STREAM_FAULT_NONE);
        assert_true(cache_stream_origin_eq(entry.by, e.by));
        assert_int_equal(entry.count, 1);
        assert_int_equal(entry.items[0].kind, kind);
        assert_int_equal(entry.items[0].soft, i % 2);
        assert_true(slice_eq(entry.items[0].text, e.items[0].text));
        for (size_t cut = 0; cut < bytes; cut++) /* half of it is nothing, or something else */
            assert_true(!cache_stream_fields_unpack(slice_make(packed, cut), &unpacked) ||
                        unpacked.count < fields.count);
    }
}

static void test_start_and_remarks(void **state)
{
    UNUSED(state);
    assert_int_equal(decode("v|1|by|0000000000000001-2|start|"), CACHE_STREAM_FAULT_NONE);
    assert_true(entry.start && entry.count == 0 && entry.by.node == 1 && entry.by.number == 2);
    assert_int_equal(decode("v|1|by|0000000000000001-2|x-who|me|tag|a|x-|"), CACHE_STREAM_FAULT_NONE);
    assert_true(!entry.start && entry.count == 1);
}

static void test_what_is_refused(void **state)
{
    UNUSED(state);
#define BY "v|1|by|0000000000000001-2|"
    static const struct {
        const char *texts;
        enum cache_stream_fault fault;
    } cases[] = {
        {"", CACHE_STREAM_FAULT_BYTES},
        {"v|1|by", CACHE_STREAM_FAULT_BYTES},
        {BY "tag", CACHE_STREAM_FAULT_BYTES},
        {"tag|a", CACHE_STREAM_FAULT_VERSION},
        {"v|2|by|0000000000000001-2|tag|a", CACHE_STREAM_FAULT_VERSION},
        {"by|0000000000000001-2|v|1|tag|a", CACHE_STREAM_FAULT_VERSION},
        {"v|1|tag|a", CACHE_STREAM_FAULT_ORIGIN},
        {"v|1|by|1-2|tag|a", CACHE_STREAM_FAULT_ORIGIN},
        {"v|1|by|000000000000000A-2|tag|a", CACHE_STREAM_FAULT_ORIGIN},
        {"v|1|by|0000000000000001-02|tag|a", CACHE_STREAM_FAULT_ORIGIN},
        {"v|1|by|0000000000000001-18446744073709551616|tag|a", CACHE_STREAM_FAULT_ORIGIN},
        {BY "by|0000000000000001-2|tag|a", CACHE_STREAM_FAULT_NAME},
        {BY "v|1|tag|a", CACHE_STREAM_FAULT_NAME},
        {BY "regex|a", CACHE_STREAM_FAULT_NAME},
        {BY "tag|a|hard|", CACHE_STREAM_FAULT_NAME},
        {BY "Tag|a", CACHE_STREAM_FAULT_NAME},
        {BY "soft_start|", CACHE_STREAM_FAULT_NAME},
        {BY "tag|a b", CACHE_STREAM_FAULT_TEXT},
        {BY "tag|", CACHE_STREAM_FAULT_TEXT},
        {BY "url|/page", CACHE_STREAM_FAULT_TEXT},
        {BY "all|yes", CACHE_STREAM_FAULT_TEXT},
        {BY "start|now", CACHE_STREAM_FAULT_TEXT},
        {BY "start||start|", CACHE_STREAM_FAULT_TEXT},
        {BY "start||tag|a", CACHE_STREAM_FAULT_NUMBER},
        {BY "x-who|me", CACHE_STREAM_FAULT_NUMBER},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        enum cache_stream_fault f = decode(cases[i].texts);
        if (f != cases[i].fault)
            fail_msg("%s: %s", cases[i].texts, cache_stream_fault_name(f));
        assert_true(strlen(cache_stream_fault_text(f)) > 0);
    }
    assert_int_equal(decode("v|1|by|0000000000000001-2"), CACHE_STREAM_FAULT_NUMBER);
}

static void test_at_most_256_items(void **state)
{
    UNUSED(state);
    slice_t texts[4 + 2 * (CACHE_STREAM_ITEMS_MAX + 1)] = {SLICE_LIT("v"), SLICE_LIT("1"), SLICE_LIT("by"),
                                                           SLICE_LIT("0000000000000001-2")};
    for (size_t i = 4; i < ARRAY_LEN(texts); i += 2) {
        texts[i] = SLICE_LIT("tag");
        texts[i + 1] = SLICE_LIT("a");
    }
    assert_int_equal(cache_stream_entry_decode(texts, ARRAY_LEN(texts) - 2, &entry), CACHE_STREAM_FAULT_NONE);
    assert_int_equal(entry.count, CACHE_STREAM_ITEMS_MAX);
    cache_stream_entry_encode(&entry, &fields);
    assert_int_equal(fields.count, CACHE_STREAM_TEXTS_MAX);
    assert_int_equal(cache_stream_entry_decode(texts, ARRAY_LEN(texts), &entry), CACHE_STREAM_FAULT_NUMBER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_written_as_documented),
        cmocka_unit_test(test_every_kind_comes_back_also_from_disk),
        cmocka_unit_test(test_start_and_remarks),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_at_most_256_items),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
