/* test_prometheus.c: the page is what Prometheus' own checker accepts, and its figures are those of the
 * shards. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <event2/buffer.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "admin/prometheus.h"
#include "core/lock.h"
#include "core/metrics.h"
#include "tests/unit/docs_in_step.h"

static void more_families(void *arg, struct prometheus_text *out)
{
    struct prometheus_label labels[] = {{"pool", SLICE_LIT("app")},
                                        {"instance", SLICE_LIT("a\"b\\c\nd\x01\xc3")}};
    prometheus_family(out, "millpond_instance_up", "gauge", "Whether the instance is used");
    prometheus_sample(out, "millpond_instance_up", "", labels, 2, *(double *)arg);
}

/* The page as text; the caller frees it. */
static char *page_text(void)
{
    double half = 0.5;
    struct prometheus_page page = {"1.2.3", 1769860800123, more_families, &half};
    struct evbuffer *out = evbuffer_new();
    assert_non_null(out);
    assert_true(prometheus_write(out, &page));
    size_t n = evbuffer_get_length(out);
    char *text = malloc(n + 1);
    assert_int_equal(evbuffer_remove(out, text, n), n);
    text[n] = '\0';
    evbuffer_free(out);
    return text;
}

static void assert_line_in(const char *text, const char *line)
{
    size_t n = strlen(line);
    for (const char *p = text; (p = strstr(p, line)) != NULL; p++) {
        if ((p == text || p[-1] == '\n') && p[n] == '\n')
            return;
    }
    fail_msg("no line \"%s\" in\n%s", line, text);
}

static struct metrics_shard *shards[2];
static int make_figures(void **state)
{
    (void)state;
    uint16_t route = metrics_label(SLICE_LIT("site \"x\"\\")), instance = metrics_label(SLICE_LIT("app/a"));
    struct lock once;
    lock_init(&once, LOCK_CACHE_SHARD);
    lock_take(&once);
    lock_drop(&once);
    lock_destroy(&once);
    for (int i = 0; i < 2; i++) {
        shards[i] = metrics_shard_new();
        metrics_add(shards[i], METRIC_REQUESTS, 5);
        metrics_count_no_store(shards[i], NO_STORE_SET_COOKIE);
        metrics_count_no_store(shards[i], no_store_remembered(NO_STORE_PRIVATE));
        metrics_count_close(shards[i], CLOSE_WRITE_TIMEOUT);
        metrics_count_fetch_error(shards[i], FETCH_CUT_SHORT);
        metrics_add(shards[i], METRIC_CLIENT_OPEN, 2);
        for (uint64_t us = 1; us <= 1000; us++)
            metrics_series_record(metrics_series(shards[i], route, VERDICT_MISS, instance), 200, us * 10, 3);
        metrics_series_record(metrics_series(shards[i], route, VERDICT_HIT, 0), 304, 20000000, 3);
        metrics_series_record(metrics_series(shards[i], route, VERDICT_HIT, 0), 0, 50, 3);
    }
    return 0;
}

static int drop_figures(void **state)
{
    (void)state;
    metrics_shard_free(shards[0]);
    metrics_shard_free(shards[1]);
    return 0;
}

#define MISS_LABELS "route=\"site \\\"x\\\"\\\\\",cache=\"miss\",instance=\"app/a\""
#define HIT_LABELS  "route=\"site \\\"x\\\"\\\\\",cache=\"hit\""

