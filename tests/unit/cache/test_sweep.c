/* test_sweep.c: what the sweeper frees and what it leaves, also while the table shrinks and grows under it.
 */
#include <sched.h>

#include "cache/purge.h"
#include "tests/unit/cache/fixture.h"

enum { OBJECTS = 20000 };

static struct cache *c;

static int open_cache(void **state)
{
    UNUSED(state);
    c = fix_cache(64 * MB);
    return 0;
}

static int close_cache(void **state)
{
    UNUSED(state);
    fix_end(&c);
    return 0;
}

static const char *url_of(unsigned n, char buf[32])
{
    snprintf(buf, 32, "http://h/%u", n);
    return buf;
}

/* Every tenth is tagged "keep", the others "go". */
static void store_all(unsigned from)
{
    char url[32];
    for (unsigned n = from; n < from + OBJECTS; n++) {
        struct cache_fill fill = fix_fill(50);
        fill.tags.text = n % 10 == 0 ? SLICE_LIT("keep ") : SLICE_LIT("go ");
        fill.tags.bytes[CACHE_TAG_XKEY] = (uint16_t)fill.tags.text.len;
        enum no_store_reason why = fix_store_fill(c, url_of(n, url), &fill, 50);
        assert_true(why == NO_STORE_STORED || (n % 10 != 0 && why == NO_STORE_PURGED));
    }
}

static void purge(enum cache_purge_kind kind, const char *text)
{
    const struct cache_purge p = {.kind = kind, .text = slice_str(text)};
    struct cache_purge_result result;
    assert_true(cache_purge(c, &p, 1, &result));
}

static void assert_kept(unsigned objects)
{
    char url[32];
    assert_int_equal(fix_stats(c).objects, objects / 10);
    for (unsigned n = 0; n < objects; n += 10)
        assert_true(fix_has(c, url_of(n, url)));
}

static void test_a_pass_frees_what_is_gone(void **state)
{
    UNUSED(state);
    cache_sweeper_stop(c);
    uint64_t empty = fix_stats(c).bytes_used;
    store_all(0);
    purge(CACHE_PURGE_TAG, "go");
    assert_int_equal(fix_stats(c).objects, OBJECTS);
    uint64_t takes = lock_taken(LOCK_CACHE_SHARD) + lock_taken(LOCK_CACHE_EVICT);
    fix_sweep(c);
    takes = lock_taken(LOCK_CACHE_SHARD) + lock_taken(LOCK_CACHE_EVICT) - takes;
    assert_in_range(takes, OBJECTS / 8, OBJECTS / 2); /* some under one hold, of either lock */
    assert_kept(OBJECTS);
    purge(CACHE_PURGE_PREFIX, "http://h/");
    fix_sweep(c);
    rcu_flush();
    assert_int_equal(fix_stats(c).objects, 0);
    assert_int_equal(fix_stats(c).live_objects, 0);
    assert_in_range(fix_stats(c).bytes_used, empty, empty + 64 * KB);
}

/* What a pass has looked at needs no event older than it: floors that rise later concern it no more. */
static void test_what_stays_is_moved_past_the_events(void **state)
{
    UNUSED(state);
    cache_sweeper_stop(c);
    assert_int_equal(fix_store(c, "http://h/a", 50), NO_STORE_STORED);
    char text[32];
    for (unsigned n = 0; n < 4 * CACHE_INVAL_PATTERNS; n++) {
        snprintf(text, sizeof text, "http://none/%u", n);
        purge(n % 2 ? CACHE_PURGE_PREFIX : CACHE_PURGE_TAG, text);
        if (cache_inval_is_crowded(&c->inval, atomic_load(&c->sweeper.swept_id)))
            fix_sweep(c);
    }
    assert_true(atomic_load(&c->inval.floor[CACHE_INVAL_HARD]) > 0);
    assert_true(fix_has(c, "http://h/a"));
}

/* Since the last step the index has moved twice, and lies where it lay, as large as it was: by its address it
 * is the same. */
static void test_another_table_in_the_same_place(void **state)
{
    UNUSED(state);
    cache_sweeper_stop(c);
    store_all(0);
    struct cache_sweep s = {.target_id = cache_inval_head(&c->inval)};
    assert_true(cache_sweep_step(c, &s));
    assert_true(s.shard == 0 && s.cursor > 0);
    atomic_fetch_add(&c->shards[0].index.moves, 2);
    assert_true(cache_sweep_step(c, &s));
    assert_int_equal(s.restarts, 1);
    assert_int_equal(s.cursor, 0);
    while (cache_sweep_step(c, &s))
        assert_true(s.restarts <= 1);
}

/* The thread comes to it by itself; waits for the figure it changes. */
static void test_the_thread_sweeps(void **state)
{
    UNUSED(state);
    store_all(0);
    purge(CACHE_PURGE_TAG, "go");
    while (fix_stats(c).objects > OBJECTS / 10)
        sched_yield();
    assert_kept(OBJECTS);
    purge(CACHE_PURGE_HOST, "h");
    while (fix_stats(c).objects > 0)
        sched_yield();
}

static void *store_again(void *arg)
{
    UNUSED(arg);
    rcu_thread_start();
    for (unsigned round = 0; round < 3; round++)
        store_all(round * OBJECTS);
    rcu_thread_stop();
    return NULL;
}

static void test_sweeping_while_others_store(void **state)
{
    UNUSED(state);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, store_again, NULL), 0);
    for (uint64_t seen = 0; seen < 2 * OBJECTS;) { /* at most one for each that is stored */
        purge(CACHE_PURGE_TAG, "go");
        while (fix_stats(c).inserts == seen)
            sched_yield();
        seen = fix_stats(c).inserts;
    }
    pthread_join(thread, NULL);
    purge(CACHE_PURGE_TAG, "go");
    cache_sweeper_stop(c);
    fix_sweep(c);
    assert_kept(3 * OBJECTS);
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, open_cache, close_cache)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_pass_frees_what_is_gone),       TEST(test_what_stays_is_moved_past_the_events),
        TEST(test_another_table_in_the_same_place), TEST(test_the_thread_sweeps),
        TEST(test_sweeping_while_others_store),
    };
    return cmocka_run_group_tests_name("cache/sweep", tests, fix_group_setup, fix_group_teardown);
}
