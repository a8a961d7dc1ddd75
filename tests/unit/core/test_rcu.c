/* test_rcu.c: nothing is freed under a reader, everything is freed after a flush. */
#include "core/rcu.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <cmocka.h>

static _Atomic unsigned freed;

struct thing {
    struct rcu_grave grave;
    struct rcu_head bare;
    _Atomic unsigned alive;
};

static void thing_free(void *obj)
{
    struct thing *t = obj;
    atomic_store_explicit(&t->alive, 0, memory_order_relaxed);
    free(t);
    atomic_fetch_add(&freed, 1);
}

static void thing_on_grace(struct rcu_head *head)
{
    RCU_TSAN_ACQUIRE();
    thing_free(CONTAINER_OF(head, struct thing, bare));
}

static struct thing *thing_new(void)
{
    struct thing *t = calloc(1, sizeof *t);
    atomic_store(&t->alive, 1);
    return t;
}

static void test_flush_waits_for_all(void **state)
{
    UNUSED(state);
    atomic_store(&freed, 0);
    for (int i = 0; i < 100; i++) {
        struct thing *t = thing_new();
        if (i % 2 == 0)
            rcu_free_later(&t->grave, thing_free, t);
        else
            rcu_call_later(&t->bare, thing_on_grace);
    }
    rcu_flush();
    assert_int_equal(atomic_load(&freed), 100);
}

/* A reader that holds a section open until it is told. */
struct holder {
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    int phase; /* 1: inside, 2: may leave */
    unsigned freed_inside;
};

static void holder_set(struct holder *h, int phase)
{
    pthread_mutex_lock(&h->mutex);
    h->phase = phase;
    pthread_cond_broadcast(&h->cond);
    pthread_mutex_unlock(&h->mutex);
}

static void holder_wait(struct holder *h, int phase)
{
    pthread_mutex_lock(&h->mutex);
    while (h->phase < phase)
        pthread_cond_wait(&h->cond, &h->mutex);
    pthread_mutex_unlock(&h->mutex);
}

static void *hold_section(void *arg)
{
    struct holder *h = arg;
    rcu_thread_start();
    rcu_enter();
    rcu_enter(); /* nests */
    rcu_leave();
    holder_set(h, 1);
    holder_wait(h, 2);
    h->freed_inside = atomic_load(&freed);
    rcu_leave();
    rcu_thread_stop();
    return NULL;
}

static void test_reader_holds_the_grace_period_up(void **state)
{
    UNUSED(state);
    struct holder h = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0};
    pthread_t t;
    atomic_store(&freed, 0);
    assert_int_equal(pthread_create(&t, NULL, hold_section, &h), 0);
    holder_wait(&h, 1);
    struct thing *mine = thing_new();
    rcu_free_later(&mine->grave, thing_free, mine);
    assert_int_equal(atomic_load(&freed), 0);
    holder_set(&h, 2);
    rcu_flush();
    assert_int_equal(atomic_load(&freed), 1);
    pthread_join(t, NULL);
    assert_int_equal(h.freed_inside, 0);
}

struct race {
    _Atomic(struct thing *) current;
    _Atomic bool stop;
    _Atomic unsigned dead_seen, reads;
};

static void *race_read(void *arg)
{
    struct race *r = arg;
    rcu_thread_start();
    while (!atomic_load_explicit(&r->stop, memory_order_relaxed)) {
        rcu_enter();
        struct thing *t = atomic_load_explicit(&r->current, memory_order_acquire);
        if (atomic_load_explicit(&t->alive, memory_order_relaxed) != 1)
            atomic_fetch_add(&r->dead_seen, 1);
        rcu_leave();
        atomic_fetch_add_explicit(&r->reads, 1, memory_order_relaxed);
    }
    rcu_thread_stop();
    return NULL;
}

static void test_replace_under_readers(void **state)
{
    UNUSED(state);
    static struct race r;
    pthread_t t[2];
    atomic_store(&r.current, thing_new());
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&t[i], NULL, race_read, &r), 0);
    for (int i = 0; i < 5000 || atomic_load(&r.reads) < 1000; i++) {
        struct thing *old = atomic_exchange(&r.current, thing_new());
        rcu_free_later(&old->grave, thing_free, old);
    }
    atomic_store(&r.stop, true);
    for (int i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
    thing_free(atomic_load(&r.current));
    rcu_flush();
    assert_int_equal(atomic_load(&r.dead_seen), 0);
}

static int setup(void **state)
{
    UNUSED(state);
    rcu_thread_start();
    return 0;
}

static int teardown(void **state)
{
    UNUSED(state);
    rcu_thread_stop();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flush_waits_for_all),
        cmocka_unit_test(test_reader_holds_the_grace_period_up),
        cmocka_unit_test(test_replace_under_readers),
    };
    return cmocka_run_group_tests_name("core/rcu", tests, setup, teardown);
}
