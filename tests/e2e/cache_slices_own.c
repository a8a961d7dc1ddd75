/* cache_slices_own.c: answers that are no slices, whose they are, and what is remembered of them. What goes
 * well is in cache_slices.c. */
#include "tests/support/film.h"
#include "tests/support/h2.h"

#define COOKIE "Cookie: me=1\r\n"

static struct client *ask(struct millpond *m, const char *fields)
{
    struct client *c = client_open(m->port);
    client_send(c, "GET /film HTTP/1.1\r\nHost: test\r\n%s\r\n", fields);
    return c;
}

static void expect_sliced(const struct film *f, unsigned number)
{
    assert_non_null(message_field(origin_request(f->origin, number), "Range"));
}

/* ---- whose answer it is ---- */

static void an_error_is_the_instances_own(void **state)
{
    UNUSED(state);
    struct film *f = film_new(3 * SLICE);
    f->fail_fields = "Cache-Control: no-store\r\nX-Why: tired\r\nRetry-After: 7\r\n";
    struct millpond *m = film_start(f, "");
    static const int statuses[] = {500, 503, 403, 404, 302};
    for (size_t i = 0; i < ARRAY_LEN(statuses); i++) {
        f->fails = statuses[i];
        struct message *r = client_get(m->port, "/film", i % 2 == 0 ? "" : "Range: bytes=70000-\r\n");
        expect_status(r, statuses[i]);
        expect_body(r, "it fails");
        expect_field(r, "X-Why", "tired");
        expect_field(r, "Retry-After", "7");
        struct client *c = client_open(m->port);
        client_send(c, "HEAD /film HTTP/1.1\r\nHost: test\r\n\r\n");
        r = client_read_no_body(c);
        expect_status(r, statuses[i]);
        expect_field(r, "X-Why", "tired");
    }
    f->fails = 500; /* once each, which is not tried elsewhere */
    const unsigned before = origin_requests(f->origin);
    client_get(m->port, "/film", "");
    assert_int_equal(origin_requests(f->origin), before + 1);
    f->fails = 0;
    film_expect_whole(f, client_get(m->port, "/film", ""));
    expect_sliced(f, before + 1);
    millpond_stop(m);
}

static void an_error_for_one_with_a_cookie_is_nobody_elses(void **state)
{
    UNUSED(state);
    struct film *f = film_new(SLICE);
    f->named = "Cookie";
    f->gate_at = 0;
    f->fails_named = 500;
    struct millpond *m = film_start(f, "");
    struct client *named = ask(m, COOKIE);
    gate_wait_arrived(f->gate, 1);
    struct client *other = ask(m, "");
    millpond_wait_figure(m, "followers_now", 2);
    gate_open(f->gate);
    film_expect_whole(f, client_read(other));
    struct message *r = client_read(named);
    expect_status(r, 500);
    expect_body(r, "it fails");
    millpond_stop(m);
}

/* Each gets the answer that was made for it, by one request each. */
static void a_crowd_with_cookies_asks_one_by_one(void **state)
{
    UNUSED(state);
    enum { CROWD = 12 };
    struct film *f = film_new(SLICE);
    f->named = "Cookie";
    f->gate_at = 0;
    f->fails_named = 500;
    struct millpond *m = film_start(f, "");
    struct client *c[CROWD];
    for (int i = 0; i < CROWD; i++)
        c[i] = ask(m, textf("Cookie: me=%d\r\n", i));
    gate_wait_arrived(f->gate, 1);
    millpond_wait_figure(m, "followers_now", CROWD);
    gate_open(f->gate);
    for (int i = 0; i < CROWD; i++)
        expect_body(client_read(c[i]), "it fails");
    assert_int_equal(origin_requests(f->origin), CROWD);
    millpond_stop(m);
}

/* An error for nobody in particular is told to all who wait for it. */
static void an_error_for_all_is_asked_for_once(void **state)
{
    UNUSED(state);
    enum { CROWD = 12 };
    struct film *f = film_new(SLICE);
    f->gate_at = 0;
    f->fails = 500;
    struct millpond *m = film_start(f, "");
    struct client *c[CROWD];
    for (int i = 0; i < CROWD; i++)
        c[i] = ask(m, "");
    gate_wait_arrived(f->gate, 1);
    millpond_wait_figure(m, "followers_now", CROWD);
    gate_open(f->gate);
    for (int i = 0; i < CROWD; i++)
        expect_status(client_read(c[i]), 500);
    assert_int_equal(origin_requests(f->origin), 1);
    millpond_stop(m);
}

