/* balance_eject.c: instances that fail requests: left out for a while, taken back, and never all of them.
 * There are no probes here but in one test, so it is requests alone that decide. */
#include <stdatomic.h>

#include "tests/support/millpond.h"

#define NO_STORE "store = off"
#define EJECT    "[pool app]\nhealth_check = off\nretries = 0\neject_errors = 3\n"

/* An instance that answers as it is told. */
struct patient {
    const char *name;
    _Atomic int status;
    _Atomic unsigned fails_of_two; /* 1: every second request, the others are well */
    struct origin *origin;
};

static void patient_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(request);
    struct patient *p = arg;
    unsigned n = atomic_load(&p->fails_of_two);
    if (n > 0)
        atomic_fetch_add(&p->fails_of_two, 1);
    origin_respond(c, n > 0 ? (n % 2 == 1 ? 500 : 200) : p->status, "Cache-Control: no-store\r\n", p->name);
}

static struct patient a, b;

static struct millpond *start(int a_status, int b_status, const char *lines)
{
    a = (struct patient){.name = "a", .status = a_status};
    b = (struct patient){.name = "b", .status = b_status};
    a.origin = origin_start(patient_script, &a);
    b.origin = origin_start(patient_script, &b);
    return millpond_start(.cache = NO_STORE,
                          .rest = textf("%s%sserver = 127.0.0.1:%d name=a\nserver = 127.0.0.1:%d name=b\n",
                                        strstr(lines, "[pool") != NULL ? "" : EJECT, lines,
                                        origin_port(a.origin), origin_port(b.origin)));
}

static void stop(struct millpond *m)
{
    millpond_stop(m);
    origin_stop(a.origin);
    origin_stop(b.origin);
}

static const char *seen(struct millpond *m, int count)
{
    const char *all = "";
    for (int i = 0; i < count; i++)
        all = textf("%s%s", all, client_get(m->port, "/", "")->body);
    return all;
}

/* Asks until the instance is in that state. */
static void ask_until(struct millpond *m, const char *instance, const char *state)
{
    mono_ms_t until = clock_mono_ms() + support_wait_ms();
    while (strcmp(millpond_instance_text(m, instance, "state"), state) != 0) {
        client_get(m->port, "/", "");
        if (clock_mono_ms() > until)
            support_fail("%s is %s, not %s", instance, millpond_instance_text(m, instance, "state"), state);
    }
}

static void one_that_answers_500_is_left_out_and_comes_back(void **state)
{
    UNUSED(state);
    struct millpond *m = start(500, 200, "eject_time = 1s\n");
    ask_until(m, "a", "ejected");
    millpond_wait_log(m,
                      "app/a: up -> ejected: 3 failures in a row, the last: the instance answered with a "
                      "server error; for 1.0 s",
                      1);
    a.status = 200;
    ask_until(m, "a", "up");
    millpond_wait_log(m, "app/a: ejected -> up: ejected for long enough", 1);
    const char *all = seen(m, 10);
    assert_int_equal(support_count(all, "a"), 5);
    assert_true(millpond_figure(m, "ejections") >= 1);
    assert_string_equal(millpond_instance_text(m, "a", "spared"), "");
    stop(m);
}

static void nobody_asks_one_that_is_left_out(void **state)
{
    UNUSED(state);
    struct millpond *m = start(500, 200, "eject_time = 1h\n");
    ask_until(m, "a", "ejected");
    unsigned before = origin_requests(a.origin);
    assert_string_equal(seen(m, 10), "bbbbbbbbbb");
    assert_int_equal(origin_requests(a.origin), before);
    /* A reload keeps it out; one that switches ejection off brings it back. */
    char *ini = textf("%seject_time = 1h\nserver = 127.0.0.1:%d name=a\nserver = 127.0.0.1:%d name=b\n",
                      EJECT, origin_port(a.origin), origin_port(b.origin));
    assert_int_equal(millpond_cli(m, "reload", NULL).exit_code, 0);
    assert_string_equal(millpond_instance_text(m, "a", "state"), "ejected");
    millpond_write_ini(m, .cache = NO_STORE, .rest = textf("%s[route r]\npool = app\n", ini));
    char *digit = strstr(ini, "eject_errors = 3");
    digit[strlen("eject_errors = ")] = '0';
    millpond_write_ini(m, .cache = NO_STORE, .rest = ini);
    assert_int_equal(millpond_cli(m, "reload", NULL).exit_code, 0);
    millpond_wait_log(m, "app/a: ejected -> up: eject_errors = 0", 1);
    stop(m);
}

