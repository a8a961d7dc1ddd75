/* cache_flight.c: one fetch per key at a time, shared while it comes.
 * Origins hold their answers at gates, and the gates are opened only after every client is known to be
 * waiting or to have its first byte, so nothing here depends on who is quicker. */
#include "tests/support/millpond.h"

#define LONG  "Cache-Control: max-age=600\r\n"
#define ASK   "GET /p HTTP/1.1\r\nHost: test\r\n\r\n"
#define HERD  1000
#define FIRST "first bytes "
#define REST  "and the rest"
#define WHOLE FIRST REST

/* Two gates on the way of an answer: before its head, and between the halves of its body. */
struct slow_page {
    struct gate *before_head, *before_rest;
    const char *fields;
    bool chunked;
};

static void slow_script(struct origin_conn *c, const struct message *request, void *arg)
{
    struct slow_page *p = arg;
    UNUSED(request);
    gate_pass(p->before_head);
    if (p->chunked) {
        origin_send(c, "HTTP/1.1 200 OK\r\n%sTransfer-Encoding: chunked\r\n\r\n", p->fields);
        origin_send_chunk(c, FIRST, strlen(FIRST));
        gate_pass(p->before_rest);
        origin_send_chunk(c, REST, strlen(REST));
        origin_send_chunk(c, NULL, 0);
    } else {
        origin_send(c, "HTTP/1.1 200 OK\r\n%sContent-Length: %zu\r\n\r\n" FIRST, p->fields, strlen(WHOLE));
        gate_pass(p->before_rest);
        origin_send(c, REST);
    }
}

/* The page outlives its origin: what was registered first is undone last. */
static struct slow_page *slow_page(const char *fields, bool head_open, bool rest_open)
{
    struct slow_page *p = calloc(1, sizeof(*p));
    p->before_head = gate_new();
    p->before_rest = gate_new();
    p->fields = fields;
    if (head_open)
        gate_open(p->before_head);
    if (rest_open)
        gate_open(p->before_rest);
    support_on_end(free, p);
    return p;
}

static void open_gates(struct slow_page *p)
{
    gate_open(p->before_head);
    gate_open(p->before_rest);
}

static struct client *ask(struct millpond *m, const char *request)
{
    struct client *c = client_open(m->port);
    client_send(c, "%s", request);
    return c;
}

/* ---- sharing ---- */

static void herd_shares_one_fetch(bool chunked)
{
    struct slow_page *p = slow_page(LONG, true, false);
    p->chunked = chunked;
    struct origin *o = origin_start(slow_script, p);
    struct millpond *m = millpond_before(o, "");
    static struct client *herd[HERD];
    for (int i = 0; i < HERD; i++)
        herd[i] = ask(m, ASK);
    struct message *heads[HERD];
    for (int i = 0; i < HERD; i++) { /* the origin still holds the rest */
        heads[i] = client_read_head(herd[i]);
        assert_int_equal(heads[i]->status, 200);
        expect_in(client_wait_bytes(herd[i], strlen(FIRST)), "first");
    }
    assert_int_equal(origin_requests(o), 1);
    gate_open(p->before_rest);
    for (int i = 0; i < HERD; i++) {
        wire_read_body(&herd[i]->wire, heads[i]);
        expect_end(heads[i], MESSAGE_COMPLETE);
        expect_body(heads[i], WHOLE);
    }
    assert_int_equal(origin_requests(o), 1);
    expect_field_in(client_get(m->port, "/p", ""), "Cache-Status", "hit");
    expect_field_in(heads[HERD - 1], "Cache-Status", "collapsed");
    assert_int_equal(millpond_figure(m, "cache_collapsed"), HERD - 1);
    for (int i = 0; i < HERD; i++)
        client_close(herd[i]);
    millpond_wait_idle(m);
    millpond_wait_figure(m, "followers_now", 0);
    millpond_wait_figure(m, "flights_now", 0);
    millpond_stop(m);
}

static void thousand_clients_make_one_request(void **state)
{
    UNUSED(state);
    herd_shares_one_fetch(false);
}

static void thousand_clients_share_a_chunked_answer(void **state)
{
    UNUSED(state);
    herd_shares_one_fetch(true);
}

static void herd_waits_for_the_head_together(void **state)
{
    UNUSED(state);
    struct slow_page *p = slow_page(LONG, false, true);
    struct origin *o = origin_start(slow_script, p);
    struct millpond *m = millpond_before(o, "");
    struct client *herd[100];
    for (size_t i = 0; i < ARRAY_LEN(herd); i++)
        herd[i] = ask(m, ASK);
    millpond_wait_figure(m, "requests_in_flight", ARRAY_LEN(herd));
    origin_wait_requests(o, 1);
    assert_int_equal(origin_requests(o), 1);
    gate_open(p->before_head);
    for (size_t i = 0; i < ARRAY_LEN(herd); i++)
        expect_body(client_read(herd[i]), WHOLE);
    assert_int_equal(origin_requests(o), 1);
    millpond_stop(m);
}

