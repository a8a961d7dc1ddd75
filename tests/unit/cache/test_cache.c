/* test_cache.c: the facade as the proxy uses it: purges against fetches under way (promise 2), Vary, the
 * budget, and what a hit does not do. */
#include "tests/unit/cache/open_cache.h"

#define URL "http://h/page"

static size_t purge(const char *url)
{
    struct cache_key k = fix_key(url);
    return cache_purge_url(c, &k);
}

static struct cache_object *begin(struct cache_flight *fl, int64_t body_bytes)
{
    struct cache_fill fill = fix_fill(body_bytes);
    enum no_store_reason why;
    struct cache_object *o = cache_fill_begin(fl, &fill, &why);
    assert_non_null(o);
    return o;
}

/* ---- promise 2 ---- */

static void test_purge_removes_what_is_stored(void **state)
{
    UNUSED(state);
    assert_int_equal(fix_store(c, URL, 100), NO_STORE_STORED);
    assert_int_equal(fix_store(c, "http://h/other", 100), NO_STORE_STORED);
    struct cache_object *reader = fix_find(c, URL);
    assert_int_equal(purge(URL), 1);
    assert_int_equal(purge(URL), 0);
    assert_false(fix_has(c, URL));
    assert_true(fix_has(c, "http://h/other"));
    assert_true(fix_body_is_right(reader, 0, 100)); /* he started before */
    rcu_flush();
    assert_int_equal(fix_stats(c).live_objects, 2);
    cache_object_unref(&reader);
    assert_int_equal(fix_stats(c).live_objects, 1);
    assert_int_equal(fix_store(c, URL, 100), NO_STORE_STORED);
    assert_true(fix_has(c, URL));
    assert_int_equal(fix_stats(c).purges, 2);
}

/* Where in a fetch the purge comes. */
enum moment { BEFORE_BEGIN, AFTER_BEGIN, AFTER_BYTES, MOMENTS };

static void test_purge_during_a_fetch(void **state)
{
    UNUSED(state);
    for (int all = 0; all < 2; all++) {
        for (enum moment at = BEFORE_BEGIN; at < MOMENTS; at++) {
            struct fix_reader before = {0}, after = {0};
            struct cache_flight *fl = fix_lead(c, URL), *second = NULL;
            uint64_t offset = 0;
            assert_int_equal(fix_join(c, URL, NULL, w, &before).what, CACHE_FOLLOW);
            for (enum moment m = BEFORE_BEGIN; m < MOMENTS; m++) {
                if (m == AFTER_BEGIN)
                    begin(fl, 100);
                else if (m == AFTER_BYTES)
                    fix_pour(fl, &offset, 50);
                if (m == at) {
                    if (all)
                        cache_purge_all(c);
                    else
                        purge(URL);
                    second = fix_lead(c, URL); /* who comes now starts anew */
                    assert_int_equal(fix_join(c, URL, NULL, w, &after).what, CACHE_FOLLOW);
                }
            }
            fix_pour(fl, &offset, 50);
            assert_int_equal(cache_fill_finish(&fl), NO_STORE_PURGED);
            assert_false(fix_has(c, URL));
            fix_pump(w);
            assert_int_equal(before.events[0], CACHE_EVENT_OBJECT); /* he asked before the purge */
            assert_true(fix_body_is_right(cache_follower_object(before.follower), 0, 100));
            assert_int_equal(after.count, 0); /* he waits for the new one */
            begin(second, 0);
            assert_int_equal(cache_fill_finish(&second), NO_STORE_STORED);
            fix_pump(w);
            assert_int_equal(after.events[0], CACHE_EVENT_OBJECT);
            assert_int_equal(cache_object_info(cache_follower_object(after.follower)).body_bytes, 0);
            assert_true(fix_has(c, URL));
            cache_follower_close(&before.follower);
            cache_follower_close(&after.follower);
            purge(URL);
        }
    }
}

