/* options.c: options of the file that only a running program can show: what a probe takes for healthy, what
 * is tried again, which files are read besides, how long a slow client is borne, and as whom the program
 * runs. */
#include <pwd.h>
#include <sys/stat.h>

#include "tests/support/millpond.h"

static void health_status_says_what_is_healthy(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start_fixed("HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nhey");
    struct origin *ok = origin_start_fixed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    const char *probes = "health_interval = 20ms\nhealth_timeout = 10s\nhealth_fall = 1\nhealth_rise = 1\n";
    struct millpond *m =
        millpond_start(.rest = textf(
                           "[pool odd]\n%shealth_status = 204, 400-404\nserver = 127.0.0.1:%d name=a\n"
                           "server = 127.0.0.1:%d name=b\n"
                           "[pool usual]\n%sserver = 127.0.0.1:%d name=a\nserver = 127.0.0.1:%d name=b\n"
                           "[route u]\npath = /usual\npool = usual\n[route rest]\npool = odd\n",
                           probes, origin_port(o), origin_port(ok), probes, origin_port(o), origin_port(ok)));
    millpond_wait_log(m, "odd/a: starting -> up", 1);
    millpond_wait_log(m, "odd/b: starting -> down", 1);
    millpond_wait_log(m, "usual/a: starting -> down", 1);
    millpond_wait_log(m, "usual/b: starting -> up", 1);
    for (int i = 0; i < 4; i++) {
        expect_body(client_get(m->port, "/odd", ""), "hey");
        expect_body(client_get(m->port, "/usual", ""), "ok");
    }
    millpond_stop(m);
}

static void retry_on_off_tries_once(void **state)
{
    UNUSED(state);
    struct origin *busy = origin_start_fixed("HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy");
    int refusing = origin_refusing_port();
    struct millpond *m =
        millpond_start(.cache = "store = off",
                       .rest = textf(
                           "[pool off]\nhealth_check = off\nretry_on = off\nserver = 127.0.0.1:%d\n"
                           "[pool dead]\nhealth_check = off\nretry_on = off\nserver = 127.0.0.1:%d\n"
                           "[pool on]\nhealth_check = off\nretry_budget = 100%%\nserver = 127.0.0.1:%d\n"
                           "[route off]\npath = /off\npool = off\n[route dead]\npath = /dead\npool = dead\n"
                           "[route on]\npath = /on\npool = on\n",
                           origin_port(busy), refusing, origin_port(busy)));
    struct message *r = client_get(m->port, "/off", "");
    expect_status(r, 503);
    expect_body(r, "busy"); /* the instance's own words */
    assert_int_equal(origin_requests_for(busy, "/off"), 1);
    expect_status(client_get(m->port, "/dead", ""), 502);
    json_t *line = millpond_access_line(m, "\"/dead\"");
    assert_int_equal(json_integer_value(json_find(line, "retries")), 0);
    expect_status(client_get(m->port, "/on", ""), 503);
    EXPECT(origin_requests_for(busy, "/on") > 1, "the other pool tries again");
    millpond_stop(m);
}

static void included_files_are_read_in_the_order_of_their_names(void **state)
{
    UNUSED(state);
    assert_int_equal(mkdir(support_path("conf.d"), 0755), 0);
    support_write_file(support_path("conf.d/20-second.ini"),
                       "[route second]\npath = /p\nrespond = 200 second\n");
    support_write_file(support_path("conf.d/10-first.ini"),
                       "[route first]\npath = /p\nrespond = 200 first\n");
    support_write_file(support_path("conf.d/not-read.txt"), "[rubbish\n");
    struct millpond *m = millpond_start(.main = "include = conf.d/*.ini",
                                        .rest = "[route last]\npath = /q\nrespond = 200 main\n");
    expect_body(client_get(m->port, "/p", ""), "first");
    expect_body(client_get(m->port, "/q", ""), "main");
    support_write_file(support_path("conf.d/10-first.ini"), "[route first]\npath = /p\nrespnd = 200 first\n");
    struct proc_result r = millpond_cli(m, "reload", NULL);
    assert_int_equal(r.exit_code, 1);
    expect_in(textf("%s%s", r.out, r.err), "10-first.ini:3:");
    unlink(support_path("conf.d/10-first.ini"));
    assert_int_equal(millpond_cli(m, "reload", NULL).exit_code, 0);
    expect_body(client_get(m->port, "/p", ""), "second");
    millpond_stop(m);
}

/* ---- slow clients ---- */

static void big_script(struct origin_conn *c, const struct message *request, void *arg)
{
    static char piece[64 * 1024];
    UNUSED(request);
    UNUSED(arg);
    origin_send(c, "HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n");
    while (origin_send_bytes(c, piece, sizeof(piece)))
        ;
    origin_close(c);
}

static const char *close_reason_of(struct millpond *m, const char *target)
{
    return json_string_value(json_find(millpond_access_line_(m, textf("\"%s\"", target)), "close"));
}

