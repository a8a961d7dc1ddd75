/* bench_purge.c: what it costs to purge a tag that 1,000,000 objects carry: the call, what a worker notices
 * while the sweeper takes the memory back, and how long that takes.
 *
 * A thread plays a worker: it looks up objects of another tag and stores new ones, and times each. It does so
 * before the purge too, because a machine with other work interrupts it anyway. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "cache/purge.h"
#include "cache/shard.h"

#define OBJECTS 1000000
#define OTHERS  1000

static struct cache *c;
static _Atomic bool stop;

static const char head[] =
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nDate: Sat, 21 Nov 2026 00:00:00 GMT\r\n"
    "Cache-Control: max-age=600\r\n";

static struct cache_key key_of(const char *what, unsigned long n, char buf[64])
{
    slice_t text = slice_make(buf, (size_t)snprintf(buf, 64, "http://127.0.0.1:8080/%s/%07lu", what, n));
    return (struct cache_key){text, hash_bytes(text.ptr, text.len)};
}

static void store(const char *what, unsigned long n, const char *tags)
{
    static const struct http_head none;
    char buf[64];
    struct arena scratch;
    const struct cache_key k = key_of(what, n, buf);
    arena_init(&scratch, NULL, 0, 64 * KB);
    struct cache_join_result j = cache_join(c, &k, &none, &scratch, NULL, NULL, NULL, NULL);
    if (j.what != CACHE_LEAD)
        abort();
    struct cache_fill fill = {.request = &none,
                              .response = &none,
                              .head = slice_make(head, sizeof head - 1),
                              .status = 200,
                              .status_line_bytes = 17,
                              .body_bytes = 100,
                              .max_object_bytes = 1000000,
                              .fresh = {.response_ms = clock_wall_ms(), .lifetime_ms = 600000},
                              .tags = {.text = slice_str(tags), .bytes = {(uint16_t)strlen(tags)}}};
    enum no_store_reason why;
    size_t room;
    if (cache_fill_begin(j.flight, &fill, &why) == NULL) {
        cache_flight_release(&j.flight, why, 0);
        return;
    }
    memset(cache_fill_buffer(j.flight, &room), 'x', 100);
    cache_fill_commit(j.flight, 100);
    cache_fill_finish(&j.flight);
}

/* ---- the worker
 * ---------------------------------------------------------------------------------------------------- */

struct figures {
    unsigned long count, over_100_us, over_1_ms;
    mono_us_t longest_us, longest_wait_us; /* the latter of those that had to wait for a lock */
};

static struct figures looks, stores;
static unsigned long stored;

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static long waits_of_thread(void)
{
    struct rusage r;
    getrusage(RUSAGE_THREAD, &r);
    return r.ru_nvcsw;
}

static void figures_add(struct figures *f, int64_t ns, bool waited)
{
    if (waited)
        f->longest_wait_us = MAX(f->longest_wait_us, ns / 1000);
    f->count++;
    f->over_100_us += ns > 100000;
    f->over_1_ms += ns > 1000000;
    f->longest_us = MAX(f->longest_us, ns / 1000);
}

static void *worker_main(void *arg)
{
    static const struct http_head none;
    UNUSED(arg);
    rcu_thread_start();
    for (unsigned long n = 0; !atomic_load_explicit(&stop, memory_order_relaxed); n++) {
        char buf[64];
        bool pass;
        const struct cache_key k = key_of("other", n % OTHERS, buf);
        int64_t begin_ns = now_ns();
        rcu_enter();
        cache_find(c, &k, &none, NULL, &pass);
        rcu_leave();
        figures_add(&looks, now_ns() - begin_ns, false);
        if (n % 100 != 0)
            continue;
        long waits = waits_of_thread();
        begin_ns = now_ns();
        store("new", stored++, "new ");
        int64_t took_ns = now_ns() - begin_ns;
        figures_add(&stores, took_ns, waits_of_thread() != waits);
    }
    rcu_thread_stop();
    return NULL;
}

static void worker_run_for(const char *when, bool (*done)(void))
{
    pthread_t thread;
    looks = stores = (struct figures){0};
    atomic_store(&stop, false);
    if (pthread_create(&thread, NULL, worker_main, NULL) != 0)
        abort();
    while (!done())
        usleep(1000);
    atomic_store(&stop, true);
    pthread_join(thread, NULL);
    printf("| %s | %lu | %lld us | %lu | %lu | %lu | %lld us | %lu | %lu | %lld us |\n", when, looks.count,
           (long long)looks.longest_us, looks.over_100_us, looks.over_1_ms, stores.count,
           (long long)stores.longest_us, stores.over_100_us, stores.over_1_ms,
           (long long)stores.longest_wait_us);
}

static mono_us_t until_us;

static bool time_is_over(void)
{
    return clock_mono_us() > until_us;
}

static bool memory_is_back(void)
{
    return atomic_load(&c->sweeper.swept_id) >= atomic_load(&c->sweeper.wanted_id) &&
           atomic_load(&c->account.doomed) == 0;
}

int main(void)
{
    hash_seed_random();
    rcu_thread_start();
    c = cache_create(&(struct cache_settings){.memory_bytes = 4096 * MB, .max_waiters = 100});
    for (unsigned long n = 0; n < OTHERS; n++)
        store("other", n, "other ");
    for (unsigned long n = 0; n < OBJECTS; n++)
        store("page", n, "site page ");
    struct cache_stats before, after;
    cache_get_stats(c, &before);
    printf("%llu objects, %llu MB\n\n| while | look-ups | longest | > 100 us | > 1 ms | stores | longest | > "
           "100 us | > 1 ms | longest that waited for a lock |\n| --- | ---: | ---: | ---: | ---: | ---: | "
           "---: | ---: "
           "| ---: | ---: |\n",
           (unsigned long long)before.objects, (unsigned long long)(before.bytes_used / MB));
    until_us = clock_mono_us() + 2000000;
    worker_run_for("nothing else happens", time_is_over);

    struct cache_purge_result result;
    const struct cache_purge p = {.kind = CACHE_PURGE_TAG, .text = SLICE_LIT("site")};
    mono_us_t begin_us = clock_mono_us();
    int64_t begin_ns = now_ns();
    cache_purge(c, &p, 1, &result);
    int64_t call_ns = now_ns() - begin_ns;
    uint64_t shard_waits = lock_contended(LOCK_CACHE_SHARD), evict_waits = lock_contended(LOCK_CACHE_EVICT);
    worker_run_for("a tag of all of them was purged", memory_is_back);
    mono_us_t took_us = clock_mono_us() - begin_us;
    cache_get_stats(c, &after);
    unsigned long long kept = OTHERS + stored;
    printf("\npurge: the call took %.1f us; memory was back after %.2f s: %llu MB and %llu objects, %llu of "
           "them not "
           "purged\n",
           (double)call_ns / 1e3, (double)took_us / 1e6, (unsigned long long)(after.bytes_used / MB),
           (unsigned long long)after.objects, kept);
    printf("waits for the lock of a shard: %llu; of eviction: %llu\n",
           (unsigned long long)(lock_contended(LOCK_CACHE_SHARD) - shard_waits),
           (unsigned long long)(lock_contended(LOCK_CACHE_EVICT) - evict_waits));
    cache_destroy(c);
    rcu_thread_stop();
    return 0;
}
