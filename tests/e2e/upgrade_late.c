/* upgrade_late.c: an upgrade that comes to nothing when the new process has its sockets already, and what the
 * two processes owe each other while both answer. */
#include "tests/e2e/upgrade.h"
#include "tests/support/redis.h"

static void expect_unix(const char *socket)
{
    struct client *c = client_open_unix(socket);
    client_send(c, ASK_ONCE);
    expect_body(client_read(c), "a");
    client_close(c);
}

/* It has taken the sockets over, and would have opened more of them, before it finds that it cannot start. */
static void what_fails_late_takes_nothing_along(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start_named("a");
    char *socket = support_path("web.sock");
    char *rest = textf("%s[listen local]\naddress = unix:%s\n", pool_lines("app", 1, o), socket);
    struct millpond *m =
        adopting_orphans(millpond_start(.main = "workers = 1", .cache = NO_STORE, .rest = rest));
    struct load *l = load_start(m->port, 8, ASK_ONCE);
    millpond_write_ini(m, .main = "workers = 4", .cache = NO_STORE, .rest = rest,
                       .admin = textf("address = 127.0.0.1:%d", origin_port(o)));
    for (int i = 0; i < 6; i++) {
        expect_refused(m, "admin address 127.0.0.1");
        expect_unix(socket);
        load_wait(l, 20);
    }
    expect_all_well(l, "during all that");
    millpond_write_ini(m, .main = "workers = 4", .cache = NO_STORE, .rest = rest);
    upgrade(m);
    expect_unix(socket);
    expect_body(client_get(m->port, "/", ""), "a");
    millpond_stop(m);
    assert_int_not_equal(access(socket, F_OK), 0);
    expect_no_children();
}

static void expect_page(struct client *c, const char *rest_of_request, const char *status)
{
    client_send(c, "%s\r\nHost: test\r\n\r\n", rest_of_request);
    expect_field_in(client_read(c), "Cache-Status", status);
}

/* The old process has it in its cache, and a client who could ask there. */
static void what_the_new_process_purges_is_purged(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start_fixed("HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\n"
                                          "Content-Length: 1\r\n\r\na");
    struct millpond *m = adopting_orphans(millpond_start(.rest = pool_lines("app", 1, o)));
    struct client *first = client_open(m->port), *second = client_open(m->port);
    expect_page(first, "GET /page HTTP/1.1", "fwd");
    expect_page(second, "GET /page HTTP/1.1", "hit");
    client_send(first, "GET /page HT"); /* the old one waits for the rest */
    client_send(second, "GET /page HT");
    pid_t pid = upgrade_ended(ask_for_upgrade(m));
    millpond_wait_log(m, "handed over", 1);
    expect_page(first, "TP/1.1", "hit");
    struct proc_result r = millpond_cli(m, "purge", "http://test/page", NULL);
    EXPECT(r.exit_code == 0, "%s%s", r.out, r.err);
    expect_page(second, "TP/1.1", "fwd");
    client_close(first);
    client_close(second);
    assert_int_equal(proc_follow(m->proc, pid), 0);
    millpond_stop(m);
}

/* The file of purges that wait for Redis is the old process's while it runs, and what it leaves there is not
 * forgotten. */
static void purges_are_kept_on_the_disk_again(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("redis", NULL);
    struct origin *o =
        origin_start_fixed("HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: 1\r\n\r\na");
    struct millpond *m = adopting_orphans(
        millpond_start(.cache = "store = tiered",
                       .rest = textf("%s[redis]\nurl = redis://%s\n", pool_lines("app", 1, o), p->address)));
    upgrade(m);
    millpond_wait_log(m, "are kept in", 1);
    redis_kill(p);
    struct proc_result r;
    mono_ms_t until_ms = clock_mono_ms() + support_wait_ms();
    do
        r = millpond_cli(m, "purge", "--json", "http://test/p", NULL);
    while (strstr(r.out, "\"kept\"") == NULL && clock_mono_ms() < until_ms);
    expect_in(r.out, "\"kept\"");
    upgrade(m);
    millpond_wait_log(m, "has left purges that wait for Redis", 1);
    millpond_wait_log(m, "are kept in", 2);
    redis_restart(p, true);
    until_ms = clock_mono_ms() + support_wait_ms();
    while (json_integer_value(json_object_get(json_object_get(millpond_status(m), "purges"), "pending")) > 0)
        EXPECT(clock_mono_ms() < until_ms, "they are still pending");
    millpond_stop(m);
}

static void held_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(request);
    gate_pass(arg);
    origin_respond(c, 200, "", "a");
}

/* As systemd does it to the whole service: what is open has its time in the old process, too. */
static void a_stop_just_after_it_cuts_nothing(void **state)
{
    UNUSED(state);
    struct gate *g = gate_new();
    struct millpond *m =
        adopting_orphans(millpond_start(.main = "shutdown_timeout = 60s",
                                        .rest = pool_lines("app", 1, origin_start(held_script, g))));
    struct client *busy = client_open(m->port);
    client_send(busy, ASK);
    gate_wait_arrived(g, 1);
    pid_t pid = upgrade_ended(ask_for_upgrade(m));
    millpond_wait_log(m, "handed over", 1);
    proc_signal(m->proc, SIGTERM);
    millpond_wait_log(m, "asked to stop by SIGTERM", 1);
    gate_open(g);
    expect_body(client_read(busy), "a");
    assert_int_equal(proc_follow(m->proc, pid), 0);
    expect_not_in(millpond_wait_log(m, "the process before this one", 1), "asked to stop again");
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(what_fails_late_takes_nothing_along),
        E2E_TEST(what_the_new_process_purges_is_purged),
        E2E_TEST(a_stop_just_after_it_cuts_nothing),
        E2E_TEST(purges_are_kept_on_the_disk_again),
    };
    return E2E_RUN("upgrade_late", tests);
}
