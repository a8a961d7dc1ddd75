/* harness.c: the harness tested against itself: clients talk to origins directly, and processes are ordinary
 * programs. What is wrong here would otherwise show up as a wrong verdict about the proxy. */
#include "tests/support/app.h"
#include "tests/support/client.h"
#include "tests/support/load.h"
#include "tests/support/origin.h"

#include <signal.h>
#include <sys/stat.h>

static void fixed_answer_is_read_whole(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start_fixed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A:  b \r\n\r\nhi");
    struct client *c = client_open(origin_port(o));
    client_send(
        c, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    struct message *m = client_read(c);
    expect_status(m, 200);
    expect_body(m, "hi");
    expect_field_in(m, "x-a", "b");
    expect_no_field(m, "X-B");
    expect_status(client_read(c), 200);
    assert_true(client_is_silent(c));
    client_close(c);
    origin_wait_open(o, 0);
    assert_int_equal(origin_requests(o), 2);
    assert_int_equal(origin_connections(o), 1);
    assert_string_equal(origin_request(o, 1)->method, "POST");
    assert_string_equal(origin_request(o, 1)->target, "/2");
    expect_body(origin_request(o, 1), "abc");
    assert_int_equal(origin_requests_for(o, "/1"), 1);
    assert_true(origin_bytes(o) > 60);
}

static void chunked_script(struct origin_conn *c, const struct message *request, void *arg)
{
    struct gate *g = arg;
    origin_send(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    origin_send_chunk(c, "one", 3);
    gate_pass(g);
    if (strcmp(request->target, "/cut") == 0) {
        origin_close(c);
        return;
    }
    if (strcmp(request->target, "/reset") == 0) {
        origin_reset(c);
        return;
    }
    origin_send(c, "3;ext=1\r\ntwo\r\n0\r\nX-T: 1\r\n\r\n");
}

static void held_chunked_answer_comes_in_pieces(void **state)
{
    UNUSED(state);
    struct gate *g = gate_new();
    struct origin *o = origin_start(chunked_script, g);
    struct client *c = client_open(origin_port(o));
    client_send(c, "GET / HTTP/1.1\r\n\r\n");
    assert_int_equal(client_read_head(c)->framing, FRAMING_CHUNKED);
    assert_memory_equal(client_wait_bytes(c, 8), "3\r\none\r\n", 8);
    gate_wait_arrived(g, 1);
    assert_true(c->wire.len == 8);
    gate_let(g, 1);
    client_wait_bytes(c, 8 + 12 + 13);
    client_close(c);

    gate_open(g);
    struct message *m = client_get(origin_port(o), "/", "");
    expect_body(m, "onetwo");
    assert_string_equal(m->trailers, "X-T: 1\r\n");
    assert_int_equal(m->chunks, 2);
    expect_end(client_get(origin_port(o), "/cut", ""), MESSAGE_CUT);
    expect_end(client_get(origin_port(o), "/reset", ""), MESSAGE_RESET);
    origin_stop(o);
}

static void until_close_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(request);
    UNUSED(arg);
    origin_send(c, "HTTP/1.0 200 OK\r\n\r\nto the end");
    origin_close(c);
}

static void close_ends_a_body_without_length(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start(until_close_script, NULL);
    struct message *m = client_get(origin_port(o), "/", "");
    expect_status(m, 200);
    expect_body(m, "to the end");
    assert_int_equal(m->framing, FRAMING_CLOSE);
    struct client *c = client_open(origin_port(o));
    client_send(c, "GET / HTTP/1.1\r\n\r\n");
    client_read(c);
    client_expect_closed(c);
}

static void stopped_origin_breaks_and_refuses(void **state)
{
    UNUSED(state);
    struct gate *g = gate_new();
    struct origin *o = origin_start(chunked_script, g);
    struct client *c = client_open(origin_port(o));
    client_send(c, "GET / HTTP/1.1\r\n\r\n");
    struct client *idle = client_open(origin_port(o));
    origin_wait_open(o, 2);
    gate_open(g);
    expect_end(client_read(c), MESSAGE_COMPLETE);
    int port = origin_port(o);
    origin_stop(o);
    assert_int_not_equal(client_read(idle)->end, MESSAGE_COMPLETE);
    struct origin *again = origin_start_with(&(struct origin_options){
        .script = until_close_script, .port = port}); /* an instance comes back on its old port */
    expect_status(client_get(port, "/", ""), 200);
    assert_int_equal(origin_requests(again), 1);
}

static void load_counts_answers_and_breaks(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start_named("a");
    struct load *l = load_start(origin_port(o), 4, "GET /x HTTP/1.1\r\nHost: test\r\n\r\n");
    load_wait(l, 500);
    struct load_result r = load_stop(l);
    assert_true(r.answered >= 500 && r.by_class[2] == r.answered && r.broken == 0 && r.refused == 0);
    assert_string_equal(r.first_problem, "");
    struct gate *open = gate_new();
    gate_open(open);
    struct origin *cutting = origin_start(chunked_script, open);
    l = load_start(origin_port(cutting), 2, "GET /cut HTTP/1.1\r\nHost: test\r\n\r\n");
    load_wait(l, 50);
    r = load_stop(l);
    assert_true(r.answered == 0 && r.broken >= 50);
    expect_in(r.first_problem, "cut: HTTP/1.1 200");
    origin_stop(cutting);
    r = load_stop(load_start(origin_refusing_port(), 2, "GET / HTTP/1.1\r\n\r\n"));
    assert_int_equal(r.refused, 2);
    assert_true(r.first_problem[0] != '\0');
}

static void processes_are_captured_and_end(void **state)
{
    UNUSED(state);
    const char *ok[] = {"sh", "-c", "echo out; echo err >&2; exit 3", NULL};
    struct proc_result r = proc_run(ok);
    assert_int_equal(r.exit_code, 3);
    assert_string_equal(r.out, "out\n");
    assert_string_equal(r.err, "err\n");

    const char *trap[] = {"sh", "-c", "trap 'echo caught; exit 0' TERM; echo here; while :; do read x; done",
                          NULL};
    struct proc *p = proc_start(&(struct proc_options){.argv = trap});
    capture_wait(&p->out, "here\n", 1);
    proc_signal(p, SIGTERM);
    assert_int_equal(proc_exit_code(p), 0);
    expect_in(capture_all(&p->out), "caught");

    const char *env[] = {"GREETING=hello", NULL};
    const char *limits[] = {"sh", "-c", "ulimit -n; echo $GREETING; pwd", NULL};
    p = proc_start(&(struct proc_options){.argv = limits, .max_fds = 77, .env = env, .cwd = "/"});
    capture_wait(&p->out, "77\nhello\n/\n", 1);
    assert_int_equal(proc_exit_code(p), 0);
}

static void paused_capture_fills_the_pipe(void **state)
{
    UNUSED(state);
    char *fifo = support_path("go");
    assert_int_equal(mkfifo(fifo, 0600), 0);
    const char *argv[] = {"sh", "-c", textf("read x <%s; yes | head -c 4000000; echo all written >&2", fifo),
                          NULL};
    struct proc *p = proc_start(&(struct proc_options){.argv = argv});
    capture_pause(&p->out, true);
    FILE *go = fopen(fifo, "w");
    fputs("go\n", go);
    fclose(go);
    assert_string_equal(capture_text(&p->err), ""); /* it cannot have written 4 MB into a pipe nobody reads */
    assert_false(proc_wait(p, 0));
    capture_pause(&p->out, false);
    capture_wait(&p->err, "all written", 1);
    assert_int_equal(proc_exit_code(p), 0);
}

static void files_are_waited_for(void **state)
{
    UNUSED(state);
    const char *path = support_path("log");
    assert_string_equal(support_read_file(path), "");
    const char *argv[] = {"sh", "-c", textf("for i in 1 2 3; do echo line >> %s; done", path), NULL};
    proc_start(&(struct proc_options){.argv = argv});
    assert_string_equal(file_wait(path, "line\n", 3), "line\nline\nline\n");
    assert_int_equal(support_count("aXbXc", "X"), 2);
}

static void real_applications_answer(void **state)
{
    UNUSED(state);
    struct app node = app_node("res.end('node ' + req.url);");
    expect_body(client_get(node.port, "/a", ""), "node /a");
    support_write_file(support_path("page.txt"), "from disk");
    struct app python = app_python_files(support_dir());
    expect_body(client_get(python.port, "/page.txt", ""), "from disk");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(fixed_answer_is_read_whole),       E2E_TEST(held_chunked_answer_comes_in_pieces),
        E2E_TEST(close_ends_a_body_without_length), E2E_TEST(stopped_origin_breaks_and_refuses),
        E2E_TEST(load_counts_answers_and_breaks),   E2E_TEST(processes_are_captured_and_end),
        E2E_TEST(paused_capture_fills_the_pipe),    E2E_TEST(files_are_waited_for),
        E2E_TEST(real_applications_answer),
    };
    return E2E_RUN("harness", tests);
}
