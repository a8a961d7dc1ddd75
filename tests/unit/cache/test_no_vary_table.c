/* test_no_vary_table.c: rules are learned, forgotten and pushed out; that nothing of it leaks or is
 * unaccounted; flights that move, and what was purged meanwhile. */
#include "cache/no_vary_table.h"

#include "cache/purge.h"
#include "tests/unit/cache/fixture.h"

static const struct no_vary_rule *learn(struct cache *c, const char *url, const char *text)
{
    return cache_no_vary_learn(c, slice_str(url), slice_str(text));
}

static const struct no_vary_rule *find(struct cache *c, const char *url)
{
    return cache_no_vary_find(c, slice_str(url));
}

static void test_learned_by_path(void **state)
{
    UNUSED(state);
    struct cache *c = fix_cache(4 * MB);
    uint64_t empty = fix_stats(c).bytes_used;
    assert_null(find(c, "http://h/p"));
    cache_no_vary_forget(c, SLICE_LIT("http://h/p"));
    assert_int_equal(fix_stats(c).bytes_used, empty);
    const struct no_vary_rule *a = learn(c, "http://h/p?x=1", " no-vary:except:x");
    assert_non_null(a);
    assert_true(cache_no_vary_is_used());
    assert_true(fix_stats(c).bytes_used > empty);
    assert_ptr_equal(find(c, "http://h/p"), a);
    assert_ptr_equal(find(c, "http://h/p?y rules:1?2"), a);
    assert_null(find(c, "http://h/p/"));
    assert_null(find(c, "http://g/p"));
    assert_ptr_equal(learn(c, "http://g/p", " no-vary:except:x"), a);
    const struct no_vary_rule *b = learn(c, "http://h/p", " no-vary:none");
    assert_ptr_not_equal(a, b);
    assert_ptr_equal(find(c, "http://h/p?z"), b);
    assert_ptr_equal(find(c, "http://g/p?z"), a);
    cache_no_vary_forget(c, SLICE_LIT("http://h/p?q"));
    assert_null(find(c, "http://h/p"));
    assert_ptr_equal(find(c, "http://g/p"), a);
    cache_destroy(c);
}

static void test_bounded(void **state)
{
    UNUSED(state);
    struct cache *c = fix_cache(1 * MB);
    char url[64], text[64];
    size_t found = 0;
    for (unsigned i = 0; i < 100000; i++) {
        snprintf(url, sizeof url, "http://h/%u", i);
        assert_non_null(learn(c, url, " no-vary:order"));
        assert_non_null(find(c, url));
    }
    for (unsigned i = 0; i < 100000; i++) {
        snprintf(url, sizeof url, "http://h/%u", i);
        found += find(c, url) != NULL;
    }
    assert_true(found > 500 && found <= 1024);
    for (unsigned i = 1; i < 256; i++) {
        snprintf(text, sizeof text, " no-vary:only:%u", i);
        assert_non_null(learn(c, "http://h/p", text));
    }
    uint64_t used = fix_stats(c).bytes_used;
    assert_null(learn(c, "http://h/p", " no-vary:only:one-more"));
    assert_int_equal(fix_stats(c).bytes_used, used);
    assert_non_null(learn(c, "http://h/p", " no-vary:only:255"));
    cache_destroy(c);
}

static void test_no_memory(void **state)
{
    UNUSED(state);
    for (long calls = 0; calls < 2; calls++) {
        struct cache *c = fix_cache(1 * MB);
        cache_memory_fail_after(calls);
        assert_null(learn(c, "http://h/p", " no-vary:none"));
        cache_memory_fail_after(-1);
        assert_non_null(learn(c, "http://h/p", " no-vary:none"));
        cache_destroy(c);
    }
}

static struct cache_flight *lead(struct cache *c, const char *key)
{
    struct cache_key k = fix_key(key);
    struct http_head request = {.method = HTTP_GET};
    char block[1024];
    struct arena scratch;
    arena_init(&scratch, block, sizeof block, sizeof block);
    struct cache_join_result j = cache_join(c, &k, &request, &scratch, NULL, NULL, fix_on_event, NULL);
    assert_int_equal(j.what, CACHE_LEAD);
    return j.flight;
}

static bool move(struct cache_flight **fl, const char *key)
{
    struct cache_key k = fix_key(key);
    struct http_head request = {.method = HTTP_GET};
    char block[1024];
    struct arena scratch;
    arena_init(&scratch, block, sizeof block, sizeof block);
    return cache_flight_move(fl, &k, &request, &scratch);
}

#define RULED "http://h/p no-vary:none"

/* What began before purges reach what lies under rules may not lie there. */
static void test_fetches_from_before_stay(void **state)
{
    UNUSED(state);
    struct cache *c = fix_cache(1 * MB);
    struct cache_flight *early = lead(c, "http://h/p?1");
    assert_false(cache_no_vary_may_move(early));
    learn(c, "http://h/p", " no-vary:none");
    assert_false(cache_no_vary_may_move(early));
    struct cache_flight *late = lead(c, "http://h/p?2");
    assert_true(cache_no_vary_may_move(late));
    assert_true(move(&late, RULED));
    assert_true(cache_no_vary_may_move(late));
    assert_false(move(&early, RULED)); /* the place is taken */
    assert_null(early);
    cache_flight_fail(&late, FETCH_CANCELLED);
    cache_destroy(c);
}

/* It is as old as the fetch. */
static void test_moved_flights_do_not_outrun_purges(void **state)
{
    UNUSED(state);
    struct cache *c = fix_cache(1 * MB);
    learn(c, "http://h/p", " no-vary:none");
    struct cache_flight *fl = lead(c, "http://h/p?1");
    struct cache_key other = fix_key("http://h/p?2");
    cache_purge_url(c, &other);
    assert_true(move(&fl, RULED));
    struct cache_key key = fix_key(RULED);
    struct http_head head = {.method = HTTP_GET, .status = 200};
    const struct cache_fill fill = {.request = &head,
                                    .response = &head,
                                    .head = SLICE_LIT(FIX_HEAD),
                                    .status = 200,
                                    .status_line_bytes = sizeof "HTTP/1.1 200 OK\r\n" - 1,
                                    .max_object_bytes = 1000};
    enum no_store_reason why;
    assert_non_null(cache_fill_begin(fl, &fill, &why));
    assert_int_equal(cache_fill_finish(&fl), NO_STORE_PURGED);
    enum no_store_reason pass;
    rcu_enter();
    assert_null(cache_find(c, &key, &head, NULL, &pass));
    rcu_leave();
    cache_destroy(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_learned_by_path),
        cmocka_unit_test(test_bounded),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_fetches_from_before_stay),
        cmocka_unit_test(test_moved_flights_do_not_outrun_purges),
    };
    return cmocka_run_group_tests_name("cache/no_vary_table", tests, fix_group_setup, fix_group_teardown);
}
