/* test_flight.c: the table of flights and what the leader does: begin, fill, end. What it outgrows is in
 * test_window.c. */
#include "tests/unit/cache/open_cache.h"

static struct cache_object *begin(struct cache_flight *fl, int64_t body_bytes, int64_t max_bytes)
{
    struct cache_fill fill = fix_fill(body_bytes);
    fill.max_object_bytes = max_bytes;
    enum no_store_reason why;
    struct cache_object *o = cache_fill_begin(fl, &fill, &why);
    assert_int_equal(why == NO_STORE_STORED, o != NULL);
    return o;
}

static void test_one_leader_per_key(void **state)
{
    UNUSED(state);
    struct fix_reader r = {0};
    struct cache_flight *fl = fix_lead(c, "http://h/a"), *other = fix_lead(c, "http://h/b");
    assert_int_equal(fix_join(c, "http://h/a", NULL, w, &r).what, CACHE_FOLLOW);
    assert_true(cache_flight_has_followers(fl));
    assert_false(cache_flight_has_followers(other));
    assert_int_equal(fix_stats(c).flights_now, 2);
    cache_flight_release(&other, NO_STORE_STATUS, 0);
    assert_null(other);
    cache_flight_release(&fl, NO_STORE_STATUS, 0);
    fix_pump(w);
    assert_int_equal(r.count, 1);
    assert_int_equal(r.events[0], CACHE_EVENT_PASS);
    cache_follower_close(&r.follower);
    assert_int_equal(fix_stats(c).flights_now, 0);
    assert_int_equal(fix_stats(c).followers_now, 0);
}

static void test_release_remembers_the_key_as_pass(void **state)
{
    UNUSED(state);
    struct cache_flight *fl = fix_lead(c, "http://h/a");
    assert_false(fix_pass(c, "http://h/a"));
    cache_flight_release(&fl, NO_STORE_PRIVATE, 60000);
    assert_true(fix_pass(c, "http://h/a"));
    assert_false(fix_pass(c, "http://h/b"));
    assert_int_equal(fix_store(c, "http://h/a", 10), NO_STORE_STORED); /* a stored response ends it */
    assert_false(fix_pass(c, "http://h/a"));
    struct cache_key k = fix_key("http://h/a");
    cache_purge_url(c, &k);
    assert_false(fix_pass(c, "http://h/a"));
}

static void test_what_is_not_sliced_is_so_for_all_or_for_one(void **state)
{
    UNUSED(state);
    const struct cache_key k = fix_key("http://h/a"), other = fix_key("http://h/b");
    cache_remember_unsliced(c, &k, 7, 60000);
    assert_true(cache_is_unsliced(c, &k, 7));
    assert_false(cache_is_unsliced(c, &k, 9));
    assert_false(cache_is_unsliced(c, &k, 0));
    cache_remember_unsliced(c, &k, 0, 60000);
    assert_true(cache_is_unsliced(c, &k, 0));
    assert_false(cache_is_unsliced(c, &other, 0));
    assert_false(fix_pass(c, "http://h/a"));
}

/* The response to a fetch belongs under another key as well; who waits for the first is not told yet. */
static void test_a_flight_beside_another(void **state)
{
    UNUSED(state);
    struct fix_reader r = {0};
    const struct http_head request = {.method = HTTP_GET};
    const struct cache_key whole = fix_key("http://h/a");
    char block[512];
    struct arena scratch;
    arena_init(&scratch, block, sizeof block, sizeof block);
    struct cache_flight *part = fix_lead(c, "http://h/a part");
    assert_int_equal(fix_join(c, "http://h/a part", NULL, w, &r).what, CACHE_FOLLOW);
    struct cache_flight *fl = cache_flight_beside(part, &whole, &request, &scratch);
    assert_non_null(fl);
    assert_null(cache_flight_beside(part, &whole, &request, &scratch)); /* it is taken */
    fix_pump(w);
    assert_int_equal(r.count, 0);
    cache_flight_release(&part, NO_STORE_NOT_SLICEABLE, 0);
    cache_flight_release(&fl, NO_STORE_STATUS, 0);
    fix_pump(w);
    assert_int_equal(r.events[0], CACHE_EVENT_PASS);
    cache_follower_close(&r.follower);
    assert_int_equal(fix_stats(c).flights_now, 0);
}

