/* websocket.c: WebSockets with an implementation that is not ours at both ends (Python's websockets, of
 * Debian): over plain connections and TLS, with compression, pings and large messages, and with an instance
 * that is killed. */
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
        E2E_TEST(messages_of_all_sizes),
        E2E_TEST(killed_instance),
    };
    return E2E_RUN("websocket", tests);
}
