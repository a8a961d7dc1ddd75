/* balance_orders.c: `millpond drain`, `ready` and `weight` on real instances: what runs ends where it runs,
 * what is new goes elsewhere, and it stays so across a reload. */
#include "tests/support/app.h"
#include "tests/support/load.h"
#include "tests/support/millpond.h"

#define NO_STORE "store = off"

struct named {
    const char *name;
    struct gate *gate;
};
static struct named a, b;
static struct origin *origin_a, *origin_b;

static void named_script(struct origin_conn *c, const struct message *request, void *arg)
{
    struct named *n = arg;
    if (strcmp(request->target, "/held") == 0)
        gate_pass(n->gate);
    origin_respond(c, 200, "Cache-Control: no-store\r\n", n->name);
}

static struct millpond *start_two(const char *lines)
{
    a = (struct named){"a", gate_new()};
    b = (struct named){"b", gate_new()};
    origin_a = origin_start(named_script, &a);
    origin_b = origin_start(named_script, &b);
    return millpond_start(.cache = NO_STORE,
                          .rest = textf("[pool app]\nhealth_check = off\n%sserver = 127.0.0.1:%d name=a\n"
                                        "server = 127.0.0.1:%d name=b\n",
                                        lines, origin_port(origin_a), origin_port(origin_b)));
}

static void finish(struct millpond *m)
{
    millpond_stop(m);
    origin_stop(origin_a);
    origin_stop(origin_b);
}

static const char *seen(struct millpond *m, int count, const char *fields)
{
    const char *all = "";
    for (int i = 0; i < count; i++)
        all = textf("%s%s", all, client_get(m->port, "/", fields)->body);
    return all;
}

static void done(struct proc_result r, const char *out)
{
    EXPECT(r.exit_code == 0, "exit code %d: %s%s", r.exit_code, r.out, r.err);
    expect_in(r.out, out);
}

static void what_runs_ends_and_what_is_new_goes_elsewhere(void **state)
{
    UNUSED(state);
    struct millpond *m = start_two("");
    struct client *held = client_open(m->port);
    client_send(held, "GET /held HTTP/1.1\r\nHost: test\r\n\r\n");
    gate_wait_arrived(a.gate, 1);
    done(millpond_cli(m, "drain", "app/a", NULL), "app/a: draining; no new requests, 1 still run\n");
    assert_string_equal(seen(m, 8, ""), "bbbbbbbb");
    assert_string_equal(millpond_instance_text(m, "a", "state"), "draining");
    assert_int_equal(millpond_cli(m, "reload", NULL).exit_code, 0);
    assert_string_equal(seen(m, 4, ""), "bbbb");
    gate_open(a.gate);
    expect_body(client_read(held), "a"); /* whole, on the connection that it began on */
    done(millpond_cli(m, "drain", "app/a", "--wait", NULL), "no request runs there any more\n");
    done(millpond_cli(m, "ready", "app/a", NULL), "app/a: up, with weight 1\n");
    assert_int_equal(support_count(seen(m, 8, ""), "a"), 4);
    millpond_wait_log(m, "app/a: drained by user ", 2);
    finish(m);
}

static void drain_waits_for_the_last_request(void **state)
{
    UNUSED(state);
    struct millpond *m = start_two("");
    struct client *held = client_open(m->port);
    client_send(held, "GET /held HTTP/1.1\r\nHost: test\r\n\r\n");
    gate_wait_arrived(a.gate, 1);
    const char *const words[] = {getenv("MILLPOND"), "drain", "app/a", "--wait", "-s", m->socket, NULL};
    struct proc *waits = proc_start(&(struct proc_options){.argv = words});
    capture_wait(&waits->out, "1 still run\n", 1);
    assert_false(waits->reaped);
    gate_open(a.gate);
    expect_body(client_read(held), "a");
    capture_wait(&waits->out, "no request runs there any more\n", 1);
    assert_int_equal(proc_exit_code(waits), 0);
    finish(m);
}

static void visitors_of_a_drained_one_move(void **state)
{
    UNUSED(state);
    struct millpond *m = start_two("sticky_cookie = srv\n");
    struct message *first = client_get(m->port, "/", "");
    assert_string_equal(first->body, "a");
    const char *field = message_field(first, "Set-Cookie");
    const char *cookie = textf("Cookie: %.*s\r\n", (int)strcspn(field, ";"), field);
    done(millpond_cli(m, "weight", "app/a", "0", NULL), "app/a: up, with weight 0");
    assert_string_equal(seen(m, 4, cookie), "aaaa");
    assert_string_equal(seen(m, 4, ""), "bbbb");
    done(millpond_cli(m, "drain", "app/a", NULL), "draining");
    assert_string_equal(seen(m, 4, cookie), "bbbb");
    finish(m);
}

static void shares_go_by_the_ordered_weight(void **state)
{
    UNUSED(state);
    struct millpond *m = start_two("");
    done(millpond_cli(m, "weight", "app/b", "3", NULL), "app/b: up, with weight 3 (configured: 1)\n");
    assert_int_equal(support_count(seen(m, 20, ""), "b"), 15);
    assert_int_equal(millpond_cli(m, "reload", NULL).exit_code, 0);
    assert_int_equal(support_count(seen(m, 20, ""), "b"), 15);
    done(millpond_cli(m, "weight", "app/b", "configured", NULL), "app/b: up, with weight 1\n");
    assert_int_equal(support_count(seen(m, 20, ""), "b"), 10);
    finish(m);
}

static void mistakes_change_nothing(void **state)
{
    UNUSED(state);
    struct millpond *m = start_two("");
    struct proc_result r = millpond_cli(m, "drain", "app/c", NULL);
    assert_int_equal(r.exit_code, 1);
    expect_in(r.err, "the pool has no such server; there are app/a, app/b\n");
    done(millpond_cli(m, "drain", "app/b", NULL), "draining");
    r = millpond_cli(m, "drain", "app/a", NULL);
    assert_int_equal(r.exit_code, 1);
    expect_in(r.err, "it is the last one of its pool that takes requests");
    assert_string_equal(seen(m, 4, ""), "aaaa");
    done(millpond_cli(m, "drain", "app/a", "--force", NULL), "draining");
    assert_int_equal(client_get(m->port, "/", "")->status, 503);
    finish(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(what_runs_ends_and_what_is_new_goes_elsewhere),
        E2E_TEST(drain_waits_for_the_last_request),
        E2E_TEST(visitors_of_a_drained_one_move),
        E2E_TEST(shares_go_by_the_ordered_weight),
        E2E_TEST(mistakes_change_nothing),
    };
    return E2E_RUN("balance_orders", tests);
}
