/* resets.c: connections that break right behind their last bytes. Both then come in one event, which the
 * event library tells as bytes and room: whoever reads the bytes and waits for another event waits for ever.
 * So that it is one event, the program stands still meanwhile. Nobody's timeout is near. */
#include <fcntl.h>
#include <openssl/err.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "core/net.h"
#include "tests/support/h2.h"
#include "tests/support/millpond.h"
#include "tests/support/tls.h"

#define PATIENT "header_timeout = 1h\nbody_timeout = 1h\nidle_timeout = 1h\nmin_rate = 0\n"

static struct gate *gate;
static struct origin *app;

static void held(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(arg);
    if (strcmp(request->target, "/held") == 0)
        gate_pass(gate);
    if (strcmp(request->target, "/left") == 0) {
        gate_pass(gate);
        origin_close(c);
        return;
    }
    origin_respond(c, 200, "Cache-Control: no-store\r\n", "app");
}

static struct millpond *start(const char *listen, const char *listeners)
{
    gate = gate_new();
    app = origin_start(held, NULL);
    return millpond_start(.main = "workers = 1\ntrusted_proxies = 127.0.0.1\n",
                          .listen = textf(PATIENT "%s", listen),
                          .rest = textf("%sresponse_timeout = 1h\n%s", pool_lines("app", 1, app), listeners));
}

static void stand_still(struct millpond *m)
{
    siginfo_t info;
    proc_signal(m->proc, SIGSTOP);
    if (waitid(P_PID, (id_t)m->proc->pid, &info, WSTOPPED | WNOWAIT) != 0)
        support_fail("waitid: %s", strerror(errno));
}

static void go_on_without_it(struct millpond *m)
{
    proc_signal(m->proc, SIGCONT);
    millpond_wait_figure(m, "client_connections", 0);
}

static void send_and_break(struct millpond *m, struct client *c, const char *bytes, size_t n)
{
    stand_still(m);
    assert_true(client_send_bytes(c, bytes, n));
    client_reset(c);
    go_on_without_it(m);
}

/* Of this port's connections that have ended, how many the kernel keeps for a minute (TIME_WAIT) at the side
 * that connected. */
static unsigned kept_ports(int port)
{
    FILE *f = fopen("/proc/net/tcp", "re");
    char line[512];
    unsigned peer, state, n = 0;
    assert_non_null(f);
    while (fgets(line, sizeof line, f) != NULL)
        n += sscanf(line, "%*s %*s %*x:%x %x", &peer, &state) == 2 && peer == (unsigned)port && state == 6;
    fclose(f);
    return n;
}

/* Else a flood of clients that leave takes all ports that lead to an instance. */
static void requests_that_are_abandoned_keep_no_port(void **state)
{
    UNUSED(state);
    struct millpond *m = start("", "");
    const unsigned before = kept_ports(origin_port(app)); /* of whoever had this port a moment ago */
    for (unsigned i = 1; i <= 5; i++) {
        struct client *c = client_open(m->port);
        client_send(c, "GET /left HTTP/1.1\r\nHost: test\r\n\r\n");
        origin_wait_requests(app, i);
        client_reset(c);
        millpond_wait_figure(m, "client_connections", 0);
    }
    gate_open(gate);
    origin_wait_open(app, 0);
    assert_true(kept_ports(origin_port(app)) <= before);
    millpond_stop(m);
    origin_stop(app);
}

static void clients_in_the_middle_of_a_request(void **state)
{
    UNUSED(state);
    static const char *const rows[] = {
        "GET / HT",
        "POST /body HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\nbegin",
        "POST /body HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n",
        "GET /held HTTP/1.1\r\nHost: test\r\n\r\n",
        "GET /held HTTP/1.1\r\nHost: test\r\n\r\nGET /next HT",
        "POST /held HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nwhole",
    };
    struct millpond *m = start("", "");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct client *c = client_open(m->port);
        client_send(c, "GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        expect_body(client_read(c), "app");
        send_and_break(m, c, rows[i], strlen(rows[i]));
    }
    gate_open(gate);
    millpond_stop(m);
    origin_stop(app);
}

