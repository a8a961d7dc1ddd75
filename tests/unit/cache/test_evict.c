/* test_evict.c: the order in which S3-FIFO lets objects go. */
#include "cache/evict.h"

#include <sched.h>

#include "tests/unit/cache/fixture.h"

#define NOW_MS ((wall_ms_t)1700000000000)

static struct cache_account account;
static struct cache_evict ev;

static int open_all(void **state)
{
    UNUSED(state);
    assert_true(cache_account_open(&account, 1000 * MB));
    assert_true(cache_evict_open(&ev, 4 * MB));
    return 0;
}

static int close_all(void **state)
{
    UNUSED(state);
    struct cache_object *out[CACHE_EVICT_BATCH];
    size_t n;
    while ((n = cache_evict_pick(&ev, SIZE_MAX, NOW_MS, out)) > 0) {
        for (size_t i = 0; i < n; i++) {
            struct cache_object *index_ref = out[i];
            cache_object_unref(&index_ref);
            cache_object_unref(&out[i]);
        }
    }
    rcu_flush();
    cache_evict_close(&ev);
    cache_account_close(&account);
    return 0;
}

static uint8_t keep_code;

static struct cache_object *add(uint64_t id, dur_ms_t lifetime_ms)
{
    struct cache_fill fill = fix_fill(1000);
    fill.fresh.response_ms = NOW_MS;
    fill.fresh.lifetime_ms = lifetime_ms;
    fill.fresh.keep_code = keep_code;
    struct cache_object_parts parts = {.hash = hash_bytes(&id, sizeof id).lo,
                                       .key = slice_make((const char *)&id, sizeof id),
                                       .primary_bytes = sizeof id,
                                       .vary_names = SLICE_EMPTY,
                                       .fill = &fill,
                                       .body_bytes = 1000};
    assert_true(cache_account_try(&account, cache_object_cost(&parts, false)));
    struct cache_object *o = cache_object_create(&account, &parts, NULL);
    cache_object_commit_small(o, 1000);
    cache_object_end(o, CACHE_COMPLETE);
    cache_evict_add(&ev, o);
    return o;
}

static uint64_t id_of(const struct cache_object *o)
{
    uint64_t id;
    memcpy(&id, o->text, sizeof id);
    return id;
}

static uint64_t evict_one_at(wall_ms_t now_ms)
{
    struct cache_object *out[CACHE_EVICT_BATCH];
    assert_int_equal(cache_evict_pick(&ev, 1, now_ms, out), 1);
    uint64_t id = id_of(out[0]);
    struct cache_object *index_ref = out[0];
    cache_object_unref(&index_ref);
    cache_object_unref(&out[0]);
    return id;
}

static uint64_t evict_one(void)
{
    return evict_one_at(NOW_MS);
}

static void hit(struct cache_object *o, unsigned times)
{
    while (times-- > 0)
        cache_object_touch(o);
}

static void test_one_hit_wonders_leave_first_in_order(void **state)
{
    UNUSED(state);
    for (uint64_t i = 0; i < 20; i++) {
        struct cache_object *o = add(i, 1000);
        if (i % 5 == 0)
            hit(o, 2);
    }
    uint64_t last = 0;
    for (int i = 0; i < 16; i++) {
        uint64_t id = evict_one();
        assert_true(id % 5 != 0 && id >= last);
        last = id;
        assert_true(cache_evict_has_ghost(&ev, hash_bytes(&id, sizeof id).lo));
    }
    assert_true(evict_one() % 5 == 0);
}

static void test_frequency_saturates_without_further_writes(void **state)
{
    UNUSED(state);
    struct cache_object *o = add(1, 1000);
    hit(o, 1000);
    assert_int_equal(atomic_load(&o->freq), CACHE_FREQ_MAX);
}

static void test_ghost_brings_back_into_main(void **state)
{
    UNUSED(state);
    add(1, 1000);
    add(2, 1000);
    assert_int_equal(evict_one(), 1);
    struct cache_object *o = add(1, 1000);
    assert_int_equal(o->place, CACHE_PLACE_MAIN);
    uint64_t one = 1;
    assert_false(cache_evict_has_ghost(&ev, hash_bytes(&one, sizeof one).lo)); /* used up */
    assert_int_equal(add(3, 1000)->place, CACHE_PLACE_SMALL);
    assert_int_equal(evict_one(), 2);
}

