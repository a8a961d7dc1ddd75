/* test_own_fetch.c: what becomes of a reader that is told that it is behind, whatever it was about to do. How
 * it goes on is in tests/e2e/cache_window.c. */
#include "proxy/own_fetch.h"

#include "cache/flight.h"
#include "fixture.h"
#include "proxy/upstream_pool.h"

#define ASK     "GET /p HTTP/1.1\r\nHost: h\r\n"
#define HOG     (10 * MB) /* of 16 */
#define ALL     (12 * MB)
#define WAITING (300 * KB)

struct own_fix {
    struct proxy_fix f;
    struct client_conn *c;
    struct exchange *x;
    struct cache_flight *hog, *fl;
    struct cache_follower *quick;
    uint64_t at, left_behind_before;
    int other;
};

static void ignore(void *arg)
{
    UNUSED(arg);
}

static void ignore_event(void *arg, enum cache_event event)
{
    UNUSED(arg);
    UNUSED(event);
}

static struct cache_flight *lead(struct own_fix *o, const char *path, int64_t body_bytes, bool begin)
{
    static const struct http_head none;
    char key_text[64];
    struct cache_key key;
    struct arena scratch;
    cache_key_build(key_text, SLICE_LIT("http"), SLICE_LIT("h"), slice_str(path), (slice_t){NULL, 0}, &key);
    arena_init(&scratch, NULL, 0, 64 * KB);
    struct cache_join_result j = cache_join(o->f.cache, &key, &none, &scratch, NULL, o->f.worker, NULL, NULL);
    assert_int_equal(j.what, CACHE_LEAD);
    arena_reset(&scratch);
    if (!begin)
        return j.flight;
    const struct cache_fill fill = {.request = &none,
                                    .response = &none,
                                    .head = SLICE_LIT("HTTP/1.1 200 OK\r\n"),
                                    .status = 200,
                                    .status_line_bytes = 17,
                                    .body_bytes = body_bytes,
                                    .max_object_bytes = 64 * MB,
                                    .fresh = {.response_ms = clock_wall_ms(), .lifetime_ms = 3600000}};
    enum no_store_reason why;
    assert_non_null(cache_fill_begin(j.flight, &fill, &why));
    return j.flight;
}

static void pour(struct own_fix *o, struct cache_flight *fl, uint64_t bytes)
{
    for (size_t room; bytes > 0; bytes -= room) {
        char *to = cache_fill_buffer(fl, &room);
        assert_non_null(to);
        room = (size_t)MIN((uint64_t)room, bytes);
        memset(to, 'b', room);
        cache_fill_commit(fl, room);
        o->at += fl == o->fl ? room : 0;
    }
}

/* The client's request waits for somebody's fetch; what it was given before may still be on its way. */
static void start(struct own_fix *o, const char *request, bool blocked)
{
    int bytes = 1;
    *o = (struct own_fix){.left_behind_before = metrics_total(METRIC_CACHE_LEFT_BEHIND)};
    fix_start(&o->f, FIX_APP, true);
    o->f.server.spill = upstream_spill_create();
    o->c = fix_client(&o->f, "192.0.2.7:1", &o->other);
    assert_int_equal(setsockopt(o->c->fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes), 0);
    o->fl = lead(o, "/p", 0, false);
    assert_int_equal(write(o->other, request, strlen(request)), strlen(request));
    o->c->readable = true;
    h1_server_run(o->c);
    o->x = o->c->exchange;
    assert_true(o->x != NULL && o->x->phase == PHASE_WAIT);
    if (!blocked)
        return;
    char *before = calloc(1, WAITING);
    client_out_add(o->c, before, WAITING, NULL);
    assert_false(client_out_flush(o->c));
    free(before);
}

/* The response begins and outgrows the memory, another reader has all there is and the client takes nothing:
 * until the moment before the client's reader is told. */
static void outgrow(struct own_fix *o)
{
    const struct cache_fill fill = {.request = &o->x->req,
                                    .response = &(struct http_head){0},
                                    .head = SLICE_LIT("HTTP/1.1 200 OK\r\n"),
                                    .status = 200,
                                    .status_line_bytes = 17,
                                    .body_bytes = ALL,
                                    .max_object_bytes = 64 * MB,
                                    .fresh = {.response_ms = clock_wall_ms(), .lifetime_ms = 3600000}};
    enum no_store_reason why;
    o->hog = lead(o, "/hog", HOG, true);
    pour(o, o->hog, HOG - 1);
    assert_non_null(cache_fill_begin(o->fl, &fill, &why));
    o->quick = cache_flight_follow(o->fl, o->f.worker, ignore_event, NULL);
    pour(o, o->fl, 200 * KB);
    worker_drain(o->f.worker);
    assert_int_equal(o->x->phase, PHASE_DELIVER);
    assert_true(client_out_is_blocked(o->c));
    pour(o, o->fl, ALL - 2 * MB); /* beyond what the other flight left */
    cache_follower_set_offset(o->quick, o->at);
    assert_true(cache_fill_should_pause(o->fl, ignore, NULL, o->f.worker));
}

