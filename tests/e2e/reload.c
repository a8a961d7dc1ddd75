/* reload.c: a new configuration takes over without dropping a request (promise 6), and a bad one changes
 * nothing (promise 4). Also what the command line says about configurations: check, config, exit codes. */
#include <signal.h>
#include <sys/resource.h>

#include "tests/support/load.h"
#include "tests/support/millpond.h"

#define NO_STORE "store = off"

static int64_t generation(struct millpond *m)
{
    return millpond_figure(m, "generation");
}

static void expect_reloaded(struct millpond *m)
{
    struct proc_result r = millpond_cli(m, "reload", NULL);
    EXPECT(r.exit_code == 0, "reload: %d\n%s%s", r.exit_code, r.out, r.err);
}

static void held_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(request);
    gate_pass(arg);
    origin_respond(c, 200, "Cache-Control: no-store\r\n", "old");
}

static void old_requests_finish_and_new_ones_go_the_new_way(void **state)
{
    UNUSED(state);
    struct gate *g = gate_new();
    struct origin *old = origin_start(held_script, g), *new = origin_start_named("new");
    struct millpond *m = millpond_start(.cache = NO_STORE, .rest = pool_lines("app", 1, old));
    struct client *held = client_open(m->port);
    client_send(held, "GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    gate_wait_arrived(g, 1);
    millpond_write_ini(m, .cache = NO_STORE, .rest = pool_lines("app", 1, new));
    expect_reloaded(m);
    assert_int_equal(generation(m), 2);
    expect_body(client_get(m->port, "/", ""), "new"); /* the listener is the same one */
    gate_open(g);
    expect_body(client_read(held), "old");
    client_send(held, "GET / HTTP/1.1\r\nHost: test\r\n\r\n"); /* and so is the connection */
    expect_body(client_read(held), "new");
    millpond_stop(m);
    origin_stop(old);
}

static void sighup_reloads_and_the_cache_stays(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start_fixed(
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: 6\r\n\r\nstored");
    struct millpond *m = millpond_start(.rest = pool_lines("app", 1, o));
    struct client *c = client_open(m->port);
    client_send(c, "GET /p HTTP/1.1\r\nHost: test\r\n\r\n");
    expect_body(client_read(c), "stored");
    millpond_write_ini(
        m, .rest = textf("%s[route x]\nset_response_header = X-New: yes\n", pool_lines("app", 1, o)));
    proc_signal(m->proc, SIGHUP);
    millpond_wait_figure(m, "generation", 2);
    client_send(c, "GET /p HTTP/1.1\r\nHost: test\r\n\r\n");
    struct message *r = client_read(c);
    expect_field_in(r, "Cache-Status", "hit");
    expect_field(r, "X-New", "yes");
    assert_int_equal(origin_requests(o), 1);
    assert_int_equal(origin_connections(o), 1);
    millpond_stop(m);
}

static void bad_file_changes_nothing(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start_named("a");
    struct millpond *m = millpond_start(.cache = NO_STORE, .rest = pool_lines("app", 1, o));
    char *good = support_read_file(m->ini);
    support_write_file(
        m->ini,
        textf("%s\n[pool app2]\nserver = nonsense\nconect_timeout = 3s\n[cache]\nmemory_size = 5\n", good));
    struct proc_result r = millpond_cli(m, "reload", NULL);
    assert_int_equal(r.exit_code, 1);
    char *said = textf("%s%s", r.out, r.err);
    expect_in(said, "conect_timeout"); /* all problems at once, with file and line */
    expect_in(said, "connect_timeout");
    expect_in(said, "memory_size");
    expect_in(said, "millpond.ini:");
    assert_int_equal(generation(m), 1);
    expect_body(client_get(m->port, "/", ""), "a");

    proc_signal(m->proc, SIGHUP);
    millpond_wait_log(m, "conect_timeout", 1);
    assert_int_equal(generation(m), 1);
    expect_body(client_get(m->port, "/", ""), "a");
    struct proc_result status =
        millpond_cli(m, "status", "--json", NULL); /* the refusal is shown until a reload is good */
    expect_in(status.out, "conect_timeout");
    unlink(m->ini);
    assert_int_equal(millpond_cli(m, "reload", NULL).exit_code, 1);
    support_write_file(m->ini, good);
    expect_reloaded(m);
    status = millpond_cli(m, "status", "--json", NULL);
    expect_not_in(status.out, "conect_timeout");
    millpond_stop(m);
}

static void listeners_come_and_go(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start_named("a");
    struct millpond *m = millpond_start(.cache = NO_STORE, .rest = pool_lines("app", 1, o));
    const char *pool = pool_lines("app", 1, o);
    millpond_write_ini(m, .cache = NO_STORE,
                       .rest = textf("%s[listen extra]\naddress = 127.0.0.1:0\n", pool));
    expect_reloaded(m);
    int extra = millpond_port(m, "extra");
    expect_body(client_get(extra, "/", ""), "a");
    struct client *kept = client_open(extra);
    client_send(kept, "GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    expect_body(client_read(kept), "a");
    millpond_write_ini(m, .cache = NO_STORE, .rest = pool);
    expect_reloaded(m);
    int fd = wire_connect(extra, 0);
    EXPECT(fd < 0, "the listener that is gone still accepts");
    client_send(kept, "GET / HTTP/1.1\r\nHost: test\r\n\r\n"); /* a connection it accepted is served or
                                                                  closed, not broken */
    struct message *r = client_read(kept);
    assert_true(r->end == MESSAGE_COMPLETE || r->end == MESSAGE_NONE);
    expect_body(client_get(m->port, "/", ""), "a");
    /* An address that cannot be bound refuses the whole reload. */
    millpond_write_ini(m, .cache = NO_STORE,
                       .rest = textf("%s[listen taken]\naddress = 127.0.0.1:%d\n", pool, origin_port(o)));
    assert_int_equal(millpond_cli(m, "reload", NULL).exit_code, 1);
    assert_int_equal(generation(m), 3);
    expect_body(client_get(m->port, "/", ""), "a");
    millpond_stop(m);
}

static void reloads_under_load_drop_nothing(void **state)
{
    UNUSED(state);
    struct origin *a = origin_start_named("a"), *b = origin_start_named("b");
    struct millpond *m = millpond_start(.cache = NO_STORE, .rest = pool_lines("app", 2, a, b));
    struct load *l = load_start(m->port, 8, "GET /x HTTP/1.1\r\nHost: test\r\n\r\n");
    for (int i = 0; i < 20; i++) {
        load_wait(l, 50);
        millpond_write_ini(m, .cache = NO_STORE,
                           .rest = i % 2 ? pool_lines("app", 2, a, b) : pool_lines("app", 1, i % 4 ? a : b));
        expect_reloaded(m);
    }
    load_wait(l, 200);
    struct load_result r = load_stop(l);
    EXPECT(r.by_class[2] == r.answered && r.broken + r.refused == 0, "%llu of %llu answered well; %s",
           (unsigned long long)r.by_class[2], (unsigned long long)r.answered, r.first_problem);
    assert_int_equal(generation(m), 21);
    millpond_stop(m);
}

static void health_state_survives(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start_named("a");
    char *rest = textf("[pool app]\nhealth_interval = 1h\nhealth_timeout = 10s\nhealth_fall = 1\nserver = "
                       "127.0.0.1:%d name=a\n"
                       "server = 127.0.0.1:%d name=dead\n",
                       origin_port(o), origin_refusing_port());
    struct millpond *m = millpond_start(.cache = NO_STORE, .rest = rest);
    millpond_wait_log(m, "app/dead: starting -> down", 1);
    millpond_wait_log(m, "app/a: starting -> up", 1);
    unsigned probes = origin_requests_for(o, "/");
    millpond_write_ini(m, .cache = NO_STORE, .rest = textf("%sretries = 0\n", rest));
    expect_reloaded(m);
    for (int i = 0; i < 10; i++) /* with retries = 0, only remembering that one is dead helps */
        expect_body(client_get(m->port, "/x", ""), "a");
    assert_int_equal(origin_requests_for(o, "/"), probes);
    millpond_stop(m);
}

/* ---- the command line ---- */

static void check_and_config_judge_files(void **state)
{
    UNUSED(state);
    char *ini = support_path("a.ini");
    support_write_file(ini, "[pool app]\nserver = 127.0.0.1:3001\nconnect_timeout = 7s\n");
    struct proc_result r = millpond_run("check", "-c", ini, NULL);
    EXPECT(r.exit_code == 0, "check: %d %s%s", r.exit_code, r.out, r.err);
    r = millpond_run("config", "-c", ini, NULL);
    assert_int_equal(r.exit_code, 0);
    expect_in(r.out, "connect_timeout");
    expect_in(r.out, "a.ini:3");
    expect_in(r.out, "default");

    support_write_file(ini, "[pool app]\nserver = 127.0.0.1:3001\nserver = b\nwieght = 2\n[pol x]\n");
    for (const char *const *command = (const char *const[]){"check", "config", "run", NULL}; *command != NULL;
         command++) {
        r = millpond_run(*command, "-c", ini, NULL);
        char *said = textf("%s%s", r.out, r.err);
        EXPECT(r.exit_code == 2, "%s: %d %s", *command, r.exit_code, said);
        expect_in(said, "a.ini:3:");
        expect_in(said, "a.ini:4:");
        expect_in(said, "a.ini:5:");
    }
    support_write_file(ini, "[pool app]\nserver = 127.0.0.1:3001 zone=a\n"); /* of later */
    r = millpond_run("check", "-c", ini, NULL);
    assert_int_equal(r.exit_code, 2);
    expect_in(textf("%s%s", r.out, r.err), "not supported");
    r = millpond_run("check", "-c", "/nonexistent/file.ini", NULL);
    assert_int_equal(r.exit_code, 2);
}

static void exit_codes_tell_refused_from_wrong(void **state)
{
    UNUSED(state);
    struct proc_result r = millpond_run("version", NULL);
    assert_int_equal(r.exit_code, 0);
    expect_in(r.out, MILLPOND_VERSION);
    assert_int_equal(millpond_run("frobnicate", NULL).exit_code, 2);
    assert_int_equal(millpond_run("status", "--frobnicate", NULL).exit_code, 2);
    assert_int_equal(millpond_run("purge", NULL).exit_code, 2);
    r = millpond_run("status", "-s", support_path("nobody.sock"), NULL);
    assert_int_equal(r.exit_code, 1);
    expect_in(r.err, "nobody.sock");
}

static void environment_reaches_the_file(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start_named("from env");
    const char *env[] = {textf("APP_PORT=%d", origin_port(o)), NULL};
    struct millpond *m =
        millpond_start(.env = env, .cache = NO_STORE,
                       .rest = "[pool app]\nhealth_check = ${HC:-off}\nserver = 127.0.0.1:${APP_PORT}\n");
    expect_body(client_get(m->port, "/", ""), "from env");
    millpond_stop(m);
}

/* With fewer descriptors than max_connections, clients leave some for instances: that is what the status
 * says, and what holds. */
static void few_descriptors_let_in_fewer_clients(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start_named("a");
    struct millpond *m = millpond_start(.cache = NO_STORE, .rest = pool_lines("app", 1, o));
    const struct rlimit few = {256, 256};
    assert_int_equal(millpond_figure(m, "connections_limit"), 10000);
    assert_int_equal(prlimit(m->proc->pid, RLIMIT_NOFILE, &few, NULL), 0);
    expect_reloaded(m);
    assert_int_equal(millpond_figure(m, "connections_limit"), 84);
    millpond_wait_log(m, "only 84 clients are let in at a time", 1);
    struct client *c[84];
    for (size_t i = 0; i < ARRAY_LEN(c); i++) {
        c[i] = client_open(m->port);
        client_send(c[i], "GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        expect_body(client_read(c[i]), "a");
    }
    expect_status(client_read(client_open(m->port)), 503);
    millpond_stop(m);
}

static void taken_address_is_a_clear_failure(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start_named("a");
    char *ini = support_path("b.ini");
    support_write_file(ini, millpond_ini(&(struct millpond_options){
                                .listen = textf("address = 127.0.0.1:%d", origin_port(o)),
                                .rest = pool_lines("app", 1, o)}));
    struct proc_result r = millpond_run("run", "-c", ini, NULL);
    assert_int_equal(r.exit_code, 1);
    expect_in(r.err, textf("127.0.0.1:%d", origin_port(o)));
    /* Another millpond has it: its port can be shared, but must not be, or each would get some of the
     * clients. */
    struct millpond *m = millpond_before(o, "");
    support_write_file(ini,
                       textf("[millpond]\nruntime_dir = %s\nstate_dir = %s\n[listen web]\naddress = "
                             "127.0.0.1:%d\n%s",
                             support_path("other"), support_path("other"), m->port, pool_lines("app", 1, o)));
    r = millpond_run("run", "-c", ini, NULL);
    assert_int_equal(r.exit_code, 1);
    expect_in(r.err, "another program has this port");
    millpond_stop(m);
    char *path = support_path("taken.sock");
    m = millpond_start(.listen = textf("address = unix:%s", path), .rest = pool_lines("app", 1, o));
    support_write_file(
        ini, textf("[millpond]\nruntime_dir = %s\nstate_dir = %s\n[listen web]\naddress = unix:%s\n%s",
                   support_path("other"), support_path("other"), path, pool_lines("app", 1, o)));
    r = millpond_run("run", "-c", ini, NULL);
    assert_int_equal(r.exit_code, 1);
    expect_in(r.err, "another program has this socket");
    struct client *c = client_open_unix(path);
    client_send(c, "GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    expect_body(client_read(c), "a");
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(old_requests_finish_and_new_ones_go_the_new_way),
        E2E_TEST(sighup_reloads_and_the_cache_stays),
        E2E_TEST(bad_file_changes_nothing),
        E2E_TEST(listeners_come_and_go),
        E2E_TEST(reloads_under_load_drop_nothing),
        E2E_TEST(health_state_survives),
        E2E_TEST(check_and_config_judge_files),
        E2E_TEST(exit_codes_tell_refused_from_wrong),
        E2E_TEST(environment_reaches_the_file),
        E2E_TEST(few_descriptors_let_in_fewer_clients),
        E2E_TEST(taken_address_is_a_clear_failure),
    };
    return E2E_RUN("reload", tests);
}