static void test_pass_memory_expires_and_forgets_the_soonest(void **state)
{
    UNUSED(state);
    struct cache_pass *p = aligned_alloc(CACHE_LINE, sizeof *p);
    memset(p, 0, sizeof *p);
    cache_pass_remember(p, 5, 1000, 100);
    assert_true(cache_pass_has(p, 5, 1099));
    assert_false(cache_pass_has(p, 5, 1100));
    cache_pass_remember(p, 5, 1000, 200);
    assert_true(cache_pass_has(p, 5, 1100));
    for (uint64_t i = 0; i < CACHE_PASS_WAYS; i++) /* one set */
        cache_pass_remember(p, 6 + i, 1000, (dur_ms_t)(300 + i));
    assert_false(cache_pass_has(p, 5, 1100)); /* it expired first */
    assert_true(cache_pass_has(p, 6, 1100));
    free(p);
}

static void test_begin_refuses_what_cannot_be_stored(void **state)
{
    UNUSED(state);
    struct cache_fill fill = fix_fill(1001);
    enum no_store_reason why;
    struct fix_head vary;
    struct cache_flight *fl = fix_lead(c, "http://h/a");
    fill.max_object_bytes = 1000;
    assert_null(cache_fill_begin(fl, &fill, &why));
    assert_int_equal(why, NO_STORE_TOO_LARGE);
    fill = fix_fill(17 * 1024 * 1024);
    assert_null(cache_fill_begin(fl, &fill, &why));
    assert_int_equal(why, NO_STORE_TOO_LARGE);
    fill = fix_fill(10);
    fill.response = fix_with_field(&vary, HTTP_FIELD_VARY, "Vary", "*");
    assert_null(cache_fill_begin(fl, &fill, &why));
    assert_int_equal(why, NO_STORE_VARY_STAR);
    char *big = calloc(1, 70000);
    fill = fix_fill(10);
    fill.head = slice_make(big, 70000);
    fill.etag = SLICE_EMPTY;
    assert_null(cache_fill_begin(fl, &fill, &why));
    assert_int_equal(why, NO_STORE_TOO_LARGE);
    free(big);
    for (long n = 0; n < 2; n++) {
        fill = fix_fill(-1); /* object and body */
        cache_memory_fail_after(n);
        struct cache_object *o = cache_fill_begin(fl, &fill, &why);
        cache_memory_fail_after(-1);
        assert_null(o);
        assert_int_equal(why, NO_STORE_NO_MEMORY);
    }
    cache_flight_release(&fl, why, 0);
}

static void test_join_without_memory_passes(void **state)
{
    UNUSED(state);
    for (long n = 0; n < 2; n++) {
        cache_memory_fail_after(n);
        struct cache_join_result j = fix_join(c, "http://h/a", NULL, w, NULL);
        cache_memory_fail_after(-1);
        assert_int_equal(j.what, CACHE_PASS);
        assert_int_equal(j.why, NO_STORE_NO_MEMORY);
    }
    struct cache_flight *fl = fix_lead(c, "http://h/a");
    struct fix_reader r = {0};
    cache_memory_fail_after(0);
    assert_int_equal(fix_join(c, "http://h/a", NULL, w, &r).what, CACHE_PASS);
    cache_memory_fail_after(-1);
    cache_flight_fail(&fl, FETCH_RESET);
}

static void test_fill_kinds_are_found_afterwards(void **state)
{
    UNUSED(state);
    static const struct {
        int64_t announced;
        uint64_t bytes;
    } cases[] = {
        {0, 0},  {1, 1},     {1024, 1024}, {16384, 16384}, {16385, 16385}, {300000, 300000},   {-1, 0},
        {-1, 1}, {-1, 1000}, {-1, 16384},  {-1, 16385},    {-1, 300000},   {2000000, 2000000}, {-1, 2000000}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char key[32];
        snprintf(key, sizeof key, "http://h/%zu", i);
        struct cache_fill fill = fix_fill(cases[i].announced);
        assert_int_equal(fix_store_fill(c, key, &fill, cases[i].bytes), NO_STORE_STORED);
        struct cache_object *o = fix_find(c, key);
        assert_non_null(o);
        assert_true(cache_object_is_complete(o));
        assert_int_equal(cache_object_info(o).body_bytes, cases[i].bytes);
        assert_true(fix_body_is_right(o, 0, cases[i].bytes));
        if (cases[i].bytes <= CACHE_SMALL_BODY_MAX) /* also when the length was not announced */
            assert_true(cache_object_charge(o, true) <= cases[i].bytes + cases[i].bytes / 4 + 512);
        cache_object_unref(&o);
    }
}

