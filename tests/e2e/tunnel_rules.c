/* tunnel_rules.c: who gets a tunnel and who does not, how long it lasts, and what becomes of it when the
 * program reloads and stops. */
#include <signal.h>

#include "tests/e2e/tunnel.h"

#define PLAIN_GET "GET /plain HTTP/1.1\r\nHost: test\r\n\r\n"

static const char *text_of(json_t *line, const char *name)
{
    const char *text = json_string_value(json_find(line, name));
    return text != NULL ? text : "";
}

/* ---- requests ---- */

struct asked {
    const char *what, *request, *passed_on; /* Upgrade as the instance sees it, or NULL */
};

static void only_what_may_be_is_passed_on(void **state)
{
    UNUSED(state);
    static const struct asked rows[] = {
        {"as it should be", "GET /1 HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n", "websocket"},
        {"a protocol with a version", "GET /2 HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: Chat/1.0\r\n",
         "Chat/1.0"},
        {"several", "GET /3 HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: a, b\r\nUpgrade: c\r\n", "a, b, c"},
        {"HTTP/2 among others",
         "GET /4 HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: H2C, websocket, TLS/1.0\r\n", "websocket"},
        {"HTTP/2",
         "GET /5 HTTP/1.1\r\nConnection: upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n",
         NULL},
        {"not in Connection", "GET /6 HTTP/1.1\r\nConnection: keep-alive\r\nUpgrade: websocket\r\n", NULL},
        {"Connection alone", "GET /7 HTTP/1.1\r\nConnection: upgrade\r\n", NULL},
        {"HTTP/1.0", "GET /8 HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n", NULL},
        {"POST", "POST /9 HTTP/1.1\r\nContent-Length: 0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n",
         NULL},
        {"HEAD", "HEAD /10 HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n", NULL},
        {"a body",
         "GET /11 HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: upgrade\r\nUpgrade: websocket\r\n",
         NULL},
        {"not a token", "GET /12 HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: web socket\r\n", NULL},
        {"a route without", "GET /off HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n", NULL},
    };
    struct origin *o = origin_start_fixed("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    struct millpond *m = millpond_before(o, "[route off]\npath = /off\nwebsocket = no\n[route on]\n");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        bool body = strstr(rows[i].request, "chunked") != NULL,
             head = strncmp(rows[i].request, "HEAD", 4) == 0;
        struct client *c = client_open(m->port);
        client_send(c, "%sHost: test\r\n\r\n%s", rows[i].request, body ? "0\r\n\r\n" : "");
        struct message *r = head ? client_read_no_body(c) : client_read(c);
        EXPECT(r->status == 200, "%s: %d", rows[i].what, r->status);
        const struct message *up = origin_request(o, (unsigned)i);
        const char *got = message_field(up, "Upgrade"), *connection = message_field(up, "Connection");
        bool same = rows[i].passed_on == NULL ? got == NULL && connection == NULL
                                              : got != NULL && strcmp(got, rows[i].passed_on) == 0 &&
                                                    connection != NULL && strcmp(connection, "Upgrade") == 0;
        EXPECT(same, "%s: the instance got:\n%s", rows[i].what, up->head);
        expect_no_field(up, "HTTP2-Settings");
        client_close(c);
    }
    millpond_wait_idle(m);
    millpond_stop(m);
}

/* ---- answers ---- */

static void what_was_not_asked_for_is_a_bad_gateway(void **state)
{
    UNUSED(state);
    static const char *const answers[] = {
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket, h2c\r\n\r\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
        struct origin *o = origin_start_fixed(answers[i]);
        struct millpond *m = millpond_before(o, "retries = 3\n");
        EXPECT(client_raw(m->port, TUNNEL_ASK)->status == 502, "%s", answers[i]);
        assert_int_equal(origin_requests(o), 1); /* nor is it asked twice */
        millpond_wait_idle(m);
        millpond_stop(m);
    }
    struct origin *o = origin_start_fixed(TUNNEL_GRANT);
    struct millpond *m = millpond_before(o, "");
    expect_status(client_raw(m->port, PLAIN_GET), 502);
    millpond_wait_idle(m);
    millpond_stop(m);
}