static void test_as_many_ghosts_as_objects(void **state)
{
    UNUSED(state);
    enum { HELD = 10 };
    for (uint64_t i = 0; i < HELD; i++)
        add(i, 1000);
    uint64_t first = 0, hash = hash_bytes(&first, sizeof first).lo;
    for (uint64_t gone = 0; gone <= HELD + 1; gone++) {
        add(HELD + gone, 1000);
        assert_int_equal(evict_one(), gone);
        assert_int_equal(ev.objects, HELD);
        assert_int_equal(cache_evict_has_ghost(&ev, hash), gone <= HELD);
    }
    assert_int_equal(add(first, 1000)->place, CACHE_PLACE_SMALL);
}

static void test_scan_does_not_flush_the_hot_ones(void **state)
{
    UNUSED(state);
    enum { HOT = 100, CAPACITY = 200, SCAN = 5000 };
    struct cache_object *hot[HOT];
    size_t held = 0;
    for (uint64_t i = 0; i < HOT; i++, held++) {
        hot[i] = add(i, 1000);
        hit(hot[i], 3);
    }
    unsigned lost = 0;
    for (uint64_t i = 0; i < SCAN; i++) {
        add(1000 + i, 1000);
        if (++held > CAPACITY) {
            lost += evict_one() < 1000;
            held--;
        }
        if (lost == 0 && i % 50 == 0) {
            for (unsigned h = 0; h < HOT; h++)
                hit(hot[h], 1);
        }
    }
    assert_int_equal(lost, 0);
}

static void test_main_is_a_clock(void **state)
{
    UNUSED(state);
    for (uint64_t i = 0; i < 10; i++)
        hit(add(i, 1000), 2); /* all to main on the first look */
    struct cache_object *kept = add(10, 1000);
    hit(kept, 2);
    /* nothing is in small any more after the first eviction; main goes in order of arrival, a hit is a round
     */
    assert_int_equal(evict_one(), 0);
    hit(kept, 3);
    for (uint64_t i = 1; i < 10; i++)
        assert_int_equal(evict_one(), i);
    assert_int_equal(evict_one(), 10);
}

static void test_expired_gets_no_second_chance(void **state)
{
    UNUSED(state);
    hit(add(1, 100), 3);
    hit(add(2, 100000), 3);
    hit(add(3, 100), 3);
    assert_int_equal(evict_one_at(NOW_MS + 5000), 1);
    assert_int_equal(evict_one_at(NOW_MS + 5000), 3);
    assert_int_equal(evict_one_at(NOW_MS + 5000), 2);
}

static void test_stale_and_usable_gets_a_second_chance(void **state)
{
    UNUSED(state);
    hit(add(1, 100), 3);
    keep_code = 4; /* 8 s */
    hit(add(2, 100), 3);
    keep_code = 0;
    hit(add(3, 100), 3);
    assert_int_equal(evict_one_at(NOW_MS + 8000), 1);
    assert_int_equal(evict_one_at(NOW_MS + 8000), 3);
    assert_int_equal(evict_one_at(NOW_MS + 8000), 2);
}

static void test_looking_is_bounded_when_all_are_hot(void **state)
{
    UNUSED(state);
    for (uint64_t i = 0; i < 3000; i++)
        hit(add(i, 1000), 3);
    struct cache_object *out[CACHE_EVICT_BATCH];
    size_t n = cache_evict_pick(&ev, 1, NOW_MS, out);
    assert_int_equal(n, 1);
    struct cache_object *index_ref = out[0];
    cache_object_unref(&index_ref);
    cache_object_unref(&out[0]);
    size_t untouched = 0;
    LIST_FOREACH (l, &ev.small)
        untouched++;
    assert_in_range(untouched, 3000 - 260, 3000);
}

