/* h2_tunnel.c: WebSockets over HTTP/2 (RFC 8441): who gets one and what the instance sees of it, what passes
 * and how it ends, and that a tunnel is one stream among others: bounded, and in nobody's way. */
#include <signal.h>
#include <sys/socket.h>

#include "core/websocket_key.h"
#include "tests/support/h2.h"
#include "tests/support/millpond.h"

#define CONNECT(path)                                                                                        \
    ":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":authority", "test", ":path", path,  \
        "sec-websocket-version", "13"
#define BIG               (4 * MB)
#define H2_INITIAL_WINDOW (16 * KB)

static const char *text_of(json_t *line, const char *name)
{
    const char *text = json_string_value(json_find(line, name));
    return text != NULL ? text : "";
}

static struct millpond *start_with(struct origin *o, const char *listen_lines, const char *sections)
{
    return millpond_start(.main = "workers = 1\nshutdown_timeout = 700ms\n",
                          .listen = textf("protocols = h2, http/1.1, h2c\n%s", listen_lines),
                          .rest = textf("%s%s", pool_lines("app", 1, o), sections));
}

static struct millpond *start(struct origin *o)
{
    return start_with(o, "", "");
}

/* ---- instances ---- */

static bool grant(struct origin_conn *c, const struct message *request, const char *more)
{
    char accept[WEBSOCKET_ACCEPT_BYTES];
    const char *key = message_field(request, "Sec-WebSocket-Key");
    if (key == NULL || strlen(key) != WEBSOCKET_KEY_BYTES)
        return origin_respond(c, 400, "", "no key") && false;
    websocket_key_answer(key, accept);
    return origin_send(c,
                       "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                       "Sec-WebSocket-Accept: %.*s\r\nSec-WebSocket-Protocol: chat\r\n\r\n%s",
                       (int)sizeof accept, accept, more);
}

/* Sends back what comes, until its end; then "bye", and ends too. Other requests get a page. */
static void echo_script(struct origin_conn *c, const struct message *request, void *arg)
{
    if (message_field(request, "Upgrade") == NULL) {
        origin_respond(c, 200, "Cache-Control: no-store\r\n", "page");
        return;
    }
    bool ok = grant(c, request, arg != NULL ? arg : "");
    while (ok && (c->wire.len > 0 || wire_more(&c->wire, 4 * support_wait_ms()))) {
        ok = origin_send_bytes(c, c->wire.buf, c->wire.len);
        wire_take(&c->wire, c->wire.len);
    }
    if (c->wire.closed)
        origin_send(c, "bye");
    origin_close(c);
    if (!c->wire.closed && !c->wire.reset)
        origin_wait_peer_close(c);
}

static struct origin *scripted(origin_script *script, void *arg)
{
    return origin_start_with(&(struct origin_options){.script = script, .arg = arg, .head_only = true});
}

static struct origin *echo_origin(const char *first)
{
    return scripted(echo_script, (void *)(uintptr_t)first);
}

static void open_tunnel(struct h2_client *c, uint32_t id)
{
    h2_headers(c, 0, id, CONNECT("/ws"));
    assert_int_equal(h2_wait_head(c, id)->status, 200);
}

static void expect_bytes(struct h2_client *c, uint32_t id, const char *text)
{
    struct h2_answer *a = h2_wait_body(c, id, strlen(text));
    assert_string_equal(a->body, text);
}

/* ---- bytes ---- */

