/* test_window.c: what outgrew the limits is read through a window; who holds it up, and only he, is asked to
 * leave, and knows what he was given. */
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

struct room {
    unsigned calls;
};

static void on_room(void *arg)
{
    ((struct room *)arg)->calls++;
}

static void test_outgrown_object_is_a_sliding_window(void **state)
{
    UNUSED(state);
    struct fix_reader own = {0}, slow = {0};
    struct room room = {0};
    struct cache_flight *fl = fix_lead(c, "http://h/big");
    begin(fl, -1, 100000);
    own.follower = cache_flight_follow(fl, w, fix_on_event, &own);
    fix_join(c, "http://h/big", NULL, w, &slow);
    fix_pump(w);
    assert_int_equal(slow.events[0], CACHE_EVENT_OBJECT);
    uint64_t at = 0;
    fix_pour(fl, &at, 90000);
    assert_false(cache_fill_should_pause(fl, on_room, &room, w));
    fix_pour(fl, &at, 20000); /* over */
    assert_true(fix_pass(c, "http://h/big"));
    struct cache_flight *second = fix_lead(c, "http://h/big"); /* nobody joins the old one */
    assert_false(cache_fill_is_unwanted(fl));
    /* the slow reader stays at 0: everything is kept for him and the leader pauses */
    while (!cache_fill_should_pause(fl, on_room, &room, w))
        fix_pour(fl, &at, 10000);
    assert_in_range(at, CACHE_WINDOW_BYTES, CACHE_WINDOW_BYTES + 20000);
    struct cache_object *o = cache_follower_object(slow.follower);
    assert_true(fix_body_is_right(o, 0, at));
    cache_follower_set_offset(own.follower, at);
    fix_pump(w);
    assert_int_equal(room.calls, 0); /* the slowest one decides */
    cache_follower_set_offset(slow.follower, at - 100000);
    fix_pump(w);
    assert_int_equal(room.calls, 1);
    assert_false(cache_fill_should_pause(fl, on_room, &room, w));
    /* ten megabytes through the window cost no more than the window */
    size_t most = 0, base = (size_t)fix_stats(c).bytes_used;
    while (at < 10 * MB) {
        fix_pour(fl, &at, 10000);
        assert_true(fix_body_is_right(o, at - 10000, 10000));
        cache_follower_set_offset(slow.follower, at);
        cache_follower_set_offset(own.follower, at);
        most = MAX(most, (size_t)fix_stats(c).bytes_used);
    }
    assert_true(most < base + 256 * KB);
    cache_follower_close(&slow.follower);
    cache_follower_close(&own.follower);
    assert_true(cache_fill_is_unwanted(fl));
    assert_int_equal(cache_fill_finish(&fl), NO_STORE_TOO_LARGE);
    cache_flight_release(&second, NO_STORE_TOO_LARGE, 0);
    assert_false(fix_has(c, "http://h/big"));
}

static void test_closing_the_slowest_makes_room(void **state)
{
    UNUSED(state);
    struct fix_reader own = {0}, slow = {0};
    struct room room = {0};
    struct cache_flight *fl = fix_lead(c, "http://h/big");
    begin(fl, -1, 1000);
    own.follower = cache_flight_follow(fl, w, fix_on_event, &own);
    slow.follower = cache_flight_follow(fl, w, fix_on_event, &slow);
    uint64_t at = 0;
    fix_pour(fl, &at, 600 * KB);
    cache_follower_set_offset(own.follower, at);
    assert_true(cache_fill_should_pause(fl, on_room, &room, w));
    assert_true(cache_fill_should_pause(fl, on_room, &room, w)); /* asking twice is one mail */
    cache_follower_close(&slow.follower);
    fix_pump(w);
    assert_int_equal(room.calls, 1);
    /* a leader that ended while the mail is under way is not called */
    slow.follower = cache_flight_follow(fl, w, fix_on_event, &slow);
    fix_pour(fl, &at, 600 * KB);
    assert_true(cache_fill_should_pause(fl, on_room, &room, w));
    cache_follower_set_offset(own.follower, at);
    cache_follower_close(&slow.follower);
    cache_fill_abort(&fl);
    fix_pump(w);
    assert_int_equal(room.calls, 1);
    assert_true(cache_follower_is_cut(own.follower));
    cache_follower_close(&own.follower);
}

static void test_without_room_in_the_budget_the_window_opens(void **state)
{
    UNUSED(state);
    struct cache_flight *fl = fix_lead(c, "http://h/big");
    begin(fl, -1, 1000 * 1000 * 1000);
    uint64_t at = 0;
    assert_true(
        fix_pour(fl, &at, 40 * MB)); /* memory_size is 16 MB, nobody reads: the window slides on its own */
    assert_true(fix_stats(c).bytes_used <= fix_stats(c).bytes_limit);
    assert_true(cache_fill_is_unwanted(fl));
    assert_int_equal(cache_fill_finish(&fl), NO_STORE_TOO_LARGE);
}

/* ---- asked to leave ---- */

#define READERS 4