static void unstorable_herd_is_released_together(void **state)
{
    UNUSED(state);
    struct slow_page *p = slow_page("Cache-Control: private\r\n", false, true);
    struct origin *o = origin_start(slow_script, p);
    struct millpond *m = millpond_before(o, "");
    struct client *herd[50];
    for (size_t i = 0; i < ARRAY_LEN(herd); i++)
        herd[i] = ask(m, ASK);
    millpond_wait_figure(m, "requests_in_flight", ARRAY_LEN(herd));
    origin_wait_requests(o, 1);
    assert_int_equal(origin_requests(o), 1);
    gate_let(p->before_head, 1);                        /* the leader learns that it is private ... */
    gate_wait_arrived(p->before_head, ARRAY_LEN(herd)); /* ... and all others are at the origin at once */
    gate_open(p->before_head);
    for (size_t i = 0; i < ARRAY_LEN(herd); i++)
        expect_body(client_read(herd[i]), WHOLE);
    assert_int_equal(origin_requests(o), ARRAY_LEN(herd));
    /* The key is remembered: the next herd does not queue up behind one. */
    gate_shut(p->before_head);
    for (size_t i = 0; i < ARRAY_LEN(herd); i++)
        client_send(herd[i], ASK);
    gate_wait_arrived(p->before_head, 2 * ARRAY_LEN(herd));
    gate_open(p->before_head);
    for (size_t i = 0; i < ARRAY_LEN(herd); i++)
        expect_body(client_read(herd[i]), WHOLE);
    millpond_stop(m);
    origin_stop(o);
}

static void varying_answer_goes_only_to_its_own(void **state)
{
    UNUSED(state);
    struct slow_page *p = slow_page(LONG "Vary: X-Lang\r\n", false, true);
    struct origin *o = origin_start(slow_script, p);
    struct millpond *m = millpond_before(o, "");
    struct client *de = ask(m, "GET /p HTTP/1.1\r\nHost: test\r\nX-Lang: de\r\n\r\n");
    gate_wait_arrived(p->before_head, 1);
    struct client *en = ask(m, "GET /p HTTP/1.1\r\nHost: test\r\nX-Lang: en\r\n\r\n");
    millpond_wait_figure(m, "requests_in_flight", 2);
    open_gates(p);
    expect_body(client_read(de), WHOLE);
    expect_body(client_read(en), WHOLE);
    assert_int_equal(origin_requests(o), 2);
    expect_field(origin_request(o, 1), "X-Lang", "en");
    millpond_stop(m);
    origin_stop(o);
}

/* ---- who leaves, who fails, who is slow ---- */

static void leader_gone_before_the_head(void **state)
{
    UNUSED(state);
    struct slow_page *p = slow_page(LONG, false, true);
    struct origin *o = origin_start(slow_script, p);
    struct millpond *m = millpond_before(o, "");
    struct client *leader = ask(m, ASK);
    gate_wait_arrived(p->before_head, 1);
    struct client *others[10];
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        others[i] = ask(m, ASK);
    millpond_wait_figure(m, "requests_in_flight", 1 + ARRAY_LEN(others));
    client_reset(leader);
    millpond_wait_figure(m, "client_connections", ARRAY_LEN(others));
    open_gates(p);
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        expect_body(client_read(others[i]), WHOLE);
    assert_int_equal(origin_requests(o), 1); /* the fetch went on */
    millpond_stop(m);
    origin_stop(o);
}

static void leader_gone_in_the_middle(void **state)
{
    UNUSED(state);
    struct slow_page *p = slow_page(LONG, true, false);
    struct origin *o = origin_start(slow_script, p);
    struct millpond *m = millpond_before(o, "");
    struct client *leader = ask(m, ASK);
    client_read_head(leader);
    client_wait_bytes(leader, strlen(FIRST));
    struct client *follower = ask(m, ASK);
    struct message *r = client_read_head(follower);
    client_wait_bytes(follower, strlen(FIRST));
    client_reset(leader);
    millpond_wait_figure(m, "client_connections", 1);
    gate_open(p->before_rest);
    wire_read_body(&follower->wire, r);
    expect_body(r, WHOLE);
    assert_int_equal(origin_requests(o), 1);
    expect_field_in(client_get(m->port, "/p", ""), "Cache-Status", "hit");
    millpond_stop(m);
    origin_stop(o);
}

static void followers_gone_leave_nothing(void **state)
{
    UNUSED(state);
    struct slow_page *p = slow_page(LONG, true, false);
    struct origin *o = origin_start(slow_script, p);
    struct millpond *m = millpond_before(o, "");
    struct client *herd[20];
    for (size_t i = 0; i < ARRAY_LEN(herd); i++) {
        herd[i] = ask(m, ASK);
        client_read_head(herd[i]);
        client_wait_bytes(herd[i], strlen(FIRST));
    }
    for (size_t i = 1; i < ARRAY_LEN(herd); i++)
        i % 2 ? client_reset(herd[i]) : client_close(herd[i]);
    millpond_wait_figure(m, "client_connections", 1);
    gate_open(p->before_rest);
    expect_in(client_wait_bytes(herd[0], strlen(WHOLE)), WHOLE);
    client_close(herd[0]);
    millpond_wait_idle(m);
    millpond_wait_figure(m, "followers_now", 0);
    millpond_stop(m);
    origin_stop(o);
}

