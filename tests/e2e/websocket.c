/* websocket.c: WebSockets with an implementation that is not ours at both ends (Python's websockets, of
 * Debian): over plain connections and TLS, with compression, pings and large messages, and with an instance
 * that is killed; to an instance that speaks TLS; and over HTTP/2, asked for by HAProxy and by a browser. */
#include "tests/support/app.h"
#include "tests/support/millpond.h"
#include "tests/support/tls.h"

#define PYTHON "/usr/bin/python3" /* the one that Debian's modules are for */

static bool has_websockets(void)
{
    const char *argv[] = {PYTHON, "-c", "import websockets", NULL};
    return proc_run(argv).exit_code == 0;
}

/* Sends back what comes. "who" asks for its port. */
static struct app echo_app(void)
{
    static const char program[] =
        "import asyncio, websockets\n"
        "async def serve(ws, path=None):\n"
        "    async for m in ws:\n"
        "        await ws.send(str(ws.local_address[1]) if m == 'who' else m)\n"
        "async def main():\n"
        "    async with websockets.serve(serve, '127.0.0.1', 0, max_size=None) as s:\n"
        "        print('port', s.sockets[0].getsockname()[1], flush=True)\n"
        "        await asyncio.Future()\n"
        "asyncio.run(main())\n";
    const char *argv[] = {PYTHON, "-c", program, NULL};
    struct app a = {.proc = proc_start(&(struct proc_options){.argv = argv})};
    a.port = atoi(strstr(capture_wait(&a.proc->out, "\n", 1), "port ") + strlen("port "));
    return a;
}

static struct proc *client_program(const char *url, const char *body)
{
    const char *argv[] = {PYTHON, "-u", "-c",
                          textf("import asyncio, os, ssl, websockets\n"
                                "tls = ssl._create_unverified_context() if '%s'.startswith('wss') else None\n"
                                "def connect(): return websockets.connect('%s', ssl=tls, max_size=None)\n"
                                "async def main():\n%s"
                                "asyncio.run(main())\n",
                                url, url, body),
                          NULL};
    return proc_start(&(struct proc_options){.argv = argv});
}

static const char everything[] = "    async with connect() as ws:\n"
                                 "        await ws.send('hello')\n"
                                 "        print(await ws.recv())\n"
                                 "        for size in (0, 1, 125, 126, 65535, 65536, 3000000):\n"
                                 "            for data in (os.urandom(size), 'z' * size):\n"
                                 "                await ws.send(data)\n"
                                 "                assert await ws.recv() == data, size\n"
                                 "        await (await ws.ping())\n"
                                 "        print('pong')\n"
                                 "    print('closed', ws.close_code)\n";

static void expect_everything(struct millpond *m, const char *url)
{
    struct proc *c = client_program(url, everything);
    EXPECT(proc_exit_code(c) == 0, "%s", capture_all(&c->err));
    assert_string_equal(capture_all(&c->out), "hello\npong\nclosed 1000\n");
    expect_in(json_string_value(json_find(millpond_access_line(m, "/chat"), "close")), "tunnel_");
    millpond_wait_idle(m);
}

static void messages_of_all_sizes(void **state)
{
    UNUSED(state);
    if (!has_websockets())
        skip();
    struct app a = echo_app();
    const char *pool = textf("[pool app]\nserver = 127.0.0.1:%d\nhealth_check = tcp\n", a.port);
    struct millpond *m = millpond_start(.rest = pool);
    expect_everything(m, textf("ws://127.0.0.1:%d/chat", m->port));
    millpond_stop(m);
    m = millpond_start(.listen = tls_cert_lines(tls_cert_make("cert")), .rest = pool);
    expect_everything(m, textf("wss://127.0.0.1:%d/chat", m->port));
    millpond_stop(m);
}

static char *pool_of(int port)
{
    return textf("[pool app]\nserver = 127.0.0.1:%d\nhealth_check = off\n", port);
}

/* HAProxy turns what comes by HTTP/1.1 into extended CONNECT. Before the first, its connection has to be
 * there, since it asks for none before it has heard that it may. */
static struct app by_http2(struct millpond *m, const struct tls_cert *cert)
{
    const char *tls = cert != NULL ? "ssl verify none alpn h2" : "proto h2";
    struct app ha = app_haproxy("", textf("127.0.0.1:%d %s ws h2", m->port, tls),
                                "mode http\n http-reuse always\n timeout tunnel 1m\n");
    client_get(ha.port, "/first", "");
    return ha;
}

static void over_http2(void **state)
{
    UNUSED(state);
    if (!has_websockets())
        skip();
    struct app a = echo_app();
    struct tls_cert *cert = tls_cert_make("cert");
    for (int tls = 0; tls < 2; tls++) {
        struct millpond *m =
            millpond_start(.main = "workers = 1",
                           .listen = tls ? tls_cert_lines(cert) : "protocols = h2, http/1.1, h2c",
                           .rest = pool_of(a.port));
        struct app ha = by_http2(m, tls ? cert : NULL);
        struct proc *c = client_program(textf("ws://127.0.0.1:%d/chat", ha.port), everything);
        EXPECT(proc_exit_code(c) == 0, "%s", capture_all(&c->err));
        assert_string_equal(capture_all(&c->out), "hello\npong\nclosed 1000\n");
        json_t *line = millpond_access_line(m, "/chat");
        assert_string_equal(json_string_value(json_find(line, "version")), "HTTP/2");
        assert_int_equal(json_integer_value(json_find(line, "status")), 200);
        expect_in(json_string_value(json_find(line, "close")), "tunnel_");
        millpond_wait_figure(m, "tunnels", 0);
        proc_kill(ha.proc);
        millpond_stop(m);
    }
}

