/* cache_flight_ends.c: how shared fetches end badly, or for nobody: errors, stalls, those who leave and those
 * who do not read; and fetches that confirm what is stored. */
#include "tests/support/millpond.h"

#define ASK    "GET /p HTTP/1.1\r\nHost: test\r\n\r\n"
#define HERD   50
#define ONE    "retries = 0\n"
#define FIELDS "Cache-Control: max-age=600\r\n"

/* Answers from `head` on, with a gate before and one behind it; what it does then is up to `then`. */
struct app {
    struct gate *before, *behind;
    const char *_Atomic head, *_Atomic rest;
    _Atomic bool resets, hangs;
};

static void app_script(struct origin_conn *c, const struct message *request, void *arg)
{
    struct app *a = arg;
    UNUSED(request);
    gate_pass(a->before);
    const char *head = a->head, *rest = a->rest;
    if (head != NULL)
        origin_send(c, "%s", head);
    gate_pass(a->behind);
    if (a->hangs)
        origin_wait_peer_close(c);
    else if (a->resets)
        origin_reset(c);
    else if (rest != NULL)
        origin_send(c, "%s", rest);
}

/* The gate before is shut, the one behind open. */
static struct app *app_new(const char *head, const char *rest)
{
    struct app *a = calloc(1, sizeof(*a));
    a->before = gate_new();
    a->behind = gate_new();
    gate_open(a->behind);
    a->head = head;
    a->rest = rest;
    support_on_end(free, a);
    return a;
}

static struct client *herd[HERD];

/* The first of them leads, all others wait. */
static void herd_asks(struct millpond *m, const char *request)
{
    for (unsigned i = 0; i < HERD; i++) {
        herd[i] = client_open(m->port);
        client_send(herd[i], "%s", request);
        if (i == 0)
            millpond_wait_figure(m, "flights_now", 1);
    }
    millpond_wait_figure(m, "followers_now", HERD - 1);
}

/* ---- errors ---- */

static void failed_fetch_answers_the_whole_herd(void **state)
{
    UNUSED(state);
    struct app *a = app_new(NULL, NULL);
    a->resets = true;
    struct origin *o = origin_start(app_script, a);
    struct millpond *m = millpond_before(o, ONE);
    herd_asks(m, ASK);
    gate_open(a->before);
    for (unsigned i = 0; i < HERD; i++)
        expect_status(client_read(herd[i]), 502);
    assert_int_equal(origin_requests(o), 1); /* a failing instance does not get the herd on top */
    a->resets = false;
    a->head = "HTTP/1.1 200 OK\r\n" FIELDS "Content-Length: 2\r\n\r\nok";
    expect_body(client_get(m->port, "/p", ""), "ok"); /* nothing of it is remembered */
    expect_field_in(client_get(m->port, "/p", ""), "Cache-Status", "hit");
    assert_int_equal(origin_requests(o), 2);
    millpond_stop(m);
}

static void error_status_answers_the_whole_herd(void **state)
{
    UNUSED(state);
    struct app *a = app_new("HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy", NULL);
    struct origin *o = origin_start(app_script, a);
    struct millpond *m = millpond_before(o, ONE);
    for (unsigned round = 1; round <= 2; round++) {
        herd_asks(m, ASK);
        gate_let(a->before, 1);
        expect_body(client_read(herd[0]), "busy");
        for (unsigned i = 1; i < HERD; i++) {
            struct message *r = client_read(herd[i]);
            expect_status(r, 503);
            EXPECT(strstr(r->body, "busy") == NULL, "what may not be shared was");
            client_close(herd[i]);
        }
        assert_int_equal(origin_requests(o), round); /* and the next ones ask again, together */
    }
    millpond_stop(m);
}

