/* test_fill_end.c: an object can be found from the moment anybody has its last byte. */
#include <sched.h>

#include "tests/unit/cache/open_cache.h"

/* For all that is raced for: what is evicted comes back only when a busy machine has run the reclaimer. */
static int open_large_cache(void **state)
{
    UNUSED(state);
    return open_cache_of(256 * MB);
}

static struct cache_object *begin(struct cache_flight *fl, int64_t body_bytes)
{
    struct cache_fill fill = fix_fill(body_bytes);
    enum no_store_reason why;
    struct cache_object *o = cache_fill_begin(fl, &fill, &why);
    assert_non_null(o);
    return o;
}

static void test_last_bytes_come_with_the_index(void **state)
{
    UNUSED(state);
    static const uint64_t sizes[] = {1, 1000, 16384, 16385, 300000};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct fix_reader r = {0};
        char key[32];
        snprintf(key, sizeof key, "http://h/%zu", i);
        struct cache_flight *fl = fix_lead(c, key);
        struct cache_object *o = begin(fl, (int64_t)sizes[i]);
        assert_int_equal(fix_join(c, key, NULL, w, &r).what, CACHE_FOLLOW);
        fix_pump(w);
        assert_true(cache_follower_arm(r.follower, 0));
        uint64_t at = 0;
        fix_pour(fl, &at, sizes[i]);
        assert_true(cache_object_filled(o) < sizes[i]);
        assert_false(cache_object_is_complete(o));
        assert_int_equal(cache_fill_finish(&fl), NO_STORE_STORED);
        assert_int_equal(cache_object_filled(o), sizes[i]);
        assert_true(fix_body_is_right(o, 0, sizes[i]));
        assert_true(fix_has(c, key));
        fix_pump(w);
        assert_int_equal(r.events[r.count - 1], CACHE_EVENT_PROGRESS);
        cache_follower_close(&r.follower);
    }
}

static void test_head_without_body_comes_with_the_index(void **state)
{
    UNUSED(state);
    struct fix_reader early = {0}, late = {0};
    struct cache_flight *fl = fix_lead(c, "http://h/a");
    assert_int_equal(fix_join(c, "http://h/a", NULL, w, &early).what, CACHE_FOLLOW);
    begin(fl, 0);
    assert_int_equal(fix_join(c, "http://h/a", NULL, w, &late).what, CACHE_FOLLOW);
    fix_pump(w);
    assert_int_equal(early.count + late.count, 0);
    assert_int_equal(cache_fill_finish(&fl), NO_STORE_STORED);
    assert_true(fix_has(c, "http://h/a"));
    fix_pump(w);
    assert_int_equal(early.events[0], CACHE_EVENT_OBJECT);
    assert_int_equal(late.events[0], CACHE_EVENT_OBJECT);
    cache_follower_close(&early.follower);
    cache_follower_close(&late.follower);
}

static void test_cut_before_the_last_bytes_were_shown(void **state)
{
    UNUSED(state);
    struct fix_reader r = {0};
    struct cache_flight *fl = fix_lead(c, "http://h/a");
    struct cache_object *o = begin(fl, 1000);
    r.follower = cache_flight_follow(fl, w, fix_on_event, &r);
    uint64_t at = 0;
    fix_pour(fl, &at, 400);
    fix_pour(fl, &at, 600);
    cache_fill_abort(&fl);
    assert_true(cache_follower_is_cut(r.follower));
    assert_int_equal(cache_object_filled(o), 400);
    cache_follower_close(&r.follower);
    assert_false(fix_has(c, "http://h/a"));
}

/* ---- as a second worker sees it ---- */

struct seeker {
    const char *key;
    bool found, complete;
};

static void *seeker_main(void *arg)
{
    struct seeker *s = arg;
    rcu_thread_start();
    struct cache_object *o = fix_find(c, s->key);
    s->found = o != NULL;
    s->complete = o != NULL && cache_object_is_complete(o);
    cache_object_unref(&o);
    rcu_thread_stop();
    return NULL;
}

