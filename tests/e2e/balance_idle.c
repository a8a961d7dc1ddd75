/* balance_idle.c: connections that an instance closes when nothing happens on them: how long it keeps them is
 * learned from what it says and from what it does, and they are given up before, so that no request meets the
 * close. Time passes in requests that wait for an answer until their route's timeout. */
#include <poll.h>
#include <time.h>

#include "tests/support/app.h"
#include "tests/support/millpond.h"

#define NO_STORE  "store = off"
#define IDLE_MS   800
#define CLOSES_MS 600

/* One request each that is given up after as long as its name says. */
#define WAITS                                                                                                \
    "[pool stuck]\nhealth_check = off\neject_errors = 0\nserver = 127.0.0.1:%d\n"                            \
    "[route 850ms]\npath = /850ms\npool = stuck\ntimeout = 850ms\n"                                          \
    "[route 550ms]\npath = /550ms\npool = stuck\ntimeout = 550ms\n[route rest]\npool = app\n"

static void stuck_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(c);
    UNUSED(request);
    gate_pass(arg);
}

static void pass_time(struct millpond *m, const char *path)
{
    expect_status(client_get(m->port, path, ""), 504);
}

static int64_t idle_limit(struct millpond *m, const char **from)
{
    struct message *r = millpond_admin(m, "GET", "/api/pools");
    json_t *pools = json_loads(r->body, 0, NULL);
    json_t *limit = json_find(pools, "idle_limit_ms");
    *from = limit == NULL ? "" : textf("%s", json_string_value(json_find(pools, "idle_limit_from")));
    int64_t ms = json_integer_value(limit);
    json_decref(pools);
    return ms;
}

static long long mono_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

/* Says that it keeps connections for a second, and has closed them a little earlier: the close and the
 * request cross. */
static void crossing_script(struct origin_conn *c, const struct message *request, void *arg)
{
    static _Thread_local long long answered_ms; /* a thread is a connection */
    UNUSED(request);
    if (c->served > 0 && mono_ms() - answered_ms >= IDLE_MS) {
        origin_reset(c);
        return;
    }
    answered_ms = mono_ms();
    origin_respond(c, 200, arg, "ok");
}

static void what_the_instance_says_is_heeded(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start(crossing_script, "Keep-Alive: timeout=1, max=9\r\n");
    struct origin *stuck = origin_start(stuck_script, gate_new());
    struct millpond *m =
        millpond_start(.main = "workers = 1", .cache = NO_STORE,
                       .rest = textf("%s" WAITS, pool_lines("app", 1, o), origin_port(stuck)));
    const char *from;
    expect_body(client_ask(m->port, "POST", "/", "", "x"), "ok");
    assert_int_equal(idle_limit(m, &from), 750);
    assert_string_equal(from, "announced");
    expect_in(millpond_cli(m, "pools", NULL).out, "unused connections are given up after 0.8 s (announced)");
    for (int i = 0; i < 3; i++) {
        pass_time(m, "/850ms");
        expect_body(client_ask(m->port, i == 1 ? "GET" : "POST", "/", "", "x"), "ok");
    }
    assert_int_equal(millpond_figure(m, "upstream_reuse_races"), 0);
    assert_int_equal(origin_connections(o), 4);
    millpond_stop(m);
}

/* Keeps connections for CLOSES_MS and says nothing about it. */
static void closing_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(request);
    UNUSED(arg);
    origin_respond(c, 200, "", "ok");
    struct pollfd p = {.fd = c->wire.fd, .events = POLLIN};
    if (poll(&p, 1, CLOSES_MS) == 0)
        origin_close(c);
}

static void what_the_instance_does_is_learned(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start(closing_script, NULL), *stuck = origin_start(stuck_script, gate_new());
    struct millpond *m =
        millpond_start(.main = "workers = 1", .cache = NO_STORE,
                       .rest = textf("%s" WAITS, pool_lines("app", 1, o), origin_port(stuck)));
    const char *from = "";
    for (int i = 0; i < 10 && from[0] == '\0'; i++) {
        expect_body(client_get(m->port, "/", ""), "ok");
        millpond_wait_figure(m, "upstream_idle_closed", i + 1);
        idle_limit(m, &from);
    }
    assert_string_equal(from, "observed");
    millpond_wait_log(m, "closes unused connections after ", 1);
    expect_body(client_get(m->port, "/", ""), "ok");
    unsigned before = origin_connections(o);
    pass_time(m, "/550ms"); /* it still has the connection */
    expect_body(client_ask(m->port, "POST", "/", "", "x"), "ok");
    assert_int_equal(origin_connections(o), before + 1);
    millpond_stop(m);
}

/* Says that a connection was idle for too long when a request comes by it: the two have crossed. */
static void late_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(request);
    UNUSED(arg);
    if (c->served == 0) {
        origin_respond(c, 200, "", "ok");
        return;
    }
    origin_respond(c, 408, "Connection: close\r\n", "late");
    origin_close(c);
}

static void a_408_that_crossed_the_request_is_nobodys_answer(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start(late_script, NULL);
    struct millpond *m =
        millpond_start(.main = "workers = 1", .cache = NO_STORE, .rest = pool_lines("app", 1, o));
    expect_body(client_get(m->port, "/", ""), "ok");
    expect_body(client_get(m->port, "/", ""), "ok");
    expect_body(client_ask(m->port, "POST", "/", "Content-Length: 0\r\n", ""), "ok");
    expect_body(client_ask(m->port, "PUT", "/", "", "body"), "ok");
    assert_int_equal(millpond_figure(m, "upstream_reuse_races"), 3);
    assert_int_equal(origin_connections(o), 4);
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(what_the_instance_says_is_heeded),
        E2E_TEST(what_the_instance_does_is_learned),
        E2E_TEST(a_408_that_crossed_the_request_is_nobodys_answer),
    };
    return E2E_RUN("balance_idle", tests);
}
