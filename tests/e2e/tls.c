/* tls.c: clients that speak TLS: every version we offer, with real programs and with a client of our own;
 * what the application is told; large bodies both ways; and clients that do it wrong, slowly, or never
 * finish. */
#include <poll.h>
#include <signal.h>

#include "tests/support/millpond.h"
#include "tests/support/pages.h"
#include "tests/support/tls.h"

#define WORKERS 2

static struct page pages[] = {{.path = "/p", .fields = "Cache-Control: max-age=600\r\n"},
                              {.path = "/q", .fields = "Cache-Control: no-store\r\n"},
                              {0}};
static struct origin *app;
static struct tls_cert *authority, *cert;

/* A listener "secure" with the certificate, beside the plain one. */
static struct millpond *start_with(struct origin *o, const char *main_lines, const char *listen_lines)
{
    app = o;
    pages[0].served = pages[1].served = 0;
    authority = tls_cert_make("authority", .authority = true);
    cert = tls_cert_make("cert", .issuer = authority);
    return millpond_start(.main = textf("workers = %d\n%s", WORKERS, main_lines),
                          .rest = textf("%s[listen secure]\naddress = 127.0.0.1:0\n%s%s",
                                        pool_lines("app", 1, o), tls_cert_lines(cert), listen_lines));
}

static struct millpond *start(void)
{
    return start_with(origin_start(pages_script, pages), "", "");
}

static int secure_port(struct millpond *m)
{
    return millpond_port(m, "secure");
}

/* curl, with the authority it is to believe; more arguments, NULL at the end. */
static struct proc_result curl(struct millpond *m, const char *target, const char *a, const char *b)
{
    const char *argv[12] = {"curl", "-sS", "-i", "--http1.1", "--cacert", authority->file, a};
    size_t n = a != NULL ? 7 : 6;
    if (b != NULL)
        argv[n++] = b;
    argv[n++] = textf("https://localhost:%d%s", secure_port(m), target);
    return proc_run(argv);
}

static void curl_is_served_by_every_version(void **state)
{
    UNUSED(state);
    struct millpond *m = start();
    struct proc_result r = curl(m, "/p", NULL, NULL);
    EXPECT(r.exit_code == 0, "curl: %s", r.err);
    expect_in(r.out, "HTTP/1.1 200 ");
    expect_in(r.out, "/p#1");
    json_t *line = millpond_access_line(m, "\"/p\"");
    assert_string_equal(json_string_value(json_object_get(line, "scheme")), "https");
    assert_string_equal(json_string_value(json_object_get(line, "tls")), "TLSv1.3");
    assert_non_null(json_object_get(line, "tls_cipher"));
    r = curl(m, "/p?2", "--tls-max", "1.2");
    EXPECT(r.exit_code == 0, "curl: %s", r.err);
    line = millpond_access_line(m, "\"/p?2\"");
    assert_string_equal(json_string_value(json_object_get(line, "tls")), "TLSv1.2");
    r = curl(m, "/p", "--tls-max", "1.1");
    assert_int_equal(r.exit_code, 35);
    client_get(m->port, "/q", "");
    assert_null(json_object_get(millpond_access_line(m, "\"/q\""), "tls"));
    millpond_wait_figure(m, "tls_handshakes_in_flight", 0);
    millpond_stop(m);
}

static void the_application_is_told_the_scheme(void **state)
{
    UNUSED(state);
    struct millpond *m = start();
    struct tls_client *c = tls_client_open(secure_port(m), .name = "test");
    EXPECT(c->ok, "%s", c->error);
    expect_in(tls_client_get(c, "/q", "X-Forwarded-Proto: http\r\nForwarded: proto=http\r\n"), "/q#1");
    const struct message *r = origin_request(app, 0);
    assert_string_equal(message_field(r, "X-Forwarded-Proto"), "https");
    expect_in(message_field(r, "Forwarded"), "proto=https");
    expect_not_in(message_field(r, "Forwarded"), "proto=http;");
    client_get(m->port, "/q", "X-Forwarded-Proto: https\r\n");
    assert_string_equal(message_field(origin_request(app, 1), "X-Forwarded-Proto"), "http");
    millpond_stop(m);
}