/* A flight of which READERS have all of the first `LIMIT` bytes, and nobody more. */
#define LIMIT (64 * KB)
static struct {
    struct cache_flight *fl;
    struct fix_reader readers[READERS];
    struct room room;
    uint64_t at;
} s;

static void open_window(uint64_t limit)
{
    memset(&s, 0, sizeof s);
    s.fl = fix_lead(c, "http://h/big");
    begin(s.fl, -1, (int64_t)limit);
    for (unsigned i = 0; i < READERS; i++)
        s.readers[i].follower = cache_flight_follow(s.fl, w, fix_on_event, &s.readers[i]);
    fix_pour(s.fl, &s.at, limit + 1);
}

static bool pour_until_paused(void)
{
    for (unsigned i = 0; i < 100; i++) {
        if (cache_fill_should_pause(s.fl, on_room, &s.room, w))
            return true;
        fix_pour(s.fl, &s.at, 10000);
    }
    return false;
}

static void stall(unsigned i, uint64_t offset)
{
    cache_follower_set_offset(s.readers[i].follower, offset);
    cache_follower_set_stalled(s.readers[i].follower);
}

static void read_to_end(unsigned i)
{
    cache_follower_set_offset(s.readers[i].follower, s.at);
}

/* Which of them were asked since the last call, as bits. */
static unsigned asked(void)
{
    unsigned bits = 0;
    fix_pump(w);
    for (unsigned i = 0; i < READERS; i++) {
        for (unsigned n = 0; n < s.readers[i].count; n++) {
            assert_int_equal(s.readers[i].events[n], CACHE_EVENT_BEHIND);
            bits |= 1u << i;
        }
        s.readers[i].count = 0;
    }
    return bits;
}

static void end_flight(void)
{
    cache_fill_abort(&s.fl);
    for (unsigned i = 0; i < READERS; i++)
        cache_follower_close(&s.readers[i].follower);
    fix_pump(w);
    assert_int_equal(fix_stats(c).flights_now, 0);
    assert_int_equal(fix_stats(c).live_objects, 0);
}

static void test_who_holds_up_others_is_asked_to_leave(void **state)
{
    UNUSED(state);
    open_window(LIMIT);
    assert_true(pour_until_paused());
    assert_int_equal(asked(), 0); /* all are equally far */
    stall(0, 100);
    stall(1, s.at - CACHE_WINDOW_BYTES);                   /* behind, but within the window */
    cache_follower_set_offset(s.readers[2].follower, 200); /* its worker is busy */
    assert_int_equal(asked(), 0);                          /* nobody wants more */
    read_to_end(3);
    assert_int_equal(asked(), 1u << 0);
    cache_follower_close(&s.readers[0].follower);
    assert_int_equal(asked(), 0);
    assert_int_equal(s.room.calls, 0);
    cache_follower_set_stalled(s.readers[2].follower); /* it was not only that */
    assert_int_equal(asked(), 1u << 2);
    assert_int_equal(s.room.calls, 0);
    cache_follower_close(&s.readers[2].follower);
    fix_pump(w);
    assert_int_equal(s.room.calls, 1);
    assert_false(cache_fill_should_pause(s.fl, on_room, &s.room, w));
    assert_int_equal(asked(), 0);
    end_flight();
}

static void test_who_goes_on_is_not_slow(void **state)
{
    UNUSED(state);
    open_window(LIMIT);
    assert_true(pour_until_paused());
    for (unsigned i = 1; i < READERS; i++)
        read_to_end(i);
    stall(0, 100);
    cache_follower_set_offset(s.readers[0].follower, 200); /* before the mail is there */
    assert_int_equal(asked(), 1u << 0);
    fix_pump(w);
    read_to_end(1);
    assert_int_equal(asked(), 0); /* stalled no longer */
    stall(0, 300);
    assert_int_equal(asked(), 1u << 0);
    stall(0, s.at - CACHE_WINDOW_BYTES); /* it does not leave, but comes up */
    assert_int_equal(asked(), 0);
    assert_int_equal(s.room.calls, 1);
    end_flight();
}

static void test_end_of_the_fetch_asks_nobody(void **state)
{
    UNUSED(state);
    open_window(LIMIT);
    assert_true(pour_until_paused());
    stall(0, 100);
    for (unsigned i = 1; i < READERS; i++)
        read_to_end(i);
    cache_follower_close(&s.readers[0].follower); /* with the mail under way */
    stall(1, s.at);
    assert_int_equal(cache_fill_finish(&s.fl), NO_STORE_TOO_LARGE);
    assert_int_equal(asked(), 0);
    for (unsigned i = 1; i < READERS; i++)
        cache_follower_close(&s.readers[i].follower);
    assert_int_equal(s.room.calls, 0);
}

/* The bytes of fix_pour, hashed at once. */
static void expect_digest(unsigned i, uint64_t offset)
{
    uint8_t got[DIGEST_BYTES], right[DIGEST_BYTES];
    struct digest *d = digest_new();
    for (uint64_t at = 0; at < offset; at++) {
        char byte = (char)(at * 31 % 251);
        digest_add(d, &byte, 1);
    }
    assert_true(digest_end(&d, right));
    assert_true(cache_follower_digest(s.readers[i].follower, offset, got));
    assert_memory_equal(got, right, sizeof right);
}

