/* test_purge.c: purges of every kind on what is stored and what is being fetched, hard and soft; what they
 * leave alone; which texts are refused. Their interleavings are test_interleave.c's business. */
#include "cache/purge.h"

#include "cache/stream_queue.h"

#include "tests/unit/cache/fixture.h"

static struct cache *c;
static struct worker *w;

static int open_cache(void **state)
{
    UNUSED(state);
    c = fix_cache(32 * MB);
    cache_sweeper_stop(c); /* might be faster to remove what is counted */
    w = worker_create(0);
    assert_non_null(w);
    return 0;
}

static int close_cache(void **state)
{
    UNUSED(state);
    fix_pump(w);
    worker_destroy(w);
    fix_end(&c);
    return 0;
}

static size_t purge(enum cache_purge_kind kind, bool soft, const char *text)
{
    const struct cache_purge p = {.kind = kind, .soft = soft, .text = slice_str(text)};
    struct cache_purge_result result;
    uint64_t before = cache_inval_head(&c->inval);
    assert_true(cache_purge(c, &p, 1, &result));
    assert_null(result.problem);
    assert_true(result.id > before && result.id == cache_inval_head(&c->inval));
    return result.removed;
}

static struct cache_fill tagged_fill(int64_t body_bytes, const char *tags)
{
    struct cache_fill fill = fix_fill(body_bytes);
    fill.tags.text = slice_str(tags); /* each with its space behind it */
    fill.tags.bytes[CACHE_TAG_CACHE_TAG] = (uint16_t)strlen(tags);
    return fill;
}

static void store_tagged(const char *url, uint64_t bytes, const char *tags)
{
    struct cache_fill fill = tagged_fill((int64_t)bytes, tags);
    assert_int_equal(fix_store_fill(c, url, &fill, bytes), NO_STORE_STORED);
}

static bool found_fresh(const char *url)
{
    struct cache_object *o = fix_find(c, url);
    assert_non_null(o);
    const struct cache_object_info info = cache_object_info(o);
    const wall_ms_t lagging_ms = clock_wall_ms() - CACHE_CLOCK_SLACK_MS / 2;
    bool fresh = cache_freshness_is_fresh(&info.fresh, lagging_ms);
    assert_int_equal(fresh, cache_freshness_is_fresh(&info.fresh, clock_wall_ms()));
    cache_object_unref(&o);
    return fresh;
}

static void count_purge(void *arg)
{
    ++*(int *)arg;
}

/* Also of what is not known here, since who hears of it may know it. */
static void test_who_watches_hears_of_it(void **state)
{
    UNUSED(state);
    int heard = 0;
    const struct cache_purge_watch watch = {count_purge, &heard};
    const struct cache_purge all = {.kind = CACHE_PURGE_ALL, .text = SLICE_EMPTY};
    const slice_t url = SLICE_LIT("http://a/x");
    const struct cache_key key = {url, hash_bytes(url.ptr, url.len)};
    cache_watch_purges(c, &watch);
    purge(CACHE_PURGE_TAG, false, "t");
    assert_int_equal(heard, 1);
    assert_false(cache_invalidate_url(c, &key));
    assert_int_equal(heard, 2);
    assert_int_equal(fix_store(c, "http://a/x", 10), NO_STORE_STORED);
    assert_true(cache_invalidate_url(c, &key));
    assert_int_equal(heard, 3);
    cache_purge_followed(c, &all, 1); /* others hear of that themselves */
    assert_int_equal(heard, 3);
    cache_watch_purges(c, NULL);
    cache_purge_all(c);
    assert_int_equal(heard, 3);
}

