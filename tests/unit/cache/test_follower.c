/* test_follower.c: every state of a follower, every event, and closing it in each. */
#include "tests/unit/cache/fixture.h"

static struct cache *c;
static struct worker *w;

static int open_cache(void **state)
{
    UNUSED(state);
    c = fix_cache(16 * MB);
    w = worker_create(0);
    assert_non_null(w);
    return 0;
}

static int close_cache(void **state)
{
    UNUSED(state);
    fix_pump(w);
    worker_destroy(w);
    assert_int_equal(fix_stats(c).followers_now, 0);
    assert_int_equal(fix_stats(c).flights_now, 0);
    fix_end(&c); /* asserts that no object is left */
    return 0;
}

static void begin(struct cache_flight *fl, int64_t body_bytes)
{
    struct cache_fill fill = fix_fill(body_bytes);
    enum no_store_reason why;
    assert_non_null(cache_fill_begin(fl, &fill, &why));
}

static void follow(struct fix_reader *r)
{
    *r = (struct fix_reader){0};
    assert_int_equal(fix_join(c, "http://h/a", NULL, w, r).what, CACHE_FOLLOW);
}

static void expect(struct fix_reader *r, unsigned count, enum cache_event last)
{
    fix_pump(w);
    assert_int_equal(r->count, count);
    assert_int_equal(r->events[count - 1], last);
}

static void test_streams_from_the_first_byte(void **state)
{
    UNUSED(state);
    struct fix_reader r, late;
    struct cache_flight *fl = fix_lead(c, "http://h/a");
    follow(&r);
    fix_pump(w);
    assert_int_equal(r.count, 0);
    begin(fl, 100000);
    expect(&r, 1, CACHE_EVENT_OBJECT);
    struct cache_object *o = cache_follower_object(r.follower);
    assert_int_equal(cache_object_info(o).status, 200);
    assert_true(cache_follower_arm(r.follower, 0));
    fix_pump(w);
    assert_int_equal(r.count, 1);
    uint64_t at = 0;
    fix_pour(fl, &at, 10);
    expect(&r, 2, CACHE_EVENT_PROGRESS);
    assert_true(fix_body_is_right(o, 0, 10));
    assert_false(cache_follower_arm(r.follower, 5)); /* there is more already */
    assert_true(cache_follower_arm(r.follower, 10));
    assert_true(cache_follower_arm(r.follower, 10)); /* armed twice is armed */
    follow(&late);
    expect(&late, 1, CACHE_EVENT_OBJECT);
    fix_pour(fl, &at, 50000);
    fix_pour(fl, &at, 40000); /* one mail for both */
    expect(&r, 3, CACHE_EVENT_PROGRESS);
    assert_true(fix_body_is_right(o, 0, 90010));
    assert_true(cache_follower_arm(r.follower, at));
    fix_pour(fl, &at, 9990);
    assert_int_equal(cache_fill_finish(&fl), NO_STORE_STORED);
    expect(&r, 4, CACHE_EVENT_PROGRESS);
    assert_true(cache_object_is_complete(o));
    assert_false(cache_follower_is_cut(r.follower));
    assert_false(cache_follower_arm(r.follower, 100000)); /* the end: no event will come */
    assert_true(fix_body_is_right(cache_follower_object(late.follower), 0, 100000));
    cache_follower_close(&late.follower);
    cache_follower_close(&r.follower);
    assert_null(r.follower);
}

static void test_waiters_are_released_together(void **state)
{
    UNUSED(state);
    enum { N = 1000 };
    static struct fix_reader r[N];
    struct cache_flight *fl = fix_lead(c, "http://h/a");
    for (int i = 0; i < N; i++)
        follow(&r[i]);
    struct cache_join_result one_more = fix_join(c, "http://h/a", NULL, w, NULL);
    assert_int_equal(one_more.what, CACHE_PASS);
    assert_int_equal(one_more.why, NO_STORE_WAIT_LIMIT);
    cache_flight_release(&fl, NO_STORE_PRIVATE, 1000);
    fix_pump(w);
    for (int i = 0; i < N; i++) {
        assert_int_equal(r[i].count, 1);
        assert_int_equal(r[i].events[0], CACHE_EVENT_PASS);
        cache_follower_close(&r[i].follower);
    }
}

