/* h2_floods.c: clients of HTTP/2 that cost more than they pay, by frames that ask for nothing, by streams
 * that they or we reset, by heads that grow while they are decoded, and by not taking, or not sending, what
 * was begun. Each is ended or refused, memory stays small, and another client hears nothing of it. */
#include "tests/support/h2.h"
#include "tests/support/millpond.h"
#include "tests/support/pages.h"

#define PLAIN "protocols = h2, http/1.1, h2c\n"

static struct page pages[] = {{.path = "/p", .fields = "Cache-Control: max-age=600\r\n"},
                              {.path = "/q", .fields = "Cache-Control: no-store\r\n"},
                              {.path = "/held", .fields = "Cache-Control: no-store\r\n"},
                              {0}};
static struct gate *gate; /* of /held */
static struct origin *app;
static struct millpond *m;
static struct h2_client *bystander;
static uint32_t bystander_id;

static void bystander_goes_on(void);

static void start_before(struct origin *o, const char *listen_lines)
{
    pages[0].served = pages[1].served = 0;
    app = o;
    m = millpond_start(.main = "workers = 1\n", .listen = textf(PLAIN "%s", listen_lines),
                       .rest = pool_lines("app", 1, o));
    bystander = h2_open(m->port);
    bystander_id = 1;
    bystander_goes_on();
}

static void start(const char *listen_lines)
{
    gate = pages[2].gate = gate_new();
    start_before(origin_start(pages_script, pages), listen_lines);
}

/* It is served as ever, on the connection that it has had all the time. */
static void bystander_goes_on(void)
{
    h2_get(bystander, bystander_id, "/p");
    h2_expect(bystander, bystander_id, 200, NULL);
    bystander_id += 2;
}

static void expect_calmed(struct h2_client *c, const char *reason)
{
    assert_int_equal(h2_wait_goaway(c), NGHTTP2_ENHANCE_YOUR_CALM);
    h2_wait_end(c);
    h2_close(c);
    bystander_goes_on();
    millpond_wait_figure(m, "client_connections", 1);
    expect_in(millpond_admin(m, "GET", "/metrics")->body,
              textf("millpond_client_closes_total{reason=\"%s\"} 1", reason));
    millpond_stop(m);
}

/* ---- resets ---- */

static void rapid_reset(void **state)
{
    UNUSED(state);
    start("h2_max_resets = 50/m\n");
    struct h2_client *c = h2_open(m->port);
    for (uint32_t i = 0; i < 200; i++) {
        h2_get(c, 2 * i + 1, "/q");
        h2_reset(c, 2 * i + 1, NGHTTP2_CANCEL);
    }
    expect_calmed(c, "h2_resets");
    assert_true(origin_requests(app) <= 60);
}

/* CVE-2025-8671: the client makes the server send the resets. */
static void made_you_reset(void **state)
{
    UNUSED(state);
    start("h2_max_resets = 50/m\n");
    struct h2_client *c = h2_open(m->port);
    for (uint32_t i = 0; i < 200; i++) {
        h2_get(c, 2 * i + 1, "/q");
        if (i % 2 == 0)
            h2_window_update(c, 2 * i + 1, 0x7fffffff);
        else
            h2_headers(c, NGHTTP2_FLAG_END_STREAM, 2 * i + 1, "x", "y"); /* on a half-closed stream */
    }
    while (c->goaways == 0)
        EXPECT(h2_read(c), "no GOAWAY");
    assert_true(c->goaway != NGHTTP2_NO_ERROR);
    h2_wait_end(c);
    bystander_goes_on();
    millpond_stop(m);
}

static void made_you_reset_by_windows(void **state)
{
    UNUSED(state);
    start("h2_max_resets = 50/m\n");
    struct h2_client *c = h2_open(m->port);
    for (uint32_t i = 0; i < 200; i++) {
        h2_get(c, 2 * i + 1, "/held");
        h2_window_update(c, 2 * i + 1, 0x7fffffff);
    }
    gate_open(gate);
    expect_calmed(c, "h2_resets");
}

