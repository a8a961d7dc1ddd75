/* test_tls_sleep.c: connections that sleep, against OpenSSL's own client, both ends in this thread, over
 * socketpairs. */
#include "core/tls_sleep.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/socket.h>
#ifdef MILLPOND_JEMALLOC
#include <jemalloc/jemalloc.h>
#endif

#include "core/page_places.h"
#include "core/tls_conn.h"
#include "tests/support/tls.h"

static struct tls_tickets tickets;
static struct tls_server *server;
static SSL_CTX *context;

/* One connection, and who speaks with it. */
struct pair {
    struct tls_conn conn;
    struct tls_out *out; /* of its thread */
    SSL *client;
    int fds[2];
};

static int setup(void **state)
{
    support_setup(state);
    assert_true(tls_tickets_init(&tickets));
    server = tls_server_make(&tickets, "a");
    context = SSL_CTX_new(TLS_client_method());
    return 0;
}

static int teardown(void **state)
{
    SSL_CTX_free(context);
    tls_server_unref(server);
    tls_tickets_destroy(&tickets);
    return support_teardown(state);
}

/* false: they do not get on. No assertion: threads use it, too. */
static bool pair_open(struct pair *p, struct tls_out *out, int version)
{
    enum tls_step step = TLS_STEP_WAIT;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, p->fds) != 0)
        return false;
    p->out = out;
    p->client = SSL_new(context);
    SSL_set_max_proto_version(p->client, version);
    SSL_set_fd(p->client, p->fds[1]);
    SSL_set_connect_state(p->client);
    bool ok = tls_conn_open(&p->conn, server, p->fds[0], out);
    for (int i = 0; ok && i < 10; i++) {
        SSL_do_handshake(p->client);
        tls_conn_on_event(&p->conn, false);
        if (step == TLS_STEP_WAIT)
            step = tls_conn_handshake(&p->conn);
    }
    ERR_clear_error();
    return step == TLS_STEP_DONE;
}

static void pair_close(struct pair *p)
{
    tls_conn_free(&p->conn);
    SSL_free(p->client);
    close(p->fds[0]);
    close(p->fds[1]);
}

/* A question and an answer. */
static bool pair_talk(struct pair *p)
{
    char buf[64];
    const struct iovec iov = {"answer", 6};
    if (SSL_write(p->client, "question", 8) != 8)
        return false;
    tls_conn_on_event(&p->conn, false);
    if (tls_conn_read(&p->conn, buf, sizeof buf) != 8 || memcmp(buf, "question", 8) != 0)
        return false;
    while (tls_conn_read(&p->conn, buf, sizeof buf) > 0)
        continue;
    return tls_conn_write(&p->conn, &iov, 1, 1000) == 6 && SSL_read(p->client, buf, sizeof buf) == 6 &&
           memcmp(buf, "answer", 6) == 0;
}

static unsigned pages_held(const struct pair *p)
{
    unsigned char in[2] = {0, 0};
    assert_int_equal(mincore(p->conn.ssl, (size_t)2 * PAGE_BYTES, in), 0);
    return (in[0] & 1u) + (in[1] & 1u);
}

static struct tls_out *out_make(void)
{
    static struct tls_out out;
    assert_int_equal(out.used, 0);
    return &out;
}

/* ---- one ---- */

static void a_sleeper_gives_its_pages_back_and_goes_on(void **state)
{
    UNUSED(state);
    static const int versions[] = {TLS1_3_VERSION, TLS1_2_VERSION};
    for (size_t v = 0; v < ARRAY_LEN(versions); v++) {
        struct pair p;
        assert_true(pair_open(&p, out_make(), versions[v]));
        for (int i = 0; i < 3; i++) {
            assert_true(pair_talk(&p));
            assert_int_equal(pages_held(&p), 2);
            assert_true(tls_conn_sleep(&p.conn));
            assert_true(tls_conn_is_asleep(&p.conn));
            assert_true(tls_conn_sleep(&p.conn)); /* it does already */
            assert_int_equal(pages_held(&p), 0);
            assert_true(tls_conn_is_dry(&p.conn));
            assert_true(tls_conn_is_asleep(&p.conn));
        }
        assert_true(pair_talk(&p));
        assert_false(tls_conn_is_asleep(&p.conn));
        pair_close(&p);
    }
}