static void test_failure_before_and_after_the_head(void **state)
{
    UNUSED(state);
    struct fix_reader r, armed, reading;
    struct cache_flight *fl = fix_lead(c, "http://h/a");
    follow(&r);
    cache_flight_fail(&fl, FETCH_CONNECT_TIMEOUT);
    expect(&r, 1, CACHE_EVENT_FAILED);
    assert_int_equal(cache_follower_error(r.follower), FETCH_CONNECT_TIMEOUT);
    cache_follower_close(&r.follower);

    fl = fix_lead(c, "http://h/a");
    follow(&armed);
    follow(&reading);
    begin(fl, -1);
    uint64_t at = 0;
    fix_pour(fl, &at, 1000);
    fix_pump(w);
    assert_true(cache_follower_arm(armed.follower, 1000));
    follow(&r);
    cache_fill_abort(&fl);
    expect(&armed, 2, CACHE_EVENT_FAILED);
    assert_int_equal(cache_follower_error(armed.follower), FETCH_CUT_SHORT);
    assert_int_equal(reading.count, 1); /* he is reading: he asks when he is through */
    assert_false(cache_follower_arm(reading.follower, 0));
    assert_true(fix_body_is_right(cache_follower_object(reading.follower), 0, 1000));
    assert_false(cache_follower_arm(reading.follower, 1000));
    assert_true(cache_follower_is_cut(reading.follower));
    assert_int_equal(r.events[0],
                     CACHE_EVENT_OBJECT); /* joined just before: gets what there is, and its end */
    assert_true(cache_follower_is_cut(r.follower));
    cache_follower_close(&r.follower);
    cache_follower_close(&armed.follower);
    cache_follower_close(&reading.follower);
}

static void test_fail_after_the_head_cuts(void **state)
{
    UNUSED(state);
    struct fix_reader r;
    struct cache_flight *fl = fix_lead(c, "http://h/a");
    begin(fl, 10);
    follow(&r);
    fix_pump(w);
    assert_true(cache_follower_arm(r.follower, 0));
    cache_flight_fail(&fl, FETCH_RESPONSE_TIMEOUT);
    expect(&r, 2, CACHE_EVENT_FAILED);
    assert_int_equal(cache_follower_error(r.follower), FETCH_RESPONSE_TIMEOUT);
    assert_true(cache_follower_is_cut(r.follower));
    cache_follower_close(&r.follower);
}

static void test_close_while_waiting(void **state)
{
    UNUSED(state);
    struct fix_reader r;
    struct cache_flight *fl = fix_lead(c, "http://h/a");
    follow(&r);
    cache_follower_close(&r.follower);
    assert_false(cache_flight_has_followers(fl));
    begin(fl, 0);
    cache_fill_finish(&fl);
    fix_pump(w);
    assert_int_equal(r.count, 0);
    cache_follower_close(&r.follower); /* NULL: nothing */
}

static void test_close_with_the_verdict_under_way(void **state)
{
    UNUSED(state);
    struct fix_reader object, pass;
    struct cache_flight *fl = fix_lead(c, "http://h/a");
    follow(&object);
    begin(fl, 0);
    cache_follower_close(&object.follower);
    cache_fill_finish(&fl);
    cache_purge_all(c);
    fl = fix_lead(c, "http://h/a");
    follow(&pass);
    cache_flight_release(&fl, NO_STORE_STATUS, 0);
    cache_follower_close(&pass.follower);
    assert_int_equal(fix_stats(c).flights_now, 0); /* the mail holds the follower, not the flight */
    fix_pump(w);
    assert_int_equal(object.count, 0);
    assert_int_equal(pass.count, 0);
}

static void test_close_while_reading_armed_and_woken(void **state)
{
    UNUSED(state);
    struct fix_reader reading, armed, woken;
    struct cache_flight *fl = fix_lead(c, "http://h/a");
    begin(fl, -1);
    follow(&reading);
    follow(&armed);
    follow(&woken);
    fix_pump(w);
    cache_follower_close(&reading.follower);
    assert_true(cache_follower_arm(armed.follower, 0));
    cache_follower_close(&armed.follower);
    assert_true(cache_follower_arm(woken.follower, 0));
    uint64_t at = 0;
    fix_pour(fl, &at, 100);
    cache_follower_close(&woken.follower);
    fix_pour(fl, &at, 100);
    assert_int_equal(cache_fill_finish(&fl), NO_STORE_STORED);
    fix_pump(w);
    assert_int_equal(reading.count, 1);
    assert_int_equal(armed.count, 1);
    assert_int_equal(woken.count, 1);
}

