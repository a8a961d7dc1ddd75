/* test_stream_map.c: ids of the stream and local ids, step by step; the ring's end; readers while it changes.
 */
#include <pthread.h>

#include "cache/stream_map.h"
#include "core/random.h"
#include "tests/unit/cache/fixture.h"

#define EPOCH 77
#define NONE  CACHE_STREAM_NOTHING_PENDING

static struct cache_stream_map *open_map(size_t steps)
{
    struct cache_stream_map *m = aligned_alloc(CACHE_LINE, sizeof *m);
    assert_non_null(m);
    assert_true(cache_stream_map_open(m, steps));
    return m;
}

static void close_map(struct cache_stream_map *m)
{
    cache_stream_map_close(m);
    free(m);
}

static struct cache_stream_id at(uint64_t ms)
{
    return (struct cache_stream_id){ms, 0};
}

/* The local id of a stamp; UINT64_MAX: it counts as purged. */
static uint64_t locate(const struct cache_stream_map *m, uint64_t epoch, uint64_t ms)
{
    uint64_t local_id;
    return cache_stream_map_locate(m, &(struct cache_stream_stamp){epoch, at(ms)}, &local_id) ? local_id
                                                                                              : UINT64_MAX;
}

/* The ms of an object's stamp; UINT64_MAX: there is none. */
static uint64_t stamp(const struct cache_stream_map *m, uint64_t local_id)
{
    struct cache_stream_stamp s;
    if (!cache_stream_map_stamp(m, local_id, &s))
        return UINT64_MAX;
    assert_int_equal(s.epoch, EPOCH);
    return s.id.ms;
}

static void test_nothing_before_the_epoch_is_known(void **state)
{
    UNUSED(state);
    struct cache_stream_map *m = open_map(8);
    assert_int_equal(locate(m, 0, 0), UINT64_MAX);
    assert_int_equal(stamp(m, UINT64_MAX), UINT64_MAX);
    cache_stream_map_restart(m, at(10), 100, NONE);
    assert_int_equal(locate(m, EPOCH, 10), UINT64_MAX);
    assert_int_equal(locate(m, 0, 10), UINT64_MAX);
    assert_int_equal(stamp(m, 100), UINT64_MAX);
    cache_stream_map_set_epoch(m, EPOCH);
    assert_int_equal(locate(m, EPOCH, 10), 100);
    assert_int_equal(locate(m, EPOCH + 1, 10), UINT64_MAX);
    cache_stream_map_set_epoch(m, 0);
    assert_int_equal(locate(m, EPOCH, 10), UINT64_MAX);
    cache_stream_map_set_epoch(m, EPOCH);
    cache_stream_map_restart(m, at(20), 200, NONE);
    assert_int_equal(locate(m, EPOCH, 20), UINT64_MAX);
    assert_int_equal(stamp(m, 200), UINT64_MAX);
    close_map(m);
}

static void test_both_ways_err_to_the_old_side(void **state)
{
    UNUSED(state);
    struct cache_stream_map *m = open_map(8);
    cache_stream_map_restart(m, at(10), 100, NONE);
    cache_stream_map_set_epoch(m, EPOCH);
    cache_stream_map_advance(m, at(20), 110, NONE, NONE);
    cache_stream_map_advance(m, at(30), 0, NONE, NONE); /* nothing was applied */
    cache_stream_map_advance(m, at(40), 130, NONE, NONE);
    static const uint64_t stamps[][2] = {{9, UINT64_MAX}, {10, 100}, {19, 100}, {20, 110},        {29, 110},
                                         {30, 110},       {39, 110}, {40, 130}, {UINT64_MAX, 130}};
    for (size_t i = 0; i < ARRAY_LEN(stamps); i++)
        assert_int_equal(locate(m, EPOCH, stamps[i][0]), stamps[i][1]);
    static const uint64_t ids[][2] = {{99, UINT64_MAX}, {100, 10}, {109, 10}, {110, 30},
                                      {129, 30},        {130, 40}, {999, 40}};
    for (size_t i = 0; i < ARRAY_LEN(ids); i++)
        assert_int_equal(stamp(m, ids[i][0]), ids[i][1]);
    close_map(m);
}

/* Ours gets 105, an other's comes with 110, then ours comes back. */
static void test_a_pending_event_is_not_passed_over(void **state)
{
    UNUSED(state);
    struct cache_stream_map *m = open_map(8);
    cache_stream_map_restart(m, at(10), 100, NONE);
    cache_stream_map_set_epoch(m, EPOCH);
    cache_stream_map_advance(m, at(20), 110, NONE, 104);
    assert_int_equal(locate(m, EPOCH, 20), 104); /* 110, but for ours */
    assert_int_equal(locate(m, EPOCH, 10), 100);
    cache_stream_map_advance(m, at(30), 105, 104, NONE);
    assert_int_equal(locate(m, EPOCH, 20), 104); /* never again 110 */
    assert_int_equal(locate(m, EPOCH, 30), 110);
    assert_int_equal(stamp(m, 105), 10); /* not yet: the other's is missing */
    assert_int_equal(stamp(m, 110), 30);
    cache_stream_map_restart(m, at(50), 200, 150);
    cache_stream_map_set_epoch(m, EPOCH);
    assert_int_equal(locate(m, EPOCH, 50), 150);
    assert_int_equal(locate(m, EPOCH, 30), UINT64_MAX);
    close_map(m);
}