/* cache_invalidate_url: as final as a purge where there is something, and free where there is nothing. */
static void test_invalidation_finds_what_is_stored_or_fetched(void **state)
{
    UNUSED(state);
    struct cache_key k = fix_key(URL);
    uint64_t head = cache_inval_head(&c->inval);
    assert_false(cache_invalidate_url(c, &k));
    assert_int_equal(fix_store(c, "http://h/other", 1), NO_STORE_STORED);
    assert_false(cache_invalidate_url(c, &k));
    assert_int_equal(cache_inval_head(&c->inval), head);

    assert_int_equal(fix_store(c, URL, 1), NO_STORE_STORED);
    assert_true(cache_invalidate_url(c, &k));
    assert_false(fix_has(c, URL));
    assert_true(fix_has(c, "http://h/other"));
    assert_true(cache_inval_head(&c->inval) > head);

    for (enum moment at = BEFORE_BEGIN; at < MOMENTS; at++) {
        struct cache_flight *fl = fix_lead(c, URL);
        uint64_t offset = 0;
        if (at >= AFTER_BEGIN)
            begin(fl, 100);
        if (at >= AFTER_BYTES)
            fix_pour(fl, &offset, 50);
        assert_true(cache_invalidate_url(c, &k));
        if (at < AFTER_BEGIN)
            begin(fl, 100);
        fix_pour(fl, &offset, 100 - offset);
        assert_int_equal(cache_fill_finish(&fl), NO_STORE_PURGED);
        assert_false(fix_has(c, URL));
    }
}

static void test_late_finish_does_not_replace_the_newer_object(void **state)
{
    UNUSED(state);
    struct cache_flight *old = fix_lead(c, URL);
    begin(old, 1);
    purge(URL);
    assert_int_equal(fix_store(c, URL, 77), NO_STORE_STORED);
    uint64_t at = 0;
    fix_pour(old, &at, 1);
    assert_int_equal(cache_fill_finish(&old), NO_STORE_PURGED);
    struct cache_object *o = fix_find(c, URL);
    assert_int_equal(cache_object_info(o).body_bytes, 77);
    cache_object_unref(&o);
}

static void test_other_urls_are_not_hurt_by_a_purge(void **state)
{
    UNUSED(state);
    struct cache_flight *fl = fix_lead(c, URL);
    assert_int_equal(fix_store(c, "http://h/stored", 1), NO_STORE_STORED);
    for (int i = 0; i < 100; i++) {
        char url[32];
        snprintf(url, sizeof url, "http://h/x%d", i);
        purge(url);
    }
    begin(fl, 0);
    assert_int_equal(cache_fill_finish(&fl), NO_STORE_STORED);
    assert_true(fix_has(c, URL));
    assert_true(fix_has(c, "http://h/stored"));
}

static void test_304_does_not_bring_back_what_was_purged(void **state)
{
    UNUSED(state);
    struct fix_reader r = {0};
    assert_int_equal(fix_store(c, URL, 100), NO_STORE_STORED);
    struct cache_object *stale = fix_find(c, URL);
    for (int purged_before_join = 0; purged_before_join < 2; purged_before_join++) {
        if (purged_before_join)
            purge(URL);
        struct cache_key k = fix_key(URL);
        struct cache_join_result j = cache_join(c, &k, fix_plain(), NULL, stale, w, NULL, NULL);
        assert_int_equal(j.what, CACHE_LEAD);
        r = (struct fix_reader){0};
        r.follower = cache_join(c, &k, fix_plain(), NULL, stale, w, fix_on_event, &r).follower;
        if (!purged_before_join)
            purge(URL);
        struct cache_fill fill = fix_fill(100);
        struct cache_object *o = cache_flight_refresh(&j.flight, stale, &fill);
        assert_non_null(o); /* the leader's own client asked before */
        assert_false(fix_has(c, URL));
        fix_pump(w);
        assert_int_equal(r.events[0], CACHE_EVENT_RETRY);
        cache_follower_close(&r.follower);
        cache_object_unref(&o);
    }
    cache_object_unref(&stale);
}

static void test_purge_all_frees_everything(void **state)
{
    UNUSED(state);
    uint64_t empty = fix_stats(c).bytes_used;
    for (int i = 0; i < 2000; i++) {
        char url[32];
        snprintf(url, sizeof url, "http://h/%d", i);
        assert_int_equal(fix_store(c, url, 1000), NO_STORE_STORED);
    }
    cache_purge_all(c);
    for (int i = 0; i < 2000; i++) {
        char url[32];
        snprintf(url, sizeof url, "http://h/%d", i);
        assert_false(fix_has(c, url));
    }
    fix_sweep(c);
    rcu_flush();
    struct cache_stats s = fix_stats(c);
    assert_int_equal(s.objects, 0);
    assert_int_equal(s.live_objects, 0);
    assert_in_range(s.bytes_used, empty, empty + 64 * KB);
}

