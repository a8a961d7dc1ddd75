/* test_metrics.c: the histogram's error bound, quantiles against sorted samples, series over shards and
 * threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>

#include "core/metrics.h"

static uint64_t random_state = 88172645463325252u;
static uint64_t random_u64(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static struct histogram *histogram_new(void)
{
    struct histogram *h = calloc(1, sizeof *h);
    assert_non_null(h);
    return h;
}

static void assert_within_1_percent(uint64_t got, uint64_t want)
{
    double error = got > want ? (double)(got - want) : (double)(want - got);
    if (error > 0.01 * (double)want)
        fail_msg("%llu is not within 1%% of %llu", (unsigned long long)got, (unsigned long long)want);
}

/* A value among larger ones is reported within 1%, over the whole range, exactly below 64 us. */
static void test_error_bound_over_the_range(void **state)
{
    (void)state;
    struct histogram *h = histogram_new();
    for (uint64_t us = 0; us < UINT32_MAX; us += 1 + us / 200) {
        *h = (struct histogram){0};
        histogram_record(h, us);
        histogram_record(h, UINT32_MAX);
        uint64_t got = histogram_quantile_us(h, 0.5);
        if (us < 64)
            assert_int_equal(got, us);
        assert_within_1_percent(got, us);
    }
    free(h);
}

