/* proxy_protocol.c: clients behind a proxy that says by a PROXY header whose connection it is: by HAProxy and
 * curl, and byte by byte; everything that is then done by the client's address; and headers that are missing,
 * wrong, late, or of someone who may not send any. */
#include "core/slice.h"
#include "tests/support/app.h"
#include "tests/support/millpond.h"
#include "tests/support/pages.h"
#include "tests/support/tls.h"

#define SIG   "\r\n\r\n\0\r\nQUIT\n"
#define V1    "PROXY TCP4 198.51.100.7 10.0.0.1 12345 80\r\n"
#define V2    SIG "\x21\x11\0\x0c\xc6\x33\x64\x07\x0a\0\0\x01\x30\x39\0\x50"
#define LOCAL SIG "\x20\0\0\0"

static struct page pages[] = {{.path = "/p", .fields = "Cache-Control: max-age=600\r\n"},
                              {.path = "/q", .fields = "Cache-Control: no-store\r\n"},
                              {0}};
static struct origin *app;

/* Listeners "proxied", with these lines, and "sock" beside the plain one. */
static char *listeners(const char *lines, const char *rest)
{
    return textf("%s[listen proxied]\naddress = 127.0.0.1:0\nproxy_protocol = required\n%s\n"
                 "[listen sock]\naddress = unix:%s\nproxy_protocol = required\n%s",
                 pool_lines("app", 1, app), lines, support_path("p.sock"), rest);
}

/* One worker, so that an answer on one connection says that what was sent before on another has been seen. */
static struct millpond *start_with(const char *main_lines, const char *lines, const char *rest)
{
    pages[0].served = pages[1].served = 0;
    app = origin_start(pages_script, pages);
    return millpond_start(.main = textf("workers = 1\n%s", main_lines), .rest = listeners(lines, rest));
}

static struct millpond *start(void)
{
    return start_with("trusted_proxies = 127.0.0.0/8, unix", "", "");
}

static void reload_with(struct millpond *m, const char *lines)
{
    millpond_write_ini(m, .main = "workers = 1\ntrusted_proxies = 127.0.0.0/8, unix",
                       .rest = listeners(lines, ""));
    assert_int_equal(millpond_cli(m, "reload", NULL).exit_code, 0);
}

static int port_of(struct millpond *m)
{
    return millpond_port(m, "proxied");
}

static int64_t closes(struct millpond *m, const char *reason)
{
    const char *page = millpond_admin(m, "GET", "/metrics")->body;
    char *name = textf("millpond_client_closes_total{reason=\"%s\"} ", reason);
    const char *at = strstr(page, name);
    return at != NULL ? atoll(at + strlen(name)) : -1;
}

/* A client may see the end of its connection before that is counted. */
static void wait_closes(struct millpond *m, const char *reason, int64_t count)
{
    const mono_ms_t deadline = clock_mono_ms() + support_wait_ms();
    while (closes(m, reason) != count)
        EXPECT(clock_mono_ms() < deadline, "%s: %lld", reason, (long long)closes(m, reason));
}

static struct client *open_with(struct millpond *m, slice_t header)
{
    struct client *c = client_open(port_of(m));
    client_send_bytes(c, header.ptr, header.len);
    return c;
}

static struct message *ask_on(struct client *c, const char *method, const char *fields)
{
    client_send(c, "%s /q HTTP/1.1\r\nHost: test\r\n%s\r\n", method, fields);
    return client_read(c);
}

static struct message *ask(struct millpond *m, slice_t header, const char *fields)
{
    return ask_on(open_with(m, header), "GET", fields);
}

/* What the latest request was for the application. */
static void expect_told(const char *name, const char *value)
{
    const struct message *r = origin_request(app, origin_requests(app) - 1);
    const char *got = message_field(r, name);
    EXPECT(got != NULL && strcmp(got, value) == 0, "%s is %s, not %s", name, got, value);
}

/* Everything sent before this has been seen by the worker. */
static void round_trip(struct millpond *m)
{
    expect_status(client_get(m->port, "/p", ""), 200);
}

/* ---- real senders ---- */

