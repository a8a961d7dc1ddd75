/* balance_tries.c: what a route says about the tries of its requests: `timeout` is for all of them together,
 * and retry_idempotency_key makes a POST one that may be repeated. */
#include "tests/support/millpond.h"

#define NO_STORE "store = off"

/* Requests for /free are answered, others wait at the gate, those for /begun behind their head. */
static void held_script(struct origin_conn *c, const struct message *request, void *arg)
{
    const bool begun = strcmp(request->target, "/begun") == 0;
    if (begun)
        origin_send(c, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n");
    if (strcmp(request->target, "/free") != 0)
        gate_pass(arg);
    if (begun)
        origin_send(c, "end");
    else
        origin_respond(c, 200, "", request->body_len > 0 ? request->body : "free");
}

static void expect_fetch_error(struct millpond *m, const char *target, const char *error)
{
    json_t *line = millpond_access_line(m, textf("\"%s\"", target));
    assert_string_equal(json_string_value(json_object_get(line, "fetch_error")), error);
}

static void one_timeout_is_for_all_tries(void **state)
{
    UNUSED(state);
    struct gate *g = gate_new();
    struct origin *a = origin_start(held_script, g), *b = origin_start(held_script, g);
    struct millpond *m =
        millpond_start(.cache = NO_STORE,
                       .rest = textf("%sresponse_timeout = 200ms\nretries = 7\nretry_budget = 100%%\n"
                                     "eject_errors = 0\n[route r]\ntimeout = 500ms\n",
                                     pool_lines("app", 2, a, b)));
    expect_status(client_get(m->port, "/x", ""), 504);
    expect_fetch_error(m, "/x", "timeout");
    unsigned tries = origin_requests(a) + origin_requests(b);
    EXPECT(tries >= 2 && tries <= 3, "%u tries", tries);
    gate_open(g);
    expect_body(client_get(m->port, "/x", ""), "free");
    millpond_stop(m);
}

static void busy_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(request);
    UNUSED(arg);
    origin_respond(c, 503, "", "busy");
}

static void an_answer_that_is_not_taken_does_not_end_it(void **state)
{
    UNUSED(state);
    struct gate *g = gate_new();
    struct origin *busy = origin_start(busy_script, NULL), *stuck = origin_start(held_script, g);
    struct millpond *m =
        millpond_start(.main = "workers = 1", .cache = NO_STORE,
                       .rest = textf("%sretry_budget = 100%%\neject_errors = 0\n[route r]\ntimeout = 100ms\n",
                                     pool_lines("app", 2, busy, stuck)));
    expect_status(client_get(m->port, "/x", ""), 504);
    expect_status(client_get(m->port, "/x", ""), 504);
    assert_true(origin_requests(busy) >= 1);
    millpond_stop(m);
}

/* Requests that are given up one after the other tell how much time has passed. */
static void let_two_timeouts_pass(struct millpond *m)
{
    expect_status(client_get(m->port, "/x", ""), 504);
    expect_status(client_get(m->port, "/x", ""), 504);
}

static void a_response_that_has_begun_takes_its_time(void **state)
{
    UNUSED(state);
    struct gate *g = gate_new();
    struct origin *o = origin_start(held_script, g);
    struct millpond *m =
        millpond_before(o, "eject_errors = 0\n[cache]\nstore = off\n[route r]\ntimeout = 100ms\n");
    struct client *c = client_open(m->port);
    client_send(c, "GET /begun HTTP/1.1\r\nHost: test\r\n\r\n");
    expect_status(client_read_head(c), 200);
    let_two_timeouts_pass(m);
    gate_open(g);
    assert_memory_equal(client_wait_bytes(c, 3), "end", 3);
    millpond_stop(m);
    origin_stop(o);
}

static void a_slow_upload_is_the_clients_own_time(void **state)
{
    UNUSED(state);
    struct gate *g = gate_new();
    struct origin *o = origin_start(held_script, g);
    struct millpond *m =
        millpond_before(o, "eject_errors = 0\n[cache]\nstore = off\n[route r]\ntimeout = 100ms\n");
    struct client *c = client_open(m->port);
    client_send(c, "POST /free HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\na");
    let_two_timeouts_pass(m);
    assert_true(client_is_silent(c));
    client_send(c, "b");
    expect_body(client_read(c), "ab");
    gate_open(g);
    millpond_stop(m);
    origin_stop(o);
}

static void it_ends_the_wait_for_room_as_well(void **state)
{
    UNUSED(state);
    struct gate *g = gate_new();
    struct origin *o = origin_start(held_script, g);
    struct millpond *m =
        millpond_start(.cache = NO_STORE,
                       .rest =
                           textf("[pool app]\nhealth_check = off\nqueue_timeout = 1h\nserver = 127.0.0.1:%d "
                                 "max_connections=1\n[route q]\npath = /queued\ntimeout = 100ms\n[route r]\n",
                                 origin_port(o)));
    struct client *runs = client_open(m->port);
    client_send(runs, "GET /runs HTTP/1.1\r\nHost: test\r\n\r\n");
    gate_wait_arrived(g, 1);
    expect_status(client_get(m->port, "/queued", ""), 504);
    expect_fetch_error(m, "/queued", "timeout");
    assert_int_equal(millpond_figure(m, "queued"), 0);
    gate_open(g);
    expect_body(client_read(runs), "free");
    expect_body(client_get(m->port, "/queued", ""), "free");
    millpond_stop(m);
    origin_stop(o);
}

