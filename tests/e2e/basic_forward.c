/* basic_forward.c: requests and responses pass through as RFC 9110 and 9112 want an intermediary to pass
 * them: framing both ways, keep-alive, pipelining, Expect, interim responses, and which fields are added,
 * kept and removed. The cache is off, so every request reaches the origin. */
#include "tests/support/app.h"
#include "tests/support/millpond.h"

#define NO_CACHE "[cache]\nstore = off\n"

/* Every request is answered 200 with its target as the body. */
static void target_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(arg);
    origin_respond(c, 200, "X-Origin: yes\r\n", request->target);
}

static void get_passes_and_connections_are_kept(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start(target_script, NULL);
    struct millpond *m = millpond_before(o, NO_CACHE);
    struct client *c = client_open(m->port);
    for (int i = 0; i < 5; i++) {
        client_send(c, "GET /path/%d?q=%%20a&b HTTP/1.1\r\nHost: test\r\n\r\n", i);
        struct message *r = client_read(c);
        expect_status(r, 200);
        expect_field(r, "X-Origin", "yes");
        expect_body(r, textf("/path/%d?q=%%20a&b", i));
        expect_no_field(r, "Connection");
    }
    assert_int_equal(origin_requests(o), 5);
    assert_int_equal(origin_connections(o), 1);
    client_send(c, "GET /last HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    struct message *r = client_read(c);
    expect_body(r, "/last");
    expect_field(r, "Connection", "close");
    client_expect_closed(c);
    millpond_stop(m);
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start(target_script, NULL);
    struct millpond *m = millpond_before(o, NO_CACHE);
    struct client *c = client_open(m->port);
    char *all = textf("%s", "");
    for (int i = 0; i < 20; i++)
        all = textf("%s%s /%d HTTP/1.1\r\nHost: test\r\n%s", all, i % 3 == 1 ? "POST" : "GET", i,
                    i % 3 == 1 ? "Content-Length: 5\r\n\r\nhello" : "\r\n");
    client_send(c, "%s", all);
    for (int i = 0; i < 20; i++)
        expect_body(client_read(c), textf("/%d", i));
    assert_true(client_is_silent(c));
    /* Byte by byte is the same message. */
    const char *slow =
        "POST /slow HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\n\r\n";
    for (const char *p = slow; *p != '\0'; p++)
        client_send_bytes(c, p, 1);
    expect_body(client_read(c), "/slow");
    expect_body(origin_request(o, 20), "abc");
    millpond_stop(m);
}

static void head_and_bodiless_answers_keep_the_connection_in_step(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start_fixed("HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n");
    struct origin *none = origin_start_fixed("HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n");
    struct origin *unchanged =
        origin_start_fixed("HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 77\r\n\r\n");
    struct millpond *m = millpond_start(
            .cache = "store = off",
            .rest = textf(
                "%s%s%s[route n]\npath = /204\npool = none\n[route u]\npath = /304\npool = unchanged\n"
                "[route rest]\npool = app\n",
                pool_lines("app", 1, o), pool_lines("none", 1, none), pool_lines("unchanged", 1, unchanged)));
    struct client *c = client_open(m->port);
    client_send(c, "HEAD /a HTTP/1.1\r\nHost: test\r\n\r\nGET /204 HTTP/1.1\r\nHost: test\r\n\r\n"
                   "GET /304 HTTP/1.1\r\nHost: test\r\nIf-None-Match: \"a\"\r\n\r\nHEAD /b HTTP/1.1\r\nHost: "
                   "test\r\n\r\n");
    struct message *r = client_read_no_body(c);
    expect_status(r, 200);
    expect_field(r, "Content-Length", "1234");
    r = client_read(c);
    expect_status(r, 204);
    expect_no_field(r, "Content-Length");
    expect_no_field(r, "Transfer-Encoding");
    r = client_read(c);
    expect_status(r, 304);
    expect_field(r, "ETag", "\"a\"");
    expect_status(client_read_no_body(c), 200);
    assert_true(client_is_silent(c));
    assert_string_equal(origin_request(o, 0)->method, "HEAD");
    millpond_stop(m);
}

static void http_1_0_clients_get_what_they_can_read(void **state)
{
    UNUSED(state);
    struct origin *o =
        origin_start_fixed("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n"
                           "0\r\n\r\n");
    struct millpond *m = millpond_before(o, NO_CACHE);
    struct client *c = client_open(m->port);
    client_send(c, "GET / HTTP/1.0\r\nHost: test\r\n\r\n");
    struct message *r = client_read(c);
    expect_status(r, 200);
    expect_body(r, "onetwo");
    expect_no_field(r, "Transfer-Encoding"); /* RFC 9112 section 6.1 */
    client_expect_closed(c);
    expect_in(origin_request(o, 0)->start_line, "HTTP/1.1");

    millpond_stop(m);

    m = millpond_before(origin_start(target_script, NULL), NO_CACHE);
    c = client_open(m->port);
    client_send(c, "GET /1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    r = client_read(c);
    expect_body(r, "/1");
    expect_field(r, "Connection", "keep-alive");
    client_send(c, "GET /2 HTTP/1.0\r\n\r\n");
    expect_body(client_read(c), "/2");
    client_expect_closed(c);
    millpond_stop(m);
}

static void chunked_trailers_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(request);
    UNUSED(arg);
    origin_send(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
                   "4;name=value\r\nbody\r\n0\r\nX-Sum: 42\r\n\r\n");
}

static void chunked_bodies_and_trailers_pass_both_ways(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start(chunked_trailers_script, NULL);
    struct millpond *m = millpond_before(o, NO_CACHE);
    struct client *c = client_open(m->port);
    client_send(c, "POST /up HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\nTE: "
                   "trailers\r\nTrailer: X-Up\r\n\r\n"
                   "5\r\nhello\r\n6\r\n world\r\n0\r\nX-Up: done\r\n\r\n");
    struct message *r = client_read(c);
    expect_status(r, 200);
    expect_body(r, "body");
    expect_in(r->trailers, "X-Sum: 42");
    const struct message *up = origin_request(o, 0);
    expect_body(up, "hello world");
    assert_int_equal(up->framing, FRAMING_CHUNKED);
    expect_in(up->trailers, "X-Up: done");
    expect_no_field(up, "Content-Length");
    client_send(c, "GET /again HTTP/1.1\r\nHost: test\r\n\r\n");
    expect_body(client_read(c), "body");
    millpond_stop(m);
}

static void close_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(request);
    UNUSED(arg);
    origin_send(c, "HTTP/1.1 200 OK\r\nX-A: 1\r\n\r\nuntil the end");
    origin_close(c);
}

