/* compress_ways.c: bodies on their way through `compress`: slow ones, large ones, cut ones, too many; clients
 * that share, or leave; instances of HTTP/2, and a store that nodes share. */
#include "tests/e2e/compress.h"

/* ---- on the way ---- */

static void expect_begun(const char *bytes, size_t n, enum coding c, size_t least)
{
    struct decoded d = decode(c, bytes, n, 2000);
    char *text = text_of(d.bytes);
    assert_true(d.sound && !d.ended && d.bytes >= least);
    assert_memory_equal(d.text, text, d.bytes);
    free(text);
    free(d.text);
}

/* Reads until what came can be decoded to `least` bytes: it was not held back. */
static void wait_for_text(struct h2_client *c, uint32_t id, size_t least)
{
    for (;;) {
        const struct h2_answer *a = h2_answer(c, id);
        struct decoded d = decode(CODING_ZSTD, a->body_len > 0 ? a->body : "", a->body_len, 2000);
        const size_t bytes = d.bytes;
        free(d.text);
        if (bytes >= least)
            break;
        EXPECT(h2_read(c), "it ended");
    }
    expect_begun(h2_answer(c, id)->body, h2_answer(c, id)->body_len, CODING_ZSTD, least);
}

static void what_is_slow_is_not_held_back(void **state)
{
    static const char *const controls[] = {LONG HTML, "Cache-Control: no-store\r\n" HTML};
    UNUSED(state);
    for (unsigned i = 0; i < ARRAY_LEN(controls); i++) {
        struct answer answers[] = {
            {"/p", controls[i], 2000, .chunked = true, .gate = gate_new(), .held = 700}, {0}};
        origin = origin_start(script, answers);
        struct millpond *m =
            millpond_start(.name = textf("m%u", i), .listen = "protocols = h2, http/1.1, h2c\n",
                           .rest = textf("%s[route all]\n" ALL, pool_lines("app", 1, origin)));
        struct h2_client *c = h2_open(m->port);
        h2_headers(c, NGHTTP2_FLAG_END_STREAM, 1, H2_GET("/p"), "accept-encoding", "zstd");
        struct client *c1 = client_open(m->port);
        client_send(c1, "GET /p?1 HTTP/1.1\r\nHost: test\r\nAccept-Encoding: gzip\r\n\r\n");
        wait_for_text(c, 1, 700);
        gate_open(answers[0].gate);
        const struct h2_answer *a = h2_wait(c, 1);
        expect_text_(a->body, a->body_len, CODING_ZSTD, 2000);
        expect_coded(client_read(c1), CODING_GZIP, 2000);
        millpond_stop(m);
    }
}

static void what_is_cut_stays_cut(void **state)
{
    UNUSED(state);
    static struct answer answers[] = {{"/stored", LONG HTML, 200000, .cut = 150000},
                                      {"/relayed", "Cache-Control: no-store\r\n" HTML, 200000, .cut = 150000},
                                      {"/chunked", LONG HTML, 200000, .cut = 150000, .chunked = true},
                                      {"/early", LONG HTML, 200000, .cut = 10},
                                      {0}};
    origin = origin_start(script, answers);
    struct millpond *m = millpond_start(.listen = "protocols = h2, http/1.1, h2c\n",
                                        .rest = textf("%s[route all]\n" ALL, pool_lines("app", 1, origin)));
    for (unsigned i = 0; answers[i].path != NULL; i++) {
        for (enum coding c = CODING_GZIP; c < CODING_COUNT; c++) {
            for (unsigned version = 0; version < 2; version++) {
                struct client *cl = client_open(m->port);
                client_send(cl, "GET %s?%u HTTP/1.%u\r\nHost: test\r\nAccept-Encoding: %s\r\n\r\n",
                            answers[i].path, c, version, coding_name(c).ptr);
                struct message *r = client_read(cl);
                assert_true(version == 0 || r->end == MESSAGE_CUT || r->end == MESSAGE_RESET);
                struct decoded d = decode(c, r->body, r->body_len, 200000);
                assert_true(d.sound && !d.ended);
                free(d.text);
            }
        }
        struct h2_client *h2 = h2_open(m->port);
        h2_headers(h2, NGHTTP2_FLAG_END_STREAM, 1, H2_GET(answers[i].path), "accept-encoding", "br");
        assert_true(h2_wait(h2, 1)->reset != H2_NO_CODE);
    }
    assert_int_equal(millpond_figure(m, "cache_stored"), 0);
    assert_int_equal(millpond_figure(m, "compressions_in_flight"), 0);
    millpond_stop(m);
}

