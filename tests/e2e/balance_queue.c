/* balance_queue.c: max_connections on real instances: nobody gets more, who waits is served in turn, and what
 * becomes of those for whom there is no room. */
#include <stdatomic.h>

#include "tests/support/load.h"
#include "tests/support/millpond.h"

#define NO_STORE "Cache-Control: no-store\r\n"

/* Answers the path it was asked for; requests that are not for /free wait at the gate. */
struct slow {
    struct gate *gate;
    const char *_Atomic fields;
    _Atomic int now, most;
};

static void slow_script(struct origin_conn *c, const struct message *request, void *arg)
{
    struct slow *s = arg;
    int now = atomic_fetch_add(&s->now, 1) + 1, most = s->most;
    while (now > most && !atomic_compare_exchange_weak(&s->most, &most, now))
        ;
    if (strcmp(request->target, "/free") != 0)
        gate_pass(s->gate);
    atomic_fetch_sub(&s->now, 1);
    origin_respond(c, 200, s->fields, request->target);
}

static struct slow *slow_new(void)
{
    struct slow *s = calloc(1, sizeof *s);
    s->gate = gate_new();
    s->fields = NO_STORE;
    support_on_end(free, s);
    return s;
}

static struct millpond *start(const struct origin *o, const char *attributes, const char *lines)
{
    return millpond_start(.rest = textf("[pool app]\nhealth_check = off\n%sserver = 127.0.0.1:%d name=a %s\n",
                                        lines, origin_port((struct origin *)(uintptr_t)o), attributes));
}

static struct client *ask(struct millpond *m, const char *path)
{
    struct client *c = client_open(m->port);
    client_send(c, "GET %s HTTP/1.1\r\nHost: test\r\n\r\n", path);
    return c;
}

static void who_came_first_is_served_first(void **state)
{
    UNUSED(state);
    struct slow *s = slow_new();
    struct origin *o = origin_start(slow_script, s);
    struct millpond *m = start(o, "max_connections=1", "");
    struct client *c[6];
    for (int i = 0; i < 6; i++) { /* on both workers */
        c[i] = ask(m, textf("/%d", i));
        if (i == 0)
            gate_wait_arrived(s->gate, 1);
        else
            millpond_wait_figure(m, "queued", i);
    }
    expect_in(millpond_cli(m, "pools", NULL).out, "pool app: 5 requests wait for an instance with room\n");
    expect_in(millpond_cli(m, "pools", NULL).out, "  1 of 1  ");
    for (int i = 0; i < 6; i++) {
        gate_let(s->gate, 1);
        expect_body(client_read(c[i]), textf("/%d", i));
        for (int later = i + 1; later < 6; later++)
            assert_true(client_is_silent(c[later]));
    }
    assert_int_equal(s->most, 1);
    millpond_wait_figure(m, "queued", 0);
    assert_int_equal(millpond_figure(m, "queue_waits"), 5);
    gate_open(s->gate);
    millpond_stop(m);
    origin_stop(o);
}

static void an_instance_never_gets_more(void **state)
{
    UNUSED(state);
    struct slow *s = slow_new();
    gate_open(s->gate);
    struct origin *o = origin_start(slow_script, s);
    struct millpond *m = start(o, "max_connections=3", "");
    struct client *c[40];
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 40; i++)
            c[i] = ask(m, textf("/%d", i));
        for (int i = 0; i < 40; i++) {
            expect_body(client_read(c[i]), textf("/%d", i));
            client_close(c[i]);
        }
    }
    EXPECT(s->most <= 3, "%d at a time", s->most);
    assert_int_equal(origin_requests(o), 200);
    millpond_wait_idle(m);
    assert_int_equal(millpond_figure(m, "queued"), 0);
    millpond_stop(m);
    origin_stop(o);
}

static void a_full_queue_says_so(void **state)
{
    UNUSED(state);
    struct slow *s = slow_new();
    struct origin *o = origin_start(slow_script, s);
    struct millpond *m = start(o, "max_connections=1", "queue = 1\nqueue_timeout = 1h\n");
    struct client *runs = ask(m, "/runs");
    gate_wait_arrived(s->gate, 1);
    struct client *waits = ask(m, "/waits");
    millpond_wait_figure(m, "queued", 1);
    struct message *r = client_get(m->port, "/more", "");
    assert_int_equal(r->status, 503);
    expect_field(r, "Retry-After", "3600");
    json_t *line = millpond_access_line(m, "/more");
    assert_string_equal(json_string_value(json_object_get(line, "fetch_error")), "queue_full");
    gate_open(s->gate);
    expect_body(client_read(runs), "/runs");
    expect_body(client_read(waits), "/waits");
    assert_int_equal(origin_requests_for(o, "/more"), 0);
    millpond_stop(m);
    origin_stop(o);
}

static void the_wait_ends(void **state)
{
    UNUSED(state);
    struct slow *s = slow_new();
    struct origin *o = origin_start(slow_script, s);
    struct millpond *m = start(o, "max_connections=1", "queue_timeout = 100ms\n");
    struct client *runs = ask(m, "/runs");
    gate_wait_arrived(s->gate, 1);
    struct message *r = client_get(m->port, "/waits", "");
    assert_int_equal(r->status, 503);
    expect_field(r, "Retry-After", "1");
    millpond_wait_access(m, "\"queue_timeout\"", 1);
    gate_open(s->gate);
    expect_body(client_read(runs), "/runs");
    expect_body(client_get(m->port, "/then", ""), "/then");
    assert_int_equal(origin_requests_for(o, "/waits"), 0);
    millpond_stop(m);
    origin_stop(o);
}

