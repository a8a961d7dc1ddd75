/* overload.c: what visitors get when there is nobody to serve them: who is dropped from a queue that has
 * stood for long, and the calm page of a route. */
#include <sys/stat.h>

#include "tests/support/h2.h"
#include "tests/support/millpond.h"
#include "tests/support/pages.h"

#define ONE_WORKER "workers = 1\n"
#define CALM       "<h1>Back in a minute</h1>\n"

/* Requests for /free are answered at once; all others wait at the gate. */
static struct gate *gate;
static const char *_Atomic fields = "Cache-Control: no-store\r\n";

static void slow_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(arg);
    if (strcmp(request->target, "/free") != 0)
        gate_pass(gate);
    origin_respond(c, strcmp(request->target, "/500") == 0 ? 500 : 200, fields, request->target);
}

static struct origin *slow_start(void)
{
    gate = gate_new();
    fields = "Cache-Control: no-store\r\n";
    return origin_start(slow_script, NULL);
}

static struct millpond *start(struct origin *o, const char *lines, const char *routes)
{
    return millpond_start(.main = ONE_WORKER, .listen = "protocols = http/1.1, h2c\n",
                          .rest = textf("[pool app]\nhealth_check = off\n%sserver = 127.0.0.1:%d name=a "
                                        "max_connections=1\n%s",
                                        lines, origin_port(o), routes));
}

static struct client *ask(struct millpond *m, const char *path)
{
    struct client *c = client_open(m->port);
    client_send(c, "GET %s HTTP/1.1\r\nHost: test\r\n\r\n", path);
    return c;
}

/* The queue stands for ten targets; then all but one of those that waited for one are dropped. */
static void who_waits_too_long_is_dropped(void **state)
{
    UNUSED(state);
    struct origin *o = slow_start();
    struct millpond *m = start(o, "queue_timeout = 1h\nqueue_target = 20ms\n", "");
    struct client *runs = ask(m, "/runs");
    gate_wait_arrived(gate, 1);
    struct client *waits[5];
    for (int i = 0; i < 5; i++)
        waits[i] = ask(m, textf("/%d", i));
    millpond_wait_figure(m, "queue_shed", 4);
    millpond_wait_figure(m, "queued", 1);
    millpond_wait_access(m, "\"queue_shed\"", 4);
    millpond_wait_log(m, "pool app: too many requests wait, ", 1);
    expect_in(millpond_cli(m, "events", NULL).out, "shed     pool app: ");
    gate_open(gate); /* who is free next finds somebody */
    expect_body(client_read(runs), "/runs");
    int served = 0;
    for (int i = 0; i < 5; i++) {
        struct message *r = client_read(waits[i]);
        served += r->status == 200;
        if (r->status == 200)
            continue;
        expect_status(r, 503);
        expect_field(r, "Retry-After", "3600");
        expect_field(r, "Cache-Control", "no-store");
    }
    assert_int_equal(served, 1);
    assert_int_equal(origin_requests(o), 2);
    expect_body(client_get(m->port, "/after", ""), "/after");
    millpond_stop(m);
    origin_stop(o);
}

static void nobody_is_dropped_unless_that_is_asked_for(void **state)
{
    UNUSED(state);
    struct origin *o = slow_start();
    struct millpond *m = start(o, "queue_timeout = 300ms\n", "");
    struct client *runs = ask(m, "/runs");
    gate_wait_arrived(gate, 1);
    struct client *waits[3];
    for (int i = 0; i < 3; i++)
        waits[i] = ask(m, "/waits");
    for (int i = 0; i < 3; i++)
        expect_status(client_read(waits[i]), 503);
    millpond_wait_access(m, "\"queue_timeout\"", 3);
    assert_int_equal(millpond_figure(m, "queue_shed"), 0);
    gate_open(gate);
    expect_body(client_read(runs), "/runs");
    millpond_stop(m);
    origin_stop(o);
}

