/* h2_trouble.c: HTTP/2 where several things go wrong at once: instances that fail under uploads, queues,
 * sockets that are full when streams end. */
#include <poll.h>

#include "tests/support/h2.h"
#include "tests/support/millpond.h"

#define NO_STORE "Cache-Control: no-store\r\n"

static struct millpond *start(const char *listen_lines, const char *rest)
{
    return millpond_start(.main = "workers = 1\n",
                          .listen = textf("protocols = h2, http/1.1, h2c\n%s", listen_lines), .rest = rest);
}

/* ---- who waits in the queue ---- */

/* The first upload is cut when the gate opens; /held waits at another. */
struct cutting {
    struct gate *cut, *held;
};

static void cutting_script(struct origin_conn *c, const struct message *request, void *arg)
{
    struct cutting *s = arg;
    if (strcmp(request->target, "/held") == 0) {
        gate_pass(s->held);
        origin_respond(c, 200, NO_STORE, "held");
    } else if (c->number == 1 && strcmp(request->target, "/put") == 0) {
        gate_pass(s->cut);
        origin_reset(c);
    } else {
        origin_read_body(c);
        origin_respond(c, 200, NO_STORE, c->request->body);
    }
}

/* It is not its turn: that its client sends nothing meanwhile is nobody's fault. */
static void an_upload_that_is_queued_anew_is_not_too_slow(void **state)
{
    UNUSED(state);
    struct cutting s = {gate_new(), gate_new()};
    struct origin *app =
        origin_start_with(&(struct origin_options){.script = cutting_script, .arg = &s, .head_only = true});
    struct origin *other =
        origin_start_with(&(struct origin_options){.script = cutting_script, .arg = &s, .head_only = true});
    struct millpond *m =
        start("body_timeout = 2s\n",
              textf("[pool app]\nhealth_check = off\nserver = 127.0.0.1:%d max_connections=1\n"
                    "queue_timeout = 1h\n%s[route other]\npath = /other\npool = other\n"
                    "[route all]\npool = app\n",
                    origin_port(app), pool_lines("other", 1, other)));
    struct h2_client *c = h2_open(m->port);
    h2_headers(c, 0, 1, ":method", "PUT", ":scheme", "http", ":authority", "test", ":path", "/put",
               "content-length", "6");
    h2_data(c, 0, 1, "abc", 3);
    origin_wait_requests(app, 1);
    struct client *held = client_open(m->port);
    client_send(held, "GET /held HTTP/1.1\r\nHost: test\r\n\r\n");
    millpond_wait_figure(m, "queued", 1);
    gate_open(s.cut);
    gate_wait_arrived(s.held, 1);
    millpond_wait_figure(m, "queued", 1);
    h2_headers(c, 0, 3, H2_POST("/other"), "content-length", "5");
    h2_expect(c, 3, 408, NULL);
    assert_int_equal(h2_answer(c, 1)->status, 0);
    assert_int_equal(millpond_figure(m, "queued"), 1);
    h2_data(c, NGHTTP2_FLAG_END_STREAM, 1, "def", 3);
    gate_open(s.held);
    expect_body(client_read(held), "held");
    h2_expect(c, 1, 200, "abcdef");
    millpond_stop(m);
}

/* ---- who takes nothing ---- */

static void endless_script(struct origin_conn *c, const struct message *request, void *arg)
{
    static char piece[64 * 1024];
    UNUSED(request);
    UNUSED(arg);
    origin_send(c, "HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n");
    while (origin_send_bytes(c, piece, sizeof piece))
        ;
    origin_close(c);
}

/* Sends something now and then, and reads nothing, until the connection is broken. */
static void drip_until_broken(struct wire *w, const void *bytes, size_t n)
{
    struct pollfd p = {.fd = w->fd};
    for (int waited_ms = 0; wire_send(w, bytes, n) && poll(&p, 1, 30) == 0; waited_ms += 30)
        EXPECT(waited_ms < support_wait_ms(), "still open");
}

