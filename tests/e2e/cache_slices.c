/* cache_slices.c: objects of any size answered from slices that are stored each by itself (`slice` of a
 * route). The instance has one film of which each byte tells its place and version. What goes wrong or
 * changes meanwhile is in cache_slices_odd.c. */
#include "tests/support/film.h"
#include "tests/support/h2.h"

/* ---- ranges ---- */

static void a_range_is_served_from_one_slice_until_it_is_purged(void **state)
{
    UNUSED(state);
    struct film *f = film_new(10 * SLICE + 5);
    struct millpond *m = film_start(f, "");
    film_expect(f, film_ask(m, 3 * SLICE + 7, 3 * SLICE + 99, ""), 3 * SLICE + 7, 3 * SLICE + 99);
    FILM_ASKED(f, 0, textf("bytes=%d-%d", 3 * SLICE, 4 * SLICE - 1));
    millpond_wait_figure(m, "cache_stored", 1);
    for (int i = 0; i < 3; i++) {
        struct message *r = film_ask(m, 3 * SLICE + (uint64_t)i, 4 * SLICE - 1, "");
        film_expect(f, r, 3 * SLICE + (uint64_t)i, 4 * SLICE - 1);
        expect_field_in(r, "Cache-Status", "hit");
        expect_field(r, "ETag", "\"v1\"");
        assert_int_equal(message_field_count(r, "Content-Range"), 1);
    }
    assert_int_equal(origin_requests(f->origin), 1);
    millpond_purge(m, url_of("/film"));
    film_expect(f, film_ask(m, 3 * SLICE, 3 * SLICE, ""), 3 * SLICE, 3 * SLICE);
    assert_int_equal(origin_requests(f->origin), 2);
    millpond_stop(m);
}

static void a_range_goes_over_several_slices(void **state)
{
    UNUSED(state);
    struct film *f = film_new(10 * SLICE + 5);
    struct millpond *m = film_start(f, "");
    film_expect(f, film_ask(m, SLICE + 1, 4 * SLICE, ""), SLICE + 1, 4 * SLICE);
    millpond_wait_figure(m, "cache_stored", 4);
    struct message *r = film_ask(m, 2 * SLICE - 1, 4 * SLICE + 9, "");
    film_expect(f, r, 2 * SLICE - 1, 4 * SLICE + 9);
    assert_int_equal(origin_requests(f->origin), 4);
    r = film_ask(m, 4 * SLICE, 5 * SLICE, ""); /* one that is there, and one that is not */
    film_expect(f, r, 4 * SLICE, 5 * SLICE);
    millpond_wait_access(m, "\"cache\":\"partial\"", 1);
    assert_int_equal(origin_requests(f->origin), 5);
    millpond_stop(m);
}

static void the_whole_is_put_together(void **state)
{
    UNUSED(state);
    struct film *f = film_new(10 * SLICE + 5);
    struct millpond *m = film_start(f, "");
    for (int i = 0; i < 2; i++) {
        struct message *r = client_get(m->port, "/film", "");
        film_expect_whole(f, r);
        expect_no_field(r, "Content-Range");
        expect_field_in(r, "Cache-Status", i == 0 ? "fwd=uri-miss; stored" : "hit");
        millpond_wait_figure(m, "cache_stored", 11);
    }
    assert_int_equal(origin_requests(f->origin), 11);
    assert_int_equal(millpond_figure(m, "cache_slice_fetches"), 11);
    struct client *c = client_open(m->port);
    client_send(c, "HEAD /film HTTP/1.1\r\nHost: test\r\n\r\n");
    struct message *r = client_read_no_body(c);
    expect_status(r, 200);
    expect_field(r, "Content-Length", textf("%d", 10 * SLICE + 5));
    film_expect_whole(f, client_get(m->port, "/film", "Range: bytes=x-y\r\n"));
    assert_int_equal(origin_requests(f->origin), 11);
    millpond_stop(m);
}

static void ranges_that_count_from_the_end_or_lie_beyond_it(void **state)
{
    UNUSED(state);
    const uint64_t size = 10 * SLICE + 5;
    struct film *f = film_new(size);
    struct millpond *m = film_start(f, "");
    film_expect(f, client_get(m->port, "/film", "Range: bytes=-10\r\n"), size - 10, size - 1);
    FILM_ASKED(f, 0, textf("bytes=0-%d", SLICE - 1)); /* how much there is */
    film_expect(f, client_get(m->port, "/film", textf("Range: bytes=%d-\r\n", 10 * SLICE)), 10 * SLICE,
                size - 1);
    struct message *r = film_ask(m, size, size + 5, "");
    expect_status(r, 416);
    expect_field(r, "Content-Range", textf("bytes */%llu", (unsigned long long)size));
    const unsigned before = origin_requests(f->origin);
    for (int i = 0; i < 3; i++) { /* the first slice says where it ends */
        r = film_ask(m, (uint64_t)(100 + i) * SLICE, (uint64_t)(100 + i) * SLICE + 5, "");
        expect_status(r, 416);
        expect_field(r, "Content-Range", textf("bytes */%llu", (unsigned long long)size));
    }
    assert_int_equal(origin_requests(f->origin), before);
    film_expect_whole(f, client_get(m->port, "/film", ""));
    millpond_stop(m);
}