static void a_few_resets_are_nothing(void **state)
{
    UNUSED(state);
    start("h2_max_resets = 50/m\n");
    struct h2_client *c = h2_open(m->port);
    for (uint32_t i = 0; i < 40; i++) {
        h2_get(c, 2 * i + 1, "/q");
        h2_reset(c, 2 * i + 1, NGHTTP2_CANCEL);
    }
    h2_get(c, 101, "/p");
    h2_expect(c, 101, 200, NULL);
    assert_int_equal(c->goaways, 0);
    bystander_goes_on();
    millpond_stop(m);
}

/* Begins an answer that is stored, and so is read on when its client has left; goes on at the gate. */
static void slow_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(request);
    if (strcmp(request->target, "/p") == 0) {
        origin_respond(c, 200, "Cache-Control: max-age=60\r\n", "p");
        return;
    }
    origin_send(c, "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 6\r\n\r\nabc");
    gate_pass(arg);
    origin_send(c, "def");
}

static void a_stream_counts_until_its_fetch_is_over(void **state)
{
    UNUSED(state);
    gate = gate_new();
    start_before(origin_start(slow_script, gate), "h2_max_streams = 4\n");
    struct h2_client *c = h2_open(m->port);
    h2_sync(c);
    for (uint32_t i = 0; i < 12; i++) {
        uint32_t id = 2 * i + 1;
        h2_get(c, id, textf("/%u", i));
        if (i < 4) {
            while (h2_answer(c, id)->body_len < 3)
                EXPECT(h2_read(c), "nothing of stream %u", id);
            h2_reset(c, id, NGHTTP2_CANCEL);
        } else {
            assert_int_equal(h2_wait(c, id)->reset, NGHTTP2_REFUSED_STREAM);
        }
    }
    assert_int_equal(millpond_figure(m, "fetches_in_flight"), 4);
    assert_int_equal(origin_requests(app), 1 + 4);
    bystander_goes_on();
    gate_open(gate);
    millpond_wait_figure(m, "fetches_in_flight", 0);
    h2_get(c, 101, "/0");
    h2_expect(c, 101, 200, "abcdef");
    millpond_stop(m);
}

static void too_many_at_once_are_refused(void **state)
{
    UNUSED(state);
    start("h2_max_streams = 4\n");
    struct h2_client *c = h2_open(m->port);
    for (uint32_t i = 0; i < 6; i++)
        h2_get(c, 2 * i + 1, "/held");
    for (uint32_t i = 4; i < 6; i++)
        assert_int_equal(h2_wait(c, 2 * i + 1)->reset, NGHTTP2_REFUSED_STREAM);
    bystander_goes_on();
    gate_open(gate);
    for (uint32_t i = 0; i < 4; i++)
        h2_expect(c, 2 * i + 1, 200, NULL);
    millpond_stop(m);
}

/* ---- frames that ask for nothing ---- */

static void pings(void **state)
{
    UNUSED(state);
    start("");
    struct h2_client *c = h2_open(m->port);
    for (unsigned i = 0; i < 3000 && h2_frame(c, NGHTTP2_PING, 0, 0, "12345678", 8); i++)
        continue;
    expect_calmed(c, "h2_flood");
}

/* By a client that waits for each answer, so that none is left over. */
static void pings_one_by_one(void **state)
{
    UNUSED(state);
    start("");
    struct h2_client *c = h2_open(m->port);
    for (unsigned i = 0; i < 600 && c->goaways == 0; i++) {
        h2_frame(c, NGHTTP2_PING, 0, 0, "12345678", 8);
        while (c->pings_acked <= i && c->goaways == 0)
            EXPECT(h2_read(c), "neither an answer nor GOAWAY");
    }
    assert_int_equal(c->goaway, NGHTTP2_ENHANCE_YOUR_CALM);
    h2_wait_end(c);
    bystander_goes_on();
    millpond_stop(m);
}

static void settings(void **state)
{
    UNUSED(state);
    start("");
    struct h2_client *c = h2_open(m->port);
    for (unsigned i = 0; i < 3000 && h2_frame(c, NGHTTP2_SETTINGS, 0, 0, NULL, 0); i++)
        continue;
    expect_calmed(c, "h2_flood");
}

