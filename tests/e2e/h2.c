/* h2.c: HTTP/2 towards clients: agreed on by ALPN or known beforehand, heads and bodies both ways, what the
 * application is told, and flow control in both directions. */
#include "tests/support/h2.h"
#include "tests/support/millpond.h"
#include "tests/support/pages.h"
#include "tests/support/tls.h"

#define PLAIN "protocols = h2, http/1.1, h2c\n"

static struct page pages[] = {{.path = "/p", .fields = "Cache-Control: max-age=600\r\nX-Own: Yes\r\n"},
                              {.path = "/q", .fields = "Cache-Control: no-store\r\n"},
                              {0}};

static struct millpond *start_with(struct origin *o, const char *main_lines, const char *listen_lines)
{
    pages[0].served = pages[1].served = 0;
    return millpond_start(.main = textf("workers = 1\n%s", main_lines),
                          .listen = textf(PLAIN "%s", listen_lines), .rest = pool_lines("app", 1, o));
}

static struct millpond *start(struct origin *o)
{
    return start_with(o, "", "");
}

static struct proc_result curl(int port, const char *scheme, const char *target, const char *a, const char *b,
                               const char *c)
{
    const char *argv[12] = {"curl", "-sS", "-k", "-i"};
    size_t n = 4;
    const char *const more[] = {a, b, c};
    for (size_t i = 0; i < 3 && more[i] != NULL; i++)
        argv[n++] = more[i];
    argv[n++] = textf("%s://localhost:%d%s", scheme, port, target);
    struct proc_result r = proc_run(argv);
    EXPECT(r.exit_code == 0, "curl: %s", r.err);
    return r;
}

/* ---- programs ---- */

static void curl_agrees_on_it_by_alpn(void **state)
{
    UNUSED(state);
    struct origin *app = origin_start(pages_script, pages);
    struct tls_cert *cert = tls_cert_make("cert");
    struct millpond *m = start_with(app, "", textf("%shsts = on\n", tls_cert_lines(cert)));
    struct proc_result r = curl(m->port, "https", "/p", "--http2", NULL, NULL);
    expect_in(r.out, "HTTP/2 200");
    expect_in(r.out, "x-own: Yes");
    expect_in(r.out, "strict-transport-security: max-age=");
    expect_in(r.out, "/p#1");
    expect_in(curl(m->port, "https", "/p", "--http2", NULL, NULL).out, "age: ");
    expect_in(curl(m->port, "https", "/p", "--http1.1", NULL, NULL).out, "HTTP/1.1 200");
    json_t *line = millpond_access_line(m, "\"HTTP/2\"");
    assert_string_equal(json_string_value(json_object_get(line, "scheme")), "https");
    millpond_wait_figure(m, "h2_streams", 0);
    assert_int_equal(millpond_figure(m, "h2_connections"), 2);
    millpond_stop(m);
}

static void what_is_offered_is_configured(void **state)
{
    UNUSED(state);
    struct origin *app = origin_start(pages_script, pages);
    struct tls_cert *cert = tls_cert_make("cert");
    struct millpond *m =
        millpond_start(.main = "workers = 1\n",
                       .listen = textf("%sprotocols = http/1.1\n", tls_cert_lines(cert)),
                       .rest = textf("%s[listen plain]\naddress = 127.0.0.1:0\n", pool_lines("app", 1, app)));
    expect_in(curl(m->port, "https", "/p", "--http2", NULL, NULL).out, "HTTP/1.1 200");
    struct h2_client *c = h2_open(millpond_port(m, "plain"));
    while (wire_more(&c->wire, support_wait_ms()))
        continue;
    expect_in(c->wire.buf, "HTTP/1.1 505");
    millpond_stop(m);
}

static void curl_with_prior_knowledge(void **state)
{
    UNUSED(state);
    struct millpond *m = start(origin_start(pages_script, pages));
    expect_in(curl(m->port, "http", "/p", "--http2-prior-knowledge", NULL, NULL).out, "/p#1");
    expect_in(curl(m->port, "http", "/p", "--http1.1", NULL, NULL).out, "/p#1");
    struct proc_result r = curl(m->port, "http", "/p", "--http2-prior-knowledge", "-I", NULL);
    expect_in(r.out, "HTTP/2 200");
    expect_in(r.out, "content-length: 4");
    expect_not_in(r.out, "/p#1");
    millpond_stop(m);
}

/* ---- requests ---- */

static void echo_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(arg);
    origin_respond(c, 200, "Cache-Control: no-store\r\n", request->body);
}