static void small_ones_are_one_slice(void **state)
{
    UNUSED(state);
    struct film *f = film_new(10);
    f->etag = ""; /* nothing that they could be told by is needed */
    struct millpond *m = film_start(f, "");
    film_expect_whole(f, client_get(m->port, "/film", ""));
    film_expect_whole(f, client_get(m->port, "/film", ""));
    film_expect(f, film_ask(m, 2, 5, ""), 2, 5);
    assert_int_equal(origin_requests(f->origin), 1);
    millpond_stop(m);
}

static void conditions_are_judged_by_the_first_slice(void **state)
{
    UNUSED(state);
    struct film *f = film_new(3 * SLICE);
    struct millpond *m = film_start(f, "");
    for (int i = 0; i < 2; i++) {
        struct message *r = client_raw(m->port, "GET /film HTTP/1.1\r\nHost: test\r\nConnection: close\r\n"
                                                "If-None-Match: \"v1\"\r\n\r\n");
        expect_status(r, 304);
        expect_no_field(origin_request(f->origin, 0), "If-None-Match");
        expect_status(client_get(m->port, "/film", "If-Match: \"v2\"\r\n"), 412);
    }
    assert_int_equal(origin_requests(f->origin), 1);
    film_expect(f, film_ask(m, SLICE, SLICE + 1, "If-Range: \"v1\"\r\n"), SLICE, SLICE + 1);
    film_expect_whole(f, film_ask(m, SLICE, SLICE + 1, "If-Range: \"v0\"\r\n"));
    assert_int_equal(origin_requests(f->origin), 3);
    millpond_stop(m);
}

static void several_ranges_are_passed(void **state)
{
    UNUSED(state);
    struct film *f = film_new(3 * SLICE);
    struct millpond *m = film_start(f, "");
    client_get(m->port, "/film", "Range: bytes=0-1,70000-70001\r\n");
    FILM_ASKED(f, 0, "bytes=0-1,70000-70001");
    millpond_wait_access(m, "\"no_store\":\"ranges\"", 1);
    millpond_stop(m);
}

/* ---- many clients ---- */

static void a_crowd_has_each_slice_fetched_once(void **state)
{
    UNUSED(state);
    enum { CROWD = 50 };
    struct film *f = film_new(4 * SLICE);
    f->gate_at = 0;
    struct millpond *m = film_start(f, "");
    struct client *c[CROWD];
    for (int i = 0; i < CROWD; i++) {
        c[i] = client_open(m->port);
        client_send(c[i], "GET /film HTTP/1.1\r\nHost: test\r\n\r\n");
    }
    gate_wait_arrived(f->gate, 1);
    millpond_wait_figure(m, "followers_now", CROWD);
    gate_open(f->gate);
    for (int i = 0; i < CROWD; i++)
        film_expect_whole(f, client_read(c[i]));
    assert_int_equal(origin_requests(f->origin), 4);
    millpond_stop(m);
}

static void a_client_of_http2(void **state)
{
    UNUSED(state);
    struct film *f = film_new(20 * SLICE + 1);
    struct millpond *m = film_start(f, "");
    struct h2_client *c = h2_open(m->port, .window = 100000);
    for (uint32_t id = 1; id <= 5; id += 2) {
        h2_get(c, id, "/film");
        struct h2_answer *a = h2_wait(c, id);
        assert_int_equal(a->status, 200);
        assert_int_equal(a->body_len, f->size);
        assert_true(film_is(f, a->body, 0, f->size));
    }
    h2_headers(c, NGHTTP2_FLAG_END_STREAM, 7, H2_GET("/film"), "range",
               textf("bytes=%d-%d", SLICE - 1, SLICE));
    struct h2_answer *a = h2_wait(c, 7);
    assert_int_equal(a->status, 206);
    assert_int_equal(a->body_len, 2);
    assert_true(film_is(f, a->body, SLICE - 1, 2));
    assert_int_equal(origin_requests(f->origin), 21);
    millpond_stop(m);
}

/* A client that takes nothing has no more fetched than what it was begun to be sent, and the slice behind it.
 */
static void a_slow_client_pulls_nothing(void **state)
{
    UNUSED(state);
    struct film *f = film_new(400 * SLICE);
    struct millpond *m = film_start(f, "");
    struct client *c = client_open_rcvbuf(m->port, 4096);
    client_send(c, "GET /film HTTP/1.1\r\nHost: test\r\n\r\n");
    expect_status(client_read_head(c), 200);
    millpond_wait_figure(m, "fetches_in_flight", 0);
    film_expect(f, film_ask(m, 399 * SLICE, 399 * SLICE, ""), 399 * SLICE, 399 * SLICE); /* all has settled */
    assert_true(origin_requests(f->origin) < 200);
    client_close(c);
    millpond_wait_idle(m);
    const unsigned asked = origin_requests(f->origin);
    film_expect(f, film_ask(m, 0, 0, ""), 0, 0);
    assert_int_equal(origin_requests(f->origin), asked);
    millpond_stop(m);
}