static void test_twin_replaces_only_the_stored_one(void **state)
{
    UNUSED(state);
    struct fix_reader own = {0};
    struct cache_flight *fl = fix_lead(c, "http://h/a");
    struct cache_object *first = begin(fl, -1, 1000000);
    own.follower = cache_flight_follow(fl, w, fix_on_event, &own);
    uint64_t at = 0;
    fix_pour(fl, &at, 500);
    assert_int_equal(cache_fill_finish(&fl), NO_STORE_STORED);
    struct cache_object *stored = fix_find(c, "http://h/a");
    assert_ptr_not_equal(stored, first);
    assert_ptr_equal(cache_follower_object(own.follower), first);
    assert_true(cache_object_is_complete(first));
    assert_true(fix_body_is_right(first, 0, 500) && fix_body_is_right(stored, 0, 500));
    assert_true(slice_eq(cache_object_info(stored).head, cache_object_info(first).head));
    assert_true(slice_eq(cache_object_info(stored).validators.etag, SLICE_LIT("\"v1\"")));
    cache_object_unref(&stored);
    cache_follower_close(&own.follower);
}

static void test_abort_stores_nothing(void **state)
{
    UNUSED(state);
    static const int64_t announced[] = {1000, 100000, -1};
    for (size_t i = 0; i < ARRAY_LEN(announced); i++) {
        struct cache_flight *fl = fix_lead(c, "http://h/a");
        begin(fl, announced[i], 1000000);
        uint64_t at = 0;
        fix_pour(fl, &at, 500);
        cache_fill_abort(&fl);
        assert_null(fl);
        assert_false(fix_has(c, "http://h/a"));
    }
    assert_int_equal(fix_stats(c).live_objects, 0);
}

static void test_buffer_without_memory(void **state)
{
    UNUSED(state);
    struct cache_flight *fl = fix_lead(c, "http://h/a");
    begin(fl, -1, 1000000);
    size_t room;
    for (long n = 0; n < 2; n++) {
        cache_memory_fail_after(n);
        assert_null(cache_fill_buffer(fl, &room));
        cache_memory_fail_after(-1);
    }
    assert_non_null(cache_fill_buffer(fl, &room));
    cache_fill_abort(&fl);
}

static void test_refresh_shares_or_copies_the_body(void **state)
{
    UNUSED(state);
    static const uint64_t sizes[] = {0, 500, 5000, 100000};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct fix_reader r = {0};
        assert_int_equal(fix_store(c, "http://h/a", sizes[i]), NO_STORE_STORED);
        struct cache_object *stale = fix_find(c, "http://h/a");
        struct cache_key k = fix_key("http://h/a");
        struct cache_join_result j = cache_join(c, &k, fix_plain(), NULL, stale, w, NULL, NULL);
        assert_int_equal(j.what, CACHE_LEAD);
        r.follower = cache_join(c, &k, fix_plain(), NULL, stale, w, fix_on_event, &r).follower;
        assert_non_null(r.follower);
        struct cache_fill fill = fix_fill(-1);
        fill.head = SLICE_LIT("HTTP/1.1 200 OK\r\nX-New: 1\r\n");
        fill.etag = SLICE_EMPTY;
        struct cache_object *o = cache_flight_refresh(&j.flight, stale, &fill);
        assert_non_null(o);
        assert_null(j.flight);
        assert_ptr_not_equal(o, stale);
        struct cache_object *now = fix_find(c, "http://h/a");
        assert_ptr_equal(now, o);
        assert_true(slice_eq(cache_object_info(o).head, fill.head));
        assert_int_equal(cache_object_info(o).body_bytes, sizes[i]);
        assert_true(fix_body_is_right(o, 0, sizes[i]));
        cache_object_unref(&stale);
        fix_pump(w);
        assert_int_equal(r.events[0], CACHE_EVENT_OBJECT);
        assert_ptr_equal(cache_follower_object(r.follower), o);
        assert_false(cache_follower_arm(r.follower, sizes[i]));
        cache_follower_close(&r.follower);
        assert_true(fix_body_is_right(o, 0, sizes[i]));
        cache_object_unref(&now);
        cache_object_unref(&o);
        cache_purge_url(c, &k);
        assert_int_equal(fix_stats(c).objects, 0);
    }
}

static struct cache_join_result join_language(const struct cache_object *stale, const char *language,
                                              struct fix_reader *r)
{
    struct fix_head request;
    struct arena scratch;
    arena_init(&scratch, NULL, 0, 64 * KB);
    struct cache_key k = fix_key("http://h/a");
    const struct http_head *head =
        fix_with_field(&request, HTTP_FIELD_ACCEPT_LANGUAGE, "Accept-Language", language);
    struct cache_join_result j = cache_join(c, &k, head, &scratch, stale, w, fix_on_event, r);
    arena_reset(&scratch);
    return j;
}

