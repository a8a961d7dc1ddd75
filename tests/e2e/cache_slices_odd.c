/* cache_slices_odd.c: responses from slices when the instance changes, cuts, fails, lies or knows no ranges,
 * and when purges and clients come in between. What goes well is in cache_slices.c. */
#include "tests/support/film.h"
#include "tests/support/redis.h"

static void expect_cut(struct millpond *m, const char *why)
{
    millpond_wait_access(m, textf("\"fetch_error\":\"%s\"", why), 1);
    millpond_wait_access(m, "\"close\":\"upstream_cut\"", 1);
}

/* ---- versions ---- */

/* The film is replaced while a response is under way: never are two versions put together. */
static void a_change_in_the_middle_cuts_the_response(void **state)
{
    UNUSED(state);
    struct film *f = film_new(10 * SLICE);
    f->change_from = 5 * SLICE;
    struct millpond *m = film_start(f, "");
    struct message *r = client_get(m->port, "/film", "");
    expect_end(r, MESSAGE_CUT);
    assert_int_equal(r->body_len, 5 * SLICE);
    assert_true(film_is(f, r->body, 0, r->body_len));
    expect_cut(m, "changed");
    assert_int_equal(millpond_figure(m, "cache_slices_changed"), 1);
    /* By now all of it is the new one: what was stored of the old one is dropped as it is come across. */
    f->change_from = 0;
    f->version = 2;
    r = client_get(m->port, "/film", "");
    film_expect_whole(f, r);
    expect_field(r, "ETag", "\"v2\"");
    film_expect(f, film_ask(m, 2 * SLICE - 1, 6 * SLICE, ""), 2 * SLICE - 1, 6 * SLICE);
    assert_int_equal(millpond_figure(m, "cache_slices_changed"), 1);
    millpond_stop(m);
}

/* Slices of an old version lie around a new one: they are fetched anew, and the response is whole. */
static void old_slices_are_fetched_anew(void **state)
{
    UNUSED(state);
    struct film *f = film_new(4 * SLICE);
    struct millpond *m = film_start(f, "");
    film_expect(f, film_ask(m, SLICE, 3 * SLICE, ""), SLICE, 3 * SLICE);
    f->version = 2;
    film_expect_whole(f, client_get(m->port, "/film", ""));
    assert_int_equal(origin_requests(f->origin), 7);
    assert_int_equal(millpond_figure(m, "cache_slices_changed"), 0);
    millpond_stop(m);
}

static void a_film_that_became_shorter(void **state)
{
    UNUSED(state);
    struct film *f = film_new(8 * SLICE);
    struct millpond *m = film_start(f, "");
    film_expect(f, film_ask(m, 0, 9, ""), 0, 9);
    f->version = 2;
    f->size = 2 * SLICE;
    struct message *r = film_ask(m, 5 * SLICE, 5 * SLICE + 1, "");
    expect_status(r, 416);
    expect_field(r, "Content-Range", textf("bytes */%d", 2 * SLICE));
    film_expect_whole(f, client_get(m->port, "/film", ""));
    millpond_stop(m);
}

static void stale_slices_are_confirmed_or_replaced(void **state)
{
    UNUSED(state);
    struct film *f = film_new(3 * SLICE);
    struct millpond *m = film_start(f, "");
    film_expect_whole(f, client_get(m->port, "/film", ""));
    struct proc_result p = millpond_cli(m, "purge", "--soft", url_of("/film"), NULL);
    EXPECT(p.exit_code == 0, "%s%s", p.out, p.err);
    struct message *r = client_get(m->port, "/film", "");
    film_expect_whole(f, r);
    expect_field_in(r, "Cache-Status", "fwd=stale; fwd-status=304");
    for (unsigned i = 3; i < 6; i++) {
        expect_field(origin_request(f->origin, i), "If-None-Match", "\"v1\"");
        assert_non_null(message_field(origin_request(f->origin, i), "Range"));
    }
    assert_int_equal(origin_requests(f->origin), 6);
    film_expect_whole(f, client_get(m->port, "/film", ""));
    assert_int_equal(origin_requests(f->origin), 6);
    p = millpond_cli(m, "purge", "--soft", url_of("/film"), NULL);
    f->version = 2;
    film_expect_whole(f, client_get(m->port, "/film", ""));
    assert_int_equal(origin_requests(f->origin), 9);
    millpond_stop(m);
}