static void empty_data(void **state)
{
    UNUSED(state);
    start("");
    struct h2_client *c = h2_open(m->port);
    h2_headers(c, 0, 1, H2_POST("/q"));
    for (unsigned i = 0; i < 3000 && h2_data(c, 0, 1, "", 0); i++)
        continue;
    expect_calmed(c, "h2_flood");
}

static void answers_to_pings_that_nobody_sent(void **state)
{
    UNUSED(state);
    start("");
    struct h2_client *c = h2_open(m->port);
    for (unsigned i = 0; i < 3000 && h2_frame(c, NGHTTP2_PING, NGHTTP2_FLAG_ACK, 0, "12345678", 8); i++)
        continue;
    expect_calmed(c, "h2_flood");
}

/* nghttp2 leaves them out. 64 of DATA that has bytes count as one, for the sake of the next test. */
static void frames_for_streams_that_are_over(void **state)
{
    UNUSED(state);
    for (unsigned kind = 0; kind < 4; kind++) {
        start("");
        struct h2_client *c = h2_open(m->port);
        h2_get(c, 1, "/q");
        h2_expect(c, 1, 200, NULL);
        bool goes = true;
        for (unsigned i = 0; i < 100000 && goes; i++)
            goes = kind < 3 ? h2_data(c, kind == 1 ? NGHTTP2_FLAG_END_STREAM : 0, 1, "a", kind == 2)
                            : h2_get(c, 1, "/q");
        expect_calmed(c, "h2_flood");
    }
}

/* Who uploads when the answer comes early has not heard of it yet. */
static void what_was_on_its_way_is_nothing(void **state)
{
    UNUSED(state);
    start("max_body_size = 1K\n");
    struct h2_client *c = h2_open(m->port);
    h2_headers(c, 0, 1, H2_POST("/q"), "content-length", "5000");
    h2_expect(c, 1, 413, NULL);
    for (unsigned i = 0; i < 1000; i++)
        h2_data(c, 0, 1, "abc", 3);
    h2_get(c, 3, "/p");
    h2_expect(c, 3, 200, NULL);
    assert_int_equal(c->goaways, 0);
    bystander_goes_on();
    millpond_stop(m);
}

/* The last as long as nghttp2 does not read it. */
static void priorities_and_unknown_frames(void **state)
{
    UNUSED(state);
    static const struct {
        uint8_t type;
        size_t bytes;
    } frames[] = {{NGHTTP2_PRIORITY, 5}, {0xfa, 0}, {NGHTTP2_ALTSVC, 2}, {NGHTTP2_PRIORITY_UPDATE, 100}};
    static const char payload[100] = {[3] = 1};
    for (unsigned k = 0; k < ARRAY_LEN(frames); k++) {
        start("");
        struct h2_client *c = h2_open(m->port);
        for (unsigned i = 0; i < 1500; i++) {
            if (!h2_frame(c, frames[k].type, 0, k == 0, payload, frames[k].bytes))
                break;
        }
        expect_calmed(c, "h2_flood");
    }
}

static void a_ping_now_and_then_is_nothing(void **state)
{
    UNUSED(state);
    start("");
    for (unsigned i = 0; i < 300; i++)
        h2_sync(bystander);
    for (unsigned i = 0; i < 100; i++)
        bystander_goes_on();
    assert_int_equal(bystander->goaways, 0);
    millpond_stop(m);
}

/* ---- heads ---- */

static void continuations(void **state)
{
    UNUSED(state);
    start("");
    struct h2_client *c = h2_open(m->port);
    unsigned char buf[256];
    const char *const fields[] = {H2_GET("/q"), NULL};
    size_t n = h2_encode(fields, buf, sizeof buf);
    h2_frame(c, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_STREAM, 1, buf, n);
    for (unsigned i = 0; i < 10000 && h2_frame(c, NGHTTP2_CONTINUATION, 0, 1, NULL, 0); i++)
        continue;
    expect_calmed(c, "h2_flood");
}

