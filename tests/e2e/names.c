/* names.c: servers by host names: names that do not resolve yet, names with several addresses, answers that
 * change, and name servers that are gone or mad. The instances of a name listen on the same port of 127.0.0.2
 * and so on, and answer with that last number. */
#include "tests/support/load.h"
#include "tests/support/millpond.h"
#include "tests/support/names.h"

#define HOSTS 4
#define FAST  "health_check = tcp\nhealth_interval = 50ms\n"
#define BLIND "health_check = off\n"

struct host {
    const char *body;
    struct gate *gate; /* holds requests for /held */
    struct origin *origin;
};
static struct host hosts[HOSTS];
static struct names *dns;

static void host_script(struct origin_conn *c, const struct message *request, void *arg)
{
    const struct host *h = arg;
    if (strcmp(request->target, "/held") == 0)
        gate_pass(h->gate);
    origin_respond(c, 200, "Cache-Control: no-store\r\n", h->body);
}

/* `host(n)` has the address 127.0.0.n. */
static struct host *host(unsigned n)
{
    return &hosts[n - 2];
}

static int port(void)
{
    return origin_port(hosts[0].origin);
}

static void hosts_start(void)
{
    for (unsigned n = 2; n < HOSTS + 2; n++) {
        *host(n) = (struct host){.body = textf("%u", n), .gate = gate_new()};
        const struct origin_options o = {.script = host_script,
                                         .arg = host(n),
                                         .forgets = true,
                                         .loopback = n,
                                         .port = n == 2 ? 0 : port()};
        host(n)->origin = origin_start_with(&o);
    }
    dns = names_start();
}

static const char *pool_of(const char *options, const char *lines)
{
    return textf("[pool app]\nserver = app.test:%d name=web %s\nresolver = 127.0.0.1:%d\n%s", port(), options,
                 names_port(dns), lines);
}

static struct millpond *start(const char *options, const char *lines)
{
    return millpond_start(.cache = "store = off", .rest = pool_of(options, lines));
}

static void finish(struct millpond *m)
{
    millpond_stop(m);
    for (size_t i = 0; i < HOSTS; i++)
        origin_stop(hosts[i].origin);
    names_stop(dns);
}

static const char *seen(struct millpond *m, unsigned count, const char *fields)
{
    const char *all = "";
    for (unsigned i = 0; i < count; i++)
        all = textf("%s%s", all, client_get(m->port, "/", fields)->body);
    return all;
}

static const json_t *instances(struct millpond *m)
{
    return json_find(json_object_get(millpond_status(m), "pools"), "instances");
}

/* The last numbers of the addresses of all instances, such as "23". */
static const char *addresses(struct millpond *m)
{
    const char *all = "";
    const json_t *list = instances(m), *instance;
    size_t i;
    json_array_foreach(list, i, instance)
    {
        unsigned last;
        if (sscanf(json_string_value(json_object_get(instance, "address")), "127.0.0.%u:", &last) == 1)
            all = textf("%s%u", all, last);
    }
    return all;
}

#define wait_addresses(m, want) (SUPPORT_AT, wait_addresses_(m, want))
static void wait_addresses_(struct millpond *m, const char *want)
{
    const mono_ms_t deadline = clock_mono_ms() + support_wait_ms();
    const char *now;
    while (strcmp(now = addresses(m), want) != 0)
        if (clock_mono_ms() > deadline)
            support_fail("the addresses are %s, not %s", now, want);
}

static const char *shown(unsigned n)
{
    return textf("web@127.0.0.%u:%d", n, port());
}

static void a_name_that_does_not_resolve_holds_nothing_up(void **state)
{
    UNUSED(state);
    hosts_start();
    struct millpond *m = start("", BLIND);
    assert_int_equal(client_get(m->port, "/", "")->status, 503);
    millpond_wait_state(m, "web", "down");
    assert_string_equal(millpond_instance_text(m, "web", "reason"), "name does not resolve");
    millpond_wait_log(m, "app/web: name does not resolve: there is no such name", 1);
    names_set(dns, "app.test", 60, "127.0.0.2");
    wait_addresses(m, "2");
    millpond_wait_state(m, shown(2), "up");
    assert_string_equal(seen(m, 2, ""), "22");
    millpond_wait_log(m, textf("app/web: stands for 1 address; new: 127.0.0.2:%d", port()), 1);
    finish(m);
}