static struct proc_result curl(const char *from, int port, const char *option)
{
    const char *argv[] = {"curl", "-sS", "--interface", from, textf("http://127.0.0.1:%d/q", port),
                          option, NULL};
    struct proc_result r = proc_run(argv);
    EXPECT(r.exit_code == 0, "curl: %s", r.err);
    return r;
}

static void haproxy_says_who_came(void **state)
{
    UNUSED(state);
    static const char *const options[] = {
        "send-proxy",
        "send-proxy-v2",
        "send-proxy-v2 proxy-v2-options crc32c,unique-id",
        "send-proxy-v2-ssl-cn",
        "send-proxy-v2 check check-send-proxy inter 50",
    };
    struct millpond *m = start();
    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        struct app tcp = app_haproxy("", textf("127.0.0.1:%d %s", port_of(m), options[i]), "mode tcp");
        struct app local =
            app_haproxy("", textf("unix@%s %s", support_path("p.sock"), options[i]), "mode tcp");
        expect_in(curl(textf("127.0.1.%zu", i + 1), tcp.port, NULL).out, "/q#");
        expect_told("X-Forwarded-For", textf("127.0.1.%zu", i + 1));
        expect_in(curl(textf("127.0.2.%zu", i + 1), local.port, NULL).out, "/q#");
        expect_told("X-Forwarded-For", textf("127.0.2.%zu", i + 1));
        proc_kill(tcp.proc);
        proc_kill(local.proc);
    }
    assert_int_equal(closes(m, "proxy_header"), 0);
    millpond_stop(m);
}

/* Its probes are its own, whoever its clients are: LOCAL. */
static void haproxy_checks_are_answered(void **state)
{
    UNUSED(state);
    struct millpond *m = start();
    struct app ha = app_haproxy(
        "", textf("127.0.0.1:%d send-proxy-v2 check check-send-proxy inter 20 source 127.0.3.1", port_of(m)),
        "mode http\n option httpchk GET /q\n");
    origin_wait_requests(app, 2);
    expect_told("X-Forwarded-For", "127.0.3.1");
    proc_kill(ha.proc);
    millpond_stop(m);
}

static void curl_says_who_came(void **state)
{
    UNUSED(state);
    struct millpond *m = start();
    expect_in(curl("127.0.4.1", port_of(m), "--haproxy-protocol").out, "/q#1");
    expect_told("X-Forwarded-For", "127.0.4.1");
    millpond_stop(m);
}

/* ---- byte by byte ---- */

static const slice_t headers[] = {
    SLICE_LIT(V1),
    SLICE_LIT(V2),
    SLICE_LIT(SIG "\x21\x11\0\x12\xc6\x33\x64\x07\x0a\0\0\x01\x30\x39\0\x50\xea\0\3abc"),
};

static void it_may_come_in_pieces(void **state)
{
    UNUSED(state);
    struct millpond *m = start();
    for (size_t i = 0; i < ARRAY_LEN(headers); i++) {
        for (size_t n = 1; n <= headers[i].len; n++) {
            bool local = n % 2 == 0; /* half of them over the unix socket */
            struct client *c = local ? client_open_unix(support_path("p.sock")) : client_open(port_of(m));
            client_send_bytes(c, headers[i].ptr, n);
            round_trip(m);
            client_send_bytes(c, headers[i].ptr + n, headers[i].len - n);
            expect_status(ask_on(c, "GET", ""), 200);
            expect_told("X-Forwarded-For", "198.51.100.7");
            expect_status(ask_on(c, "GET", ""), 200); /* it is said once per connection */
            expect_told("X-Forwarded-For", "198.51.100.7");
            client_close(c);
        }
    }
    millpond_stop(m);
}

static void it_may_come_with_the_request_and_the_end(void **state)
{
    UNUSED(state);
    struct millpond *m = start();
    round_trip(m);
    for (size_t i = 0; i < ARRAY_LEN(headers); i++) {
        struct client *c = client_open(port_of(m));
        char all[256];
        static const char request[] =
            "GET /p HTTP/1.1\r\nHost: test\r\n\r\nGET /p HTTP/1.1\r\nHost: test\r\n\r\n";
        memcpy(all, headers[i].ptr, headers[i].len);
        memcpy(all + headers[i].len, request, sizeof request - 1);
        client_send_bytes(c, all, headers[i].len + sizeof request - 1);
        client_half_close(c);
        expect_status(client_read(c), 200);
        expect_status(client_read(c), 200);
        client_expect_closed(c);
    }
    millpond_stop(m);
}

