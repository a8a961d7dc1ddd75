/* test_shard_waits.c: who stores takes few locks, and does not wait for the one that all stores and the
 * sweeper share. */
#include <sched.h>

#include "tests/unit/cache/fixture.h"

#define URL "http://h/page"

static struct cache *c;

static int open_cache(void **state)
{
    UNUSED(state);
    c = fix_cache(16 * MB);
    return 0;
}

static int close_cache(void **state)
{
    UNUSED(state);
    fix_end(&c);
    return 0;
}

/* From here on each that is stored takes another's place. */
static void fill_until(uint64_t evictions)
{
    char url[32];
    for (unsigned n = 0; fix_stats(c).evictions < evictions; n++) {
        snprintf(url, sizeof url, "http://h/%u", n);
        assert_int_equal(fix_store(c, url, 10000), NO_STORE_STORED);
    }
}

/* Asking, storing: the shard. Making room when there is none: the victim's shard. */
static void test_a_store_takes_few_locks(void **state)
{
    UNUSED(state);
    uint64_t shard = lock_taken(LOCK_CACHE_SHARD), evict = lock_taken(LOCK_CACHE_EVICT);
    assert_int_equal(fix_store(c, URL, 1000), NO_STORE_STORED);
    assert_int_equal(lock_taken(LOCK_CACHE_SHARD) - shard, 2);
    assert_int_equal(lock_taken(LOCK_CACHE_EVICT) - evict, 1);
    fill_until(100);
    shard = lock_taken(LOCK_CACHE_SHARD), evict = lock_taken(LOCK_CACHE_EVICT);
    assert_int_equal(fix_store(c, "http://h/last", 10000), NO_STORE_STORED);
    assert_in_range(lock_taken(LOCK_CACHE_SHARD) - shard, 2, 4);
    assert_in_range(lock_taken(LOCK_CACHE_EVICT) - evict, 1, 2);
}

/* ---- another thread has the lock and stands still: whoever waited for it here would wait for ever ---- */

/* The sweeper, say, has the eviction lock and has lost its processor: who stores does not wait for it. */
static void test_storing_does_not_wait_for_the_eviction_lock(void **state)
{
    UNUSED(state);
    char url[32];
    struct fix_holder h;
    assert_int_equal(fix_store(c, URL, 1000), NO_STORE_STORED);
    struct cache_object *old = fix_find(c, URL);
    size_t before = fix_stats(c).objects;
    fix_hold(&h, &c->evict.lock);
    const struct cache_key key = fix_key(URL);
    cache_purge_url(c, &key);
    for (unsigned n = 0; n < 10; n++) {
        snprintf(url, sizeof url, "http://h/%u", n);
        assert_int_equal(fix_store(c, url, 1000), NO_STORE_STORED);
        assert_true(fix_has(c, url));
    }
    assert_false(fix_has(c, URL));
    assert_int_equal(fix_store(c, URL, 1000), NO_STORE_STORED);
    struct cache_object *now = fix_find(c, URL);
    assert_true(now != NULL && now != old);
    fix_let_go(&h);
    cache_object_unref(&old);
    cache_object_unref(&now);
    assert_int_equal(fix_stats(c).objects, before + 10);
    rcu_flush();
    assert_int_equal(fix_stats(c).live_objects, before + 10);
    assert_int_equal(c->evict.objects, before + 10);
}

/* Where room must be made first, it is sent without being stored. */
static void test_room_is_made_in_time_or_not_at_all(void **state)
{
    UNUSED(state);
    char url[32];
    struct fix_holder h;
    fill_until(1);
    fix_hold(&h, &c->evict.lock);
    enum no_store_reason why = NO_STORE_STORED;
    for (unsigned n = 0; why == NO_STORE_STORED; n++) {
        snprintf(url, sizeof url, "http://more/%u", n);
        why = fix_store(c, url, 10000);
    }
    assert_int_equal(why, NO_STORE_NO_MEMORY);
    assert_false(fix_has(c, url));
    fix_let_go(&h);
    assert_int_equal(fix_store(c, url, 10000), NO_STORE_STORED);
    assert_true(fix_stats(c).bytes_used <= 16 * MB);
}

/* So is what turns out to need more room when its length was not known. It is not too large for all that: the
 * next who asks may store it. */
