/* bench_index.c: what cache_find costs on a hit, and what a 1 KB object costs in memory.
 *
 * Run by `make -C bench/micro index`. One hot key and many keys, one and two threads; the loop is what a
 * request does with the cache alone: RCU section, find, freshness. Not a test: it prints figures. */
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cache/cache.h"
#include "core/rcu.h"

#define KEYS  200000
#define LOOPS 4000000

static const char bench_head[] =
    "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\n"
    "Content-Type: text/html; charset=utf-8\r\nCache-Control: public, max-age=3600\r\n"
    "ETag: \"65920080-400\"\r\nLast-Modified: Mon, 01 Jan 2024 00:00:00 GMT\r\n"
    "Vary-Not: x\r\n";

struct bench_run {
    struct cache *cache;
    struct cache_key *keys;
    size_t count;
    double ns;
};

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

static void *bench_find(void *arg)
{
    struct bench_run *run = arg;
    struct http_head request = {0};
    wall_ms_t now_ms = clock_wall_ms();
    size_t fresh = 0, at = 0;
    rcu_thread_start();
    mono_us_t start_us = clock_mono_us();
    for (size_t i = 0; i < LOOPS; i++) {
        bool pass;
        rcu_enter();
        struct cache_object *o = cache_find(run->cache, &run->keys[at], &request, NULL, &pass);
        struct cache_freshness f = o != NULL ? cache_object_info(o).fresh : (struct cache_freshness){0};
        fresh += o != NULL && cache_freshness_is_fresh(&f, now_ms);
        rcu_leave();
        at = at + 1 == run->count ? 0 : at + 1;
    }
    run->ns = (double)(clock_mono_us() - start_us) * 1000 / LOOPS;
    rcu_thread_stop();
    if (fresh != LOOPS)
        abort();
    return NULL;
}

static void bench_threads(struct cache *c, struct cache_key *keys, size_t count, unsigned threads)
{
    struct bench_run run[2];
    pthread_t id[2];
    for (unsigned i = 0; i < threads; i++) {
        run[i] = (struct bench_run){c, keys, count, 0};
        pthread_create(&id[i], NULL, bench_find, &run[i]);
    }
    for (unsigned i = 0; i < threads; i++)
        pthread_join(id[i], NULL);
    printf("%6zu keys, %u thread%s: %.1f ns per find%s", count, threads, threads == 1 ? " " : "s", run[0].ns,
           threads == 1 ? "\n" : "");
    if (threads == 2)
        printf(" and %.1f\n", run[1].ns);
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
    for (unsigned threads = 1; threads <= 2; threads++) {
        bench_threads(c, keys, 1, threads);
        bench_threads(c, keys, 100, threads);
        bench_threads(c, keys, KEYS, threads);
    }
    cache_destroy(c);
    rcu_thread_stop();
    free(text);
    free(keys);
    return 0;
}
