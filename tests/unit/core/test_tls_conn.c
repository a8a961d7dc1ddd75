/* test_tls_conn.c: one connection against OpenSSL's own client, both ends in this thread, over a socketpair.
 */
#include "core/tls_conn.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <sys/socket.h>

#include "tests/support/tls.h"

static struct tls_out *out;
static struct tls_tickets tickets;
static struct tls_server *server;
static struct tls_conn conn;
static SSL_CTX *context;
static SSL *client;
static int fds[2];

static int setup(void **state)
{
    support_setup(state);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    out = calloc(1, sizeof *out);
    assert_true(tls_tickets_init(&tickets));
    server = tls_server_make(&tickets, "a");
    assert_true(tls_conn_open(&conn, server, fds[0], out));
    context = SSL_CTX_new(TLS_client_method());
    client = SSL_new(context);
    SSL_set_fd(client, fds[1]);
    SSL_set_connect_state(client);
    return 0;
}

static int teardown(void **state)
{
    assert_int_equal(out->used, 0);
    SSL_free(client);
    SSL_CTX_free(context);
    tls_conn_free(&conn);
    tls_server_unref(server);
    tls_tickets_destroy(&tickets);
    free(out);
    close(fds[0]);
    close(fds[1]);
    return support_teardown(state);
}

/* Both until neither can go on. */
static enum tls_step shake_hands(void)
{
    enum tls_step step = TLS_STEP_WAIT;
    for (int i = 0; i < 10; i++) {
        SSL_do_handshake(client);
        tls_conn_on_event(&conn, false);
        if (step == TLS_STEP_WAIT)
            step = tls_conn_handshake(&conn);
    }
    ERR_clear_error();
    return step;
}

static void establish(void)
{
    assert_int_equal(shake_hands(), TLS_STEP_DONE);
    assert_true(conn.established);
}

static void expect_nothing_now(void)
{
    char buf[16];
    assert_int_equal(tls_conn_read(&conn, buf, sizeof buf), -1);
    assert_int_equal(errno, EAGAIN);
    assert_false(conn.broken);
}

static ssize_t write_text(const char *text)
{
    const struct iovec iov = {(void *)(uintptr_t)text, strlen(text)};
    return tls_conn_write(&conn, &iov, 1, 1000);
}

static void carries_both_ways(void **state)
{
    UNUSED(state);
    char buf[64];
    establish();
    assert_string_equal(tls_conn_version(&conn), "TLSv1.3");
    expect_nothing_now();
    SSL_write(client, "hello", 5);
    SSL_write(client, "world", 5);
    tls_conn_on_event(&conn, false);
    assert_int_equal(tls_conn_read(&conn, buf, sizeof buf), 5);
    assert_false(tls_conn_is_dry(&conn)); /* the second record was read with the first */
    assert_int_equal(tls_conn_read(&conn, buf, sizeof buf), 5);
    assert_memory_equal(buf, "world", 5);
    assert_true(tls_conn_is_dry(&conn));
    assert_int_equal(write_text("answer"), 6);
    assert_int_equal(SSL_read(client, buf, sizeof buf), 6);
}

static void small_pieces_share_a_record(void **state)
{
    UNUSED(state);
    char buf[4096], piece[100];
    struct iovec iov[10];
    establish();
    memset(piece, 'p', sizeof piece);
    for (size_t i = 0; i < ARRAY_LEN(iov); i++)
        iov[i] = (struct iovec){piece, i == 3 ? 0 : sizeof piece};
    assert_int_equal(tls_conn_write(&conn, iov, ARRAY_LEN(iov), 1000), 900);
    assert_int_equal(SSL_read(client, buf, sizeof buf), 900);
}

/* Sizes of records as the client sees them. */
static void records_grow_and_begin_anew_after_a_pause(void **state)
{
    UNUSED(state);
    char *big = text_repeat('b', 200000), *buf = text_repeat('x', 20000);
    struct iovec iov = {big, 40000};
    size_t sizes[200], count = 0;
    int size = 1 << 20;
    establish();
    setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    const struct {
        size_t bytes;
        mono_ms_t at_ms;
        size_t first;
    } rounds[] = {{40000, 1000, 1360}, {40000, 1500, 1360}, {40000, 2000, 16384}, {40000, 3001, 1360}};
    for (size_t r = 0; r < ARRAY_LEN(rounds); r++) {
        iov.iov_len = rounds[r].bytes;
        assert_int_equal(tls_conn_write(&conn, &iov, 1, rounds[r].at_ms), rounds[r].bytes);
        size_t got = 0;
        for (count = 0; got < rounds[r].bytes; count++) {
            int n = SSL_read(client, buf, 20000);
            assert_true(n > 0);
            got += (size_t)n;
            sizes[count] = (size_t)n;
        }
        assert_int_equal(sizes[0], rounds[r].first);
    }
}

