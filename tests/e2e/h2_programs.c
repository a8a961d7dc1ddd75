/* h2_programs.c: clients of HTTP/2 that others wrote, and that people use: nghttp, h2load, a browser. */
#include "tests/support/app.h"
#include "tests/support/millpond.h"
#include "tests/support/pages.h"
#include "tests/support/tls.h"

#define PATIENCE 6 /* a browser on a busy machine */

#define SCRIPT                                                                                               \
    "<html><body><p id=p></p><script>fetch('/data').then(r => r.text()).then(t => "                          \
    "{ document.getElementById('p').textContent = 'by ' + "                                                  \
    "performance.getEntriesByType('navigation')[0].nextHopProtocol + ', and ' + "                            \
    "performance.getEntriesByType('resource')[0].nextHopProtocol + ', ' + t.length; "                        \
    "})</script></body></html>"

static void site_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(arg);
    if (strcmp(request->target, "/page") == 0)
        origin_respond(c, 200, "Cache-Control: max-age=60\r\nContent-Type: text/html\r\n", SCRIPT);
    else if (strcmp(request->target, "/private") == 0)
        origin_respond(c, 200, "Cache-Control: no-store\r\n", "private");
    else
        origin_respond(c, 200, "Cache-Control: max-age=60\r\n", arg);
}

static struct millpond *start(void)
{
    struct origin *app = origin_start(site_script, text_repeat('x', 50000));
    return millpond_start(.main = "workers = 2\n", .listen = tls_cert_lines(tls_cert_make("cert")),
                          .rest = pool_lines("app", 1, app));
}

/* Its output; skips the test where the program is not installed. */
static char *output_of(const char *const *argv)
{
    if (!app_has(argv[0]))
        skip();
    struct proc *p = proc_start(&(struct proc_options){.argv = argv});
    EXPECT(proc_wait(p, PATIENCE * support_wait_ms()), "%s does not end", argv[0]);
    EXPECT(proc_exit_code(p) == 0, "%s ends with %d: %s%s", argv[0], proc_exit_code(p), capture_all(&p->err),
           capture_all(&p->out));
    return capture_all(&p->out);
}

static void nghttp(void **state)
{
    UNUSED(state);
    struct millpond *m = start();
    const char *argv[] = {"nghttp", "-nv", "--no-verify-peer", textf("https://localhost:%d/data", m->port),
                          NULL};
    for (int i = 0; i < 2; i++) {
        char *out = output_of(argv);
        expect_in(out, ":status: 200");
        expect_in(out, "content-length: 50000");
        expect_in(out, "END_STREAM");
        expect_not_in(out, "RST_STREAM");
    }
    millpond_stop(m);
}

static void h2load(void **state)
{
    UNUSED(state);
    struct millpond *m = start();
    const char *const targets[] = {"/data", "/private"};
    for (unsigned i = 0; i < ARRAY_LEN(targets); i++) {
        const char *argv[] = {"h2load", "-n", "3000", "-c",
                              "5",      "-m", "30",   textf("https://localhost:%d%s", m->port, targets[i]),
                              NULL};
        expect_in(output_of(argv), "3000 done, 3000 succeeded, 0 failed, 0 errored, 0 timeout");
    }
    assert_int_equal(millpond_figure(m, "h2_resets"), 0);
    millpond_wait_figure(m, "h2_streams", 0);
    millpond_stop(m);
}

static void chromium(void **state)
{
    UNUSED(state);
    struct millpond *m = start();
    const char *argv[] = {"chromium",
                          "--headless=new",
                          "--no-sandbox",
                          "--disable-gpu",
                          "--ignore-certificate-errors",
                          textf("--user-data-dir=%s", support_path("browser")),
                          "--virtual-time-budget=10000",
                          "--dump-dom",
                          textf("https://localhost:%d/page", m->port),
                          NULL};
    expect_in(output_of(argv), "by h2, and h2, 50000");
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {E2E_TEST(nghttp), E2E_TEST(h2load), E2E_TEST(chromium)};
    return E2E_RUN("e2e/h2_programs", tests);
}
