/* h2_ends.c: how streams and connections of HTTP/2 end: early answers, clients that take requests back,
 * draining, idleness, and a number of requests. */
#include <poll.h>
#include <signal.h>

#include "tests/support/h2.h"
#include "tests/support/millpond.h"
#include "tests/support/pages.h"

static struct page pages[] = {{.path = "/p", .fields = "Cache-Control: max-age=600\r\n"},
                              {.path = "/q", .fields = "Cache-Control: no-store\r\n"},
                              {.path = "/held", .fields = "Cache-Control: no-store\r\n"},
                              {0}};
static struct gate *gate; /* of /held */

static struct origin *start_pages(void)
{
    gate = pages[2].gate = gate_new();
    pages[2].served = 0;
    return origin_start(pages_script, pages);
}

static struct millpond *start_with(struct origin *o, const char *listen_lines)
{
    pages[0].served = pages[1].served = 0;
    return millpond_start(.main = "workers = 1\n",
                          .listen = textf("protocols = h2, http/1.1, h2c\n%s", listen_lines),
                          .rest = pool_lines("app", 1, o));
}

static struct millpond *start(struct origin *o)
{
    return start_with(o, "");
}

static void plain_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(request);
    UNUSED(arg);
    origin_respond(c, 200, "Cache-Control: no-store\r\n", "");
}

static void an_early_answer_stops_the_upload(void **state)
{
    UNUSED(state);
    struct millpond *m = start_with(origin_start(plain_script, NULL), "max_body_size = 1K\n");
    struct h2_client *c = h2_open(m->port);
    h2_headers(c, 0, 1, H2_POST("/q"), "content-length", "5000");
    h2_expect(c, 1, 413, NULL);
    while (h2_answer(c, 1)->reset == H2_NO_CODE)
        EXPECT(h2_read(c), "no reset");
    assert_int_equal(h2_answer(c, 1)->reset, NGHTTP2_NO_ERROR);
    h2_data(c, 0, 1, "abc", 3); /* on its way already */
    h2_get(c, 3, "/q");
    h2_expect(c, 3, 200, "");
    millpond_stop(m);
}

/* The answer waits for the client's window, its exchange is over, and the upload goes on: nobody wants it,
 * but it is what it said it would be. */
static void an_upload_ends_after_its_answer(void **state)
{
    UNUSED(state);
    struct millpond *m = millpond_start(.main = "workers = 1\n", .listen = "protocols = h2, http/1.1, h2c\n",
                                        .rest = "[route own]\nrespond = 200 hello\n");
    struct h2_client *c = h2_open(m->port, .window = 1);
    h2_headers(c, 0, 1, H2_POST("/q"), "content-length", "6");
    h2_wait_body(c, 1, 1);
    h2_data(c, 0, 1, "abc", 3);
    h2_data(c, NGHTTP2_FLAG_END_STREAM, 1, "def", 3);
    h2_sync(c);
    assert_int_equal(h2_answer(c, 1)->reset, H2_NO_CODE);
    h2_window_update(c, 1, 100);
    h2_expect(c, 1, 200, "hello");
    assert_int_equal(h2_answer(c, 1)->reset, H2_NO_CODE);
    h2_headers(c, 0, 3, H2_POST("/q"), "content-length", "2");
    h2_wait_body(c, 3, 1);
    h2_data(c, 0, 3, "abc", 3);
    assert_int_equal(h2_wait(c, 3)->reset, NGHTTP2_PROTOCOL_ERROR);
    millpond_stop(m);
}

/* RFC 8441 section 3. */
static void a_tunnel_that_was_not_offered_ends_its_stream(void **state)
{
    UNUSED(state);
    struct millpond *m = millpond_start(.main = "workers = 1\n", .listen = "protocols = h2, http/1.1, h2c\n",
                                        .rest = "[route own]\nwebsocket = no\nrespond = 200 hello\n");
    struct h2_client *c = h2_open(m->port);
    h2_sync(c);
    assert_false(c->connects);
    h2_headers(c, 0, 1, ":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":authority",
               "test", ":path", "/", "sec-websocket-version", "13");
    assert_int_equal(h2_wait(c, 1)->reset, NGHTTP2_PROTOCOL_ERROR);
    h2_get(c, 3, "/");
    h2_expect(c, 3, 200, "hello");
    millpond_stop(m);
}

