/* h2_instances.c: instances that speak HTTP/2, played frame by frame: what they are asked, how requests share
 * connections, who says goodbye or no in time and out of time, what is malformed, and who waits for whom. */
#include "tests/support/h2.h"
#include "tests/support/millpond.h"

#define OK_HEAD ":status", "200", "cache-control", "no-store"
#define END     NGHTTP2_FLAG_END_STREAM

static struct h2_listener instance;

static struct millpond *start(const char *lines)
{
    instance = h2_listen();
    return millpond_start(.main = "workers = 1\n", .listen = "protocols = h2, http/1.1, h2c\n",
                          .rest = textf(
                              "[pool app]\nserver = 127.0.0.1:%d\nprotocol = h2\nhealth_check = off\n%s",
                              instance.port, lines));
}

/* ---- what is asked ---- */

static void requests_share_a_connection(void **state)
{
    UNUSED(state);
    struct millpond *m = start("");
    struct h2_client *c = h2_open(m->port);
    struct client *c1 = client_open(m->port);
    h2_headers(c, END, 1, H2_GET("/a?b=1"), "te", "trailers", "x-own", "yes");
    struct h2_client *i = h2_accept(&instance, 0, 0);
    struct h2_answer *a = h2_wait_asked(i, 1);
    h2_get(c, 3, "/b");
    h2_wait_asked(i, 3);
    client_send(c1, "GET /c HTTP/1.1\r\nHost: other\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n"
                    "Upgrade: x\r\nKeep-Alive: 5\r\n\r\n");
    struct h2_answer *third = h2_wait_asked(i, 5);
    assert_true(strncmp(a->head, ":method: GET\n:scheme: http\n:path: /a?b=1\n:authority: test\n", 56) == 0);
    expect_in(a->head, "te: trailers\n");
    expect_in(a->head, "x-own: yes\n");
    expect_in(a->head, "via: 2.0 millpond\n");
    assert_true(a->ended);
    expect_in(third->head, ":authority: other\n");
    const char *const gone[] = {"\nhost:",    "connection", "x-hop",   "upgrade",
                                "keep-alive", "\nte:",      "transfer"};
    for (unsigned k = 0; k < ARRAY_LEN(gone); k++)
        expect_not_in(third->head, gone[k]);
    h2_headers(i, 0, 5, OK_HEAD);
    h2_data(i, END, 5, "third", 5);
    h2_headers(i, 0, 3, OK_HEAD);
    h2_data(i, END, 3, "second", 6);
    h2_headers(i, 0, 1, OK_HEAD, "connectionless", "1");
    h2_data(i, END, 1, "first", 5);
    expect_body(client_read(c1), "third");
    h2_expect(c, 3, 200, "second");
    h2_expect(c, 1, 200, "first");
    expect_in(h2_answer(c, 1)->head, "via: 2.0 millpond\n");
    assert_int_equal(millpond_figure(m, "upstream_connects"), 1);
    assert_int_equal(millpond_figure(m, "upstream_reuses"), 2);
    millpond_stop(m);
}

static void the_instances_limit_is_kept(void **state)
{
    UNUSED(state);
    struct millpond *m = start("");
    struct h2_client *c = h2_open(m->port);
    h2_get(c, 1, "/a");
    struct h2_client *i = h2_accept(&instance, 1, 0);
    h2_wait_asked(i, 1);
    while (i->settings_acked == 0)
        EXPECT(h2_read(i), "no acknowledgement");
    h2_get(c, 3, "/b");
    struct h2_client *other = h2_accept(&instance, 1, 0);
    expect_in(h2_wait_asked(other, 1)->head, ":path: /b\n");
    h2_headers(other, END, 1, OK_HEAD);
    h2_expect(c, 3, 200, "");
    h2_get(c, 5, "/c"); /* the first is full, the second is not */
    expect_in(h2_wait_asked(other, 3)->head, ":path: /c\n");
    h2_headers(other, END, 3, OK_HEAD);
    h2_headers(i, END, 1, OK_HEAD);
    h2_expect(c, 1, 200, "");
    h2_expect(c, 5, 200, "");
    assert_int_equal(millpond_figure(m, "upstream_connects"), 2);
    millpond_stop(m);
}