/* What may be stored is found by all who waited for the slice. */
static void an_answer_that_is_stored_is_asked_for_once(void **state)
{
    UNUSED(state);
    enum { CROWD = 12 };
    static const char *const fields[] = {"Cache-Control: max-age=60\r\n",
                                         "Cache-Control: max-age=60\r\nVary: Accept-Encoding\r\n"};
    for (int round = 0; round < 4; round++) {
        struct film *f = film_new(3 * SLICE);
        f->gate_at = 0;
        f->fails = round < 2 ? 404 : 0;
        f->manner = FILM_IGNORES;
        f->fields = f->fail_fields = fields[round % 2];
        struct millpond *m = film_start(f, "");
        struct client *c[CROWD];
        for (int i = 0; i < CROWD; i++)
            c[i] = ask(m, "");
        gate_wait_arrived(f->gate, 1);
        millpond_wait_figure(m, "followers_now", CROWD);
        gate_open(f->gate);
        for (int i = 0; i < CROWD; i++) {
            if (round < 2)
                expect_status(client_read(c[i]), 404);
            else
                film_expect_whole(f, client_read(c[i]));
        }
        assert_int_equal(origin_requests(f->origin), 1);
        millpond_stop(m);
    }
}

/* The answer changes hands on a connection that requests share. */
static void an_instance_that_speaks_http2(void **state)
{
    UNUSED(state);
    const struct h2_listener instance = h2_listen();
    struct millpond *m =
        millpond_start(.main = "workers = 1\n", .listen = "protocols = h2, http/1.1, h2c\n",
                       .rest = textf("[pool app]\nserver = 127.0.0.1:%d\nprotocol = h2\nhealth_check = off\n"
                                     "[route all]\npool = app\nslice = 64K\n",
                                     instance.port));
    struct h2_client *c = h2_open(m->port);
    h2_get(c, 1, "/a");
    struct h2_client *i = h2_accept(&instance, 0, 0);
    h2_get(c, 3, "/b");
    h2_get(c, 5, "/c");
    struct client *c1 = ask(m, "Range: bytes=70000-\r\n");
    for (uint32_t id = 1; id <= 7; id += 2)
        expect_in(h2_wait_asked(i, id)->head, "\nrange: bytes=");
    h2_headers(i, NGHTTP2_FLAG_END_STREAM, 1, ":status", "404", "x-why", "gone");
    h2_expect(c, 1, 404, "");
    expect_in(h2_answer(c, 1)->head, "x-why: gone\n");
    h2_headers(i, 0, 3, ":status", "500", "cache-control", "no-store");
    h2_headers(i, 0, 5, ":status", "200", "cache-control", "max-age=60");
    h2_headers(i, 0, 7, ":status", "403", "cache-control", "no-store");
    h2_data(i, 0, 5, "the ", 4);
    h2_data(i, 0, 7, "keep ", 5);
    h2_wait_body(c, 5, 4);
    h2_data(i, NGHTTP2_FLAG_END_STREAM, 3, "tired", 5);
    h2_data(i, NGHTTP2_FLAG_END_STREAM, 5, "whole", 5);
    h2_data(i, NGHTTP2_FLAG_END_STREAM, 7, "out", 3);
    h2_expect(c, 3, 500, "tired");
    h2_expect(c, 5, 200, "the whole");
    struct message *r = client_read(c1);
    expect_status(r, 403);
    expect_body(r, "keep out");
    /* One that leaves in the middle of what it was given. */
    h2_get(c, 7, "/d");
    h2_wait_asked(i, 9);
    h2_headers(i, 0, 9, ":status", "500", "cache-control", "no-store");
    h2_data(i, 0, 9, "half", 4);
    h2_wait_body(c, 7, 4);
    h2_reset(c, 7, NGHTTP2_CANCEL);
    millpond_wait_figure(m, "fetches_in_flight", 0);
    millpond_stop(m);
}

/* ---- what is remembered ---- */