static void what_it_sends_puts_no_write_timeout_off(void **state)
{
    UNUSED(state);
    static const unsigned char ping[17] = {0, 0, 8, NGHTTP2_PING};
    struct origin *app = origin_start(endless_script, NULL);
    struct millpond *m = start("write_timeout = 300ms\nmin_rate = 0\n", pool_lines("app", 1, app));
    struct h2_client *c = h2_open(m->port, .window = INT32_MAX, .rcvbuf_bytes = 4096);
    h2_window_update(c, 0, INT32_MAX - 65535);
    h2_get(c, 1, "/big");
    origin_wait_requests(app, 1);
    drip_until_broken(&c->wire, ping, sizeof ping);
    origin_wait_open(app, 0);
    struct client *plain = client_open_rcvbuf(m->port, 4096);
    client_send(plain, "GET /big HTTP/1.1\r\nHost: test\r\n\r\n");
    origin_wait_requests(app, 2);
    drip_until_broken(&plain->wire, "G", 1);
    millpond_wait_idle(m);
    millpond_stop(m);
}

static void late_end_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(request);
    origin_send(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n");
    gate_pass(arg);
    origin_send(c, "0\r\n\r\n");
}

/* Its window is as large as the body: only the end is still to come, and waits for the window to open. */
static void an_end_that_is_not_taken_has_its_time(void **state)
{
    UNUSED(state);
    struct gate *g = gate_new();
    struct origin *app = origin_start(late_end_script, g);
    struct millpond *m = start("write_timeout = 300ms\nidle_timeout = 400ms\n", pool_lines("app", 1, app));
    struct h2_client *c = h2_open(m->port, .window = 4, .no_window_updates = true);
    h2_get(c, 1, "/late");
    h2_wait_body(c, 1, 4);
    gate_open(g);
    struct h2_answer *a = h2_wait(c, 1);
    assert_int_equal(a->reset, NGHTTP2_CANCEL);
    h2_wait_end(c); /* it is idle now */
    assert_int_equal(c->goaway, NGHTTP2_NO_ERROR);
    millpond_wait_figure(m, "h2_streams", 0);
    millpond_stop(m);
}

/* ---- who makes us reset ---- */

static void stored_script(struct origin_conn *c, const struct message *request, void *arg)
{
    if (strcmp(request->target, "/free") != 0) {
        origin_send(c, "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 6\r\n\r\nabc");
        gate_pass(arg);
        origin_send(c, "def");
    } else {
        origin_respond(c, 200, NO_STORE, "free");
    }
}

enum offence { ZERO_WINDOW, WIDE_WINDOW, DATA_BEHIND_THE_END, HEAD_BEHIND_THE_END, SHORT_PRIORITY, OFFENCES };

static void offend(struct h2_client *c, uint32_t id, enum offence o)
{
    switch (o) {
    case ZERO_WINDOW:
        h2_window_update(c, id, 0);
        break;
    case WIDE_WINDOW:
        h2_window_update(c, id, 0x7fffffff);
        break;
    case DATA_BEHIND_THE_END:
        h2_data(c, 0, id, "x", 1);
        break;
    case HEAD_BEHIND_THE_END:
        h2_headers(c, NGHTTP2_FLAG_END_STREAM, id, "x", "y");
        break;
    case SHORT_PRIORITY:
        h2_frame(c, NGHTTP2_PRIORITY, 0, id, "1234", 4);
        break;
    case OFFENCES:
        break;
    }
}

/* Most end the connection at once. */
static const int64_t ends_by[OFFENCES] = {
    [ZERO_WINDOW] = NGHTTP2_PROTOCOL_ERROR,        [WIDE_WINDOW] = NGHTTP2_ENHANCE_YOUR_CALM,
    [DATA_BEHIND_THE_END] = NGHTTP2_STREAM_CLOSED, [HEAD_BEHIND_THE_END] = NGHTTP2_STREAM_CLOSED,
    [SHORT_PRIORITY] = NGHTTP2_FRAME_SIZE_ERROR,
};

/* CVE-2025-8671, by each frame that ends a stream and leaves its request to an instance, which never has more
 * of them than one connection may begin. */