/* Beyond the bound on connections requests wait for their turn on one of them. */
static void more_than_all_connections_take_waits(void **state)
{
    UNUSED(state);
    struct millpond *m = start("");
    struct h2_client *c = h2_open(m->port), *i[8];
    for (unsigned k = 0; k < 9; k++) {
        h2_get(c, 2 * k + 1, textf("/%u", k));
        if (k == 8)
            break;
        i[k] = h2_accept(&instance, 1, 0);
        h2_wait_asked(i[k], 1);
        while (i[k]->settings_acked == 0)
            EXPECT(h2_read(i[k]), "no acknowledgement");
    }
    h2_sync(c);
    for (unsigned k = 0; k < 8; k++)
        h2_headers(i[k], END, 1, OK_HEAD);
    for (unsigned k = 0; k < 8; k++)
        h2_expect(c, 2 * k + 1, 200, "");
    expect_in(h2_wait_asked(i[0], 3)->head, ":path: /8\n");
    h2_headers(i[0], END, 3, OK_HEAD);
    h2_expect(c, 17, 200, "");
    millpond_stop(m);
}

/* ---- goodbyes ---- */

static void goaway(struct h2_client *i, unsigned char last)
{
    const unsigned char payload[8] = {0, 0, 0, last};
    h2_frame(i, NGHTTP2_GOAWAY, 0, 0, payload, sizeof payload);
}

static void goaway_moves_what_was_not_processed(void **state)
{
    UNUSED(state);
    struct millpond *m = start("retries = 0\n");
    struct h2_client *c = h2_open(m->port);
    h2_get(c, 1, "/a");
    struct h2_client *i = h2_accept(&instance, 0, 0);
    h2_wait_asked(i, 1);
    h2_headers(c, 0, 3, H2_POST("/b"));
    h2_data(c, END, 3, "body", 4);
    h2_wait(i, 3);
    goaway(i, 1);
    struct h2_client *other = h2_accept(&instance, 0, 0);
    struct h2_answer *again = h2_wait(other, 1);
    expect_in(again->head, ":method: POST\n");
    assert_string_equal(again->body, "body");
    h2_headers(other, END, 1, OK_HEAD);
    h2_headers(i, 0, 1, OK_HEAD);
    h2_data(i, END, 1, "late", 4);
    h2_expect(c, 3, 200, "");
    h2_expect(c, 1, 200, "late");
    h2_wait_end(i); /* after its last */
    h2_get(c, 5, "/c");
    h2_wait_asked(other, 3);
    h2_headers(other, END, 3, OK_HEAD);
    h2_expect(c, 5, 200, "");
    assert_int_equal(millpond_figure(m, "upstream_connects"), 2);
    millpond_stop(m);
}

static void a_refused_stream_is_tried_again(void **state)
{
    UNUSED(state);
    struct millpond *m = start("retries = 1\n");
    struct h2_client *c = h2_open(m->port);
    h2_headers(c, 0, 1, H2_POST("/a"));
    h2_data(c, END, 1, "body", 4);
    struct h2_client *i = h2_accept(&instance, 0, 0);
    h2_wait(i, 1);
    h2_reset(i, 1, NGHTTP2_REFUSED_STREAM);
    assert_string_equal(h2_wait(i, 3)->body, "body");
    h2_headers(i, END, 3, OK_HEAD);
    h2_expect(c, 1, 200, "");
    h2_get(c, 3, "/b");
    for (uint32_t id = 5; id <= 7; id += 2) {
        h2_wait(i, id);
        h2_reset(i, id, NGHTTP2_REFUSED_STREAM);
    }
    h2_expect(c, 3, 503, NULL);
    assert_int_equal(millpond_figure(m, "upstream_connects"), 1);
    millpond_stop(m);
}