static void stale_slices_stand_in_for_errors(void **state)
{
    UNUSED(state);
    struct film *f = film_new(3 * SLICE);
    f->fields = "Cache-Control: max-age=600, stale-if-error=600\r\n";
    struct millpond *m = film_start(f, "");
    film_expect_whole(f, client_get(m->port, "/film", ""));
    millpond_cli(m, "purge", "--soft", url_of("/film"), NULL);
    f->fails = 503;
    struct message *r = client_get(m->port, "/film", "");
    film_expect_whole(f, r);
    expect_field_in(r, "Cache-Status", "detail=stale_if_error");
    origin_stop(f->origin);
    film_expect_whole(f, client_get(m->port, "/film", ""));
    millpond_stop(m);
}

static void stale_slices_are_renewed_behind_the_response(void **state)
{
    UNUSED(state);
    struct film *f = film_new(3 * SLICE);
    f->fields = "Cache-Control: max-age=600, stale-while-revalidate=600\r\n";
    struct millpond *m = film_start(f, "");
    film_expect_whole(f, client_get(m->port, "/film", ""));
    millpond_cli(m, "purge", "--soft", url_of("/film"), NULL);
    f->gate_at = 3;
    struct message *r = client_get(m->port, "/film", "");
    film_expect_whole(f, r);
    expect_field_in(r, "Cache-Status", "detail=stale_while_revalidate");
    gate_open(f->gate);
    millpond_wait_figure(m, "cache_revalidations", 3);
    expect_field_in(client_get(m->port, "/film", ""), "Cache-Status", "hit");
    assert_int_equal(origin_requests(f->origin), 6);
    millpond_stop(m);
}

/* ---- what cannot be sliced ---- */

/* Its first answer is not thrown away. */
static void an_instance_without_ranges_is_asked_for_the_whole_once(void **state)
{
    UNUSED(state);
    struct film *f = film_new(3 * SLICE);
    f->manner = FILM_IGNORES;
    struct millpond *m = film_start(f, "");
    film_expect_whole(f, client_get(m->port, "/film", ""));
    film_expect(f, film_ask(m, 2 * SLICE, 2 * SLICE + 1, ""), 2 * SLICE, 2 * SLICE + 1);
    assert_int_equal(origin_requests(f->origin), 1);
    millpond_purge(m, url_of("/film"));
    film_expect(f, film_ask(m, 0, 1, ""), 0, 1);
    assert_int_equal(origin_requests(f->origin), 2);
    expect_no_field(origin_request(f->origin, 1), "Range"); /* it is remembered */
    millpond_stop(m);
}

static void other_answers_are_as_without_slices(void **state)
{
    UNUSED(state);
    struct film *f = film_new(3 * SLICE);
    f->fails = 404;
    struct millpond *m = film_start(f, "");
    struct message *r = client_get(m->port, "/film", "");
    expect_status(r, 404);
    expect_body(r, "it fails");
    f->fails = 500;
    expect_status(client_get(m->port, "/other", ""), 500);
    f->fails = 0;
    f->fields = "Cache-Control: private\r\n";
    film_expect_whole(f, client_get(m->port, "/film", ""));
    f->fields = "Cache-Control: max-age=600\r\nSet-Cookie: a=b\r\n";
    film_expect(f, client_get(m->port, "/set", "Range: bytes=70000-70009\r\n"), 70000, 70009);
    millpond_stop(m);
}

static void without_a_strong_validator_nothing_is_put_together(void **state)
{
    UNUSED(state);
    static const char *const weak[] = {"", "ETag: W/\"v1\"\r\n"};
    for (size_t i = 0; i < ARRAY_LEN(weak); i++) {
        struct film *f = film_new(3 * SLICE);
        f->etag = weak[i];
        struct millpond *m = film_start(f, "");
        for (int n = 0; n < 2; n++)
            film_expect_whole(f, client_get(m->port, "/film", ""));
        assert_int_equal(origin_requests(f->origin), 2);
        expect_no_field(origin_request(f->origin, 1), "Range");
        millpond_stop(m);
    }
}

