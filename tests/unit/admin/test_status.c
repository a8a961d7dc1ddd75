/* test_status.c: the status object (keys that scripts rely on) and its two texts for people. */
#include "admin_fixture.h"

#include "admin/status_text.h"
#include "core/lock.h"
#include "core/metrics.h"

static json_t *status_of(struct fixture *f)
{
    struct net_addr a = fx_unix(f->socket);
    char *answer = fx_ask(&a, "GET /api/status", "", "");
    json_t *o = json_loads(fx_body_of(answer), 0, NULL);
    free(answer);
    assert_non_null(o);
    return o;
}

static int64_t int_at(const json_t *o, const char *key, const char *inner)
{
    json_t *v = json_object_get(o, key);
    if (inner != NULL)
        v = json_object_get(v, inner);
    if (!json_is_integer(v))
        fail_msg("no integer at %s.%s", key, inner != NULL ? inner : "");
    return json_integer_value(v);
}

static void test_keys(void **state)
{
    json_t *o = status_of(*state);
    assert_string_equal(json_string_value(json_object_get(o, "version")), MILLPOND_VERSION);
    assert_int_equal(int_at(o, "pid", NULL), getpid());
    assert_true(int_at(o, "uptime_s", NULL) < 60);
    assert_int_equal(int_at(o, "workers", NULL), 2);
    assert_int_equal(int_at(o, "config", "generation"), 4);
    assert_string_equal(json_string_value(json_object_get(o, "state")), "running");
    assert_int_equal(int_at(o, "connections", NULL), int_at(o, "counters", "client_connections"));
    assert_int_equal(int_at(o, "requests", NULL), int_at(o, "counters", "requests"));
    assert_int_equal(int_at(o, "cache", "objects"), 7);
    assert_int_equal(int_at(o, "cache", "live_objects"), 8);
    const json_t *purges = json_object_get(json_object_get(o, "cache"), "purge_log");
    assert_string_equal(json_string_value(json_object_get(purges, "last_id")), "9007199254740993");
    const json_t *of_kind = json_object_get(purges, "last_id_of_kind");
    assert_int_equal(json_object_size(of_kind), 1);
    assert_string_equal(json_string_value(json_object_get(of_kind, "tag")), "9007199254740993");
    assert_int_equal(int_at(purges, "entries_limit", NULL), 512);
    assert_int_equal(int_at(purges, "overflows", NULL), 2);
    assert_int_equal(json_object_size(json_object_get(o, "counters")), METRIC_COUNT);
    for (int id = 0; id < METRIC_COUNT; id++)
        int_at(o, "counters", metrics_info((enum metric_id)id)->name);
    json_t *reasons = json_object_get(o, "reasons");
    assert_int_equal(int_at(reasons, "no_store", "set_cookie"), 0);
    assert_int_equal(int_at(reasons, "fetch_errors", "reset"), 0);
    assert_int_equal(int_at(reasons, "purge_kinds", "tag"), 0);
    assert_int_equal(int_at(reasons, "purge_sources", "method"), 0);
    assert_int_equal(json_object_size(json_object_get(reasons, "client_closes")), CLOSE_COUNT - 1);
    json_t *locks = json_object_get(o, "locks");
    assert_int_equal(json_object_size(locks), LOCK_RANKS);
    assert_int_equal(int_at(locks, "cache_evict", "takes"), lock_taken(LOCK_CACHE_EVICT));
    assert_true(int_at(locks, "metrics", "takes") > 0); /* counters are summed under it */
    assert_int_equal(int_at(locks, "metrics", "waits"), lock_contended(LOCK_METRICS));
    json_t *pools = json_object_get(o, "pools");
    assert_int_equal(json_array_size(pools), 2);
    assert_int_equal(json_array_size(json_object_get(json_array_get(pools, 0), "instances")), 2);
    json_decref(o);
}

static void test_no_cache(void **state)
{
    struct fixture *f = *state;
    f->has_cache = false;
    json_t *o = status_of(f);
    assert_true(json_is_null(json_object_get(o, "cache")));
    json_decref(o);
}