static void expect_still_sliced(struct film *f, struct millpond *m, const char *fields, int status)
{
    film_expect(f, film_ask(m, 0, 0, ""), 0, 0);
    expect_status(film_ask(m, SLICE, SLICE, fields), status);
    const unsigned before = origin_requests(f->origin);
    struct message *r = film_ask(m, 0, 0, "");
    film_expect(f, r, 0, 0);
    expect_field_in(r, "Cache-Status", "hit");
    film_expect(f, film_ask(m, 2 * SLICE, 2 * SLICE, ""), 2 * SLICE, 2 * SLICE);
    assert_int_equal(origin_requests(f->origin), before + 1);
    FILM_ASKED(f, before, textf("bytes=%d-%d", 2 * SLICE, 3 * SLICE - 1));
}

static void what_one_client_gets_says_nothing_of_the_url(void **state)
{
    UNUSED(state);
    static const char *const fields[] = {"Authorization: Basic eDp5\r\n", COOKIE, "Accept: odd/*\r\n"};
    static const char *const named[] = {"Authorization", "Cookie", "Accept"};
    static const int statuses[] = {403, 406, 401, 200};
    for (size_t who = 0; who < ARRAY_LEN(named); who++) {
        for (size_t i = 0; i < ARRAY_LEN(statuses); i++) {
            struct film *f = film_new(4 * SLICE);
            const bool whole = statuses[i] == 200;
            if (whole && who == 2)
                continue; /* it says that it is the same for all */
            f->named = named[who];
            f->fails_named = whole ? 0 : statuses[i];
            f->manner_named = whole ? FILM_IGNORES : FILM_SERVES;
            struct millpond *m = film_start(f, "max_object_size = 128K\n"); /* none is stored whole */
            expect_still_sliced(f, m, fields[who], statuses[i]);
            millpond_stop(m);
        }
    }
}

static void what_is_stored_is_served_although_ranges_are_gone(void **state)
{
    UNUSED(state);
    struct film *f = film_new(5 * SLICE);
    struct millpond *m = film_start(f, "max_object_size = 128K\n");
    film_expect(f, film_ask(m, 0, 3 * SLICE - 1, ""), 0, 3 * SLICE - 1);
    millpond_wait_figure(m, "cache_stored", 3);
    f->manner = FILM_IGNORES;
    film_expect_whole(f, film_ask(m, 4 * SLICE, 4 * SLICE, ""));
    const unsigned before = origin_requests(f->origin);
    struct proc_result p =
        millpond_cli(m, "explain", url_of("/film"), "-H", "Range: bytes=9-99", "--json", NULL);
    expect_in(p.out, "slice:65536/0");
    expect_in(p.out, "\"verdict\":\"hit\"");
    p = millpond_cli(m, "explain", url_of("/film"), "-H", textf("Range: bytes=%d-", 3 * SLICE), "--json",
                     NULL);
    expect_not_in(p.out, "slice:65536");
    film_expect(f, film_ask(m, 5, 3 * SLICE - 9, ""), 5, 3 * SLICE - 9);
    expect_status(film_ask(m, 5 * SLICE, 5 * SLICE, ""), 416);
    assert_int_equal(origin_requests(f->origin), before);
    film_expect_whole(f, client_get(m->port, "/film", "")); /* of which not all is stored */
    assert_int_equal(origin_requests(f->origin), before + 1);
    expect_no_field(origin_request(f->origin, before), "Range");
    millpond_stop(m);
}

/* ---- in the middle of a response ---- */

static void expect_refused_once(struct film *f, struct millpond *m, const char *fields)
{
    struct message *r = client_get(m->port, "/film", fields);
    expect_end(r, MESSAGE_CUT);
    assert_int_equal(r->body_len, 2 * SLICE);
    assert_int_equal(origin_requests(f->origin), 3);
}