static void test_tags_lie_with_the_object(void **state)
{
    UNUSED(state);
    static const uint64_t bodies[] = {0, 100, 1000, 5000, 100000};
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        for (int announced = 0; announced < 2; announced++) {
            purge(CACHE_PURGE_ALL, false, "");
            struct cache_fill fill = tagged_fill(announced ? (int64_t)bodies[i] : -1, "a bb ccc ");
            assert_int_equal(fix_store_fill(c, "http://h/", &fill, bodies[i]), NO_STORE_STORED);
            struct cache_object *o = fix_find(c, "http://h/");
            assert_true(slice_eq(cache_object_tags(o), SLICE_LIT("a bb ccc")));
            assert_int_equal(cache_object_tag_fields(o).bytes[CACHE_TAG_CACHE_TAG], 9);
            assert_true(slice_eq(cache_object_info(o).head, SLICE_LIT(FIX_HEAD)));
            assert_true(fix_body_is_right(o, 0, bodies[i]));
            cache_object_unref(&o);
        }
    }
    assert_int_equal(fix_store(c, "http://h/none", 100), NO_STORE_STORED);
    struct cache_object *o = fix_find(c, "http://h/none");
    assert_int_equal(cache_object_tags(o).len, 0);
    cache_object_unref(&o);
}

static void test_tag_purge_concerns_its_objects_only(void **state)
{
    UNUSED(state);
    store_tagged("http://h/1", 100, "news all ");
    store_tagged("http://h/2", 100, "shop all ");
    assert_int_equal(fix_store(c, "http://h/3", 100), NO_STORE_STORED);
    purge(CACHE_PURGE_TAG, false, "new");
    assert_true(fix_has(c, "http://h/1"));
    purge(CACHE_PURGE_TAG, false, "news");
    assert_false(fix_has(c, "http://h/1"));
    assert_true(fix_has(c, "http://h/2"));
    assert_true(fix_has(c, "http://h/3"));
    store_tagged("http://h/1", 100, "news all "); /* fetched afterwards */
    assert_true(fix_has(c, "http://h/1"));
    purge(CACHE_PURGE_ALL, false, "");
    assert_false(fix_has(c, "http://h/1") || fix_has(c, "http://h/2") || fix_has(c, "http://h/3"));
}

static void test_soft_is_stale_from_now_on(void **state)
{
    UNUSED(state);
    store_tagged("http://h/1", 100, "a ");
    assert_true(found_fresh("http://h/1"));
    wall_ms_t before_ms = clock_wall_ms();
    purge(CACHE_PURGE_TAG, true, "a");
    assert_false(found_fresh("http://h/1"));
    struct cache_object *o = fix_find(c, "http://h/1");
    const struct cache_freshness f = cache_object_info(o).fresh;
    assert_int_equal(f.lifetime_ms, cache_freshness_age_ms(&f, before_ms)); /* an hour of lifetime is gone */
    assert_in_range(f.response_ms, before_ms - 1, clock_wall_ms() + 1);
    cache_object_unref(&o);
    purge(CACHE_PURGE_TAG, true, "other");
    assert_false(found_fresh("http://h/1"));
    purge(CACHE_PURGE_TAG, false, "a");
    assert_false(fix_has(c, "http://h/1"));
}

static void test_exact_urls_are_removed_at_once(void **state)
{
    UNUSED(state);
    assert_int_equal(fix_store(c, "http://h/1", 100), NO_STORE_STORED);
    assert_int_equal(purge(CACHE_PURGE_URL, true, "http://h/1"), 1);
    assert_int_equal(fix_stats(c).objects, 1);
    assert_false(found_fresh("http://h/1"));
    assert_int_equal(purge(CACHE_PURGE_URL, false, "http://h/1"), 1);
    assert_int_equal(fix_stats(c).objects, 0);
    assert_int_equal(purge(CACHE_PURGE_URL, false, "http://h/1"), 0);
}

static void test_several_at_once(void **state)
{
    UNUSED(state);
    store_tagged("http://h/1", 100, "a ");
    store_tagged("http://h/2", 100, "b ");
    store_tagged("http://h/3", 100, "c ");
    const struct cache_purge p[] = {{CACHE_PURGE_TAG, false, SLICE_LIT("a")},
                                    {CACHE_PURGE_TAG, true, SLICE_LIT("b")},
                                    {CACHE_PURGE_URL, false, SLICE_LIT("http://h/3")}};
    struct cache_purge_result result;
    assert_true(cache_purge(c, p, ARRAY_LEN(p), &result));
    assert_int_equal(result.removed, 1);
    assert_false(fix_has(c, "http://h/1") || fix_has(c, "http://h/3"));
    assert_false(found_fresh("http://h/2"));
    assert_int_equal(fix_stats(c).purges, 3);
}

