/* compress_root.c: files that are compressed as they are read: conditions, ranges, renewal, files that change
 * or get shorter, clients that are slow or leave. */
#include <sys/stat.h>
#include <unistd.h>
#include <utime.h>

#include "tests/e2e/compress.h"

static char *file_of(const char *name)
{
    return textf("%s/%s", support_path("www"), name);
}

/* Written `ago_s` seconds ago: its ETag is a strong one. */
static void put_text(const char *name, size_t bytes, int ago_s)
{
    char *text = text_of(bytes);
    support_write_file(file_of(name), text);
    const time_t then = time(NULL) - ago_s;
    const struct utimbuf times = {then, then};
    assert_int_equal(utime(file_of(name), &times), 0);
    free(text);
}

/* `rest` goes on in the route. */
static struct millpond *start_files(const char *cache, const char *rest)
{
    static unsigned count;
    mkdir(support_path("www"), 0755);
    put_text("a.css", 3000, 3600);
    put_text("small.css", 100, 3600);
    return millpond_start(.name = textf("m%u", count++), .main = "workers = 1",
                          .listen = "protocols = h2c, http/1.1\nmin_rate = 0\nwrite_timeout = 10m\n",
                          .cache = cache,
                          .rest = textf("[route files]\nroot = %s\n" ALL "%s", support_path("www"), rest));
}

static struct message *ask(struct millpond *m, const char *method, const char *target, const char *fields)
{
    return client_ask(m->port, method, target, textf("Accept-Encoding: br\r\n%s", fields), "");
}

static void expect_file(struct millpond *m, const char *target, const char *fields, size_t bytes)
{
    struct message *r = ask(m, "GET", target, fields);
    expect_status(r, 200);
    expect_coded(r, CODING_BR, bytes);
    const char *etag = message_field(r, "ETag");
    EXPECT(etag != NULL && strncmp(etag, "W/\"", 3) == 0, "ETag: %s", etag);
}

/* Stored, asked about each time, or passed on: it makes no difference. */
static void conditions_and_ranges(void **state)
{
    static const char *const caches[] = {NULL, NULL, "store = off"}, *const routes[] = {"ttl = 1h\n",
                                                                                        "ttl = 0\n", ""};
    UNUSED(state);
    for (unsigned i = 0; i < ARRAY_LEN(caches); i++) {
        struct millpond *m = start_files(caches[i], routes[i]);
        for (unsigned again = 0; again < 2; again++) {
            expect_file(m, "/a.css", "", 3000);
            struct message *r = ask(m, "HEAD", "/a.css", "");
            expect_field(r, "Content-Encoding", "br");
            const char *weak = message_field(r, "ETag"), *modified = message_field(r, "Last-Modified");
            assert_true(strncmp(weak, "W/\"", 3) == 0);
            r = ask(m, "GET", "/a.css", textf("If-None-Match: %s\r\n", weak));
            expect_status(r, 304);
            expect_field(r, "ETag", weak);
            expect_field(r, "Vary", "Accept-Encoding");
            expect_status(ask(m, "HEAD", "/a.css", textf("If-None-Match: %s\r\n", weak)), 304);
            expect_status(ask(m, "GET", "/a.css", textf("If-Modified-Since: %s\r\n", modified)), 304);
            expect_status(ask(m, "GET", "/a.css", textf("If-Match: %s\r\n", weak)), 412);
            r = ask(m, "GET", "/a.css", "Range: bytes=5-9\r\n");
            expect_status(r, 206);
            expect_body(r, "0 of ");
            expect_field(r, "ETag", weak + 2);
            r = ask(m, "GET", "/a.css", textf("Range: bytes=5-9\r\nIf-Range: %s\r\n", weak + 2));
            expect_status(r, 206);
            expect_body(r, "0 of ");
            expect_file(m, "/a.css", textf("Range: bytes=5-9\r\nIf-Range: %s\r\n", weak), 3000);
            expect_file(m, "/a.css", textf("Range: bytes=5-9\r\nIf-Range: %s\r\n", modified), 3000);
            expect_coded(ask(m, "GET", "/small.css", ""), CODING_IDENTITY, 100);
            expect_coded(get(m, "/a.css", ""), CODING_IDENTITY, 3000);
        }
        assert_int_equal(millpond_figure(m, "compressions_in_flight"), 0);
        millpond_stop(m);
    }
}

