/* test_variants.c: max_variants, which one goes, and what is counted. */
#include "fixture.h"

#define URL "http://h/p"

static void store(struct cache *c, const char *url, unsigned language)
{
    struct fix_head request, response;
    char value[16];
    struct cache_fill fill = fix_fill(10);
    snprintf(value, sizeof value, "l%u", language);
    fill.request = fix_with_field(&request, HTTP_FIELD_ACCEPT_LANGUAGE, "Accept-Language", value);
    fill.response = fix_with_field(&response, HTTP_FIELD_VARY, "Vary", "Accept-Language, X-None");
    assert_int_equal(fix_store_fill(c, url, &fill, 10), NO_STORE_STORED);
}

static bool has(struct cache *c, const char *url, unsigned language)
{
    struct fix_head request;
    char value[16];
    snprintf(value, sizeof value, "l%u", language);
    struct cache_object *o =
        fix_find_as(c, url, fix_with_field(&request, HTTP_FIELD_ACCEPT_LANGUAGE, "Accept-Language", value));
    bool found = o != NULL;
    cache_object_unref(&o);
    return found;
}

static struct cache *cache_with(unsigned max_variants)
{
    struct cache *c = cache_create(
        &(struct cache_settings){.memory_bytes = 16 * MB, .max_waiters = 10, .max_variants = max_variants});
    assert_non_null(c);
    return c;
}

static void test_the_oldest_goes(void **state)
{
    UNUSED(state);
    struct cache *c = cache_with(3);
    for (unsigned i = 0; i < 5; i++)
        store(c, URL, i);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(has(c, URL, i), i >= 2);
    assert_int_equal(fix_stats(c).objects, 3);
    for (unsigned i = 0; i < 3; i++)
        store(c, "http://h/other", i);
    assert_int_equal(fix_stats(c).objects, 6); /* per URL */
    fix_end(&c);
}

static void test_a_smaller_limit(void **state)
{
    UNUSED(state);
    struct cache *c = cache_with(8);
    for (unsigned i = 0; i < 8; i++)
        store(c, URL, i);
    cache_set_settings(c, &(struct cache_settings){16 * MB, 10, 4});
    assert_int_equal(fix_stats(c).objects, 8); /* until the next one */
    store(c, URL, 8);
    assert_int_equal(fix_stats(c).objects, 4);
    assert_true(has(c, URL, 5) && has(c, URL, 8) && !has(c, URL, 4));
    fix_end(&c);
}

/* The least there can be still holds one variant beside the new one. */
static void test_bounds(void **state)
{
    UNUSED(state);
    struct cache *c = cache_with(1);
    for (unsigned i = 0; i < 4; i++)
        store(c, URL, i);
    assert_int_equal(fix_stats(c).objects, 2);
    cache_set_settings(c, &(struct cache_settings){16 * MB, 10, 100000});
    for (unsigned i = 4; i < 300; i++)
        store(c, URL, i);
    assert_int_equal(fix_stats(c).objects, 256);
    fix_end(&c);
}

/* Stores until the URL is full and one goes; whether a line was written. */
static bool says(struct cache *c, const char *url, mono_ms_t last_ms, unsigned from)
{
    atomic_store(&c->variants_warned_ms, last_ms);
    for (unsigned i = from; i < from + 3; i++)
        store(c, url, i);
    return atomic_load(&c->variants_warned_ms) != last_ms;
}

static void test_said_once_and_not_too_often(void **state)
{
    UNUSED(state);
    struct cache *c = cache_with(2);
    mono_ms_t now_ms = clock_mono_ms();
    assert_true(says(c, URL, 0, 0));
    assert_false(says(c, URL, now_ms - 60000, 3));            /* said of this one */
    assert_true(says(c, "http://h/b", now_ms - 60000, 0));    /* long ago */
    assert_false(says(c, "http://h/c", now_ms + 3600000, 0)); /* just now */
    assert_true(says(c, "http://h/c", now_ms - 60000, 3));    /* made up for */
    fix_end(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_oldest_goes),
        cmocka_unit_test(test_a_smaller_limit),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_said_once_and_not_too_often),
    };
    return cmocka_run_group_tests_name("cache/variants", tests, fix_group_setup, fix_group_teardown);
}
