/* tls_idle.c: connections by TLS that sleep while nothing happens on them, and what wakes them: a request, a
 * response that comes late, a frame, a message through a tunnel, a stop, their own end. */
#include <nghttp2/nghttp2.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "tests/e2e/tunnel.h"
#include "tests/support/millpond.h"
#include "tests/support/pages.h"
#include "tests/support/tls.h"

/* They sleep after an eighth of it. */
#define IDLE "idle_timeout = 10s\n"

static struct page pages[] = {{.path = "/p", .fields = "Cache-Control: max-age=600\r\n"},
                              {.path = "/late", .fields = "Cache-Control: no-store\r\n"},
                              {0}};

static struct millpond *start(struct origin *o, const char *lines)
{
    for (struct page *p = pages; p->path != NULL; p++)
        p->served = 0;
    return millpond_start(.listen = textf("%s%s", tls_cert_lines(tls_cert_make("cert")), lines),
                          .rest = pool_lines("app", 1, o));
}

static struct tls_client *open_one(struct millpond *m, int version)
{
    struct tls_client *c = tls_client_open(m->port, .name = "test", .max_version = version);
    EXPECT(c->ok, "%s", c->error);
    return c;
}

static void sleepers_are_served(void **state)
{
    UNUSED(state);
    enum { COUNT = 20 };
    struct millpond *m = start(origin_start(pages_script, pages), IDLE);
    struct tls_client *c[COUNT];
    for (int i = 0; i < COUNT; i++) {
        c[i] = open_one(m, i % 2 == 0 ? TLS1_3_VERSION : TLS1_2_VERSION);
        if (i != 0) /* one that has asked for nothing yet */
            expect_in(tls_client_get(c[i], "/p", ""), "/p#1");
    }
    for (int round = 0; round < 2; round++) {
        millpond_wait_figure(m, "tls_asleep", COUNT);
        for (int i = 0; i < COUNT; i++)
            expect_in(tls_client_get(c[i], "/p", ""), "/p#1");
        EXPECT(millpond_figure(m, "tls_asleep") < COUNT, "nobody woke");
    }
    tls_client_close(c[0]);
    millpond_wait_figure(m, "tls_asleep", COUNT - 1);
    for (int i = 1; i < COUNT; i++)
        tls_client_close(c[i]); /* without a word */
    millpond_wait_figure(m, "tls_asleep", 0);
    millpond_wait_idle(m);
    millpond_stop(m);
}

static void a_late_response_wakes_its_connection(void **state)
{
    UNUSED(state);
    static const char ask[] = "GET /late HTTP/1.1\r\nHost: test\r\n\r\n";
    pages[1].gate = gate_new();
    struct millpond *m = start(origin_start(pages_script, pages), IDLE);
    struct tls_client *c = open_one(m, TLS1_3_VERSION);
    assert_true(tls_client_send(c, ask, strlen(ask)));
    gate_wait_arrived(pages[1].gate, 1);
    millpond_wait_figure(m, "tls_asleep", 1);
    gate_open(pages[1].gate);
    expect_in(tls_client_read(c), "/late#1");
    assert_int_equal(millpond_figure(m, "tls_asleep"), 0);
    json_t *line = millpond_access_line(m, "\"/late\"");
    assert_string_equal(json_string_value(json_object_get(line, "tls")), "TLSv1.3");
    millpond_stop(m);
    pages[1].gate = NULL;
}

/* The type of the next frame. */
static int frame_read(struct tls_client *c)
{
    const unsigned char *head = (const unsigned char *)tls_client_wait_bytes(c, 9);
    const size_t n = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
    const int type = head[3];
    if (n > 0)
        tls_client_wait_bytes(c, n);
    return type;
}

