/* bench_index.c: what cache_find costs on a hit, with one thread and with two, and what a 1 KB object costs.
 *
 * Run by `make -C bench/micro index`. One hot key, some, and many; each thread has a CPU of its own, and a
 * round is what a request does with the cache alone: RCU section, find, freshness. Beside it stand two
 * designs that Millpond does not have, for contrast: a reference taken and dropped per look-up (a shared
 * write), and a lock around it. Not a test: it prints figures, CPU time per look-up as the median over
 * rounds, so that other work on the machine shows little. */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "cache/cache.h"
#include "core/lock.h"
#include "core/rcu.h"

#define KEYS        200000
#define LOOKUPS     5000 /* per round and thread */
#define ROUNDS      300
#define TURNS       5 /* of one thread, then two */
#define THREADS_MAX 2

enum bench_way { WAY_FIND, WAY_REFERENCE, WAY_LOCK, WAYS };
static const char *const way_names[WAYS] = {"as it is", "with a reference", "with a lock"};

static const char bench_head[] =
    "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\n"
    "Content-Type: text/html; charset=utf-8\r\nCache-Control: public, max-age=3600\r\n"
    "ETag: \"65920080-400\"\r\nLast-Modified: Mon, 01 Jan 2024 00:00:00 GMT\r\n"
    "Vary-Not: x\r\n";

struct bench_run { /* one thread's */
    struct cache *cache;
    const struct cache_key *keys;
    size_t count;
    enum bench_way way;
    unsigned cpu, threads;
    _Atomic unsigned *arrived;
    struct {
        double start_ns, end_ns;
        bool pushed_off;
    } rounds[ROUNDS];
};

static struct lock bench_lock;

static size_t resident_bytes(void)
{
    FILE *f = fopen("/proc/self/statm", "r");
    unsigned long total = 0, resident = 0;
    if (f == NULL || fscanf(f, "%lu %lu", &total, &resident) != 2)
        abort();
    fclose(f);
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}

static void bench_store(struct cache *c, const struct cache_key *key, size_t body_bytes)
{
    struct http_head request = {0}, response = {0};
    struct cache_join_result r = cache_join(c, key, &request, NULL, NULL, NULL, NULL, NULL);
    struct cache_fill fill = {.request = &request,
                              .response = &response,
                              .head = {bench_head, sizeof bench_head - 1},
                              .status = 200,
                              .status_line_bytes = 17,
                              .body_bytes = (int64_t)body_bytes,
                              .max_object_bytes = 1 << 20,
                              .fresh = {.response_ms = clock_wall_ms(), .lifetime_ms = 3600000}};
    enum no_store_reason why;
    if (r.what != CACHE_LEAD || cache_fill_begin(r.flight, &fill, &why) == NULL)
        abort();
    size_t room;
    char *p = cache_fill_buffer(r.flight, &room);
    memset(p, 'x', body_bytes);
    cache_fill_commit(r.flight, body_bytes);
    if (cache_fill_finish(&r.flight) != NO_STORE_STORED)
        abort();
}

static double wall_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static long times_pushed_off(void)
{
    struct rusage u;
    getrusage(RUSAGE_THREAD, &u);
    return u.ru_nivcsw;
}

static bool bench_hit(const struct bench_run *run, const struct cache_key *key, wall_ms_t now_ms)
{
    static const struct http_head request;
    enum no_store_reason pass;
    if (run->way == WAY_LOCK)
        lock_take(&bench_lock);
    rcu_enter();
    struct cache_object *o = cache_find(run->cache, key, &request, NULL, &pass);
    struct cache_freshness f = o != NULL ? cache_object_info(o).fresh : (struct cache_freshness){0};
    bool fresh = o != NULL && cache_freshness_is_fresh(&f, now_ms);
    if (run->way == WAY_REFERENCE && o != NULL) {
        struct cache_object *held = cache_object_ref(o);
        cache_object_unref(&held);
    }
    rcu_leave();
    if (run->way == WAY_LOCK)
        lock_drop(&bench_lock);
    return fresh;
}

static void *bench_thread(void *arg)
{
    struct bench_run *run = arg;
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET(run->cpu, &cpus);
    pthread_setaffinity_np(pthread_self(), sizeof cpus, &cpus); /* with one CPU they share it */
    wall_ms_t now_ms = clock_wall_ms();
    size_t at = 0;
    rcu_thread_start();
    for (unsigned round = 0; round < ROUNDS; round++) {
        atomic_fetch_add(run->arrived, 1);
        while (atomic_load(run->arrived) < run->threads * (round + 1)) /* awake: a sleeper would begin late */
            continue;
        long pushed_off = times_pushed_off();
        run->rounds[round].start_ns = wall_ns();
        for (size_t i = 0; i < LOOKUPS; i++) {
            if (!bench_hit(run, &run->keys[at], now_ms))
                abort();
            at = at + 1 == run->count ? 0 : at + 1;
        }
        run->rounds[round].end_ns = wall_ns();
        run->rounds[round].pushed_off = times_pushed_off() != pushed_off;
    }
    rcu_thread_stop();
    return NULL;
}

