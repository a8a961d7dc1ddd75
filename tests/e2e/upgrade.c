/* upgrade.c: another process of the program takes over, and no request fails by it (promise 6); what cannot
 * take over changes nothing (promise 4). See upgrade_late.c for what goes wrong late. */
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "tests/e2e/upgrade.h"
#include "tests/support/h2.h"
#include "tests/support/redis.h"
#include "tests/support/tls.h"

#include "cache/record.h"

static void copy_file(const char *from, const char *to)
{
    struct stat st;
    int in = open(from, O_RDONLY | O_CLOEXEC), out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
    if (in < 0 || out < 0 || fstat(in, &st) != 0)
        support_fail("copy %s: %s", from, strerror(errno));
    for (off_t at = 0; at < st.st_size;)
        if (sendfile(out, in, &at, (size_t)(st.st_size - at)) <= 0)
            support_fail("copy %s: %s", from, strerror(errno));
    close(in);
    close(out);
}

/* A file takes the place of the program's, as an installation does it. */
static void install(const char *program, const char *content)
{
    char *fresh = textf("%s.new", program);
    if (content != NULL)
        support_write_file(fresh, content);
    else
        copy_file(getenv("MILLPOND"), fresh);
    chmod(fresh, 0755);
    assert_int_equal(rename(fresh, program), 0);
}

static char *installed(void)
{
    char *program = support_path("program"), *version = support_path("version-1");
    install(version, NULL);
    assert_int_equal(symlink(version, program), 0); /* whoever follows it stays with this version */
    return program;
}

/* The process that the last upgrade has started, `times` in all. */
static pid_t started_pid(struct millpond *m, unsigned times)
{
    const char *log = millpond_wait_log(m, "is started as process ", times), *at = log;
    for (const char *next = log; (next = strstr(next, "is started as process ")) != NULL;)
        at = next += strlen("is started as process ");
    return (pid_t)atoi(at);
}

/* ---- no request fails ---- */

/* Requests by HTTP/2, one after the other, until the old process has ended; on a new connection once GOAWAY
 * was heard, which comes some time before it is meant. */
static void ask_by_h2_meanwhile(struct millpond *m, struct h2_client *c)
{
    unsigned goaways = 0;
    for (uint32_t id = 3; !proc_wait(m->proc, 0); id += 2) {
        if (c->goaways > 0 || id > 1000) {
            goaways += c->goaways;
            h2_close(c);
            c = h2_open(m->port);
            id = 1;
        }
        h2_get(c, id, "/p");
        struct h2_answer *a = h2_wait(c, id);
        EXPECT(a->ended && a->status == 200, "stream %u: status %d, reset %lld", id, a->status,
               (long long)a->reset);
    }
    goaways += c->goaways;
    h2_close(c);
    EXPECT(goaways > 0, "the old process has not said that it ends");
}

static void no_request_fails(void **state)
{
    UNUSED(state);
    static const int workers[] = {4, 1, 3, 2};
    const char *rest = pool_lines("app", 1, origin_start_named("a")), *listen = "protocols = h2c, http/1.1";
    struct millpond *m = adopting_orphans(millpond_start(.listen = listen, .cache = NO_STORE, .rest = rest));
    struct load *kept = load_start(m->port, 6, ASK), *once = load_start(m->port, 6, ASK_ONCE);
    for (size_t i = 0; i < ARRAY_LEN(workers); i++) {
        millpond_write_ini(m, .main = textf("workers = %d", workers[i]), .listen = listen, .cache = NO_STORE,
                           .rest = rest);
        load_wait(kept, 50);
        load_wait(once, 50);
        struct h2_client *c = h2_open(m->port);
        h2_get(c, 1, "/p");
        h2_expect(c, 1, 200, "a");
        struct proc *command = ask_for_upgrade(m);
        ask_by_h2_meanwhile(m, c);
        pid_t pid = upgrade_ended(command);
        assert_int_equal(proc_follow(m->proc, pid), 0);
        assert_int_equal(atoi(support_read_file(support_path("millpond.pid"))), pid);
        assert_int_equal(millpond_figure(m, "workers"), workers[i]);
        load_wait(kept, 50);
        load_wait(once, 50);
    }
    expect_all_well(kept, "kept connections");
    expect_all_well(once, "new connections");
    millpond_stop(m);
    expect_no_children();
}

