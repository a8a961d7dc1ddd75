/* test_inval_log.c: ids, the bounded table and its floor: never too little purged. */
#include "cache/inval_log.h"

#include "tests/unit/cache/fixture.h"

static void test_only_later_events_count(void **state)
{
    UNUSED(state);
    struct cache_inval_log log;
    assert_true(cache_inval_open(&log, 16));
    uint64_t before = cache_inval_head(&log);
    assert_false(cache_inval_is_purged(&log, 77, before));
    uint64_t id = cache_inval_purge(&log, 77);
    assert_int_equal(id, before + 1);
    assert_int_equal(cache_inval_head(&log), id);
    assert_true(cache_inval_is_purged(&log, 77, before));
    assert_false(cache_inval_is_purged(&log, 77, id));
    assert_false(cache_inval_is_purged(&log, 78, before));
    uint64_t again = cache_inval_purge(&log, 77);
    assert_true(cache_inval_is_purged(&log, 77, id));
    assert_false(cache_inval_is_purged(&log, 77, again));
    cache_inval_close(&log);
}

static void test_fingerprints_that_collide_in_the_table(void **state)
{
    UNUSED(state);
    struct cache_inval_log log;
    assert_true(cache_inval_open(&log, 8));
    for (uint64_t i = 0; i < 8; i++) /* all start at the same slot; 0 is a legal fingerprint */
        cache_inval_purge(&log, i << 32);
    for (uint64_t i = 0; i < 8; i++) {
        assert_true(cache_inval_is_purged(&log, i << 32, i));
        assert_false(cache_inval_is_purged(&log, i << 32, i + 1));
    }
    cache_inval_close(&log);
}

static void test_overflow_raises_the_floor(void **state)
{
    UNUSED(state);
    struct cache_inval_log log;
    enum { CAPACITY = 32, EVENTS = 1000 };
    assert_true(cache_inval_open(&log, CAPACITY));
    for (uint64_t i = 1; i <= EVENTS; i++) {
        assert_int_equal(cache_inval_purge(&log, i * 0x9e3779b97f4a7c15u), i);
        /* whatever was purged is purged for everything older, however long ago */
        for (uint64_t j = 1; j <= i; j++)
            assert_true(cache_inval_is_purged(&log, j * 0x9e3779b97f4a7c15u, j - 1));
        /* and the last CAPACITY events hurt nobody else */
        if (i > CAPACITY)
            assert_false(cache_inval_is_purged(&log, 12345, i - CAPACITY));
        assert_false(cache_inval_is_purged(&log, 12345, i));
    }
    assert_true(cache_inval_is_purged(&log, 12345, 1)); /* too much, as documented */
    cache_inval_close(&log);
}

static void test_repeated_purges_of_one_key_do_not_overflow(void **state)
{
    UNUSED(state);
    struct cache_inval_log log;
    assert_true(cache_inval_open(&log, 4));
    uint64_t before = cache_inval_head(&log);
    for (int i = 0; i < 10000; i++)
        cache_inval_purge(&log, 5);
    assert_false(cache_inval_is_purged(&log, 6, before));
    cache_inval_close(&log);
}

static void test_purge_all(void **state)
{
    UNUSED(state);
    struct cache_inval_log log;
    assert_true(cache_inval_open(&log, 4));
    cache_inval_purge(&log, 5);
    uint64_t id = cache_inval_purge_all(&log);
    assert_true(cache_inval_is_purged(&log, 99, id - 1));
    assert_false(cache_inval_is_purged(&log, 99, id));
    assert_false(cache_inval_is_purged(&log, 5, id));
    cache_inval_close(&log);
}

static void test_no_memory(void **state)
{
    UNUSED(state);
    for (long n = 0; n < 2; n++) {
        struct cache_inval_log log;
        cache_memory_fail_after(n);
        assert_false(cache_inval_open(&log, 4));
        cache_memory_fail_after(-1);
    }
}

/* A writer that overflows all the time; a reader that must never see a purge missing. */
struct race {
    struct cache_inval_log log;
    _Atomic uint64_t published; /* event i has fingerprint of i and id i */
    _Atomic bool missed;
};

static uint64_t race_fingerprint(uint64_t i)
{
    return i * 0xff51afd7ed558ccdu;
}

static void *race_writer(void *arg)
{
    struct race *r = arg;
    for (uint64_t i = 1; i <= 50000; i++) {
        cache_inval_purge(&r->log, race_fingerprint(i));
        atomic_store_explicit(&r->published, i, memory_order_release);
    }
    return NULL;
}

static void test_reader_never_misses_a_purge(void **state)
{
    UNUSED(state);
    static struct race r;
    pthread_t writer;
    assert_true(cache_inval_open(&r.log, 16));
    assert_int_equal(pthread_create(&writer, NULL, race_writer, &r), 0);
    uint64_t seen;
    do {
        seen = atomic_load_explicit(&r.published, memory_order_acquire);
        for (uint64_t back = 0; back < 40 && back < seen; back++) {
            uint64_t i = seen - back;
            if (!cache_inval_is_purged(&r.log, race_fingerprint(i), i - 1))
                atomic_store(&r.missed, true);
        }
    } while (seen < 50000);
    pthread_join(writer, NULL);
    assert_false(atomic_load(&r.missed));
    cache_inval_close(&r.log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_later_events_count),
        cmocka_unit_test(test_fingerprints_that_collide_in_the_table),
        cmocka_unit_test(test_overflow_raises_the_floor),
        cmocka_unit_test(test_repeated_purges_of_one_key_do_not_overflow),
        cmocka_unit_test(test_purge_all),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_reader_never_misses_a_purge),
    };
    return cmocka_run_group_tests_name("cache/inval_log", tests, fix_group_setup, fix_group_teardown);
}