/* HAProxy that shows this certificate, before the application. */
static struct app behind_tls(const struct tls_cert *cert, int port)
{
    char *pem = support_path("instance.pem");
    support_write_file(pem, textf("%s%s", support_read_file(cert->file), support_read_file(cert->key_file)));
    return app_haproxy(textf("ssl crt %s", pem), textf("127.0.0.1:%d", port),
                       "mode http\n timeout tunnel 1m\n");
}

static void to_an_instance_with_tls(void **state)
{
    UNUSED(state);
    if (!has_websockets())
        skip();
    struct app a = echo_app();
    struct tls_cert *cert = tls_cert_make("cert");
    struct app instance = behind_tls(cert, a.port);
    struct millpond *m = millpond_start(.main = "workers = 1", .listen = "protocols = h2, http/1.1, h2c",
                                        .rest = textf("%stls = yes\ntls_ca = %s\ntls_sni = localhost\n",
                                                      pool_of(instance.port), cert->file));
    expect_everything(m, textf("ws://127.0.0.1:%d/chat", m->port));
    struct app ha = by_http2(m, NULL);
    struct proc *c = client_program(textf("ws://127.0.0.1:%d/chat", ha.port), everything);
    EXPECT(proc_exit_code(c) == 0, "%s", capture_all(&c->err));
    assert_string_equal(capture_all(&c->out), "hello\npong\nclosed 1000\n");
    millpond_wait_figure(m, "tunnels_opened", 2);
    assert_true(millpond_figure(m, "upstream_tls_handshakes") >= 2);
    proc_kill(ha.proc);
    millpond_stop(m);
}

#define PAGE                                                                                                 \
    "<html><body><script>const ws = new WebSocket('wss://' + location.host + '/chat');"                      \
    "ws.onopen = () => ws.send('hello');"                                                                    \
    "ws.onmessage = m => { fetch('/said?' + m.data); ws.close(); };"                                         \
    "</script></body></html>"

/* A browser asks for it over the connection that the page came by. */
static void a_browser(void **state)
{
    UNUSED(state);
    if (!has_websockets() || !app_has("chromium"))
        skip();
    struct app a = echo_app();
    struct origin *site =
        origin_start_fixed(textf("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nCache-Control: "
                                 "no-store\r\nContent-Length: %zu\r\n\r\n%s",
                                 strlen(PAGE), PAGE));
    struct millpond *m =
        millpond_start(.main = "workers = 1", .listen = tls_cert_lines(tls_cert_make("cert")),
                       .rest = textf("%s%s[route ws]\npath = /chat\npool = app\n[route rest]\npool = site\n",
                                     pool_of(a.port), pool_lines("site", 1, site)));
    const char *argv[] = {"chromium",
                          "--headless=new",
                          "--no-sandbox",
                          "--disable-gpu",
                          "--ignore-certificate-errors",
                          "--remote-debugging-port=0",
                          textf("--user-data-dir=%s", support_path("browser")),
                          textf("https://localhost:%d/page", m->port),
                          NULL};
    struct proc *browser = proc_start(&(struct proc_options){.argv = argv});
    millpond_wait_access(m, "/said?hello", 1);
    json_t *line = millpond_access_line(m, "/chat");
    assert_string_equal(json_string_value(json_find(line, "version")), "HTTP/2");
    assert_string_equal(json_string_value(json_find(line, "tls")), "TLSv1.3");
    proc_kill(browser);
    millpond_wait_figure(m, "tunnels", 0);
    millpond_stop(m);
}

/* The client learns of it, and what it opens next is the other's. */
static void killed_instance(void **state)
{
    UNUSED(state);
    if (!has_websockets())
        skip();
    struct app a[2] = {echo_app(), echo_app()};
    struct millpond *m =
        millpond_start(.rest = textf("[pool app]\nserver = 127.0.0.1:%d\nserver = 127.0.0.1:%d\n"
                                     "health_check = off\n",
                                     a[0].port, a[1].port));
    struct proc *c = client_program(textf("ws://127.0.0.1:%d/chat", m->port),
                                    "    for i in range(2):\n"
                                    "        async with connect() as ws:\n"
                                    "            await ws.send('who')\n"
                                    "            print('at', await ws.recv(), '.')\n"
                                    "            if i == 1: break\n"
                                    "            try: await ws.recv()\n"
                                    "            except websockets.ConnectionClosedError: print('lost')\n");
    char *said = capture_wait(&c->out, " .\n", 1);
    int at = atoi(said + strlen("at "));
    proc_kill(a[at == a[1].port].proc);
    EXPECT(proc_exit_code(c) == 0, "%s", capture_all(&c->err));
    expect_in(capture_all(&c->out), textf("at %d .\nlost\nat %d .\n", at, a[at != a[1].port].port));
    millpond_wait_idle(m);
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(messages_of_all_sizes),   E2E_TEST(killed_instance), E2E_TEST(over_http2),
        E2E_TEST(to_an_instance_with_tls), E2E_TEST(a_browser),
    };
    return E2E_RUN("websocket", tests);
}