static void nothing_leaks(void **state)
{
    UNUSED(state);
    char *socket = support_path("web.sock");
    struct millpond *m = adopting_orphans(
        millpond_start(.rest = textf("%s[listen local]\naddress = unix:%s\n",
                                     pool_lines("app", 1, origin_start_named("a")), socket)));
    unsigned fds = 0;
    for (int i = 0; i < 6; i++) {
        upgrade(m);
        struct client *c = client_open_unix(socket);
        client_send(c, ASK);
        expect_body(client_read(c), "a");
        client_close(c);
        millpond_wait_log(m, "has ended", (unsigned)i + 1);
        millpond_wait_idle(m);
        if (i == 1)
            fds = millpond_fds(m);
    }
    mono_ms_t until_ms = clock_mono_ms() + support_wait_ms(); /* one of the admin side may be about to end */
    while (millpond_fds(m) > fds && clock_mono_ms() < until_ms)
        poll(NULL, 0, 2);
    EXPECT(millpond_fds(m) <= fds, "%u descriptors, and %u four upgrades later", fds, millpond_fds(m));
    json_t *from = json_object_get(json_object_get(millpond_status(m), "upgrade"), "from");
    assert_true(json_integer_value(json_object_get(from, "at_ms")) > 0);
    assert_true(json_is_false(json_object_get(from, "old_serves")));
    expect_in(millpond_cli(m, "status", NULL).out, "ago, from process ");
    millpond_stop(m);
    assert_int_not_equal(access(socket, F_OK), 0);
    assert_int_not_equal(access(support_path("millpond.pid"), F_OK), 0);
    expect_no_children();
}

static void held_script(struct origin_conn *c, const struct message *request, void *arg)
{
    if (strcmp(request->target, "/held") == 0 || strcmp(request->method, "POST") == 0)
        gate_pass(arg);
    origin_respond(c, 200, "Cache-Control: max-age=600\r\n",
                   strcmp(request->target, "/") == 0 ? "a" : "done");
}