static void a_reset_takes_the_request_back(void **state)
{
    UNUSED(state);
    struct origin *app = start_pages();
    struct millpond *m = start(app);
    struct h2_client *c = h2_open(m->port);
    h2_get(c, 1, "/held");
    origin_wait_requests(app, 1);
    h2_reset(c, 1, NGHTTP2_CANCEL);
    millpond_wait_figure(m, "fetches_in_flight", 0);
    gate_open(gate);
    h2_get(c, 3, "/held");
    h2_expect(c, 3, 200, NULL);
    json_t *line = millpond_access_line(m, "client_aborted");
    assert_string_equal(json_string_value(json_object_get(line, "version")), "HTTP/2");
    millpond_stop(m);
}

static void draining_says_goodbye_and_drops_nobody(void **state)
{
    UNUSED(state);
    struct origin *app = start_pages();
    struct millpond *m = start(app);
    struct h2_client *c = h2_open(m->port), *idle = h2_open(m->port);
    h2_sync(idle);
    h2_get(c, 1, "/held");
    origin_wait_requests(app, 1);
    kill(m->proc->pid, SIGTERM);
    assert_int_equal(h2_wait_goaway(c), NGHTTP2_NO_ERROR);
    assert_int_equal(c->last_stream_id, 0x7fffffff);
    h2_get(c, 3, "/p"); /* on its way before the client has heard */
    h2_expect(c, 3, 200, "/p#1");
    assert_int_equal(h2_wait_goaway(c), NGHTTP2_NO_ERROR);
    assert_int_equal(c->last_stream_id, 3);
    gate_open(gate);
    h2_expect(c, 1, 200, "/held#1");
    h2_wait_end(c);
    h2_wait_end(idle);
    assert_int_equal(idle->goaway, NGHTTP2_NO_ERROR);
    millpond_expect_clean_end(m);
}

static void idle_connections_are_ended(void **state)
{
    UNUSED(state);
    struct millpond *m = start_with(start_pages(), "idle_timeout = 300ms\nheader_timeout = 3s\n");
    struct h2_client *c = h2_open(m->port), *fresh = h2_open(m->port),
                     *mute = h2_open(m->port, .silent = true);
    h2_sync(fresh);
    h2_get(c, 1, "/q");
    h2_expect(c, 1, 200, "/q#1");
    assert_int_equal(h2_wait_goaway(c), NGHTTP2_NO_ERROR);
    h2_wait_end(c);
    h2_wait_end(fresh);
    assert_int_equal(fresh->goaway, NGHTTP2_NO_ERROR);
    h2_wait_end(mute);
    millpond_stop(m);
}

/* Hits begin and end within one turn. */
static void who_asks_for_what_is_stored_is_not_idle(void **state)
{
    UNUSED(state);
    enum { IDLE_MS = 1000 };
    struct millpond *m = start_with(start_pages(), textf("idle_timeout = %dms\n", IDLE_MS));
    struct h2_client *c = h2_open(m->port);
    const long long begin_ms = clock_mono_ms();
    long long asked_ms = begin_ms, pause_ms = 0;
    for (uint32_t id = 1; clock_mono_ms() - begin_ms < 2 * IDLE_MS + 200 && pause_ms < IDLE_MS; id += 2) {
        struct pollfd p = {.fd = c->wire.fd, .events = POLLIN};
        h2_get(c, id, "/p");
        h2_expect(c, id, 200, "/p#1");
        pause_ms = clock_mono_ms() - asked_ms;
        asked_ms = clock_mono_ms();
        if (poll(&p, 1, 50) > 0)
            assert_true(h2_read(c) && (c->goaways == 0 || pause_ms >= IDLE_MS));
    }
    millpond_stop(m);
}

static void a_number_of_requests_may_be_all(void **state)
{
    UNUSED(state);
    struct millpond *m = start_with(start_pages(), "max_requests_per_connection = 2\n");
    struct h2_client *c = h2_open(m->port);
    h2_get(c, 1, "/p");
    h2_expect(c, 1, 200, "/p#1");
    h2_sync(c);
    assert_int_equal(c->goaways, 0);
    h2_get(c, 3, "/p");
    h2_expect(c, 3, 200, "/p#1");
    h2_wait_end(c);
    assert_int_equal(c->goaway, NGHTTP2_NO_ERROR);
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(an_early_answer_stops_the_upload),
        E2E_TEST(an_upload_ends_after_its_answer),
        E2E_TEST(a_tunnel_that_was_not_offered_ends_its_stream),
        E2E_TEST(a_reset_takes_the_request_back),
        E2E_TEST(draining_says_goodbye_and_drops_nobody),
        E2E_TEST(idle_connections_are_ended),
        E2E_TEST(who_asks_for_what_is_stored_is_not_idle),
        E2E_TEST(a_number_of_requests_may_be_all),
    };
    return E2E_RUN("e2e/h2_ends", tests);
}