/* The parts of a key behind its URL do not keep a purge of the URL from it. */
static void test_keys_with_parts(void **state)
{
    UNUSED(state);
    static const enum cache_purge_kind kinds[] = {CACHE_PURGE_URL, CACHE_PURGE_URL_ANY_QUERY,
                                                  CACHE_PURGE_GLOB};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        assert_int_equal(fix_store(c, "http://h/1 mobile", 100), NO_STORE_STORED);
        purge(kinds[i], false, "http://h/1");
        assert_false(fix_has(c, "http://h/1 mobile"));
    }
    assert_int_equal(fix_store(c, "http://h/1 mobile", 100), NO_STORE_STORED);
    const struct cache_key plain = fix_key("http://h/1"), mobile = fix_key("http://h/1 mobile");
    assert_true(cache_invalidate_url(c, &plain));
    assert_false(fix_has(c, "http://h/1 mobile"));
    assert_int_equal(fix_store(c, "http://h/1", 100), NO_STORE_STORED);
    cache_purge_url(c, &mobile);
    assert_false(fix_has(c, "http://h/1"));
}

/* ---- while it is fetched ---- */

static void test_tags_known_only_with_the_response(void **state)
{
    UNUSED(state);
    for (int soft = 0; soft < 2; soft++) {
        struct fix_reader before = {0}, after = {0};
        struct cache_flight *fl = fix_lead(c, "http://h/1");
        assert_int_equal(fix_join(c, "http://h/1", NULL, w, &before).what, CACHE_FOLLOW);
        purge(CACHE_PURGE_TAG, soft, "a");
        assert_int_equal(fix_join(c, "http://h/1", NULL, w, &after).what, CACHE_FOLLOW);
        struct cache_fill fill = tagged_fill(100, "a ");
        enum no_store_reason why;
        assert_non_null(cache_fill_begin(fl, &fill, &why));
        fix_pump(w);
        assert_int_equal(before.events[0], CACHE_EVENT_OBJECT);
        assert_int_equal(after.events[0], CACHE_EVENT_RETRY);
        uint64_t offset = 0;
        fix_pour(fl, &offset, 100);
        assert_int_equal(cache_fill_finish(&fl), soft ? NO_STORE_STORED : NO_STORE_PURGED);
        assert_int_equal(fix_has(c, "http://h/1"), soft);
        if (soft)
            assert_false(found_fresh("http://h/1"));
        cache_follower_close(&before.follower);
        cache_follower_close(&after.follower);
    }
}

static void test_purge_while_it_is_filled(void **state)
{
    UNUSED(state);
    for (int soft = 0; soft < 2; soft++) {
        struct cache_flight *fl = fix_lead(c, "http://h/1");
        struct cache_fill fill = tagged_fill(100, "a ");
        enum no_store_reason why;
        assert_non_null(cache_fill_begin(fl, &fill, &why));
        purge(CACHE_PURGE_TAG, soft, "a");
        struct cache_flight *second = fix_lead(c, "http://h/1"); /* nobody joins the first any more */
        uint64_t offset = 0;
        fix_pour(fl, &offset, 100);
        assert_int_equal(cache_fill_finish(&fl), soft ? NO_STORE_SUPERSEDED : NO_STORE_PURGED);
        cache_flight_release(&second, NO_STORE_STATUS, 0);
        assert_false(fix_has(c, "http://h/1"));
    }
}

