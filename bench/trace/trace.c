/* trace.c: see trace.h. The patterns.
 *
 * Popularity is Zipf's law over numbered pages: the page of rank r is asked for in proportion to 1 / r^s. Web
 * traffic was found with s between 0.6 and 1.0. What differs between the patterns is which page has which
 * rank, and what is mixed in. */
#include "bench/trace/trace.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/panic.h"

#define EVEN_BYTES (4 * KB)

void *trace_alloc(size_t count, size_t bytes)
{
    void *p = calloc(count > 0 ? count : 1, bytes);
    ASSERT(p != NULL);
    return p;
}

void *trace_grow(void *p, size_t count, size_t bytes)
{
    p = reallocarray(p, count, bytes);
    ASSERT(p != NULL);
    return p;
}

/* splitmix64 (Steele et al., 2014): one word of state, any seed is good. */
struct dice {
    uint64_t state;
};

static uint64_t dice_u64(struct dice *d)
{
    uint64_t z = d->state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint32_t dice_below(struct dice *d, size_t n)
{
    return (uint32_t)(dice_u64(d) % n);
}

/* In [0, 1). */
static double dice_unit(struct dice *d)
{
    return (double)(dice_u64(d) >> 11) * 0x1p-53;
}

/* sum[r] is the probability of rank r or a lower one. */
struct zipf {
    double *sum;
    size_t ranks;
};

static struct zipf zipf_open(size_t ranks, double s)
{
    struct zipf z = {trace_alloc(ranks, sizeof *z.sum), ranks};
    double all = 0;
    for (size_t r = 0; r < ranks; r++)
        z.sum[r] = all += pow((double)(r + 1), -s);
    for (size_t r = 0; r < ranks; r++)
        z.sum[r] /= all;
    return z;
}

static uint32_t zipf_draw(const struct zipf *z, struct dice *d)
{
    double at = dice_unit(d);
    size_t low = 0, high = z->ranks - 1;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (z->sum[mid] > at)
            high = mid;
        else
            low = mid + 1;
    }
    return (uint32_t)low;
}

static void zipf_close(struct zipf *z)
{
    free(z->sum);
}

/* A tenth as many pages as requests. */
static size_t page_count(const struct trace *t)
{
    return MAX(t->request_count / 10, 10);
}

static void keys_open(struct trace *t, size_t count)
{
    t->key_count = count;
    t->bytes = trace_alloc(count, sizeof *t->bytes);
    for (size_t i = 0; i < count; i++)
        t->bytes[i] = EVEN_BYTES;
}

static void make_zipf(struct trace *t, uint64_t seed, double s)
{
    struct dice d = {seed};
    keys_open(t, page_count(t));
    struct zipf z = zipf_open(t->key_count, s);
    for (size_t i = 0; i < t->request_count; i++)
        t->requests[i] = zipf_draw(&z, &d);
    zipf_close(&z);
}

static void make_zipf_09(struct trace *t, uint64_t seed)
{
    make_zipf(t, seed, 0.9);
}

static void make_zipf_07(struct trace *t, uint64_t seed)
{
    make_zipf(t, seed, 0.7);
}

/* Box-Muller; median 8 KB, mean 25 KB. */
static void make_zipf_sizes(struct trace *t, uint64_t seed)
{
    make_zipf(t, seed, 0.9);
    struct dice d = {~seed};
    for (size_t i = 0; i < t->key_count; i++) {
        double normal = sqrt(-2 * log(1 - dice_unit(&d))) * cos(2 * 3.14159265358979 * dice_unit(&d));
        double bytes = 8192 * exp(1.5 * normal);
        t->bytes[i] = (uint32_t)MIN(MAX(bytes, TRACE_BYTES_MIN), 16.0 * MB);
    }
}

/* In 50 bursts a crawler asks for a fifth of all requests: each page of its own so many times in a row. */
static void make_crawl(struct trace *t, uint64_t seed, unsigned times)
{
    struct dice d = {seed};
    size_t pages = page_count(t), period = MAX(t->request_count / 50, 5), crawled = 0;
    keys_open(t, pages + t->request_count / 4 + 1);
    struct zipf z = zipf_open(pages, 0.9);
    for (size_t i = 0; i < t->request_count; i++)
        t->requests[i] = i % period < period / 5 ? (uint32_t)(pages + crawled++ / times) : zipf_draw(&z, &d);
    ASSERT(pages + crawled <= t->key_count);
    zipf_close(&z);
}

static void make_scan(struct trace *t, uint64_t seed)
{
    make_crawl(t, seed, 1);
}

static void make_scan_twice(struct trace *t, uint64_t seed)
{
    make_crawl(t, seed, 2);
}

