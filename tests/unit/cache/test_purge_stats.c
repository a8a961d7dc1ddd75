/* test_purge_stats.c: the figures of a real log, up to and beyond what it remembers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "cache/cache.h"
#include "cache/purge_stats.h"

static uint64_t purge(struct cache *c, enum cache_purge_kind kind, bool soft, unsigned number)
{
    char text[64];
    struct cache_purge_result result;
    snprintf(text, sizeof text, "http://a/%u", number);
    const struct cache_purge p = {.kind = kind, .soft = soft, .text = slice_str(text)};
    assert_true(cache_purge(c, &p, 1, &result));
    return result.id;
}

static void test_figures(void **state)
{
    UNUSED(state);
    struct cache *c = cache_create(&(struct cache_settings){.memory_bytes = 4 * MB, .max_waiters = 1});
    struct cache_purge_stats s;
    assert_non_null(c);
    cache_purge_get_stats(c, &s);
    assert_true(s.last_id == 0 && s.events == 0 && s.entries == 0 && s.patterns == 0 && s.overflows == 0);
    uint64_t tag = purge(c, CACHE_PURGE_TAG, false, 1), soft = purge(c, CACHE_PURGE_TAG, true, 1);
    uint64_t url = purge(c, CACHE_PURGE_URL, false, 1), prefix = purge(c, CACHE_PURGE_PREFIX, false, 1);
    cache_purge_get_stats(c, &s);
    assert_true(tag < soft && s.last[CACHE_PURGE_TAG] == soft && s.last[CACHE_PURGE_URL] == url);
    assert_true(s.last_id == prefix && s.last[CACHE_PURGE_PREFIX] == prefix && s.last[CACHE_PURGE_HOST] == 0);
    assert_true(s.last_ms > 0 && s.last_ms <= clock_wall_ms());
    assert_int_equal(s.events, 4);
    assert_int_equal(s.entries, 2); /* the tag is remembered once */
    assert_int_equal(s.patterns, 1);
    for (unsigned i = 1; i < s.patterns_limit; i++)
        purge(c, CACHE_PURGE_GLOB, i % 2 == 0, i);
    cache_purge_get_stats(c, &s);
    assert_true(s.patterns == s.patterns_limit && s.overflows == 0);
    purge(c, CACHE_PURGE_GLOB, false, 0);
    cache_purge_get_stats(c, &s);
    assert_true(s.patterns == s.patterns_limit && s.overflows == 1);
    for (unsigned i = 2; i < s.entries_limit; i++)
        purge(c, CACHE_PURGE_TAG, false, i);
    cache_purge_get_stats(c, &s);
    assert_true(s.entries == s.entries_limit && s.overflows == 1);
    purge(c, CACHE_PURGE_TAG, false, 0);
    cache_purge_get_stats(c, &s);
    assert_int_equal(s.entries, s.entries_limit / 2 + 1);
    assert_int_equal(s.overflows, 2);
    cache_destroy(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_figures)};
    return cmocka_run_group_tests_name("cache/purge_stats", tests, NULL, NULL);
}