static void clients_whose_answer_is_awaited(void **state)
{
    UNUSED(state);
    struct millpond *m = start("", "");
    struct client *c = client_open(m->port);
    client_send(c, "GET /held HTTP/1.1\r\nHost: test\r\n\r\n");
    millpond_wait_figure(m, "fetches_in_flight", 1);
    send_and_break(m, c, "GET /next", 9);
    assert_string_equal(json_string_value(json_object_get(millpond_access_line(m, "/held"), "close")),
                        "client_aborted");
    gate_open(gate);
    millpond_stop(m);
    origin_stop(app);
}

static void clients_that_have_not_come_to_http(void **state)
{
    UNUSED(state);
    struct tls_cert *cert = tls_cert_make("site");
    struct millpond *m = start("", textf("[listen tls]\naddress = 127.0.0.1:0\n" PATIENT "%s"
                                         "[listen proxied]\naddress = 127.0.0.1:0\nproxy_protocol = "
                                         "required\n" PATIENT,
                                         tls_cert_lines(cert)));
    unsigned char hello[1024];
    const size_t n = tls_hello(hello, sizeof hello);
    struct client *c = client_open(millpond_port(m, "tls"));
    send_and_break(m, c, (char *)hello, n / 2);
    c = client_open(millpond_port(m, "proxied"));
    send_and_break(m, c, "PROXY TCP4", 10);
    c = client_open(millpond_port(m, "tls"));
    struct tls_client *t = tls_client_open(millpond_port(m, "tls"), .over = c);
    assert_true(t->ok);
    millpond_wait_figure(m, "tls_handshakes", 1);
    tls_client_close(t);                                 /* its own descriptor */
    send_and_break(m, c, "\x17\x03\x03\x00\x80part", 9); /* of a record */
    millpond_stop(m);
}

static void clients_of_http2(void **state)
{
    UNUSED(state);
    struct millpond *m = start("protocols = h2c, http/1.1\n", "");
    for (unsigned i = 0; i < 2; i++) {
        struct h2_client *c = h2_open(m->port);
        if (i == 1) {
            h2_get(c, 1, "/held");
            millpond_wait_figure(m, "fetches_in_flight", 1);
        }
        h2_sync(c);
        stand_still(m);
        h2_window_update(c, 0, 1000); /* is not answered */
        net_reset_on_close(c->wire.fd);
        h2_close(c);
        go_on_without_it(m);
    }
    gate_open(gate);
    millpond_stop(m);
    origin_stop(app);
}

/* ---- instances with TLS ---- */

struct tls_instance {
    int listener, port, fd;
    SSL_CTX *context;
    SSL *ssl;
};

static int choose_first(SSL *ssl, const unsigned char **out, unsigned char *n, const unsigned char *in,
                        unsigned in_bytes, void *arg)
{
    UNUSED(ssl);
    UNUSED(in_bytes);
    UNUSED(arg);
    *out = in + 1;
    *n = in[0];
    return SSL_TLSEXT_ERR_OK;
}

static struct tls_instance instance_listen(const struct tls_cert *cert)
{
    struct tls_instance t = {.fd = -1, .context = SSL_CTX_new(TLS_server_method())};
    struct net_addr a;
    assert_true(net_addr_parse(SLICE_LIT("127.0.0.1:0"), &a));
    t.listener = net_listen(&a, 8, false);
    assert_true(t.listener >= 0 && net_local_addr(t.listener, &a));
    t.port = net_addr_port(&a);
    fcntl(t.listener, F_SETFL, 0);
    SSL_CTX_set_num_tickets(t.context, 0);
    SSL_CTX_set_alpn_select_cb(t.context, choose_first, NULL);
    assert_int_equal(SSL_CTX_use_certificate_chain_file(t.context, cert->file), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey_file(t.context, cert->key_file, SSL_FILETYPE_PEM), 1);
    return t;
}