static void who_had_all_the_time_has_failed(void **state)
{
    UNUSED(state);
    struct gate *g = gate_new();
    struct origin *stuck = origin_start(held_script, g), *good = origin_start_named("good");
    struct millpond *m =
        millpond_start(.cache = NO_STORE, .rest = textf("[pool app]\nhealth_check = off\neject_errors = 2\n"
                                                        "server = 127.0.0.1:%d name=stuck\n"
                                                        "server = 127.0.0.1:%d name=good\n"
                                                        "[route r]\ntimeout = 50ms\n",
                                                        origin_port(stuck), origin_port(good)));
    unsigned failed = 0;
    for (int i = 0; i < 8 && failed < 2; i++)
        failed += client_get(m->port, "/x", "")->status == 504;
    assert_int_equal(failed, 2);
    millpond_wait_state(m, "stuck", "ejected");
    gate_open(g);
    millpond_stop(m);
}

/* ---- Idempotency-Key ---- */

static void reset_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(request);
    UNUSED(arg);
    origin_reset(c);
}

static void echo_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(arg);
    origin_respond(c, 200, "Cache-Control: no-store\r\n", request->body);
}

static unsigned lost_of_ten(struct millpond *m, const char *method, const char *path, const char *fields)
{
    unsigned lost = 0;
    for (int i = 0; i < 10; i++) {
        struct message *r = client_ask(m->port, method, path, fields, "pay 7");
        lost += r->status == 502;
        if (r->status != 502)
            expect_body(r, "pay 7");
    }
    return lost;
}

static void a_keyed_post_is_tried_again_where_the_route_allows(void **state)
{
    UNUSED(state);
    struct origin *bad = origin_start(reset_script, NULL), *good = origin_start(echo_script, NULL);
    struct millpond *m =
        millpond_start(.main = "workers = 1", .cache = NO_STORE,
                       .rest = textf("%sretry_budget = 100%%\neject_errors = 0\n"
                                     "[route pay]\npath = /pay\nretry_idempotency_key = yes\n[route r]\n",
                                     pool_lines("app", 2, bad, good)));
    assert_int_equal(lost_of_ten(m, "POST", "/pay", "Idempotency-Key: \"8e03\"\r\n"), 0);
    assert_int_equal(lost_of_ten(m, "PATCH", "/pay", "idempotency-key: 1\r\n"), 0);
    assert_true(origin_requests(bad) >= 5);
    assert_true(lost_of_ten(m, "POST", "/pay", "") > 0);
    assert_true(lost_of_ten(m, "POST", "/pay", "Idempotency-Key:\r\n") > 0);
    assert_true(lost_of_ten(m, "POST", "/other", "Idempotency-Key: 1\r\n") > 0);
    millpond_stop(m);
}

/* ---- bodies ---- */

/* 16 KB are kept to be sent again, and not a byte more, however the length is told. */
static void a_body_is_sent_again_up_to_a_bound(void **state)
{
    UNUSED(state);
    enum { KEPT = 16 * 1024, TIMES = 6 };
    struct origin *bad = origin_start(reset_script, NULL), *good = origin_start(echo_script, NULL);
    struct millpond *m = millpond_start(.main = "workers = 1", .cache = NO_STORE,
                                        .rest = textf("%sretry_budget = 100%%\neject_errors = 0\n",
                                                      pool_lines("app", 2, bad, good)));
    for (unsigned chunked = 0; chunked < 2; chunked++) {
        for (unsigned more = 0; more < 2; more++) {
            char *body = text_repeat('b', KEPT + more);
            const char *request =
                chunked ? textf("PUT / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
                                "5\r\nbbbbb\r\n%zx\r\n%s\r\n0\r\n\r\n",
                                strlen(body) - 5, body + 5)
                        : textf("PUT / HTTP/1.1\r\nHost: test\r\nContent-Length: %zu\r\n\r\n%s", strlen(body),
                                body);
            unsigned lost = 0, before = origin_requests(bad);
            for (int i = 0; i < TIMES; i++) {
                struct message *r = client_raw(m->port, request);
                lost += r->status == 502;
                if (r->status != 502)
                    expect_body(r, body);
            }
            assert_true(origin_requests(bad) > before);
            EXPECT(more ? lost == origin_requests(bad) - before : lost == 0, "%s, %u more: %u of %d lost",
                   chunked ? "chunked" : "with a length", more, lost, TIMES);
        }
    }
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(one_timeout_is_for_all_tries),
        E2E_TEST(an_answer_that_is_not_taken_does_not_end_it),
        E2E_TEST(a_response_that_has_begun_takes_its_time),
        E2E_TEST(a_slow_upload_is_the_clients_own_time),
        E2E_TEST(it_ends_the_wait_for_room_as_well),
        E2E_TEST(who_had_all_the_time_has_failed),
        E2E_TEST(a_keyed_post_is_tried_again_where_the_route_allows),
        E2E_TEST(a_body_is_sent_again_up_to_a_bound),
    };
    return E2E_RUN("balance_tries", tests);
}