/* A route may add parts behind the URL; a purge by URL concerns those objects, and fetches, as well. */
static void test_purge_by_url_reaches_longer_keys(void **state)
{
    UNUSED(state);
    static const char tablet[] = URL " device:tablet", mobile[] = URL " device:mobile";
    assert_int_equal(fix_store(c, tablet, 10), NO_STORE_STORED);
    struct cache_flight *fl = fix_lead(c, mobile);
    uint64_t offset = 0;
    purge("http://h/other");
    assert_true(fix_has(c, tablet));
    begin(fl, 10);
    assert_true(fix_pour(fl, &offset, 10));
    purge(URL);
    assert_false(fix_has(c, tablet));
    struct cache_flight *later = fix_lead(c, mobile); /* does not join */
    cache_flight_fail(&later, FETCH_CANCELLED);
    assert_int_equal(cache_fill_finish(&fl), NO_STORE_PURGED);
    assert_int_equal(fix_store(c, tablet, 10), NO_STORE_STORED);
    purge(mobile); /* by one of them is by the URL */
    assert_false(fix_has(c, tablet));
}

/* ---- Vary ---- */

static enum no_store_reason store_variant(const char *url, const char *language, const char *vary,
                                          uint64_t bytes)
{
    struct fix_head request, response;
    struct cache_fill fill = fix_fill((int64_t)bytes);
    fill.request = fix_with_field(&request, HTTP_FIELD_ACCEPT_LANGUAGE, "Accept-Language", language);
    fill.response = fix_with_field(&response, HTTP_FIELD_VARY, "Vary", vary);
    return fix_store_fill(c, url, &fill, bytes);
}

/* Body bytes of what a request in that language gets, or -1. */
static int64_t variant_bytes(const char *url, const char *language)
{
    struct fix_head request;
    struct cache_object *o = fix_find_as(
        c, url, fix_with_field(&request, HTTP_FIELD_ACCEPT_LANGUAGE, "Accept-Language", language));
    int64_t bytes = o == NULL ? -1 : cache_object_info(o).body_bytes;
    cache_object_unref(&o);
    return bytes;
}

static void test_variants_are_told_apart_and_purged_together(void **state)
{
    UNUSED(state);
    uint64_t empty = fix_stats(c).bytes_used;
    assert_int_equal(store_variant(URL, "de", "Accept-Language", 10), NO_STORE_STORED);
    assert_int_equal(store_variant(URL, "en", "accept-language", 20), NO_STORE_STORED);
    assert_int_equal(store_variant(URL, NULL, "Accept-Language", 30), NO_STORE_STORED);
    assert_int_equal(variant_bytes(URL, "de"), 10);
    assert_int_equal(variant_bytes(URL, "en"), 20);
    assert_int_equal(variant_bytes(URL, NULL), 30);
    assert_int_equal(variant_bytes(URL, "fr"), -1);
    assert_int_equal(fix_stats(c).objects, 3);
    struct fix_head request;
    struct cache_object *o =
        fix_find_as(c, URL, fix_with_field(&request, HTTP_FIELD_ACCEPT_LANGUAGE, "Accept-Language", "de"));
    assert_true(slice_eq(cache_object_info(o).key, SLICE_LIT(URL)));
    assert_true(slice_eq(cache_object_info(o).vary_names, SLICE_LIT("accept-language")));
    cache_object_unref(&o);
    assert_int_equal(purge(URL), 3);
    assert_int_equal(variant_bytes(URL, "de"), -1);
    assert_int_equal(variant_bytes(URL, NULL), -1);
    rcu_flush();
    assert_int_equal(fix_stats(c).live_objects, 0);
    assert_int_equal(fix_stats(c).bytes_used, empty); /* the marker went as well */
}

