/* test_tunnel_client.c: the client's side of a tunnel, a connection of its own or a stream of HTTP/2: whoever
 * ends or breaks first, a client that takes little, two at once, and memory that is not there. */
#include "proxy/tunnel_client.h"

#include "core/websocket_key.h"
#include "instance_fixture.h"
#include "proxy/h2_stream.h"

#define ASK                                                                                                  \
    "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"                           \
    "Sec-WebSocket-Key: key\r\nSec-WebSocket-Version: 13\r\n\r\n"
#define GRANT                                                                                                \
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"                      \
    "Sec-WebSocket-Accept: yes\r\n\r\n"

static bool has_come(const struct inst_fix *o, unsigned conn, const char *text)
{
    return strstr(o->conn[conn]->in, text) != NULL;
}

/* Client i has a tunnel, by connection i. */
static void open_one(struct inst_fix *o, unsigned i)
{
    inst_ask(o, i, ASK);
    INST_UNTIL(o, inst_is_asked(o, i));
    o->conn[i]->stays = true;
    inst_say(o, i, GRANT);
    INST_UNTIL(o, inst_has(o, i, "101 Switching"));
    INST_UNTIL(o, metrics_total(METRIC_TUNNELS_OPEN) == i + 1);
}

static void start(struct inst_fix *o)
{
    inst_start(o, false, "");
    open_one(o, 0);
}

static struct exchange *only(struct inst_fix *o)
{
    assert_int_equal(o->f.pw->exchange_count, 1);
    return CONTAINER_OF(o->f.pw->exchanges.next, struct exchange, node);
}

/* The instance ends when it sees that its client has. */
static void follow(struct inst_fix *o, unsigned i)
{
    INST_UNTIL(o, o->conn[i]->eof || o->conn[i]->fd < 0);
    if (o->conn[i]->fd >= 0)
        inst_break(o, i);
}

static void leave(struct inst_fix *o, unsigned i)
{
    inst_leave(o, i);
    follow(o, i);
}

static void end(struct inst_fix *o)
{
    INST_UNTIL(o, o->f.pw->exchange_count == 0);
    assert_int_equal(metrics_total(METRIC_TUNNELS_OPEN), 0);
    inst_end(o);
}

/* ---- a connection ---- */

static void test_bytes_pass(void **state)
{
    UNUSED(state);
    struct inst_fix o;
    start(&o);
    struct client_conn *c = only(&o)->client;
    assert_int_equal(c->state, CLIENT_TUNNEL);
    assert_false(deadline_is_set(&c->deadline)); /* the tunnel has its own */
    inst_client_send(&o, 0, "ping", 4);
    INST_UNTIL(&o, has_come(&o, 0, "\r\n\r\nping"));
    inst_say(&o, 0, "pong");
    INST_UNTIL(&o, inst_has(&o, 0, "\r\n\r\npong"));
    leave(&o, 0);
    end(&o);
}

/* What came with the request goes first, once. */
static void test_read_ahead(void **state)
{
    UNUSED(state);
    struct inst_fix o;
    inst_start(&o, false, "");
    inst_ask(&o, 0, ASK "early ");
    INST_UNTIL(&o, inst_is_asked(&o, 0));
    assert_false(has_come(&o, 0, "early"));
    inst_client_send(&o, 0, "late", 4);
    inst_say(&o, 0, GRANT);
    INST_UNTIL(&o, has_come(&o, 0, "\r\n\r\nearly late"));
    inst_leave(&o, 0);
    end(&o);
}

/* Each direction ends by itself, with all that was said before. */
static void test_either_ends_first(void **state)
{
    UNUSED(state);
    for (unsigned client_first = 0; client_first < 2; client_first++) {
        struct inst_fix o;
        start(&o);
        if (client_first) {
            inst_client_send(&o, 0, "last", 4);
            shutdown(o.client[0].fd, SHUT_WR);
            INST_UNTIL(&o, o.conn[0]->eof);
            assert_true(has_come(&o, 0, "\r\n\r\nlast"));
            assert_true(only(&o)->client->eof);
            assert_false(o.client[0].closed);
            inst_say(&o, 0, "bye");
            inst_break(&o, 0);
            INST_UNTIL(&o, o.client[0].closed);
            assert_true(inst_has(&o, 0, "\r\n\r\nbye"));
        } else {
            inst_say(&o, 0, "bye");
            shutdown(o.conn[0]->fd, SHUT_WR);
            INST_UNTIL(&o, o.client[0].closed);
            assert_true(inst_has(&o, 0, "\r\n\r\nbye"));
            assert_false(o.conn[0]->eof);
            inst_client_send(&o, 0, "last", 4);
            INST_UNTIL(&o, has_come(&o, 0, "\r\n\r\nlast"));
            assert_int_equal(o.f.pw->exchange_count, 1);
            inst_leave(&o, 0);
            INST_UNTIL(&o, o.conn[0]->eof);
        }
        end(&o);
    }
}