/* An application answers http with a redirect to https, for instance. */
static void the_schemes_are_stored_apart_and_purged_together(void **state)
{
    UNUSED(state);
    struct millpond *m = start();
    struct tls_client *c = tls_client_open(secure_port(m), .name = "test");
    static const char *const purges[][2] = {{"http://test/p", NULL},
                                            {"https://test/p", NULL},
                                            {"--prefix", "https://test/"},
                                            {"--glob", "http://test/*"},
                                            {"--host", "test"}};
    expect_body(client_get(m->port, "/p", ""), "/p#1");
    for (unsigned i = 0; i < ARRAY_LEN(purges); i++) {
        const char *plain = textf("/p#%u", 2 * i + 1), *secure = textf("/p#%u", 2 * i + 2);
        expect_in(tls_client_get(c, "/p", ""), secure);
        expect_body(client_get(m->port, "/p", ""), plain);
        expect_in(tls_client_get(c, "/p", ""), secure);
        struct proc_result r = millpond_cli(m, "purge", purges[i][0], purges[i][1], NULL);
        EXPECT(r.exit_code == 0, "%s", r.err);
        if (purges[i][1] == NULL)
            expect_in(r.out, "2 stored responses");
        expect_body(client_get(m->port, "/p", ""), textf("/p#%u", 2 * i + 3));
    }
    expect_in(tls_client_get(c, "/p", ""), "/p#12");
    const char *post = "POST /p HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n";
    tls_client_send(c, post, strlen(post));
    expect_in(tls_client_read(c), " 200 ");
    expect_body(client_get(m->port, "/p", ""), "/p#14");
    expect_in(tls_client_get(c, "/p", ""), "/p#15");
    millpond_stop(m);
}

static void explain_knows_the_scheme(void **state)
{
    UNUSED(state);
    struct millpond *m = start();
    struct tls_client *c = tls_client_open(secure_port(m), .name = "test");
    expect_in(tls_client_get(c, "/p", ""), "/p#1");
    expect_in(millpond_cli(m, "explain", "https://test/p", "--json", NULL).out, "\"hit\"");
    expect_in(millpond_cli(m, "explain", "http://test/p", "--json", NULL).out, "\"miss\"");
    millpond_stop(m);
}

/* ---- protocol ---- */

static void protocols_are_agreed_on(void **state)
{
    UNUSED(state);
    struct millpond *m = start();
    const unsigned char *name;
    unsigned n;
    struct tls_client *c = tls_client_open(secure_port(m), .alpn = "http/1.1");
    EXPECT(c->ok, "%s", c->error);
    SSL_get0_alpn_selected(c->ssl, &name, &n);
    assert_int_equal(n, 8);
    c = tls_client_open(secure_port(m), .alpn = "gopher");
    assert_false(c->ok);
    expect_in(c->error, "no application protocol");
    millpond_stop(m);
}

static void sessions_go_on_at_any_worker_and_after_a_reload(void **state)
{
    UNUSED(state);
    struct millpond *m = start();
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    for (size_t v = 0; v < ARRAY_LEN(versions); v++) {
        struct tls_client *first =
            tls_client_open(secure_port(m), .name = "test", .max_version = versions[v]);
        expect_in(tls_client_get(first, "/q", ""), " 200 ");
        assert_non_null(first->session);
        for (int i = 0; i < 10; i++) { /* the kernel spreads them over the workers */
            struct tls_client *c = tls_client_open(secure_port(m), .name = "test", .max_version = versions[v],
                                                   .session = first->session);
            EXPECT(c->ok && SSL_session_reused(c->ssl) == 1, "version %x, number %d is not resumed: %s",
                   (unsigned)versions[v], i, c->error);
            expect_in(tls_client_get(c, "/q", ""), " 200 ");
        }
        assert_int_equal(millpond_cli(m, "reload", NULL).exit_code, 0);
        struct tls_client *c = tls_client_open(secure_port(m), .name = "test", .max_version = versions[v],
                                               .session = first->session);
        assert_true(c->ok && SSL_session_reused(c->ssl) == 1);
        expect_in(tls_client_get(first, "/q", ""), " 200 ");
    }
    assert_int_equal(millpond_figure(m, "tls_handshakes"), 24);
    assert_int_equal(millpond_figure(m, "tls_resumed"), 22);
    millpond_stop(m);
}