static void echo_big_script(struct origin_conn *c, const struct message *request, void *arg)
{
    char text[40];
    UNUSED(arg);
    snprintf(text, sizeof text, "%zu bytes", request->body_len);
    origin_respond(c, 200, "Cache-Control: no-store\r\n", text);
}

static void heads_reach_the_application_as_http_1(void **state)
{
    UNUSED(state);
    struct origin *app = origin_start(pages_script, pages);
    struct millpond *m = start(app);
    struct h2_client *c = h2_open(m->port);
    h2_headers(c, NGHTTP2_FLAG_END_STREAM, 1, H2_GET("/q?a=b"), "cookie", "a=1", "x-own", "v", "cookie",
               "b=2", "te", "trailers");
    h2_expect(c, 1, 200, "/q#1");
    const struct message *r = origin_request(app, 0);
    assert_string_equal(r->start_line, "GET /q?a=b HTTP/1.1");
    assert_string_equal(message_field(r, "Host"), "test");
    assert_string_equal(message_field(r, "Cookie"), "a=1; b=2");
    assert_string_equal(message_field(r, "x-own"), "v");
    assert_string_equal(message_field(r, "Via"), "2.0 millpond");
    assert_null(message_field(r, "TE"));
    assert_null(message_field(r, "Transfer-Encoding"));
    expect_in(h2_answer(c, 1)->head, "content-length: 4\n");
    expect_not_in(h2_answer(c, 1)->head, "connection");
    assert_int_equal(c->goaway, H2_NO_CODE);
    millpond_stop(m);
}

static void bodies_go_up(void **state)
{
    UNUSED(state);
    struct origin *app = origin_start(echo_big_script, NULL);
    struct millpond *m = start(app);
    struct h2_client *c = h2_open(m->port);
    h2_headers(c, 0, 1, H2_POST("/q"), "content-length", "5");
    h2_data(c, NGHTTP2_FLAG_END_STREAM, 1, "hello", 5);
    h2_expect(c, 1, 200, "5 bytes");
    assert_string_equal(message_field(origin_request(app, 0), "Content-Length"), "5");
    h2_headers(c, 0, 3, H2_POST("/q"));
    origin_wait_requests(app, 1);
    h2_data(c, 0, 3, "hel", 3);
    h2_sync(c);
    h2_data(c, 0, 3, "lo", 2);
    h2_headers(c, NGHTTP2_FLAG_END_STREAM, 3, "x-sum", "1");
    h2_expect(c, 3, 200, "5 bytes");
    const struct message *r = origin_request(app, 1);
    assert_string_equal(message_field(r, "Transfer-Encoding"), "chunked");
    expect_in(r->trailers, "x-sum: 1");
    assert_string_equal(r->body, "hello");
    support_write_file(support_path("big"), text_repeat('x', 3 << 20));
    struct proc_result big = curl(m->port, "http", "/q", "--http2-prior-knowledge", "--data-binary",
                                  textf("@%s", support_path("big")));
    expect_in(big.out, "3145728 bytes");
    millpond_stop(m);
}

static void a_small_body_that_is_there_has_a_length(void **state)
{
    UNUSED(state);
    struct origin *app = origin_start(echo_script, NULL);
    struct millpond *m = start(app);
    struct h2_client *c = h2_open(m->port);
    unsigned char buf[512], frames[1024];
    const char *const fields[] = {H2_POST("/q"), NULL};
    size_t n = h2_encode(fields, buf, sizeof buf);
    /* one write, so that it is one read */
    memcpy(frames,
           (unsigned char[]){0, 0, (unsigned char)n, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 0, 0, 0, 1},
           9);
    memcpy(frames + 9, buf, n);
    memcpy(frames + 9 + n,
           (unsigned char[]){0, 0, 3, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 0, 0, 0, 1, 'a', 'b', 'c'}, 12);
    wire_send(&c->wire, frames, 9 + n + 12);
    h2_expect(c, 1, 200, "abc");
    assert_string_equal(message_field(origin_request(app, 0), "Content-Length"), "3");
    millpond_stop(m);
}

static void expect_continue_is_answered(void **state)
{
    UNUSED(state);
    struct millpond *m = start(origin_start(echo_script, NULL));
    struct h2_client *c = h2_open(m->port);
    h2_headers(c, 0, 1, H2_POST("/q"), "expect", "100-continue");
    while (h2_answer(c, 1)->interim == 0)
        EXPECT(h2_read(c), "no interim answer");
    assert_int_equal(h2_answer(c, 1)->interim, 100);
    h2_data(c, NGHTTP2_FLAG_END_STREAM, 1, "abc", 3);
    h2_expect(c, 1, 200, "abc");
    millpond_stop(m);
}