static void what_ends_in_the_middle_is_no_request(void **state)
{
    UNUSED(state);
    struct millpond *m = start();
    unsigned cuts = 0;
    for (size_t i = 0; i < ARRAY_LEN(headers); i++) {
        for (size_t n = 1; n < headers[i].len; n++, cuts++) {
            struct client *c = open_with(m, slice_make(headers[i].ptr, n));
            client_half_close(c);
            client_expect_closed(c);
        }
    }
    wait_closes(m, "proxy_header", cuts);
    struct client *c = client_open(port_of(m)); /* without a word: a look whether somebody listens */
    client_half_close(c);
    client_expect_closed(c);
    assert_int_equal(closes(m, "proxy_header"), cuts);
    assert_int_equal(origin_requests(app), 0);
    millpond_wait_idle(m);
    millpond_stop(m);
}

static void what_is_none_is_closed_unanswered(void **state)
{
    UNUSED(state);
    static const slice_t bad[] = {
        SLICE_LIT("GET /q HTTP/1.1\r\nHost: test\r\n\r\n"),
        SLICE_LIT("\r\n" V1),
        SLICE_LIT("PROXY TCP4 198.51.100.7 10.0.0.1 12345 80\n"),
        SLICE_LIT("PROXY TCP4 198.51.100.7 10.0.0.1 99999 80\r\n"),
        SLICE_LIT("PROXY TCP4 x.example 10.0.0.1 1 80\r\n"),
        SLICE_LIT(SIG "\x31\x11\0\x0c\xc6\x33\x64\x07\x0a\0\0\x01\x30\x39\0\x50"),
        SLICE_LIT(SIG "\x21\x11\xff\xff\xc6\x33\x64\x07\x0a\0\0\x01\x30\x39\0\x50"),
        SLICE_LIT(SIG "\x21\x11\0\x0f\xc6\x33\x64\x07\x0a\0\0\x01\x30\x39\0\x50\xea\0\1"),
        SLICE_LIT("\x16\x03\x01\x00\x05"),
        SLICE_LIT("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    };
    struct millpond *m = start();
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct client *c = open_with(m, bad[i]);
        while (wire_more(&c->wire, support_wait_ms()))
            continue;
        EXPECT(c->wire.received_bytes == 0, "number %zu was answered", i);
        client_close(c);
    }
    assert_int_equal(closes(m, "proxy_header"), ARRAY_LEN(bad));
    assert_int_equal(origin_requests(app), 0);
    millpond_wait_log(m, "[listen proxied]: connection of 127.0.0.1 closed: PROXY header: there is none", 1);
    expect_status(ask(m, SLICE_LIT(V1 V1), ""), 400); /* a second one is HTTP, and none */
    expect_status(ask(m, SLICE_LIT(V1), ""), 200);
    expect_status(client_raw(m->port, V1), 400); /* where none is awaited */
    millpond_stop(m);
}

static void what_is_late_is_closed(void **state)
{
    UNUSED(state);
    struct millpond *m = start_with("trusted_proxies = 127.0.0.1", "header_timeout = 200ms", "");
    struct client *half = open_with(m, slice_make(V2, 20));
    client_expect_closed(half);
    assert_int_equal(closes(m, "proxy_timeout"), 1);
    struct client *header_only = open_with(m, SLICE_LIT(V2));
    client_expect_closed(header_only);
    assert_int_equal(closes(m, "proxy_timeout"), 1);
    millpond_stop(m);
}

/* ---- whom to believe, and about what ---- */

static void others_are_turned_away(void **state)
{
    UNUSED(state);
    struct millpond *m = start_with("trusted_proxies = 192.0.2.0/24", "", "");
    for (size_t i = 0; i < ARRAY_LEN(headers); i++) {
        struct client *c = open_with(m, headers[i]);
        while (wire_more(&c->wire, support_wait_ms()))
            continue;
        assert_int_equal(c->wire.received_bytes, 0);
    }
    struct client *local = client_open_unix(support_path("p.sock"));
    client_expect_closed(local);
    assert_int_equal(closes(m, "proxy_untrusted"), ARRAY_LEN(headers) + 1);
    millpond_wait_log(
        m, "connection of 127.0.0.1 closed: PROXY header: its address is not in trusted_proxies", 1);
    millpond_wait_log(m, "connection of unix closed", 1);
    expect_status(client_get(m->port, "/q", ""), 200);
    millpond_stop(m);
}

static void the_address_is_the_clients(void **state)
{
    UNUSED(state);
    static const struct {
        slice_t header;
        const char *ip, *forwarded;
    } rows[] = {
        {SLICE_LIT(V1), "198.51.100.7", "for=198.51.100.7;proto=http;host=\"test\""},
        {SLICE_LIT(V2), "198.51.100.7", "for=198.51.100.7;proto=http;host=\"test\""},
        {SLICE_LIT("PROXY TCP6 2001:db8::7 ::1 1 2\r\n"), "2001:db8::7",
         "for=\"[2001:db8::7]\";proto=http;host=\"test\""},
        {SLICE_LIT("PROXY TCP6 ::ffff:203.0.113.9 ::1 1 2\r\n"), "203.0.113.9",
         "for=203.0.113.9;proto=http;host=\"test\""},
        {SLICE_LIT("PROXY UNKNOWN\r\n"), "127.0.0.1", "for=127.0.0.1;proto=http;host=\"test\""},
        {SLICE_LIT(LOCAL), "127.0.0.1", "for=127.0.0.1;proto=http;host=\"test\""},
    };
    struct millpond *m = start();
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        /* nobody knows who wrote these, so they are not believed */
        struct message *r = ask(m, rows[i].header,
                                textf("X-Id: %zu\r\nX-Forwarded-For: 9.9.9.9\r\nForwarded: for=9.9.9.9\r\n"
                                      "X-Forwarded-Proto: https\r\n",
                                      i));
        expect_status(r, 200);
        expect_told("X-Forwarded-For", rows[i].ip);
        expect_told("Forwarded", rows[i].forwarded);
        expect_told("X-Forwarded-Proto", "http");
        unsigned times = i == 1 || i == 5 ? 2 : 1;
        millpond_wait_access(m, textf("\"client\":\"%s\"", rows[i].ip), times);
    }
    millpond_stop(m);
}