static void each_time_is_twice_as_long(void **state)
{
    UNUSED(state);
    struct millpond *m = start(500, 200, "eject_time = 100ms\n");
    mono_ms_t until = clock_mono_ms() + support_wait_ms();
    while (strstr(capture_text(&m->proc->err), "; for 0.4 s") == NULL && clock_mono_ms() < until)
        client_get(m->port, "/", "");
    const char *log = capture_text(&m->proc->err);
    const char *first = strstr(log, "; for 0.1 s"), *second = strstr(log, "; for 0.2 s"),
               *third = strstr(log, "; for 0.4 s");
    EXPECT(first != NULL && second > first && third > second, "not 0.1, 0.2, 0.4 s: %s", log);
    stop(m);
}

static void when_all_fail_nobody_is_left_out(void **state)
{
    UNUSED(state);
    struct millpond *m = start(500, 500, "");
    for (int i = 0; i < 40; i++)
        expect_status(client_get(m->port, "/", ""), 500); /* the application's own, no 503 of ours */
    millpond_wait_log(m, "app/a: not ejected, since the others fail as well: ", 1);
    assert_int_equal(millpond_figure(m, "ejections"), 0);
    assert_true(millpond_figure(m, "ejections_spared") >= 1);
    assert_true(origin_requests(a.origin) == 20 && origin_requests(b.origin) == 20);
    assert_string_equal(millpond_instance_text(m, "a", "spared"), "the others fail as well");
    a.status = b.status = 200;
    seen(m, 4);
    millpond_wait_log(m, "app/a: does not fail any more", 1);
    stop(m);
}

static void the_last_one_stays(void **state)
{
    UNUSED(state);
    struct millpond *m = start(500, 200, "eject_time = 1h\neject_max = 100%\n");
    ask_until(m, "a", "ejected");
    b.status = 503;
    for (int i = 0; i < 10; i++)
        expect_status(client_get(m->port, "/", ""), 503);
    millpond_wait_log(m, "app/b: not ejected, since it is the last usable instance", 1);
    assert_string_equal(millpond_instance_text(m, "b", "state"), "up");
    stop(m);
}

/* `a` only fails, `b` is gone: better `a` than nobody. */
static void all_come_back_when_the_last_one_goes_down(void **state)
{
    UNUSED(state);
    struct millpond *m = start(500, 200,
                               "[pool app]\nhealth_check = tcp\nhealth_interval = 20ms\n"
                               "health_rise = 1\nhealth_fall = 2\nretries = 0\neject_errors = 3\n"
                               "eject_time = 1h\n");
    millpond_wait_log(m, "app/a: starting -> up", 1);
    millpond_wait_log(m, "app/b: starting -> up", 1);
    ask_until(m, "a", "ejected");
    origin_stop(b.origin);
    millpond_wait_log(m, "app/a: ejected -> up: no other instance is usable", 1);
    a.status = 200;
    expect_body(client_get(m->port, "/", ""), "a");
    millpond_stop(m);
    origin_stop(a.origin);
}

/* Never three failures in a row, but half of all, while the other has none. */
static void one_that_fails_far_more_often_is_left_out(void **state)
{
    UNUSED(state);
    struct millpond *m = start(200, 200, "eject_time = 1h\n");
    a.fails_of_two = 1;
    ask_until(m, "a", "ejected");
    millpond_wait_log(m, " requests failed, of those of the others 0 of ", 1);
    expect_not_in(capture_text(&m->proc->err), "in a row");
    stop(m);
}

static void one_that_comes_back_starts_slowly(void **state)
{
    UNUSED(state);
    struct millpond *m = start(500, 200, "eject_time = 200ms\nslow_start = 1h\n");
    ask_until(m, "a", "ejected");
    a.status = 200;
    ask_until(m, "a", "up");
    unsigned got = support_count(seen(m, 42), "a");
    EXPECT(got >= 1 && got <= 4, "it got %u of 42", got); /* 5 of 105 */
    expect_in(millpond_cli(m, "pools", NULL).out, "5%");
    stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(one_that_answers_500_is_left_out_and_comes_back),
        E2E_TEST(nobody_asks_one_that_is_left_out),
        E2E_TEST(each_time_is_twice_as_long),
        E2E_TEST(when_all_fail_nobody_is_left_out),
        E2E_TEST(the_last_one_stays),
        E2E_TEST(all_come_back_when_the_last_one_goes_down),
        E2E_TEST(one_that_fails_far_more_often_is_left_out),
        E2E_TEST(one_that_comes_back_starts_slowly),
    };
    return E2E_RUN("balance_eject", tests);
}