static void a_broken_connection_is_retried_where_that_is_safe(void **state)
{
    UNUSED(state);
    struct millpond *m = start("retries = 1\n");
    struct h2_client *c = h2_open(m->port);
    h2_get(c, 1, "/a");
    struct h2_client *i = h2_accept(&instance, 0, 0);
    h2_wait(i, 1);
    h2_headers(i, END, 1, OK_HEAD);
    h2_expect(c, 1, 200, "");
    h2_get(c, 3, "/b");
    h2_wait(i, 3);
    h2_headers(c, 0, 5, H2_POST("/c"));
    h2_data(c, END, 5, "x", 1);
    h2_wait(i, 5);
    h2_get(c, 7, "/d");
    h2_wait(i, 7);
    h2_headers(i, 0, 7, OK_HEAD);
    h2_data(i, 0, 7, "half", 4);
    h2_wait_head(c, 7);
    h2_close(i);
    struct h2_client *other = h2_accept(&instance, 0, 0);
    expect_in(h2_wait(other, 1)->head, ":path: /b\n");
    h2_headers(other, END, 1, OK_HEAD);
    h2_expect(c, 3, 200, "");
    h2_expect(c, 5, 502, NULL);
    EXPECT(h2_wait(c, 7)->reset != H2_NO_CODE, "half a body ends as a whole one");
    millpond_stop(m);
}

static void idle_connections_end(void **state)
{
    UNUSED(state);
    struct millpond *m = start("idle_timeout = 100ms\n");
    struct client *c = client_open(m->port);
    client_send(c, "GET /a HTTP/1.1\r\nHost: test\r\n\r\n");
    struct h2_client *i = h2_accept(&instance, 0, 0);
    h2_wait(i, 1);
    h2_headers(i, END, 1, OK_HEAD);
    expect_status(client_read(c), 200);
    h2_wait_end(i);
    assert_int_equal(i->goaway, NGHTTP2_NO_ERROR);
    millpond_wait_figure(m, "upstream_connections", 0);
    millpond_stop(m);
}

static void silence_ends_in_504(void **state)
{
    UNUSED(state);
    struct millpond *m = start("response_timeout = 200ms\nretries = 0\n");
    struct h2_client *c = h2_open(m->port);
    h2_get(c, 1, "/heard");
    struct h2_client *i = h2_accept(&instance, 0, 0);
    h2_wait_asked(i, 1);
    while (i->settings_acked == 0)
        EXPECT(h2_read(i), "no acknowledgement");
    h2_headers(i, END, 1, OK_HEAD);
    h2_expect(c, 1, 200, "");
    h2_get(c, 3, "/a");
    h2_wait(i, 3);
    h2_expect(c, 3, 504, NULL);
    while (h2_answer(i, 3)->reset == H2_NO_CODE)
        EXPECT(h2_read(i), "no reset");
    assert_int_equal(h2_answer(i, 3)->reset, NGHTTP2_CANCEL);
    h2_get(c, 5, "/b"); /* it said nothing at all: perhaps it is gone */
    h2_wait(h2_accept(&instance, 0, 0), 1);
    millpond_stop(m);
}

static void who_leaves_cancels(void **state)
{
    UNUSED(state);
    struct millpond *m = start("");
    struct h2_client *c = h2_open(m->port);
    h2_get(c, 1, "/a");
    struct h2_client *i = h2_accept(&instance, 0, 0);
    h2_wait(i, 1);
    h2_reset(c, 1, NGHTTP2_CANCEL);
    while (h2_answer(i, 1)->reset == H2_NO_CODE)
        EXPECT(h2_read(i), "no reset");
    h2_get(c, 3, "/b");
    h2_wait(i, 3);
    h2_headers(i, END, 3, OK_HEAD);
    h2_expect(c, 3, 200, "");
    millpond_stop(m);
}

/* ---- what is malformed ---- */