static void a_stale_copy_comes_before_all_that(void **state)
{
    UNUSED(state);
    struct origin *o = slow_start();
    fields = "Cache-Control: max-age=0, stale-if-error=600\r\nAge: 5\r\n";
    support_write_file(support_path("calm.html"), CALM);
    struct millpond *m = start(o, "queue_timeout = 1h\nqueue_target = 20ms\n",
                               textf("[route r]\ncalm_page = %s\n", support_path("calm.html")));
    gate_let(gate, 1);
    expect_body(client_get(m->port, "/page", ""), "/page");
    struct client *runs = ask(m, "/runs");
    gate_wait_arrived(gate, 2);
    struct client *stale = ask(m, "/page"), *other[2] = {ask(m, "/other"), ask(m, "/third")};
    millpond_wait_figure(m, "queue_shed", 2);
    millpond_wait_figure(m, "queued", 1);
    gate_open(gate);
    struct message *r = client_read(stale);
    expect_status(r, 200);
    expect_body(r, "/page");
    int calm = 0;
    for (int i = 0; i < 2; i++) {
        r = client_read(other[i]);
        calm += r->status == 503;
        if (r->status == 503)
            expect_body(r, CALM);
    }
    expect_body(client_read(runs), "/runs");
    EXPECT(calm > 0, "nobody was dropped");
    assert_int_equal(millpond_figure(m, "calm_pages"), calm);
    millpond_stop(m);
    origin_stop(o);
}

/* ---- calm pages ---- */

static const char *routes(const char *path)
{
    return textf("[pool refusing]\nhealth_check = off\nretries = 0\nserver = 127.0.0.1:%d\n"
                 "[route refusing]\npath = /refusing\npool = refusing\ncalm_page = %s\n"
                 "[route own]\npath = /own\npool = refusing\n[route rest]\npool = app\ncalm_page = %s\n",
                 origin_refusing_port(), path, path);
}

static void expect_calm(struct message *r, const char *type, const char *body)
{
    expect_status(r, 503);
    expect_field(r, "Content-Type", type);
    expect_field(r, "Cache-Control", "no-store");
    expect_field(r, "Retry-After", "10");
    expect_body(r, body);
}

static void all_are_down_and_the_page_says_so(void **state)
{
    UNUSED(state);
    struct origin *o = slow_start();
    gate_open(gate);
    char *path = support_path("calm.html");
    support_write_file(path, CALM);
    struct millpond *m = start(o, "", routes(path));
    expect_calm(client_get(m->port, "/refusing", ""), "text/html; charset=utf-8", CALM);
    expect_calm(client_get(m->port, "/refusing", "Accept: application/json\r\n"), "text/html; charset=utf-8",
                CALM);
    expect_status(client_get(m->port, "/own", ""), 502); /* a route without one */
    expect_status(client_get(m->port, "/500", ""), 500); /* the application's own words stay */
    assert_int_equal(millpond_cli(m, "drain", "app/a", "--force", NULL).exit_code, 0);
    expect_calm(client_get(m->port, "/", ""), "text/html; charset=utf-8", CALM);
    struct message *head = client_ask(m->port, "HEAD", "/", "", "");
    expect_status(head, 503);
    expect_field(head, "Content-Length", textf("%zu", strlen(CALM)));
    expect_body(head, "");
    struct h2_client *h2 = h2_open(m->port);
    h2_get(h2, 1, "/");
    h2_expect(h2, 1, 503, CALM);
    expect_in(h2_answer(h2, 1)->head, "retry-after: 10\n");
    assert_int_equal(millpond_figure(m, "calm_pages"), 5);
    json_t *line = millpond_access_line(m, "/refusing");
    assert_string_equal(json_string_value(json_object_get(line, "fetch_error")), "connect_refused");

    support_write_file(path, "other"); /* a reload reads it */
    expect_body(client_get(m->port, "/", ""), CALM);
    assert_int_equal(millpond_cli(m, "reload", NULL).exit_code, 0);
    expect_body(client_get(m->port, "/", ""), "other");
    h2_close(h2);
    millpond_stop(m);
    origin_stop(o);
}