static void slices_are_evicted_one_by_one(void **state)
{
    UNUSED(state);
    struct film *f = film_new(400 * SLICE); /* 25 MB */
    struct millpond *m = film_start(f, "memory_size = 8M\nmax_object_size = 1M\n");
    for (int i = 0; i < 2; i++)
        film_expect_whole(f, client_get(m->port, "/film", ""));
    assert_true(origin_requests(f->origin) > 400);
    assert_true(json_integer_value(json_find(millpond_status(m), "bytes_used")) <= 8 * (int64_t)MB);
    const unsigned before = origin_requests(f->origin);
    film_expect(f, film_ask(m, 0, SLICE, ""), 0, SLICE);
    film_expect(f, film_ask(m, 0, SLICE, ""), 0, SLICE);
    assert_true(origin_requests(f->origin) <= before + 2);
    millpond_stop(m);
}

static void whatever_purges_the_url_purges_its_slices(void **state)
{
    UNUSED(state);
    struct film *f = film_new(2 * SLICE);
    struct millpond *m = film_start(f, "");
    static const char *const how[][3] = {{"--tag", "films", NULL},
                                         {"--prefix", "http://test/fi", NULL},
                                         {"--host", "test", NULL},
                                         {"--all", NULL, NULL}};
    for (size_t i = 0; i < ARRAY_LEN(how); i++) {
        film_expect_whole(f, client_get(m->port, "/film", ""));
        assert_int_equal(origin_requests(f->origin), 2 * (i + 1));
        struct proc_result r = millpond_cli(m, "purge", how[i][0], how[i][1], NULL);
        EXPECT(r.exit_code == 0, "%s%s", r.out, r.err);
    }
    millpond_stop(m);
}

static void expect_explained(struct millpond *m, const char *range, const char *key, const char *verdict)
{
    struct proc_result r = millpond_cli(m, "explain", url_of("/film"), "-H", range, "--json", NULL);
    EXPECT(r.exit_code == 0, "%s", r.err);
    json_t *o = json_loads(r.out, 0, NULL);
    expect_in(json_string_value(json_object_get(o, "key")), key);
    assert_string_equal(json_string_value(json_object_get(o, "verdict")), verdict);
    json_decref(o);
}

static void explanations_are_about_the_slice(void **state)
{
    UNUSED(state);
    struct film *f = film_new(10 * SLICE);
    struct millpond *m = film_start(f, "");
    const char *third = textf("Range: bytes=%d-", 3 * SLICE);
    expect_explained(m, third, "/film slice:65536/3", "miss");
    film_expect(f, film_ask(m, 3 * SLICE, 3 * SLICE, ""), 3 * SLICE, 3 * SLICE);
    millpond_wait_figure(m, "cache_stored", 1);
    expect_explained(m, third, "/film slice:65536/3", "hit");
    expect_explained(m, "Range: bytes=-5", "/film slice:65536/0", "miss");
    const char *beyond = textf("Range: bytes=%d-", 11 * SLICE);
    expect_explained(m, beyond, "/film slice:65536/11", "miss");
    film_expect(f, film_ask(m, 0, 0, ""), 0, 0);
    millpond_wait_figure(m, "cache_stored", 2);
    expect_explained(m, beyond, "/film slice:65536/0", "hit"); /* which says that there is no more */
    expect_explained(m, "Range: bytes=0-1,5-6", "/film", "pass");
    millpond_purge(m, url_of("/film"));
    f->manner = FILM_IGNORES;
    film_expect_whole(f, client_get(m->port, "/film", ""));
    millpond_wait_figure(m, "cache_stored", 3);
    expect_explained(m, third, "/film", "hit"); /* of the whole */
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(a_range_is_served_from_one_slice_until_it_is_purged),
        E2E_TEST(a_range_goes_over_several_slices),
        E2E_TEST(the_whole_is_put_together),
        E2E_TEST(ranges_that_count_from_the_end_or_lie_beyond_it),
        E2E_TEST(small_ones_are_one_slice),
        E2E_TEST(conditions_are_judged_by_the_first_slice),
        E2E_TEST(several_ranges_are_passed),
        E2E_TEST(a_crowd_has_each_slice_fetched_once),
        E2E_TEST(a_client_of_http2),
        E2E_TEST(a_slow_client_pulls_nothing),
        E2E_TEST(slices_are_evicted_one_by_one),
        E2E_TEST(whatever_purges_the_url_purges_its_slices),
        E2E_TEST(explanations_are_about_the_slice),
    };
    return E2E_RUN("cache_slices", tests);
}
