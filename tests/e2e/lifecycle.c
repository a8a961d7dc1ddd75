/* lifecycle.c: starting, stopping, and staying alive when descriptors, disks, log readers or clients give
 * out. Clients that leave at every phase must leave nothing behind; the counters of live objects say so, and
 * LeakSanitizer does. */
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "tests/support/load.h"
#include "tests/support/millpond.h"

#define LONG     "Cache-Control: max-age=600\r\n"
#define NO_STORE "store = off"
#define ASK      "GET /p HTTP/1.1\r\nHost: test\r\n\r\n"

static void held_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(request);
    gate_pass(arg);
    origin_respond(c, 200, "Cache-Control: no-store\r\n", "done");
}

/* ---- stopping ---- */

static void sigterm_lets_open_requests_finish(void **state)
{
    UNUSED(state);
    struct gate *g = gate_new();
    struct origin *o = origin_start(held_script, g);
    struct millpond *m = millpond_before(o, "");
    struct client *busy = client_open(m->port), *idle = client_open(m->port), *half = client_open(m->port);
    gate_let(g, 1);
    client_send(idle, ASK);
    expect_body(client_read(idle), "done");
    client_send(busy, ASK);
    client_send(half, "GET / HT");
    gate_wait_arrived(g, 2);
    proc_signal(m->proc, SIGTERM);
    client_expect_closed(idle); /* at once */
    /* Each worker stops listening by itself: the last one a moment after the first closed its idle clients.
     */
    long long until_ms = clock_mono_ms() + support_wait_ms();
    int fd;
    while ((fd = wire_connect(m->port, 0)) >= 0 && clock_mono_ms() < until_ms)
        close(fd);
    EXPECT(fd < 0, "still accepts while it stops");
    assert_false(proc_wait(m->proc, 0));
    gate_open(g);
    struct message *r = client_read(busy);
    expect_status(r, 200);
    expect_body(r, "done");
    expect_field(r, "Connection", "close");
    client_expect_closed(busy);
    client_close(half);
    millpond_expect_clean_end(m);
    origin_stop(o);
}

static void shutdown_timeout_ends_what_does_not_finish(void **state)
{
    UNUSED(state);
    struct gate *g = gate_new();
    struct origin *o = origin_start(held_script, g);
    struct millpond *m = millpond_start(.main = "shutdown_timeout = 200ms", .rest = pool_lines("app", 1, o));
    struct client *c = client_open(m->port);
    client_send(c, ASK);
    gate_wait_arrived(g, 1);
    proc_signal(m->proc, SIGTERM);
    assert_int_not_equal(client_read(c)->end, MESSAGE_COMPLETE);
    millpond_expect_clean_end(m);
    gate_open(g);
    origin_stop(o);
}

static void stop_command_and_interrupt_end_it_too(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start_named("a");
    struct millpond *m = millpond_before(o, "");
    assert_int_equal(millpond_cli(m, "stop", NULL).exit_code, 0);
    millpond_expect_clean_end(m);
    m = millpond_before(o, "");
    proc_signal(m->proc, SIGINT);
    millpond_wait_log(m, "asked to stop by SIGINT", 1);
    millpond_expect_clean_end(m);
}

/* From the first signal to the end of the process there is no moment in which another does harm. */
static void more_signals_do_not_spoil_the_end(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start_named("a");
    for (int i = 0; i < 5; i++) {
        struct millpond *m = millpond_before(o, "");
        proc_signal(m->proc, SIGTERM);
        while (!proc_wait(m->proc, 0)) {
            proc_signal(m->proc, SIGHUP);
            proc_signal(m->proc, SIGUSR1);
        }
        millpond_expect_clean_end(m);
    }
}