static void open_requests_end_in_the_old_process(void **state)
{
    UNUSED(state);
    struct gate *g = gate_new();
    struct millpond *m = adopting_orphans(millpond_before(origin_start(held_script, g), ""));
    struct client *busy = client_open(m->port), *idle = client_open(m->port), *fresh = client_open(m->port);
    client_send(idle, "GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    expect_body(client_read(idle), "a");
    client_send(busy, "GET /held HTTP/1.1\r\nHost: test\r\n\r\n");
    client_send(fresh, "GET /");
    gate_wait_arrived(g, 1);
    proc_signal(m->proc, SIGUSR2);
    millpond_wait_log(m, "handed over", 1);
    expect_body(client_get(m->port, "/", ""), "a");
    expect_refused(m, "still has open requests");
    mono_ms_t until_ms = clock_mono_ms() + support_wait_ms();
    struct message *r;
    do { /* once more, when its worker has heard, and then it knows */
        client_send(idle, "GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        r = client_read(idle);
        expect_body(r, "a");
    } while (message_field(r, "Connection") == NULL && clock_mono_ms() < until_ms);
    expect_field(r, "Connection", "close");
    client_send(fresh, " HTTP/1.1\r\nHost: test\r\n\r\n");
    expect_body(client_read(fresh), "a");
    assert_false(proc_wait(m->proc, 0));
    gate_open(g);
    expect_body(client_read(busy), "done");
    assert_int_equal(proc_follow(m->proc, started_pid(m, 1)), 0);
    millpond_wait_log(m, "the process before this one", 1);
    millpond_stop(m);
}

/* A connection to the new process, by which it was asked for this. The old one accepts until all of its
 * workers have heard, and does not say before that an answer is its last: so it counts who is counted. */
static struct client *client_of_new(struct millpond *m, const char *target)
{
    mono_ms_t until_ms = clock_mono_ms() + support_wait_ms();
    struct client *c;
    struct message *r;
    millpond_wait_log(m, "handed over", 1);
    do {
        c = client_open(m->port);
        client_send(c, "GET %s HTTP/1.1\r\nHost: test\r\n\r\n", target);
        r = client_read(c);
        expect_status(r, 200);
    } while (millpond_figure(m, "client_connections") == 0 && clock_mono_ms() < until_ms);
    return c;
}

static void expect_cache_status(struct client *c, const char *part)
{
    client_send(c, "GET /page HTTP/1.1\r\nHost: test\r\n\r\n");
    expect_field_in(client_read(c), "Cache-Status", part);
}

/* What the old process still does to the origin concerns what the new one has stored. */
static void what_the_old_process_purges_is_purged(void **state)
{
    UNUSED(state);
    struct gate *g = gate_new();
    struct millpond *m =
        adopting_orphans(millpond_start(.main = "shutdown_timeout = 60s",
                                        .rest = pool_lines("app", 1, origin_start(held_script, g))));
    struct client *writer = client_open(m->port);
    client_send(writer, "POST /page HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n");
    gate_wait_arrived(g, 1);
    pid_t pid = upgrade_ended(ask_for_upgrade(m));
    struct client *c = client_of_new(m, "/page");
    expect_cache_status(c, "hit");
    gate_open(g);
    expect_body(client_read(writer), "done");
    expect_cache_status(c, "fwd");
    expect_cache_status(c, "hit");
    assert_int_equal(proc_follow(m->proc, pid), 0);
    millpond_stop(m);
}

/* ---- what comes to nothing ---- */

static void a_bad_program_changes_nothing(void **state)
{
    UNUSED(state);
    char *program = installed();
    const char *rest = pool_lines("app", 1, origin_start_named("a"));
    struct millpond *m =
        adopting_orphans(millpond_start(.program = program, .cache = NO_STORE, .rest = rest));
    struct load *l = load_start(m->port, 4, ASK);
    install(program, "#!/bin/sh\nexit 1\n");
    expect_refused(m, "ended with status 1");
    install(program, "#!/bin/sh\nkill -9 $$\n");
    expect_refused(m, "killed by signal 9");
    install(program, "#!/bin/sh\nexec 3>&-; sleep 1000\n");
    expect_refused(m, "killed by signal 9");
    expect_in(json_dumps(json_object_get(millpond_status(m), "upgrade"), 0), "killed by signal 9");
    install(program, "no program at all");
    expect_refused(m, "Exec format error");
    unlink(program);
    expect_refused(m, "No such file");
    install(program, "#!/bin/sh\nsleep 1000\n");
    millpond_write_ini(m, .main = "upgrade_timeout = 200ms", .cache = NO_STORE, .rest = rest);
    assert_int_equal(millpond_cli(m, "reload", NULL).exit_code, 0);
    expect_refused(m, "not ready within");
    assert_int_equal(atoi(support_read_file(support_path("millpond.pid"))), m->proc->pid);
    install(program, NULL);
    millpond_write_ini(m, .cache = NO_STORE, .rest = rest);
    assert_int_equal(millpond_cli(m, "reload", NULL).exit_code, 0);
    upgrade(m); /* and now it can */
    expect_all_well(l, "during all that");
    millpond_stop(m);
    expect_no_children();
}

static void a_bad_configuration_changes_nothing(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start_named("a");
    struct millpond *m = adopting_orphans(millpond_start(.cache = NO_STORE, .rest = pool_lines("app", 1, o)));
    struct load *l = load_start(m->port, 4, ASK);
    char *good = support_read_file(m->ini);
    support_write_file(m->ini, textf("%sconect_timeout = 3s\n[cache]\nmemory_size = 5\n", good));
    expect_refused(m, "conect_timeout");
    expect_refused(m, "memory_size");
    support_write_file(m->ini, textf("%s[listen more]\naddress = 127.0.0.1:%d\n", good, origin_port(o)));
    expect_refused(m, "another program has this port");
    support_write_file(m->ini, good);
    upgrade(m);
    expect_all_well(l, "during all that");
    millpond_stop(m);
}

static void one_thing_at_a_time(void **state)
{
    UNUSED(state);
    char *program = installed();
    struct millpond *m =
        adopting_orphans(millpond_start(.program = program, .cache = NO_STORE,
                                        .rest = pool_lines("app", 1, origin_start_named("a"))));
    install(program, "#!/bin/sh\nexec sleep 1000\n");
    struct proc *first = ask_for_upgrade(m);
    pid_t pid = started_pid(m, 1);
    expect_refused(m, "an upgrade is under way");
    struct proc_result r = millpond_cli(m, "reload", NULL);
    assert_int_equal(r.exit_code, 1);
    expect_in(r.err, "an upgrade is under way");
    r = millpond_cli(m, "add", "app", "127.0.0.1:1", NULL);
    assert_int_equal(r.exit_code, 1);
    expect_in(r.err, "an upgrade is under way");
    kill(pid, SIGKILL);
    assert_int_equal(proc_exit_code(first), 1);
    expect_in(capture_all(&first->out), "killed by signal 9");
    assert_int_equal(millpond_cli(m, "reload", NULL).exit_code, 0);
    /* Told to end in the middle of one: both do. */
    first = ask_for_upgrade(m);
    pid = started_pid(m, 2);
    client_close_all();
    proc_signal(m->proc, SIGTERM);
    millpond_expect_clean_end(m);
    assert_int_equal(proc_exit_code(first), 1);
    expect_no_children();
}

static void the_death_of_the_old_process_harms_its_requests_only(void **state)
{
    UNUSED(state);
    struct gate *g = gate_new();
    struct millpond *m = adopting_orphans(millpond_before(origin_start(held_script, g), ""));
    struct client *busy = client_open(m->port);
    client_send(busy, "GET /held HTTP/1.1\r\nHost: test\r\n\r\n");
    gate_wait_arrived(g, 1);
    pid_t pid = upgrade_ended(ask_for_upgrade(m));
    millpond_wait_log(m, "handed over", 1);
    proc_kill(m->proc);
    struct load *l = load_start(m->port, 4, "GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_int_equal(proc_follow(m->proc, pid), 128 + SIGKILL);
    assert_int_not_equal(client_read(busy)->end, MESSAGE_COMPLETE);
    millpond_wait_log(m, "the process before this one", 1);
    load_wait(l, 20);
    expect_all_well(l, "meanwhile");
    gate_open(g);
    millpond_stop(m);
}

/* ---- what is handed over ---- */

static void listeners_come_and_go(void **state)
{
    UNUSED(state);
    const char *pool = pool_lines("app", 1, origin_start_named("a"));
    char *gone = support_path("gone.sock"), *fresh = support_path("fresh.sock");
    struct millpond *m = adopting_orphans(
        millpond_start(.cache = NO_STORE,
                       .rest = textf(
                           "%s[listen extra]\naddress = 127.0.0.1:0\n[listen local]\naddress = unix:%s\n",
                           pool, gone)));
    int extra = millpond_port(m, "extra");
    expect_body(client_get(extra, "/", ""), "a");
    millpond_write_ini(m, .cache = NO_STORE,
                       .rest = textf("%s[listen local]\naddress = unix:%s\n", pool, fresh));
    upgrade(m);
    expect_body(client_get(m->port, "/", ""), "a");
    EXPECT(wire_connect(extra, 0) < 0, "a socket that nobody serves is still there");
    assert_int_not_equal(access(gone, F_OK), 0);
    struct client *c = client_open_unix(fresh);
    client_send(c, ASK);
    expect_body(client_read(c), "a");
    millpond_stop(m);
    assert_int_not_equal(access(fresh, F_OK), 0);
}

static void what_was_ordered_stays(void **state)
{
    UNUSED(state);
    struct origin *a = origin_start_named("a"), *b = origin_start_named("b"), *x = origin_start_named("x");
    struct millpond *m =
        adopting_orphans(millpond_start(.cache = NO_STORE, .rest = pool_lines("app", 2, a, b)));
    char *server = textf("app/127.0.0.1:%d", origin_port(a));
    assert_int_equal(millpond_cli(m, "drain", server, NULL).exit_code, 0);
    assert_int_equal(millpond_cli(m, "add", "app", textf("127.0.0.1:%d", origin_port(x)), NULL).exit_code, 0);
    assert_int_equal(
        millpond_cli(m, "weight", textf("app/127.0.0.1:%d", origin_port(b)), "0", NULL).exit_code, 0);
    for (int i = 0; i < 2; i++) {
        upgrade(m);
        for (int k = 0; k < 6; k++)
            expect_body(client_get(m->port, "/", ""), "x");
    }
    assert_int_equal(millpond_cli(m, "ready", server, NULL).exit_code, 0);
    millpond_stop(m);
}

static void tls_sessions_go_on(void **state)
{
    UNUSED(state);
    struct tls_cert *cert = tls_cert_make("cert");
    struct millpond *m = adopting_orphans(
        millpond_start(.rest = textf("%s[listen secure]\naddress = 127.0.0.1:0\n%s",
                                     pool_lines("app", 1, origin_start_named("a")), tls_cert_lines(cert))));
    const int port = millpond_port(m, "secure");
    struct tls_client *c = tls_client_open(port, .name = "test");
    expect_in(tls_client_get(c, "/", ""), "a");
    assert_non_null(c->session);
    upgrade(m);
    struct tls_client *again = tls_client_open(port, .name = "test", .session = c->session);
    EXPECT(again->ok, "%s", again->error);
    expect_in(tls_client_get(again, "/", ""), "a");
    assert_int_equal(SSL_session_reused(again->ssl), 1);
    tls_client_close(c);
    tls_client_close(again);
    millpond_stop(m);
}

/* By both workers, with two connections each. */
static void wait_until_redis_is_used(struct millpond *m)
{
    mono_ms_t until_ms = clock_mono_ms() + support_wait_ms();
    for (;;) {
        json_t *status = millpond_status(m), *redis = json_object_get(status, "redis");
        const json_t *server = json_array_get(json_object_get(redis, "servers"), 0);
        if (json_integer_value(json_object_get(server, "connections")) == 4 &&
            json_is_true(json_object_get(json_object_get(status, "purges"), "follows")))
            return;
        EXPECT(clock_mono_ms() < until_ms, "Redis is not used: %s", json_dumps(redis, 0));
    }
}

/* And purges reach the new process, and from it Redis, as they did the old one. */
static void what_lies_in_redis_stays(void **state)
{
    UNUSED(state);
    char buf[64 + CACHE_RECORD_NAME_BYTES];
    struct redis_process *p = redis_start("redis", NULL);
    struct origin *o =
        origin_start_fixed("HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: 1\r\n\r\na");
    struct millpond *m =
        adopting_orphans(millpond_start(.cache = "store = tiered",
                                        .rest = textf("%s[redis]\nurl = redis://%s\ntimeout = 30s\n",
                                                      pool_lines("app", 1, o), p->address)));
    const slice_t name =
        cache_record_name(buf, SLICE_LIT("millpond:"), SLICE_LIT("http://test/p"), CACHE_RECORD_HEAD);
    for (int i = 1; i < 3; i++) {
        wait_until_redis_is_used(m);
        expect_body(client_get(m->port, "/p", ""), "a");
        redis_until(p, "1", "EXISTS %s", textf(SLICE_FMT, SLICE_ARG(name)));
        upgrade(m);
        wait_until_redis_is_used(m);
        expect_body(client_get(m->port, "/p", ""), "a");
        assert_int_equal(origin_requests(o), i);
        struct proc_result r = millpond_cli(m, "purge", "--wait", "http://test/p", NULL);
        EXPECT(r.exit_code == 0, "%s%s", r.out, r.err);
    }
    millpond_stop(m);
}

static int notify_socket(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) != 0)
        support_fail("bind %s: %s", path, strerror(errno));
    struct timeval limit = {.tv_sec = support_wait_ms() / 1000};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    return fd;
}

static void expect_notified(int fd, const char *text)
{
    char got[256] = "";
    ssize_t n = recv(fd, got, sizeof(got) - 1, 0);
    EXPECT(n > 0, "systemd was not told %s", text);
    got[n] = '\0';
    assert_string_equal(got, text);
}

/* The old process, which systemd listens to, names the new one before that says anything. */
static void systemd_knows_which_process_it_is(void **state)
{
    UNUSED(state);
    char *path = support_path("notify");
    int fd = notify_socket(path);
    const char *env[] = {textf("NOTIFY_SOCKET=%s", path), NULL};
    struct millpond *m =
        adopting_orphans(millpond_start(.env = env, .rest = pool_lines("app", 1, origin_start_named("a"))));
    expect_notified(fd, "READY=1");
    upgrade(m);
    expect_notified(fd, textf("MAINPID=%d", (int)m->proc->pid));
    expect_notified(fd, "READY=1");
    millpond_stop(m);
    expect_notified(fd, "STOPPING=1");
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(no_request_fails),
        E2E_TEST(nothing_leaks),
        E2E_TEST(open_requests_end_in_the_old_process),
        E2E_TEST(what_the_old_process_purges_is_purged),
        E2E_TEST(a_bad_program_changes_nothing),
        E2E_TEST(a_bad_configuration_changes_nothing),
        E2E_TEST(one_thing_at_a_time),
        E2E_TEST(the_death_of_the_old_process_harms_its_requests_only),
        E2E_TEST(listeners_come_and_go),
        E2E_TEST(what_was_ordered_stays),
        E2E_TEST(tls_sessions_go_on),
        E2E_TEST(what_lies_in_redis_stays),
        E2E_TEST(systemd_knows_which_process_it_is),
    };
    return E2E_RUN("upgrade", tests);
}