static void close_delimited_responses_are_framed_anew(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start(close_script, NULL);
    struct millpond *m = millpond_before(o, NO_CACHE);
    struct client *c = client_open(m->port);
    for (int i = 0; i < 2; i++) {
        client_send(c, "GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        struct message *r = client_read(c);
        expect_status(r, 200);
        expect_body(r, "until the end");
        assert_int_equal(r->framing, FRAMING_CHUNKED);
    }
    assert_int_equal(origin_connections(o), 2);
    millpond_stop(m);
}

static void expect_is_answered_when_the_body_is_wanted(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start(target_script, NULL);
    struct millpond *m = millpond_before(o, NO_CACHE);
    struct client *c = client_open(m->port);
    for (int i = 0; i < 2; i++) {
        client_send(c, "PUT /up HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
        assert_int_equal(client_read(c)->status, 100);
        client_send(c, "hello");
        expect_body(client_read(c), "/up");
        expect_body(origin_request(o, (unsigned)i), "hello");
    }
    client_send(c,
                "PUT /now HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello");
    struct message *r = client_read(c); /* the body is there already: the 100 may be left out */
    expect_body(r->status == 100 ? client_read(c) : r, "/now");
    client_send(c, "GET /none HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\n\r\n");
    expect_body(client_read(c), "/none"); /* no body, no 100: RFC 9110 section 10.1.1 */
    expect_status(client_ask(m->port, "PUT", "/x", "Expect: something-else\r\n", "hello"), 417);
    millpond_stop(m);
}

static void interim_responses_pass(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start_fixed("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
                                          "HTTP/1.1 102 Processing\r\n\r\n"
                                          "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone");
    struct millpond *m = millpond_before(o, NO_CACHE);
    struct client *c = client_open(m->port);
    client_send(c, "GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    struct message *r = client_read(c);
    assert_int_equal(r->status, 103);
    expect_field(r, "Link", "</a.css>; rel=preload");
    assert_int_equal(client_read(c)->status, 102);
    expect_body(client_read(c), "done");
    /* A 1.0 client knows no 1xx (RFC 9110 section 15.2). */
    expect_body(client_raw(m->port, "GET / HTTP/1.0\r\n\r\n"), "done");
    millpond_stop(m);
}

static void targets_take_their_other_forms(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start(target_script, NULL);
    struct millpond *m = millpond_before(o, NO_CACHE);
    struct client *c = client_open(m->port);
    client_send(c, "GET http://other.example:81/abs?x HTTP/1.1\r\nHost: test\r\n\r\n");
    expect_body(client_read(c), "/abs?x");
    expect_field(origin_request(o, 0), "Host", "other.example:81"); /* RFC 9112 section 3.2.2 */
    client_send(c, "GET http://other.example HTTP/1.1\r\nHost: other.example\r\n\r\n");
    expect_body(client_read(c), "/");
    client_send(c, "OPTIONS * HTTP/1.1\r\nHost: test\r\n\r\n"); /* asks about this server: answered here */
    struct message *r = client_read(c);
    expect_status(r, 200);
    expect_field_in(r, "Allow", "GET");
    client_send(c, "OPTIONS /page HTTP/1.1\r\nHost: test\r\n\r\n");
    expect_body(client_read(c), "/page");
    assert_string_equal(origin_request(o, 2)->method, "OPTIONS");
    client_send(c, "GET //double//slash/../kept HTTP/1.1\r\nHost: test\r\n\r\n");
    expect_body(client_read(c), "//double//slash/../kept");
    client_send(c, "BREW /pot HTTP/1.1\r\nHost: test\r\n\r\n");
    expect_status(client_read(c), 200);
    assert_string_equal(origin_request(o, 4)->method, "BREW");
    millpond_stop(m);
}

static void hop_by_hop_fields_stay_on_their_hop(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start_fixed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: X-Drop, "
                                          "keep-alive, Cache-Control\r\nKeep-Alive: timeout=5\r\n"
                                          "X-Drop: secret\r\nProxy-Authenticate: Basic\r\nX-Keep: "
                                          "kept\r\nUpgrade: h2c\r\nServer: app\r\n\r\nhi");
    struct millpond *m = millpond_before(o, NO_CACHE);
    struct message *r = client_get(m->port, "/",
                                   "Connection: X-Mine, Host, close, Authorization\r\nX-Mine: "
                                   "1\r\nKeep-Alive: 3\r\nTE: gzip\r\nProxy-Connection: x\r\n"
                                   "Proxy-Authorization: Basic eA==\r\nAuthorization: Bearer a\r\nX-Other: "
                                   "2\r\nAccept-Encoding: br\r\n");
    expect_status(r, 200);
    expect_no_field(r, "X-Drop");
    expect_no_field(r, "Keep-Alive");
    expect_no_field(r, "Upgrade");
    expect_field(r, "X-Keep", "kept");
    expect_field(r, "Server", "app"); /* the application's own stays */
    const struct message *up = origin_request(o, 0);
    expect_no_field(up, "X-Mine");
    expect_no_field(up, "Keep-Alive");
    expect_no_field(up, "Proxy-Connection");
    expect_no_field(up, "Upgrade");
    expect_field(up, "X-Other", "2");
    expect_field(up, "Host", "test"); /* not removable by naming it in Connection */
    expect_field(up, "Accept-Encoding", "br");
    millpond_stop(m);
}

static void instances_learn_who_asked(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start(target_script, NULL);
    struct millpond *m = millpond_before(o, NO_CACHE);
    struct message *r =
        client_get(m->port, "/",
                   "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\n"
                   "Forwarded: for=6.6.6.6\r\nX-Request-Id: forged\r\nVia: 1.0 elsewhere\r\n");
    expect_status(r, 200);
    const struct message *up = origin_request(o, 0);
    expect_field(up, "Host", "test");
    /* Nobody is trusted: what the client claimed about itself is gone. */
    expect_field(up, "X-Forwarded-For", "127.0.0.1");
    expect_field(up, "X-Forwarded-Proto", "http");
    expect_field(up, "X-Forwarded-Host", "test");
    const char *forwarded = message_field(up, "Forwarded");
    assert_non_null(forwarded);
    expect_in(forwarded, "for=127.0.0.1");
    expect_in(forwarded, "proto=http");
    expect_not_in(forwarded, "6.6.6.6");
    assert_int_equal(message_field_count(up, "X-Request-Id"), 1);
    expect_not_in(message_field(up, "X-Request-Id"), "forged");
    assert_true(strlen(message_field(up, "X-Request-Id")) >= 16);
    expect_in(up->head, "1.0 elsewhere"); /* Via grows, RFC 9110 section 7.6.3 */
    expect_in(up->head, "1.1 millpond");
    client_get(m->port, "/", "");
    assert_string_not_equal(message_field(origin_request(o, 1), "X-Request-Id"),
                            message_field(up, "X-Request-Id"));
    millpond_stop(m);
}

static void trusted_proxies_are_believed(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start(target_script, NULL);
    struct millpond *m = millpond_start(.main = "trusted_proxies = 127.0.0.0/8, 10.0.0.0/8",
                                        .cache = "store = off", .rest = pool_lines("app", 1, o));
    client_get(m->port, "/",
               "X-Forwarded-For: 1.1.1.1, 9.9.9.9, 10.1.2.3\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: "
               "shop.example\r\n"
               "X-Request-Id: from-the-edge-0123456789\r\n");
    const struct message *up = origin_request(o, 0);
    expect_field(up, "X-Forwarded-For", "1.1.1.1, 9.9.9.9, 10.1.2.3, 127.0.0.1");
    expect_field(up, "X-Forwarded-Proto", "https");
    expect_field(up, "X-Forwarded-Host", "shop.example");
    expect_field(up, "X-Request-Id", "from-the-edge-0123456789");
    /* The first from the right that is not a trusted proxy is the client. */
    json_t *line = millpond_access_line(m, "from-the-edge");
    assert_string_equal(json_string_value(json_find(line, "client")), "9.9.9.9");
    millpond_stop(m);
}

#define HALF_HEAD "HTTP/1.1 200 OK\r\nX-Half: "

static void halves_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(request);
    if (c->served > 0) {
        origin_send(c, "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone");
        return;
    }
    origin_send(c, HALF_HEAD);
    gate_pass(arg);
    origin_send(c, "1\r\nContent-Length: 2\r\n\r\nok");
}

static void half_a_head_stays_with_its_response(void **state)
{
    UNUSED(state);
    struct gate *g = gate_new();
    struct origin *o = origin_start(halves_script, g);
    struct millpond *m =
        millpond_start(.main = "workers = 1\n", .cache = "store = off", .rest = pool_lines("app", 1, o));
    struct client *c = client_open(m->port);
    client_send(c, "GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    millpond_wait_figure(m, "upstream_received_bytes", strlen(HALF_HEAD));
    gate_open(g);
    struct message *r = client_read(c);
    expect_status(r, 200);
    expect_field(r, "X-Half", "1");
    expect_body(r, "ok");
    client_send(c, "GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    r = client_read(c); /* over the same connection */
    expect_status(r, 404);
    expect_no_field(r, "X-Half");
    assert_int_equal(origin_connections(o), 1);
    assert_int_equal(origin_requests(o), 2);
    millpond_stop(m);
}

static void real_applications_work_behind_it(void **state)
{
    UNUSED(state);
    struct app node = app_node("let n = 0; req.on('data', d => n += d.length);"
                               "req.on('end', () => res.end(req.method + ' ' + req.url + ' ' + n));");
    support_write_file(support_path("page.html"), "<p>from disk</p>");
    struct app python = app_python_files(support_dir());
    struct millpond *m =
        millpond_start(.cache = "store = off",
                       .rest =
                           textf("[pool node]\nserver = 127.0.0.1:%d\n[pool python]\nserver = 127.0.0.1:%d\n"
                                 "[route files]\npath = *.html\npool = python\n[route rest]\npool = node\n",
                                 node.port, python.port));
    expect_body(client_get(m->port, "/hello?a=1", ""), "GET /hello?a=1 0");
    expect_body(client_ask(m->port, "POST", "/p", "", "12345"), "POST /p 5");
    struct message *r = client_get(m->port, "/page.html", "");
    expect_body(r, "<p>from disk</p>");
    expect_field_in(r, "Content-Type", "text/html");
    expect_status(client_get(m->port, "/missing.html", ""), 404);
    const char *curl[] = {"curl", "-sS", "--max-time",
                          "10",   "-H",  "Expect: 100-continue",
                          "-d",   "x=1", textf("http://127.0.0.1:%d/c", m->port),
                          NULL};
    struct proc_result c = proc_run(curl);
    assert_int_equal(c.exit_code, 0);
    assert_string_equal(c.out, "POST /c 3");
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(get_passes_and_connections_are_kept),
        E2E_TEST(pipelined_requests_are_answered_in_order),
        E2E_TEST(head_and_bodiless_answers_keep_the_connection_in_step),
        E2E_TEST(http_1_0_clients_get_what_they_can_read),
        E2E_TEST(chunked_bodies_and_trailers_pass_both_ways),
        E2E_TEST(close_delimited_responses_are_framed_anew),
        E2E_TEST(expect_is_answered_when_the_body_is_wanted),
        E2E_TEST(interim_responses_pass),
        E2E_TEST(targets_take_their_other_forms),
        E2E_TEST(hop_by_hop_fields_stay_on_their_hop),
        E2E_TEST(instances_learn_who_asked),
        E2E_TEST(trusted_proxies_are_believed),
        E2E_TEST(half_a_head_stays_with_its_response),
        E2E_TEST(real_applications_work_behind_it),
    };
    return E2E_RUN("basic_forward", tests);
}
