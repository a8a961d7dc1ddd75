/* test_events.c: the timeline by the API, as JSON and on a terminal: order, and texts that are neither. */
#include "admin_fixture.h"

#include "admin/client.h"
#include "admin/events.h"
#include "core/timeline.h"

static int setup(void **state)
{
    struct fixture *f = malloc(sizeof *f);
    timeline_clear();
    fx_init(f);
    fx_start(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fx_finish(*state);
    free(*state);
    return 0;
}

static void test_json(void **state)
{
    UNUSED(state);
    timeline_note(TIMELINE_PURGE, "tag a");
    timeline_note(TIMELINE_PURGE, "tag gr\xc3\xbcn");
    timeline_note(TIMELINE_STATE, "app/a: \xff");
    json_t *events = admin_events_build(10);
    assert_int_equal(json_array_size(events), 2);
    const json_t *first = json_array_get(events, 0), *second = json_array_get(events, 1);
    assert_string_equal(json_string_value(json_object_get(first, "text")), "app/a: ?");
    assert_string_equal(json_string_value(json_object_get(first, "kind")), "state");
    assert_true(json_integer_value(json_object_get(first, "at_ms")) > 1000000);
    assert_string_equal(json_string_value(json_object_get(second, "text")), "tag gr\xc3\xbcn");
    assert_int_equal(json_integer_value(json_object_get(second, "count")), 2);
    json_decref(events);
    events = admin_events_build(1);
    assert_int_equal(json_array_size(events), 1);
    json_decref(events);
}

static void test_text(void **state)
{
    UNUSED(state);
    char *text = NULL;
    size_t len;
    json_t *events = json_pack("[{s:I, s:s, s:i, s:s}, {s:I, s:s, s:i, s:s}, {}]", "at_ms",
                               (json_int_t)1700000000123, "kind", "purge", "count", 3, "text", "tag a\033[2J",
                               "at_ms", (json_int_t)0, "kind", "reload", "count", 1, "text", "generation 2");
    FILE *out = open_memstream(&text, &len);
    admin_events_print(events, out);
    fclose(out);
    assert_string_equal(text, "1970-01-01T00:00:00Z  ?        \n"
                              "1970-01-01T00:00:00Z  reload   generation 2\n"
                              "2023-11-14T22:13:20Z  purge    3 times, the last: tag a?[2J\n");
    free(text);
    json_decref(events);
}

static char *run(struct fixture *f, const char *command)
{
    char *out_text = NULL, *err_text = NULL;
    size_t out_len, err_len;
    char *argv[] = {(char *)(uintptr_t)command, (char[]){"-s"}, f->socket, NULL};
    FILE *out = open_memstream(&out_text, &out_len), *err = open_memstream(&err_text, &err_len);
    assert_int_equal(admin_client_run(3, argv, out, err), 0);
    fclose(out);
    fclose(err);
    free(err_text);
    return out_text;
}

static unsigned count_lines(const char *text, const char *with)
{
    unsigned n = 0;
    for (; (text = strstr(text, with)) != NULL; text++)
        n++;
    return n;
}

static void test_commands(void **state)
{
    for (int i = 0; i < 8; i++)
        timeline_note(TIMELINE_STATE, "app/a: event %d", i);
    char *text = run(*state, "events");
    assert_int_equal(count_lines(text, "app/a: event "), 8);
    assert_true(strstr(text, "event 0") < strstr(text, "event 7"));
    free(text);
    text = run(*state, "status");
    assert_int_equal(count_lines(text, "app/a: event "), 5);
    assert_non_null(strstr(text, "event 7"));
    free(text);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {T(test_json), T(test_text), T(test_commands)};
    return cmocka_run_group_tests_name("admin/events", tests, NULL, NULL);
}