static void followers_get_what_they_accept(void **state)
{
    struct answer answers[] = {{"/p", LONG HTML, 100000, .gate = gate_new(), .held = 50000}, {0}};
    static const char *const accepts[] = {"gzip",    "br", "gzip;q=0", "gzip, br", "br;q=0.1, gzip;q=0.2",
                                          "identity"};
    static const enum coding codings[] = {CODING_GZIP, CODING_BR,   CODING_IDENTITY,
                                          CODING_BR,   CODING_GZIP, CODING_IDENTITY};
    struct client *c[ARRAY_LEN(accepts)];
    UNUSED(state);
    struct millpond *m = start(answers, "compress = br, gzip\n");
    for (unsigned i = 0; i < ARRAY_LEN(accepts); i++) {
        c[i] = client_open(m->port);
        client_send(c[i], "GET /p HTTP/1.1\r\nHost: test\r\nAccept-Encoding: %s\r\n\r\n", accepts[i]);
        if (i < 3)
            gate_wait_arrived(answers[0].gate, i + 1);
    }
    gate_open(answers[0].gate);
    for (unsigned i = 0; i < ARRAY_LEN(accepts); i++)
        expect_coded(client_read(c[i]), codings[i], 100000);
    assert_int_equal(origin_requests(origin), 3);
    assert_int_equal(millpond_figure(m, "compressions_in_flight"), 0);
    millpond_stop(m);
}

/* Large bodies take their turns: with one worker, what is asked for meanwhile is answered. */
static void large_bodies_hold_up_nobody(void **state)
{
    const size_t bytes = 2 * MB;
    struct answer answers[] = {{"/stored", LONG HTML, .bytes = bytes},
                               {"/relayed", "Cache-Control: no-store\r\n" HTML, .bytes = bytes},
                               {"/chunked", "Cache-Control: no-store\r\n" HTML, bytes, .chunked = true},
                               {"/small", "Cache-Control: no-store\r\n" HTML, .bytes = 3000},
                               {0}};
    struct client *c[9];
    UNUSED(state);
    origin = origin_start(script, answers);
    struct millpond *m = millpond_start(.main = "workers = 1\n", .listen = "protocols = h2, http/1.1, h2c\n",
                                        .rest = textf("%s[route all]\n" ALL, pool_lines("app", 1, origin)));
    struct h2_client *h2 = h2_open(m->port);
    h2_headers(h2, NGHTTP2_FLAG_END_STREAM, 1, H2_GET("/relayed"), "accept-encoding", "gzip");
    for (unsigned i = 0; i < ARRAY_LEN(c); i++) {
        c[i] = client_open_rcvbuf(m->port, 4096); /* and its client is full now and then */
        client_send(c[i], "GET %s HTTP/1.1\r\nHost: test\r\nAccept-Encoding: %s\r\n\r\n", answers[i / 3].path,
                    coding_name((enum coding)(CODING_GZIP + i % 3)).ptr);
    }
    expect_coded(get(m, "/small", "gzip"), CODING_GZIP, 3000);
    const struct h2_answer *a = h2_wait(h2, 1);
    expect_text_(a->body, a->body_len, CODING_GZIP, bytes);
    for (unsigned i = 0; i < ARRAY_LEN(c); i++)
        expect_coded(client_read(c[i]), (enum coding)(CODING_GZIP + i % 3), bytes);
    assert_int_equal(millpond_figure(m, "compressions_in_flight"), 0);
    millpond_stop(m);
}

