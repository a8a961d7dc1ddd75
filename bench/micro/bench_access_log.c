/* bench_access_log.c: nanoseconds per access log line, with and without handing it to the writer.
 *
 * Stand-alone: cc -std=c17 -D_GNU_SOURCE -O2 -I. this file with build/gcc/libmillpond.a and its libraries.
 * The target is that JSON access logs cost at most a tenth of a cached hit, 0.4 us. Lines are those of a
 * browser's cached hit. */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/clock.h"
#include "core/log.h"
#include "proxy/access_log.h"

#define LINES 3000000
#define TURN  16 /* lines per turn of a worker's loop */

static struct access_record hit(void)
{
    return (struct access_record){
        .wall_ms = 1769860800123,
        .client = SLICE_LIT("203.0.113.17"),
        .scheme = SLICE_LIT("https"),
        .method = SLICE_LIT("GET"),
        .host = SLICE_LIT("shop.example.com"),
        .target = SLICE_LIT("/static/css/main.3f2a91c4.css?v=20260131"),
        .version = SLICE_LIT("HTTP/1.1"),
        .status = 200,
        .request_bytes = 487,
        .response_bytes = 1293,
        .duration_us = 31,
        .wait_us = -1,
        .connect_us = -1,
        .first_byte_us = -1,
        .upstream_us = -1,
        .cache = VERDICT_HIT,
        .no_store = -1,
        .age_s = 42,
        .route = SLICE_LIT("static"),
        .close = CLOSE_OPEN,
        .request_id = SLICE_LIT("01JJXQ7Z5K9M3T8W2R4V6Y0B1C"),
        .referer = SLICE_LIT("https://shop.example.com/products/blue-teapot"),
        .user_agent = SLICE_LIT("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
                                "Chrome/131.0.0.0 Safari/537.36"),
    };
}

static double cpu_ns(clockid_t clock)
{
    struct timespec ts;
    clock_gettime(clock, &ts);
    return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static void bench_format(const char *spec)
{
    char err[200], line[ACCESS_LINE_MAX];
    struct access_format *f = access_format_compile(spec, err, sizeof err);
    struct access_record r = hit();
    size_t bytes = 0;
    if (f == NULL) {
        fprintf(stderr, "%s: %s\n", spec, err);
        exit(1);
    }
    double start_ns = cpu_ns(CLOCK_THREAD_CPUTIME_ID);
    for (int i = 0; i < LINES; i++) {
        r.wall_ms += (i & 127) == 0;
        r.duration_us = 20 + (i & 63);
        bytes += access_format_write(f, &r, line, sizeof line);
    }
    double spent_ns = cpu_ns(CLOCK_THREAD_CPUTIME_ID) - start_ns;
    printf("%-9s %6.1f ns per line, %zu bytes\n", spec, spent_ns / LINES, bytes / LINES);
    access_format_free(f);
}

static void bench_ring(void)
{
    char err[200];
    struct log_settings settings = {LOG_LEVEL_INFO, "stderr", "/dev/null"};
    struct access_format *f = access_format_compile("json", err, sizeof err);
    if (f == NULL || !log_start(&settings, err, sizeof err)) {
        fprintf(stderr, "%s\n", err);
        exit(1);
    }
    struct log_ring *ring = log_ring_attach(MB);
    struct access_record r = hit();
    double start_ns = cpu_ns(CLOCK_THREAD_CPUTIME_ID), start_all_ns = cpu_ns(CLOCK_PROCESS_CPUTIME_ID);
    for (int i = 0; i < LINES; i++) {
        char *to;
        r.wall_ms += (i & 127) == 0;
        while ((to = log_ring_reserve(ring, LOG_CHANNEL_ACCESS, ACCESS_LINE_MAX)) == NULL) {
            log_ring_flush(ring); /* a worker would drop; here every line is to be paid for */
            sched_yield();
        }
        log_ring_commit(ring, access_format_write(f, &r, to, ACCESS_LINE_MAX));
        if (i % TURN == 0)
            log_ring_flush(ring);
    }
    double worker_ns = cpu_ns(CLOCK_THREAD_CPUTIME_ID) - start_ns;
    log_ring_detach(ring);
    log_stop();
    double all_ns = cpu_ns(CLOCK_PROCESS_CPUTIME_ID) - start_all_ns;
    printf("json      %6.1f ns of the worker's CPU per line into the ring (waiting for room included), "
           "%.1f ns with the writer's, to /dev/null\n",
           worker_ns / LINES, all_ns / LINES);
    access_format_free(f);
}

int main(void)
{
    bench_format("json");
    bench_format("combined");
    bench_format("%{time} %{method} %{target} %{status} %{duration_us}");
    bench_ring();
    return 0;
}