static void an_instance_that_lies_about_ranges(void **state)
{
    UNUSED(state);
    struct film *f = film_new(4 * SLICE);
    f->manner = FILM_SHIFTS;
    struct millpond *m = film_start(f, "");
    film_expect_whole(f, client_get(m->port, "/film", "")); /* by its 200, which is none of that */
    assert_int_equal(origin_requests(f->origin), 2);
    millpond_stop(m);
    f = film_new(4 * SLICE);
    f->manner = FILM_MISSTATES;
    m = film_start(f, "");
    expect_end(client_get(m->port, "/film", ""), MESSAGE_CUT);
    expect_cut(m, "changed");
    millpond_stop(m);
}

/* Of which the film has two. */
static void many_ranges_beyond_the_end(void **state)
{
    UNUSED(state);
    struct film *f = film_new(3 * SLICE);
    struct millpond *m = film_start(f, "");
    char fields[4096] = "Range: bytes=0-0,2-2";
    size_t n = strlen(fields);
    for (int i = 0; i < 40; i++)
        n += (size_t)snprintf(fields + n, sizeof fields - n, ",%d-%d", 900000000 + 2 * i, 900000000 + 2 * i);
    snprintf(fields + n, sizeof fields - n, "\r\n");
    for (int i = 0; i < 2; i++) {
        film_expect_whole(f, client_get(m->port, "/film", fields)); /* so the instance has it */
        film_expect(f, film_ask(m, 0, 0, ""), 0, 0);
    }
    millpond_wait_access(m, "\"no_store\":\"ranges\"", 2);
    millpond_stop(m);
}

/* Who is refused for what he says of himself does not change how others are served. */
static void a_refused_client_is_alone_with_it(void **state)
{
    UNUSED(state);
    struct film *f = film_new(3 * SLICE);
    struct millpond *m = film_start(f, "");
    film_expect(f, film_ask(m, 0, 0, ""), 0, 0);
    f->fails = 401;
    expect_status(film_ask(m, SLICE, SLICE, "Authorization: Basic eDp5\r\n"), 401);
    f->fails = 0;
    const unsigned before = origin_requests(f->origin);
    expect_field_in(film_ask(m, 0, 0, ""), "Cache-Status", "hit");
    assert_int_equal(origin_requests(f->origin), before);
    millpond_stop(m);
}

/* Nor does who waits for the same slice get an error that may be about him. */
static void an_error_of_a_client_is_its_own(void **state)
{
    UNUSED(state);
    struct film *f = film_new(SLICE);
    struct millpond *m = film_start(f, "");
    f->gate_at = 0;
    f->fails_named = 503;
    struct client *named = client_open(m->port), *other = client_open(m->port);
    client_send(named, "GET /film HTTP/1.1\r\nHost: test\r\nAuthorization: Basic eDp5\r\n\r\n");
    gate_wait_arrived(f->gate, 1);
    client_send(other, "GET /film HTTP/1.1\r\nHost: test\r\n\r\n");
    millpond_wait_figure(m, "requests_in_flight", 2);
    gate_open(f->gate);
    film_expect_whole(f, client_read(other));
    expect_status(client_read(named), 503);
    millpond_stop(m);
}

/* By RFC 9111 section 4.4. */
static void an_unsafe_request_takes_slices_away(void **state)
{
    UNUSED(state);
    struct film *f = film_new(3 * SLICE);
    struct millpond *m = film_start(f, "");
    film_expect_whole(f, client_get(m->port, "/film", ""));
    f->version = 2;
    expect_status(client_ask_(m->port, "POST", "/film", "", "x"), 200);
    film_expect(f, film_ask(m, SLICE, 3 * SLICE - 1, ""), SLICE, 3 * SLICE - 1);
    millpond_stop(m);
}

/* Conditions are the client's, and stay here. */
static void conditions_do_not_reach_the_instance(void **state)
{
    UNUSED(state);
    struct film *f = film_new(3 * SLICE);
    struct millpond *m = film_start(f, "");
    client_get(m->port, "/film",
               "If-Match: \"other\"\r\nIf-Unmodified-Since: Sat, 01 Jan 2000 00:00:00 GMT\r\n"
               "If-Range: \"old\"\r\n");
    for (unsigned i = 0; i < origin_requests(f->origin); i++) {
        expect_no_field(origin_request(f->origin, i), "If-Match");
        expect_no_field(origin_request(f->origin, i), "If-Unmodified-Since");
        expect_no_field(origin_request(f->origin, i), "If-Range");
    }
    millpond_stop(m);
}

/* ---- trouble ---- */