static void test_digest_of_what_a_reader_was_given(void **state)
{
    UNUSED(state);
    uint8_t value[DIGEST_BYTES];
    open_window(LIMIT);
    expect_digest(0, 0);
    expect_digest(0, 12345); /* given, and not yet reported */
    for (unsigned round = 0; round < 30; round++) {
        fix_pour(s.fl, &s.at, 50000);
        for (unsigned i = 0; i < READERS; i++)
            cache_follower_set_offset(s.readers[i].follower, s.at - 1000 * i);
    }
    for (unsigned i = 0; i < READERS; i++)
        expect_digest(i, s.at - 900 * i);
    for (unsigned i = 1; i < READERS; i++)
        cache_follower_close(&s.readers[i].follower);
    read_to_end(0);
    assert_false(cache_follower_digest(s.readers[0].follower, s.at, value)); /* nobody to compare with */
    end_flight();
}

/* The window opens late: what lies before the slowest reader is hashed in turns, until then nobody is asked,
 * and those who are far apart leave one after the other. */
static void test_hindmost_are_asked_first(void **state)
{
    UNUSED(state);
    const uint64_t limit = 6 * MB, apart = 2 * MB;
    open_window(limit);
    assert_true(cache_fill_should_pause(s.fl, on_room, &s.room, w));
    read_to_end(0);
    for (unsigned i = 1; i < READERS; i++)
        stall(i, apart * (READERS - i) - MB);
    for (unsigned i = READERS - 1; i > 0; i--) {
        unsigned turns = 0, who = 0;
        while ((who = asked()) == 0) {
            assert_true(cache_fill_should_pause(s.fl, on_room, &s.room, w));
            assert_true(++turns < 100);
        }
        assert_true(turns > 2); /* not all at once */
        assert_int_equal(who, 1u << i);
        expect_digest(i, apart * (READERS - i) - MB + 1000);
        cache_follower_close(&s.readers[i].follower);
    }
    fix_pump(w);
    assert_false(cache_fill_should_pause(s.fl, on_room, &s.room, w));
    end_flight();
}

static void test_room_is_told_to_who_leads_now(void **state)
{
    UNUSED(state);
    struct room next = {0};
    open_window(LIMIT);
    assert_true(pour_until_paused());
    cache_fill_set_leader(s.fl, &next);
    for (unsigned i = 0; i < READERS; i++)
        read_to_end(i);
    fix_pump(w);
    assert_int_equal(s.room.calls, 0);
    assert_int_equal(next.calls, 1);
    end_flight();
}

/* There is less memory than the limit says: what is being fetched passes all the same, and what is stored
 * gives way to who comes next. */
static void test_without_memory_the_window_opens(void **state)
{
    UNUSED(state);
    for (long fails_at = 0; fails_at < 4; fails_at += 2) { /* the first chunk, and the second */
        struct fix_reader own = {0};
        for (int i = 0; i < 40; i++) {
            char key[32];
            snprintf(key, sizeof key, "http://h/%ld/%d", fails_at, i);
            fix_store(c, key, 100000);
        }
        const uint64_t stored = fix_stats(c).objects;
        struct cache_flight *fl = fix_lead(c, "http://h/big");
        begin(fl, 1000000, 2000000);
        own.follower = cache_flight_follow(fl, w, fix_on_event, &own);
        uint64_t at = 0;
        cache_memory_fail_times(fails_at, 1);
        assert_true(fix_pour(fl, &at, 300000));
        cache_memory_fail_after(-1);
        assert_true(fix_body_is_right(cache_follower_object(own.follower), 0, at));
        assert_in_range(fix_stats(c).objects, 1, stored - 1);
        assert_true(fix_pour(fl, &at, 700000));
        cache_follower_close(&own.follower);
        assert_int_equal(cache_fill_finish(&fl), NO_STORE_NO_MEMORY);
    }
    /* Without any, nothing passes. */
    struct cache_flight *fl = fix_lead(c, "http://h/big");
    begin(fl, 1000000, 2000000);
    size_t room;
    cache_memory_fail_after(0);
    assert_null(cache_fill_buffer(fl, &room));
    cache_memory_fail_after(-1);
    cache_fill_abort(&fl);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, open_cache, close_cache)
    const struct CMUnitTest tests[] = {
        T(test_outgrown_object_is_a_sliding_window),
        T(test_closing_the_slowest_makes_room),
        T(test_without_room_in_the_budget_the_window_opens),
        T(test_without_memory_the_window_opens),
        T(test_who_holds_up_others_is_asked_to_leave),
        T(test_who_goes_on_is_not_slow),
        T(test_end_of_the_fetch_asks_nobody),
        T(test_digest_of_what_a_reader_was_given),
        T(test_hindmost_are_asked_first),
        T(test_room_is_told_to_who_leads_now),
    };
    return cmocka_run_group_tests_name("cache/window", tests, fix_group_setup, fix_group_teardown);
}