static void failing_script(struct origin_conn *c, const struct message *request, void *arg)
{
    struct slow_page *p = arg;
    UNUSED(request);
    gate_pass(p->before_head);
    origin_send(c, "HTTP/1.1 200 OK\r\n" LONG "Content-Length: 100\r\n\r\n" FIRST);
    gate_pass(p->before_rest);
    origin_reset(c);
}

static void cut_fetch_cuts_every_follower(void **state)
{
    UNUSED(state);
    struct slow_page *p = slow_page(LONG, true, false);
    struct origin *o = origin_start(failing_script, p);
    struct millpond *m = millpond_before(o, "");
    struct client *herd[20];
    struct message *heads[20];
    for (size_t i = 0; i < ARRAY_LEN(herd); i++) {
        herd[i] = ask(m, ASK);
        heads[i] = client_read_head(herd[i]);
        client_wait_bytes(herd[i], strlen(FIRST));
    }
    gate_open(p->before_rest);
    for (size_t i = 0; i < ARRAY_LEN(herd); i++) {
        wire_read_body(&herd[i]->wire, heads[i]);
        EXPECT(heads[i]->end == MESSAGE_CUT || heads[i]->end == MESSAGE_RESET, "follower %zu: %s", i,
               message_end_name(heads[i]->end));
    }
    assert_int_equal(origin_requests(o), 1);
    assert_int_equal(millpond_figure(m, "objects"), 0);
    millpond_stop(m);
    origin_stop(o);
}

static void slow_reader_holds_up_nobody(void **state)
{
    UNUSED(state);
    size_t bytes = 8 * MB;
    struct origin *o = origin_start_fixed(
        textf("HTTP/1.1 200 OK\r\n" LONG "Content-Length: %zu\r\n\r\n%s", bytes, text_repeat('s', bytes)));
    struct millpond *m = millpond_before(o, "");
    struct client *slow = client_open_rcvbuf(m->port, 4096);
    client_send(slow, ASK);
    struct message *r = client_read_head(slow); /* and reads no further */
    assert_int_equal(r->status, 200);
    for (int i = 0; i < 3; i++)
        assert_int_equal(client_get(m->port, "/p", "")->body_len, bytes);
    assert_int_equal(origin_requests(o), 1);
    assert_int_equal(wire_discard(&slow->wire, bytes), bytes);
    millpond_stop(m);
}

/* ---- bounds ---- */

static void long_wait_ends_in_a_fetch_of_ones_own(void **state)
{
    UNUSED(state);
    struct slow_page *p = slow_page(LONG, false, true);
    struct origin *o = origin_start(slow_script, p);
    struct millpond *m = millpond_start(.cache = "lock_timeout = 200ms", .rest = pool_lines("app", 1, o));
    struct client *leader = ask(m, ASK);
    gate_wait_arrived(p->before_head, 1);
    struct client *second = ask(m, ASK);
    gate_wait_arrived(p->before_head, 2); /* after lock_timeout */
    open_gates(p);
    expect_body(client_read(leader), WHOLE);
    expect_body(client_read(second), WHOLE);
    millpond_stop(m);
    origin_stop(o);
}

static void waiters_beyond_the_limit_go_by_themselves(void **state)
{
    UNUSED(state);
    struct slow_page *p = slow_page(LONG, false, true);
    struct origin *o = origin_start(slow_script, p);
    struct millpond *m = millpond_start(.cache = "max_waiters = 5", .rest = pool_lines("app", 1, o));
    struct client *herd[10];
    for (size_t i = 0; i < ARRAY_LEN(herd); i++)
        herd[i] = ask(m, ASK);
    millpond_wait_figure(m, "requests_in_flight", ARRAY_LEN(herd));
    gate_wait_arrived(p->before_head, 1 + 4); /* the leader, and those for whom there was no place */
    open_gates(p);
    for (size_t i = 0; i < ARRAY_LEN(herd); i++)
        expect_body(client_read(herd[i]), WHOLE);
    assert_true(origin_requests(o) <= 1 + 5);
    millpond_stop(m);
    origin_stop(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(thousand_clients_make_one_request),
        E2E_TEST(thousand_clients_share_a_chunked_answer),
        E2E_TEST(herd_waits_for_the_head_together),
        E2E_TEST(unstorable_herd_is_released_together),
        E2E_TEST(varying_answer_goes_only_to_its_own),
        E2E_TEST(leader_gone_before_the_head),
        E2E_TEST(leader_gone_in_the_middle),
        E2E_TEST(followers_gone_leave_nothing),
        E2E_TEST(cut_fetch_cuts_every_follower),
        E2E_TEST(slow_reader_holds_up_nobody),
        E2E_TEST(long_wait_ends_in_a_fetch_of_ones_own),
        E2E_TEST(waiters_beyond_the_limit_go_by_themselves),
    };
    return E2E_RUN("cache_flight", tests);
}