/* A proxy in front of the one that sends the header. */
static void a_trusted_address_in_it_is_believed_further(void **state)
{
    UNUSED(state);
    struct millpond *m = start_with("trusted_proxies = 127.0.0.1, 198.51.100.0/24", "", "");
    expect_status(ask(m, SLICE_LIT(V1), "X-Forwarded-For: 203.0.113.5\r\nX-Forwarded-Proto: https\r\n"), 200);
    expect_told("X-Forwarded-For", "203.0.113.5, 198.51.100.7");
    expect_told("X-Forwarded-Proto", "https");
    millpond_access_line(m, "\"client\":\"203.0.113.5\"");
    millpond_stop(m);
}

static void rights_and_limits_go_by_it(void **state)
{
    UNUSED(state);
    struct millpond *m = start_with("trusted_proxies = 127.0.0.1", "max_connections_per_ip = 2",
                                    "[cache]\npurge_from = 127.0.0.1, 203.0.113.5\n"
                                    "[route inside]\nheader = X-Inside\nallow = 198.51.100.0/24\n"
                                    "[route limited]\nrate_limit = 1/h burst=1\n");
    const slice_t other = SLICE_LIT("PROXY TCP4 203.0.113.5 10.0.0.1 1 80\r\n");
    expect_status(ask(m, SLICE_LIT(V1), "X-Inside: 1\r\n"), 200);
    expect_status(ask(m, other, "X-Inside: 1\r\n"), 403);
    expect_status(ask(m, SLICE_LIT(LOCAL), "X-Inside: 1\r\n"), 403);
    client_close_all();
    millpond_wait_idle(m);
    expect_status(ask(m, SLICE_LIT(V1), ""), 200);
    expect_status(ask(m, SLICE_LIT(V2), ""), 429); /* the same client */
    expect_status(ask(m, other, ""), 200);
    struct client *third = open_with(m, SLICE_LIT(V1));
    expect_status(client_read(third), 503);
    client_expect_closed(third);
    wait_closes(m, "max_per_ip", 1);
    assert_int_equal(millpond_figure(m, "client_connections_refused"), 1);
    expect_status(ask_on(open_with(m, other), "PURGE", ""), 200);
    client_close_all();
    millpond_wait_idle(m);
    expect_status(ask_on(open_with(m, SLICE_LIT(V1)), "PURGE", ""), 403); /* and counted anew */
    millpond_stop(m);
}