static void bytes_pass_both_ways(void **state)
{
    UNUSED(state);
    struct origin *o = echo_origin("hello ");
    struct millpond *m = start(o);
    struct h2_client *c = h2_open(m->port);
    h2_headers(c, 0, 1, CONNECT("/ws?a=b"), "origin", "http://test", "sec-websocket-key", "mine",
               "if-none-match", "*", "range", "bytes=0-1", "user-agent", "tests");
    h2_data(c, 0, 1, "EARLY ", 6);
    expect_bytes(c, 1, "hello EARLY ");
    assert_true(c->connects);
    struct h2_answer *a = h2_answer(c, 1);
    assert_int_equal(a->status, 200);
    expect_in(a->head, "sec-websocket-protocol: chat\n");
    expect_not_in(a->head, "sec-websocket-accept");
    expect_not_in(a->head, "upgrade:");
    expect_not_in(a->head, "connection");
    expect_not_in(a->head, "content-length");
    const struct message *up = origin_request(o, 0);
    assert_string_equal(up->start_line, "GET /ws?a=b HTTP/1.1");
    expect_field(up, "Host", "test");
    expect_field(up, "Connection", "Upgrade");
    expect_field(up, "Upgrade", "websocket");
    expect_field(up, "Sec-WebSocket-Version", "13");
    expect_field(up, "Origin", "http://test");
    assert_int_equal(message_field_count(up, "Sec-WebSocket-Key"), 1);
    expect_no_field(up, "Transfer-Encoding");
    assert_int_equal(millpond_figure(m, "tunnels"), 1);
    assert_int_equal(millpond_figure(m, "requests_in_flight"), 0);
    h2_get(c, 3, "/page"); /* beside it */
    h2_expect(c, 3, 200, "page");
    h2_data(c, 0, 1, "more ", 5);
    expect_bytes(c, 1, "hello EARLY more ");
    h2_data(c, NGHTTP2_FLAG_END_STREAM, 1, "last ", 5);
    h2_expect(c, 1, 200, "hello EARLY more last bye");
    json_t *line = millpond_access_line(m, "/ws");
    assert_int_equal(json_integer_value(json_find(line, "status")), 200);
    assert_string_equal(text_of(line, "close"), "tunnel_client");
    assert_string_equal(text_of(line, "no_store"), "upgrade");
    assert_string_equal(text_of(line, "version"), "HTTP/2");
    assert_string_equal(text_of(line, "user_agent"), "tests");
    assert_int_equal(json_integer_value(json_find(line, "response_bytes")) >= 25, 1);
    assert_int_equal(millpond_figure(m, "tunnels"), 0);
    assert_int_equal(millpond_figure(m, "tunnels_opened"), 1);
    millpond_wait_figure(m, "h2_streams", 0);
    assert_int_equal(millpond_figure(m, "h2_resets"), 0);
    h2_close(c);
    millpond_wait_idle(m);
    millpond_stop(m);
}

static void many_on_one_connection_each_its_own(void **state)
{
    UNUSED(state);
    struct origin *o = echo_origin(NULL);
    struct millpond *m = start(o);
    struct h2_client *c = h2_open(m->port);
    for (uint32_t id = 1; id < 60; id += 2)
        h2_headers(c, 0, id, CONNECT("/ws"));
    for (uint32_t id = 1; id < 60; id += 2)
        assert_int_equal(h2_wait_head(c, id)->status, 200);
    char *big = text_repeat('x', 8000);
    for (int round = 0; round < 5; round++) {
        for (uint32_t id = 1; id < 60; id += 2)
            h2_data(c, 0, id, textf("%u:%s", id, big), strlen(textf("%u:", id)) + 8000);
        for (uint32_t id = 1; id < 60; id += 2)
            h2_wait_body(c, id, (size_t)(round + 1) * (8000 + strlen(textf("%u:", id))));
    }
    assert_int_equal(millpond_figure(m, "tunnels"), 30);
    for (uint32_t id = 1; id < 60; id += 2) {
        expect_in(h2_answer(c, id)->body, textf("%u:xxx", id));
        h2_data(c, NGHTTP2_FLAG_END_STREAM, id, "", 0);
    }
    for (uint32_t id = 1; id < 60; id += 2)
        assert_true(h2_wait(c, id)->ended);
    millpond_wait_figure(m, "tunnels", 0);
    assert_int_equal(c->goaway, H2_NO_CODE);
    h2_close(c);
    millpond_wait_idle(m);
    millpond_stop(m);
}

/* ---- who gets one ---- */

