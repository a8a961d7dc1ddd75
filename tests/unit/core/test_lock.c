/* test_lock.c: order, ownership and counters of the locks. */
#include "core/lock.h"

#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/panic.h"

/* True when `body` panics; in a child, since a panic aborts. */
static bool panics(void (*body)(void))
{
    pid_t pid = fork();
    if (pid == 0) {
        (void)!freopen("/dev/null", "w", stderr);
        body();
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void take_in_order(void)
{
    struct lock a, b;
    lock_init(&a, LOCK_CACHE_SHARD);
    lock_init(&b, LOCK_INVAL);
    lock_take(&a);
    lock_take(&b);
    lock_assert_held(&a);
    lock_assert_held(&b);
    lock_drop(&a); /* dropping in any order is fine */
    lock_drop(&b);
    lock_take(&a);
    lock_drop(&a);
}

static void take_against_order(void)
{
    struct lock a, b;
    lock_init(&a, LOCK_CACHE_SHARD);
    lock_init(&b, LOCK_INVAL);
    lock_take(&b);
    lock_take(&a);
}

static void take_two_of_a_rank(void)
{
    struct lock a, b;
    lock_init(&a, LOCK_CACHE_SHARD);
    lock_init(&b, LOCK_CACHE_SHARD);
    lock_take(&a);
    lock_take(&b);
}

static void drop_what_is_not_held(void)
{
    struct lock a;
    lock_init(&a, LOCK_POOL);
    lock_drop(&a);
}

static void assert_what_is_not_held(void)
{
    struct lock a;
    lock_init(&a, LOCK_LOG);
    lock_take(&a);
    lock_drop(&a);
    lock_assert_held(&a);
}

static void test_order_is_enforced(void **state)
{
    UNUSED(state);
    assert_false(panics(take_in_order));
    assert_true(panics(take_against_order));
    assert_true(panics(take_two_of_a_rank));
    assert_true(panics(drop_what_is_not_held));
    assert_true(panics(assert_what_is_not_held));
}

static void test_names(void **state)
{
    UNUSED(state);
    assert_string_equal(lock_rank_name(LOCK_CONFIG), "config");
    assert_string_equal(lock_rank_name(LOCK_CACHE_FILL), "cache_fill");
    assert_string_equal(lock_rank_name(LOCK_LOG), "log");
}

struct shared {
    struct lock lock;
    unsigned long sum;
    _Atomic bool waiting;
};

static void *add_many(void *arg)
{
    struct shared *s = arg;
    for (int i = 0; i < 50000; i++) {
        lock_take(&s->lock);
        s->sum++;
        lock_drop(&s->lock);
    }
    return NULL;
}

static void test_excludes(void **state)
{
    UNUSED(state);
    struct shared s = {.sum = 0};
    pthread_t t[3];
    lock_init(&s.lock, LOCK_SPILL);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&t[i], NULL, add_many, &s), 0);
    for (int i = 0; i < 3; i++)
        pthread_join(t[i], NULL);
    assert_int_equal(s.sum, 150000);
    lock_destroy(&s.lock);
}

static void *take_once(void *arg)
{
    struct shared *s = arg;
    lock_take(&s->lock);
    s->sum++;
    lock_drop(&s->lock);
    return NULL;
}

static void test_waiting_is_counted(void **state)
{
    UNUSED(state);
    struct shared s = {.sum = 0};
    pthread_t t;
    lock_init(&s.lock, LOCK_METRICS);
    uint64_t before = lock_contended(LOCK_METRICS);
    take_once(&s);
    assert_int_equal(lock_contended(LOCK_METRICS), before);
    lock_take(&s.lock);
    assert_int_equal(pthread_create(&t, NULL, take_once, &s), 0);
    while (lock_contended(LOCK_METRICS) == before) /* counted before it waits */
        sched_yield();
    lock_drop(&s.lock);
    pthread_join(t, NULL);
    assert_int_equal(lock_contended(LOCK_METRICS), before + 1);
    assert_int_equal(s.sum, 2);
    lock_destroy(&s.lock);
}

struct attempt {
    struct lock *lock;
    bool tried, waited;
};

static void *try_once(void *arg)
{
    struct attempt *a = arg;
    a->tried = lock_try(a->lock);
    if (a->tried)
        lock_drop(a->lock);
    a->waited = lock_take_within(a->lock, 200);
    if (a->waited)
        lock_drop(a->lock);
    return NULL;
}

static struct attempt attempt_elsewhere(struct lock *l)
{
    struct attempt a = {.lock = l};
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, try_once, &a), 0);
    pthread_join(t, NULL);
    return a;
}

static void test_who_does_not_want_to_wait(void **state)
{
    UNUSED(state);
    struct lock l;
    lock_init(&l, LOCK_CACHE_EVICT);
    uint64_t taken = lock_taken(LOCK_CACHE_EVICT), waits = lock_contended(LOCK_CACHE_EVICT);
    lock_take(&l);
    struct attempt a = attempt_elsewhere(&l);
    assert_false(a.tried);
    assert_false(a.waited); /* nor is it held for ever by who gave up */
    lock_drop(&l);
    assert_int_equal(lock_taken(LOCK_CACHE_EVICT), taken + 1);
    assert_int_equal(lock_contended(LOCK_CACHE_EVICT), waits + 1); /* a try is no wait */
    a = attempt_elsewhere(&l);
    assert_true(a.tried && a.waited);
    assert_int_equal(lock_taken(LOCK_CACHE_EVICT), taken + 3);
    lock_destroy(&l);
}

static void *take_in_time(void *arg)
{
    struct attempt *a = arg;
    while (!a->waited) /* the holder lets go after the first wait began */
        a->waited = lock_take_within(a->lock, 100000);
    lock_assert_held(a->lock);
    lock_drop(a->lock);
    return NULL;
}

static void test_a_bounded_wait_may_succeed(void **state)
{
    UNUSED(state);
    struct lock l;
    struct attempt a = {.lock = &l};
    pthread_t t;
    lock_init(&l, LOCK_CACHE_EVICT);
    uint64_t waits = lock_contended(LOCK_CACHE_EVICT);
    lock_take(&l);
    assert_int_equal(pthread_create(&t, NULL, take_in_time, &a), 0);
    while (lock_contended(LOCK_CACHE_EVICT) == waits)
        sched_yield();
    lock_drop(&l);
    pthread_join(t, NULL);
    assert_true(a.waited);
    lock_destroy(&l);
}

/* Every take of every thread is counted once, also those of threads that ended, and of more threads than
 * there are counters. */
static void test_takes_are_counted(void **state)
{
    UNUSED(state);
    struct shared s = {.sum = 0};
    lock_init(&s.lock, LOCK_CACHE_EVICT);
    uint64_t before = lock_taken(LOCK_CACHE_EVICT), others = lock_taken(LOCK_CACHE_SHARD);
    for (int i = 0; i < 200; i++) {
        pthread_t t;
        assert_int_equal(pthread_create(&t, NULL, take_once, &s), 0);
        pthread_join(t, NULL);
    }
    take_once(&s);
    assert_int_equal(lock_taken(LOCK_CACHE_EVICT), before + 201);
    assert_int_equal(lock_taken(LOCK_CACHE_SHARD), others);
    lock_destroy(&s.lock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_is_enforced),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_excludes),
        cmocka_unit_test(test_waiting_is_counted),
        cmocka_unit_test(test_who_does_not_want_to_wait),
        cmocka_unit_test(test_a_bounded_wait_may_succeed),
        cmocka_unit_test(test_takes_are_counted),
    };
    return cmocka_run_group_tests_name("core/lock", tests, NULL, NULL);
}