static void the_end_is_announced(void **state)
{
    UNUSED(state);
    struct millpond *m = start();
    struct tls_client *c = tls_client_open(secure_port(m), .name = "test");
    expect_in(tls_client_get(c, "/q", "Connection: close\r\n"), " 200 ");
    tls_client_drain(c);
    assert_true(c->clean_end);
    c = tls_client_open(secure_port(m), .name = "test");
    expect_in(tls_client_get(c, "/q", ""), " 200 ");
    proc_signal(m->proc, SIGTERM); /* while the connection is idle */
    tls_client_drain(c);
    assert_true(c->clean_end);
    assert_int_equal(proc_exit_code(m->proc), 0);
    millpond_expect_clean_end(m);
}

static void cut_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(request);
    UNUSED(arg);
    origin_send(c,
                "HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    origin_reset(c);
}

/* To HTTP/1.0 the end of the body is the end of the connection, which must not look like a whole one. */
static void the_end_of_what_was_cut_is_not(void **state)
{
    UNUSED(state);
    struct millpond *m = start_with(origin_start(cut_script, NULL), "", "");
    struct tls_client *c = tls_client_open(secure_port(m), .name = "test");
    const char *get = "GET /cut HTTP/1.0\r\nHost: test\r\n\r\n";
    tls_client_send(c, get, strlen(get));
    tls_client_drain(c);
    assert_false(c->clean_end);
    millpond_stop(m);
}

/* ---- bodies ---- */

#define BIG_BYTES 5000000

static char *big_body(void)
{
    char *body = text_repeat('x', BIG_BYTES);
    for (size_t i = 0; i < BIG_BYTES; i++)
        body[i] = (char)('a' + i % 23);
    return body;
}

static void echo_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(arg);
    bool stored = strncmp(request->target, "/stored", 7) == 0;
    const char *fields = stored ? "Cache-Control: max-age=600\r\n" : "Cache-Control: no-store\r\n";
    if (request->body_len > 0) {
        origin_send(c, "HTTP/1.1 200 OK\r\n%sContent-Length: %zu\r\n\r\n", fields, request->body_len);
        origin_send_bytes(c, request->body, request->body_len);
        return;
    }
    char *body = malloc(BIG_BYTES + 1);
    for (size_t i = 0; i < BIG_BYTES; i++)
        body[i] = (char)('a' + i % 23);
    origin_send(c, "HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n", fields, BIG_BYTES);
    origin_send_bytes(c, body, BIG_BYTES);
    free(body);
}

static void expect_big(const char *response, const char *body)
{
    const char *end = strstr(response, "\r\n\r\n");
    EXPECT(end != NULL, "no head: %.200s", response);
    EXPECT(strcmp(end + 4, body) == 0, "another body, of %zu bytes", strlen(end + 4));
}

static void large_bodies_pass_both_ways(void **state)
{
    UNUSED(state);
    struct millpond *m = start_with(origin_start(echo_script, NULL), "", "");
    char *body = big_body();
    struct tls_client *c = tls_client_open(secure_port(m), .name = "test");
    expect_big(tls_client_get(c, "/relayed", ""), body);
    expect_big(tls_client_get(c, "/stored", ""), body);
    expect_big(tls_client_get(c, "/stored", ""), body);
    char *head = textf("POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n", BIG_BYTES);
    assert_true(tls_client_send(c, head, strlen(head)) && tls_client_send(c, body, BIG_BYTES));
    expect_big(tls_client_read(c), body);
    assert_int_equal(origin_requests_for(app, "/stored"), 1);
    c = tls_client_open(secure_port(m), .name = "test", .max_version = TLS1_2_VERSION, .rcvbuf_bytes = 4096);
    expect_big(tls_client_get(c, "/stored", ""), body);
    millpond_stop(m);
}