static void it_can_be_asked_what_it_is(void **state)
{
    UNUSED(state);
    struct pair p;
    assert_true(pair_open(&p, out_make(), TLS1_3_VERSION));
    const char *cipher = tls_conn_cipher(&p.conn);
    assert_true(tls_conn_sleep(&p.conn));
    assert_string_equal(tls_conn_cipher(&p.conn), cipher);
    assert_true(tls_conn_sleep(&p.conn));
    assert_string_equal(tls_conn_version(&p.conn), "TLSv1.3");
    assert_true(tls_conn_sleep(&p.conn));
    assert_false(tls_conn_is_resumed(&p.conn));
    assert_true(tls_conn_sleep(&p.conn));
    assert_int_equal(tls_conn_protocol(&p.conn), TLS_PROTOCOL_NONE);
    pair_close(&p);
}

static void it_writes_unasked(void **state)
{
    UNUSED(state);
    char buf[64];
    struct pair p;
    const struct iovec iov = {"news", 4};
    assert_true(pair_open(&p, out_make(), TLS1_3_VERSION));
    for (int i = 0; i < 3; i++) {
        assert_true(tls_conn_sleep(&p.conn));
        assert_int_equal(tls_conn_write(&p.conn, &iov, 1, 1000), 4);
        assert_int_equal(SSL_read(p.client, buf, sizeof buf), 4);
    }
    pair_close(&p);
}

static void its_keys_may_change(void **state)
{
    UNUSED(state);
    char buf[64];
    struct pair p;
    assert_true(pair_open(&p, out_make(), TLS1_3_VERSION));
    for (int i = 0; i < 5; i++) {
        assert_true(tls_conn_sleep(&p.conn));
        SSL_key_update(p.client, SSL_KEY_UPDATE_REQUESTED);
        assert_int_equal(SSL_do_handshake(p.client), 1);
        tls_conn_on_event(&p.conn, false);
        assert_int_equal(tls_conn_read(&p.conn, buf, sizeof buf), -1);
        assert_int_equal(errno, EAGAIN);
        assert_true(tls_conn_sleep(&p.conn));
        assert_true(pair_talk(&p));
    }
    pair_close(&p);
}

static void it_says_goodbye(void **state)
{
    UNUSED(state);
    char buf[16];
    struct pair p;
    assert_true(pair_open(&p, out_make(), TLS1_3_VERSION));
    assert_true(tls_conn_sleep(&p.conn));
    tls_conn_close(&p.conn);
    int n = SSL_read(p.client, buf, sizeof buf);
    assert_int_equal(SSL_get_error(p.client, n), SSL_ERROR_ZERO_RETURN);
    pair_close(&p);
}

static void it_can_end_in_its_sleep(void **state)
{
    UNUSED(state);
    struct pair p;
    assert_true(pair_open(&p, out_make(), TLS1_3_VERSION));
    assert_true(tls_conn_sleep(&p.conn));
    pair_close(&p);
}

static void a_damaged_record_wakes_and_breaks_it(void **state)
{
    UNUSED(state);
    char buf[64];
    struct pair p;
    assert_true(pair_open(&p, out_make(), TLS1_3_VERSION));
    assert_true(tls_conn_sleep(&p.conn));
    assert_int_equal(write(p.fds[1], "\x17\x03\x03\x00\x15\x30\x31\x32\x33\x34\x35", 11), 11);
    tls_conn_on_event(&p.conn, false);
    assert_int_equal(tls_conn_read(&p.conn, buf, sizeof buf), -1);
    assert_int_equal(errno, EAGAIN);
    assert_false(tls_conn_sleep(&p.conn)); /* part of a record is there */
    assert_int_equal(write(p.fds[1], "0123456789012345", 15), 15);
    tls_conn_on_event(&p.conn, false);
    assert_int_equal(tls_conn_read(&p.conn, buf, sizeof buf), -1);
    assert_int_equal(errno, EPROTO);
    assert_false(tls_conn_sleep(&p.conn));
    pair_close(&p);
}