static void too_many_at_once_go_out_as_they_are(void **state)
{
    struct answer answers[] = {{"/p", LONG HTML, 3000, .gate = gate_new(), .held = 2000}, {0}};
    struct client *c[70];
    unsigned coded = 0;
    UNUSED(state);
    origin = origin_start(script, answers);
    struct millpond *m = millpond_start(.main = "workers = 1\n",
                                        .rest = textf("%s[route all]\n" ALL, pool_lines("app", 1, origin)));
    for (unsigned i = 0; i < ARRAY_LEN(c); i++) {
        c[i] = client_open(m->port);
        client_send(c[i], "GET /p?%u HTTP/1.1\r\nHost: test\r\nAccept-Encoding: zstd\r\n\r\n", i);
    }
    gate_wait_arrived(answers[0].gate, ARRAY_LEN(c));
    for (unsigned i = 0; i < ARRAY_LEN(c); i++)
        client_wait_bytes(c[i], 10);
    gate_open(answers[0].gate);
    for (unsigned i = 0; i < ARRAY_LEN(c); i++) {
        struct message *r = client_read(c[i]);
        coded += coding_of(r) == CODING_ZSTD;
        expect_text_(r->body, r->body_len, coding_of(r), 3000);
        expect_field(r, "Vary", "Accept-Encoding");
    }
    assert_int_equal(coded, 64);
    assert_int_equal(millpond_figure(m, "compress_refused"), 6);
    assert_int_equal(millpond_figure(m, "compressions_in_flight"), 0);
    expect_coded(get(m, "/p?more", "zstd"), CODING_ZSTD, 3000);
    millpond_stop(m);
}

/* Hexadecimal digits of a random sequence: coded by zstd, about half of them is left. */
#define LARGE (16 * MB)
#define DATED "Last-Modified: Sat, 01 Jan 2022 00:00:00 GMT\r\n"

static char *digits;

static void make_digits(void)
{
    uint64_t random = 1;
    digits = malloc(LARGE);
    assert_non_null(digits);
    support_on_end(free, digits);
    for (size_t i = 0; i < LARGE; i++) {
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
        digits[i] = "0123456789abcdef"[random >> 60];
    }
}

/* The whole, behind the gate, or what is asked for under If-Range. */
static void digits_script(struct origin_conn *c, const struct message *request, void *arg)
{
    const char *range = message_field(request, "Range");
    const size_t from = range == NULL ? 0 : strtoull(range + strlen("bytes="), NULL, 10);
    if (range == NULL) {
        gate_pass(arg);
        origin_send(c, "HTTP/1.1 200 OK\r\n" LONG HTML DATED "Content-Length: %lu\r\n\r\n", LARGE);
    } else {
        origin_send(c,
                    "HTTP/1.1 206 Partial Content\r\n" HTML DATED "Content-Range: bytes %zu-%lu/%lu\r\n"
                    "Content-Length: %lu\r\n\r\n",
                    from, LARGE - 1, LARGE, LARGE - from);
    }
    origin_send_bytes(c, digits + from, LARGE - from);
}

/* Too large to be stored, and shared by two of whom one is slow: he is cut, and gets nothing of another
 * version. */
static void who_is_left_behind_is_cut(void **state)
{
    UNUSED(state);
    make_digits();
    for (unsigned leads = 0; leads < 2; leads++) {
        struct gate *gate = gate_new();
        origin = origin_start(digits_script, gate);
        struct millpond *m =
            millpond_start(.name = textf("m%u", leads), .cache = "max_object_size = 1M\n",
                           .rest = textf("%s[route all]\n" ALL, pool_lines("app", 1, origin)));
        struct client *slow = client_open_rcvbuf(m->port, 16 * KB), *quick = client_open(m->port);
        const char *ask = "GET /p HTTP/1.1\r\nHost: test\r\nAccept-Encoding: zstd\r\n\r\n";
        client_send(leads ? slow : quick, "%s", ask);
        gate_wait_arrived(gate, 1);
        client_send(leads ? quick : slow, "%s", ask);
        millpond_wait_figure(m, "followers_now", 1);
        gate_open(gate);
        for (unsigned i = 0; i < 2; i++) {
            struct message *r = client_read(i == 0 ? quick : slow);
            struct decoded d = decode(CODING_ZSTD, r->body, r->body_len, LARGE);
            assert_int_equal(r->end, i == 0 ? MESSAGE_COMPLETE : MESSAGE_CUT);
            assert_true(d.sound && d.ended == (i == 0) && memcmp(d.text, digits, d.bytes) == 0);
            free(d.text);
        }
        assert_int_equal(origin_requests(origin), 1);
        assert_int_equal(millpond_figure(m, "objects"), 0);
        assert_int_equal(millpond_figure(m, "compressions_in_flight"), 0);
        millpond_stop(m);
    }
}