/* A body of stored chunks waits sealed in part; what that takes is small, whatever is left to send. */
static void readers_that_stop_keep_little(void **state)
{
    UNUSED(state);
    enum { READERS = 40 };
    struct millpond *m =
        start_with(origin_start(echo_script, NULL), "", "min_rate = 0\nwrite_timeout = 5m\n");
    struct tls_client *c = tls_client_open(secure_port(m), .name = "test");
    char *body = big_body();
    const char *get = "GET /stored HTTP/1.1\r\nHost: test\r\n\r\n";
    struct tls_client *readers[READERS];
    expect_big(tls_client_get(c, "/stored", ""), body);
    uint64_t before = millpond_memory(m, "RssAnon");
    for (size_t i = 0; i < READERS; i++) {
        readers[i] = tls_client_open(secure_port(m), .name = "test", .rcvbuf_bytes = 4096);
        tls_client_send(readers[i], get, strlen(get));
        SSL_peek(readers[i]->ssl, &(char){0}, 1);
    }
    expect_big(tls_client_get(c, "/stored", ""), body);
    uint64_t each = (millpond_memory(m, "RssAnon") - before) / READERS;
    if (!support_sanitized())
        EXPECT(each < 128 * KB, "%zu bytes each", (size_t)each);
    expect_big(tls_client_read(readers[0]), body);
    expect_big(tls_client_read(readers[READERS - 1]), body);
    millpond_stop(m);
}

/* Most of what is left is OpenSSL's; a buffer of a record would double it. */
static void idle_connections_keep_no_buffer(void **state)
{
    UNUSED(state);
    enum { IDLE = 300, WARM = 30 };
    struct millpond *m = start();
    uint64_t before = 0;
    for (int i = 0; i < WARM + IDLE; i++) {
        struct tls_client *c = tls_client_open(secure_port(m), .name = "test");
        expect_in(tls_client_get(c, "/p", ""), "/p#1");
        if (i == WARM)
            before = millpond_memory(m, "RssAnon");
    }
    uint64_t after = millpond_memory(m, "RssAnon"), each = after > before ? (after - before) / IDLE : 0;
    if (!support_sanitized())
        EXPECT(each < 20 * KB, "%zu bytes each", (size_t)each);
    millpond_stop(m);
}

static void many_requests_in_one_piece_are_answered_in_order(void **state)
{
    UNUSED(state);
    enum { REQUESTS = 2000 };
    struct millpond *m = start();
    struct tls_client *c = tls_client_open(secure_port(m), .name = "test");
    char *all = text_repeat('x', REQUESTS * 64), *at = all;
    expect_in(tls_client_get(c, "/p", ""), "/p#1");
    for (int i = 0; i < REQUESTS; i++)
        at += sprintf(at, "GET /%s HTTP/1.1\r\nHost: test\r\n\r\n", i % 100 == 99 ? "none" : "p");
    assert_true(tls_client_send(c, all, (size_t)(at - all)));
    for (int i = 0; i < REQUESTS; i++)
        expect_in(tls_client_read(c), i % 100 == 99 ? " 404 " : "/p#1");
    millpond_stop(m);
}

/* ---- doing it wrong ---- */

static int64_t closes(struct millpond *m, const char *reason)
{
    char *name = textf("millpond_client_closes_total{reason=\"%s\"} ", reason);
    char *at = strstr(millpond_admin(m, "GET", "/metrics")->body, name);
    return at != NULL ? strtoll(at + strlen(name), NULL, 10) : 0;
}

static void plain_http_gets_a_hint(void **state)
{
    UNUSED(state);
    struct millpond *m = start();
    struct message *r = client_get(secure_port(m), "/p", "Accept: text/plain\r\n");
    expect_status(r, 400);
    expect_in(r->body, "https://");
    json_t *line = millpond_access_line(m, "\"status\":400");
    assert_string_equal(json_string_value(json_object_get(line, "scheme")), "http");
    r = client_raw(secure_port(m), "OPTIONS * HTTP/1.1\r\nHost: test\r\n\r\n");
    expect_status(r, 400);
    assert_int_equal(origin_requests(app), 0);
    millpond_stop(m);
}