static void test_either_breaks(void **state)
{
    UNUSED(state);
    const struct linger now = {1, 0};
    for (unsigned client = 0; client < 2; client++) {
        struct inst_fix o;
        const uint64_t errors = metrics_total(METRIC_UPSTREAM_ERRORS);
        start(&o);
        if (client) { /* what it was sent and never read makes a reset of it */
            inst_say(&o, 0, "unread");
            worker_refresh_clock(o.f.worker);
            event_base_loop(o.f.worker->base, EVLOOP_NONBLOCK);
            inst_leave(&o, 0);
            INST_UNTIL(&o, o.conn[0]->fd < 0 || o.conn[0]->eof);
        } else {
            setsockopt(o.conn[0]->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
            inst_break(&o, 0);
            INST_UNTIL(&o, o.client[0].closed);
        }
        end(&o);
        assert_int_equal(metrics_total(METRIC_UPSTREAM_ERRORS) - errors, !client);
    }
}

/* It is seen to be broken even when nothing more is read of it. */
static void test_broken_while_nobody_looks(void **state)
{
    UNUSED(state);
    for (unsigned broken = 0; broken < 2; broken++) {
        struct inst_fix o;
        start(&o);
        struct exchange *x = only(&o);
        x->client->readable = true;
        if (broken) {
            assert_int_equal(write(x->client->fd, "unread", 6), 6);
            inst_leave(&o, 0);
        }
        assert_int_equal(tunnel_client_rest(x, false), !broken);
        assert_int_equal(x->client->readable, broken);
        if (!broken) {
            x->client->readable = true;
            assert_true(tunnel_client_rest(x, true));
            assert_true(x->client->readable);
            inst_leave(&o, 0);
        }
        follow(&o, 0);
        end(&o);
    }
}

/* A side that is over as it should be is closed like any other; else its reader is to see that it is not. */
static void test_over(void **state)
{
    UNUSED(state);
    struct inst_fix o;
    start(&o);
    struct exchange *x = only(&o);
    tunnel_client_over(x, false);
    assert_false(x->client->reset_on_close);
    tunnel_client_over(x, true);
    assert_true(x->client->reset_on_close);
    tunnel_client_over(x, false);
    assert_true(x->client->reset_on_close);
    leave(&o, 0);
    end(&o);
}

/* What a client does not take is bounded, and comes whole when it does. */
static void test_slow_client(void **state)
{
    UNUSED(state);
    static char piece[64 * KB], got[64 * KB];
    const int room = 1;
    struct inst_fix o;
    size_t sent = 0, received = 0;
    ssize_t n;
    start(&o);
    for (size_t i = 0; i < sizeof piece; i++)
        piece[i] = (char)('a' + i % 23);
    struct exchange *x = only(&o);
    const int fd = o.client[0].fd;
    o.client[0].fd = -1; /* it reads nothing */
    assert_int_equal(setsockopt(x->client->fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room), 0);
    for (unsigned idle = 0; idle < 50; inst_turn(&o), idle++) {
        while ((n = send(o.conn[0]->fd, piece + sent % 23, sizeof piece - 23, MSG_NOSIGNAL)) > 0) {
            sent += (size_t)n;
            idle = 0;
        }
    }
    assert_true(tunnel_client_waits(x));
    assert_true(x->response_bytes <= 64 * KB && sent > 2 * x->response_bytes);
    assert_false(tunnel_client_resume(x)); /* it takes nothing */
    received = (size_t)MAX(read(fd, got, sizeof got), 0);
    x->client->writable = true;
    assert_true(received > 0 && tunnel_client_resume(x));
    shutdown(o.conn[0]->fd, SHUT_WR);
    while (received < sent) {
        inst_turn(&o);
        while ((n = read(fd, got, sizeof got)) > 0) {
            for (ssize_t i = 0; i < n; i++)
                assert_int_equal(got[i], 'a' + (int)((received + (size_t)i) % 23));
            received += (size_t)n;
        }
        assert_true(n != 0 || received == sent);
    }
    o.client[0].fd = fd;
    INST_UNTIL(&o, o.client[0].closed);
    leave(&o, 0);
    end(&o);
}

/* After others had their turn it is looked at, once. */
static void test_again(void **state)
{
    UNUSED(state);
    struct inst_fix o;
    start(&o);
    struct exchange *x = only(&o);
    assert_true(list_empty(&x->client->again.node));
    tunnel_client_again(x);
    assert_false(list_empty(&x->client->again.node));
    INST_UNTIL(&o, list_empty(&x->client->again.node));
    leave(&o, 0);
    end(&o);
}

static void test_two_at_once(void **state)
{
    UNUSED(state);
    struct inst_fix o;
    start(&o);
    open_one(&o, 1);
    inst_client_send(&o, 0, "ping0", 5);
    inst_client_send(&o, 1, "ping1", 5);
    inst_say(&o, 0, "pong0");
    inst_say(&o, 1, "pong1");
    for (unsigned i = 0; i < 2; i++) {
        INST_UNTIL(&o, has_come(&o, i, i == 0 ? "\r\n\r\nping0" : "\r\n\r\nping1"));
        INST_UNTIL(&o, inst_has(&o, i, i == 0 ? "\r\n\r\npong0" : "\r\n\r\npong1"));
    }
    leave(&o, 0);
    INST_UNTIL(&o, o.f.pw->exchange_count == 1);
    inst_client_send(&o, 1, "more", 4);
    INST_UNTIL(&o, has_come(&o, 1, "ping1more"));
    leave(&o, 1);
    end(&o);
}

/* ---- a stream ---- */

static void put_connect(struct frames *f, uint32_t id)
{
    static const char *const fields[] = {":method",
                                         "CONNECT",
                                         ":protocol",
                                         "websocket",
                                         ":scheme",
                                         "http",
                                         ":path",
                                         "/ws",
                                         ":authority",
                                         "h",
                                         "sec-websocket-version",
                                         "13",
                                         NULL};
    frames_head(f, id, false, fields);
}

/* As the key of the request wants it. */
static void grant(struct inst_fix *o, unsigned conn)
{
    static const char name[] = "Sec-WebSocket-Key: ";
    char accept[WEBSOCKET_ACCEPT_BYTES], text[512];
    const char *key = strstr(o->conn[conn]->in, name);
    assert_non_null(key);
    websocket_key_answer(key + strlen(name), accept);
    snprintf(text, sizeof text,
             "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
             "Sec-WebSocket-Accept: %.*s\r\n\r\n",
             (int)sizeof accept, accept);
    o->conn[conn]->stays = true;
    inst_say(o, conn, text);
}

static void send_frames(struct inst_fix *o, struct frames *f)
{
    inst_client_send(o, 0, f->bytes, f->n);
    f->n = 0;
}

static void start_streams(struct inst_fix *o, unsigned count)
{
    struct frames f;
    inst_start(o, false, "");
    frames_preface(&f, "", 0);
    for (unsigned i = 0; i < count; i++)
        put_connect(&f, 2 * i + 1);
    inst_ask_bytes(o, 0, f.bytes, f.n);
    for (unsigned i = 0; i < count; i++) {
        INST_UNTIL(o, inst_is_asked(o, i));
        grant(o, i);
    }
    INST_UNTIL(o, metrics_total(METRIC_TUNNELS_OPEN) == count);
}

/* Of all that has come for a stream: its DATA into `data`; true: with its end. */
static bool data_of(const struct inst_fix *o, uint32_t id, char *data, bool *reset)
{
    bool ended = false;
    struct frame f;
    size_t n = 0;
    *reset = false;
    for (size_t at = 0; frames_next(o->client[0].got, o->client[0].got_bytes, &at, &f);) {
        if (f.id != id)
            continue;
        *reset |= f.type == NGHTTP2_RST_STREAM;
        if (f.type == NGHTTP2_DATA) {
            memcpy(data + n, f.payload, f.n);
            n += f.n;
        }
        ended |= f.type <= NGHTTP2_HEADERS && (f.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    }
    data[n] = '\0';
    return ended;
}

static bool data_is(const struct inst_fix *o, uint32_t id, const char *text, bool ends)
{
    static char data[sizeof o->client[0].got + 1];
    bool reset;
    const bool ended = data_of(o, id, data, &reset);
    return strcmp(data, text) == 0 && ended == ends && !reset;
}

/* Broken, as RFC 8441 section 5 has it, and not ended. */
static bool is_cancelled(const struct inst_fix *o, uint32_t id)
{
    static char data[sizeof o->client[0].got + 1];
    static const unsigned char cancel[] = {0, 0, 0, NGHTTP2_CANCEL};
    bool reset, cancelled = false;
    struct frame f;
    for (size_t at = 0; frames_next(o->client[0].got, o->client[0].got_bytes, &at, &f);)
        cancelled |= f.id == id && f.type == NGHTTP2_RST_STREAM && memcmp(f.payload, cancel, 4) == 0;
    return !data_of(o, id, data, &reset) && cancelled;
}

static void test_stream_either_ends_first(void **state)
{
    UNUSED(state);
    for (unsigned client_first = 0; client_first < 2; client_first++) {
        struct inst_fix o;
        struct frames f = {.n = 0};
        start_streams(&o, 1);
        if (client_first) {
            frames_put(&f, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 1, "last", 4);
            send_frames(&o, &f);
            INST_UNTIL(&o, o.conn[0]->eof);
            assert_true(has_come(&o, 0, "\r\n\r\nlast"));
            assert_true(data_is(&o, 1, "", false));
            inst_say(&o, 0, "bye");
            inst_break(&o, 0);
            INST_UNTIL(&o, data_is(&o, 1, "bye", true));
        } else {
            inst_say(&o, 0, "bye");
            shutdown(o.conn[0]->fd, SHUT_WR);
            INST_UNTIL(&o, data_is(&o, 1, "bye", true));
            assert_false(o.conn[0]->eof);
            frames_put(&f, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 1, "last", 4);
            send_frames(&o, &f);
            INST_UNTIL(&o, o.conn[0]->eof);
            assert_true(has_come(&o, 0, "\r\n\r\nlast"));
        }
        end(&o);
    }
}

static void test_stream_breaks(void **state)
{
    UNUSED(state);
    const struct linger now = {1, 0};
    for (unsigned client = 0; client < 2; client++) {
        struct inst_fix o;
        struct frames f = {.n = 0};
        start_streams(&o, 2);
        if (client) {
            frames_put(&f, NGHTTP2_RST_STREAM, 0, 1, "\0\0\0\10", 4);
            send_frames(&o, &f);
            INST_UNTIL(&o, o.conn[0]->fd < 0 || o.conn[0]->eof);
        } else {
            setsockopt(o.conn[0]->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
            inst_break(&o, 0);
            INST_UNTIL(&o, is_cancelled(&o, 1));
        }
        INST_UNTIL(&o, o.f.pw->exchange_count == 1); /* the other goes on */
        frames_put(&f, NGHTTP2_DATA, 0, 3, "ping", 4);
        send_frames(&o, &f);
        INST_UNTIL(&o, has_come(&o, 1, "\r\n\r\nping"));
        inst_say(&o, 1, "pong");
        INST_UNTIL(&o, data_is(&o, 3, "pong", false));
        inst_leave(&o, 0);
        end(&o);
    }
}

/* Its window says how much is had of the instance for it. */
static void test_stream_window(void **state)
{
    UNUSED(state);
    struct inst_fix o;
    static const unsigned char window[] = {0, 4, 0, 0, 0, 5};
    struct frames f;
    inst_start(&o, false, "");
    frames_preface(&f, window, sizeof window);
    put_connect(&f, 1);
    inst_ask_bytes(&o, 0, f.bytes, f.n);
    INST_UNTIL(&o, inst_is_asked(&o, 0));
    grant(&o, 0);
    INST_UNTIL(&o, metrics_total(METRIC_TUNNELS_OPEN) == 1);
    struct exchange *x = only(&o);
    inst_say(&o, 0, "0123456789");
    INST_UNTIL(&o, data_is(&o, 1, "01234", false));
    assert_true(tunnel_client_room(x) <= TUNNEL_STEP);
    shutdown(o.conn[0]->fd, SHUT_WR);
    for (unsigned i = 0; i < 10; i++)
        inst_turn(&o);
    assert_true(data_is(&o, 1, "01234", false));
    f.n = 0;
    frames_window(&f, 1, 100);
    send_frames(&o, &f);
    INST_UNTIL(&o, data_is(&o, 1, "0123456789", true));
    inst_leave(&o, 0);
    end(&o);
}

/* What a stream that takes nothing may hold is bounded; its instance waits, and is not taken for one that has
 * ended. */
static void test_stream_takes_nothing(void **state)
{
    UNUSED(state);
    static char piece[16 * KB];
    struct inst_fix o;
    static const unsigned char window[] = {0, 4, 0, 0, 0, 0};
    struct frames f;
    inst_start(&o, false, "");
    frames_preface(&f, window, sizeof window);
    put_connect(&f, 1);
    inst_ask_bytes(&o, 0, f.bytes, f.n);
    INST_UNTIL(&o, inst_is_asked(&o, 0));
    grant(&o, 0);
    INST_UNTIL(&o, metrics_total(METRIC_TUNNELS_OPEN) == 1);
    struct exchange *x = only(&o);
    assert_false(tunnel_client_waits(x));
    for (unsigned i = 0; i < 20; i++) {
        inst_send(o.conn[0], piece, sizeof piece);
        inst_turn(&o);
    }
    assert_true(tunnel_client_waits(x));
    assert_in_range(x->response_bytes, 1, 2 * H2_STREAM_HOLDS);
    assert_true(data_is(&o, 1, "", false));
    assert_false(tunnel_client_resume(x));
    assert_true(list_empty(&x->stream->wake_node));
    tunnel_client_again(x);
    assert_false(list_empty(&x->stream->wake_node));
    inst_leave(&o, 0);
    end(&o);
}

/* ---- no memory ---- */

static void begin(struct inst_fix *o)
{
    inst_start(o, false, "retries = 0\n");
}

/* Both sides say something and end, if they get so far. */
static void play_on(struct inst_fix *o, const void *ask, size_t ask_bytes, bool stream)
{
    bool granted = false, said = false;
    struct frames f = {.n = 0};
    inst_ask_bytes(o, 0, ask, ask_bytes);
    for (unsigned round = 0; round < INST_ROUNDS && o->f.pw->exchange_count > 0; round++) {
        inst_turn(o);
        if (!granted && inst_is_asked(o, 0)) {
            granted = true;
            if (stream)
                grant(o, 0);
            else
                inst_say(o, 0, GRANT);
            inst_say(o, 0, "pong");
        }
        if (!said && granted && (stream ? o->client[0].got_bytes > 0 : inst_has(o, 0, "pong")) &&
            round > 10) {
            said = true;
            if (stream)
                frames_put(&f, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 1, "ping", 4);
            send(o->client[0].fd, stream ? (char *)f.bytes : "ping", stream ? f.n : 4, MSG_NOSIGNAL);
            if (!stream)
                shutdown(o->client[0].fd, SHUT_WR);
        }
        if (said && o->conn[0]->eof && o->conn[0]->fd >= 0)
            inst_break(o, 0);
    }
    assert_int_equal(o->f.pw->exchange_count, 0);
}

static void play(struct inst_fix *o)
{
    play_on(o, ASK, strlen(ASK), false);
}

static void play_stream(struct inst_fix *o)
{
    struct frames f;
    frames_preface(&f, "", 0);
    put_connect(&f, 1);
    play_on(o, f.bytes, f.n, true);
}

static void after(struct inst_fix *o)
{
    if (!no_memory.failed)
        assert_true(inst_has(o, 0, "\r\n\r\npong") && has_come(o, 0, "\r\n\r\nping"));
    assert_int_equal(metrics_total(METRIC_TUNNELS_OPEN), 0);
}

static void after_stream(struct inst_fix *o)
{
    if (!no_memory.failed)
        assert_true(data_is(o, 1, "pong", true) && has_come(o, 0, "\r\n\r\nping"));
    assert_int_equal(metrics_total(METRIC_TUNNELS_OPEN), 0);
}

static void test_each_allocation_fails(void **state)
{
    UNUSED(state);
    inst_fail_each(begin, play, after);
    inst_fail_each(begin, play_stream, after_stream);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_pass),
        cmocka_unit_test(test_read_ahead),
        cmocka_unit_test(test_either_ends_first),
        cmocka_unit_test(test_either_breaks),
        cmocka_unit_test(test_broken_while_nobody_looks),
        cmocka_unit_test(test_over),
        cmocka_unit_test(test_slow_client),
        cmocka_unit_test(test_again),
        cmocka_unit_test(test_two_at_once),
        cmocka_unit_test(test_stream_either_ends_first),
        cmocka_unit_test(test_stream_breaks),
        cmocka_unit_test(test_stream_window),
        cmocka_unit_test(test_stream_takes_nothing),
        cmocka_unit_test(test_each_allocation_fails),
    };
    return cmocka_run_group_tests_name("proxy/tunnel_client", tests, fix_group_setup, fix_group_teardown);
}