static void what_is_no_websocket_is_refused(void **state)
{
    UNUSED(state);
    struct origin *o = echo_origin(NULL);
    struct millpond *m =
        start_with(o, "",
                   "[route own]\npath = /own\nrespond = 200 hello\n[route off]\npath = /off\nwebsocket = no\n"
                   "[route moved]\npath = /moved\nredirect = 302 /ws\n[route h2]\npath = /h2\npool = h2\n"
                   "[route rest]\npool = app\n[pool h2]\nserver = 127.0.0.1:9\nprotocol = h2\n"
                   "health_check = off\n");
    struct h2_client *c = h2_open(m->port);
    h2_headers(c, 0, 1, ":method", "CONNECT", ":protocol", "connect-udp", ":scheme", "http", ":authority",
               "test", ":path", "/ws");
    h2_expect(c, 1, 501, NULL);
    h2_headers(c, 0, 3, ":method", "CONNECT", ":authority", "test:80");
    h2_expect(c, 3, 501, NULL);
    h2_headers(c, 0, 5, CONNECT("/own"));
    h2_expect(c, 5, 403, NULL);
    h2_headers(c, 0, 7, CONNECT("/off"));
    h2_expect(c, 7, 403, NULL);
    h2_headers(c, 0, 9, CONNECT("/moved"));
    h2_expect(c, 9, 302, NULL);
    h2_headers(c, 0, 11, CONNECT("/ws"), "content-length", "0");
    assert_int_equal(h2_wait(c, 11)->reset, NGHTTP2_PROTOCOL_ERROR);
    h2_headers(c, 0, 13, H2_GET("/ws"), ":protocol", "websocket");
    assert_int_equal(h2_wait(c, 13)->reset, NGHTTP2_PROTOCOL_ERROR);
    h2_headers(c, 0, 15, ":method", "CONNECT", ":protocol", "websocket", ":authority", "test");
    assert_int_equal(h2_wait(c, 15)->reset, NGHTTP2_PROTOCOL_ERROR);
    h2_headers(c, 0, 17, CONNECT("/ws"), "upgrade", "websocket");
    assert_int_equal(h2_wait(c, 17)->reset, NGHTTP2_PROTOCOL_ERROR);
    assert_int_equal(origin_requests(o), 0);
    h2_headers(c, 0, 19, CONNECT("/h2")); /* HTTP/2 to instances has no WebSockets */
    h2_expect(c, 19, 403, NULL);
    open_tunnel(c, 21);
    assert_int_equal(millpond_figure(m, "tunnels_opened"), 1);
    h2_close(c);
    millpond_wait_idle(m);
    millpond_stop(m);
}

static void it_is_offered_where_a_route_allows_it(void **state)
{
    UNUSED(state);
    struct millpond *m = start_with(echo_origin(NULL), "", "[route off]\nwebsocket = no\n");
    struct h2_client *c = h2_open(m->port);
    h2_get(c, 1, "/page");
    h2_expect(c, 1, 200, "page");
    assert_false(c->connects);
    h2_headers(c, 0, 3, CONNECT("/ws"));
    assert_int_equal(h2_wait(c, 3)->reset, NGHTTP2_PROTOCOL_ERROR);
    millpond_stop(m);
}

static void answers_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(arg);
    if (strcmp(request->target, "/forbidden") == 0)
        origin_respond(c, 403, "Cache-Control: no-store\r\n", "no");
    else if (strcmp(request->target, "/page") == 0)
        origin_respond(c, 200, "Cache-Control: max-age=60\r\n", "page");
    else if (strcmp(request->target, "/wrong") == 0)
        origin_send(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                       "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n");
    else
        origin_send(c,
                    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
}

/* Other answers pass, but for those that the client would take for its WebSocket. */
static void other_answers_than_101(void **state)
{
    UNUSED(state);
    struct origin *o = scripted(answers_script, NULL);
    struct millpond *m = start_with(o, "", "eject_errors = 2\n");
    struct h2_client *c = h2_open(m->port);
    h2_headers(c, 0, 1, CONNECT("/forbidden"));
    h2_expect(c, 1, 403, "no");
    for (uint32_t id = 3; id < 13; id += 2) { /* and nobody is ejected for it */
        h2_headers(c, 0, id, CONNECT("/page"));
        h2_expect(c, id, 502, NULL);
    }
    h2_get(c, 13, "/page");
    h2_expect(c, 13, 200, "page");
    h2_headers(c, 0, 15, CONNECT("/page")); /* nor is what is stored an answer to it */
    h2_expect(c, 15, 502, NULL);
    h2_headers(c, 0, 17, CONNECT("/wrong"));
    h2_expect(c, 17, 502, NULL);
    h2_headers(c, 0, 19, CONNECT("/none"));
    h2_expect(c, 19, 502, NULL);
    assert_int_equal(millpond_figure(m, "tunnels_opened"), 0);
    h2_close(c);
    millpond_wait_idle(m);
    millpond_stop(m);
}

/* ---- ends ---- */

static void ends_first_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(arg);
    grant(c, request, "last words");
    shutdown(c->wire.fd, SHUT_WR);
    origin_wait_peer_close(c); /* goes on reading: origin_bytes */
    c->done = true;
}