/* What HTTP/1.1 would read differently must not get that far. */
static void malformed_requests_end_their_stream_only(void **state)
{
    UNUSED(state);
    struct origin *app = origin_start(pages_script, pages);
    struct millpond *m = start(app);
    struct h2_client *c = h2_open(m->port);
#define FIELDS(...)                                                                                          \
    (const char *const[])                                                                                    \
    {                                                                                                        \
        __VA_ARGS__, NULL                                                                                    \
    }
    const char *const *const cases[] = {
        FIELDS(H2_GET("/q"), "transfer-encoding", "chunked"),
        FIELDS(H2_GET("/q"), "connection", "close"),
        FIELDS(H2_GET("/q"), "x", "a\r\nx-evil: b"),
        FIELDS(H2_GET("/q"), "x\r\ny", "a"),
        FIELDS(H2_GET("/q"), "X-Upper", "a"),
        FIELDS(H2_GET("/q"), "x", " a"),
        FIELDS(H2_GET("/q"), "host", "other"),
        FIELDS(H2_GET("/q HTTP/1.1\r\nx: y")),
        FIELDS(H2_GET("http://other/q")),
        FIELDS(H2_GET("/q"), ":path", "/q"),
        FIELDS(":method", "GET", "x", "y", ":scheme", "http", ":authority", "test", ":path", "/q"),
        FIELDS(":method", "GET", ":scheme", "http", ":authority", "test"),
        FIELDS(":method", "GET", ":scheme", "http", ":path", "/q"),
        FIELDS(H2_GET("/q"), ":protocol", "websocket"),
        FIELDS(H2_GET("/q"), "content-length", "5"),
        FIELDS(H2_GET("/q"), "content-length", "0", "content-length", "1"),
    };
    for (uint32_t i = 0; i < ARRAY_LEN(cases); i++) {
        h2_headers_(c, NGHTTP2_FLAG_END_STREAM, 2 * i + 1, cases[i]);
        struct h2_answer *a = h2_wait(c, 2 * i + 1);
        EXPECT(a->reset == NGHTTP2_PROTOCOL_ERROR, "case %u: reset %lld, status %d", i, (long long)a->reset,
               a->status);
    }
    h2_get(c, 1001, "/q");
    h2_expect(c, 1001, 200, "/q#1");
    assert_int_equal(origin_requests(app), 1);
    assert_int_equal(c->goaway, H2_NO_CODE);
    millpond_stop(m);
}

/* More or less DATA than Content-Length says: the stream ends, and the instance never sees a whole request,
 * whether it has its head already or not. */
static void content_length_binds_data(void **state)
{
    UNUSED(state);
    static const char *const wrong[] = {"10", "2"};
    struct origin *app = origin_start(echo_script, NULL);
    struct millpond *m = start(app);
    struct h2_client *c = h2_open(m->port);
    uint32_t id = 1;
    for (unsigned late = 0; late < 2; late++) {
        for (size_t i = 0; i < ARRAY_LEN(wrong); i++, id += 2) {
            h2_headers(c, 0, id, H2_POST("/q"), "content-length", wrong[i]);
            if (late)
                millpond_wait_figure(m, "upstream_connections", 1);
            h2_data(c, NGHTTP2_FLAG_END_STREAM, id, "abc", 3);
            assert_int_equal(h2_wait(c, id)->reset, NGHTTP2_PROTOCOL_ERROR);
            millpond_wait_figure(m, "upstream_connections", 0);
        }
    }
    h2_headers(c, 0, id, H2_POST("/q"), "content-length", "3");
    h2_data(c, NGHTTP2_FLAG_END_STREAM, id, "abc", 3);
    h2_expect(c, id, 200, "abc");
    origin_wait_open(app, 1);
    unsigned whole = 0;
    for (unsigned i = 0; i < origin_requests(app); i++)
        whole += origin_request(app, i)->end == MESSAGE_COMPLETE;
    assert_int_equal(whole, 1);
    millpond_stop(m);
}