static void test_batches_and_byte_sums(void **state)
{
    UNUSED(state);
    struct cache_object *first = add(0, 1000);
    size_t each = cache_object_charge(first, true);
    for (uint64_t i = 1; i < 40; i++)
        add(i, 1000);
    assert_int_equal(ev.small_bytes + ev.main_bytes, 40 * each);
    struct cache_object *out[CACHE_EVICT_BATCH];
    assert_int_equal(cache_evict_pick(&ev, 3 * each - 1, NOW_MS, out), 3);
    assert_int_equal(ev.small_bytes + ev.main_bytes, 37 * each);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(out[i]->place, CACHE_PLACE_NONE);
        cache_evict_retire(&ev, out[i]); /* already out of its queue */
        cache_object_unref(&out[i]);
    }
    assert_int_equal(cache_evict_pick(&ev, SIZE_MAX, NOW_MS, out), CACHE_EVICT_BATCH);
    for (int i = 0; i < CACHE_EVICT_BATCH; i++) {
        struct cache_object *index_ref = out[i];
        cache_object_unref(&index_ref);
        cache_object_unref(&out[i]);
    }
}

/* ---- another thread has the lock and stands still: who waited for it here would wait for ever ---- */

static void test_comers_do_not_wait_and_keep_their_order(void **state)
{
    UNUSED(state);
    struct fix_holder h;
    add(1, 1000);
    assert_int_equal(evict_one(), 1);
    add(2, 1000);
    fix_hold(&h, &ev.lock);
    for (uint64_t i = 3; i < 10; i++)
        assert_int_equal(add(i, 1000)->place, CACHE_PLACE_NONE);
    struct cache_object *known = add(1, 1000);
    assert_int_equal(ev.objects, 1);
    fix_let_go(&h);
    struct cache_object *last = add(10, 1000); /* lets the others in first */
    assert_int_equal(ev.objects, 10);
    assert_int_equal(ev.small_bytes, 9 * cache_object_charge(last, true));
    assert_int_equal(known->place, CACHE_PLACE_MAIN); /* its ghost was there */
    for (uint64_t i = 2; i < 10; i++)
        assert_int_equal(evict_one(), i);
}

static void test_leavers_do_not_wait(void **state)
{
    UNUSED(state);
    struct fix_holder h;
    struct cache_object *old = add(1, 1000), *kept = add(2, 1000), *some[] = {add(4, 1000), add(5, 1000)};
    fix_hold(&h, &ev.lock);
    struct cache_object *brief = add(3, 1000); /* comes and goes meanwhile */
    cache_evict_retire(&ev, old);
    cache_evict_retire(&ev, brief);
    cache_evict_retire_some(&ev, some, ARRAY_LEN(some), false);
    rcu_flush();
    assert_int_equal(atomic_load(&account.live_objects), 5);
    assert_int_equal(old->place, CACHE_PLACE_SMALL);
    fix_let_go(&h);
    cache_evict_settle(&ev);
    rcu_flush();
    assert_int_equal(atomic_load(&account.live_objects), 1);
    assert_int_equal(ev.objects, 1);
    assert_int_equal(ev.small_bytes, cache_object_charge(kept, true));
    assert_int_equal(atomic_load(&account.used), cache_object_charge(kept, true));
    assert_int_equal(evict_one(), 2);
}

static void test_who_was_picked_may_leave(void **state)
{
    UNUSED(state);
    struct fix_holder h;
    struct cache_object *out[CACHE_EVICT_BATCH];
    size_t n;
    add(1, 1000);
    assert_int_equal(cache_evict_try_pick(&ev, 1, NOW_MS, out, &n), CACHE_EVICT_ROOM);
    assert_int_equal(n, 1);
    fix_hold(&h, &ev.lock);
    cache_evict_retire(&ev, out[0]); /* somebody replaced it before it was unlinked */
    fix_let_go(&h);
    cache_evict_settle(&ev);
    cache_object_unref(&out[0]);
    rcu_flush();
    assert_int_equal(atomic_load(&account.live_objects), 0);
    assert_int_equal(ev.small_bytes + ev.main_bytes, 0);
}

static void test_nobody_is_picked_in_time(void **state)
{
    UNUSED(state);
    struct fix_holder h;
    struct cache_object *out[CACHE_EVICT_BATCH];
    size_t n = 9;
    add(1, 1000);
    fix_hold(&h, &ev.lock);
    assert_int_equal(cache_evict_try_pick(&ev, 1, NOW_MS, out, &n), CACHE_EVICT_BUSY);
    assert_int_equal(n, 0);
    fix_let_go(&h);
    assert_int_equal(evict_one(), 1);
    assert_int_equal(cache_evict_try_pick(&ev, 1, NOW_MS, out, &n), CACHE_EVICT_NOTHING);
    assert_int_equal(n, 0);
}