/* The rest of the slice is asked for again, and the client notices nothing. */
static void a_slice_that_is_cut_is_fetched_again(void **state)
{
    UNUSED(state);
    struct film *f = film_new(5 * SLICE);
    f->cut_at = 2;
    struct millpond *m = film_start(f, "");
    film_expect_whole(f, client_get(m->port, "/film", ""));
    assert_int_equal(origin_requests(f->origin), 6);
    film_expect_whole(f, client_get(m->port, "/film", ""));
    assert_int_equal(origin_requests(f->origin), 6);
    millpond_stop(m);
}

static void an_instance_that_dies_cuts_the_response(void **state)
{
    UNUSED(state);
    struct film *f = film_new(5 * SLICE);
    f->gate_at = 2;
    struct millpond *m = film_start(f, "");
    struct client *c = client_open(m->port);
    client_send(c, "GET /film HTTP/1.1\r\nHost: test\r\n\r\n");
    struct message *r = client_read_head(c);
    gate_wait_arrived(f->gate, 1);
    f->fails = 503;
    gate_open(f->gate);
    wire_read_body(&c->wire, r);
    expect_end(r, MESSAGE_CUT);
    assert_int_equal(r->body_len, 2 * SLICE);
    expect_cut(m, "error_status");
    f->fails = 0;
    film_expect_whole(f, client_get(m->port, "/film", ""));
    millpond_stop(m);
}

static void an_instance_that_is_away_is_an_error(void **state)
{
    UNUSED(state);
    struct film *f = film_new(5 * SLICE);
    struct millpond *m = film_start(f, "");
    origin_stop(f->origin);
    expect_status(client_get(m->port, "/film", ""), 502);
    expect_status(film_ask(m, SLICE, SLICE, ""), 502);
    millpond_stop(m);
}

/* A response under way may end with what it began with; who asks after the purge gets none of that. */
static void a_purge_in_the_middle(void **state)
{
    UNUSED(state);
    struct film *f = film_new(6 * SLICE);
    f->gate_at = 3;
    struct millpond *m = film_start(f, "");
    struct client *c = client_open(m->port);
    client_send(c, "GET /film HTTP/1.1\r\nHost: test\r\n\r\n");
    struct message *r = client_read_head(c);
    gate_wait_arrived(f->gate, 1); /* its fourth slice is on its way */
    millpond_purge(m, url_of("/film"));
    struct message *later = client_get(m->port, "/film", "");
    film_expect_whole(f, later);
    expect_field_in(later, "Cache-Status", "fwd=uri-miss");
    assert_int_equal(origin_requests(f->origin), 4 + 6);
    f->version = 2;
    millpond_purge(m, url_of("/film"));
    later = client_get(m->port, "/film", "");
    film_expect_whole(f, later);
    expect_field(later, "ETag", "\"v2\"");
    gate_open(f->gate); /* the instance answers with the new version, of which the first has no use */
    wire_read_body(&c->wire, r);
    expect_end(r, MESSAGE_CUT);
    assert_int_equal(r->body_len, 3 * SLICE);
    f->version = 1;
    assert_true(film_is(f, r->body, 0, r->body_len));
    millpond_stop(m);
}

/* What has begun goes on, although more want the same slice than may wait. */
static void more_readers_than_may_wait(void **state)
{
    UNUSED(state);
    struct film *f = film_new(4 * SLICE);
    f->gate_at = 1;
    struct millpond *m = film_start(f, "max_waiters = 1\n");
    film_expect(f, film_ask(m, 0, 0, ""), 0, 0);
    struct client *c[4];
    struct message *r[ARRAY_LEN(c)];
    for (size_t i = 0; i < ARRAY_LEN(c); i++) {
        c[i] = client_open(m->port);
        client_send(c[i], "GET /film HTTP/1.1\r\nHost: test\r\n\r\n");
        r[i] = client_read_head(c[i]);
    }
    gate_wait_arrived(f->gate, 1);
    gate_open(f->gate);
    for (size_t i = 0; i < ARRAY_LEN(c); i++) {
        wire_read_body(&c[i]->wire, r[i]);
        film_expect_whole(f, r[i]);
    }
    assert_int_equal(origin_requests(f->origin), 4);
    millpond_stop(m);
}