/* What the kernel does not take is sealed once, kept, and reported when it is out. */
static void a_full_socket_is_gone_on_with(void **state)
{
    UNUSED(state);
    enum { BYTES = 3000000 };
    char *big = text_repeat('b', BYTES), *got = text_repeat('x', BYTES);
    size_t sent = 0, received = 0, blocked = 0;
    for (size_t i = 0; i < BYTES; i++)
        big[i] = (char)('a' + i % 23);
    establish();
    while (received < BYTES) {
        const struct iovec iov[2] = {
            {big + sent, MIN(1000, BYTES - sent)},
            {big + sent + MIN(1000, BYTES - sent), BYTES - sent - MIN(1000, BYTES - sent)}};
        if (sent < BYTES) {
            ssize_t n = tls_conn_write(&conn, iov, 2, 1000);
            assert_true(n >= 0);
            sent += (size_t)n;
            assert_int_equal(sent < BYTES, tls_conn_is_blocked(&conn));
            blocked += tls_conn_is_blocked(&conn);
            assert_true(conn.rest == NULL || conn.rest_bytes <= TLS_OUT_BYTES);
        }
        int n = SSL_read(client, got + received, 20000);
        received += n > 0 ? (size_t)n : 0;
    }
    assert_int_equal(sent, BYTES);
    assert_memory_equal(got, big, BYTES);
    assert_true(blocked > 3);
}

static void a_hello_may_come_byte_by_byte(void **state)
{
    UNUSED(state);
    unsigned char hello[2000];
    size_t n = tls_hello(hello, sizeof hello);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(write(fds[1], hello + i, 1), 1);
        tls_conn_on_event(&conn, false);
        assert_int_equal(tls_conn_handshake(&conn), TLS_STEP_WAIT);
        assert_int_equal(conn.wire_bytes > 0, i == n - 1);
    }
}

static void what_is_no_tls_is_told_apart(void **state)
{
    UNUSED(state);
    char buf[64];
    assert_int_equal(write(fds[1], "GET / HTTP/1.1\r\n\r\n", 18), 18);
    assert_int_equal(tls_conn_handshake(&conn), TLS_STEP_NO_TLS);
    assert_int_equal(conn.first_byte, 'G');
    assert_int_equal(recv(fds[1], buf, sizeof buf, MSG_DONTWAIT), -1); /* no alert in front of an answer */
}

static void garbage_in_a_record_is_refused_with_an_alert(void **state)
{
    UNUSED(state);
    char buf[64];
    assert_int_equal(write(fds[1], "\x16\x03\x01\x00\x05\x01\xff\xff\xff\xff", 10), 10);
    tls_conn_on_event(&conn, true);
    shutdown(fds[1], SHUT_WR);
    assert_int_equal(tls_conn_handshake(&conn), TLS_STEP_FAILED);
    assert_non_null(conn.why);
    assert_int_equal(recv(fds[1], buf, sizeof buf, MSG_DONTWAIT), 7);
    assert_int_equal(buf[0], 0x15);
}

static void who_leaves_at_once_failed_nothing(void **state)
{
    UNUSED(state);
    shutdown(fds[1], SHUT_WR);
    assert_int_equal(tls_conn_handshake(&conn), TLS_STEP_ENDED);
}

static void the_end_is_read_with_and_without_notice(void **state)
{
    UNUSED(state);
    char buf[16];
    establish();
    SSL_write(client, "last", 4);
    SSL_shutdown(client);
    tls_conn_on_event(&conn, false);
    assert_int_equal(tls_conn_read(&conn, buf, sizeof buf), 4);
    assert_int_equal(tls_conn_read(&conn, buf, sizeof buf), 0);
    shutdown(fds[1], SHUT_WR);
    tls_conn_on_event(&conn, true);
    assert_int_equal(tls_conn_read(&conn, buf, sizeof buf), 0);
}

static void without_notice_it_is_an_end_as_well(void **state)
{
    UNUSED(state);
    char buf[16];
    establish();
    shutdown(fds[1], SHUT_WR);
    tls_conn_on_event(&conn, true);
    assert_int_equal(tls_conn_read(&conn, buf, sizeof buf), 0);
}

static void closing_gives_notice_once(void **state)
{
    UNUSED(state);
    char buf[16];
    establish();
    tls_conn_close(&conn);
    uint64_t before = conn.wire_bytes;
    tls_conn_close(&conn);
    assert_int_equal(conn.wire_bytes, before);
    int n = SSL_read(client, buf, sizeof buf);
    assert_int_equal(SSL_get_error(client, n), SSL_ERROR_ZERO_RETURN);
}