/* RFC 9113 section 8.1: nothing comes behind trailers, so their frame says that it is the last. */
static void trailers_end_the_request(void **state)
{
    UNUSED(state);
    struct origin *app = origin_start(echo_script, NULL);
    struct millpond *m = start(app);
    struct h2_client *c = h2_open(m->port);
    h2_headers(c, 0, 1, H2_POST("/q"));
    h2_data(c, 0, 1, "abc", 3);
    h2_headers(c, 0, 1, "x-sum", "1");
    assert_int_equal(h2_wait(c, 1)->reset, NGHTTP2_PROTOCOL_ERROR);
    h2_headers(c, 0, 3, H2_POST("/q"), "content-length", "3");
    h2_data(c, 0, 3, "abc", 3);
    h2_headers(c, NGHTTP2_FLAG_END_STREAM, 3, "x-sum", "1");
    h2_expect(c, 3, 200, "abc");
    assert_int_equal(c->goaway, H2_NO_CODE);
    millpond_stop(m);
}

static void what_is_too_much_gets_a_status(void **state)
{
    UNUSED(state);
    struct millpond *m =
        start_with(origin_start(echo_script, NULL), "",
                   "max_header_size = 2K\nmax_headers = 10\nmax_target = 100\nmax_body_size = 1K\n");
    struct h2_client *c = h2_open(m->port);
    h2_headers(c, NGHTTP2_FLAG_END_STREAM, 1, H2_GET("/q"), "x", text_repeat('x', 3000));
    h2_expect(c, 1, 431, NULL);
    h2_headers(c, NGHTTP2_FLAG_END_STREAM, 3, H2_GET(textf("/%s", text_repeat('x', 100))));
    h2_expect(c, 3, 414, NULL);
    h2_headers(c, NGHTTP2_FLAG_END_STREAM, 5, H2_GET("/q"), "cookie", "", "cookie", "", "cookie", "",
               "cookie", "", "cookie", "", "cookie", "", "cookie", "", "cookie", "", "cookie", "", "cookie",
               "", "cookie", "");
    h2_expect(c, 5, 431, NULL);
    h2_headers(c, 0, 7, H2_POST("/q"), "content-length", "2000");
    h2_expect(c, 7, 413, NULL);
    h2_headers(c, 0, 9, H2_POST("/q"));
    h2_data(c, 0, 9, text_repeat('x', 2000), 2000);
    h2_expect(c, 9, 413, NULL);
    h2_headers(c, NGHTTP2_FLAG_END_STREAM, 11, ":method", "CONNECT", ":authority", "test:443");
    h2_expect(c, 11, 501, NULL);
    h2_get(c, 13, "/q");
    h2_expect(c, 13, 200, "");
    assert_int_equal(c->goaway, H2_NO_CODE);
    millpond_stop(m);
}

/* ---- responses ---- */

static void trailers_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(arg);
    if (strcmp(request->target, "/early") == 0)
        origin_send(c, "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n");
    origin_send(c, "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nTransfer-Encoding: chunked\r\n\r\n"
                   "3\r\nabc\r\n3\r\ndef\r\n0\r\nX-Sum: 7\r\n\r\n");
}

static void trailers_and_early_hints_come_down(void **state)
{
    UNUSED(state);
    struct millpond *m = start(origin_start(trailers_script, NULL));
    struct h2_client *c = h2_open(m->port);
    h2_get(c, 1, "/t");
    h2_expect(c, 1, 200, "abcdef");
    expect_in(h2_answer(c, 1)->head, "x-sum: 7\n");
    expect_not_in(h2_answer(c, 1)->head, "transfer-encoding");
    h2_get(c, 3, "/early");
    h2_expect(c, 3, 200, "abcdef");
    assert_int_equal(h2_answer(c, 3)->interim, 103);
    expect_in(h2_answer(c, 3)->head, "link: </a.css>; rel=preload\n");
    millpond_stop(m);
}

static void cut_script(struct origin_conn *c, const struct message *request, void *arg)
{
    struct gate *gate = arg;
    UNUSED(request);
    origin_send(c, "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 10\r\n\r\nabc");
    gate_pass(gate);
    origin_reset(c);
}

static void a_cut_response_is_reset(void **state)
{
    UNUSED(state);
    struct gate *gate = gate_new();
    struct millpond *m = start(origin_start(cut_script, gate));
    struct h2_client *c = h2_open(m->port);
    h2_get(c, 1, "/c");
    while (h2_answer(c, 1)->body_len < 3)
        EXPECT(h2_read(c), "nothing of the body");
    gate_open(gate);
    struct h2_answer *a = h2_wait(c, 1);
    assert_int_equal(a->reset, NGHTTP2_INTERNAL_ERROR);
    assert_false(a->ended);
    h2_sync(c);
    millpond_stop(m);
}