/* All the same to Redis' clock: nothing says which one to leave out. */
static void test_the_oldest_steps_go_while_the_clock_stands(void **state)
{
    UNUSED(state);
    struct cache_stream_map *m = open_map(8);
    cache_stream_map_restart(m, (struct cache_stream_id){10, 0}, 100, NONE);
    cache_stream_map_set_epoch(m, EPOCH);
    for (uint64_t i = 1; i < 100; i++) {
        cache_stream_map_advance(m, (struct cache_stream_id){10, i}, 100 + i, NONE, NONE);
        for (uint64_t k = 0; k <= i; k++) {
            uint64_t local_id;
            const struct cache_stream_stamp stamp_of_k = {EPOCH, {10, k}};
            assert_int_equal(cache_stream_map_locate(m, &stamp_of_k, &local_id), i - k < 8);
            if (i - k < 8)
                assert_int_equal(local_id, 100 + k);
        }
    }
    close_map(m);
}

/* Each entry takes `every_ms`, and one local id. Nothing is forgotten, and nothing is too young; what it is
 * too old by is small beside its age. */
static void expect_thinned(struct cache_stream_map *m, uint64_t entries, uint64_t every_ms)
{
    cache_stream_map_restart(m, at(1000), 1000, NONE);
    cache_stream_map_set_epoch(m, EPOCH);
    for (uint64_t i = 1; i < entries; i++)
        cache_stream_map_advance(m, at(1000 + i * every_ms), 1000 + i, NONE, NONE);
    for (uint64_t i = 0; i < entries; i += i < entries - 2000 ? 97 : 1) {
        const uint64_t age = entries - i, ms = locate(m, EPOCH, 1000 + i * every_ms) - 1000,
                       back = stamp(m, 1000 + i);
        assert_true(ms <= i && i - ms <= age / 128);
        assert_true(back <= 1000 + i * every_ms && 1000 + i * every_ms - back <= age * every_ms / 128);
    }
}

static void test_old_steps_are_thinned_out(void **state)
{
    UNUSED(state);
    struct cache_stream_map *m = open_map(16384);
    expect_thinned(m, 16384, 5);   /* all fit */
    expect_thinned(m, 1000000, 5); /* 200 a second for more than an hour */
    expect_thinned(m, 100000, 3600000);
    close_map(m);
}

/* ---- threads: the writer keeps local = 10 x ms in each step, and at times lowers to the step before ---- */

enum { READERS = 3, SIGHTINGS = 100000 };

static _Atomic bool writer_done;
static _Atomic uint64_t writer_ms, sightings;

static void *reader_main(void *arg)
{
    const struct cache_stream_map *m = arg;
    uint64_t random = (uintptr_t)&random;
    while (!atomic_load(&writer_done)) {
        const uint64_t now_ms = atomic_load(&writer_ms);
        const uint64_t ms = now_ms - MIN(now_ms, random_next(&random) % 8);
        const uint64_t local_id = locate(m, EPOCH, ms), stamped = stamp(m, 10 * ms);
        if ((local_id != UINT64_MAX && (local_id > 10 * ms || local_id % 10 != 0)) ||
            (stamped != UINT64_MAX && stamped > ms)) {
            atomic_store(&writer_done, true);
            return (void *)1;
        }
        atomic_fetch_add(&sightings, local_id != UINT64_MAX && stamped != UINT64_MAX);
    }
    return NULL;
}

static void test_readers_see_whole_steps(void **state)
{
    UNUSED(state);
    struct cache_stream_map *m = open_map(4);
    pthread_t readers[READERS];
    cache_stream_map_restart(m, at(1), 10, NONE);
    cache_stream_map_set_epoch(m, EPOCH);
    for (unsigned i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&readers[i], NULL, reader_main, m), 0);
    for (uint64_t ms = 2; atomic_load(&sightings) < SIGHTINGS && !atomic_load(&writer_done); ms++) {
        atomic_store(&writer_ms, ms);
        if (ms % 1000 == 0) {
            cache_stream_map_restart(m, at(ms), 10 * ms, NONE);
            cache_stream_map_set_epoch(m, EPOCH);
        } else {
            cache_stream_map_advance(m, at(ms), 10 * ms,
                                     ms % 7 == 0 && ms % 1000 > 20 ? 10 * (ms - 10) : NONE, NONE);
        }
    }
    atomic_store(&writer_done, true);
    for (unsigned i = 0; i < READERS; i++) {
        void *wrong;
        assert_int_equal(pthread_join(readers[i], &wrong), 0);
        assert_null(wrong);
    }
    close_map(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_before_the_epoch_is_known),
        cmocka_unit_test(test_both_ways_err_to_the_old_side),
        cmocka_unit_test(test_a_pending_event_is_not_passed_over),
        cmocka_unit_test(test_the_oldest_steps_go_while_the_clock_stands),
        cmocka_unit_test(test_old_steps_are_thinned_out),
        cmocka_unit_test(test_readers_see_whole_steps),
    };
    return cmocka_run_group_tests(tests, fix_group_setup, fix_group_teardown);
}