/* What a 304 makes of "http://h/1", with these tags, when `purged` was purged while it was under way. */
static struct cache_object *refresh(const char *tags, bool soft, const char *purged)
{
    struct arena scratch;
    arena_init(&scratch, NULL, 0, 64 * KB);
    purge(CACHE_PURGE_ALL, false, "");
    store_tagged("http://h/1", 100, "a ");
    struct cache_object *stale = fix_find(c, "http://h/1");
    const struct cache_key k = fix_key("http://h/1");
    struct cache_flight *fl = cache_lead(c, &k, fix_plain(), &scratch, stale);
    assert_non_null(fl);
    purge(CACHE_PURGE_TAG, soft, purged);
    struct cache_fill fill = tagged_fill(100, tags);
    struct cache_object *o = cache_flight_refresh(&fl, stale, &fill);
    cache_object_unref(&o);
    cache_object_unref(&stale);
    arena_reset(&scratch);
    return fix_find(c, "http://h/1");
}

static void test_304_brings_nothing_back(void **state)
{
    UNUSED(state);
    assert_null(refresh("a ", false, "a"));
    assert_null(refresh("b ", false, "a")); /* it was under the old tag */
    struct cache_object *o = refresh("b ", false, "b");
    assert_true(slice_eq(cache_object_tags(o), SLICE_LIT("a"))); /* what was stored is, this answer is not */
    cache_object_unref(&o);
    o = refresh("b ", false, "c");
    assert_true(slice_eq(cache_object_tags(o), SLICE_LIT("b")));
    cache_object_unref(&o);
    assert_true(found_fresh("http://h/1"));
    o = refresh("b ", true, "a");
    cache_object_unref(&o);
    assert_false(found_fresh("http://h/1"));
}

/* A revalidation that began after the soft purge makes it fresh again. */
static void test_revalidation_ends_a_soft_purge(void **state)
{
    UNUSED(state);
    struct arena scratch;
    arena_init(&scratch, NULL, 0, 64 * KB);
    store_tagged("http://h/1", 100, "a ");
    purge(CACHE_PURGE_TAG, true, "a");
    struct cache_object *stale = fix_find(c, "http://h/1");
    const struct cache_key k = fix_key("http://h/1");
    struct cache_flight *fl = cache_lead(c, &k, fix_plain(), &scratch, stale);
    struct cache_fill fill = tagged_fill(100, "a ");
    struct cache_object *o = cache_flight_refresh(&fl, stale, &fill);
    cache_object_unref(&o);
    cache_object_unref(&stale);
    arena_reset(&scratch);
    assert_true(found_fresh("http://h/1"));
}

/* ---- texts ---- */

/* Whoever purges has often just cured what kept a response from being stored. */
static void test_what_could_not_be_stored_is_forgotten(void **state)
{
    UNUSED(state);
    static const struct {
        enum cache_purge_kind kind;
        const char *text;
    } purges[] = {{CACHE_PURGE_URL, "http://h/a"}, {CACHE_PURGE_ALL, ""}};
    for (size_t i = 0; i < ARRAY_LEN(purges); i++) {
        struct cache_flight *fl = fix_lead(c, "http://h/a");
        cache_flight_release(&fl, NO_STORE_PRIVATE, 60000);
        assert_true(fix_pass(c, "http://h/a"));
        purge(CACHE_PURGE_URL, false, "http://h/b");
        assert_true(fix_pass(c, "http://h/a"));
        purge(purges[i].kind, false, purges[i].text);
        assert_false(fix_pass(c, "http://h/a"));
    }
}