/* One entry of the dynamic table, named again and again: a byte on the wire is 4 KB here. */
static void hpack_bomb(void **state)
{
    UNUSED(state);
    start("");
    struct h2_client *c = h2_open(m->port);
    millpond_reset_high_water(m);
    uint64_t before = millpond_memory(m, "VmHWM");
    static unsigned char buf[16384];
    const char *const fields[] = {H2_GET("/q"), "x", text_repeat('x', 4000), NULL};
    size_t n = h2_encode(fields, buf, sizeof buf);
    buf[n - 4006] = 0x40; /* the last field: with indexing, so that it is entry 62 */
    memset(buf + n, 0x80 | 62, sizeof buf - n);
    h2_frame(c, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_STREAM | NGHTTP2_FLAG_END_HEADERS, 1, buf, sizeof buf);
    assert_int_equal(h2_wait_goaway(c), NGHTTP2_ENHANCE_YOUR_CALM);
    h2_wait_end(c);
    uint64_t more = millpond_memory(m, "VmHWM") - before;
    EXPECT(more < 2 << 20 || support_sanitized(), "%llu bytes", (unsigned long long)more);
    bystander_goes_on();
    millpond_stop(m);
}

/* Each is a byte on the wire, and hardly more here, so that max_header_size holds thousands. */
static void many_short_fields(void **state)
{
    UNUSED(state);
    start("max_headers = 50\n");
    struct h2_client *c = h2_open(m->port);
    static unsigned char buf[4096];
    const char *const fields[] = {H2_GET("/q"), "x", "", NULL};
    size_t n = h2_encode(fields, buf, sizeof buf);
    buf[n - 4] = 0x40; /* with indexing, so that it is entry 62 */
    memset(buf + n, 0x80 | 62, sizeof buf - n);
    h2_frame(c, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_STREAM | NGHTTP2_FLAG_END_HEADERS, 1, buf, n + 199);
    h2_expect(c, 1, 431, NULL);
    h2_frame(c, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_STREAM | NGHTTP2_FLAG_END_HEADERS, 3, buf, n + 210);
    expect_calmed(c, "h2_flood");
}

static void cookie_crumbs(void **state)
{
    UNUSED(state);
    start("max_headers = 50\n");
    struct h2_client *c = h2_open(m->port);
    static unsigned char buf[16384];
    const char *const fields[] = {H2_GET("/q"), NULL};
    size_t n = h2_encode(fields, buf, sizeof buf);
    memset(buf + n, 0x80 | 32, sizeof buf - n); /* cookie, empty, of the static table */
    h2_frame(c, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_STREAM | NGHTTP2_FLAG_END_HEADERS, 1, buf, n + 51);
    h2_expect(c, 1, 431, NULL);
    h2_frame(c, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_STREAM | NGHTTP2_FLAG_END_HEADERS, 3, buf, n + 50);
    h2_expect(c, 3, 200, NULL);
    h2_frame(c, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_STREAM | NGHTTP2_FLAG_END_HEADERS, 5, buf, sizeof buf);
    expect_calmed(c, "h2_flood");
}

/* ---- clients that stop ---- */

static void a_head_that_does_not_end(void **state)
{
    UNUSED(state);
    start("header_timeout = 400ms\n");
    struct h2_client *c = h2_open(m->port);
    unsigned char buf[256];
    const char *const fields[] = {H2_GET("/q"), NULL};
    h2_sync(c);
    h2_frame(c, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_STREAM, 1, buf, h2_encode(fields, buf, sizeof buf));
    expect_calmed(c, "header_timeout");
}

static void settings_that_are_not_acknowledged(void **state)
{
    UNUSED(state);
    start("header_timeout = 400ms\n");
    struct h2_client *c = h2_open(m->port, .no_acks = true);
    assert_int_equal(h2_wait_goaway(c), NGHTTP2_SETTINGS_TIMEOUT);
    h2_wait_end(c);
    bystander_goes_on();
    millpond_stop(m);
}