static char *print_status(const json_t *o, wall_ms_t now_ms)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    admin_status_print(o, now_ms, out);
    fclose(out);
    return text;
}

/* Two workers' series of two routes: sums, quantiles within 1%, and the hit ratio without what was never
 * looked up. */
static void test_latency_and_hit_ratio(void **state)
{
    struct metrics_shard *one = metrics_shard_new(), *two = metrics_shard_new();
    uint16_t fast = metrics_label(SLICE_LIT("fast")), slow = metrics_label(SLICE_LIT("slow"));
    for (int i = 0; i < 30; i++)
        metrics_series_record(metrics_series(one, fast, VERDICT_HIT, 0), 200, 1000, 10);
    for (int i = 0; i < 10; i++)
        metrics_series_record(metrics_series(two, slow, VERDICT_MISS, 0), 200, 200000, 10);
    for (int i = 0; i < 60; i++)
        metrics_series_record(metrics_series(two, fast, VERDICT_PASS, 0), 200, 1000, 10);
    json_t *o = status_of(*state);
    json_t *latency = json_object_get(o, "latency"), *routes = json_object_get(latency, "routes");
    assert_int_equal(json_integer_value(json_object_get(latency, "count")), 100);
    double p50_ms = json_number_value(json_object_get(latency, "p50_ms"));
    double p99_ms = json_number_value(json_object_get(latency, "p99_ms"));
    assert_true(p50_ms > 0.98 && p50_ms < 1.02);
    assert_true(p99_ms > 198 && p99_ms < 202);
    assert_int_equal(json_array_size(routes), 2);
    size_t i;
    json_t *route;
    json_array_foreach(routes, i, route)
    {
        bool is_fast = strcmp(json_string_value(json_object_get(route, "route")), "fast") == 0;
        assert_int_equal(json_integer_value(json_object_get(route, "count")), is_fast ? 90 : 10);
    }
    double ratio = json_number_value(json_object_get(json_object_get(o, "cache"), "hit_ratio"));
    assert_true(ratio > 0.7499 && ratio < 0.7501);
    json_decref(o);
    metrics_shard_free(one);
    metrics_shard_free(two);
}

/* Errors are figures like latencies, of all and of each route, and stand in the first lines for people. */
static void test_statuses(void **state)
{
    struct metrics_shard *m = metrics_shard_new();
    uint16_t ill = metrics_label(SLICE_LIT("ill"));
    for (int i = 0; i < 3; i++)
        metrics_series_record(metrics_series(m, ill, VERDICT_MISS, 0), 503, 1000, 10);
    metrics_series_record(metrics_series(m, ill, VERDICT_MISS, 0), 0, 1000, 10);
    json_t *o = status_of(*state);
    const json_t *all = json_object_get(json_object_get(o, "latency"), "statuses");
    assert_int_equal(int_at(all, "5xx", NULL), 3);
    assert_int_equal(int_at(all, "0xx", NULL), 1);
    size_t i, found = 0;
    json_t *route;
    json_array_foreach(json_object_get(json_object_get(o, "latency"), "routes"), i, route)
    {
        if (strcmp(json_string_value(json_object_get(route, "route")), "ill") != 0)
            continue;
        assert_int_equal(int_at(route, "statuses", "5xx"), 3);
        found++;
    }
    assert_int_equal(found, 1);
    assert_int_equal(json_object_size(json_object_get(json_object_get(o, "recent"), "statuses")),
                     json_object_size(all));
    assert_int_equal(int_at(o, "log_lines_dropped", NULL), 0);
    char *text = print_status(o, 0);
    assert_non_null(strstr(text, " slow, 3 answered 5xx\n"));
    assert_null(strstr(text, "trouble"));
    free(text);
    json_object_set_new(o, "log_lines_dropped", json_integer(9));
    json_object_set_new(json_object_get(o, "counters"), "accept_pauses", json_integer(4));
    text = print_status(o, 0);
    assert_non_null(strstr(text, "\ntrouble   descriptors ran out, accepting paused 4 times"));
    assert_non_null(strstr(text, "\ntrouble   9 log lines are lost"));
    free(text);
    json_decref(o);
    metrics_shard_free(m);
}