/* Its library would make of the page that the server is broken. */
static void grpc_calls_get_a_status_and_no_page(void **state)
{
    UNUSED(state);
    char *path = support_path("calm.html");
    support_write_file(path, CALM);
    struct millpond *m =
        millpond_start(.main = ONE_WORKER, .listen = "protocols = h2c\n",
                       .rest = textf("[pool app]\nhealth_check = off\nretries = 0\nprotocol = h2\n"
                                     "server = 127.0.0.1:%d\n[route r]\ncalm_page = %s\n",
                                     origin_refusing_port(), path));
    struct h2_client *c = h2_open(m->port);
    h2_headers(c, NGHTTP2_FLAG_END_STREAM, 1, H2_POST("/s/a"), "content-type", "application/grpc", "te",
               "trailers");
    h2_expect(c, 1, 200, "");
    expect_in(h2_answer(c, 1)->head, "grpc-status: 14\n");
    h2_headers(c, NGHTTP2_FLAG_END_STREAM, 3, H2_POST("/other"));
    h2_expect(c, 3, 503, CALM);
    millpond_stop(m);
}

/* As large as it may be, for readers who take it slowly. */
static void a_large_page_arrives_whole(void **state)
{
    UNUSED(state);
    struct origin *o = slow_start();
    char *path = support_path("calm.json"), *text = (char *)(uintptr_t)text_repeat('x', 256 * 1024);
    support_write_file(path, text);
    struct millpond *m = start(o, "", routes(path));
    struct h2_client *h2 = h2_open(m->port, .window = 1000);
    h2_get(h2, 1, "/refusing");
    h2_expect(h2, 1, 503, text);
    expect_in(h2_answer(h2, 1)->head, "content-type: application/json\n");
    struct client *c = client_open(m->port);
    for (int i = 0; i < 8; i++)
        client_send(c, "GET /refusing HTTP/1.1\r\nHost: test\r\n\r\n");
    for (int i = 0; i < 8; i++)
        expect_calm(client_read(c), "application/json", text);
    h2_close(h2);
    millpond_stop(m);
    origin_stop(o);
}

static void what_is_no_page_is_refused(void **state)
{
    UNUSED(state);
    struct origin *o = slow_start();
    char *good = support_path("good.txt"), *large = support_path("large.html");
    support_write_file(good, "good");
    support_write_file(large, text_repeat('x', 256 * 1024 + 1));
    struct millpond *m = start(o, "", routes(good));
    const struct {
        const char *path, *why;
    } rows[] = {
        {support_path("none.html"), "none.html: No such file or directory; name a readable file"},
        {large, "large.html: it is larger than 256K; make it smaller"},
        {support_path("page.php"),
         "page.php: its suffix says no type; name a .html, .txt, .json or .xml file"},
        {textf("%s/x.html", support_dir()), "x.html: it is no file; name one"},
    };
    mkdir(rows[3].path, 0755);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        millpond_write_ini(
            m, .main = ONE_WORKER,
            .rest = textf("[pool app]\nserver = 127.0.0.1:1\n[route r]\ncalm_page = %s\n", rows[i].path));
        struct proc_result r = millpond_cli(m, "reload", NULL);
        assert_int_equal(r.exit_code, 1);
        expect_in(r.err, "[route r] calm_page: ");
        expect_in(r.err, rows[i].why);
        r = millpond_run("check", "-c", m->ini, NULL);
        assert_int_equal(r.exit_code, 2);
        expect_in(textf("%s%s", r.out, r.err), rows[i].why);
    }
    expect_calm(client_get(m->port, "/refusing", ""), "text/plain; charset=utf-8", "good");
    millpond_stop(m);
    origin_stop(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(who_waits_too_long_is_dropped),       E2E_TEST(nobody_is_dropped_unless_that_is_asked_for),
        E2E_TEST(a_stale_copy_comes_before_all_that),  E2E_TEST(all_are_down_and_the_page_says_so),
        E2E_TEST(grpc_calls_get_a_status_and_no_page), E2E_TEST(a_large_page_arrives_whole),
        E2E_TEST(what_is_no_page_is_refused),
    };
    return E2E_RUN("overload", tests);
}
