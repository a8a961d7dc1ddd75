/* test_peek.c: looking at a cache without using it. */
#include "fixture.h"

#include "cache/object.h"
#include "cache/peek.h"

struct look {
    struct cache_peek peek;
    struct arena arena;
};

/* The caller is inside rcu_enter; ends with arena_reset. */
static void look(struct cache *c, const char *url, const struct http_head *request, struct look *l)
{
    struct cache_key k = fix_key(url);
    arena_init(&l->arena, NULL, 0, 64 * KB);
    cache_peek(c, &k, request != NULL ? request : fix_plain(), &l->arena, &l->peek);
}

static void test_changes_nothing(void **state)
{
    UNUSED(state);
    struct cache *c = fix_cache(16 * MB);
    struct look l;
    assert_int_equal(fix_store(c, "http://a/", 10), NO_STORE_STORED);
    rcu_enter();
    for (int i = 0; i < 3; i++) {
        look(c, "http://a/", NULL, &l);
        assert_non_null(l.peek.object);
        assert_int_equal(atomic_load(&l.peek.object->freq), 0); /* not a use */
        assert_false(l.peek.varies || l.peek.fetching || l.peek.passing || l.peek.purged_ms > 0);
        arena_reset(&l.arena);
        look(c, "http://a/other", NULL, &l);
        assert_null(l.peek.object);
        arena_reset(&l.arena);
    }
    rcu_leave();
    assert_int_equal(fix_stats(c).flights_now, 0);
    cache_destroy(c);
}

static void test_fetch_and_pass(void **state)
{
    UNUSED(state);
    struct cache *c = fix_cache(16 * MB);
    struct look l;
    struct cache_flight *fl = fix_lead(c, "http://a/");
    rcu_enter();
    look(c, "http://a/", NULL, &l);
    assert_true(l.peek.fetching);
    arena_reset(&l.arena);
    rcu_leave();
    cache_flight_answered(fl, 404);
    cache_flight_release(&fl, NO_STORE_NO_FRESHNESS, 60000);
    rcu_enter();
    look(c, "http://a/", NULL, &l);
    assert_false(l.peek.fetching);
    assert_true(l.peek.passing);
    assert_int_equal(l.peek.pass.why, NO_STORE_NO_FRESHNESS);
    assert_int_equal(l.peek.pass.status, 404);
    arena_reset(&l.arena);
    rcu_leave();
    cache_destroy(c);
}

static void store_variant(struct cache *c, const char *url, const char *agent)
{
    struct fix_head request, response;
    struct cache_fill fill = fix_fill(5);
    fill.request = fix_with_field(&request, HTTP_FIELD_USER_AGENT, "User-Agent", agent);
    fill.response = fix_with_field(&response, HTTP_FIELD_VARY, "Vary", "User-Agent");
    assert_int_equal(fix_store_fill(c, url, &fill, 5), NO_STORE_STORED);
}

static void test_variants(void **state)
{
    UNUSED(state);
    struct cache *c = fix_cache(16 * MB);
    struct look l;
    struct fix_head request;
    char agent[16];
    for (int i = 0; i < CACHE_PEEK_VARIANTS + 4; i++) {
        snprintf(agent, sizeof agent, "agent %d", i);
        store_variant(c, "http://a/", agent);
    }
    rcu_enter();
    look(c, "http://a/", fix_with_field(&request, HTTP_FIELD_USER_AGENT, "User-Agent", "agent 3"), &l);
    assert_true(l.peek.varies && l.peek.variant_known);
    assert_int_equal(l.peek.variant_count, CACHE_PEEK_VARIANTS + 4); /* all counted, some listed */
    assert_ptr_equal(l.peek.object, l.peek.variants[3].object);
    assert_true(slice_eq(l.peek.vary_names, SLICE_LIT("user-agent")));
    assert_true(slice_eq(l.peek.secondary, SLICE_LIT("user-agent: agent 3\n")));
    arena_reset(&l.arena);
    look(c, "http://a/", NULL, &l);
    assert_null(l.peek.object);
    arena_reset(&l.arena);
    rcu_leave();
    cache_destroy(c);
}

static void test_purged(void **state)
{
    UNUSED(state);
    struct cache *c = fix_cache(16 * MB);
    struct cache_key k = fix_key("http://a/");
    struct look l;
    assert_int_equal(fix_store(c, "http://a/", 10), NO_STORE_STORED);
    cache_purge_url(c, &k);
    rcu_enter();
    look(c, "http://a/", NULL, &l);
    assert_null(l.peek.object);
    assert_true(l.peek.purged_ms > 0);
    arena_reset(&l.arena);
    look(c, "http://b/", NULL, &l);
    assert_int_equal(l.peek.purged_ms, 0);
    arena_reset(&l.arena);
    rcu_leave();
    cache_destroy(c);
}

static void test_other_queries(void **state)
{
    UNUSED(state);
    struct cache *c = fix_cache(16 * MB);
    static const char *const stored[] = {"http://a/p",          "http://a/p?x=1",   "http://a/p?x=2",
                                         "http://a/pp?x=1",     "http://b/p?x=1",   "http://a/p?x=1 k=?a",
                                         "http://a/p?y k=?a&b", "http://a/p k=?a&b"};
    struct cache_key k = fix_key("http://a/p?x=1");
    slice_t example = SLICE_EMPTY;
    for (size_t i = 0; i < ARRAY_LEN(stored); i++)
        assert_int_equal(fix_store(c, stored[i], 10), NO_STORE_STORED);
    store_variant(c, "http://a/p?x=3", "one"); /* counted once */
    store_variant(c, "http://a/p?x=3", "two");
    rcu_enter();
    assert_int_equal(cache_peek_queries(c, &k, 1000000, &example), 3);
    assert_true(slice_starts(example, SLICE_LIT("http://a/p")));
    k = fix_key("http://a/p?x k=?a&b");
    assert_int_equal(cache_peek_queries(c, &k, 1000000, &example), 2);
    assert_int_equal(slice_find(example, ' ', 0), SIZE_MAX); /* what others sent is not part of it */
    k = fix_key("http://c/");
    assert_int_equal(cache_peek_queries(c, &k, 1000000, &example), 0);
    k = fix_key("http://a/p?x=1");
    assert_int_equal(cache_peek_queries(c, &k, 0, &example), 0); /* looks no further than it may */
    rcu_leave();
    cache_destroy(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_changes_nothing), cmocka_unit_test(test_fetch_and_pass),
        cmocka_unit_test(test_variants),        cmocka_unit_test(test_purged),
        cmocka_unit_test(test_other_queries),
    };
    return cmocka_run_group_tests(tests, fix_group_setup, fix_group_teardown);
}
