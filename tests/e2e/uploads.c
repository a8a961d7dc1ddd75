/* uploads.c: whose time runs while a request's body is on its way: the client's until all of it has come, the
 * instance's from then on; with HTTP/1.1 and HTTP/2 on both sides. What shows that response_timeout has
 * passed is another request, whose instance says nothing. */
#include "tests/support/h2.h"
#include "tests/support/millpond.h"

static struct gate *silent; /* GETs, and the POST to /silent */

static void script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(arg);
    if (strcmp(request->target, "/up") != 0)
        gate_pass(silent);
    origin_respond(c, 200, "Cache-Control: no-store\r\n", request->body);
}

struct pair {
    struct origin *app;
    struct millpond *m, *inner; /* inner: what makes an instance speak HTTP/2; NULL: none */
};

static struct pair start(bool h2)
{
    struct pair p = {.app = origin_start(script, NULL)};
    silent = gate_new();
    if (h2)
        p.inner = millpond_start(.name = "inner", .main = "workers = 1\n", .listen = "protocols = h2c\n",
                                 .rest = pool_lines("app", 1, p.app));
    p.m =
        millpond_start(.main = "workers = 1\n", .listen = "protocols = h2c, http/1.1\nheader_timeout = 1h\n",
                       .rest = textf("[pool app]\nserver = 127.0.0.1:%d\nhealth_check = off\nretries = 0\n"
                                     "eject_errors = 0\nresponse_timeout = 150ms\nprotocol = %s\n",
                                     h2 ? p.inner->port : origin_port(p.app), h2 ? "h2" : "http/1.1"));
    return p;
}

static void stop(struct pair p)
{
    gate_open(silent);
    millpond_stop(p.m);
    if (p.inner != NULL)
        millpond_stop(p.inner);
    origin_stop(p.app); /* its threads leave the gate */
}

/* Three times response_timeout. */
static void let_time_pass(const struct pair *p)
{
    for (unsigned i = 0; i < 3; i++)
        expect_status(client_get(p->m->port, "/nothing", ""), 504);
}

static void expect_blame(const struct pair *p, const char *target, const char *wanted)
{
    const char *why = json_string_value(json_object_get(millpond_access_line(p->m, target), "fetch_error"));
    assert_string_equal(why != NULL ? why : "none", wanted);
}

static void from_http1(bool h2)
{
    struct pair p = start(h2);
    struct client *c = client_open(p.m->port);
    client_send(c, "POST /up HTTP/1.1\r\nHost: test\r\nContent-Length: 8\r\n\r\nfour");
    millpond_wait_figure(p.m, "fetches_in_flight", 1);
    let_time_pass(&p);
    client_send(c, "more");
    expect_body(client_read(c), "fourmore");
    client_send(c, "POST /up HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
    millpond_wait_figure(p.m, "fetches_in_flight", 1);
    let_time_pass(&p);
    client_send(c, "4\r\nmore\r\n0\r\n\r\n");
    expect_body(client_read(c), "more");
    client_send(c, "POST /silent HTTP/1.1\r\nHost: test\r\nContent-Length: 8\r\n\r\nfour");
    millpond_wait_figure(p.m, "fetches_in_flight", 1);
    let_time_pass(&p);
    client_send(c, "more");
    expect_status(client_read(c), 504);
    expect_blame(&p, "/up", "none");
    expect_blame(&p, "/silent", "response_timeout");
    stop(p);
}

static void by_http1(void **state)
{
    UNUSED(state);
    from_http1(false);
}

static void by_http1_to_http2(void **state)
{
    UNUSED(state);
    from_http1(true);
}

static void from_http2(bool h2)
{
    struct pair p = start(h2);
    struct h2_client *c = h2_open(p.m->port);
    h2_headers(c, 0, 1, H2_POST("/up"));
    h2_data(c, 0, 1, "four", 4);
    millpond_wait_figure(p.m, "fetches_in_flight", 1);
    let_time_pass(&p);
    h2_data(c, NGHTTP2_FLAG_END_STREAM, 1, "more", 4);
    h2_expect(c, 1, 200, "fourmore");
    h2_headers(c, 0, 3, H2_POST("/silent"));
    millpond_wait_figure(p.m, "fetches_in_flight", 1);
    let_time_pass(&p);
    h2_data(c, NGHTTP2_FLAG_END_STREAM, 3, "more", 4);
    h2_expect(c, 3, 504, NULL);
    expect_blame(&p, "/up", "none");
    expect_blame(&p, "/silent", "response_timeout");
    stop(p);
}

static void by_http2(void **state)
{
    UNUSED(state);
    from_http2(false);
}

static void by_http2_to_http2(void **state)
{
    UNUSED(state);
    from_http2(true);
}

/* It waits for our 100, or for the instance's, which has a second for it. */
static void with_expect(void **state)
{
    UNUSED(state);
    struct pair p = start(false);
    struct client *c = client_open(p.m->port);
    client_send(c, "POST /up HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    expect_status(client_read_head(c), 100);
    let_time_pass(&p);
    client_send(c, "more");
    expect_body(client_read(c), "more");
    expect_blame(&p, "/up", "none");
    stop(p);
}

/* A client that stops for good has its own limit, and the instance is not blamed for that either. */
static void clients_that_stop(void **state)
{
    UNUSED(state);
    struct pair p = start(false);
    millpond_stop(p.m);
    p.m = millpond_start(.listen = "body_timeout = 300ms\n",
                         .rest = textf("%sresponse_timeout = 50ms\n", pool_lines("app", 1, p.app)));
    struct client *c = client_open(p.m->port);
    client_send(c, "POST /up HTTP/1.1\r\nHost: test\r\nContent-Length: 8\r\n\r\nfour");
    expect_status(client_read(c), 408);
    expect_blame(&p, "/up", "none");
    stop(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(by_http1),          E2E_TEST(by_http1_to_http2), E2E_TEST(by_http2),
        E2E_TEST(by_http2_to_http2), E2E_TEST(with_expect),       E2E_TEST(clients_that_stop),
    };
    return E2E_RUN("uploads", tests);
}
