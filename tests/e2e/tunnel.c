/* tunnel.c: what passes through a tunnel, how it ends, and that nobody's slowness is stored up in it. */
#include <sys/socket.h>

#include "tests/e2e/tunnel.h"
#include "tests/support/tls.h"

static const char *text_of(json_t *line, const char *name)
{
    const char *text = json_string_value(json_find(line, name));
    return text != NULL ? text : "";
}

/* ---- bytes ---- */

static void bytes_pass_both_ways_and_none_is_lost(void **state)
{
    UNUSED(state);
    struct origin *o = tunnel_origin("hello");
    struct millpond *m = millpond_before(o, "");
    struct client *c = client_open(m->port);
    client_send(c, "%sEARLY", TUNNEL_ASK); /* in one segment with the request */
    struct message *r = client_read_head(c);
    expect_status(r, 101);
    expect_field(r, "Connection", "Upgrade");
    expect_field(r, "Upgrade", "websocket");
    expect_field(r, "Sec-WebSocket-Accept", "yes");
    expect_no_field(r, "Content-Length");
    expect_no_field(r, "Transfer-Encoding");
    tunnel_expect(c, "helloEARLY");
    for (int i = 0; i < 100; i++) {
        client_send(c, "message %d", i);
        tunnel_expect(c, textf("message %d", i));
    }
    const struct message *up = origin_request(o, 0);
    expect_field(up, "Connection", "Upgrade");
    expect_field(up, "Upgrade", "websocket");
    expect_field(up, "Sec-WebSocket-Key", "key");
    client_half_close(c);
    tunnel_expect(c, "bye");
    client_expect_closed(c);
    json_t *line = millpond_access_line(m, "/ws");
    assert_int_equal(json_integer_value(json_find(line, "status")), 101);
    assert_string_equal(text_of(line, "close"), "tunnel_client");
    assert_string_equal(text_of(line, "no_store"), "upgrade");
    assert_string_equal(text_of(line, "method"), "GET");
    assert_string_equal(text_of(line, "host"), "test");
    assert_string_equal(text_of(line, "client"), "127.0.0.1");
    assert_string_equal(text_of(line, "referer"), "http://test/page");
    assert_string_equal(text_of(line, "user_agent"), "tests");
    assert_string_equal(text_of(line, "request_id"), message_field(up, "X-Request-Id"));
    int64_t said = (int64_t)strlen("EARLY") + 10 * 9 + 90 * 10;
    assert_int_equal(json_integer_value(json_find(line, "request_bytes")),
                     (int64_t)strlen(TUNNEL_ASK) + said);
    assert_int_equal(json_integer_value(json_find(line, "response_bytes")),
                     (int64_t)strlen(r->head) + 2 + said + (int64_t)strlen("hello") + 3);
    millpond_wait_idle(m);
    millpond_stop(m);
}

/* Early bytes that come with the head of an answer in pieces, and with a request in pieces. */
static void trickle_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(request);
    const char *all = TUNNEL_GRANT "hello";
    for (const char *p = all; *p != '\0'; p++) {
        gate_pass(arg);
        origin_send_bytes(c, p, 1);
    }
    wire_discard(&c->wire, 3);
    origin_send(c, "end");
    origin_close(c);
    origin_wait_peer_close(c);
}

static void heads_may_come_byte_by_byte(void **state)
{
    UNUSED(state);
    struct gate *g = gate_new();
    struct origin *o =
        origin_start_with(&(struct origin_options){.script = trickle_script, .arg = g, .head_only = true});
    struct millpond *m = millpond_before(o, "");
    struct client *c = client_open(m->port);
    for (const char *p = TUNNEL_ASK; *p != '\0'; p++)
        client_send_bytes(c, p, 1);
    for (size_t i = 1; i <= strlen(TUNNEL_GRANT "hello"); i++) {
        gate_let(g, 1);
        millpond_wait_figure(m, "upstream_received_bytes", (int64_t)i);
    }
    expect_status(client_read_head(c), 101);
    tunnel_expect(c, "hello");
    client_send(c, "abc");
    tunnel_expect(c, "end");
    client_expect_closed(c);
    client_close(c);
    assert_string_equal(text_of(millpond_access_line(m, "/ws"), "close"), "tunnel_instance");
    millpond_wait_idle(m);
    millpond_stop(m);
}