/* Clients that leave in the middle: a fetch that is stored goes on, another ends. */
static void clients_leave(void **state)
{
    struct answer answers[] = {
        {"/stored", LONG HTML, 200000, .gate = gate_new(), .held = 100000},
        {"/relayed", "Cache-Control: no-store\r\n" HTML, 200000, .gate = gate_new(), .held = 100000},
        {0}};
    struct client *c[2];
    UNUSED(state);
    struct millpond *m = start(answers, ALL);
    for (unsigned i = 0; i < 2; i++) {
        c[i] = client_open(m->port);
        client_send(c[i], "GET %s HTTP/1.1\r\nHost: test\r\nAccept-Encoding: br\r\n\r\n", answers[i].path);
        client_wait_bytes(c[i], 10);
        client_reset(c[i]);
    }
    millpond_wait_figure(m, "compressions_in_flight", 1);
    gate_open(answers[0].gate);
    millpond_wait_figure(m, "cache_stored", 1);
    millpond_wait_figure(m, "compressions_in_flight", 0);
    gate_open(answers[1].gate);
    struct message *r = get(m, "/stored", "br");
    expect_coded(r, CODING_BR, 200000);
    expect_field_in(r, "Cache-Status", "hit");
    millpond_stop(m);
}

static void trailers_end_with_the_plain_body(void **state)
{
    struct answer answers[] = {{"/p", "Cache-Control: no-store\r\nTrailer: Content-Digest\r\n" HTML, 3000,
                                .chunked = true, .trailers = "Content-Digest: x\r\n"},
                               {0}};
    UNUSED(state);
    struct millpond *m = start(answers, ALL);
    struct message *r = get(m, "/p", "br");
    expect_coded(r, CODING_BR, 3000);
    assert_string_equal(r->trailers, "");
    expect_no_field(r, "Trailer");
    r = get(m, "/p", "");
    expect_in(r->trailers, "Content-Digest: x");
    millpond_stop(m);
}

/* ---- with others ---- */

static void instances_of_http_2(void **state)
{
    UNUSED(state);
    struct h2_listener instance = h2_listen();
    struct millpond *m = millpond_start(
            .main = "workers = 1\n",
            .rest = textf(
                "[pool app]\nserver = 127.0.0.1:%d\nprotocol = h2\nhealth_check = off\n[route all]\n" ALL,
                instance.port));
    char *text = text_of(60000);
    struct client *c = client_open(m->port);
    client_send(c, "GET /p HTTP/1.1\r\nHost: test\r\nAccept-Encoding: gzip, br\r\n\r\n");
    struct h2_client *i = h2_accept(&instance, 0, 0);
    expect_in(h2_wait_asked(i, 1)->head, "\naccept-encoding: br\n");
    h2_headers(i, 0, 1, ":status", "200", "content-type", "text/plain", "cache-control", "max-age=600",
               "etag", "\"v1\"");
    for (size_t at = 0; at < 60000; at += 15000)
        h2_data(i, at + 15000 == 60000 ? NGHTTP2_FLAG_END_STREAM : 0, 1, text + at, 15000);
    expect_coded(client_read(c), CODING_BR, 60000);
    struct message *r = get(m, "/p", "br");
    expect_coded(r, CODING_BR, 60000);
    expect_field_in(r, "Cache-Status", "hit");
    client_send(c, "GET /empty HTTP/1.1\r\nHost: test\r\nAccept-Encoding: gzip, br\r\n\r\n");
    h2_wait_asked(i, 3);
    h2_headers(i, NGHTTP2_FLAG_END_STREAM, 3, ":status", "200", "content-type", "text/plain");
    r = client_read(c);
    expect_body(r, "");
    expect_no_field(r, "Content-Encoding");
    free(text);
    millpond_stop(m);
}