static void a_changed_file_is_compressed_anew(void **state)
{
    UNUSED(state);
    struct millpond *m = start_files("heuristic = off", "");
    expect_file(m, "/a.css", "", 3000);
    expect_field_in(ask(m, "GET", "/a.css", ""), "Cache-Status", "fwd-status=304");
    expect_coded(get(m, "/a.css", ""), CODING_IDENTITY, 3000);
    put_text("a.css", 5000, 1800);
    expect_file(m, "/a.css", "", 5000);
    expect_field_in(ask(m, "GET", "/a.css", ""), "Cache-Status", "fwd-status=304");
    expect_coded(get(m, "/a.css", ""), CODING_IDENTITY, 5000);
    put_text("a.css", 100, 900); /* too small, and then again not */
    expect_coded(ask(m, "GET", "/a.css", ""), CODING_IDENTITY, 100);
    put_text("a.css", 4000, 600);
    expect_file(m, "/a.css", "", 4000);
    millpond_purge(m, url_of("/a.css"));
    expect_field_in(ask(m, "GET", "/a.css", ""), "Cache-Status", "fwd=vary-miss; stored");
    millpond_stop(m);
}

static void it_is_renewed_while_stale(void **state)
{
    UNUSED(state);
    struct millpond *m = start_files("heuristic = off", "stale_while_revalidate = 1h\nttl = 1ms\n");
    expect_file(m, "/a.css", "", 3000);
    put_text("a.css", 5000, 1800);
    struct message *r;
    do {
        r = ask(m, "GET", "/a.css", "");
        expect_coded(r, CODING_BR, 3000);
    } while (strstr(message_field(r, "Cache-Status"), "detail=stale_while_revalidate") == NULL);
    millpond_wait_figure(m, "refreshes_in_flight", 0);
    expect_file(m, "/a.css", "", 5000);
    millpond_wait_figure(m, "refreshes_in_flight", 0);
    assert_int_equal(millpond_figure(m, "compressions_in_flight"), 0);
    millpond_stop(m);
}

/* ---- on the way ---- */

/* Digits of a random sequence: coded, about half of them is left, which no socket's buffer holds. */
#define LARGE (10 * MB)

static char *digits;
static size_t digits_bytes;

static void put_large(size_t bytes)
{
    uint64_t random = 1;
    digits_bytes = bytes;
    digits = malloc(bytes + 1);
    assert_non_null(digits);
    support_on_end(free, digits);
    for (size_t i = 0; i < bytes; i++) {
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
        digits[i] = "0123456789abcdef"[random >> 60];
    }
    digits[bytes] = '\0';
    support_write_file(file_of("large.txt"), digits);
    const struct utimbuf times = {time(NULL) - 3600, time(NULL) - 3600};
    assert_int_equal(utime(file_of("large.txt"), &times), 0);
}

static void expect_digits(enum coding k, const char *body, size_t n, bool whole)
{
    struct decoded d = decode(k, n > 0 ? body : "", n, digits_bytes);
    EXPECT(d.sound && d.ended == whole && (d.bytes == digits_bytes) == whole &&
               memcmp(d.text, digits, d.bytes) == 0,
           "%zu bytes, sound %d, ended %d", d.bytes, d.sound, d.ended);
    free(d.text);
}

static struct client *ask_large(struct millpond *m, enum coding k)
{
    struct client *c = client_open_rcvbuf(m->port, 4096);
    client_send(c, "GET /large.txt?%u HTTP/1.1\r\nHost: test\r\nAccept-Encoding: %s\r\n\r\n", k,
                coding_name(k).ptr);
    return c;
}

#define EACH_CODING(k) for (enum coding k = CODING_GZIP; k < CODING_COUNT; k++)

