/* h2_shared.c: streams that read what others read too: a response that is being stored, one that turns out
 * too large for that, where a stream that takes nothing is left behind, and one that many wait for on one
 * connection. */
#include "tests/support/h2.h"
#include "tests/support/millpond.h"

#define BYTES (4 * MB)
#define TAG   "ETag: \"v1\"\r\n"

struct app {
    struct gate *start;
    char *body;
    _Atomic unsigned asked;
};

/* The whole, when it may; whoever asks again gets the range that he wants. */
static void script(struct origin_conn *c, const struct message *request, void *arg)
{
    struct app *a = arg;
    const char *range = message_field(request, "Range");
    if (a->asked++ > 0 && range != NULL) {
        size_t from = strtoull(range + strlen("bytes="), NULL, 10);
        origin_send(c,
                    "HTTP/1.1 206 Partial Content\r\n" TAG "Content-Range: bytes %zu-%lu/%lu\r\n"
                    "Content-Length: %lu\r\n\r\n",
                    from, BYTES - 1, BYTES, BYTES - from);
        origin_send_bytes(c, a->body + from, BYTES - from);
        return;
    }
    gate_pass(a->start);
    origin_send(c,
                "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\n" TAG "Transfer-Encoding: chunked\r\n\r\n");
    for (size_t at = 0; at < BYTES; at += 64 * KB) {
        if (!origin_send_chunk(c, a->body + at, 64 * KB))
            return;
    }
    origin_send_chunk(c, NULL, 0);
}

static struct app *app_new(void)
{
    struct app *a = calloc(1, sizeof *a);
    support_on_end(free, a);
    a->start = gate_new();
    a->body = text_repeat('x', BYTES);
    for (size_t i = 0; i < BYTES; i++)
        a->body[i] = (char)('a' + (i * 31 + i / 4099) % 23);
    return a;
}

static struct millpond *start(struct origin *o, const char *max_object_size)
{
    return millpond_start(.main = "workers = 1\n", .listen = "protocols = h2, http/1.1, h2c\n",
                          .cache = textf("max_object_size = %s\nmemory_size = 32M\n", max_object_size),
                          .rest = textf("%sretries = 0\n", pool_lines("app", 1, o)));
}

static void expect_whole(struct h2_client *c, uint32_t id, const struct app *a)
{
    struct h2_answer *r = h2_wait(c, id);
    EXPECT(r->ended && r->body_len == BYTES, "%zu bytes, reset %lld", r->body_len, (long long)r->reset);
    assert_memory_equal(r->body, a->body, BYTES);
}

static void let_go(struct h2_client *c, uint32_t id)
{
    h2_window_update(c, 0, BYTES);
    h2_window_update(c, id, BYTES);
}

static void one_that_takes_nothing_is_left_behind(void **state)
{
    UNUSED(state);
    struct app *a = app_new();
    struct origin *o = origin_start(script, a);
    struct millpond *m = start(o, "512K");
    struct h2_client *slow = h2_open(m->port, .no_window_updates = true), *fast = h2_open(m->port);
    h2_sync(slow); /* it has acknowledged SETTINGS: others may take their time */
    h2_get(slow, 1, "/p");
    origin_wait_requests(o, 1);
    h2_get(fast, 1, "/p");
    millpond_wait_figure(m, "requests_in_flight", 2);
    gate_open(a->start);
    expect_whole(fast, 1, a);
    let_go(slow, 1);
    expect_whole(slow, 1, a);
    assert_int_equal(millpond_figure(m, "cache_left_behind"), 1);
    assert_int_equal(origin_requests(o), 2);
    millpond_stop(m);
}

static void what_is_stored_waits_for_everybody(void **state)
{
    UNUSED(state);
    struct app *a = app_new();
    struct origin *o = origin_start(script, a);
    struct millpond *m = start(o, "16M");
    struct h2_client *slow = h2_open(m->port, .no_window_updates = true), *fast = h2_open(m->port);
    h2_sync(slow); /* it has acknowledged SETTINGS: others may take their time */
    h2_get(slow, 1, "/p");
    origin_wait_requests(o, 1);
    for (uint32_t id = 1; id < 9; id += 2)
        h2_get(fast, id, "/p");
    millpond_wait_figure(m, "requests_in_flight", 5);
    gate_open(a->start);
    for (uint32_t id = 1; id < 9; id += 2)
        expect_whole(fast, id, a);
    struct proc_result r = millpond_cli(m, "purge", "http://test/p", NULL);
    EXPECT(r.exit_code == 0, "%s", r.err);
    let_go(slow, 1);
    expect_whole(slow, 1, a);
    assert_int_equal(origin_requests(o), 1);
    millpond_stop(m);
}

static void ranges_are_cut_out(void **state)
{
    UNUSED(state);
    struct app *a = app_new();
    struct origin *o = origin_start(script, a);
    struct millpond *m = start(o, "16M");
    struct h2_client *c = h2_open(m->port);
    gate_open(a->start);
    h2_get(c, 1, "/p");
    expect_whole(c, 1, a);
    h2_headers(c, NGHTTP2_FLAG_END_STREAM, 3, H2_GET("/p"), "range", "bytes=1000000-1999999");
    struct h2_answer *r = h2_wait(c, 3);
    assert_int_equal(r->status, 206);
    assert_int_equal(r->body_len, 1000000);
    assert_memory_equal(r->body, a->body + 1000000, 1000000);
    h2_headers(c, NGHTTP2_FLAG_END_STREAM, 5, H2_GET("/p"), "range", "bytes=0-9,100-109");
    r = h2_wait(c, 5);
    assert_int_equal(r->status, 206);
    expect_in(r->head, "multipart/byteranges");
    expect_in(r->body, "Content-Range: bytes 100-109/4194304\r\n\r\n");
    h2_headers(c, NGHTTP2_FLAG_END_STREAM, 7, H2_GET("/p"), "if-none-match", "\"v1\"");
    h2_expect(c, 7, 304, "");
    h2_headers(c, NGHTTP2_FLAG_END_STREAM, 9, H2_GET("/p"), "range", "bytes=9999999-");
    assert_int_equal(h2_wait(c, 9)->status, 416);
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(one_that_takes_nothing_is_left_behind),
        E2E_TEST(what_is_stored_waits_for_everybody),
        E2E_TEST(ranges_are_cut_out),
    };
    return E2E_RUN("e2e/h2_shared", tests);
}
