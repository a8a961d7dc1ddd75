/* test_h2_stream.c: what a stream holds of a response and for how long, what it says to the exchange about
 * it, and in how many writes the frames of a turn leave. */
#include "tests/unit/proxy/fixture.h"

#include <event2/event.h>

#include "proxy/h2_conn.h"
#include "proxy/h2_stream.h"
#include "tests/unit/proxy/h2_frames.h"

#define LISTEN "[listen x]\naddress = 127.0.0.1:1\nprotocols = h2, http/1.1, h2c\n"
#define HEAD   "HTTP/1.1 200 OK\r\nX-Own: Yes\r\nETag: \"a\"\r\n"

struct h2_fix {
    struct proxy_fix f;
    struct client_conn *c;
    int other;
    struct frames out; /* sent with the next turn */
    unsigned writes;   /* seen: one packet each */
    unsigned char got[1 << 20];
    size_t got_bytes;
};

static void put_frame(struct h2_fix *h, uint8_t type, uint8_t flags, uint32_t id, const void *payload,
                      size_t n)
{
    frames_put(&h->out, type, flags, id, payload, n);
}

/* GET of the path, or POST without END_STREAM. */
static void put_request(struct h2_fix *h, uint32_t id, const char *method, const char *path)
{
    const char *const fields[] = {":method", method,  ":scheme", "http", ":authority",
                                  "t",       ":path", path,      NULL};
    frames_head(&h->out, id, *method == 'G', fields);
}

static void put_window(struct h2_fix *h, uint32_t id, uint32_t by)
{
    frames_window(&h->out, id, by);
}

static void feed(struct h2_fix *h)
{
    if (h->out.n > 0)
        assert_int_equal(send(h->other, h->out.bytes, h->out.n, 0), h->out.n);
    h->out.n = 0;
    client_conn_on_event(h->c->fd, EV_READ | EV_WRITE, h->c);
}

static void turn(struct h2_fix *h)
{
    feed(h);
    worker_drain(h->f.worker);
    ssize_t n;
    while ((n = recv(h->other, h->got + h->got_bytes, sizeof h->got - h->got_bytes, 0)) > 0) {
        h->got_bytes += (size_t)n;
        h->writes++;
    }
}