static const struct {
    const char *name;
    const char *const head[12];
    const char *data, *const trailers[6];
} bad[] = {
    {"no status", {"server", "x", NULL}, NULL, {NULL}},
    {"two of them", {":status", "200", ":status", "200", NULL}, NULL, {NULL}},
    {"no number", {":status", "2x0", NULL}, NULL, {NULL}},
    {"of a request", {":status", "200", ":path", "/", NULL}, NULL, {NULL}},
    {"behind fields", {"server", "x", ":status", "200", NULL}, NULL, {NULL}},
    {"upper case", {":status", "200", "Server", "x", NULL}, NULL, {NULL}},
    {"connection", {":status", "200", "connection", "close", NULL}, NULL, {NULL}},
    {"transfer-encoding", {":status", "200", "transfer-encoding", "chunked", NULL}, NULL, {NULL}},
    {"line end", {":status", "200", "x-a", "b\r\nc: d", NULL}, NULL, {NULL}},
    {"white space", {":status", "200", "x-a", " b", NULL}, NULL, {NULL}},
    {"101", {":status", "101", NULL}, NULL, {NULL}},
    {"two lengths", {":status", "200", "content-length", "1", "content-length", "2", NULL}, NULL, {NULL}},
    {"no length", {":status", "200", "content-length", "+1", NULL}, NULL, {NULL}},
    {"an end before the length", {":status", "200", "content-length", "9", NULL}, "", {NULL}},
};

static void malformed_heads_are_502(void **state)
{
    UNUSED(state);
    struct millpond *m = start("retries = 0\n");
    struct h2_client *c = h2_open(m->port), *i = NULL;
    uint32_t id = 1;
    for (unsigned k = 0; k < ARRAY_LEN(bad); k++, id += 2) {
        h2_get(c, id, "/a");
        i = i != NULL ? i : h2_accept(&instance, 0, 0);
        h2_wait(i, id);
        h2_headers_(i, bad[k].data != NULL ? END : 0, id, bad[k].head);
        struct h2_answer *a = h2_wait(c, id);
        EXPECT(a->status == 502, "%s: %d", bad[k].name, a->status);
        while (h2_answer(i, id)->reset == H2_NO_CODE)
            EXPECT(h2_read(i), "%s: no reset", bad[k].name);
        EXPECT(h2_answer(i, id)->reset == NGHTTP2_PROTOCOL_ERROR, "%s: %lld", bad[k].name,
               (long long)h2_answer(i, id)->reset);
    }
    assert_int_equal(millpond_figure(m, "upstream_connects"), 1);
    millpond_stop(m);
}

static void malformed_bodies_are_cut(void **state)
{
    UNUSED(state);
    struct millpond *m = start("retries = 0\n");
    struct h2_client *c = h2_open(m->port), *i = NULL;
    for (uint32_t id = 1; id <= 9; id += 2) {
        const bool long_one = id == 3;
        h2_get(c, id, "/a");
        i = i != NULL ? i : h2_accept(&instance, 0, 0);
        h2_wait(i, id);
        h2_headers(i, 0, id, OK_HEAD, id <= 3 ? "content-length" : "x-a", "5");
        if (id == 9)
            h2_headers(i, 0, id, OK_HEAD); /* a second one */
        h2_data(i, id == 1 ? END : 0, id, "123456789", id <= 3 ? (long_one ? 6 : 4) : 5);
        if (id == 5)
            h2_headers(i, END, id, ":status", "200");
        if (id == 7)
            h2_headers(i, END, id, "connection", "close");
        struct h2_answer *a = h2_wait(c, id);
        EXPECT(a->reset != H2_NO_CODE || a->status == 502, "%u ends as if it were whole", id);
        while (h2_answer(i, id)->reset == H2_NO_CODE)
            EXPECT(h2_read(i), "%u: no reset", id);
    }
    assert_int_equal(millpond_figure(m, "upstream_connects"), 1);
    millpond_stop(m);
}