/* Who wanted room had counted those as well that had left, but not from the queues: they make some of it. */
static void test_who_leaves_makes_room_first(void **state)
{
    UNUSED(state);
    struct fix_holder h;
    struct cache_object *out[CACHE_EVICT_BATCH], *left[] = {add(1, 1000), add(2, 1000), add(3, 1000)};
    const size_t each = cache_object_charge(left[0], true);
    size_t n;
    for (uint64_t i = 4; i < 10; i++)
        add(i, 1000);
    fix_hold(&h, &ev.lock);
    cache_evict_retire(&ev, left[0]);
    cache_evict_retire(&ev, left[1]);
    fix_let_go(&h);
    assert_int_equal(cache_evict_try_pick(&ev, 2 * each, NOW_MS, out, &n), CACHE_EVICT_ROOM);
    assert_int_equal(n, 0);
    fix_hold(&h, &ev.lock);
    cache_evict_retire(&ev, left[2]);
    fix_let_go(&h);
    assert_int_equal(cache_evict_pick(&ev, 2 * each, NOW_MS, out), 1);
    struct cache_object *index_ref = out[0];
    cache_object_unref(&index_ref);
    cache_object_unref(&out[0]);
    assert_int_equal(ev.objects, 5);
}

static void *retire_main(void *arg)
{
    cache_evict_retire(&ev, arg);
    return NULL;
}

/* So many leave that there is no room at the door: they are bounded, so the last one waits. */
static void test_the_door_has_an_end(void **state)
{
    UNUSED(state);
    struct fix_holder h;
    struct cache_object *all[CACHE_EVICT_LEAVERS + 1];
    pthread_t last;
    for (uint64_t i = 0; i < ARRAY_LEN(all); i++)
        all[i] = add(i, 1000);
    fix_hold(&h, &ev.lock);
    for (unsigned i = 0; i < CACHE_EVICT_LEAVERS; i++)
        cache_evict_retire(&ev, all[i]);
    uint64_t waits = lock_contended(LOCK_CACHE_EVICT);
    assert_int_equal(pthread_create(&last, NULL, retire_main, all[CACHE_EVICT_LEAVERS]), 0);
    while (lock_contended(LOCK_CACHE_EVICT) == waits) /* counted before it waits */
        sched_yield();
    fix_let_go(&h);
    pthread_join(last, NULL);
    assert_int_equal(ev.objects, 0);
    rcu_flush();
    assert_int_equal(atomic_load(&account.live_objects), 0);
}

static void test_empty_and_no_memory(void **state)
{
    UNUSED(state);
    struct cache_object *out[CACHE_EVICT_BATCH];
    assert_int_equal(cache_evict_pick(&ev, 1, NOW_MS, out), 0);
    struct cache_evict other;
    cache_memory_fail_after(0);
    assert_false(cache_evict_open(&other, MB));
    cache_memory_fail_after(-1);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, open_all, close_all)
    const struct CMUnitTest tests[] = {
        T(test_one_hit_wonders_leave_first_in_order),
        T(test_frequency_saturates_without_further_writes),
        T(test_ghost_brings_back_into_main),
        T(test_as_many_ghosts_as_objects),
        T(test_scan_does_not_flush_the_hot_ones),
        T(test_main_is_a_clock),
        T(test_expired_gets_no_second_chance),
        T(test_stale_and_usable_gets_a_second_chance),
        T(test_looking_is_bounded_when_all_are_hot),
        T(test_batches_and_byte_sums),
        T(test_comers_do_not_wait_and_keep_their_order),
        T(test_leavers_do_not_wait),
        T(test_who_was_picked_may_leave),
        T(test_nobody_is_picked_in_time),
        T(test_who_leaves_makes_room_first),
        T(test_the_door_has_an_end),
        T(test_empty_and_no_memory),
    };
    return cmocka_run_group_tests_name("cache/evict", tests, fix_group_setup, fix_group_teardown);
}
