/* test_recent.c: what came lately is what was counted since the mark before the last one. */
#include "admin_fixture.h"

#include "admin/recent.h"
#include "admin/status_text.h"
#include "core/metrics.h"

struct lately { /* of one test */
    struct worker *control;
    struct admin_recent *recent;
    struct metrics_shard *shard;
    mono_ms_t now_ms;
    uint16_t route, sound, ill;
};

/* Marks as a period later would, whatever the clock says. */
static void mark(struct lately *l)
{
    l->now_ms += RECENT_MARK_EVERY_MS;
    admin_recent_mark(l->recent, l->now_ms);
}

static int setup(void **state)
{
    struct lately *l = calloc(1, sizeof *l);
    l->control = worker_create(-1);
    l->recent = admin_recent_new(l->control);
    l->shard = metrics_shard_new();
    l->now_ms = clock_mono_ms();
    l->route = metrics_label(SLICE_LIT("shop"));
    l->sound = metrics_label(SLICE_LIT("app/a"));
    l->ill = metrics_label(SLICE_LIT("app/b"));
    assert_non_null(l->recent);
    mark(l); /* series live as long as the process: those of earlier tests are over */
    mark(l);
    *state = l;
    return 0;
}

static int teardown(void **state)
{
    struct lately *l = *state;
    admin_recent_free(l->recent);
    worker_destroy(l->control);
    metrics_shard_free(l->shard);
    free(l);
    return 0;
}

static void record(struct lately *l, uint16_t instance, int times, unsigned status, uint64_t us)
{
    for (int i = 0; i < times; i++)
        metrics_series_record(metrics_series(l->shard, l->route, VERDICT_MISS, instance), status, us, 1);
}

static const json_t *row_of(const json_t *recent, const char *list, const char *key, const char *name)
{
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(recent, list), i, row)
    {
        if (strcmp(json_string_value(json_object_get(row, key)), name) == 0)
            return row;
    }
    return NULL;
}

static int64_t count_of(const json_t *figures)
{
    return json_integer_value(json_object_get(figures, "count"));
}

static int64_t errors_of(const json_t *figures)
{
    return json_integer_value(json_object_get(json_object_get(figures, "statuses"), "5xx"));
}

static double p95_of(const json_t *figures)
{
    return json_number_value(json_object_get(figures, "p95_ms"));
}

/* An hour of fast answers does not hide that one instance is slow, and fails, now. */
static void test_an_instance_that_is_ill_now(void **state)
{
    struct lately *l = *state;
    record(l, l->sound, 1000, 200, 1000);
    record(l, l->ill, 1000, 200, 1000);
    mark(l);
    mark(l);
    record(l, l->sound, 30, 200, 1000);
    record(l, l->ill, 20, 200, 800000);
    record(l, l->ill, 10, 503, 800000);
    json_t *o = admin_recent_build(l->recent, l->now_ms + 5000);
    const json_t *sound = row_of(o, "instances", "instance", "app/a");
    const json_t *ill = row_of(o, "instances", "instance", "app/b");
    const json_t *route = row_of(o, "routes", "route", "shop");
    assert_int_equal(json_integer_value(json_object_get(o, "window_ms")), RECENT_MARK_EVERY_MS + 5000);
    assert_int_equal(count_of(sound), 30);
    assert_int_equal(errors_of(sound), 0);
    assert_true(p95_of(sound) > 0.98 && p95_of(sound) < 1.02);
    assert_int_equal(count_of(ill), 30);
    assert_int_equal(errors_of(ill), 10);
    assert_true(p95_of(ill) > 790 && p95_of(ill) < 810);
    assert_int_equal(count_of(route), 60);
    assert_int_equal(count_of(o), 60);
    assert_int_equal(errors_of(o), 10);
    json_decref(o);
}