/* Of all that has come: bytes of DATA on this stream, and whether it was ended. */
static size_t data_of(const struct h2_fix *h, uint32_t id, bool *ended)
{
    struct frame f;
    size_t bytes = 0;
    *ended = false;
    for (size_t at = 0; frames_next(h->got, h->got_bytes, &at, &f);) {
        if (f.id != id || f.type > NGHTTP2_HEADERS)
            continue;
        bytes += f.type == NGHTTP2_DATA ? f.n : 0;
        *ended |= (f.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    }
    return bytes;
}

static void begin(struct h2_fix *h, uint32_t window)
{
    const unsigned char entry[6] = {
        0, 4, 0, (unsigned char)(window >> 16), (unsigned char)(window >> 8), (unsigned char)window};
    memset(h, 0, sizeof *h);
    fix_start(&h->f,
              LISTEN FIX_APP "[route own]\npath = /own\nrespond = 200 hello\n[route rest]\npool = app\n",
              true);
    struct net_addr addr;
    bool by_ip;
    int pair[2];
    assert_true(net_addr_parse(SLICE_LIT("192.0.2.7:1"), &addr));
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    assert_true(server_admit(&h->f.server, &addr, 0, &by_ip));
    h->c = client_conn_open(h->f.pw, h->f.listener, pair[0], &addr, by_ip);
    h->other = pair[1];
    frames_preface(&h->out, entry, sizeof entry);
    turn(h);
    assert_int_equal(h->c->state, CLIENT_H2);
}

static void end(struct h2_fix *h)
{
    client_conn_close(h->c, CLOSE_SHUTDOWN);
    worker_drain(h->f.worker);
    assert_int_equal(h->f.pw->exchange_count, 0);
    close(h->other);
    fix_end(&h->f);
}

static const char *body_of(size_t bytes)
{
    static char body[200001];
    memset(body, 'b', bytes);
    body[bytes] = '\0';
    return body;
}

/* All answers of a turn. */
static void test_one_write(void **state)
{
    UNUSED(state);
    struct h2_fix h;
    bool ended;
    begin(&h, 65535);
    fix_store(&h.f, "t", "/s", HEAD, body_of(1000));
    for (uint32_t id = 1; id < 21; id += 2)
        put_request(&h, id, "GET", id % 4 == 1 ? "/s" : "/own");
    h.writes = 0;
    turn(&h);
    assert_int_equal(h.writes, 1);
    for (uint32_t id = 1; id < 21; id += 2) {
        assert_int_equal(data_of(&h, id, &ended), id % 4 == 1 ? 1000 : 5);
        assert_true(ended);
    }
    assert_int_equal(h.c->h2->stream_count, 0);
    end(&h);
}

/* A small answer waits for its window without its exchange; a large one keeps it. */
static void test_holds_what_is_small(void **state)
{
    UNUSED(state);
    struct h2_fix h;
    bool ended;
    begin(&h, 0);
    fix_store(&h.f, "t", "/small", HEAD, body_of(H2_STREAM_HOLDS));
    fix_store(&h.f, "t", "/large", HEAD, body_of(H2_STREAM_HOLDS + 1));
    put_request(&h, 1, "GET", "/small");
    turn(&h);
    assert_int_equal(h.f.pw->exchange_count, 0);
    assert_int_equal(h.c->h2->stream_count, 1);
    put_request(&h, 3, "GET", "/large");
    put_request(&h, 5, "GET", "/own");
    turn(&h);
    assert_int_equal(h.f.pw->exchange_count, 1);
    assert_int_equal(h.c->h2->stream_count, 3);
    assert_int_equal(data_of(&h, 1, &ended) + data_of(&h, 3, &ended), 0);
    for (uint32_t id = 1; id < 7; id += 2)
        put_window(&h, id, 20000);
    turn(&h);
    assert_int_equal(data_of(&h, 1, &ended), H2_STREAM_HOLDS);
    assert_true(ended);
    assert_int_equal(data_of(&h, 3, &ended), H2_STREAM_HOLDS + 1);
    assert_true(ended);
    assert_int_equal(data_of(&h, 5, &ended), 5);
    assert_true(ended);
    assert_int_equal(h.f.pw->exchange_count, 0);
    assert_int_equal(h.c->h2->stream_count, 0);
    end(&h);
}

/* What is stored may be purged and gone while a stream waits with it. */
static void test_outlives_a_purge(void **state)
{
    UNUSED(state);
    struct h2_fix h;
    bool ended;
    begin(&h, 0);
    fix_store(&h.f, "t", "/s", HEAD, body_of(1000));
    fix_store(&h.f, "t", "/l", HEAD, body_of(100000));
    put_request(&h, 1, "GET", "/s");
    put_request(&h, 3, "GET", "/l");
    turn(&h);
    cache_purge_all(h.f.cache);
    rcu_flush();
    put_window(&h, 3, 1000);
    turn(&h);
    assert_int_equal(data_of(&h, 3, &ended), 1000);
    put_window(&h, 1, 1000);
    put_window(&h, 3, 400000);
    put_window(&h, 0, 400000);
    turn(&h);
    turn(&h);
    assert_int_equal(data_of(&h, 1, &ended), 1000);
    assert_true(ended);
    assert_int_equal(data_of(&h, 3, &ended), 100000);
    assert_true(ended);
    end(&h);
}

/* Pieces of one byte do not each take memory, and are bounded. */
static void test_small_pieces_join(void **state)
{
    UNUSED(state);
    struct h2_fix h;
    begin(&h, 0);
    put_request(&h, 1, "POST", "/own"); /* waits for its body: begun, not answered */
    feed(&h);
    struct h2_stream *s = CONTAINER_OF(h.c->h2->streams.next, struct h2_stream, node);
    s->head_sent = true;
    for (unsigned i = 0; i < 2000; i++)
        assert_true(h2_stream_add(s, "x", 1, NULL));
    assert_int_equal(s->bytes, 2000 + 5);
    assert_true(s->piece_count <= 2);
    assert_true(h2_stream_ready(s));
    assert_true(h2_stream_add(s, body_of(H2_STREAM_HOLDS), H2_STREAM_HOLDS, NULL));
    assert_false(h2_stream_ready(s));
    assert_true(s->full);
    end(&h);
}

/* The client's window decides how much is read of an instance for it. */
static void test_room(void **state)
{
    UNUSED(state);
    struct h2_fix h;
    begin(&h, 0);
    put_request(&h, 1, "POST", "/own");
    feed(&h);
    struct h2_stream *s = CONTAINER_OF(h.c->h2->streams.next, struct h2_stream, node);
    const size_t waiting = s->bytes;
    assert_int_equal(h2_stream_room(s), H2_STREAM_HOLDS + 1 - waiting);
    put_window(&h, 1, 30000);
    feed(&h);
    if (h.c->h2->stream_count > 0) /* its answer is out by now, and the rest of it not wanted */
        assert_true(h2_stream_room(s) >= H2_STREAM_HOLDS);
    end(&h);
}

/* A client that leaves in the middle takes nothing with it that others have. */
static void test_reset_in_the_middle(void **state)
{
    UNUSED(state);
    struct h2_fix h;
    begin(&h, 1000);
    fix_store(&h.f, "t", "/l", HEAD, body_of(100000));
    put_request(&h, 1, "GET", "/l");
    put_request(&h, 3, "GET", "/l");
    turn(&h);
    put_frame(&h, NGHTTP2_RST_STREAM, 0, 1, "\0\0\0\10", 4);
    turn(&h);
    assert_int_equal(h.c->h2->stream_count, 1);
    assert_int_equal(h.f.pw->exchange_count, 1);
    assert_int_equal(h.c->h2->tally->live, 1);
    end(&h);
}

/* Parts of heads lie in one place for all streams: what was begun and failed is no part of the next. */
static void test_no_head_begins_with_anothers(void **state)
{
    UNUSED(state);
    struct h2_fix h;
    begin(&h, 0);
    put_request(&h, 1, "POST", "/own");
    feed(&h);
    struct h2_stream *s = CONTAINER_OF(h.c->h2->streams.next, struct h2_stream, node);
    s->head_sent = false;
    assert_true(h2_stream_add(s, HEAD, strlen(HEAD), NULL));
    assert_int_equal(h.f.pw->h2->part_count, 1);
    h2_stream_break(s);
    assert_int_equal(h.f.pw->h2->part_count, 0);
    end(&h);
}

/* Over a hundred small answers, on streams from `id` on, fill the socket. */
static void fill_socket(struct h2_fix *h, uint32_t id)
{
    const int room = 40000; /* for one batch */
    const uint32_t end = id + 240;
    fix_store(&h->f, "t", "/s", HEAD, body_of(1000));
    for (; id < end; id += 2) {
        put_request(h, id, "GET", "/s");
        if (h->out.n > sizeof h->out.bytes - 300)
            turn(h);
    }
    turn(h);
    assert_true(h->c->h2->stream_count >= 120);
    assert_int_equal(setsockopt(h->c->fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room), 0);
    put_frame(h, NGHTTP2_SETTINGS, 0, 0, "\0\4\0\0\4\0", 6);
    put_window(h, 0, 1000000);
    feed(h);
    worker_drain(h->f.worker);
    assert_non_null(h->c->left);
    assert_true(h->c->h2->stream_count > 0);
}

/* A frame that was promised waits for the socket, and its stream is given up meanwhile: what it promised is
 * gone. */
static void test_reset_while_the_socket_is_full(void **state)
{
    UNUSED(state);
    struct h2_fix h;
    bool ended;
    size_t before = 0, after = 0;
    begin(&h, 0);
    fill_socket(&h, 1);
    LIST_FOREACH_SAFE (n, next, &h.c->h2->streams) {
        h2_stream_reset(CONTAINER_OF(n, struct h2_stream, node), NGHTTP2_INTERNAL_ERROR, CLOSE_UPSTREAM_CUT);
    }
    while (h.c->left != NULL)
        turn(&h);
    for (uint32_t id = 1; id < 240; id += 2)
        before += data_of(&h, id, &ended);
    turn(&h);
    for (uint32_t id = 1; id < 240; id += 2)
        after += data_of(&h, id, &ended);
    assert_int_equal(before, after);
    assert_int_equal(h.c->h2->stream_count, 0);
    end(&h);
}

/* A head of its own, which nghttp2 is to send. */
static void give_head(struct h2_stream *s, const char *first, const char *second)
{
    assert_true(h2_stream_add(s, first, strlen(first), NULL));
    assert_true(h2_stream_head(s, slice_str(second), false));
}

static const char *heads_of(const struct h2_fix *h, uint32_t id)
{
    static char text[200000];
    frames_heads(h->got, h->got_bytes, id, text, sizeof text);
    return text;
}

static struct h2_stream *stream_of(const struct h2_fix *h, int32_t id)
{
    LIST_FOREACH (n, &h->c->h2->streams) {
        struct h2_stream *s = CONTAINER_OF(n, struct h2_stream, node);
        if (s->id == id)
            return s;
    }
    fail_msg("no stream %d", id);
    return NULL;
}

/* Streams 1, 3, 5 and 7 wait for an instance, and the socket is full. */
static void begin_full(struct h2_fix *h)
{
    begin(h, 0);
    h->f.server.spill = upstream_spill_create();
    for (uint32_t id = 1; id < 9; id += 2)
        put_request(h, id, "GO", "/from-an-instance"); /* which is not stored */
    fill_socket(h, 9);
}

static void end_full(struct h2_fix *h)
{
    struct upstream_spill *spill = h->f.server.spill;
    end(h);
    upstream_spill_destroy(spill);
}

static void drain(struct h2_fix *h)
{
    for (int i = 0; i < 3 || h->c->left != NULL; i++)
        turn(h);
}

/* Heads wait for the socket; those whose stream ends meanwhile say nothing, and leave no trace in others. */
static void test_heads_that_wait(void **state)
{
    UNUSED(state);
    struct h2_fix h;
    begin_full(&h);
    for (int round = 0; round < 2; round++) /* lines are seen twice before they enter the table */
        h2_stream_interim(stream_of(&h, 7), SLICE_LIT("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"));
    give_head(stream_of(&h, 1), "HTTP/1.1 200 OK\r\nX-Own: 1\r\n", "X-Both: a\r\n\r\n");
    give_head(stream_of(&h, 3), "HTTP/1.1 201 Created\r\nX-Own: 3\r\n", "X-Both: a\r\n\r\n");
    give_head(stream_of(&h, 5), "HTTP/1.1 200 OK\r\nX-Own: 5\r\n", "X-Both: a\r\n\r\n");
    give_head(stream_of(&h, 7), "HTTP/1.1 200 OK\r\nX-Own: 7\r\n", "X-Both: a\r\n\r\n");
    assert_int_equal(stream_of(&h, 7)->texts, 3);
    h2_stream_reset(stream_of(&h, 1), NGHTTP2_INTERNAL_ERROR, CLOSE_UPSTREAM_CUT);
    h2_stream_reset(stream_of(&h, 5), NGHTTP2_INTERNAL_ERROR, CLOSE_UPSTREAM_CUT);
    drain(&h);
    assert_true(list_empty(&h.c->h2->texts));
    assert_string_equal(heads_of(&h, 1), "");
    assert_string_equal(heads_of(&h, 3), ":status: 201\nx-own: 3\nx-both: a\n");
    assert_string_equal(heads_of(&h, 5), "");
    assert_string_equal(heads_of(&h, 7), ":status: 103\nlink: </a>\n:status: 103\nlink: </a>\n"
                                         ":status: 200\nx-own: 7\nx-both: a\n");
    end_full(&h);
}

/* They go with their connection. */
static void test_heads_that_never_leave(void **state)
{
    UNUSED(state);
    struct h2_fix h;
    begin_full(&h);
    for (int32_t id = 1; id < 9; id += 2)
        give_head(stream_of(&h, id), "HTTP/1.1 200 OK\r\nX-Own: 1\r\n", "\r\n");
    end_full(&h);
}

/* One that takes more than a frame is nghttp2's as a whole, and others keep their place around it. */
static void test_large_heads(void **state)
{
    UNUSED(state);
    static char large[20000], want[20000];
    struct h2_fix h;
    snprintf(large, sizeof large, "HTTP/1.1 200 OK\r\nX-Own: %.18000s\r\n", body_of(18000));
    snprintf(want, sizeof want, ":status: 200\nx-own: %.18000s\nage: 0\n", body_of(18000));
    begin_full(&h);
    give_head(stream_of(&h, 1), "HTTP/1.1 200 OK\r\nX-Own: 1\r\n", "\r\n");
    h2_stream_interim(stream_of(&h, 3), slice_str(large)); /* a final one's status: it does not matter here */
    give_head(stream_of(&h, 3), "HTTP/1.1 200 OK\r\nX-Own: 3\r\n", "\r\n");
    give_head(stream_of(&h, 5), large, "Age: 0\r\n\r\n");
    give_head(stream_of(&h, 7), "HTTP/1.1 200 OK\r\nX-Own: 1\r\n", "\r\n");
    drain(&h);
    assert_string_equal(heads_of(&h, 1), ":status: 200\nx-own: 1\n");
    assert_memory_equal(heads_of(&h, 3), want, strlen(want) - strlen("age: 0\n"));
    assert_string_equal(heads_of(&h, 3) + strlen(want) - strlen("age: 0\n"), ":status: 200\nx-own: 3\n");
    assert_string_equal(heads_of(&h, 5), want);
    assert_string_equal(heads_of(&h, 7), ":status: 200\nx-own: 1\n");
    end_full(&h);
}

/* The batch is half full, and so is the socket, when a frame of the largest size comes. */
static void test_large_heads_that_wait(void **state)
{
    UNUSED(state);
    static char head[20100];
    struct h2_fix h;
    size_t heads = 0;
    begin_full(&h);
    for (int i = 0; i < 12; i++) {
        const size_t bytes = i % 2 == 0 ? 9000 : 20000;
        memset(head, '\\', bytes); /* Huffman would be longer */
        memcpy(head, "HTTP/1.1 200 OK\r\nX-Own: ", 24);
        strcpy(head + bytes, "\r\n");
        h2_stream_interim(stream_of(&h, 3), slice_str(head));
    }
    drain(&h);
    for (const char *at = heads_of(&h, 3); (at = strstr(at, ":status: 200\nx-own: \\")) != NULL; at++)
        heads++;
    assert_int_equal(heads, 12);
    end_full(&h);
}

/* The payload of the last HEADERS of a stream. */
static slice_t last_block(const struct h2_fix *h, uint32_t id)
{
    slice_t block = {NULL, 0};
    struct frame f;
    for (size_t at = 0; frames_next(h->got, h->got_bytes, &at, &f);) {
        if (f.type == NGHTTP2_HEADERS && f.id == id)
            block = slice_make((const char *)f.payload, f.n);
    }
    return block;
}

/* A status of the static table is a byte, and so is a line of trailers that comes again. */
static void test_few_bytes(void **state)
{
    UNUSED(state);
    static const char trailers[] = "Grpc-Status: 0\r\nGrpc-Message: \r\n\r\n";
    static char large[9000];
    struct h2_fix h;
    begin_full(&h);
    snprintf(large, sizeof large, "X-Own: %.8500s\r\n\r\n", body_of(8500));
    for (int32_t id = 1; id < 9; id += 2) {
        give_head(stream_of(&h, id), "HTTP/1.1 404 Not Found\r\n", "\r\n");
        h2_stream_finish(stream_of(&h, id), slice_str(id < 7 ? trailers : large));
    }
    drain(&h);
    assert_string_equal(heads_of(&h, 3), ":status: 404\ngrpc-status: 0\ngrpc-message: \n");
    assert_string_equal(heads_of(&h, 5), ":status: 404\ngrpc-status: 0\ngrpc-message: \n");
    assert_int_equal(last_block(&h, 5).len, 2);
    assert_memory_equal(heads_of(&h, 7), ":status: 404\nx-own: bbb", 23);
    put_request(&h, 9001, "GET", "/s");
    turn(&h);
    assert_int_equal(last_block(&h, 9001).ptr[0] & 0xff, 0x88);
    end_full(&h);
}

/* A client may make its table smaller, or do without, at any time. */
static void test_the_clients_table(void **state)
{
    UNUSED(state);
    static const char *const size[] = {"\0\1\0\0\0\0", "\0\1\0\0\0\100", "\0\1\0\1\0\0", "\0\1\0\0\1\0"};
    struct h2_fix h;
    char want[256];
    uint32_t id = 1;
    begin(&h, 65535);
    fix_store(&h.f, "t", "/s", "HTTP/1.1 200 OK\r\nX-Own: Yes\r\nX-Two: Two\r\nETag: \"a\"\r\n", "");
    for (unsigned i = 0; i < 40; i++, id += 2) {
        if (i % 5 == 4)
            put_frame(&h, NGHTTP2_SETTINGS, 0, 0, size[i / 5 % 4], 6);
        put_request(&h, id, "GET", "/s");
        turn(&h);
        snprintf(want, sizeof want, ":status: 200\nx-own: Yes\nx-two: Two\netag: \"a\"\n");
        assert_memory_equal(heads_of(&h, id), want, strlen(want));
    }
    assert_true(h.c->h2->table->room < 4096);
    end(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_heads_that_wait),
        cmocka_unit_test(test_heads_that_never_leave),
        cmocka_unit_test(test_large_heads),
        cmocka_unit_test(test_large_heads_that_wait),
        cmocka_unit_test(test_few_bytes),
        cmocka_unit_test(test_the_clients_table),
        cmocka_unit_test(test_one_write),
        cmocka_unit_test(test_holds_what_is_small),
        cmocka_unit_test(test_outlives_a_purge),
        cmocka_unit_test(test_small_pieces_join),
        cmocka_unit_test(test_room),
        cmocka_unit_test(test_reset_in_the_middle),
        cmocka_unit_test(test_no_head_begins_with_anothers),
        cmocka_unit_test(test_reset_while_the_socket_is_full),
    };
    return cmocka_run_group_tests_name("proxy/h2_stream", tests, fix_group_setup, fix_group_teardown);
}