static void refuses_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(arg);
    if (message_field(request, "Upgrade") != NULL)
        origin_respond(c, 403, "Cache-Control: max-age=60\r\nUpgrade: websocket\r\n", "no");
    else
        origin_respond(c, 200, "Cache-Control: max-age=60\r\n", "page");
}

static void another_answer_is_an_ordinary_one(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start(refuses_script, NULL);
    struct millpond *m = millpond_before(o, "");
    struct client *c = client_open(m->port);
    for (int i = 0; i < 2; i++) { /* pipelined, so what follows was read ahead; and never from the cache */
        client_send(c, TUNNEL_ASK "GET /ws HTTP/1.1\r\nHost: test\r\n\r\n");
        struct message *r = client_read(c);
        expect_status(r, 403);
        expect_body(r, "no");
        expect_no_field(r, "Upgrade");
        expect_body(client_read(c), "page");
    }
    assert_int_equal(origin_requests(o), 3); /* the page was stored, the refusals were not */
    assert_int_equal(millpond_figure(m, "tunnels_opened"), 0);
    client_close(c);
    millpond_wait_idle(m);
    millpond_stop(m);
}

static void each_gets_its_own(void **state)
{
    UNUSED(state);
    struct origin *o = tunnel_origin(NULL);
    struct millpond *m = millpond_before(o, "[route all]\nttl = 1h\n");
    struct client *c[5];
    for (size_t i = 0; i < ARRAY_LEN(c); i++)
        c[i] = tunnel_open(m->port);
    for (size_t i = 0; i < ARRAY_LEN(c); i++)
        client_send(c[i], "I am %zu", i);
    for (size_t i = 0; i < ARRAY_LEN(c); i++)
        tunnel_expect(c[i], textf("I am %zu", i));
    assert_int_equal(origin_requests(o), 5);
    assert_int_equal(millpond_figure(m, "tunnels"), 5);
    assert_int_equal(millpond_figure(m, "tunnels_opened"), 5);
    assert_int_equal(millpond_figure(m, "requests_in_flight"), 0);
    assert_int_equal(millpond_figure(m, "fetches_in_flight"), 0);
    assert_int_equal(millpond_figure(m, "client_connections"), 5);
    expect_in(millpond_cli(m, "status", NULL).out, "tunnels   5 open, 5 opened");
    for (size_t i = 0; i < ARRAY_LEN(c); i++)
        client_close(c[i]);
    millpond_wait_figure(m, "tunnels", 0);
    millpond_wait_idle(m);
    millpond_stop(m);
}

static void dies_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(arg);
    if (message_field(request, "Upgrade") != NULL)
        origin_reset(c);
    else
        origin_respond(c, 200, "Cache-Control: no-store\r\n", "page");
}

/* Nor is it sent over a kept connection, whose end it might meet. */
static void what_was_sent_is_not_sent_again(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start(dies_script, NULL);
    struct millpond *m =
        millpond_start(.main = "workers = 1", .rest = textf("%sretries = 3\n", pool_lines("app", 1, o)));
    expect_body(client_get(m->port, "/", ""), "page");
    expect_status(client_raw(m->port, TUNNEL_ASK), 502);
    assert_int_equal(origin_requests_for(o, "/ws"), 1);
    assert_int_equal(origin_connections(o), 2);
    millpond_stop(m);
}

static void what_was_not_sent_goes_to_another_instance(void **state)
{
    UNUSED(state);
    struct origin *o = tunnel_origin(NULL);
    struct millpond *m =
        millpond_start(.rest = textf(
                           "[pool app]\nserver = 127.0.0.1:%d\nserver = 127.0.0.1:%d\nhealth_check = off\n",
                           origin_refusing_port(), origin_port(o)));
    for (int i = 0; i < 4; i++)
        client_close(tunnel_open(m->port));
    millpond_stop(m);
}

static void connections_of_tunnels_count(void **state)
{
    UNUSED(state);
    struct origin *o = tunnel_origin(NULL);
    struct millpond *m = millpond_start(.main = "max_connections = 2", .rest = pool_lines("app", 1, o));
    struct client *a = tunnel_open(m->port), *b = tunnel_open(m->port);
    expect_status(client_raw(m->port, PLAIN_GET), 503);
    client_close(a);
    millpond_wait_figure(m, "client_connections", 1);
    client_close(tunnel_open(m->port));
    client_close(b);
    millpond_stop(m);
}