static void pid_file_is_there_while_it_runs(void **state)
{
    UNUSED(state);
    struct millpond *m = millpond_before(origin_start_named("a"), "");
    char *path = support_path("millpond.pid");
    assert_int_equal(atoi(support_read_file(path)), m->proc->pid);
    /* A second one with the same runtime directory must not take over. */
    struct proc_result r = millpond_run("run", "-c", m->ini, NULL);
    assert_int_equal(r.exit_code, 1);
    assert_int_equal(atoi(support_read_file(path)), m->proc->pid);
    expect_body(client_get(m->port, "/", ""), "a");
    assert_int_equal(millpond_cli(m, "status", NULL).exit_code, 0);
    millpond_stop(m);
    assert_int_not_equal(access(path, F_OK), 0);
    /* One left by a crash does not keep it from starting. */
    m = millpond_before(origin_start_named("b"), "");
    proc_kill(m->proc);
    m = millpond_before(origin_start_named("c"), "");
    expect_body(client_get(m->port, "/", ""), "c");
    millpond_stop(m);
}

/* Whoever cleans up a folder takes the way in for the commands away; a reload makes it anew. What cannot be
 * made anew keeps no configuration out. */
static void what_was_cleaned_away_comes_back(void **state)
{
    UNUSED(state);
    struct millpond *m = millpond_before(origin_start_named("a"), "");
    char *path = support_path("millpond.pid");
    unlink(path);
    unlink(m->socket);
    assert_int_equal(millpond_cli(m, "status", NULL).exit_code, 1);
    proc_signal(m->proc, SIGHUP);
    millpond_wait_log(m, "admin.sock was gone; it is there again", 1);
    millpond_wait_log(m, "configuration reloaded", 1);
    assert_int_equal(millpond_cli(m, "status", NULL).exit_code, 0);
    assert_int_equal(atoi(support_read_file(path)), m->proc->pid);
    unlink(m->socket);
    support_write_file(m->socket, "somebody's notes");
    proc_signal(m->proc, SIGHUP);
    millpond_wait_log(m, "there is a file of another kind", 1);
    millpond_wait_log(m, "configuration reloaded", 2);
    assert_string_equal(support_read_file(m->socket), "somebody's notes");
    unlink(m->socket);
    proc_signal(m->proc, SIGHUP);
    millpond_wait_log(m, "configuration reloaded", 3);
    assert_int_equal(millpond_cli(m, "status", NULL).exit_code, 0);
    expect_body(client_get(m->port, "/", ""), "a");
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

/* Receives until a datagram holds `text`. */
static void expect_notified(int fd, const char *text)
{
    char got[1024] = "";
    do {
        ssize_t n = recv(fd, got, sizeof(got) - 1, 0);
        EXPECT(n > 0, "systemd was not told %s", text);
        got[n] = '\0';
    } while (strstr(got, text) == NULL);
}

static void systemd_is_told(void **state)
{
    UNUSED(state);
    char *path = support_path("notify");
    int fd = notify_socket(path);
    const char *env[] = {textf("NOTIFY_SOCKET=%s", path), NULL};
    struct millpond *m = millpond_start(.env = env, .rest = pool_lines("app", 1, origin_start_named("a")));
    expect_notified(fd, "READY=1");
    millpond_stop(m);
    expect_notified(fd, "STOPPING=1");
    close(fd);
}

/* ---- running out of things ---- */

/* A request needs two: who has one waits for no other. */
static void few_descriptors_let_in_few_clients(void **state)
{
    UNUSED(state);
    struct millpond *m = millpond_start(.max_fds = 80, .main = "workers = 1\n", .cache = NO_STORE,
                                        .rest = pool_lines("app", 1, origin_start_named("a")));
    millpond_wait_log(m, "only 26 clients are let in at a time", 1);
    struct client *herd[30];
    unsigned served = 0;
    for (size_t i = 0; i < ARRAY_LEN(herd); i++) {
        herd[i] = client_open(m->port);
        client_send(herd[i], ASK);
        struct message *answer = client_read(herd[i]);
        served += answer->status == 200;
        assert_true(answer->status == 200 || answer->status == 503);
    }
    assert_int_equal(served, 26);
    for (size_t i = 0; i < ARRAY_LEN(herd); i++)
        client_close(herd[i]);
    millpond_stop(m);
}

static void no_descriptors_pauses_accepting(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start_named("a");
    struct millpond *m =
        millpond_start(.main = "workers = 1\nmax_connections = 1000", .listen = "header_timeout = 2s",
                       .cache = NO_STORE, .rest = pool_lines("app", 1, o));
    const struct rlimit few = {80, 80}; /* fewer than it was told at its start */
    struct client *first =
        client_open(m->port); /* has its connection, and one to the origin, before they run out */
    client_send(first, ASK);
    expect_body(client_read(first), "a");
    assert_int_equal(prlimit(m->proc->pid, RLIMIT_NOFILE, &few, NULL), 0);
    struct client *herd[120];
    for (size_t i = 0; i < ARRAY_LEN(herd); i++)
        herd[i] = client_open(m->port);
    uint64_t cpu_before = millpond_cpu_ms(m);
    for (int i = 0; i < 20; i++) {
        client_send(first, ASK);
        expect_body(client_read(first), "a"); /* those who are in are served */
    }
    client_expect_closed(herd[0]); /* header_timeout: 2 s in which it must not have spun */
    uint64_t cpu = millpond_cpu_ms(m) - cpu_before;
    EXPECT(support_sanitized() || cpu < 500, "%llu ms of CPU while accepting was paused",
           (unsigned long long)cpu);
    for (size_t i = 0; i < ARRAY_LEN(herd); i++)
        client_close(herd[i]);
    client_close(first);
    expect_body(client_get(m->port, "/", ""), "a");
    assert_true(millpond_figure(m, "accept_pauses") >= 1);
    millpond_wait_idle(m);
    millpond_stop(m);
}

static void connection_limit_answers_503(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start_named("a");
    struct millpond *m = millpond_start(.main = "max_connections = 5", .rest = pool_lines("app", 1, o));
    struct client *in[5];
    for (size_t i = 0; i < ARRAY_LEN(in); i++) {
        in[i] = client_open(m->port);
        client_send(in[i], ASK);
        expect_body(client_read(in[i]), "a");
    }
    struct client *over = client_open(m->port);
    client_send(over, ASK);
    expect_status(client_read(over), 503);
    client_expect_closed(over);
    client_close(in[0]);
    millpond_wait_figure(m, "client_connections", 4);
    expect_body(client_get(m->port, "/", ""), "a");
    assert_true(millpond_figure(m, "client_connections_refused") >= 1);
    millpond_stop(m);
}

static void connections_per_address_are_limited(void **state)
{
    UNUSED(state);
    struct millpond *m =
        millpond_start(.listen = "max_connections_per_ip = 2\nmax_requests_per_connection = 3",
                       .rest = pool_lines("app", 1, origin_start_named("a")));
    struct client *a = client_open(m->port), *b = client_open(m->port);
    for (int i = 0; i < 3; i++) {
        client_send(a, ASK);
        expect_body(client_read(a), "a");
    }
    client_expect_closed(a); /* max_requests_per_connection */
    millpond_wait_figure(m, "client_connections", 1);
    a = client_open(m->port);
    client_send(a, ASK);
    client_send(b, ASK);
    expect_body(client_read(a), "a");
    expect_body(client_read(b), "a");
    struct client *c = client_open(m->port);
    client_send(c, ASK);
    struct message *r = client_read(c);
    EXPECT(r->end != MESSAGE_COMPLETE || r->status == 503 || r->status == 429, "a third connection got %d",
           r->status);
    millpond_stop(m);
}

/* ---- logs ---- */

static void rotated_logs_are_opened_anew(void **state)
{
    UNUSED(state);
    char *access_path = support_path("access.log"), *moved = support_path("access.log.1");
    struct millpond *m = millpond_start(.log = textf("access = %s", access_path), .cache = NO_STORE,
                                        .rest = pool_lines("app", 1, origin_start_named("a")));
    client_get(m->port, "/one", "");
    file_wait(access_path, "/one", 1);
    assert_int_equal(rename(access_path, moved), 0);
    client_get(m->port, "/two", "");
    file_wait(moved, "/two", 1); /* until it is told, it writes where it wrote */
    proc_signal(m->proc, SIGUSR1);
    mono_ms_t deadline = clock_mono_ms() + support_wait_ms();
    for (int i = 0; access(access_path, F_OK) != 0 && clock_mono_ms() < deadline; i++)
        client_get(m->port, textf("/between/%d", i), "");
    client_get(m->port, "/three", "");
    expect_not_in(file_wait(access_path, "/three", 1), "/two");
    millpond_stop(m);
}

static void full_disk_slows_nobody(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start_named("a");
    struct millpond *m =
        millpond_start(.log = "access = /dev/full", .cache = NO_STORE, .rest = pool_lines("app", 1, o));
    struct load *l = load_start(m->port, 4, ASK);
    load_wait(l, 2000);
    /* And the error log too, by a reload. */
    millpond_write_ini(m, .log = "access = /dev/full\nfile = /dev/full\nlevel = debug", .cache = NO_STORE,
                       .rest = pool_lines("app", 1, o));
    assert_int_equal(millpond_cli(m, "reload", NULL).exit_code, 0);
    load_wait(l, 2000);
    struct load_result r = load_stop(l);
    EXPECT(r.by_class[2] == r.answered && r.broken + r.refused == 0, "%s", r.first_problem);
    millpond_stop(m);
}

static void stuck_log_readers_slow_nobody(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start_named("a");
    struct millpond *m = millpond_start(.stderr_unread = true, .log = "level = debug\nslow_request = 1ms",
                                        .cache = NO_STORE, .rest = pool_lines("app", 1, o));
    capture_pause(&m->proc->out, true);
    struct load *l =
        load_start(m->port, 4, textf("GET /%s HTTP/1.1\r\nHost: test\r\n\r\n", text_repeat('l', 2000)));
    do
        load_wait(l, 200);
    while (millpond_figure(m, "log_lines_dropped") == 0); /* nobody reads, and there is no room for more */
    load_wait(l, 1000);
    struct load_result r = load_stop(l);
    EXPECT(r.by_class[2] == r.answered && r.broken + r.refused == 0, "%s", r.first_problem);
    capture_pause(&m->proc->out, false);
    capture_pause(&m->proc->err, false);
    /* The rings are full of what nobody read; lines are written again as soon as there is room for one. */
    mono_ms_t until_ms = clock_mono_ms() + support_wait_ms();
    do
        client_get(m->port, "/after-the-jam", "");
    while (strstr(capture_text(&m->proc->out), "/after-the-jam") == NULL && clock_mono_ms() < until_ms);
    millpond_wait_access(m, "/after-the-jam", 1);
    millpond_stop(m);
}

/* ---- clients that leave ---- */

/* What a client has done when it leaves. */
static const char *const phases[] = {
    "",                                                                      /* connected */
    "GET /p HT",                                                             /* in the request line */
    "GET /p HTTP/1.1\r\nHost: te",                                           /* in the head */
    "POST /slow HTTP/1.1\r\nHost: test\r\nContent-Length: 1000\r\n\r\n",     /* before the body */
    "POST /slow HTTP/1.1\r\nHost: test\r\nContent-Length: 1000\r\n\r\nhalf", /* in the body */
    "POST /slow HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe", /* in a chunk */
    "POST /slow HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n",
    "GET /wait HTTP/1.1\r\nHost: test\r\n\r\n", /* waiting for a head */
    "GET /half HTTP/1.1\r\nHost: test\r\n\r\n", /* waiting for the rest */
    "GET /half HTTP/1.1\r\nHost: test\r\n\r\nGET /half HTTP/1.1\r\nHost: test\r\n\r\n", /* pipelined */
    "GET /big HTTP/1.1\r\nHost: test\r\n\r\n",  /* with a full socket */
    "GET /pass HTTP/1.1\r\nHost: test\r\n\r\n", /* not from the cache */
    "GET /p HTTP/1.1\r\nHost: test\r\n\r\n",    /* after a hit */
};

static void phases_script(struct origin_conn *c, const struct message *request, void *arg)
{
    struct gate *g = arg;
    if (strcmp(request->target, "/wait") == 0)
        gate_pass(g);
    if (strcmp(request->target, "/big") == 0) {
        static char zeros[4 * 1024 * 1024];
        origin_send(c, "HTTP/1.1 200 OK\r\n" LONG "Content-Length: %zu\r\n\r\n", sizeof(zeros));
        if (!origin_send_bytes(c, zeros, sizeof(zeros)))
            c->done = true;
        return;
    }
    if (strcmp(request->target, "/p") == 0) {
        origin_respond(c, 200, LONG, "p");
        return;
    }
    bool pass = strcmp(request->target, "/pass") == 0;
    origin_send(c, "HTTP/1.1 200 OK\r\n%sContent-Length: 8\r\n\r\nhalf",
                pass ? "Cache-Control: no-store\r\n" : LONG);
    gate_pass(g);
    if (!origin_send(c, "rest"))
        c->done = true;
}

static void clients_may_leave_at_any_phase(void **state)
{
    UNUSED(state);
    struct gate *g = gate_new();
    struct origin *o = origin_start(phases_script, g);
    struct millpond *m = millpond_before(o, "");
    client_get(m->port, "/p", "");
    for (int round = 0; round < 3; round++) {
        struct client *clients[3 * ARRAY_LEN(phases)];
        for (size_t i = 0; i < ARRAY_LEN(clients); i++) {
            clients[i] = client_open_rcvbuf(m->port, 4096);
            client_send(clients[i], "%s", phases[i % ARRAY_LEN(phases)]);
        }
        /* Everything that can come has come: /half and /pass their first half, /big as much as fits. */
        for (size_t i = 0; i < ARRAY_LEN(clients); i++) {
            const char *did = phases[i % ARRAY_LEN(phases)];
            if (strncmp(did, "GET /half", 9) == 0 || strncmp(did, "GET /pass", 9) == 0 ||
                strncmp(did, "GET /big", 8) == 0)
                assert_int_equal(client_read_head(clients[i])->status, 200);
        }
        for (size_t i = 0; i < ARRAY_LEN(clients); i++) {
            if (round == 0 || (round == 2 && i % 2 == 0))
                client_close(clients[i]);
            else
                client_reset(clients[i]);
        }
        millpond_wait_figure(m, "client_connections", 0);
        millpond_wait_figure(m, "requests_in_flight", 0);
        gate_open(g);
        millpond_wait_idle(m);
        millpond_wait_figure(m, "flights_now", 0);
        millpond_wait_figure(m, "followers_now", 0);
        gate_shut(g);
        millpond_purge(m, url_of("/half"));
        millpond_purge(m, url_of("/wait"));
        millpond_purge(m, url_of("/big"));
    }
    expect_body(client_get(m->port, "/p", ""), "p");
    struct proc_result r = millpond_cli(m, "purge", "--all", NULL);
    assert_int_equal(r.exit_code, 0);
    millpond_wait_figure(m, "live_objects", 0);
    millpond_stop(m);
    gate_open(g);
    origin_stop(o);
}

static void descriptors_come_back(void **state)
{
    UNUSED(state);
    struct millpond *m = millpond_before(origin_start_named("a"), "max_idle = 0\n");
    expect_body(client_get(m->port, "/", ""), "a");
    millpond_wait_idle(m);
    unsigned before = millpond_fds(m);
    for (int i = 0; i < 200; i++)
        expect_body(client_get(m->port, "/", ""), "a");
    millpond_wait_idle(m);
    millpond_wait_figure(m, "upstream_connections", 0);
    assert_in_range(millpond_fds(m), before - 2, before + 2);
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(sigterm_lets_open_requests_finish),
        E2E_TEST(shutdown_timeout_ends_what_does_not_finish),
        E2E_TEST(stop_command_and_interrupt_end_it_too),
        E2E_TEST(more_signals_do_not_spoil_the_end),
        E2E_TEST(pid_file_is_there_while_it_runs),
        E2E_TEST(what_was_cleaned_away_comes_back),
        E2E_TEST(systemd_is_told),
        E2E_TEST(few_descriptors_let_in_few_clients),
        E2E_TEST(no_descriptors_pauses_accepting),
        E2E_TEST(connection_limit_answers_503),
        E2E_TEST(connections_per_address_are_limited),
        E2E_TEST(rotated_logs_are_opened_anew),
        E2E_TEST(full_disk_slows_nobody),
        E2E_TEST(stuck_log_readers_slow_nobody),
        E2E_TEST(clients_may_leave_at_any_phase),
        E2E_TEST(descriptors_come_back),
    };
    return E2E_RUN("lifecycle", tests);
}