static void client_that_reads_nothing_is_cut_off(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start(big_script, NULL);
    struct millpond *m = millpond_start(.listen = "write_timeout = 300ms", .cache = "store = off",
                                        .rest = pool_lines("app", 1, o));
    struct client *c = client_open_rcvbuf(m->port, 4096);
    client_send(c, "GET /big HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_string_equal(close_reason_of(m, "/big"), "write_timeout"); /* written when it is over */
    origin_wait_open(o, 0);
    EXPECT(wire_discard(&c->wire, SIZE_MAX) < 1073741824, "it got all of it");
    client_close(c);
    millpond_wait_idle(m);
    millpond_stop(m);
}

/* Longer than the test's own patience with one event. */
static void patient_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(request);
    UNUSED(arg);
    for (int i = 0; i < 3 && !origin_wait_peer_close(c); i++)
        ;
    origin_close(c);
}

/* min_rate is an average over 10 s, so this test takes that long: the pauses are shorter than body_timeout,
 * and what comes between them does not begin anew. */
static void upload_slower_than_min_rate_is_cut_off(void **state)
{
    UNUSED(state);
    struct origin *o =
        origin_start_with(&(struct origin_options){.script = patient_script, .head_only = true});
    struct millpond *m = millpond_start(.listen = "body_timeout = 5m\nmin_rate = 1K/s",
                                        .cache = "store = off", .rest = pool_lines("app", 1, o));
    struct client *c = client_open(m->port);
    mono_ms_t begin_ms = clock_mono_ms();
    client_send(c, "POST /slow HTTP/1.1\r\nHost: test\r\nContent-Length: 1000\r\n\r\nhello");
    for (int i = 0; i < 60 && c->wire.len == 0 && !c->wire.closed; i++) {
        client_send(c, "x");
        wire_more(&c->wire, 500);
    }
    expect_status(client_read(c), 408);
    client_expect_closed(c);
    EXPECT(clock_mono_ms() - begin_ms >= 9000, "too early: the average is over 10 s");
    assert_string_equal(close_reason_of(m, "/slow"), "min_rate");
    millpond_wait_idle(m);
    millpond_stop(m);
}

/* ---- privileges ---- */

static void remove_folder(void *path)
{
    unlink(textf("%s/admin.sock", (char *)path));
    unlink(textf("%s/millpond.pid", (char *)path));
    rmdir(path);
}

static void root_becomes_the_user_named(void **state)
{
    UNUSED(state);
    const struct passwd *nobody = getpwnam("nobody");
    if (geteuid() != 0 || nobody == NULL)
        skip();
    struct origin *o = origin_start_named("a");
    /* Not below the test's folder, which other users may not enter; the program makes it and gives it away.
     */
    char *folder = textf("/tmp/millpond-e2e-user-%d", (int)getpid());
    support_on_end(remove_folder, folder);
    struct millpond *m =
        millpond_start(.main = textf("user = nobody\nruntime_dir = %s\nstate_dir = %s", folder, folder),
                       .rest = pool_lines("app", 1, o));
    char *status = support_read_file(textf("/proc/%d/status", (int)m->proc->pid));
    unsigned u = nobody->pw_uid, g = nobody->pw_gid;
    expect_in(status, textf("Uid:\t%u\t%u\t%u\t%u\n", u, u, u, u));
    expect_in(status, textf("Gid:\t%u\t%u\t%u\t%u\n", g, g, g, g));
    expect_in(status, "CapEff:\t0000000000000000\n");
    const char *groups = strstr(status, "\nGroups:");
    assert_true(groups != NULL && strncmp(groups, "\nGroups:\t0 ", 11) != 0);
    expect_body(client_get(m->port, "/", ""), "a");
    struct stat st;
    assert_int_equal(stat(textf("%s/admin.sock", folder), &st), 0);
    assert_int_equal(st.st_uid, u);
    millpond_stop(m);
    assert_int_not_equal(access(textf("%s/admin.sock", folder), F_OK), 0);
    assert_int_not_equal(access(textf("%s/millpond.pid", folder), F_OK), 0);

    char *ini = support_path("unknown.ini");
    support_write_file(ini, millpond_ini(&(struct millpond_options){.main = "user = nosuchuser",
                                                                    .rest = pool_lines("app", 1, o)}));
    struct proc_result r = millpond_run("run", "-c", ini, NULL);
    assert_int_not_equal(r.exit_code, 0);
    expect_in(r.err, "nosuchuser");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(health_status_says_what_is_healthy),
        E2E_TEST(retry_on_off_tries_once),
        E2E_TEST(included_files_are_read_in_the_order_of_their_names),
        E2E_TEST(client_that_reads_nothing_is_cut_off),
        E2E_TEST(upload_slower_than_min_rate_is_cut_off),
        E2E_TEST(root_becomes_the_user_named),
    };
    return E2E_RUN("options", tests);
}