static void who_begins_with_a_tunnel_is_pinned_too(void **state)
{
    UNUSED(state);
    struct origin *o = tunnel_origin("");
    struct millpond *m = millpond_start(.rest = textf("%ssticky_cookie = srv\n", pool_lines("app", 1, o)));
    struct client *c = client_open(m->port);
    client_send(c, "%s", TUNNEL_ASK);
    struct message *r = client_read_head(c);
    expect_status(r, 101);
    expect_in(message_field(r, "Set-Cookie"), "; Path=/; HttpOnly; SameSite=Lax");
    millpond_stop(m);
}

static void tunnels_over_tls(void **state)
{
    UNUSED(state);
    struct origin *o = tunnel_origin("hello");
    struct millpond *m =
        millpond_start(.listen = tls_cert_lines(tls_cert_make("cert")), .rest = pool_lines("app", 1, o));
    struct tls_client *c = tls_client_open(m->port);
    assert_true(c->ok);
    assert_true(tls_client_send(c, TUNNEL_ASK "EARLY", strlen(TUNNEL_ASK "EARLY")));
    expect_in(tls_client_read(c), "HTTP/1.1 101");
    assert_string_equal(tls_client_wait_bytes(c, 10), "helloEARLY");
    size_t big = 3 * MB;
    char *sent = text_repeat('x', big);
    for (size_t at = 0; at < big; at += 64 * KB) {
        assert_true(tls_client_send(c, sent + at, 64 * KB));
        char *got = tls_client_wait_bytes(c, 64 * KB);
        assert_memory_equal(got, sent, 64 * KB);
    }
    expect_field(origin_request(o, 0), "X-Forwarded-Proto", "https");
    SSL_shutdown(c->ssl); /* the end of one direction, as by shutdown(2) */
    assert_string_equal(tls_client_wait_bytes(c, 3), "bye");
    assert_int_equal(tls_client_drain(c), 0);
    assert_true(c->clean_end);
    json_t *line = millpond_access_line(m, "/ws");
    assert_string_equal(text_of(line, "close"), "tunnel_client");
    assert_string_equal(text_of(line, "tls"), "TLSv1.3");
    tls_client_close(c);
    millpond_stop(m);
}

/* ---- ends ---- */

static void ends_first_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(request);
    UNUSED(arg);
    origin_send(c, TUNNEL_GRANT "last words");
    shutdown(c->wire.fd, SHUT_WR);
    origin_wait_peer_close(c); /* goes on reading: origin_bytes */
    c->done = true;
}

static void instance_may_end_first_and_go_on_reading(void **state)
{
    UNUSED(state);
    struct origin *o =
        origin_start_with(&(struct origin_options){.script = ends_first_script, .head_only = true});
    struct millpond *m = millpond_before(o, "");
    struct client *c = client_open(m->port);
    client_send(c, "%s", TUNNEL_ASK);
    expect_status(client_read_head(c), 101);
    tunnel_expect(c, "last words");
    client_expect_closed(c);
    assert_true(c->wire.closed && !c->wire.reset);
    uint64_t before = (uint64_t)millpond_figure(m, "upstream_sent_bytes");
    client_send(c, "%s", text_repeat('u', 100000));
    millpond_wait_figure(m, "upstream_sent_bytes", (int64_t)before + 100000);
    assert_int_equal(millpond_figure(m, "tunnels"), 1);
    client_half_close(c);
    origin_wait_open(o, 0);
    assert_true(origin_bytes(o) >= before + 100000);
    assert_string_equal(text_of(millpond_access_line(m, "/ws"), "close"), "tunnel_instance");
    millpond_wait_idle(m);
    millpond_stop(m);
}

static void reset_by_the_client_reaches_the_instance(void **state)
{
    UNUSED(state);
    struct origin *o = tunnel_origin(NULL);
    struct millpond *m = millpond_before(o, "");
    client_reset(tunnel_open(m->port));
    origin_wait_open(o, 0);
    assert_string_equal(text_of(millpond_access_line(m, "/ws"), "close"), "client_reset");
    millpond_wait_idle(m);
    millpond_stop(m);
}

static void reset_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(request);
    UNUSED(arg);
    origin_send(c, TUNNEL_GRANT "half a mess");
    wire_more(&c->wire, support_wait_ms());
    origin_reset(c);
}

/* It must not look like an orderly end. */
static void reset_by_the_instance_reaches_the_client(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start_with(&(struct origin_options){.script = reset_script, .head_only = true});
    struct millpond *m = millpond_before(o, "");
    struct client *c = client_open(m->port);
    client_send(c, "%s", TUNNEL_ASK);
    expect_status(client_read_head(c), 101);
    tunnel_expect(c, "half a mess");
    client_send(c, "x");
    client_expect_closed(c);
    assert_true(c->wire.reset);
    json_t *line = millpond_access_line(m, "/ws");
    assert_string_equal(text_of(line, "close"), "upstream_cut");
    assert_string_equal(text_of(line, "fetch_error"), "cut_short");
    millpond_wait_idle(m);
    millpond_stop(m);
}