static struct tls_client *open_h2(struct millpond *m)
{
    static const char hello[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0\0\0\0\4\1\0\0\0\0";
    struct tls_client *c = tls_client_open(m->port, .name = "test", .alpn = "h2");
    EXPECT(c->ok, "%s", c->error);
    assert_true(tls_client_send(c, hello, sizeof hello - 1));
    return c;
}

static void http_2_sleeps_as_well(void **state)
{
    UNUSED(state);
    enum { PING = 6, PING_BYTES = 17 };
    static const char ping[PING_BYTES + 1] = "\0\0\10\6\0\0\0\0\0pingping";
    struct millpond *m = start(origin_start(pages_script, pages), IDLE);
    struct tls_client *c = open_h2(m);
    for (int round = 0; round < 2; round++) {
        millpond_wait_figure(m, "tls_asleep", 1);
        assert_true(tls_client_send(c, ping, PING_BYTES));
        while (frame_read(c) != PING)
            continue;
        assert_int_equal(millpond_figure(m, "tls_asleep"), 0);
    }
    tls_client_close(c);
    millpond_stop(m);
}

/* ---- nghttp2's own client, which indexes what it sends and expects the same ---- */

struct speaker {
    struct tls_client *tls;
    nghttp2_session *session;
    int32_t status, note; /* of the last response; of the field that /p has */
    unsigned ended;
};

static int on_field(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                    size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags, void *arg)
{
    struct speaker *sp = arg;
    UNUSED(session);
    UNUSED(frame);
    UNUSED(value_len);
    UNUSED(flags);
    if (name_len == 7 && memcmp(name, ":status", 7) == 0)
        sp->status = atoi((const char *)value);
    if (name_len == 13 && memcmp(name, "cache-control", 13) == 0)
        sp->note = value_len == 11 && memcmp(value, "max-age=600", 11) == 0;
    return 0;
}

static int on_end(nghttp2_session *session, int32_t stream, uint32_t code, void *arg)
{
    UNUSED(session);
    UNUSED(stream);
    assert_int_equal(code, 0);
    ((struct speaker *)arg)->ended++;
    return 0;
}

static void speaker_open(struct speaker *sp, struct millpond *m)
{
    nghttp2_session_callbacks *calls;
    *sp = (struct speaker){.tls = tls_client_open(m->port, .name = "test", .alpn = "h2")};
    EXPECT(sp->tls->ok, "%s", sp->tls->error);
    assert_int_equal(nghttp2_session_callbacks_new(&calls), 0);
    nghttp2_session_callbacks_set_on_header_callback(calls, on_field);
    nghttp2_session_callbacks_set_on_stream_close_callback(calls, on_end);
    assert_int_equal(nghttp2_session_client_new(&sp->session, calls, sp), 0);
    nghttp2_session_callbacks_del(calls);
    /* Chromium's */
    const nghttp2_settings_entry large = {NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, 65536};
    assert_int_equal(nghttp2_submit_settings(sp->session, 0, &large, 1), 0);
}

static void speaker_close(struct speaker *sp)
{
    nghttp2_session_del(sp->session);
    tls_client_close(sp->tls);
}

static void say(struct speaker *sp)
{
    const uint8_t *out;
    for (ssize_t n; (n = nghttp2_session_mem_send(sp->session, &out)) > 0;)
        assert_true(tls_client_send(sp->tls, (const char *)out, (size_t)n));
}

#define FIELD(n, v)                                                                                          \
    {                                                                                                        \
        (uint8_t *)(n), (uint8_t *)(v), sizeof(n) - 1, sizeof(v) - 1, NGHTTP2_NV_FLAG_NONE                   \
    }

/* The fields are long enough to be in a table of the decoder, which a later request refers to. */
static void ask_and_hear(struct speaker *sp)
{
    const nghttp2_nv head[] = {FIELD(":method", "GET"),
                               FIELD(":scheme", "https"),
                               FIELD(":authority", "test"),
                               FIELD(":path", "/p"),
                               FIELD("user-agent", "a client that indexes its fields"),
                               FIELD("accept-language", "en-GB,en;q=0.8,de;q=0.5"),
                               FIELD("x-note", "remember me")};
    const unsigned before = sp->ended;
    sp->status = sp->note = 0;
    assert_true(nghttp2_submit_request(sp->session, NULL, head, ARRAY_LEN(head), NULL, NULL) > 0);
    say(sp);
    while (sp->ended == before) {
        char frame[9 + 16384];
        memcpy(frame, tls_client_wait_bytes(sp->tls, 9), 9);
        const size_t n = (size_t)(uint8_t)frame[1] << 8 | (uint8_t)frame[2];
        assert_true(frame[0] == 0 && n <= 16384);
        if (n > 0)
            memcpy(frame + 9, tls_client_wait_bytes(sp->tls, n), n);
        assert_int_equal(nghttp2_session_mem_recv(sp->session, (uint8_t *)frame, 9 + n), 9 + n);
        say(sp);
    }
    assert_int_equal(sp->status, 200);
    assert_int_equal(sp->note, 1);
}

static void what_http_2_has_learnt_survives(void **state)
{
    UNUSED(state);
    enum { COUNT = 5 };
    struct millpond *m = start(origin_start(pages_script, pages), IDLE);
    struct speaker sp[COUNT];
    for (int i = 0; i < COUNT; i++)
        speaker_open(&sp[i], m);
    for (int round = 0; round < 4; round++) {
        for (int i = round % 2; i < COUNT; i++) /* one sleeps on now and then */
            ask_and_hear(&sp[i]);
        millpond_wait_figure(m, "tls_asleep", COUNT);
    }
    for (int i = 0; i < COUNT; i++)
        speaker_close(&sp[i]);
    millpond_wait_idle(m);
    millpond_stop(m);
}

static long anonymous_kb(const struct millpond *m)
{
    const char *line = strstr(support_read_file(textf("/proc/%d/status", (int)m->proc->pid)), "\nRssAnon:");
    return line != NULL ? atol(line + strlen("\nRssAnon:")) : -1;
}

/* Their sessions sleep as well, not just TLS: that alone gives back 7 KB of a connection. */
static void http_2_gives_back_what_its_sessions_have(void **state)
{
    UNUSED(state);
    enum { COUNT = 200, EACH_KB = 16 };
    if (support_sanitized())
        skip();
    struct millpond *m = start(origin_start(pages_script, pages), IDLE);
    static struct speaker sp[COUNT];
    for (int i = 0; i < COUNT; i++)
        speaker_open(&sp[i], m);
    for (int i = 0; i < COUNT; i++)
        ask_and_hear(&sp[i]);
    const long awake_kb = anonymous_kb(m);
    if (millpond_figure(m, "tls_asleep") > 0)
        skip(); /* it took too long to see them all awake */
    millpond_wait_figure(m, "tls_asleep", COUNT);
    const long asleep_kb = anonymous_kb(m);
    EXPECT(awake_kb - asleep_kb >= COUNT * EACH_KB, "%ld KB awake, %ld KB asleep", awake_kb, asleep_kb);
    for (int i = 0; i < COUNT; i++)
        speaker_close(&sp[i]);
    millpond_stop(m);
}

static void tunnels_sleep_as_well(void **state)
{
    UNUSED(state);
    struct origin *o = tunnel_origin("hello");
    struct millpond *m = start(o, IDLE);
    struct tls_client *c = open_one(m, TLS1_3_VERSION);
    assert_true(tls_client_send(c, TUNNEL_ASK, strlen(TUNNEL_ASK)));
    expect_in(tls_client_read(c), "HTTP/1.1 101");
    assert_string_equal(tls_client_wait_bytes(c, 5), "hello");
    for (int round = 0; round < 2; round++) {
        millpond_wait_figure(m, "tls_asleep", 1);
        assert_true(tls_client_send(c, "message", 7));
        assert_string_equal(tls_client_wait_bytes(c, 7), "message");
        assert_int_equal(millpond_figure(m, "tls_asleep"), 0);
    }
    millpond_wait_figure(m, "tls_asleep", 1);
    SSL_shutdown(c->ssl);
    assert_string_equal(tls_client_wait_bytes(c, 3), "bye");
    tls_client_drain(c);
    assert_true(c->clean_end);
    millpond_wait_figure(m, "tls_asleep", 0);
    millpond_stop(m);
}

/* Ends its own way once the gate is open, and hears the other one out. */
static void grant_and_end_one_way(struct origin_conn *c, const struct message *request, void *gate)
{
    UNUSED(request);
    origin_send(c, "%s", TUNNEL_GRANT);
    gate_pass(gate);
    shutdown(c->wire.fd, SHUT_WR);
    origin_wait_peer_close(c);
}

static void a_way_that_ends_wakes_it(void **state)
{
    UNUSED(state);
    struct gate *gate = gate_new();
    struct millpond *m = start(origin_start_with(&(struct origin_options){
                                   .script = grant_and_end_one_way, .arg = gate, .head_only = true}),
                               IDLE);
    struct tls_client *c = open_one(m, TLS1_3_VERSION);
    assert_true(tls_client_send(c, TUNNEL_ASK, strlen(TUNNEL_ASK)));
    expect_in(tls_client_read(c), "HTTP/1.1 101");
    millpond_wait_figure(m, "tls_asleep", 1);
    gate_open(gate);
    tls_client_drain(c);
    assert_true(c->clean_end);
    assert_int_equal(millpond_figure(m, "tls_asleep"), 0);
    millpond_wait_figure(m, "tls_asleep", 1); /* its other way is still there */
    tls_client_close(c);
    millpond_wait_figure(m, "tls_asleep", 0);
    millpond_stop(m);
}

static void their_time_ends_and_they_are_told(void **state)
{
    UNUSED(state);
    struct millpond *m = start(origin_start(pages_script, pages), "idle_timeout = 6s\n");
    struct tls_client *c = open_one(m, TLS1_3_VERSION);
    expect_in(tls_client_get(c, "/p", ""), "/p#1");
    millpond_wait_figure(m, "tls_asleep", 1);
    tls_client_drain(c);
    assert_true(c->clean_end);
    assert_int_equal(millpond_figure(m, "tls_asleep"), 0);
    millpond_stop(m);
}

static void a_stop_wakes_them(void **state)
{
    UNUSED(state);
    enum { COUNT = 10 };
    struct millpond *m = start(origin_start(pages_script, pages), IDLE);
    struct tls_client *c[COUNT];
    for (int i = 0; i < COUNT; i++) {
        c[i] = open_one(m, i % 2 == 0 ? TLS1_3_VERSION : TLS1_2_VERSION);
        expect_in(tls_client_get(c[i], "/p", ""), "/p#1");
    }
    millpond_wait_figure(m, "tls_asleep", COUNT);
    proc_signal(m->proc, SIGTERM);
    for (int i = 0; i < COUNT; i++) {
        tls_client_drain(c[i]);
        assert_true(c[i]->clean_end);
    }
    assert_int_equal(proc_exit_code(m->proc), 0);
    millpond_expect_clean_end(m);
}

/* Of HTTP/2 a first GOAWAY says that the end comes, a second before those have to be asleep again. False:
 * that one came before anybody could look. */
static bool sleep_on_while_it_stops(void)
{
    enum { COUNT = 10, GOAWAY = 7 };
    struct millpond *m = start(origin_start(pages_script, pages), IDLE);
    struct tls_client *c[COUNT];
    for (int i = 0; i < COUNT; i++)
        c[i] = open_h2(m);
    millpond_wait_figure(m, "tls_asleep", COUNT);
    proc_signal(m->proc, SIGTERM);
    for (int i = 0; i < COUNT; i++)
        while (frame_read(c[i]) != GOAWAY)
            continue;
    const bool asleep = millpond_figure(m, "tls_asleep") == COUNT;
    for (int i = 0; i < COUNT; i++)
        tls_client_close(c[i]);
    assert_int_equal(proc_exit_code(m->proc), 0);
    millpond_expect_clean_end(m);
    return asleep;
}

static void http_2_sleeps_on_while_it_stops(void **state)
{
    UNUSED(state);
    unsigned rounds = 0;
    while (!sleep_on_while_it_stops())
        EXPECT(++rounds < 8, "awake in each of %u rounds", rounds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(sleepers_are_served),
        E2E_TEST(a_late_response_wakes_its_connection),
        E2E_TEST(http_2_sleeps_as_well),
        E2E_TEST(what_http_2_has_learnt_survives),
        E2E_TEST(http_2_gives_back_what_its_sessions_have),
        E2E_TEST(tunnels_sleep_as_well),
        E2E_TEST(a_way_that_ends_wakes_it),
        E2E_TEST(their_time_ends_and_they_are_told),
        E2E_TEST(a_stop_wakes_them),
        E2E_TEST(http_2_sleeps_on_while_it_stops),
    };
    return E2E_RUN("tls_idle", tests);
}