static void a_silent_name_server_holds_nothing_up(void **state)
{
    UNUSED(state);
    hosts_start();
    names_behave(dns, NAMES_SILENT);
    names_set(dns, "app.test", 60, "127.0.0.2");
    struct millpond *m = start("", BLIND);
    millpond_wait_log(m, "app/web: name does not resolve: no answer yet", 1);
    names_behave(dns, NAMES_ANSWERED);
    wait_addresses(m, "2");
    assert_string_equal(seen(m, 1, ""), "2");
    finish(m);
}

static void all_addresses_take_turns(void **state)
{
    UNUSED(state);
    hosts_start();
    names_set(dns, "app.test", 60, "127.0.0.4 127.0.0.2 127.0.0.3 127.0.0.2");
    struct millpond *m = start("weight=2", BLIND);
    assert_string_equal(addresses(m), "234");
    const char *bodies = seen(m, 9, "");
    for (unsigned n = 2; n < 5; n++)
        assert_int_equal(support_count(bodies, host(n)->body), 3);
    expect_in(millpond_cli(m, "pools", NULL).out, shown(3));
    expect_in(millpond_admin(m, "GET", "/metrics")->body,
              textf("millpond_instance_up{pool=\"app\",instance=\"%s\"} 1", shown(4)));
    expect_in(millpond_admin(m, "GET", "/metrics")->body, "instance=\"app/web\"");
    millpond_wait_access(m, textf("\"instance\":\"%s\"", shown(2)), 1);
    finish(m);
}

static void one_address_is_one_instance(void **state)
{
    UNUSED(state);
    hosts_start();
    names_set(dns, "app.test", 1, "127.0.0.3 127.0.0.2");
    struct millpond *m = start("resolve=one", BLIND);
    assert_string_equal(seen(m, 4, ""), "3333");
    names_set(dns, "app.test", 1, "127.0.0.4 127.0.0.2");
    wait_addresses(m, "4");
    assert_string_equal(seen(m, 4, ""), "4444");
    millpond_wait_state(m, "web", "up");
    finish(m);
}

/* The one is asked for again and again, the other one not. */
static void addresses_hold_for_their_time(void **state)
{
    UNUSED(state);
    hosts_start();
    names_set(dns, "app.test", 1, "127.0.0.2");
    names_set(dns, "other.test", 60, "127.0.0.3");
    struct millpond *m = start("", textf(BLIND "server = other.test:%d name=other\n", port()));
    names_wait_asked(dns, "app.test", 4);
    assert_int_equal(names_asked(dns, "other.test"), 1);
    finish(m);
}

static void an_address_that_goes_ends_in_peace(void **state)
{
    UNUSED(state);
    hosts_start();
    names_set(dns, "app.test", 1, "127.0.0.2 127.0.0.3");
    struct millpond *m = start("", FAST "idle_timeout = 1h\n");
    millpond_wait_state(m, shown(2), "up");
    millpond_wait_state(m, shown(3), "up");
    assert_int_equal(support_count(seen(m, 4, ""), "3"), 2); /* so it has an idle connection */
    struct client *held[2];
    for (size_t i = 0; i < 2; i++) {
        held[i] = client_open(m->port);
        client_send(held[i], "GET /held HTTP/1.1\r\nHost: test\r\n\r\n");
    }
    gate_wait_arrived(host(2)->gate, 1);
    gate_wait_arrived(host(3)->gate, 1);
    names_set(dns, "app.test", 1, "127.0.0.2");
    wait_addresses(m, "2");
    millpond_wait_log(m, textf("app/web: stands for 1 address; gone: 127.0.0.3:%d", port()), 1);
    expect_in(millpond_cli(m, "events", NULL).out, "names    app/web: stands for 1 address; gone: ");
    assert_string_equal(seen(m, 4, ""), "2222");
    origin_wait_open(host(3)->origin, 1); /* idle ones and probes are gone, the one at work is not */
    gate_open(host(2)->gate);
    gate_open(host(3)->gate);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(client_read(held[i])->status, 200);
    origin_wait_open(host(3)->origin, 0);
    /* It may come back. */
    names_set(dns, "app.test", 1, "127.0.0.2 127.0.0.3");
    wait_addresses(m, "23");
    assert_int_equal(support_count(seen(m, 4, ""), "3"), 2);
    finish(m);
}