/* ---- who does not ---- */

static void who_is_busy_stays_awake(void **state)
{
    UNUSED(state);
    struct pair p;
    char *big = text_repeat('b', 3000000);
    const struct iovec iov = {big, 3000000};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, p.fds), 0);
    assert_true(tls_conn_open(&p.conn, server, p.fds[0], out_make()));
    assert_false(tls_conn_sleep(&p.conn)); /* the handshake is not done */
    tls_conn_free(&p.conn);
    close(p.fds[0]);
    close(p.fds[1]);
    assert_true(pair_open(&p, out_make(), TLS1_3_VERSION));
    assert_true(tls_conn_write(&p.conn, &iov, 1, 1000) < 3000000);
    assert_true(tls_conn_is_blocked(&p.conn));
    assert_false(tls_conn_sleep(&p.conn));
    pair_close(&p);
}

static void what_lies_elsewhere_stays_awake(void **state)
{
    UNUSED(state);
    SSL *ssl = SSL_new(context);
    assert_null(tls_sleep_begin(ssl));
    SSL_free(ssl);
}

static void who_is_locked_into_memory_stays_awake(void **state)
{
    UNUSED(state);
    struct pair p;
    assert_true(pair_open(&p, out_make(), TLS1_3_VERSION));
    if (support_sanitized() || mlock(p.conn.ssl, (size_t)2 * PAGE_BYTES) != 0) {
        pair_close(&p);
        skip(); /* sanitizers do not let memory be locked, nor may anyone lock much */
    }
    assert_false(tls_conn_sleep(&p.conn));
    assert_true(pair_talk(&p));
    munlock(p.conn.ssl, (size_t)2 * PAGE_BYTES);
    assert_true(tls_conn_sleep(&p.conn));
    assert_true(pair_talk(&p));
    pair_close(&p);
}

/* What a limit on data, or a system that promises no memory it does not have, counts: private memory that can
 * be written. */
static int64_t claimed_kb(void)
{
    const char *line = strstr(support_read_file("/proc/self/status"), "\nVmData:");
    return line != NULL ? atoll(line + strlen("\nVmData:")) : -1;
}

static int64_t claimed_by_init_kb;

static void places_claim_no_memory_before_they_are_taken(void **state)
{
    UNUSED(state);
    EXPECT(claimed_by_init_kb >= 0 && claimed_by_init_kb < 16 * 1024, "%lld KB",
           (long long)claimed_by_init_kb);
}

/* ---- many ---- */

#define MANY 300

/* More than keep their pages when they end; the places of some are taken by others meanwhile. */
static void many_keep_apart(void **state)
{
    UNUSED(state);
    static struct pair p[MANY];
    for (size_t i = 0; i < MANY; i++)
        assert_true(pair_open(&p[i], out_make(), i % 7 == 0 ? TLS1_2_VERSION : TLS1_3_VERSION));
    for (size_t round = 0; round < 3; round++) {
        for (size_t i = 0; i < MANY; i++)
            assert_true(tls_conn_sleep(&p[i].conn));
        for (size_t i = round; i < MANY; i += 3) {
            pair_close(&p[i]);
            assert_true(pair_open(&p[i], out_make(), TLS1_3_VERSION));
        }
        for (size_t i = 0; i < MANY; i++)
            assert_true(pair_talk(&p[MANY - 1 - i]));
    }
    for (size_t i = 0; i < MANY; i++)
        pair_close(&p[i]);
}

static void *run_thread(void *arg)
{
    static struct pair all[4][16];
    struct pair *p = all[(intptr_t)arg];
    struct tls_out *out = calloc(1, sizeof *out);
    bool ok = out != NULL;
    for (int round = 0; ok && round < 5; round++) {
        size_t open = 0;
        for (; ok && open < 16; open++)
            ok = pair_open(&p[open], out, TLS1_3_VERSION);
        for (size_t i = 0; ok && i < open; i++)
            ok = pair_talk(&p[i]) && tls_conn_sleep(&p[i].conn);
        for (size_t i = 0; ok && i < open; i += 2)
            ok = pair_talk(&p[i]);
        for (size_t i = 0; i < open; i++)
            pair_close(&p[i]);
    }
    free(out);
    return ok ? arg : NULL;
}