/* Connections with that port on this side, or on the other, that the kernel's keep-alive timer watches: in
 * /proc/net/tcp their timer is 2 once all is acknowledged. */
static unsigned watched(unsigned here, unsigned there)
{
    unsigned count = 0, local, remote, state, timer;
    char line[256];
    FILE *table = fopen("/proc/net/tcp", "r");
    assert_non_null(table);
    while (fgets(line, sizeof(line), table) != NULL) {
        if (sscanf(line, " %*d: %*8[0-9A-F]:%x %*8[0-9A-F]:%x %x %*8[0-9A-F]:%*8[0-9A-F] %x", &local, &remote,
                   &state, &timer) == 4)
            count += (local == here || remote == there) && state == 1 && timer == 2;
    }
    fclose(table);
    return count;
}

static void peers_that_vanish_are_noticed(void **state)
{
    UNUSED(state);
    struct origin *o = tunnel_origin(NULL);
    struct millpond *m = millpond_before(o, "");
    struct client *idle = client_open(m->port), *c = tunnel_open(m->port);
    unsigned here = (unsigned)m->port, there = (unsigned)origin_port(o);
    long long until_ms = clock_mono_ms() + support_wait_ms();
    while ((watched(here, 0) != 1 || watched(0, there) != 1) && clock_mono_ms() < until_ms)
        assert_int_equal(millpond_figure(m, "tunnels"), 1);
    assert_int_equal(watched(here, 0), 1);
    assert_int_equal(watched(0, there), 1);
    client_close(c);
    client_close(idle);
    millpond_stop(m);
}

/* ---- slowness ---- */

/* What lies in the program, between its two sockets, is little. */
static void expect_little_between(struct millpond *m, const char *taken, const char *given)
{
    int64_t between = millpond_figure(m, taken) - millpond_figure(m, given);
    EXPECT(between < (int64_t)(256 * KB), "%lld KB were read and not sent on", (long long)between / 1024);
}

struct flood {
    struct gate *stuck; /* arrived: no room; goes on when opened */
    uint64_t size;      /* more than there is ever room for */
    _Atomic uint64_t bytes;
};

static struct flood flood_new(void)
{
    return (struct flood){.stuck = gate_new(), .size = 2 * wire_room_max()};
}

static void flood_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(request);
    struct flood *f = arg;
    static const char zeros[64 * 1024];
    origin_send(c, TUNNEL_GRANT);
    f->bytes = wire_send_while_room(c->wire.fd, f->size);
    gate_pass(f->stuck);
    while (f->bytes < f->size) {
        size_t n = (size_t)MIN(sizeof(zeros), f->size - f->bytes);
        if (!origin_send_bytes(c, zeros, n))
            return;
        f->bytes += n;
    }
    origin_close(c);
    origin_wait_peer_close(c);
}

static void client_that_does_not_read_stops_the_instance(void **state)
{
    UNUSED(state);
    static struct flood f; /* threads may outlive a test that fails */
    f = flood_new();
    struct origin *o = origin_start_with(&(struct origin_options){
        .script = flood_script, .arg = &f, .head_only = true, .sndbuf_bytes = 64 * 1024});
    struct millpond *m = millpond_before(o, "");
    struct client *c = client_open_rcvbuf(m->port, 32 * 1024);
    client_send(c, "%s", TUNNEL_ASK);
    expect_status(client_read_head(c), 101);
    gate_wait_arrived(f.stuck, 1);
    EXPECT(f.bytes < wire_room_max(), "%llu KB were taken for a client that reads nothing",
           (unsigned long long)(f.bytes / KB));
    expect_little_between(m, "upstream_received_bytes", "client_sent_bytes");
    uint64_t before = (uint64_t)millpond_figure(m, "upstream_sent_bytes");
    client_send(c, "still heard"); /* the other direction does not wait */
    millpond_wait_figure(m, "upstream_sent_bytes", (int64_t)before + 11);
    gate_open(f.stuck);
    assert_int_equal(wire_discard(&c->wire, f.size), f.size);
    client_expect_closed(c);
    client_close(c);
    millpond_wait_idle(m);
    millpond_stop(m);
    origin_stop(o);
}