static void test_figures(void **state)
{
    (void)state;
    char *text = page_text();
    assert_line_in(text, "millpond_build_info{version=\"1.2.3\"} 1");
    assert_line_in(text, "process_start_time_seconds 1769860800.123");
    assert_line_in(text, "# TYPE millpond_requests_total counter");
    assert_line_in(text, "millpond_requests_total 10");
    assert_line_in(text, "# TYPE millpond_no_store_total counter");
    assert_line_in(text, "millpond_no_store_total{reason=\"set_cookie\"} 2");
    assert_line_in(text, "millpond_no_store_total{reason=\"private\"} 0"); /* there before it happens */
    assert_null(strstr(text, "{reason=\"stored\"}"));
    assert_line_in(text, "millpond_no_store_total{reason=\"remembered_private\"} 2");
    assert_null(strstr(text, "{reason=\"remembered_status\"}")); /* not before it happens */
    assert_line_in(text, "millpond_client_closes_total{reason=\"write_timeout\"} 2");
    assert_line_in(text, "millpond_fetch_errors_total{reason=\"cut_short\"} 2");
    assert_line_in(text, "# TYPE millpond_client_connections gauge");
    assert_line_in(text, "millpond_client_connections 4");
    assert_line_in(text, "millpond_log_lines_dropped_total 0");
    assert_line_in(text, "millpond_lock_takes_total{lock=\"cache_shard\"} 1");
    assert_line_in(text, "millpond_lock_waits_total{lock=\"cache_shard\"} 0");
    assert_line_in(text, "millpond_http_requests_total{" MISS_LABELS ",status=\"2xx\"} 2000");
    assert_line_in(text, "millpond_http_requests_total{" HIT_LABELS ",status=\"3xx\"} 2");
    assert_line_in(text, "millpond_http_requests_total{" HIT_LABELS ",status=\"0xx\"} 2");
    assert_line_in(text, "millpond_http_response_bytes_total{" MISS_LABELS "} 6000");
    assert_line_in(text, "millpond_http_request_duration_seconds_bucket{" HIT_LABELS ",le=\"0.0001\"} 2");
    assert_line_in(text, "millpond_http_request_duration_seconds_bucket{" HIT_LABELS ",le=\"10\"} 2");
    assert_line_in(text, "millpond_http_request_duration_seconds_bucket{" HIT_LABELS ",le=\"+Inf\"} 4");
    assert_line_in(text, "millpond_http_request_duration_seconds_sum{" HIT_LABELS "} 40.0001");
    assert_line_in(text, "millpond_http_request_duration_seconds_count{" MISS_LABELS "} 2000");
    assert_line_in(text, "millpond_http_request_duration_quantiles_seconds_count{" MISS_LABELS "} 2000");
    assert_line_in(text, "millpond_instance_up{pool=\"app\",instance=\"a\\\"b\\\\c\\nd\\\\x01\\\\xc3\"} 0.5");
    const char *median = strstr(text, "duration_quantiles_seconds{" MISS_LABELS ",quantile=\"0.5\"} ");
    assert_non_null(median);
    double median_s = strtod(strstr(median, "} ") + 2, NULL);
    assert_true(median_s > 0.00495 && median_s < 0.00505);
    free(text);
}

/* Each bucket holds at least what the one before it holds, and the last is the count. */
static void test_buckets_grow(void **state)
{
    (void)state;
    char *text = page_text();
    uint64_t before = 0, n = 0;
    unsigned buckets = 0;
    static const char wanted[] = "millpond_http_request_duration_seconds_bucket{" MISS_LABELS;
    for (const char *p = text; (p = strstr(p, wanted)) != NULL; p++, buckets++) {
        n = strtoull(strstr(p, "} ") + 2, NULL, 10);
        assert_true(n >= before);
        before = n;
    }
    assert_int_equal(buckets, 17);
    assert_int_equal(n, 2000);
    free(text);
}

static void test_promtool_accepts_it(void **state)
{
    (void)state;
    char *text = page_text();
    FILE *promtool = popen("promtool check metrics", "w");
    assert_non_null(promtool);
    assert_int_equal(fwrite(text, 1, strlen(text), promtool), strlen(text));
    int status = pclose(promtool);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("promtool (Debian package prometheus) refused, or is missing:\n%s", text);
    free(text);
}

static void test_docs_in_step(void **state)
{
    (void)state;
    expect_docs_in_step("docs/metrics.md", "metrics", prometheus_print_markdown);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_figures),
        cmocka_unit_test(test_buckets_grow),
        cmocka_unit_test(test_promtool_accepts_it),
        cmocka_unit_test(test_docs_in_step),
    };
    return cmocka_run_group_tests_name("admin/prometheus", tests, make_figures, drop_figures);
}