static void test_what_is_over_is_forgotten(void **state)
{
    struct lately *l = *state;
    record(l, l->ill, 10, 500, 1000);
    mark(l);
    json_t *o = admin_recent_build(l->recent, l->now_ms);
    assert_int_equal(errors_of(row_of(o, "instances", "instance", "app/b")), 10);
    json_decref(o);
    mark(l);
    o = admin_recent_build(l->recent, l->now_ms);
    assert_null(row_of(o, "instances", "instance", "app/b"));
    assert_int_equal(count_of(o), 0);
    assert_int_equal(json_object_size(json_object_get(o, "statuses")), 0);
    json_decref(o);
}

/* More routes than rows: the sum of all still has them. */
static void test_rows_are_bounded(void **state)
{
    struct lately *l = *state;
    char name[32];
    for (int i = 0; i < 400; i++) {
        snprintf(name, sizeof name, "many-%d", i);
        l->route = metrics_label(slice_str(name));
        record(l, 0, 1, 200, 1000);
    }
    json_t *o = admin_recent_build(l->recent, l->now_ms);
    assert_true(count_of(o) >= 400);
    assert_true(json_array_size(json_object_get(o, "routes")) < 300);
    json_decref(o);
}

static int64_t count_of_instance(struct lately *l, const char *name)
{
    json_t *o = admin_recent_build(l->recent, l->now_ms);
    const json_t *row = row_of(o, "instances", "instance", name);
    const int64_t n = row != NULL ? count_of(row) : -1;
    json_decref(o);
    return n;
}

/* Addresses come and go, and their labels stay: who is asked now has a row, whoever came before. */
static void test_instances_that_are_gone_take_no_rows(void **state)
{
    struct lately *l = *state;
    uint16_t label[400];
    char name[32];
    for (size_t i = 0; i < ARRAY_LEN(label); i++) {
        snprintf(name, sizeof name, "app/10.0.%zu.%zu", i / 100, i % 100);
        label[i] = metrics_label(slice_str(name));
        record(l, label[i], 7, 200, 1000);
    }
    mark(l);
    mark(l);
    record(l, metrics_label(SLICE_LIT("app/new")), 5, 200, 1000);
    record(l, label[399], 3, 200, 1000); /* was at rest: what it had before is in no mark */
    assert_int_equal(count_of_instance(l, "app/new"), 5);
    assert_int_equal(count_of_instance(l, "app/10.0.3.99"), -1);
    mark(l);
    mark(l);
    assert_int_equal(count_of_instance(l, "app/new"), -1);
    record(l, label[399], 4, 200, 1000);
    assert_int_equal(count_of_instance(l, "app/10.0.3.99"), 4);
    mark(l); /* the mark before it has no row of who was at rest */
    assert_int_equal(count_of_instance(l, "app/10.0.3.99"), -1);
    record(l, label[399], 2, 200, 1000);
    mark(l);
    assert_int_equal(count_of_instance(l, "app/10.0.3.99"), 2);
}

static void test_text(void **state)
{
    struct lately *l = *state;
    mark(l);
    mark(l);
    record(l, l->ill, 57, 200, 1000);
    record(l, l->ill, 3, 404, 1000);
    json_t *o = json_pack("{s:o}", "recent", admin_recent_build(l->recent, l->now_ms));
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    admin_status_print(o, 0, out);
    fclose(out);
    assert_non_null(strstr(text, "\nLAST 30s    REQUESTS  PER S  4XX  5XX "));
    assert_non_null(strstr(text, "\napp/b             60    2.0    3    0  "));
    assert_non_null(strstr(text, "\nroute shop        60    2.0    3    0  "));
    assert_non_null(strstr(text, "\nall               60    2.0    3    0  "));
    free(text);
    json_decref(o);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_an_instance_that_is_ill_now),
        T(test_what_is_over_is_forgotten),
        T(test_text),
        T(test_rows_are_bounded),
        T(test_instances_that_are_gone_take_no_rows),
    };
    return cmocka_run_group_tests_name("admin/recent", tests, NULL, NULL);
}