static void sink_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(request);
    struct flood *f = arg;
    origin_send(c, TUNNEL_GRANT "hi");
    gate_pass(f->stuck);
    f->bytes = wire_discard(&c->wire, SIZE_MAX);
    origin_send(c, "%llu", (unsigned long long)f->bytes);
    origin_close(c);
}

static struct origin *slow_instance(struct flood *f)
{
    return origin_start_with(&(struct origin_options){
        .script = sink_script, .arg = f, .head_only = true, .rcvbuf_bytes = 32 * 1024});
}

static void instance_that_does_not_read_stops_the_client(void **state)
{
    UNUSED(state);
    static struct flood f; /* threads may outlive a test that fails */
    f = flood_new();
    struct origin *o = slow_instance(&f);
    struct millpond *m = millpond_before(o, "");
    struct client *c = client_open(m->port);
    int sndbuf = 64 * 1024;
    setsockopt(c->wire.fd, SOL_SOCKET, SO_SNDBUF, &sndbuf, sizeof(sndbuf));
    client_send(c, "%s", TUNNEL_ASK);
    expect_status(client_read_head(c), 101);
    tunnel_expect(c, "hi"); /* the other direction did not wait */
    uint64_t sent = wire_send_while_room(c->wire.fd, f.size);
    EXPECT(sent < wire_room_max(), "%llu KB were taken for an instance that reads nothing",
           (unsigned long long)(sent / KB));
    expect_little_between(m, "client_received_bytes", "upstream_sent_bytes");
    gate_open(f.stuck);
    static const char zeros[64 * 1024];
    for (; sent < f.size; sent += MIN(sizeof(zeros), f.size - sent))
        assert_true(client_send_bytes(c, zeros, (size_t)MIN(sizeof(zeros), f.size - sent)));
    client_half_close(c);
    tunnel_expect(c, textf("%llu", (unsigned long long)f.size));
    client_expect_closed(c);
    millpond_wait_idle(m);
    millpond_stop(m);
    origin_stop(o);
}

static void client_that_takes_nothing_is_given_write_timeout(void **state)
{
    UNUSED(state);
    static struct flood f; /* threads may outlive a test that fails */
    f = flood_new();
    struct origin *o =
        origin_start_with(&(struct origin_options){.script = flood_script, .arg = &f, .head_only = true});
    struct millpond *m = millpond_start(.listen = "write_timeout = 300ms", .rest = pool_lines("app", 1, o));
    struct client *c = client_open_rcvbuf(m->port, 32 * 1024);
    client_send(c, "%s", TUNNEL_ASK);
    assert_string_equal(text_of(millpond_access_line(m, "/ws"), "close"), "write_timeout");
    gate_open(f.stuck);
    origin_wait_open(o, 0);
    millpond_wait_idle(m);
    client_close(c);
    millpond_stop(m);
    origin_stop(o);
}

static void instance_that_takes_nothing_is_given_response_timeout(void **state)
{
    UNUSED(state);
    static struct flood f; /* threads may outlive a test that fails */
    f = flood_new();
    struct origin *o = slow_instance(&f);
    struct millpond *m =
        millpond_start(.rest = textf("%sresponse_timeout = 300ms\n", pool_lines("app", 1, o)));
    struct client *c = client_open(m->port);
    client_send(c, "%s", TUNNEL_ASK);
    expect_status(client_read_head(c), 101);
    tunnel_expect(c, "hi");
    wire_send_while_room(c->wire.fd, f.size);
    json_t *line = millpond_access_line(m, "/ws");
    assert_string_equal(text_of(line, "close"), "upstream_cut");
    assert_string_equal(text_of(line, "fetch_error"), "response_timeout");
    gate_open(f.stuck);
    millpond_stop(m);
    origin_stop(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(bytes_pass_both_ways_and_none_is_lost),
        E2E_TEST(heads_may_come_byte_by_byte),
        E2E_TEST(who_begins_with_a_tunnel_is_pinned_too),
        E2E_TEST(tunnels_over_tls),
        E2E_TEST(instance_may_end_first_and_go_on_reading),
        E2E_TEST(reset_by_the_client_reaches_the_instance),
        E2E_TEST(reset_by_the_instance_reaches_the_client),
        E2E_TEST(peers_that_vanish_are_noticed),
        E2E_TEST(client_that_does_not_read_stops_the_instance),
        E2E_TEST(instance_that_does_not_read_stops_the_client),
        E2E_TEST(client_that_takes_nothing_is_given_write_timeout),
        E2E_TEST(instance_that_takes_nothing_is_given_response_timeout),
    };
    return E2E_RUN("tunnel", tests);
}