static struct fix_reader *self_closing;

static void close_in_event(void *arg, enum cache_event event)
{
    fix_on_event(arg, event);
    cache_follower_close(&self_closing->follower);
}

static void test_close_from_inside_its_event(void **state)
{
    UNUSED(state);
    struct fix_reader r = {0};
    struct cache_flight *fl = fix_lead(c, "http://h/a");
    struct cache_key k = fix_key("http://h/a");
    r.follower = cache_join(c, &k, fix_plain(), NULL, NULL, w, close_in_event, &r).follower;
    self_closing = &r;
    cache_flight_release(&fl, NO_STORE_STATUS, 0);
    expect(&r, 1, CACHE_EVENT_PASS);
    assert_null(r.follower);
}

static void test_progress_mail_that_comes_late_is_harmless(void **state)
{
    UNUSED(state);
    struct fix_reader r;
    struct cache_flight *fl = fix_lead(c, "http://h/a");
    begin(fl, -1);
    follow(&r);
    fix_pump(w);
    assert_true(cache_follower_arm(r.follower, 0));
    uint64_t at = 0;
    fix_pour(fl, &at, 100); /* the mail is under way */
    assert_false(cache_follower_arm(r.follower, 0));
    assert_true(cache_follower_arm(r.follower, 100)); /* he read on without it */
    expect(&r, 2, CACHE_EVENT_PROGRESS);
    assert_true(cache_follower_arm(r.follower, 100));
    fix_pour(fl, &at, 100);
    expect(&r, 3, CACHE_EVENT_PROGRESS);
    cache_fill_abort(&fl);
    cache_follower_close(&r.follower);
}

static void test_newer_object_than_the_stale_one_is_a_retry(void **state)
{
    UNUSED(state);
    struct fix_reader r = {0};
    assert_int_equal(fix_store(c, "http://h/a", 10), NO_STORE_STORED);
    struct cache_object *stale = fix_find(c, "http://h/a");
    struct cache_key k = fix_key("http://h/a");
    struct cache_join_result j = cache_join(c, &k, fix_plain(), NULL, stale, w, NULL, NULL);
    assert_int_equal(j.what, CACHE_LEAD);
    struct cache_fill fill = fix_fill(5);
    enum no_store_reason why;
    assert_non_null(cache_fill_begin(j.flight, &fill, &why));
    uint64_t at = 0;
    fix_pour(j.flight, &at, 5);
    assert_int_equal(cache_fill_finish(&j.flight), NO_STORE_STORED);
    j = cache_join(c, &k, fix_plain(), NULL, stale, w, fix_on_event, &r);
    assert_int_equal(j.what, CACHE_FOLLOW);
    r.follower = j.follower;
    assert_int_equal(r.count, 0); /* never from inside */
    expect(&r, 1, CACHE_EVENT_RETRY);
    assert_int_equal(cache_follower_error(r.follower), FETCH_NONE);
    cache_follower_close(&r.follower);
    r = (struct fix_reader){0};
    r.follower = cache_join(c, &k, fix_plain(), NULL, stale, w, fix_on_event, &r).follower;
    cache_follower_close(&r.follower); /* closed before it came */
    fix_pump(w);
    assert_int_equal(r.count, 0);
    cache_object_unref(&stale);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, open_cache, close_cache)
    const struct CMUnitTest tests[] = {
        T(test_streams_from_the_first_byte),
        T(test_waiters_are_released_together),
        T(test_failure_before_and_after_the_head),
        T(test_fail_after_the_head_cuts),
        T(test_close_while_waiting),
        T(test_close_with_the_verdict_under_way),
        T(test_close_while_reading_armed_and_woken),
        T(test_close_from_inside_its_event),
        T(test_progress_mail_that_comes_late_is_harmless),
        T(test_newer_object_than_the_stale_one_is_a_retry),
    };
    return cmocka_run_group_tests_name("cache/follower", tests, fix_group_setup, fix_group_teardown);
}
