/* test_h2_call.c: calls on a connection to an instance (h2_call, h2_client, h2_client_recv): in which order
 * they end, who leaves when, what GOAWAY leaves, and memory that is not there. */
#include "proxy/h2_call.h"

#include "instance_fixture.h"

#define GET(path) "GET " path " HTTP/1.1\r\nHost: h\r\n\r\n"
#define OK_HEAD   "\x88"

static void answer(struct inst_fix *o, unsigned conn, unsigned id, const char *body)
{
    inst_frame(o->conn[conn], NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, id, OK_HEAD, 1);
    inst_frame(o->conn[conn], NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, id, body, strlen(body));
}

static bool is_asked(const struct inst_fix *o, unsigned conn, unsigned id)
{
    return o->conn_count > conn && o->conn[conn]->asked[id / 2];
}

static bool is_reset(const struct inst_fix *o, unsigned conn, unsigned id)
{
    return o->conn_count > conn && o->conn[conn]->reset[id / 2];
}

static void test_either_order(void **state)
{
    UNUSED(state);
    for (unsigned first = 0; first < 2; first++) {
        struct inst_fix o;
        inst_start(&o, true, "");
        inst_ask(&o, 0, GET("/a"));
        inst_ask(&o, 1, GET("/b"));
        INST_UNTIL(&o, is_asked(&o, 0, 1) && is_asked(&o, 0, 3));
        answer(&o, 0, first == 0 ? 1 : 3, "early");
        INST_UNTIL(&o, inst_has(&o, first, "early"));
        assert_int_equal(o.client[1 - first].got_bytes, 0);
        answer(&o, 0, first == 0 ? 3 : 1, "late");
        INST_UNTIL(&o, inst_has(&o, 1 - first, "late"));
        assert_int_equal(o.conn_count, 1);
        inst_end(&o);
    }
}

/* Both in one read: the second goes on inside the callback in which the first has ended. */
static void test_both_at_once(void **state)
{
    UNUSED(state);
    struct inst_fix o;
    inst_start(&o, true, "");
    inst_ask(&o, 0, GET("/a"));
    inst_ask(&o, 1, GET("/b"));
    INST_UNTIL(&o, is_asked(&o, 0, 1) && is_asked(&o, 0, 3));
    answer(&o, 0, 3, "second");
    answer(&o, 0, 1, "first");
    INST_UNTIL(&o, inst_has(&o, 0, "first") && inst_has(&o, 1, "second"));
    inst_end(&o);
}

/* The other one is served whenever somebody leaves. */
static void test_who_leaves(void **state)
{
    UNUSED(state);
    enum { CONNECTING, ASKED, BEGUN, LAST };
    for (unsigned when = CONNECTING; when < LAST; when++) {
        struct inst_fix o;
        inst_start(&o, true, "");
        inst_ask(&o, 0, GET("/a"));
        inst_ask(&o, 1, GET("/b"));
        if (when >= ASKED)
            INST_UNTIL(&o, is_asked(&o, 0, 1) && is_asked(&o, 0, 3));
        if (when >= BEGUN) {
            inst_frame(o.conn[0], NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 1, OK_HEAD, 1);
            INST_UNTIL(&o, inst_has(&o, 0, "200 OK"));
        }
        if (when == CONNECTING)
            client_conn_close(inst_exchange(&o, "/a")->client, CLOSE_CLIENT_CLOSED);
        inst_leave(&o, 0);
        INST_UNTIL(&o, inst_exchange(&o, "/a") == NULL);
        if (when >= ASKED)
            INST_UNTIL(&o, is_reset(&o, 0, 1));
        const unsigned id = when >= ASKED ? 3 : 1;
        INST_UNTIL(&o, is_asked(&o, 0, id));
        answer(&o, 0, id, "other");
        INST_UNTIL(&o, inst_has(&o, 1, "other"));
        inst_end(&o);
    }
}

/* The instance opens its window no further, the upload waits, and its client leaves. */
static void test_leaves_while_blocked(void **state)
{
    UNUSED(state);
    struct inst_fix o;
    char piece[4096];
    memset(piece, 'b', sizeof piece);
    inst_start(&o, true, "");
    inst_ask(&o, 0, "POST /up HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n");
    struct exchange *x = inst_exchange(&o, "/up");
    assert_non_null(x);
    for (unsigned i = 0; i < INST_ROUNDS && (x->call == NULL || !h2_call_is_blocked(x->call)); i++) {
        send(o.client[0].fd, piece, sizeof piece, MSG_NOSIGNAL);
        inst_turn(&o);
    }
    assert_true(x->call != NULL && h2_call_is_blocked(x->call));
    inst_ask(&o, 1, GET("/b"));
    INST_UNTIL(&o, is_asked(&o, 0, 3));
    inst_leave(&o, 0);
    inst_turn(&o);
    inst_ring(&x->client->deadline); /* nothing can be read: it is looked at */
    INST_UNTIL(&o, is_reset(&o, 0, 1));
    answer(&o, 0, 3, "other");
    INST_UNTIL(&o, inst_has(&o, 1, "other"));
    inst_end(&o);
}