static void the_instance_may_end_first(void **state)
{
    UNUSED(state);
    struct origin *o = scripted(ends_first_script, NULL);
    struct millpond *m = start(o);
    struct h2_client *c = h2_open(m->port);
    h2_headers(c, 0, 1, CONNECT("/ws"));
    h2_expect(c, 1, 200, "last words"); /* END_STREAM */
    uint64_t before = (uint64_t)millpond_figure(m, "upstream_sent_bytes");
    char *some = text_repeat('u', 10000);
    for (unsigned i = 0; i < 10; i++) {
        h2_data(c, i == 9 ? NGHTTP2_FLAG_END_STREAM : 0, 1, some, 10000);
        millpond_wait_figure(m, "upstream_sent_bytes", (int64_t)before + (i + 1) * 10000);
    }
    origin_wait_open(o, 0);
    assert_true(origin_bytes(o) >= before + 100000);
    assert_string_equal(text_of(millpond_access_line(m, "/ws"), "close"), "tunnel_instance");
    h2_sync(c);
    assert_int_equal(h2_answer(c, 1)->reset, H2_NO_CODE);
    h2_close(c);
    millpond_wait_idle(m);
    millpond_stop(m);
}

struct late {
    struct gate *read;
    _Atomic uint64_t bytes;
};

static void late_reader_script(struct origin_conn *c, const struct message *request, void *arg)
{
    struct late *l = arg;
    grant(c, request, "last words");
    shutdown(c->wire.fd, SHUT_WR);
    gate_pass(l->read);
    l->bytes = wire_discard(&c->wire, SIZE_MAX);
    c->done = true;
}

/* The stream is over then, and what it brought is not. */
static void what_came_last_is_not_lost(void **state)
{
    UNUSED(state);
    static struct late l; /* threads may outlive a test that fails */
    l = (struct late){.read = gate_new()};
    struct origin *o = origin_start_with(&(struct origin_options){
        .script = late_reader_script, .arg = &l, .head_only = true, .rcvbuf_bytes = 4 * 1024});
    struct millpond *m = start(o);
    struct h2_client *c = h2_open(m->port);
    h2_headers(c, 0, 1, CONNECT("/ws"));
    h2_expect(c, 1, 200, "last words");
    char *some = text_repeat('u', 16000);
    uint64_t sent = 0, allowed;
    for (;;) { /* as much as the window lets */
        h2_sync(c);
        allowed = H2_INITIAL_WINDOW + c->window_given[1];
        if (sent + 16000 >= allowed || sent >= BIG)
            break;
        h2_data(c, 0, 1, some, 16000);
        sent += 16000;
    }
    EXPECT(sent < BIG, "%llu KB were taken for an instance that does not read",
           (unsigned long long)sent / KB);
    h2_data(c, NGHTTP2_FLAG_END_STREAM, 1, "end", 3);
    h2_sync(c);
    assert_int_equal(millpond_figure(m, "h2_streams"), 0);
    assert_int_equal(millpond_figure(m, "tunnels"), 1);
    gate_open(l.read);
    millpond_wait_figure(m, "tunnels", 0);
    origin_wait_open(o, 0);
    assert_int_equal(l.bytes, sent + 3);
    assert_string_equal(text_of(millpond_access_line(m, "/ws"), "close"), "tunnel_instance");
    h2_close(c);
    millpond_wait_idle(m);
    millpond_stop(m);
}

struct seen {
    _Atomic bool reset;
};

static void watch_script(struct origin_conn *c, const struct message *request, void *arg)
{
    struct seen *s = arg;
    grant(c, request, "hi");
    while (wire_more(&c->wire, 4 * support_wait_ms()))
        wire_take(&c->wire, c->wire.len);
    s->reset = c->wire.reset;
    c->done = true;
}

static void a_reset_reaches_the_instance(void **state)
{
    UNUSED(state);
    static struct seen s;
    for (int whole = 0; whole < 2; whole++) { /* the stream, or the connection with all of them */
        s.reset = false;
        struct origin *o = scripted(watch_script, &s);
        struct millpond *m = start(o);
        struct h2_client *c = h2_open(m->port);
        h2_headers(c, 0, 1, CONNECT("/ws"));
        expect_bytes(c, 1, "hi");
        if (whole)
            h2_close(c);
        else
            h2_reset(c, 1, NGHTTP2_CANCEL);
        origin_wait_open(o, 0);
        assert_true(s.reset);
        assert_string_equal(text_of(millpond_access_line(m, "/ws"), "close"), "client_aborted");
        millpond_wait_figure(m, "tunnels", 0);
        h2_close(c);
        millpond_wait_idle(m);
        millpond_stop(m);
    }
}

static void break_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(arg);
    grant(c, request, "half a mess");
    wire_more(&c->wire, support_wait_ms());
    origin_reset(c);
}