/* The slice under way is finished, and nothing else begun. */
static void a_client_that_leaves(void **state)
{
    UNUSED(state);
    struct film *f = film_new(100 * SLICE);
    f->gate_at = 1;
    struct millpond *m = film_start(f, "");
    struct client *c = client_open(m->port);
    client_send(c, "GET /film HTTP/1.1\r\nHost: test\r\n\r\n");
    expect_status(client_read_head(c), 200);
    gate_wait_arrived(f->gate, 1);
    client_reset(c);
    millpond_wait_idle(m);
    gate_open(f->gate);
    assert_int_equal(origin_requests(f->origin), 2);
    expect_field_in(film_ask(m, 0, 5, ""), "Cache-Status", "hit");
    millpond_stop(m);
}

/* Nobody waits for what was asked for on its behalf. */
static void a_client_that_leaves_before_the_head(void **state)
{
    UNUSED(state);
    struct film *f = film_new(100 * SLICE);
    f->gate_at = 0;
    struct millpond *m = film_start(f, "");
    struct client *c = client_open(m->port);
    client_send(c, "GET /film HTTP/1.1\r\nHost: test\r\n\r\n");
    gate_wait_arrived(f->gate, 1);
    client_reset(c);
    millpond_wait_idle(m);
    gate_open(f->gate);
    film_expect(f, film_ask(m, 0, 5, ""), 0, 5);
    assert_int_equal(origin_requests(f->origin), 2);
    millpond_stop(m);
}

/* It has said all, and waits for the answer. */
static void a_client_that_closes_its_side(void **state)
{
    UNUSED(state);
    struct film *f = film_new(40 * SLICE);
    struct millpond *m = film_start(f, "");
    film_expect_whole(f, client_get(m->port, "/film", ""));
    millpond_wait_figure(m, "cache_stored", 40);
    struct client *c = client_open_rcvbuf(m->port, 4096);
    client_send(c, "GET /film HTTP/1.1\r\nHost: test\r\n\r\n");
    client_half_close(c);
    film_expect_whole(f, client_read(c));
    millpond_stop(m);
}

static void slices_vary_like_anything_else(void **state)
{
    UNUSED(state);
    struct film *f = film_new(2 * SLICE);
    f->fields = "Cache-Control: max-age=600\r\nVary: Accept-Encoding\r\n";
    struct millpond *m = film_start(f, "");
    static const char *const ways[] = {"Accept-Encoding: gzip\r\n", "Accept-Encoding: br\r\n", ""};
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < ARRAY_LEN(ways); i++)
            film_expect_whole(f, client_get(m->port, "/film", ways[i]));
    }
    assert_int_equal(origin_requests(f->origin), 6); /* each way has slices of its own */
    millpond_stop(m);
}

static void cookies_and_credentials(void **state)
{
    UNUSED(state);
    struct film *f = film_new(2 * SLICE);
    struct millpond *m = film_start(f, "");
    for (int i = 0; i < 2; i++)
        film_expect_whole(f, client_get(m->port, "/film", "Authorization: Basic eDp5\r\n"));
    const unsigned before = origin_requests(f->origin);
    assert_true(before >= 3); /* nothing of it is shared */
    film_expect_whole(f, client_get(m->port, "/film", ""));
    assert_true(origin_requests(f->origin) > before);
    f->fields = "Cache-Control: public, max-age=600\r\n";
    film_expect_whole(f, client_get(m->port, "/open", "Authorization: Basic eDp5\r\n"));
    const unsigned shared = origin_requests(f->origin);
    film_expect_whole(f, client_get(m->port, "/open", "Authorization: Basic eDp5\r\n"));
    film_expect_whole(f, client_get(m->port, "/open", ""));
    assert_int_equal(origin_requests(f->origin), shared);
    millpond_stop(m);
}

/* There is hardly room for a slice. */
static void with_little_memory(void **state)
{
    UNUSED(state);
    struct film *f = film_new(200 * SLICE);
    struct millpond *m = film_start_listening(f, "memory_size = 1M\nmax_object_size = 256K\n",
                                              "min_rate = 0\n"); /* the others may take long */
    struct client *slow = client_open_rcvbuf(m->port, 4096);
    client_send(slow, "GET /film HTTP/1.1\r\nHost: test\r\n\r\n");
    struct message *r = client_read_head(slow);
    for (int i = 0; i < 3; i++)
        film_expect_whole(f, client_get(m->port, "/film", ""));
    wire_read_body(&slow->wire, r);
    film_expect_whole(f, r);
    millpond_stop(m);
}