static void all_change_at_once_under_load(void **state)
{
    UNUSED(state);
    hosts_start();
    names_set(dns, "app.test", 0, "127.0.0.2 127.0.0.3");
    struct millpond *m = start("", FAST);
    wait_addresses(m, "23");
    struct load *l = load_start(m->port, 4, "GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    for (unsigned i = 0; i < 4; i++) {
        load_wait(l, 100);
        names_set(dns, "app.test", 0, i % 2 == 0 ? "127.0.0.4 127.0.0.5" : "127.0.0.2 127.0.0.3");
        wait_addresses(m, i % 2 == 0 ? "45" : "23");
    }
    load_wait(l, 100);
    struct load_result r = load_stop(l);
    EXPECT(r.answered == r.by_class[2] && r.broken + r.refused == 0, "%s", r.first_problem);
    finish(m);
}

static void a_dead_name_server_takes_nothing_away(void **state)
{
    UNUSED(state);
    static const enum names_manner dead[] = {NAMES_SERVFAIL, NAMES_GARBAGE, NAMES_SILENT};
    hosts_start();
    names_set(dns, "app.test", 1, "127.0.0.2 127.0.0.3");
    struct millpond *m = start("", FAST);
    for (unsigned i = 0; i < ARRAY_LEN(dead); i++) {
        names_behave(dns, dead[i]);
        millpond_wait_log(m, "no answer from the name servers; the addresses known stay in use", i + 1);
        EXPECT(millpond_figure(m, "name_lookup_failures") > i, "%u times, but nothing is counted", i + 1);
        assert_string_equal(addresses(m), "23");
        assert_int_equal(support_count(seen(m, 4, ""), "3"), 2);
        names_behave(dns, NAMES_ANSWERED);
        millpond_wait_log(m, "app/web: name resolves again", i + 1);
    }
    names_set(dns, "app.test", 1, NULL); /* nor does a name that is not there any more */
    millpond_wait_log(m, "there is no such name; the addresses known stay in use", 1);
    assert_int_equal(support_count(seen(m, 4, ""), "3"), 2);
    finish(m);
}

static void a_reload_changes_nothing(void **state)
{
    UNUSED(state);
    hosts_start();
    names_set(dns, "app.test", 1, "127.0.0.2 127.0.0.3");
    struct millpond *m = start("", FAST);
    millpond_wait_state(m, shown(2), "up");
    millpond_wait_state(m, shown(3), "up");
    origin_stop(host(3)->origin);
    millpond_wait_state(m, shown(3), "down");
    names_behave(dns, NAMES_SILENT);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(millpond_cli(m, "reload", NULL).exit_code, 0);
        assert_string_equal(addresses(m), "23");
        assert_string_equal(millpond_instance_text(m, shown(3), "state"), "down");
        assert_string_equal(millpond_instance_text(m, shown(2), "state"), "up");
        assert_string_equal(seen(m, 2, ""), "22");
    }
    /* From here on one of them. */
    names_behave(dns, NAMES_ANSWERED);
    millpond_write_ini(m, .cache = "store = off", .rest = pool_of("resolve=one", BLIND));
    assert_int_equal(millpond_cli(m, "reload", NULL).exit_code, 0);
    assert_string_equal(addresses(m), "2");
    millpond_wait_state(m, "web", "up");
    finish(m);
}

/* Nor is a server free whose address is gone while a request runs there. */
static void draining_waits_for_addresses_that_are_gone(void **state)
{
    UNUSED(state);
    hosts_start();
    names_set(dns, "app.test", 1, "127.0.0.2");
    struct millpond *m = start("", textf(BLIND "server = 127.0.0.5:%d name=other backup\n", port()));
    wait_addresses(m, "25");
    struct client *held = client_open(m->port);
    client_send(held, "GET /held HTTP/1.1\r\nHost: test\r\n\r\n");
    gate_wait_arrived(host(2)->gate, 1);
    names_set(dns, "app.test", 1, "127.0.0.3");
    wait_addresses(m, "35");
    const char *const words[] = {getenv("MILLPOND"), "drain", "app/web", "--wait", "-s", m->socket, NULL};
    struct proc *drain = proc_start(&(struct proc_options){.argv = words});
    capture_wait(&drain->out, "1 still run\n", 1);
    assert_false(drain->reaped);
    assert_string_equal(seen(m, 2, ""), "55");
    gate_open(host(2)->gate);
    expect_body(client_read(held), "2");
    capture_wait(&drain->out, "no request runs there any more\n", 1);
    assert_int_equal(proc_exit_code(drain), 0);
    finish(m);
}