static void many_at_once(void **state)
{
    UNUSED(state);
    struct origin *app = origin_start(pages_script, pages);
    struct millpond *m = start(app);
    struct h2_client *c = h2_open(m->port);
    h2_get(c, 1, "/p");
    h2_expect(c, 1, 200, "/p#1");
    for (uint32_t i = 1; i <= 100; i++)
        h2_get(c, 2 * i + 1, i % 2 ? "/p" : "/q");
    for (uint32_t i = 1; i <= 100; i++)
        h2_expect(c, 2 * i + 1, 200, i % 2 ? "/p#1" : NULL);
    assert_int_equal(origin_requests(app), 51);
    millpond_wait_figure(m, "h2_streams", 0);
    millpond_stop(m);
}

static void large_script(struct origin_conn *c, const struct message *request, void *arg)
{
    const size_t bytes = 1 << 20;
    UNUSED(arg);
    char *body = malloc(bytes + 1);
    for (size_t i = 0; i < bytes; i++)
        body[i] = (char)('a' + i % 23);
    body[bytes] = '\0';
    origin_respond(c, 200,
                   strncmp(request->target, "/stored", 7) == 0 ? "Cache-Control: max-age=60\r\n"
                                                               : "Cache-Control: no-store\r\n",
                   body);
    free(body);
}

static void expect_large(struct h2_client *c, uint32_t id)
{
    struct h2_answer *a = h2_wait(c, id);
    EXPECT(a->body_len == 1 << 20, "%zu bytes", a->body_len);
    for (size_t i = 0; i < a->body_len; i++)
        EXPECT(a->body[i] == (char)('a' + i % 23), "byte %zu", i);
}

/* A stream whose client opens no window stands still, and nobody else does. */
static void a_stalled_stream_stalls_no_other(void **state)
{
    UNUSED(state);
    struct origin *app = origin_start(large_script, NULL);
    struct millpond *m = start(app);
    struct h2_client *c = h2_open(m->port, .no_window_updates = true);
    h2_window_update(c, 0, 100 << 20);
    h2_get(c, 1, "/relayed");
    h2_get(c, 3, "/stored");
    while (h2_answer(c, 1)->body_len < 65535 || h2_answer(c, 3)->body_len < 65535)
        EXPECT(h2_read(c), "no first window full");
    for (uint32_t id = 5; id < 13; id += 2) {
        h2_get(c, id, id % 4 == 1 ? "/stored" : "/relayed?2");
        while (h2_answer(c, id)->status == 0)
            EXPECT(h2_read(c), "no head");
        h2_window_update(c, id, 2 << 20);
        expect_large(c, id);
    }
    assert_int_equal(h2_answer(c, 1)->body_len, 65535);
    h2_window_update(c, 1, 2 << 20);
    h2_window_update(c, 3, 2 << 20);
    expect_large(c, 1);
    expect_large(c, 3);
    millpond_stop(m);
}

static void windows_may_be_tiny(void **state)
{
    UNUSED(state);
    struct millpond *m = start(origin_start(pages_script, pages));
    struct h2_client *c = h2_open(m->port, .window = 1);
    h2_get(c, 1, "/q");
    h2_expect(c, 1, 200, "/q#1");
    h2_get(c, 3, "/p");
    h2_expect(c, 3, 200, "/p#1");
    h2_get(c, 5, "/p");
    h2_expect(c, 5, 200, "/p#1");
    millpond_stop(m);
}

static void held_script(struct origin_conn *c, const struct message *request, void *arg)
{
    if (strcmp(request->target, "/held") == 0)
        gate_pass(arg);
    origin_read_body(c);
    origin_respond(c, 200, "Cache-Control: no-store\r\n", "done");
}