static void test_response_without_vary_replaces_all_variants(void **state)
{
    UNUSED(state);
    assert_int_equal(store_variant(URL, "de", "Accept-Language", 10), NO_STORE_STORED);
    assert_int_equal(store_variant(URL, "en", "Accept-Language", 20), NO_STORE_STORED);
    assert_int_equal(store_variant(URL, "fr", NULL, 5), NO_STORE_STORED);
    assert_int_equal(variant_bytes(URL, "de"), 5);
    assert_int_equal(fix_stats(c).objects, 1);
    /* and the other way round, and with other names */
    purge(URL);
    assert_int_equal(store_variant(URL, "de", NULL, 7), NO_STORE_STORED);
    struct cache_object *stale = fix_find(c, URL);
    struct cache_key k = fix_key(URL);
    struct cache_join_result j = cache_join(c, &k, fix_plain(), NULL, stale, w, NULL, NULL);
    struct fix_head vary;
    struct cache_fill fill = fix_fill(0);
    fill.response = fix_with_field(&vary, HTTP_FIELD_VARY, "Vary", "Accept");
    enum no_store_reason why;
    assert_non_null(cache_fill_begin(j.flight, &fill, &why));
    assert_int_equal(cache_fill_finish(&j.flight), NO_STORE_STORED);
    cache_object_unref(&stale);
    assert_int_equal(variant_bytes(URL, "de"), 0);
    assert_int_equal(fix_stats(c).objects, 1);
}

static void test_followers_of_a_varying_response_look_up_again(void **state)
{
    UNUSED(state);
    struct fix_reader same = {0}, other = {0}, again = {0};
    struct fix_head de, en, vary;
    const struct http_head *in_de = fix_with_field(&de, HTTP_FIELD_ACCEPT_LANGUAGE, "Accept-Language", "de");
    const struct http_head *in_en = fix_with_field(&en, HTTP_FIELD_ACCEPT_LANGUAGE, "Accept-Language", "en");
    struct cache_flight *fl = fix_join(c, URL, in_de, NULL, NULL).flight;
    assert_int_equal(fix_join(c, URL, in_de, w, &same).what, CACHE_FOLLOW);
    assert_int_equal(fix_join(c, URL, in_en, w, &other).what, CACHE_FOLLOW);
    struct cache_fill fill = fix_fill(10);
    fill.request = in_de;
    fill.response = fix_with_field(&vary, HTTP_FIELD_VARY, "Vary", "Accept-Language");
    enum no_store_reason why;
    assert_non_null(cache_fill_begin(fl, &fill, &why));
    fix_pump(w);
    assert_int_equal(same.events[0], CACHE_EVENT_RETRY);
    assert_int_equal(other.events[0], CACHE_EVENT_RETRY);
    cache_follower_close(&same.follower);
    cache_follower_close(&other.follower);
    assert_int_equal(fix_join(c, URL, in_de, w, &again).what, CACHE_FOLLOW); /* finds the one under way */
    struct cache_join_result j = fix_join(c, URL, in_en, w, &other);
    assert_int_equal(j.what, CACHE_LEAD);
    fix_pump(w);
    assert_int_equal(again.events[0], CACHE_EVENT_OBJECT);
    uint64_t at = 0;
    fix_pour(fl, &at, 10);
    assert_int_equal(cache_fill_finish(&fl), NO_STORE_STORED);
    assert_true(fix_body_is_right(cache_follower_object(again.follower), 0, 10));
    cache_flight_fail(&j.flight, FETCH_RESET);
    cache_follower_close(&again.follower);
    assert_int_equal(variant_bytes(URL, "de"), 10);
    assert_int_equal(variant_bytes(URL, "en"), -1);
}

/* Two flights of different variants learn that theirs is one and the same: the second is not to be found in
 * the table any more, so it is not stored either. */
static void test_flight_that_left_the_table_is_not_stored(void **state)
{
    UNUSED(state);
    assert_int_equal(store_variant(URL, "de", "Accept-Language", 10), NO_STORE_STORED);
    static const char *const languages[] = {"en", "fr"};
    struct cache_flight *fl[2];
    struct fix_head head;
    enum no_store_reason why;
    for (int i = 0; i < 2; i++) {
        const char *language = languages[i];
        struct cache_join_result j =
            fix_join(c, URL, fix_with_field(&head, HTTP_FIELD_ACCEPT_LANGUAGE, "Accept-Language", language),
                     NULL, NULL);
        assert_int_equal(j.what, CACHE_LEAD);
        fl[i] = j.flight;
    }
    for (int i = 0; i < 2; i++) {
        struct cache_fill fill = fix_fill(0);
        fill.response = fix_with_field(&head, HTTP_FIELD_VARY, "Vary", "Accept");
        assert_non_null(cache_fill_begin(fl[i], &fill, &why));
    }
    assert_int_equal(cache_fill_finish(&fl[0]), NO_STORE_STORED);
    assert_int_equal(cache_fill_finish(&fl[1]), NO_STORE_SUPERSEDED);
    assert_int_equal(fix_stats(c).objects, 1);
}