static void a_slice_that_is_refused_is_asked_for_once(void **state)
{
    UNUSED(state);
    static const int statuses[] = {404, 403, 200, 206};
    static const char *const fields[] = {"", COOKIE, "Authorization: Basic eDp5\r\n"};
    for (size_t i = 0; i < ARRAY_LEN(statuses) * ARRAY_LEN(fields); i++) {
        const int status = statuses[i % ARRAY_LEN(statuses)];
        const char *who = fields[i / ARRAY_LEN(statuses)];
        struct film *f = film_new(5 * SLICE);
        f->fields = "Cache-Control: public, max-age=600\r\n";
        f->odd_from = 2 * SLICE;
        f->fails = status < 300 ? 0 : status;
        f->manner = status == 200 ? FILM_IGNORES : status == 206 ? FILM_SHIFTS : FILM_SERVES;
        struct millpond *m = film_start(f, "max_object_size = 128K\n");
        expect_refused_once(f, m, who);
        /* The next request does not begin with what cannot go on. */
        f->odd_from = 0;
        struct message *r = client_get(m->port, "/film", who);
        if (status < 300)
            film_expect_whole(f, r);
        else
            expect_status(r, status);
        expect_end(r, MESSAGE_COMPLETE);
        millpond_stop(m);
    }
}

/* ---- clients of HTTP/2 ---- */

static struct millpond *start_streams(struct film *f, int streams)
{
    return millpond_start_(&(struct millpond_options){
        .listen = textf("protocols = h2, http/1.1, h2c\nh2_max_streams = %d\n", streams),
        .rest = textf("%s[route all]\npool = app\nslice = 64K\n", pool_lines("app", 1, f->origin))});
}

static void get_slice(struct h2_client *c, uint32_t id, int index)
{
    h2_headers(c, NGHTTP2_FLAG_END_STREAM, id, H2_GET("/film"), "range",
               textf("bytes=%d-%d", index * SLICE, (index + 1) * SLICE - 1));
}

/* What has begun to be stored goes on, and counts. */
static void fetches_of_streams_that_were_reset_count(void **state)
{
    UNUSED(state);
    struct film *f = film_new(20 * SLICE);
    f->half = gate_new();
    struct millpond *m = start_streams(f, 2);
    struct h2_client *c = h2_open(m->port);
    h2_sync(c);
    for (uint32_t id = 1; id <= 3; id += 2) {
        get_slice(c, id, (int)id);
        h2_wait_body(c, id, SLICE / 2);
        h2_reset(c, id, NGHTTP2_CANCEL);
    }
    h2_sync(c);
    assert_int_equal(millpond_figure(m, "fetches_in_flight"), 2);
    get_slice(c, 5, 5);
    assert_int_equal(h2_wait(c, 5)->reset, NGHTTP2_REFUSED_STREAM);
    assert_int_equal(origin_requests(f->origin), 2);
    gate_open(f->half);
    millpond_wait_figure(m, "fetches_in_flight", 0);
    get_slice(c, 7, 7);
    assert_int_equal(h2_wait(c, 7)->body_len, SLICE);
    millpond_stop(m);
}

/* A stream has one fetch at a time. */
static void a_stream_counts_for_one_fetch(void **state)
{
    UNUSED(state);
    struct film *f = film_new(4 * SLICE);
    f->half = gate_new();
    struct millpond *m = start_streams(f, 1);
    struct h2_client *c = h2_open(m->port);
    h2_sync(c);
    h2_get(c, 1, "/film");
    h2_wait_body(c, 1, SLICE / 2);
    assert_int_equal(millpond_figure(m, "fetches_in_flight"), 1);
    gate_open(f->half);
    struct h2_answer *a = h2_wait(c, 1);
    assert_int_equal(a->body_len, f->size);
    assert_true(film_is(f, a->body, 0, f->size));
    assert_int_equal(origin_requests(f->origin), 4);
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(an_error_is_the_instances_own),
        E2E_TEST(an_error_for_one_with_a_cookie_is_nobody_elses),
        E2E_TEST(a_crowd_with_cookies_asks_one_by_one),
        E2E_TEST(an_error_for_all_is_asked_for_once),
        E2E_TEST(an_answer_that_is_stored_is_asked_for_once),
        E2E_TEST(an_instance_that_speaks_http2),
        E2E_TEST(what_one_client_gets_says_nothing_of_the_url),
        E2E_TEST(what_is_stored_is_served_although_ranges_are_gone),
        E2E_TEST(a_slice_that_is_refused_is_asked_for_once),
        E2E_TEST(fetches_of_streams_that_were_reset_count),
        E2E_TEST(a_stream_counts_for_one_fetch),
    };
    return E2E_RUN("cache_slices_own", tests);
}