static void test_what_found_no_room_in_time_is_not_remembered(void **state)
{
    UNUSED(state);
    struct fix_holder h;
    fill_until(1);
    const struct cache_fill fill = fix_fill(-1);
    struct cache_flight *fl = fix_lead(c, URL);
    enum no_store_reason why;
    uint64_t at = 0;
    assert_non_null(cache_fill_begin(fl, &fill, &why));
    fix_hold(&h, &c->evict.lock);
    assert_true(fix_pour(fl, &at, 1000000));
    assert_int_equal(cache_fill_finish(&fl), NO_STORE_NO_MEMORY);
    fix_let_go(&h);
    assert_false(fix_has(c, URL));
    assert_false(fix_pass(c, URL));
    assert_int_equal(fix_store_fill(c, URL, &fill, 1000000), NO_STORE_STORED);
    assert_true(fix_has(c, URL));
}

/* Where nothing is left to evict, it is too large, and remembered. */
static void test_what_is_larger_than_the_cache_is_remembered(void **state)
{
    UNUSED(state);
    const struct cache_fill fill = fix_fill(-1);
    assert_int_equal(fix_store_fill(c, URL, &fill, 17 * MB), NO_STORE_TOO_LARGE);
    assert_true(fix_pass(c, URL));
}

/* ---- at once ---- */

enum { THREADS = 3, STORES = 4000, URLS = 300 };

static _Atomic bool stop;

/* Some are new, some replace what another thread has just stored; some of the cache's room has to be made. */
static void *store_many(void *arg)
{
    unsigned self = *(unsigned *)arg;
    char url[32];
    rcu_thread_start();
    for (unsigned n = 0; n < STORES; n++) {
        snprintf(url, sizeof url, "http://h/%u", n % 4 == 0 ? 1000 * (self + 1) + n : n % URLS);
        const struct cache_key key = fix_key(url);
        if (n % 8 == 1)
            cache_purge_url(c, &key);
        struct cache_join_result j = {.what = CACHE_PASS};
        struct arena scratch;
        arena_init(&scratch, NULL, 0, 64 * KB);
        if (!fix_has(c, url)) {
            j.flight = cache_lead(c, &key, fix_plain(), &scratch, NULL);
            j.what = j.flight != NULL ? CACHE_LEAD : CACHE_PASS;
        }
        arena_reset(&scratch);
        if (j.what != CACHE_LEAD)
            continue;
        struct cache_fill fill = fix_fill(5000);
        enum no_store_reason why;
        uint64_t at = 0;
        if (cache_fill_begin(j.flight, &fill, &why) == NULL) {
            cache_flight_release(&j.flight, why, 0);
            continue;
        }
        ASSERT(fix_pour(j.flight, &at, 5000));
        cache_fill_finish(&j.flight);
    }
    rcu_thread_stop();
    return NULL;
}

static void *hold_again_and_again(void *arg)
{
    UNUSED(arg);
    while (!atomic_load(&stop)) {
        lock_take(&c->evict.lock);
        for (unsigned i = 0; i < 20; i++)
            sched_yield();
        lock_drop(&c->evict.lock);
        sched_yield();
    }
    return NULL;
}

static void test_nothing_is_lost_at_the_door(void **state)
{
    UNUSED(state);
    pthread_t threads[THREADS], holder;
    unsigned numbers[THREADS];
    atomic_store(&stop, false);
    assert_int_equal(pthread_create(&holder, NULL, hold_again_and_again, NULL), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        numbers[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, store_many, &numbers[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    atomic_store(&stop, true);
    pthread_join(holder, NULL);
    struct cache_stats s = fix_stats(c);
    assert_true(s.inserts > STORES / 4 && s.objects > 100);
    assert_int_equal(c->evict.objects, s.objects);
    rcu_flush();
    assert_int_equal(fix_stats(c).live_objects, s.objects);
    assert_true(s.bytes_used <= 16 * MB);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, open_cache, close_cache)
    const struct CMUnitTest tests[] = {
        T(test_a_store_takes_few_locks),
        T(test_storing_does_not_wait_for_the_eviction_lock),
        T(test_room_is_made_in_time_or_not_at_all),
        T(test_what_found_no_room_in_time_is_not_remembered),
        T(test_what_is_larger_than_the_cache_is_remembered),
        T(test_nothing_is_lost_at_the_door),
    };
    return cmocka_run_group_tests_name("cache/shard_waits", tests, fix_group_setup, fix_group_teardown);
}
