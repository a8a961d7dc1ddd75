/* timeline.c: `millpond events`, the API and `status` tell what changed: reloads, refusals, purges, orders
 * and states of instances. */
#include <signal.h>

#include "tests/support/app.h"
#include "tests/support/millpond.h"

/* Each of the texts, in lines that follow one another in this order. */
static void expect_order(const char *events, const char *const *texts)
{
    const char *at = events;
    for (size_t i = 0; texts[i] != NULL; i++) {
        const char *found = strstr(at, texts[i]);
        EXPECT(found != NULL, "\"%s\" is not where it belongs in:\n%s", texts[i], events);
        at = strchr(found, '\n');
        EXPECT(at != NULL, "no line ends behind \"%s\"", texts[i]);
    }
}

static const char *events_of(struct millpond *m)
{
    struct proc_result r = millpond_cli(m, "events", NULL);
    assert_int_equal(r.exit_code, 0);
    return r.out;
}

static void what_changed_is_told_in_order(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start_named("a");
    const char *pool = textf("[pool app]\nhealth_check = off\nserver = 127.0.0.1:%d name=a\n"
                             "server = 127.0.0.1:%d name=b\n",
                             origin_port(o), origin_port(o));
    struct millpond *m = millpond_start(.rest = pool);
    millpond_purge(m, url_of("/page"));
    assert_int_equal(millpond_cli(m, "purge", "--tag", "news", "--soft", NULL).exit_code, 0);
    assert_int_equal(millpond_cli(m, "reload", NULL).exit_code, 0);
    millpond_write_ini(m, .rest = "[pool app]\nserver = 127.0.0.1:1\nretires = 1\nbalance = fair\n");
    assert_int_equal(millpond_cli(m, "reload", NULL).exit_code, 1);
    assert_int_equal(millpond_cli(m, "drain", "app/a", NULL).exit_code, 0);
    assert_int_equal(client_ask(m->port, "PURGE", "/page", "", "")->status, 200);
    assert_int_equal(millpond_cli(m, "purge", "--tag", "n", NULL).exit_code, 0);
    static const char *const told[] = {
        "  state    app/a: starting -> up: health_check = off\n",
        "  start    millpond ",
        "  purge    2 times, the last: tag news, soft; by user ",
        "  reload   generation 2, from ",
        "  refused  ",
        "  order    app/a: drained by user ",
        "  purge    2 times, the last: tag n; by user ",
        NULL,
    };
    const char *events = events_of(m);
    expect_order(events, told);
    expect_in(events, "there is no key \"retires\"; did you mean \"retries\"?; and 1 more\n");
    expect_order(millpond_cli(m, "status", NULL).out, told + 2); /* the last few */
    expect_in(millpond_admin(m, "GET", "/api/events")->body,
              "\"kind\":\"order\",\"count\":1,\"text\":\"app/a");
    millpond_stop(m);
    origin_stop(o);
}

static void an_instance_that_dies_is_in_it(void **state)
{
    UNUSED(state);
    struct app a = app_node("res.end('a');"), b = app_node("res.end('b');");
    struct millpond *m = millpond_start(
            .rest =
                textf("[pool app]\nhealth_check = tcp\nhealth_interval = 50ms\nserver = 127.0.0.1:%d name=a\n"
                      "server = 127.0.0.1:%d name=b\n",
                      a.port, b.port));
    millpond_wait_state(m, "a", "up");
    proc_signal(a.proc, SIGKILL);
    millpond_wait_state(m, "a", "down");
    expect_order(events_of(m), (const char *const[]){"app/a: starting -> up: ", "app/a: up -> down: ", NULL});
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(what_changed_is_told_in_order),
        E2E_TEST(an_instance_that_dies_is_in_it),
    };
    return E2E_RUN("timeline", tests);
}