static void threads_do_not_meet(void **state)
{
    UNUSED(state);
    pthread_t threads[3];
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run_thread, (void *)(intptr_t)(i + 1)), 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        void *end = NULL;
        pthread_join(threads[i], &end);
        assert_int_equal((intptr_t)end, i + 1);
    }
}

/* ---- what it is good for ---- */

#ifdef MILLPOND_JEMALLOC
/* What this thread has taken and not given back; pages of sleepers are not among it, nor any other's. */
static int64_t held(void)
{
    uint64_t taken = 0, given = 0;
    size_t n = sizeof taken;
    assert_int_equal(mallctl("thread.allocated", &taken, &n, NULL, 0), 0);
    assert_int_equal(mallctl("thread.deallocated", &given, &n, NULL, 0), 0);
    return (int64_t)taken - (int64_t)given;
}

/* The client's side is not counted: its calls lie between two looks. */
static int64_t held_by_one(struct pair *p, struct tls_out *out)
{
    char buf[64];
    const struct iovec iov = {"answer", 6};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, p->fds), 0);
    p->client = SSL_new(context);
    SSL_set_fd(p->client, p->fds[1]);
    SSL_set_connect_state(p->client);
    int64_t bytes = -held();
    assert_true(tls_conn_open(&p->conn, server, p->fds[0], out));
    bytes += held();
    enum tls_step step = TLS_STEP_WAIT;
    for (int i = 0; i < 10; i++) {
        SSL_do_handshake(p->client);
        bytes -= held();
        tls_conn_on_event(&p->conn, false);
        if (step == TLS_STEP_WAIT)
            step = tls_conn_handshake(&p->conn);
        bytes += held();
    }
    assert_int_equal(step, TLS_STEP_DONE);
    assert_int_equal(SSL_write(p->client, "question", 8), 8);
    bytes -= held();
    tls_conn_on_event(&p->conn, false);
    assert_int_equal(tls_conn_read(&p->conn, buf, sizeof buf), 8);
    assert_int_equal(tls_conn_read(&p->conn, buf, sizeof buf), -1);
    assert_int_equal(tls_conn_write(&p->conn, &iov, 1, 1000), 6);
    assert_true(tls_conn_sleep(&p->conn));
    return bytes + held();
}

static void a_sleeper_holds_less_than_nine_kilobytes(void **state)
{
    UNUSED(state);
    struct pair first, p;
    held_by_one(&first, out_make()); /* what grows once */
    const int64_t bytes = held_by_one(&p, out_make());
    EXPECT(bytes > 4000 && bytes <= 9 * 1024, "%lld bytes", (long long)bytes);
    pair_close(&first);
    pair_close(&p);
}
#endif

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    claimed_by_init_kb = -claimed_kb();
    tls_sleep_init();
    claimed_by_init_kb += claimed_kb();
    const struct CMUnitTest tests[] = {
        T(a_sleeper_gives_its_pages_back_and_goes_on),
        T(it_can_be_asked_what_it_is),
        T(it_writes_unasked),
        T(its_keys_may_change),
        T(it_says_goodbye),
        T(it_can_end_in_its_sleep),
        T(a_damaged_record_wakes_and_breaks_it),
        T(who_is_busy_stays_awake),
        T(what_lies_elsewhere_stays_awake),
        T(who_is_locked_into_memory_stays_awake),
        T(places_claim_no_memory_before_they_are_taken),
        T(many_keep_apart),
        T(threads_do_not_meet),
#ifdef MILLPOND_JEMALLOC
        T(a_sleeper_holds_less_than_nine_kilobytes),
#endif
    };
    return E2E_RUN("core/tls_sleep", tests);
}