/* Clients that read slowly, or by HTTP/2 not at all for a while: others are served, and all get all of it. */
static void slow_clients_hold_up_nobody(void **state)
{
    struct client *c[CODING_COUNT];
    UNUSED(state);
    struct millpond *m = start_files("store = off", "");
    put_large(LARGE);
    EACH_CODING(k)
    c[k] = ask_large(m, k);
    struct h2_client *h2 = h2_open(m->port, .window = 1000);
    h2_headers(h2, NGHTTP2_FLAG_END_STREAM, 1, H2_GET("/large.txt"), "accept-encoding", "br");
    h2_wait_body(h2, 1, 10);
    expect_file(m, "/a.css", "", 3000);
    h2_window_update(h2, 1, 1 << 30);
    h2_window_update(h2, 0, 1 << 30);
    const struct h2_answer *a = h2_wait(h2, 1);
    assert_int_equal(a->reset, H2_NO_CODE);
    expect_digits(CODING_BR, a->body, a->body_len, true);
    EACH_CODING(k)
    {
        struct message *r = client_read(c[k]);
        assert_int_equal(r->end, MESSAGE_COMPLETE);
        expect_digits(k, r->body, r->body_len, true);
    }
    assert_int_equal(millpond_figure(m, "compressions_in_flight"), 0);
    millpond_stop(m);
}

/* One that gets shorter meanwhile ends as cut, and is not stored. */
static void a_file_that_gets_shorter_is_cut(void **state)
{
    static const char *const caches[] = {"max_object_size = 1M", "store = off"};
    UNUSED(state);
    for (unsigned i = 0; i < ARRAY_LEN(caches); i++) {
        struct client *c[CODING_COUNT];
        struct millpond *m = start_files(caches[i], "ttl = 1h\n");
        put_large(LARGE);
        EACH_CODING(k)
        c[k] = ask_large(m, k);
        struct h2_client *h2 = h2_open(m->port, .window = 1000);
        h2_headers(h2, NGHTTP2_FLAG_END_STREAM, 1, H2_GET("/large.txt"), "accept-encoding", "br");
        h2_wait_body(h2, 1, 10);
        EACH_CODING(k)
        client_wait_bytes(c[k], 10);
        assert_int_equal(truncate(file_of("large.txt"), 100), 0);
        EACH_CODING(k)
        {
            struct message *r = client_read(c[k]);
            assert_true(r->end == MESSAGE_CUT || r->end == MESSAGE_RESET);
            expect_digits(k, r->body, r->body_len, false);
        }
        h2_window_update(h2, 1, 1 << 30);
        h2_window_update(h2, 0, 1 << 30);
        const struct h2_answer *a = h2_wait(h2, 1);
        assert_true(a->reset != H2_NO_CODE && !a->ended);
        client_close_all();
        h2_close_all();
        millpond_wait_idle(m);
        assert_int_equal(millpond_figure(m, "cache_stored"), 0);
        assert_int_equal(millpond_figure(m, "compressions_in_flight"), 0);
        millpond_stop(m);
    }
}

/* What is stored goes on without its client, what is passed on ends with it; no descriptor stays. */
static void clients_leave(void **state)
{
    static const char *const caches[] = {"memory_size = 128M\nmax_object_size = 32M", "store = off"};
    UNUSED(state);
    for (unsigned i = 0; i < ARRAY_LEN(caches); i++) {
        struct millpond *m = start_files(caches[i], "ttl = 1h\n");
        put_large(2 * MB);
        expect_file(m, "/a.css", "", 3000);
        client_close_all();
        millpond_wait_idle(m);
        const unsigned before = millpond_fds(m);
        EACH_CODING(k)
        {
            struct client *c = ask_large(m, k);
            client_wait_bytes(c, 10);
            client_reset(c);
        }
        millpond_wait_idle(m);
        assert_int_equal(millpond_figure(m, "compressions_in_flight"), 0);
        EXPECT(millpond_fds(m) <= before + 1, "%u descriptors, %u before", millpond_fds(m), before);
        EACH_CODING(k)
        {
            struct message *r = client_get(m->port, textf("/large.txt?%u", k),
                                           textf("Accept-Encoding: %s\r\n", coding_name(k).ptr));
            expect_digits(k, r->body, r->body_len, true);
            expect_field_in(r, "Cache-Status", i == 0 ? "hit" : "fwd=");
        }
        millpond_stop(m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(conditions_and_ranges),           E2E_TEST(a_changed_file_is_compressed_anew),
        E2E_TEST(it_is_renewed_while_stale),       E2E_TEST(slow_clients_hold_up_nobody),
        E2E_TEST(a_file_that_gets_shorter_is_cut), E2E_TEST(clients_leave),
    };
    return E2E_RUN("compress_root", tests);
}