static void instance_read_until(struct tls_instance *t, const char *what, size_t n)
{
    char in[4096];
    size_t used = 0;
    do {
        const int got = SSL_read(t->ssl, in + used, (int)(sizeof in - used));
        EXPECT(got > 0, "it does not come");
        used += (size_t)got;
    } while (memmem(in, used, what, n) == NULL);
}

static void instance_accept(struct tls_instance *t)
{
    t->fd = accept(t->listener, NULL, NULL);
    t->ssl = SSL_new(t->context);
    SSL_set_fd(t->ssl, t->fd);
    assert_int_equal(SSL_accept(t->ssl), 1);
}

static void instance_settles(struct tls_instance *t)
{
    static const char settings[] = "\0\0\0\4\0\0\0\0\0", acknowledged[] = "\0\0\0\4\1\0\0\0\0";
    assert_int_equal(SSL_write(t->ssl, settings, sizeof settings - 1), sizeof settings - 1);
    instance_read_until(t, acknowledged, sizeof acknowledged - 1);
}

static void instance_answer_and_break(struct tls_instance *t, struct millpond *m, const void *bytes, size_t n)
{
    stand_still(m);
    assert_int_equal(SSL_write(t->ssl, bytes, (int)n), (int)n);
    SSL_free(t->ssl);
    net_reset_on_close(t->fd);
    close(t->fd);
    proc_signal(m->proc, SIGCONT);
}

static void instances_with_tls(void **state)
{
    UNUSED(state);
    static const struct {
        const char *protocol, *request;
        bool settles;
        const char *answer;
        size_t bytes;
    } rows[] = {
        {"http/1.1", "\r\n\r\n", false, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegin", 46},
        {"http/1.1", "\r\n\r\n", false, "HTTP/1.1 103 Early Hints\r\n\r\n", 28},
        /* A request's HEADERS begin with :method GET, :scheme https. Of the answer: HEADERS with :status 200,
         * DATA; or an acknowledgement alone. */
        {"h2", "\x82\x87", true, "\0\0\0\4\1\0\0\0\0", 9},
        {"h2", "\x82\x87", true, "\0\0\1\1\4\0\0\0\1\x88\0\0\5\0\0\0\0\0\1begin", 24},
    };
    const struct tls_cert *cert = tls_cert_make("app");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct tls_instance t = instance_listen(cert);
        struct millpond *m =
            millpond_start(.main = "workers = 1\n",
                           .rest = textf(
                               "[pool app]\nserver = 127.0.0.1:%d\ntls = yes\ntls_verify = no\nretries = 0\n"
                               "health_check = off\nresponse_timeout = 1h\nprotocol = %s\n",
                               t.port, rows[i].protocol));
        struct client *c = client_open(m->port);
        client_send(c, "GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        instance_accept(&t);
        instance_read_until(&t, rows[i].request, strlen(rows[i].request));
        if (rows[i].settles)
            instance_settles(&t);
        instance_answer_and_break(&t, m, rows[i].answer, rows[i].bytes);
        const struct message *r = client_read(c);
        if (r->status == 103)
            r = client_read(c);
        EXPECT(r->end != MESSAGE_TIMEOUT && (r->end != MESSAGE_COMPLETE || r->status == 502), "%zu: %s", i,
               message_end_name(r->end));
        millpond_wait_figure(m, "upstream_connections", 0);
        millpond_stop(m);
        close(t.listener);
        SSL_CTX_free(t.context);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(clients_in_the_middle_of_a_request),
        E2E_TEST(requests_that_are_abandoned_keep_no_port),
        E2E_TEST(clients_whose_answer_is_awaited),
        E2E_TEST(clients_that_have_not_come_to_http),
        E2E_TEST(clients_of_http2),
        E2E_TEST(instances_with_tls),
    };
    return E2E_RUN("resets", tests);
}