static void test_text(void **state)
{
    json_t *o = status_of(*state);
    json_object_set_new(o, "uptime_s", json_integer(3 * 3600 + 12 * 60));
    char *text = print_status(o, 65000);
    assert_non_null(strstr(text, "running for 3h 12m, pid "));
    assert_non_null(strstr(text, "generation 4, last reload 1m 0s ago REFUSED:"));
    assert_non_null(strstr(text, "x.ini:1: bad"));
    assert_non_null(strstr(text, "7 objects, 4.0 KB of 1.0 MB"));
    assert_non_null(strstr(
        text,
        "\npurges    5 events, last 5s ago; remembers 4 of 512 and 1 of 256 patterns, overflowed 2 times\n"));
    assert_non_null(strstr(text, "127.0.0.1:8080, unix:/x"));
    assert_non_null(strstr(text, "\nredis     sentinel main; no way\n"));
    assert_non_null(strstr(text, "\na:1             up     1m 0s            4    120       3         0  \n"));
    assert_non_null(
        strstr(text, "\ns\"1 (sentinel)  down   1m 0s            0      0       0         0  WRONG?\n"));
    assert_non_null(strstr(text, "\napp   two_choices  a\"1       up        1m 4s  1 at 40%"));
    assert_non_null(strstr(text, "\napp   two_choices  app-2     down      1m 3s  5 (ordered) backup"));
    assert_non_null(strstr(text, "failing; not ejected: it is the last usable instance\n"));
    free(text);
    json_decref(o);
}

/* Columns line up: REASON starts in the same column in every row. */
static void test_columns(void **state)
{
    UNUSED(state);
    char *text = NULL;
    size_t len = 0;
    json_t *pools = json_pack("[{s:s, s:[{s:s, s:s, s:s}, {s:s, s:s, s:s}]}]", "name", "p", "instances",
                              "name", "a-very-long-name-of-an-instance", "state", "up", "reason", "!one",
                              "name", "b", "state", "draining", "reason", "!two\x1b[31m");
    FILE *out = open_memstream(&text, &len);
    admin_pools_print(pools, 0, out);
    fclose(out);
    char *lines[4], *save;
    lines[0] = strtok_r(text, "\n", &save);
    lines[1] = strtok_r(NULL, "\n", &save);
    lines[2] = strtok_r(NULL, "\n", &save);
    ptrdiff_t column = strstr(lines[0], "REASON") - lines[0];
    assert_int_equal(strchr(lines[1], '!') - lines[1], column);
    assert_int_equal(strchr(lines[2], '!') - lines[2], column);
    assert_null(strchr(lines[2], 0x1b)); /* no escape sequence reaches the terminal */
    free(text);
    json_decref(pools);
}

/* Another version's answer, or rubbish: printed as far as it goes, never a crash. */
static void test_text_of_strange_objects(void **state)
{
    UNUSED(state);
    static const char *const texts[] = {
        "{}",
        "[]",
        "{\"pools\": 3}",
        "{\"pools\": [1, {}, {\"instances\": [[], {\"name\": 5}]}]}",
        "{\"config\": {\"last_reload\": {\"problems\": [1, null]}}, \"listeners\": [1]}",
        "{\"cache\": {}, \"latency\": {\"count\": 1}}",
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        json_t *o = json_loads(texts[i], 0, NULL);
        char *text = print_status(o, 0);
        assert_non_null(strstr(text, "millpond"));
        free(text);
        json_decref(o);
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)
    const struct CMUnitTest tests[] = {
        T(test_keys),
        T(test_no_cache),
        T(test_latency_and_hit_ratio),
        T(test_statuses),
        T(test_text),
        cmocka_unit_test(test_columns),
        cmocka_unit_test(test_text_of_strange_objects),
    };
    return cmocka_run_group_tests_name("admin/status", tests, NULL, NULL);
}