/* ---- time ---- */

static void idle_tunnel_ends_after_tunnel_timeout(void **state)
{
    UNUSED(state);
    struct origin *o = tunnel_origin(NULL);
    struct millpond *m =
        millpond_start(.listen = "idle_timeout = 50ms\nheader_timeout = 5s",
                       .rest = textf("%sresponse_timeout = 50ms\n[route all]\ntunnel_timeout = 600ms\n",
                                     pool_lines("app", 1, o)));
    long long begin_ms = clock_mono_ms();
    struct client *c = tunnel_open(m->port);
    client_expect_closed(c);
    EXPECT(clock_mono_ms() - begin_ms >= 600, "after %lld ms", clock_mono_ms() - begin_ms);
    assert_true(c->wire.closed && !c->wire.reset);
    client_close(c);
    assert_string_equal(text_of(millpond_access_line(m, "/ws"), "close"), "tunnel_timeout");
    origin_wait_open(o, 0);
    millpond_wait_idle(m);
    millpond_stop(m);
}

static void speaks_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(request);
    UNUSED(arg);
    origin_send(c, TUNNEL_GRANT);
    for (int i = 0; i < 8; i++) {
        wire_more(&c->wire, 200); /* nothing comes */
        origin_send(c, ".");
    }
    origin_close(c);
    origin_wait_peer_close(c);
}

/* It is over with the answer, and its clock does not stay in what an open tunnel gives back. */
static void timeout_of_the_route_ends_with_the_answer(void **state)
{
    UNUSED(state);
    struct origin *o = tunnel_origin(NULL);
    struct millpond *m = millpond_before(o, "[route all]\ntimeout = 2s\ntunnel_timeout = 2200ms\n");
    struct client *c = tunnel_open(m->port);
    client_expect_closed(c);
    assert_string_equal(text_of(millpond_access_line(m, "/ws"), "close"), "tunnel_timeout");
    millpond_wait_idle(m);
    millpond_stop(m);
}

/* Twice as long as tunnel_timeout, one byte at a time. */
static void what_speaks_now_and_then_lasts(void **state)
{
    UNUSED(state);
    struct origin *o =
        origin_start_with(&(struct origin_options){.script = speaks_script, .head_only = true});
    struct millpond *m = millpond_before(o, "[route all]\ntunnel_timeout = 800ms\n");
    struct client *c = client_open(m->port);
    client_send(c, "%s", TUNNEL_ASK);
    expect_status(client_read_head(c), 101);
    tunnel_expect(c, "........");
    client_expect_closed(c);
    client_close(c);
    assert_string_equal(text_of(millpond_access_line(m, "/ws"), "close"), "tunnel_instance");
    millpond_stop(m);
}

static void deaf_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(request);
    origin_send(c, TUNNEL_GRANT);
    gate_pass(arg);
    c->done = true;
}

/* Who goes on alone has no more time than an idle connection. */
static void half_open_tunnel_ends_after_idle_timeout(void **state)
{
    UNUSED(state);
    struct gate *g = gate_new();
    struct origin *o =
        origin_start_with(&(struct origin_options){.script = deaf_script, .arg = g, .head_only = true});
    struct millpond *m = millpond_start(.listen = "idle_timeout = 200ms", .rest = pool_lines("app", 1, o));
    struct client *c = client_open(m->port);
    client_send(c, "%s", TUNNEL_ASK);
    expect_status(client_read_head(c), 101);
    client_half_close(c);
    client_expect_closed(c);
    assert_string_equal(text_of(millpond_access_line(m, "/ws"), "close"), "tunnel_timeout");
    gate_open(g);
    millpond_wait_idle(m);
    millpond_stop(m);
    origin_stop(o);
}

/* ---- reload and stop ---- */