/* The slice ahead cannot be asked for; when it is needed, the connection of the one before it is free. */
static void with_few_descriptors(void **state)
{
    UNUSED(state);
    struct film *f = film_new(20 * SLICE);
    struct millpond *m = millpond_start_(&(struct millpond_options){
        .max_fds = 80,
        .main = "workers = 1\nmax_connections = 1000",
        .rest = textf("%s[route all]\npool = app\nslice = 64K\n", pool_lines("app", 1, f->origin))});
    struct client *first = client_open(m->port);
    client_send(first, "GET /film HTTP/1.1\r\nHost: test\r\nRange: bytes=0-0\r\n\r\n");
    film_expect(f, client_read(first), 0, 0);
    for (int i = 0; i < 120; i++)
        client_open(m->port);
    for (int i = 0; i < 2; i++) {
        client_send(first, "GET /film HTTP/1.1\r\nHost: test\r\n\r\n");
        film_expect_whole(f, client_read(first));
    }
    assert_int_equal(origin_requests(f->origin), 20);
    millpond_stop(m);
}

/* What it has is not known to be right before. */
static void wait_until_purges_are_followed(struct millpond *m)
{
    const mono_ms_t until_ms = clock_mono_ms() + support_wait_ms();
    while (!json_is_true(json_object_get(json_object_get(millpond_status(m), "purges"), "follows")))
        EXPECT(clock_mono_ms() < until_ms, "the stream of purges is not followed");
}

static void slices_stay_out_of_redis(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("r", NULL);
    static const char *const stores[] = {"store = tiered", "store = redis"};
    for (size_t i = 0; i < ARRAY_LEN(stores); i++) {
        struct film *f = film_new(3 * SLICE);
        struct millpond *m = millpond_start_(&(struct millpond_options){
            .name = textf("node%zu", i),
            .cache = stores[i],
            .rest = textf("%s[route all]\npool = app\nslice = 64K\n[redis]\nurl = redis://%s\n",
                          pool_lines("app", 1, f->origin), p->address)});
        wait_until_purges_are_followed(m);
        film_expect_whole(f, client_get(m->port, "/film", ""));
        if (i == 1)
            expect_no_field(origin_request(f->origin, 0), "Range"); /* as without */
        else
            film_expect_whole(f, client_get(m->port, "/film", ""));
        assert_int_equal(origin_requests(f->origin), i == 0 ? 3 : 1);
        if (i == 0)
            expect_not_in(redis_do(p, "KEYS *"), "slice");
        millpond_stop(m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(a_change_in_the_middle_cuts_the_response),
        E2E_TEST(old_slices_are_fetched_anew),
        E2E_TEST(a_film_that_became_shorter),
        E2E_TEST(stale_slices_are_confirmed_or_replaced),
        E2E_TEST(stale_slices_stand_in_for_errors),
        E2E_TEST(stale_slices_are_renewed_behind_the_response),
        E2E_TEST(an_instance_without_ranges_is_asked_for_the_whole_once),
        E2E_TEST(other_answers_are_as_without_slices),
        E2E_TEST(without_a_strong_validator_nothing_is_put_together),
        E2E_TEST(an_instance_that_lies_about_ranges),
        E2E_TEST(many_ranges_beyond_the_end),
        E2E_TEST(a_refused_client_is_alone_with_it),
        E2E_TEST(an_error_of_a_client_is_its_own),
        E2E_TEST(an_unsafe_request_takes_slices_away),
        E2E_TEST(conditions_do_not_reach_the_instance),
        E2E_TEST(a_slice_that_is_cut_is_fetched_again),
        E2E_TEST(an_instance_that_dies_cuts_the_response),
        E2E_TEST(an_instance_that_is_away_is_an_error),
        E2E_TEST(a_purge_in_the_middle),
        E2E_TEST(more_readers_than_may_wait),
        E2E_TEST(a_client_that_leaves),
        E2E_TEST(a_client_that_leaves_before_the_head),
        E2E_TEST(a_client_that_closes_its_side),
        E2E_TEST(slices_vary_like_anything_else),
        E2E_TEST(cookies_and_credentials),
        E2E_TEST(with_little_memory),
        E2E_TEST(with_few_descriptors),
        E2E_TEST(slices_stay_out_of_redis),
    };
    return E2E_RUN("cache_slices_odd", tests);
}