static void too_much_is_502(void **state)
{
    UNUSED(state);
    struct millpond *m = start("retries = 0\n");
    struct h2_client *c = h2_open(m->port);
    h2_get(c, 1, "/a");
    struct h2_client *i = h2_accept(&instance, 0, 0);
    h2_wait(i, 1);
    for (unsigned k = 0; k < 17; k++)
        h2_headers(i, 0, 1, ":status", "103", "link", "</a>; rel=preload");
    h2_expect(c, 1, 502, NULL);
    h2_get(c, 3, "/b");
    h2_wait(i, 3);
    char *value = text_repeat('v', 14000);
    unsigned char block[16384];
    const char *const first[] = {":status", "200", "a", value, NULL}, *const more[] = {"b", value, NULL};
    size_t n = h2_encode(first, block, sizeof block);
    h2_frame(i, NGHTTP2_HEADERS, 0, 3, block, n);
    n = h2_encode(more, block, sizeof block);
    for (unsigned k = 0; k < 5; k++)
        h2_frame(i, NGHTTP2_CONTINUATION, k == 4 ? NGHTTP2_FLAG_END_HEADERS : 0, 3, block, n);
    h2_expect(c, 3, 502, NULL);
    h2_get(c, 5, "/c");
    h2_wait(i, 5);
    h2_headers(i, END, 5, OK_HEAD);
    h2_expect(c, 5, 200, "");
    millpond_stop(m);
}

/* ---- bodies and trailers ---- */

static void a_slow_reader_holds_up_nobody(void **state)
{
    UNUSED(state);
    struct millpond *m = start("");
    struct h2_client *slow = h2_open(m->port, .window = 1000), *c = h2_open(m->port);
    slow->no_window_updates = true;
    h2_get(slow, 1, "/a");
    struct h2_client *i = h2_accept(&instance, 0, 0);
    h2_wait(i, 1);
    h2_headers(i, 0, 1, OK_HEAD);
    char *part = text_repeat('p', 8192);
    for (unsigned k = 0; k < 8; k++)
        h2_data(i, 0, 1, part, 8000); /* about what the window allows */
    h2_wait_head(slow, 1);
    for (uint32_t id = 1; id <= 41; id += 2) {
        h2_get(c, id, "/b");
        h2_wait(i, id + 2);
        h2_headers(i, 0, id + 2, OK_HEAD);
        for (unsigned k = 0; k < 7; k++)
            h2_data(i, k == 6 ? END : 0, id + 2, part, 8000);
        assert_int_equal(h2_wait(c, id)->body_len, 56000);
    }
    EXPECT(i->window_given[0] >= 20 * 56000, "the connection's window stays shut");
    h2_data(i, END, 1, "end", 3);
    slow->no_window_updates = false;
    h2_window_update(slow, 1, 63000);
    h2_window_update(slow, 1, 1000);
    assert_int_equal(h2_wait(slow, 1)->body_len, 64003);
    millpond_stop(m);
}

static void an_instance_that_does_not_read_stops_the_upload(void **state)
{
    UNUSED(state);
    struct millpond *m = start("");
    struct client *c = client_open(m->port);
    char *body = text_repeat('u', 300000);
    client_send(c, "GET /first HTTP/1.1\r\nHost: test\r\n\r\n");
    struct h2_client *i = h2_accept(&instance, 0, 20000);
    h2_wait(i, 1);
    while (i->settings_acked == 0) /* until then the window is the default */
        EXPECT(h2_read(i), "no acknowledgement");
    h2_headers(i, END, 1, OK_HEAD);
    expect_status(client_read(c), 200);
    client_send(c, "PUT /a HTTP/1.1\r\nHost: test\r\nContent-Length: 300000\r\n\r\n");
    client_send_bytes(c, body, 100000);
    struct h2_answer *a = h2_wait_asked(i, 3);
    expect_in(a->head, "content-length: 300000\n");
    i->no_window_updates = true;
    while (a->body_len < 20000)
        EXPECT(h2_read(i), "less than the window comes");
    client_send_bytes(c, body, 200000);
    h2_sync(i);
    assert_int_equal(a->body_len, 20000);
    i->no_window_updates = false;
    h2_window_update(i, 0, 300000);
    h2_window_update(i, 3, 300000);
    assert_int_equal(h2_wait(i, 3)->body_len, 300000);
    h2_headers(i, END, 3, OK_HEAD);
    expect_status(client_read(c), 200);
    millpond_stop(m);
}