static void test_aborted_variant_leaves_no_marker(void **state)
{
    UNUSED(state);
    uint64_t empty = fix_stats(c).bytes_used;
    struct fix_head vary;
    struct cache_flight *fl = fix_lead(c, URL);
    struct cache_fill fill = fix_fill(10);
    fill.response = fix_with_field(&vary, HTTP_FIELD_VARY, "Vary", "Accept-Language");
    enum no_store_reason why;
    assert_non_null(cache_fill_begin(fl, &fill, &why));
    cache_fill_abort(&fl);
    assert_int_equal(fix_stats(c).bytes_used, empty);
}

static void test_variants_of_a_url_are_bounded(void **state)
{
    UNUSED(state);
    for (int i = 0; i < 300; i++) {
        char language[16];
        snprintf(language, sizeof language, "x%d", i);
        assert_int_equal(store_variant(URL, language, "Accept-Language", 10), NO_STORE_STORED);
    }
    assert_int_equal(fix_stats(c).objects, CACHE_MARKER_VARIANTS);
    assert_int_equal(variant_bytes(URL, "x0"), -1); /* the oldest went */
    assert_int_equal(variant_bytes(URL, "x299"), 10);
    assert_int_equal(purge(URL), CACHE_MARKER_VARIANTS);
}

/* ---- budget ---- */

static void test_filled_tenfold_stays_within_the_limit(void **state)
{
    UNUSED(state);
    static const uint64_t sizes[] = {0, 300, 1024, 5000, 16384, 40000, 150000};
    uint64_t stored = 0, limit = fix_stats(c).bytes_limit;
    for (unsigned i = 0; stored < 10 * limit; i++) {
        char url[32];
        uint64_t bytes = sizes[i % ARRAY_LEN(sizes)];
        snprintf(url, sizeof url, "http://h/%u", i);
        enum no_store_reason why = fix_store(c, url, bytes);
        if (why != NO_STORE_STORED) /* too much waits for a grace period; nothing else may be the matter */
            rcu_flush();
        stored += bytes;
        struct cache_stats s = fix_stats(c);
        /* The index grows in steps and is charged without asking: that is the documented overhead. And an
         * object (at most 192 KB here) whose grace period just ended counts again for the instant before it
         * is freed. */
        assert_true(s.bytes_used <= limit + 128 * KB + 192 * KB);
        assert_true(atomic_load(&c->account.doomed) <= limit / 8 + 9 * MB);
    }
    rcu_flush();
    struct cache_stats s = fix_stats(c);
    assert_true(s.bytes_used > limit / 2 && s.evictions > 1000);
    assert_int_equal(s.objects, s.live_objects);
}

static void test_hot_objects_survive_a_scan(void **state)
{
    UNUSED(state);
    char url[32];
    for (int i = 0; i < 50; i++) {
        snprintf(url, sizeof url, "http://h/hot%d", i);
        assert_int_equal(fix_store(c, url, 10000), NO_STORE_STORED);
        for (int hits = 0; hits < 3; hits++)
            assert_true(fix_has(c, url));
    }
    for (int i = 0; i < 10000; i++) {
        snprintf(url, sizeof url, "http://h/scan%d", i);
        if (fix_store(c, url, 10000) != NO_STORE_STORED)
            rcu_flush();
        if (i % 500 == 0) {
            for (int h = 0; h < 50; h++) {
                snprintf(url, sizeof url, "http://h/hot%d", h);
                fix_has(c, url);
            }
        }
    }
    for (int h = 0; h < 50; h++) {
        snprintf(url, sizeof url, "http://h/hot%d", h);
        assert_true(fix_has(c, url));
    }
}

static struct cache_object *hit(void)
{
    struct cache_key k = fix_key(URL);
    enum no_store_reason pass;
    rcu_enter();
    struct cache_object *o = cache_find(c, &k, fix_plain(), NULL, &pass);
    rcu_leave();
    return o;
}

static void *hit_often(void *arg)
{
    unsigned *hits = arg;
    rcu_thread_start();
    for (int i = 0; i < 20000; i++)
        *hits += hit() != NULL;
    rcu_thread_stop();
    return NULL;
}

static uint64_t locks_taken(void)
{
    uint64_t sum = 0;
    for (int rank = 0; rank < LOCK_RANKS; rank++)
        sum += lock_taken((enum lock_rank)rank);
    return sum;
}