static void tunnels_outlive_a_reload(void **state)
{
    UNUSED(state);
    struct origin *o = tunnel_origin(NULL), *other = origin_start_named("other");
    struct millpond *m = millpond_before(o, "[route all]\n");
    struct client *c = tunnel_open(m->port);
    millpond_write_ini(m, .rest = textf("%s[route all]\nwebsocket = no\n", pool_lines("new", 1, other)));
    assert_int_equal(millpond_cli(m, "reload", NULL).exit_code, 0);
    expect_body(client_raw(m->port, TUNNEL_ASK), "other");
    client_send(c, "still here");
    tunnel_expect(c, "still here");
    client_half_close(c);
    tunnel_expect(c, "bye");
    client_expect_closed(c);
    client_close(c);
    millpond_wait_idle(m);
    millpond_stop(m);
}

/* A tunnel is a request that runs: whoever drains its instance is told of it and can wait for its end. */
static void drain_waits_for_tunnels(void **state)
{
    UNUSED(state);
    struct origin *o = tunnel_origin(NULL), *other = tunnel_origin(NULL);
    struct millpond *m =
        millpond_start(.rest = textf("[pool app]\nhealth_check = off\nserver = 127.0.0.1:%d name=a\n",
                                     origin_port(o)));
    struct client *c = tunnel_open(m->port);
    struct proc_result r =
        millpond_cli(m, "add", "app", textf("127.0.0.1:%d", origin_port(other)), "name=b", NULL);
    assert_int_equal(r.exit_code, 0);
    const char *const words[] = {getenv("MILLPOND"), "drain", "app/a", "--wait", "-s", m->socket, NULL};
    struct proc *waits = proc_start(&(struct proc_options){.argv = words});
    capture_wait(&waits->out, "no new requests, 1 still run\n", 1);
    struct client *next = tunnel_open(m->port);
    assert_int_equal(origin_open(other), 1);
    client_send(c, "more");
    tunnel_expect(c, "more");
    assert_false(waits->reaped);
    client_close(c);
    capture_wait(&waits->out, "no request runs there any more\n", 1);
    assert_int_equal(proc_exit_code(waits), 0);
    client_close(next);
    millpond_wait_figure(m, "tunnels", 0);
    millpond_stop(m);
}

static void stop_waits_for_tunnels_up_to_shutdown_timeout(void **state)
{
    UNUSED(state);
    struct origin *o = tunnel_origin(NULL);
    struct millpond *m = millpond_start(.main = "shutdown_timeout = 700ms", .rest = pool_lines("app", 1, o));
    struct client *c = tunnel_open(m->port);
    proc_signal(m->proc, SIGTERM);
    millpond_wait_log(m, "stopping", 1);
    client_send(c, "still here");
    tunnel_expect(c, "still here");
    client_expect_closed(c);
    assert_true(c->wire.closed);
    assert_string_equal(text_of(millpond_access_line(m, "/ws"), "close"), "shutdown");
    millpond_expect_clean_end(m);
    origin_wait_open(o, 0);
}

static void stop_does_not_wait_longer_than_the_last_tunnel(void **state)
{
    UNUSED(state);
    struct origin *o = tunnel_origin(NULL);
    struct millpond *m = millpond_start(.main = "shutdown_timeout = 1h", .rest = pool_lines("app", 1, o));
    struct client *c = tunnel_open(m->port);
    proc_signal(m->proc, SIGTERM);
    millpond_wait_log(m, "stopping", 1);
    client_close(c);
    millpond_expect_clean_end(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(only_what_may_be_is_passed_on),
        E2E_TEST(what_was_not_asked_for_is_a_bad_gateway),
        E2E_TEST(another_answer_is_an_ordinary_one),
        E2E_TEST(each_gets_its_own),
        E2E_TEST(what_was_sent_is_not_sent_again),
        E2E_TEST(what_was_not_sent_goes_to_another_instance),
        E2E_TEST(connections_of_tunnels_count),
        E2E_TEST(idle_tunnel_ends_after_tunnel_timeout),
        E2E_TEST(timeout_of_the_route_ends_with_the_answer),
        E2E_TEST(what_speaks_now_and_then_lasts),
        E2E_TEST(half_open_tunnel_ends_after_idle_timeout),
        E2E_TEST(tunnels_outlive_a_reload),
        E2E_TEST(drain_waits_for_tunnels),
        E2E_TEST(stop_waits_for_tunnels_up_to_shutdown_timeout),
        E2E_TEST(stop_does_not_wait_longer_than_the_last_tunnel),
    };
    return E2E_RUN("tunnel_rules", tests);
}