static void trailers_pass_both_ways(void **state)
{
    UNUSED(state);
    struct millpond *m = start("");
    struct client *c1 = client_open(m->port);
    struct h2_client *c = h2_open(m->port), *i = NULL;
    client_send(c1, "POST /a HTTP/1.1\r\nHost: test\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n"
                    "3\r\nabc\r\n0\r\nX-Up: one\r\nAuthorization: no\r\n\r\n");
    i = h2_accept(&instance, 0, 0);
    h2_headers(c, 0, 1, H2_POST("/b"), "te", "trailers");
    h2_data(c, 0, 1, "def", 3);
    h2_headers(c, END, 1, "x-up", "two");
    for (uint32_t id = 1; id <= 3; id += 2) {
        struct h2_answer *a = h2_wait(i, id);
        const bool first = strcmp(a->body, "abc") == 0;
        expect_in(a->head, first ? "x-up: one\n" : "x-up: two\n");
        expect_in(a->head, "te: trailers\n");
        expect_not_in(a->head, "authorization");
        h2_headers(i, 0, id, OK_HEAD);
        h2_data(i, 0, id, first ? "1" : "2", 1);
        h2_headers(i, END, id, "x-down", first ? "one" : "two");
    }
    struct message *r = client_read(c1);
    expect_body(r, "1");
    expect_in(r->trailers, "x-down: one");
    h2_expect(c, 1, 200, "2");
    expect_in(h2_answer(c, 1)->head, "x-down: two\n");
    h2_headers(c, END, 3, H2_GET("/c")); /* trailers alone: a head that ends the response */
    h2_wait(i, 5);
    h2_headers(i, 0, 5, OK_HEAD);
    h2_headers(i, END, 5, "x-down", "three");
    h2_expect(c, 3, 200, "");
    expect_in(h2_answer(c, 3)->head, "x-down: three\n");
    millpond_stop(m);
}

