/* h2_instance_programs.c: instances by HTTP/2 that others wrote: nghttpd, in clear text and over TLS, and a
 * server of gRPC (Python's grpcio, of Debian) with a client of the same at the other end. */
#include <sys/stat.h>

#include "tests/support/app.h"
#include "tests/support/h2.h"
#include "tests/support/millpond.h"
#include "tests/support/tls.h"

#define PYTHON   "/usr/bin/python3" /* the one that Debian's modules are for */
#define PATIENCE 6

/* ---- nghttpd ---- */

/* Serves "a" and "big"; what is posted comes back. */
static struct app nghttpd_start(const struct tls_cert *cert)
{
    char *dir = support_path("docs");
    struct app a = {.port = wire_hold_port()};
    assert_int_equal(mkdir(dir, 0700), 0);
    support_write_file(textf("%s/a", dir), "hello");
    support_write_file(textf("%s/big", dir), text_repeat('b', 3000000));
    const char *clear[] = {"nghttpd",       "-v", "-a", "127.0.0.1",         "--no-tls",
                           "--echo-upload", "-d", dir,  textf("%d", a.port), NULL};
    const char *tls[] = {"nghttpd",
                         "-v",
                         "-a",
                         "127.0.0.1",
                         "--echo-upload",
                         "-d",
                         dir,
                         textf("%d", a.port),
                         cert != NULL ? cert->key_file : "",
                         cert != NULL ? cert->file : "",
                         NULL};
    a.proc = proc_start(&(struct proc_options){.argv = cert != NULL ? tls : clear});
    capture_wait(&a.proc->out, "listen ", 1);
    return a;
}

static void expect_nghttpd(struct millpond *m)
{
    char *body = text_repeat('u', 1000000);
    millpond_wait_log(m, "starting -> up: first probe succeeded (status 200)", 1);
    struct h2_client *c = h2_open(m->port);
    expect_body(client_get(m->port, "/a", ""), "hello");
    expect_body(client_get(m->port, "/big", ""), text_repeat('b', 3000000));
    expect_body(client_ask(m->port, "POST", "/echo", "", body), body);
    h2_get(c, 1, "/big");
    h2_get(c, 3, "/a");
    h2_get(c, 5, "/none");
    h2_expect(c, 1, 200, text_repeat('b', 3000000));
    h2_expect(c, 3, 200, "hello");
    h2_expect(c, 5, 404, NULL);
    assert_int_equal(millpond_figure(m, "upstream_errors"), 0);
}

static struct millpond *before(const struct app *a, const char *lines)
{
    return millpond_start(.main = "workers = 1\n", .listen = "protocols = h2, http/1.1, h2c\n",
                          .cache = "store = off\n",
                          .rest =
                              textf("[pool app]\nserver = 127.0.0.1:%d\nprotocol = h2\n%s", a->port, lines));
}

static void nghttpd_in_clear_text(void **state)
{
    UNUSED(state);
    if (!app_has("nghttpd"))
        skip();
    struct app a = nghttpd_start(NULL);
    struct millpond *m = before(&a, "health_path = /a\nhealth_interval = 50ms\n");
    expect_nghttpd(m);
    proc_kill(a.proc);
    millpond_wait_state(m, textf("127.0.0.1:%d", a.port), "down");
    expect_status(client_get(m->port, "/a", ""), 503);
    millpond_stop(m);
}

static void nghttpd_over_tls(void **state)
{
    UNUSED(state);
    if (!app_has("nghttpd"))
        skip();
    struct tls_cert *authority = tls_cert_make("authority", .authority = true);
    struct app a = nghttpd_start(tls_cert_make("app", .names = "app.test", .issuer = authority));
    struct millpond *m =
        before(&a, textf("health_path = /a\ntls = yes\ntls_ca = %s\ntls_sni = app.test\n", authority->file));
    expect_nghttpd(m);
    assert_int_equal(millpond_figure(m, "upstream_tls_handshakes"), 1);
    millpond_stop(m);
}

/* An instance that agrees to HTTP/1.1 alone. */
static void alpn_has_to_agree(void **state)
{
    UNUSED(state);
    struct tls_cert *cert = tls_cert_make("app");
    char *pem = support_path("both.pem");
    support_write_file(pem, textf("%s%s", support_read_file(cert->file), support_read_file(cert->key_file)));
    struct app ha = app_haproxy(textf("ssl crt %s alpn http/1.1", pem), "127.0.0.1:9", "mode http\n");
    struct millpond *m = before(&ha, "health_check = off\ntls = yes\ntls_verify = no\nretries = 0\n");
    expect_status(client_get(m->port, "/a", ""), 502);
    millpond_wait_log(m, "TLS: ", 1);
    millpond_stop(m);
}

/* ---- gRPC ---- */

static bool has_grpc(void)
{
    const char *argv[] = {PYTHON, "-c", "import grpc", NULL};
    return proc_run(argv).exit_code == 0;
}