static void test_edges(void **state)
{
    (void)state;
    struct histogram *h = histogram_new();
    assert_int_equal(histogram_quantile_us(h, 0.5), 0);
    histogram_record(h, UINT64_MAX / 2);
    assert_int_equal(histogram_quantile_us(h, 0.5), UINT32_MAX);
    assert_int_equal(histogram_quantile_us(h, 1.0), UINT32_MAX);
    assert_int_equal(histogram_count_upto(h, UINT32_MAX), 1);
    assert_int_equal(histogram_count_upto(h, 1000), 0);
    *h = (struct histogram){0};
    histogram_record(h, 1000);
    assert_int_equal(histogram_quantile_us(h, 0.0), 1000);
    assert_int_equal(histogram_quantile_us(h, 1.0), 1000);
    free(h);
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void test_quantiles_against_sorted_samples(void **state)
{
    (void)state;
    enum { SAMPLES = 50000 };
    static uint64_t samples[SAMPLES];
    static const double qs[] = {0.01, 0.5, 0.95, 0.99, 0.999, 1.0};
    struct histogram *h = histogram_new();
    for (int i = 0; i < SAMPLES; i++) {
        samples[i] = random_u64() % ((uint64_t)1 << (8 + random_u64() % 20)); /* skewed, as latencies are */
        histogram_record(h, samples[i]);
    }
    qsort(samples, SAMPLES, sizeof samples[0], compare_u64);
    for (size_t i = 0; i < ARRAY_LEN(qs); i++) {
        size_t rank = (size_t)(qs[i] * SAMPLES);
        rank += (double)rank < qs[i] * SAMPLES;
        assert_within_1_percent(histogram_quantile_us(h, qs[i]), samples[rank - 1]);
    }
    uint64_t before = 0;
    for (uint64_t us = 1; us < 1000000;
         us = us * 5 / 4 + 1) { /* counts never fall and are right within 2% of us */
        uint64_t n = histogram_count_upto(h, us), low = 0, high = 0;
        for (int k = 0; k < SAMPLES; k++) {
            low += (double)samples[k] <= 0.98 * (double)us;
            high += samples[k] <= us;
        }
        assert_in_range(n, low, high);
        assert_true(n >= before);
        before = n;
    }
    free(h);
}

struct found {
    unsigned series;
    uint64_t requests, bytes, count, p50_us;
};

static uint16_t wanted_route;
static void collect_series(void *arg, const struct metrics_series *sum)
{
    struct found *f = arg;
    if (sum->route != wanted_route)
        return;
    f->series++;
    for (unsigned i = 0; i < METRICS_STATUS_CLASSES; i++)
        f->requests += sum->by_status[i];
    f->bytes += sum->response_bytes;
    f->count += sum->latency.count;
    f->p50_us = histogram_quantile_us(&sum->latency, 0.5);
    metrics_label(SLICE_LIT("no lock is held during the callback"));
}

static struct found found_for(uint16_t route)
{
    struct found f = {0};
    wanted_route = route;
    metrics_each_series(collect_series, &f);
    return f;
}

/* What came since an earlier sum: as if only that had been recorded, the largest value within 1%. */
static void test_histogram_subtract(void **state)
{
    (void)state;
    struct histogram h = {0}, earlier = {0};
    for (int i = 0; i < 90; i++)
        histogram_record(&h, 1000000);
    histogram_add(&earlier, &h);
    histogram_subtract(&h, &earlier);
    assert_int_equal(h.count, 0);
    assert_int_equal(h.sum_us, 0);
    assert_int_equal(histogram_quantile_us(&h, 0.99), 0);

    histogram_add(&h, &earlier);
    for (int i = 0; i < 10; i++)
        histogram_record(&h, 500);
    histogram_subtract(&h, &earlier);
    assert_int_equal(h.count, 10);
    assert_int_equal(h.sum_us, 5000);
    assert_in_range(histogram_quantile_us(&h, 0.5), 495, 505);
    assert_in_range(histogram_quantile_us(&h, 1.0), 495, 505);
    histogram_subtract(&h, &earlier); /* what is not an earlier sum leaves nothing below zero */
    assert_int_equal(h.count, 10);
    assert_int_equal(h.sum_us, 0);
}

/* Wherever a value lies, the first and the last of all among them, a sum has it. */
static void test_no_bucket_is_left_out(void **state)
{
    (void)state;
    struct histogram sum = {0};
    uint64_t want_us = 0, n = 0;
    for (uint64_t us = 0; us <= UINT32_MAX; us += 1 + us / 100) {
        struct histogram h = {0};
        histogram_record(&h, us);
        histogram_add(&sum, &h);
        assert_int_equal(sum.count, ++n);
        assert_int_equal(sum.sum_us, want_us += us);
        assert_int_equal(sum.max_us, us);
    }
    struct histogram last = {0};
    histogram_record(&last, UINT32_MAX);
    histogram_record(&last, 0);
    histogram_add(&sum, &last);
    assert_int_equal(sum.count, n + 2);
    assert_int_equal(histogram_count_upto(&sum, UINT32_MAX), n + 2);
}

/* The figures of a shard outlive it, whether or not another shard has the same series. */
static void test_shards_are_summed_and_kept(void **state)
{
    (void)state;
    uint16_t route = metrics_label(SLICE_LIT("kept")), instance = metrics_label(SLICE_LIT("app/a"));
    uint64_t before = metrics_total(METRIC_REQUESTS);
    for (int round = 0; round < 3; round++) {
        struct metrics_shard *a = metrics_shard_new(), *b = metrics_shard_new();
        assert_non_null(a);
        assert_non_null(b);
        metrics_add(a, METRIC_REQUESTS, 2);
        metrics_add(b, METRIC_REQUESTS, 3);
        metrics_add(a, METRIC_CLIENT_OPEN, 1);
        metrics_add(b, METRIC_CLIENT_OPEN, -1);
        metrics_series_record(metrics_series(a, route, VERDICT_HIT, 0), 200, 100, 10);
        metrics_series_record(metrics_series(b, route, VERDICT_HIT, 0), 404, 100, 10);
        metrics_series_record(metrics_series(b, route, VERDICT_MISS, instance), 0, 100, 10);
        assert_ptr_equal(metrics_series(b, route, VERDICT_MISS, instance),
                         metrics_series(b, route, VERDICT_MISS, instance));
        struct found f = found_for(route);
        assert_int_equal(f.series, 2);
        assert_int_equal(f.requests, 3 * (round + 1));
        metrics_shard_free(a);
        metrics_shard_free(b);
    }
    metrics_shard_free(NULL);
    struct found f = found_for(route);
    assert_int_equal(f.series, 2);
    assert_int_equal(f.requests, 9);
    assert_int_equal(f.count, 9);
    assert_int_equal(f.bytes, 90);
    assert_int_equal(f.p50_us, 100);
    assert_int_equal(metrics_total(METRIC_REQUESTS) - before, 15);
    assert_int_equal(metrics_total(METRIC_CLIENT_OPEN), 0);
}

static void test_reasons_are_summed_and_kept(void **state)
{
    (void)state;
    struct metrics_shard *a = metrics_shard_new(), *b = metrics_shard_new();
    for (int i = 0; i < 3; i++) {
        metrics_count_no_store(a, NO_STORE_PRIVATE);
        metrics_count_no_store(b, NO_STORE_PRIVATE);
        metrics_count_close(b, CLOSE_COUNT - 1);
        metrics_count_fetch_error(a, FETCH_ERROR_COUNT - 1);
        metrics_count_no_store(a, NO_STORE_STORED); /* nothing to count */
        metrics_count_close(a, CLOSE_OPEN);
        metrics_count_fetch_error(a, FETCH_NONE);
    }
    for (int round = 0; round < 2; round++) { /* shards alive, then gone */
        assert_int_equal(metrics_reason_total(METRICS_REASON_NO_STORE, NO_STORE_PRIVATE), 6);
        assert_int_equal(metrics_reason_total(METRICS_REASON_NO_STORE, NO_STORE_NO_STORE), 0);
        assert_int_equal(metrics_reason_total(METRICS_REASON_CLIENT_CLOSES, CLOSE_COUNT - 1), 3);
        assert_int_equal(metrics_reason_total(METRICS_REASON_FETCH_ERRORS, FETCH_ERROR_COUNT - 1), 3);
        for (unsigned kind = 0; kind < METRICS_REASON_KINDS; kind++)
            assert_int_equal(metrics_reason_total((enum metrics_reason_kind)kind, 0), 0);
        if (round == 0) {
            metrics_shard_free(a);
            metrics_shard_free(b);
        }
    }
    assert_string_equal(metrics_reason_name(METRICS_REASON_NO_STORE, NO_STORE_VARY_STAR), "vary_star");
    assert_string_equal(metrics_reason_name(METRICS_REASON_CLIENT_CLOSES, CLOSE_MIN_RATE), "min_rate");
    assert_string_equal(metrics_reason_name(METRICS_REASON_FETCH_ERRORS, FETCH_RESET), "reset");
    assert_int_equal(metrics_reason_info(METRICS_REASON_CLIENT_CLOSES)->count, CLOSE_COUNT);
}

static void test_gauge_never_negative(void **state)
{
    (void)state;
    struct metrics_shard *m = metrics_shard_new();
    metrics_add(m, METRIC_UPSTREAM_IDLE, -5);
    assert_int_equal(metrics_total(METRIC_UPSTREAM_IDLE), 0);
    metrics_add(m, METRIC_UPSTREAM_IDLE, 5);
    metrics_shard_free(m);
}

static void test_status_classes(void **state)
{
    (void)state;
    struct metrics_shard *m = metrics_shard_new();
    struct metrics_series *s = metrics_series(m, 0, VERDICT_PASS, 0);
    static const unsigned statuses[] = {0, 99, 100, 200, 299, 304, 404, 503, 599, 600, 999};
    static const unsigned want[METRICS_STATUS_CLASSES] = {4, 1, 2, 1, 1, 2};
    for (size_t i = 0; i < ARRAY_LEN(statuses); i++)
        metrics_series_record(s, statuses[i], 1, 1);
    for (size_t i = 0; i < METRICS_STATUS_CLASSES; i++)
        assert_int_equal(s->by_status[i], want[i]);
    metrics_shard_free(m);
}

/* Runs late: it fills the table of freed shards. */
static void test_series_limit(void **state)
{
    (void)state;
    struct metrics_shard *m = metrics_shard_new();
    unsigned made = 0;
    for (unsigned i = 0; i < 5000; i++)
        made += metrics_series(m, (uint16_t)(60000 + i % 3000), (enum cache_verdict)(i % VERDICT_COUNT),
                               (uint16_t)i) != NULL;
    assert_int_equal(made, 4096);
    assert_non_null(metrics_series(m, 60000, VERDICT_NONE, 0)); /* those that exist are still found */
    metrics_shard_free(m);
    uint64_t other = found_for(0).requests;
    for (int i = 0; i < 3; i++) { /* what no longer has a place of its own is kept under "other" */
        m = metrics_shard_new();
        metrics_series_record(metrics_series(m, 50000, VERDICT_COLLAPSED, 7), 200, 1, 1);
        metrics_shard_free(m);
    }
    assert_int_equal(found_for(0).requests, other + 3);
    assert_int_equal(found_for(50000).series, 0);
}

enum { RECORDS = 200000 };
static _Atomic bool recording;
static uint16_t threads_route;

static void *record_thread(void *arg)
{
    struct metrics_shard *m = arg;
    for (uint64_t i = 0; i < RECORDS; i++) {
        metrics_add(m, METRIC_CACHE_STORED, 1);
        metrics_count_no_store(m, NO_STORE_TTL_ZERO);
        struct metrics_series *s = metrics_series(m, threads_route, (enum cache_verdict)(i % VERDICT_COUNT),
                                                  (uint16_t)(i / VERDICT_COUNT % 5));
        metrics_series_record(s, 200, i % 1000, 1);
    }
    return NULL;
}

/* Readers see figures that only grow and, at the end, all of them. */
static void test_reader_beside_writers(void **state)
{
    (void)state;
    pthread_t threads[2];
    struct metrics_shard *shards[2];
    threads_route = metrics_label(SLICE_LIT("threads"));
    recording = true;
    for (int i = 0; i < 2; i++) {
        shards[i] = metrics_shard_new();
        assert_int_equal(pthread_create(&threads[i], NULL, record_thread, shards[i]), 0);
    }
    uint64_t seen = 0, total = 0;
    for (int i = 0; i < 50; i++) {
        struct found f = found_for(threads_route);
        uint64_t now = metrics_total(METRIC_CACHE_STORED);
        assert_true(f.count >= seen && now >= total);
        assert_true(metrics_reason_total(METRICS_REASON_NO_STORE, NO_STORE_TTL_ZERO) <= 2 * RECORDS);
        seen = f.count;
        total = now;
    }
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    metrics_shard_free(shards[0]);
    struct found f = found_for(threads_route);
    assert_int_equal(f.count, 2 * RECORDS);
    assert_int_equal(f.requests, 2 * RECORDS);
    assert_int_equal(f.series, VERDICT_COUNT * 5);
    assert_int_equal(metrics_total(METRIC_CACHE_STORED), 2 * RECORDS);
    assert_int_equal(metrics_reason_total(METRICS_REASON_NO_STORE, NO_STORE_TTL_ZERO), 2 * RECORDS);
    metrics_shard_free(shards[1]);
}

/* Runs last: it uses up the labels. */
static void test_labels(void **state)
{
    (void)state;
    uint16_t a = metrics_label(SLICE_LIT("label a"));
    assert_int_not_equal(a, 0);
    assert_int_equal(metrics_label(SLICE_LIT("label a")), a);
    assert_int_not_equal(metrics_label(SLICE_LIT("label b")), a);
    assert_true(slice_eq(metrics_label_name(a), SLICE_LIT("label a")));
    assert_true(slice_eq(metrics_label_name(0), SLICE_LIT("other")));
    assert_true(slice_eq(metrics_label_name(UINT16_MAX), SLICE_LIT("other")));
    assert_true(metrics_label_name(metrics_label(SLICE_EMPTY)).len == 0);
    uint16_t largest = 0;
    for (int i = 0; i < 5000; i++) {
        char name[16];
        uint16_t label = metrics_label(slice_make(name, (size_t)snprintf(name, sizeof name, "n%d", i)));
        largest = MAX(largest, label);
        assert_true(label == 0 || slice_eq(metrics_label_name(label), slice_str(name)));
    }
    assert_int_equal(largest, 4095);
    assert_int_equal(metrics_label(SLICE_LIT("one more")), 0);
    assert_int_equal(metrics_label(SLICE_LIT("label a")), a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_error_bound_over_the_range),
        cmocka_unit_test(test_edges),
        cmocka_unit_test(test_quantiles_against_sorted_samples),
        cmocka_unit_test(test_histogram_subtract),
        cmocka_unit_test(test_no_bucket_is_left_out),
        cmocka_unit_test(test_shards_are_summed_and_kept),
        cmocka_unit_test(test_reasons_are_summed_and_kept),
        cmocka_unit_test(test_gauge_never_negative),
        cmocka_unit_test(test_status_classes),
        cmocka_unit_test(test_reader_beside_writers),
        cmocka_unit_test(test_series_limit),
        cmocka_unit_test(test_labels),
    };
    return cmocka_run_group_tests_name("core/metrics", tests, NULL, NULL);
}