static void key_updates_alone_are_not_endless(void **state)
{
    UNUSED(state);
    char buf[64];
    establish();
    for (int i = 0; i < 10; i++) {
        SSL_key_update(client, SSL_KEY_UPDATE_REQUESTED);
        SSL_do_handshake(client);
    }
    tls_conn_on_event(&conn, false);
    expect_nothing_now();
    SSL_write(client, "x", 1);
    tls_conn_on_event(&conn, false);
    assert_int_equal(tls_conn_read(&conn, buf, sizeof buf), 1);
    int updates = 0;
    for (; !conn.broken && updates < 10000; updates++) {
        SSL_key_update(client, SSL_KEY_UPDATE_NOT_REQUESTED);
        SSL_do_handshake(client);
        tls_conn_on_event(&conn, false);
        assert_int_equal(tls_conn_read(&conn, buf, sizeof buf), -1);
    }
    assert_int_equal(errno, EPROTO);
    assert_string_equal(conn.why, "too much without data");
    assert_true(updates > 1000);
}

static void a_damaged_record_breaks_it(void **state)
{
    UNUSED(state);
    char buf[64];
    establish();
    assert_int_equal(write(fds[1],
                           "\x17\x03\x03\x00\x15"
                           "012345678901234567890",
                           26),
                     26);
    tls_conn_on_event(&conn, false);
    assert_int_equal(tls_conn_read(&conn, buf, sizeof buf), -1);
    assert_int_equal(errno, EPROTO);
    assert_int_equal(write_text("more"), -1);
    assert_int_equal(ERR_peek_error(), 0);
}

static void renegotiation_is_refused(void **state)
{
    UNUSED(state);
    char buf[64];
    SSL_set_max_proto_version(client, TLS1_2_VERSION);
    establish();
    assert_string_equal(tls_conn_version(&conn), "TLSv1.2");
    SSL_renegotiate(client);
    for (int i = 0; i < 5; i++) {
        SSL_do_handshake(client);
        tls_conn_on_event(&conn, false);
        tls_conn_read(&conn, buf, sizeof buf);
    }
    assert_false(SSL_renegotiate_pending(client) == 0 && SSL_is_init_finished(client) == 1);
}

/* ---- sessions ---- */

static SSL_SESSION *session_of_first(void)
{
    char buf[16];
    establish();
    SSL_read(client, buf, sizeof buf); /* the tickets */
    SSL_SESSION *s = SSL_get1_session(client);
    assert_true(SSL_SESSION_is_resumable(s) == 1);
    return s;
}

/* A connection of its own, with the session. */
static bool is_resumed(SSL_SESSION *session, struct tls_server *by)
{
    tls_conn_free(&conn);
    SSL_set_shutdown(client, SSL_SENT_SHUTDOWN); /* else the session would count as bad */
    SSL_free(client);
    close(fds[0]);
    close(fds[1]);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    assert_true(tls_conn_open(&conn, by, fds[0], out));
    client = SSL_new(context);
    SSL_set_fd(client, fds[1]);
    SSL_set_connect_state(client);
    SSL_set_session(client, session);
    establish();
    assert_int_equal(SSL_session_reused(client), tls_conn_is_resumed(&conn));
    return tls_conn_is_resumed(&conn);
}

static void sessions_go_on_until_their_key_is_forgotten(void **state)
{
    UNUSED(state);
    SSL_SESSION *s = session_of_first();
    assert_true(is_resumed(s, server));
    tls_tickets_rotate(&tickets);
    tls_tickets_rotate(&tickets);
    assert_true(is_resumed(s, server));
    tls_tickets_rotate(&tickets);
    assert_false(is_resumed(s, server));
    SSL_SESSION_free(s);
}

/* After a reload, and at another listener. */
static void sessions_are_of_their_listener(void **state)
{
    UNUSED(state);
    SSL_SESSION *s = session_of_first();
    struct tls_server *again = tls_server_make(&tickets, "a"), *other = tls_server_make(&tickets, "b");
    assert_true(is_resumed(s, again));
    assert_false(is_resumed(s, other));
    SSL_SESSION_free(s);
    tls_server_unref(again);
    tls_server_unref(other);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(carries_both_ways),
        T(small_pieces_share_a_record),
        T(records_grow_and_begin_anew_after_a_pause),
        T(a_full_socket_is_gone_on_with),
        T(a_hello_may_come_byte_by_byte),
        T(what_is_no_tls_is_told_apart),
        T(garbage_in_a_record_is_refused_with_an_alert),
        T(who_leaves_at_once_failed_nothing),
        T(the_end_is_read_with_and_without_notice),
        T(without_notice_it_is_an_end_as_well),
        T(closing_gives_notice_once),
        T(key_updates_alone_are_not_endless),
        T(a_damaged_record_breaks_it),
        T(renegotiation_is_refused),
        T(sessions_go_on_until_their_key_is_forgotten),
        T(sessions_are_of_their_listener),
    };
    return E2E_RUN("core/tls_conn", tests);
}