static void error_of_one_client_is_not_that_of_others(void **state)
{
    UNUSED(state);
    static const struct {
        const char *leader, *follower;
        unsigned requests;
    } rows[] = {
        {"", "Cookie: id=1\r\n", 2},
        {"", "Authorization: Basic YTpi\r\n", 2},
        {"Cookie: id=1\r\n", "", 2},
        {"", "", 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct app *a = app_new("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", NULL);
        struct origin *o = origin_start(app_script, a);
        struct millpond *m = millpond_before(o, "");
        struct client *leader = client_open(m->port), *follower = client_open(m->port);
        client_send(leader, "GET /p HTTP/1.1\r\nHost: test\r\n%s\r\n", rows[i].leader);
        gate_wait_arrived(a->before, 1);
        client_send(follower, "GET /p HTTP/1.1\r\nHost: test\r\n%s\r\n", rows[i].follower);
        millpond_wait_figure(m, "followers_now", 1);
        gate_let(a->before, 1);
        expect_status(client_read(leader), 500);
        a->head = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        gate_open(a->before);
        expect_status(client_read(follower), rows[i].requests == 2 ? 200 : 500);
        assert_int_equal(origin_requests(o), rows[i].requests);
        millpond_stop(m);
    }
}

static void server_errors_are_kept_for_ttl_5xx_only(void **state)
{
    UNUSED(state);
    static const struct {
        const char *section, *fields;
        bool hit;
    } rows[] = {
        {"", "", false},
        {"[route r]\nttl_5xx = 0\n", "", false},
        {"[route r]\nttl_5xx = 0\n", FIELDS, false},
        {"[route r]\nttl_5xx = 1h\n", "", true},
        {"[route r]\nttl_5xx = 1h\n", "Age: 7200\r\n", true}, /* counts from arrival */
        {"", FIELDS, true},                                   /* what it says itself */
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct app *a =
            app_new(textf("HTTP/1.1 503 Busy\r\n%sContent-Length: 4\r\n\r\nbusy", rows[i].fields), NULL);
        gate_open(a->before);
        struct origin *o = origin_start(app_script, a);
        struct millpond *m = millpond_before(o, textf(ONE "%s", rows[i].section));
        for (unsigned n = 0; n < 3; n++)
            expect_body(client_get(m->port, "/p", ""), "busy");
        EXPECT(origin_requests(o) == (rows[i].hit ? 1 : 3), "row %zu: %u", i, origin_requests(o));
        millpond_stop(m);
    }
}

static void stalled_instance_ends_all_waits(void **state)
{
    UNUSED(state);
    struct app *a = app_new(NULL, NULL);
    a->hangs = true;
    gate_open(a->before);
    struct origin *o = origin_start(app_script, a);
    struct millpond *m = millpond_before(o, ONE "response_timeout = 1s\n");
    herd_asks(m, ASK);
    for (unsigned i = 0; i < HERD; i++)
        expect_status(client_read(herd[i]), 504);
    assert_int_equal(origin_requests(o), 1);
    a->head = "HTTP/1.1 200 OK\r\n" FIELDS "Content-Length: 100\r\n\r\nbegin";
    for (unsigned i = 0; i < HERD; i++)
        client_send(herd[i], ASK);
    for (unsigned i = 0; i < HERD; i++) {
        struct message *r = client_read(herd[i]);
        EXPECT(r->end == MESSAGE_CUT || r->end == MESSAGE_RESET, "%s", message_end_name(r->end));
        expect_body(r, "begin");
    }
    assert_int_equal(origin_requests(o), 2);
    assert_int_equal(millpond_figure(m, "objects"), 0);
    millpond_stop(m);
}

/* ---- a fetch for nobody ---- */

static void head_that_nobody_waits_for_is_not_fetched(void **state)
{
    UNUSED(state);
    struct app *a = app_new(NULL, NULL);
    struct origin *o = origin_start(app_script, a);
    struct millpond *m = millpond_before(o, "");
    struct client *c = client_open(m->port);
    client_send(c, ASK);
    gate_wait_arrived(a->before, 1);
    client_reset(c);
    millpond_wait_figure(m, "fetches_in_flight", 0); /* while the instance still thinks */
    millpond_wait_figure(m, "flights_now", 0);
    gate_open(a->before);
    millpond_stop(m);
    origin_stop(o);
}

static void storable_body_is_fetched_without_its_client(void **state)
{
    UNUSED(state);
    struct app *a = app_new("HTTP/1.1 200 OK\r\n" FIELDS "Content-Length: 6\r\n\r\nbeg", "end");
    gate_open(a->before);
    gate_shut(a->behind);
    struct origin *o = origin_start(app_script, a);
    struct millpond *m = millpond_before(o, "");
    struct client *c = client_open(m->port);
    client_send(c, ASK);
    client_read_head(c);
    client_wait_bytes(c, 3);
    client_reset(c);
    millpond_wait_figure(m, "client_connections", 0);
    gate_open(a->behind);
    millpond_wait_figure(m, "cache_stored", 1);
    struct message *r = client_get(m->port, "/p", "");
    expect_field_in(r, "Cache-Status", "hit");
    expect_body(r, "begend");
    millpond_stop(m);
}

static void unstorable_body_is_not(void **state)
{
    UNUSED(state);
    struct app *a =
        app_new("HTTP/1.1 200 OK\r\nCache-Control: private\r\nContent-Length: 6\r\n\r\nbeg", "end");
    gate_open(a->before);
    a->hangs = true;
    struct origin *o = origin_start(app_script, a);
    struct millpond *m = millpond_before(o, "");
    struct client *c = client_open(m->port);
    client_send(c, ASK);
    client_read_head(c);
    client_wait_bytes(c, 3);
    client_reset(c);
    origin_wait_open(o, 0);
    millpond_wait_figure(m, "fetches_in_flight", 0);
    millpond_stop(m);
}

/* ---- slow readers ---- */

#define ENDLESS (64 * MB)

static void endless_script(struct origin_conn *c, const struct message *request, void *arg)
{
    static const char block[64 * KB];
    UNUSED(request);
    gate_pass(arg);
    origin_send(c, "HTTP/1.1 200 OK\r\n" FIELDS "Transfer-Encoding: chunked\r\n\r\n");
    for (size_t i = 0; i < ENDLESS / sizeof(block); i++)
        origin_send_chunk(c, block, sizeof(block));
    origin_send_chunk(c, NULL, 0);
}

/* What is too large to be stored takes no more memory than a window, although somebody does not read on. */
static void window_is_all_that_is_kept(void **state)
{
    UNUSED(state);
    struct gate *g = gate_new();
    struct origin *o = origin_start(endless_script, g);
    struct millpond *m =
        millpond_start(.cache = "max_object_size = 1M\nmemory_size = 8M", .rest = pool_lines("app", 1, o));
    struct client *slow = client_open_rcvbuf(m->port, 4096), *quick = client_open(m->port);
    client_send(slow, ASK);
    gate_wait_arrived(g, 1);
    client_send(quick, ASK);
    millpond_wait_figure(m, "followers_now", 1);
    gate_open(g);
    assert_int_equal(client_read_head(slow)->status, 200); /* and reads no further */
    struct message *r = client_read_head(quick);
    assert_int_equal(r->status, 200);
    assert_int_equal(wire_discard(&quick->wire, ENDLESS), ENDLESS); /* the framing of chunks comes on top */
    EXPECT(support_sanitized() || millpond_memory(m, "VmHWM") < ENDLESS / 2, "memory rose to %llu KB",
           (unsigned long long)(millpond_memory(m, "VmHWM") / KB));
    assert_int_equal(origin_requests(o), 1);
    millpond_stop(m);
}

/* The memory of what is gone from the cache is held by who still reads it, and no longer. */
static void slow_reader_keeps_a_purged_object_only_so_long(void **state)
{
    UNUSED(state);
    const size_t bytes = 8 * MB;
    struct origin *o = origin_start_fixed(
        textf("HTTP/1.1 200 OK\r\n" FIELDS "Content-Length: %zu\r\n\r\n%s", bytes, text_repeat('s', bytes)));
    struct millpond *m = millpond_start(.listen = "write_timeout = 2s", .rest = pool_lines("app", 1, o));
    struct client *slow = client_open_rcvbuf(m->port, 4096);
    client_send(slow, ASK);
    assert_int_equal(client_read_head(slow)->status, 200);
    millpond_wait_figure(m, "cache_stored", 1);
    millpond_purge(m, url_of("/p"));
    assert_int_equal(millpond_figure(m, "objects"), 0);
    assert_int_equal(client_get(m->port, "/p", "")->body_len, bytes); /* not held up */
    assert_int_equal(origin_requests(o), 2);
    millpond_wait_figure(m, "client_connections", 0);
    millpond_wait_figure(m, "live_objects", 1); /* the new one */
    millpond_stop(m);
}

/* ---- confirming ---- */

static void one_question_confirms_for_all(void **state)
{
    UNUSED(state);
    struct app *a = app_new("HTTP/1.1 200 OK\r\nCache-Control: max-age=0\r\nETag: \"a\"\r\n"
                            "Content-Length: 4\r\n\r\npage",
                            NULL);
    gate_open(a->before);
    struct origin *o = origin_start(app_script, a);
    struct millpond *m = millpond_before(o, "");
    expect_body(client_get(m->port, "/p", ""), "page");
    gate_shut(a->before);
    a->head = "HTTP/1.1 304 Not Modified\r\n" FIELDS "ETag: \"a\"\r\n\r\n";
    herd_asks(m, ASK);
    gate_open(a->before);
    for (unsigned i = 0; i < HERD; i++) {
        struct message *r = client_read(herd[i]);
        expect_status(r, 200);
        expect_body(r, "page");
        expect_field_in(r, "Cache-Status", i == 0 ? "fwd=stale; fwd-status=304" : "collapsed");
    }
    assert_int_equal(origin_requests(o), 2);
    expect_field(origin_request(o, 1), "If-None-Match", "\"a\"");
    expect_field_in(client_get(m->port, "/p", ""), "Cache-Status", "hit; ttl=");
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(failed_fetch_answers_the_whole_herd),
        E2E_TEST(error_status_answers_the_whole_herd),
        E2E_TEST(error_of_one_client_is_not_that_of_others),
        E2E_TEST(server_errors_are_kept_for_ttl_5xx_only),
        E2E_TEST(stalled_instance_ends_all_waits),
        E2E_TEST(head_that_nobody_waits_for_is_not_fetched),
        E2E_TEST(storable_body_is_fetched_without_its_client),
        E2E_TEST(unstorable_body_is_not),
        E2E_TEST(window_is_all_that_is_kept),
        E2E_TEST(slow_reader_keeps_a_purged_object_only_so_long),
        E2E_TEST(one_question_confirms_for_all),
    };
    return E2E_RUN("cache_flight_ends", tests);
}