/* 20 times `swaps` pairs of ranks, whichever they are, change places. */
static void make_swaps(struct trace *t, uint64_t seed, size_t swaps)
{
    struct dice d = {seed};
    size_t pages = page_count(t), period = MAX(t->request_count / 20, 1);
    keys_open(t, pages);
    struct zipf z = zipf_open(pages, 0.9);
    uint32_t *page_of = trace_alloc(pages, sizeof *page_of);
    for (size_t i = 0; i < pages; i++)
        page_of[i] = (uint32_t)i;
    for (size_t i = 0; i < t->request_count; i++) {
        for (size_t n = i % period == 0 ? swaps : 0; n > 0; n--) {
            uint32_t *a = &page_of[dice_below(&d, pages)], *b = &page_of[dice_below(&d, pages)], was = *a;
            *a = *b;
            *b = was;
        }
        t->requests[i] = page_of[zipf_draw(&z, &d)];
    }
    free(page_of);
    zipf_close(&z);
}

static void make_shift(struct trace *t, uint64_t seed)
{
    make_swaps(t, seed, page_count(t) / 20);
}

/* Each rank about four times: nothing stays where it was. */
static void make_upheaval(struct trace *t, uint64_t seed)
{
    make_swaps(t, seed, page_count(t) * 2);
}

/* Every 20 requests a page is born and takes rank 1; the others go down one rank. */
static void make_news(struct trace *t, uint64_t seed)
{
    struct dice d = {seed};
    size_t pages = page_count(t);
    keys_open(t, pages + t->request_count / 20 + 1);
    struct zipf z = zipf_open(pages, 0.9);
    for (size_t i = 0; i < t->request_count; i++)
        t->requests[i] = (uint32_t)(pages - 1 + i / 20) - zipf_draw(&z, &d);
    zipf_close(&z);
}

/* A third of the requests is for a new page; each other one repeats the one that came d requests before, log
 * d uniform. What was asked for last is the likeliest next: nothing beats LRU by much. */
static void make_recency(struct trace *t, uint64_t seed)
{
    struct dice d = {seed};
    keys_open(t, t->request_count);
    uint32_t next = 0;
    for (size_t i = 0; i < t->request_count; i++) {
        size_t back = (size_t)exp(dice_unit(&d) * log((double)page_count(t)));
        bool is_new = dice_below(&d, 3) == 0 || back > i;
        t->requests[i] = is_new ? next++ : t->requests[i - back];
    }
}

static void make_loop(struct trace *t, uint64_t seed)
{
    UNUSED(seed);
    keys_open(t, page_count(t));
    for (size_t i = 0; i < t->request_count; i++)
        t->requests[i] = (uint32_t)(i % t->key_count);
}

const struct trace_pattern trace_patterns[] = {
    {"zipf-0.9", "Zipf(0.9), objects of 4 KB", make_zipf_09},
    {"zipf-0.7", "Zipf(0.7), objects of 4 KB", make_zipf_07},
    {"zipf-sizes", "Zipf(0.9), sizes log-normal: median 8 KB, mean 25 KB", make_zipf_sizes},
    {"scan", "Zipf(0.9), and a fifth of the requests from a crawler that comes in bursts", make_scan},
    {"scan-twice",
     "Zipf(0.9), and a fifth of the requests from a crawler that asks for each page twice in a row",
     make_scan_twice},
    {"shift", "Zipf(0.9), and 20 times a tenth of the ranks change places", make_shift},
    {"upheaval", "Zipf(0.9), and 20 times all ranks change places", make_upheaval},
    {"news", "Zipf(0.9) by age: every 20 requests a new page becomes the most wanted", make_news},
    {"recency", "pure recency: a new page or, likeliest, one asked for just before", make_recency},
    {"loop", "all pages in turn, again and again", make_loop},
};
const size_t trace_pattern_count = ARRAY_LEN(trace_patterns);

struct trace trace_make(const char *pattern, size_t request_count, uint64_t seed)
{
    struct trace t = {.requests = trace_alloc(request_count, sizeof *t.requests),
                      .request_count = request_count};
    for (size_t i = 0; i < trace_pattern_count; i++) {
        if (strcmp(trace_patterns[i].name, pattern) == 0)
            trace_patterns[i].make(&t, seed);
    }
    ASSERT(t.bytes != NULL);
    trace_measure(&t);
    return t;
}

void trace_measure(struct trace *t)
{
    bool *seen = trace_alloc(t->key_count, sizeof *seen);
    t->footprint_bytes = 0;
    t->even = true;
    for (size_t i = 0; i < t->request_count; i++) {
        uint32_t key = t->requests[i];
        t->footprint_bytes += seen[key] ? 0 : t->bytes[key];
        t->even = t->even && t->bytes[key] == t->bytes[t->requests[0]];
        seen[key] = true;
    }
    free(seen);
}

void trace_free(struct trace *t)
{
    free(t->requests);
    free(t->bytes);
    *t = (struct trace){0};
}