/* What is above the last stream of a GOAWAY was not processed, and is asked on another connection. */
static void test_goaway_between(void **state)
{
    UNUSED(state);
    static const unsigned char last_is_1[8] = {[3] = 1};
    struct inst_fix o;
    inst_start(&o, true, "retries = 0\n");
    inst_ask(&o, 0, GET("/a"));
    inst_ask(&o, 1, "POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody");
    INST_UNTIL(&o, is_asked(&o, 0, 1) && is_asked(&o, 0, 3));
    inst_frame(o.conn[0], NGHTTP2_GOAWAY, 0, 0, last_is_1, sizeof last_is_1);
    INST_UNTIL(&o, is_asked(&o, 1, 1) && o.conn[1]->ended[0]);
    answer(&o, 1, 1, "again");
    answer(&o, 0, 1, "first");
    INST_UNTIL(&o, inst_has(&o, 0, "first") && inst_has(&o, 1, "again"));
    INST_UNTIL(&o, o.conn[0]->fd < 0);
    inst_end(&o);
}

/* The connection breaks in the middle of one answer and before another. */
static void test_breaks(void **state)
{
    UNUSED(state);
    struct inst_fix o;
    inst_start(&o, true, "");
    inst_ask(&o, 0, GET("/a"));
    inst_ask(&o, 1, GET("/b"));
    INST_UNTIL(&o, is_asked(&o, 0, 1) && is_asked(&o, 0, 3));
    inst_frame(o.conn[0], NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 1, OK_HEAD, 1);
    INST_UNTIL(&o, inst_has(&o, 0, "200 OK"));
    inst_break(&o, 0);
    INST_UNTIL(&o, o.client[0].closed && is_asked(&o, 1, 1));
    answer(&o, 1, 1, "again");
    INST_UNTIL(&o, inst_has(&o, 1, "again"));
    inst_end(&o);
}

/* ---- no memory ---- */

/* Whoever can be served is; who cannot gets an error or a cut, and nobody waits for ever. */
static void serve(struct inst_fix *o)
{
    static const unsigned char trailer[] = "\x00\x01t\x01v";
    for (unsigned round = 0; round < INST_ROUNDS && o->f.pw->exchange_count > 0; round++) {
        inst_turn(o);
        for (unsigned k = 0; k < o->conn_count; k++) {
            for (unsigned i = 0; i < INST_STREAMS; i++) {
                if (!o->conn[k]->ended[i])
                    continue;
                o->conn[k]->ended[i] = false;
                inst_frame(o->conn[k], NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 2 * i + 1, OK_HEAD, 1);
                inst_frame(o->conn[k], NGHTTP2_DATA, 0, 2 * i + 1, "answer", 6);
                inst_frame(o->conn[k], NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_END_STREAM,
                           2 * i + 1, trailer, sizeof trailer - 1);
            }
        }
    }
    if (o->f.pw->exchange_count > 0) {
        struct exchange *x = CONTAINER_OF(o->f.pw->exchanges.next, struct exchange, node);
        fail_msg("allocation %u: %.*s waits in phase %u, body %u, call %d, open %d", no_memory.fails_at,
                 (int)x->req.target.len, x->req.target.ptr, x->phase, x->body_state, x->call != NULL,
                 x->call != NULL && h2_call_is_open(x->call));
    }
}

static void begin(struct inst_fix *o)
{
    inst_start(o, true, "");
}

static void play(struct inst_fix *o)
{
    inst_ask(o, 0, GET("/a"));
    inst_ask(
        o, 1,
        "POST /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nT: v\r\n\r\n");
    serve(o);
}

/* With memory all is well again. */
static void after(struct inst_fix *o)
{
    if (!no_memory.failed)
        assert_true(inst_has(o, 0, "answer") && inst_has(o, 1, "answer"));
    inst_ask(o, 2, GET("/later"));
    serve(o);
    assert_true(inst_has(o, 2, "answer"));
}

static void test_each_allocation_fails(void **state)
{
    UNUSED(state);
    inst_fail_each(begin, play, after);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_either_order),
        cmocka_unit_test(test_both_at_once),
        cmocka_unit_test(test_who_leaves),
        cmocka_unit_test(test_leaves_while_blocked),
        cmocka_unit_test(test_goaway_between),
        cmocka_unit_test(test_breaks),
        cmocka_unit_test(test_each_allocation_fails),
    };
    return cmocka_run_group_tests_name("proxy/h2_call", tests, fix_group_setup, fix_group_teardown);
}