static void uploads_that_stop(void **state)
{
    UNUSED(state);
    start("body_timeout = 400ms\n");
    struct h2_client *c = h2_open(m->port);
    for (uint32_t id = 1; id < 41; id += 2) {
        h2_headers(c, 0, id, H2_POST("/q"), "content-length", "100");
        h2_data(c, 0, id, "abc", 3);
    }
    for (uint32_t id = 1; id < 41; id += 2)
        h2_expect(c, id, 408, NULL);
    bystander_goes_on();
    millpond_wait_figure(m, "fetches_in_flight", 0);
    millpond_stop(m);
}

static void large_script(struct origin_conn *c, const struct message *request, void *arg)
{
    static char piece[65536];
    UNUSED(arg);
    if (strcmp(request->target, "/p") == 0) {
        origin_respond(c, 200, "Cache-Control: max-age=60\r\n", "p");
        return;
    }
    origin_send(c, "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: 4194304\r\n\r\n");
    for (unsigned i = 0; i < 64 && origin_send_bytes(c, piece, sizeof piece); i++)
        continue;
}

/* One event each time the gate lets it. */
static void events_script(struct origin_conn *c, const struct message *request, void *arg)
{
    if (strcmp(request->target, "/p") == 0) {
        origin_respond(c, 200, "Cache-Control: max-age=600\r\n", "p");
        return;
    }
    origin_send(c,
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
    while (gate_pass(arg) && origin_send_chunk(c, "data: x\n\n", 9))
        ;
    origin_close(c);
}

/* Whoever gives back the window of each event, of stream and connection, asks for nothing. */
static void windows_given_back_for_each_event_are_nothing(void **state)
{
    UNUSED(state);
    const unsigned events = 600;
    struct gate *event = gate_new();
    start_before(origin_start(events_script, event), "");
    struct h2_client *c = h2_open(m->port);
    h2_get(c, 1, "/events");
    for (unsigned i = 1; i <= events; i++) {
        gate_let(event, 1);
        while (h2_answer(c, 1)->body_len < 9 * i)
            EXPECT(h2_read(c), "no event %u", i);
    }
    h2_sync(c);
    assert_int_equal(c->goaway, H2_NO_CODE);
    bystander_goes_on();
    millpond_stop(m);
}

/* Nor does whoever gives back each 4 KB that were read, as Go's client does with a small buffer. */
static void windows_given_back_by_pages_are_nothing(void **state)
{
    UNUSED(state);
    start_before(origin_start(large_script, NULL), "");
    struct h2_client *c = h2_open(m->port, .window = 4 << 20, .no_window_updates = true);
    h2_window_update(c, 0, 1 << 30);
    h2_get(c, 1, "/1");
    for (size_t given = 0; !h2_answer(c, 1)->ended;) {
        EXPECT(h2_read(c) && c->goaways == 0, "the end after %zu bytes", h2_answer(c, 1)->body_len);
        for (; given + 4096 <= h2_answer(c, 1)->body_len; given += 4096) {
            h2_window_update(c, 0, 4096);
            h2_window_update(c, 1, 4096);
        }
    }
    assert_int_equal(h2_answer(c, 1)->body_len, 4 << 20);
    h2_sync(c);
    assert_int_equal(c->goaways, 0);
    bystander_goes_on();
    millpond_stop(m);
}

/* 100 responses whose clients open no window. */
static void windows_that_stay_shut(void **state)
{
    UNUSED(state);
    start_before(origin_start(large_script, NULL), "write_timeout = 2s\n");
    struct h2_client *c = h2_open(m->port, .window = 1, .no_window_updates = true);
    bystander_goes_on();
    uint64_t before = millpond_memory(m, "RssAnon");
    for (uint32_t i = 0; i < 100; i++)
        h2_get(c, 2 * i + 1, textf("/%u", i));
    for (uint32_t i = 0; i < 100; i++)
        assert_int_equal(h2_wait_head(c, 2 * i + 1)->status, 200);
    h2_sync(c);
    uint64_t held = millpond_memory(m, "RssAnon") - before;
    EXPECT(support_sanitized() || held < 100 * 32 * KB, "%llu bytes are held", (unsigned long long)held);
    bystander_goes_on();
    for (uint32_t i = 0; i < 100; i++) {
        struct h2_answer *a = h2_wait(c, 2 * i + 1);
        assert_int_equal(a->reset, NGHTTP2_CANCEL);
    }
    /* A byte each was taken: the end is that of the timeout, not of a window of min_rate. */
    assert_string_equal(
        json_string_value(json_object_get(millpond_access_line(m, "\"target\":\"/99\""), "close")),
        "write_timeout");
    bystander_goes_on();
    millpond_wait_figure(m, "fetches_in_flight", 0);
    millpond_stop(m);
}

static void a_client_that_never_reads(void **state)
{
    UNUSED(state);
    start_before(origin_start(large_script, NULL), "write_timeout = 500ms\n");
    struct h2_client *c = h2_open(m->port, .window = 0x7fffffff, .rcvbuf_bytes = 4096);
    h2_window_update(c, 0, 0x7fff0000);
    uint64_t before = millpond_memory(m, "RssAnon");
    for (uint32_t i = 0; i < 100; i++)
        h2_get(c, 2 * i + 1, textf("/%u", i));
    millpond_wait_figure(m, "fetches_in_flight", 100);
    bystander_goes_on();
    uint64_t held = millpond_memory(m, "RssAnon") - before;
    EXPECT(support_sanitized() || held < 100 * 32 * KB, "%llu bytes are held", (unsigned long long)held);
    millpond_wait_figure(m, "h2_streams", 0);
    bystander_goes_on();
    assert_string_equal(
        json_string_value(json_object_get(millpond_access_line(m, "\"target\":\"/99\""), "close")),
        "write_timeout");
    expect_in(millpond_admin(m, "GET", "/metrics")->body,
              "millpond_client_closes_total{reason=\"write_timeout\"} 1");
    millpond_stop(m);
}

/* But a window of a byte after the other makes us send a frame for each. */
static void windows_of_a_byte(void **state)
{
    UNUSED(state);
    start_before(origin_start(large_script, NULL), "");
    struct h2_client *c = h2_open(m->port, .window = 1, .no_window_updates = true);
    h2_get(c, 1, "/1");
    for (unsigned i = 1; i < 3000 && c->goaways == 0; i++) {
        while (h2_answer(c, 1)->body_len < i && c->goaways == 0)
            EXPECT(h2_read(c), "byte %u has not come", i);
        h2_window_update(c, 1, 1);
    }
    assert_int_equal(c->goaway, NGHTTP2_ENHANCE_YOUR_CALM);
    h2_wait_end(c);
    bystander_goes_on();
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(rapid_reset),
        E2E_TEST(made_you_reset),
        E2E_TEST(made_you_reset_by_windows),
        E2E_TEST(a_few_resets_are_nothing),
        E2E_TEST(a_stream_counts_until_its_fetch_is_over),
        E2E_TEST(too_many_at_once_are_refused),
        E2E_TEST(pings),
        E2E_TEST(pings_one_by_one),
        E2E_TEST(settings),
        E2E_TEST(empty_data),
        E2E_TEST(answers_to_pings_that_nobody_sent),
        E2E_TEST(frames_for_streams_that_are_over),
        E2E_TEST(what_was_on_its_way_is_nothing),
        E2E_TEST(priorities_and_unknown_frames),
        E2E_TEST(a_ping_now_and_then_is_nothing),
        E2E_TEST(continuations),
        E2E_TEST(hpack_bomb),
        E2E_TEST(many_short_fields),
        E2E_TEST(cookie_crumbs),
        E2E_TEST(a_head_that_does_not_end),
        E2E_TEST(settings_that_are_not_acknowledged),
        E2E_TEST(uploads_that_stop),
        E2E_TEST(windows_that_stay_shut),
        E2E_TEST(windows_given_back_for_each_event_are_nothing),
        E2E_TEST(windows_given_back_by_pages_are_nothing),
        E2E_TEST(windows_of_a_byte),
        E2E_TEST(a_client_that_never_reads),
    };
    return E2E_RUN("e2e/h2_floods", tests);
}
