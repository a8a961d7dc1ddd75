/* half_close.c: clients that end their sending side behind their last request and read on (RFC 9112 section
 * 9.6), and clients that have really gone, which look the same for a while. */
#include <sys/socket.h>

#include "tests/support/millpond.h"
#include "tests/support/tls.h"

#define ASK(method, target) method " " target " HTTP/1.1\r\nHost: test\r\n"

static struct gate *gate;
static struct origin *app;

static void held_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(arg);
    if (strcmp(request->target, "/at-once") != 0)
        gate_pass(gate);
    const bool is_stored =
        strstr(request->target, "/stored") != NULL || strcmp(request->target, "/at-once") == 0;
    origin_respond(c, 200, is_stored ? "Cache-Control: max-age=600\r\n" : "Cache-Control: no-store\r\n",
                   request->target);
}

static struct millpond *start(void)
{
    gate = gate_new();
    app = origin_start(held_script, NULL);
    const char *listener = tls_cert_lines(tls_cert_make("site"));
    struct millpond *m =
        millpond_start(.main = "workers = 1",
                       .rest = textf("%s[listen tls]\naddress = 127.0.0.1:0\n%s"
                                     "[route old]\npath = /old\nredirect = 302 http://test/new\n"
                                     "[route all]\n",
                                     pool_lines("app", 1, app), listener));
    expect_body(client_get(m->port, "/at-once", ""), "/at-once");
    return m;
}

/* The one worker has seen all that its connections have told until now. */
static void pass_a_turn(struct millpond *m)
{
    for (int i = 0; i < 2; i++)
        expect_body(client_get(m->port, "/at-once", ""), "/at-once");
}

static struct client *ask_and_half_close(struct millpond *m, const char *bytes)
{
    struct client *c = client_open(m->port);
    client_send(c, "%s", bytes);
    client_half_close(c);
    return c;
}

static void what_is_there_is_sent_at_once(void **state)
{
    UNUSED(state);
    struct millpond *m = start();
    static const struct {
        const char *bytes;
        int status;
    } rows[] = {
        {ASK("GET", "/at-once") "\r\n", 200},
        {ASK("HEAD", "/at-once") "Connection: close\r\n\r\n", 200},
        {ASK("GET", "/old") "\r\n", 302},
        {ASK("GET", "/a b") "\r\n", 400},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct client *c = ask_and_half_close(m, rows[i].bytes);
        expect_status(i == 1 ? client_read_no_body(c) : client_read(c), rows[i].status);
        client_expect_closed(c);
    }
    millpond_wait_idle(m);
    millpond_stop(m);
}

static void what_is_fetched_is_waited_for(void **state)
{
    UNUSED(state);
    struct millpond *m = start();
    static const char *const rows[] = {
        ASK("GET", "/passed") "\r\n",
        ASK("GET", "/stored/1") "\r\n",
        ASK("GET", "/stored/1") "\r\n", /* waits for the one before */
        ASK("POST", "/upload") "Content-Length: 4\r\n\r\nbody",
        ASK("PUT", "/chunked") "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
        ASK("GET", "/with/1.0") "Connection: close\r\n\r\n",
    };
    struct client *c[ARRAY_LEN(rows)];
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        c[i] = ask_and_half_close(m, rows[i]);
    struct client *both = ask_and_half_close(m, ASK("GET", "/first") "\r\n" ASK("GET", "/second") "\r\n");
    gate_wait_arrived(gate, ARRAY_LEN(rows)); /* two are one fetch, and of `both` the first */
    pass_a_turn(m);
    gate_open(gate);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct message *r = client_read(c[i]);
        expect_status(r, 200);
        expect_in(rows[i], textf(" %s ", r->body));
        client_expect_closed(c[i]);
    }
    expect_body(client_read(both), "/first");
    expect_body(client_read(both), "/second");
    client_expect_closed(both);
    millpond_wait_idle(m);
    millpond_stop(m);
}

static void over_tls_too(void **state)
{
    UNUSED(state);
    struct millpond *m = start();
    static const char ask[] = ASK("GET", "/passed") "\r\n";
    struct tls_client *c = tls_client_open(millpond_port(m, "tls"));
    assert_true(c->ok && tls_client_send(c, ask, sizeof ask - 1));
    gate_wait_arrived(gate, 1);
    assert_int_equal(shutdown(c->fd, SHUT_WR), 0);
    pass_a_turn(m);
    gate_open(gate);
    expect_in(tls_client_read(c), "/passed");
    tls_client_close(c);
    millpond_wait_idle(m);
    millpond_stop(m);
}

/* Its instance has not answered, so nothing was sent that it could have refused. */
static void who_has_gone_is_found_out(void **state)
{
    UNUSED(state);
    struct millpond *m = start();
    struct client *c[4];
    for (size_t i = 0; i < ARRAY_LEN(c); i++) {
        c[i] = client_open(m->port);
        client_send(c[i], ASK("GET", "/passed/%zu") "\r\n", i);
    }
    gate_wait_arrived(gate, ARRAY_LEN(c));
    for (size_t i = 0; i < ARRAY_LEN(c); i++)
        if (i % 2 == 0)
            client_close(c[i]);
        else
            client_half_close(c[i]);
    millpond_wait_figure(m, "fetches_in_flight", 0);
    millpond_wait_figure(m, "upstream_connections", 0);
    for (size_t i = 0; i < ARRAY_LEN(c); i++)
        assert_string_equal(
            json_string_value(json_object_get(millpond_access_line(m, textf("/passed/%zu", i)), "close")),
            "client_aborted");
    gate_open(gate);
    millpond_wait_idle(m);
    millpond_stop(m);
    origin_stop(app);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(what_is_there_is_sent_at_once),
        E2E_TEST(what_is_fetched_is_waited_for),
        E2E_TEST(over_tls_too),
        E2E_TEST(who_has_gone_is_found_out),
    };
    return E2E_RUN("half_close", tests);
}