/* An instance that does not read holds up the upload, whose window is not opened, and no other. */
static void a_stalled_upload_stalls_no_other(void **state)
{
    UNUSED(state);
    struct gate *gate = gate_new();
    struct origin *app = origin_start_with(&(struct origin_options){
        .script = held_script, .arg = gate, .head_only = true, .rcvbuf_bytes = 4096});
    struct millpond *m = start(app);
    struct h2_client *c = h2_open(m->port);
    char *piece = text_repeat('x', 16000);
    h2_sync(c);
    h2_headers(c, 0, 1, H2_POST("/held"));
    int64_t window = 16384;
    uint64_t given = c->window_given[1];
    unsigned quiet = 0, sent = 0;
    while (quiet < 3) { /* as far as windows allow */
        while (window >= 16000) {
            h2_data(c, 0, 1, piece, 16000);
            window -= 16000;
            sent += 16000;
        }
        h2_sync(c);
        EXPECT(sent < 8 << 20, "its window never shuts");
        quiet = c->window_given[1] == given ? quiet + 1 : 0;
        window += (int64_t)(c->window_given[1] - given);
        given = c->window_given[1];
    }
    for (uint32_t id = 3; id < 11; id += 2) {
        h2_headers(c, 0, id, H2_POST("/other"));
        h2_data(c, NGHTTP2_FLAG_END_STREAM, id, piece, 10000);
        h2_expect(c, id, 200, "done");
    }
    h2_data(c, NGHTTP2_FLAG_END_STREAM, 1, "", 0);
    gate_open(gate);
    h2_expect(c, 1, 200, "done");
    millpond_stop(m);
}

/* Two streams that wait for the window of their connection, which then opens: how much the one that was
 * asked for last has when the other is through. `update`: PRIORITY_UPDATE for the first, behind its head. */
static size_t share_of_the_second(struct millpond *m, const char *first, const char *second,
                                  const char *update)
{
    struct h2_client *c = h2_open(m->port, .no_window_updates = true);
    h2_get(c, 1, "/stored"); /* takes all of the connection's window, and stands */
    h2_wait_body(c, 1, 65535);
    for (uint32_t id = 3; id <= 5; id += 2) {
        h2_headers(c, NGHTTP2_FLAG_END_STREAM, id, H2_GET("/stored"), "priority", id == 3 ? first : second);
        h2_window_update(c, id, 1 << 20);
    }
    if (update != NULL) {
        char payload[40] = {0, 0, 0, 3};
        memcpy(payload + 4, update, strlen(update));
        h2_frame(c, NGHTTP2_PRIORITY_UPDATE, 0, 0, payload, 4 + strlen(update));
    }
    h2_sync(c);
    assert_int_equal(h2_answer(c, 3)->body_len + h2_answer(c, 5)->body_len, 0);
    h2_window_update(c, 0, 3 << 20);
    while (!h2_answer(c, 3)->ended)
        EXPECT(h2_read(c), "nothing more");
    const size_t share = h2_answer(c, 5)->body_len;
    expect_large(c, 3);
    expect_large(c, 5);
    h2_close(c);
    return share;
}

static void priorities_are_obeyed(void **state)
{
    UNUSED(state);
    static const struct {
        const char *first, *second, *update;
        size_t least, most; /* of the second, in KB */
    } rows[] = {
        {"u=3", "u=3", NULL, 0, 64},            /* one after the other */
        {"u=3, i", "u=3, i", NULL, 768, 1024},  /* in turns */
        {"u=3", "u=0", NULL, 1024, 1024},       /* the more urgent one first */
        {"u=0", "u=3", "u=7", 1024, 1024},      /* as was said later */
        {"u=7", "u=3", "u=0", 0, 64},           /* in either direction */
        {"u=3", "u=3, i", "u=3, i", 768, 1024}, /* of turns, too */
    };
    struct millpond *m = start(origin_start(large_script, NULL));
    client_get(m->port, "/stored", "");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const size_t share = share_of_the_second(m, rows[i].first, rows[i].second, rows[i].update) / 1024;
        EXPECT(share >= rows[i].least && share <= rows[i].most, "%s and %s: %zu KB", rows[i].first,
               rows[i].second, share);
    }
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(curl_agrees_on_it_by_alpn),
        E2E_TEST(what_is_offered_is_configured),
        E2E_TEST(curl_with_prior_knowledge),
        E2E_TEST(heads_reach_the_application_as_http_1),
        E2E_TEST(bodies_go_up),
        E2E_TEST(a_small_body_that_is_there_has_a_length),
        E2E_TEST(expect_continue_is_answered),
        E2E_TEST(malformed_requests_end_their_stream_only),
        E2E_TEST(content_length_binds_data),
        E2E_TEST(trailers_end_the_request),
        E2E_TEST(what_is_too_much_gets_a_status),
        E2E_TEST(trailers_and_early_hints_come_down),
        E2E_TEST(a_cut_response_is_reset),
        E2E_TEST(many_at_once),
        E2E_TEST(a_stalled_stream_stalls_no_other),
        E2E_TEST(windows_may_be_tiny),
        E2E_TEST(a_stalled_upload_stalls_no_other),
        E2E_TEST(priorities_are_obeyed),
    };
    return E2E_RUN("e2e/h2", tests);
}