static void instances_never_get_more_than_one_connection_may_ask(void **state)
{
    UNUSED(state);
    for (enum offence o = 0; o < OFFENCES; o++) {
        struct gate *g = gate_new();
        struct origin *app = origin_start(stored_script, g);
        struct millpond *m = start("h2_max_streams = 8\nh2_max_resets = 50/m\n", pool_lines("app", 1, app));
        struct h2_client *c = h2_open(m->port), *other = h2_open(m->port);
        h2_sync(c);
        for (uint32_t i = 0; i < 100 && c->goaways == 0; i++) {
            const uint32_t id = 2 * i + 1;
            h2_get(c, id, textf("/%u", i));
            while (i < 8 && h2_answer(c, id)->body_len < 3 && c->goaways == 0)
                EXPECT(h2_read(c), "nothing of stream %u", id);
            offend(c, id, o);
            while (h2_answer(c, id)->reset == H2_NO_CODE && c->goaways == 0)
                EXPECT(h2_read(c), "offence %d: stream %u is not reset", o, id);
        }
        EXPECT(c->goaways > 0, "offence %d: no GOAWAY", o);
        EXPECT(c->goaway == ends_by[o], "offence %d: code %lld", o, (long long)c->goaway);
        EXPECT(origin_requests(app) <= 8, "offence %d: %u requests", o, origin_requests(app));
        h2_get(other, 1, "/free");
        h2_expect(other, 1, 200, "free");
        gate_open(g);
        millpond_wait_figure(m, "fetches_in_flight", 0);
        millpond_stop(m);
        origin_stop(app);
    }
}

/* ---- what is none ---- */

static void echo_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(arg);
    origin_respond(c, 200, NO_STORE, textf("%zu", strlen(request->body)));
}

/* DATA that somebody reads is no noise, however small, and wherever a read ends. */
static void small_data_of_an_upload_is_no_flood(void **state)
{
    UNUSED(state);
    struct origin *app = origin_start(echo_script, NULL);
    struct millpond *m = start("", pool_lines("app", 1, app));
    struct h2_client *c = h2_open(m->port);
    h2_headers(c, 0, 1, H2_POST("/put"));
    for (unsigned i = 0; i < 50000; i++) {
        h2_data(c, 0, 1, "a", 1);
        if (i % 1000 == 0)
            h2_sync(c);
    }
    h2_data(c, NGHTTP2_FLAG_END_STREAM, 1, "", 0);
    h2_expect(c, 1, 200, "50000");
    assert_int_equal(c->goaways, 0);
    millpond_stop(m);
}

static void large_script(struct origin_conn *c, const struct message *request, void *arg)
{
    static char piece[65536];
    UNUSED(request);
    UNUSED(arg);
    origin_send(c, "HTTP/1.1 200 OK\r\n" NO_STORE "Content-Length: 4194304\r\n\r\n");
    for (unsigned i = 0; i < 64 && origin_send_bytes(c, piece, sizeof piece); i++)
        continue;
}

/* What relayed responses may have on their way, together, is not used up by those that nobody takes: theirs
 * is what each may hold in any case, of which nothing but small frames could be made. */
static void shut_windows_take_no_room_from_others(void **state)
{
    UNUSED(state);
    struct origin *app = origin_start(large_script, NULL);
    struct millpond *m = start("", pool_lines("app", 1, app));
    struct h2_client *c = h2_open(m->port, .window = 1, .no_window_updates = true);
    const uint32_t shut = 30;
    h2_window_update(c, 0, 100 << 20);
    for (uint32_t i = 0; i < shut; i++) {
        h2_get(c, 2 * i + 1, "/large");
        h2_wait_head(c, 2 * i + 1);
    }
    size_t largest = 0;
    for (uint32_t id = 2 * shut + 1; largest <= 12 << 10; id += 2) { /* unless its instance is slow */
        struct h2_answer *a = h2_answer(c, id);
        EXPECT(id < 2 * shut + 40, "frames of at most %zu bytes", largest);
        h2_get(c, id, "/large");
        for (size_t given = 0; !a->ended;) {
            const size_t before = a->body_len;
            if (before >= given) { /* a little each time, so that the socket is never full */
                h2_window_update(c, id, 40000);
                given = before + 40000;
            }
            EXPECT(h2_read(c), "%zu bytes", a->body_len);
            largest = MAX(largest, a->body_len - before);
        }
        assert_int_equal(a->body_len, 4194304);
    }
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(an_upload_that_is_queued_anew_is_not_too_slow),
        E2E_TEST(what_it_sends_puts_no_write_timeout_off),
        E2E_TEST(an_end_that_is_not_taken_has_its_time),
        E2E_TEST(instances_never_get_more_than_one_connection_may_ask),
        E2E_TEST(small_data_of_an_upload_is_no_flood),
        E2E_TEST(shut_windows_take_no_room_from_others),
    };
    return E2E_RUN("e2e/h2_trouble", tests);
}