/* ---- before TLS ---- */

static void it_stands_before_tls(void **state)
{
    UNUSED(state);
    struct tls_cert *cert = tls_cert_make("cert");
    struct millpond *m = start_with("trusted_proxies = 127.0.0.0/8", tls_cert_lines(cert), "");
    for (size_t i = 0; i < ARRAY_LEN(headers); i++) {
        struct tls_client *c =
            tls_client_open(port_of(m), .preface = headers[i].ptr, .preface_bytes = headers[i].len);
        EXPECT(c->ok, "%s", c->error);
        expect_in(tls_client_get(c, "/q", ""), " 200 ");
        expect_told("X-Forwarded-For", "198.51.100.7");
        expect_told("X-Forwarded-Proto", "https");
        tls_client_close(c);
    }
    struct tls_client *without = tls_client_open(port_of(m), .name = "test");
    assert_false(without->ok);
    assert_int_equal(closes(m, "proxy_header"), 1);
    struct app ha = app_haproxy("", textf("127.0.0.1:%d send-proxy-v2", port_of(m)), "mode tcp");
    struct tls_client *c = tls_client_open(ha.port, .name = "test");
    EXPECT(c->ok, "%s", c->error);
    expect_in(tls_client_get(c, "/q", ""), " 200 ");
    millpond_stop(m);
}

/* While somebody's header is awaited; he is asked for TLS as who comes later. */
static void a_reload_switches_tls_on(void **state)
{
    UNUSED(state);
    struct millpond *m = start();
    struct client *c = open_with(m, slice_make(V1, 10));
    round_trip(m);
    reload_with(m, tls_cert_lines(tls_cert_make("cert")));
    struct tls_client *t =
        tls_client_open(0, .over = c, .preface = &V1[10], .preface_bytes = strlen(V1) - 10);
    EXPECT(t->ok, "%s", t->error);
    expect_in(tls_client_get(t, "/q", ""), " 200 ");
    expect_told("X-Forwarded-For", "198.51.100.7");
    millpond_stop(m);
}

/* ---- reload and stop ---- */

static void who_waits_for_it_does_not_hold_up_the_end(void **state)
{
    UNUSED(state);
    struct millpond *m = start();
    open_with(m, slice_make(V2, 20));
    struct client *late = open_with(m, slice_make(V1, 20));
    round_trip(m);
    client_send(late, "%s", V1 + 20);
    expect_status(ask_on(late, "GET", ""), 200);
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(haproxy_says_who_came),
        E2E_TEST(haproxy_checks_are_answered),
        E2E_TEST(curl_says_who_came),
        E2E_TEST(it_may_come_in_pieces),
        E2E_TEST(it_may_come_with_the_request_and_the_end),
        E2E_TEST(what_ends_in_the_middle_is_no_request),
        E2E_TEST(what_is_none_is_closed_unanswered),
        E2E_TEST(what_is_late_is_closed),
        E2E_TEST(others_are_turned_away),
        E2E_TEST(the_address_is_the_clients),
        E2E_TEST(a_trusted_address_in_it_is_believed_further),
        E2E_TEST(rights_and_limits_go_by_it),
        E2E_TEST(it_stands_before_tls),
        E2E_TEST(a_reload_switches_tls_on),
        E2E_TEST(who_waits_for_it_does_not_hold_up_the_end),
    };
    return E2E_RUN("proxy_protocol", tests);
}