/* An order is about the name: also about addresses that come later. */
static void orders_are_for_all_addresses(void **state)
{
    UNUSED(state);
    hosts_start();
    names_set(dns, "app.test", 1, "127.0.0.2 127.0.0.3");
    struct millpond *m = start("", textf(BLIND "server = 127.0.0.5:%d name=other\n", port()));
    assert_int_equal(millpond_cli(m, "drain", "app/web", NULL).exit_code, 0);
    assert_string_equal(seen(m, 3, ""), "555");
    names_set(dns, "app.test", 1, "127.0.0.3 127.0.0.4");
    wait_addresses(m, "345");
    millpond_wait_state(m, shown(4), "draining");
    assert_string_equal(seen(m, 3, ""), "555");
    expect_in(millpond_cli(m, "drain", textf("app/%s", shown(3)), NULL).err, "there are app/web, app/other");
    struct proc_result r = millpond_cli(m, "ready", "app/web", NULL);
    expect_in(r.out, "app/web: up, with weight 1\n");
    assert_int_equal(support_count(seen(m, 9, ""), "4"), 3);
    assert_int_equal(millpond_cli(m, "remove", "app/web", "--wait", NULL).exit_code, 0);
    assert_string_equal(addresses(m), "5");
    finish(m);
}

static void visitors_stay_with_their_address(void **state)
{
    UNUSED(state);
    hosts_start();
    names_set(dns, "app.test", 1, "127.0.0.3");
    struct millpond *m = start("", BLIND "sticky_cookie = srv\n");
    const char *field = message_field(client_get(m->port, "/", ""), "Set-Cookie");
    const char *cookie = textf("Cookie: %.*s\r\n", (int)strcspn(field, ";"), field);
    names_set(dns, "app.test", 1, "127.0.0.2 127.0.0.3 127.0.0.4");
    wait_addresses(m, "234");
    assert_string_equal(seen(m, 4, cookie), "3333");
    names_set(dns, "app.test", 1, "127.0.0.2");
    wait_addresses(m, "2");
    struct message *moved = client_get(m->port, "/", cookie);
    assert_string_equal(moved->body, "2");
    assert_non_null(message_field(moved, "Set-Cookie"));
    names_set(dns, "app.test", 1, "127.0.0.4 127.0.0.3");
    wait_addresses(m, "34");
    assert_string_equal(seen(m, 4, cookie), "3333");
    finish(m);
}

/* Forty new addresses with each answer: as many instances as the last one had, and no more. */
static void a_flood_of_addresses_is_bounded(void **state)
{
    UNUSED(state);
    hosts_start();
    names_set(dns, "app.test", 0, "127.0.0.2");
    names_behave(dns, NAMES_ALL_CHANGE);
    struct millpond *m = start("", FAST "retries = 0\n");
    for (unsigned i = 2; i < 5; i++) {
        names_wait_asked(dns, "app.test", i);
        assert_int_equal(json_array_size(instances(m)), 40);
    }
    names_behave(dns, NAMES_ANSWERED);
    wait_addresses(m, "2");
    assert_int_equal(json_array_size(instances(m)), 1);
    assert_string_equal(seen(m, 2, ""), "22");
    EXPECT(millpond_fds(m) < 200, "%u descriptors", millpond_fds(m));
    finish(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(a_name_that_does_not_resolve_holds_nothing_up),
        E2E_TEST(a_silent_name_server_holds_nothing_up),
        E2E_TEST(all_addresses_take_turns),
        E2E_TEST(one_address_is_one_instance),
        E2E_TEST(addresses_hold_for_their_time),
        E2E_TEST(an_address_that_goes_ends_in_peace),
        E2E_TEST(all_change_at_once_under_load),
        E2E_TEST(a_dead_name_server_takes_nothing_away),
        E2E_TEST(a_reload_changes_nothing),
        E2E_TEST(orders_are_for_all_addresses),
        E2E_TEST(draining_waits_for_addresses_that_are_gone),
        E2E_TEST(visitors_stay_with_their_address),
        E2E_TEST(a_flood_of_addresses_is_bounded),
    };
    return E2E_RUN("names", tests);
}
