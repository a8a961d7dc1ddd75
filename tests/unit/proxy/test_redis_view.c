/* test_redis_view.c: reports of workers added up, and as JSON. */
#include "fixture.h"

#include "proxy/redis_view.h"

static struct redis_report report_of(const struct redis_sight *sights, size_t count, const char *trouble)
{
    struct redis_report r = {.workers = 1, .totals = {.trouble = trouble, .slots = 100, .moves = 1}};
    r.sights = calloc(count, sizeof *sights);
    assert_non_null(r.sights);
    memcpy(r.sights, sights, count * sizeof *sights);
    r.count = r.room = count;
    return r;
}

static json_t *server_at(json_t *o, size_t i)
{
    return json_array_get(json_object_get(o, "servers"), i);
}

static const char *text_at(json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

static json_int_t int_at(json_t *o, const char *key)
{
    return json_integer_value(json_object_get(o, key));
}

static void test_sums(void **state)
{
    UNUSED(state);
    const struct redis_sight first[] = {
        {.server = "a:1", .workers = 1, .workers_up = 1, .connected = 2, .calls = 5, .outcomes = {3, 0, 2}},
        {.server = "b:1", .workers = 1, .workers_broken = 1, .reason = "one", .reconnects = 4, .breaks = 1},
        {.server = "a:1", .workers = 1, .is_guide = true}};
    const struct redis_sight second[] = {{.server = "b:1", .workers = 1, .reason = "two", .reconnects = 1},
                                         {.server = "a:1",
                                          .workers = 1,
                                          .reason = "gone",
                                          .calls = 1,
                                          .outcomes = {1, 0, 1},
                                          .refused_at_once = 7}};
    struct redis_report sum = {0}, none = {0};
    struct redis_report one = report_of(first, 3, "no Sentinel answers"), two = report_of(second, 2, "");
    redis_report_add(&sum, &none); /* has not answered yet */
    redis_report_add(&sum, &one);
    assert_string_equal(sum.totals.trouble, "no Sentinel answers");
    two.totals.slots = 7;
    redis_report_add(&sum, &two);
    assert_string_equal(sum.totals.trouble, ""); /* one worker knows better */
    assert_int_equal(sum.totals.slots, 7);
    assert_int_equal(sum.totals.moves, 2);
    assert_int_equal(sum.workers, 2);
    assert_int_equal(sum.count, 3);

    const struct config_redis c = {.mode = CONFIG_REDIS_CLUSTER};
    json_t *o = redis_report_json(&sum, &c);
    assert_string_equal(text_at(o, "mode"), "cluster");
    assert_int_equal(int_at(o, "workers"), 2);
    assert_int_equal(int_at(o, "slots"), 7);
    json_t *a = server_at(o, 0), *b = server_at(o, 1), *seed = server_at(o, 2);
    assert_string_equal(text_at(a, "server"), "a:1");
    assert_string_equal(text_at(a, "kind"), "redis");
    assert_string_equal(text_at(a, "state"), "partly up");
    assert_string_equal(text_at(a, "reason"), "gone");
    assert_int_equal(int_at(a, "calls"), 6);
    assert_int_equal(int_at(a, "calls_refused"), 7);
    assert_int_equal(int_at(a, "connections"), 2);
    assert_int_equal(int_at(json_object_get(a, "failures"), "timeout"), 3);
    assert_null(json_object_get(json_object_get(a, "failures"), "answered"));
    assert_string_equal(text_at(b, "state"), "down");
    assert_string_equal(text_at(b, "reason"), "one");
    assert_int_equal(int_at(b, "reconnects"), 5);
    assert_int_equal(int_at(b, "workers_broken"), 1);
    assert_string_equal(text_at(seed, "kind"), "seed");
    json_decref(o);
    redis_report_free(&one);
    redis_report_free(&two);
    redis_report_free(&sum);
}

static void test_nothing(void **state)
{
    UNUSED(state);
    struct redis_report r = {0};
    const struct config_redis c = {.mode = CONFIG_REDIS_SENTINEL, .sentinel_name = "main", .tls = true};
    redis_report_take(&r, NULL);
    assert_int_equal(r.workers, 0);
    json_t *o = redis_report_json(&r, &c);
    assert_string_equal(text_at(o, "mode"), "sentinel");
    assert_string_equal(text_at(o, "sentinel_name"), "main");
    assert_string_equal(text_at(o, "trouble"), "");
    assert_true(json_is_true(json_object_get(o, "tls")));
    assert_int_equal(json_array_size(json_object_get(o, "servers")), 0);
    assert_null(json_object_get(o, "slots"));
    json_decref(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums),
        cmocka_unit_test(test_nothing),
    };
    return cmocka_run_group_tests_name("proxy/redis_view", tests, NULL, NULL);
}