static void end(struct own_fix *o)
{
    client_conn_close(o->c, CLOSE_CLIENT_CLOSED);
    if (o->fl != NULL)
        cache_fill_abort(&o->fl);
    cache_fill_abort(&o->hog);
    cache_follower_close(&o->quick);
    worker_drain(o->f.worker);
    assert_int_equal(o->f.pw->exchange_count, 0);
    close(o->other);
    upstream_spill_destroy(o->f.server.spill);
    fix_end(&o->f);
}

static uint64_t left_behind(const struct own_fix *o)
{
    return metrics_total(METRIC_CACHE_LEFT_BEHIND) - o->left_behind_before;
}

/* The client's end of the connection reads all that comes. */
static size_t receive(struct own_fix *o)
{
    static char buf[MB];
    size_t got = 0, n;
    do {
        n = fix_received(o->other, buf, sizeof buf);
        got += n;
        o->c->writable = true;
        if (n > 0)
            h1_server_run(o->c);
    } while (n > 0);
    return got;
}

static void test_before_its_head_it_asks_for_itself(void **state)
{
    UNUSED(state);
    struct own_fix o;
    start(&o, ASK "\r\n", true);
    outgrow(&o);
    assert_false(o.x->head_sent);
    worker_drain(o.f.worker);
    assert_int_equal(left_behind(&o), 1);
    assert_null(o.x->follower);
    assert_true(o.x->phase == PHASE_FETCH || o.x->source == SOURCE_LOCAL); /* nobody listens there */
    assert_null(o.x->own_fetch);
    assert_int_equal(o.x->verdict, VERDICT_MISS);
    assert_false(cache_flight_has_followers(o.fl));
    end(&o);
}

static void test_behind_its_head_it_waits_for_its_client(void **state)
{
    UNUSED(state);
    struct own_fix o;
    start(&o, ASK "\r\n", false);
    outgrow(&o);
    worker_drain(o.f.worker);
    assert_int_equal(left_behind(&o), 1);
    assert_null(o.x->follower);
    assert_null(o.x->object);
    assert_true(o.x->phase == PHASE_DELIVER && !o.x->body_cut);
    assert_int_equal(o.x->own_fetch->state, OWN_FETCH_WAITS);
    uint64_t given = o.x->own_fetch->offset;
    assert_true(o.x->own_fetch->has_value && given > 0 && given <= 256 * KB);
    size_t got = receive(&o);
    assert_true(got > given && got < given + 1024); /* nothing is lost of it */
    end(&o);
}

static void test_who_has_caught_up_stays(void **state)
{
    UNUSED(state);
    struct own_fix o;
    start(&o, ASK "\r\n", true);
    outgrow(&o);
    receive(&o); /* with the mail under way: it reads on, as far as its client takes it */
    client_out_discard(o.c);
    worker_drain(o.f.worker);
    assert_int_equal(o.x->source, SOURCE_FOLLOW);
    assert_int_equal(left_behind(&o), 0);
    end(&o);
}

static void test_when_the_fetch_has_ended_it_stays(void **state)
{
    UNUSED(state);
    struct own_fix o;
    start(&o, ASK "\r\n", false);
    outgrow(&o);
    cache_fill_abort(&o.fl); /* with the mail under way */
    worker_drain(o.f.worker);
    assert_int_equal(o.x->source, SOURCE_FOLLOW);
    assert_int_equal(left_behind(&o), 0);
    end(&o);
}

/* All of the range is out, but for what the client has not taken: that is copied, and the range is whole. */
static void test_range_that_was_given_is_whole(void **state)
{
    UNUSED(state);
    struct own_fix o;
    start(&o, ASK "Range: bytes=0-99999\r\n\r\n", false);
    outgrow(&o);
    worker_drain(o.f.worker);
    assert_int_equal(left_behind(&o), 1);
    assert_false(o.x->body_cut);
    size_t got = receive(&o);
    assert_in_range(got, 100000, 101000);
    assert_null(o.c->exchange);
    assert_int_equal(o.c->state, CLIENT_IDLE);
    end(&o);
}

static void range_is_cut(const char *request)
{
    struct own_fix o;
    start(&o, request, false);
    outgrow(&o);
    worker_drain(o.f.worker);
    assert_int_equal(left_behind(&o), 1);
    assert_true(o.x->body_cut);
    assert_true(receive(&o) < 9999999);
    assert_null(o.c->exchange);
    assert_int_equal(o.c->close_reason, CLOSE_LEFT_BEHIND);
    end(&o);
}

static void test_range_beyond_is_cut(void **state)
{
    UNUSED(state);
    range_is_cut(ASK "Range: bytes=0-9999999\r\n\r\n");
    range_is_cut(ASK "Range: bytes=0-9,100000-9999999\r\n\r\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_before_its_head_it_asks_for_itself),
        cmocka_unit_test(test_behind_its_head_it_waits_for_its_client),
        cmocka_unit_test(test_who_has_caught_up_stays),
        cmocka_unit_test(test_when_the_fetch_has_ended_it_stays),
        cmocka_unit_test(test_range_that_was_given_is_whole),
        cmocka_unit_test(test_range_beyond_is_cut),
    };
    return cmocka_run_group_tests_name("proxy/own_fetch", tests, fix_group_setup, fix_group_teardown);
}