static void garbage_ends_that_connection_alone(void **state)
{
    UNUSED(state);
    static const struct {
        const char *bytes;
        size_t n;
    } garbage[] = {
        {"\x00\x01\x02", 3},
        {"\r\n\r\n", 4},
        {"\x80\x2e\x01\x03\x01", 5}, /* SSL 2 */
        {"\x16\x03\x01\xff\xff", 5},
        {"\x16\x03\x01\x00\x00", 5},
        {"\x16\x03\x01\x00\x04\x01\x00\x00\x00", 9},
        {"\x15\x03\x01\x00\x02\x02\x28", 7},
        {"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00", 10},
    };
    struct millpond *m = start();
    struct tls_client *bystander = tls_client_open(secure_port(m), .name = "test");
    for (size_t i = 0; i < ARRAY_LEN(garbage); i++) {
        struct client *c = client_open(secure_port(m));
        client_send_bytes(c, garbage[i].bytes, garbage[i].n);
        client_half_close(c);
        while (wire_more(&c->wire, support_wait_ms()))
            continue;
        EXPECT(c->wire.len <= 7, "%zu bytes of answer to number %zu", c->wire.len, i);
        client_close(c);
    }
    expect_in(tls_client_get(bystander, "/q", ""), " 200 ");
    assert_int_equal(closes(m, "tls_failed"), ARRAY_LEN(garbage));
    assert_int_equal(millpond_figure(m, "tls_handshakes_in_flight"), 0);
    millpond_stop(m);
}

/* A prefix of every length, with bits turned over behind it: no reading out of bounds (with a sanitizer). */
static void damaged_hellos_are_refused(void **state)
{
    UNUSED(state);
    unsigned char hello[2000], damaged[2000];
    size_t n = tls_hello(hello, sizeof hello);
    struct millpond *m = start();
    for (size_t i = 0; i < n; i += 3) {
        struct client *c = client_open(secure_port(m));
        memcpy(damaged, hello, n);
        damaged[i] ^= 0xff;
        client_send_bytes(c, damaged, i % 2 == 0 ? n : i + 1);
        client_half_close(c);
        while (wire_more(&c->wire, support_wait_ms()))
            continue;
        client_close(c);
    }
    struct tls_client *c = tls_client_open(secure_port(m), .name = "test");
    expect_in(tls_client_get(c, "/q", ""), " 200 ");
    millpond_stop(m);
}

static void a_slow_hello_is_served(void **state)
{
    UNUSED(state);
    unsigned char hello[2000];
    size_t n = tls_hello(hello, sizeof hello);
    struct millpond *m = start();
    struct client *c = client_open(secure_port(m));
    for (size_t i = 0; i < n; i++)
        assert_true(client_send_bytes(c, hello + i, 1));
    client_wait_bytes(c, 100); /* the server's side of the handshake */
    assert_int_equal(c->wire.buf[0], 0x16);
    millpond_stop(m);
}

static void an_unfinished_handshake_has_its_time(void **state)
{
    UNUSED(state);
    unsigned char hello[2000];
    size_t n = tls_hello(hello, sizeof hello);
    struct millpond *m = start_with(origin_start(pages_script, pages), "", "header_timeout = 300ms\n");
    struct client *half = client_open(secure_port(m)), *whole = client_open(secure_port(m));
    client_send_bytes(half, hello, n / 2);
    client_send_bytes(whole, hello, n);
    client_expect_closed(half);
    client_wait_bytes(whole, 100);
    while (wire_more(&whole->wire, support_wait_ms()))
        continue;
    assert_true(whole->wire.closed || whole->wire.reset);
    assert_int_equal(closes(m, "tls_timeout"), 2);
    millpond_stop(m);
}

/* In the clear nobody would understand it. */
static void one_too_many_is_closed_without_an_answer(void **state)
{
    UNUSED(state);
    unsigned char hello[2000];
    size_t n = tls_hello(hello, sizeof hello);
    struct millpond *m = start_with(origin_start(pages_script, pages), "max_connections = 1", "");
    struct tls_client *only = tls_client_open(secure_port(m), .name = "test");
    expect_in(tls_client_get(only, "/p", ""), "/p#1");
    struct client *more = client_open(secure_port(m));
    client_send_bytes(more, hello, n);
    while (wire_more(&more->wire, support_wait_ms()))
        continue;
    assert_int_equal(more->wire.received_bytes, 0);
    expect_status(client_get(m->port, "/p", ""), 503);
    expect_in(tls_client_get(only, "/p", ""), "/p#1");
    assert_int_equal(millpond_figure(m, "client_connections_refused"), 2);
    millpond_stop(m);
}