static struct app grpc_server(void)
{
    static const char program[] =
        "import grpc, threading\n"
        "from concurrent import futures\n"
        "def one(r, c):\n"
        "    m = dict(c.invocation_metadata())\n"
        "    c.set_trailing_metadata((('x-seen', m.get('x-own', '')), ('x-left', str(c.time_remaining()))))\n"
        "    return r[::-1]\n"
        "def bad(r, c): c.abort(grpc.StatusCode.FAILED_PRECONDITION, 'not now')\n"
        "def many(r, c):\n"
        "    for i in range(int(r)): yield b'x' * 10000 + str(i).encode()\n"
        "def sum_(it, c): return str(sum(len(r) for r in it)).encode()\n"
        "def echo(it, c):\n"
        "    for r in it: yield r\n"
        "def slow(r, c):\n"
        "    ended = threading.Event()\n"
        "    if c.add_callback(ended.set): ended.wait()\n"
        "    print('cancelled', flush=True)\n"
        "    return b''\n"
        "h = {'one': grpc.unary_unary_rpc_method_handler(one), 'bad': "
        "grpc.unary_unary_rpc_method_handler(bad),\n"
        "     'many': grpc.unary_stream_rpc_method_handler(many), 'sum': "
        "grpc.stream_unary_rpc_method_handler(sum_),\n"
        "     'echo': grpc.stream_stream_rpc_method_handler(echo), 'slow': "
        "grpc.unary_unary_rpc_method_handler(slow)}\n"
        "s = grpc.server(futures.ThreadPoolExecutor(max_workers=20))\n"
        "s.add_generic_rpc_handlers((grpc.method_handlers_generic_handler('test', h),))\n"
        "print('port', s.add_insecure_port('127.0.0.1:0'), flush=True)\n"
        "s.start()\n"
        "s.wait_for_termination()\n";
    const char *argv[] = {PYTHON, "-c", program, NULL};
    struct app a = {.proc = proc_start(&(struct proc_options){.argv = argv})};
    a.port = atoi(strstr(capture_wait(&a.proc->out, "\n", 1), "port ") + strlen("port "));
    return a;
}

/* Runs lines of Python with a channel `ch`; what they print. */
static char *grpc_client(const struct millpond *m, const char *lines)
{
    const char *argv[] = {PYTHON, "-u", "-c",
                          textf("import grpc, queue, threading\n"
                                "ch = grpc.insecure_channel('127.0.0.1:%d')\n"
                                "def code(f):\n"
                                "    try: f()\n"
                                "    except grpc.RpcError as e: print(e.code().name, e.details())\n"
                                "%s",
                                m->port, lines),
                          NULL};
    struct proc *p = proc_start(&(struct proc_options){.argv = argv});
    EXPECT(proc_wait(p, PATIENCE * support_wait_ms()), "the client does not end: %s", capture_text(&p->err));
    EXPECT(proc_exit_code(p) == 0, "%s", capture_all(&p->err));
    return capture_all(&p->out);
}

static void grpc_unary(void **state)
{
    UNUSED(state);
    if (!has_grpc())
        skip();
    struct app a = grpc_server();
    struct millpond *m = before(&a, "health_check = tcp\n");
    char *out = grpc_client(
        m,
        "r, call = ch.unary_unary('/test/one').with_call(b'abc', metadata=(('x-own', 'mine'),), timeout=50)\n"
        "t = dict(call.trailing_metadata())\n"
        "print(r, call.code().name, t['x-seen'], 40 < float(t['x-left']) <= 50)\n"
        "code(lambda: ch.unary_unary('/test/bad')(b''))\n"
        "code(lambda: ch.unary_unary('/test/none')(b''))\n"
        "code(lambda: ch.unary_unary('/test/slow')(b'', timeout=0.3))\n"
        "big = b'z' * 3000000\n"
        "print(ch.unary_unary('/test/one')(big) == big)\n"
        "fs = [ch.unary_unary('/test/one').future(str(i).encode()) for i in range(300)]\n"
        "print(all(f.result() == str(i).encode()[::-1] for i, f in enumerate(fs)))\n");
    expect_in(out, "b'cba' OK mine True\n");
    expect_in(out, "FAILED_PRECONDITION not now\n");
    expect_in(out, "UNIMPLEMENTED Method not found!\n");
    expect_in(out, "DEADLINE_EXCEEDED");
    expect_in(out, "True\nTrue\n");
    capture_wait(&a.proc->out, "cancelled", 1);
    assert_int_equal(millpond_figure(m, "upstream_errors"), 0);
    millpond_stop(m);
}

static void grpc_streams(void **state)
{
    UNUSED(state);
    if (!has_grpc())
        skip();
    struct app a = grpc_server();
    struct millpond *m = before(&a, "health_check = tcp\n");
    char *out =
        grpc_client(m, "got = list(ch.unary_stream('/test/many')(b'500'))\n"
                       "print(len(got), got[-1][10000:])\n"
                       "print(ch.stream_unary('/test/sum')(iter([b'y' * 50000] * 100)))\n"
                       "q = queue.Queue()\n"
                       "answers = ch.stream_stream('/test/echo')(iter(q.get, None))\n"
                       "for i in range(200):\n" /* both directions at once: each waits for the other */
                       "    q.put(str(i).encode())\n"
                       "    assert next(answers) == str(i).encode()\n"
                       "q.put(None)\n"
                       "print(list(answers), answers.code().name)\n");
    expect_in(out, "500 b'499'\nb'5000000'\n[] OK\n");
    millpond_stop(m);
}

static void grpc_without_an_instance(void **state)
{
    UNUSED(state);
    if (!has_grpc())
        skip();
    struct app a = grpc_server();
    struct millpond *m = before(&a, "health_check = off\n");
    proc_kill(a.proc);
    char *out = grpc_client(m, "code(lambda: ch.unary_unary('/test/one')(b''))\n");
    expect_in(out, "UNAVAILABLE the instance refused the connection\n");
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(nghttpd_in_clear_text), E2E_TEST(nghttpd_over_tls),
        E2E_TEST(alpn_has_to_agree),     E2E_TEST(grpc_unary),
        E2E_TEST(grpc_streams),          E2E_TEST(grpc_without_an_instance),
    };
    return E2E_RUN("e2e/h2_instance_programs", tests);
}