/* One hot key, two threads: no look-up that finds something takes a lock, and none writes to the object once
 * it counts as hot. */
static void test_hits_take_no_lock_and_write_nothing(void **state)
{
    UNUSED(state);
    pthread_t t[2];
    unsigned hits[2] = {0, 0};
    char before[sizeof(struct cache_object)];
    assert_int_equal(fix_store(c, URL, 100), NO_STORE_STORED);
    for (int i = 0; i < CACHE_FREQ_MAX; i++)
        assert_non_null(hit());
    struct cache_object *o = hit();
    memcpy(before, o, sizeof before);
    uint64_t taken = locks_taken();
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&t[i], NULL, hit_often, &hits[i]), 0);
    for (int i = 0; i < 2; i++) {
        pthread_join(t[i], NULL);
        assert_int_equal(hits[i], 20000);
    }
    assert_int_equal(locks_taken(), taken);
    assert_memory_equal(o, before, sizeof before);
}

static void test_smaller_limit_evicts_at_once(void **state)
{
    UNUSED(state);
    for (int i = 0; i < 1000; i++) {
        char url[32];
        snprintf(url, sizeof url, "http://h/%d", i);
        assert_int_equal(fix_store(c, url, 10000), NO_STORE_STORED);
    }
    cache_set_settings(c, &(struct cache_settings){.memory_bytes = 4 * MB, .max_waiters = 0});
    struct cache_stats s = fix_stats(c);
    assert_true(s.bytes_used <= 4 * MB && s.objects > 0);
    struct fix_reader r = {0};
    struct cache_flight *fl = fix_lead(c, URL);
    assert_int_equal(fix_join(c, URL, NULL, w, &r).what, CACHE_PASS); /* max_waiters = 0 */
    cache_flight_release(&fl, NO_STORE_STATUS, 0);
}

static void test_pinned_objects_count(void **state)
{
    UNUSED(state);
    struct cache_object *held[60];
    char url[32];
    for (int i = 0; i < 60; i++) {
        snprintf(url, sizeof url, "http://h/%d", i);
        assert_int_equal(fix_store(c, url, 200000), NO_STORE_STORED);
        held[i] = fix_find(c, url);
    }
    cache_purge_all(c);
    fix_sweep(c);
    rcu_flush();
    assert_int_equal(fix_stats(c).objects, 0);
    assert_true(fix_stats(c).bytes_used > 60 * 200000); /* slow readers hold them: not free */
    for (int i = 0; i < 60; i++)
        cache_object_unref(&held[i]);
    assert_true(fix_stats(c).bytes_used < 2 * MB);
}

static void test_create_without_memory(void **state)
{
    UNUSED(state);
    for (long n = 0; n < 68; n++) {
        cache_memory_fail_after(n);
        struct cache *other = cache_create(&(struct cache_settings){.memory_bytes = 16 * MB});
        cache_memory_fail_after(-1);
        if (other != NULL) {
            assert_true(n >= 67);
            cache_destroy(other);
        }
    }
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, open_cache, close_cache)
    const struct CMUnitTest tests[] = {
        T(test_purge_removes_what_is_stored),
        T(test_invalidation_finds_what_is_stored_or_fetched),
        T(test_purge_during_a_fetch),
        T(test_late_finish_does_not_replace_the_newer_object),
        T(test_other_urls_are_not_hurt_by_a_purge),
        T(test_purge_by_url_reaches_longer_keys),
        T(test_304_does_not_bring_back_what_was_purged),
        T(test_purge_all_frees_everything),
        T(test_variants_are_told_apart_and_purged_together),
        T(test_response_without_vary_replaces_all_variants),
        T(test_followers_of_a_varying_response_look_up_again),
        T(test_flight_that_left_the_table_is_not_stored),
        T(test_aborted_variant_leaves_no_marker),
        T(test_variants_of_a_url_are_bounded),
        T(test_filled_tenfold_stays_within_the_limit),
        T(test_hot_objects_survive_a_scan),
        T(test_hits_take_no_lock_and_write_nothing),
        T(test_smaller_limit_evicts_at_once),
        T(test_pinned_objects_count),
        T(test_create_without_memory),
    };
    return cmocka_run_group_tests_name("cache/cache", tests, fix_group_setup, fix_group_teardown);
}