static void begin_varying(struct cache_flight *fl, const char *language)
{
    struct fix_head request, response;
    struct cache_fill fill = fix_fill(10);
    fill.request = fix_with_field(&request, HTTP_FIELD_ACCEPT_LANGUAGE, "Accept-Language", language);
    fill.response = fix_with_field(&response, HTTP_FIELD_VARY, "Vary", "Accept-Language");
    enum no_store_reason why;
    assert_non_null(cache_fill_begin(fl, &fill, &why));
}

/* A response that varies takes the place of one that did not when it is complete, not when it begins; until
 * then who asks for the same variant follows it all the same. */
static void test_what_is_stored_stays_until_a_varying_response_is_complete(void **state)
{
    UNUSED(state);
    for (unsigned cut = 0; cut < 2; cut++) {
        assert_int_equal(fix_store(c, "http://h/a", 5), NO_STORE_STORED);
        struct cache_object *stale = fix_find(c, "http://h/a");
        struct fix_reader de = {0};
        struct cache_flight *fl = join_language(stale, "de", NULL).flight;
        begin_varying(fl, "de");
        assert_true(fix_has(c, "http://h/a"));
        struct cache_join_result same = join_language(stale, "de", &de),
                                 other = join_language(stale, "en", NULL),
                                 third = join_language(stale, "en", NULL);
        assert_int_equal(same.what, CACHE_FOLLOW);
        assert_int_equal(other.what, CACHE_LEAD);
        assert_int_equal(third.what, CACHE_FOLLOW);
        fix_pump(w);
        assert_int_equal(de.events[0], CACHE_EVENT_OBJECT);
        begin_varying(other.flight, "en");
        uint64_t at = 0;
        fix_pour(fl, &at, 10);
        assert_true(fix_has(c, "http://h/a"));
        if (cut)
            cache_fill_abort(&fl);
        else
            assert_int_equal(cache_fill_finish(&fl), NO_STORE_STORED);
        cache_fill_abort(&other.flight);
        assert_int_equal(fix_has(c, "http://h/a"), cut);
        cache_follower_close(&same.follower);
        cache_follower_close(&third.follower);
        fix_pump(w);
        cache_object_unref(&stale);
        struct cache_key k = fix_key("http://h/a");
        assert_int_equal(cache_purge_url(c, &k), 1);
    }
}

static void test_memory_for_a_varying_response_may_be_short(void **state)
{
    UNUSED(state);
    assert_int_equal(fix_store(c, "http://h/a", 5), NO_STORE_STORED);
    struct cache_object *stale = fix_find(c, "http://h/a");
    for (long n = 0;; n++) {
        struct cache_flight *fl = join_language(stale, "de", NULL).flight;
        struct fix_head request, response;
        struct cache_fill fill = fix_fill(10);
        fill.request = fix_with_field(&request, HTTP_FIELD_ACCEPT_LANGUAGE, "Accept-Language", "de");
        fill.response = fix_with_field(&response, HTTP_FIELD_VARY, "Vary", "Accept-Language");
        enum no_store_reason why;
        cache_memory_fail_after(n);
        bool begun = cache_fill_begin(fl, &fill, &why) != NULL;
        cache_memory_fail_after(-1);
        struct cache_join_result j = join_language(stale, "de", NULL);
        assert_int_equal(j.what, CACHE_FOLLOW);
        if (begun)
            cache_fill_abort(&fl);
        else
            cache_flight_release(&fl, why, 0);
        cache_follower_close(&j.follower);
        assert_true(fix_has(c, "http://h/a"));
        if (begun)
            break;
    }
    cache_object_unref(&stale);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, open_cache, close_cache)
    const struct CMUnitTest tests[] = {
        T(test_one_leader_per_key),
        T(test_release_remembers_the_key_as_pass),
        T(test_what_is_not_sliced_is_so_for_all_or_for_one),
        T(test_a_flight_beside_another),
        T(test_pass_memory_expires_and_forgets_the_soonest),
        T(test_begin_refuses_what_cannot_be_stored),
        T(test_join_without_memory_passes),
        T(test_fill_kinds_are_found_afterwards),
        T(test_twin_replaces_only_the_stored_one),
        T(test_abort_stores_nothing),
        T(test_buffer_without_memory),
        T(test_refresh_shares_or_copies_the_body),
        T(test_what_is_stored_stays_until_a_varying_response_is_complete),
        T(test_memory_for_a_varying_response_may_be_short),
    };
    return cmocka_run_group_tests_name("cache/flight", tests, fix_group_setup, fix_group_teardown);
}