/* In the index, but its last bytes are not shown yet: who looks it up waits for these two stores. */
static void test_object_being_shown_is_waited_for(void **state)
{
    UNUSED(state);
    struct cache_key key = fix_key("http://h/a");
    struct cache_shard *sh = cache_shard_of(c, key.hash);
    struct cache_fill fill = fix_fill(0);
    struct cache_object_parts parts = {.hash = key.hash.lo,
                                       .shard = (unsigned)(sh - c->shards),
                                       .key = key.text,
                                       .primary_bytes = key.text.len,
                                       .fill = &fill};
    assert_true(cache_reserve(c, cache_object_cost(&parts, false), NULL));
    struct cache_object *o = cache_object_create(&c->account, &parts, NULL);
    struct seeker s = {.key = "http://h/a"};
    pthread_t thread;
    uint64_t waits = lock_contended(LOCK_CACHE_SHARD);
    lock_take(&sh->lock);
    atomic_store(&o->checked_id, CACHE_ID_UNSHOWN);
    assert_int_equal(cache_shard_insert_locked(c, sh, o), NO_STORE_STORED);
    assert_int_equal(pthread_create(&thread, NULL, seeker_main, &s), 0);
    while (lock_contended(LOCK_CACHE_SHARD) == waits) /* a thread that does not wait hangs the test */
        sched_yield();
    cache_object_show(o, 0);
    atomic_store(&o->checked_id, cache_inval_head(&c->inval));
    lock_drop(&sh->lock);
    pthread_join(thread, NULL);
    assert_true(s.found && s.complete);
    cache_object_unref(&o);
}

#define RACE_ROUNDS 20000

static _Atomic(struct cache_object *) raced;
static char raced_key[32];
static _Atomic unsigned missed;

/* Reads what is filled as fast as it can, and looks the object up the moment it has all. */
static void *racer_main(void *arg)
{
    rcu_thread_start();
    for (unsigned i = 0; i < RACE_ROUNDS; i++) {
        struct cache_object *o;
        while ((o = atomic_load(&raced)) == NULL)
            sched_yield();
        int64_t announced = cache_object_info(o).body_bytes;
        while (announced > 0 ? cache_object_filled(o) < (uint64_t)announced : !cache_object_is_complete(o))
            continue;
        atomic_fetch_add(&missed, !fix_has(c, raced_key));
        atomic_store(&raced, NULL);
    }
    rcu_thread_stop();
    return arg;
}

static void test_who_has_the_last_byte_finds_it(void **state)
{
    UNUSED(state);
    static const int64_t announced[] = {0, 100, 20000, -1};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, racer_main, NULL), 0);
    for (unsigned i = 0; i < RACE_ROUNDS; i++) {
        int64_t bytes = announced[i % ARRAY_LEN(announced)];
        struct fix_reader r = {0};
        snprintf(raced_key, sizeof raced_key, "http://h/%u", i);
        struct cache_flight *fl = fix_lead(c, raced_key);
        struct cache_object *o = begin(fl, bytes);
        r.follower = cache_flight_follow(fl, w, fix_on_event, &r);
        atomic_store(&raced, o);
        uint64_t at = 0;
        fix_pour(fl, &at, bytes < 0 ? 100 : (uint64_t)bytes);
        assert_int_equal(cache_fill_finish(&fl), NO_STORE_STORED);
        while (atomic_load(&raced) != NULL)
            sched_yield();
        cache_follower_close(&r.follower);
    }
    pthread_join(thread, NULL);
    assert_int_equal(missed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_last_bytes_come_with_the_index, open_cache, close_cache),
        cmocka_unit_test_setup_teardown(test_head_without_body_comes_with_the_index, open_cache, close_cache),
        cmocka_unit_test_setup_teardown(test_cut_before_the_last_bytes_were_shown, open_cache, close_cache),
        cmocka_unit_test_setup_teardown(test_object_being_shown_is_waited_for, open_cache, close_cache),
        cmocka_unit_test_setup_teardown(test_who_has_the_last_byte_finds_it, open_large_cache, close_cache),
    };
    return cmocka_run_group_tests(tests, fix_group_setup, fix_group_teardown);
}
