/* test_door_threads.c: stores, variants, replacements, purges and evictions by several threads, while others
 * hold the eviction lock again and again, so that much is left at the door; at the end each byte and object
 * is accounted for. Made for ThreadSanitizer. */
#include <sched.h>

#include "cache/purge.h"
#include "cache/shard.h"
#include "tests/unit/cache/fixture.h"

enum { URLS = 40, STORERS = 3, ROUNDS = 3000 };

static struct cache *c;
static _Atomic unsigned running;
static _Atomic uint64_t stored, not_stored, version[URLS], least[URLS], wrong;

static unsigned pick(uint64_t *random, unsigned n)
{
    *random = *random * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)((*random >> 33) % n);
}

static uint64_t version_of(const struct cache_object *o)
{
    slice_t head = cache_object_info(o).head;
    char text[128] = {0};
    memcpy(text, head.ptr, MIN(head.len, sizeof text - 1));
    return strtoull(strstr(text, "X: ") + 3, NULL, 10);
}

static void ask(uint64_t *random)
{
    char url[32], head[128];
    struct fix_head h;
    unsigned n = pick(random, URLS);
    const bool varies = n % 3 == 0;
    snprintf(url, sizeof url, "http://h/%u", n);
    char lang[4] = {'l', (char)('a' + pick(random, 5)), 0};
    const struct http_head *request = fix_with_field(&h, HTTP_FIELD_ACCEPT_LANGUAGE, "Accept-Language", lang);
    uint64_t must = atomic_load(&least[n]);
    struct cache_object *o = fix_find_as(c, url, request);
    if (o != NULL && version_of(o) < must)
        atomic_fetch_add(&wrong, 1);
    if (o != NULL && pick(random, 3) > 0) {
        cache_object_unref(&o);
        return;
    }
    struct arena scratch;
    arena_init(&scratch, NULL, 0, 64 * KB);
    struct cache_key k = fix_key(url);
    struct cache_flight *fl = cache_lead(c, &k, request, &scratch, o);
    arena_reset(&scratch);
    cache_object_unref(&o);
    if (fl == NULL)
        return;
    static const uint64_t sizes[] = {10, 300, 2000, 9000, 40000, 100000};
    uint64_t bytes = sizes[pick(random, 6)], at = 0;
    snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nX: %llu\r\n%s",
             (unsigned long long)atomic_load(&version[n]), varies ? "Vary: Accept-Language\r\n" : "");
    struct cache_fill fill = fix_fill(pick(random, 2) ? (int64_t)bytes : -1);
    fill.request = request;
    fill.head = slice_str(head);
    fill.etag = SLICE_EMPTY;
    struct fix_head r;
    if (varies)
        fill.response = fix_with_field(&r, HTTP_FIELD_VARY, "Vary", "Accept-Language");
    enum no_store_reason why;
    if (cache_fill_begin(fl, &fill, &why) == NULL) {
        cache_flight_release(&fl, why, 0);
        atomic_fetch_add(&not_stored, 1);
        return;
    }
    if (!fix_pour(fl, &at, bytes)) {
        cache_fill_abort(&fl);
        atomic_fetch_add(&not_stored, 1);
        return;
    }
    bool ok = cache_fill_finish(&fl) == NO_STORE_STORED;
    atomic_fetch_add(ok ? &stored : &not_stored, 1);
}

static void *storer(void *arg)
{
    uint64_t random = (uintptr_t)arg;
    rcu_thread_start();
    for (unsigned i = 0; i < ROUNDS; i++)
        ask(&random);
    rcu_thread_stop();
    atomic_fetch_sub(&running, 1);
    return NULL;
}

static void *holder(void *arg)
{
    uint64_t random = (uintptr_t)arg;
    while (atomic_load(&running) > 0) {
        lock_take(&c->evict.lock);
        for (unsigned i = pick(&random, 30); i > 0; i--)
            sched_yield();
        lock_drop(&c->evict.lock);
        sched_yield();
    }
    return NULL;
}

static void *purger(void *arg)
{
    uint64_t random = (uintptr_t)arg;
    rcu_thread_start();
    while (atomic_load(&running) > 0) {
        unsigned n = pick(&random, URLS);
        char url[32];
        snprintf(url, sizeof url, "http://h/%u", n);
        uint64_t v = atomic_fetch_add(&version[n], 1) + 1;
        struct cache_key k = fix_key(url);
        cache_purge_url(c, &k);
        atomic_store(&least[n], v);
        if (pick(&random, 20) == 0)
            fix_stats(c);
        for (unsigned i = 0; i < 50; i++)
            sched_yield();
    }
    rcu_thread_stop();
    return NULL;
}

static size_t queue_sum(struct list *l, size_t *count)
{
    size_t sum = 0;
    LIST_FOREACH (n, l) {
        sum += cache_object_charge(CONTAINER_OF(n, struct cache_object, queue), true);
        ++*count;
    }
    return sum;
}

static void run_threads(void)
{
    pthread_t t[STORERS + 3];
    atomic_store(&running, STORERS);
    for (uintptr_t i = 0; i < STORERS; i++)
        assert_int_equal(pthread_create(&t[i], NULL, storer, (void *)(i + 1)), 0);
    assert_int_equal(pthread_create(&t[STORERS], NULL, holder, (void *)77), 0);
    assert_int_equal(pthread_create(&t[STORERS + 1], NULL, holder, (void *)78), 0);
    assert_int_equal(pthread_create(&t[STORERS + 2], NULL, purger, (void *)79), 0);
    rcu_thread_stop();
    for (unsigned i = 0; i < STORERS + 3; i++)
        assert_int_equal(pthread_join(t[i], NULL), 0);
    rcu_thread_start();
}

static void test_all_is_accounted_for(void **state)
{
    UNUSED(state);
    c = fix_cache(4 * MB);
    run_threads();
    print_message("%llu stored, %llu not\n", (unsigned long long)stored, (unsigned long long)not_stored);
    assert_int_equal(wrong, 0);
    assert_true(stored > 0);
    fix_stats(c); /* settles */
    rcu_flush();
    struct cache_stats s = fix_stats(c);
    assert_int_equal(s.live_objects, s.objects);
    assert_true(s.bytes_used <= s.bytes_limit);
    size_t count = 0;
    assert_int_equal(queue_sum(&c->evict.small, &count), c->evict.small_bytes);
    assert_int_equal(queue_sum(&c->evict.main, &count), c->evict.main_bytes);
    assert_int_equal(count, c->evict.objects);
    assert_int_equal(count, s.objects);
    fix_end(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_all_is_accounted_for)};
    return cmocka_run_group_tests_name("cache/door_threads", tests, fix_group_setup, fix_group_teardown);
}