/* It is a reset, and none of the client's doing. */
static void a_reset_reaches_the_client(void **state)
{
    UNUSED(state);
    struct millpond *m =
        start_with(scripted(break_script, NULL), "h2_max_resets = 3/m\n", "eject_errors = 0\n");
    struct h2_client *c = h2_open(m->port);
    for (uint32_t id = 1; id < 21; id += 2) {
        h2_headers(c, 0, id, CONNECT("/ws"));
        expect_bytes(c, id, "half a mess");
        h2_data(c, 0, id, "x", 1);
        struct h2_answer *a = h2_wait(c, id);
        assert_false(a->ended);
        assert_int_equal(a->reset, NGHTTP2_CANCEL);
    }
    json_t *line = millpond_access_line(m, "/ws");
    assert_string_equal(text_of(line, "close"), "upstream_cut");
    assert_string_equal(text_of(line, "fetch_error"), "cut_short");
    assert_int_equal(c->goaway, H2_NO_CODE);
    h2_close(c);
    millpond_wait_idle(m);
    millpond_stop(m);
}

/* ---- slowness ---- */

struct flood {
    struct gate *stuck;
    _Atomic uint64_t bytes;
};

static void flood_script(struct origin_conn *c, const struct message *request, void *arg)
{
    static const char zeros[64 * 1024];
    struct flood *f = arg;
    if (message_field(request, "Upgrade") == NULL) {
        origin_respond(c, 200, "Cache-Control: no-store\r\n", "page");
        return;
    }
    grant(c, request, "");
    f->bytes = wire_send_while_room(c->wire.fd, BIG);
    gate_pass(f->stuck);
    while (f->bytes < BIG && origin_send_bytes(c, zeros, (size_t)MIN(sizeof zeros, BIG - f->bytes)))
        f->bytes += MIN(sizeof zeros, BIG - f->bytes);
    origin_close(c);
    origin_wait_peer_close(c);
}

/* A window that is shut: the instance waits, other streams do not, and little lies here. */
static void a_client_that_does_not_read_stops_the_instance(void **state)
{
    UNUSED(state);
    static struct flood f;
    f = (struct flood){.stuck = gate_new()};
    struct origin *o = origin_start_with(&(struct origin_options){
        .script = flood_script, .arg = &f, .head_only = true, .sndbuf_bytes = 64 * 1024});
    struct millpond *m = start(o);
    struct h2_client *c = h2_open(m->port, .window = 1000, .no_window_updates = true);
    h2_headers(c, 0, 1, CONNECT("/ws"));
    gate_wait_arrived(f.stuck, 1);
    EXPECT(f.bytes < BIG, "%llu KB were taken for a client that reads nothing",
           (unsigned long long)f.bytes / KB);
    int64_t between = millpond_figure(m, "upstream_received_bytes") - millpond_figure(m, "client_sent_bytes");
    EXPECT(between < (int64_t)(64 * KB), "%lld KB were read and not sent on", (long long)between / 1024);
    h2_get(c, 3, "/page");
    h2_expect(c, 3, 200, "page");
    uint64_t before = (uint64_t)millpond_figure(m, "upstream_sent_bytes");
    h2_data(c, 0, 1, "still heard", 11); /* the other direction does not wait */
    millpond_wait_figure(m, "upstream_sent_bytes", (int64_t)before + 11);
    gate_open(f.stuck);
    c->no_window_updates = false;
    h2_window_update(c, 0, 1 << 30);
    h2_window_update(c, 1, 1 << 30);
    h2_wait_body(c, 1, BIG);
    assert_true(h2_wait(c, 1)->ended);
    h2_close(c);
    millpond_wait_idle(m);
    millpond_stop(m);
    origin_stop(o);
}

static void a_client_that_takes_nothing_is_given_write_timeout(void **state)
{
    UNUSED(state);
    static struct flood f;
    f = (struct flood){.stuck = gate_new()};
    struct millpond *m = start_with(scripted(flood_script, &f), "write_timeout = 300ms\n", "");
    struct h2_client *c = h2_open(m->port, .window = 1000, .no_window_updates = true);
    h2_headers(c, 0, 1, CONNECT("/ws"));
    assert_int_equal(h2_wait(c, 1)->reset, NGHTTP2_CANCEL);
    assert_string_equal(text_of(millpond_access_line(m, "/ws"), "close"), "write_timeout");
    gate_open(f.stuck);
    h2_get(c, 3, "/page");
    h2_expect(c, 3, 200, "page");
    h2_close(c);
    millpond_wait_idle(m);
    millpond_stop(m);
}

