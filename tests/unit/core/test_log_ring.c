/* test_log_ring.c: the ring alone: order, wrap-around, a full ring, two threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/log_ring.h"

static void test_ring_wraps_and_keeps_order(void **state)
{
    (void)state;
    struct log_ring *r = log_ring_new(1024);
    unsigned in = 0, out = 0;
    for (unsigned round = 0; round < 20000; round++) {
        char *to = log_ring_reserve(r, in % 2 == 0 ? LOG_CHANNEL_ERROR : LOG_CHANNEL_ACCESS, 200);
        if (to != NULL) {
            size_t n = (size_t)snprintf(
                to, 200, "%u %.*s", in, (int)(in % 150),
                "................................................................................"
                "......................................................................");
            log_ring_commit(r, n);
            in++;
        }
        if (to != NULL && round % 3 != 0)
            continue;
        enum log_channel channel;
        slice_t line;
        for (unsigned k = 0; k < 2 && log_ring_peek(r, &channel, &line); k++, out++) {
            assert_int_equal(channel, out % 2 == 0 ? LOG_CHANNEL_ERROR : LOG_CHANNEL_ACCESS);
            assert_int_equal(strtoul(line.ptr, NULL, 10), out);
            assert_true(line.ptr >= r->data && line.ptr + line.len <= r->data + r->size);
            log_ring_pop(r);
        }
    }
    assert_true(out > 10000 && in - out < 100);
    log_ring_free(r);
}

static void test_ring_full_drops_and_counts(void **state)
{
    (void)state;
    struct log_ring *r = log_ring_new(1024);
    unsigned put = 0;
    for (unsigned i = 0; i < 100; i++) {
        char *to = log_ring_reserve(r, LOG_CHANNEL_ACCESS, 56);
        if (to == NULL)
            continue;
        memset(to, 'x', 56);
        log_ring_commit(r, 56);
        put++;
    }
    assert_int_equal(put, 16); /* 56 bytes and 8 of head each */
    assert_int_equal(r->dropped, 84);
    assert_null(log_ring_reserve(r, LOG_CHANNEL_ACCESS, 2000)); /* longer than the ring, and a huge one */
    assert_null(log_ring_reserve(r, LOG_CHANNEL_ACCESS, SIZE_MAX));
    assert_int_equal(r->dropped, 86);
    enum log_channel channel;
    slice_t line;
    assert_true(log_ring_peek(r, &channel, &line));
    log_ring_pop(r);
    assert_non_null(log_ring_reserve(r, LOG_CHANNEL_ACCESS, 56));
    log_ring_commit(r, 0); /* nothing used: nothing published */
    for (unsigned i = 0; i < 15; i++, log_ring_pop(r))
        assert_true(log_ring_peek(r, &channel, &line));
    assert_false(log_ring_peek(r, &channel, &line));
    log_ring_free(r);
}

static void *consume_thread(void *arg)
{
    struct log_ring *r = arg;
    enum log_channel channel;
    slice_t line;
    for (unsigned long next = 0; next < 100000;) {
        if (!log_ring_peek(r, &channel, &line)) {
            sched_yield();
            continue;
        }
        if (strtoul(line.ptr, NULL, 10) != next++)
            return (void *)1;
        log_ring_pop(r);
    }
    return NULL;
}

static void test_ring_between_threads(void **state)
{
    (void)state;
    struct log_ring *r = log_ring_new(4096);
    pthread_t consumer;
    assert_int_equal(pthread_create(&consumer, NULL, consume_thread, r), 0);
    for (unsigned i = 0; i < 100000;) {
        char *to = log_ring_reserve(r, LOG_CHANNEL_ACCESS, 32);
        if (to == NULL) {
            sched_yield();
            continue;
        }
        log_ring_commit(r, (size_t)snprintf(to, 32, "%u ", i++) + 1);
    }
    void *failed;
    pthread_join(consumer, &failed);
    assert_null(failed);
    log_ring_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ring_wraps_and_keeps_order),
        cmocka_unit_test(test_ring_full_drops_and_counts),
        cmocka_unit_test(test_ring_between_threads),
    };
    return cmocka_run_group_tests_name("core/log_ring", tests, NULL, NULL);
}