static void interim_responses_pass(void **state)
{
    UNUSED(state);
    struct millpond *m = start("");
    struct client *c1 = client_open(m->port);
    client_send(c1, "PUT /a HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    struct h2_client *i = h2_accept(&instance, 0, 0);
    expect_in(h2_wait_asked(i, 1)->head, "expect: 100-continue\n");
    h2_headers(i, 0, 1, ":status", "100");
    assert_int_equal(client_read_head(c1)->status, 100);
    client_send(c1, "abc");
    assert_string_equal(h2_wait(i, 1)->body, "abc");
    h2_headers(i, 0, 1, ":status", "103", "link", "</x>; rel=preload");
    h2_headers(i, END, 1, ":status", "204");
    struct message *hint = client_read_head(c1);
    assert_int_equal(hint->status, 103);
    expect_field(hint, "Link", "</x>; rel=preload");
    assert_int_equal(client_read_no_body(c1)->status, 204);
    millpond_stop(m);
}

static void responses_are_cached(void **state)
{
    UNUSED(state);
    struct millpond *m = start("");
    struct h2_client *c = h2_open(m->port);
    h2_get(c, 1, "/a");
    struct h2_client *i = h2_accept(&instance, 0, 0);
    h2_wait(i, 1);
    h2_headers(i, 0, 1, ":status", "200", "cache-control", "max-age=60", "etag", "\"e\"");
    char *body = text_repeat('b', 200000);
    for (unsigned at = 0; at < 200000; at += 10000) {
        while (at >= 60000 && i->window_given[1] + 65536 < at + 10000)
            EXPECT(h2_read(i), "no window");
        h2_data(i, at == 190000 ? END : 0, 1, body, 10000);
    }
    h2_expect(c, 1, 200, body);
    struct message *r = client_get(m->port, "/a", "");
    expect_body(r, body);
    expect_field_in(r, "Cache-Status", "hit");
    assert_int_equal(millpond_figure(m, "cache_stored"), 1);
    millpond_stop(m);
}

/* ---- gRPC: what its libraries would hide ---- */

#define GRPC_POST(path) H2_POST(path), "content-type", "application/grpc+proto", "te", "trailers"

static void grpc_deadlines_end_what_waits(void **state)
{
    UNUSED(state);
    struct millpond *m = start("");
    struct h2_client *c = h2_open(m->port);
    h2_headers(c, 0, 1, GRPC_POST("/s/a"), "grpc-timeout", "100m");
    struct h2_client *i = h2_accept(&instance, 0, 0);
    expect_in(h2_wait_asked(i, 1)->head, "grpc-timeout: 100m\n");
    struct h2_answer *a = h2_wait(c, 1);
    assert_int_equal(a->status, 200);
    expect_in(a->head, "grpc-status: 4\n");
    expect_in(a->head, "content-type: application/grpc\n");
    while (h2_answer(i, 1)->reset == H2_NO_CODE)
        EXPECT(h2_read(i), "no reset");
    h2_headers(c, 0, 3, GRPC_POST("/s/b"), "grpc-timeout", "300m");
    h2_wait_asked(i, 3);
    h2_headers(i, 0, 3, ":status", "200", "content-type", "application/grpc");
    h2_data(i, 0, 3, "part", 4);
    h2_expect(c, 3, 200, "part");
    expect_in(h2_answer(c, 3)->head, "grpc-status: 4\n");
    while (h2_answer(i, 3)->reset == H2_NO_CODE)
        EXPECT(h2_read(i), "no reset");
    assert_int_equal(millpond_figure(m, "upstream_errors"), 0);
    millpond_stop(m);
}

/* It is not its client's upload that is slow. */
static void grpc_streams_may_rest(void **state)
{
    UNUSED(state);
    instance = h2_listen();
    struct millpond *m =
        millpond_start(.main = "workers = 1\n",
                       .listen = "protocols = h2, http/1.1, h2c\nbody_timeout = 100ms\n",
                       .rest = textf("[pool app]\nserver = 127.0.0.1:%d\nprotocol = h2\nhealth_check = off\n"
                                     "response_timeout = 1s\nretries = 0\n",
                                     instance.port));
    struct h2_client *c = h2_open(m->port);
    h2_headers(c, 0, 1, H2_POST("/other")); /* of another kind: the clock of this test */
    h2_headers(c, 0, 3, GRPC_POST("/s/a"));
    struct h2_client *i = h2_accept(&instance, 0, 0);
    h2_wait_asked(i, 1);
    h2_wait_asked(i, 3);
    h2_headers(i, 0, 3, ":status", "200", "content-type", "application/grpc");
    h2_expect(c, 1, 408, NULL);
    h2_data(c, END, 3, "x", 1);
    assert_string_equal(h2_wait(i, 3)->body, "x");
    h2_headers(i, END, 3, "grpc-status", "0");
    h2_expect(c, 3, 200, "");
    h2_headers(c, 0, 5, GRPC_POST("/s/b"));
    h2_wait_asked(i, 5);
    struct h2_answer *a = h2_wait(c, 5); /* silent in both directions */
    assert_int_equal(a->status, 200);
    expect_in(a->head, "grpc-status: 14\n");
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(requests_share_a_connection),
        E2E_TEST(the_instances_limit_is_kept),
        E2E_TEST(more_than_all_connections_take_waits),
        E2E_TEST(goaway_moves_what_was_not_processed),
        E2E_TEST(a_refused_stream_is_tried_again),
        E2E_TEST(a_broken_connection_is_retried_where_that_is_safe),
        E2E_TEST(idle_connections_end),
        E2E_TEST(silence_ends_in_504),
        E2E_TEST(who_leaves_cancels),
        E2E_TEST(malformed_heads_are_502),
        E2E_TEST(malformed_bodies_are_cut),
        E2E_TEST(too_much_is_502),
        E2E_TEST(a_slow_reader_holds_up_nobody),
        E2E_TEST(an_instance_that_does_not_read_stops_the_upload),
        E2E_TEST(trailers_pass_both_ways),
        E2E_TEST(interim_responses_pass),
        E2E_TEST(responses_are_cached),
        E2E_TEST(grpc_deadlines_end_what_waits),
        E2E_TEST(grpc_streams_may_rest),
    };
    return E2E_RUN("e2e/h2_instances", tests);
}