/* ---- time ---- */

static void silence_ends_it_after_tunnel_timeout(void **state)
{
    UNUSED(state);
    struct origin *o = echo_origin(NULL);
    struct millpond *m = start_with(o, "idle_timeout = 50ms\nbody_timeout = 50ms\n",
                                    "response_timeout = 50ms\n[route all]\ntunnel_timeout = 600ms\n");
    long long begin_ms = clock_mono_ms();
    struct h2_client *c = h2_open(m->port);
    h2_headers(c, 0, 1, CONNECT("/ws"));
    while (h2_answer(c, 1)->reset == H2_NO_CODE)
        assert_true(h2_read(c));
    EXPECT(clock_mono_ms() - begin_ms >= 600, "after %lld ms", clock_mono_ms() - begin_ms);
    assert_true(h2_answer(c, 1)->ended); /* in order, and no more is wanted */
    assert_int_equal(h2_answer(c, 1)->reset, NGHTTP2_NO_ERROR);
    assert_string_equal(text_of(millpond_access_line(m, "/ws"), "close"), "tunnel_timeout");
    origin_wait_open(o, 0);
    h2_close(c);
    millpond_wait_idle(m);
    millpond_stop(m);
}

/* Who goes on alone has no more time than an idle connection. */
static void half_open_it_ends_after_idle_timeout(void **state)
{
    UNUSED(state);
    struct origin *o = scripted(ends_first_script, NULL);
    struct millpond *m = start_with(o, "idle_timeout = 200ms\n", "");
    struct h2_client *c = h2_open(m->port);
    h2_headers(c, 0, 1, CONNECT("/ws"));
    h2_expect(c, 1, 200, "last words");
    while (h2_answer(c, 1)->reset == H2_NO_CODE)
        assert_true(h2_read(c));
    assert_int_equal(h2_answer(c, 1)->reset, NGHTTP2_NO_ERROR);
    assert_string_equal(text_of(millpond_access_line(m, "/ws"), "close"), "tunnel_timeout");
    h2_close(c);
    millpond_wait_idle(m);
    millpond_stop(m);
}

static void they_outlive_a_reload_and_a_stop_gives_them_shutdown_timeout(void **state)
{
    UNUSED(state);
    struct origin *o = echo_origin(NULL);
    struct millpond *m = start(o);
    struct h2_client *c = h2_open(m->port);
    open_tunnel(c, 1);
    millpond_write_ini(m, .main = "workers = 1\nshutdown_timeout = 700ms\n",
                       .listen = "protocols = h2, http/1.1, h2c\n",
                       .rest = textf("%s[route all]\nwebsocket = no\n", pool_lines("app", 1, o)));
    assert_int_equal(millpond_cli(m, "reload", NULL).exit_code, 0);
    h2_data(c, 0, 1, "still here", 10);
    expect_bytes(c, 1, "still here");
    h2_headers(c, 0, 3, CONNECT("/ws")); /* it was told that it may ask */
    h2_expect(c, 3, 403, NULL);
    proc_signal(m->proc, SIGTERM);
    assert_int_equal(h2_wait_goaway(c), NGHTTP2_NO_ERROR);
    h2_data(c, 0, 1, "!", 1);
    expect_bytes(c, 1, "still here!");
    assert_true(h2_wait(c, 1)->ended);
    h2_wait_end(c);
    assert_string_equal(text_of(millpond_access_line(m, "\"status\":200"), "close"), "shutdown");
    millpond_expect_clean_end(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(bytes_pass_both_ways),
        E2E_TEST(many_on_one_connection_each_its_own),
        E2E_TEST(what_is_no_websocket_is_refused),
        E2E_TEST(it_is_offered_where_a_route_allows_it),
        E2E_TEST(other_answers_than_101),
        E2E_TEST(the_instance_may_end_first),
        E2E_TEST(what_came_last_is_not_lost),
        E2E_TEST(a_reset_reaches_the_instance),
        E2E_TEST(a_reset_reaches_the_client),
        E2E_TEST(a_client_that_does_not_read_stops_the_instance),
        E2E_TEST(a_client_that_takes_nothing_is_given_write_timeout),
        E2E_TEST(silence_ends_it_after_tunnel_timeout),
        E2E_TEST(half_open_it_ends_after_idle_timeout),
        E2E_TEST(they_outlive_a_reload_and_a_stop_gives_them_shutdown_timeout),
    };
    return E2E_RUN("e2e/h2_tunnel", tests);
}