static void test_texts_that_are_refused(void **state)
{
    UNUSED(state);
    static const struct {
        enum cache_purge_kind kind;
        const char *text;
        bool good;
    } cases[] = {
        {CACHE_PURGE_ALL, "", true},
        {CACHE_PURGE_URL, "http://h/", true},
        {CACHE_PURGE_URL, "https://h/", true},
        {CACHE_PURGE_URL, "/x", false},
        {CACHE_PURGE_URL, "", false},
        {CACHE_PURGE_URL, "http://h/a b", false},
        {CACHE_PURGE_URL_ANY_QUERY, "h", false},
        {CACHE_PURGE_TAG, "", false},
        {CACHE_PURGE_TAG, "a b", false},
        {CACHE_PURGE_TAG, "a\tb", false},
        {CACHE_PURGE_TAG, "caf\xc3\xa9", true},
        {CACHE_PURGE_PREFIX, "", false},
        {CACHE_PURGE_PREFIX, "http", true},
        {CACHE_PURGE_GLOB, "*", true},
        {CACHE_PURGE_HOST, "h:80", true},
        {CACHE_PURGE_HOST, "http://h", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct cache_purge p = {.kind = cases[i].kind, .text = slice_str(cases[i].text)};
        if ((cache_purge_problem(&p) == NULL) != cases[i].good)
            fail_msg("%d %s", (int)cases[i].kind, cases[i].text);
    }
    static char text[CACHE_PURGE_TEXT_MAX + 1];
    memset(text, 'a', sizeof text);
    const struct cache_purge tag = {.kind = CACHE_PURGE_TAG, .text = slice_make(text, sizeof text)},
                             glob = {.kind = CACHE_PURGE_GLOB,
                                     .text = slice_make(text, CACHE_PURGE_PATTERN_MAX + 1)};
    assert_non_null(cache_purge_problem(&tag));
    assert_non_null(cache_purge_problem(&glob));

    store_tagged("http://h/1", 100, "a ");
    const struct cache_purge mixed[] = {{CACHE_PURGE_TAG, false, SLICE_LIT("a")},
                                        {CACHE_PURGE_TAG, false, SLICE_LIT("")}};
    struct cache_purge_result result;
    assert_false(cache_purge(c, mixed, 2, &result));
    assert_non_null(result.problem);
    assert_true(fix_has(c, "http://h/1")); /* none of it was done */
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, open_cache, close_cache)

/* So that none is longer than nodes can read. */
static void test_what_is_shared_is_cut_up(void **state)
{
    UNUSED(state);
    enum { COUNT = 100, BYTES = 8000 };
    static char texts[COUNT][BYTES];
    struct cache_purge items[COUNT];
    struct cache_purge_result result;
    struct cache_stream_map map;
    assert_true(cache_stream_map_open(&map, 4));
    struct cache_stream_queue *q = cache_stream_queue_open(&(struct cache_stream_queue_settings){
        .map = &map, .log = &c->inval, .bytes_max = 16 * MB, .events_max = 100});
    assert_non_null(q);
    cache_share_purges(c, q);
    for (unsigned i = 0; i < COUNT; i++) {
        memset(texts[i], 'a' + (int)i % 26, BYTES);
        items[i] = (struct cache_purge){.kind = CACHE_PURGE_TAG, .text = slice_make(texts[i], BYTES)};
    }
    assert_true(cache_purge(c, items, COUNT, &result));
    assert_true(result.is_shared && !result.flows);
    struct cache_stream_queue_stats stats;
    cache_stream_queue_get_stats(q, &stats);
    assert_int_equal(stats.collapses, 0);
    assert_int_equal(stats.pending, 2);
    cache_share_purges(c, NULL);
    cache_stream_queue_close(&q);
    cache_stream_map_close(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_who_watches_hears_of_it),
        TEST(test_tags_lie_with_the_object),
        TEST(test_tag_purge_concerns_its_objects_only),
        TEST(test_soft_is_stale_from_now_on),
        TEST(test_exact_urls_are_removed_at_once),
        TEST(test_several_at_once),
        TEST(test_keys_with_parts),
        TEST(test_tags_known_only_with_the_response),
        TEST(test_purge_while_it_is_filled),
        TEST(test_304_brings_nothing_back),
        TEST(test_what_is_shared_is_cut_up),
        TEST(test_revalidation_ends_a_soft_purge),
        TEST(test_what_could_not_be_stored_is_forgotten),
        TEST(test_texts_that_are_refused),
    };
    return cmocka_run_group_tests_name("cache/purge", tests, fix_group_setup, fix_group_teardown);
}