/* Half handshakes have a quarter of the connections. */
/* Records without data are no request. */
static void key_updates_keep_no_connection(void **state)
{
    UNUSED(state);
    struct millpond *m = start_with(origin_start(pages_script, pages), "", "idle_timeout = 300ms\n");
    struct tls_client *c = tls_client_open(secure_port(m), .name = "test");
    expect_in(tls_client_get(c, "/p", ""), "/p#1");
    for (int i = 0; i < 200 && closes(m, "idle_timeout") == 0; i++) {
        struct pollfd p = {.fd = c->fd, .events = POLLIN};
        SSL_key_update(c->ssl, SSL_KEY_UPDATE_NOT_REQUESTED);
        SSL_do_handshake(c->ssl);
        poll(&p, 1, 50);
    }
    assert_int_equal(closes(m, "idle_timeout"), 1);
    millpond_stop(m);
}

static void a_flood_of_half_handshakes_stops_nobody(void **state)
{
    UNUSED(state);
    enum { MOST = 400, FLOOD = 350 };
    unsigned char hello[2000];
    size_t n = tls_hello(hello, sizeof hello);
    struct millpond *m =
        start_with(origin_start(pages_script, pages), textf("max_connections = %d", MOST), "");
    struct tls_client *bystander = tls_client_open(secure_port(m), .name = "test");
    expect_in(tls_client_get(bystander, "/p", ""), "/p#1");
    for (int i = 0; i < FLOOD; i++) {
        client_send_bytes(client_open(secure_port(m)), hello, i % 2 == 0 ? n : n / 2);
        if (i % 50 == 0)
            expect_in(tls_client_get(bystander, "/p", ""), "/p#1");
    }
    millpond_wait_figure(m, "client_connections_accepted", FLOOD + 1);
    assert_true(millpond_figure(m, "tls_handshakes_in_flight") <= MOST / 4);
    assert_true(millpond_figure(m, "tls_handshakes_in_flight") > MOST / 16);
    assert_true(closes(m, "tls_crowded") >= FLOOD - MOST / 4);
    struct tls_client *late = tls_client_open(secure_port(m), .name = "test");
    EXPECT(late->ok, "%s", late->error);
    expect_in(tls_client_get(late, "/p", ""), "/p#1");
    expect_in(tls_client_get(bystander, "/p", ""), "/p#1");
    assert_int_equal(millpond_figure(m, "client_connections_refused"), 0);
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(curl_is_served_by_every_version),
        E2E_TEST(the_application_is_told_the_scheme),
        E2E_TEST(the_schemes_are_stored_apart_and_purged_together),
        E2E_TEST(explain_knows_the_scheme),
        E2E_TEST(protocols_are_agreed_on),
        E2E_TEST(sessions_go_on_at_any_worker_and_after_a_reload),
        E2E_TEST(the_end_is_announced),
        E2E_TEST(the_end_of_what_was_cut_is_not),
        E2E_TEST(large_bodies_pass_both_ways),
        E2E_TEST(readers_that_stop_keep_little),
        E2E_TEST(idle_connections_keep_no_buffer),
        E2E_TEST(many_requests_in_one_piece_are_answered_in_order),
        E2E_TEST(plain_http_gets_a_hint),
        E2E_TEST(garbage_ends_that_connection_alone),
        E2E_TEST(damaged_hellos_are_refused),
        E2E_TEST(a_slow_hello_is_served),
        E2E_TEST(an_unfinished_handshake_has_its_time),
        E2E_TEST(one_too_many_is_closed_without_an_answer),
        E2E_TEST(key_updates_keep_no_connection),
        E2E_TEST(a_flood_of_half_handshakes_stops_nobody),
    };
    return E2E_RUN("tls", tests);
}