static int compare_double(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* 0 when there are none; sorts them. */
static double median(double *values, size_t n)
{
    qsort(values, n, sizeof *values, compare_double);
    return n > 0 ? values[n / 2] : 0;
}

/* The threads had their CPUs, and most of the time all of them were at it. */
static bool round_counts(const struct bench_run *run, unsigned threads, unsigned round)
{
    double first_start = 1e300, last_start = 0, first_end = 1e300, last_end = 0;
    for (unsigned i = 0; i < threads; i++) {
        if (run[i].rounds[round].pushed_off)
            return false;
        first_start = MIN(first_start, run[i].rounds[round].start_ns);
        last_start = MAX(last_start, run[i].rounds[round].start_ns);
        first_end = MIN(first_end, run[i].rounds[round].end_ns);
        last_end = MAX(last_end, run[i].rounds[round].end_ns);
    }
    return first_end - last_start > 0.7 * (last_end - first_start);
}

/* Median nanoseconds per look-up over the rounds that count; 0 when none did. */
static double bench_threads(const struct bench_run *what, unsigned threads)
{
    static struct bench_run run[THREADS_MAX];
    static double ns[THREADS_MAX * ROUNDS];
    pthread_t id[THREADS_MAX];
    _Atomic unsigned arrived = 0;
    size_t n = 0;
    for (unsigned i = 0; i < threads; i++) {
        run[i] = *what;
        run[i].cpu = i;
        run[i].threads = threads;
        run[i].arrived = &arrived;
        pthread_create(&id[i], NULL, bench_thread, &run[i]);
    }
    for (unsigned i = 0; i < threads; i++)
        pthread_join(id[i], NULL);
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < threads && round_counts(run, threads, round); i++)
            ns[n++] = (run[i].rounds[round].end_ns - run[i].rounds[round].start_ns) / LOOKUPS;
    }
    return median(ns, n);
}

static void bench_row(struct cache *c, const struct cache_key *keys, size_t count, enum bench_way way)
{
    static struct bench_run what;
    what = (struct bench_run){.cache = c, .keys = keys, .count = count, .way = way};
    double one[TURNS], two[TURNS];
    uint64_t takes = 0, waits = 0;
    for (int rank = 0; rank < LOCK_RANKS; rank++) {
        takes -= lock_taken((enum lock_rank)rank);
        waits -= lock_contended((enum lock_rank)rank);
    }
    for (unsigned turn = 0; turn < TURNS; turn++) {
        one[turn] = bench_threads(&what, 1);
        two[turn] = bench_threads(&what, 2);
    }
    for (int rank = 0; rank < LOCK_RANKS; rank++) {
        takes += lock_taken((enum lock_rank)rank);
        waits += lock_contended((enum lock_rank)rank);
    }
    printf("| %s | %zu | %.1f | %.1f | %.2f | %llu | %llu |\n", way_names[way], count, median(one, TURNS),
           median(two, TURNS), median(two, TURNS) / median(one, TURNS), (unsigned long long)takes,
           (unsigned long long)waits);
    fflush(stdout);
}

int main(void)
{
    hash_seed_random();
    rcu_thread_start();
    struct cache *c = cache_create(&(struct cache_settings){.memory_bytes = 1024 * MB, .max_waiters = 100});
    struct cache_key *keys = calloc(KEYS, sizeof *keys);
    char *text = malloc(KEYS * 48);
    for (size_t i = 0; i < KEYS; i++) {
        char *at = text + i * 48;
        keys[i].text = slice_make(at, (size_t)snprintf(at, 48, "http://127.0.0.1:8080/page/%06zu", i));
        keys[i].hash = hash_bytes(keys[i].text.ptr, keys[i].text.len);
    }
    size_t rss = resident_bytes();
    struct cache_stats before, after;
    cache_get_stats(c, &before);
    mono_us_t start_us = clock_mono_us();
    for (size_t i = 0; i < KEYS; i++)
        bench_store(c, &keys[i], 1024);
    mono_us_t took_us = clock_mono_us() - start_us;
    rcu_flush();
    cache_get_stats(c, &after);
    printf("join, begin, fill, finish: %.0f ns per object\n", (double)took_us * 1000 / KEYS);
    printf("1 KB object, head %zu, key %zu: %.1f bytes beyond the body resident, %.1f charged\n",
           sizeof bench_head - 1, keys[0].text.len, (double)(resident_bytes() - rss) / KEYS - 1024,
           (double)(after.bytes_used - before.bytes_used) / KEYS - 1024);
    printf("\n| look-up | keys | ns, 1 thread | ns, 2 threads | 2 / 1 | locks taken | waits |\n"
           "| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n");
    lock_init(&bench_lock, LOCK_CACHE_EVICT);
    for (int way = 0; way < WAYS; way++) {
        bench_row(c, keys, 1, (enum bench_way)way);
        bench_row(c, keys, 100, (enum bench_way)way);
        bench_row(c, keys, KEYS, (enum bench_way)way);
    }
    lock_destroy(&bench_lock);
    cache_destroy(c);
    rcu_thread_stop();
    free(text);
    free(keys);
    return 0;
}