static void breaks_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(request);
    UNUSED(arg);
    origin_close(c);
}

/* Who was asked first wanted the body announced, and broke: that wait is over. */
static void the_wait_ends_also_behind_a_try_with_100_continue(void **state)
{
    UNUSED(state);
    struct slow *s = slow_new();
    struct origin *o = origin_start(slow_script, s);
    struct origin *breaks =
        origin_start_with(&(struct origin_options){.script = breaks_script, .head_only = true});
    struct millpond *m = start(o, "max_connections=1",
                               textf("server = 127.0.0.1:%d max_connections=1\nretries = 3\n"
                                     "queue_timeout = 200ms\n",
                                     origin_port(breaks)));
    struct client *runs = ask(m, "/runs");
    gate_wait_arrived(s->gate, 1);
    struct client *c = client_open(m->port);
    client_send(c, "PUT /waits HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n");
    expect_status(client_read(c), 503);
    assert_int_equal(millpond_figure(m, "queue_waits"), 1);
    gate_open(s->gate);
    expect_body(client_read(runs), "/runs");
    millpond_stop(m);
}

static void who_has_left_waits_no_longer(void **state)
{
    UNUSED(state);
    struct slow *s = slow_new();
    struct origin *o = origin_start(slow_script, s);
    struct millpond *m = start(o, "max_connections=1", "");
    struct client *runs = ask(m, "/runs");
    gate_wait_arrived(s->gate, 1);
    struct client *leaves = ask(m, "/leaves");
    millpond_wait_figure(m, "queued", 1);
    struct client *stays = ask(m, "/stays");
    millpond_wait_figure(m, "queued", 2);
    client_close(leaves);
    millpond_wait_figure(m, "queued", 1);
    gate_open(s->gate);
    expect_body(client_read(runs), "/runs");
    expect_body(client_read(stays), "/stays");
    assert_int_equal(origin_requests_for(o, "/leaves"), 0);
    millpond_stop(m);
    origin_stop(o);
}

static void stale_instead_of_waiting_in_vain(void **state)
{
    UNUSED(state);
    struct slow *s = slow_new();
    struct origin *o = origin_start(slow_script, s);
    s->fields = "Cache-Control: max-age=0, stale-if-error=600\r\nAge: 5\r\n";
    gate_let(s->gate, 1);
    struct millpond *m = start(o, "max_connections=1", "queue = 0\n");
    expect_body(client_get(m->port, "/page", ""), "/page");
    struct client *runs = ask(m, "/runs");
    gate_wait_arrived(s->gate, 2);
    struct message *r = client_get(m->port, "/page", "");
    assert_int_equal(r->status, 200);
    expect_body(r, "/page");
    assert_int_equal(client_get(m->port, "/other", "")->status, 503);
    gate_open(s->gate);
    expect_body(client_read(runs), "/runs");
    assert_int_equal(origin_requests_for(o, "/page"), 1);
    millpond_stop(m);
    origin_stop(o);
}

/* The queue is that of the pool, not of one configuration: a higher limit is for those who wait, too. */
static void a_reload_lets_them_in(void **state)
{
    UNUSED(state);
    struct slow *s = slow_new();
    struct origin *o = origin_start(slow_script, s);
    const char *ini =
        textf("[pool app]\nhealth_check = off\nserver = 127.0.0.1:%d max_connections=%%d\n", origin_port(o));
    struct millpond *m = millpond_start(.rest = textf(ini, 1));
    struct client *first = ask(m, "/1");
    gate_wait_arrived(s->gate, 1);
    struct client *second = ask(m, "/2");
    millpond_wait_figure(m, "queued", 1);
    millpond_write_ini(m, .rest = textf(ini, 2));
    assert_int_equal(millpond_cli(m, "reload", NULL).exit_code, 0);
    gate_wait_arrived(s->gate, 2);
    gate_open(s->gate);
    expect_body(client_read(first), "/1");
    expect_body(client_read(second), "/2");
    millpond_stop(m);
    origin_stop(o);
}

/* Those who wait are finished like any other request when the program is told to stop. */
static void stopping_waits_for_those_who_wait(void **state)
{
    UNUSED(state);
    struct slow *s = slow_new();
    struct origin *o = origin_start(slow_script, s);
    struct millpond *m = start(o, "max_connections=1", "");
    struct client *first = ask(m, "/1");
    gate_wait_arrived(s->gate, 1);
    struct client *second = ask(m, "/2");
    millpond_wait_figure(m, "queued", 1);
    assert_int_equal(millpond_cli(m, "stop", NULL).exit_code, 0);
    millpond_wait_log(m, "stopping: no new connections", 1);
    gate_open(s->gate);
    expect_body(client_read(first), "/1");
    expect_body(client_read(second), "/2");
    assert_int_equal(proc_exit_code(m->proc), 0);
    millpond_expect_clean_end(m);
    origin_stop(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(who_came_first_is_served_first),
        E2E_TEST(an_instance_never_gets_more),
        E2E_TEST(a_full_queue_says_so),
        E2E_TEST(the_wait_ends),
        E2E_TEST(the_wait_ends_also_behind_a_try_with_100_continue),
        E2E_TEST(who_has_left_waits_no_longer),
        E2E_TEST(stale_instead_of_waiting_in_vain),
        E2E_TEST(a_reload_lets_them_in),
        E2E_TEST(stopping_waits_for_those_who_wait),
    };
    return E2E_RUN("balance_queue", tests);
}