/* gRPC says in trailers how it went, and has codings of its own. */
static void calls_of_grpc_keep_their_trailers(void **state)
{
    UNUSED(state);
    struct h2_listener instance = h2_listen();
    struct millpond *m = millpond_start(
            .main = "workers = 1\n", .listen = "protocols = h2c, http/1.1\n",
            .rest = textf(
                "[pool app]\nserver = 127.0.0.1:%d\nprotocol = h2\nhealth_check = off\n[route all]\n" ALL,
                instance.port));
    struct h2_client *c = h2_open(m->port);
    h2_headers(c, NGHTTP2_FLAG_END_STREAM, 1, H2_POST("/test/one"), "content-type", "application/grpc+json",
               "te", "trailers", "accept-encoding", "gzip");
    struct h2_client *i = h2_accept(&instance, 0, 0);
    h2_wait_asked(i, 1);
    h2_headers(i, 0, 1, ":status", "200", "content-type", "application/grpc+json");
    h2_data(i, 0, 1, "\0\0\0\0\2{}", 7);
    h2_headers(i, NGHTTP2_FLAG_END_STREAM, 1, "grpc-status", "0");
    const struct h2_answer *a = h2_wait(c, 1);
    expect_in(a->head, "\ngrpc-status: 0\n");
    expect_not_in(a->head, "content-encoding");
    assert_int_equal(a->body_len, 7);
    millpond_stop(m);
}

static void nodes_share_each_coding(void **state)
{
    struct answer answers[] = {{"/p", LONG HTML, 100000, .etag = "\"v1\""}, {0}};
    UNUSED(state);
    origin = origin_start(script, answers);
    struct redis_process *p = redis_start("r", NULL);
    struct millpond *m[2];
    for (unsigned i = 0; i < 2; i++) {
        m[i] = millpond_start(.name = textf("m%u", i), .cache = "store = tiered",
                              .rest = textf("%s[redis]\nurl = redis://%s\ntimeout = 30s\n[route all]\n" ALL,
                                            pool_lines("app", 1, origin), p->address));
    }
    for (unsigned i = 0; i < 2; i++) {
        while (!json_is_true(json_find(millpond_status(m[i]), "follows")))
            continue;
    }
    expect_coded(get(m[0], "/p", "gzip, br"), CODING_BR, 100000);
    expect_coded(get(m[0], "/p", "gzip"), CODING_GZIP, 100000);
    while (strstr(millpond_admin(m[0], "GET", "/metrics")->body,
                  "redis_saves_total{outcome=\"saved\"} 2\n") == NULL)
        continue;
    struct message *r = get(m[1], "/p", "br");
    expect_coded(r, CODING_BR, 100000);
    expect_field_in(r, "Cache-Status", "detail=redis");
    expect_coded(get(m[1], "/p", "gzip;q=0.5"), CODING_GZIP, 100000);
    assert_int_equal(origin_requests(origin), 2);
    millpond_stop(m[0]);
    millpond_stop(m[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(what_is_slow_is_not_held_back),
        E2E_TEST(what_is_cut_stays_cut),
        E2E_TEST(followers_get_what_they_accept),
        E2E_TEST(large_bodies_hold_up_nobody),
        E2E_TEST(too_many_at_once_go_out_as_they_are),
        E2E_TEST(who_is_left_behind_is_cut),
        E2E_TEST(clients_leave),
        E2E_TEST(trailers_end_with_the_plain_body),
        E2E_TEST(instances_of_http_2),
        E2E_TEST(calls_of_grpc_keep_their_trailers),
        E2E_TEST(nodes_share_each_coding),
    };
    return E2E_RUN("compress_ways", tests);
}
